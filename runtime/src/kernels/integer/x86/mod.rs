//! Integer kernels for x86-64: dense products with AVX-512 VNNI or AVX2, everything else with AVX2.
//!
//! Two 16-bit products an instruction and lane, as in the kernels of Cortex-M. Where a drive
//! becomes a level, the levels above 0 are gathered by a permutation instead of a branch each:
//! which of them are active is what a processor cannot predict.

mod dense;
mod elementwise;
mod lanes;
mod sparse;

pub(crate) use dense::dot_rows;
#[cfg(feature = "std")]
pub(crate) use dense::dot_rows_of_each;
pub(crate) use elementwise::{gradient_steps, list_levels, rescale};
pub(crate) use sparse::{add_rescaled_rows, add_rows, add_wide_rows, list_next_levels};
