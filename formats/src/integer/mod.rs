//! Models for integer arithmetic: what version 2 of the format holds.

mod activations;
mod blocks;
mod contrast;
mod gram;
#[cfg(feature = "variational")]
mod layers;
mod limits;
mod lista;
#[cfg(feature = "std")]
mod parts;
mod proof;
mod read;
mod rescale;
mod source;
mod spec;
#[cfg(feature = "std")]
mod write;

pub use activations::Activations;
pub use blocks::{Blocks, LANES, Nibbles, Packed, WeightBlocks};
pub use contrast::{IntegerContrast, STANDARD_FRACTION, Units};
pub use limits::{CODE_LIMIT, DRIVE_LIMIT};
pub use lista::IntegerEncoder;
pub use proof::Overflow;
pub use read::{
    IntegerDecoder, IntegerFile, IntegerGram, IntegerRefiner, IntegerStreamSpec, IntegerVariational,
};
#[cfg(feature = "variational")]
pub use read::{IntegerLayer, IntegerVariationalBody};
pub use rescale::{Rescale, Rescales};
pub use spec::IntegerSpec;
#[cfg(feature = "std")]
pub use write::{
    ActivationRanges, GramStorage, IntegerReport, IntegerWritten, write_integer, write_integer_as,
    write_integer_with,
};
