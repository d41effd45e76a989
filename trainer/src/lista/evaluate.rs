//! Measures of a model on a set: sparsity, PSNR, energy, dead atoms, denoising.

use candle_core::{Result, Tensor};
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::inference::{Energy, Engine, InferenceConfig, initial_codes};
use super::model::Autoencoder;
use crate::data::{Restore, Samples};
use crate::rng::{Stream, generator};
use crate::run::Figures;
use crate::tensor::awake::awake;
use crate::tensor::elementwise::difference;

/// PSNR counted for an exact reconstruction, where the formula has no value.
pub(crate) const EXACT_PSNR: f64 = 40.0;

/// Where noise for an evaluation comes from, whatever its deviation.
pub(crate) const EVALUATION_NOISE: Stream = Stream::Noise { purpose: 0 };

/// Where codes come from in an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodeSource {
    /// The encoder alone; FISTA for a model that has none.
    Encoder,
    /// FISTA on reconstruction and ℓ1 alone (β = γ = 0), from the encoder's code where there is
    /// one.
    Fista,
}

/// Figures of a model on a set, means over its samples unless said otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Samples measured.
    pub samples: usize,
    /// Where the codes came from.
    pub codes: CodeSource,
    /// Standard deviation of the noise added to preprocessed inputs; `None` for clean ones.
    pub noise: Option<f64>,
    /// PSNR of the inputs themselves against the clean ones, in dB; `None` without noise.
    pub psnr_input: Option<f64>,
    /// PSNR of the reconstructions against the clean inputs, in dB, in raw units.
    pub psnr: f64,
    /// Fraction of code components that are exactly 0.
    pub sparsity: f64,
    /// ‖z‖₁.
    pub code_l1: f64,
    /// f + g of a batch of the training's size, against the inputs that were encoded.
    pub energy: f64,
    /// Code components that are 0 for every sample of the set.
    pub dead_atoms: usize,
}

impl Evaluation {
    /// The same by name.
    pub fn figures(&self) -> Figures {
        let mut figures = Figures::from([("samples", self.samples as f64)]);
        if let Some(psnr) = self.psnr_input {
            figures.set("psnr_input", psnr);
        }
        for (name, value) in [
            ("psnr", self.psnr),
            ("sparsity", self.sparsity),
            ("code_l1", self.code_l1),
            ("energy", self.energy),
            ("dead_atoms", self.dead_atoms as f64),
        ] {
            figures.set(name, value);
        }
        figures
    }
}

/// Measures `model` on `samples` in batches of the training's size; with `noise`, after adding
/// Gaussian noise of this deviation, in preprocessed units, to every number.
///
/// The same unit draws, a function of the seed and the sample's place alone, are scaled by whatever
/// deviation is asked for: figures at a deviation do not depend on what else is measured, and those
/// at several differ by the deviation, not by the luck of the draw.
///
/// # Errors
///
/// Fails if the samples' dimension is not the model's, or the device runs out of memory.
pub fn evaluate(
    model: &Autoencoder,
    samples: &Samples,
    config: &Config,
    peak: f64,
    engine: &dyn Engine,
    source: CodeSource,
    noise: Option<f64>,
) -> Result<Evaluation> {
    awake(|| {
        let mut rng = noise.map(|sigma| (sigma, generator(config.seed, EVALUATION_NOISE)));
        let mut sums = Sums::default();
        let mut used = vec![false; config.family.model.code_dim];
        let mut start = 0;
        while start < samples.len() {
            let count = config.batch_size.min(samples.len() - start);
            let clean = samples.inputs.narrow(0, start, count)?;
            let clean = clean.to_device(model.decoder.device())?;
            let inputs = match &mut rng {
                Some((sigma, rng)) => {
                    let draws: Vec<f32> = (0..clean.elem_count())
                        .map(|_| StandardNormal.sample(&mut *rng))
                        .collect();
                    let draws = Tensor::from_vec(draws, clean.shape(), clean.device())?
                        .to_dtype(clean.dtype())?;
                    (&clean + (draws * *sigma)?)?
                }
                None => clean.clone(),
            };
            let codes = codes_of(model, &inputs, config, engine, source)?;
            let reconstruction = model.decoder.forward(&codes)?;
            // Of what was encoded, for the energy; of the clean samples, for the PSNR.
            let error = difference(&reconstruction, &inputs)?;
            let energy = Energy::new(&model.decoder, &inputs, None, &config.family.inference);
            sums.energy += energy.value_given_error(&codes, &error)?.total();
            if rng.is_some() {
                let clean_error = difference(&reconstruction, &clean)?;
                sums.psnr += psnr_sum(&clean_error, &samples.restore, start.., peak)?;
                sums.psnr_input += psnr_sum(&(&inputs - &clean)?, &samples.restore, start.., peak)?;
            } else {
                sums.psnr += psnr_sum(&error, &samples.restore, start.., peak)?;
            }
            let (zeros, l1) = count_zeros(&codes, &mut used)?;
            sums.zeros += zeros;
            sums.l1 += l1;
            start += count;
        }
        let count = samples.len().max(1) as f64;
        Ok(Evaluation {
            samples: samples.len(),
            codes: match model.encoder {
                Some(_) => source,
                None => CodeSource::Fista,
            },
            noise,
            psnr_input: noise.map(|_| sums.psnr_input / count),
            psnr: sums.psnr / count,
            sparsity: sums.zeros / (count * config.family.model.code_dim as f64),
            code_l1: sums.l1 / count,
            energy: sums.energy / count * config.batch_size as f64,
            dead_atoms: used.iter().filter(|&&used| !used).count(),
        })
    })
}

