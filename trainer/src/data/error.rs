//! What can go wrong with data, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::storage::StorageError;

/// An error of loading, generating, downloading or writing data. Every message names the file or
/// the field and, where one is known, the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder that is needed does not exist or was not named.
    #[error("{}: {reason}; {remedy}", .path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What is not there.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// The operating system refused to read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file whose content is not what its format or its use demands.
    #[error("{}: {reason}; {remedy}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where in the file.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// A value of the `[data]` table that cannot be used.
    #[error("data.{field}: {reason}; {remedy}")]
    Config {
        /// Name of the field in the `[data]` table.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// A place of data that cannot be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A download failed from every source.
    #[error("cannot download {file}: {reason}; {remedy}")]
    Download {
        /// Name of the file.
        file: String,
        /// Each URL tried, with its reason.
        reason: String,
        /// What to do.
        remedy: String,
    },
}

impl DataError {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Read { path, source }
    }

    pub(crate) fn missing(
        path: &Path,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Missing {
            path: path.to_path_buf(),
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn malformed(
        path: &Path,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Malformed {
            path: path.to_path_buf(),
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn config(
        field: &'static str,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Config {
            field,
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }
}

/// Why a place cannot be used. Every message names the place and what would do.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The place that the command line or the environment names does not exist.
    #[error("{said} {}: there is no such file or folder", .path.display())]
    Missing {
        /// `--data` or `SPARSECODE_DATA`.
        said: &'static str,
        /// The place.
        path: PathBuf,
    },
    /// The place in the configuration does not exist (any more).
    #[error("{field} is {}, which does not exist; if the data have moved, name their place with --data", .path.display())]
    Gone {
        /// `data.path` or `data.folder`.
        field: &'static str,
        /// The place, absolute.
        path: PathBuf,
    },
    /// A file where a folder is needed, or a file that the source does not read.
    #[error("{said} {}: {problem}; {remedy}", .path.display())]
    Unfit {
        /// `--data`, `SPARSECODE_DATA`, `data.path` or `data.folder`.
        said: &'static str,
        /// The place.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What would do.
        remedy: String,
    },
    /// A place for data that are generated.
    #[error(
        "--data {}: data.source={generated} generates its samples and reads no files; leave --data out, or add --set data.source={instead}",
        .path.display()
    )]
    Generated {
        /// The place.
        path: PathBuf,
        /// The source.
        generated: &'static str,
        /// The source that reads such a place.
        instead: &'static str,
    },
    /// A path that `config.toml` cannot hold.
    #[error("{}: a run's config.toml holds paths in UTF-8; rename the file or folder", .0.display())]
    NotText(PathBuf),
    /// The working directory is not known.
    #[error("{}: {reason}; name it with an absolute path", .path.display())]
    NoWorkingFolder {
        /// The place, relative.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
}

impl PlaceError {
    /// Whether the command line is at fault, and not what happened to files.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Unfit { .. } | Self::Generated { .. } | Self::NotText(_)
        )
    }
}
