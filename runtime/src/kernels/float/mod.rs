//! Products with stored matrices in floats, whatever the number type of the matrix.
//!
//! A quantised weight is `q·scale` with one scale per output channel. Sums run over `q·x`; the
//! scale is applied once: to each row's sum where rows are outputs (the encoder's input matrix), to
//! the whole sum where columns are (all others), and to the residual before the transposed product.
//!
//! As in [`kernels`](super), none of these functions is generic or inlined.

#[cfg(sparsecode_neon)]
mod aarch64;
pub(crate) mod portable;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

#[cfg(sparsecode_neon)]
use aarch64 as host;
#[cfg(target_arch = "x86_64")]
use x86 as host;

use core::slice;

use sparsecode_formats::{MatrixRef, Weights};

use crate::float::code::{self, CodeBuffer};

/// Runs `$body` with `$values` bound to the stored numbers, once for each number type.
macro_rules! with_values {
    ($matrix:expr, |$values:ident| $body:expr) => {
        match $matrix.weights {
            Weights::F32($values) => $body,
            Weights::I16 {
                values: $values, ..
            } => $body,
            Weights::I8 {
                values: $values, ..
            } => $body,
        }
    };
}

/// What a number type needs for the kernels of the target.
#[cfg(sparsecode_host)]
use host::DenseWeight as Stored;
#[cfg(not(sparsecode_host))]
use portable::Weight as Stored;

/// Calls `each(i, [row_i · x, row_{i+1} · x, …])` for all rows, some at a time, by the fastest
/// kernel that there is.
#[inline(always)]
fn dot_rows<W: Stored>(
    weights: &[W],
    columns: usize,
    x: &[f32],
    mut each: impl FnMut(usize, &[f32]),
) {
    #[cfg(sparsecode_host)]
    if host::dot_rows(weights, columns, x, &mut each) {
        return;
    }
    portable::dot_rows(weights, columns, x, |index, product| {
        each(index, slice::from_ref(&product));
    });
}

/// `output = M x` for a dense `x` and a matrix whose rows are the outputs and carry the scales.
///
/// Cost: `rows · cols` multiply-adds.
#[inline(never)]
pub(crate) fn multiply_dense(matrix: &MatrixRef<'_>, x: &[f32], output: &mut [f32]) {
    with_values!(matrix, |values| {
        dot_rows(values, matrix.cols, x, |first, products| {
            let output = output.get_mut(first..).unwrap_or_default();
            for (output, product) in output.iter_mut().zip(products) {
                *output = *product;
            }
        });
    });
    portable::multiply(output, matrix.scale());
}

/// [`multiply_dense`] for each of several `x`, one after the other in `inputs`; `outputs` holds as
/// many numbers for each as there are rows.
///
/// Sums of x86-64 with AVX-512 are fused and in another order: off by at most
/// `(n/16 + 5)·2⁻²⁴·Σ|w·x|` for rows of `n`.
#[cfg(feature = "std")]
#[inline(never)]
pub(crate) fn multiply_dense_each(matrix: &MatrixRef<'_>, inputs: &[f32], outputs: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if with_values!(matrix, |values| {
        x86::multiply_each(values, (matrix.rows, matrix.cols), inputs, outputs)
    }) {
        for output in outputs.chunks_exact_mut(matrix.rows.max(1)) {
            portable::multiply(output, matrix.scale());
        }
        return;
    }
    let inputs = inputs.chunks_exact(matrix.cols.max(1));
    for (x, output) in inputs.zip(outputs.chunks_exact_mut(matrix.rows.max(1))) {
        multiply_dense(matrix, x, output);
    }
}

