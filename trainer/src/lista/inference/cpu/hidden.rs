//! The gradient through a one-hidden-layer decoder, `(2/d) W1ᵀ(1[h>0] ⊙ W2ᵀ(W2 h − y))` with `h =
//! relu(W1 z + b1)`.
//!
//! The middle, `W2ᵀ(W2 h − y)`, has two forms: direct (2·d·m operations a sample), or `H h − W2ᵀy`
//! with the Gram matrix H = W2ᵀW2 (m² a sample, after m²·d for H and d·m a sample for the
//! constant). How many iterations a batch will take is not known before, so the loop begins
//! directly and goes over to the Gram form when that would have paid: never more than twice the
//! cost of the better one.
//!
//! Threads divide the products by columns: each holds its part of the weights in its own cache,
//! reads them once for all samples that still move, and has as much to do as the others however
//! many of its own samples have converged. In return they meet between the products.

use std::ops::Range;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use candle_core::{Result, Tensor};

use super::matrix::{HostMatrix, matrix};
use crate::tensor::elementwise::positive_part;
use crate::tensor::matmul::{Matrix, matmul};
use crate::tensor::team::{Barrier, UNIT, part};
use crate::tensor::wide::widest;

/// Threads that divide columns. With more, groups of about so many divide the samples: columns a
/// few vectors wide cost more in reading what multiplies them than in multiplying.
const GROUP: usize = 8;

/// The decoder and what the threads share.
pub(super) struct OneHidden<'a> {
    /// W1, m × l.
    hidden: HostMatrix<'a>,
    /// b1.
    hidden_bias: HostMatrix<'a>,
    /// W2, d × m.
    output: HostMatrix<'a>,
    /// W2ᵀ, m × d.
    output_t: HostMatrix<'a>,
    /// Y, n × d.
    inputs: HostMatrix<'a>,
    input_dim: usize,
    code_dim: usize,
    hidden_dim: usize,
    batch: usize,
    members: Vec<Shared>,
}

/// What a thread tells the others of its group: of its samples the points, of all the group's
/// samples its columns.
#[derive(Default)]
struct Shared {
    points: RwLock<Moving>,
    units: RwLock<Vec<f32>>,
    errors: RwLock<Vec<f32>>,
    delta: RwLock<Vec<f32>>,
}

/// Samples that still move, and their points one after the other.
#[derive(Default)]
struct Moving {
    samples: Vec<usize>,
    points: Vec<f32>,
}

