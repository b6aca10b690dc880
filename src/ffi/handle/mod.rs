//! Which handles there are.
//!
//! What C holds is not a pointer, though it has the type of one: it is an odd
//! number, made of the kind of the handle, the number of a slot in the table of
//! that kind, and of how often that slot was used before, its generation. So it
//! is never followed; a handle that was closed, or that never was one, is
//! recognised however long ago that was, and no slot is used again once its
//! generations have run out.
//!
//! [`view`] and [`cursor`] say what a slot holds, and how a call that is inside
//! keeps what it uses from being closed under it. No lock is held while code of
//! the caller runs.
//!
//! After fork() the child starts empty tables with numbers of their own, since a
//! lock of the old ones may be held for ever by a thread that is not there.

pub(super) mod cursor;
mod pin;
pub(super) mod view;

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use super::text::{Failure, invalid};
use crate::DBError;
use crate::os::fork;
use crate::os::system::close_in_child;
use crate::segments::Segments;
use crate::sync::RwLock;

/// Bits of a handle, from the lowest: its kind, the number of its slot, and its
/// generation. User space has 47 bits on the common 64-bit systems, and some
/// languages rely on that.
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

#[derive(Debug)]
struct Table<S> {
    /// The number of its first slot; those before are the parent's.
    base: u32,
    /// Slots it has; atomic since a fork may catch another thread growing it.
    len: AtomicU32,
    slots: Segments<S, 64, 16>,
    free: RwLock<Free>,
    /// That of the parent process, if it had one: never looked into again, but
    /// to tools that look for leaks it is not one.
    _parents: AtomicPtr<Table<S>>,
}

/// The handles of one kind. Its table is made when it is first needed, and
/// never freed: a fork makes the child forget it.
#[derive(Debug)]
struct Handles<S: 'static, const KIND: usize> {
    table: AtomicPtr<Table<S>>,
    /// The parent's table.
    parents: AtomicPtr<Table<S>>,
    /// Where the next table begins.
    base: AtomicU32,
}

/// A slot that a handle names: its number in the table, and the generation,
/// which is no slot's if it has too many bits.
struct Named<S: 'static> {
    slot: &'static S,
    number: u32,
    generation: usize,
}

/// How many forks lie between this process and the one that loaded the library.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Tells a child of a fork from its parent.
pub(super) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

extern "C" fn forked() {
    close_in_child();
    FORKS.fetch_add(1, Ordering::Relaxed);
    view::HANDLES.forget();
    cursor::HANDLES.forget();
    pin::forget();
}

impl<S: Default, const KIND: usize> Handles<S, KIND> {
    const fn new() -> Self {
        Handles {
            table: AtomicPtr::new(ptr::null_mut()),
            parents: AtomicPtr::new(ptr::null_mut()),
            base: AtomicU32::new(0),
        }
    }

    fn forget(&self) {
        if let Some(table) = self.table() {
            let end = table.base + table.len.load(Ordering::Relaxed);
            self.base.store(end, Ordering::Relaxed);
            let table = self.table.swap(ptr::null_mut(), Ordering::Relaxed);
            self.parents.store(table, Ordering::Relaxed);
        }
    }

    #[inline]
    fn table(&self) -> Option<&'static Table<S>> {
        // SAFETY: it is null or a table, which lives for ever.
        unsafe { self.table.load(Ordering::Acquire).as_ref() }
    }

    /// The table, made if need be.
    fn table_or_new(&self) -> Result<&'static Table<S>, DBError> {
        // No `Once`: a fork may catch another thread in it. Two hooks do no harm.
        static HOOKED: AtomicBool = AtomicBool::new(false);
        if !HOOKED.load(Ordering::Relaxed) {
            if !fork::in_child(forked) {
                return Err(DBError::OutOfMemory);
            }
            HOOKED.store(true, Ordering::Relaxed);
        }
        if let Some(table) = self.table() {
            return Ok(table);
        }
        let new = Box::into_raw(Box::new(Table {
            base: self.base.load(Ordering::Relaxed),
            len: AtomicU32::new(0),
            slots: Segments::default(),
            free: RwLock::new(Free::default()),
            _parents: AtomicPtr::new(self.parents.load(Ordering::Relaxed)),
        }));
        let none = ptr::null_mut();
        if self.table.compare_exchange(none, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: another thread was faster, and nobody has seen this one.
            drop(unsafe { Box::from_raw(new) });
        }
        self.table().ok_or(DBError::Internal)
    }

    /// The slot that a handle names, if it can be one of this kind.
    #[inline]
    fn find(&self, handle: usize) -> Option<Named<S>> {
        let number = (handle >> KIND_BITS) as u32 & ((1 << SLOT_BITS) - 1);
        let generation = (handle >> (KIND_BITS + SLOT_BITS)).checked_sub(1)?;
        if handle & ((1 << KIND_BITS) - 1) != KIND {
            return None;
        }
        let table = self.table()?;
        let number = number.checked_sub(table.base)?;
        let slot = table.slots.get(number)?;
        Some(Named { slot, number, generation })
    }

    /// Takes a slot that nobody uses, has it filled by `fill`, which returns its
    /// generation, and returns the handle.
    fn open(&self, fill: impl FnOnce(&S) -> usize) -> Result<usize, Failure> {
        let table = self.table_or_new()?;
        let number = table.take_slot()?;
        let slot = table.slots.get(number).ok_or(DBError::Internal)?;
        let generation = fill(slot);
        let number = (table.base + number) as usize;
        // Counted from 1: some runtimes (Go's) abort on pointers below 4,096.
        Ok(((generation + 1) << SLOT_BITS | number) << KIND_BITS | KIND)
    }

    /// Makes a slot usable again, whose next generation will be `generation`.
    fn give_back(&self, number: u32, generation: usize) {
        let reusable = (generation + 1) >> GENERATION_BITS == 0;
        if let Some(table) = self.table().filter(|_| reusable)
            && let Ok(mut free) = table.free.write()
        {
            free.slots.push(number);
        }
    }

    /// Why a handle is refused that `find` or its slot does not know.
    #[cold]
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
    fn take_slot(&self) -> Result<u32, DBError> {
        let mut free = self.free.write()?;
        if free.slots.is_empty() {
            let numbers = self.slots.grow(free.segments)?;
            let end = self.base.checked_add(numbers.end).filter(|end| *end <= 1 << SLOT_BITS);
            if end.is_none() {
                return Err(DBError::OutOfMemory);
            }
            // Room for every slot, so that closing a handle never allocates.
            free.slots.try_reserve(numbers.end as usize)?;
            self.len.store(numbers.end, Ordering::Relaxed);
            free.slots.extend(numbers.rev());
            free.segments += 1;
        }
        free.slots.pop().ok_or(DBError::OutOfMemory)
    }
}
