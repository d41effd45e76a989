//! Where data lie: what the command line, the configuration and the environment say, as one place in the configuration.
//!
//! `--data` goes over `data.path` and `data.folder`, and these go over `SPARSECODE_DATA`. [`DataConfig::placed`] writes the place
//! that counts into the table, absolute, so that a run's `config.toml` says where its data were from any working directory.
//! A place is no part of what a run computes: [`DataConfig::without_place`] is the table that runs are compared by.

use std::path::{Path, PathBuf};

use super::{
    DataConfig, DeadLeavesConfig, GeneratedSignalConfig, ImagesConfig, NpyConfig, SignalConfig,
    has_extension,
};

/// Where a person says that the data lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// `--data`: used whatever the configuration says, or refused.
    pub flag: Option<PathBuf>,
    /// `SPARSECODE_DATA`: used by sources that read files, where neither flag nor configuration names a place.
    pub environment: Option<PathBuf>,
}

impl Named {
    /// What `--data` says.
    pub fn flag(path: impl Into<PathBuf>) -> Self {
        Self {
            flag: Some(path.into()),
            environment: None,
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

/// A name of a place, as messages have it, and the place.
type Said<'a> = (&'static str, &'a Path);

impl DataConfig {
    /// Whether the samples are generated, so that there is no place to read them from.
    pub fn is_generated(&self) -> bool {
        match self {
            Self::DeadLeaves(_) | Self::Vibration(_) | Self::Ecg(_) => true,
            Self::Mnist(_) | Self::Images(_) | Self::Signal(_) | Self::Npy(_) => false,
        }
    }

    /// The place that the table names: `data.path` or `data.folder`.
    pub fn place(&self) -> Option<&Path> {
        match self {
            Self::Mnist(config) => config.folder.as_deref(),
            Self::Images(config) => config.folder.as_deref(),
            Self::Signal(config) => config.path.as_deref(),
            Self::Npy(config) => config.path.as_deref(),
            Self::DeadLeaves(_) | Self::Vibration(_) | Self::Ecg(_) => None,
        }
    }

    /// The same table without `data.path` and `data.folder`: what decides the samples, if the files are the same.
    #[must_use]
    pub fn without_place(&self) -> Self {
        let mut table = self.clone();
        table.set_place(None);
        table
    }

    fn set_place(&mut self, place: Option<PathBuf>) {
        match self {
            Self::Mnist(config) => config.folder = place,
            Self::Images(config) => config.folder = place,
            Self::Signal(config) => config.path = place,
            Self::Npy(config) => config.path = place,
            Self::DeadLeaves(_) | Self::Vibration(_) | Self::Ecg(_) => {}
        }
    }

    /// The table that learns from a person's own data what this one, of a generated source, learns from generated data.
    ///
    /// Signals become windows of the recording in `place`, of the same length and hop. Dead leaves become patches, as large, of the
    /// pictures in a folder, or the rows of a `.npy`. At most as many training, validation and test samples are taken as the table
    /// asks for, where it asks for other numbers than by default. Tables that read files already come back as they are.
    ///
    /// ```
    /// use sparsecode_trainer::data::{DataConfig, GeneratedSignalConfig};
    ///
    /// let preset = DataConfig::Ecg(GeneratedSignalConfig { window: 128, ..Default::default() });
    /// let DataConfig::Signal(own) = preset.on_own_data("holter.wav".as_ref())? else { unreachable!() };
    /// assert_eq!((own.window, own.hop), (128, 16));
    /// # Ok::<(), sparsecode_trainer::data::PlaceError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PlaceError::Unfit`] if dead leaves cannot be replaced by what `place` holds.
    pub fn on_own_data(&self, place: &Path) -> Result<Self, PlaceError> {
        match self {
            Self::Vibration(config) | Self::Ecg(config) => Ok(Self::Signal(own_signal(config))),
            Self::DeadLeaves(config) => own_pictures(config, place),
            other => Ok(other.clone()),
        }
    }

    /// The table with the place that counts, absolute: `named.flag`, else the table's own, else `named.environment`.
    ///
    /// A relative place is looked for in the working directory, then in the folder of the environment. If the flag names a folder that
    /// holds the table's own place, that place is read, and not all of the folder.
    ///
    /// # Errors
    ///
    /// [`PlaceError`] if the place does not exist, is a file where a folder is read, or the samples are generated and the flag names a
    /// place nevertheless. A table that reads files may have no place: loading it says what to name.
    pub fn placed(&self, named: &Named) -> Result<Self, PlaceError> {
        if self.is_generated() {
            return match &named.flag {
                Some(path) => Err(PlaceError::Generated {
                    path: path.clone(),
                    generated: self.source(),
                    instead: match self {
                        Self::DeadLeaves(_) => "images",
                        _ => "signal",
                    },
                }),
                None => Ok(self.clone()),
            };
        }
        let (said, place) = match (&named.flag, self.place(), &named.environment) {
            (Some(flag), _, _) => {
                exists(("--data", flag))?;
                let place = self.beside(flag).unwrap_or_else(|| self.inside(flag));
                ("--data", place)
            }
            (None, Some(own), _) if own.exists() => (self.field(), own.to_path_buf()),
            (None, Some(own), environment) => {
                let environment = environment.as_deref().filter(|_| own.is_relative());
                let place = environment.and_then(|folder| self.beside(folder));
                let place = place.ok_or_else(|| match absolute(own) {
                    Ok(path) => PlaceError::Gone {
                        field: self.field(),
                        path,
                    },
                    Err(error) => error,
                })?;
                ("SPARSECODE_DATA", place)
            }
            (None, None, Some(environment)) => {
                let said = "SPARSECODE_DATA";
                exists((said, environment))?;
                (said, self.inside(environment))
            }
            (None, None, None) => return Ok(self.clone()),
        };
        self.check((said, &place))?;
        let mut table = self.clone();
        table.set_place(Some(absolute(&place)?));
        Ok(table)
    }

    /// As [`placed`](Self::placed), for a run of a plan, whose configuration is fixed: generated data stay so, and a place that the plan
    /// names must be found in the folder that the flag names.
    ///
    /// # Errors
    ///
    /// As [`placed`](Self::placed); [`PlaceError::Unfit`] if the flag would replace what the plan names.
    pub fn placed_as_planned(&self, named: &Named) -> Result<Self, PlaceError> {
        if self.is_generated() {
            return Ok(self.clone());
        }
        if let (Some(flag), Some(own)) = (&named.flag, self.place()) {
            exists(("--data", flag))?;
            if self.beside(flag).is_none() {
                return Err(PlaceError::Unfit {
                    said: "--data",
                    path: flag.clone(),
                    problem: format!(
                        "the plan names {} = {}, which is not in there",
                        self.field(),
                        own.display()
                    ),
                    remedy: "leave --data out, or plan again without it".to_owned(),
                });
            }
        }
        self.placed(named)
    }

    /// The key of the place.
    fn field(&self) -> &'static str {
        match self {
            Self::Mnist(_) | Self::Images(_) => "data.folder",
            _ => "data.path",
        }
    }

    /// The table's own place in another folder, if it is there. Of an absolute place the last name counts: its folder has moved.
    fn beside(&self, folder: &Path) -> Option<PathBuf> {
        let own = self.place()?;
        let name = match own.is_relative() {
            true => own,
            false => Path::new(own.file_name()?),
        };
        Some(folder.join(name)).filter(|path| path.exists())
    }

    /// The place in a folder that a person named, where the source has one of its own there.
    fn inside(&self, named: &Path) -> PathBuf {
        let natural = named.join("natural");
        match self {
            Self::Images(_) if natural.is_dir() => natural,
            _ => named.to_path_buf(),
        }
    }

    /// Refuses a file where the source reads a folder.
    fn check(&self, (said, path): Said<'_>) -> Result<(), PlaceError> {
        if !path.is_file() {
            return Ok(());
        }
        let folder = folder_of(path);
        let rows = || "to learn from its rows add --set data.source=npy".to_owned();
        let (problem, remedy) = match self {
            Self::Mnist(_) => (
                "is a file, but MNIST is read from the folder with its four files",
                match has_extension(path, &["npy"]) {
                    true => rows(),
                    false => format!("name that folder: --data {}", folder.display()),
                },
            ),
            Self::Images(_) => (
                "is a file, but pictures are read from a folder",
                match has_extension(path, &["npy"]) {
                    true => rows(),
                    false => format!("name the folder: --data {}", folder.display()),
                },
            ),
            _ => return Ok(()),
        };
        Err(PlaceError::Unfit {
            said,
            path: path.to_path_buf(),
            problem: problem.to_owned(),
            remedy,
        })
    }
}

fn own_signal(config: &GeneratedSignalConfig) -> SignalConfig {
    let default = GeneratedSignalConfig::default();
    SignalConfig {
        window: config.window,
        hop: config.hop,
        train: limit(config.train, default.train),
        validation: limit(config.validation, default.validation),
        test: limit(config.test, default.test),
        ..SignalConfig::default()
    }
}

fn own_pictures(config: &DeadLeavesConfig, place: &Path) -> Result<DataConfig, PlaceError> {
    let unfit = |problem: String, remedy: &str| {
        Err(PlaceError::Unfit {
            said: "--data",
            path: place.to_path_buf(),
            problem,
            remedy: remedy.to_owned(),
        })
    };
    exists(("--data", place))?;
    if place.is_dir() {
        if config.height != config.width {
            return unfit(
                format!(
                    "patches of a folder of pictures are square, these are {}x{}",
                    config.height, config.width
                ),
                "set data.height and data.width alike, or give the patches as an array (.npy)",
            );
        }
        return Ok(DataConfig::Images(ImagesConfig {
            patch: config.height,
            train: config.train,
            validation: config.validation,
            test: config.test,
            ..ImagesConfig::default()
        }));
    }
    if has_extension(place, &["npy"]) {
        let default = DeadLeavesConfig::default();
        return Ok(DataConfig::Npy(NpyConfig {
            train: limit(config.train, default.train),
            validation: limit(config.validation, default.validation),
            test: limit(config.test, default.test),
            ..NpyConfig::default()
        }));
    }
    unfit(
        "this preset learns from pictures: a folder of them, or an array (.npy) of patches"
            .to_owned(),
        "for a recording take a preset of signals, such as ecg/vdl or vibration/vdl; for one picture name its folder",
    )
}

/// A count that somebody asked for.
fn limit(count: usize, default: usize) -> Option<usize> {
    (count != default).then_some(count)
}

fn exists((said, path): Said<'_>) -> Result<(), PlaceError> {
    if path.exists() {
        return Ok(());
    }
    Err(PlaceError::Missing {
        said,
        path: path.to_path_buf(),
    })
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The same place from any working directory, fit for `config.toml`.
fn absolute(path: &Path) -> Result<PathBuf, PlaceError> {
    let absolute = std::path::absolute(path).map_err(|reason| PlaceError::NoWorkingFolder {
        path: path.to_path_buf(),
        reason,
    })?;
    match absolute.to_str() {
        Some(_) => Ok(absolute),
        None => Err(PlaceError::NotText(absolute)),
    }
}
