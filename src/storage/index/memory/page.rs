//! Pages and blobs: their names, their sizes, and the trait that reads them.

/// Pages are a multiple of this many bytes.
pub(crate) const UNIT: usize = 512;
/// Bytes of a page's header.
pub(crate) const HEADER: usize = 16;
/// Units of the largest page.
pub(crate) const UNITS_MAX: usize = 8;
/// The longest body of a page.
pub(crate) const BODY_MAX: usize = UNITS_MAX * UNIT - HEADER;

/// Names a page: its first unit, and its size in units less one in the low 3 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageId(u32);

impl PageId {
    pub(crate) fn new(unit: u32, units: u32) -> PageId {
        PageId(unit << 3 | (units - 1))
    }

    pub(crate) fn unit(self) -> u32 {
        self.0 >> 3
    }

    pub(crate) fn units(self) -> u32 {
        (self.0 & 7) + 1
    }

    /// The unit after its last.
    pub(crate) fn end(self) -> u32 {
        self.unit() + self.units()
    }

    /// As it stands in an inner node.
    pub(crate) fn to_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 4]) -> PageId {
        PageId(u32::from_le_bytes(bytes))
    }

    /// Length of the page's body.
    pub(crate) fn body_len(self) -> usize {
        self.units() as usize * UNIT - HEADER
    }
}

/// The least body length of a page that has `len` bytes.
pub(crate) fn round_body(len: usize) -> usize {
    (len + HEADER).next_multiple_of(UNIT) - HEADER
}

/// Names a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobId(pub(crate) u32);

impl BlobId {
    /// As it stands in a node.
    pub(crate) fn to_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 4]) -> BlobId {
        BlobId(u32::from_le_bytes(bytes))
    }
}

/// Reads pages and blobs, of the live tree or of a snapshot.
pub(crate) trait Source {
    /// The body of a page.
    fn page(&self, id: PageId) -> &[u8];
    /// The bytes of a blob, with a NUL after them that belongs to the slice.
    fn blob_with_nul(&self, id: BlobId) -> &[u8];
    /// The body of a page that is searched next: its first cache lines are fetched.
    fn page_to_search(&self, id: PageId) -> &[u8];

    /// The bytes of a blob.
    fn blob(&self, id: BlobId) -> &[u8] {
        let bytes = self.blob_with_nul(id);
        &bytes[..bytes.len() - 1]
    }
}
