//! The kernels of one block for Cortex-M with the DSP extension (M4, M7, M33 and up): two 16-bit
//! products an instruction.
//!
//! Eight-bit weights become pairs of 16-bit ones by `SXTB16`, which takes bytes 0 and 2, or 1 and
//! 3; inputs are paired likewise, once for a block. Pairs of 4-bit weights are a mask away, each
//! 128 too large, which is taken off the sums. Written out because a loop over single `asm!`
//! instructions is not unrolled and keeps no eight sums in registers.

mod dense;
mod elementwise;
mod lanes;
mod sparse;

pub(crate) use dense::{dot_narrow_rows, dot_rows};
#[cfg(feature = "denoise")]
pub(crate) use elementwise::learned_step;
pub(crate) use elementwise::{add_weighted, clamp, clear, clear_levels, copy, rescale};
pub(crate) use sparse::{add_narrow_rows, add_rows, add_wide_row, add_wide_rows};
