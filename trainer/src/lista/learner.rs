//! The family's learner: steps on the processor, or on a backend's own device.

use candle_core::{DType, Result};

use super::config::{Config, Lista};
use super::evaluate::{CodeSource, Evaluation, count_zeros, evaluate, psnr_sum};
use super::guard::VALIDATION_REMEDY;
use super::inference::safe_step;
use super::model::{Autoencoder, Decoder, Encoder};
use super::resident::{Backend, Resident, ResidentRun, Update};
use super::step::{BatchFigures, Stepper};
use crate::data::{DataFacts, Samples};
use crate::optim::corrections;
use crate::run::{
    Advance, At, Batch, CheckpointError, Epoch, Figures, Learner, Share, State, StateError,
    StepError, StepFigures, Tensors, Trainer, Weights,
};

/// The counts of [`State`]: steps that the optimisers have taken.
pub(super) const DECODER_STEPS: &str = "adam.decoder.steps";
pub(super) const ENCODER_STEPS: &str = "adam.encoder.steps";

/// Learns a sparse autoencoder. The model reconstructs its inputs.
pub struct ListaLearner<'a> {
    config: Config,
    input_dim: usize,
    peak: f64,
    backend: &'a dyn Backend,
    stepper: Stepper,
    resident: Option<Box<dyn Resident>>,
    /// The epoch that the resident has begun, and steps that it has taken since the run began.
    device_epoch: Option<u32>,
    device_steps: u64,
}

impl<'a> ListaLearner<'a> {
    /// A learner with random weights, which the seed decides.
    ///
    /// # Errors
    ///
    /// Fails if the facts name no shape, or the device cannot hold the model.
    pub fn new(config: &Config, facts: &DataFacts, backend: &'a dyn Backend) -> Result<Self> {
        let (shape, _) = facts.parse().map_err(candle_core::Error::wrap)?;
        let input_dim = shape.input_dim();
        let model = Autoencoder::init(
            &config.family.model,
            input_dim,
            config.has_encoder(),
            config.seed,
            DType::F32,
            &backend.device(),
        )?;
        Ok(Self {
            stepper: Stepper::new(model, config)?,
            config: config.clone(),
            input_dim,
            peak: f64::from(facts.peak),
            backend,
            resident: None,
            device_epoch: None,
            device_steps: 0,
        })
    }

    /// The autoencoder as it stands.
    pub fn autoencoder(&self) -> &Autoencoder {
        &self.stepper.model
    }

    fn evaluate(
        &self,
        model: &Autoencoder,
        set: &Samples,
        noise: Option<f64>,
    ) -> Result<Evaluation> {
        let (config, peak) = (&self.config, self.peak);
        let source = CodeSource::Encoder;
        evaluate(model, set, config, peak, self.backend, source, noise)
    }

    /// What a step adds to the epoch's figures; `step_size` is what FISTA took, if it is known.
    fn shares(&self, figures: &BatchFigures, samples: usize, step_size: f64) -> StepFigures {
        let samples = samples as f64;
        let per_sample = |sum| Share::Mean {
            sum,
            weight: samples,
        };
        let numbers = samples * self.config.family.model.code_dim as f64;
        let mut shares = vec![
            ("psnr", per_sample(figures.psnr)),
            (
                "sparsity",
                Share::Mean {
                    sum: figures.zeros,
                    weight: numbers,
                },
            ),
            ("code_l1", per_sample(figures.code_l1)),
            ("energy", Share::of(figures.energy.total())),
            ("encoder_loss", Share::of(figures.encoder_loss)),
            ("fista_steps", Share::of(figures.mean_steps)),
            ("fista_iterations", Share::of(figures.iterations)),
        ];
        if step_size < self.config.family.inference.step_size {
            shares.push(("held_step_size", Share::Smallest(step_size)));
        }
        shares
    }

