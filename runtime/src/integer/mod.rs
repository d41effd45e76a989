//! Encoding, refining and decoding in integers only. [`float`](crate::float) has files of the same
//! names.
//!
//! Weights have 8 or 4 bits, samples and codes 16 or 8, sums 32; every step is exact or rounds in a
//! stated way, so that a host and a microcontroller compute the same bits whatever their kernels.
//! No floating-point operation takes part.

pub(crate) mod code;
mod decoder;
pub(crate) mod denoise;
mod encoder;
#[cfg(feature = "denoise")]
mod gram_encoder;
pub(crate) mod model;
pub(crate) mod preprocess;
pub(crate) mod refine;
#[cfg(feature = "variational")]
mod variational_encoder;
pub(crate) mod view;
pub(crate) mod workspace;
