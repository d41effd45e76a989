//! The kernels for Cortex-M with Helium (M55, M85): eight 16-bit or four 32-bit products an
//! instruction.
//!
//! Loads widen 8-bit weights as they come.

mod dense;
mod elementwise;
mod sparse;

pub(crate) use dense::dot_rows;
pub(crate) use elementwise::{clamp, clear, list_levels, rescale};
pub(crate) use sparse::{
    add_rescaled_rows, add_rows, add_wide_row, add_wide_rows, list_next_levels,
};
