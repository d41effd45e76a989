//! Settings of variational sparse coding.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::encoder::Head;
use super::objective::{Objective, Select};
use super::posterior::{
    Base, Estimator, GateOdds, Posterior, Relaxation, ShiftGradient, Sparsity, Warmth,
};
use super::sgd::OneCycle;
use crate::data::{DataConfig, DeadLeavesConfig};
use crate::run::{self, ConfigError, Settings, in_range};

/// The configuration of a run of this family.
pub type VariationalConfig = run::Config<Variational>;

/// Variational sparse coding (Fallah & Rozell 2022): the family's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Variational {
    /// Sizes of the networks.
    pub model: VariationalModel,
    /// How codes are distributed.
    pub posterior: PosteriorConfig,
    /// What a step minimises.
    pub objective: ObjectiveConfig,
    /// How encoder and dictionary learn.
    pub optimizer: VariationalOptimizer,
    /// What changes from step to step.
    pub schedule: ScheduleConfig,
    /// Codes where there is no encoder.
    pub inference: FistaConfig,
}

/// How FISTA finds codes where there is no encoder: `min ½‖x − A z‖² + τ‖z‖₁`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FistaConfig {
    /// τ, what sparsity weighs beside half the square error of a whole sample.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub sparsity: f64,
    /// The share of τ at the beginning.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub ramp: f64,
    /// The share of the steps after which τ is whole.
    #[schemars(range(min = 0, max = 1))]
    pub ramp_until: f64,
}

impl FistaConfig {
    /// τ of a step, from 0, of a run of so many.
    pub fn at(&self, step: u64, steps: u64) -> f64 {
        let last = self.ramp_until * steps as f64;
        let share = if last > 0.0 {
            (step as f64 / last).min(1.0)
        } else {
            1.0
        };
        self.sparsity * (self.ramp + (1.0 - self.ramp) * share)
    }
}

/// An encoder and its dictionary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VariationalModel {
    /// D, the atoms of the dictionary.
    #[schemars(range(min = 1, max = 4095))]
    pub code_dim: usize,
    /// What says of an input how its code is distributed.
    pub encoder: EncoderKind,
    /// Outputs of each layer of an mlp's trunk, ReLU behind each; the heads are affine.
    pub widths: Vec<usize>,
    /// How often S is applied by a lista encoder.
    #[schemars(range(min = 0, max = 255))]
    pub lista_iterations: usize,
}

/// Encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncoderKind {
    /// The paper's: dense layers.
    Mlp,
    /// For microcontrollers: a LISTA with signed codes, whose code is the shift.
    Lista,
    /// None: codes are those of FISTA, and only the dictionary learns. What the others are compared
    /// with.
    None,
}

/// How samples become sparse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Threshold {
    /// They do not.
    None,
    /// Noise within `posterior.threshold_level` of the shift makes a unit exactly 0.
    Fixed,
    /// The same with thresholds of a Gamma distribution that the encoder learns, whose prior has
    /// the mean `posterior.threshold_level`.
    Learned,
    /// No threshold: a gate that is open or closed multiplies a Gaussian slab.
    Gate,
}

/// How codes are distributed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PosteriorConfig {
    /// What a unit's noise is made of.
    pub base: Base,
    /// How samples become sparse.
    pub threshold: Threshold,
    /// λ₀: the threshold, or the mean of its prior.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub threshold_level: f64,
    /// γ, what the divergence of learned thresholds counts beside that of the noise; above 0 where
    /// `posterior.threshold` is learned.
    #[schemars(range(min = 0))]
    pub threshold_weight: f64,
    /// s, the spread of the prior: of a Gaussian base the variance, of a Laplacian one the scale.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub spread: f64,
    /// π, the prior probability of an open gate.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub open: f64,
    /// How the spike head says how likely a gate is to open.
    pub gate: GateOdds,
}

/// What a step minimises.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectiveConfig {
    /// J, the samples of an input.
    #[schemars(range(min = 1, max = 1000))]
    pub samples: usize,
    /// Which of them count.
    pub select: Select,
    /// w, what the divergence from the prior counts beside the mean square error of a number.
    #[schemars(range(min = 0))]
    pub kl_weight: f64,
    /// What gradients through a threshold are taken of.
    pub estimator: Estimator,
    /// What the shift of an active unit receives.
    pub shift_gradient: ShiftGradient,
}

