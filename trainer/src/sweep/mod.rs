//! Sweeps: many runs from one file, worked through on a machine or a cluster, and one table at the
//! end.
//!
//! A [`Grid`] (a TOML file) says which settings are combined; [`Plan`] is what it resolves to, one
//! whole configuration a line, named by its hash. [`worker::Worker`] does one of them into
//! `OUT/ID/`, a run's folder as any other with a `result.json` when all is done; [`supervise`]
//! keeps a machine busy with [`workers`]; [`slurm`] writes the script that lets Slurm do it;
//! [`collect`] makes the table.
//!
//! Nothing else is kept: what a sweep has done is what its folder holds. Whoever works on a run
//! holds the lock on its folder, which the system releases however the process ends, so any number
//! of runners, here and on a cluster, can work on one sweep, and any of them can be killed at any
//! time.

pub mod collect;
pub mod folder;
pub mod grid;
pub mod plan;
pub mod slurm;
pub mod supervise;
pub mod table;
pub mod worker;
pub mod workers;

pub use folder::{Failure, Lock, Outcome, Status, SweepFolder, SweptRun};
pub use grid::Grid;
pub use plan::{Entry, Plan};

use std::path::{Path, PathBuf};

use crate::run::ConfigError;
use crate::storage::StorageError;

/// Why a grid or a plan cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A grid file that says something that cannot be meant.
    #[error("{file}: {place}: {problem}; {remedy}")]
    Grid {
        /// The file.
        file: String,
        /// The key or block.
        place: String,
        /// What is wrong.
        problem: String,
        /// What would be right.
        remedy: String,
    },
    /// A combination of a grid that is no configuration.
    #[error("{file}: with {settings}: {reason}")]
    Combination {
        /// The file.
        file: String,
        /// The settings that were combined.
        settings: String,
        /// What the configuration says.
        reason: ConfigError,
    },
    /// A plan with a line that is not as it was planned.
    #[error("{file}:{line}: {problem}; {remedy}")]
    Line {
        /// The file.
        file: String,
        /// From 1; in a JSON array, the item.
        line: usize,
        /// What is wrong.
        problem: String,
        /// What would be right.
        remedy: &'static str,
    },
    /// A plan without runs.
    #[error("{0}: no runs; write a plan with `sparsecode sweep plan GRID.toml --output {0}`")]
    Empty(String),
    /// An index beyond the plan.
    #[error("--index {index}: the plan has {runs} runs, 0 to {}", runs.saturating_sub(1))]
    Index {
        /// What was asked for.
        index: usize,
        /// Runs in the plan.
        runs: usize,
    },
    /// A file that cannot be read.
    #[error("cannot read {}: {reason}; check the path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: std::io::Error,
    },
    /// A file or folder that cannot be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file where a run's folder should be.
    #[error("{} is a file, but should be the run's folder: move it away, or choose another name for the sweep's folder", .0.display())]
    NotFolder(PathBuf),
    /// A failure of a run that could not be recorded.
    #[error("{message} (and that is not on record: {reason})")]
    NotRecorded {
        /// Why the run failed.
        message: String,
        /// Why it could not be recorded.
        reason: Box<SweepError>,
    },
    /// A folder that cannot be locked.
    #[error(
        "cannot lock {}: {reason}; the file system of a sweep's folder must have file locks (on NFS, a lock service)",
        path.display()
    )]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        reason: std::io::Error,
    },
}

/// The text of a grid or a plan.
fn read_text(path: &Path) -> Result<String, SweepError> {
    std::fs::read_to_string(path).map_err(|reason| SweepError::Read {
        path: path.to_path_buf(),
        reason,
    })
}

impl SweepError {
    /// Whether the command line, or a file written for it by hand, is at fault.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Grid { .. } | Self::Combination { .. } | Self::Index { .. }
        )
    }
}
