//! Models for integer arithmetic: what version 2 of the format holds.

mod blocks;
mod contrast;
mod limits;
#[cfg(feature = "std")]
mod parts;
mod proof;
mod read;
#[cfg(feature = "std")]
mod write;

pub use blocks::{Blocks, LANES, Nibbles, Packed, WeightBlocks};
pub use contrast::{IntegerContrast, STANDARD_FRACTION, Units};
pub use limits::{CODE_LIMIT, DRIVE_LIMIT};
pub use proof::Overflow;
pub use read::{
    Activations, IntegerDecoder, IntegerEncoder, IntegerFile, IntegerRefiner, IntegerSpec, Rescale,
    Rescales,
};
#[cfg(feature = "std")]
pub use write::{ActivationRanges, IntegerReport, IntegerWritten, write_integer, write_integer_as};
