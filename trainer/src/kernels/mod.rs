//! The inner loops of training on a processor.
//!
//! SIMD is written once, through `pulp`, which picks the processor's widest vectors when the program runs; dense products are
//! those of `gemm`. Nowhere else in the trainer is anything `unsafe`: here the call of `gemm`, and results that are not zeroed first.

pub(crate) mod adam;
pub(crate) mod awake;
pub(crate) mod elementwise;
pub(crate) mod fista;
pub(crate) mod matmul;
pub(crate) mod team;
mod uninit;
