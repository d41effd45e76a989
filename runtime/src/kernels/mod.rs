//! Products with stored matrices, in floats and in integers, whatever their number type.
//!
//! One folder for each instruction set, with the same files in each: `dense` (products with dense
//! vectors), `sparse` (with codes) and `elementwise` (passes over elements that do not meet);
//! `lanes` is how numbers come into registers.
//!
//! No function that another part of the crate calls is generic or inlined, so that kernels are
//! compiled with this crate, as its profile says: firmware that is optimised for size keeps fast
//! kernels.

#[cfg(test)]
mod agreement;
#[cfg(target_arch = "x86_64")]
mod compact;
pub(crate) mod float;
pub(crate) mod integer;
#[cfg(sparsecode_host)]
mod level;
mod self_test;

pub use self_test::{KernelMismatch, self_test};
