//! The space of a log: where its records go, and what is given back.
//!
//! Extents hold live records, and end where a jump fits. Between them are gaps, which retired
//! records have left. Records go on behind the last ones as long as the file need not grow for
//! that; else they go to a gap. So the file is little longer than its live records have been.

use std::ops::Range;

use super::{JUMP, Log, Position, START, record};
use crate::planted::{self, Bug};

/// The least gap that is worth a jump, in bytes.
const WORTH_A_JUMP: u64 = if cfg!(minidb_shuttle) { 1 << 10 } else { 64 << 10 };
/// The part of the file that a gap has at least, so that extents are few.
const PART: u64 = 8;
/// With so many extents records go to no more gaps of a short log, or to none: replay follows
/// 64 jumps.
const SOME_EXTENTS: usize = 16;
const MANY_EXTENTS: usize = 48;
/// Bytes that are given back at a time, so that no commit waits long.
const STEP: u64 = 16 << 20;

impl Log {
    /// The places in use: of the live records of each extent, and of a jump behind them.
    fn used(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.extents.iter().enumerate().map(|(i, extent)| {
            let end = self.extents.get(i + 1).map_or(self.written, |next| next.lsn);
            let live = extent.offset + self.retired.saturating_sub(extent.lsn);
            live..extent.offset + (end - extent.lsn) + JUMP as u64
        })
    }

    /// The end of the gap that begins at `offset`. Behind all records it has no end.
    fn gap_end(&self, offset: u64) -> u64 {
        self.used().map(|it| it.start).filter(|it| *it >= offset).min().unwrap_or(u64::MAX)
    }

    /// The first gap of the file with so many bytes.
    fn gap(&self, len: u64) -> Option<u64> {
        let is_wide = |from: &u64| {
            let end = self.gap_end(*from).min(self.bytes);
            self.used().all(|it| !it.contains(from)) && from.saturating_add(len) <= end
        };
        self.used().map(|it| it.end).chain([START]).filter(is_wide).min()
    }

    /// Where the next records go, if they take `len` bytes: `here`, which is behind the
    /// last ones, or elsewhere, reached by a jump. A jump fits behind them in any case.
    pub(super) fn choose_offset(&mut self, here: u64, len: u64) -> u64 {
        // A flush that has failed leaves another place behind than the one of `here`.
        let is_known = self.room.contains(&here) && here + len + JUMP as u64 <= self.room.end;
        if is_known || len == 0 {
            return here;
        }
        let offset = self.place(here, len);
        let end = self.gap_end(if offset == here { here + 1 } else { offset }).min(self.bytes);
        self.room = offset..end;
        offset
    }

    /// Bytes that the file grows by if so many bytes of records are written next.
    pub(crate) fn growth(&self, len: u64) -> u64 {
        let here = self.position(self.written).offset;
        (self.place(here, len) + len + JUMP as u64).saturating_sub(self.bytes)
    }

    fn place(&self, here: u64, len: u64) -> u64 {
        let need = len + JUMP as u64;
        let lap = self.gap(need.max(WORTH_A_JUMP).max(self.live_bytes()));
        let limit = self.gap_end(here + 1);
        let extents = self.extents.len();
        let gap = || {
            let wide = self.gap(need.max(WORTH_A_JUMP).max(self.bytes / PART));
            // In a short log any gap is better than a longer log.
            let is_short = self.bytes < 4 * WORTH_A_JUMP && extents < SOME_EXTENTS;
            wide.or_else(|| self.gap(need.max(4 << 10)).filter(|_| is_short))
        };
        let may_jump = extents < MANY_EXTENTS;
        if planted::is(Bug::LapOverLive) || may_jump && lap == Some(START) {
            START
        } else if here + need <= limit.min(self.bytes) {
            here
        } else if let Some(gap) = gap().filter(|_| may_jump) {
            gap
        } else if here + need <= limit {
            here
        } else {
            self.used().map(|it| it.end).max().unwrap_or(here)
        }
    }

    /// Begins a lap where one is worth it, so that a checkpoint, from here on, needs nothing
    /// of the file's end. No record is pending.
    pub(crate) fn begin_lap(&mut self) {
        let worth = self.live_bytes().max(WORTH_A_JUMP);
        let is_idle = self.in_flight.is_none() && self.pending.is_empty();
        let may_jump = is_idle && self.extents.len() < MANY_EXTENTS;
        let here = self.position(self.written).offset;
        if !may_jump || self.gap(worth) != Some(START) || self.extents.try_reserve(2).is_err() {
            return;
        }
        let jump = record::encode_jump(self.written, START, self.durable, self.salt);
        // Torn it leads nowhere, and the next records take its place.
        if self.file.write(&jump, here).is_ok() {
            self.extents.push_back(Position { lsn: self.written, offset: START });
            self.bytes = self.bytes.max(here + JUMP as u64);
            self.latest = None;
        }
        self.room = 0..0;
    }

    /// Retires the records before a position, which are written and durable elsewhere: their
    /// space may be used again. Replay begins at the position.
    pub(crate) fn retire(&mut self, Position { lsn, offset }: Position) {
        assert!(lsn <= self.written, "a record is retired that is not written");
        self.peak = self.live_bytes();
        self.retired = self.retired.max(lsn);
        self.durable = self.durable.max(lsn);
        self.room = 0..0;
        // Not the extent that ends just there, if replay begins at its jump.
        let begins = |next: &Position| *next == Position { lsn, offset };
        while self.extents.get(1).is_some_and(|it| it.lsn < self.retired || begins(it)) {
            self.extents.pop_front();
        }
    }

    /// The length that the file needs, with `least` bytes of records at least: as many as
    /// there were before the last ones were retired.
    fn needed(&self, least: u64) -> u64 {
        let used = self.used().map(|it| it.end).max().unwrap_or(START);
        used.max(START + self.peak.max(least)).max(self.in_flight.unwrap_or(0))
    }

    /// Whether the file is notably longer than it need be.
    pub(crate) fn is_long(&self, least: u64) -> bool {
        self.needed(least) <= self.bytes - self.bytes / PART
    }

    /// Gives back a part of the file's end; returns whether there is more to give back.
    pub(crate) fn shrink(&mut self, least: u64) -> bool {
        let needed = self.needed(least);
        let end = needed.max(self.bytes.saturating_sub(STEP));
        let is_cut = end < self.bytes && self.file.set_len(end).is_ok();
        if is_cut {
            self.bytes = end;
            self.room = 0..0;
        }
        is_cut && end > needed
    }
}
