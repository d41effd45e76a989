//! Slice kernels in plain Rust, the same on every target.
//!
//! Weights are `f32`, `i16` or `i8` and are converted one by one; all sums are in `f32`, without
//! fused multiply-add. The order of every sum is fixed and part of the documented arithmetic, so
//! that a host and a microcontroller give the same bits for the same file.
//!
//! Errors, in the usual model of rounding with `u = 2⁻²⁴` (Higham, *Accuracy and Stability of
//! Numerical Algorithms*, §4.2) and to first order in `u`:
//!
//! - [`dot`] of `n` elements: at most `(n/8 + 4)·u·Σ|w·x|`;
//! - [`add_rows`] of `n` rows: at most `(n + 1)·u·Σ|w·v|` for each element.
//!
//! No kernel can panic: where lengths differ, the shortest one counts.

mod dense;
mod elementwise;
mod sparse;
#[cfg(test)]
mod tests;
mod weights;

pub(crate) use dense::{dot, dot_rows, sum, sum_of_magnitudes, sum_of_squares};
pub(crate) use elementwise::{multiply, relu};
#[cfg(sparsecode_host)]
pub(crate) use sparse::multiply_symmetric_tiled;
pub(crate) use sparse::{add_row, add_rows, multiply_symmetric};
pub(crate) use weights::{Weight, row, row_mut};
