//! The walk over all nodes and blobs of a tree: checking, releasing, taking an image,
//! restoring and salvaging are visitors of it.
//!
//! The walk holds no reference to a page between two calls, so a visitor may edit
//! the pages that it visits.

use super::super::memory::{BlobId, PageId};
use super::super::node::inner::{Inner, Separator};
use super::super::node::leaf::Leaf;

/// A consumer of the nodes and blobs of a tree.
pub(crate) trait Visitor {
    type Error;

    /// The body of a page that the walk is in.
    fn body(&self, page: PageId) -> &[u8];

    /// Visits a node, before the blobs and children that it refers to; if false is
    /// returned the walk skips these, and [`Visitor::leave`].
    fn enter(&mut self, node: &Position<'_>) -> Result<bool, Self::Error>;

    /// Visits a blob: the tail of a separator or of a key, or a value.
    fn blob(&mut self, _: BlobId) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Visits a node again, after all that is below it.
    fn leave(&mut self, _: &Position<'_>) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// The place of a node in a tree.
#[derive(Debug)]
pub(crate) struct Position<'a> {
    pub(crate) page: PageId,
    /// Levels below the node; 0 for a leaf.
    pub(crate) height: usize,
    /// The parent, and the node's number among its children.
    parent: Option<(&'a Position<'a>, usize)>,
}

impl Position<'_> {
    /// The greatest separator to the left of the node; none of its keys is less.
    pub(crate) fn low(&self, visitor: &impl Visitor) -> Option<Separator> {
        let (parent, child) = self.parent?;
        match child.checked_sub(1) {
            Some(at) => Some(Inner::new(visitor.body(parent.page)).separator(at)),
            None => parent.low(visitor),
        }
    }

    /// The least separator to the right of the node; all of its keys are less.
    pub(crate) fn high(&self, visitor: &impl Visitor) -> Option<Separator> {
        let (parent, child) = self.parent?;
        let inner = Inner::new(visitor.body(parent.page));
        if child < inner.len() { Some(inner.separator(child)) } else { parent.high(visitor) }
    }
}

/// Walks the tree with this root from the least key to the greatest.
pub(crate) fn walk<V: Visitor>(
    visitor: &mut V,
    root: PageId,
    height: usize,
) -> Result<(), V::Error> {
    walk_node(visitor, &Position { page: root, height, parent: None })
}

fn walk_node<V: Visitor>(visitor: &mut V, node: &Position<'_>) -> Result<(), V::Error> {
    if !visitor.enter(node)? {
        return Ok(());
    }
    if node.height == 0 {
        for i in 0..Leaf::new(visitor.body(node.page)).len() {
            let blobs = Leaf::new(visitor.body(node.page)).blobs(i);
            blobs.into_iter().try_for_each(|id| visitor.blob(id))?;
        }
        return visitor.leave(node);
    }
    for i in 0..=Inner::new(visitor.body(node.page)).len() {
        let inner = Inner::new(visitor.body(node.page));
        let (page, tail) = (inner.child(i), i.checked_sub(1).and_then(|at| inner.tail(at)));
        tail.map_or(Ok(()), |id| visitor.blob(id))?;
        walk_node(visitor, &Position { page, height: node.height - 1, parent: Some((node, i)) })?;
    }
    visitor.leave(node)
}
