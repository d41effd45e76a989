//! The family's learner.

use std::borrow::Cow;
use std::f64::consts::PI;

use candle_core::{DType, Device, Result, Tensor};
use rand::Rng;

use super::config::{Denoise, DenoiseConfig, NoiseConfig};
use super::denoiser::Denoiser;
use super::dictionary::{THRESHOLD, dictionary, universal};
use super::gram::GramNetwork;
use super::level;
use super::noise::{Noise, Part};
use super::overlap::{Overlap, windows_in};
use crate::data::{Contrast, DataConfig, DataFacts, InputShape, Preprocessing, Samples};
use crate::optim::Adam;
use crate::rng::{Stream, generator};
use crate::run::{
    At, Batch, Divergence, Figures, Learner, Share, State, StateError, StepError, StepFigures,
    Tensors, tensor,
};

/// The count of [`State`]: steps that the optimiser has taken.
const STEPS: &str = "adam.steps";

/// Random numbers of training and of validation; see [`Stream::Noise`].
const TRAINING: u16 = 2;
const VALIDATION: u16 = 3;

/// The learning rate of the first step, as a share of the highest.
const FIRST_RATE: f64 = 0.04;

/// Steps of an encoder stay above 0, and below this times the safe one, 1/‖W‖²: a file for integers
/// holds steps of 0 to 32 times the safe one.
const SMALLEST_STEP: f32 = 1e-4;
const LARGEST_STEP: f32 = 28.0;

/// Weights of windows stay within what a file holds, 1e-6 to 1e6.
const LARGEST_LOG_WEIGHT: f32 = 13.5;

const REMEDY: &str = "lower optimizer.learning_rate, or look for NaN in the data";

/// Learns a [`Denoiser`].
pub struct DenoiseLearner {
    config: DenoiseConfig,
    overlap: Overlap,
    denoiser: Denoiser,
    adam: Adam,
    noise: Noise,
    device: Device,
    /// Steps of the whole run; known when it begins.
    all_steps: u64,
    /// Whether the dictionary is to be found yet.
    is_fresh: bool,
}

impl DenoiseLearner {
    /// A learner whose dictionary is found when the run begins.
    ///
    /// # Errors
    ///
    /// Fails if a stretch of the data is no whole number of hops, recordings of noise cannot be
    /// read, or the device cannot hold the network.
    pub fn new(config: &DenoiseConfig, facts: &DataFacts, device: &Device) -> Result<Self> {
        let (shape, preprocessing) = facts.parse_uniform().map_err(candle_core::Error::wrap)?;
        let length = shape.input_dim();
        let overlap = overlap(shape, &preprocessing, &config.family, device)?;
        let drift = match &config.data {
            DataConfig::Signal(signal) => signal.drift,
            _ => None,
        };
        let noise = Noise::of(&config.family.noise, None, drift, length, Part::Training)
            .map_err(candle_core::Error::wrap)?;
        let code_dim = config.family.model.code_dim;
        let zeros = Tensor::zeros((overlap.dim(), code_dim), DType::F32, device)?;
        let denoiser = start(config, &overlap, &zeros)?;
        Ok(Self {
            adam: Adam::new(&denoiser.parameters(), |_| 0.0)?,
            overlap,
            config: config.clone(),
            denoiser,
            noise,
            device: device.clone(),
            all_steps: 1,
            is_fresh: true,
        })
    }

    /// The network as it stands.
    pub fn denoiser(&self) -> &Denoiser {
        &self.denoiser
    }

