//! Non-zero components as the kernels walk them.

#[cfg(any(sparsecode_dsp, sparsecode_mve, sparsecode_neon, sparsecode_v6m))]
use sparsecode_formats::Blocks;
use sparsecode_formats::LANES;
#[cfg(any(sparsecode_dsp, sparsecode_mve, sparsecode_neon, sparsecode_v6m))]
use sparsecode_formats::Packed;

/// A non-zero component of a sparse vector as the kernels walk it: in the upper half the offset of
/// its row within a block, in bytes; in the lower half its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Entry(pub(super) u32);

impl Entry {
    pub(crate) const ZERO: Self = Self(0);

    /// For row `index` (at most 4095) of a matrix of `T`.
    #[inline(always)]
    pub(crate) const fn new<T>(index: usize, value: i16) -> Self {
        let offset = index.wrapping_mul(LANES).wrapping_mul(size_of::<T>());
        Self((offset as u32) << 16 | value.cast_unsigned() as u32)
    }

    /// The row in a matrix of `T`.
    #[inline(always)]
    pub(crate) const fn index<T>(self) -> usize {
        self.0 as usize >> const { 16 + (LANES * size_of::<T>()).trailing_zeros() }
    }

    /// Where the row starts in a block, in bytes.
    #[cfg(any(sparsecode_dsp, sparsecode_mve, sparsecode_host, sparsecode_v6m))]
    #[inline(always)]
    pub(super) const fn offset(self) -> usize {
        self.0 as usize >> 16
    }

    /// The same component for a matrix of 8-bit numbers, of one for 16-bit ones.
    #[cfg(feature = "denoise")]
    #[inline(always)]
    pub(crate) const fn narrow(self) -> Self {
        Self(self.0 >> 1 & 0xffff_0000 | self.0 & 0xffff)
    }

    /// The component.
    #[inline(always)]
    pub(crate) const fn value(self) -> i16 {
        (self.0 as u16).cast_signed()
    }
}

/// Whether every entry's row lies within each block of a matrix.
#[cfg(any(sparsecode_dsp, sparsecode_mve, sparsecode_neon, sparsecode_v6m))]
#[inline(always)]
pub(super) fn lie_within<T: Packed>(entries: &[Entry], matrix: &Blocks<'_, T>) -> bool {
    let row = const { LANES * size_of::<T>() };
    // A difference below 0 shows in the sign: offsets have 16 bits. Without branches, which take
    // more than twice as long on a Cortex-M4.
    let last = matrix.rows().wrapping_mul(row).wrapping_sub(row);
    let beyond = |any: usize, entry: &Entry| any | last.wrapping_sub(entry.offset());
    let (fours, rest) = entries.as_chunks::<4>();
    let any = fours
        .iter()
        .fold(0, |any, four| four.iter().fold(any, beyond));
    rest.iter().fold(any, beyond).cast_signed() >= 0
}
