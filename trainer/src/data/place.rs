//! Where data lie: what the command line, the configuration and the environment say, as one place
//! in the configuration.
//!
//! `--data` goes over `data.path` and `data.folder`, and these go over `SPARSECODE_DATA`.
//! [`DataConfig::placed`] writes the place that counts into the table, absolute, so that a run's
//! `config.toml` says where its data were from any working directory. A place is no part of what a
//! run computes: [`DataConfig::without_place`] is the table that runs are compared by.

use std::path::{Path, PathBuf};

use super::error::PlaceError;
use super::paths::{Paths, has_extension};
use super::{
    DataConfig, DeadLeavesConfig, DictionaryConfig, GeneratedSignalConfig, ImagesConfig, NpyConfig,
    SafetensorsConfig, SignalConfig,
};

/// Where a person says that the data lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// `--data`: used whatever the configuration says, or refused.
    pub flag: Option<PathBuf>,
    /// `SPARSECODE_DATA`: used by sources that read files, where neither flag nor configuration
    /// names a place.
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

impl DataConfig {
    /// Whether the samples are generated, so that there is no place to read them from.
    pub fn is_generated(&self) -> bool {
        match self {
            Self::DeadLeaves(_) | Self::Vibration(_) | Self::Ecg(_) | Self::Dictionary(_) => true,
            Self::Mnist(_)
            | Self::Images(_)
            | Self::Signal(_)
            | Self::Npy(_)
            | Self::Idx(_)
            | Self::Pictures(_)
            | Self::Safetensors(_) => false,
        }
    }

    /// The place that the table names: `data.path` or `data.folder`.
    pub fn place(&self) -> Option<Paths> {
        match self {
            Self::Mnist(config) => config.folder.clone().map(Paths::from),
            Self::Images(config) => config.folder.clone().map(Paths::from),
            Self::Signal(config) => config.path.clone(),
            Self::Npy(config) => config.path.clone().map(Paths::from),
            Self::Idx(config) => config.folder.clone().map(Paths::from),
            Self::Pictures(config) => config.folder.clone().map(Paths::from),
            Self::Safetensors(config) => config.path.clone().map(Paths::from),
            Self::DeadLeaves(_) | Self::Vibration(_) | Self::Ecg(_) | Self::Dictionary(_) => None,
        }
    }

    /// The same table without `data.path` and `data.folder`: what decides the samples, if the files
    /// are the same.
    #[must_use]
    pub fn without_place(&self) -> Self {
        let mut table = self.clone();
        table.set_place(None);
        table
    }

    fn set_place(&mut self, place: Option<Paths>) {
        let one = |place: Option<Paths>| {
            let first = place.as_ref().and_then(|paths| paths.iter().next());
            first.map(Path::to_path_buf)
        };
        match self {
            Self::Mnist(config) => config.folder = one(place),
            Self::Images(config) => config.folder = one(place),
            Self::Signal(config) => config.path = place,
            Self::Npy(config) => config.path = one(place),
            Self::Idx(config) => config.folder = one(place),
            Self::Pictures(config) => config.folder = one(place),
            Self::Safetensors(config) => config.path = one(place),
            Self::DeadLeaves(_) | Self::Vibration(_) | Self::Ecg(_) | Self::Dictionary(_) => {}
        }
    }

    /// The table that learns from a person's own data what this one, of a generated source, learns
    /// from generated data.
    ///
    /// Signals become windows of the recording in `place`, of the same length and hop. Dead leaves
    /// become patches, as large, of the pictures in a folder, or the rows of a `.npy`. Combinations
    /// of atoms become the rows of a `.npy` or a `.safetensors`. At most as many training,
    /// validation and test samples are taken as the table asks for, where it asks for other numbers
    /// than by default. Tables that read files already come back as they are.
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
    /// [`PlaceError::Unfit`] if dead leaves or combinations of atoms cannot be replaced by what
    /// `place` holds.
    pub fn on_own_data(&self, place: &Path) -> Result<Self, PlaceError> {
        match self {
            Self::Vibration(config) | Self::Ecg(config) => Ok(Self::Signal(own_signal(config))),
            Self::DeadLeaves(config) => own_pictures(config, place),
            Self::Dictionary(config) => own_rows(config, place),
            Self::Mnist(_)
            | Self::Images(_)
            | Self::Signal(_)
            | Self::Npy(_)
            | Self::Idx(_)
            | Self::Pictures(_)
            | Self::Safetensors(_) => Ok(self.clone()),
        }
    }

