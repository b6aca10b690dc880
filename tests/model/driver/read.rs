//! Operations that read, and numbers about views.

use minidb::ffi::*;

use super::api::{Answer, Arg};
use super::model::{Cursor, Move, Range, Version, View};
use super::transaction::Total;
use super::{Choices, Driver, Handle, SMALL, api, data};

/// What buffers are filled with before a call.
const UNTOUCHED: u8 = 0xee;

impl<C: Choices> Driver<C> {
    pub(super) fn get(&mut self) {
        let view = self.view();
        let (key, want) = (self.key_arg(&view), self.want());
        let version = view.version();
        let value = version.get(key.get());
        let code = if value.is_some() { MINIDB_OK } else { MINIDB_NOTFOUND };
        let expected = Answer::new(code, value, want);
        self.same("the value", api::get(view.handle, &key, want), expected);
        view.looked_at(key.get());
    }

    pub(super) fn get_into(&mut self) {
        let view = self.view();
        let key = self.key_arg(&view);
        let version = view.version();
        let value = version.get(key.get());
        let code = if value.is_some() { MINIDB_OK } else { MINIDB_NOTFOUND };
        let value = value.unwrap_or_default();
        let mut buffer = self.buffer(value.len());
        let wanted = !self.choices.once_in(8);
        let expected = (code, wanted.then_some(value.len()));
        view.looked_at(key.get());
        if buffer.is_empty() && self.choices.once_in(2) {
            let got = api::get_into(view.handle, &key, Err(0), wanted);
            return self.same("the length", got, expected);
        }
        let got = api::get_into(view.handle, &key, Ok(&mut buffer), wanted);
        self.same("the length", got, expected);
        self.same_buffer(&buffer, value);
    }

    /// A buffer of any size, often just right for `len` bytes, or nearly.
    pub(super) fn buffer(&mut self, len: usize) -> Vec<u8> {
        let size = match self.choices.below(8) {
            0 => 0,
            1 => self.choices.below(len + 1),
            2 => len.saturating_sub(1),
            3 => len + 1,
            4 => 3_000,
            5 => self.choices.below(300),
            _ => len,
        };
        vec![UNTOUCHED; size]
    }

    /// Compares a buffer with what it was filled with, as much as fits.
    pub(super) fn same_buffer(&self, buffer: &[u8], filled: &[u8]) {
        let (start, rest) = buffer.split_at(buffer.len().min(filled.len()));
        let expected = &filled[..start.len()];
        assert!(
            start == expected,
            "{}: the buffer has {}, should have {}",
            self.operation,
            data::brief(start),
            data::brief(expected)
        );
        let touched = rest.iter().filter(|byte| **byte != UNTOUCHED).count();
        self.same("the number of bytes written after what was filled", touched, 0);
    }

    /// Walks over what a prefix begins, now and then with other operations
    /// within the visits.
    pub(super) fn each(&mut self) {
        if self.nested {
            return;
        }
        let view = self.view();
        let prefix = self.prefix(&view);
        let version = view.version();
        let mut walk = Cursor::new(Handle::NULL, &view, Range::prefix(prefix.get()));
        let all = version.len() < SMALL && self.choices.once_in(2) || self.choices.once_in(100);
        let mut left = if all { usize::MAX } else { 1 + self.choices.below(30) };
        let busy = self.choices.once_in(2) && self.may_freeze(version.len());
        self.nested = true;
        let code = api::each(view.handle, &prefix, &mut |key, value| {
            assert!(left > 0, "each goes on after it was stopped");
            walk.go(Move::Next);
            let expected = walk.entry();
            self.same_entry(Some((key, value)), expected);
            if busy && self.choices.once_in(8) {
                self.operate();
                self.operation = "each, while others run";
                self.same_entry(Some((key, value)), expected);
            }
            left = left.saturating_sub(1);
            left > 0
        });
        self.nested = false;
        self.done(code);
        assert!(left == 0 || !walk.go(Move::Next), "each ends too early");
    }

    /// The beginning of a key, often of many.
    pub(super) fn prefix(&mut self, view: &View) -> Arg {
        let mut key = self.key(&view.version());
        match self.choices.below(4) {
            0 => key.clear(),
            1 => key.truncate(self.choices.below(key.len() + 1)),
            2 => key.truncate(key.len().saturating_sub(2)),
            _ => {}
        }
        self.arg(key)
    }

