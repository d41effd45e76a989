//! The loop of a run: epochs of batches, validation, the best model, checkpoints.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;

use super::checkpoint::{Checkpoint, CheckpointError, Weights};
use super::config::{Config, ConfigError};
use super::divergence::Divergence;
use super::family::Family;
use super::folder::RunFolder;
use super::learner::{Epoch, Learner, StateError, Tensors};
use super::position::{Best, Ending, EpochRecord, LogError, Observer, Position};
use crate::data::{DataFacts, Samples, Splits};
use crate::rng::{Stream, generator};

/// Longest time between two checkpoints of a run that is faster than files are written.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// Why training failed. What was saved before stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// NaN, infinity or a blown-up reconstruction.
    #[error("{model} diverged in epoch {epoch}, batch {batch}: {divergence}")]
    Diverged {
        /// The model's name, `vdl-nl`.
        model: &'static str,
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
    /// A state that the learner cannot take.
    #[error("{from}: {reason}")]
    State {
        /// Where the state comes from.
        from: &'static str,
        /// What does not fit.
        reason: StateError,
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
pub struct Trainer<'a, F: Family> {
    config: Config<F>,
    facts: DataFacts,
    train: Samples,
    validation: Samples,
    learner: F::Learner<'a>,
    position: Position,
    /// The best model, where it is newer than the folder's.
    unsaved_best: Option<Weights>,
}

impl<'a, F: Family> Trainer<'a, F> {
    /// A run at its beginning.
    ///
    /// # Errors
    ///
    /// Fails if a value of the configuration is out of range, the training set is smaller than a
    /// batch, or there is nothing to validate on.
    pub fn new(
        config: Config<F>,
        splits: Splits,
        backend: &'a F::Backend,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        let facts = DataFacts::of(&splits);
        let train = Samples::new(splits.train)?;
        let validation = Samples::new(splits.validation)?;
        let learner = F::learner(&config, &facts, backend)?;
        let least = match learner.keeps_incomplete_batch() {
            true => 1,
            false => config.batch_size,
        };
        if train.len() < least {
            return Err(TrainError::TooFewSamples {
                samples: train.len(),
                batch_size: config.batch_size,
            });
        }
        if validation.is_empty() {
            return Err(TrainError::NoValidation);
        }
        Ok(Self {
            config,
            facts,
            train,
            validation,
            learner,
            position: Position::default(),
            unsaved_best: None,
        })
    }

    /// Takes up the position and the learner's state of a checkpoint made by the same configuration
    /// on the same samples, wherever these lie now.
    ///
    /// # Errors
    ///
    /// Names the tensor or field that does not fit.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), TrainError> {
        checkpoint.check(&self.config, &self.facts)?;
        self.learner
            .restore(&checkpoint.learner())
            .map_err(|error| CheckpointError::of_state("checkpoint", &error))?;
        self.position = checkpoint.position().clone();
        // The run's files say what it was begun on, whatever the data are called by now.
        self.facts
            .description
            .clone_from(&checkpoint.data().description);
        Ok(())
    }

    /// Takes the parameters of another run to start from, such as its best.
    ///
    /// # Errors
    ///
    /// Names the tensor whose shape the configuration does not make.
    pub fn start_from(&mut self, model: &Tensors) -> Result<(), TrainError> {
        let from = "the run to start from";
        self.learner
            .start_from(model)
            .map_err(|reason| TrainError::State { from, reason })
    }

    /// What learns.
    pub fn learner(&self) -> &F::Learner<'a> {
        &self.learner
    }

    /// Where the run stands.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Batches in an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        match self.learner.keeps_incomplete_batch() {
            true => self.train.len().div_ceil(self.config.batch_size),
            false => self.train.len() / self.config.batch_size,
        }
    }

    /// Batches finished since the run began.
    pub fn batches_done(&self) -> usize {
        self.position.epoch as usize * self.batches_per_epoch() + self.position.batch
    }

    /// Trains to the end, or until `stop` is raised. Writes the checkpoint after every epoch (every
    /// two seconds where epochs are faster than files), on a stop and at the end, into `folder`;
    /// with it the best model, if there is a new one.
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
        self.learner.begin(&self.train, &self.validation)?;
        let mut saved = Instant::now();
        let mut is_saved = true;
        let ending = loop {
            if self.position.epoch >= self.config.epochs {
                break Ending::Finished;
            }
            if self.config.patience > 0 && self.position.stale_epochs >= self.config.patience {
                break Ending::StoppedEarly;
            }
            if !self.run_epoch(observer, stop)? {
                self.save(folder)?;
                return Ok(Ending::Interrupted);
            }
            let record = self.finish_epoch()?;
            // The log before the checkpoint: a run killed between them does the epoch again, and
            // its log is cut to the checkpoint first. The other way round the epoch would be
            // missing from the log. A log that cannot be written does not cost the epoch.
            let logged = observer.epoch(&record);
            let is_due = !self.learner.is_faster_than_files() || saved.elapsed() >= SAVE_EVERY;
            is_saved = is_due || logged.is_err();
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
        let index = self.position.epoch;
        let order = self.order(index);
        let batches = self.batches_per_epoch();
        let epoch = Epoch {
            set: &self.train,
            index,
            order: &order,
            batch_size: self.config.batch_size,
            batches,
        };
        let mut is_finished = true;
        while self.position.batch < batches {
            if stop.load(Ordering::Relaxed) {
                is_finished = false;
                break;
            }
            let started = Instant::now();
            let advance = self.learner.advance(&epoch, self.position.batch)?;
            self.position.batch += advance.steps.len();
            for step in advance.steps {
                self.position.sums.add(step);
            }
            self.position.sums.seconds += started.elapsed().as_secs_f64();
            if let Some(divergence) = advance.divergence {
                return Err(self.diverged(self.position.batch + 1, divergence));
            }
            observer.batch(index + 1, self.position.batch, batches);
        }
        self.learner.settle()?;
        Ok(is_finished)
    }

    /// What to say of a batch (from 1) of the current epoch.
    fn diverged(&self, batch: usize, divergence: Divergence) -> TrainError {
        TrainError::Diverged {
            model: self.config.model_name(),
            epoch: self.position.epoch + 1,
            batch,
            divergence,
        }
    }

    /// The order of the samples in an epoch (from 0): a function of seed and epoch alone.
    fn order(&self, epoch: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.train.len() as u32).collect();
        order.shuffle(&mut generator(self.config.seed, Stream::Shuffle { epoch }));
        order
    }

    /// Validates, and keeps the best until it is saved.
    fn finish_epoch(&mut self) -> Result<EpochRecord, TrainError> {
        let started = Instant::now();
        let validation = self.learner.validate(&self.validation)?;
        let name = F::OBJECTIVE;
        let objective = validation.get(name).unwrap_or(f64::NAN);
        if !objective.is_finite() {
            let divergence = Divergence::new(
                format!("the validation {name}"),
                "a value is not finite",
                self.learner.remedy(),
            );
            return Err(self.diverged(self.position.batch, divergence));
        }
        let position = &mut self.position;
        let best = position.best.is_none_or(|best| objective < best.objective);
        let sums = std::mem::take(&mut position.sums);
        let epoch = position.epoch;
        position.epoch += 1;
        position.batch = 0;
        position.stale_epochs += 1;
        if best {
            position.best = Some(Best {
                objective,
                epoch: position.epoch,
            });
            position.stale_epochs = 0;
            let model = self.learner.model();
            let best = Weights::new(model, &self.config, &self.facts, epoch + 1);
            self.unsaved_best = Some(best);
        }
        Ok(EpochRecord {
            epoch: epoch + 1,
            train: sums.figures(),
            validation,
            learner: self.learner.figures(epoch)?,
            best,
            seconds: sums.seconds + started.elapsed().as_secs_f64(),
        })
    }

    /// Writes what is new. The best model comes before the checkpoint: a run that is killed between
    /// them does the epochs since the last checkpoint again, and writes the same best model.
    fn save(&mut self, folder: &RunFolder) -> Result<(), TrainError> {
        if let Some(best) = &self.unsaved_best {
            best.write(&folder.best())?;
            self.unsaved_best = None;
        }
        let state = self.learner.state()?;
        Checkpoint::new(state, &self.config, &self.facts, &self.position)
            .write(&folder.checkpoint())?;
        Ok(())
    }
}