    /// The table with the place that counts, absolute: `named.flag`, else the table's own, else
    /// `named.environment`.
    ///
    /// A relative place is looked for in the working directory, then in the folder of the
    /// environment. If the flag names a folder that holds the table's own place, that place is
    /// read, and not all of the folder.
    ///
    /// # Errors
    ///
    /// [`PlaceError`] if the place does not exist, is a file where a folder is read, or the samples
    /// are generated and the flag names a place nevertheless. A table that reads files may have no
    /// place: loading it says what to name.
    pub fn placed(&self, named: &Named) -> Result<Self, PlaceError> {
        if self.is_generated() {
            return match &named.flag {
                Some(path) => Err(PlaceError::Generated {
                    path: path.clone(),
                    generated: self.source(),
                    instead: match self {
                        Self::DeadLeaves(_) => "images",
                        Self::Dictionary(_) => "npy",
                        _ => "signal",
                    },
                }),
                None => Ok(self.clone()),
            };
        }
        let (said, place) = match (&named.flag, self.place(), &named.environment) {
            (Some(flag), own, _) => {
                exists("--data", flag)?;
                let beside = own.and_then(|own| beside(&own, flag));
                ("--data", beside.unwrap_or_else(|| self.inside(flag)))
            }
            (None, Some(own), _) if own.iter().all(Path::exists) => (self.field(), own),
            (None, Some(own), environment) => {
                let relative = own.iter().all(Path::is_relative);
                let environment = environment.as_deref().filter(|_| relative);
                match environment.and_then(|folder| beside(&own, folder)) {
                    Some(found) => ("SPARSECODE_DATA", found),
                    None => return Err(self.gone(&own)?),
                }
            }
            (None, None, Some(environment)) => {
                let said = "SPARSECODE_DATA";
                exists(said, environment)?;
                (said, self.inside(environment))
            }
            (None, None, None) => return Ok(self.clone()),
        };
        let mut paths = Vec::new();
        for path in place.iter() {
            self.check(said, path)?;
            paths.push(absolute(path)?);
        }
        let mut paths = paths.into_iter();
        let mut table = self.clone();
        table.set_place(Some(place.moved(|_| paths.next().unwrap_or_default())));
        Ok(table)
    }

