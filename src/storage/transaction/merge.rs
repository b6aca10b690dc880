//! A cursor of a transaction: the entries of the view that it began with, under
//! what it has written itself.
//!
//! Two cursors go the same way, one on the view and one on the transaction's own
//! keys. The entry that stands nearer is next; of a key that both have, the own.

use std::cmp::Ordering;
use std::ops::Bound;

use super::super::index::{Bounds, Cursor, Sink};
use super::read_set::{ReadSet, SpanId};
use super::write_set::{Bytes, WriteSet};
use crate::error::{DBResult, OutOfMemory};
use crate::sync::{Arc, Mutex};

/// Where the cursor is.
#[derive(Debug)]
enum At {
    New,
    BeforeFirst,
    /// Where the cursor on the view is.
    Base,
    /// At an entry of the transaction's own.
    WriteSet(Bytes, Bytes),
    AfterLast,
}

/// An own key, and its value if it was not removed.
type OwnKey = Option<(Bytes, Option<Bytes>)>;

/// What a transaction adds to a cursor on its view.
#[derive(Debug)]
pub(in super::super) struct Merge {
    own: Arc<WriteSet>,
    /// Writes made before it was opened.
    writes: u64,
    bounds: Bounds,
    reads: Arc<Mutex<ReadSet>>,
    span: Option<SpanId>,
    at: At,
    /// Which way it has gone.
    back: bool,
    /// The next own key that way.
    ahead: OwnKey,
    /// At an own entry: whether the view has an entry there or further that way;
    /// its cursor is at the first of them.
    found: bool,
}

/// Steps of a cursor on a view, to be taken back if one fails.
struct Steps<'a> {
    base: &'a mut Cursor,
    back: bool,
    taken: usize,
}

impl Steps<'_> {
    fn step(&mut self) -> Result<bool, OutOfMemory> {
        let found = go(self.base, self.back);
        match found {
            Ok(_) => self.taken += 1,
            // There was memory for those keys.
            Err(_) => (0..self.taken).for_each(|_| _ = go(self.base, !self.back)),
        }
        found
    }
}

fn go(base: &mut Cursor, back: bool) -> Result<bool, OutOfMemory> {
    if back { base.prev() } else { base.next() }
}

impl Merge {
    pub(super) fn new(
        own: Arc<WriteSet>,
        writes: u64,
        bounds: Bounds,
        reads: Arc<Mutex<ReadSet>>,
    ) -> Merge {
        let (span, at, back, ahead, found) = (None, At::New, false, None, false);
        Merge { own, writes, bounds, reads, span, at, back, ahead, found }
    }

    pub(in super::super) fn first(&mut self, base: &mut Cursor) -> DBResult<bool> {
        self.jump(base, None, false)
    }

    pub(in super::super) fn last(&mut self, base: &mut Cursor) -> DBResult<bool> {
        self.jump(base, None, true)
    }

    pub(in super::super) fn seek(&mut self, base: &mut Cursor, key: &[u8]) -> DBResult<bool> {
        match self.bounds.low() {
            Bound::Included(low) if key < low => self.first(base),
            _ => self.jump(base, Some(key), false),
        }
    }

    pub(in super::super) fn next(&mut self, base: &mut Cursor) -> DBResult<bool> {
        match self.at {
            At::New | At::BeforeFirst => self.first(base),
            At::AfterLast => Ok(false),
            At::Base | At::WriteSet(..) => self.step(base, false),
        }
    }

    pub(in super::super) fn prev(&mut self, base: &mut Cursor) -> DBResult<bool> {
        match self.at {
            At::New | At::AfterLast => self.last(base),
            At::BeforeFirst => Ok(false),
            At::Base | At::WriteSet(..) => self.step(base, true),
        }
    }

    /// Begins a walk at a key, or at an end.
    fn jump(&mut self, base: &mut Cursor, to: Option<&[u8]>, back: bool) -> DBResult<bool> {
        let (low, high) = (self.bounds.low(), self.bounds.high());
        let from = to.map_or(if back { high } else { low }, Bound::Included);
        let span = self.reads.lock()?.walk(self.span, from, back, self.writes)?;
        let found = match to {
            Some(key) => base.seek(key)?,
            None if back => base.last()?,
            None => base.first()?,
        };
        let ahead = self.own.nearest(if back { low } else { from }, high, back);
        (self.span, self.at) = (Some(span), At::New);
        self.settle(Steps { base, back, taken: 0 }, found, Some(ahead))
    }

