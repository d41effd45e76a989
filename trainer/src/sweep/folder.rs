//! What a sweep has done, as its folder holds it: `OUT/ID/` for each run.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Entry, SweepError};
use crate::report::metrics;
use crate::run::{Family, Figures, RunFolder};
use crate::storage::{StorageError, create_parent, remove_leftovers, write_atomic};

const VERSION: u32 = 1;

/// How long to try to lock at least: someone who only looks holds a lock for no longer than a
/// moment.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// The folder of a sweep.
#[derive(Clone, Debug)]
pub struct SweepFolder(PathBuf);

impl SweepFolder {
    /// The sweep in this folder, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The folder of a run.
    pub fn run<'a, F: Family>(&self, entry: &'a Entry<F>) -> SweptRun<'a, F> {
        SweptRun {
            entry,
            files: RunFolder::new(self.0.join(&entry.id)),
        }
    }
}

/// A run of a plan and its folder.
#[derive(Clone, Debug)]
pub struct SweptRun<'a, F: Family> {
    /// What is to be done.
    pub entry: &'a Entry<F>,
    /// Where it is done.
    pub files: RunFolder,
}

/// `result.json`: what a finished run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Version of this file's form.
    pub version: u32,
    /// The run's id.
    pub id: String,
    /// The commit of the program that finished it.
    pub commit: String,
    /// Epochs trained; fewer than asked for if it was stopped early.
    pub epochs: u32,
    /// The epoch (from 1) of the best model, which is the one measured.
    pub best_epoch: u32,
    /// The best model on the validation set.
    pub validation: Figures,
    /// The best model on the test set.
    pub test: Figures,
    /// The same with noise, a level each.
    pub denoising: Vec<Denoising>,
    /// Wall time of all epochs.
    pub seconds: f64,
}

/// Figures on the test set with noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Denoising {
    /// σ, the deviation of the noise, in preprocessed units.
    pub noise: f64,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
}

impl Outcome {
    pub(super) const VERSION: u32 = VERSION;

    /// Whether this answers an entry as it stands: other noise levels are measured anew.
    fn answers<F: Family>(&self, entry: &Entry<F>) -> bool {
        let levels = self.denoising.iter().map(|at| at.noise);
        self.version == VERSION && self.id == entry.id && levels.eq(entry.noise.iter().copied())
    }
}

/// `failed.json`: why a run's last attempt failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The run's id.
    pub id: String,
    /// What was wrong, and the remedy.
    pub message: String,
    /// From 1.
    pub attempt: u32,
    /// When, in seconds since 1970.
    pub unix_time: u64,
    /// Whether the run itself is at fault, and would fail again: it diverged, or its settings do
    /// not fit its data. Otherwise (a disk that was full, data that were missing, a process that
    /// was killed) the next runner tries again by itself.
    pub repeats: bool,
}

/// How a run stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Trained and measured.
    Finished(Box<Outcome>),
    /// The last attempt failed.
    Failed(Failure),
    /// A process works on it.
    Running,
    /// Begun, to be resumed.
    Interrupted {
        /// Epochs done.
        epochs: u32,
    },
    /// Nothing is there.
    Missing,
}

