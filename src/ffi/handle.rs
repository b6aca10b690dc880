//! Which handles there are.
//!
//! What C holds is not a pointer, though it has the type of one: it is an odd
//! number, made of the number of a slot in a table and of how often that slot
//! was used before. So it is never followed; a handle that was closed, or that
//! never was one, is recognised however long ago that was, and no slot is used
//! again once its count has run out.
//!
//! Each slot has a lock. A call on a database or snapshot holds it shared, a
//! move of a cursor holds it alone, and closing waits for whoever is inside.
//! No lock is held while code of the caller runs.
//!
//! After fork() the child starts an empty table with numbers of its own, since
//! a lock of the old one may be held for ever by a thread that is not there.

use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use super::object::{Object, Open, View};
use super::text::{Failure, invalid};
use crate::error::OutOfMemory;
use crate::os::fork;
use crate::segments::Segments;
use crate::sync::RwLock;
use crate::{Cursor, DBError};

/// Bits of a handle for the number of its slot, and for its generation; the
/// lowest bit is one. User space has 47 bits on the common 64-bit systems, and
/// some languages rely on that.
const SLOT_BITS: u32 = if usize::BITS == 64 { 22 } else { 14 };
const GENERATION_BITS: u32 = if usize::BITS == 64 { 24 } else { 17 };

#[derive(Debug, Default)]
struct Slot(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    /// Of the handle that the slot has now, or will have next.
    generation: u32,
    object: Option<Object>,
}

/// The slots that can be used.
#[derive(Debug, Default)]
struct Free {
    slots: Vec<u32>,
    segments: usize,
}

/// The handles of this process.
#[derive(Debug)]
struct Table {
    /// The number of its first slot; those before are the parent's.
    base: u32,
    /// Slots it has; atomic since a fork may catch another thread growing it.
    len: AtomicU32,
    slots: Segments<Slot, 64, 16>,
    free: RwLock<Free>,
}

/// The table, null until the first handle of this process. Tables are never freed.
static TABLE: AtomicPtr<Table> = AtomicPtr::new(ptr::null_mut());
/// Where the next table begins.
static BASE: AtomicU32 = AtomicU32::new(0);

extern "C" fn forked() {
    if let Some(table) = Table::get() {
        BASE.store(table.base + table.len.load(Ordering::Relaxed), Ordering::Relaxed);
        TABLE.store(ptr::null_mut(), Ordering::Relaxed);
    }
}

impl Table {
    #[inline]
    fn get() -> Option<&'static Table> {
        // SAFETY: it is null or a table, which lives for ever.
        unsafe { TABLE.load(Ordering::Acquire).as_ref() }
    }

    /// The table, made if need be.
    fn get_or_make() -> Result<&'static Table, DBError> {
        static HOOK: Once = Once::new();
        static HOOKED: AtomicBool = AtomicBool::new(false);
        HOOK.call_once(|| HOOKED.store(fork::in_child(forked), Ordering::Relaxed));
        if !HOOKED.load(Ordering::Relaxed) {
            return Err(DBError::OutOfMemory);
        }
        if let Some(table) = Table::get() {
            return Ok(table);
        }
        let table = Box::into_raw(Box::new(Table {
            base: BASE.load(Ordering::Relaxed),
            len: AtomicU32::new(0),
            slots: Segments::default(),
            free: RwLock::new(Free::default()),
        }));
        let made =
            TABLE.compare_exchange(ptr::null_mut(), table, Ordering::AcqRel, Ordering::Acquire);
        if made.is_err() {
            // SAFETY: another thread was faster, and nobody has seen this one.
            drop(unsafe { Box::from_raw(table) });
        }
        Table::get().ok_or(DBError::Internal)
    }

    /// A slot that nobody uses.
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

/// The number of a slot in the table, the slot, and the generation, that a
/// handle names; `None` if it cannot be one.
#[inline]
fn find(handle: usize) -> Option<(u32, &'static Slot, u32)> {
    let number = (handle >> 1) as u32 & ((1 << SLOT_BITS) - 1);
    let generation = handle >> (1 + SLOT_BITS);
    if handle & 1 == 0 || generation >> GENERATION_BITS != 0 {
        return None;
    }
    let table = Table::get()?;
    let number = number.checked_sub(table.base)?;
    Some((number, table.slots.get(number)?, generation as u32))
}

/// Makes a handle for an object.
pub(super) fn open<H>(object: Object) -> Result<*mut H, Failure> {
    let table = Table::get_or_make()?;
    let number = table.take_slot()?;
    let slot = table.slots.get(number).ok_or(DBError::Internal)?;
    let mut state = slot.0.write_anyway();
    state.object = Some(object);
    let generation = state.generation as usize;
    let handle = generation << (1 + SLOT_BITS) | ((table.base + number) as usize) << 1 | 1;
    Ok(ptr::without_provenance_mut(handle))
}

