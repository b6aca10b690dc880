//! Calls that are not valid: on handles that were closed or are of the wrong
//! kind, and with arguments that mean nothing. Each is refused, and changes
//! nothing.

use minidb::ffi::*;

use super::api::{Answer, Arg, Form};
use super::{Choices, Driver, Handle, Want, api};

impl<C: Choices> Driver<C> {
    pub(super) fn misuse(&mut self) {
        let good = Arg::bytes(vec![1]);
        match self.choices.below(8) {
            0 => {
                let handle = self.bad_handle(false);
                self.misuse_view(handle);
            }
            1 => {
                let handle = self.bad_handle(false);
                self.misuse_key(handle, &good);
            }
            2 => {
                let handle = self.bad_handle(true);
                self.misuse_cursor(handle);
            }
            3 | 4 => {
                let (view, bad) = (self.database(), self.bad_arg());
                self.misuse_key(view.handle, &bad);
                self.misuse_second(view.handle, &good, &bad);
                self.check_numbers(&view);
            }
            5 => self.misuse_place(),
            6 => self.misuse_open(),
            _ => self.close_wrongly(),
        }
    }

    /// NULL, one that was closed, or one of the other kind.
    pub(super) fn bad_handle(&mut self, for_cursor: bool) -> Handle {
        match self.choices.below(4) {
            0 => Handle::NULL,
            1 if for_cursor => self.view().handle,
            1 => self.cursors.first().map_or(Handle::NULL, |cursor| cursor.handle),
            _ if self.closed.is_empty() => Handle::NULL,
            _ => self.closed[self.choices.below(self.closed.len())],
        }
    }

    /// NULL with a length that is not 0, or one that is too long.
    fn bad_arg(&mut self) -> Arg {
        Arg::bad(match self.choices.below(4) {
            0 => Form::Null(1 + self.choices.below(100)),
            1 => Form::Null(usize::MAX), // MINIDB_STR
            2 => Form::TooLong(1 << 31), // MINIDB_MAX_LEN + 1
            _ => Form::TooLong(usize::MAX - 1),
        })
    }

    #[track_caller]
    fn invalid(&self, what: &str, code: i32) {
        self.same(what, code, MINIDB_INVALID);
    }

    #[track_caller]
    fn no_handle(&self, what: &str, got: (i32, Handle)) {
        self.same(what, got, (MINIDB_INVALID, Handle::NULL));
    }

    #[track_caller]
    fn no_bytes(&self, what: &str, got: Answer, want: Want) {
        self.same(what, got, Answer::new(MINIDB_INVALID, None, want));
    }

    /// A function that takes a view and no key.
    fn misuse_view(&mut self, view: Handle) {
        match self.choices.below(6) {
            0 => self.no_handle("snapshot", api::snapshot(view)),
            1 => self.invalid("write", api::write(view, &Arg::NULL)),
            2 => self.same("stat", api::stat(view, 0, true), (MINIDB_INVALID, Some(0))),
            3 => self.invalid("sync", api::sync(view)),
            4 => self.invalid("checkpoint", api::checkpoint(view)),
            _ => self.invalid("check", api::check(view)),
        }
    }

    /// A function that takes a view and a key.
    fn misuse_key(&mut self, view: Handle, key: &Arg) {
        let want = self.want();
        match self.choices.below(9) {
            0 => self.no_bytes("get", api::get(view, key, want), want),
            1 => {
                let got = api::get_into(view, key, Ok(&mut [0; 9]), true);
                self.same("get_into", got, (MINIDB_INVALID, Some(0)));
            }
            2 => self.no_bytes("put", api::put(view, key, &Arg::NULL, want), want),
            3 => self.no_bytes("delete", api::delete(view, key, want), want),
            4 => self.invalid("clear", api::clear(view, key, &Arg::NULL)),
            5 => self.invalid("cas", api::cas(view, key, &Arg::NULL, &Arg::NULL)),
            6 => self.no_handle("scan", api::scan(view, key, &Arg::NULL)),
            7 => self.no_handle("scan_prefix", api::scan_prefix(view, key)),
            _ => {
                let code = api::each(view, key, &mut |_, _| panic!("each has nothing to visit"));
                self.invalid("each", code);
            }
        }
    }

    /// A function of which a later argument is bad.
    fn misuse_second(&mut self, view: Handle, key: &Arg, bad: &Arg) {
        let want = self.want();
        match self.choices.below(5) {
            0 => self.no_bytes("put", api::put(view, key, bad, want), want),
            1 => self.invalid("clear", api::clear(view, key, bad)),
            2 => self.invalid("cas", api::cas(view, key, bad, &Arg::NULL)),
            3 => self.invalid("cas", api::cas(view, key, &Arg::NULL, bad)),
            _ => self.no_handle("scan", api::scan(view, key, bad)),
        }
    }

    fn misuse_cursor(&mut self, cursor: Handle) {
        let code = match self.choices.below(7) {
            0 => api::first(cursor),
            1 => api::last(cursor),
            2 => api::next(cursor),
            3 => api::prev(cursor),
            4 => api::seek(cursor, &Arg::NULL),
            5 => {
                let got = api::read(cursor, Ok(&mut [0; 99]), true);
                return self.same("read", got, (MINIDB_INVALID, Some(0)));
            }
            _ => {
                let nothing = [(); 2].map(|()| Answer::new(MINIDB_OK, None, Want::BOTH));
                return self.same("key and value", api::borrowed(cursor, true, || ()), nothing);
            }
        };
        self.invalid("the move", code);
    }

    /// No place to put what is asked for, or a seek to no key.
    fn misuse_place(&mut self) {
        let (view, bad) = (self.view(), self.bad_arg());
        let size = 1 + self.choices.below(100);
        let key = self.key_arg(&view);
        let got = api::get_into(view.handle, &key, Err(size), true);
        self.same("get_into", got, (MINIDB_INVALID, Some(0)));
        self.invalid("each", api::each_to_nowhere(view.handle));
        self.invalid("opening", api::open_to_nowhere(view.handle));
        if let Some(cursor) = self.cursors.first() {
            let got = api::read(cursor.handle, Err(size), true);
            self.same("read", got, (MINIDB_INVALID, Some(0)));
            self.invalid("seek", api::seek(cursor.handle, &bad));
            self.compare_entry(cursor);
        }
        self.check_handles(&view);
    }

    fn misuse_open(&mut self) {
        let path = if self.choices.once_in(2) { None } else { Some(c":memory:") };
        let flags = [
            MINIDB_OPEN_READONLY,
            MINIDB_OPEN_EXISTING,
            MINIDB_OPEN_NEW,
            MINIDB_OPEN_NEW | MINIDB_OPEN_EXISTING,
            MINIDB_OPEN_NOSYNC << 1,
            1 << 31 | MINIDB_OPEN_NOSYNC,
        ];
        let flags = flags[self.choices.below(flags.len())];
        self.no_handle("open", api::open(path, flags));
    }

    /// Closing what was closed, or with the other kind's function, does nothing.
    fn close_wrongly(&mut self) {
        let view = self.view();
        let [closed, no_view] = [true, false].map(|for_cursor| self.bad_handle(for_cursor));
        api::cursor_close(closed);
        api::close(no_view);
        self.check_handles(&view);
        self.check_numbers(&view);
        self.cursors.iter().for_each(|cursor| self.compare_entry(cursor));
    }
}
