//! The encoder of variational models: a shift for each component, and a rule that selects some.
//!
//! Fallah & Rozell, "Variational Sparse Coding with Learned Thresholding", 2022, without its noise:
//! a dense network, or LISTA with signed shrinkage, gives the shift μ, and a component is `gain·μ`
//! or 0.

use sparsecode_formats::{CodeSign, Encoder, Layer, Variational, VariationalBody};

use super::code::{CodeBuffer, take_dense};
use super::workspace::Scratch;
use crate::kernels::float as kernels;
use crate::shrink::shrink;

/// Writes the code of `input`; `iterations` are those of a LISTA body. All slices have the
/// dimensions of the model.
pub(crate) fn encode<C: CodeBuffer>(
    encoder: &Variational<'_>,
    iterations: u8,
    input: &[f32],
    code: &mut C,
    scratch: &mut Scratch<'_>,
) {
    let Scratch {
        drive: shift,
        point,
        hidden,
        ..
    } = scratch;
    match &encoder.body {
        VariationalBody::Dense { trunk, shift: head } => {
            let features = features(trunk, input, hidden);
            affine(head, features, shift);
            if let Some(scale) = &encoder.scale {
                affine(scale, features, point);
            }
        }
        VariationalBody::Lista {
            encoder: lista,
            shrinkage,
        } => {
            infer(lista, shrinkage, iterations, input, code, (shift, point));
            if let Some(scale) = &encoder.scale {
                code.to_dense(shift);
                for magnitude in shift.iter_mut() {
                    *magnitude = magnitude.abs();
                }
                affine(scale, shift, point);
            }
            code.to_dense(shift);
        }
    }
    let thresholds = encoder.thresholds;
    for ((shift, scale), threshold) in shift.iter_mut().zip(point.iter()).zip(thresholds) {
        let decides = match encoder.scale {
            Some(_) => *scale,
            None => shift.abs(),
        };
        // NaN selects nothing.
        *shift = if decides > *threshold {
            encoder.gain * *shift
        } else {
            0.0
        };
    }
    take_dense(code, CodeSign::Signed, shift);
}

/// LISTA with signed shrinkage.
pub(super) fn infer<C: CodeBuffer>(
    encoder: &Encoder<'_>,
    shrinkage: &[f32],
    iterations: u8,
    input: &[f32],
    code: &mut C,
    (drive, point): (&mut [f32], &mut [f32]),
) {
    kernels::multiply_dense(&encoder.input, input, drive);
    for ((u, bias), next) in drive.iter_mut().zip(encoder.bias).zip(point.iter_mut()) {
        *u += bias;
        *next = *u;
    }
    shrink_all(point, shrinkage);
    take_dense(code, CodeSign::Signed, point);
    for _ in 0..iterations {
        kernels::add_code(&encoder.recurrent, code, drive, point);
        shrink_all(point, shrinkage);
        take_dense(code, CodeSign::Signed, point);
    }
}

fn shrink_all(point: &mut [f32], shrinkage: &[f32]) {
    for (value, threshold) in point.iter_mut().zip(shrinkage) {
        *value = shrink(CodeSign::Signed, *value - threshold, *value + threshold);
    }
}

/// The outputs of the trunk's last layer, or `input` without one. Layers write to the start and to
/// the end of `hidden` in turn, which has room for two that follow one another.
pub(super) fn features<'h>(
    trunk: &[Option<Layer<'_>>],
    input: &'h [f32],
    hidden: &'h mut [f32],
) -> &'h [f32] {
    let (mut before, mut is_first) = (None, true);
    for layer in trunk.iter().flatten() {
        let width = layer.bias.len();
        // The layer before has the other end.
        let cut = if is_first { width } else { before.unwrap_or(0) };
        let (start, rest) = hidden.split_at_mut_checked(cut).unwrap_or_default();
        let (from, to) = match before {
            None => (input, start),
            Some(before) if is_first => (end(rest, before), start),
            Some(_) => (&*start, end_mut(rest, width)),
        };
        affine(layer, from, to);
        for unit in to.iter_mut() {
            // NaN becomes 0.
            *unit = if *unit > 0.0 { *unit } else { 0.0 };
        }
        before = Some(width);
        is_first = !is_first;
    }
    match before {
        None => input,
        Some(width) if is_first => end(hidden, width),
        Some(width) => hidden.get(..width).unwrap_or(&[]),
    }
}

fn end(values: &[f32], count: usize) -> &[f32] {
    let start = values.len().saturating_sub(count);
    values.get(start..).unwrap_or(&[])
}

fn end_mut(values: &mut [f32], count: usize) -> &mut [f32] {
    let start = values.len().saturating_sub(count);
    values.get_mut(start..).unwrap_or_default()
}

/// `output = W x + b`
pub(super) fn affine(layer: &Layer<'_>, x: &[f32], output: &mut [f32]) {
    kernels::multiply_dense(&layer.weights, x, output);
    for (output, bias) in output.iter_mut().zip(layer.bias) {
        *output += bias;
    }
}
