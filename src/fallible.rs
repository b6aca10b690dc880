//! Allocations that the system may refuse: each returns [`OutOfMemory`] instead of
//! aborting the host.

use std::fmt::{self, Write};

use crate::error::OutOfMemory;
use crate::sync::Arc;

/// A copy of some bytes.
pub(crate) fn copy(bytes: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    concat([bytes])
}

/// Some byte strings in a row.
pub(crate) fn concat<const N: usize>(parts: [&[u8]; N]) -> Result<Vec<u8>, OutOfMemory> {
    let mut all = Vec::new();
    all.try_reserve_exact(parts.iter().map(|part| part.len()).sum())?;
    parts.iter().for_each(|part| all.extend_from_slice(part));
    Ok(all)
}

/// A vector with `count` clones of a value.
pub(crate) fn filled<T: Clone>(value: T, count: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut all = Vec::new();
    all.try_reserve_exact(count)?;
    all.resize(count, value);
    Ok(all)
}

/// A vector of what an iterator yields.
pub(crate) fn collect<T>(items: impl Iterator<Item = T>) -> Result<Vec<T>, OutOfMemory> {
    let mut all = Vec::new();
    all.try_reserve(items.size_hint().0)?;
    for item in items {
        push(&mut all, item)?;
    }
    Ok(all)
}

/// Appends an item to a vector.
pub(crate) fn push<T>(all: &mut Vec<T>, item: T) -> Result<(), OutOfMemory> {
    all.try_reserve(1)?;
    all.push(item);
    Ok(())
}

/// A shared value. Std has no `Arc` that may be refused: memory of its size is asked for first,
/// which an allocator with caches for each thread gives to the `Arc` then.
pub(crate) fn shared<T>(value: T) -> Result<Arc<T>, OutOfMemory> {
    let with_counts = size_of::<T>().div_ceil(size_of::<usize>()) + 2;
    Vec::<usize>::new().try_reserve_exact(with_counts)?;
    Ok(Arc::new(value))
}

/// The text of an error, as far as there is memory for it.
pub(crate) fn text(text: fmt::Arguments<'_>) -> String {
    struct Text(String);
    impl Write for Text {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0.try_reserve(part.len()).map_err(|_| fmt::Error)?;
            self.0.push_str(part);
            Ok(())
        }
    }
    let mut all = Text(String::new());
    // Formatting the system's reason takes some memory, too.
    if all.0.try_reserve(256).is_ok() {
        let _ = all.write_fmt(text);
    }
    all.0
}
