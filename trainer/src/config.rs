//! What a run is made of, and the presets: every row of the paper's hyperparameter table.
//!
//! A configuration is resolved in layers: a preset, then a TOML file, then single values (`--set inference.lambda=0.01` and the
//! flags that are short for it). The result is saved with the run as `config.toml`; the hash of that text names it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sparsecode_formats::Variant;

use crate::data::DataConfig;
use crate::inference::{InferenceConfig, Stopping};
use crate::model::QuantizeAware;

/// Everything that decides what a run computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What prevents collapse.
    #[serde(with = "variant_text")]
    pub variant: Variant,
    /// Seed of all random numbers: weights, shuffles, generated data.
    pub seed: u64,
    /// Passes over the training samples.
    pub epochs: u32,
    /// n, samples in a mini-batch; the last incomplete batch of an epoch is dropped.
    pub batch_size: usize,
    /// Stops when the validation energy has not improved for this many epochs; 0 never does.
    pub patience: u32,
    /// The networks' sizes.
    pub model: ModelConfig,
    /// The energy and FISTA's settings.
    pub inference: InferenceConfig,
    /// Learning rates and weight decay.
    pub optimizer: OptimizerConfig,
    /// Where samples come from.
    pub data: DataConfig,
}

/// The networks' sizes. The input dimension is the data's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// l, components of a code.
    pub code_dim: usize,
    /// m, hidden units of a one-hidden decoder; 0 for a linear decoder.
    pub hidden_dim: usize,
    /// L, iterations of the LISTA encoder.
    pub lista_iterations: usize,
}

/// Adam's settings. Weight decay is the L2 form, added to the gradient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// η_D.
    pub decoder_learning_rate: f64,
    /// η_E.
    pub encoder_learning_rate: f64,
    /// Halves η_D after every so many epochs; 0 keeps it.
    pub halve_decoder_rate_every: u32,
    /// Decay of the decoder's weight matrices (WDL).
    pub decoder_weight_decay: f64,
    /// Decay of b1, the one-hidden decoder's bias.
    pub hidden_bias_weight_decay: f64,
    /// Decay of b, the encoder's bias.
    pub encoder_bias_weight_decay: f64,
    /// Learns at the weights that an export for integers will round to: `"i8"`. Not set: at the weights themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantize_aware: Option<QuantizeAware>,
}

/// Why a configuration could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No preset has this name.
    #[error(
        "no preset '{name}'{guess}; a preset is DATA/MODEL, for example mnist/vdl: {data} with {models}, each also as -nl (one-hidden-layer decoder)",
        data = listed(&DATA_SETS, "or"),
        models = listed(&model_names(), "or")
    )]
    UnknownPreset {
        /// What was asked for.
        name: String,
        /// Presets of a similar name, as a question; or nothing.
        guess: String,
    },
    /// A `key=value` override that is not one.
    #[error("override '{0}': write it as table.key=value, for example inference.lambda=0.01")]
    BadOverride(String),
    /// TOML that does not parse, an unknown key, or a value of the wrong type.
    #[error("configuration{0}: {1}")]
    Toml(String, String),
    /// A value outside its range.
    #[error("configuration: {field} is {value}, but must be {expected}")]
    OutOfRange {
        /// The key, with its table.
        field: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A file that cannot be read.
    #[error("configuration {0}: {1}")]
    Io(String, std::io::Error),
}

/// The data sets that presets exist for.
const DATA_SETS: [&str; 5] = ["mnist", "patches", "dead-leaves", "vibration", "ecg"];

/// The names of all presets, `data/variant`.
pub fn preset_names() -> Vec<String> {
    DATA_SETS
        .iter()
        .flat_map(|data| {
            Variant::ALL.iter().flat_map(move |variant| {
                [false, true].map(|one_hidden| format!("{data}/{}", variant.model_name(one_hidden)))
            })
        })
        .collect()
}

/// The variants as presets name them.
fn model_names() -> Vec<&'static str> {
    let names = Variant::ALL.iter();
    names.map(|variant| variant.model_name(false)).collect()
}

/// `a, b or c`.
fn listed<T: AsRef<str>>(items: &[T], last: &str) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

