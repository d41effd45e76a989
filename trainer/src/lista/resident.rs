//! Backends, and runs that live on a device of their own.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::config::Config;
use super::evaluate::Evaluation;
use super::inference::{CpuEngine, Energy, Engine, Inference, PlainFista};
use super::step::{BatchFigures, Stepper};
use crate::data::Samples;
use crate::run::Divergence;

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
    pub stepper: &'a Stepper,
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

/// A run whose data, parameters and moments live on its engine's device from the first step to the
/// last.
pub trait Resident {
    /// Says in which order an epoch takes the samples, and how its steps update.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn begin_epoch(&mut self, order: &[u32], updates: &[Update]) -> Result<()>;

    /// Takes the steps of the first of `batches`, at least of one, as many as are done in a moment.
    ///
    /// Returns the figures of each step, and the divergence that ended them, if one did. A step
    /// that diverged changes no parameter.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn steps(&mut self, batches: Range<usize>) -> Result<(Vec<BatchFigures>, Option<Divergence>)>;

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
    fn store(&mut self, learner: &mut Stepper, steps: u64) -> Result<()>;
}

/// An engine, and what hosts whole runs on a device of its own.
pub trait Backend: Engine {
    /// Where the tensors of steps and measures are.
    fn device(&self) -> Device {
        Device::Cpu
    }

    /// Takes a whole run to the engine's own device, if it has one that can do what the run asks
    /// for. What it learns there is what [`Stepper::step`] would have, but for rounding.
    ///
    /// # Errors
    ///
    /// Fails if the device cannot hold the run.
    fn resident(&self, _run: &ResidentRun<'_>) -> Result<Option<Box<dyn Resident>>> {
        Ok(None)
    }

    /// Runs with a linear decoder that fit the engine's device at the same time, each with a thread
    /// of its own; at least 1.
    fn concurrent_runs(&self) -> usize {
        1
    }

    /// This engine for `runs` runs at the same time, each with its share of the device. The runs
    /// give the same bits as alone. `None` if there is nothing to share.
    fn shared_by(&self, _runs: usize) -> Option<Arc<dyn Backend>> {
        None
    }
}

impl Backend for CpuEngine {}

impl Backend for PlainFista {}

/// [`PlainFista`] on tensors of any device: the definition, and with feature `candle-cuda` the
/// oracle for a GPU's kernels on that GPU.
///
/// ```
/// use candle_core::Device;
/// use sparsecode_trainer::lista::{Backend, PlainBackend};
///
/// assert!(PlainBackend::new(Device::Cpu).device().is_cpu());
/// ```
#[derive(Clone, Debug)]
pub struct PlainBackend {
    device: Device,
}

impl PlainBackend {
    /// The backend of a device.
    pub fn new(device: Device) -> Self {
        Self { device }
    }
}

impl Engine for PlainBackend {
    fn infer(&self, energy: &Energy<'_>, start: &Tensor) -> Result<Inference> {
        PlainFista.infer(energy, start)
    }
}

impl Backend for PlainBackend {
    fn device(&self) -> Device {
        self.device.clone()
    }
}