    /// As [`placed`](Self::placed), for a run of a plan, whose configuration is fixed: generated
    /// data stay so, and a place that the plan names must be found in the folder that the flag
    /// names.
    ///
    /// # Errors
    ///
    /// As [`placed`](Self::placed); [`PlaceError::Unfit`] if the flag would replace what the plan
    /// names.
    pub fn placed_as_planned(&self, named: &Named) -> Result<Self, PlaceError> {
        if self.is_generated() {
            return Ok(self.clone());
        }
        if let (Some(flag), Some(own)) = (&named.flag, self.place()) {
            exists("--data", flag)?;
            if beside(&own, flag).is_none() {
                let own: Vec<String> = own.iter().map(|path| path.display().to_string()).collect();
                return Err(PlaceError::Unfit {
                    said: "--data",
                    path: flag.clone(),
                    problem: format!(
                        "the plan names {} = {}, which is not in there",
                        self.field(),
                        own.join(", ")
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
            Self::Mnist(_) | Self::Images(_) | Self::Idx(_) | Self::Pictures(_) => "data.folder",
            _ => "data.path",
        }
    }

    /// What to say of a place of the table's own that is not there.
    fn gone(&self, own: &Paths) -> Result<PlaceError, PlaceError> {
        let mut paths = own.iter();
        let gone = paths.find(|path| !path.exists());
        Ok(PlaceError::Gone {
            field: self.field(),
            path: absolute(gone.unwrap_or(Path::new("")))?,
        })
    }

    /// The place in a folder that a person named, where the source has one of its own there.
    fn inside(&self, named: &Path) -> Paths {
        let natural = named.join("natural");
        match self {
            Self::Images(_) if natural.is_dir() => natural.into(),
            _ => named.to_path_buf().into(),
        }
    }

    /// Refuses a file where the source reads a folder.
    fn check(&self, said: &'static str, path: &Path) -> Result<(), PlaceError> {
        if !path.is_file() {
            return Ok(());
        }
        let folder = folder_of(path);
        let rows = || "to learn from its rows add --set data.source=npy".to_owned();
        let (problem, remedy) = match self {
            Self::Mnist(_) | Self::Idx(_) => (
                match self {
                    Self::Mnist(_) => {
                        "is a file, but MNIST is read from the folder with its four files"
                    }
                    _ => "is a file, but pictures in idx files are read from the folder with four",
                },
                match has_extension(path, &["npy"]) {
                    true => rows(),
                    false => format!("name that folder: --data {}", folder.display()),
                },
            ),
            Self::Images(_) | Self::Pictures(_) => (
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

/// The same places in another folder, if all are there. Of an absolute place the last name counts:
/// its folder has moved.
fn beside(own: &Paths, folder: &Path) -> Option<Paths> {
    let moved = own.moved(|path| match path.file_name() {
        Some(name) if path.is_absolute() => folder.join(name),
        _ => folder.join(path),
    });
    let found = moved.iter().next().is_some() && moved.iter().all(Path::exists);
    found.then_some(moved)
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
    exists("--data", place)?;
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

fn own_rows(config: &DictionaryConfig, place: &Path) -> Result<DataConfig, PlaceError> {
    exists("--data", place)?;
    let default = DictionaryConfig::default();
    let train = limit(config.train, default.train);
    let validation = limit(config.validation, default.validation);
    let test = limit(config.test, default.test);
    if has_extension(place, &["npy"]) {
        return Ok(DataConfig::Npy(NpyConfig {
            train,
            validation,
            test,
            ..NpyConfig::default()
        }));
    }
    if has_extension(place, &["safetensors"]) {
        return Ok(DataConfig::Safetensors(SafetensorsConfig {
            train,
            validation,
            test,
            ..SafetensorsConfig::default()
        }));
    }
    Err(PlaceError::Unfit {
        said: "--data",
        path: place.to_path_buf(),
        problem: "this preset learns from vectors: the rows of an array (.npy), or of the tensors \
                  of a .safetensors"
            .to_owned(),
        remedy: "name such a file, or say what else it is with --set data.source".to_owned(),
    })
}

/// A count that somebody asked for.
fn limit(count: usize, default: usize) -> Option<usize> {
    (count != default).then_some(count)
}

fn exists(said: &'static str, path: &Path) -> Result<(), PlaceError> {
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

#[cfg(test)]
mod tests {
    use super::super::MnistConfig;
    use super::*;

    /// A folder with a recording, an array, a picture and subfolders.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.wav", "b.wav", "rows.npy", "0.png", "train-images"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        for name in ["mnist", "natural", "sub"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("sub/a.wav"), "").unwrap();
        folder
    }

    fn mnist(folder: Option<&str>) -> DataConfig {
        DataConfig::Mnist(MnistConfig {
            folder: folder.map(PathBuf::from),
            ..MnistConfig::default()
        })
    }

    fn images() -> DataConfig {
        DataConfig::Images(ImagesConfig::default())
    }

    fn signal(path: Option<Paths>) -> DataConfig {
        DataConfig::Signal(SignalConfig {
            path,
            ..SignalConfig::default()
        })
    }

    fn rows() -> DataConfig {
        DataConfig::Npy(NpyConfig::default())
    }

    fn generated() -> [DataConfig; 4] {
        let signal = GeneratedSignalConfig::default;
        [
            DataConfig::Dictionary(DictionaryConfig::default()),
            DataConfig::Ecg(signal()),
            DataConfig::Vibration(signal()),
            DataConfig::DeadLeaves(DeadLeavesConfig::default()),
        ]
    }

    /// Every source with a flag that names a file, a folder, or nothing that is there.
    #[test]
    fn a_flag_is_used_or_refused() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        let own = || signal(Some("/gone/old.wav".into()));
        for (table, name, found) in [
            (mnist(None), "mnist", "mnist"),
            (mnist(Some("/gone")), "mnist", "mnist"),
            // What the table names is found in the folder.
            (mnist(Some("/gone/mnist")), "", "mnist"),
            (images(), "", "natural"),
            (images(), "natural", "natural"),
            (signal(None), "a.wav", "a.wav"),
            (own(), "a.wav", "a.wav"),
            (own(), "sub", "sub"),
            (signal(Some("/gone/a.wav".into())), "sub", "sub/a.wav"),
            (signal(Some("sub/a.wav".into())), "", "sub/a.wav"),
            (rows(), "rows.npy", "rows.npy"),
            (rows(), "sub", "sub"),
            (DataConfig::Idx(Default::default()), "mnist", "mnist"),
            (DataConfig::Safetensors(Default::default()), "sub", "sub"),
        ] {
            let flag = match name {
                "" => folder.path().to_path_buf(),
                name => at(name),
            };
            let placed = table.placed(&Named::flag(flag)).unwrap();
            let what = format!("{} {name}", table.source());
            assert_eq!(placed.place(), Some(at(found).into()), "{what}");
            assert_eq!(placed.without_place(), table.without_place(), "{what}");
        }
        let refused = |table: &DataConfig, name: &str, usage: bool, words: &[&str]| {
            let error = table.placed(&Named::flag(at(name))).unwrap_err();
            assert_eq!(error.is_usage(), usage, "{error}");
            let error = error.to_string();
            for word in ["--data", name].iter().chain(words) {
                assert!(error.contains(word), "{word}: {error}");
            }
        };
        refused(&mnist(None), "rows.npy", true, &["data.source=npy"]);
        let here = folder.path().to_str().unwrap();
        refused(&mnist(None), "train-images", true, &[here, "four files"]);
        let idx = DataConfig::Idx(Default::default());
        refused(&idx, "train-images", true, &[here, "with four"]);
        refused(&images(), "0.png", true, &[here, "folder"]);
        refused(&images(), "rows.npy", true, &["data.source=npy"]);
        for table in [mnist(None), images(), own(), rows()] {
            refused(&table, "none", false, &["no such file or folder"]);
        }
        for table in generated() {
            let source = format!("data.source={}", table.source());
            refused(&table, "a.wav", true, &[&source, "--set data.source="]);
        }
    }

    #[test]
    fn without_a_flag_the_table_counts_before_the_environment() {
        let folder = folder();
        let environment = Named {
            flag: None,
            environment: Some(folder.path().to_path_buf()),
        };
        let at = |name: &str| Paths::from(folder.path().join(name));
        let elsewhere = tempfile::tempdir().unwrap();
        let other = elsewhere.path().join("other.wav");
        std::fs::write(&other, "").unwrap();
        for (table, found) in [
            (mnist(None), folder.path().to_path_buf().into()),
            (images(), at("natural")),
            (signal(Some(other.clone().into())), other.clone().into()),
            // A relative place is looked for in both.
            (signal(Some("sub/a.wav".into())), at("sub/a.wav")),
        ] {
            let placed = table.placed(&environment).unwrap();
            assert_eq!(placed.place(), Some(found), "{}", table.source());
        }
        // A remembered place that is gone is not replaced by whatever lies in the environment's
        // folder.
        let gone = signal(Some("/gone/a.wav".into()));
        for named in [&environment, &Named::default()] {
            let error = gone.placed(named).unwrap_err();
            assert!(!error.is_usage());
            let error = error.to_string();
            for word in ["data.path", "/gone/a.wav", "--data"] {
                assert!(error.contains(word), "{word}: {error}");
            }
        }
        // It does not touch generated data, and what needs no place has none.
        for table in generated() {
            assert_eq!(table.placed(&environment).unwrap(), table);
        }
        assert_eq!(rows().placed(&Named::default()).unwrap(), rows());
        let nowhere = Named {
            flag: None,
            environment: Some("/gone".into()),
        };
        let error = rows().placed(&nowhere).unwrap_err().to_string();
        assert!(error.starts_with("SPARSECODE_DATA /gone"), "{error}");
    }

    #[test]
    fn several_recordings_move_together() {
        let folder = folder();
        let several = |names: [&str; 2]| Paths::Several(names.map(PathBuf::from).into());
        let here = several(["a.wav", "b.wav"]).moved(|path| folder.path().join(path));
        let named = Named::flag(folder.path());
        for own in [["/gone/a.wav", "/gone/b.wav"], ["a.wav", "b.wav"]] {
            let placed = signal(Some(several(own))).placed(&named).unwrap();
            assert_eq!(placed.place(), Some(here.clone()));
        }
        // One of them alone is not what the table means; the folder is.
        let placed = signal(Some(several(["a.wav", "/gone/c.wav"])));
        let placed = placed.placed(&named).unwrap();
        assert_eq!(placed.place(), Some(folder.path().to_path_buf().into()));
        let none = signal(Some(Paths::Several(Vec::new())));
        let placed = none.placed(&Named::flag(folder.path().join("a.wav")));
        let file = folder.path().join("a.wav");
        assert_eq!(placed.unwrap().place(), Some(file.into()));
    }

    #[test]
    fn relative_places_become_absolute() {
        let here = Path::new("src");
        let placed = rows().placed(&Named::flag(here)).unwrap();
        let found = placed.place().unwrap();
        assert!(found.iter().all(Path::is_absolute), "{found:?}");
        assert_eq!(found, here.canonicalize().unwrap().into());
    }

    #[test]
    fn generated_data_give_way_to_ones_own() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        let preset = GeneratedSignalConfig {
            window: 128,
            hop: 32,
            train: 500,
            ..GeneratedSignalConfig::default()
        };
        for table in [
            DataConfig::Ecg(preset.clone()),
            DataConfig::Vibration(preset),
        ] {
            let expected = SignalConfig {
                window: 128,
                hop: 32,
                train: Some(500),
                ..SignalConfig::default()
            };
            let own = table.on_own_data(&at("a.wav")).unwrap();
            assert_eq!(own, DataConfig::Signal(expected));
        }
        let leaves = |height, width| {
            DataConfig::DeadLeaves(DeadLeavesConfig {
                height,
                width,
                ..DeadLeavesConfig::default()
            })
        };
        let own = leaves(8, 8).on_own_data(folder.path()).unwrap();
        let DataConfig::Images(own) = own else {
            panic!("{own:?}");
        };
        assert_eq!((own.patch, own.train, own.test), (8, 20_000, 2000));
        assert_eq!(leaves(8, 8).on_own_data(&at("rows.npy")).unwrap(), rows());
        let vectors = DataConfig::Dictionary(DictionaryConfig {
            train: 77,
            ..DictionaryConfig::default()
        });
        let DataConfig::Npy(own) = vectors.on_own_data(&at("rows.npy")).unwrap() else {
            panic!("no rows");
        };
        assert_eq!((own.train, own.test), (Some(77), None));
        for (table, name, word) in [
            (vectors, "a.wav", ".safetensors"),
            (leaves(8, 8), "a.wav", "ecg/vdl"),
            (leaves(8, 8), "0.png", "name its folder"),
            (leaves(8, 9), "", "square"),
            (leaves(8, 8), "none", "no such"),
        ] {
            let error = table.on_own_data(&at(name)).unwrap_err().to_string();
            assert!(error.contains(word), "{name}: {error}");
        }
        // What reads files already is not touched.
        assert_eq!(images().on_own_data(&at("a.wav")).unwrap(), images());
    }

    /// A plan's runs have names that say what they are: a flag may move their data, not replace
    /// them.
    #[test]
    fn what_is_planned_is_not_replaced() {
        let folder = folder();
        let named = Named::flag(folder.path());
        for table in generated() {
            assert_eq!(table.placed_as_planned(&named).unwrap(), table);
        }
        let moved = signal(Some("/gone/a.wav".into()));
        let moved = moved.placed_as_planned(&named).unwrap();
        assert_eq!(moved.place(), Some(folder.path().join("a.wav").into()));
        let other = signal(Some("/gone/c.wav".into()));
        let error = other.placed_as_planned(&named).unwrap_err();
        assert!(error.is_usage());
        let error = error.to_string();
        assert!(
            error.contains("the plan names data.path = /gone/c.wav"),
            "{error}"
        );
        let free = mnist(None).placed_as_planned(&named).unwrap();
        assert_eq!(free.place(), Some(folder.path().to_path_buf().into()));
    }
}
