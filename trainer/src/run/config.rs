//! The configuration of a run, whatever it trains.
//!
//! A configuration is resolved in layers: a preset, then a TOML file, then single values (`--set
//! inference.lambda=0.01` and the flags that are short for it). The result is saved with the run as
//! `config.toml`; the hash of that text names it.

use std::borrow::Cow;
use std::fmt::Debug;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use toml::{Table, Value};

use crate::data::DataConfig;

/// The settings of a family of models: those keys of `config.toml` that not every run has.
pub trait Settings:
    Clone + Debug + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
    /// The value of `family` in `config.toml`.
    const NAME: &'static str;
    /// Whether `config.toml` leaves `family` out, as all files did when there was one family.
    const IS_DEFAULT: bool = false;
    /// The top-level keys of the settings, in the order of `config.toml`.
    const KEYS: &'static [&'static str];
    /// Those of [`Settings::KEYS`] that the model's name says already.
    const NAMED_KEYS: &'static [&'static str] = &[];
    /// Settings that tables of runs always show: the dotted key and its heading.
    const SHOWN_SETTINGS: &'static [(&'static str, &'static str)] = &[];

    /// The preset of this name.
    ///
    /// # Errors
    ///
    /// [`ConfigError::UnknownPreset`] says what there is.
    fn preset(name: &str) -> Result<Config<Self>, ConfigError>;

    /// The names of all presets.
    fn presets() -> Vec<String>;

    /// What a preset changes where other settings are laid over it; `resolved` is the preset with
    /// them.
    #[must_use]
    fn following(preset: Config<Self>, _resolved: &Config<Self>) -> Config<Self> {
        preset
    }

    /// Completes `settings`, which choose a person's own signal or array where `config.toml` had
    /// another source.
    fn complete_for_own_data(_settings: &mut toml::Table) {}

    /// Checks the family's settings.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] names the key and its range.
    fn validate(config: &Config<Self>) -> Result<(), ConfigError>;

    /// The name of the model, as in the preset's name.
    fn model_name(&self) -> &'static str;
}

/// Everything that decides what a run computes: the keys that every run has, and its family's
/// settings.
///
/// As text it is the run's `config.toml`. There the family's keys stand beside the others; `family`
/// names the family, unless it is the first one, which files from before there was another do not
/// name.
#[derive(Clone, Debug, PartialEq)]
pub struct Config<F> {
    /// The family's settings.
    pub family: F,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Passes over the training samples.
    pub epochs: u32,
    /// n, samples in a mini-batch.
    pub batch_size: usize,
    /// Stops when the objective on the validation set has not improved for this many epochs; 0
    /// never stops early.
    pub patience: u32,
    /// Where samples come from.
    pub data: DataConfig,
}

/// The keys of [`Config`] that every run has, in the order of `config.toml`; `data` is a table.
const KEYS: [&str; 5] = ["seed", "epochs", "batch_size", "patience", "data"];
const FAMILY: &str = "family";

// `config.toml` as it is written. Scalars of the family come first, its tables before `[data]`.
/// Everything that decides what a run computes.
#[derive(Serialize, JsonSchema)]
struct Written<'a, F> {
    /// The family of models.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    family: Option<&'static str>,
    #[serde(flatten)]
    settings: &'a F,
    /// Seed of all random numbers: initial weights, order of samples, random splits, generated
    /// data.
    seed: u64,
    /// Passes over the training samples.
    #[schemars(range(min = 1))]
    epochs: u32,
    /// n, samples in a mini-batch. An incomplete mini-batch at the end of an epoch is left out,
    /// unless the family keeps it.
    #[schemars(range(min = 2))]
    batch_size: usize,
    /// Stops when the objective on the validation set has not improved for this many epochs; 0
    /// never stops early.
    patience: u32,
    /// Where samples come from.
    data: &'a DataConfig,
}

/// The keys that every run has.
#[derive(Deserialize)]
struct Common {
    seed: u64,
    epochs: u32,
    batch_size: usize,
    patience: u32,
    data: DataConfig,
}

