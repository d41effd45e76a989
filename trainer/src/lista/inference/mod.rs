//! Finding the codes of a mini-batch: the energy, and the engines that minimise it.
//!
//! For a batch `Z = (z_1..z_n)` of inputs `Y`, with a mean over pixels and over code components and
//! a sum over the batch:
//!
//! ```text
//! f(Z) = Σ_i (1/d) ‖y_i − D(z_i)‖²  +  β Σ_j [(T − sd_j)_+]²  +  (γ/l) Σ_i ‖z_i − E(y_i)‖²
//! g(Z) = λ Σ_i ‖z_i‖₁,   z ≥ 0
//! ```
//!
//! An [`Engine`] minimises f + g. [`PlainFista`] is the definition; a faster engine, as
//! [`CpuEngine`], must reproduce its iterates.

mod config;
mod cpu;
mod energy;
mod engine;
mod fista;
mod step;

pub use config::{InferenceConfig, Stopping};
pub use cpu::CpuEngine;
pub use energy::{Energy, EnergyTerms};
pub(crate) use engine::initial_codes;
pub use engine::{Engine, Inference};
pub use fista::PlainFista;
pub use step::StepRule;
pub(crate) use step::safe_step;
