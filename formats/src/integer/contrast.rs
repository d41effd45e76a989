//! What is done to a patch of integer samples.

/// Fractional bits of standardised samples: 4096 levels are one standard deviation of the patch.
pub const STANDARD_FRACTION: u32 = 12;

/// [`Contrast`](crate::Contrast) in levels: from raw levels `r` of a patch to what the weights take. The affine normalisation is
/// folded into the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum IntegerContrast {
    /// The raw levels themselves.
    None,
    /// `r − mean`, with the patch's mean rounded to a level.
    RemoveMean,
    /// `(r − mean) · 4096 / max(deviation, floor)`.
    Standardize {
        /// Smallest divisor, in sixteenths of a level; at least 16.
        floor: u32,
    },
    /// The caller normalises: see [`Contrast::Local`](crate::Contrast::Local).
    External,
}
