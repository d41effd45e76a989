//! Integer kernels for AArch64: dense products with dot products of 8-bit numbers where the
//! processor has them, everything else with NEON, which all have.
//!
//! Where a drive becomes a level, eight components are passed over at once unless one of them is
//! active.

mod dense;
mod elementwise;
mod lanes;
mod sparse;

pub(crate) use dense::dot_rows;
pub(crate) use elementwise::{gradient_steps, list_levels};
pub(crate) use sparse::{add_rescaled_rows, add_rows, add_wide_rows, list_next_levels};
