//! The flags of commands that load data, and what they say of what was loaded.

use std::path::PathBuf;

use clap::Args;

use super::common::usage;
use super::input;
use crate::data::{DataConfig, DataError, DataFacts, Hints, Named, PatchContrast, Splits};
use crate::deploy::units::{Fit, Known};
use crate::deploy::{TrainedRun, VariationalRun};

/// Says what was read, and the remarks on it: on standard error, as figures go to standard output.
pub(super) fn tell(splits: &Splits) {
    eprintln!("read {}", splits.read);
    for note in &splits.notes {
        eprintln!("note: {note}");
    }
}

/// Flags of commands that load data.
#[derive(Args)]
pub(super) struct DataFlags {
    /// Where the data are: a folder, or a file with a signal or an array; generated data need none
    ///
    /// This flag overrides data.path and data.folder. A run remembers where its data were. Without
    /// the flag and the keys, the environment variable SPARSECODE_DATA names the place; generated
    /// data ignore the variable.
    #[arg(long, value_name = "PATH")]
    pub(super) data: Option<PathBuf>,
}

/// What else is said about the data of a run.
#[derive(Default)]
pub(super) struct OtherData {
    /// How a signal is read, over the run's own keys.
    pub(super) hints: Hints,
    /// Whether data of another rate or unit are taken with a warning; `None` where the command has
    /// no flag for it.
    pub(super) may_differ: Option<bool>,
}

impl OtherData {
    /// The table with the keys that are named.
    fn over(&self, mut data: DataConfig) -> anyhow::Result<DataConfig> {
        let Hints {
            column,
            decimal,
            header,
        } = self.hints.clone();
        let flags = [
            ("--column", column.is_some()),
            ("--decimal", decimal.is_some()),
            ("--header", header.is_some()),
        ];
        let given = flags
            .into_iter()
            .find_map(|(flag, is_given)| is_given.then_some(flag));
        match (&mut data, given) {
            (_, None) => {}
            (DataConfig::Signal(config), Some(_)) => {
                config.column = column.or(config.column.take());
                config.decimal = decimal.or(config.decimal);
                config.header = header.or(config.header);
            }
            (DataConfig::Vibration(_) | DataConfig::Ecg(_), Some(flag)) => {
                return Err(usage(format!(
                    "{flag}: the run's data are generated; name a recording with --data FILE, or leave {flag} out"
                )));
            }
            (other, Some(flag)) => {
                return Err(usage(format!(
                    "{flag}: the run's data are no signal but data.source={}; leave {flag} out",
                    other.source()
                )));
            }
        }
        Ok(data)
    }

    /// Refuses data of another rate or unit than the run's, or warns.
    fn check(&self, run: &DataFacts, found: &DataFacts, data: &str) -> anyhow::Result<()> {
        let known = Known::of_run(run)?;
        let refuse = |problem: String, remedy: &str| match self.may_differ {
            Some(true) => {
                eprintln!("warning: {data}: {problem}");
                Ok(())
            }
            Some(false) => Err(anyhow::anyhow!(
                "{data}: {problem}; {remedy}, or give --allow-mismatch"
            )),
            None => Err(anyhow::anyhow!("{data}: {problem}; {remedy}")),
        };
        if let Some(problem) = known.rate_mismatch(found.sample_rate) {
            refuse(problem, "resample the data")?;
        }
        match found.raw_range.map(|range| known.fit_range(range)) {
            Some(Fit::Mismatch(problem)) => {
                refuse(problem, "bring the data to the unit of the run's data")?;
            }
            Some(Fit::Unusual(problem)) => eprintln!("warning: {data}: {problem}"),
            Some(Fit::Fits) | None => {}
        }
        Ok(())
    }
}

/// What of a run says which samples it takes.
pub(super) struct RunData<'a> {
    data: &'a DataConfig,
    seed: u64,
    facts: &'a DataFacts,
}

impl<'a> From<&'a TrainedRun> for RunData<'a> {
    fn from(run: &'a TrainedRun) -> Self {
        Self {
            data: &run.config.data,
            seed: run.config.seed,
            facts: &run.facts,
        }
    }
}

impl<'a> From<&'a VariationalRun> for RunData<'a> {
    fn from(run: &'a VariationalRun) -> Self {
        Self {
            data: &run.config.data,
            seed: run.config.seed,
            facts: &run.facts,
        }
    }
}

