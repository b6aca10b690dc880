//! Operations on cursors.

use minidb::ffi::*;

use super::api::{Answer, Arg};
use super::model::{Cursor, Move, Range, View};
use super::{Choices, Driver, Handle, api, data};

impl<C: Choices> Driver<C> {
    pub(super) fn scan(&mut self) {
        let view = self.view();
        let narrow = self.choices.once_in(4);
        let [from, to] = self.bounds(&view.version(), narrow);
        let opened = api::scan(view.handle, &from, &to);
        self.add_cursor(&view, opened, Range::new(from.option(), to.option()));
    }

    pub(super) fn scan_prefix(&mut self) {
        let view = self.view();
        let prefix = self.prefix(&view);
        let opened = api::scan_prefix(view.handle, &prefix);
        self.add_cursor(&view, opened, Range::prefix(prefix.get()));
    }

    /// Walks a little, and then keeps the cursor or closes it.
    fn add_cursor(&mut self, view: &View, (code, handle): (i32, Handle), range: Range) {
        self.done(code);
        self.count_handle(handle, &view.store);
        let mut cursor = Cursor::new(handle, view, range);
        self.compare_entry(&cursor);
        for _ in 0..self.choices.below(6) {
            self.go_on(&mut cursor);
        }
        self.cursors.push(cursor);
        if !self.may_keep(view) {
            self.close_cursor(self.cursors.len() - 1);
        }
    }

    /// Takes out a cursor to work on it.
    fn take_cursor(&mut self) -> Option<Cursor> {
        if self.cursors.is_empty() {
            return None;
        }
        Some(self.cursors.swap_remove(self.choices.below(self.cursors.len())))
    }

    pub(super) fn go(&mut self) {
        let Some(mut cursor) = self.take_cursor() else {
            return self.scan();
        };
        for _ in 0..=self.choices.below(3) {
            self.go_on(&mut cursor);
        }
        self.cursors.push(cursor);
    }

    fn go_on(&mut self, cursor: &mut Cursor) {
        let (code, to) = match self.choices.below(16) {
            0 => (api::first(cursor.handle), Move::First),
            1 => (api::last(cursor.handle), Move::Last),
            2..9 => (api::next(cursor.handle), Move::Next),
            _ => (api::prev(cursor.handle), Move::Prev),
        };
        self.moved(cursor, code, to);
    }

    /// Compares a move with the model's.
    fn moved(&self, cursor: &mut Cursor, code: i32, to: Move<'_>) {
        let expected = if cursor.go(to) { MINIDB_OK } else { MINIDB_NOTFOUND };
        self.same("the move", code, expected);
        self.compare_entry(cursor);
    }

    pub(super) fn seek(&mut self) {
        let Some(mut cursor) = self.take_cursor() else {
            return self.scan();
        };
        let mut key = self.key(&cursor.version());
        match self.choices.below(4) {
            0 => key.push(0), // the next key that there could be
            1 => drop(key.pop()),
            _ => {}
        }
        let key = self.arg(key);
        let code = api::seek(cursor.handle, &key);
        self.moved(&mut cursor, code, Move::Seek(key.get()));
        self.cursors.push(cursor);
    }

    /// What a cursor lends stays, whatever happens meanwhile.
    pub(super) fn borrow(&mut self) {
        if self.nested {
            return;
        }
        let Some(cursor) = self.take_cursor() else {
            return self.scan();
        };
        let want_len = !self.choices.once_in(4);
        self.nested = true;
        let lent = api::borrowed(cursor.handle, want_len, || {
            (0..self.choices.below(4)).for_each(|_| self.operate());
        });
        self.nested = false;
        self.operation = "cursor_key and _value, while others ran";
        self.same_lent(lent, &cursor, want_len);
        self.cursors.push(cursor);
    }

    pub(super) fn compare_entry(&self, cursor: &Cursor) {
        self.same_lent(api::borrowed(cursor.handle, true, || ()), cursor, true);
    }

    fn same_lent(&self, lent: [Answer; 2], cursor: &Cursor, want_len: bool) {
        let want = api::Want { bytes: true, len: want_len };
        let entry = cursor.entry();
        let parts = [entry.map(|entry| entry.0), entry.map(|entry| entry.1)];
        let expected = parts.map(|part| Answer::new(MINIDB_OK, part, want));
        self.same("the entry", lent, expected);
    }

    /// Reads entries in bulk, and now and then writes them to a database.
    pub(super) fn read(&mut self) {
        let Some(mut cursor) = self.take_cursor() else {
            return self.scan();
        };
        let some = cursor.after().into_iter().flatten().take(1 + self.choices.below(10));
        let fit = some.map(|(key, value)| data::packed_len(key, value)).sum();
        let mut buffer = self.buffer(fit);
        let wanted = !self.choices.once_in(8);
        let handle = cursor.handle;
        let got = match buffer.is_empty() && self.choices.once_in(2) {
            true => api::read(handle, Err(0), wanted),
            false => api::read(handle, Ok(&mut buffer), wanted),
        };
        let (packed, (code, used)) = read_model(&mut cursor, buffer.len());
        self.same("the bytes used", got, (code, wanted.then_some(used)));
        self.same_buffer(&buffer, &packed);
        self.compare_entry(&cursor);
        self.cursors.push(cursor);
        if self.choices.once_in(4) {
            let database = self.database();
            self.write_packed(&database, packed);
        }
    }

    /// Compares all that a view shows, forward and backward.
    pub(super) fn compare(&self, view: &View) {
        let (code, handle) = api::scan(view.handle, &Arg::NULL, &Arg::NULL);
        self.done(code);
        let mut cursor = Cursor::new(handle, view, Range::new(None, None));
        for (step, to) in [(api::next as fn(_) -> _, Move::Next), (api::prev, Move::Prev)] {
            for _ in 0..=view.len() {
                self.moved(&mut cursor, step(handle), to);
            }
        }
        api::cursor_close(handle);
    }
}

/// What a cursor should read into a buffer of `size` bytes: the packed entries,
/// and the code and bytes used.
fn read_model(cursor: &mut Cursor, size: usize) -> (Vec<u8>, (i32, usize)) {
    let mut packed = Vec::new();
    loop {
        let next = cursor.after().and_then(|mut entries| entries.next());
        let Some((key, value)) = next else {
            if packed.is_empty() {
                cursor.go(Move::Next);
                return (packed, (MINIDB_NOTFOUND, 0));
            }
            cursor.peek();
            break;
        };
        let need = data::packed_len(key, value);
        if packed.len() + need > size {
            cursor.peek();
            if packed.is_empty() {
                return (packed, (MINIDB_OK, need));
            }
            break;
        }
        data::pack(&mut packed, key, value);
        cursor.go(Move::Next);
    }
    let used = packed.len();
    (packed, (MINIDB_OK, used))
}
