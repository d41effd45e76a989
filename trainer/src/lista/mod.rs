//! The first family: sparse autoencoders with a LISTA encoder, codes by FISTA, and a linear or
//! one-hidden-layer decoder ("Sparse Coding with Multi-layer Decoders using Variance
//! Regularization").
//!
//! [`Config`] says what a run is, [`model`] holds the networks, [`inference`] finds codes, [`cuda`]
//! does so on a GPU, [`Stepper`] learns from a mini-batch, [`evaluate`](mod@evaluate) measures.

mod backend;
mod config;
pub mod cuda;
pub mod evaluate;
mod family;
pub mod features;
mod guard;
pub mod inference;
mod learner;
pub mod model;
mod presets;
pub mod remarks;
mod resident;
mod step;
mod upgrade;

pub use backend::{open_gpu, open_plain_gpu};
pub use config::{Config, Lista, OptimizerConfig};
pub use learner::{ListaLearner, autoencoder_of};
pub use presets::preset_names;
pub use resident::{Backend, PlainBackend, Resident, ResidentRun, Update};
pub use step::{BatchFigures, StepOutcome, Stepper};
