//! Encoding, refining and decoding in integers only.
//!
//! Weights have 8 or 4 bits, samples and codes 16 or 8, sums 32; every step is exact or rounds in a stated way, so that a host and a
//! microcontroller compute the same bits whatever their kernels. No floating-point operation takes part.

#[cfg(feature = "capi")]
pub(crate) mod borrowed;
mod code;
mod decode;
mod encode;
mod model;
mod preprocess;
mod refine;
mod workspace;

pub use code::IntegerCode;
pub use model::IntegerModel;
#[cfg(feature = "std")]
pub use model::IntegerView;
pub use preprocess::IntegerNormalisation;
pub use refine::{IntegerRefine, IntegerRefinement, Method};
pub use workspace::IntegerWorkspace;
