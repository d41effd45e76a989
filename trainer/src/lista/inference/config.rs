//! What inference minimises, and how far.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::step::StepRule;

/// When a sample that meets the tolerance stops moving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stopping {
    /// The sample takes no gradient step in the next iteration, slides on along its momentum, and
    /// is tested again. The published numbers came from this form.
    #[default]
    Sliding,
    /// The sample keeps the first iterate that meets the tolerance, as the paper's text says.
    Freeze,
}

/// What is minimised and how far. See the module's formula for the symbols.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InferenceConfig {
    /// λ, the weight of ‖z‖₁. A larger λ gives more zeros and less detail.
    #[schemars(range(min = 0))]
    pub lambda: f64,
    /// η, FISTA's step.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub step_size: f64,
    /// Whether FISTA takes η as it is, or no more than the decoder allows.
    #[serde(default, skip_serializing_if = "StepRule::is_fixed")]
    #[schemars(extend("default" = "fixed"))]
    pub step_rule: StepRule,
    /// K, the most FISTA iterations for one mini-batch.
    #[schemars(range(min = 1))]
    pub max_iterations: usize,
    /// A sample has converged when ‖z_k − z_{k−1}‖ < tolerance · ‖z_{k−1}‖. 0 runs all iterations.
    #[schemars(range(min = 0))]
    pub tolerance: f64,
    /// What a converged sample does while others go on.
    pub stopping: Stopping,
    /// γ, the weight of the distance between a code and the encoder's code.
    #[schemars(range(min = 0))]
    pub encoder_weight: f64,
    /// β, the weight of the variance hinge; 0 switches the hinge off.
    #[schemars(range(min = 0))]
    pub variance_weight: f64,
    /// T, the deviation of a code component (over a mini-batch) below which the hinge acts.
    #[schemars(range(min = 0))]
    pub variance_threshold: f64,
    /// Where FISTA starts in a model without an encoder: the value of every component. A
    /// one-hidden-layer decoder with b1 = 0 has no gradient at 0 and starts above.
    #[schemars(range(min = 0))]
    pub initial_code: f64,
}
