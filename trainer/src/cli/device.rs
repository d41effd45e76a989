//! The flags that say where and how to compute.

use std::sync::Arc;

use anyhow::Context;
use candle_core::Device;
use clap::ValueEnum;

use super::common::usage;
use crate::lista::inference::{CpuEngine, PlainFista};
use crate::lista::{Backend, open_gpu, open_plain_gpu};

/// How training computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum EngineChoice {
    /// Kernels of this program's own.
    Fused,
    /// candle's tensor operations: slow; the reference that the kernels are tested against.
    Plain,
}

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DeviceChoice {
    /// This processor.
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
    /// A GPU if this program was built for one and finds it, else the processor.
    Auto,
}

impl DeviceChoice {
    /// The flag's value.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Auto => "auto",
        }
    }

    /// What computes there: the plain engine on candle's tensors, or what is fastest.
    pub(super) fn open_engine(
        self,
        engine: EngineChoice,
    ) -> anyhow::Result<Option<Arc<dyn Backend>>> {
        match (engine, self) {
            (EngineChoice::Fused, _) => self.gpu(),
            (EngineChoice::Plain, Self::Cpu) => Ok(Some(Arc::new(PlainFista))),
            (EngineChoice::Plain, Self::Auto) if cfg!(feature = "candle-cuda") => {
                let gpu = open_plain_gpu()
                    .inspect_err(|error| eprintln!("note: using the processor: {error}"));
                Ok(Some(gpu.unwrap_or_else(|_| Arc::new(PlainFista))))
            }
            (EngineChoice::Plain, Self::Auto) => Ok(Some(Arc::new(PlainFista))),
            (EngineChoice::Plain, Self::Cuda) if !cfg!(feature = "candle-cuda") => Err(usage(
                "--engine plain: this program was built without candle's CUDA; build with --features candle-cuda, or add --device cpu",
            )),
            (EngineChoice::Plain, Self::Cuda) => {
                open_plain_gpu().map(Some).context("--device cuda")
            }
        }
    }

    /// Where candle's tensors lie. Without the word `cuda` that is this processor: networks that
    /// are this small gain nothing elsewhere.
    pub(super) fn candle(self) -> anyhow::Result<Device> {
        match self {
            Self::Cuda if !cfg!(feature = "candle-cuda") => Err(usage(
                "--device cuda: this program was built without candle's CUDA; build with --features candle-cuda, or leave --device out",
            )),
            Self::Cuda => Device::new_cuda(0).context("--device cuda"),
            Self::Auto | Self::Cpu => Ok(Device::Cpu),
        }
    }

    /// What computes there.
    pub(super) fn open(self) -> anyhow::Result<Arc<dyn Backend>> {
        Ok(self
            .gpu()?
            .unwrap_or_else(|| Arc::new(CpuEngine::default())))
    }

    /// The GPU, or `None` for the processor.
    pub(super) fn gpu(self) -> anyhow::Result<Option<Arc<dyn Backend>>> {
        match self {
            Self::Cuda if !cfg!(feature = "cuda") => Err(usage(
                "--device cuda: this program was built without CUDA; build with --features cuda",
            )),
            Self::Cuda => open_gpu().map(Some).context("--device cuda"),
            Self::Auto if cfg!(feature = "cuda") => Ok(open_gpu()
                .inspect_err(|error| eprintln!("note: using the processor: {error}"))
                .ok()),
            Self::Auto | Self::Cpu => Ok(None),
        }
    }
}