    /// How the steps of an epoch update, the first of which comes after `before` steps.
    fn updates(&self, epoch: u32, batches: usize, before: u64) -> Vec<Update> {
        let decoder_rate = self.config.decoder_learning_rate(epoch);
        let encoder_rate = self.config.family.optimizer.encoder_learning_rate;
        (1..=batches as u64)
            .map(|step| Update {
                decoder: corrections(before + step, decoder_rate),
                encoder: corrections(before + step, encoder_rate),
            })
            .collect()
    }
}

impl Trainer<'_, Lista> {
    /// The autoencoder as it stands.
    pub fn model(&self) -> &Autoencoder {
        self.learner().autoencoder()
    }
}

/// The autoencoder of `best.safetensors`, which `config` made.
///
/// # Errors
///
/// Names a tensor that is missing or of another shape.
pub fn autoencoder_of(
    weights: &Weights,
    config: &Config,
) -> std::result::Result<Autoencoder, CheckpointError> {
    let of_state = |error: &StateError| CheckpointError::of_state("weights", error);
    let (shape, _) = weights.data().parse().map_err(|error| {
        of_state(&StateError {
            name: "data".to_owned(),
            problem: error.to_string(),
        })
    })?;
    let (sizes, has_encoder) = (&config.family.model, config.has_encoder());
    Autoencoder::of_tensors(sizes, shape.input_dim(), has_encoder, weights.tensors())
        .map_err(|error| of_state(&error))
}

