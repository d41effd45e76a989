//! Adam's update in one pass over memory.

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, CustomOp3, Error, Layout, Result, Shape};

use super::host::{slice, threads_for};
use super::team::{UNIT, divide, row_parts};
use super::uninit::written;
use super::wide::widest;

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

/// Takes the parameter (N numbers of any shape), its moments (2 × N) and its gradient (N) to `3 ×
/// N`: the next parameter and the next moments.
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
        let threads = threads_for(count);
        // SAFETY: the parts of the three thirds are all of `next`, and `chunk` writes all of each.
        #[allow(unsafe_code)]
        let next = unsafe {
            written(3 * count, |next| {
                let (p, moments) = next.split_at_mut(count);
                let (m, v) = moments.split_at_mut(count);
                let [p, m, v] = [p, m, v].map(|out| row_parts(out, 1, threads, UNIT));
                let parts = p.into_iter().zip(m).zip(v).collect();
                divide(parts, |(((numbers, p), (_, m)), (_, v))| {
                    let from =
                        [parameter, first, second, gradient].map(|from| &from[numbers.clone()]);
                    widest(
                        #[inline(always)]
                        || self.chunk(from, [p, m, v]),
                    );
                });
            })
        };
        Ok((CpuStorage::F32(next), Shape::from((3, count))))
    }
}

impl AdamUpdate {
    /// Writes all of `out`.
    #[inline(always)]
    fn chunk(&self, [p, m, v, g]: [&[f32]; 4], out: [&mut [MaybeUninit<f32>]; 3]) {
        let (beta_1, rest_1) = (self.beta_1 as f32, (1.0 - self.beta_1) as f32);
        let (beta_2, rest_2) = (self.beta_2 as f32, (1.0 - self.beta_2) as f32);
        let (correction, epsilon) = (self.correction as f32, self.epsilon as f32);
        let (step, decay) = (self.step as f32, self.weight_decay as f32);
        let [p_out, m_out, v_out] = out;
        let count = p_out.len();
        let (p, m, v, g) = (&p[..count], &m[..count], &v[..count], &g[..count]);
        let (m_out, v_out) = (&mut m_out[..count], &mut v_out[..count]);
        for i in 0..count {
            let gradient = g[i] + p[i] * decay;
            let first = m[i] * beta_1 + gradient * rest_1;
            let second = v[i] * beta_2 + gradient * gradient * rest_2;
            m_out[i].write(first);
            v_out[i].write(second);
            p_out[i].write(p[i] - first / (second.sqrt() * correction + epsilon) * step);
        }
    }
}
