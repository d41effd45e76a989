//! What a model has learned, as patches to look at.

use candle_core::{DType, Result, Tensor};

use super::config::Config;
use super::evaluate::{CodeSource, codes_of};
use super::inference::Engine;
use super::model::{Autoencoder, Decoder};
use crate::data::Samples;

/// The decoder's atoms, one a row (`code_dim × input_dim`).
///
/// The columns of W; for a one-hidden decoder `D(a·e_i) − D(0)` with `a` from `largest`, the
/// largest value that component i takes (1 where it is 0).
///
/// # Errors
///
/// Fails if the device cannot be read.
pub fn atoms(model: &Autoencoder, largest: &[f32]) -> Result<Vec<f32>> {
    match &model.decoder {
        Decoder::Linear { dictionary } => dictionary.t()?.contiguous()?.flatten_all()?.to_vec1(),
        Decoder::OneHidden { hidden, .. } => {
            let code_dim = hidden.dim(1)?;
            let mut codes = vec![0.0f32; code_dim * code_dim];
            for (index, &value) in largest.iter().enumerate().take(code_dim) {
                codes[index * code_dim + index] = if value > 0.0 { value } else { 1.0 };
            }
            let codes = Tensor::from_vec(codes, (code_dim, code_dim), hidden.device())?
                .to_dtype(hidden.dtype())?;
            let at_zero = model
                .decoder
                .forward(&codes.narrow(0, 0, 1)?.zeros_like()?)?;
            let atoms = model.decoder.forward(&codes)?.broadcast_sub(&at_zero)?;
            atoms.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
        }
    }
}

/// The rows of U (`code_dim × input_dim`); `None` without an encoder.
///
/// # Errors
///
/// Fails if the device cannot be read.
pub fn encoder_rows(model: &Autoencoder) -> Result<Option<Vec<f32>>> {
    let rows = model
        .encoder
        .as_ref()
        .map(|encoder| encoder.input.flatten_all()?.to_vec1());
    rows.transpose()
}

/// The largest value that each code component takes on some samples, `code_dim` numbers.
///
/// # Errors
///
/// Fails if the samples' dimension is not the model's.
pub fn largest_codes(
    model: &Autoencoder,
    samples: &Samples,
    config: &Config,
    engine: &dyn Engine,
) -> Result<Vec<f32>> {
    let mut largest = vec![0.0f32; config.family.model.code_dim];
    let mut start = 0;
    while start < samples.len() {
        let count = config.batch_size.min(samples.len() - start);
        let inputs = samples.inputs.narrow(0, start, count)?;
        let codes = codes_of(model, &inputs, config, engine, CodeSource::Encoder)?;
        let maxima: Vec<f32> = codes.max(0)?.to_dtype(DType::F32)?.to_vec1()?;
        for (largest, value) in largest.iter_mut().zip(maxima) {
            *largest = largest.max(value);
        }
        start += count;
    }
    Ok(largest)
}
