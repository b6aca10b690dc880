//! Every rule that holds between calls, checked.

use std::cmp::Ordering;

use super::super::memory::{BlobId, PageId, Source};
use super::super::node::inner::Inner;
use super::super::node::leaf::{Leaf, Value};
use super::{Index, LEVELS_MAX, Snapshot, Totals, Tree};

/// A whole key as nodes hold it.
#[derive(Clone)]
struct StoredKey {
    inline: Vec<u8>,
    tail: Option<BlobId>,
}

impl StoredKey {
    fn cmp(&self, other: &StoredKey, source: &impl Source) -> Ordering {
        let tail = |key: &StoredKey| key.tail.map_or(&[][..], |id| source.blob(id));
        self.inline.cmp(&other.inline).then_with(|| tail(self).cmp(tail(other)))
    }
}

/// What a walk over a tree has found so far.
#[derive(Default)]
struct Census {
    pages: usize,
    blobs: usize,
    entries: u64,
    bytes: u64,
    last: Option<StoredKey>,
}

impl Index {
    /// Verifies the living tree and its books. Returns the first rule that is
    /// broken, in words.
    #[cfg(test)]
    pub(crate) fn check(&self) -> Result<(), String> {
        let books = [self.pages.population(), self.pages.retired()];
        self.tree.check_live(&self.pages, self.totals.get(), books)
    }
}

impl Tree {
    /// Verifies the live tree and its books: the numbers of pages and blobs, all and those
    /// kept for snapshots only.
    pub(super) fn check_live(
        &self,
        source: &impl Source,
        totals: Totals,
        [(pages, blobs), (old_pages, old_blobs)]: [(usize, usize); 2],
    ) -> Result<(), String> {
        let census = self.check(source, totals)?;
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
    fn check(&self, source: &impl Source, totals: Totals) -> Result<Census, String> {
        if self.height >= LEVELS_MAX {
            return Err(format!("the tree has {} levels", self.height));
        }
        let mut census = Census::default();
        walk(source, self.root, self.height, None, None, &mut census)?;
        if census.entries != totals.count || census.bytes != totals.bytes {
            return Err(format!(
                "the tree has {} entries of {} bytes, and its root says {} of {}",
                census.entries, census.bytes, totals.count, totals.bytes
            ));
        }
        Ok(census)
    }
}

fn walk(
    source: &impl Source,
    page: PageId,
    height: usize,
    low: Option<&StoredKey>,
    high: Option<&StoredKey>,
    census: &mut Census,
) -> Result<(), String> {
    let here = |what: &str| format!("{what} (page {page:?}, level {height})");
    census.pages += 1;
    if height == 0 {
        let leaf = Leaf::new(source.page(page));
        leaf.check().map_err(here)?;
        for i in 0..leaf.len() {
            let entry = leaf.entry(i);
            let key = StoredKey { inline: leaf.inline_key(i), tail: entry.tail };
            let after = |other: &StoredKey| key.cmp(other, source) == Ordering::Greater;
            if census.last.as_ref().is_some_and(|last| !after(last)) {
                return Err(here("keys are out of order"));
            }
            if low.is_some_and(|low| key.cmp(low, source) == Ordering::Less)
                || high.is_some_and(|high| key.cmp(high, source) != Ordering::Less)
            {
                return Err(here("a key is not between the separators around it"));
            }
            if leaf.find(
                source,
                super::Key {
                    inline: &key.inline,
                    tail: entry.tail.map_or(&[], |id| source.blob(id)),
                },
            ) != Ok(i)
            {
                return Err(here("a key is not found where it is"));
            }
            census.entries += 1;
            census.bytes += leaf.entry_len(i, source) as u64;
            census.blobs += usize::from(entry.tail.is_some());
            census.blobs += usize::from(matches!(entry.value, Value::Blob(_)));
            census.last = Some(key);
        }
        return Ok(());
    }
    let inner = Inner::new(source.page(page));
    inner.check().map_err(here)?;
    let mut low = low.cloned();
    for i in 0..=inner.len() {
        let next = (i < inner.len()).then(|| {
            let separator = inner.separator(i);
            StoredKey { inline: separator.inline, tail: separator.tail }
        });
        census.blobs += usize::from(next.as_ref().is_some_and(|next| next.tail.is_some()));
        if let (Some(low), Some(next)) = (&low, &next)
            && low.cmp(next, source) != Ordering::Less
        {
            return Err(here("separators are out of order"));
        }
        walk(source, inner.child(i), height - 1, low.as_ref(), next.as_ref().or(high), census)?;
        low = next.or(low);
    }
    Ok(())
}
