//! Trains sparse autoencoders and exports them for microcontrollers: the library behind the `sparsecode` program.
//!
//! [`config`] says what a run is, [`data`] loads samples, [`model`] holds the networks, [`inference`] finds codes, [`cuda`]
//! does so on a GPU, [`train`] learns, [`evaluate`] measures, [`export`] writes the file that `sparsecode-runtime` runs, [`report`] shows it, [`sweep`] does many
//! runs.

/// The commit that this program was built from; `unknown` outside a checkout.
pub const COMMIT: &str = env!("SPARSECODE_COMMIT");

pub use sparsecode_report as report;
pub use sparsecode_report::storage;

pub mod cli;
pub mod config;
pub mod cuda;
pub mod data;
pub mod denoise;
pub mod evaluate;
pub mod export;
pub mod given;
pub mod inference;
mod kernels;
pub mod model;
pub mod reproduce;
pub mod rng;
pub mod sweep;
pub mod train;
pub mod units;
