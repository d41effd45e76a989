//! The kernels of one block in plain Rust: what every other implementation is held to.

mod dense;
mod elementwise;
mod sparse;
#[cfg(test)]
mod tests;

pub(crate) use dense::dot_block;
#[cfg(sparsecode_dsp)]
pub(crate) use elementwise::are_small;
pub(crate) use elementwise::{add_weighted, clamp, copy, rescale, rescale_in_words};
pub(crate) use sparse::{add_narrow_rows, add_row, add_rows, add_wide_rows};
