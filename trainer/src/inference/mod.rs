//! Finding the codes of a mini-batch: the energy, and the engines that minimise it.
//!
//! For a batch `Z = (z_1..z_n)` of inputs `Y`, with a mean over pixels and over code components and a sum over the batch:
//!
//! ```text
//! f(Z) = Σ_i (1/d) ‖y_i − D(z_i)‖²  +  β Σ_j [(T − sd_j)_+]²  +  (γ/l) Σ_i ‖z_i − E(y_i)‖²
//! g(Z) = λ Σ_i ‖z_i‖₁,   z ≥ 0
//! ```
//!
//! An [`Engine`] minimises f + g. [`PlainFista`] is the definition; a faster engine, as [`CpuEngine`], must reproduce its iterates.

mod cpu;
mod energy;
mod fista;
mod step;

pub use cpu::CpuEngine;
pub use energy::{Energy, EnergyTerms};
pub use fista::PlainFista;
pub use step::StepRule;
pub(crate) use step::safe_step;

use std::sync::Arc;

#[cfg(not(feature = "cuda"))]
use candle_core::Error;
use candle_core::{Result, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::train::{Resident, ResidentRun};

/// When a sample that meets the tolerance stops moving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stopping {
    /// The sample takes no gradient step in the next iteration, slides on along its momentum, and
    /// is tested again. The published numbers came from this form.
    #[default]
    Sliding,
    /// The sample keeps the first iterate that meets the tolerance, as the paper's text says.
    Freeze,
}

/// What is minimised and how far. See the module's formula for the symbols.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InferenceConfig {
    /// λ, the weight of ‖z‖₁. A larger λ gives more zeros and less detail.
    #[schemars(range(min = 0))]
    pub lambda: f64,
    /// η, FISTA's step.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub step_size: f64,
    /// Whether FISTA takes η as it is, or no more than the decoder allows.
    #[serde(default, skip_serializing_if = "StepRule::is_fixed")]
    #[schemars(extend("default" = "fixed"))]
    pub step_rule: StepRule,
    /// K, the most FISTA iterations for one mini-batch.
    #[schemars(range(min = 1))]
    pub max_iterations: usize,
    /// A sample has converged when ‖z_k − z_{k−1}‖ < tolerance · ‖z_{k−1}‖. 0 runs all iterations.
    #[schemars(range(min = 0))]
    pub tolerance: f64,
    /// What a converged sample does while others go on.
    pub stopping: Stopping,
    /// γ, the weight of the distance between a code and the encoder's code.
    #[schemars(range(min = 0))]
    pub encoder_weight: f64,
    /// β, the weight of the variance hinge; 0 switches the hinge off.
    #[schemars(range(min = 0))]
    pub variance_weight: f64,
    /// T, the deviation of a code component (over a mini-batch) below which the hinge acts.
    #[schemars(range(min = 0))]
    pub variance_threshold: f64,
    /// Where FISTA starts in a model without an encoder: the value of every component. A
    /// one-hidden-layer decoder with b1 = 0 has no gradient at 0 and starts above.
    #[schemars(range(min = 0))]
    pub initial_code: f64,
}

/// What an engine found.
#[derive(Clone, Debug)]
pub struct Inference {
    /// Z*, `batch × code_dim`, non-negative.
    pub codes: Tensor,
    /// Iterations of the loop, the same for the whole batch.
    pub iterations: usize,
    /// For each sample, the iterations in which it did not meet the tolerance.
    pub steps: Vec<u32>,
    /// The step that was taken: η, or less under [`StepRule::Bounded`].
    pub step_size: f64,
}

impl Inference {
    /// Mean of [`Inference::steps`] over the batch.
    pub fn mean_steps(&self) -> f64 {
        self.steps.iter().map(|&s| f64::from(s)).sum::<f64>() / self.steps.len().max(1) as f64
    }
}

/// Minimises the energy of one mini-batch.
///
/// There is one definition of the iterates, [`PlainFista`]; other engines compute the same numbers in less time. Tensors are in main
/// memory, whatever an engine computes on; several threads may call one engine at the same time.
pub trait Engine: Send + Sync {
    /// Minimises `energy` from `start` (`batch × code_dim`).
    ///
    /// # Errors
    ///
    /// Fails if shapes, dtypes or devices disagree, or the device runs out of memory.
    fn infer(&self, energy: &Energy<'_>, start: &Tensor) -> Result<Inference>;

    /// Takes a whole run to the engine's own device, if it has one that can do what the run asks for. What it learns there is what
    /// [`Learner::step`](crate::train::Learner::step) would have, but for rounding.
    ///
    /// # Errors
    ///
    /// Fails if the device cannot hold the run.
    fn resident(&self, _run: &ResidentRun<'_>) -> Result<Option<Box<dyn Resident>>> {
        Ok(None)
    }

    /// How many runs with a linear decoder this engine's device has room for at the same time, a thread each; at least 1.
    fn concurrent_runs(&self) -> usize {
        1
    }

    /// This engine where so many runs go at a time: each has its share of the device. Bits stay the same. `None` if there is
    /// nothing to share.
    fn shared_by(&self, _runs: usize) -> Option<Arc<dyn Engine>> {
        None
    }
}

/// The engine of the first NVIDIA GPU.
///
/// # Errors
///
/// Says what is missing: the feature `cuda` in this build, or a GPU.
#[cfg(feature = "cuda")]
pub fn open_gpu() -> Result<Arc<dyn Engine>> {
    Ok(Arc::new(crate::cuda::CudaEngine::open(0)?))
}

/// As above, in a build without it.
///
/// # Errors
///
/// Always.
#[cfg(not(feature = "cuda"))]
pub fn open_gpu() -> Result<Arc<dyn Engine>> {
    Err(Error::Msg("built without CUDA".into()))
}
