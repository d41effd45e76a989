//! Decoders: `ŷ = W z`, or `ŷ = W2 relu(W1 z + b1)`.

use sparsecode_formats::Decoder;

use crate::kernels::float::{self as kernels, portable};

/// The non-zero elements of a dense vector with their indices, ascending.
pub(crate) fn non_zero(dense: &[f32]) -> impl Iterator<Item = (usize, f32)> + '_ {
    dense
        .iter()
        .copied()
        .enumerate()
        .filter(|&(_, value)| value != 0.0)
}

/// Writes `D(z)` to `output` for the non-zero components `entries` of `z`.
///
/// With a hidden layer, `hidden` receives `relu(W1 z + b1)`; otherwise it is not touched.
pub(crate) fn decode(
    decoder: &Decoder<'_>,
    entries: &mut dyn Iterator<Item = (usize, f32)>,
    hidden: &mut [f32],
    output: &mut [f32],
) {
    match decoder {
        Decoder::Linear { dictionary } => kernels::multiply_sparse(dictionary, entries, output),
        Decoder::OneHidden {
            hidden: first,
            hidden_bias,
            output: second,
        } => {
            kernels::multiply_sparse(first, entries, hidden);
            for (unit, bias) in hidden.iter_mut().zip(*hidden_bias) {
                *unit = portable::relu(*unit + bias);
            }
            kernels::multiply_sparse(second, &mut non_zero(hidden), output);
        }
    }
}

/// Calls `each(k, c_k)` for every code component `k`, where `c` is the transposed Jacobian of the
/// decoder times `residual`: `Wᵀ r`, or `W1ᵀ(1[h>0] ⊙ W2ᵀ r)`.
///
/// `hidden` must hold what [`decode`] left in it; it and `residual` are overwritten.
pub(crate) fn correlate(
    decoder: &Decoder<'_>,
    hidden: &mut [f32],
    residual: &mut [f32],
    each: &mut dyn FnMut(usize, f32),
) {
    match decoder {
        Decoder::Linear { dictionary } => {
            kernels::scale_columns(dictionary, residual);
            kernels::dot_scaled_rows(dictionary, residual, each);
        }
        Decoder::OneHidden {
            hidden: first,
            output: second,
            ..
        } => {
            kernels::scale_columns(second, residual);
            kernels::dot_active_rows(second, residual, hidden);
            kernels::scale_columns(first, hidden);
            kernels::dot_scaled_rows(first, hidden, each);
        }
    }
}
