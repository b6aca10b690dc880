//! `Merge`: a cursor of a transaction, which shows its writes over the snapshot that it
//! began with.
//!
//! Two cursors go the same way, one on the snapshot and one on the written keys. The
//! nearer entry is next; of a key that both have, the written one.

use std::cmp::Ordering;

use super::super::index::{Bounds, Cursor, Sink};
use super::edge::Edge;
use super::read_set::{ReadSet, SpanId};
use super::write_set::{Bytes, WriteSet};
use crate::error::{DBResult, OutOfMemory};
use crate::sync::{Arc, Mutex};

/// The place of a cursor.
#[derive(Debug)]
enum Place {
    New,
    BeforeFirst,
    /// The entry at the cursor on the snapshot.
    Base,
    /// A written key and its value.
    Written(Bytes, Bytes),
    AfterLast,
}

/// A written key, with its value if it was not removed; none beyond the last.
type WrittenKey = Option<(Bytes, Option<Bytes>)>;

/// The part of a transaction's cursor beside the cursor on the snapshot, which is
/// `base` in all methods.
#[derive(Debug)]
pub(in super::super) struct Merge {
    write_set: Arc<WriteSet>,
    /// The number of writes made before the cursor was opened.
    writes: u64,
    bounds: Bounds,
    read_set: Arc<Mutex<ReadSet>>,
    span: Option<SpanId>,
    place: Place,
    /// Whether the last step went backward.
    back: bool,
    /// The next written key in that direction.
    next_written: WrittenKey,
    /// At a written key: whether the snapshot has an entry there or further on. Then
    /// `base` is at the first of them.
    has_base: bool,
}

/// Steps of a cursor on a snapshot, to be taken back if one fails.
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

/// The edge beyond a key in a direction. A key with its NUL is the next key.
fn beside(key_with_nul: &[u8], back: bool) -> Edge<&[u8]> {
    Edge::At(&key_with_nul[..key_with_nul.len() - usize::from(back)])
}

impl Merge {
    pub(super) fn new(
        write_set: Arc<WriteSet>,
        writes: u64,
        bounds: Bounds,
        read_set: Arc<Mutex<ReadSet>>,
    ) -> Merge {
        Merge {
            write_set,
            writes,
            bounds,
            read_set,
            span: None,
            place: Place::New,
            back: false,
            next_written: None,
            has_base: false,
        }
    }

    fn low(&self) -> Edge<&[u8]> {
        Edge::At(self.bounds.low())
    }

    fn high(&self) -> Edge<&[u8]> {
        Edge::high(self.bounds.high())
    }

    pub(in super::super) fn first(&mut self, base: &mut Cursor) -> DBResult<bool> {
        self.jump(base, None, false)
    }

    pub(in super::super) fn last(&mut self, base: &mut Cursor) -> DBResult<bool> {
        self.jump(base, None, true)
    }

    pub(in super::super) fn seek(&mut self, base: &mut Cursor, key: &[u8]) -> DBResult<bool> {
        self.jump(base, Some(key).filter(|key| *key > self.bounds.low()), false)
    }

    pub(in super::super) fn next(&mut self, base: &mut Cursor) -> DBResult<bool> {
        match self.place {
            Place::New | Place::BeforeFirst => self.first(base),
            Place::AfterLast => Ok(false),
            Place::Base | Place::Written(..) => self.step(base, false),
        }
    }

    pub(in super::super) fn prev(&mut self, base: &mut Cursor) -> DBResult<bool> {
        match self.place {
            Place::New | Place::AfterLast => self.last(base),
            Place::BeforeFirst => Ok(false),
            Place::Base | Place::Written(..) => self.step(base, true),
        }
    }

    /// Begins a walk at a key, or at an end.
    fn jump(&mut self, base: &mut Cursor, to: Option<&[u8]>, back: bool) -> DBResult<bool> {
        let from = to.map_or(if back { self.high() } else { self.low() }, Edge::At);
        let span = self.read_set.lock()?.begin_walk(self.span, from, self.writes)?;
        let found = match to {
            Some(key) => base.seek(key)?,
            None if back => base.last()?,
            None => base.first()?,
        };
        let low = if back { self.low() } else { from };
        let next_written = self.write_set.nearest(low, self.high(), back);
        (self.span, self.place) = (Some(span), Place::New);
        self.settle(Steps { base, back, taken: 0 }, found, Some(next_written))
    }

