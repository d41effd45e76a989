//! The gradient through a one-hidden-layer decoder, `(2/d) W1ᵀ(1[h>0] ⊙ W2ᵀ(W2 h − y))` with `h = relu(W1 z + b1)`.
//!
//! The middle, `W2ᵀ(W2 h − y)`, has two forms: direct (2·d·m operations a sample), or `H h − W2ᵀy` with the Gram matrix H = W2ᵀW2
//! (m² a sample, after m²·d for H and d·m a sample for the constant). How many iterations a batch will take is not known before, so
//! the loop begins directly and goes over to the Gram form when that would have paid: never more than twice the cost of the better
//! one.

use std::sync::{PoisonError, RwLock};

use candle_core::{Result, Tensor};

use super::team::Barrier;
use super::{HostMatrix, matrix};
use crate::kernels::matmul::{Matrix, matmul, transpose};

/// The decoder and what the threads share of its Gram matrix.
pub(super) struct OneHidden<'a> {
    /// W1, m × l.
    hidden: HostMatrix<'a>,
    /// b1.
    hidden_bias: HostMatrix<'a>,
    /// W2, d × m.
    output: HostMatrix<'a>,
    /// Y, n × d.
    inputs: HostMatrix<'a>,
    input_dim: usize,
    code_dim: usize,
    hidden_dim: usize,
    batch: usize,
    /// W2ᵀ, m × d, by rows: one block for each thread. Products read it in this order; from W2 itself each of them, in each
    /// thread, would make such a copy anew.
    output_t: Vec<RwLock<Vec<f32>>>,
    /// H, m × m, by columns: one block for each thread, empty as long as the direct form is in use.
    gram: Vec<RwLock<Vec<f32>>>,
}

/// Buffers of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    points: Vec<f32>,
    units: Vec<f32>,
    errors: Vec<f32>,
    delta: Vec<f32>,
    /// `W2ᵀ y` of the thread's samples, once the Gram form is in use.
    constants: Vec<f32>,
    uses_gram: bool,
    /// Samples times iterations of the batch so far.
    work: usize,
}

impl<'a> OneHidden<'a> {
    pub(super) fn new(
        hidden: &'a Tensor,
        hidden_bias: &'a Tensor,
        output: &'a Tensor,
        inputs: &'a Tensor,
        code_dim: usize,
        members: usize,
    ) -> Result<Self> {
        let (batch, input_dim) = inputs.dims2()?;
        let hidden_dim = hidden_bias.elem_count();
        Ok(Self {
            hidden: matrix(hidden, hidden_dim, code_dim, "decoder.hidden")?,
            hidden_bias: HostMatrix::of(hidden_bias)?,
            output: matrix(output, input_dim, hidden_dim, "decoder.output")?,
            inputs: HostMatrix::of(inputs)?,
            input_dim,
            code_dim,
            hidden_dim,
            batch,
            output_t: (0..members).map(|_| RwLock::default()).collect(),
            gram: (0..members).map(|_| RwLock::default()).collect(),
        })
    }

    /// Makes what all threads share; each must call it before the first gradient.
    pub(super) fn prepare(&self, member: usize, barrier: &Barrier) {
        let (first, count) = self.share(member);
        {
            let mut block = self.output_t[member]
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            block.resize(count * self.input_dim, 0.0);
            let part = Matrix::new(
                &self.output,
                self.input_dim,
                self.hidden_dim,
                self.hidden_dim,
            );
            transpose(part.columns(first, count), &mut block);
        }
        barrier.meet();
    }