/// Closes a handle if it is open and `wanted`.
pub(super) fn close<H>(handle: *mut H, wanted: impl FnOnce(&Object) -> bool) {
    let Some((number, slot, generation)) = find(handle.addr()) else {
        return;
    };
    let mut state = slot.0.write_anyway();
    if state.generation != generation || !state.object.as_ref().is_some_and(wanted) {
        return;
    }
    let object = state.object.take();
    state.generation += 1;
    let reusable = state.generation >> GENERATION_BITS == 0;
    drop(state);
    drop(object); // may take a while; nobody waits for it
    if let Some(table) = Table::get().filter(|_| reusable) {
        table.free.write_anyway().slots.push(number);
    }
}

fn closed(what: &str) -> Failure {
    invalid(format!("the {what} handle is NULL, was closed, or never was one"))
}

fn wrong(what: &str) -> Failure {
    invalid(format!("the handle is not one of a {what}"))
}

/// Runs `f` on the view of a handle.
#[inline]
pub(super) fn with_view<T, H>(
    handle: *const H,
    f: impl FnOnce(&View, &Open) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (_, slot, generation) = find(handle.addr()).ok_or_else(|| closed("database"))?;
    let state = slot.0.read()?;
    match &state.object {
        Some(Object::View(view, open)) if state.generation == generation => f(view, open),
        Some(_) if state.generation == generation => {
            Err(wrong("database, snapshot or transaction"))
        }
        _ => Err(closed("database")),
    }
}

/// Runs `f` on the cursor of a handle, alone with it.
#[inline]
pub(super) fn with_cursor_mut<T, H>(
    handle: *mut H,
    f: impl FnOnce(&mut Cursor) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (_, slot, generation) = find(handle.addr()).ok_or_else(|| closed("cursor"))?;
    let mut state = slot.0.write()?;
    let fits = state.generation == generation;
    match &mut state.object {
        Some(Object::Cursor(cursor, _)) if fits => f(cursor),
        Some(_) if fits => Err(wrong("cursor")),
        _ => Err(closed("cursor")),
    }
}

/// Runs `f` on the cursor of a handle; `None` if it is not one.
#[inline]
pub(super) fn with_cursor<T, H>(handle: *const H, f: impl FnOnce(&Cursor) -> T) -> Option<T> {
    let (_, slot, generation) = find(handle.addr())?;
    let state = slot.0.read().ok()?;
    match &state.object {
        Some(Object::Cursor(cursor, _)) if state.generation == generation => Some(f(cursor)),
        _ => None,
    }
}

impl From<OutOfMemory> for Failure {
    fn from(error: OutOfMemory) -> Failure {
        DBError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InMemoryDB;

    type Handle = *mut u8;

    fn open_database() -> Handle {
        open(Object::View(View::Database(InMemoryDB::new().unwrap()), Open::first())).unwrap()
    }

    fn is_open(handle: Handle) -> bool {
        with_view(handle, |_, _| Ok(())).is_ok()
    }

    #[test]
    fn a_closed_handle_is_refused_however_many_were_opened_since() {
        let first = open_database();
        assert!(is_open(first) && first.addr() % 2 == 1);
        close(first, |_| true);
        assert!(!is_open(first));
        for _ in 0..1_000 {
            let other = open_database();
            assert!(other != first && !is_open(first));
            close(other, |_| true);
            close(other, |_| true);
        }
    }

    #[test]
    fn what_never_was_a_handle_is_refused() {
        let real = open_database();
        let n = real.addr();
        for number in [0, 1, 3, n - 1, n + 1, n ^ 1 << 40, usize::MAX, n | 1 << 62] {
            let handle: Handle = ptr::without_provenance_mut(number);
            assert!(!is_open(handle), "{number:#x}");
            close(handle, |_| true);
        }
        assert!(is_open(real));
        close(real, |_| false);
        assert!(is_open(real));
        close(real, |_| true);
    }

    #[test]
    fn a_slot_whose_generations_have_run_out_is_not_used_again() {
        let handle = open_database();
        let (number, slot, _) = find(handle.addr()).unwrap();
        let last = (1u32 << GENERATION_BITS) - 1;
        slot.0.write().unwrap().generation = last;
        close(handle, |_| true);
        assert!(slot.0.read().unwrap().object.is_some(), "the handle is of another generation");
        let low = handle.addr() & ((1 << (1 + SLOT_BITS)) - 1);
        let handle: Handle = ptr::without_provenance_mut((last as usize) << (1 + SLOT_BITS) | low);
        close(handle, |_| true);
        assert!(slot.0.read().unwrap().object.is_none());
        let free = &Table::get().unwrap().free;
        assert!(!free.read().unwrap().slots.contains(&number));
    }
}