/// Asks for the presets that may have been meant by a name that none has.
fn guess(name: &str) -> String {
    // Below this likeness (Jaro & Winkler's, 0 to 1) a name is another word.
    const ALIKE: f64 = 0.85;
    let alike = |a: &str, b: &str| strsim::jaro_winkler(a, b) >= ALIKE;
    let (name, presets) = (name.to_ascii_lowercase(), preset_names());
    let is_part = |preset: &&String| {
        let (data, model) = preset.split_once('/').unwrap_or_default();
        model == name || (data == name && !model.ends_with("-nl"))
    };
    let mut found: Vec<&String> = presets.iter().filter(is_part).collect();
    if found.is_empty() {
        let likeness = |preset: &&String| {
            let whole = strsim::jaro_winkler(preset, &name);
            let (data, model) = preset.split_once('/').unwrap_or_default();
            match name.split_once('/') {
                Some((d, m)) if !(alike(data, d) && alike(model, m)) => 0.0,
                _ => whole,
            }
        };
        let best = presets.iter().map(|p| likeness(&p)).fold(0.0, f64::max);
        found = presets
            .iter()
            .filter(|preset| best >= ALIKE && likeness(preset) == best)
            .collect();
    }
    match found.is_empty() {
        true => String::new(),
        false => format!(": did you mean {}?", listed(&found, "or")),
    }
}

impl Config {
    /// The preset `data/variant`, for example `mnist/vdl` or `patches/sdl-nl`. Rows for MNIST and patches are the paper's
    /// Table 3, λ as in its figures; DO and WDL take the SDL row, as do the built-in sets with sizes of their own.
    ///
    /// ```
    /// let config = sparsecode_trainer::config::Config::preset("mnist/vdl")?;
    /// assert_eq!(config.inference.lambda, 0.02);
    /// assert_eq!(config.inference.variance_weight, 10.0);
    /// # Ok::<(), sparsecode_trainer::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError::UnknownPreset`] names similar ones, and says what the names are made of.
    pub fn preset(name: &str) -> Result<Self, ConfigError> {
        let unknown = || ConfigError::UnknownPreset {
            name: name.to_owned(),
            guess: guess(name),
        };
        let (data, model) = name.split_once('/').ok_or_else(unknown)?;
        let (variant, one_hidden) = match model.strip_suffix("-nl") {
            Some(variant) => (variant, true),
            None => (model, false),
        };
        let variant: Variant = variant.parse().map_err(|_| unknown())?;
        let row = Row::of(variant, one_hidden);
        let preset = match data {
            "mnist" => row.mnist(),
            "patches" => row.patches(),
            "dead-leaves" | "vibration" | "ecg" => row.built_in(data),
            _ => return Err(unknown()),
        };
        preset.validate()?;
        Ok(preset)
    }

    /// The same with another λ, and what the hyperparameter table changes with it: VDL-NL on patches has γ = 20 up to λ = 0.005 and 40 from 0.01 on.
    #[must_use]
    pub fn at_lambda(mut self, lambda: f64) -> Self {
        self.inference.lambda = lambda;
        let split_row = matches!(self.data, DataConfig::Images(_)) && self.model_name() == "vdl-nl";
        if split_row {
            self.inference.encoder_weight = if lambda < 0.01 { 20.0 } else { 40.0 };
        }
        self
    }

