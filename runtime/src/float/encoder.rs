//! The LISTA encoder.
//!
//! Gregor & LeCun, "Learning Fast Approximations of Sparse Coding", 2010, in the non-negative form
//! of Evtimova & LeCun: `u = U y + b`, `z_0 = relu(u)`, `z_i = relu(u + S z_{i−1})`.

use sparsecode_formats::{CodeSign, Encoder};

use super::code::{CodeBuffer, take_dense};
use super::workspace::Scratch;
use crate::kernels::float as kernels;

/// Writes the code of `input` after `iterations` steps. All slices have the dimensions of the
/// encoder.
pub(crate) fn encode<C: CodeBuffer>(
    encoder: &Encoder<'_>,
    iterations: u8,
    input: &[f32],
    code: &mut C,
    scratch: &mut Scratch<'_>,
) {
    let Scratch { drive, point, .. } = scratch;
    kernels::multiply_dense(&encoder.input, input, drive);
    infer(encoder, iterations, code, drive, point);
}

/// The rest, with `U y` in `drive`.
pub(crate) fn infer<C: CodeBuffer>(
    encoder: &Encoder<'_>,
    iterations: u8,
    code: &mut C,
    drive: &mut [f32],
    point: &mut [f32],
) {
    for (u, bias) in drive.iter_mut().zip(encoder.bias) {
        *u += bias;
    }
    // Positive components only: the relu.
    take_dense(code, CodeSign::NonNegative, drive);
    for _ in 0..iterations {
        kernels::add_code(&encoder.recurrent, code, drive, point);
        take_dense(code, CodeSign::NonNegative, point);
    }
}
