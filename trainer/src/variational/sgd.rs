//! Stochastic gradient descent with Nesterov's momentum, and its learning rate.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};

use crate::tensor::nesterov::{moved, take};

/// The share of the gradients before that goes on.
const MOMENTUM: f64 = 0.9;

/// Nesterov's momentum (Sutskever et al. 2013) as PyTorch computes it: `v ← 0.9 v + g`, `p ← p − r
/// (g + 0.9 v)`; the first v is g.
#[derive(Clone, Debug, Default)]
pub struct Nesterov {
    velocities: BTreeMap<String, Tensor>,
}

impl Nesterov {
    /// v of a parameter, once it has taken a step.
    pub fn velocity(&self, name: &str) -> Option<&Tensor> {
        self.velocities.get(name)
    }

    /// Takes v of a parameter from a step before.
    pub fn set_velocity(&mut self, name: String, velocity: Tensor) {
        self.velocities.insert(name, velocity);
    }

    /// One step of each parameter that has a gradient.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn step(
        &mut self,
        parameters: &[(String, Var)],
        gradients: &GradStore,
        rate: f64,
    ) -> Result<()> {
        for (name, parameter) in parameters {
            let Some(gradient) = gradients.get(parameter) else {
                continue;
            };
            // Without the graph that made it.
            let gradient = gradient.detach().contiguous()?;
            let velocity = match self.velocities.remove(name) {
                Some(before) => moved(before, &gradient, MOMENTUM)?,
                None => gradient.copy()?,
            };
            take(parameter, &velocity, &gradient, [rate, MOMENTUM])?;
            self.velocities.insert(name.clone(), velocity);
        }
        Ok(())
    }
}

/// One cycle of the learning rate (Smith & Topin 2019): from a 25th of the peak in a straight line
/// to the peak, and along half a cosine to a ten-thousandth of the beginning. After its last step
/// it begins again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneCycle {
    /// The highest rate.
    pub peak: f64,
    /// Steps of the cycle.
    pub steps: u64,
    /// The share of the steps that rise.
    pub warm_up: f64,
}

impl OneCycle {
    /// The rate after `calls` steps of the schedule, 1 or more. The release takes its first step at
    /// the peak, before the schedule was ever asked.
    ///
    /// ```
    /// use sparsecode_trainer::variational::OneCycle;
    ///
    /// let cycle = OneCycle { peak: 0.01, steps: 240_000, warm_up: 0.05 };
    /// assert_eq!(cycle.rate(12_000), 0.01);
    /// assert!((cycle.rate(240_000) - 4e-8).abs() < 1e-20);
    /// ```
    pub fn rate(&self, calls: u64) -> f64 {
        let (start, end) = (self.peak / 25.0, self.peak / 25.0 / 1e4);
        let rising = (self.warm_up * self.steps as f64).floor();
        let call = (calls.saturating_sub(1) % self.steps.max(1) + 1) as f64;
        if call <= rising {
            return start + (self.peak - start) * call / rising;
        }
        let share = (call - rising) / (self.steps as f64 - rising);
        end + 0.5 * (self.peak - end) * (1.0 + (PI * share).cos())
    }
}
