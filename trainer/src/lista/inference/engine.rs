//! What finds codes.

use candle_core::{Result, Tensor};

use super::config::InferenceConfig;
use super::energy::Energy;

/// What an engine found.
#[derive(Clone, Debug)]
pub struct Inference {
    /// Z*, `batch × code_dim`, non-negative.
    pub codes: Tensor,
    /// Iterations of the loop, the same for the whole batch.
    pub iterations: usize,
    /// For each sample, the iterations in which it did not meet the tolerance.
    pub steps: Vec<u32>,
    /// The step that was taken: η, or less under [`StepRule::Bounded`](super::StepRule::Bounded).
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
/// There is one definition of the iterates, [`PlainFista`](super::PlainFista); other engines
/// compute the same numbers in less time. Tensors lie on the device that the engine's
/// [`Backend`](crate::lista::Backend) names. Several threads may call one engine at the same time.
pub trait Engine: Send + Sync {
    /// Minimises `energy` from `start` (`batch × code_dim`).
    ///
    /// # Errors
    ///
    /// Fails if shapes, dtypes or devices disagree, or the device runs out of memory.
    fn infer(&self, energy: &Energy<'_>, start: &Tensor) -> Result<Inference>;
}

/// FISTA's start for a model without an encoder, `batch × code_dim`.
pub(crate) fn initial_codes(
    config: &InferenceConfig,
    code_dim: usize,
    inputs: &Tensor,
) -> Result<Tensor> {
    let shape = (inputs.dim(0)?, code_dim);
    Tensor::full(config.initial_code as f32, shape, inputs.device())?.to_dtype(inputs.dtype())
}