    /// `products ← (2/d) W1ᵀ(1[h>0] ⊙ W2ᵀ(W2 h − y))` for the rows `moving` of `points`, one after the other. Rows of `points` and
    /// `products` are `stride` apart; `sample` tells the sample of a row.
    pub(super) fn gradient(
        &self,
        scratch: &mut Scratch,
        points: &[f32],
        moving: &[usize],
        sample: impl Fn(usize) -> usize,
        products: &mut [f32],
        stride: usize,
    ) {
        let (d, l, m, rows) = (self.input_dim, self.code_dim, self.hidden_dim, moving.len());
        let hidden = Matrix::new(&self.hidden, m, l, l);
        let output = Matrix::new(&self.output, d, m, m);

        scratch.points.clear();
        scratch.units.clear();
        for &row in moving {
            let point = &points[row * stride..][..l];
            scratch.points.extend_from_slice(point);
            scratch.units.extend_from_slice(&self.hidden_bias);
        }
        let points = Matrix::new(&scratch.points, rows, l, l);
        matmul(&mut scratch.units, m, true, 1.0, points, hidden.t());
        scratch
            .units
            .iter_mut()
            .for_each(|unit| *unit = unit.max(0.0));
        let units = Matrix::new(&scratch.units, rows, m, m);

        if scratch.uses_gram {
            scratch.delta.clear();
            for &row in moving {
                let constant = &scratch.constants[row * m..][..m];
                scratch.delta.extend(constant.iter().map(|value| -value));
            }
            for (member, block) in self.gram.iter().enumerate() {
                let block = block.read().unwrap_or_else(PoisonError::into_inner);
                let (first, columns) = self.share(member);
                let gram = Matrix::new(&block, m, columns, columns);
                let delta = scratch.delta.get_mut(first..).unwrap_or_default();
                matmul(delta, m, true, 1.0, units, gram);
            }
        } else {
            scratch.errors.clear();
            for &row in moving {
                let input = &self.inputs[sample(row) * d..][..d];
                scratch.errors.extend(input.iter().map(|value| -value));
            }
            for (member, block) in self.output_t.iter().enumerate() {
                let block = block.read().unwrap_or_else(PoisonError::into_inner);
                let (first, count) = self.share(member);
                let output_t = Matrix::new(&block, count, d, d);
                matmul(
                    &mut scratch.errors,
                    d,
                    true,
                    1.0,
                    units.columns(first, count),
                    output_t,
                );
            }
            let errors = Matrix::new(&scratch.errors, rows, d, d);
            scratch.delta.resize(rows * m, 0.0);
            matmul(&mut scratch.delta, m, false, 1.0, errors, output);
        }
        for (delta, unit) in scratch.delta.iter_mut().zip(&scratch.units) {
            *delta = if *unit > 0.0 { *delta } else { 0.0 };
        }
        let delta = Matrix::new(&scratch.delta, rows, m, m);
        matmul(products, stride, false, 2.0 / d as f32, delta, hidden);
    }

    /// Counts an iteration in which `moving` samples of the batch were left, and goes over to the Gram form when that would have paid.
    /// All threads must call it with the same number.
    pub(super) fn count(
        &self,
        scratch: &mut Scratch,
        moving: usize,
        member: usize,
        barrier: &Barrier,
        samples: impl Iterator<Item = usize>,
    ) {
        scratch.work += moving;
        let sizes = (self.input_dim, self.hidden_dim, self.batch);
        if scratch.uses_gram || !gram_pays(sizes, scratch.work) {
            return;
        }
        scratch.uses_gram = true;
        let (d, m) = (self.input_dim, self.hidden_dim);
        let output = Matrix::new(&self.output, d, m, m);
        {
            let (first, columns) = self.share(member);
            let mut block = self.gram[member]
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            block.resize(m * columns, 0.0);
            let right = output.columns(first, columns);
            matmul(&mut block, columns, false, 1.0, output.t(), right);
        }
        scratch.errors.clear();
        for sample in samples {
            scratch
                .errors
                .extend_from_slice(&self.inputs[sample * d..][..d]);
        }
        let rows = scratch.errors.len() / d;
        let inputs = Matrix::new(&scratch.errors, rows, d, d);
        scratch.constants.resize(rows * m, 0.0);
        matmul(&mut scratch.constants, m, false, 1.0, inputs, output);
        barrier.meet();
    }

    /// The first hidden unit and the number of hidden units in a thread's blocks.
    fn share(&self, member: usize) -> (usize, usize) {
        let share = self.hidden_dim.div_ceil(self.gram.len());
        let first = (member * share).min(self.hidden_dim);
        (first, share.min(self.hidden_dim - first))
    }
}

/// Whether the Gram form would by now have saved what it costs to set up, for sizes (d, m, n) and this number of samples times
/// iterations done directly.
fn gram_pays((d, m, n): (usize, usize, usize), work: usize) -> bool {
    let saving = (2 * d * m).saturating_sub(m * m);
    saving > 0 && work * saving >= m * m * d + n * d * m
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MNIST's decoder: H costs as much as seven direct iterations more than its own; the patches' decoder is wider than twice the
    /// input, so that H is never cheaper.
    #[test]
    fn the_gram_form_is_for_long_loops_and_narrow_layers() {
        let mnist = (784, 1024, 250);
        assert!(!gram_pays(mnist, 7 * 250));
        assert!(gram_pays(mnist, 8 * 250));
        assert!(!gram_pays((784, 2048, 250), 200 * 250));
        assert!(!gram_pays((784, 2 * 784, 250), usize::MAX / 2));
    }
}
