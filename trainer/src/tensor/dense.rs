//! Dense layers for automatic differentiation: one node of the graph in place of three.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Error, Layout, Result, Shape, Tensor};

use super::elementwise::{column_sums, positive_part, where_positive};
use super::host::{is_host, slice, threads_for};
use super::matmul::{Matrix, matmul, product};
use super::team::{UNIT, divide, row_parts};
use super::wide::widest;

/// What a layer is besides its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Dense {
    /// A ReLU follows, whose gradient at 0 is 0.
    pub(crate) is_rectified: bool,
    /// Nobody wants a gradient for what goes in.
    pub(crate) is_first: bool,
    /// Where the gradients of this layer's parameters are left.
    pub(crate) gradients: LayerGradients,
}

/// The gradients of a layer's weight and bias, beside candle's store: the store would add each to a
/// tensor of zeros first.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerGradients(Arc<Mutex<Option<[Tensor; 2]>>>);

impl LayerGradients {
    /// What the last pass backwards left; `None` where candle's store has the gradients.
    pub(crate) fn take(&self) -> Option<[Tensor; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn leave(&self, gradients: [Tensor; 2]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradients);
    }
}

impl Dense {
    /// `x Wᵀ + b`, with the ReLU behind it. `x` is `batch × inputs`, the weight `outputs × inputs`.
    ///
    /// One pass on f32 in main memory, whose gradients are left there; elsewhere tensor operations.
    pub(crate) fn forward(self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        if [x, weight, bias].iter().all(|tensor| is_host(tensor)) {
            return x.contiguous()?.apply_op3(weight, bias, self);
        }
        let sums = x.matmul(&weight.t()?)?.broadcast_add(bias)?;
        match self.is_rectified {
            true => sums.relu(),
            false => Ok(sums),
        }
    }
}

impl CustomOp3 for Dense {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        of_x: &Layout,
        weight: &CpuStorage,
        of_weight: &Layout,
        bias: &CpuStorage,
        of_bias: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, inputs) = of_x.shape().dims2()?;
        let (outputs, taken) = of_weight.shape().dims2()?;
        if inputs != taken || of_bias.shape().dims() != [outputs] {
            return Err(Error::Msg(format!(
                "dense: {inputs} inputs for weights {outputs} × {taken} and biases {:?}",
                of_bias.dims()
            )));
        }
        let (x, weight) = (slice(x, of_x)?, slice(weight, of_weight)?);
        let (bias, is_rectified) = (slice(bias, of_bias)?, self.is_rectified);
        let x = Matrix::new(x, rows, inputs, inputs);
        let weight = Matrix::new(weight, outputs, inputs, inputs).t();
        let mut out = bias.repeat(rows);
        let threads = threads_for(rows * inputs);
        divide(
            row_parts(&mut out, outputs, threads, UNIT),
            |(part, out)| {
                matmul(out, outputs, true, 1.0, x.rows(part), weight);
                if is_rectified {
                    widest(
                        #[inline(always)]
                        || out.iter_mut().for_each(|v| *v = positive_part(*v)),
                    );
                }
            },
        );
        Ok((CpuStorage::F32(out), Shape::from((rows, outputs))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = match self.is_rectified {
            true => where_positive(gradient, &out.detach())?,
            false => gradient.clone(),
        };
        let by_input = match self.is_first {
            true => None,
            false => Some(product(&gradient, &weight.detach())?),
        };
        let by_bias = column_sums(&gradient)?.flatten_all()?;
        let by_weight = product(&gradient.t()?, &x.detach())?;
        self.gradients.leave([by_weight, by_bias]);
        Ok((by_input, None, None))
    }
}
