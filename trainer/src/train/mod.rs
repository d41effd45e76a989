//! Training: for each mini-batch encode, infer Z*, then one Adam step on the decoder and one on the encoder.

mod adam;
mod checkpoint;
mod guard;
mod identity;
pub mod length;
mod resident;
mod session;
mod step;

pub use adam::Adam;
use adam::corrections;
pub(crate) use checkpoint::tensor_of;
pub use checkpoint::{Checkpoint, CheckpointError, DataFacts, Weights};
pub use guard::Divergence;
pub(crate) use identity::without_place;
pub use identity::{Difference, Differences};
pub use resident::{Resident, ResidentRun, StepFigures, Update};
pub use session::{Session, Trained};
pub use step::{Learner, StepError, StepOutcome};

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::config::{Config, ConfigError};
use crate::data::Splits;
use crate::evaluate::{self, CodeSource, Evaluation, Samples};
use crate::inference::{Engine, safe_step};
use crate::model::{Autoencoder, Decoder, Encoder};
use crate::rng::{Stream, generator};

/// How long what an engine's own device has done may be without a checkpoint.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// The folder of a run and the files in it.
#[derive(Clone, Debug)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// The run in this folder, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// The state to resume from: parameters, optimisers, position.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint.safetensors")
    }

    /// The parameters with the lowest validation energy so far.
    pub fn best(&self) -> PathBuf {
        self.0.join("best.safetensors")
    }

    /// One JSON object for each epoch.
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }
}

/// The figures of one epoch, as they stand in `metrics.jsonl`.
#[derive(Clone, Debug, Serialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: u32,
    /// Means over the epoch's batches, taken while the parameters moved.
    pub train: TrainFigures,
    /// The validation set after the epoch.
    pub validation: Evaluation,
    /// Mean ℓ2 norm of the decoder's columns.
    pub decoder_norm: f64,
    /// η_D of this epoch.
    pub decoder_learning_rate: f64,
    /// The smallest step that FISTA was held to in this epoch: less than the configured one, which was too large for the decoder.
    /// `None` if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_step_size: Option<f64>,
    /// Whether this is the best validation energy so far.
    pub best: bool,
    /// Wall time of the epoch, validation included.
    pub seconds: f64,
}

/// Training figures of an epoch: means over its batches, with the codes of inference.
#[derive(Clone, Debug, Serialize)]
pub struct TrainFigures {
    /// PSNR of D(z*), in dB.
    pub psnr: f64,
    /// Fraction of zeros in z*.
    pub sparsity: f64,
    /// Mean ‖z*‖₁.
    pub code_l1: f64,
    /// f + g of a batch at Z*.
    pub energy: f64,
    /// mean (1/l)‖E(y) − z*‖².
    pub encoder_loss: f64,
    /// FISTA iterations in which a sample had not converged, mean over samples.
    pub fista_steps: f64,
    /// FISTA iterations of a batch.
    pub fista_iterations: f64,
}

/// Sums over an epoch so far; part of a checkpoint, so that a resumed epoch reports the same figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct EpochSums {
    samples: f64,
    batches: f64,
    psnr: f64,
    zeros: f64,
    code_l1: f64,
    energy: f64,
    encoder_loss: f64,
    steps: f64,
    iterations: f64,
    seconds: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_step_size: Option<f64>,
}

impl EpochSums {
    /// Takes note of the step that a batch took instead of `wanted`.
    fn hold(&mut self, step_size: f64, wanted: f64) {
        if step_size < wanted {
            let smallest = self.held_step_size.map_or(step_size, |s| s.min(step_size));
            self.held_step_size = Some(smallest);
        }
    }

    fn add(&mut self, step: &StepFigures, samples: f64) {
        self.samples += samples;
        self.batches += 1.0;
        self.psnr += step.psnr;
        self.zeros += step.zeros;
        self.code_l1 += step.code_l1;
        self.energy += step.energy.total();
        self.encoder_loss += step.encoder_loss;
        self.steps += step.mean_steps;
        self.iterations += step.iterations;
    }

    fn figures(&self, code_dim: usize) -> TrainFigures {
        let per_sample = |sum: f64| sum / self.samples.max(1.0);
        let per_batch = |sum: f64| sum / self.batches.max(1.0);
        TrainFigures {
            psnr: per_sample(self.psnr),
            sparsity: per_sample(self.zeros) / code_dim as f64,
            code_l1: per_sample(self.code_l1),
            energy: per_batch(self.energy),
            encoder_loss: per_batch(self.encoder_loss),
            fista_steps: per_batch(self.steps),
            fista_iterations: per_batch(self.iterations),
        }
    }
}

/// The lowest validation energy and the epoch (from 1) that reached it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Energy of a batch on the validation set.
    pub energy: f64,
    /// Epoch, from 1.
    pub epoch: u32,
}

