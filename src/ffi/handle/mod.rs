//! Which handles there are.
//!
//! What C holds is not a pointer, though it has the type of one: it is an odd
//! number, made of the kind of the handle, the number of a slot in the table of
//! that kind, and of how often that slot was used before, its generation. So it
//! is never followed; a handle that was closed, or that never was one, is
//! recognised however long ago that was, and no slot is used again once its
//! generations have run out.
//!
//! An open slot's state is its handle, so one comparison tells whether a handle is
//! right. [`view`] and [`cursor`] say what a slot holds, and how a call that is inside
//! keeps what it uses from being closed under it. No lock is held while code of
//! the caller runs.
//!
//! After fork() the child has no tables, and makes ones with numbers of their own,
//! since a lock of the old ones may be held for ever by a thread that is not there.

pub(super) mod cursor;
mod pin;
pub(super) mod view;

use std::ptr;
use std::sync::atomic::AtomicBool;

use self::pin::Pinned;
use super::text::{Failure, invalid};
use crate::DBError;
use crate::os::fork::WipeOnFork;
use crate::segments::Segments;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// Bits of a handle, from the lowest: its kind, the number of its slot, and its
/// generation, both counted from 1: some runtimes (Go's) abort on pointers below
/// 4,096. User space has 47 bits on the common 64-bit systems, and some languages
/// rely on that.
const KIND_BITS: u32 = 2;
const SLOT_BITS: u32 = if usize::BITS == 64 { 22 } else { 14 };
const GENERATION_BITS: u32 = if usize::BITS == 64 { 23 } else { 16 };

/// The kinds are odd, as no pointer to anything larger than a byte is.
const VIEW: usize = 0b01;
const CURSOR: usize = 0b11;

/// The slots that can be used.
#[derive(Debug, Default)]
struct Free {
    slots: Vec<u32>,
    segments: usize,
}

/// What a handle names, while it is open.
#[derive(Debug, Default)]
#[repr(align(64))] // the lines of the cache that it is in are its own
struct Slot<S> {
    /// The handle, if it is open and nothing keeps calls away, else something
    /// that is no handle of this slot: see [`not_open`].
    state: AtomicUsize,
    it: S,
}

/// The state of a slot to whose handle one of the reasons below applies: like the
/// handle, but with the reason as the number, which is that of no slot.
fn not_open(handle: usize, why: usize) -> usize {
    handle & !(((1 << SLOT_BITS) - 1) << KIND_BITS) | why << KIND_BITS
}

/// Nothing is there; the next handle has the next generation.
const CLOSED: usize = 0;
/// A thread is inside a call, and no other may be.
const BUSY: usize = 1;
/// A call panicked.
const BROKEN: usize = 2;
/// The number of the first slot.
const FIRST: u32 = 3;

/// Slots in a table from the start.
const QUICK: usize = 64;

#[derive(Debug)]
struct Table<S> {
    /// The number of its first slot; those before are the parent's.
    base: u32,
    /// Quick to look into, and most often enough.
    first: [Slot<S>; QUICK],
    others: Segments<Slot<S>, 64, 16>,
    free: Mutex<Free>,
    /// The one made before, the parent's of a fork: never looked into again, but
    /// to tools that look for leaks it is not one.
    _before: AtomicPtr<Table<S>>,
}

/// What a child of a fork finds empty, so that it knows none of the parent's
/// handles.
struct Here {
    /// By kind, a `Table` of it: made when it is first needed, and never freed.
    tables: [AtomicPtr<()>; 2],
    pinned: Pinned,
}

static HERE: WipeOnFork<Here> = WipeOnFork::new(Here {
    tables: [const { AtomicPtr::new(ptr::null_mut()) }; 2],
    pinned: Pinned::none(),
});

/// The handles of one kind: what a child of a fork keeps of them.
#[derive(Debug)]
struct Handles<S: 'static, const KIND: usize> {
    /// The table made last.
    latest: AtomicPtr<Table<S>>,
    /// Where the next table begins: after all slots so far.
    end: AtomicU32,
}

/// Tells a child of a fork from its parent, if a view was opened before.
pub(super) fn process() -> usize {
    HERE.tables[VIEW >> 1].load(Ordering::Relaxed).addr()
}

/// Forgets all handles, so that each schedule begins alike.
#[cfg(minidb_shuttle)]
pub fn forget_all() {
    view::HANDLES.forget_all();
    cursor::HANDLES.forget_all();
}

/// Runs `body` inside a call on a view, with the number of keys that it shows;
/// false if the handle is refused.
#[cfg(minidb_shuttle)]
pub fn call(handle: *const super::minidb_t, body: impl FnOnce(u64)) -> bool {
    view::with(handle, |view, _| Ok(body(view.stat(super::MINIDB_STAT_COUNT)?))).is_ok()
}

/// Does what the system does where it can.
extern "C" fn empty_here() {
    for table in &HERE.tables {
        table.store(ptr::null_mut(), Ordering::Relaxed);
    }
    HERE.pinned.forget();
}

impl<S: Default, const KIND: usize> Handles<S, KIND> {
    const fn new() -> Self {
        Handles { latest: AtomicPtr::new(ptr::null_mut()), end: AtomicU32::new(FIRST) }
    }

