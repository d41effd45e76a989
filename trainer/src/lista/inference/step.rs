//! How large a step FISTA may take: bounds of the energy's curvature, for the decoder as it stands.

use candle_core::{DType, Result, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lista::model::Decoder;
use crate::tensor::elementwise::{scaled, sum_of_squares};
use crate::tensor::matmul::product;

/// Which step FISTA takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepRule {
    /// Always η, as the papers do. FISTA diverges where η is too large for the decoder.
    #[default]
    Fixed,
    /// η, or 1/L if that is smaller: L is a bound of the energy's curvature, found anew for each
    /// mini-batch.
    Bounded,
}

impl StepRule {
    pub(crate) fn is_fixed(&self) -> bool {
        *self == Self::Fixed
    }
}

/// 1/L of the reconstruction alone, `(1/d)‖y − D(z)‖²`: the largest step that is safe for this
/// decoder without hinge and encoder term. Infinite for a decoder of zeros.
///
/// # Errors
///
/// Fails if the device runs out of memory.
pub(crate) fn safe_step(decoder: &Decoder) -> Result<f64> {
    let (input_dim, squared_norm) = match decoder {
        Decoder::Linear { dictionary } => {
            (dictionary.dim(0)?, squared_norm_bound(dictionary, 0.0)?)
        }
        Decoder::OneHidden { hidden, output, .. } => (
            output.dim(0)?,
            squared_norm_bound(hidden, 0.0)? * squared_norm_bound(output, 0.0)?,
        ),
    };
    Ok(input_dim as f64 / (2.0 * squared_norm))
}

/// The most squarings of a Gram matrix. With n its side, the bound then exceeds the value by a
/// factor of at most `n^(1/64)`, 1.08 for 128.
const SQUARINGS: usize = 5;
/// The search ends when the bound is known to exceed the value by no more than this share.
const CLOSE: f64 = 0.03;

/// An upper bound of ‖A‖², the square of the largest singular value, rounding included. No tighter
/// than is needed to find it at most `enough`. NaN where A holds one.
///
/// Cost: with n the smaller and k the larger side, n²k multiplications, and up to five times n³.
///
/// # Errors
///
/// Fails if A is no matrix, or the device runs out of memory.
pub(super) fn squared_norm_bound(matrix: &Tensor, enough: f64) -> Result<f64> {
    let (rows, columns) = matrix.dims2()?;
    let power = sum_of_squares(matrix)? * (1.0 + SUM_ROUNDING);
    if power <= enough || power == 0.0 {
        return Ok(power);
    }
    // A power of two, so that nothing is rounded; numbers of any size come between -1 and 1.
    let scale = power.sqrt().log2().ceil().exp2();
    let unit = scaled(matrix, 1.0 / scale)?;
    let gram = gram(&unit)?;
    let squared = scale * scale;
    let lost = epsilon(matrix) * rows.max(columns) as f64 * power / squared;
    Ok(squared * largest_eigenvalue_bound(&gram, lost, enough / squared)?)
}

/// The smaller of AᵀA and AAᵀ.
fn gram(matrix: &Tensor) -> Result<Tensor> {
    let (rows, columns) = matrix.dims2()?;
    let transposed = matrix.t()?;
    match rows < columns {
        true => product(matrix, &transposed),
        false => product(&transposed, matrix),
    }
}

/// The same for `factor ‖W‖²` where `gram`, `factor · WᵀW` as computed, is at hand.
///
/// # Errors
///
/// Fails if the device runs out of memory.
pub(super) fn squared_norm_bound_by(
    dictionary: &Tensor,
    factor: f64,
    gram: &Tensor,
    enough: f64,
) -> Result<f64> {
    let power = factor * sum_of_squares(dictionary)? * (1.0 + SUM_ROUNDING);
    if power <= enough {
        return Ok(power);
    }
    // Of the sums, and of the factor.
    let lost = epsilon(gram) * (dictionary.dim(0)? + 1) as f64 * power;
    largest_eigenvalue_bound(gram, lost, enough)
}

/// An upper bound of the largest eigenvalue of a Gram matrix G that differs from `gram`, G as
/// computed, by at most `lost` (in the spectral norm). No tighter than is needed to find it at most
/// `enough`.
///
/// `‖G‖^(2^k) = ‖G^(2^k)‖ ≤ ‖G^(2^k)‖_F`, see `docs/method.md`.
fn largest_eigenvalue_bound(gram: &Tensor, lost: f64, enough: f64) -> Result<f64> {
    let epsilon = epsilon(gram);
    let side = gram.dim(0)? as f64;
    let mut now = gram.clone();
    // Of each power: its Frobenius norm, and the power of two, not below, that it is divided by
    // before it is squared.
    let mut norms: Vec<(f64, f64)> = Vec::new();
    loop {
        let norm = (sum_of_squares(&now)? * (1.0 + SUM_ROUNDING)).sqrt();
        norms.push((norm, norm.log2().ceil().exp2()));
        // From the last power back to G: ‖B‖² = ‖BᵀB‖ ≤ ‖BᵀB as computed‖ + ε·side ‖B‖_F².
        let back = |bound: f64, (norm, scale): &(f64, f64)| {
            let rounding = epsilon * side * (norm / scale).powi(2);
            scale * (bound + rounding).sqrt()
        };
        let bound = lost + norms.iter().rev().skip(1).fold(norm, back);
        // ‖BᵀB‖_F ≤ ‖B‖ ‖B‖_F says how large ‖B‖ is at least, and the root of its power how large
        // ‖G‖ is.
        let is_close = norms.len() > 1 && {
            let (before, scale) = norms[norms.len() - 2];
            let least = norm * scale * scale / before;
            let root = |value: f64, (_, scale): &(f64, f64)| scale * value.sqrt();
            bound <= (1.0 + CLOSE) * norms.iter().rev().skip(2).fold(least, root)
        };
        let is_done = is_close || norms.len() > SQUARINGS || norm == 0.0 || !norm.is_finite();
        if bound <= enough || is_done {
            return Ok(bound);
        }
        let unit = scaled(&now, 1.0 / norms[norms.len() - 1].1)?;
        now = product(&unit.t()?, &unit)?;
    }
}

/// How far below its value [`sum_of_squares`] may be, relatively: it adds up to 2048 squares in
/// single precision.
const SUM_ROUNDING: f64 = 2048.0 * f32::EPSILON as f64;

/// Twice the unit roundoff: covers `γ_n = nu/(1 − nu)` of a sum of n products as `n ε`, for n up to
/// 2²².
fn epsilon(matrix: &Tensor) -> f64 {
    match matrix.dtype() {
        DType::F64 => f64::EPSILON,
        _ => f64::from(f32::EPSILON),
    }
}
