//! Compaction: pages move out of slabs in which few remain, so that these become empty and
//! their memory goes back to the system.
//!
//! A few pages move with some of the commits, and more after what closes a snapshot has freed
//! pages. A slab does not know the parents of its pages: the first key of a page leads to it, if
//! it is in the live tree and its key has no tail. Blobs move, too; their numbers stay. What a
//! snapshot sees stays where it is. A page that keeps its size takes no memory to move, since a
//! lower slab has room; a leaf that becomes smaller may take a slab.

use super::super::memory::{BODY_MAX, PageId, Source};
use super::super::node::inner::Inner;
use super::super::node::key::Key;
use super::super::node::leaf::Leaf;
use super::Index;
use super::put::tight;

impl Index {
    /// Moves up to `limit` pages, or about as many bytes of blobs, to fuller slabs, if much
    /// memory is idle.
    #[inline]
    pub(super) fn compact(&mut self, limit: usize) {
        if self.compacts && self.pages.is_sparse() {
            self.move_some(limit);
        }
    }

    #[cold]
    fn move_some(&mut self, limit: usize) {
        let mut bytes = limit * BODY_MAX;
        while bytes > 0 {
            if let Some(page) = self.pages.next_thin() {
                self.move_page(page);
            }
            bytes = bytes.saturating_sub(BODY_MAX + self.pages.move_blob());
        }
    }

    /// Moves a page that no snapshot sees, if it is one of the live tree.
    fn move_page(&mut self, page: PageId) {
        let (level, body) = (self.pages.level(page), self.pages.page(page));
        let (leaf, inner) = (Leaf::new(body), Inner::new(body));
        let key = match level {
            0 if leaf.len() > 0 => leaf.inline_key(0),
            1.. if inner.len() > 0 => inner.separator(0).inline,
            _ => return,
        };
        let (path, leaf) = self.tree.path_to(&self.pages, Key::new(&key));
        let depth = path.len().checked_sub(level);
        let found = depth.map(|depth| if level == 0 { leaf } else { path.at(depth).0 });
        let (Some(depth), true) = (depth, found == Some(page)) else {
            return;
        };
        if level == 0 && tight(Leaf::new(self.pages.page(page)).used()) < page.body_len() {
            return self.shrink_leaf(&path, page);
        }
        let copy = self.pages.copy(page);
        self.replace_child(&path, depth, copy);
    }
}
