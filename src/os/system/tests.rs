use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A folder that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("minidb-system-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Folder(fs::canonicalize(path).unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn file(&self, name: &str) -> Box<dyn File> {
        System.open(&self.path(name), OpenMode::Create).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn errno<T>(result: io::Result<T>) -> i32 {
    result.err().unwrap().raw_os_error().unwrap()
}

fn is_open(descriptor: i32) -> bool {
    // SAFETY: the call takes no memory of this process.
    unsafe { libc::fcntl(descriptor, libc::F_GETFD) != -1 }
}

/// Runs `child` in a child of fork(), which hands `false` to its parent if that
/// returns so, or dies.
fn in_child(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child only does what `child` does, for which the allocator
    // suffices; that works after a fork.
    let process = unsafe { libc::fork() };
    assert_ne!(process, -1);
    if process == 0 {
        let child = std::panic::AssertUnwindSafe(child);
        let code = if std::panic::catch_unwind(child).unwrap_or(false) { 7 } else { 1 };
        // SAFETY: ends the process, without a look at what the parent had begun.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: `status` is the call's to fill.
    assert_eq!(unsafe { libc::waitpid(process, &mut status, 0) }, process);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7
}

#[test]
fn how_a_file_is_opened_is_kept_to() {
    let folder = Folder::new();
    let path = folder.path("a");
    assert_eq!(errno(System.open(&path, OpenMode::Read)), libc::ENOENT);
    assert_eq!(errno(System.open(&path, OpenMode::Write)), libc::ENOENT);
    System.open(&path, OpenMode::New).unwrap().write(b"content", 0).unwrap();
    assert_eq!(errno(System.open(&path, OpenMode::New)), libc::EEXIST);
    assert_eq!(folder.file("a").len().unwrap(), 7, "it is not cut off");
    let read_only = System.open(&path, OpenMode::Read).unwrap();
    assert_eq!(errno(read_only.write(b"c", 0)), libc::EBADF);
    assert_eq!(errno(read_only.set_len(0)), libc::EINVAL);
    let nul = System.open(Path::new("a\0b"), OpenMode::Create);
    assert_eq!(nul.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn what_is_written_is_read_until_the_end() {
    let folder = Folder::new();
    let file = folder.file("a");
    file.write(b"content", 3).unwrap();
    file.sync().unwrap();
    System.sync_folder(&folder.path("a")).unwrap();
    let mut buffer = [1; 10];
    assert_eq!(file.read_some(&mut buffer, 8).unwrap(), 2);
    assert_eq!(file.read_some(&mut buffer, 10).unwrap(), 0);
    assert_eq!(file.read_some(&mut buffer, 1 << 40).unwrap(), 0);
    let kind = file.read(&mut buffer, 1).unwrap_err().kind();
    assert_eq!(kind, io::ErrorKind::UnexpectedEof);
    file.set_len(5).unwrap();
    file.set_len(12).unwrap();
    file.read(&mut buffer, 0).unwrap();
    assert_eq!(&buffer, b"\0\0\0co\0\0\0\0\0");
}

#[test]
fn a_file_is_open_once_by_whatever_path() {
    let folder = Folder::new();
    let file = folder.file("a");
    assert!(file.lock(false).unwrap() && file.lock(false).unwrap());
    symlink("a", folder.path("link")).unwrap();
    fs::hard_link(folder.path("a"), folder.path("hard")).unwrap();
    for name in ["a", "link", "hard"] {
        let other = folder.file(name);
        assert!(!other.lock(false).unwrap() && !other.lock(true).unwrap(), "{name}");
        assert!(file.is_at(&folder.path(name)).unwrap(), "{name}");
    }
    drop(file);
    let (one, other) = (folder.file("a"), folder.file("hard"));
    assert!(one.lock(true).unwrap() && other.lock(true).unwrap(), "readers share");
    assert!(!one.lock(false).unwrap());
}

#[test]
fn a_file_knows_whether_it_is_there_still() {
    let folder = Folder::new();
    let file = folder.file("a");
    assert!(file.is_at(&folder.path("a")).unwrap());
    System.rename_new(&folder.path("a"), &folder.path("b")).unwrap();
    assert!(!file.is_at(&folder.path("a")).unwrap() && file.is_at(&folder.path("b")).unwrap());
    assert!(!file.is_at(&folder.path("b/c")).unwrap());
    System.remove(&folder.path("b")).unwrap();
    folder.file("b");
    assert!(!file.is_at(&folder.path("b")).unwrap(), "that is another one");
}

#[test]
fn renaming_overwrites_nothing() {
    let folder = Folder::new();
    folder.file("a").write(b"a", 0).unwrap();
    folder.file("b").write(b"b", 0).unwrap();
    let (a, b) = (folder.path("a"), folder.path("b"));
    assert_eq!(System.rename_new(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(link_new(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&b).unwrap(), b"b");
    System.rename_new(&a, &folder.path("c")).unwrap();
    link_new(&folder.path("c"), &folder.path("d")).unwrap();
    assert_eq!(fs::read(folder.path("d")).unwrap(), b"a");
    assert!(!a.exists() && !folder.path("c").exists());
    assert_eq!(errno(System.rename_new(&a, &folder.path("e"))), libc::ENOENT);
}

#[test]
fn what_cannot_be_linked_is_renamed() {
    let folder = Folder::new();
    let (a, b) = (folder.path("a"), folder.path("b"));
    fs::create_dir(&a).unwrap(); // a folder has one name only
    symlink("nowhere", &b).unwrap();
    assert_eq!(link_new(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    fs::remove_file(&b).unwrap();
    link_new(&a, &b).unwrap();
    assert!(!a.exists() && b.is_dir());
}

#[test]
fn a_path_is_resolved_though_no_file_is_there() {
    let folder = Folder::new();
    let resolve = |name: &str| System.resolve(&folder.path(name));
    assert_eq!(resolve("a").unwrap(), folder.path("a"));
    fs::create_dir(folder.path("sub")).unwrap();
    symlink("sub", folder.path("s")).unwrap();
    symlink("s/../s/target", folder.path("one")).unwrap();
    symlink(folder.path("one"), folder.path("two")).unwrap();
    assert_eq!(resolve("two").unwrap(), folder.path("sub/target"), "it dangles");
    folder.file("sub/target");
    assert_eq!(resolve("sub/../two").unwrap(), folder.path("sub/target"));
    symlink("loop", folder.path("loop")).unwrap();
    assert_eq!(errno(resolve("loop")), libc::ELOOP);
    assert_eq!(errno(resolve("none/a")), libc::ENOENT);
    assert_eq!(errno(resolve("a/")), libc::EISDIR);
    for path in ["", "/", "..", "a\0b"] {
        assert!(System.resolve(Path::new(path)).is_err(), "{path:?}");
    }
    let here = std::env::current_dir().unwrap();
    assert_eq!(System.resolve(Path::new("a")).unwrap(), fs::canonicalize(here).unwrap().join("a"));
    let bytes = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    assert_eq!(System.resolve(&folder.0.join(bytes)).unwrap(), folder.0.join(bytes));
}

#[test]
fn a_pipe_or_a_folder_is_no_ordinary_file() {
    let folder = Folder::new();
    let pipe = folder.path("pipe");
    let name = std::ffi::CString::new(pipe.as_os_str().as_bytes()).unwrap();
    // SAFETY: the text ends with NUL.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    assert!(!System.open(&pipe, OpenMode::Read).unwrap().is_ordinary().unwrap());
    assert!(!System.open(&pipe, OpenMode::Create).unwrap().is_ordinary().unwrap());
    assert!(!System.open(&folder.0, OpenMode::Read).unwrap().is_ordinary().unwrap());
    assert_eq!(errno(System.open(&folder.0, OpenMode::Write)), libc::EISDIR);
    assert!(folder.file("a").is_ordinary().unwrap());
}

#[test]
fn no_descriptor_is_a_stream() {
    let folder = Folder::new();
    assert!(in_child(|| {
        (0..3).for_each(close);
        let Ok(file) = System.open(&folder.path("a"), OpenMode::New) else {
            return false;
        };
        let synced = System.sync_folder(&folder.path("a")).is_ok();
        synced && file.write(b"a", 0).is_ok() && !(0..3).any(is_open)
    }));
    assert_eq!(fs::read(folder.path("a")).unwrap(), b"a");
}

#[test]
fn no_descriptor_is_passed_on() {
    let folder = Folder::new();
    let file = RealFile::open(&folder.path("a"), OpenMode::Create).unwrap();
    let descriptor = file.descriptor.number();
    // SAFETY: the call takes no memory of this process.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFD) };
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
}

#[test]
fn a_child_keeps_neither_the_file_nor_the_lock() {
    let folder = Folder::new();
    let file = RealFile::open(&folder.path("a"), OpenMode::Create).unwrap();
    assert!(file.lock(false).unwrap());
    let descriptor = file.descriptor.number();
    assert!(in_child(|| {
        let gone = !is_open(descriptor) && file.write(b"a", 0).is_err();
        // Somebody else gets the number, and this process opens a file.
        // SAFETY: the calls take no memory of this process.
        let other = unsafe { libc::fcntl(2, libc::F_DUPFD, descriptor) };
        let mine = System.open(&folder.path("b"), OpenMode::Create).unwrap();
        drop(file);
        let kept = other == descriptor && is_open(other) && mine.write(b"b", 0).is_ok();
        // The parent has it still.
        gone && kept && !folder.file("a").lock(true).unwrap()
    }));
    assert!(folder.file("a").lock(false).unwrap(), "it is dropped here, too");
}

#[test]
fn closing_unlocks_though_another_process_has_the_descriptor() {
    let folder = Folder::new();
    let mut file = ManuallyDrop::new(RealFile::open(&folder.path("a"), OpenMode::Create).unwrap());
    assert!(file.lock(false).unwrap());
    // SAFETY: the call takes no memory of this process.
    let copy = unsafe { libc::dup(file.descriptor.number()) };
    // A child leaves its parent the lock.
    assert!(in_child(|| {
        // SAFETY: this is the child's copy, which it uses no more.
        unsafe { ManuallyDrop::drop(&mut file) };
        true
    }));
    assert!(!folder.file("a").lock(false).unwrap());
    drop(ManuallyDrop::into_inner(file));
    assert!(folder.file("a").lock(false).unwrap());
    close(copy);
}

#[test]
#[cfg(target_os = "linux")]
fn file_systems_of_the_network_are_known() {
    // By statfs(2): NFS, CIFS, SMB2, 9p.
    assert!([0x6969, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997].into_iter().all(is_network));
    // ext4, XFS, Btrfs, tmpfs, overlayfs.
    let local = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630];
    assert!(!local.into_iter().any(is_network));
    assert!(!is_remote(&Folder::new().0).unwrap());
}