impl<F: Settings> Serialize for Config<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written {
            family: (!F::IS_DEFAULT).then_some(F::NAME),
            settings: &self.family,
            seed: self.seed,
            epochs: self.epochs,
            batch_size: self.batch_size,
            patience: self.patience,
            data: &self.data,
        };
        written.serialize(serializer)
    }
}

impl<'de, F: Settings> Deserialize<'de> for Config<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;

        let mut table = Table::deserialize(deserializer)?;
        for (_, value) in &mut table {
            take_numbers(value);
        }
        match table.remove(FAMILY) {
            Some(Value::String(name)) if name == F::NAME => {}
            Some(other) => {
                let name = F::NAME;
                return Err(D::Error::custom(format!(
                    "family = {other}, but this is read as a configuration of \"{name}\": \
                     what runs of one family are asked for is not for those of another (of one \
                     that denoises, export the model file and evaluate that)"
                )));
            }
            None if F::IS_DEFAULT => {}
            None => {
                let name = F::NAME;
                return Err(D::Error::custom(format!(
                    "no family is named; write family = \"{name}\""
                )));
            }
        }
        let known = |key: &str| KEYS.contains(&key) || F::KEYS.contains(&key);
        if let Some(key) = table.keys().find(|key| !known(key)) {
            let expected: Vec<String> = F::KEYS
                .iter()
                .chain(&KEYS)
                .map(|key| format!("`{key}`"))
                .collect();
            return Err(D::Error::custom(format!(
                "unknown field `{key}`, expected one of {}",
                expected.join(", ")
            )));
        }
        let common: Table = KEYS
            .iter()
            .filter_map(|key| table.remove_entry(*key))
            .collect();
        // With the key at fault, which the error's text has and its message alone has not.
        let told = |e: toml::de::Error| D::Error::custom(e.to_string().trim());
        let family = F::deserialize(table).map_err(told)?;
        let common = Common::deserialize(common).map_err(told)?;
        Ok(Self {
            family,
            seed: common.seed,
            epochs: common.epochs,
            batch_size: common.batch_size,
            patience: common.patience,
            data: common.data,
        })
    }
}

/// What `serde_json` hands a number on as where a package of the build switches on its feature
/// `arbitrary_precision`: a table with this one key, and the number's text.
const NUMBER: &str = "$serde_json::private::Number";

/// Turns such tables into numbers.
fn take_numbers(value: &mut Value) {
    match value {
        Value::Table(table) => {
            let text = match table.get(NUMBER) {
                Some(Value::String(text)) if table.len() == 1 => text.clone(),
                _ => return table.iter_mut().for_each(|(_, value)| take_numbers(value)),
            };
            if let Ok(number) = text.parse() {
                *value = Value::Integer(number);
            } else if let Ok(number) = text.parse() {
                *value = Value::Float(number);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(take_numbers),
        _ => {}
    }
}

impl<F: Settings> JsonSchema for Config<F> {
    fn schema_name() -> Cow<'static, str> {
        "Config".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::<F>::json_schema(generator)
    }
}

/// The family that a `config.toml` names; `None` for the first one, which is not named.
///
/// # Errors
///
/// [`ConfigError::Io`] or [`ConfigError::Toml`] if the file cannot be read.
pub fn family_named(path: &Path) -> Result<Option<String>, ConfigError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| ConfigError::Io(name.clone(), e))?;
    let table = parse_table(&text, &name)?;
    let family = table.get(FAMILY).and_then(Value::as_str);
    Ok(family.map(str::to_owned))
}

