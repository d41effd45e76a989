//! Signals and frames without end: overlapping windows through a model, in buffers of fixed size.
//!
//! | | takes | gives | latency |
//! |---|---|---|---|
//! | [`SignalStream`] | samples of a 1-D signal | clean samples | `WINDOW` samples |
//! | [`FrameStream`] | lines of a frame | clean lines | `ROWS` lines |
//! | [`ContrastStream`] | lines of a frame | lines after local contrast normalisation, local means and deviations | `WINDOW − 1` lines |
//! | [`ContrastFrameStream`] | raw lines, for a model with local contrast normalisation | clean raw lines | `ROWS + WINDOW − 1` lines |
//! | [`DriftStream`] | samples of a 1-D signal | samples without baseline drift | `LENGTH − 1` samples |
//! | [`NoiseLevel`] | samples of a 1-D signal | σ of the white noise in them | 1,024 samples before the first |
//! | `DenoiseStream` (feature `denoise`) | raw samples of a 1-D signal, for a model that denoises | clean samples without drift | `WINDOW + DRIFT − 1` samples |
//!
//! A stream is the state of one channel and nothing else: plain data of a size known when the
//! program is compiled, all zeros at the start, so that a static of it lies in `.bss`. The model,
//! its workspace and the patch that is being denoised belong to the caller, who lends them from
//! call to call; any number of channels share them. What denoises is a closure that cleans a patch
//! in place:
//!
//! ```
//! use sparsecode_runtime::stream::SignalStream;
//! # use sparsecode_runtime::formats::{self, *};
//! # use sparsecode_runtime::{Model, SparseCode, Workspace};
//! # let trained = formats::example(Preprocessing::IDENTITY);
//! # let file = AlignedBytes::from_slice(&formats::write(&trained, WeightType::I8).unwrap());
//! # let bytes: &[u8] = &file;
//!
//! // One model, workspace and window for two channels, whose windows of 8 samples start every 4.
//! let model = Model::<8, 4>::load(bytes)?;
//! let (mut code, mut workspace, mut window) = (SparseCode::new(), Workspace::new(), [0.0; 8]);
//! let mut denoise = |window: &mut [f32; 8]| {
//!     model.denoise(window, None, &mut code, &mut workspace, || false);
//! };
//! let mut channels = [const { SignalStream::<f32, 8, 4>::new() }; 2];
//!
//! let mut received = [0; 2];
//! for sample in [0.0, 1.0, 1.0, 0.5, 0.5, 0.0, 0.0, 0.0, 1.0, 1.0] {
//!     for (channel, received) in channels.iter_mut().zip(&mut received) {
//!         if let Some(clean) = channel.push(sample, &mut window, &mut denoise) {
//!             assert!(clean.is_finite());
//!             *received += 1;
//!         }
//!     }
//! }
//! assert_eq!(received, [2, 2]); // 10 samples, 8 of latency
//! assert_eq!(channels[0].finish(&mut window, &mut denoise).len(), 8);
//! # Ok::<(), sparsecode_runtime::LoadError>(())
//! ```
//!
//! # Before and after the model
//!
//! No window of a model holds the slow drift of an ECG's baseline: [`DriftStream`] removes drift
//! first. [`NoiseLevel`] estimates σ of what is left, for settings that depend on the noise.
//! [`residual_guard`] gives back what a model removed beyond that noise; call it in the closure, on
//! each window:
//!
//! ```
//! use sparsecode_runtime::stream::{DriftStream, NoiseLevel, SignalStream, residual_guard_i16};
//!
//! let (mut drift, mut noise) = (DriftStream::<i16, 361>::new(), NoiseLevel::<i16>::new());
//! let (mut stream, mut window) = (SignalStream::<i16, 64, 16>::new(), [0; 64]);
//! let mut received = 0;
//! for time in 0..4000 {
//!     let sample = 1000 + time / 10 + time * 7919 % 101; // drift, and noise
//!     let Some(sample) = drift.push(sample as i16) else { continue };
//!     noise.push(sample);
//!     let sigma = noise.sigma().unwrap_or(0); // 0: nothing is removed
//!     let clean = stream.push(sample, &mut window, |window| {
//!         let noisy = *window;
//!         window.fill(0); // in place of a model
//!         residual_guard_i16(&noisy, window, sigma, 333); // c = 1.3
//!     });
//!     received += usize::from(clean.is_some());
//! }
//! assert_eq!(received, 4000 - 360 - 64);
//! ```
//!
//! # Sizes known at run time
//!
//! A program that gets to know the window, the patch or the frame from a file lends the memory,
//! too. The views compute what the types above compute, by the same code, and give the same bits:
//!
//! | | as | borrows |
//! |---|---|---|
//! | [`SignalView`] | [`SignalStream`] | samples, sums and a [`Cursor`] |
//! | [`FrameView`] | [`FrameStream`] | lines, sums and a [`Cursor`] |
//! | [`ContrastView`] | [`ContrastStream`] | samples, centred samples and a [`ContrastCursor`] |
//! | [`DriftView`] | [`DriftStream`] | samples, means and a [`DriftCursor`] |
//! | `DenoiseView` (feature `denoise`) | `DenoiseStream` | samples, sums and a `DenoiseCursor` |
//!
//! [`Windows`] holds the hop and the weights of windows, [`LocalContrastView`] the taps of a
//! Gaussian: each is checked once and serves any number of channels. A size that does not fit is an
//! error that names it ([`StreamError`]); nothing panics afterwards.
//!
//! # Where windows lie, and how they are added
//!
//! Windows start every `HOP` elements, and the last one is flush with the end, so that every
//! element lies in one window at least and nothing is padded. `HOP` need not divide the window. An
//! output element is the weighted mean of the windows that hold it, `Σ w·ŷ / Σ w` over those
//! windows alone: at the start and at the end, where fewer of them overlap, the divisor is that of
//! the few. A constant therefore comes out as it went in (`f32`: but for rounding), everywhere.
//! [`Weighting`] says which weights the types take; [`Windows`] takes any.
//!
//! A signal or frame that is shorter than one window is continued by reflection (`c b | a b c | b
//! a`) until it fills one.
//!
//! # Numbers
//!
//! `f32` samples are weighted and summed in `f32`, window after window. `i16` samples are for
//! models that compute in integers: weights and sums are `i32`, which cannot overflow, and the
//! quotient is rounded to the nearest integer, halves away from 0; no floating-point operation is
//! involved. Both give the same bits on every core. The one division of an output element is an
//! instruction, or a library call where the core has none (Cortex-M0+).
//!
//! A NaN or an infinite sample spoils the windows that hold it and nothing else: sums are made anew
//! for every element, none runs on. The sums of the drift filter do run on; such a sample spoils
//! itself alone there, and [`NoiseLevel`] leaves its block out.

