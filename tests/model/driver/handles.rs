//! Operations on handles: opening and closing them.

use std::cell::RefCell;
use std::rc::Rc;

use minidb::ffi::*;

use super::model::{Kind, Shared, Store, View};
use super::{Choices, Driver, Files, Handle, SMALL, api};

/// Handles of each type that may be open at once.
pub(super) const VIEWS: usize = 12;
const CURSORS: usize = 8;
/// Closed handles that are kept to be misused.
const CLOSED: usize = 64;

impl<C: Choices> Driver<C> {
    pub(super) fn open(&mut self) {
        if self.views.len() < VIEWS {
            self.open_now();
        }
    }

    pub(super) fn open_now(&mut self) {
        let path = self.files.as_mut().map(Files::new_path);
        let in_memory = match self.choices.below(4) {
            0 => (Some(c":memory:"), 0),
            1 => (None, MINIDB_OPEN_NOSYNC),
            _ => (None, 0),
        };
        let on_file = || [MINIDB_OPEN_NEW, MINIDB_OPEN_NEW | MINIDB_OPEN_NOSYNC];
        let (path_given, flags) = match &path {
            Some(path) => (Some(&**path), on_file()[self.choices.below(2)]),
            None => in_memory,
        };
        let (code, handle) = api::open(path_given, flags);
        self.done(code);
        let store = Store { path, ..Store::default() };
        self.add_view(handle, Rc::new(RefCell::new(store)), Kind::Database);
    }

    pub(super) fn snapshot(&mut self) {
        let view = self.view();
        if view.transaction().is_some() {
            let refused = (MINIDB_INVALID, Handle::NULL);
            return self.same("the snapshot", api::snapshot(view.handle), refused);
        }
        if self.views.len() >= VIEWS || !self.may_freeze(view.len()) {
            return;
        }
        let (code, handle) = api::snapshot(view.handle);
        self.done(code);
        self.add_view(handle, view.store.clone(), Kind::Snapshot(view.version()));
    }

    pub(super) fn close(&mut self) {
        if self.views.is_empty() {
            return;
        }
        let n = self.choices.below(self.views.len());
        let view = &self.views[n];
        // One that took long to fill is worth keeping.
        if !view.is_database() || view.len() < SMALL || self.choices.once_in(100) {
            self.close_view(n);
        }
    }

    pub(super) fn close_view(&mut self, n: usize) {
        let view = self.views.remove(n);
        api::close(view.handle);
        self.forget(view.handle, &view.store);
    }

    /// Whether a new cursor stays: not if there are enough, or its view is large.
    pub(super) fn may_keep(&mut self, view: &View) -> bool {
        self.cursors.len() < CURSORS && self.may_freeze(view.len())
    }

    pub(super) fn cursor_close(&mut self) {
        if !self.cursors.is_empty() {
            let n = self.choices.below(self.cursors.len());
            self.close_cursor(n);
        }
    }

    pub(super) fn close_cursor(&mut self, n: usize) {
        let cursor = self.cursors.swap_remove(n);
        api::cursor_close(cursor.handle);
        self.forget(cursor.handle, &cursor.store);
    }

    pub(super) fn add_view(&mut self, handle: Handle, store: Shared, kind: Kind) {
        self.count_handle(handle, &store);
        self.views.push(View { handle, store, kind });
    }

    /// Counts a new handle, which must be none that there is or was.
    pub(super) fn count_handle(&mut self, handle: Handle, store: &Shared) {
        let views = self.views.iter().map(|view| view.handle);
        let open = views.chain(self.cursors.iter().map(|cursor| cursor.handle));
        let known = open.chain(self.closed.iter().copied()).chain([Handle::NULL]);
        self.same("a handle that there was", known.filter(|known| *known == handle).count(), 0);
        store.borrow_mut().handles += 1;
    }

    fn forget(&mut self, handle: Handle, store: &Shared) {
        store.borrow_mut().handles -= 1;
        if self.closed.len() == CLOSED {
            self.closed.swap_remove(self.choices.below(CLOSED));
        }
        self.closed.push(handle);
    }
}