impl Learner for ListaLearner<'_> {
    fn remedy(&self) -> &'static str {
        VALIDATION_REMEDY
    }

    fn begin(&mut self, train: &Samples, validation: &Samples) -> Result<()> {
        self.resident = self.backend.resident(&ResidentRun {
            config: &self.config,
            train,
            validation,
            stepper: &self.stepper,
            peak: self.peak,
        })?;
        self.device_epoch = None;
        self.device_steps = self.stepper.steps();
        Ok(())
    }

    fn step(
        &mut self,
        batch: &Batch<'_>,
        set: &Samples,
        at: At,
    ) -> std::result::Result<StepFigures, StepError> {
        let inputs = batch.inputs.to_device(&self.backend.device())?;
        let outcome = self
            .stepper
            .step(&inputs, at.epoch, &self.config, self.backend)?;
        let mut used = vec![false; self.config.family.model.code_dim];
        let (zeros, code_l1) = count_zeros(&outcome.inference.codes, &mut used)?;
        let places = batch.places.iter().map(|&place| place as usize);
        let figures = BatchFigures {
            psnr: psnr_sum(&outcome.error, &set.restore, places, self.peak)?,
            zeros,
            code_l1,
            energy: outcome.energy,
            encoder_loss: outcome.encoder_loss,
            mean_steps: outcome.inference.mean_steps(),
            iterations: outcome.inference.iterations as f64,
        };
        Ok(self.shares(&figures, batch.places.len(), outcome.inference.step_size))
    }

    fn advance(&mut self, epoch: &Epoch<'_>, first: usize) -> Result<Advance> {
        let before = epoch.at(0).step;
        let updates = match self.device_epoch == Some(epoch.index) {
            true => None,
            false => Some(self.updates(epoch.index, epoch.batches, before)),
        };
        let Some(resident) = &mut self.resident else {
            return epoch.step(self, first);
        };
        if let Some(updates) = updates {
            resident.begin_epoch(epoch.order, &updates)?;
            self.device_epoch = Some(epoch.index);
        }
        let (steps, divergence) = resident.steps(first..epoch.batches)?;
        let step_size = self.config.family.inference.step_size;
        let shares = |figures| self.shares(figures, epoch.batch_size, step_size);
        let advance = Advance {
            steps: steps.iter().map(shares).collect(),
            divergence,
        };
        self.device_steps = before + (first + advance.steps.len()) as u64;
        Ok(advance)
    }

    fn settle(&mut self) -> Result<()> {
        match &mut self.resident {
            Some(resident) => resident.store(&mut self.stepper, self.device_steps),
            None => Ok(()),
        }
    }

    fn measure(&self, set: &Samples, noise: Option<f64>) -> Result<Figures> {
        let model = &self.stepper.model;
        Ok(self.evaluate(model, set, noise)?.figures())
    }

    fn validate(&mut self, validation: &Samples) -> Result<Figures> {
        if let Some(resident) = &mut self.resident {
            return Ok(resident.evaluate()?.figures());
        }
        let rounded = self
            .config
            .family
            .optimizer
            .quantize_aware
            .map(|weights| self.stepper.model.quantized(weights))
            .transpose()?;
        let model = rounded.as_ref().unwrap_or(&self.stepper.model);
        Ok(self.evaluate(model, validation, None)?.figures())
    }

    fn figures(&self, epoch: u32) -> Result<Figures> {
        Ok(Figures::from([
            (
                "decoder_norm",
                self.stepper.model.decoder.mean_column_norm()?,
            ),
            (
                "decoder_learning_rate",
                self.config.decoder_learning_rate(epoch),
            ),
        ]))
    }

    fn model(&self) -> Tensors {
        self.stepper.model.tensors()
    }

    fn set_model(&mut self, model: &Tensors) -> std::result::Result<(), StateError> {
        self.stepper.model.set(model)
    }

    /// An encoder that the other model does not have starts as ISTA for its dictionary
    /// ([`Encoder::unrolled`]), or for a one-hidden decoder at random.
    fn start_from(&mut self, model: &Tensors) -> std::result::Result<(), StateError> {
        let failed = |error: candle_core::Error| StateError {
            name: "model".to_owned(),
            problem: error.to_string(),
        };
        let mut start = self.stepper.model.clone();
        let mut model = model.clone();
        let has_encoder = model.keys().any(|name| name.starts_with("encoder."));
        if let (Some(encoder), false) = (&start.encoder, has_encoder) {
            let (config, iterations) = (&self.config.family, encoder.iterations);
            let other =
                Autoencoder::of_tensors(&config.model, self.input_dim, has_encoder, &model)?;
            let encoder = match &other.decoder {
                Decoder::Linear { dictionary } => {
                    let step_size = safe_step(&other.decoder).map_err(failed)?;
                    let step_size = step_size.min(f64::from(f32::MAX));
                    let lambda = config.inference.lambda;
                    Encoder::unrolled(dictionary, lambda, step_size, iterations).map_err(failed)?
                }
                Decoder::OneHidden { .. } => encoder.clone(),
            };
            let named = encoder.parameters().into_iter();
            model.extend(named.map(|(name, tensor)| (name.to_owned(), tensor.clone())));
        }
        start.set(&model)?;
        self.stepper = Stepper::new(start, &self.config).map_err(failed)?;
        Ok(())
    }

    fn state(&self) -> Result<State> {
        let mut tensors = self.model();
        for (name, first, second) in self.stepper.moments()? {
            tensors.insert(format!("adam.first.{name}"), first);
            tensors.insert(format!("adam.second.{name}"), second);
        }
        let (decoder, encoder) = self.stepper.optimiser_steps();
        let counts = [(DECODER_STEPS, decoder), (ENCODER_STEPS, encoder)];
        let counts = counts.map(|(name, steps)| (name.to_owned(), steps));
        Ok(State {
            tensors,
            counts: counts.into(),
        })
    }

    fn restore(&mut self, state: &State) -> std::result::Result<(), StateError> {
        let steps = (state.count(DECODER_STEPS)?, state.count(ENCODER_STEPS)?);
        let moment = |kind: &str, name: &str, shape: &[usize]| {
            let tensor = state.tensor(&format!("adam.{kind}.{name}"), shape);
            tensor.cloned()
        };
        self.stepper.model.set(&state.tensors)?;
        self.stepper.restore(steps, |name, shape| {
            Ok((
                moment("first", name, shape)?,
                moment("second", name, shape)?,
            ))
        })
    }

    fn is_faster_than_files(&self) -> bool {
        self.resident.is_some()
    }
}
