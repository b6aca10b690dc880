//! Operations that write.

use minidb::ffi::*;

use super::api::{Answer, Arg};
use super::model::{Kind, Range, Version, View};
use super::{Choices, Driver, SMALL, api, data};

impl<C: Choices> Driver<C> {
    /// Applies to the model what was done to a database.
    fn commit(&mut self, view: &View, change: impl FnOnce(&mut Version)) {
        view.commit(change);
        self.written = Some(view.handle);
    }

    pub(super) fn put(&mut self) {
        let view = self.writable();
        let (key, value, want) = (self.key_arg(&view), self.value_arg(), self.want());
        let expected = Answer::new(MINIDB_OK, view.version().get(key.get()), want);
        self.same("the old value", api::put(view.handle, &key, &value, want), expected);
        self.looked_at_old(&view, &key, want);
        self.commit(&view, |version| version.put(key.get(), value.get()));
    }

    pub(super) fn delete(&mut self) {
        let view = self.writable();
        let (key, want) = (self.key_arg(&view), self.want());
        let version = view.version();
        let old = version.get(key.get());
        let code = if old.is_some() { MINIDB_OK } else { MINIDB_NOTFOUND };
        let expected = Answer::new(code, old, want);
        self.same("the old value", api::delete(view.handle, &key, want), expected);
        drop(version);
        self.looked_at_old(&view, &key, want);
        if code == MINIDB_OK || view.transaction().is_some() {
            let forget = self.limits.forget_a_delete.take_if(|after| self.step > *after);
            self.commit(&view, |version| {
                if forget.is_none() {
                    version.remove(key.get());
                }
            });
        }
    }

    pub(super) fn clear(&mut self) {
        let view = self.writable();
        let narrow = view.len() >= SMALL && !self.choices.once_in(100);
        let [from, to] = self.bounds(&view.version(), narrow);
        self.done(api::clear(view.handle, &from, &to));
        let range = Range::new(from.option(), to.option());
        self.commit(&view, |version| version.clear(&range));
    }

    pub(super) fn cas(&mut self) {
        let view = self.writable();
        let key = self.key_arg(&view);
        let version = view.version();
        let value = version.get(key.get());
        let expected = match self.choices.below(4) {
            0 => Arg::NULL,
            1 => self.value_arg(),
            _ => value.map_or(Arg::NULL, |value| self.some_arg(value.to_vec())),
        };
        let desired = if self.choices.once_in(4) { Arg::NULL } else { self.value_arg() };
        let equal = expected.option() == value;
        drop(version);
        let code = if equal { MINIDB_OK } else { MINIDB_CONFLICT };
        self.same("the code", api::cas(view.handle, &key, &expected, &desired), code);
        view.looked_at(key.get());
        if equal {
            self.commit(&view, |version| match desired.option() {
                Some(value) => version.put(key.get(), value),
                None => version.remove(key.get()),
            });
        }
    }

    pub(super) fn write(&mut self) {
        let view = self.writable();
        let mut packed = self.packed();
        if self.choices.once_in(6) {
            self.damage(&mut packed);
        }
        self.write_packed(&view, packed);
    }

    /// Entries with keys at equal distances, some of them twice.
    fn packed(&mut self) -> Vec<u8> {
        let keys = self.limits.keys;
        let most = if self.growing { 8 + self.limits.entries / 100 } else { 4 };
        let count = self.choices.below(most);
        let (first, distance) = (self.choices.below(keys), 1 + self.choices.below(20));
        let value = data::value(&mut self.choices, false);
        let mut packed = Vec::new();
        for i in 0..count {
            let key = data::key((first + i * distance) % keys, false);
            data::pack(&mut packed, &key, &value[i % (value.len() + 1)..]);
        }
        if self.choices.once_in(4) {
            data::pack(&mut packed, &data::key(first, false), b"once more");
        }
        packed
    }

    /// Makes a packed buffer one of no whole entries, most likely.
    fn damage(&mut self, packed: &mut Vec<u8>) {
        match self.choices.below(4) {
            0 => packed.truncate(packed.len().saturating_sub(1 + self.choices.below(12))),
            1 => packed.resize(packed.len() + 1 + self.choices.below(12), 0),
            2 => packed.extend((0..self.choices.below(24)).map(|_| self.choices.byte())),
            _ => {
                let len = [1, u32::MAX, 1 << 31][self.choices.below(3)];
                let at = 4 * self.choices.below(2);
                if let Some(field) = packed.get_mut(at..at + 4) {
                    field.copy_from_slice(&len.to_ne_bytes());
                }
            }
        }
    }

    pub(super) fn write_packed(&mut self, view: &View, packed: Vec<u8>) {
        let null = packed.is_empty() && self.choices.once_in(2);
        let arg = if null { Arg::NULL } else { Arg::bytes(packed) };
        let entries = data::unpack(arg.get());
        let code = if entries.is_some() { MINIDB_OK } else { MINIDB_INVALID };
        self.same("the code", api::write(view.handle, &arg), code);
        match entries {
            Some(entries) => self.commit(view, |version| {
                entries.iter().for_each(|(key, value)| version.put(key, value));
            }),
            None => self.check_numbers(view),
        }
    }

    /// Snapshots refuse to be written to.
    pub(super) fn write_refused(&mut self) {
        let view = self.view();
        if !matches!(view.kind, Kind::Snapshot(_)) {
            return;
        }
        let (key, value, want) = (self.key_arg(&view), self.value_arg(), self.want());
        let refused = Answer::new(MINIDB_READONLY, None, want);
        let handle = view.handle;
        let code = match self.choices.below(5) {
            0 => return self.same("put", api::put(handle, &key, &value, want), refused),
            1 => return self.same("delete", api::delete(handle, &key, want), refused),
            2 => api::clear(handle, &key, &value),
            3 => api::cas(handle, &key, &value, &value),
            _ => api::write(handle, &Arg::bytes(self.packed())),
        };
        self.same("the code", code, MINIDB_READONLY);
        self.check_numbers(&view);
    }
}