    /// The network, rounded if training is to know of it.
    fn as_exported(&self) -> Result<Cow<'_, Denoiser>> {
        Ok(match self.config.family.optimizer.quantize_aware {
            Some(weights) => Cow::Owned(self.denoiser.quantized(weights)?),
            None => Cow::Borrowed(&self.denoiser),
        })
    }

    /// The learning rate of a step, from 0: half a cosine up, half a cosine down to 0.
    fn rate(&self, step: u64) -> f64 {
        let optimizer = &self.config.family.optimizer;
        let done = step as f64 / self.all_steps.max(1) as f64;
        let warm_up = optimizer.warm_up;
        let share = if done < warm_up {
            let risen = 0.5 * (1.0 - (PI * done / warm_up).cos());
            FIRST_RATE + (1.0 - FIRST_RATE) * risen
        } else {
            let fallen = (done - warm_up) / (1.0 - warm_up).max(f64::MIN_POSITIVE);
            0.5 * (1.0 + (PI * fallen.min(1.0)).cos())
        };
        optimizer.learning_rate * share
    }

    /// Clean stretches and noisy ones, in units of their noise.
    fn noisy(&self, clean: &Tensor, sigmas: &[f32], rng: &mut impl Rng) -> Result<[Tensor; 2]> {
        let (rows, length) = clean.dims2()?;
        let mut values: Vec<f32> = clean.flatten_all()?.to_vec1()?;
        for (stretch, sigma) in values.chunks_exact_mut(length).zip(sigmas) {
            stretch.iter_mut().for_each(|x| *x /= sigma);
        }
        let mut noisy = values.clone();
        for stretch in noisy.chunks_exact_mut(length) {
            self.noise.add(rng, 1.0, stretch);
        }
        let tensor = |values| Tensor::from_vec(values, (rows, length), &self.device);
        Ok([tensor(values)?, tensor(noisy)?])
    }

    /// What is left of noise of deviation `sigma`, as a share of its power, and the mean number of
    /// active components.
    fn remaining(&self, set: &Samples, sigma: f64, stream: u16) -> Result<(f64, f64)> {
        /// Stretches at a time.
        const CHUNK: usize = 64;
        let mut rng = generator(self.config.seed, Stream::Noise { purpose: stream });
        let (rows, _) = set.inputs.dims2()?;
        let denoiser = self.as_exported()?;
        let (mut left, mut given, mut active) = (0.0, 0.0, 0.0);
        for first in (0..rows).step_by(CHUNK) {
            let count = CHUNK.min(rows - first);
            let clean = set.inputs.narrow(0, first, count)?;
            let [clean, noisy] = self.noisy(&clean, &vec![sigma as f32; count], &mut rng)?;
            let measured = denoiser.measure(&self.overlap, &noisy)?;
            let power = |difference: Tensor| -> Result<f64> {
                let inner = self.overlap.inner(&difference)?;
                Ok(f64::from(inner.sqr()?.sum_all()?.to_scalar::<f32>()?))
            };
            left += power((measured.output - &clean)?)?;
            given += power((noisy - clean)?)?;
            active += measured.active * count as f64;
        }
        Ok((left / given, active / rows as f64))
    }
}

/// ‖W‖², by so many steps of power iteration that what is missing is less than the room that
/// [`LARGEST_STEP`] leaves.
fn largest_square(dictionary: &Tensor) -> Result<f32> {
    const ITERATIONS: usize = 20;
    let (_, count) = dictionary.dims2()?;
    let values: Vec<f32> = dictionary.flatten_all()?.to_vec1()?;
    let mut vector: Vec<f32> = (0..count).map(|i| 1.0 + (i % 7) as f32 / 7.0).collect();
    let mut square = 0.0;
    for _ in 0..ITERATIONS {
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector
            .iter_mut()
            .for_each(|x| *x /= norm.max(f32::MIN_POSITIVE));
        let mut next = vec![0.0_f32; count];
        square = 0.0;
        for row in values.chunks_exact(count) {
            let product: f32 = row.iter().zip(&vector).map(|(a, b)| a * b).sum();
            square += product * product;
            next.iter_mut()
                .zip(row)
                .for_each(|(sum, a)| *sum += product * a);
        }
        vector = next;
    }
    Ok(square.max(f32::MIN_POSITIVE))
}

