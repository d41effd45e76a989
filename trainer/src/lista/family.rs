//! What this family brings to a run.

use candle_core::Result;
use serde_json::{Map, Value};
use toml::Table;

use super::config::{Config, Lista, validate};
use super::learner::ListaLearner;
use super::presets::{preset, preset_names};
use super::resident::Backend;
use super::upgrade::upgrade_checkpoint;
use crate::data::DataFacts;
use crate::run::{Column, ConfigError, Family, Figures, Settings, Tensors, Unit};

const fn column(figure: &'static str, heading: &'static str, unit: Unit) -> Column {
    Column {
        figure,
        heading,
        unit,
    }
}

const PSNR: Column = column("psnr", "PSNR", Unit::Decibels);
const ZEROS: Column = column("sparsity", "zeros", Unit::Fraction);

impl Settings for Lista {
    const NAME: &'static str = "lista";
    const IS_DEFAULT: bool = true;
    const KEYS: &'static [&'static str] = &["variant", "model", "inference", "optimizer"];
    const NAMED_KEYS: &'static [&'static str] = &["variant"];
    const SHOWN_SETTINGS: &'static [(&'static str, &'static str)] = &[("inference.lambda", "λ")];

    fn preset(name: &str) -> std::result::Result<Config, ConfigError> {
        preset(name)
    }

    fn presets() -> Vec<String> {
        preset_names()
    }

    fn following(preset: Config, resolved: &Config) -> Config {
        preset.at_lambda(resolved.family.inference.lambda)
    }

    /// FISTA's step is bounded, unless a rule is chosen: nothing is published on such data that a
    /// run could repeat.
    fn complete_for_own_data(settings: &mut Table) {
        let inference = settings
            .entry("inference")
            .or_insert_with(|| Table::new().into());
        if let Some(inference) = inference.as_table_mut() {
            inference
                .entry("step_rule")
                .or_insert_with(|| "bounded".into());
        }
    }

    fn validate(config: &Config) -> std::result::Result<(), ConfigError> {
        validate(config)
    }

    fn model_name(&self) -> &'static str {
        self.variant.model_name(self.model.hidden_dim > 0)
    }
}

impl Family for Lista {
    const OBJECTIVE: &'static str = "energy";
    const TRAIN_COLUMNS: &'static [Column] =
        &[PSNR, ZEROS, column("fista_steps", "steps", Unit::Number(1))];
    const VALIDATION_COLUMNS: &'static [Column] = &[
        PSNR,
        ZEROS,
        column("energy", "energy", Unit::Compact),
        column("dead_atoms", "dead", Unit::Number(0)),
    ];
    const CLEAN_COLUMNS: &'static [Column] = &[
        PSNR,
        ZEROS,
        column("code_l1", "ℓ1", Unit::Number(3)),
        column("energy", "energy", Unit::Number(3)),
        column("dead_atoms", "dead atoms", Unit::Number(0)),
    ];
    const NOISY_COLUMNS: &'static [Column] = &[
        column("psnr_input", "noisy", Unit::Decibels),
        ZEROS,
        column("psnr", "denoised", Unit::Decibels),
    ];
    const LEGEND: &'static str =
        "steps: FISTA iterations of a sample, mean; dead: atoms that no sample uses";

    type Backend = dyn Backend;
    type Learner<'a> = ListaLearner<'a>;

    fn learner<'a>(
        config: &Config,
        facts: &DataFacts,
        backend: &'a dyn Backend,
    ) -> Result<ListaLearner<'a>> {
        ListaLearner::new(config, facts, backend)
    }

    fn epoch_remark(train: &Figures) -> Option<String> {
        let step_size = train.get("held_step_size")?;
        Some(format!("step held at {step_size:.2e}"))
    }

    fn upgrade_checkpoint(metadata: &mut Map<String, Value>, tensors: &Tensors) {
        upgrade_checkpoint(metadata, tensors);
    }
}
