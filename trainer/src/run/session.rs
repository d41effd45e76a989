//! A run from configuration to files: what `sparsecode train` and every run of a sweep do.

use std::sync::atomic::AtomicBool;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::config::Config;
use super::family::Family;
use super::folder::RunFolder;
use super::learner::Tensors;
use super::position::{Best, Ending, EpochRecord, LogError, Observer};
use super::train::{TrainError, Trainer};
use crate::data::Splits;
use crate::report::metrics::MetricsWriter;
use crate::report::tensorboard::EventWriter;
use crate::storage::write_atomic;

/// What a session of training came to.
#[derive(Clone, Debug)]
pub struct Trained {
    /// How it ended.
    pub ending: Ending,
    /// The best epoch so far; `None` before the first ended.
    pub best: Option<Best>,
    /// Epochs finished, those of earlier sessions included.
    pub epochs: u32,
    /// The figures of the last epoch of this session; `None` if none ended in it.
    pub last: Option<EpochRecord>,
}

/// A run to be trained into its folder, and logged there: `config.toml`, checkpoint, best model,
/// `metrics.jsonl`, TensorBoard events.
pub struct Session<'a, F: Family> {
    /// Where its files are.
    pub folder: &'a RunFolder,
    /// What it is.
    pub config: &'a Config<F>,
    /// What its learner computes with.
    pub backend: &'a F::Backend,
    /// Go on from the folder's checkpoint; otherwise start anew, over what the folder holds.
    pub resume: bool,
    /// Parameters to start from instead of random ones, unless it resumes.
    pub start: Option<&'a Tensors>,
}

impl<F: Family> Session<'_, F> {
    /// Trains to the end, or until `stop` is raised.
    ///
    /// # Errors
    ///
    /// See [`TrainError`]; what was saved before stays.
    pub fn run(
        &self,
        splits: Splits,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Trained, TrainError> {
        let (folder, config) = (self.folder, self.config);
        let mut trainer = Trainer::new(config.clone(), splits, self.backend)?;
        if self.resume {
            let mut checkpoint = Checkpoint::read::<F>(&folder.checkpoint())?;
            if let Ok(own) = Config::<F>::read(&folder.config()) {
                checkpoint.forget_place(&own);
            }
            trainer.restore(&checkpoint)?;
        } else if let Some(model) = self.start {
            trainer.start_from(model)?;
        }
        write_atomic(folder.config(), config.to_toml().as_bytes())
            .map_err(CheckpointError::from)?;
        let epoch = trainer.position().epoch();
        let mut logged = Logged {
            log: Log::open(folder, self.resume.then_some(epoch)).map_err(TrainError::Log)?,
            observer,
            last: None,
        };
        let all = config.epochs as usize * trainer.batches_per_epoch();
        logged.observer.begin(epoch, trainer.batches_done(), all);
        let ending = trainer.run(folder, &mut logged, stop)?;
        Ok(Trained {
            ending,
            best: trainer.position().best(),
            epochs: trainer.position().epoch(),
            last: logged.last,
        })
    }
}

/// The run's own log, and whoever else watches.
struct Logged<'a> {
    log: Log,
    observer: &'a mut dyn Observer,
    last: Option<EpochRecord>,
}

impl Observer for Logged<'_> {
    fn batch(&mut self, epoch: u32, done: usize, all: usize) {
        self.observer.batch(epoch, done, all);
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<(), LogError> {
        self.log.write(record)?;
        self.last = Some(record.clone());
        self.observer.epoch(record)
    }
}

struct Log {
    metrics: MetricsWriter,
    events: EventWriter,
}

impl Log {
    /// A new log, or that of a run that has so many epochs behind it.
    fn open(folder: &RunFolder, resumed_after: Option<u32>) -> Result<Self, LogError> {
        Ok(match resumed_after.map(u64::from) {
            Some(epoch) => Self {
                metrics: MetricsWriter::resume(folder.metrics(), epoch)?,
                events: EventWriter::resume(folder.path(), epoch + 1)?,
            },
            None => Self {
                metrics: MetricsWriter::create(folder.metrics())?,
                events: EventWriter::create(folder.path())?,
            },
        })
    }

    fn write(&mut self, record: &EpochRecord) -> Result<(), LogError> {
        self.metrics.write(&serde_json::to_value(record)?)?;
        let part =
            |part: &'static str| move |(name, value): (&str, f64)| (format!("{part}{name}"), value);
        let values: Vec<(String, f32)> = (record.train.iter().map(part("train/")))
            .chain(record.validation.iter().map(part("validation/")))
            .chain(record.learner.iter().map(part("")))
            .map(|(tag, value)| (tag, value as f32))
            .collect();
        let values: Vec<(&str, f32)> = values.iter().map(|(tag, v)| (tag.as_str(), *v)).collect();
        self.events.scalars(u64::from(record.epoch), &values)?;
        Ok(())
    }
}