    pub(super) fn same_entry(&self, got: Option<(&[u8], &[u8])>, expected: Option<(&[u8], &[u8])>) {
        if got != expected {
            let brief = |entry: Option<(&[u8], &[u8])>| {
                entry.map(|(key, value)| (data::brief(key), data::brief(value)))
            };
            self.same("the entry", brief(got), brief(expected));
            panic!("{}: the entries differ somewhere after how they begin", self.operation);
        }
    }

    pub(super) fn stat(&mut self) {
        let view = self.view();
        let what = self.choices.below(9) as i32 - 1;
        let wanted = !self.choices.once_in(8);
        let (code, number) = api::stat(view.handle, what, wanted);
        let version = view.version();
        let total = |total: Total| {
            view.looked_at_total(total);
            total(&version)
        };
        let expected = match what {
            MINIDB_STAT_COUNT => total(Version::count),
            MINIDB_STAT_DATA_BYTES => total(Version::data_bytes),
            MINIDB_STAT_FILE_BYTES => {
                self.done(code);
                return number.into_iter().for_each(|bytes| self.check_file_bytes(bytes, &view));
            }
            MINIDB_STAT_COMMITS => version.commits,
            MINIDB_STAT_HANDLES => view.store.borrow().handles,
            MINIDB_STAT_MEMORY_BYTES => {
                self.done(code);
                return number.into_iter().for_each(|bytes| self.plausible(bytes, &view));
            }
            _ => return self.same("stat", (code, number), (MINIDB_INVALID, wanted.then_some(0))),
        };
        self.same("stat", (code, number), (MINIDB_OK, wanted.then_some(expected)));
    }

    /// A store holds no less than the values, and, if there is nothing but the
    /// database, not very much more than its data.
    fn plausible(&self, memory: u64, view: &View) {
        let version = view.version();
        let data = version.data_bytes();
        let most = (4 << 20) + 2 * data + 4096 * version.len() as u64;
        let alone = view.store.borrow().handles == 1;
        // The store does not count what a transaction keeps to itself.
        let least = if view.transaction().is_some() { 0 } else { version.value_bytes };
        let plausible = memory > least && (!alone || memory < most);
        assert!(plausible, "{memory} bytes of memory for {data} bytes of data");
    }

    pub(super) fn maintain(&mut self) {
        let view = self.view();
        let code = if view.is_database() { MINIDB_OK } else { MINIDB_INVALID };
        match self.choices.below(3) {
            0 => self.same("sync", api::sync(view.handle), code),
            1 => self.same("checkpoint", api::checkpoint(view.handle), code),
            _ if view.len() < SMALL => self.check(&view),
            _ => {}
        }
    }

    pub(super) fn texts(&mut self) {
        let code = self.choices.below(24) as i32 - 16;
        assert!(!api::strerror(code).is_empty(), "there is no text for code {code}");
        let version = api::version();
        assert!(version.starts_with(|c: char| c.is_ascii_digit()), "the version is {version}");
        api::free_null();
    }

    /// The library's own check of a view, and the numbers about it.
    pub(super) fn check(&self, view: &View) {
        let code = api::check(view.handle);
        assert!(code == MINIDB_OK, "{}: {}", self.operation, api::strerror(code));
        view.looked_at_all();
        self.check_numbers(view);
    }

    pub(super) fn check_numbers(&self, view: &View) {
        let version = view.version();
        let numbers = [MINIDB_STAT_COUNT, MINIDB_STAT_DATA_BYTES, MINIDB_STAT_COMMITS];
        let got = numbers.map(|what| api::stat(view.handle, what, true).1);
        let expected = [version.count(), version.data_bytes(), version.commits].map(Some);
        view.looked_at_total(Version::count);
        view.looked_at_total(Version::data_bytes);
        self.same("count, bytes and commits", got, expected);
    }

    pub(super) fn check_handles(&self, view: &View) {
        let got = api::stat(view.handle, MINIDB_STAT_HANDLES, true);
        self.same("handles", got, (MINIDB_OK, Some(view.store.borrow().handles)));
    }
}
