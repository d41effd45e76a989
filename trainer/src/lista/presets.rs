//! The rows of the hyperparameter table.

use sparsecode_formats::Variant;

use super::config::{Config, Lista, OptimizerConfig};
use super::inference::{InferenceConfig, StepRule, Stopping};
use super::model::ModelConfig;
use crate::data::DataConfig;

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
