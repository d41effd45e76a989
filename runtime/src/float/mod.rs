//! Models in float arithmetic. [`integer`](crate::integer) has files of the same names.

pub(crate) mod code;
pub(crate) mod decoder;
pub(crate) mod denoise;
mod encoder;
pub(crate) mod gram;
#[cfg(feature = "denoise")]
mod gram_encoder;
pub(crate) mod model;
#[cfg(feature = "variational")]
mod noise;
pub(crate) mod preprocess;
pub(crate) mod refine;
#[cfg(feature = "variational")]
pub(crate) mod sampling;
#[cfg(feature = "variational")]
mod variational_encoder;
pub(crate) mod view;
pub(crate) mod workspace;
