//! The last handle closes the file, whichever handle that is.

use minidb::DB;
use minidb::os::sim::SimDisk;
use shuttle::thread;

use crate::runner::{keys, open};
use minidb::Options;

pub fn last_handle() {
    let disk = SimDisk::new(1);
    // With a thread for checkpoints, which the last handle has to end.
    let db = open(&disk, Options::new().checkpoint_bytes(200));
    let (writer, reader) = (db.clone(), db.clone());
    let write = move || {
        for n in 0..3 {
            writer.put(&[n], &[n; 100]).unwrap();
        }
    };
    let read = move || {
        let snapshot = reader.snapshot().unwrap();
        let mut txn = reader.begin().unwrap();
        drop(reader);
        let count = snapshot.count().unwrap();
        txn.put(b"txn", b"").unwrap();
        assert!(txn.commit().unwrap());
        drop(txn);
        assert_eq!(snapshot.iter().unwrap().count() as u64, count);
    };
    let threads = [thread::spawn(write), thread::spawn(read)];
    drop(db);
    for it in threads {
        it.join().unwrap();
    }
    assert_eq!(disk.names(), ["db"].map(std::path::PathBuf::from));
    assert_eq!(keys(&open(&disk, Options::new().read_only())).len(), 4);
}
