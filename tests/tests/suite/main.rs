//! What crosses crates, in one program: `cargo test -p sparsecode-tests deploy` runs a part of it.

mod acyclic;
mod cli;
mod cuda_kernels;
mod deploy;
mod firmware;
mod golden;
mod golden_files;
mod gpu;
mod integer;
mod malformed;
#[cfg(unix)]
mod readme;
mod refine;
mod width;
