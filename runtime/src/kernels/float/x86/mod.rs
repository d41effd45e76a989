//! Float kernels for x86-64 with AVX2.
//!
//! Every sum is added up in the order of [`portable`](super::portable): its eight partial sums are
//! the lanes of a register, products and sums are rounded one by one.
//!
//! What is not written out here is the portable kernel, compiled for AVX2.

mod dense;
mod elementwise;
mod lanes;
mod sparse;

#[cfg(feature = "std")]
pub(crate) use dense::multiply_each;
pub(crate) use dense::{DenseWeight, dot_rows};
pub(crate) use elementwise::{Active, PART, active};
pub(crate) use sparse::{add_code, add_row, add_rows, multiply_symmetric};
