//! Settings of the first family, and its presets: every row of the paper's hyperparameter table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sparsecode_formats::Variant;

use super::inference::{InferenceConfig, StepRule};
use super::model::{ModelConfig, QuantizeAware};
use super::presets::Row;
use crate::data::DataConfig;
use crate::run::{self, ConfigError, in_range};

/// The configuration of a run of this family.
pub type Config = run::Config<Lista>;

/// Sparse autoencoders with a LISTA encoder and FISTA inference: the family's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lista {
    /// What keeps the codes from collapsing to 0.
    #[serde(with = "variant_text")]
    #[schemars(schema_with = "variant_text::schema")]
    pub variant: Variant,
    /// Sizes of the networks. The input dimension follows from the data.
    pub model: ModelConfig,
    /// The energy that codes minimise, and how FISTA minimises it. Symbols: `docs/method.md`.
    pub inference: InferenceConfig,
    /// Adam's learning rates, and weight decay in its ℓ2 form (added to the gradient).
    pub optimizer: OptimizerConfig,
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
        preset(name)
    }

    /// The same with another λ, and what the hyperparameter table changes with it: VDL-NL on patches has γ = 20 up to λ = 0.005 and 40 from 0.01 on.
    #[must_use]
    pub fn at_lambda(mut self, lambda: f64) -> Self {
        self.family.inference.lambda = lambda;
        let split_row = matches!(self.data, DataConfig::Images(_)) && self.model_name() == "vdl-nl";
        if split_row {
            self.family.inference.encoder_weight = if lambda < 0.01 { 20.0 } else { 40.0 };
        }
        self
    }

    /// Whether the model has an encoder: all variants but DO.
    pub fn has_encoder(&self) -> bool {
        self.family.variant.has_encoder()
    }

    /// Whether decoder columns are rescaled to norm 1: SDL and DO.
    pub fn normalizes_columns(&self) -> bool {
        matches!(self.family.variant, Variant::Sdl | Variant::Do)
    }

    /// Why an engine's own device cannot take the run's steps, so that the processor does; `None` if it can.
    pub fn steps_on_processor(&self) -> Option<&'static str> {
        if self.family.optimizer.quantize_aware.is_some() {
            Some("optimizer.quantize_aware is set")
        } else if self.family.optimizer.frozen_decoder {
            Some("the decoder is frozen")
        } else if self.family.inference.step_rule == StepRule::Bounded {
            Some("inference.step_rule is \"bounded\"")
        } else {
            None
        }
    }

    /// The weight decay of a parameter, by its name.
    pub fn weight_decay(&self, parameter: &str) -> f64 {
        match parameter {
            "encoder.bias" => self.family.optimizer.encoder_bias_weight_decay,
            "decoder.hidden_bias" => self.family.optimizer.hidden_bias_weight_decay,
            "decoder.dictionary" | "decoder.hidden" | "decoder.output" => {
                self.family.optimizer.decoder_weight_decay
            }
            _ => 0.0,
        }
    }

    /// η_D in `epoch` (from 0).
    pub fn decoder_learning_rate(&self, epoch: u32) -> f64 {
        let halvings = epoch
            .checked_div(self.family.optimizer.halve_decoder_rate_every)
            .unwrap_or(0);
        self.family.optimizer.decoder_learning_rate * 0.5f64.powf(f64::from(halvings))
    }
}

/// See [`Config::preset`].
pub(super) fn preset(name: &str) -> Result<Config, ConfigError> {
    let unknown = || ConfigError::UnknownPreset {
        name: name.to_owned(),
        guess: guess(name),
        form: form(),
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

/// Checks the settings.
pub(super) fn validate(config: &Config) -> Result<(), ConfigError> {
    let positive = |x: f64| x.is_finite() && x > 0.0;
    let not_negative = |x: f64| x.is_finite() && x >= 0.0;
    let (inference, optimizer) = (&config.family.inference, &config.family.optimizer);
    let has_gradient =
        config.has_encoder() || config.family.model.hidden_dim == 0 || inference.initial_code > 0.0;
    in_range(
        has_gradient,
        "inference.initial_code",
        inference.initial_code,
        "above 0 for a one-hidden decoder without an encoder (presets end in do-nl)",
    )?;
    in_range(
        !optimizer.frozen_decoder || config.has_encoder(),
        "optimizer.frozen_decoder",
        optimizer.frozen_decoder,
        "false for a model without an encoder, which has nothing else to learn",
    )?;
    in_range(
        config.batch_size > 1,
        "batch_size",
        config.batch_size,
        "at least 2 (the hinge needs a deviation)",
    )?;
    let dim = |x: usize| (1..=usize::from(u16::MAX)).contains(&x);
    in_range(
        dim(config.family.model.code_dim),
        "model.code_dim",
        config.family.model.code_dim,
        "1 to 65535",
    )?;
    in_range(
        config.family.model.hidden_dim == 0 || dim(config.family.model.hidden_dim),
        "model.hidden_dim",
        config.family.model.hidden_dim,
        "0 (linear) to 65535",
    )?;
    in_range(
        config.family.model.lista_iterations <= 255,
        "model.lista_iterations",
        config.family.model.lista_iterations,
        "0 to 255",
    )?;
    in_range(
        positive(inference.step_size),
        "inference.step_size",
        inference.step_size,
        "positive",
    )?;
    in_range(
        inference.max_iterations > 0,
        "inference.max_iterations",
        inference.max_iterations,
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
        in_range(
            not_negative(value),
            field,
            value,
            "a finite number, not negative",
        )?;
    }
    Ok(())
}

/// What names of presets are made of.
fn form() -> String {
    format!(
        "a preset is DATA/MODEL: {} with {}, each also as -nl (one-hidden-layer decoder); for example mnist/vdl or patches/vdl-nl",
        listed(&DATA_SETS, "or"),
        listed(&model_names(), "or")
    )
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
