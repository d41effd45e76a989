use std::sync::Arc;

use candle_core::{Error, Result, Tensor};

use super::Gpu;
use super::resident::{DeviceRun, InferOnce, Place};
use crate::lista::inference::{Energy, Engine, Inference};
use crate::lista::resident::{Backend, Resident, ResidentRun};

/// The engine for NVIDIA GPUs: FISTA's whole loop, and whole runs, without leaving the device.
///
/// Tensors are in main memory. Three kinds of runs do not stay on the device, but take their steps
/// on the processor, and only their codes from here: those with quantisation-aware weights, those
/// with a frozen decoder, and those with `inference.step_rule = "bounded"`.
///
/// Bits are the same alone and beside other runs, and with any number of blocks; from the
/// processor's they differ by rounding.
///
/// ```no_run
/// # #[cfg(feature = "cuda")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sparsecode_trainer::lista::Config;
/// use sparsecode_trainer::lista::cuda::CudaEngine;
/// use sparsecode_trainer::run::{RunFolder, Silent, Trainer};
///
/// let engine = CudaEngine::open(0)?;
/// let config = Config::preset("ecg/vdl")?;
/// let splits = config.data.load(None, config.seed)?;
/// let folder = RunFolder::new("runs/ecg");
/// Trainer::new(config, splits, &engine)?.run(&folder, &mut Silent, &false.into())?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "cuda"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct CudaEngine {
    gpu: Arc<dyn Gpu>,
    runs: usize,
}

impl CudaEngine {
    /// The engine on `gpu`, which has it to itself.
    pub fn new(gpu: Arc<dyn Gpu>) -> Self {
        Self { gpu, runs: 1 }
    }

    /// The engine on the GPU of this number, from 0.
    ///
    /// # Errors
    ///
    /// [`GpuError`](super::GpuError) says what is missing, and the remedy.
    #[cfg(feature = "cuda")]
    pub fn open(ordinal: usize) -> std::result::Result<Self, super::GpuError> {
        Ok(Self::new(Arc::new(
            crate::lista::cuda::driver::Driver::open(ordinal)?,
        )))
    }

    fn place(&self) -> Place<'_> {
        Place {
            gpu: self.gpu.as_ref(),
            runs: self.runs,
        }
    }
}

impl std::fmt::Debug for CudaEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaEngine")
            .field("gpu", self.gpu.facts())
            .field("runs", &self.runs)
            .finish()
    }
}

impl Engine for CudaEngine {
    fn infer(&self, energy: &Energy<'_>, start: &Tensor) -> Result<Inference> {
        let (n, l) = start.dims2()?;
        let decoder = energy.decoder();
        let d = energy.inputs().dim(1)?;
        decoder.check_shapes(d, l)?;
        for (name, tensor) in [
            ("the start", Some(start)),
            ("the encoder's codes", energy.encoder_codes()),
        ] {
            if tensor.is_some_and(|tensor| tensor.dims() != [n, l]) || energy.inputs().dim(0)? != n
            {
                return Err(Error::Msg(format!(
                    "{name}: expected shape [{n}, {l}], a row for each input"
                )));
            }
        }
        InferOnce {
            inputs: energy.inputs(),
            start,
            encoder_codes: energy.encoder_codes(),
            parameters: decoder.parameters(),
            hidden_dim: decoder.hidden_dim(),
            inference: energy.config(),
            step_size: energy.step_size()?,
        }
        .run(&self.place())
    }
}

impl Backend for CudaEngine {
    fn resident(&self, run: &ResidentRun<'_>) -> Result<Option<Box<dyn Resident>>> {
        if run.config.steps_on_processor().is_some() {
            return Ok(None);
        }
        Ok(Some(Box::new(DeviceRun::new(&self.place(), run)?)))
    }

    fn concurrent_runs(&self) -> usize {
        self.gpu.facts().concurrent_runs()
    }

    fn shared_by(&self, runs: usize) -> Option<Arc<dyn Backend>> {
        Some(Arc::new(Self {
            gpu: Arc::clone(&self.gpu),
            runs: runs.max(1),
        }))
    }
}