impl DataFlags {
    /// What is said about the place of the data.
    pub(super) fn named(&self) -> Named {
        let environment = std::env::var_os("SPARSECODE_DATA").filter(|name| !name.is_empty());
        Named {
            flag: self.data.clone(),
            environment: environment.map(PathBuf::from),
        }
    }

    /// The table on the data that the flag names, if it is of generated data; says so.
    pub(super) fn on_own_data(&self, data: &DataConfig) -> anyhow::Result<DataConfig> {
        let Some(place) = self.data.as_deref().filter(|_| data.is_generated()) else {
            return Ok(data.clone());
        };
        let own = data.on_own_data(place)?;
        eprintln!(
            "note: --data {}: read as data.source={} in place of generated {}, samples of the same size",
            place.display(),
            own.source(),
            data.source()
        );
        Ok(own)
    }

    /// The same; pictures in place of generated ones have this contrast normalisation.
    pub(super) fn on_own_pictures(
        &self,
        data: &DataConfig,
        contrast: PatchContrast,
    ) -> anyhow::Result<DataConfig> {
        let mut own = self.on_own_data(data)?;
        if let (DataConfig::Images(images), true) = (&mut own, data.is_generated()) {
            images.contrast = contrast;
        }
        Ok(own)
    }

    /// The table with the place that counts.
    pub(super) fn place(&self, data: &DataConfig) -> anyhow::Result<DataConfig> {
        Ok(data.placed(&self.named())?)
    }

    fn load(&self, data: &DataConfig, seed: u64) -> anyhow::Result<Splits> {
        Ok(self.place(data)?.load(None, seed)?)
    }

    /// Loads the data of a run, or others of the same shape in the preprocessed units of the run;
    /// says which.
    ///
    /// Data of another rate or unit are refused, unless `other` lets them through.
    pub(super) fn load_for<'a>(
        &self,
        run: impl Into<RunData<'a>>,
        other: &OtherData,
    ) -> anyhow::Result<Splits> {
        let RunData { data, seed, facts } = run.into();
        let data = other.over(self.on_own_data(data)?)?;
        let has_flags = other.may_differ.is_some();
        let mut splits =
            self.load(&data, seed)
                .map_err(|error| match error.downcast::<DataError>() {
                    Ok(error) if has_flags => input::in_own_flags(error),
                    Ok(error) => error.into(),
                    Err(error) => error,
                })?;
        if has_flags {
            let notes = splits.notes.iter();
            splits.notes = notes.map(|note| input::in_flags(note)).collect();
        }
        tell(&splits);
        let found = DataFacts::of(&splits);
        let refuse = |what: String| {
            let (trained, named) = (&facts.description, self.data.as_deref());
            let data = named.map_or_else(
                || "the data".to_owned(),
                |path| format!("--data {}", path.display()),
            );
            Err(usage(format!(
                "{data}: {what}; the run was trained on {trained}"
            )))
        };
        if found.input_shape != facts.input_shape {
            return refuse(format!(
                "samples are {}, but the model takes {}",
                found.input_shape, facts.input_shape
            ));
        }
        if found.same_samples(facts) {
            return Ok(splits);
        }
        let place = self.place(&data)?.place();
        let first = place.as_ref().and_then(|place| place.iter().next());
        let named = match (&self.data, first) {
            (Some(path), _) => format!("--data {}", path.display()),
            (None, Some(path)) => path.display().to_string(),
            (None, None) => "the data".to_owned(),
        };
        other.check(facts, &found, &named)?;
        let (_, preprocessing) = facts.parse()?;
        let description = splits.description.clone();
        let Some(splits) = splits.preprocessed_as(&preprocessing, facts.per_pixel.as_ref()) else {
            return refuse(format!(
                "samples have contrast normalisation {}, but the model takes {}",
                found.contrast, facts.contrast
            ));
        };
        // Weights that were imported know no samples; a dictionary that stayed was not in its
        // samples' own units.
        if facts.digest.is_empty() || DataFacts::of(&splits).same_samples(facts) {
            return Ok(splits);
        }
        eprintln!(
            "note: these are not the samples that the run was trained on ({}), but {description}, taken in the run's units",
            facts.description
        );
        Ok(splits)
    }
}
