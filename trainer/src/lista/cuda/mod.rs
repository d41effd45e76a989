//! Training on an NVIDIA GPU: whole runs stay on the device, in kernels of our own
//! (`trainer/kernels`).
//!
//! A run has one piece of device memory, the arena: data, parameters, moments, and what a step
//! needs in between. A launch does some batches, each a whole training step: encode, infer,
//! gradients, Adam, columns rescaled. Between launches the host looks whether it is to stop. A team
//! of blocks works on a run, a cluster where the decoder is linear, and several runs go side by
//! side. The bits depend neither on the team nor on what else runs.
//!
//! [`CudaEngine`] speaks to a [`Gpu`]: the driver's (feature `cuda`), or in tests the same kernels
//! compiled for the host.

#[cfg(feature = "cuda")]
mod driver;
mod engine;
mod gpu;
mod layout;
mod resident;
mod run;

pub use engine::CudaEngine;
pub use gpu::{Gpu, GpuError, Launch, Memory};
pub use layout::Facts;

/// Lets up to 32 runs of this process be at work on a GPU at the same time: a driver that is not
/// asked to keeps eight queues, and runs that share one take turns.
///
/// Call it first in `main`, as the program `sparsecode` does: it sets `CUDA_DEVICE_MAX_CONNECTIONS`
/// for the driver, unless that is set, or other threads are there already. Without feature `cuda`
/// it does nothing.
pub fn let_runs_overlap() {
    #[cfg(feature = "cuda")]
    driver::ask_for_queues();
}
