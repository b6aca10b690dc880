//! Operations on files: opening them again, and backups.

use std::cell::RefCell;
use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use minidb::ffi::*;

use super::folder::Folder;
use super::model::{Kind, Shared, Store, View};
use super::{Choices, Driver, Handle, SMALL, api};

/// Files in a folder of their own: in memory, since the disk is not what is tested.
pub struct Files {
    folder: Folder,
    /// Paths given out so far.
    count: u32,
}

impl Files {
    pub fn new() -> Files {
        Files { folder: Folder::in_memory("model"), count: 0 }
    }

    /// A path of no file.
    pub fn new_path(&mut self) -> CString {
        self.count += 1;
        let path = self.folder.file(&format!("{}.minidb", self.count));
        CString::new(path.into_os_string().into_encoded_bytes()).expect("a path has no NUL")
    }
}

fn log_of(path: &CStr) -> PathBuf {
    OsStr::from_bytes(&[path.to_bytes(), b"-log"].concat()).into()
}

fn file_of(path: &CStr) -> PathBuf {
    OsStr::from_bytes(path.to_bytes()).into()
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

impl<C: Choices> Driver<C> {
    pub(super) fn use_files(&mut self) {
        if self.files.is_none() || self.nested {
            return;
        }
        let view = self.view();
        let rarely = view.len() < SMALL || self.choices.once_in(20);
        match self.choices.below(3) {
            0 if rarely => self.reopen(&view),
            1 if rarely => self.back_up(&view),
            _ => self.open_refused(&view),
        }
    }

    /// Closes all handles on a store, and opens its file again.
    fn reopen(&mut self, view: &View) {
        let store = view.store.clone();
        let Some(path) = store.borrow().path.clone() else {
            return;
        };
        self.close_all_of(&store);
        let commits = store.borrow().now.commits;
        store.borrow_mut().opened_with = Some(commits);
        assert!(!log_of(&path).exists(), "the log is there after the last close");
        if self.choices.once_in(4) {
            let entries = store.borrow().now.len();
            self.salvage(&path, entries);
        }
        for flags in [MINIDB_OPEN_READONLY, self.choices.below(2) as u32 * MINIDB_OPEN_NOSYNC] {
            let (code, handle) = api::open(Some(&path), flags | MINIDB_OPEN_EXISTING);
            self.done(code);
            self.add_view(handle, store.clone(), Kind::Database);
            let view = self.views.last().expect("it was just added").clone();
            self.check(&view);
            self.check_handles(&view);
            if flags == MINIDB_OPEN_READONLY {
                self.compare(&view);
                self.close_view(self.views.len() - 1);
            }
        }
    }

    fn close_all_of(&mut self, store: &Shared) {
        while let Some(n) = self.cursors.iter().position(|it| Rc::ptr_eq(&it.store, store)) {
            self.close_cursor(n);
        }
        while let Some(n) = self.views.iter().rposition(|it| Rc::ptr_eq(&it.store, store)) {
            self.close_view(n);
        }
    }

    /// Salvages a closed file, of which nothing is lost.
    fn salvage(&mut self, path: &CStr, entries: usize) {
        let copy = self.files.as_mut().expect("there are files").new_path();
        let report = api::salvage(path, &copy);
        self.done(report.code);
        let report = String::from_utf8(report.bytes.expect("it was wanted")).unwrap();
        let expected = format!("entries {entries}\nlost 0\noutdated 0\ndamaged_roots 0\n");
        assert!(report.starts_with(&expected), "{entries} entries, and the report {report}");
        fs::remove_file(file_of(&copy)).expect("the new file is there");
    }

    /// Saves a view to a file, and compares what that holds.
    fn back_up(&mut self, view: &View) {
        let path = self.files.as_mut().expect("there are files").new_path();
        self.done(api::backup(view.handle, &path));
        self.same("a second backup", api::backup(view.handle, &path), MINIDB_CONFLICT);
        view.looked_at_all();
        let (code, handle) = api::open(Some(&path), MINIDB_OPEN_EXISTING | MINIDB_OPEN_NOSYNC);
        self.done(code);
        let mut now = view.version();
        if view.transaction().is_some() {
            // How many commits that is, nobody has promised.
            let commits = api::stat(handle, MINIDB_STAT_COMMITS, true).1;
            Rc::make_mut(&mut now).commits = commits.expect("it was wanted");
        }
        let opened_with = Some(now.commits);
        let store = Store { now, path: Some(path.clone()), opened_with, ..Store::default() };
        self.add_view(handle, Rc::new(RefCell::new(store)), Kind::Database);
        let copy = self.views.last().expect("it was just added").clone();
        self.check(&copy);
        self.compare(&copy);
        if !self.choices.once_in(4) || !self.may_freeze(copy.len()) {
            self.close_view(self.views.len() - 1);
            fs::remove_file(file_of(&path)).expect("the backup is one file");
        }
    }

    /// A file that is open is opened by nobody else.
    fn open_refused(&mut self, view: &View) {
        let Some(path) = view.store.borrow().path.clone() else {
            return;
        };
        let (flags, code) = match self.choices.below(3) {
            0 => (0, MINIDB_BUSY),
            1 => (MINIDB_OPEN_READONLY, MINIDB_BUSY),
            _ => (MINIDB_OPEN_NEW, MINIDB_CONFLICT),
        };
        self.same("open", api::open(Some(&path), flags), (code, Handle::NULL));
        let store = view.store.borrow();
        if store.opened_with != Some(store.now.commits) {
            assert!(log_of(&path).exists(), "the log is gone before the last close");
        }
    }

    /// The files are counted, and there is no more of them than lies on disk.
    pub(super) fn check_file_bytes(&self, bytes: u64, view: &View) {
        match &view.store.borrow().path {
            None => self.same("the bytes of no file", bytes, 0),
            Some(path) => {
                let there = size(&file_of(path)) + size(&log_of(path));
                assert!(bytes > 0 && bytes <= there, "{bytes} bytes of files, {there} on disk");
            }
        }
    }
}
