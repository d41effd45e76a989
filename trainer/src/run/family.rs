//! A family of models: what a run is made for.

use std::path::Path;

use candle_core::Result;
use serde_json::{Map, Value};

use super::config::{Config, Settings};
use super::figures::Figures;
use super::learner::{Learner, Tensors};
use crate::data::{DataError, DataFacts};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The figure's name in [`Figures`].
    pub figure: &'static str,
    /// The column's heading.
    pub heading: &'static str,
    /// How it is shown.
    pub unit: Unit,
}

/// A family of models. The value holds the family's own [`Settings`].
///
/// The run (configuration, folder, position, checkpoint, logs, early stopping, sweeps, tables) is
/// written once, for any family. A family brings its settings with their presets, a [`Learner`],
/// and which figures people are shown.
///
/// Logs, TensorBoard, progress and the tables of runs and sweeps show the columns named here. The
/// figures of a model file have tables of their own.
pub trait Family: Settings {
    /// The name of the figure to minimise on the validation set. The best model has the lowest.
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
    /// Whether [`Learner::calibrate`] finds something on the training samples.
    const CALIBRATES: bool = false;

    /// What learners compute with.
    type Backend: ?Sized + Send + Sync;
    /// What learns.
    type Learner<'a>: Learner;

    /// Which epoch's model a run keeps as best, in words.
    fn kept() -> String {
        format!("lowest validation {}", Self::OBJECTIVE)
    }

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

    /// Makes the places in the family's own settings absolute; `data` is where a person says that
    /// the data are.
    ///
    /// # Errors
    ///
    /// Names what is not there.
    fn place(
        _config: &mut Config<Self>,
        _data: Option<&Path>,
    ) -> std::result::Result<(), DataError> {
        Ok(())
    }

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
