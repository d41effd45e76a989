//! The model with the rounded weights that an export writes.

use candle_core::{Error, Result, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sparsecode_formats::quant::{dequantize, quantize};
use sparsecode_formats::{ScaleAxis, WeightType};

use super::autoencoder::Autoencoder;
use super::decoder::Decoder;

/// The weights that training knows it will be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuantizeAware {
    /// 8-bit weights with one scale per output channel (per atom in a linear decoder), as
    /// `write_integer` stores them. An atom's scale is rounded, too: to a part in 32767 of the
    /// largest.
    I8,
}

impl Autoencoder {
    /// The same model with every matrix rounded to the levels of an export; biases stay. In `f32`.
    ///
    /// Training at this model, with the gradients applied to the unrounded one, is the
    /// straight-through estimator (Bengio et al. 2013).
    ///
    /// Cost: a pass over the weights, on the host.
    ///
    /// # Errors
    ///
    /// If a weight is not finite.
    pub fn quantized(&self, weights: QuantizeAware) -> Result<Self> {
        let QuantizeAware::I8 = weights;
        let mut model = self.clone();
        if let Some(encoder) = &mut model.encoder {
            encoder.input = rounded(&encoder.input, ScaleAxis::Row)?;
            encoder.recurrent = rounded(&encoder.recurrent, ScaleAxis::Row)?;
        }
        match &mut model.decoder {
            // An atom is a column here.
            Decoder::Linear { dictionary } => {
                *dictionary = rounded(dictionary, ScaleAxis::Column)?;
            }
            Decoder::OneHidden { hidden, output, .. } => {
                *hidden = rounded(hidden, ScaleAxis::Row)?;
                *output = rounded(output, ScaleAxis::Row)?;
            }
        }
        Ok(model)
    }
}

fn rounded(matrix: &Tensor, axis: ScaleAxis) -> Result<Tensor> {
    let (rows, columns) = matrix.dims2()?;
    let values: Vec<f32> = matrix.flatten_all()?.to_vec1()?;
    let (stored, _) =
        quantize(&values, rows, columns, axis, WeightType::I8).map_err(Error::wrap)?;
    Tensor::from_vec(
        dequantize(&stored.as_ref()),
        (rows, columns),
        matrix.device(),
    )
}
