//! The model with the rounded weights that an export writes.

use candle_core::Result;
use sparsecode_formats::{ScaleAxis, WeightType};

use super::autoencoder::Autoencoder;
use super::decoder::Decoder;
pub use crate::tensor::quantized::QuantizeAware;
use crate::tensor::quantized::rounded;

impl Autoencoder {
    /// The same model with every matrix rounded to the levels of an export; biases stay. In `f32`.
    ///
    /// Cost: a pass over the weights, on the host.
    ///
    /// # Errors
    ///
    /// If a weight is not finite.
    pub fn quantized(&self, weights: QuantizeAware) -> Result<Self> {
        let weights = weights.weights();
        let mut model = self.clone();
        if let Some(encoder) = &mut model.encoder {
            encoder.input = rounded(&encoder.input, ScaleAxis::Row, weights)?;
            encoder.recurrent = rounded(&encoder.recurrent, ScaleAxis::Row, WeightType::I8)?;
        }
        match &mut model.decoder {
            // An atom is a column here.
            Decoder::Linear { dictionary } => {
                *dictionary = rounded(dictionary, ScaleAxis::Column, weights)?;
            }
            Decoder::OneHidden { hidden, output, .. } => {
                *hidden = rounded(hidden, ScaleAxis::Row, WeightType::I8)?;
                *output = rounded(output, ScaleAxis::Row, WeightType::I8)?;
            }
        }
        Ok(model)
    }
}
