//! Denoising: a network of windows that learns from noisy to clean, through the overlap-add.
//!
//! [`GramNetwork`] finds a sparse code of a window by a few steps on the dictionary's Gram matrix,
//! all of whose numbers are learned. [`Overlap`] cuts stretches of a signal into overlapping
//! windows and adds the clean ones up again. [`Denoiser`] is both: its loss is that of the added
//! output, so that the windows learn to agree. Gradients are closed forms.

mod denoiser;
mod gram;
mod overlap;

pub use denoiser::{Denoiser, Loss};
pub use gram::{GramNetwork, GramTrace};
pub use overlap::Overlap;
