//! Opens the backends of a GPU.

use std::sync::Arc;

use candle_core::Result;

use super::resident::Backend;

/// The backend of the first NVIDIA GPU.
///
/// # Errors
///
/// Says what is missing: the feature `cuda` in this build, or a GPU.
#[cfg(feature = "cuda")]
pub fn open_gpu() -> Result<Arc<dyn Backend>> {
    Ok(Arc::new(super::cuda::CudaEngine::open(0)?))
}

/// As above, in a build without it.
///
/// # Errors
///
/// Always.
#[cfg(not(feature = "cuda"))]
pub fn open_gpu() -> Result<Arc<dyn Backend>> {
    Err(candle_core::Error::Msg("built without CUDA".into()))
}

/// candle's tensors on the first NVIDIA GPU, and the plain engine: slow, and the oracle for the
/// kernels of [`open_gpu`].
///
/// # Errors
///
/// Says what is missing: the feature `candle-cuda` in this build, or a GPU.
pub fn open_plain_gpu() -> Result<Arc<dyn Backend>> {
    let device = candle_core::Device::new_cuda(0)?;
    Ok(Arc::new(super::resident::PlainBackend::new(device)))
}
