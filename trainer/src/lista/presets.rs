//! Presets: every row of the paper's hyperparameter table.

use sparsecode_formats::Variant;

use super::config::{Config, Lista, OptimizerConfig};
use super::inference::{InferenceConfig, StepRule, Stopping};
use super::model::ModelConfig;
use crate::data::DataConfig;
use crate::run::ConfigError;

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

/// The preset `data/variant`. Rows for MNIST and patches are the paper's Table 3, λ as in its
/// figures; DO and WDL take the SDL row, as do the built-in sets with sizes of their own.
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

/// What names of presets are made of.
fn form() -> String {
    format!(
        "a preset is DATA/MODEL: {} with {}, each also as -nl (one-hidden-layer decoder); for example mnist/vdl or patches/vdl-nl",
        listed(&DATA_SETS, "or"),
        listed(&model_names(), "or")
    )
}

/// A row of the hyperparameter table, to be filled for a data set.
pub(super) struct Row {
    variant: Variant,
    one_hidden: bool,
    /// Whether the variance hinge is on, which decides most columns of the row.
    hinge: bool,
}

impl Row {
    pub(super) fn of(variant: Variant, one_hidden: bool) -> Self {
        Self {
            variant,
            one_hidden,
            hinge: variant == Variant::Vdl,
        }
    }

    pub(super) fn mnist(&self) -> Config {
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
        config.family.inference.step_size = if self.hinge { 0.5 } else { 1.0 };
        config.family.optimizer.hidden_bias_weight_decay = if self.one_hidden { 1e-3 } else { 0.0 };
        config
    }

    pub(super) fn patches(&self) -> Config {
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
        config.family.optimizer.encoder_bias_weight_decay = 1e-2;
        if self.one_hidden {
            config.family.optimizer.hidden_bias_weight_decay = if self.hinge { 1e-1 } else { 1e-2 };
        }
        config
    }

    /// The built-in generators: small patches or windows, for which nothing is published.
    pub(super) fn built_in(&self, data: &str) -> Config {
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
        let mut config = self.config(model, data, 16, lambda, encoder_weight, decoder_rate, 1e-3);
        config.family.inference.step_rule = StepRule::Bounded;
        config
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
        let family = Lista {
            variant: self.variant,
            model,
            inference: InferenceConfig {
                lambda,
                step_size: 0.5,
                step_rule: StepRule::Fixed,
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
                frozen_decoder: false,
            },
        };
        Config {
            family,
            seed: 31,
            epochs,
            batch_size: 250,
            patience: 0,
            data,
        }
    }
}
