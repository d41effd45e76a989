//! A family of models: what a run is made for.

use std::fmt::Debug;

use candle_core::Result;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::config::{Config, ConfigError};
use super::figures::Figures;
use super::learner::{Learner, Tensors};
use crate::data::DataFacts;

/// How a figure is shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number with so many decimals.
    Number(usize),
    /// A number of any size, in few digits.
    Compact,
    /// Decibels.
    Decibels,
    /// A fraction, shown in percent.
    Fraction,
}

/// A figure that tables show.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The figure's name in [`Figures`].
    pub figure: &'static str,
    /// The column's heading.
    pub heading: &'static str,
    /// How it is shown.
    pub unit: Unit,
}

/// A family of models. The value holds the family's own settings: those keys of `config.toml` that not every run has.
///
/// The run (configuration, folder, position, checkpoint, logs, early stopping, sweeps, tables) is written once, for any family. A family
/// brings its settings with their presets, a [`Learner`], and which figures people are shown.
pub trait Family:
    Clone + Debug + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
    /// The value of `family` in `config.toml`.
    const NAME: &'static str;
    /// Whether `config.toml` leaves `family` out, as all files did when there was one family.
    const IS_DEFAULT: bool = false;
    /// The top-level keys of the settings, in the order of `config.toml`.
    const KEYS: &'static [&'static str];
    /// Those of [`Family::KEYS`] that the model's name says already.
    const NAMED_KEYS: &'static [&'static str] = &[];
    /// Settings that tables of runs always show: the dotted key and its heading.
    const SHOWN_SETTINGS: &'static [(&'static str, &'static str)] = &[];
    /// The figure on the validation set that the best model has the lowest of.
    const OBJECTIVE: &'static str;
    /// What progress shows of the training figures.
    const TRAIN_COLUMNS: &'static [Column];
    /// What progress shows of the validation figures.
    const VALIDATION_COLUMNS: &'static [Column];
    /// What tables of runs show of the figures on a set without noise.
    const CLEAN_COLUMNS: &'static [Column];
    /// What tables of runs show of the figures on a set with noise.
    const NOISY_COLUMNS: &'static [Column] = &[];
    /// What is said below the header of a run's progress.
    const LEGEND: &'static str;

    /// What learners compute with.
    type Backend: ?Sized + Send + Sync;
    /// What learns.
    type Learner<'a>: Learner;

    /// The preset of this name.
    ///
    /// # Errors
    ///
    /// [`ConfigError::UnknownPreset`] says what there is.
    fn preset(name: &str) -> std::result::Result<Config<Self>, ConfigError>;

    /// The names of all presets.
    fn presets() -> Vec<String>;

    /// What a preset changes where other settings are laid over it; `resolved` is the preset with them.
    #[must_use]
    fn following(preset: Config<Self>, _resolved: &Config<Self>) -> Config<Self> {
        preset
    }

    /// Completes `settings`, which choose a person's own signal or array where `config.toml` had another source.
    fn complete_for_own_data(_settings: &mut toml::Table) {}

    /// Checks the family's settings.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] names the key and its range.
    fn validate(config: &Config<Self>) -> std::result::Result<(), ConfigError>;

    /// The name of the model, as in the preset's name.
    fn model_name(&self) -> &'static str;

    /// A learner at its first step.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn learner<'a>(
        config: &Config<Self>,
        facts: &DataFacts,
        backend: &'a Self::Backend,
    ) -> Result<Self::Learner<'a>>;

    /// Rewrites the metadata of a checkpoint that an older version wrote.
    fn upgrade_checkpoint(_metadata: &mut Map<String, Value>, _tensors: &Tensors) {}

    /// What progress adds to the line of an epoch with these training figures.
    fn epoch_remark(_train: &Figures) -> Option<String> {
        None
    }

    /// A finished run in a few words for people, from its figures on the test set.
    fn summary(test: &Figures) -> String {
        let shown = Self::CLEAN_COLUMNS.iter().take(2);
        let words = shown.filter_map(|column| {
            let value = test.get(column.figure)?;
            Some(format!("{} {}", column.heading, column.unit.text(value)))
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

impl Unit {
    /// A value with its unit.
    pub fn text(self, value: f64) -> String {
        match self {
            Self::Number(decimals) => format!("{value:.decimals$}"),
            Self::Compact => crate::report::table::figure(value),
            Self::Decibels => crate::report::table::decibels(value),
            Self::Fraction => crate::report::table::percent(value),
        }
    }
}