/// Where a run stands: with the configuration and the parameters, all that decides how it goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Epochs finished.
    epoch: u32,
    /// Batches of the current epoch finished.
    batch: usize,
    sums: EpochSums,
    best: Option<Best>,
    stale_epochs: u32,
}

impl Position {
    /// Epochs finished.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The best epoch so far.
    pub fn best(&self) -> Option<Best> {
        self.best
    }
}

/// What an observer could not log.
pub type LogError = Box<dyn std::error::Error + Send + Sync>;

/// Told how training goes: a progress bar, a log, a dashboard.
pub trait Observer {
    /// Before the first batch: epochs and batches that a resumed run has behind it, and batches of the whole run.
    fn begin(&mut self, _epochs_done: u32, _done: usize, _all: usize) {}
    /// After every batch: batches done and in all, of this epoch (from 1).
    fn batch(&mut self, epoch: u32, done: usize, all: usize);
    /// After every epoch, before its checkpoint.
    ///
    /// # Errors
    ///
    /// A log that cannot be written stops the run.
    fn epoch(&mut self, record: &EpochRecord) -> Result<(), LogError>;
}

/// An [`Observer`] that ignores everything.
pub struct Silent;

impl Observer for Silent {
    fn batch(&mut self, _: u32, _: usize, _: usize) {}
    fn epoch(&mut self, _: &EpochRecord) -> Result<(), LogError> {
        Ok(())
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All epochs are done.
    Finished,
    /// The validation energy stopped improving.
    StoppedEarly,
    /// The stop flag was raised; the checkpoint holds the position.
    Interrupted,
}

/// Why training failed. What was saved before stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// NaN, infinity or a blown-up reconstruction.
    #[error("{variant} diverged in epoch {epoch}, batch {batch}: {divergence}")]
    Diverged {
        /// The model's name, `vdl-nl`.
        variant: &'static str,
        /// From 1.
        epoch: u32,
        /// From 1.
        batch: usize,
        /// What and where.
        divergence: Divergence,
    },
    /// Fewer samples than a batch.
    #[error(
        "the training set has {samples} samples, fewer than batch_size = {batch_size}: lower batch_size or give more data"
    )]
    TooFewSamples {
        /// Samples in the training set.
        samples: usize,
        /// n.
        batch_size: usize,
    },
    /// A split without samples.
    #[error("the validation set is empty: give more data")]
    NoValidation,
    /// A checkpoint that cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An observer's log.
    #[error("log: {0}")]
    Log(LogError),
    /// The device.
    #[error("device: {0}")]
    Device(#[from] candle_core::Error),
}

/// A run: data, learner and position.
pub struct Trainer<'a> {
    config: Config,
    facts: DataFacts,
    train: Samples,
    validation: Samples,
    learner: Learner,
    engine: &'a dyn Engine,
    position: Position,
}

impl<'a> Trainer<'a> {
    /// A run at its beginning.
    ///
    /// # Errors
    ///
    /// Fails if a value of the configuration is out of range, the training set is smaller than a batch, or there is nothing to
    /// validate on.
    pub fn new(config: Config, splits: Splits, engine: &'a dyn Engine) -> Result<Self, TrainError> {
        config.validate()?;
        let facts = DataFacts::of(&splits);
        let train = Samples::new(splits.train)?;
        let validation = Samples::new(splits.validation)?;
        if train.len() < config.batch_size {
            return Err(TrainError::TooFewSamples {
                samples: train.len(),
                batch_size: config.batch_size,
            });
        }
        if validation.is_empty() {
            return Err(TrainError::NoValidation);
        }
        let input_dim = train.inputs.dim(1)?;
        let model = Autoencoder::init(
            &config.model,
            input_dim,
            config.has_encoder(),
            config.seed,
            DType::F32,
            &Device::Cpu,
        )?;
        let learner = Learner::new(model, &config)?;
        Ok(Self {
            config,
            facts,
            train,
            validation,
            learner,
            engine,
            position: Position::default(),
        })
    }

