//! Versions and limits of the format.

/// The version of files for arithmetic in `f32`: those of [`ModelFile`](crate::ModelFile).
pub const FORMAT_VERSION: u32 = 1;

/// The version of files for arithmetic in integers: those of [`IntegerFile`](crate::IntegerFile).
pub const INTEGER_FORMAT_VERSION: u32 = 2;

/// The longest safetensors header that is accepted, in bytes (a version 1 file needs about 2000).
pub const MAX_HEADER_LEN: usize = 1 << 16;
