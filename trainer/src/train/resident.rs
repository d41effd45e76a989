//! Runs that live on their engine's own device.

use std::ops::Range;

use candle_core::Result;

use super::{Divergence, Learner};
use crate::config::Config;
use crate::evaluate::{Evaluation, Samples};
use crate::inference::EnergyTerms;

/// What an engine takes to its device.
#[derive(Clone, Copy)]
pub struct ResidentRun<'a> {
    /// What the run is.
    pub config: &'a Config,
    /// What it learns from.
    pub train: &'a Samples,
    /// What it is validated on.
    pub validation: &'a Samples,
    /// Parameters and moments to begin with.
    pub learner: &'a Learner,
    /// Peak of the data in raw units.
    pub peak: f64,
}

/// The constants of one step's updates: `1/√(1 − β₂ᵗ)` and `rate/(1 − β₁ᵗ)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Of the decoder's parameters.
    pub decoder: (f64, f64),
    /// Of the encoder's.
    pub encoder: (f64, f64),
}

/// The figures of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepFigures {
    /// PSNR of D(z*), in dB, summed over the batch.
    pub psnr: f64,
    /// Components of z* that are 0.
    pub zeros: f64,
    /// Σ ‖z*‖₁.
    pub code_l1: f64,
    /// The energy at Z*, summed over the batch.
    pub energy: EnergyTerms,
    /// mean (1/l)‖E(y) − z*‖² before the update.
    pub encoder_loss: f64,
    /// Iterations in which a sample had not converged, mean over the batch.
    pub mean_steps: f64,
    /// Iterations of FISTA.
    pub iterations: f64,
}

/// A run whose data, parameters and moments live on its engine's device from the first step to the last.
pub trait Resident {
    /// Says in which order an epoch takes the samples, and how its steps update.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn begin_epoch(&mut self, order: &[u32], updates: &[Update]) -> Result<()>;

    /// Takes steps on these batches of the epoch, from the first on, as many as are done in a moment; at least one. Returns the
    /// figures of each, and why the batch after them could not be taken, which leaves the parameters as they were before it.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn steps(&mut self, batches: Range<usize>) -> Result<(Vec<StepFigures>, Option<Divergence>)>;

    /// Measures the model as it stands on the validation set.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn evaluate(&mut self) -> Result<Evaluation>;

    /// Brings parameters and moments back; `steps` have been taken since the run began.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn store(&mut self, learner: &mut Learner, steps: u64) -> Result<()>;
}