/// How encoder and dictionary learn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VariationalOptimizer {
    /// The highest learning rate of the encoder: one cycle of Nesterov's momentum.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f64,
    /// The share of the steps in which the learning rate rises.
    #[schemars(range(min = 0, max = 1))]
    pub warm_up: f64,
    /// The rate of the very first step.
    pub first_step: FirstStep,
    /// η, the step of the dictionary in the first epoch.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub dictionary_rate: f64,
    /// What η is multiplied by after each epoch.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub dictionary_decay: f64,
    /// φ, the weight of the dictionary's square norm.
    #[schemars(range(min = 0))]
    pub norm_weight: f64,
}

/// The learning rate of the very first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FirstStep {
    /// That of the schedule's beginning.
    Scheduled,
    /// The highest one, as the released code, which asks its schedule only afterwards.
    Peak,
}

/// What changes from step to step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// κ at the beginning: what the noise of Laplacian bases and of slabs counts.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub noise: f64,
    /// The share of the steps after which κ begins to grow.
    #[schemars(range(min = 0, max = 1))]
    pub noise_from: f64,
    /// The share of the steps after which κ is 1. Let it come before `optimizer.warm_up`: runs
    /// whose learning rate was highest while κ was small diverged.
    #[schemars(range(min = 0, max = 1))]
    pub noise_until: f64,
    /// What a step multiplies the temperature of gates by, from 1.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub cooling: f64,
    /// The lowest temperature.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub coolest: f64,
}

impl ScheduleConfig {
    /// κ and T of a step, from 0, of a run of so many.
    pub fn at(&self, step: u64, steps: u64) -> Warmth {
        let [from, until] = [self.noise_from, self.noise_until].map(|share| share * steps as f64);
        let grown = (step as f64 - from).max(0.0) / (until - from).max(f64::MIN_POSITIVE);
        let cooled = self.cooling.powf(step as f64);
        Warmth {
            noise: self.noise + (1.0 - self.noise) * grown.min(1.0),
            temperature: cooled.max(self.coolest),
        }
    }
}

impl Variational {
    /// The distribution of codes.
    pub fn posterior(&self) -> Posterior {
        let PosteriorConfig {
            base,
            threshold_level: level,
            threshold_weight: weight,
            spread,
            open,
            gate,
            ..
        } = self.posterior;
        Posterior {
            base,
            sparsity: match self.posterior.threshold {
                Threshold::None => Sparsity::Dense,
                Threshold::Fixed => Sparsity::Fixed { threshold: level },
                Threshold::Learned => Sparsity::Learned {
                    mean: level,
                    weight,
                },
                Threshold::Gate => Sparsity::Gate {
                    open,
                    relaxation: Relaxation::Straight,
                    odds: gate,
                },
            },
            spread,
            estimator: self.objective.estimator,
            shift_gradient: self.objective.shift_gradient,
        }
    }

    /// The heads of an encoder, as the posterior wants them.
    pub fn heads(&self) -> &'static [Head] {
        match self.posterior.threshold {
            Threshold::None | Threshold::Fixed => &[Head::Shift, Head::Scale],
            Threshold::Learned => &[Head::Shift, Head::Scale, Head::Shape, Head::Rate],
            Threshold::Gate => &[Head::Shift, Head::Scale, Head::Spike],
        }
    }

    /// What a step minimises.
    pub fn objective(&self) -> Objective {
        Objective {
            posterior: self.posterior(),
            samples: self.objective.samples,
            select: self.objective.select,
            kl_weight: self.objective.kl_weight,
        }
    }

    /// The learning rate of the encoder over so many steps.
    pub fn cycle(&self, steps: u64) -> OneCycle {
        OneCycle {
            peak: self.optimizer.learning_rate,
            steps,
            warm_up: self.optimizer.warm_up,
        }
    }
}

/// The presets: base and threshold of each. Of the last one codes are FISTA's.
const PRESETS: [(&str, Base, Threshold); 8] = [
    ("variational/gaussian", Base::Gaussian, Threshold::None),
    ("variational/laplacian", Base::Laplacian, Threshold::None),
    (
        "variational/gaussian-fixed",
        Base::Gaussian,
        Threshold::Fixed,
    ),
    (
        "variational/laplacian-fixed",
        Base::Laplacian,
        Threshold::Fixed,
    ),
    (
        "variational/gaussian-learned",
        Base::Gaussian,
        Threshold::Learned,
    ),
    (
        "variational/laplacian-learned",
        Base::Laplacian,
        Threshold::Learned,
    ),
    (
        "variational/spike-and-slab",
        Base::Gaussian,
        Threshold::Gate,
    ),
    (FISTA, Base::Gaussian, Threshold::None),
];

const FISTA: &str = "variational/fista";
/// Behind the name of a preset: with every peculiarity of the released code, in its sizes.
const PAPER: &str = "/paper";