    /// Reads a run's saved configuration.
    ///
    /// # Errors
    ///
    /// Names the file and the key at fault.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::Io(name.clone(), e))?;
        Self::from_table(parse_table(&text, &name)?, &name)
    }

    /// Lays a TOML document and then single `table.key=value` settings over this configuration.
    ///
    /// # Errors
    ///
    /// Names the key that is unknown, of the wrong type or out of range.
    pub fn with_overrides(
        &self,
        file: Option<&Path>,
        settings: &[String],
    ) -> Result<Self, ConfigError> {
        let mut table = self.to_table();
        if let Some(path) = file {
            let name = path.display().to_string();
            let text =
                std::fs::read_to_string(path).map_err(|e| ConfigError::Io(name.clone(), e))?;
            merge(&mut table, parse_table(&text, &name)?);
            // Keys and types now, so that a mistake is told as the file's; ranges when all layers are there.
            parse_config(table.clone(), &name)?;
        }
        // All settings together, so that their order does not matter: one may choose a source, another set its keys. A source
        // that is set twice leaves the other keys: those which the last one does not have are then named.
        let mut upper = toml::Table::new();
        for setting in settings {
            merge_keys(&mut upper, parse_setting(setting)?);
        }
        merge(&mut table, upper);
        Self::from_table(table, "")
    }

    /// Lays the keys of a table, those of `config.toml`, over this configuration.
    ///
    /// ```
    /// use sparsecode_trainer::config::Config;
    ///
    /// let table = "epochs = 3\ninference.lambda = 0.01".parse().unwrap();
    /// let config = Config::preset("ecg/vdl")?.with_table(table)?;
    /// assert_eq!((config.epochs, config.inference.lambda), (3, 0.01));
    /// # Ok::<(), sparsecode_trainer::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Names the key that is unknown, of the wrong type or out of range.
    pub fn with_table(&self, settings: toml::Table) -> Result<Self, ConfigError> {
        let mut table = self.to_table();
        merge(&mut table, settings);
        Self::from_table(table, "")
    }

    /// The configuration as the table that `config.toml` holds.
    pub fn to_table(&self) -> toml::Table {
        toml::Table::try_from(self).expect("a configuration holds only numbers, strings and tables")
    }

    fn from_table(table: toml::Table, name: &str) -> Result<Self, ConfigError> {
        let config = parse_config(table, name)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks that every value is in its range. Configurations that are read or resolved here are; one made by hand may not be.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] names the key and its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |ok: bool, field, value: String, expected| {
            if ok {
                Ok(())
            } else {
                Err(ConfigError::OutOfRange {
                    field,
                    value,
                    expected,
                })
            }
        };
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let not_negative = |x: f64| x.is_finite() && x >= 0.0;
        let (inference, optimizer) = (&self.inference, &self.optimizer);
        check(
            i64::try_from(self.seed).is_ok(),
            "seed",
            self.seed.to_string(),
            "at most 9223372036854775807 (TOML's integers are signed)",
        )?;
        let has_gradient =
            self.has_encoder() || self.model.hidden_dim == 0 || inference.initial_code > 0.0;
        check(
            has_gradient,
            "inference.initial_code",
            inference.initial_code.to_string(),
            "above 0 for a one-hidden decoder without an encoder (presets end in do-nl)",
        )?;
        check(
            self.epochs > 0,
            "epochs",
            self.epochs.to_string(),
            "at least 1",
        )?;
        check(
            self.batch_size > 1,
            "batch_size",
            self.batch_size.to_string(),
            "at least 2 (the hinge needs a deviation)",
        )?;
        let dim = |x: usize| (1..=usize::from(u16::MAX)).contains(&x);
        check(
            dim(self.model.code_dim),
            "model.code_dim",
            self.model.code_dim.to_string(),
            "1 to 65535",
        )?;
        check(
            self.model.hidden_dim == 0 || dim(self.model.hidden_dim),
            "model.hidden_dim",
            self.model.hidden_dim.to_string(),
            "0 (linear) to 65535",
        )?;
        check(
            self.model.lista_iterations <= 255,
            "model.lista_iterations",
            self.model.lista_iterations.to_string(),
            "0 to 255",
        )?;
        check(
            positive(inference.step_size),
            "inference.step_size",
            inference.step_size.to_string(),
            "positive",
        )?;
        check(
            inference.max_iterations > 0,
            "inference.max_iterations",
            inference.max_iterations.to_string(),
            "at least 1",
        )?;
        for (field, value) in [
            ("inference.lambda", inference.lambda),
            ("inference.tolerance", inference.tolerance),
            ("inference.encoder_weight", inference.encoder_weight),
            ("inference.variance_weight", inference.variance_weight),
            ("inference.variance_threshold", inference.variance_threshold),
            ("inference.initial_code", inference.initial_code),
            (
                "optimizer.decoder_learning_rate",
                optimizer.decoder_learning_rate,
            ),
            (
                "optimizer.encoder_learning_rate",
                optimizer.encoder_learning_rate,
            ),
            (
                "optimizer.decoder_weight_decay",
                optimizer.decoder_weight_decay,
            ),
            (
                "optimizer.hidden_bias_weight_decay",
                optimizer.hidden_bias_weight_decay,
            ),
            (
                "optimizer.encoder_bias_weight_decay",
                optimizer.encoder_bias_weight_decay,
            ),
        ] {
            check(
                not_negative(value),
                field,
                value.to_string(),
                "a finite number, not negative",
            )?;
        }
        Ok(())
    }

    /// The configuration as the text of `config.toml`.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration holds only numbers, strings and tables")
    }

    /// The first 16 hexadecimal digits of the SHA-256 of [`Config::to_toml`].
    pub fn hash(&self) -> String {
        Sha256::digest(self.to_toml())
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Whether the model has an encoder: all variants but DO.
    pub fn has_encoder(&self) -> bool {
        self.variant.has_encoder()
    }

    /// Whether decoder columns are rescaled to norm 1: SDL and DO.
    pub fn normalizes_columns(&self) -> bool {
        matches!(self.variant, Variant::Sdl | Variant::Do)
    }

    /// The name of the model: the variant, with `-nl` for a one-hidden decoder.
    pub fn model_name(&self) -> &'static str {
        self.variant.model_name(self.model.hidden_dim > 0)
    }

    /// The weight decay of a parameter, by its name.
    pub fn weight_decay(&self, parameter: &str) -> f64 {
        match parameter {
            "encoder.bias" => self.optimizer.encoder_bias_weight_decay,
            "decoder.hidden_bias" => self.optimizer.hidden_bias_weight_decay,
            "decoder.dictionary" | "decoder.hidden" | "decoder.output" => {
                self.optimizer.decoder_weight_decay
            }
            _ => 0.0,
        }
    }

    /// η_D in `epoch` (from 0).
    pub fn decoder_learning_rate(&self, epoch: u32) -> f64 {
        let halvings = epoch
            .checked_div(self.optimizer.halve_decoder_rate_every)
            .unwrap_or(0);
        self.optimizer.decoder_learning_rate * 0.5f64.powf(f64::from(halvings))
    }
}

