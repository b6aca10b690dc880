//! A cursor of a transaction: the entries of the view that it began with, under
//! what it has written itself.

use std::ops::Bound;

use super::super::in_memory_db::to_vec;
use super::super::index::{Bounds, Cursor, Sink};
use super::own::{Bytes, Own, Says};
use super::reads::{Reads, SpanId};
use crate::error::DBResult;
use crate::sync::{Arc, Mutex};

/// Where the cursor is.
#[derive(Clone, Debug)]
enum At {
    New,
    BeforeFirst,
    /// Where the cursor on the view is.
    Base,
    /// At an entry of the transaction's own.
    Own(Bytes, Bytes),
    AfterLast,
}

/// What a transaction adds to a cursor on its view.
#[derive(Debug)]
pub(in super::super) struct Merge {
    own: Arc<Own>,
    /// Writes made before it was opened.
    writes: u64,
    bounds: Bounds,
    reads: Arc<Mutex<Reads>>,
    span: Option<SpanId>,
    at: At,
}

impl Merge {
    pub(super) fn new(
        own: Arc<Own>,
        writes: u64,
        bounds: Bounds,
        reads: Arc<Mutex<Reads>>,
    ) -> Merge {
        Merge { own, writes, bounds, reads, span: None, at: At::New }
    }

    pub(in super::super) fn first(&mut self, base: &mut Cursor) -> DBResult<bool> {
        self.span = Some(self.reads.lock()?.walk(self.bounds.low(), false, self.writes)?);
        let found = base.first()?;
        self.settle(base, found, Bound::Unbounded, false)
    }

    pub(in super::super) fn last(&mut self, base: &mut Cursor) -> DBResult<bool> {
        self.span = Some(self.reads.lock()?.walk(self.bounds.high(), true, self.writes)?);
        let found = base.last()?;
        self.settle(base, found, Bound::Unbounded, true)
    }

    pub(in super::super) fn seek(&mut self, base: &mut Cursor, key: &[u8]) -> DBResult<bool> {
        let key = match self.bounds.low() {
            Bound::Included(low) => to_vec(key.max(low))?,
            _ => to_vec(key)?,
        };
        let start = Bound::Included(&key[..]);
        self.span = Some(self.reads.lock()?.walk(start, false, self.writes)?);
        let found = base.seek(&key)?;
        self.settle(base, found, Bound::Included(&key), false)
    }

    pub(in super::super) fn next(&mut self, base: &mut Cursor) -> DBResult<bool> {
        let here = match &self.at {
            At::New | At::BeforeFirst => return self.first(base),
            At::AfterLast => return Ok(false),
            At::Base => to_vec(base.key().unwrap_or_default())?,
            At::Own(key, _) => to_vec(key.get())?,
        };
        let found = match self.at {
            At::Base => base.next()?,
            // What the view has under that key is hidden, and passed over.
            _ => base.seek(&here)?,
        };
        self.settle(base, found, Bound::Excluded(&here), false)
    }

    pub(in super::super) fn prev(&mut self, base: &mut Cursor) -> DBResult<bool> {
        let here = match &self.at {
            At::New | At::AfterLast => return self.last(base),
            At::BeforeFirst => return Ok(false),
            At::Base => to_vec(base.key().unwrap_or_default())?,
            At::Own(key, _) => to_vec(key.get())?,
        };
        if !matches!(self.at, At::Base) {
            base.seek(&here)?;
        }
        let found = base.prev()?;
        self.settle(base, found, Bound::Excluded(&here), true)
    }

    /// Goes to the nearest entry from `start` on: of the view, whose cursor is
    /// `found` one there or not, or of the transaction's own.
    fn settle(
        &mut self,
        base: &mut Cursor,
        mut found: bool,
        start: Bound<&[u8]>,
        back: bool,
    ) -> DBResult<bool> {
        while found && !matches!(self.own.says(base.key().unwrap_or_default()), Says::Nothing) {
            found = if back { base.prev()? } else { base.next()? };
        }
        let (low, high) = match (start, back) {
            (Bound::Unbounded, _) => (self.bounds.low(), self.bounds.high()),
            (_, false) => (start, self.bounds.high()),
            (_, true) => (self.bounds.low(), start),
        };
        let own = self.own.nearest(low, high, back);
        let base_key = if found { base.key() } else { None };
        let nearer = |key: &[u8]| base_key.is_none_or(|it| if back { key > it } else { key < it });
        let at = match own.filter(|(key, _)| nearer(key.get())) {
            Some((key, value)) => At::Own(key.clone(), value.clone()),
            None if found => At::Base,
            None if back => At::BeforeFirst,
            None => At::AfterLast,
        };
        let reached = match &at {
            At::Own(key, _) => Bound::Included(key.get()),
            At::Base => Bound::Included(base_key.unwrap_or_default()),
            _ if back => self.bounds.low(),
            _ => self.bounds.high(),
        };
        if let Some(span) = self.span {
            let mut reads = self.reads.lock()?;
            match back {
                true => reads.down(span, reached)?,
                false => reads.up(span, reached)?,
            }
        }
        self.at = at;
        Ok(matches!(self.at, At::Own(..) | At::Base))
    }

    pub(in super::super) fn key_with_nul<'a>(&'a self, base: &'a Cursor) -> Option<&'a [u8]> {
        match &self.at {
            At::Base => base.key_with_nul(),
            At::Own(key, _) => Some(key.with_nul()),
            _ => None,
        }
    }

    pub(in super::super) fn value_with_nul<'a>(&'a self, base: &'a Cursor) -> Option<&'a [u8]> {
        match &self.at {
            At::Base => base.value_with_nul(),
            At::Own(_, value) => Some(value.with_nul()),
            _ => None,
        }
    }

    /// As [`Cursor::read`].
    pub(in super::super) fn read(
        &mut self,
        base: &mut Cursor,
        sink: &mut impl Sink,
    ) -> DBResult<bool> {
        let mut any = false;
        loop {
            let before = self.at.clone();
            let here =
                self.key_with_nul(base).map(|key| to_vec(&key[..key.len() - 1])).transpose()?;
            if !self.next(base)? {
                if any {
                    self.prev(base)?; // it stays at the last entry read
                }
                return Ok(any);
            }
            let part = |bytes: Option<&'_ [u8]>| bytes.map_or(0, |bytes| bytes.len() - 1);
            let (key, value) = (self.key_with_nul(base), self.value_with_nul(base));
            if !sink.fits(part(key), part(value)) {
                match here {
                    Some(key) => drop(self.seek(base, &key)?),
                    None => self.at = before,
                }
                return Ok(true);
            }
            let (key, value) = (key.unwrap_or(&[0]), value.unwrap_or(&[0]));
            sink.push(&key[..key.len() - 1], &value[..value.len() - 1]);
            any = true;
        }
    }
}
