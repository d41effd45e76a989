//! Stored weights, and rows of them.

/// Independent partial sums of a reduction: one 256-bit register on a host, eight chains on a
/// microcontroller.
pub(super) const LANES: usize = 8;

/// A stored weight.
pub(crate) trait Weight: Copy {
    /// The stored number, without its scale. Exact for all three types.
    fn to_f32(self) -> f32;
}

impl Weight for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Weight for i16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
}

impl Weight for i8 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
}

/// Row `index` of a row-major matrix; empty if there is no such row.
#[inline(always)]
pub(crate) fn row<W>(weights: &[W], columns: usize, index: usize) -> &[W] {
    // The product cannot wrap for a row that exists, and any other range is caught by `get`.
    let start = index.wrapping_mul(columns);
    weights
        .get(start..start.wrapping_add(columns))
        .unwrap_or(&[])
}

/// [`row`], to be written.
#[inline]
pub(crate) fn row_mut<W>(weights: &mut [W], columns: usize, index: usize) -> &mut [W] {
    let start = index.wrapping_mul(columns);
    weights
        .get_mut(start..start.wrapping_add(columns))
        .unwrap_or_default()
}