/// The network of a dictionary, before it learns.
fn start(config: &DenoiseConfig, overlap: &Overlap, dictionary: &Tensor) -> Result<Denoiser> {
    let model = &config.family.model;
    let threshold = THRESHOLD * universal(model.code_dim);
    let network = GramNetwork::unrolled(dictionary, threshold, model.iterations)?;
    let log_weights = Tensor::zeros(overlap.weight_count(), DType::F32, dictionary.device())?;
    Ok(Denoiser {
        network,
        log_weights,
        keeps_means: overlap.is_of_patches(),
    })
}

/// The windows of a stretch, or the patches of a tile, as which each sample of the data is taken.
fn overlap(
    shape: InputShape,
    preprocessing: &Preprocessing,
    Denoise { model, noise, .. }: &Denoise,
    device: &Device,
) -> Result<Overlap> {
    let (side, hop) = (model.window, model.hop);
    let (height, width) = (usize::from(shape.height), usize::from(shape.width));
    if !shape.is_window() && noise.recordings.is_some() {
        candle_core::bail!("noise.recordings: a recording is no noise of pictures; leave it out");
    }
    let count = windows_in(width, side, hop);
    if preprocessing.contrast != Contrast::None {
        candle_core::bail!(
            "samples whose contrast was changed have no noise level: set data.normalisation to \
             \"recording\" for signals, data.contrast to \"none\" for pictures"
        );
    }
    match count {
        Some(count) if shape.is_window() => Overlap::new(side, hop, count, device),
        Some(count) if height == width => Overlap::of_patches(side, hop, count, device),
        _ if shape.is_window() => candle_core::bail!(
            "data.window = {width} is no stretch of windows: set it to model.window = {side} and a \
             multiple of model.hop = {hop}, such as {}",
            side + 15 * hop
        ),
        _ => candle_core::bail!(
            "samples of {shape} are no square tiles of patches: give them as many rows as columns, \
             model.window = {side} and a multiple of model.hop = {hop}, such as {}",
            side + 4 * hop
        ),
    }
}