/// What a thread has to itself.
#[derive(Default)]
pub(super) struct Scratch {
    /// The moving samples of the group.
    moving: Moving,
    /// Its columns of H (m × m), by rows; empty as long as the direct form is in use.
    gram: Vec<f32>,
    /// Its columns of `Y W2` (n × m), by rows, once the Gram form is in use.
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
        output_t: &'a Tensor,
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
            output_t: matrix(
                output_t,
                hidden_dim,
                input_dim,
                "decoder.output's transpose",
            )?,
            inputs: HostMatrix::of(inputs)?,
            input_dim,
            code_dim,
            hidden_dim,
            batch,
            members: (0..members).map(|_| Shared::default()).collect(),
        })
    }

    /// `products ← (2/d) W1ᵀ(1[h>0] ⊙ W2ᵀ(W2 h − y))` for the rows `moving` of `points`, one after
    /// the other. Rows of `points` and `products` are `stride` apart; `sample` tells the sample of
    /// a row. All threads must call it together.
    #[expect(
        clippy::too_many_arguments,
        reason = "a thread's state lies in several places"
    )]
    pub(super) fn gradient(
        &self,
        scratch: &mut Scratch,
        member: usize,
        barrier: &Barrier,
        points: &[f32],
        moving: &[usize],
        sample: impl Fn(usize) -> usize,
        products: &mut [f32],
        stride: usize,
    ) {
        let (d, l, m) = (self.input_dim, self.code_dim, self.hidden_dim);
        let shared = &self.members[member];
        {
            let mut own = write(&shared.points);
            let own = &mut *own;
            own.samples.clear();
            own.points.clear();
            for &row in moving {
                own.samples.push(sample(row));
                own.points.extend_from_slice(&points[row * stride..][..l]);
            }
        }
        barrier.meet();

        // h of all the group's samples, this thread's hidden units.
        let group = group(member, self.members.len());
        let hidden_part = self.part(member, member, m);
        scratch.moving.samples.clear();
        scratch.moving.points.clear();
        let mut first = 0;
        for other in group.clone() {
            if other == member {
                first = scratch.moving.samples.len();
            }
            let other = read(&self.members[other].points);
            scratch.moving.samples.extend_from_slice(&other.samples);
            scratch.moving.points.extend_from_slice(&other.points);
        }
        let samples = &scratch.moving.samples;
        let rows = samples.len();
        {
            let mut units = write(&shared.units);
            units.clear();
            for _ in samples {
                units.extend_from_slice(&self.hidden_bias[hidden_part.clone()]);
            }
            let points = Matrix::new(&scratch.moving.points, rows, l, l);
            let weights = self.hidden().rows(hidden_part.clone()).t();
            matmul(&mut units, hidden_part.len(), true, 1.0, points, weights);
            widest(
                #[inline(always)]
                || {
                    for unit in units.iter_mut() {
                        *unit = positive_part(*unit);
                    }
                },
            );
        }
        barrier.meet();

        {
            let mut delta = write(&shared.delta);
            delta.clear();
            if scratch.uses_gram {
                for &sample in samples {
                    let constant =
                        &scratch.constants[sample * hidden_part.len()..][..hidden_part.len()];
                    delta.extend(constant.iter().map(|value| -value));
                }
                let gram = Matrix::new(&scratch.gram, m, hidden_part.len(), hidden_part.len());
                for other in group.clone() {
                    let part = self.part(member, other, m);
                    let units = read(&self.members[other].units);
                    let units = Matrix::new(&units, rows, part.len(), part.len());
                    matmul(
                        &mut delta,
                        hidden_part.len(),
                        true,
                        1.0,
                        units,
                        gram.rows(part),
                    );
                }
            } else {
                self.errors(scratch, member);
                barrier.meet();
                delta.resize(rows * hidden_part.len(), 0.0);
                let output = self.output().columns(hidden_part.clone());
                for (index, other) in group.clone().enumerate() {
                    let part = self.part(member, other, d);
                    let errors = read(&self.members[other].errors);
                    let errors = Matrix::new(&errors, rows, part.len(), part.len());
                    let weights = output.rows(part);
                    matmul(
                        &mut delta,
                        hidden_part.len(),
                        index > 0,
                        1.0,
                        errors,
                        weights,
                    );
                }
            }
            let units = read(&shared.units);
            widest(
                #[inline(always)]
                || {
                    for (delta, unit) in delta.iter_mut().zip(units.iter()) {
                        *delta = if *unit > 0.0 { *delta } else { 0.0 };
                    }
                },
            );
        }
        barrier.meet();

        // Of its own samples, all components of the code.
        for (index, other) in group.enumerate() {
            let part = self.part(member, other, m);
            let delta = read(&self.members[other].delta);
            let delta = Matrix::new(&delta, rows, part.len(), part.len());
            let delta = delta.rows(first..first + moving.len());
            let weights = self.hidden().rows(part);
            matmul(products, stride, index > 0, 2.0 / d as f32, delta, weights);
        }
    }

    /// `W2 h − y` of the group's moving samples, the thread's columns.
    fn errors(&self, scratch: &Scratch, member: usize) {
        let (d, m) = (self.input_dim, self.hidden_dim);
        let columns = self.part(member, member, d);
        let samples = &scratch.moving.samples;
        let mut errors = write(&self.members[member].errors);
        errors.clear();
        for &sample in samples {
            let input = &self.inputs[sample * d..][columns.clone()];
            errors.extend(input.iter().map(|value| -value));
        }
        let output_t = Matrix::new(&self.output_t, m, d, d).columns(columns.clone());
        for other in group(member, self.members.len()) {
            let part = self.part(member, other, m);
            let units = read(&self.members[other].units);
            let units = Matrix::new(&units, samples.len(), part.len(), part.len());
            matmul(
                &mut errors,
                columns.len(),
                true,
                1.0,
                units,
                output_t.rows(part),
            );
        }
    }

    /// Counts an iteration in which `moving` samples of the batch were left, and goes over to the
    /// Gram form when that would have paid. All threads must call it with the same number.
    pub(super) fn count(&self, scratch: &mut Scratch, member: usize, moving: usize) {
        scratch.work += moving;
        let (d, m) = (self.input_dim, self.hidden_dim);
        if scratch.uses_gram || !gram_pays((d, m, self.batch), scratch.work) {
            return;
        }
        scratch.uses_gram = true;
        let part = self.part(member, member, m);
        let columns = part.len();
        let output = self.output();
        let weights = output.columns(part);
        scratch.gram.resize(m * columns, 0.0);
        matmul(&mut scratch.gram, columns, false, 1.0, output.t(), weights);
        scratch.constants.resize(self.batch * columns, 0.0);
        let inputs = Matrix::new(&self.inputs, self.batch, d, d);
        matmul(&mut scratch.constants, columns, false, 1.0, inputs, weights);
    }

    fn hidden(&self) -> Matrix<'_> {
        let (l, m) = (self.code_dim, self.hidden_dim);
        Matrix::new(&self.hidden, m, l, l)
    }

    fn output(&self) -> Matrix<'_> {
        let (d, m) = (self.input_dim, self.hidden_dim);
        Matrix::new(&self.output, d, m, m)
    }

    /// The part of `0..size` that thread `other` of `member`'s group has.
    fn part(&self, member: usize, other: usize, size: usize) -> Range<usize> {
        let group = group(member, self.members.len());
        part(size, group.len(), other - group.start, UNIT)
    }
}

