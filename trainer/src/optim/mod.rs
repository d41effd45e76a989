//! Optimisers.

use candle_core::{DType, Error, Result, Shape, Tensor};

pub use crate::tensor::Named;
use crate::tensor::adam::AdamUpdate;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Adam (Kingma & Ba 2015) as torch computes it, with weight decay in its L2 form: `decay ·
/// parameter` is added to the gradient.
///
/// candle's own `AdamW` decouples the decay and keeps its moments private, so that it could not be
/// resumed.
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
    /// Both moments, 2 × count.
    moments: Tensor,
    shape: Shape,
}

impl Slot {
    /// The first (0) or second (1) moment, in the parameter's shape.
    fn moment(&self, index: usize) -> Result<Tensor> {
        self.moments.get(index)?.reshape(&self.shape)
    }
}

impl Adam {
    /// An optimiser for `parameters`, each with the weight decay that `weight_decay` gives for its
    /// name; moments start at 0.
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
                    moments: Tensor::zeros(
                        (2, parameter.elem_count()),
                        parameter.dtype(),
                        parameter.device(),
                    )?,
                    shape: parameter.shape().clone(),
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { slots, steps: 0 })
    }

    /// One update of the `parameters` that have a gradient of the same name; the others stay as
    /// they are.
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
        let (correction, step) = corrections(self.steps, learning_rate);
        let update = AdamUpdate {
            beta_1: BETA_1,
            beta_2: BETA_2,
            epsilon: EPSILON,
            correction,
            step,
            weight_decay: 0.0,
        };
        for (name, parameter) in parameters {
            let Some((_, gradient)) = gradients.iter().find(|(other, _)| *other == name) else {
                continue;
            };
            let Some(slot) = self.slots.iter_mut().find(|slot| slot.name == name) else {
                continue;
            };
            if gradient.shape() != parameter.shape() {
                return Err(Error::Msg(format!(
                    "gradient of {name}: shape {:?}, expected {:?}",
                    gradient.shape(),
                    parameter.shape()
                )));
            }
            let update = AdamUpdate {
                weight_decay: slot.weight_decay,
                ..update
            };
            let next = match parameter.dtype() {
                DType::F32 if parameter.device().is_cpu() => parameter
                    .contiguous()?
                    .apply_op3_no_bwd(&slot.moments, &gradient.contiguous()?, &update)?,
                _ => plain(parameter, &slot.moments, gradient, &update)?,
            };
            *parameter = next.get(0)?.reshape(&slot.shape)?;
            slot.moments = next.narrow(0, 1, 2)?;
        }
        Ok(())
    }

    /// Updates made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The moments by parameter, `(name, first, second)`, each of the parameter's shape.
    ///
    /// # Errors
    ///
    /// Fails if the device fails.
    pub fn moments(&self) -> Result<Vec<(&'static str, Tensor, Tensor)>> {
        self.slots
            .iter()
            .map(|slot| Ok((slot.name, slot.moment(0)?, slot.moment(1)?)))
            .collect()
    }

    /// Takes back the state of an earlier run: its `steps`, and for each parameter both moments as
    /// `moments(name, shape)` gives them.
    ///
    /// # Errors
    ///
    /// Passes on what `moments` says, and fails if a moment's shape differs from its parameter's.
    pub fn restore<E: From<candle_core::Error>>(
        &mut self,
        steps: u64,
        mut moments: impl FnMut(&'static str, &[usize]) -> std::result::Result<(Tensor, Tensor), E>,
    ) -> std::result::Result<(), E> {
        for slot in &mut self.slots {
            let (first, second) = moments(slot.name, slot.shape.dims())?;
            for moment in [&first, &second] {
                if *moment.shape() != slot.shape {
                    let message = format!(
                        "Adam moment of {}: shape {:?}, expected {:?}",
                        slot.name,
                        moment.shape(),
                        slot.shape
                    );
                    return Err(E::from(Error::Msg(message)));
                }
            }
            let moments = Tensor::stack(&[first.flatten_all()?, second.flatten_all()?], 0)?;
            slot.moments = moments.to_device(slot.moments.device())?;
        }
        self.steps = steps;
        Ok(())
    }
}

/// `1/√(1 − β₂ᵗ)` and `rate/(1 − β₁ᵗ)` of update `t`, from 1: torch's order of operations, in which
/// bias corrections enter the step size and the denominator.
pub(crate) fn corrections(t: u64, learning_rate: f64) -> (f64, f64) {
    let correction = 1.0 / (1.0 - BETA_2.powf(t as f64)).sqrt();
    (correction, learning_rate / (1.0 - BETA_1.powf(t as f64)))
}

/// [`AdamUpdate`] by tensor operations, for any float type and device: the definition.
fn plain(
    parameter: &Tensor,
    moments: &Tensor,
    gradient: &Tensor,
    update: &AdamUpdate,
) -> Result<Tensor> {
    let parameter = parameter.flatten_all()?;
    let decay = (&parameter * update.weight_decay)?;
    let gradient = (gradient.flatten_all()? + decay)?;
    let (beta_1, beta_2) = (update.beta_1, update.beta_2);
    let first = ((moments.get(0)? * beta_1)? + (&gradient * (1.0 - beta_1))?)?;
    let second = ((moments.get(1)? * beta_2)? + (gradient.sqr()? * (1.0 - beta_2))?)?;
    let denominator = second.sqrt()?.affine(update.correction, update.epsilon)?;
    let step = ((&first / denominator)? * update.step)?;
    Tensor::stack(&[(parameter - step)?, first, second], 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// The fused update is the plain one, bit for bit, over steps in which the moments build up; by
    /// one thread and by several.
    #[test]
    fn fused_update_is_the_plain_one() -> Result<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
        pool.unwrap()
            .install(|| [1, 4_001, 100_003].into_iter().try_for_each(compare))
    }

    fn compare(count: i32) -> Result<()> {
        let wave = |phase: f32| -> Result<Tensor> {
            let values = (0..count).map(|i| (i as f32 * 0.37 + phase).sin() * 0.1);
            Tensor::from_iter(values, &Device::Cpu)
        };
        let mut fused = (
            wave(0.0)?,
            Tensor::zeros((2, count as usize), DType::F32, &Device::Cpu)?,
        );
        let mut by_tensors = fused.clone();
        for step in 1..=4 {
            let update = AdamUpdate {
                beta_1: BETA_1,
                beta_2: BETA_2,
                epsilon: EPSILON,
                correction: 1.0 / (1.0 - BETA_2.powi(step)).sqrt(),
                step: 1e-3 / (1.0 - BETA_1.powi(step)),
                weight_decay: 0.02,
            };
            let gradient = wave(step as f32)?;
            let next = fused.0.apply_op3_no_bwd(&fused.1, &gradient, &update)?;
            fused = (next.get(0)?, next.narrow(0, 1, 2)?);
            let next = plain(&by_tensors.0, &by_tensors.1, &gradient, &update)?;
            by_tensors = (next.get(0)?, next.narrow(0, 1, 2)?);
            assert_eq!(fused.0.to_vec1::<f32>()?, by_tensors.0.to_vec1::<f32>()?);
            assert_eq!(fused.1.to_vec2::<f32>()?, by_tensors.1.to_vec2::<f32>()?);
        }
        assert_ne!(fused.0.to_vec1::<f32>()?, wave(0.0)?.to_vec1::<f32>()?);
        Ok(())
    }
}
