//! Every rule that holds between calls, checked.

use std::cmp::Ordering;

use super::super::memory::{BlobId, PageId, Source};
use super::super::node::inner::{Inner, Separator};
use super::super::node::key::Key;
use super::super::node::leaf::Leaf;
use super::visit::{Position, Visitor, walk};
use super::{Index, LEVELS_MAX, Snapshot, Totals, Tree};

/// The visitor that checks a tree and counts what it has.
struct Census<'a, S> {
    source: &'a S,
    pages: usize,
    blobs: usize,
    entries: u64,
    bytes: u64,
    /// The key of the latest entry.
    last: Option<Separator>,
}

impl Index {
    /// Verifies the latest tree and its books: the numbers of pages and blobs, all and those
    /// kept for snapshots only. Returns the first rule that is broken, in words.
    pub(crate) fn check(&self) -> Result<(), String> {
        let [(pages, blobs), (old_pages, old_blobs)] =
            [self.pages.population(), self.pages.retired()];
        let census = self.tree.check(&self.pages, self.totals.get())?;
        if pages != census.pages + old_pages || blobs != census.blobs + old_blobs {
            return Err(format!(
                "of {pages} pages and {blobs} blobs, {} and {} are in the tree, {old_pages} and \
                 {old_blobs} kept for snapshots",
                census.pages, census.blobs
            ));
        }
        Ok(())
    }
}

impl Snapshot {
    /// Verifies the tree that the snapshot shows.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.tree.check(&self.frozen, self.totals).map(drop)
    }
}

impl Tree {
    fn check<'a, S: Source>(&self, source: &'a S, totals: Totals) -> Result<Census<'a, S>, String> {
        if self.height >= LEVELS_MAX {
            return Err(format!("the tree has {} levels", self.height));
        }
        let mut census = Census { source, pages: 0, blobs: 0, entries: 0, bytes: 0, last: None };
        walk(&mut census, self.root, self.height)?;
        if census.entries != totals.count || census.bytes != totals.bytes {
            return Err(format!(
                "the tree has {} entries of {} bytes, and its root says {} of {}",
                census.entries, census.bytes, totals.count, totals.bytes
            ));
        }
        Ok(census)
    }
}

impl<S: Source> Visitor for Census<'_, S> {
    type Error = String;

    fn body(&self, page: PageId) -> &[u8] {
        self.source.page(page)
    }

    fn enter(&mut self, node: &Position<'_>) -> Result<bool, String> {
        self.pages += 1;
        let (low, high) = (node.low(self), node.high(self));
        let body = self.source.page(node.page);
        let checked = match node.height {
            0 => self.check_leaf(Leaf::new(body), low, high),
            _ => self.check_inner(Inner::new(body), low),
        };
        checked.map_err(|what| format!("{what} (page {:?}, level {})", node.page, node.height))?;
        Ok(true)
    }

    fn blob(&mut self, _: BlobId) -> Result<(), String> {
        self.blobs += 1;
        Ok(())
    }
}

impl<S: Source> Census<'_, S> {
    fn check_leaf(
        &mut self,
        leaf: Leaf<'_>,
        low: Option<Separator>,
        high: Option<Separator>,
    ) -> Result<(), &'static str> {
        leaf.check()?;
        for i in 0..leaf.len() {
            let key = Separator { inline: leaf.inline_key(i), tail: leaf.entry(i).tail };
            let is_less = |other: &Separator| self.compare(&key, other) == Ordering::Less;
            if self.last.as_ref().is_some_and(|last| self.compare(last, &key) != Ordering::Less) {
                return Err("keys are out of order");
            }
            if low.as_ref().is_some_and(is_less) || high.as_ref().is_some_and(|key| !is_less(key)) {
                return Err("a key is not between the separators around it");
            }
            let whole = Key { inline: &key.inline, tail: self.tail(&key) };
            if leaf.find(self.source, whole) != Ok(i) {
                return Err("a key is not found where it is");
            }
            self.entries += 1;
            self.bytes += leaf.entry_len(i, self.source) as u64;
            self.last = Some(key);
        }
        Ok(())
    }

    fn check_inner(
        &self,
        inner: Inner<'_>,
        mut low: Option<Separator>,
    ) -> Result<(), &'static str> {
        inner.check()?;
        for i in 0..inner.len() {
            let next = inner.separator(i);
            if low.is_some_and(|low| self.compare(&low, &next) != Ordering::Less) {
                return Err("separators are out of order");
            }
            low = Some(next);
        }
        Ok(())
    }

    fn compare(&self, one: &Separator, other: &Separator) -> Ordering {
        let inline = one.inline.cmp(&other.inline);
        inline.then_with(|| self.tail(one).cmp(self.tail(other)))
    }

    fn tail(&self, key: &Separator) -> &[u8] {
        key.tail.map_or(&[], |id| self.source.blob(id))
    }
}