/// Sizes: as the paper has them for patches of 16 × 16, or a quarter of that.
fn sized(config: &mut VariationalConfig, side: usize) {
    let pixels = side * side;
    let model = &mut config.family.model;
    model.code_dim = pixels;
    model.widths = vec![2 * pixels, 4 * pixels, 2 * pixels, pixels];
    if let DataConfig::DeadLeaves(data) = &mut config.data {
        (data.height, data.width) = (side, side);
    }
}

impl Settings for Variational {
    const NAME: &'static str = "variational";
    const KEYS: &'static [&'static str] = &[
        "model",
        "posterior",
        "objective",
        "optimizer",
        "schedule",
        "inference",
    ];
    const SHOWN_SETTINGS: &'static [(&'static str, &'static str)] = &[
        ("model.code_dim", "atoms"),
        ("posterior.threshold", "threshold"),
    ];

    fn preset(name: &str) -> Result<VariationalConfig, ConfigError> {
        let (plain, is_paper) = match name.strip_suffix(PAPER) {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        let known = PRESETS.iter().find(|(known, ..)| *known == plain);
        let Some(&(_, base, threshold)) = known else {
            return Err(ConfigError::UnknownPreset {
                name: name.to_owned(),
                guess: String::new(),
                form: format!("variational ones are {}", Self::presets().join(", ")),
            });
        };
        let mut config = VariationalConfig {
            family: Self {
                model: VariationalModel {
                    code_dim: 64,
                    encoder: match plain {
                        FISTA => EncoderKind::None,
                        _ => EncoderKind::Mlp,
                    },
                    widths: Vec::new(),
                    lista_iterations: 3,
                },
                posterior: PosteriorConfig {
                    base,
                    threshold,
                    threshold_level: match base {
                        Base::Gaussian => 0.52,
                        Base::Laplacian => 0.25,
                    },
                    threshold_weight: 0.1,
                    spread: 0.1,
                    open: 0.1,
                    gate: GateOdds::Logit,
                },
                objective: ObjectiveConfig {
                    samples: 20,
                    select: Select::Best,
                    kl_weight: 0.01,
                    estimator: Estimator::Straight,
                    shift_gradient: ShiftGradient::Double,
                },
                optimizer: VariationalOptimizer {
                    learning_rate: 0.01,
                    warm_up: 0.05,
                    first_step: FirstStep::Scheduled,
                    // At the paper's 0.5 codes of these patches, which are not white, diverge.
                    dictionary_rate: if is_paper { 0.5 } else { 0.1 },
                    dictionary_decay: 0.99,
                    norm_weight: 1e-4,
                },
                schedule: ScheduleConfig {
                    noise: 0.1,
                    noise_from: 0.006_25,
                    noise_until: 0.025,
                    cooling: 0.9995,
                    coolest: 0.5,
                },
                inference: FistaConfig {
                    sparsity: 20.0,
                    ramp: 0.1,
                    ramp_until: 0.0375,
                },
            },
            seed: 31,
            epochs: 100,
            batch_size: 100,
            patience: 0,
            data: DataConfig::DeadLeaves(DeadLeavesConfig {
                train: 8000,
                validation: 1000,
                test: 1000,
                ..DeadLeavesConfig::default()
            }),
        };
        sized(&mut config, if is_paper { 16 } else { 8 });
        if is_paper {
            config.epochs = 300;
            config.family.posterior.gate = GateOdds::Log;
            config.family.optimizer.first_step = FirstStep::Peak;
            if let DataConfig::DeadLeaves(data) = &mut config.data {
                (data.train, data.validation, data.test) = (80_000, 8000, 8000);
            }
        }
        Ok(config)
    }

    fn presets() -> Vec<String> {
        let names = PRESETS.iter();
        names
            .flat_map(|(name, ..)| [(*name).to_owned(), format!("{name}{PAPER}")])
            .collect()
    }

    fn validate(config: &VariationalConfig) -> Result<(), ConfigError> {
        validate(config)
    }

    fn model_name(&self) -> &'static str {
        let PosteriorConfig {
            base, threshold, ..
        } = self.posterior;
        let found = PRESETS
            .iter()
            .find(|preset| (preset.1, preset.2) == (base, threshold));
        match (self.model.encoder, found) {
            (EncoderKind::None, _) => FISTA,
            (_, Some((name, ..))) => name,
            // A gate behind Laplacian noise, which `validate` refuses.
            (_, None) => Self::NAME,
        }
    }
}

