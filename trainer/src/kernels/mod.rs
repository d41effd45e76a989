//! The inner loops of training on a processor, and the GPU's driver.
//!
//! SIMD is written once, through `pulp`, which picks the processor's widest vectors when the program runs; dense products are
//! those of `gemm`. Nowhere else in the trainer is anything `unsafe`: here the call of `gemm`, results that are not zeroed first, and
//! the calls of the driver.

pub(crate) mod adam;
pub(crate) mod awake;
#[cfg(feature = "cuda")]
pub(crate) mod driver;
pub(crate) mod elementwise;
pub(crate) mod fista;
pub(crate) mod matmul;
pub(crate) mod team;
mod uninit;