#[derive(Default)]
struct Sums {
    psnr: f64,
    psnr_input: f64,
    energy: f64,
    zeros: f64,
    l1: f64,
}

/// The codes of a batch, `batch × code_dim`.
///
/// # Errors
///
/// Fails if shapes, dtypes or devices disagree.
pub fn codes_of(
    model: &Autoencoder,
    inputs: &Tensor,
    config: &Config,
    engine: &dyn Engine,
    source: CodeSource,
) -> Result<Tensor> {
    let start = match &model.encoder {
        Some(encoder) => encoder.forward(inputs)?,
        None => initial_codes(
            &config.family.inference,
            config.family.model.code_dim,
            inputs,
        )?,
    };
    match source {
        CodeSource::Encoder if model.encoder.is_some() => Ok(start),
        _ => {
            let plain = InferenceConfig {
                variance_weight: 0.0,
                encoder_weight: 0.0,
                ..config.family.inference.clone()
            };
            Ok(engine
                .infer(&Energy::new(&model.decoder, inputs, None, &plain), &start)?
                .codes)
        }
    }
}

/// PSNR of an estimate of sample `index` of the set that `restore` belongs to, in dB: `10
/// log10(peak²/MSE)`, the error taken to raw units first. An exact estimate counts as 40 dB.
pub fn psnr(estimate: &[f32], sample: &[f32], restore: &Restore, index: usize, peak: f64) -> f64 {
    psnr_of_error(
        estimate.iter().zip(sample).map(|(a, b)| a - b),
        restore,
        index,
        peak,
    )
}

fn psnr_of_error(
    error: impl Iterator<Item = f32>,
    restore: &Restore,
    index: usize,
    peak: f64,
) -> f64 {
    let mse = restore.squared_error(index, error);
    if mse == 0.0 {
        EXACT_PSNR
    } else {
        10.0 * (peak * peak / mse).log10()
    }
}

/// The sum of the PSNR of a batch of errors (`batch × input_dim`), whose samples have these indices
/// in the set that `restore` belongs to.
pub(crate) fn psnr_sum(
    errors: &Tensor,
    restore: &Restore,
    indices: impl IntoIterator<Item = usize>,
    peak: f64,
) -> Result<f64> {
    let dim = errors.dim(1)?;
    let errors: Vec<f32> = errors
        .to_dtype(candle_core::DType::F32)?
        .flatten_all()?
        .to_vec1()?;
    let psnr = errors
        .chunks_exact(dim)
        .zip(indices)
        .map(|(error, index)| psnr_of_error(error.iter().copied(), restore, index, peak));
    Ok(psnr.sum())
}

/// The number of zeros and the ℓ1 norm of a batch of codes; marks the components that some sample
/// uses.
pub(crate) fn count_zeros(codes: &Tensor, used: &mut [bool]) -> Result<(f64, f64)> {
    let codes: Vec<f32> = codes
        .to_dtype(candle_core::DType::F32)?
        .flatten_all()?
        .to_vec1()?;
    let mut zeros = 0usize;
    let mut l1 = 0.0f64;
    for code in codes.chunks_exact(used.len()) {
        for (value, used) in code.iter().zip(used.iter_mut()) {
            if *value == 0.0 {
                zeros += 1;
            } else {
                *used = true;
                l1 += f64::from(value.abs());
            }
        }
    }
    Ok((zeros as f64, l1))
}
