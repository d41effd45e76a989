//! What a run is made of, and the presets: every row of the paper's hyperparameter table.
//!
//! A configuration is resolved in layers: a preset, then a TOML file, then single values (`--set inference.lambda=0.01` and the
//! flags that are short for it). The result is saved with the run as `config.toml`; the hash of that text names it.

mod presets;
pub mod reference;

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sparsecode_formats::Variant;

use crate::data::DataConfig;
use crate::inference::{InferenceConfig, StepRule};
use crate::model::QuantizeAware;
use presets::Row;

/// Everything that decides what a run computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What keeps the codes from collapsing to 0.
    #[serde(with = "variant_text")]
    #[schemars(schema_with = "variant_text::schema")]
    pub variant: Variant,
    /// Seed of all random numbers: initial weights, order of samples, random splits, generated
    /// data.
    pub seed: u64,
    /// Passes over the training samples.
    #[schemars(range(min = 1))]
    pub epochs: u32,
    /// n, samples in a mini-batch. The last, incomplete mini-batch of an epoch is left out.
    #[schemars(range(min = 2))]
    pub batch_size: usize,
    /// Stops when the validation energy has not improved for this many epochs; 0 never stops early.
    pub patience: u32,
    /// Sizes of the networks. The input dimension follows from the data.
    pub model: ModelConfig,
    /// The energy that codes minimise, and how FISTA minimises it. Symbols: `docs/method.md`.
    pub inference: InferenceConfig,
    /// Adam's learning rates, and weight decay in its ℓ2 form (added to the gradient).
    pub optimizer: OptimizerConfig,
    /// Where samples come from.
    pub data: DataConfig,
}

/// The networks' sizes. The input dimension is the data's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// l, components of a code: the atoms of a linear decoder.
    #[schemars(range(min = 1, max = u16::MAX))]
    pub code_dim: usize,
    /// m, hidden units of a one-hidden-layer decoder; 0 for a linear decoder.
    #[schemars(range(min = 0, max = u16::MAX))]
    pub hidden_dim: usize,
    /// L, iterations of the LISTA encoder.
    #[schemars(range(min = 0, max = 255))]
    pub lista_iterations: usize,
}

/// Adam's settings. Weight decay is the L2 form, added to the gradient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// η_D, the decoder's learning rate.
    #[schemars(range(min = 0))]
    pub decoder_learning_rate: f64,
    /// η_E, the encoder's learning rate.
    #[schemars(range(min = 0))]
    pub encoder_learning_rate: f64,
    /// Halves η_D after every so many epochs; 0 keeps it as it is.
    pub halve_decoder_rate_every: u32,
    /// Weight decay of the decoder's matrices: the regularisation of WDL.
    #[schemars(range(min = 0))]
    pub decoder_weight_decay: f64,
    /// Weight decay of b1, the bias of a one-hidden-layer decoder.
    #[schemars(range(min = 0))]
    pub hidden_bias_weight_decay: f64,
    /// Weight decay of b, the encoder's bias.
    #[schemars(range(min = 0))]
    pub encoder_bias_weight_decay: f64,
    /// Trains with weights rounded as an export for integers rounds them. Not set: with the weights
    /// as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantize_aware: Option<QuantizeAware>,
    /// Learns an encoder for the decoder that the run starts from, which stays as it is, bit for
    /// bit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frozen_decoder: bool,
}

