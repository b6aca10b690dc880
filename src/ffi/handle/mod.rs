//! The table of handles.
//!
//! A handle in C has the type of a pointer, but is an odd number: the kind of the handle,
//! the number of a slot in the table of that kind, and the slot's generation, the count
//! of handles that it has had. So a handle is never followed, and one that was closed or
//! never existed is recognised, however long ago it was closed. A slot retires when its
//! generations run out.
//!
//! The state of an open slot is its handle, so one comparison validates a handle. [`view`]
//! and [`cursor`] hold what a slot keeps, and how a call protects that from being closed
//! meanwhile. No lock is held while code of the caller runs.
//!
//! After fork() the child has no tables: a thread that it does not have may hold their
//! locks for ever. The child makes tables of its own, whose slots have other numbers.

pub(super) mod cursor;
mod pin;
pub(super) mod view;

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::AtomicBool;

use self::pin::Records;
use super::text::{Failure, invalid};
use crate::DBError;
use crate::os::fork::WipeOnFork;
use crate::segments::Segments;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// Bits of a handle, from the lowest: its kind, the number of its slot, and its
/// generation. The generation begins at 1, since some runtimes (Go's) abort on pointers
/// below 4,096. All together has 47 bits, which some languages expect of a pointer.
const KIND_BITS: u32 = 2;
const SLOT_BITS: u32 = if usize::BITS == 64 { 22 } else { 14 };
const GENERATION_BITS: u32 = if usize::BITS == 64 { 23 } else { 16 };

/// The kinds are odd, unlike a pointer to anything larger than a byte.
const VIEW: usize = 0b01;
const CURSOR: usize = 0b11;

/// The slots that are free.
#[derive(Debug)]
struct FreeSlots {
    /// A bit for each inline slot.
    inline: u64,
    slots: Vec<u32>,
    segments: usize,
}

/// The place of an open handle, alone in its cache lines.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot<S> {
    /// The handle if calls may enter, else a reason made by [`not_open`].
    state: AtomicUsize,
    it: S,
}

/// The state of a slot that no call may enter: its handle, with one of the reasons below
/// as the number of the slot. No slot has these numbers.
fn not_open(handle: usize, why: usize) -> usize {
    handle & !(((1 << SLOT_BITS) - 1) << KIND_BITS) | why << KIND_BITS
}

/// The slot is empty; its next handle has the next generation.
const CLOSED: usize = 0;
/// A thread is inside a call that excludes others.
const BUSY: usize = 1;
/// A call panicked.
const BROKEN: usize = 2;
/// The number of the first slot.
const FIRST: u32 = 3;

/// Slots in the table itself, which are found without a look into segments.
const INLINE_SLOTS: usize = 64;

#[derive(Debug)]
struct Table<S> {
    /// The number of the first slot. Smaller numbers are the parent's.
    base: u32,
    first: [Slot<S>; INLINE_SLOTS],
    others: Segments<Slot<S>, 64, 16>,
    free: Mutex<FreeSlots>,
    /// The table of the parent before a fork. It is never read: it keeps leak checkers
    /// from reporting that table.
    _parent: AtomicPtr<Table<S>>,
}

/// The handles of this process. The child of a fork finds it empty.
struct ProcessTables {
    /// By kind, a `Table` of it: made when it is first needed, and never freed.
    tables: [AtomicPtr<()>; 2],
    pins: Records,
}

static PROCESS: WipeOnFork<ProcessTables> = WipeOnFork::new(ProcessTables {
    tables: [const { AtomicPtr::new(ptr::null_mut()) }; 2],
    pins: Records::new(),
});

/// The handles of one kind. The child of a fork inherits these fields. At first all are zero,
/// so that they take no bytes of the library's file.
#[derive(Debug)]
struct Handles<S: 'static, const KIND: usize> {
    /// The table made last.
    latest: AtomicPtr<Table<S>>,
    /// The number after the last slot of all tables, where the next table begins.
    end: AtomicU32,
    /// Room for the first table: it goes with a plugin that is unloaded.
    room: UnsafeCell<MaybeUninit<Table<S>>>,
    is_room_taken: AtomicBool,
}

