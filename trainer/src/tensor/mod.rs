//! Tensors on a processor: products, passes and threads.
//!
//! SIMD is written once, through `pulp`, which picks the processor's widest vectors when the
//! program runs; dense products are those of `gemm`. Nowhere else in the trainer is anything
//! `unsafe`: here the call of `gemm` and results that are not zeroed first, and in the GPU's
//! driver.

pub(crate) mod adam;
pub(crate) mod awake;
pub(crate) mod channels;
pub(crate) mod convolution;
pub(crate) mod dense;
pub(crate) mod elementwise;
pub(crate) mod fista;
mod host;
pub(crate) mod matmul;
pub(crate) mod nesterov;
pub(crate) mod quantized;
pub(crate) mod team;
mod uninit;
pub(crate) mod wide;

/// A parameter or a gradient with the name it has in checkpoints, logs and model files.
pub type Named<T> = (&'static str, T);
