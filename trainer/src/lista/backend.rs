//! Opens the GPU's backend.

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
