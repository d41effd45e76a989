//! How large a step FISTA may take: bounds of the decoder's Lipschitz constant.

// Host code: indices come from the shapes that `check` and the types hold to.
#![allow(clippy::indexing_slicing)]

use std::vec;
use std::vec::Vec;

use crate::matrix::{MatrixRef, ScaleAxis, Weights};
use crate::read::Decoder;

/// An upper bound of the Lipschitz constant L of the reconstruction's gradient, for the decoder as
/// stored.
///
/// The reconstruction error is `(1/d)‖y − D(z)‖²`, so `L = (2/d)‖W‖²` for a linear decoder (‖·‖ the
/// largest singular value). For a one-hidden-layer decoder, whose ReLU stretches nothing,
/// `(2/d)‖W1‖²‖W2‖²` bounds the constant on each piece of code space on which no hidden unit goes
/// on or off; between pieces the gradient jumps. With a linear decoder FISTA converges for any step
/// up to 1/L (Beck & Teboulle 2009). Scales of quantised weights are applied.
///
/// A true bound, rounding included, and typically within 0.5 % of the value: see
/// [`squared_norm_bound`], which also states the cost. 0 for a decoder of zeros.
///
/// ```
/// use sparsecode_formats::{Decoder, MatrixRef, quant::lipschitz_bound};
///
/// // Two orthogonal atoms of length 3 and 1, four pixels: L = (2/4)·9.
/// let atoms = [3.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0];
/// let dictionary = MatrixRef::from_f32(2, 4, &atoms).unwrap();
/// let bound = lipschitz_bound(&Decoder::Linear { dictionary });
/// assert!(bound >= 4.5 && bound < 4.5 * 1.005);
/// ```
#[must_use]
pub fn lipschitz_bound(decoder: &Decoder<'_>) -> f64 {
    match decoder {
        Decoder::Linear { dictionary } => {
            2.0 / dictionary.cols as f64 * squared_norm_bound(dictionary)
        }
        Decoder::OneHidden { hidden, output, .. } => {
            2.0 / output.cols as f64 * squared_norm_bound(hidden) * squared_norm_bound(output)
        }
    }
}

/// Root mean square of the ℓ2 norms of the decoder's atoms, for the decoder as stored: the columns
/// of W, or of W2·W1 (as if every hidden unit were on). 0 for a decoder of zeros.
///
/// White noise of deviation σ gives a correlation with an atom the deviation σ times that atom's
/// norm, which is what a threshold against noise has to exceed.
///
/// Cost: l·d multiplications; l·m·d for a one-hidden-layer decoder.
///
/// ```
/// use sparsecode_formats::{Decoder, MatrixRef, quant::atom_norm};
///
/// // Two atoms of length 3 and 1: √((9 + 1) / 2).
/// let atoms = [3.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0];
/// let dictionary = MatrixRef::from_f32(2, 4, &atoms).unwrap();
/// assert!((atom_norm(&Decoder::Linear { dictionary }) - 5f64.sqrt()).abs() < 1e-12);
/// ```
#[must_use]
pub fn atom_norm(decoder: &Decoder<'_>) -> f64 {
    let (power, atoms) = match decoder {
        Decoder::Linear { dictionary } => (square(&dequantized(dictionary)), dictionary.rows),
        Decoder::OneHidden { hidden, output, .. } => {
            let (first, second) = (dequantized(hidden), dequantized(output));
            let mut power = 0.0;
            let mut atom = vec![0.0; output.cols];
            for weights in first.chunks_exact(hidden.cols) {
                atom.fill(0.0);
                for (&weight, row) in weights.iter().zip(second.chunks_exact(output.cols)) {
                    atom.iter_mut()
                        .zip(row)
                        .for_each(|(sum, value)| *sum += weight * value);
                }
                power += square(&atom);
            }
            (power, hidden.rows)
        }
    };
    (power / atoms.max(1) as f64).sqrt()
}

fn square(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum()
}

/// An upper bound of ‖A‖², the square of the matrix's largest singular value.
///
/// Power iteration on the smaller Gram matrix G guesses the value from below; the guess is then
/// raised until a Cholesky factorisation proves `μI − G` positive definite, and by what rounding
/// may have hidden. ‖A‖² ≤ ‖A‖_F² caps it.
///
/// Cost: with n the smaller and k the larger side, n²k + n³/3 to a few n³/3 multiplications in
/// `f64` and n² · 16 bytes; a second for 2048 × 784.
#[must_use]
pub fn squared_norm_bound(matrix: &MatrixRef<'_>) -> f64 {
    let (gram, n) = gram(matrix);
    // No eigenvalue of a Gram matrix is negative, so that none exceeds the trace.
    let trace: f64 = (0..n).map(|i| gram[i * n + i]).sum();
    largest_eigenvalue_bound(&gram, n, matrix.rows.max(matrix.cols), trace)
}