/// Why a configuration could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No preset has this name.
    #[error(
        "no preset '{name}'{guess}; a preset is DATA/MODEL: {data} with {models}, each also as -nl (one-hidden-layer decoder); for example mnist/vdl or patches/vdl-nl",
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
    let (name, presets) = (name.to_ascii_lowercase(), preset_names());
    let parts = |preset: &str| -> (String, String) {
        let (data, model) = preset.split_once('/').unwrap_or(("", preset));
        (data.to_owned(), model.to_owned())
    };
    let is_part = |preset: &&String| {
        let (data, model) = parts(preset);
        model == name || (data == name && !model.ends_with("-nl"))
    };
    let mut found: Vec<&String> = presets.iter().filter(is_part).collect();
    if found.is_empty() {
        // Slips of the keyboard: at most two, and one in the model's few letters.
        let slips = |preset: &str| {
            let (data, model) = parts(preset);
            let likely = match name.split_once('/') {
                Some((d, m)) => {
                    strsim::osa_distance(&data, d) <= 2 && strsim::osa_distance(&model, m) <= 1
                }
                None => true,
            };
            let slips = strsim::osa_distance(preset, &name);
            (likely && slips <= 2).then_some(slips)
        };
        let fewest = presets.iter().filter_map(|preset| slips(preset)).min();
        let is_likely = |preset: &&String| fewest.is_some() && slips(preset) == fewest;
        found = presets.iter().filter(is_likely).collect();
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

    /// A preset, a TOML document and single `table.key=value` settings laid over it, and what the preset changes with λ,
    /// wherever λ was set.
    ///
    /// # Errors
    ///
    /// Names the preset or the key that is unknown, of the wrong type or out of range.
    pub fn layered(
        preset: &str,
        file: Option<&Path>,
        settings: &[String],
    ) -> Result<Self, ConfigError> {
        let base = Self::preset(preset)?;
        let lambda = base.with_overrides(file, settings)?.inference.lambda;
        base.at_lambda(lambda).with_overrides(file, settings)
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
            let upper = parse_table(&text, &name)?;
            match parse_config(upper.clone(), &name) {
                // A whole configuration, as a run's config.toml: keys that it leaves out are at their default, not this one's.
                Ok(whole) => table = whole.to_table(),
                Err(_) => lay_over(&mut table, upper),
            }
            // Keys and types now, so that a mistake is told as the file's; ranges when all layers are there.
            parse_config(table.clone(), &name)?;
        }
        // All settings together, so that their order does not matter: one may choose a source, another set its keys. A source
        // that is set twice leaves the other keys: those which the last one does not have are then named.
        let mut upper = toml::Table::new();
        for setting in settings {
            merge_keys(&mut upper, parse_setting(setting)?);
        }
        lay_over(&mut table, upper);
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
        lay_over(&mut table, settings);
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
            !optimizer.frozen_decoder || self.has_encoder(),
            "optimizer.frozen_decoder",
            optimizer.frozen_decoder.to_string(),
            "false for a model without an encoder, which has nothing else to learn",
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

    /// Why an engine's own device cannot take the run's steps, so that the processor does; `None` if it can.
    pub fn steps_on_processor(&self) -> Option<&'static str> {
        if self.optimizer.quantize_aware.is_some() {
            Some("optimizer.quantize_aware is set")
        } else if self.optimizer.frozen_decoder {
            Some("the decoder is frozen")
        } else if self.inference.step_rule == StepRule::Bounded {
            Some("inference.step_rule is \"bounded\"")
        } else {
            None
        }
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

/// [`merge`] of settings with a configuration. Where they choose a person's own signal or array, on which nothing is published that a
/// run could repeat, FISTA's step is bounded, unless they choose a rule.
fn lay_over(lower: &mut toml::Table, mut upper: toml::Table) {
    let source = |table: &toml::Table| {
        let data = table.get("data").and_then(toml::Value::as_table);
        data.and_then(|data| data.get("source")).cloned()
    };
    let chosen = source(&upper).filter(|chosen| source(lower).as_ref() != Some(chosen));
    if chosen.is_some_and(|chosen| matches!(chosen.as_str(), Some("signal" | "npy")))
        && let inference = upper
            .entry("inference")
            .or_insert_with(|| toml::Table::new().into())
        && let Some(inference) = inference.as_table_mut()
    {
        inference
            .entry("step_rule")
            .or_insert_with(|| "bounded".into());
    }
    merge(lower, upper);
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
    use schemars::{Schema, SchemaGenerator, json_schema};
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

    pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
        let choices = Variant::ALL.map(|variant| {
            let meaning = match variant {
                Variant::Sdl => "Sparse dictionary learning: atoms are kept at norm 1.",
                Variant::Vdl => {
                    "Variance-regularised: a hinge holds up the deviation of each code component."
                }
                Variant::Wdl => "Weight decay on the decoder.",
                Variant::Do => {
                    "Decoder only: atoms of norm 1, no encoder; codes are found by FISTA."
                }
                Variant::Plain => "No regularisation: the ablation, which is expected to collapse.",
                // The test of the reference refuses an empty meaning.
                _ => "",
            };
            json_schema!({ "const": variant.name(), "description": meaning })
        });
        json_schema!({ "oneOf": choices })
    }
}
