//! Nesterov's momentum in place: one pass for the velocity and one for the parameter.

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var};

use super::host::{is_host, slice, slice_mut};
use super::wide::widest;

/// `m v + g`. The velocity is the only owner of its numbers.
pub(crate) fn moved(velocity: Tensor, gradient: &Tensor, momentum: f64) -> Result<Tensor> {
    if !is_host(gradient) || !is_host(&velocity) {
        return (velocity * momentum)? + gradient;
    }
    velocity.inplace_op2(gradient, &Moved(momentum as f32))?;
    Ok(velocity)
}

/// `p ← p − r (g + m v)`, of a rate r and a momentum m.
pub(crate) fn take(
    parameter: &Var,
    velocity: &Tensor,
    gradient: &Tensor,
    [rate, momentum]: [f64; 2],
) -> Result<()> {
    let place = parameter.as_tensor();
    if !is_host(place) || !is_host(gradient) {
        let direction = (gradient + (velocity * momentum)?)?;
        return parameter.set(&(place - (direction * rate)?)?);
    }
    let [rate, momentum] = [rate as f32, momentum as f32];
    place.inplace_op3(velocity, gradient, &Taken { rate, momentum })
}

struct Moved(f32);

impl InplaceOp2 for Moved {
    fn name(&self) -> &'static str {
        "moved"
    }

    fn cpu_fwd(
        &self,
        velocity: &mut CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        of_gradient: &Layout,
    ) -> Result<()> {
        let gradient = slice(gradient, of_gradient)?;
        let momentum = self.0;
        widest(
            #[inline(always)]
            || {
                let pairs = slice_mut(velocity, layout)?.iter_mut().zip(gradient);
                pairs.for_each(|(v, g)| *v = momentum * *v + g);
                Ok(())
            },
        )
    }
}

struct Taken {
    rate: f32,
    momentum: f32,
}

impl InplaceOp3 for Taken {
    fn name(&self) -> &'static str {
        "taken"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        layout: &Layout,
        velocity: &CpuStorage,
        of_velocity: &Layout,
        gradient: &CpuStorage,
        of_gradient: &Layout,
    ) -> Result<()> {
        let velocity = slice(velocity, of_velocity)?;
        let gradient = slice(gradient, of_gradient)?;
        let (rate, momentum) = (self.rate, self.momentum);
        widest(
            #[inline(always)]
            || {
                let parameters = slice_mut(parameter, layout)?.iter_mut();
                let both = velocity.iter().zip(gradient);
                parameters
                    .zip(both)
                    .for_each(|(p, (v, g))| *p -= rate * (g + momentum * v));
                Ok(())
            },
        )
    }
}