impl Learner for DenoiseLearner {
    fn remedy(&self) -> &'static str {
        REMEDY
    }

    fn begin(&mut self, train: &Samples, _: &Samples) -> Result<()> {
        let batches = train.len() / self.config.batch_size;
        self.all_steps = u64::from(self.config.epochs) * batches as u64;
        if self.is_fresh {
            let dictionary =
                dictionary(&self.config, &self.overlap, train).map_err(|error| match error {
                    StepError::Device(error) => error,
                    StepError::Diverged(error) => candle_core::Error::wrap(error),
                })?;
            let dictionary = dictionary.to_device(&self.device)?;
            self.denoiser = start(&self.config, &self.overlap, &dictionary)?;
            self.is_fresh = false;
        }
        Ok(())
    }

    fn step(
        &mut self,
        batch: &Batch<'_>,
        _: &Samples,
        at: At,
    ) -> std::result::Result<StepFigures, StepError> {
        let Denoise {
            noise, optimizer, ..
        } = &self.config.family;
        let mut rng = generator(self.config.seed, Stream::Noise { purpose: TRAINING });
        rng.set_word_pos(u128::from(at.step) << 32);
        let sigmas: Vec<f32> = (0..batch.places.len())
            .map(|_| level(rng.random_range(noise.lowest..=noise.highest)) as f32)
            .collect();
        let [clean, noisy] = self.noisy(&batch.targets, &sigmas, &mut rng)?;
        let importance = sigmas
            .iter()
            .map(|sigma| sigma.powf(optimizer.level_exponent as f32));
        let importance: Vec<f32> = importance.collect();
        let importance = Tensor::from_vec(importance, (sigmas.len(), 1), &self.device)?;
        // Gradients are taken where the device will be, and applied to the unrounded weights.
        let loss = self.as_exported()?.loss(
            &self.overlap,
            &noisy,
            &clean,
            &importance,
            optimizer.code_l1,
        )?;
        if !loss.error.is_finite() || !loss.code_l1.is_finite() {
            let divergence = Divergence::new("the loss", "a value is not finite", REMEDY);
            return Err(divergence.into());
        }
        let rate = self.rate(at.step);
        let parameters = self.denoiser.parameters_mut();
        self.adam.step(parameters, &loss.gradients, rate)?;
        let network = &mut self.denoiser.network;
        let largest = LARGEST_STEP / largest_square(&network.dictionary)?;
        network.steps = network.steps.clamp(SMALLEST_STEP, largest)?;
        let log_weights = &mut self.denoiser.log_weights;
        *log_weights = log_weights.clamp(-LARGEST_LOG_WEIGHT, LARGEST_LOG_WEIGHT)?;
        let weight = sigmas.len() as f64;
        let mean = |value: f64| Share::Mean {
            sum: value * weight,
            weight,
        };
        Ok(vec![
            ("error", mean(loss.error)),
            ("code_l1", mean(loss.code_l1)),
            ("active", mean(loss.active)),
        ])
    }

    fn measure(&self, set: &Samples, noise: Option<f64>) -> Result<Figures> {
        let decibels = |share: f64| -10.0 * share.log10();
        if let Some(sigma) = noise {
            let (left, active) = self.remaining(set, sigma, VALIDATION)?;
            return Ok(Figures::from([
                ("gain", decibels(left)),
                ("active", active),
            ]));
        }
        let NoiseConfig {
            lowest, highest, ..
        } = &self.config.family.noise;
        let mut figures = Figures::new();
        let (mut sum, mut atoms) = (0.0, 0.0);
        let names = ["gain_lowest", "gain_middle", "gain_highest"];
        for (name, share) in names.into_iter().zip([0.0, 0.5, 1.0]) {
            let sigma = level(lowest + share * (highest - lowest));
            let (left, active) = self.remaining(set, sigma, VALIDATION)?;
            figures.set(name, decibels(left));
            sum += decibels(left) / 3.0;
            atoms += active / 3.0;
        }
        figures.set("gain", sum);
        figures.set("remaining_noise", -sum);
        figures.set("active", atoms);
        Ok(figures)
    }

    fn figures(&self, _: u32) -> Result<Figures> {
        let steps: Vec<f32> = self.denoiser.network.steps.to_vec1()?;
        let largest = steps.iter().copied().fold(0.0, f32::max);
        Ok(Figures::from([("largest_step", f64::from(largest))]))
    }

    fn model(&self) -> Tensors {
        let named = self.denoiser.parameters().into_iter();
        named
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
            .collect()
    }

    fn set_model(&mut self, model: &Tensors) -> std::result::Result<(), StateError> {
        self.denoiser.set(model)?;
        self.is_fresh = false;
        Ok(())
    }

    /// Another network of this kind, or the dictionary of any model.
    fn start_from(&mut self, model: &Tensors) -> std::result::Result<(), StateError> {
        if model.contains_key("encoder.thresholds") {
            return self.set_model(model);
        }
        let shape = [self.overlap.dim(), self.config.family.model.code_dim];
        let dictionary = tensor(model, "decoder.dictionary", &shape)?;
        let norms = dictionary.sqr()?.sum_keepdim(0)?.sqrt()?;
        let dictionary = dictionary.broadcast_div(&norms)?;
        self.denoiser = start(&self.config, &self.overlap, &dictionary)?;
        self.is_fresh = false;
        Ok(())
    }

    fn state(&self) -> Result<State> {
        let mut tensors = self.model();
        for (name, first, second) in self.adam.moments()? {
            tensors.insert(format!("adam.first.{name}"), first);
            tensors.insert(format!("adam.second.{name}"), second);
        }
        Ok(State {
            tensors,
            counts: [(STEPS.to_owned(), self.adam.steps())].into(),
        })
    }

    fn restore(&mut self, state: &State) -> std::result::Result<(), StateError> {
        self.set_model(&state.tensors)?;
        self.adam.restore(state.count(STEPS)?, |name, shape| {
            let moment = |kind: &str| {
                let tensor = state.tensor(&format!("adam.{kind}.{name}"), shape);
                tensor.cloned()
            };
            Ok((moment("first")?, moment("second")?))
        })
    }
}