    /// Goes to the entry beside the one at the cursor.
    fn step(&mut self, base: &mut Cursor, back: bool) -> DBResult<bool> {
        let turned = self.back != back;
        let base_stays = match &self.place {
            Place::Written(key, _) if !turned => !self.has_base || base.key() != Some(key.get()),
            _ => false,
        };
        let next_written =
            turned.then(|| self.beyond(self.key_with_nul(base).unwrap_or(&[0]), back));
        let mut steps = Steps { base, back, taken: 0 };
        let found = if base_stays { self.has_base } else { steps.step()? };
        self.settle(steps, found, next_written)
    }

    /// The next written key beyond a key, which has a NUL after it, in a direction.
    fn beyond(&self, key_with_nul: &[u8], back: bool) -> WrittenKey {
        let edge = beside(key_with_nul, back);
        let (low, high) = if back { (self.low(), edge) } else { (edge, self.high()) };
        self.write_set.nearest(low, high, back)
    }

    /// Goes to the nearer one of the entry of the snapshot, if `found`, and of the next
    /// written key, which is `next_written` if it has changed. A failure changes nothing.
    fn settle(
        &mut self,
        mut steps: Steps<'_>,
        mut found: bool,
        mut next_written: Option<WrittenKey>,
    ) -> DBResult<bool> {
        let back = steps.back;
        let place = loop {
            let base_key = if found { steps.base.key() } else { None };
            let written = next_written.as_ref().unwrap_or(&self.next_written).as_ref();
            let order = match (base_key, written) {
                (None, None) => break if back { Place::BeforeFirst } else { Place::AfterLast },
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(base_key), Some((key, _))) if back => key.get().cmp(base_key),
                (Some(base_key), Some((key, _))) => base_key.cmp(key.get()),
            };
            let Some((key, value)) = written.filter(|_| order.is_ge()).cloned() else {
                if !self.write_set.has_cleared(base_key.unwrap_or_default()) {
                    break Place::Base;
                }
                found = steps.step()?;
                continue;
            };
            next_written = Some(self.beyond(key.with_nul(), back));
            if let Some(value) = value {
                break Place::Written(key, value);
            }
            if order.is_eq() {
                found = steps.step()?;
            }
        };
        let reached = match &place {
            Place::Written(key, _) => beside(key.with_nul(), back),
            Place::Base => beside(steps.base.key_with_nul().unwrap_or(&[0]), back),
            _ if back => self.low(),
            _ => self.high(),
        };
        if let Some(span) = self.span {
            self.read_set.lock()?.extend(span, reached, back);
        }
        if let Some(next_written) = next_written {
            self.next_written = next_written;
        }
        (self.place, self.back, self.has_base) = (place, back, found);
        Ok(matches!(self.place, Place::Written(..) | Place::Base))
    }

    pub(in super::super) fn key_with_nul<'a>(&'a self, base: &'a Cursor) -> Option<&'a [u8]> {
        match &self.place {
            Place::Base => base.key_with_nul(),
            Place::Written(key, _) => Some(key.with_nul()),
            _ => None,
        }
    }

    pub(in super::super) fn value_with_nul<'a>(&'a self, base: &'a Cursor) -> Option<&'a [u8]> {
        match &self.place {
            Place::Base => base.value_with_nul(),
            Place::Written(_, value) => Some(value.with_nul()),
            _ => None,
        }
    }

    /// Hands the entries after the cursor to `sink` as far as they fit. False if there
    /// are none; else the cursor is at the last entry that the sink has taken.
    pub(in super::super) fn read(
        &mut self,
        base: &mut Cursor,
        sink: &mut impl Sink,
    ) -> DBResult<bool> {
        let mut any = false;
        loop {
            let is_new = matches!(self.place, Place::New);
            match self.next(base) {
                Ok(true) => {}
                Ok(false) if any => return self.prev(base),
                Err(_) if any => return Ok(true), // for the next call to meet again
                end => return end,
            }
            let (key, value) = (self.key_with_nul(base), self.value_with_nul(base));
            let (key, value) = (key.unwrap_or(&[0]), value.unwrap_or(&[0]));
            let (key, value) = (&key[..key.len() - 1], &value[..value.len() - 1]);
            if !sink.fits(key.len(), value.len()) {
                if is_new {
                    self.place = Place::New;
                } else {
                    self.prev(base)?;
                }
                return Ok(true);
            }
            sink.push(key, value);
            any = true;
        }
    }
}
