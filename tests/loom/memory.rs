//! What `lock.rs` stands beside in `src/storage/index/memory`.

use loom::sync::atomic::AtomicU32;

#[path = "../../src/storage/index/memory/lock.rs"]
mod lock;

use lock::PageLock;

pub fn while_read(lock: &AtomicU32, body: impl FnOnce()) {
    let _lock = PageLock::to_read(lock);
    body();
}

pub fn while_changed(lock: &AtomicU32, body: impl FnOnce()) {
    let _lock = PageLock::to_change(lock);
    body();
}