mod bands;
mod contrast;
mod contrast_core;
mod contrast_frame;
mod contrast_view;
mod cosine;
#[cfg(feature = "denoise")]
mod denoising;
#[cfg(feature = "denoise")]
mod denoising_core;
#[cfg(feature = "denoise")]
mod denoising_view;
mod division;
mod drift;
mod drift_core;
mod drift_view;
mod frame;
mod frame_core;
mod frame_view;
mod guard;
mod local_contrast;
mod noise_level;
mod ring;
mod sample;
mod signal;
mod signal_core;
mod signal_view;
mod weighting;
mod windows;

#[cfg(feature = "capi")]
pub(crate) use bands::Banded;
#[cfg(feature = "capi")]
pub(crate) use weighting::sealed::Arithmetic;

pub use contrast::ContrastStream;
pub use contrast_core::ContrastCursor;
pub use contrast_frame::{ContrastFrameStream, FrameScratch};
pub use contrast_view::ContrastView;
#[cfg(feature = "denoise")]
pub use denoising::{DenoiseScratch, DenoiseStream, Denoising};
#[cfg(feature = "denoise")]
pub use denoising_core::{DenoiseWindows, NOISE_MEMORY};
#[cfg(feature = "denoise")]
pub use denoising_view::{DenoiseCursor, DenoiseView};
pub use drift::DriftStream;
pub use drift_core::DriftCursor;
pub use drift_view::DriftView;
pub use frame::FrameStream;
pub use frame_view::FrameView;
pub use guard::{residual_guard, residual_guard_i16};
pub use local_contrast::{ContrastError, LocalContrast, LocalContrastView};
pub use noise_level::NoiseLevel;
pub use ring::Cursor;
pub use sample::Sample;
pub use signal::SignalStream;
pub use signal_view::SignalView;
pub use weighting::{Hann, Uniform, Weighting};
pub use windows::{StreamError, Windows};
