use candle_core::{Result, Tensor};

use super::config::Stopping;
use super::energy::Energy;
use super::engine::{Engine, Inference};

/// FISTA with non-negative shrinkage (Beck & Teboulle 2009), one tensor operation after the other:
/// the definition.
///
/// From `x_1 = z_0`, `t_1 = 1`:
///
/// ```text
/// z_k     = (x_k − η ∇f(x_k) − λη)_+
/// t_{k+1} = (1 + √(1 + 4 t_k²)) / 2
/// x_{k+1} = z_k + ((t_k − 1)/t_{k+1}) (z_k − z_{k−1})
/// ```
///
/// A step too large for the decoder makes the iterates grow without bound; the loop ends when their
/// norms overflow, with codes from which the caller can tell.
///
/// Runs on any device and in any float type; in f64 it is the reference for everything faster.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainFista;

impl Engine for PlainFista {
    fn infer(&self, energy: &Energy<'_>, start: &Tensor) -> Result<Inference> {
        let config = energy.config();
        let batch = start.dim(0)?;
        let step_size = energy.step_size()?;
        let threshold = config.lambda * step_size;

        let mut codes = start.clone();
        let mut point = start.clone();
        let mut t = 1.0f64;
        let mut converged = vec![false; batch];
        let mut steps = vec![0u32; batch];
        let mut iterations = 0;
        while iterations < config.max_iterations {
            iterations += 1;
            let step = energy.gradient(&point)?.affine(step_size, threshold)?;
            let next = match config.stopping {
                // No gradient and no shrinkage for a converged sample: z = relu(x).
                Stopping::Sliding => (&point - moving(&converged, step)?)?.relu()?,
                Stopping::Freeze => {
                    let change = ((&point - step)?.relu()? - &codes)?;
                    (&codes + moving(&converged, change)?)?
                }
            };
            let change = (&next - &codes)?;
            let change_norms = row_norms_squared(&change)?;
            let norms = row_norms_squared(&codes)?;
            for i in 0..batch {
                let meets = change_norms[i] < config.tolerance * config.tolerance * norms[i];
                converged[i] = meets || (config.stopping == Stopping::Freeze && converged[i]);
                steps[i] += u32::from(!converged[i]);
            }
            let t_next = (1.0 + (1.0 + 4.0 * t * t).sqrt()) / 2.0;
            point = (&next + (change * ((t - 1.0) / t_next))?)?;
            t = t_next;
            codes = next;
            // Past an overflow comes NaN, and relu makes 0 of that: stop where the caller can still
            // see it.
            let overflowed = change_norms.iter().any(|norm| !norm.is_finite());
            if overflowed || converged.iter().all(|&c| c) {
                break;
            }
        }
        Ok(Inference {
            codes,
            iterations,
            steps,
            step_size,
        })
    }
}

/// `rows` with those of converged samples set to 0.
fn moving(converged: &[bool], rows: Tensor) -> Result<Tensor> {
    if !converged.contains(&true) {
        return Ok(rows);
    }
    let mask: Vec<f32> = converged
        .iter()
        .map(|&c| if c { 0.0 } else { 1.0 })
        .collect();
    let mask =
        Tensor::from_vec(mask, (converged.len(), 1), rows.device())?.to_dtype(rows.dtype())?;
    rows.broadcast_mul(&mask)
}

/// ‖row‖² of each row. NaN compares as "not converged" with everything.
fn row_norms_squared(x: &Tensor) -> Result<Vec<f64>> {
    x.sqr()?
        .sum(1)?
        .to_dtype(candle_core::DType::F64)?
        .to_vec1()
}
