//! What a run starts from: a decoder that stays, and how long it is to be.

use sparsecode_formats::Variant;

use super::arguments::Arguments;
use crate::cli::common::usage;
use crate::data::{DataConfig, Splits};
use crate::deploy::TrainedRun;
use crate::lista::inference::InferenceConfig;
use crate::lista::remarks::enough_epochs;
use crate::lista::{Config, Lista};
use crate::run::{Checkpoint, RunFolder};

/// Learning rate of an encoder for a dictionary that stays, and γ. On a dictionary of an ECG, whose
/// codes by FISTA have an energy of 9.07, 800 steps came to 9.80; with a rate of 3e-3 to 10.11,
/// with γ = 0 to 10.49 (and at 3e-4 to 11.55), from a random start to 10.50.
const FROZEN_RATE: f64 = 1e-3;
const FROZEN_ENCODER_WEIGHT: f64 = 1.0;

/// Data as the dictionary takes them, which stays: with the mean and the deviation of the run that
/// it comes from.
pub(super) fn in_units_of_dictionary(
    splits: Splits,
    start: Option<&TrainedRun>,
    folder: &RunFolder,
) -> anyhow::Result<Splits> {
    let facts = match start {
        Some(run) => run.facts.clone(),
        None => Checkpoint::read::<Lista>(&folder.checkpoint())?
            .data()
            .clone(),
    };
    let (shape, preprocessing) = facts.parse()?;
    let found = (splits.shape, splits.preprocessing.contrast);
    if found.0.input_dim() != shape.input_dim() {
        return Err(usage(format!(
            "--frozen-decoder: samples are {}, but the dictionary's atoms are {shape}",
            found.0
        )));
    }
    let splits = splits.preprocessed_as(&preprocessing, facts.per_pixel.as_ref());
    splits.ok_or_else(|| {
        usage(format!(
            "--frozen-decoder: samples have contrast normalisation {}, but the dictionary takes {}",
            found.1, preprocessing.contrast
        ))
    })
}

impl Arguments {
    /// The base of a run that learns an encoder for the dictionary of `--from`.
    pub(super) fn frozen(&self, mut base: Config) -> anyhow::Result<Config> {
        if !self.frozen_decoder {
            return Ok(base);
        }
        if self.from.is_none() && self.resume {
            return Ok(base);
        }
        let Some(from) = &self.from else {
            return Err(usage(
                "--frozen-decoder: name the run whose decoder stays with --from RUN; `sparsecode \
                 import --dictionary` makes such a run from an array",
            ));
        };
        let from = Config::read(&RunFolder::new(from).config())?;
        if base.family.variant == Variant::Do {
            if self.preset.is_some() {
                return Err(usage(
                    "--frozen-decoder: a DO preset has no encoder to learn; choose sdl",
                ));
            }
            base.family.variant = Variant::Sdl;
            base.family.optimizer.encoder_learning_rate = FROZEN_RATE;
        }
        base.family.optimizer.frozen_decoder = true;
        base.family.model.code_dim = from.family.model.code_dim;
        base.family.model.hidden_dim = from.family.model.hidden_dim;
        base.family.inference = InferenceConfig {
            variance_weight: 0.0,
            encoder_weight: FROZEN_ENCODER_WEIGHT,
            ..from.family.inference
        };
        Ok(base)
    }

    /// Whether somebody sets a key of the run: a flag, a setting, the file, or the run that this
    /// one is or comes from.
    fn names(&self, key: &str, by_flag: bool, config: &Config) -> bool {
        let is_fresh_encoder = config.family.optimizer.frozen_decoder && !self.resume;
        let of_run = self.preset.is_none() && self.config.is_none() && !is_fresh_encoder;
        self.names_key(key, by_flag) || of_run
    }

    /// The same, but for runs.
    pub(super) fn names_key(&self, key: &str, by_flag: bool) -> bool {
        let is_key = |setting: &String| setting.split('=').next().unwrap_or("").trim() == key;
        let in_file = || {
            self.file_table()
                .is_some_and(|table| table.contains_key(key))
        };
        by_flag || self.set.iter().any(is_key) || in_file()
    }

    /// Whether the data are a person's own, and not those of a preset that repeats a paper.
    fn is_on_own_data(&self, config: &Config) -> bool {
        let of_patches = || {
            self.preset
                .as_ref()
                .is_some_and(|name| name.starts_with("patches/"))
        };
        let is_published = match config.data {
            DataConfig::Mnist(_) => true,
            DataConfig::Images(_) => of_patches(),
            _ => false,
        };
        !config.data.is_generated() && !is_published
    }

    /// The mini-batch of data of one's own that have fewer samples than one of the preset, where
    /// nobody says: all samples.
    pub(super) fn own_batch_size(
        &self,
        config: &Config,
        folder: &RunFolder,
        samples: usize,
    ) -> Option<usize> {
        if !self.is_on_own_data(config)
            || self.names("batch_size", self.batch_size.is_some(), config)
        {
            return None;
        }
        if self.resume {
            return Config::read(&folder.config())
                .ok()
                .map(|run| run.batch_size);
        }
        // The hinge needs a deviation.
        (2..config.batch_size).contains(&samples).then_some(samples)
    }

    /// How many epochs data of one's own take, where nobody says; a run that is continued takes
    /// what it began with.
    pub(super) fn own_epochs(
        &self,
        config: &Config,
        folder: &RunFolder,
        samples: usize,
    ) -> Option<u32> {
        if !self.is_on_own_data(config) || self.names("epochs", self.epochs.is_some(), config) {
            return None;
        }
        if self.resume {
            return Config::read(&folder.config()).ok().map(|run| run.epochs);
        }
        Some(enough_epochs(samples, config.batch_size, config.epochs))
    }
}