/// A row of the hyperparameter table, to be filled for a data set.
struct Row {
    variant: Variant,
    one_hidden: bool,
    /// Whether the variance hinge is on, which decides most columns of the row.
    hinge: bool,
}

impl Row {
    fn of(variant: Variant, one_hidden: bool) -> Self {
        Self {
            variant,
            one_hidden,
            hinge: variant == Variant::Vdl,
        }
    }

    fn mnist(&self) -> Config {
        let (lambda, encoder_weight, decoder_rate, encoder_rate) =
            match (self.hinge, self.one_hidden) {
                (false, false) => (0.005, 1.0, 1e-3, 3e-4),
                (true, false) => (0.02, 5.0, 3e-4, 1e-4),
                (false, true) => (0.01, 1.0, 1e-3, 1e-4),
                (true, true) => (0.02, 100.0, 3e-4, 1e-4),
            };
        let model = ModelConfig {
            code_dim: 128,
            hidden_dim: self.hidden(1024),
            lista_iterations: 3,
        };
        let mut config = self.config(
            model,
            DataConfig::Mnist(Default::default()),
            200,
            lambda,
            encoder_weight,
            decoder_rate,
            encoder_rate,
        );
        config.inference.step_size = if self.hinge { 0.5 } else { 1.0 };
        config.optimizer.hidden_bias_weight_decay = if self.one_hidden { 1e-3 } else { 0.0 };
        config
    }

    fn patches(&self) -> Config {
        let (lambda, encoder_weight, decoder_rate) = match (self.hinge, self.one_hidden) {
            (false, false) => (0.002, 1.0, 1e-3),
            (true, false) => (0.005, 5.0, 3e-4),
            (false, true) => (0.003, 1.0, 1e-3),
            (true, true) => (0.003, 20.0, 5e-5),
        };
        let model = ModelConfig {
            code_dim: 256,
            hidden_dim: self.hidden(2048),
            lista_iterations: 3,
        };
        let mut config = self.config(
            model,
            DataConfig::Images(Default::default()),
            100,
            lambda,
            encoder_weight,
            decoder_rate,
            1e-4,
        );
        config.optimizer.encoder_bias_weight_decay = 1e-2;
        if self.one_hidden {
            config.optimizer.hidden_bias_weight_decay = if self.hinge { 1e-1 } else { 1e-2 };
        }
        config
    }

    /// The built-in generators: small patches or windows, for which nothing is published.
    fn built_in(&self, data: &str) -> Config {
        let (data, code_dim, hidden_dim) = match data {
            "vibration" => (DataConfig::Vibration(Default::default()), 128, 256),
            "ecg" => (DataConfig::Ecg(Default::default()), 128, 256),
            _ => (DataConfig::DeadLeaves(Default::default()), 128, 256),
        };
        let (lambda, encoder_weight, decoder_rate) = if self.hinge {
            (0.01, 5.0, 1e-3)
        } else {
            (0.005, 1.0, 1e-3)
        };
        let model = ModelConfig {
            code_dim,
            hidden_dim: self.hidden(hidden_dim),
            lista_iterations: 3,
        };
        self.config(model, data, 16, lambda, encoder_weight, decoder_rate, 1e-3)
    }

