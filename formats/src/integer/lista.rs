//! The LISTA encoder in integers.

use super::blocks::{Blocks, WeightBlocks};
use super::rescale::Rescales;

/// The LISTA encoder in integers. With levels `n` of a sample: `u = rescale(U n) + b`, then `z =
/// min(relu((u + 2^(f−1)) >> f), limit)`, and L times the same of `u + rescale(S z)`; `limit` is
/// the [`code_limit`](crate::Activations::code_limit).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntegerEncoder<'a> {
    /// L.
    pub iterations: u8,
    /// U \[l, d\].
    pub input: WeightBlocks<'a>,
    /// From sums of U to drives.
    pub input_rescale: Rescales<'a>,
    /// b \[l\], the normalisation's mean folded in; within ±2²⁹.
    pub bias: &'a [i32],
    /// Sᵀ \[l, l\]: row k is what an active component k adds to every component.
    pub recurrent: Blocks<'a, i8>,
    /// From sums of S to drives; its shift is at least 33.
    pub recurrent_rescale: Rescales<'a>,
    /// f: drives are codes with `f` more bits, 0 to 8.
    pub drive_fraction: u8,
}