/// The threads of a thread's group.
fn group(member: usize, members: usize) -> Range<usize> {
    let groups = members.div_ceil(GROUP);
    let index = member * groups / members;
    (index * members).div_ceil(groups)..((index + 1) * members).div_ceil(groups)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the Gram form would by now have saved what it costs to set up, for sizes (d, m, n) and
/// this number of samples times iterations done directly.
fn gram_pays((d, m, n): (usize, usize, usize), work: usize) -> bool {
    let saving = (2 * d * m).saturating_sub(m * m);
    saving > 0 && work * saving >= m * m * d + n * d * m
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MNIST's decoder: H costs as much as seven direct iterations more than its own; the patches'
    /// decoder is wider than twice the input, so that H is never cheaper.
    #[test]
    fn the_gram_form_is_for_long_loops_and_narrow_layers() {
        let mnist = (784, 1024, 250);
        assert!(!gram_pays(mnist, 7 * 250));
        assert!(gram_pays(mnist, 8 * 250));
        assert!(!gram_pays((784, 2048, 250), 200 * 250));
        assert!(!gram_pays((784, 2 * 784, 250), usize::MAX / 2));
    }

    /// Every thread is in one group, its own; groups are of nearly one size.
    #[test]
    fn groups_divide_the_threads() {
        for members in 1..=70 {
            let mut next = 0;
            let mut sizes = Vec::new();
            while next < members {
                let group = group(next, members);
                assert_eq!(group.start, next);
                for member in group.clone() {
                    assert_eq!(super::group(member, members), group);
                }
                sizes.push(group.len());
                next = group.end;
            }
            assert_eq!(next, members);
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(most - least <= 1 && *most <= GROUP, "{members}: {sizes:?}");
        }
    }
}