    fn hidden(&self, hidden_dim: usize) -> usize {
        if self.one_hidden { hidden_dim } else { 0 }
    }

    #[allow(clippy::too_many_arguments)] // The columns of the table.
    fn config(
        &self,
        model: ModelConfig,
        data: DataConfig,
        epochs: u32,
        lambda: f64,
        encoder_weight: f64,
        decoder_learning_rate: f64,
        encoder_learning_rate: f64,
    ) -> Config {
        Config {
            variant: self.variant,
            seed: 31,
            epochs,
            batch_size: 250,
            patience: 0,
            model,
            inference: InferenceConfig {
                lambda,
                step_size: 0.5,
                max_iterations: 200,
                tolerance: 1e-3,
                stopping: Stopping::Sliding,
                encoder_weight: if self.variant.has_encoder() {
                    encoder_weight
                } else {
                    0.0
                },
                variance_weight: if self.hinge { 10.0 } else { 0.0 },
                variance_threshold: 0.5,
                initial_code: if self.one_hidden && !self.variant.has_encoder() {
                    0.01
                } else {
                    0.0
                },
            },
            optimizer: OptimizerConfig {
                decoder_learning_rate,
                encoder_learning_rate,
                halve_decoder_rate_every: if self.hinge && self.one_hidden { 30 } else { 0 },
                decoder_weight_decay: if self.variant == Variant::Wdl {
                    5e-4
                } else {
                    0.0
                },
                hidden_bias_weight_decay: 0.0,
                encoder_bias_weight_decay: 0.0,
                quantize_aware: None,
            },
            data,
        }
    }
}

fn parse_table(text: &str, name: &str) -> Result<toml::Table, ConfigError> {
    text.parse()
        .map_err(|e: toml::de::Error| ConfigError::Toml(format!(" {name}"), e.to_string()))
}

/// The configuration in a table, which came from the file `name` or, if that is empty, from settings.
fn parse_config(table: toml::Table, name: &str) -> Result<Config, ConfigError> {
    table.try_into().map_err(|e: toml::de::Error| {
        let place = if name.is_empty() {
            String::new()
        } else {
            format!(" {name}")
        };
        ConfigError::Toml(place, e.to_string().trim().replace('\n', " "))
    })
}

/// `a.b=value` as a document. A value that is not TOML is taken as a number if it is one elsewhere (`NaN`, `.5`), else as a string, so
/// that paths need no quotes.
fn parse_setting(setting: &str) -> Result<toml::Table, ConfigError> {
    let bad = || ConfigError::BadOverride(setting.to_owned());
    let (key, value) = setting.split_once('=').ok_or_else(bad)?;
    if key.is_empty()
        || !key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    {
        return Err(bad());
    }
    let quoted = match value.parse() {
        Ok(number) => toml::Value::Float(number),
        Err(_) => toml::Value::String(value.to_owned()),
    };
    format!("{key} = {value}")
        .parse()
        .or_else(|_| format!("{key} = {quoted}").parse())
        .map_err(|_| bad())
}

/// Lays `upper` over `lower`, table by table. Another data source replaces the whole data table: its keys are its own.
pub(crate) fn merge(lower: &mut toml::Table, upper: toml::Table) {
    let source = |table: &toml::Table| table.get("data")?.get("source").cloned();
    if let (Some(above), Some(below)) = (source(&upper), source(lower))
        && above != below
    {
        lower.remove("data");
    }
    merge_keys(lower, upper);
}

/// Lays `upper` over `lower`, key by key.
fn merge_keys(lower: &mut toml::Table, upper: toml::Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => {
                merge_keys(below, above);
            }
            // `epochs = 5` for a float and `lambda = 1` for an integer mean the same number.
            (Some(below @ toml::Value::Float(_)), toml::Value::Integer(value)) => {
                *below = toml::Value::Float(value as f64);
            }
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

mod variant_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use sparsecode_formats::Variant;

    pub(super) fn serialize<S: Serializer>(
        variant: &Variant,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(variant.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Variant, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| {
            D::Error::custom(format!(
                "variant '{text}': use one of sdl, vdl, wdl, do, none"
            ))
        })
    }
}
