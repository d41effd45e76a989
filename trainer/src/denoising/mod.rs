//! Denoising: a network of windows that learns from noisy to clean, through the overlap-add.
//!
//! [`GramNetwork`] finds a sparse code of a window by a few steps on the dictionary's Gram matrix,
//! all of whose numbers are learned. [`Overlap`] cuts stretches of a signal into overlapping
//! windows and adds the clean ones up again. [`Denoiser`] is both: its loss is that of the added
//! output, so that the windows learn to agree. Gradients are closed forms.

mod config;
mod denoiser;
mod dictionary;
mod family;
mod gram;
mod learner;
mod noise;
mod overlap;

pub use config::{Denoise, DenoiseConfig, DenoiseOptimizer, NetworkConfig, NoiseConfig};
pub use denoiser::{Cleaned, Denoiser, Loss};
pub use gram::{GramNetwork, GramTrace};
pub use learner::DenoiseLearner;
pub use noise::{Noise, Part};
pub use overlap::Overlap;

pub use crate::tensor::quantized::QuantizeAware;

/// The deviation of noise beside data of deviation 1, for a signal-to-noise ratio in dB.
///
/// ```
/// assert_eq!(sparsecode_trainer::denoising::level(20.0), 0.1);
/// ```
pub fn level(decibels: f64) -> f64 {
    10f64.powf(-decibels / 20.0)
}
