//! Address space from the system.
//!
//! A [`Region`] is mapped but holds no memory until it is touched. Memory that was
//! touched can be given back piece by piece with [`Region::discard`].

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// The size of a page of the system on x86-64. Where pages are larger, less memory is given
/// back.
pub(crate) const PAGE: usize = 4096;

/// Two MiB: the size of a huge page on x86-64 and (with 4 KiB pages) aarch64.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// A range of zeroed, private, readable and writable memory, aligned as
/// it was asked for. It is unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Region {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a region is an address and a length; it gives no access to the bytes
// by itself. Code that makes references into it answers for them.
unsafe impl Send for Region {}
// SAFETY: a shared region gives no access to the bytes either; `discard`, which
// changes them, is unsafe to call.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `len` bytes, at a multiple of `align`; both are multiples of [`PAGE`]. `None` if
    /// the system refuses, or would refuse `left` more bytes.
    pub(crate) fn map(len: usize, align: usize, left: usize) -> Option<Region> {
        debug_assert!(len.is_multiple_of(PAGE) && len > 0);
        let padded = len.checked_add(align - PAGE + left)?;
        // SAFETY: an anonymous mapping at an address of the system's choosing
        // touches no existing memory.
        let raw = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                padded,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if raw == libc::MAP_FAILED {
            return None;
        }
        let raw = raw.cast::<u8>();
        let head = raw.align_offset(align);
        let tail = padded - len - head;
        let start = raw.wrapping_add(head);
        // SAFETY: both ends lie in the mapping just made, outside the part that is kept,
        // and no reference into them exists.
        unsafe {
            if head > 0 {
                libc::munmap(raw.cast(), head);
            }
            if tail > 0 {
                libc::munmap(start.add(len).cast(), tail);
            }
        }
        Some(Region { start: NonNull::new(start)?, len })
    }

    /// Maps `len` bytes that are filled next, as [`Region::map`] does.
    pub(crate) fn map_to_fill(len: usize, left: usize) -> Option<Region> {
        let region = Region::map(len, PAGE, left)?;
        #[cfg(target_os = "linux")]
        // SAFETY: it touches a mapping that the region owns, and changes no byte. What an older
        // system refuses is touched when it is written to.
        unsafe {
            libc::madvise(region.start.as_ptr().cast(), len, libc::MADV_POPULATE_WRITE);
        }
        Some(region)
    }

    /// The start of the region, which is not unmapped before [`Region::from_parts`] makes it
    /// one again.
    pub(crate) fn into_start(self) -> *mut u8 {
        ManuallyDrop::new(self).start.as_ptr()
    }

    /// The region with this start and length.
    ///
    /// # Safety
    ///
    /// They are those of a region that [`Region::into_start`] was called for, once.
    pub(crate) unsafe fn from_parts(start: *mut u8, len: usize) -> Region {
        Region { start: NonNull::new(start).expect("a region has an address"), len }
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Asks for huge pages, where the system has them.
    pub(crate) fn prefer_huge_pages(&self) {
        #[cfg(target_os = "linux")]
        // SAFETY: advice about a mapping that this region owns; it changes no byte.
        unsafe {
            libc::madvise(self.start.as_ptr().cast(), self.len, libc::MADV_HUGEPAGE);
        }
    }

    /// Gives the memory of a range back. On Linux the range reads as zero afterwards;
    /// elsewhere its bytes are unspecified.
    ///
    /// # Safety
    ///
    /// No reference into the range may exist.
    pub(crate) unsafe fn discard(&self, offset: usize, len: usize) {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len));
        // SAFETY: the range lies in the mapping, as just checked, and by the
        // caller's promise nothing refers to it.
        unsafe {
            libc::madvise(self.start.as_ptr().add(offset).cast(), len, libc::MADV_DONTNEED);
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is this region's own; references into it cannot
        // outlive the region, as their makers promise.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.len);
        }
    }
}

/// Asks for huge pages, where the system has them, for a buffer that is filled next.
pub(crate) fn prefer_huge_pages(bytes: &Vec<u8>) {
    let start = bytes.as_ptr().map_addr(|address| address & !(PAGE - 1));
    let len = (bytes.as_ptr().addr() - start.addr() + bytes.capacity()).next_multiple_of(PAGE);
    #[cfg(target_os = "linux")]
    // SAFETY: advice changes no byte of any page.
    unsafe {
        libc::madvise(start.cast_mut().cast(), len, libc::MADV_HUGEPAGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_aligned_and_writable() {
        let region = Region::map(2 * HUGE_PAGE, HUGE_PAGE, 0).expect("4 MiB");
        region.prefer_huge_pages();
        let start = region.start().as_ptr();
        assert_eq!(start.align_offset(HUGE_PAGE), 0);
        // SAFETY: both bytes lie in the region, which this test alone uses.
        unsafe {
            start.write(7);
            start.add(region.len() - 1).write(8);
            assert_eq!(start.read(), 7);
            region.discard(0, HUGE_PAGE);
            assert_eq!(start.add(region.len() - 1).read(), 8);
        }
    }

    #[test]
    fn a_region_that_the_system_refuses_is_none() {
        assert!(Region::map(usize::MAX / PAGE * PAGE, PAGE, 0).is_none());
        assert!(Region::map(1 << 62, HUGE_PAGE, 0).is_none());
    }
}