/// `output = Mᵀ z` for the non-zero components `entries` of `z` and a matrix whose columns are the
/// outputs.
///
/// Cost: `entries · cols` multiply-adds.
#[inline(never)]
pub(crate) fn multiply_sparse(
    matrix: &MatrixRef<'_>,
    entries: &mut dyn Iterator<Item = (usize, f32)>,
    output: &mut [f32],
) {
    output.fill(0.0);
    with_values!(matrix, |values| {
        #[cfg(target_arch = "x86_64")]
        let done = x86::add_rows(values, matrix.cols, entries, output);
        #[cfg(not(target_arch = "x86_64"))]
        let done = false;
        if !done {
            portable::add_rows(values, matrix.cols, entries, output);
        }
    });
    portable::multiply(output, matrix.scale());
}

/// `output = drive + Mᵀ z` for a code `z` and a matrix whose columns are the outputs.
///
/// Cost: `active · cols` multiply-adds.
#[inline(always)]
pub(crate) fn add_code(
    matrix: &MatrixRef<'_>,
    code: &impl CodeBuffer,
    drive: &[f32],
    output: &mut [f32],
) {
    #[cfg(target_arch = "x86_64")]
    if with_values!(matrix, |values| {
        x86::add_code(
            values,
            matrix.cols,
            (code.indices(), code.values()),
            drive,
            output,
        )
    }) {
        return;
    }
    multiply_sparse(matrix, &mut code::entries(code), output);
    for (next, u) in output.iter_mut().zip(drive) {
        *next += u;
    }
}

/// Multiplies `x` by the scales of the columns, before [`dot_scaled_rows`] or [`dot_active_rows`].
pub(crate) fn scale_columns(matrix: &MatrixRef<'_>, x: &mut [f32]) {
    portable::multiply(x, matrix.scale());
}

/// Calls `each(k, row_k · x)` for every row, where `x` already carries the scales of the columns.
///
/// Cost: `rows · cols` multiply-adds.
#[inline(never)]
pub(crate) fn dot_scaled_rows(matrix: &MatrixRef<'_>, x: &[f32], each: &mut dyn FnMut(usize, f32)) {
    with_values!(matrix, |values| {
        dot_rows(values, matrix.cols, x, |first, products| {
            for (index, product) in (first..).zip(products) {
                each(index, *product);
            }
        });
    });
}

/// Replaces every positive `units[k]` by `row_k · x` and all others by 0, where `x` already carries
/// the scales.
///
/// Cost: `active · cols` multiply-adds.
#[inline(never)]
pub(crate) fn dot_active_rows(matrix: &MatrixRef<'_>, x: &[f32], units: &mut [f32]) {
    with_values!(matrix, |values| {
        for (index, unit) in units.iter_mut().enumerate() {
            *unit = if *unit > 0.0 {
                portable::dot(portable::row(values, matrix.cols, index), x)
            } else {
                0.0
            };
        }
    });
}

/// `product = G x` for a symmetric `G` as wide as `x` and the components of `x` that `support`
/// names, ascending.
///
/// Cost: `support · l` multiply-adds.
#[inline(never)]
pub(crate) fn multiply_symmetric(gram: &[f32], x: &[f32], support: &[u16], product: &mut [f32]) {
    #[cfg(sparsecode_host)]
    if host::multiply_symmetric(gram, x, support, product) {
        return;
    }
    portable::multiply_symmetric(gram, x, support, product);
}

/// `sum += value · row k` of a symmetric matrix as wide as `sum`.
///
/// Cost: `l` multiply-adds.
#[inline(never)]
pub(crate) fn add_row(gram: &[f32], k: usize, value: f32, sum: &mut [f32]) {
    let row = portable::row(gram, sum.len(), k);
    #[cfg(target_arch = "x86_64")]
    if x86::add_row(row, value, sum) {
        return;
    }
    portable::add_row(row, value, sum);
}

/// Writes the stored numbers of a row, without their scales, to `row`.
pub(crate) fn read_row(matrix: &MatrixRef<'_>, index: usize, row: &mut [f32]) {
    with_values!(matrix, |values| {
        let stored = portable::row(values, matrix.cols, index);
        for (element, value) in row.iter_mut().zip(stored) {
            *element = portable::Weight::to_f32(*value);
        }
    });
}
