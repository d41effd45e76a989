//! Weights as an export rounds them, for training that knows of it.

use candle_core::{Error, Result, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sparsecode_formats::quant::{dequantize, quantize};
use sparsecode_formats::{ScaleAxis, WeightType};

/// The weights that training knows it will be given.
///
/// Training at rounded weights, with the gradients applied to the unrounded ones, is the
/// straight-through estimator (Bengio et al. 2013).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuantizeAware {
    /// 8-bit weights with one scale per output channel (per atom in a linear decoder), as
    /// `write_integer` stores them. An atom's scale is rounded, too: to a part in 32767 of the
    /// largest.
    I8,
    /// The same with 4-bit weights in U and in a linear decoder.
    I4,
}

impl QuantizeAware {
    /// What U and a linear decoder are stored as.
    pub(crate) fn weights(self) -> WeightType {
        match self {
            Self::I8 => WeightType::I8,
            Self::I4 => WeightType::I4,
        }
    }
}

/// A matrix rounded to the levels of an export, in `f32`.
///
/// Cost: a pass over the weights, on the host.
///
/// # Errors
///
/// If a weight is not finite.
pub(crate) fn rounded(matrix: &Tensor, axis: ScaleAxis, weights: WeightType) -> Result<Tensor> {
    let (rows, columns) = matrix.dims2()?;
    let values: Vec<f32> = matrix.flatten_all()?.to_vec1()?;
    let (stored, _) = quantize(&values, rows, columns, axis, weights).map_err(Error::wrap)?;
    Tensor::from_vec(
        dequantize(&stored.as_ref()),
        (rows, columns),
        matrix.device(),
    )
}
