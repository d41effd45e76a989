//! Trains sparse autoencoders and exports them for microcontrollers: the library behind the
//! `sparsecode` program.
//!
//! [`data`] loads samples. A [`run`] learns from them, whatever it trains; [`lista`] is the family
//! of models that it trains, [`denoising`] what learns from noisy to clean, and [`variational`]
//! what draws its codes. [`deploy`] writes the file that `sparsecode-runtime` runs, [`report`]
//! shows what came of it, [`sweep`] does many runs.

/// The commit that this program was built from; `unknown` outside a checkout.
pub const COMMIT: &str = env!("SPARSECODE_COMMIT");

pub use sparsecode_report as report;
pub use sparsecode_report::storage;

pub mod cli;
pub mod data;
pub mod denoising;
pub mod deploy;
pub mod lista;
pub mod optim;
pub mod reproduce;
pub mod rng;
pub mod run;
pub mod sweep;
mod tensor;
pub mod variational;
