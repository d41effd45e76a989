//! Streams against the same thing done with whole signals and whole frames.

#[path = "../common/mod.rs"]
mod common;
mod contrast;
mod contrast_frames;
#[cfg(feature = "denoise")]
mod denoising;
mod drift;
mod frames;
mod guard;
mod noise_level;
mod noise_recorded;
mod signals;
mod views;
mod whole;
