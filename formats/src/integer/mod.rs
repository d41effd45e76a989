//! Models for integer arithmetic: what version 2 of the format holds.

mod blocks;
mod contrast;
mod proof;
mod read;
#[cfg(feature = "std")]
mod write;

pub use blocks::{Blocks, LANES, Nibbles, Packed, WeightBlocks};
pub use contrast::{IntegerContrast, STANDARD_FRACTION, Units};
pub use proof::Overflow;
pub use read::{
    Activations, IntegerDecoder, IntegerEncoder, IntegerFile, IntegerRefiner, IntegerSpec, Rescale,
    Rescales,
};
#[cfg(feature = "std")]
pub use write::{ActivationRanges, IntegerReport, IntegerWritten, write_integer, write_integer_as};

/// Largest magnitude of the level of a code component: codes are `0 ..= 32767`, or `±32767` if they are signed.
pub const CODE_LIMIT: i32 = i16::MAX as i32;

/// What drives and correlations are cut to, ±2²⁹, so that what is added to them cannot overflow.
pub const DRIVE_LIMIT: i32 = 1 << 29;