fn validate(config: &VariationalConfig) -> Result<(), ConfigError> {
    let Variational {
        model,
        posterior,
        objective,
        optimizer,
        schedule,
        inference,
    } = &config.family;
    let within = |x: usize, most: usize| (1..=most).contains(&x);
    in_range(
        within(model.code_dim, 4095),
        "model.code_dim",
        model.code_dim,
        "1 to 4095",
    )?;
    let widths = format!("{:?}", model.widths);
    in_range(
        model.widths.iter().all(|width| within(*width, 65_535)),
        "model.widths",
        widths,
        "widths of 1 to 65535",
    )?;
    in_range(
        model.encoder != EncoderKind::Mlp || within(model.widths.len(), 4),
        "model.widths",
        format!("{:?}", model.widths),
        "1 to 4 layers for model.encoder=mlp",
    )?;
    in_range(
        posterior.threshold != Threshold::Gate || posterior.base == Base::Gaussian,
        "posterior.base",
        "laplacian",
        "gaussian where posterior.threshold=gate: a gate's slab is Gaussian",
    )?;
    in_range(
        model.lista_iterations <= 255,
        "model.lista_iterations",
        model.lista_iterations,
        "0 to 255",
    )?;
    in_range(
        schedule.noise_from <= schedule.noise_until,
        "schedule.noise_from",
        schedule.noise_from,
        "at most schedule.noise_until",
    )?;
    in_range(
        within(objective.samples, 1000),
        "objective.samples",
        objective.samples,
        "1 to 1000",
    )?;
    let positive = |x: f64| x.is_finite() && x > 0.0;
    let not_negative = |x: f64| x.is_finite() && x >= 0.0;
    for (is_fine, key, value, expected) in [
        (
            positive(posterior.threshold_level),
            "posterior.threshold_level",
            posterior.threshold_level,
            "positive",
        ),
        (
            not_negative(posterior.threshold_weight),
            "posterior.threshold_weight",
            posterior.threshold_weight,
            "0 or more",
        ),
        (
            posterior.threshold != Threshold::Learned || posterior.threshold_weight != 0.0,
            "posterior.threshold_weight",
            posterior.threshold_weight,
            "above 0 with posterior.threshold = \"learned\": learned thresholds need their prior",
        ),
        (
            positive(posterior.spread),
            "posterior.spread",
            posterior.spread,
            "positive",
        ),
        (
            posterior.open > 0.0 && posterior.open < 1.0,
            "posterior.open",
            posterior.open,
            "between 0 and 1",
        ),
        (
            not_negative(objective.kl_weight),
            "objective.kl_weight",
            objective.kl_weight,
            "0 or more",
        ),
        (
            positive(optimizer.learning_rate),
            "optimizer.learning_rate",
            optimizer.learning_rate,
            "positive",
        ),
        (
            (0.0..=1.0).contains(&optimizer.warm_up),
            "optimizer.warm_up",
            optimizer.warm_up,
            "0 to 1",
        ),
        (
            positive(optimizer.dictionary_rate),
            "optimizer.dictionary_rate",
            optimizer.dictionary_rate,
            "positive",
        ),
        (
            positive(optimizer.dictionary_decay) && optimizer.dictionary_decay <= 1.0,
            "optimizer.dictionary_decay",
            optimizer.dictionary_decay,
            "above 0, at most 1",
        ),
        (
            not_negative(optimizer.norm_weight),
            "optimizer.norm_weight",
            optimizer.norm_weight,
            "0 or more",
        ),
        (
            positive(schedule.noise) && schedule.noise <= 1.0,
            "schedule.noise",
            schedule.noise,
            "above 0, at most 1",
        ),
        (
            (0.0..=1.0).contains(&schedule.noise_from),
            "schedule.noise_from",
            schedule.noise_from,
            "0 to 1",
        ),
        (
            (0.0..=1.0).contains(&schedule.noise_until),
            "schedule.noise_until",
            schedule.noise_until,
            "0 to 1",
        ),
        (
            positive(inference.sparsity),
            "inference.sparsity",
            inference.sparsity,
            "positive",
        ),
        (
            positive(inference.ramp) && inference.ramp <= 1.0,
            "inference.ramp",
            inference.ramp,
            "above 0, at most 1",
        ),
        (
            (0.0..=1.0).contains(&inference.ramp_until),
            "inference.ramp_until",
            inference.ramp_until,
            "0 to 1",
        ),
        (
            positive(schedule.cooling) && schedule.cooling <= 1.0,
            "schedule.cooling",
            schedule.cooling,
            "above 0, at most 1",
        ),
        (
            positive(schedule.coolest) && schedule.coolest <= 1.0,
            "schedule.coolest",
            schedule.coolest,
            "above 0, at most 1",
        ),
    ] {
        in_range(is_fine, key, value, expected)?;
    }
    Ok(())
}
