//! Adam's update in one pass over memory.

use candle_core::{CpuStorage, CustomOp3, Error, Layout, Result, Shape};
use pulp::Arch;
use rayon::prelude::*;

use super::elementwise::{share, slice};

/// The constants of one update, as torch orders its operations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdamUpdate {
    pub(crate) beta_1: f64,
    pub(crate) beta_2: f64,
    pub(crate) epsilon: f64,
    /// `1/√(1 − β₂ᵗ)`.
    pub(crate) correction: f64,
    /// `rate/(1 − β₁ᵗ)`.
    pub(crate) step: f64,
    pub(crate) weight_decay: f64,
}

/// Takes the parameter (N numbers of any shape), its moments (2 × N) and its gradient (N) to `3 × N`: the next parameter and the
/// next moments.
impl CustomOp3 for AdamUpdate {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(
        &self,
        parameter: &CpuStorage,
        parameter_layout: &Layout,
        moments: &CpuStorage,
        moments_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let parameter = slice(parameter, parameter_layout)?;
        let moments = slice(moments, moments_layout)?;
        let gradient = slice(gradient, gradient_layout)?;
        let count = parameter.len();
        if moments.len() != 2 * count || gradient.len() != count {
            return Err(Error::Msg(format!(
                "adam: {count} parameters with {} moments and {} gradients",
                moments.len(),
                gradient.len()
            )));
        }
        let (first, second) = moments.split_at(count);
        let mut next = vec![0.0; 3 * count];
        let (next_parameter, next_moments) = next.split_at_mut(count);
        let (next_first, next_second) = next_moments.split_at_mut(count);
        let chunk = share(count, 1);
        let update = |first_number: usize, out: [&mut [f32]; 3]| {
            let numbers = first_number..first_number + out[0].len();
            let from = [parameter, first, second, gradient].map(|from| &from[numbers.clone()]);
            Arch::new().dispatch(|| self.chunk(from, out));
        };
        if count <= chunk {
            update(0, [next_parameter, next_first, next_second]);
        } else {
            next_parameter
                .par_chunks_mut(chunk)
                .zip(next_first.par_chunks_mut(chunk))
                .zip(next_second.par_chunks_mut(chunk))
                .enumerate()
                .for_each(|(index, ((p, m), v))| update(index * chunk, [p, m, v]));
        }
        Ok((CpuStorage::F32(next), Shape::from((3, count))))
    }
}

impl AdamUpdate {
    #[inline(always)]
    fn chunk(&self, [p, m, v, g]: [&[f32]; 4], [p_out, m_out, v_out]: [&mut [f32]; 3]) {
        let (beta_1, rest_1) = (self.beta_1 as f32, (1.0 - self.beta_1) as f32);
        let (beta_2, rest_2) = (self.beta_2 as f32, (1.0 - self.beta_2) as f32);
        let (correction, epsilon) = (self.correction as f32, self.epsilon as f32);
        let (step, decay) = (self.step as f32, self.weight_decay as f32);
        let count = p.len();
        let (m, v, g) = (&m[..count], &v[..count], &g[..count]);
        let (m_out, v_out) = (&mut m_out[..count], &mut v_out[..count]);
        for i in 0..count {
            let gradient = g[i] + p[i] * decay;
            let first = m[i] * beta_1 + gradient * rest_1;
            let second = v[i] * beta_2 + gradient * gradient * rest_2;
            m_out[i] = first;
            v_out[i] = second;
            p_out[i] = p[i] - first / (second.sqrt() * correction + epsilon) * step;
        }
    }
}