// SAFETY: the room is reached by the thread that sets `is_room_taken`, and as a
// table, which is shared as others are.
unsafe impl<S: Send + Sync, const KIND: usize> Sync for Handles<S, KIND> {}

/// A number that differs between a process and the child of a fork, if a view was opened
/// before the fork.
pub(super) fn process() -> usize {
    PROCESS.tables[VIEW >> 1].load(Ordering::Relaxed).addr()
}

/// Forgets all handles, so that each schedule begins alike.
#[cfg(minidb_shuttle)]
pub fn forget_all() {
    view::HANDLES.forget_all();
    cursor::HANDLES.forget_all();
}

/// Runs `body` inside a call on a view, with the view's number of keys. Returns false if
/// the handle is refused.
#[cfg(minidb_shuttle)]
pub fn call(handle: *const super::opaque::minidb_t, body: impl FnOnce(u64)) -> bool {
    view::with(handle, |view, _| Ok(body(view.stat(super::code::MINIDB_STAT_COUNT)?))).is_ok()
}

/// Empties [`PROCESS`] in the child of a fork where the system does not.
extern "C" fn wipe_in_child() {
    for table in &PROCESS.tables {
        table.store(ptr::null_mut(), Ordering::Relaxed);
    }
    PROCESS.pins.clear();
}

impl<S: Default, const KIND: usize> Handles<S, KIND> {
    const fn new() -> Self {
        Handles {
            latest: AtomicPtr::new(ptr::null_mut()),
            end: AtomicU32::new(0),
            room: UnsafeCell::new(MaybeUninit::uninit()),
            is_room_taken: AtomicBool::new(false),
        }
    }

