//! Getting a model file to an address where its numbers can be read in place.

/// The alignment, in bytes, that [`ModelFile::read`](crate::ModelFile::read) demands of the buffer:
/// that of an `f32`.
pub const MIN_ALIGNMENT: usize = 4;

/// Places its content on an 8-byte boundary, so that a model file in it can be read in place.
///
/// `include_bytes!` alone promises no alignment. [`include_model!`](crate::include_model) wraps
/// this for the usual case.
///
/// ```
/// use sparsecode_formats::Aligned;
///
/// static FLASH_SLOT: Aligned<[u8; 64]> = Aligned([0xff; 64]);
/// assert_eq!(FLASH_SLOT.0.as_ptr().addr() % 8, 0);
/// ```
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Aligned<T: ?Sized>(pub T);

/// Includes a model file as an aligned `&'static [u8]`; the path is relative to the calling source
/// file.
///
/// ```
/// // Any file will do to show the alignment; a program names its exported model here.
/// static MODEL: &[u8] = sparsecode_formats::include_model!("../Cargo.toml");
/// assert_eq!(MODEL.as_ptr().addr() % 8, 0);
/// ```
#[macro_export]
macro_rules! include_model {
    ($path:expr $(,)?) => {{
        static MODEL: &$crate::Aligned<[u8]> = &$crate::Aligned(*include_bytes!($path));
        &MODEL.0
    }};
}

#[cfg(feature = "std")]
pub use host::AlignedBytes;

#[cfg(feature = "std")]
mod host {
    use std::io::{self, Read};
    use std::ops::Deref;
    use std::path::Path;
    use std::sync::OnceLock;
    use std::vec::Vec;

    /// Bytes on the heap that start on a boundary of 64 bytes, a line of a host's cache: a model
    /// file in them can be read in place, and rows of its matrices are read from as few lines as
    /// they can be.
    ///
    /// A `Vec<u8>` promises no alignment.
    ///
    /// ```
    /// use sparsecode_formats::AlignedBytes;
    ///
    /// let bytes = AlignedBytes::from_slice(b"abc");
    /// assert_eq!(&bytes[..], b"abc");
    /// assert_eq!(bytes.as_ptr().addr() % 64, 0);
    /// ```
    #[derive(Debug, Default)]
    pub struct AlignedBytes {
        /// More than there are, so that they can start on a boundary.
        room: Vec<u8>,
        start: usize,
        len: usize,
        /// The Gram matrix of a file that does not store it.
        pub(crate) gram: OnceLock<Vec<i16>>,
    }

    const LINE: usize = 64;

    impl AlignedBytes {
        /// Copies `bytes`.
        #[must_use]
        pub fn from_slice(bytes: &[u8]) -> Self {
            let mut copy = Self::zeroed(bytes.len());
            copy.bytes_mut().copy_from_slice(bytes);
            copy
        }

        /// Reads a whole file.
        ///
        /// # Errors
        ///
        /// What the operating system says; [`io::ErrorKind::UnexpectedEof`] if the file shrinks
        /// meanwhile.
        pub fn read(path: impl AsRef<Path>) -> io::Result<Self> {
            let mut file = std::fs::File::open(path)?;
            let len =
                usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
            let mut bytes = Self::zeroed(len);
            file.read_exact(bytes.bytes_mut())?;
            Ok(bytes)
        }

        fn zeroed(len: usize) -> Self {
            let room = std::vec![0; len.saturating_add(LINE)];
            let address = room.as_ptr().addr();
            Self {
                start: address.next_multiple_of(LINE).wrapping_sub(address),
                room,
                len,
                gram: OnceLock::new(),
            }
        }

        fn bytes_mut(&mut self) -> &mut [u8] {
            let end = self.start.wrapping_add(self.len);
            self.room.get_mut(self.start..end).unwrap_or_default()
        }
    }

    impl Deref for AlignedBytes {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            let end = self.start.wrapping_add(self.len);
            self.room.get(self.start..end).unwrap_or_default()
        }
    }

    impl Clone for AlignedBytes {
        // Elsewhere on the heap, the boundary is elsewhere in the room.
        fn clone(&self) -> Self {
            Self::from_slice(self)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn copies_start_on_a_boundary_too() {
            let mut kept = Vec::new();
            for len in [0, 1, 63, 64, 1000] {
                let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let copy = AlignedBytes::from_slice(&bytes);
                // In turn with other blocks, so that the heap's addresses vary.
                kept.push(std::vec![0_u8; 24]);
                for copy in [copy.clone(), copy] {
                    assert_eq!(&copy[..], bytes);
                    assert_eq!(copy.as_ptr().addr() % LINE, 0);
                    kept.push(copy.room);
                }
            }
        }
    }
}
