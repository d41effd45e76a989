use candle_core::{Result, Tensor};

use crate::model::Named;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Adam (Kingma & Ba 2015) as torch computes it, with weight decay in its L2 form: `decay · parameter` is added to the gradient.
///
/// candle's own `AdamW` decouples the decay and keeps its moments private, so that it could not be resumed.
#[derive(Clone, Debug)]
pub struct Adam {
    slots: Vec<Slot>,
    steps: u64,
}

/// The state of one parameter.
#[derive(Clone, Debug)]
struct Slot {
    name: &'static str,
    weight_decay: f64,
    first_moment: Tensor,
    second_moment: Tensor,
}

impl Adam {
    /// An optimiser for `parameters`, each with the weight decay that `weight_decay` gives for its name; moments start at 0.
    ///
    /// # Errors
    ///
    /// Fails if the device cannot hold two more copies of the parameters.
    pub fn new(parameters: &[Named<&Tensor>], weight_decay: impl Fn(&str) -> f64) -> Result<Self> {
        let slots = parameters
            .iter()
            .map(|(name, parameter)| {
                Ok(Slot {
                    name,
                    weight_decay: weight_decay(name),
                    first_moment: parameter.zeros_like()?,
                    second_moment: parameter.zeros_like()?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { slots, steps: 0 })
    }

    /// One update of the `parameters` that have a gradient of the same name; the others stay as they are.
    ///
    /// # Errors
    ///
    /// Fails if a shape differs from the parameter's.
    pub fn step(
        &mut self,
        parameters: Vec<Named<&mut Tensor>>,
        gradients: &[Named<Tensor>],
        learning_rate: f64,
    ) -> Result<()> {
        self.steps += 1;
        // torch's order of operations: bias corrections enter the step size and the denominator.
        let correction_1 = 1.0 - BETA_1.powf(self.steps as f64);
        let correction_2 = (1.0 - BETA_2.powf(self.steps as f64)).sqrt();
        for (name, parameter) in parameters {
            let Some((_, gradient)) = gradients.iter().find(|(other, _)| *other == name) else {
                continue;
            };
            let Some(slot) = self.slots.iter_mut().find(|slot| slot.name == name) else {
                continue;
            };
            let gradient = if slot.weight_decay == 0.0 {
                gradient.clone()
            } else {
                (gradient + (&*parameter * slot.weight_decay)?)?
            };
            slot.first_moment = ((&slot.first_moment * BETA_1)? + (&gradient * (1.0 - BETA_1))?)?;
            slot.second_moment =
                ((&slot.second_moment * BETA_2)? + (gradient.sqr()? * (1.0 - BETA_2))?)?;
            let denominator = slot
                .second_moment
                .sqrt()?
                .affine(1.0 / correction_2, EPSILON)?;
            let update = (&slot.first_moment / denominator)?;
            *parameter = (&*parameter - (update * (learning_rate / correction_1))?)?;
        }
        Ok(())
    }

    /// Updates made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The moments by parameter: `(name, first, second)`.
    pub fn moments(&self) -> impl Iterator<Item = (&'static str, &Tensor, &Tensor)> {
        self.slots
            .iter()
            .map(|slot| (slot.name, &slot.first_moment, &slot.second_moment))
    }

    /// Takes back the state of an earlier run: its `steps`, and for each parameter both moments as `moments(name)` gives them.
    ///
    /// # Errors
    ///
    /// Passes on what `moments` says, and fails if a moment's shape differs from its parameter's.
    pub fn restore<E: From<candle_core::Error>>(
        &mut self,
        steps: u64,
        mut moments: impl FnMut(&'static str) -> std::result::Result<(Tensor, Tensor), E>,
    ) -> std::result::Result<(), E> {
        for slot in &mut self.slots {
            let (first, second) = moments(slot.name)?;
            for moment in [&first, &second] {
                if moment.shape() != slot.first_moment.shape() {
                    let message = format!(
                        "Adam moment of {}: shape {:?}, expected {:?}",
                        slot.name,
                        moment.shape(),
                        slot.first_moment.shape()
                    );
                    return Err(E::from(candle_core::Error::Msg(message)));
                }
            }
            slot.first_moment = first;
            slot.second_moment = second;
        }
        self.steps = steps;
        Ok(())
    }
}
