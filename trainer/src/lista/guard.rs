//! Stops a run whose numbers have left the floats, and says where.

use candle_core::Tensor;

use super::inference::EnergyTerms;
use crate::run::{Divergence, StepError};
use crate::tensor::Named;
use crate::tensor::elementwise::sum_of_squares;

/// A reconstruction this many times worse than answering 0 is taken for divergence: FISTA's step is
/// too large for the decoder.
const LIMIT: f64 = 1e3;

const SMALLER_STEP: &str = "try inference.step_rule=bounded, a smaller inference.step_size or learning rate, or check that the data are scaled";

/// Checks the energy that inference reached.
pub(super) fn check_energy(
    terms: &EnergyTerms,
    inputs: &Tensor,
) -> std::result::Result<(), StepError> {
    let input_power = sum_of_squares(inputs)? / inputs.dim(1)? as f64;
    if !input_power.is_finite() {
        return Err(Divergence::inputs().into());
    }
    let parts = [
        ("reconstruction", terms.reconstruction),
        ("codes (variance term)", terms.variance),
        ("codes (encoder term)", terms.encoder),
        ("codes (l1 term)", terms.l1),
    ];
    for (tensor, value) in parts {
        if !value.is_finite() {
            return Err(Divergence::not_finite(tensor).into());
        }
    }
    if terms.reconstruction > LIMIT * input_power.max(f64::MIN_POSITIVE) {
        return Err(Divergence::too_large().into());
    }
    Ok(())
}

/// Checks that every gradient is finite, before it touches a parameter.
pub(super) fn check_gradients<'a>(
    gradients: impl IntoIterator<Item = &'a Named<Tensor>>,
) -> std::result::Result<(), StepError> {
    for (name, gradient) in gradients {
        if !sum_of_squares(gradient)?.is_finite() {
            return Err(Divergence::gradient(name).into());
        }
    }
    Ok(())
}

impl Divergence {
    pub(crate) fn inputs() -> Self {
        Self::new("inputs", "a value is not finite", "check the data for NaN")
    }

    pub(crate) fn not_finite(tensor: &str) -> Self {
        Self::new(tensor, "a value is not finite", SMALLER_STEP)
    }

    pub(crate) fn gradient(parameter: &str) -> Self {
        Self::not_finite(&format!("the gradient of {parameter}"))
    }

    pub(crate) fn too_large() -> Self {
        Self::new(
            "reconstruction",
            "the error is 1000 times the input's own power",
            SMALLER_STEP,
        )
    }
}

/// What helps against a validation energy that is not finite.
pub(super) const VALIDATION_REMEDY: &str =
    "check the validation data for NaN, or try a smaller inference.step_size";
