//! Steps on the Gram matrix, learned: the encoder of models that denoise.
//!
//! From z = 0, `z ← relu(z + g_t (Wᵀ(y − W z) − σ θ_t))`: the residual stands for `Wᵀy − WᵀW z`, so
//! that no Gram matrix takes memory.

use sparsecode_formats::{CodeSign, Decoder, Gram};

use super::code::{CodeBuffer, take_dense};
use super::decoder;
use super::workspace::Scratch;

/// Writes the code of `input`. All slices have the dimensions of the model.
pub(crate) fn encode<C: CodeBuffer>(
    decoder: &Decoder<'_>,
    gram: &Gram<'_>,
    input: &[f32],
    code: &mut C,
    scratch: &mut Scratch<'_>,
) {
    let Scratch {
        drive,
        residual,
        hidden,
        ..
    } = scratch;
    drive.fill(0.0);
    let (mut thresholds, mut is_first) = (gram.thresholds, true);
    for &step in gram.steps {
        if is_first {
            residual.fill(0.0);
        } else {
            decoder::decode(decoder, &mut decoder::non_zero(drive), hidden, residual);
        }
        is_first = false;
        for (residual, input) in residual.iter_mut().zip(input) {
            *residual = input - *residual;
        }
        let (own, rest) = thresholds
            .split_at_checked(drive.len())
            .unwrap_or((thresholds, &[]));
        thresholds = rest;
        let sigma = gram.noise_level;
        decoder::correlate(decoder, hidden, residual, &mut |index, correlation| {
            if let (Some(z), Some(threshold)) = (drive.get_mut(index), own.get(index)) {
                let next = *z + step * (correlation - sigma * threshold);
                // NaN becomes 0, so that a code never contains one.
                *z = if next > 0.0 { next } else { 0.0 };
            }
        });
    }
    take_dense(code, CodeSign::NonNegative, drive);
}