    #[inline]
    fn table(&self) -> Option<&'static Table<S>> {
        let table = HERE.tables[KIND >> 1].load(Ordering::Acquire).cast::<Table<S>>();
        // SAFETY: it is null or a table of this kind, which lives for ever.
        unsafe { table.as_ref() }
    }

    /// The table, made if need be.
    fn table_or_new(&self) -> Result<&'static Table<S>, DBError> {
        if let Some(table) = self.table() {
            return Ok(table);
        }
        // No `Once`: a fork may catch another thread in it. Twice does no harm.
        // It is about the process, so it is std's under shuttle, too.
        static EMPTIED: AtomicBool = AtomicBool::new(false);
        if !EMPTIED.load(Ordering::Relaxed) {
            if !HERE.empty_in_child(empty_here) {
                return Err(DBError::OutOfMemory);
            }
            EMPTIED.store(true, Ordering::Relaxed);
        }
        let new = Box::into_raw(Box::new(Table {
            base: self.end.load(Ordering::Relaxed),
            first: std::array::from_fn(|_| Slot::default()),
            others: Segments::default(),
            free: Mutex::new(Free::default()),
            _before: AtomicPtr::new(self.latest.load(Ordering::Relaxed)),
        }));
        let (place, none) = (&HERE.tables[KIND >> 1], ptr::null_mut());
        if place.compare_exchange(none, new.cast(), Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.latest.store(new, Ordering::Relaxed);
        } else {
            // SAFETY: another thread was faster, and nobody has seen this one.
            drop(unsafe { Box::from_raw(new) });
        }
        self.table().ok_or(DBError::Internal)
    }

    /// The slot that a handle would have. It is open if that is the slot's state.
    #[inline]
    fn find(&self, handle: usize) -> Option<&'static Slot<S>> {
        let table = self.table()?;
        table.slot(table.number(handle))
    }

    /// Takes a slot that nobody uses, has it filled by `fill`, and opens a handle.
    fn open(&self, fill: impl FnOnce(&S)) -> Result<usize, Failure> {
        let table = self.table_or_new()?;
        let number = table.take_slot(&self.end)?;
        let slot = table.slot(number).ok_or(DBError::Internal)?;
        fill(&slot.it);
        let generation = (slot.state.load(Ordering::Relaxed) >> (KIND_BITS + SLOT_BITS)) + 1;
        let number = (table.base + number) as usize;
        let handle = (generation << SLOT_BITS | number) << KIND_BITS | KIND;
        slot.state.store(handle, Ordering::Release);
        Ok(handle)
    }

    /// Makes the slot of a handle that was closed usable again.
    fn give_back(&self, handle: usize) {
        let next = (handle >> (KIND_BITS + SLOT_BITS)) + 1;
        if let Some(table) = self.table().filter(|_| next >> GENERATION_BITS == 0)
            && let Ok(mut free) = table.free.lock()
        {
            free.slots.push(table.number(handle));
        }
    }

    /// Forgets all handles: no thread may use one.
    #[cfg(minidb_shuttle)]
    fn forget_all(&self) {
        let table = HERE.tables[KIND >> 1].swap(ptr::null_mut(), Ordering::SeqCst);
        self.latest.store(ptr::null_mut(), Ordering::SeqCst);
        self.end.store(FIRST, Ordering::SeqCst);
        if !table.is_null() {
            // SAFETY: it was made so, and nobody else has it.
            drop(unsafe { Box::from_raw(table.cast::<Table<S>>()) });
        }
    }

    /// Why a handle is refused.
    #[cold]
    #[inline(never)]
    fn refuse(&self, handle: usize) -> Failure {
        let (here, other) = match KIND {
            VIEW => ("database, snapshot or transaction", CURSOR),
            _ => ("cursor", VIEW),
        };
        if handle & ((1 << KIND_BITS) - 1) == other {
            return invalid(format!("the handle is not one of a {here}"));
        }
        invalid(format!("the handle of a {here} is NULL, closed, the parent's of a fork, or none"))
    }
}

impl<S: Default> Table<S> {
    /// The number in this table of the slot that a handle would have: of none, if
    /// that slot is the parent's.
    #[inline]
    fn number(&self, handle: usize) -> u32 {
        let number = (handle >> KIND_BITS) as u32 & ((1 << SLOT_BITS) - 1);
        number.wrapping_sub(self.base)
    }

    #[inline]
    fn slot(&self, number: u32) -> Option<&Slot<S>> {
        match self.first.get(number as usize) {
            Some(slot) => Some(slot),
            None => self.others.get(number - QUICK as u32),
        }
    }

    /// The number of a slot that nobody uses; counts in `all` those that are added.
    fn take_slot(&self, all: &AtomicU32) -> Result<u32, DBError> {
        let mut free = self.free.lock()?;
        if free.slots.is_empty() {
            let numbers = match free.segments.checked_sub(1) {
                None => 0..QUICK as u32,
                Some(segments) => {
                    let numbers = self.others.grow(segments)?;
                    numbers.start + QUICK as u32..numbers.end + QUICK as u32
                }
            };
            let end = self.base.checked_add(numbers.end).filter(|end| *end <= 1 << SLOT_BITS);
            let end = end.ok_or(DBError::OutOfMemory)?;
            // Room for every slot, so that closing a handle never allocates.
            free.slots.try_reserve(numbers.end as usize)?;
            // Before there is a handle that a child of a fork must not repeat.
            all.store(end, Ordering::Relaxed);
            free.slots.extend(numbers.rev());
            free.segments += 1;
        }
        free.slots.pop().ok_or(DBError::OutOfMemory)
    }
}