    /// Takes up the position, parameters and optimiser state of a checkpoint made by the same configuration on the same samples,
    /// wherever these lie now.
    ///
    /// # Errors
    ///
    /// Names the tensor or field that does not fit.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), TrainError> {
        checkpoint.apply(&self.config, &self.facts, &mut self.learner)?;
        self.position = checkpoint.position().clone();
        // The run's files say what it was begun on, whatever the data are called by now.
        self.facts
            .description
            .clone_from(&checkpoint.data().description);
        Ok(())
    }

    /// Takes the weights of another model to start from, such as another run's best. An encoder that the other does not have starts as
    /// ISTA for its dictionary ([`Encoder::unrolled`]), or for a one-hidden decoder at random.
    ///
    /// # Errors
    ///
    /// Names the tensor whose shape the configuration does not make.
    pub fn start_from(&mut self, model: &Autoencoder) -> Result<(), TrainError> {
        let mut start = self.learner.model.clone();
        let mut from = model.clone();
        if from.encoder.is_none() {
            from.encoder = match (&start.encoder, &model.decoder) {
                (Some(encoder), Decoder::Linear { dictionary }) => {
                    let step_size = safe_step(&model.decoder)?.min(f64::from(f32::MAX));
                    let lambda = self.config.inference.lambda;
                    let iterations = encoder.iterations;
                    Some(Encoder::unrolled(
                        dictionary, lambda, step_size, iterations,
                    )?)
                }
                (encoder, _) => encoder.clone(),
            };
        }
        checkpoint::copy_parameters(&mut start, &from, "the run to start from")?;
        self.learner = Learner::new(start, &self.config)?;
        Ok(())
    }

    /// The model as it stands.
    pub fn model(&self) -> &Autoencoder {
        &self.learner.model
    }

    /// Where the run stands.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Batches in an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.train.len() / self.config.batch_size
    }

    /// Batches finished since the run began.
    pub fn batches_done(&self) -> usize {
        self.position.epoch as usize * self.batches_per_epoch() + self.position.batch
    }

    /// Trains to the end, or until `stop` is raised. Writes the checkpoint after every epoch (on an engine's own device every two
    /// seconds), on a stop and at the end, and the best model whenever there is a new one, into `folder`.
    ///
    /// # Errors
    ///
    /// See [`TrainError`]; earlier checkpoints stay.
    pub fn run(
        &mut self,
        folder: &RunFolder,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Ending, TrainError> {
        let mut resident = self.engine.resident(&ResidentRun {
            config: &self.config,
            train: &self.train,
            validation: &self.validation,
            learner: &self.learner,
            peak: f64::from(self.facts.peak),
        })?;
        let mut resident = resident.as_deref_mut();
        let mut saved = Instant::now();
        let mut is_saved = true;
        let ending = loop {
            if self.position.epoch >= self.config.epochs {
                break Ending::Finished;
            }
            if self.config.patience > 0 && self.position.stale_epochs >= self.config.patience {
                break Ending::StoppedEarly;
            }
            let finished = match resident.as_deref_mut() {
                Some(resident) => self.run_resident_epoch(resident, observer, stop)?,
                None => self.run_epoch(observer, stop)?,
            };
            if !finished {
                self.save(folder)?;
                return Ok(Ending::Interrupted);
            }
            let record = self.finish_epoch(folder, resident.as_deref_mut())?;
            // The log before the checkpoint: a run killed between them does the epoch again, and its log is cut to the
            // checkpoint first. The other way round the epoch would be missing from the log. A log that cannot be written does
            // not cost the epoch.
            let logged = observer.epoch(&record);
            // To write files takes longer than an epoch on a GPU.
            is_saved = resident.is_none() || saved.elapsed() >= SAVE_EVERY || logged.is_err();
            if is_saved {
                self.save(folder)?;
                saved = Instant::now();
            }
            logged.map_err(TrainError::Log)?;
        };
        if !is_saved {
            self.save(folder)?;
        }
        Ok(ending)
    }

    /// The rest of the current epoch; `false` if it was stopped.
    fn run_epoch(
        &mut self,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<bool, TrainError> {
        let epoch = self.position.epoch;
        let order = self.order(epoch);
        let batch_size = self.config.batch_size;
        let batches = order.len() / batch_size;
        while self.position.batch < batches {
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let started = Instant::now();
            let first = self.position.batch * batch_size;
            let indices = &order[first..first + batch_size];
            self.train_batch(epoch, indices)?;
            self.position.sums.seconds += started.elapsed().as_secs_f64();
            self.position.batch += 1;
            observer.batch(epoch + 1, self.position.batch, batches);
        }
        Ok(true)
    }

    /// The same on the engine's device, from where the model comes back at the end.
    fn run_resident_epoch(
        &mut self,
        resident: &mut dyn Resident,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<bool, TrainError> {
        let epoch = self.position.epoch;
        let batches = self.batches_per_epoch();
        // Steps taken before the epoch's first batch.
        let before = self.learner.steps() - self.position.batch as u64;
        let decoder_rate = self.config.decoder_learning_rate(epoch);
        let encoder_rate = self.config.optimizer.encoder_learning_rate;
        let updates: Vec<Update> = (1..=batches as u64)
            .map(|step| Update {
                decoder: corrections(before + step, decoder_rate),
                encoder: corrections(before + step, encoder_rate),
            })
            .collect();
        resident.begin_epoch(&self.order(epoch), &updates)?;
        let mut finished = true;
        while self.position.batch < batches {
            if stop.load(Ordering::Relaxed) {
                finished = false;
                break;
            }
            let started = Instant::now();
            let (figures, failure) = resident.steps(self.position.batch..batches)?;
            for figures in &figures {
                self.position
                    .sums
                    .add(figures, self.config.batch_size as f64);
                self.position.batch += 1;
            }
            self.position.sums.seconds += started.elapsed().as_secs_f64();
            if let Some(divergence) = failure {
                return Err(self.diverged(divergence));
            }
            observer.batch(epoch + 1, self.position.batch, batches);
        }
        resident.store(&mut self.learner, before + self.position.batch as u64)?;
        Ok(finished)
    }

    /// What to say of the batch that comes next.
    fn diverged(&self, divergence: Divergence) -> TrainError {
        TrainError::Diverged {
            variant: self.config.model_name(),
            epoch: self.position.epoch + 1,
            batch: self.position.batch + 1,
            divergence,
        }
    }

    /// The order of the samples in an epoch (from 0): a function of seed and epoch alone.
    fn order(&self, epoch: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.train.len() as u32).collect();
        order.shuffle(&mut generator(self.config.seed, Stream::Shuffle { epoch }));
        order
    }

    fn train_batch(&mut self, epoch: u32, indices: &[u32]) -> Result<(), TrainError> {
        let selection = Tensor::new(indices, self.train.inputs.device())?;
        let inputs = self.train.inputs.index_select(&selection, 0)?;
        let outcome = self
            .learner
            .step(&inputs, epoch, &self.config, self.engine)
            .map_err(|error| match error {
                StepError::Diverged(divergence) => self.diverged(divergence),
                StepError::Device(error) => TrainError::Device(error),
            })?;
        let mut used = vec![false; self.config.model.code_dim];
        let (zeros, l1) = evaluate::count_zeros(&outcome.inference.codes, &mut used)?;
        let peak = f64::from(self.facts.peak);
        let samples = indices.iter().map(|&i| i as usize);
        let figures = StepFigures {
            psnr: evaluate::psnr_sum(&outcome.error, &self.train.restore, samples, peak)?,
            zeros,
            code_l1: l1,
            energy: outcome.energy,
            encoder_loss: outcome.encoder_loss,
            mean_steps: outcome.inference.mean_steps(),
            iterations: outcome.inference.iterations as f64,
        };
        self.position.sums.add(&figures, indices.len() as f64);
        self.position
            .sums
            .hold(outcome.inference.step_size, self.config.inference.step_size);
        Ok(())
    }

    fn validate(&self) -> candle_core::Result<Evaluation> {
        let rounded = self
            .config
            .optimizer
            .quantize_aware
            .map(|weights| self.learner.model.quantized(weights))
            .transpose()?;
        evaluate::evaluate(
            rounded.as_ref().unwrap_or(&self.learner.model),
            &self.validation,
            &self.config,
            f64::from(self.facts.peak),
            self.engine,
            CodeSource::Encoder,
            None,
        )
    }

    /// Validates and keeps the best.
    fn finish_epoch(
        &mut self,
        folder: &RunFolder,
        resident: Option<&mut (dyn Resident + '_)>,
    ) -> Result<EpochRecord, TrainError> {
        let started = Instant::now();
        let validation = match resident {
            Some(resident) => resident.evaluate()?,
            None => self.validate()?,
        };
        if !validation.energy.is_finite() {
            return Err(TrainError::Diverged {
                variant: self.config.model_name(),
                epoch: self.position.epoch + 1,
                batch: self.position.batch,
                divergence: guard::validation_not_finite(),
            });
        }
        let position = &mut self.position;
        let best = position
            .best
            .is_none_or(|best| validation.energy < best.energy);
        let sums = std::mem::take(&mut position.sums);
        let epoch = position.epoch;
        position.epoch += 1;
        position.batch = 0;
        position.stale_epochs += 1;
        if best {
            position.best = Some(Best {
                energy: validation.energy,
                epoch: position.epoch,
            });
            position.stale_epochs = 0;
            // The best before the checkpoint: if the second write fails, the epoch is done again and writes the same file.
            Weights::of(&self.learner.model, &self.config, &self.facts, epoch + 1)
                .write(&folder.best())?;
        }
        Ok(EpochRecord {
            epoch: epoch + 1,
            train: sums.figures(self.config.model.code_dim),
            validation,
            decoder_norm: self.learner.model.decoder.mean_column_norm()?,
            decoder_learning_rate: self.config.decoder_learning_rate(epoch),
            held_step_size: sums.held_step_size,
            best,
            seconds: sums.seconds + started.elapsed().as_secs_f64(),
        })
    }

    fn save(&self, folder: &RunFolder) -> Result<(), TrainError> {
        Checkpoint::of(&self.learner, &self.config, &self.facts, &self.position)?
            .write(&folder.checkpoint())?;
        Ok(())
    }
}