    #[inline]
    fn table(&self) -> Option<&'static Table<S>> {
        let table = PROCESS.tables[KIND >> 1].load(Ordering::Acquire).cast::<Table<S>>();
        // SAFETY: it is null or a table of this kind, which lives for ever.
        unsafe { table.as_ref() }
    }

    /// The table, which the first call makes.
    fn table_or_new(&self) -> Result<&'static Table<S>, DBError> {
        if let Some(table) = self.table() {
            return Ok(table);
        }
        // Not a `Once`: a fork may come while another thread is in it. Asking twice does
        // no harm. Std's atomic under shuttle, too, since it is about the process.
        static WIPED: AtomicBool = AtomicBool::new(false);
        if !WIPED.load(Ordering::Relaxed) {
            if !PROCESS.empty_in_child(wipe_in_child) {
                return Err(DBError::OutOfMemory);
            }
            WIPED.store(true, Ordering::Relaxed);
        }
        let new = self.allocate(Table {
            base: self.end.load(Ordering::Relaxed).max(FIRST),
            first: std::array::from_fn(|_| Slot::default()),
            others: Segments::default(),
            free: Mutex::new(FreeSlots { inline: u64::MAX, slots: Vec::new(), segments: 0 }),
            _parent: AtomicPtr::new(self.latest.load(Ordering::Relaxed)),
        });
        let (place, none) = (&PROCESS.tables[KIND >> 1], ptr::null_mut());
        if place.compare_exchange(none, new.cast(), Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.latest.store(new, Ordering::Relaxed);
        } else {
            // SAFETY: another thread's table was stored first, and this one is unshared.
            unsafe { self.free(new) };
        }
        self.table().ok_or(DBError::Internal)
    }

    fn allocate(&self, table: Table<S>) -> *mut Table<S> {
        if self.is_room_taken.swap(true, Ordering::Acquire) {
            return Box::into_raw(Box::new(table));
        }
        let room = self.room.get().cast();
        // SAFETY: no other thread has the room.
        unsafe { ptr::write(room, table) };
        room
    }

    /// # Safety
    ///
    /// The table was allocated here, and no thread uses it.
    unsafe fn free(&self, table: *mut Table<S>) {
        if table == self.room.get().cast() {
            // SAFETY: as the caller promises.
            unsafe { ptr::drop_in_place(table) };
            self.is_room_taken.store(false, Ordering::Release);
        } else {
            // SAFETY: it was made of a box.
            drop(unsafe { Box::from_raw(table) });
        }
    }

    /// The slot with the number in a handle. The handle is open if it is the slot's state.
    #[inline]
    fn find(&self, handle: usize) -> Option<&'static Slot<S>> {
        let table = self.table()?;
        table.slot(table.number(handle))
    }

    /// Opens a handle: takes a free slot and has `fill` fill it.
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

    /// Frees the slot of a closed handle, unless its generations have run out.
    fn give_back(&self, handle: usize) {
        let next = (handle >> (KIND_BITS + SLOT_BITS)) + 1;
        if let Some(table) = self.table().filter(|_| next >> GENERATION_BITS == 0)
            && let Ok(mut free) = table.free.lock()
        {
            match table.number(handle) {
                number if number < INLINE_SLOTS as u32 => free.inline |= 1 << number,
                number => free.slots.push(number),
            }
        }
    }

    /// Forgets all handles, which no thread may use meanwhile.
    #[cfg(minidb_shuttle)]
    fn forget_all(&self) {
        let table = PROCESS.tables[KIND >> 1].swap(ptr::null_mut(), Ordering::SeqCst);
        self.latest.store(ptr::null_mut(), Ordering::SeqCst);
        self.end.store(0, Ordering::SeqCst);
        if !table.is_null() {
            // SAFETY: `table_or_new` made it, and no thread uses it.
            unsafe { self.free(table.cast()) };
        }
    }

    /// The failure of a call with a handle that is refused.
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
    /// The number in this table of a handle's slot; out of range for one of the parent's.
    #[inline]
    fn number(&self, handle: usize) -> u32 {
        let number = (handle >> KIND_BITS) as u32 & ((1 << SLOT_BITS) - 1);
        number.wrapping_sub(self.base)
    }

    #[inline]
    fn slot(&self, number: u32) -> Option<&Slot<S>> {
        match self.first.get(number as usize) {
            Some(slot) => Some(slot),
            None => self.others.get(number - INLINE_SLOTS as u32),
        }
    }

    /// Takes a free slot; returns its number. Moves `end_of_all` when slots are added.
    fn take_slot(&self, end_of_all: &AtomicU32) -> Result<u32, DBError> {
        const { assert!(INLINE_SLOTS == u64::BITS as usize) };
        let mut free = self.free.lock()?;
        // Before the first handle with these numbers: a child must not repeat it.
        let add = |end: u32| {
            let end = self.base.checked_add(end).filter(|end| *end <= 1 << SLOT_BITS);
            end_of_all.store(end.ok_or(DBError::OutOfMemory)?, Ordering::Relaxed);
            Ok::<_, DBError>(())
        };
        if free.inline != 0 {
            if end_of_all.load(Ordering::Relaxed) <= self.base {
                add(INLINE_SLOTS as u32)?;
            }
            let number = free.inline.trailing_zeros();
            free.inline &= free.inline - 1;
            return Ok(number);
        }
        if free.slots.is_empty() {
            let numbers = self.others.grow(free.segments)?;
            let numbers = numbers.start + INLINE_SLOTS as u32..numbers.end + INLINE_SLOTS as u32;
            // Room for every slot, so that closing a handle never allocates.
            free.slots.try_reserve(numbers.end as usize)?;
            add(numbers.end)?;
            free.slots.extend(numbers.rev());
            free.segments += 1;
        }
        free.slots.pop().ok_or(DBError::OutOfMemory)
    }
}
