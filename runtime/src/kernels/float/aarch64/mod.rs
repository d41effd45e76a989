//! Float kernels for AArch64 with NEON.
//!
//! Every sum is added up in the order of [`portable`](super::portable): its eight partial sums are
//! the lanes of two registers, products and sums are rounded one by one.
//!
//! What is not here, the compiler vectorises as well from the portable kernels: NEON belongs to
//! every processor of the target.

mod dense;
mod lanes;
mod sparse;

pub(crate) use dense::dot_rows;
pub(crate) use lanes::Eight as DenseWeight;
pub(crate) use sparse::multiply_symmetric;