/// The right to work on a run. Released when dropped, and by the system however the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl<F: Family> SweptRun<'_, F> {
    fn result_path(&self) -> PathBuf {
        self.files.path().join("result.json")
    }

    fn failure_path(&self) -> PathBuf {
        self.files.path().join("failed.json")
    }

    fn lock_path(&self) -> PathBuf {
        self.files.path().join("lock")
    }

    /// The result, if the run is finished. A result that cannot be read, or was made for other
    /// noise levels, is none.
    pub fn outcome(&self) -> Option<Outcome> {
        let outcome: Outcome = read_json(&self.result_path())?;
        outcome.answers(self.entry).then_some(outcome)
    }

    /// The failure of the last attempt.
    pub fn failure(&self) -> Option<Failure> {
        read_json(&self.failure_path())
    }

    /// How the run stands. A folder that cannot be used, a file in its place or a file system
    /// without locks, is a failure of the run that does not repeat.
    pub fn status(&self) -> Status {
        self.look().unwrap_or_else(|error| {
            Status::Failed(Failure {
                id: self.entry.id.clone(),
                message: error.to_string(),
                attempt: 0,
                unix_time: now(),
                repeats: false,
            })
        })
    }

    fn look(&self) -> Result<Status, SweepError> {
        if let Some(outcome) = self.outcome() {
            return Ok(Status::Finished(Box::new(outcome)));
        }
        let folder = self.files.path();
        if folder.exists() && !folder.is_dir() {
            return Err(SweepError::NotFolder(folder.to_path_buf()));
        }
        if self.is_held()? {
            return Ok(Status::Running);
        }
        // It may have been finished, and let go, since it was looked at.
        if let Some(outcome) = self.outcome() {
            return Ok(Status::Finished(Box::new(outcome)));
        }
        if let Some(failure) = self.failure() {
            return Ok(Status::Failed(failure));
        }
        if self.files.checkpoint().exists() || self.files.config().exists() {
            let epochs = self.epochs();
            return Ok(Status::Interrupted { epochs });
        }
        Ok(Status::Missing)
    }

    /// Epochs in the log.
    pub fn epochs(&self) -> u32 {
        let records = metrics::read(self.files.metrics()).unwrap_or_default();
        u32::try_from(records.len()).unwrap_or(u32::MAX)
    }

    /// Wall time of the epochs in the log.
    pub(super) fn seconds(&self) -> f64 {
        let records = metrics::read(self.files.metrics()).unwrap_or_default();
        records
            .iter()
            .filter_map(|record| record["seconds"].as_f64())
            .sum()
    }

    fn is_held(&self) -> Result<bool, SweepError> {
        let path = self.lock_path();
        let Ok(file) = File::open(&path) else {
            return Ok(false);
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(reason)) => Err(SweepError::Lock { path, reason }),
        }
    }

    /// Takes the run, or `None` if another process has it, and has it still after `patience` or
    /// when `stop` is raised; `waiting` is called once when it has to be waited for.
    ///
    /// # Errors
    ///
    /// [`SweepError::Storage`] if the folder cannot be written; [`SweepError::Lock`] if the file
    /// system has no locks.
    pub fn lock_within(
        &self,
        patience: Duration,
        stop: &AtomicBool,
        waiting: &dyn Fn(),
    ) -> Result<Option<Lock>, SweepError> {
        let path = self.lock_path();
        create_parent(&path)?;
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|source| StorageError::new("open", &path, source))?;
        let started = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Lock { _file: file })),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(reason)) => return Err(SweepError::Lock { path, reason }),
            }
            let waited = started.elapsed();
            if waited > patience || stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if waited > PATIENCE && !told {
                told = true;
                waiting();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Takes the run, or `None` if another process has it for more than a moment.
    ///
    /// # Errors
    ///
    /// As [`SweptRun::lock_within`].
    pub fn lock(&self) -> Result<Option<Lock>, SweepError> {
        self.lock_within(PATIENCE, &AtomicBool::new(false), &|| {})
    }

    /// Removes what a killed process left half written; whoever calls holds the lock.
    pub(super) fn clean(&self, _lock: &Lock) {
        let (result, failure) = (self.result_path(), self.failure_path());
        let files = &self.files;
        let written = [
            files.config(),
            files.checkpoint(),
            files.best(),
            files.metrics(),
            result,
            failure,
        ];
        let names: Vec<&str> = written
            .iter()
            .filter_map(|path| path.file_name()?.to_str())
            .collect();
        remove_leftovers(files.path(), &names);
    }

    /// Records the result; whoever calls holds the lock.
    pub(super) fn finish(&self, outcome: &Outcome, _lock: &Lock) -> Result<(), SweepError> {
        write_json(&self.result_path(), outcome)?;
        match fs::remove_file(self.failure_path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(StorageError::new("remove", &self.failure_path(), error).into())
            }
            _ => Ok(()),
        }
    }

    /// Records a failed attempt; whoever calls holds the lock.
    pub(super) fn fail(
        &self,
        message: String,
        repeats: bool,
        _lock: &Lock,
    ) -> Result<Failure, SweepError> {
        let failure = Failure {
            id: self.entry.id.clone(),
            message,
            attempt: self.failure().map_or(0, |failure| failure.attempt) + 1,
            unix_time: now(),
            repeats,
        };
        write_json(&self.failure_path(), &failure)?;
        Ok(failure)
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), SweepError> {
    let mut text = serde_json::to_string_pretty(value).expect("figures and texts are JSON");
    text.push('\n');
    Ok(write_atomic(path, text.as_bytes())?)
}
