//! The dictionary that a network starts from.

use candle_core::{Device, Result, Tensor};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::config::{Denoise, DenoiseConfig};
use super::overlap::Overlap;
use crate::data::{DataConfig, Samples};
use crate::lista;
use crate::lista::inference::CpuEngine;
use crate::lista::model::{Autoencoder, Decoder};
use crate::lista::{Lista, Stepper};
use crate::rng::{Stream, generator};
use crate::run::{Settings, StepError};

/// Windows in a step of dictionary learning.
const BATCH: usize = 250;

/// c of the threshold `c σ √(2 ln l)` of codes, for atoms of norm 1 and noise of deviation σ.
pub(super) const THRESHOLD: f64 = 0.35;

/// `√(2 ln l)`, which white noise of deviation 1 seldom exceeds in any of l atoms of norm 1.
pub(super) fn universal(code_dim: usize) -> f64 {
    (2.0 * (code_dim as f64).ln()).sqrt()
}

/// A dictionary of atoms of norm 1, `dim × code_dim`: windows of the set at random places, less
/// their mean (but for each fourth, where windows do not keep it), with random signs; and then so
/// many steps of SDL from there as `optimizer.dictionary_steps` says.
///
/// # Errors
///
/// Fails if the set is silent, or SDL diverges.
pub(super) fn dictionary(
    config: &DenoiseConfig,
    overlap: &Overlap,
    set: &Samples,
) -> std::result::Result<Tensor, StepError> {
    let Denoise {
        model, optimizer, ..
    } = &config.family;
    let mut rng = generator(config.seed, Stream::Weights);
    let stretches = Stretches::new(set, overlap)?;
    let start = stretches.atoms(model.code_dim, &mut rng)?;
    if optimizer.dictionary_steps == 0 {
        return Ok(start);
    }
    let sdl = sdl(config, overlap.dim());
    let mut autoencoder = Autoencoder::init(
        &sdl.family.model,
        overlap.dim(),
        true,
        config.seed,
        start.dtype(),
        &Device::Cpu,
    )?;
    autoencoder.decoder = Decoder::Linear { dictionary: start };
    let mut stepper = Stepper::new(autoencoder, &sdl)?;
    let engine = CpuEngine::default();
    for _ in 0..optimizer.dictionary_steps {
        let windows = stretches.windows(BATCH, &mut rng)?;
        stepper.step(&windows, 0, &sdl, &engine)?;
    }
    match stepper.model.decoder {
        Decoder::Linear { dictionary } => Ok(dictionary),
        Decoder::OneHidden { .. } => unreachable!("SDL's decoder here is linear"),
    }
}

/// SDL with a λ that fits noise in the middle of the levels.
fn sdl(config: &DenoiseConfig, dim: usize) -> lista::Config {
    let Denoise { model, noise, .. } = &config.family;
    let sigma = super::level(0.5 * (noise.lowest + noise.highest));
    let mut sdl = Lista::preset("ecg/sdl").expect("it is a preset");
    sdl.seed = config.seed;
    sdl.data = DataConfig::Ecg(Default::default());
    sdl.family.model.code_dim = model.code_dim;
    sdl.family.inference.lambda = 2.0 / dim as f64 * THRESHOLD * sigma * universal(model.code_dim);
    sdl
}

/// Subtracts the mean.
fn centre(window: &mut [f32]) {
    let mean = window.iter().sum::<f32>() / window.len() as f32;
    window.iter_mut().for_each(|x| *x -= mean);
}

/// Windows at any place of the stretches of a set.
struct Stretches<'o> {
    values: Vec<f32>,
    overlap: &'o Overlap,
    /// Whether windows come without their mean.
    is_centred: bool,
}

impl<'o> Stretches<'o> {
    fn new(set: &Samples, overlap: &'o Overlap) -> Result<Self> {
        Ok(Self {
            values: set.inputs.flatten_all()?.to_vec1()?,
            overlap,
            is_centred: overlap.is_of_patches(),
        })
    }

    fn window(&self, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let length = self.overlap.length();
        let stretch = rng.random_range(0..self.values.len() / length);
        let values = &self.values[stretch * length..][..length];
        let mut window = self.overlap.window_anywhere(values, rng);
        if self.is_centred {
            centre(&mut window);
        }
        window
    }

    fn windows(&self, count: usize, rng: &mut ChaCha8Rng) -> Result<Tensor> {
        let values: Vec<f32> = (0..count).flat_map(|_| self.window(rng)).collect();
        Tensor::from_vec(values, (count, self.overlap.dim()), &Device::Cpu)
    }

    /// Windows as atoms. Of several at random, the louder ones: silence is no atom, and is drawn
    /// again, as much of it as there is in line art.
    fn atoms(&self, count: usize, rng: &mut ChaCha8Rng) -> Result<Tensor> {
        const CHOICE: usize = 4;
        const TRIES: usize = 200;
        let mut atoms = Vec::with_capacity(count * self.overlap.dim());
        let mut drawn: Vec<(f32, Vec<f32>)> = Vec::new();
        for index in 0..count * CHOICE {
            let tried = (0..TRIES).map(|_| {
                let mut atom = self.window(rng);
                if index % 4 != 0 {
                    centre(&mut atom);
                }
                (atom.iter().map(|x| x * x).sum::<f32>().sqrt(), atom)
            });
            let Some(loud) = { tried }.find(|(norm, _)| *norm > 0.0) else {
                candle_core::bail!("the training data are silent: there is nothing to learn from");
            };
            drawn.push(loud);
        }
        drawn.sort_by(|a, b| b.0.total_cmp(&a.0));
        // Of the louder half, so that not all are of one loud place.
        drawn.truncate(count * CHOICE / 2);
        drawn.shuffle(rng);
        for (norm, atom) in drawn.into_iter().take(count) {
            let sign = if rng.random::<bool>() { 1.0 } else { -1.0 };
            atoms.extend(atom.iter().map(|x| sign * x / norm));
        }
        let rows = Tensor::from_vec(atoms, (count, self.overlap.dim()), &Device::Cpu)?;
        rows.t()?.contiguous()
    }
}
