//! The inner loops of training on a processor.
//!
//! SIMD is written once, through `pulp`, which picks the processor's widest vectors when the program runs; dense products are
//! those of `gemm`. The one `unsafe` block of the trainer is the call of the latter, in [`matmul`].

pub(crate) mod adam;
pub(crate) mod elementwise;
pub(crate) mod fista;
pub(crate) mod matmul;