/// A bound of the largest eigenvalue of a symmetric matrix of side `n` whose elements are sums of
/// `terms` products, not above `cap`, which is known to be one (infinite, if none is known).
pub(crate) fn largest_eigenvalue_bound(gram: &[f64], n: usize, terms: usize, cap: f64) -> f64 {
    let trace: f64 = (0..n).map(|i| gram[i * n + i]).sum();
    if trace <= 0.0 {
        return 0.0;
    }
    // Rounding of the Gram matrix and of the factorisation, relative to n·μ ≥ trace(G).
    let rounding = 1.0 + f64::EPSILON * n as f64 * (n + terms + 8) as f64;
    let guess = largest_eigenvalue(gram, n);
    let mut margin = 1e-3;
    loop {
        let bound = guess * (1.0 + margin);
        if bound >= cap {
            return cap * rounding;
        }
        if is_positive_definite(gram, n, bound) {
            return bound * rounding;
        }
        margin *= 2.0;
    }
}

/// `AᵀA` or `AAᵀ`, whichever is smaller, row-major, with its side.
fn gram(matrix: &MatrixRef<'_>) -> (Vec<f64>, usize) {
    let n = matrix.rows.min(matrix.cols);
    let tall = matrix.rows >= matrix.cols;
    let values = dequantized(matrix);
    let mut gram = vec![0.0; n * n];
    let mut line = vec![0.0; n];
    // A sum of outer products runs over contiguous memory, unlike dot products it vectorises.
    for index in 0..matrix.rows.max(matrix.cols) {
        for (side, to) in line.iter_mut().enumerate() {
            let (row, col) = if tall { (index, side) } else { (side, index) };
            *to = values[row * matrix.cols + col];
        }
        for (row, &factor) in gram.chunks_exact_mut(n).zip(&line) {
            for (sum, &value) in row.iter_mut().zip(&line) {
                *sum += factor * value;
            }
        }
    }
    (gram, n)
}

/// The weights in `f64`, where `level · scale` is exact.
fn dequantized(matrix: &MatrixRef<'_>) -> Vec<f64> {
    let cols = matrix.cols;
    let channel = |index: usize| match matrix.scale_axis {
        ScaleAxis::Row => index / cols,
        ScaleAxis::Column => index % cols,
    };
    let scaled =
        |(index, level): (usize, f64), scale: &[f32]| level * f64::from(scale[channel(index)]);
    match matrix.weights {
        Weights::F32(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Weights::I16 { values, scale } => values
            .iter()
            .map(|&level| f64::from(level))
            .enumerate()
            .map(|item| scaled(item, scale))
            .collect(),
        Weights::I8 { values, scale } => values
            .iter()
            .map(|&level| f64::from(level))
            .enumerate()
            .map(|item| scaled(item, scale))
            .collect(),
    }
}

/// A Rayleigh quotient after power iteration: at most the largest eigenvalue, and close to it.
fn largest_eigenvalue(gram: &[f64], n: usize) -> f64 {
    const ITERATIONS: usize = 200;
    // The longest row leans towards the leading eigenvectors; not orthogonal to them as a fixed
    // vector might be.
    let longest = gram
        .chunks_exact(n)
        .max_by(|a, b| square(a).total_cmp(&square(b)));
    let mut vector = longest.map(<[f64]>::to_vec).unwrap_or_default();
    let mut eigenvalue = 0.0;
    for _ in 0..ITERATIONS {
        let norm = square(&vector).sqrt();
        vector.iter_mut().for_each(|x| *x /= norm);
        let product: Vec<f64> = gram
            .chunks_exact(n)
            .map(|row| row.iter().zip(&vector).map(|(g, x)| g * x).sum())
            .collect();
        eigenvalue = product.iter().zip(&vector).map(|(p, x)| p * x).sum();
        vector = product;
    }
    eigenvalue
}

/// Whether `shift·I − gram` has a Cholesky factor, that is, whether `shift` exceeds every
/// eigenvalue.
fn is_positive_definite(gram: &[f64], n: usize, shift: f64) -> bool {
    let mut upper: Vec<f64> = gram.iter().map(|x| -x).collect();
    for i in 0..n {
        upper[i * n + i] += shift;
    }
    for k in 0..n {
        let (done, rest) = upper.split_at_mut((k + 1) * n);
        let row = &done[k * n..];
        let pivot = row[k];
        if pivot <= 0.0 || pivot.is_nan() {
            return false;
        }
        for (i, target) in (k + 1..n).zip(rest.chunks_exact_mut(n)) {
            let factor = row[i] / pivot;
            for (to, from) in target[i..].iter_mut().zip(&row[i..]) {
                *to -= factor * from;
            }
        }
    }
    true
}
