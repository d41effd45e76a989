//! How convolutional networks learn.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};

use crate::run::{State, StateError};

const BETA_1: f64 = 0.5;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;
/// L2: added to a gradient is so much of its parameter.
const WEIGHT_DECAY: f64 = 1e-5;

const STEPS: &str = "adam.steps";

/// Adam (Kingma & Ba 2015) as the second paper sets it for convolutional networks.
///
/// β = (0.5, 0.999), and 1e-5 of the parameter is added to the gradient. Parameters change in
/// place.
#[derive(Clone, Debug, Default)]
pub struct ConvAdam {
    /// First and second moment of each parameter; 0 before its first gradient.
    moments: BTreeMap<String, [Tensor; 2]>,
    steps: u64,
}

impl ConvAdam {
    /// Changes the parameters that have a gradient.
    ///
    /// # Errors
    ///
    /// What the device says.
    pub fn step(
        &mut self,
        parameters: &[(String, Var)],
        gradients: &GradStore,
        rate: f64,
    ) -> Result<()> {
        self.steps += 1;
        let steps = self.steps as f64;
        let first_correction = 1.0 - BETA_1.powf(steps);
        let second_correction = (1.0 - BETA_2.powf(steps)).sqrt();
        for (name, parameter) in parameters {
            let value = parameter.as_detached_tensor();
            let Some(gradient) = gradients.get(parameter) else {
                // Kept like the others, so that none can be missing in a state.
                if !self.moments.contains_key(name) {
                    let zeros = value.zeros_like()?;
                    self.moments.insert(name.clone(), [zeros.clone(), zeros]);
                }
                continue;
            };
            let gradient = (gradient.detach() + (&value * WEIGHT_DECAY)?)?;
            let fresh = [
                (&gradient * (1.0 - BETA_1))?,
                (gradient.sqr()? * (1.0 - BETA_2))?,
            ];
            let [first, second] = match self.moments.get(name) {
                Some([first, second]) => [
                    ((first * BETA_1)? + &fresh[0])?,
                    ((second * BETA_2)? + &fresh[1])?,
                ],
                None => fresh,
            };
            let denominator = ((second.sqrt()? / second_correction)? + EPSILON)?;
            let change = ((&first / denominator)? * (rate / first_correction))?;
            parameter.set(&(value - change)?)?;
            self.moments.insert(name.clone(), [first, second]);
        }
        Ok(())
    }

    /// Adds what a run must keep: both moments as `adam.first.NAME` and `adam.second.NAME`, and the
    /// count `adam.steps`.
    pub fn save(&self, state: &mut State) {
        for (name, [first, second]) in &self.moments {
            let tensors = &mut state.tensors;
            tensors.insert(format!("adam.first.{name}"), first.clone());
            tensors.insert(format!("adam.second.{name}"), second.clone());
        }
        state.counts.insert(STEPS.to_owned(), self.steps);
    }

    /// The optimiser that [`save`](Self::save) kept.
    ///
    /// # Errors
    ///
    /// Names the count that is missing, or the moment that is missing or of another shape.
    pub fn restored(
        parameters: &[(String, Var)],
        state: &State,
    ) -> std::result::Result<Self, StateError> {
        let steps = state.count(STEPS)?;
        let mut moments = BTreeMap::new();
        if steps > 0 {
            for (name, parameter) in parameters {
                let moment = |which: &str| {
                    let name = format!("adam.{which}.{name}");
                    let found = state.tensor(&name, parameter.dims())?;
                    Ok::<_, StateError>(found.to_device(parameter.device())?)
                };
                moments.insert(name.clone(), [moment("first")?, moment("second")?]);
            }
        }
        Ok(Self { moments, steps })
    }
}
