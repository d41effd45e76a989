//! Settings of variational sparse coding.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::encoder::Head;
use super::objective::{Objective, Select};
use super::posterior::{
    Base, Estimator, GateOdds, Posterior, Relaxation, ShiftGradient, Sparsity, Warmth,
};
use super::sgd::OneCycle;
use crate::run;

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
    /// Outputs of each layer of an mlp's trunk, ReLU behind each; the heads are affine. Empty for
    /// a conv, whose layers are the paper's.
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
    /// The paper's for pictures of 28×28 in grey or 64×64 in colour: convolutions. A convolutional
    /// generator stands in place of the dictionary, and both learn by Adam.
    Conv,
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
    /// The highest learning rate of the encoder: one cycle of Nesterov's momentum. Of a conv, that
    /// of encoder and generator: one cycle of Adam.
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
