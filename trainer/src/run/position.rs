//! Where a run stands, and what it reports.

use serde::{Deserialize, Serialize};

use super::figures::{EpochSums, Figures};

/// The lowest objective on the validation set and the epoch (from 1) that reached it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The objective on the validation set, such as the energy of a batch.
    #[serde(alias = "energy")]
    pub objective: f64,
    /// Epoch, from 1.
    pub epoch: u32,
}

/// Where a run stands: with the configuration and the learner's state, all that decides how it goes
/// on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Epochs finished.
    pub(super) epoch: u32,
    /// Batches of the current epoch finished.
    pub(super) batch: usize,
    pub(super) sums: EpochSums,
    pub(super) best: Option<Best>,
    pub(super) stale_epochs: u32,
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

/// The figures of one epoch, as they stand in `metrics.jsonl`.
#[derive(Clone, Debug, Serialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: u32,
    /// Over the epoch's batches, taken while the parameters moved.
    pub train: Figures,
    /// The validation set after the epoch.
    pub validation: Figures,
    /// Of the learner itself.
    #[serde(flatten)]
    pub learner: Figures,
    /// Whether this is the lowest objective on the validation set so far.
    pub best: bool,
    /// Wall time of the epoch, validation included.
    pub seconds: f64,
}

/// What an observer could not log.
pub type LogError = Box<dyn std::error::Error + Send + Sync>;

/// Told how training goes: a progress bar, a log, a dashboard.
pub trait Observer {
    /// Before the first batch: epochs and batches that a resumed run has behind it, and batches of
    /// the whole run.
    fn begin(&mut self, _epochs_done: u32, _done: usize, _all: usize) {}
    /// After batches: batches done and in all, of this epoch (from 1).
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
    /// The objective on the validation set stopped improving.
    StoppedEarly,
    /// The stop flag was raised; the checkpoint holds the position.
    Interrupted,
}
