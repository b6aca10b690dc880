//! What `latch.rs` stands beside in `src/storage/index/memory`.

use loom::sync::atomic::AtomicU32;

#[path = "../../src/storage/index/memory/latch.rs"]
mod latch;

use latch::PageLatch;

pub fn while_read(lock: &AtomicU32, body: impl FnOnce()) {
    let _lock = PageLatch::to_read(lock);
    body();
}

pub fn while_changed(lock: &AtomicU32, body: impl FnOnce()) {
    let _lock = PageLatch::to_edit(lock);
    body();
}