/// Why a configuration could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No preset has this name.
    #[error("no preset '{name}'{guess}; {form}")]
    UnknownPreset {
        /// What was asked for.
        name: String,
        /// Presets of a similar name, as a question; or nothing.
        guess: String,
        /// What names of presets are made of.
        form: String,
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

impl<F: Settings> Config<F> {
    /// The family's preset of this name.
    ///
    /// ```
    /// let config = sparsecode_trainer::lista::Config::preset("mnist/vdl")?;
    /// assert_eq!(config.family.inference.lambda, 0.02);
    /// assert_eq!(config.family.inference.variance_weight, 10.0);
    /// # Ok::<(), sparsecode_trainer::run::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError::UnknownPreset`] names similar ones, and says what the names are made of.
    pub fn preset(name: &str) -> Result<Self, ConfigError> {
        F::preset(name)
    }

    /// A preset, a TOML document and single `table.key=value` settings laid over it, and what the
    /// preset changes with these settings, wherever they stand.
    ///
    /// # Errors
    ///
    /// Names the preset or the key that is unknown, of the wrong type or out of range.
    pub fn layered(
        preset: &str,
        file: Option<&Path>,
        settings: &[String],
    ) -> Result<Self, ConfigError> {
        let base = F::preset(preset)?;
        let resolved = base.with_overrides(file, settings)?;
        F::following(base, &resolved).with_overrides(file, settings)
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
            match parse_config::<F>(upper.clone(), &name) {
                // A whole configuration, as a run's config.toml: keys that it leaves out are at
                // their default, not this one's.
                Ok(whole) => table = whole.to_table(),
                Err(_) => lay_over::<F>(&mut table, upper),
            }
            // Keys and types now, so that a mistake is told as the file's; ranges when all layers
            // are there.
            parse_config::<F>(table.clone(), &name)?;
        }
        // All settings together, so that their order does not matter: one may choose a source,
        // another set its keys. A source that is set twice leaves the other keys: those which the
        // last one does not have are then named.
        let mut upper = Table::new();
        for setting in settings {
            merge_keys(&mut upper, parse_setting(setting)?);
        }
        lay_over::<F>(&mut table, upper);
        Self::from_table(table, "")
    }

    /// Lays the keys of a table, those of `config.toml`, over this configuration.
    ///
    /// ```
    /// use sparsecode_trainer::lista::Config;
    ///
    /// let table = "epochs = 3\ninference.lambda = 0.01".parse().unwrap();
    /// let config = Config::preset("ecg/vdl")?.with_table(table)?;
    /// assert_eq!((config.epochs, config.family.inference.lambda), (3, 0.01));
    /// # Ok::<(), sparsecode_trainer::run::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Names the key that is unknown, of the wrong type or out of range.
    pub fn with_table(&self, settings: Table) -> Result<Self, ConfigError> {
        let mut table = self.to_table();
        lay_over::<F>(&mut table, settings);
        Self::from_table(table, "")
    }

    /// The configuration as the table that `config.toml` holds.
    pub fn to_table(&self) -> Table {
        Table::try_from(self).expect("a configuration holds only numbers, strings and tables")
    }

    fn from_table(table: Table, name: &str) -> Result<Self, ConfigError> {
        let config = parse_config::<F>(table, name)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks that every value is in its range. Configurations that are read or resolved here are;
    /// one made by hand may not be.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] names the key and its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (seed, epochs, batch_size) = (self.seed, self.epochs, self.batch_size);
        in_range(
            i64::try_from(seed).is_ok(),
            "seed",
            seed,
            "at most 9223372036854775807 (TOML's integers are signed)",
        )?;
        in_range(epochs > 0, "epochs", epochs, "at least 1")?;
        in_range(batch_size > 0, "batch_size", batch_size, "at least 1")?;
        F::validate(self)
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

    /// A value by its dotted key, as text; empty where the configuration does not have it.
    pub fn setting(&self, key: &str) -> String {
        let mut found = Some(Value::Table(self.to_table()));
        for part in key.split('.') {
            found = found.and_then(|value| value.get(part).cloned());
        }
        match found {
            Some(Value::String(text)) => text,
            // Not TOML's text, which writes 1 for a float as 1.0.
            Some(Value::Float(value)) => value.to_string(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }

    /// Heading and value of the settings that tables of runs always show.
    pub fn shown_settings(&self) -> impl Iterator<Item = (&'static str, String)> {
        let shown = F::SHOWN_SETTINGS.iter();
        shown.map(|(key, heading)| (*heading, self.setting(key)))
    }

    /// The name of the model, as in the preset's name.
    pub fn model_name(&self) -> &'static str {
        self.family.model_name()
    }
}

/// Refuses a value that is not in its range.
///
/// # Errors
///
/// [`ConfigError::OutOfRange`], unless `ok`.
pub fn in_range(
    ok: bool,
    field: &'static str,
    value: impl ToString,
    expected: &'static str,
) -> Result<(), ConfigError> {
    match ok {
        true => Ok(()),
        false => Err(ConfigError::OutOfRange {
            field,
            value: value.to_string(),
            expected,
        }),
    }
}

fn parse_table(text: &str, name: &str) -> Result<Table, ConfigError> {
    text.parse()
        .map_err(|e: toml::de::Error| ConfigError::Toml(format!(" {name}"), e.to_string()))
}

/// The configuration in a table, which came from the file `name` or, if that is empty, from
/// settings.
fn parse_config<F: Settings>(table: Table, name: &str) -> Result<Config<F>, ConfigError> {
    table.try_into().map_err(|e: toml::de::Error| {
        let place = if name.is_empty() {
            String::new()
        } else {
            format!(" {name}")
        };
        ConfigError::Toml(place, e.to_string().trim().replace('\n', " "))
    })
}

/// `a.b=value` as a document. A value that is not TOML is taken as a number if it is one elsewhere
/// (`NaN`, `.5`), else as a string, so that paths need no quotes.
fn parse_setting(setting: &str) -> Result<Table, ConfigError> {
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
        Ok(number) => Value::Float(number),
        Err(_) => Value::String(value.to_owned()),
    };
    format!("{key} = {value}")
        .parse()
        .or_else(|_| format!("{key} = {quoted}").parse())
        .map_err(|_| bad())
}

/// [`merge`] of settings with a configuration. Where they choose a person's own signal or array,
/// the family completes them.
fn lay_over<F: Settings>(lower: &mut Table, mut upper: Table) {
    let source = |table: &Table| {
        let data = table.get("data").and_then(Value::as_table);
        data.and_then(|data| data.get("source")).cloned()
    };
    let chosen = source(&upper).filter(|chosen| source(lower).as_ref() != Some(chosen));
    if chosen.is_some_and(|chosen| matches!(chosen.as_str(), Some("signal" | "npy"))) {
        F::complete_for_own_data(&mut upper);
    }
    merge(lower, upper);
}

/// Lays `upper` over `lower`, table by table. Another data source replaces the whole data table:
/// its keys are its own.
pub(crate) fn merge(lower: &mut Table, upper: Table) {
    let source = |table: &Table| table.get("data")?.get("source").cloned();
    if let (Some(above), Some(below)) = (source(&upper), source(lower))
        && above != below
    {
        lower.remove("data");
    }
    merge_keys(lower, upper);
}

/// Lays `upper` over `lower`, key by key.
fn merge_keys(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => {
                merge_keys(below, above);
            }
            // `epochs = 5` for a float and `lambda = 1` for an integer mean the same number.
            (Some(below @ Value::Float(_)), Value::Integer(value)) => {
                *below = Value::Float(value as f64);
            }
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_however_they_are_handed_on() {
        let handed = |text: &str| {
            let text = Value::String(text.to_owned());
            Value::Table(Table::from_iter([(NUMBER.to_owned(), text)]))
        };
        let mut value = Value::Table(Table::from_iter([
            ("a".to_owned(), handed("0.02")),
            (
                "b".to_owned(),
                Value::Array(vec![handed("-3"), Value::Boolean(true)]),
            ),
            ("c".to_owned(), handed("no number")),
        ]));
        take_numbers(&mut value);
        let Value::Table(table) = value else {
            panic!("a table")
        };
        assert_eq!(table["a"], Value::Float(0.02));
        assert_eq!(
            table["b"],
            Value::Array(vec![Value::Integer(-3), Value::Boolean(true)])
        );
        assert!(table["c"].is_table());
    }
}
