//! A run from configuration to files: what `sparsecode train` and every run of a sweep do.

use std::sync::atomic::AtomicBool;

use super::{
    Best, Checkpoint, CheckpointError, Ending, EpochRecord, LogError, Observer, RunFolder,
    TrainError, Trainer,
};
use crate::config::Config;
use crate::data::Splits;
use crate::inference::Engine;
use crate::model::Autoencoder;
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

/// A run to be trained into its folder, and logged there: `config.toml`, checkpoint, best model, `metrics.jsonl`, TensorBoard
/// events.
pub struct Session<'a> {
    /// Where its files are.
    pub folder: &'a RunFolder,
    /// What it is.
    pub config: &'a Config,
    /// What finds codes.
    pub engine: &'a dyn Engine,
    /// Go on from the folder's checkpoint; otherwise start anew, over what the folder holds.
    pub resume: bool,
    /// Weights to start from instead of random ones, unless it resumes.
    pub start: Option<&'a Autoencoder>,
}

impl Session<'_> {
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
        let mut trainer = Trainer::new(config.clone(), splits, self.engine)?;
        if self.resume {
            let mut checkpoint = Checkpoint::read(&folder.checkpoint())?;
            if let Ok(own) = Config::read(&folder.config()) {
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
        let (train, validation) = (&record.train, &record.validation);
        let values = [
            ("train/psnr", train.psnr),
            ("train/sparsity", train.sparsity),
            ("train/code_l1", train.code_l1),
            ("train/energy", train.energy),
            ("train/encoder_loss", train.encoder_loss),
            ("train/fista_steps", train.fista_steps),
            ("validation/psnr", validation.psnr),
            ("validation/sparsity", validation.sparsity),
            ("validation/energy", validation.energy),
            ("validation/dead_atoms", validation.dead_atoms as f64),
            ("decoder_norm", record.decoder_norm),
        ];
        self.events.scalars(
            u64::from(record.epoch),
            &values.map(|(tag, value)| (tag, value as f32)),
        )?;
        Ok(())
    }
}