    /// Goes to the entry beside the one that it is at.
    fn step(&mut self, base: &mut Cursor, back: bool) -> DBResult<bool> {
        let turned = self.back != back;
        let ahead = match &self.at {
            At::WriteSet(key, _) if turned => Some(self.beyond(key.get(), back)),
            _ if turned => Some(self.beyond(base.key().unwrap_or_default(), back)),
            _ => None,
        };
        let stays = match &self.at {
            At::WriteSet(key, _) if !turned => !self.found || base.key() != Some(key.get()),
            _ => false,
        };
        let mut steps = Steps { base, back, taken: 0 };
        let found = if stays { self.found } else { steps.step()? };
        self.settle(steps, found, ahead)
    }

    /// The own key beyond another.
    fn beyond(&self, key: &[u8], back: bool) -> OwnKey {
        match back {
            false => self.own.nearest(Bound::Excluded(key), self.bounds.high(), false),
            true => self.own.nearest(self.bounds.low(), Bound::Excluded(key), true),
        }
    }

    /// Goes to the nearest entry: of the view, whose cursor is `found` one or not,
    /// or of the transaction's own, where `ahead` is new if it is there.
    fn settle(
        &mut self,
        mut steps: Steps<'_>,
        mut found: bool,
        mut ahead: Option<OwnKey>,
    ) -> DBResult<bool> {
        let back = steps.back;
        let at = loop {
            let key = if found { steps.base.key() } else { None };
            let order = match (key, ahead.as_ref().unwrap_or(&self.ahead)) {
                (None, None) => break if back { At::BeforeFirst } else { At::AfterLast },
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(key), Some((own, _))) if back => own.get().cmp(key),
                (Some(key), Some((own, _))) => key.cmp(own.get()),
            };
            if order == Ordering::Less {
                if !self.own.has_cleared(key.unwrap_or_default()) {
                    break At::Base;
                }
                found = steps.step()?;
                continue;
            }
            let Some((own, value)) = ahead.take().unwrap_or_else(|| self.ahead.clone()) else {
                continue; // there is one, as `order` says
            };
            ahead = Some(self.beyond(own.get(), back));
            match value {
                Some(value) => break At::WriteSet(own, value),
                None if order == Ordering::Equal => found = steps.step()?,
                None => {}
            }
        };
        let reached = match &at {
            At::WriteSet(key, _) => Bound::Included(key.get()),
            At::Base => Bound::Included(steps.base.key().unwrap_or_default()),
            _ if back => self.bounds.low(),
            _ => self.bounds.high(),
        };
        if let Some(span) = self.span {
            self.reads.lock()?.extend(span, reached, back);
        }
        self.ahead = ahead.unwrap_or_else(|| self.ahead.take());
        (self.at, self.back, self.found) = (at, back, found);
        Ok(matches!(self.at, At::WriteSet(..) | At::Base))
    }

    pub(in super::super) fn key_with_nul<'a>(&'a self, base: &'a Cursor) -> Option<&'a [u8]> {
        match &self.at {
            At::Base => base.key_with_nul(),
            At::WriteSet(key, _) => Some(key.with_nul()),
            _ => None,
        }
    }

    pub(in super::super) fn value_with_nul<'a>(&'a self, base: &'a Cursor) -> Option<&'a [u8]> {
        match &self.at {
            At::Base => base.value_with_nul(),
            At::WriteSet(_, value) => Some(value.with_nul()),
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
            let before = match self.at {
                At::New => Some(At::New),
                At::BeforeFirst => Some(At::BeforeFirst),
                _ => None,
            };
            match self.next(base) {
                Ok(true) => {}
                Ok(false) if any => return self.prev(base), // it stays at the last entry read
                Err(_) if any => return Ok(true),           // for the next call to meet again
                end => return end,
            }
            let (key, value) = (self.key_with_nul(base), self.value_with_nul(base));
            let (key, value) = (key.unwrap_or(&[0]), value.unwrap_or(&[0]));
            let (key, value) = (&key[..key.len() - 1], &value[..value.len() - 1]);
            if !sink.fits(key.len(), value.len()) {
                match before {
                    Some(at) => self.at = at,
                    None => drop(self.prev(base)?),
                }
                return Ok(true);
            }
            sink.push(key, value);
            any = true;
        }
    }
}
