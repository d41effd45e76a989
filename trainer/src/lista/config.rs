//! Settings of the first family.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sparsecode_formats::Variant;

use super::inference::{InferenceConfig, StepRule};
use super::model::{ModelConfig, QuantizeAware};
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

impl Config {
    /// The same with another λ, and what the hyperparameter table changes with it: VDL-NL on
    /// patches has γ = 20 up to λ = 0.005 and 40 from 0.01 on.
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

    /// Why an engine's own device cannot take the run's steps, so that the processor does; `None`
    /// if it can.
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
