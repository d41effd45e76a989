//! One FISTA iteration over a tile of samples: the product with the Gram matrix, and one pass for
//! everything else.
//!
//! Rows (one a sample) are [`stride`] floats apart and padded with zeros, which stay zero. Each
//! component of a product is one chain of fused multiply-adds in the order of the atoms; leaving
//! out an atom that is 0 does not change it, so the sparse and the dense form give the same bits,
//! and so does every division of the samples among threads.

use pulp::{Arch, Simd, WithSimd};

/// Rows are padded to a multiple of this: the floats of the widest vector.
const PADDING: usize = 16;

/// Fraction of atoms in use from which the dense product is faster, since it needs half the loads
/// per multiply-add: found where the times of the two forms cross, at l = 128 on one core with
/// AVX-512 (0.075 and 0.089 ms an iteration of 250 samples at 50 %, 0.105 and 0.093 ms at 60 %).
pub(crate) const DENSE_FROM: f64 = 0.55;

/// The distance of rows of `code_dim` components.
pub(crate) fn stride(code_dim: usize) -> usize {
    code_dim.next_multiple_of(PADDING)
}

/// `products ← points · gram` for the moving rows of a tile, one after the other.
pub(crate) struct GramProduct<'a> {
    /// `code_dim` rows.
    pub(crate) gram: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) points: &'a [f32],
    /// Rows of `points` that are wanted.
    pub(crate) moving: &'a [usize],
    pub(crate) products: &'a mut [f32],
    /// Room for the numbers of the active atoms of one tile.
    pub(crate) support: &'a mut Support,
    /// Fraction of atoms in use from which all are visited: [`DENSE_FROM`].
    pub(crate) dense_from: f64,
}

/// Numbers of the components that are not 0, of several rows.
#[derive(Default)]
pub(crate) struct Support {
    atoms: Vec<u32>,
    ends: Vec<usize>,
}

impl Support {
    #[inline(always)]
    fn list<'r>(&mut self, rows: impl Iterator<Item = &'r [f32]>, most: usize) {
        self.atoms.resize(most, 0);
        self.ends.clear();
        let mut end = 0;
        for row in rows {
            for (block, values) in row.as_chunks::<PADDING>().0.iter().enumerate() {
                let mut mask = 0u32;
                for (bit, value) in values.iter().enumerate() {
                    mask |= u32::from(*value != 0.0) << bit;
                }
                while mask != 0 {
                    self.atoms[end] = (block * PADDING) as u32 + mask.trailing_zeros();
                    end += 1;
                    mask &= mask - 1;
                }
            }
            self.ends.push(end);
        }
    }

    #[inline(always)]
    fn row(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.atoms[start..self.ends[index]]
    }

    fn count(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }
}

impl GramProduct<'_> {
    pub(crate) fn run(self) {
        Arch::new().dispatch(self);
    }
}

impl WithSimd for GramProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let stride = self.stride;
        let atoms = self.gram.len() / stride;
        let width = stride / S::F32_LANES;
        let point = |row: usize| &self.points[row * stride..][..stride];
        let rows = self.moving.iter().map(|&row| point(row));
        self.support.list(rows, self.moving.len() * stride);
        let all = self.moving.len() * atoms;
        let dense = self.support.count() as f64 >= self.dense_from * all as f64;
        let gram = S::as_simd_f32s(self.gram).0;
        let products = S::as_mut_simd_f32s(self.products).0;
        if !dense {
            for (index, &row) in self.moving.iter().enumerate() {
                let out = &mut products[index * width..][..width];
                sparse_row(simd, gram, point(row), self.support.row(index), out);
            }
            return;
        }
        let mut index = 0;
        while index + 3 <= self.moving.len() {
            let rows = [0, 1, 2].map(|i| point(self.moving[index + i]));
            let out = &mut products[index * width..][..3 * width];
            dense_rows(simd, gram, atoms, rows, out);
            index += 3;
        }
        while index < self.moving.len() {
            let out = &mut products[index * width..][..width];
            dense_rows(simd, gram, atoms, [point(self.moving[index])], out);
            index += 1;
        }
    }
}

#[inline(always)]
fn sparse_row<S: Simd>(
    simd: S,
    gram: &[S::f32s],
    point: &[f32],
    support: &[u32],
    out: &mut [S::f32s],
) {
    let mut first = 0;
    while first + 8 <= out.len() {
        sparse_block::<S, 8>(simd, gram, point, support, out, first);
        first += 8;
    }
    while first < out.len() {
        sparse_block::<S, 1>(simd, gram, point, support, out, first);
        first += 1;
    }
}

/// `B` vectors of the result, which stay in registers.
#[inline(always)]
fn sparse_block<S: Simd, const B: usize>(
    simd: S,
    gram: &[S::f32s],
    point: &[f32],
    support: &[u32],
    out: &mut [S::f32s],
    first: usize,
) {
    let width = out.len();
    let mut sums = [simd.splat_f32s(0.0); B];
    for &atom in support {
        let atom = atom as usize;
        let factor = simd.splat_f32s(point[atom]);
        let row = &gram[atom * width + first..][..B];
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum = simd.mul_add_e_f32s(factor, value, *sum);
        }
    }
    out[first..first + B].copy_from_slice(&sums);
}

#[inline(always)]
fn dense_rows<S: Simd, const R: usize>(
    simd: S,
    gram: &[S::f32s],
    atoms: usize,
    points: [&[f32]; R],
    out: &mut [S::f32s],
) {
    let width = out.len() / R;
    let mut first = 0;
    // R × 8 sums where there are registers for them.
    if S::REGISTER_COUNT >= 32 {
        while first + 8 <= width {
            dense_block::<S, R, 8>(simd, gram, atoms, points, out, first);
            first += 8;
        }
    }
    while first + 4 <= width {
        dense_block::<S, R, 4>(simd, gram, atoms, points, out, first);
        first += 4;
    }
    while first < width {
        dense_block::<S, R, 1>(simd, gram, atoms, points, out, first);
        first += 1;
    }
}

#[inline(always)]
fn dense_block<S: Simd, const R: usize, const B: usize>(
    simd: S,
    gram: &[S::f32s],
    atoms: usize,
    points: [&[f32]; R],
    out: &mut [S::f32s],
    first: usize,
) {
    let width = out.len() / R;
    let mut sums = [[simd.splat_f32s(0.0); B]; R];
    let points = points.map(|point| &point[..atoms]);
    for atom in 0..atoms {
        let row = &gram[atom * width + first..][..B];
        for (sums, point) in sums.iter_mut().zip(points) {
            let factor = simd.splat_f32s(point[atom]);
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum = simd.mul_add_e_f32s(factor, value, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        out[row * width + first..][..B].copy_from_slice(sums);
    }
}

/// What is known of one sample between iterations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Whether it met the tolerance in the last iteration (or ever, for frozen samples).
    pub(crate) converged: bool,
    /// ‖z‖².
    pub(crate) norm_squared: f32,
    /// Iterations in which it did not meet the tolerance.
    pub(crate) steps: u32,
}

/// The variance hinge at the momentum points, by component.
pub(crate) struct Hinge<'a> {
    /// μ.
    pub(crate) mean: &'a [f32],
    /// `2β/(n−1) · (T − sd)_+/sd`, 0 where sd = 0.
    pub(crate) factor: &'a [f32],
}

/// The same for all samples of an iteration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Iteration {
    /// η.
    pub(crate) step_size: f32,
    /// λη.
    pub(crate) threshold: f32,
    /// `(t_k − 1)/t_{k+1}`.
    pub(crate) momentum: f32,
    /// `2γ/l`.
    pub(crate) pull: f32,
    /// The tolerance, squared.
    pub(crate) tolerance_squared: f64,
    /// Whether a sample that has converged stays; otherwise it slides on along its momentum.
    pub(crate) freeze: bool,
}

/// Gradient, shrinkage, stopping and momentum for the samples of a tile.
pub(crate) struct UpdateTile<'a> {
    pub(crate) iteration: Iteration,
    pub(crate) hinge: Option<Hinge<'a>>,
    pub(crate) stride: usize,
    /// The reconstruction's gradient at the points without its constant part: one row for each
    /// sample that has not converged.
    pub(crate) products: &'a [f32],
    /// What is constant in the gradient, negated: `c + (2γ/l) E(y)`.
    pub(crate) constants: &'a [f32],
    /// x, in and out.
    pub(crate) points: &'a mut [f32],
    /// z, in and out.
    pub(crate) codes: &'a mut [f32],
    pub(crate) samples: &'a mut [Sample],
}

/// How the samples of a tile came out of an iteration.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Samples that have not converged.
    pub(crate) moving: usize,
    /// Whether the change of a sample is no finite number.
    pub(crate) overflowed: bool,
}

impl std::ops::AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.moving += other.moving;
        self.overflowed |= other.overflowed;
    }
}

impl UpdateTile<'_> {
    pub(crate) fn run(self) -> Outcome {
        Arch::new().dispatch(self)
    }
}

impl WithSimd for UpdateTile<'_> {
    type Output = Outcome;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Outcome {
        let width = self.stride / S::F32_LANES;
        let points = S::as_mut_simd_f32s(self.points).0;
        let codes = S::as_mut_simd_f32s(self.codes).0;
        let constants = S::as_simd_f32s(self.constants).0;
        let mut products = S::as_simd_f32s(self.products).0.chunks_exact(width);
        let hinge = self.hinge.map(|hinge| {
            (
                S::as_simd_f32s(hinge.mean).0,
                S::as_simd_f32s(hinge.factor).0,
            )
        });
        let it = self.iteration;
        let mut outcome = Outcome::default();
        for (index, sample) in self.samples.iter_mut().enumerate() {
            let at = index * width;
            let points = &mut points[at..at + width];
            let codes = &mut codes[at..at + width];
            let norms = if sample.converged {
                let frozen = it.freeze;
                rest(simd, it.momentum, frozen, points, codes)
            } else {
                let product = products.next().expect("a product for each moving sample");
                let constants = &constants[at..at + width];
                match hinge {
                    Some((mean, factor)) => {
                        let hinge = |v: usize, x, gradient| {
                            let pushed = simd.mul_f32s(factor[v], simd.sub_f32s(x, mean[v]));
                            simd.sub_f32s(gradient, pushed)
                        };
                        step(simd, it, product, constants, points, codes, hinge)
                    }
                    None => step(simd, it, product, constants, points, codes, |_, _, g| g),
                }
            };
            let limit = it.tolerance_squared * f64::from(sample.norm_squared);
            let meets = f64::from(norms.change) < limit;
            let stays = it.freeze && sample.converged;
            sample.converged = meets || stays;
            sample.norm_squared = norms.code;
            sample.steps += u32::from(!sample.converged);
            outcome.moving += usize::from(!sample.converged);
            outcome.overflowed |= !norms.change.is_finite();
        }
        outcome
    }
}

/// Squared norms after an iteration.
struct Norms {
    /// ‖z_k − z_{k−1}‖².
    change: f32,
    /// ‖z_k‖².
    code: f32,
}

/// `z ← (x − η g − λη)_+` and the next x.
#[inline(always)]
fn step<S: Simd>(
    simd: S,
    it: Iteration,
    product: &[S::f32s],
    constants: &[S::f32s],
    points: &mut [S::f32s],
    codes: &mut [S::f32s],
    hinge: impl Fn(usize, S::f32s, S::f32s) -> S::f32s,
) -> Norms {
    let splat = |value| simd.splat_f32s(value);
    let (zero, pull, momentum) = (splat(0.0), splat(it.pull), splat(it.momentum));
    let (step_size, threshold) = (splat(it.step_size), splat(it.threshold));
    let (mut change_norm, mut code_norm) = (zero, zero);
    let (product, constants) = (&product[..points.len()], &constants[..points.len()]);
    let codes = &mut codes[..points.len()];
    for v in 0..points.len() {
        let x = points[v];
        let gradient = simd.mul_add_e_f32s(pull, x, simd.sub_f32s(product[v], constants[v]));
        let gradient = hinge(v, x, gradient);
        let step = simd.mul_add_e_f32s(step_size, gradient, threshold);
        // The operand that may be NaN is the second: x86 returns that one, so that a NaN stays
        // visible.
        let next = simd.max_f32s(zero, simd.sub_f32s(x, step));
        let change = simd.sub_f32s(next, codes[v]);
        change_norm = simd.mul_add_e_f32s(change, change, change_norm);
        code_norm = simd.mul_add_e_f32s(next, next, code_norm);
        codes[v] = next;
        points[v] = simd.mul_add_e_f32s(momentum, change, next);
    }
    Norms {
        change: simd.reduce_sum_f32s(change_norm),
        code: simd.reduce_sum_f32s(code_norm),
    }
}

/// A converged sample: slides on as `z ← (x)_+`, or stays where it is.
#[inline(always)]
fn rest<S: Simd>(
    simd: S,
    momentum: f32,
    frozen: bool,
    points: &mut [S::f32s],
    codes: &mut [S::f32s],
) -> Norms {
    let zero = simd.splat_f32s(0.0);
    let momentum = simd.splat_f32s(momentum);
    let (mut change_norm, mut code_norm) = (zero, zero);
    for (point, code) in points.iter_mut().zip(codes) {
        let next = if frozen {
            *code
        } else {
            simd.max_f32s(zero, *point)
        };
        let change = simd.sub_f32s(next, *code);
        change_norm = simd.mul_add_e_f32s(change, change, change_norm);
        code_norm = simd.mul_add_e_f32s(next, next, code_norm);
        *code = next;
        *point = simd.mul_add_e_f32s(momentum, change, next);
    }
    Norms {
        change: simd.reduce_sum_f32s(change_norm),
        code: simd.reduce_sum_f32s(code_norm),
    }
}

/// Mean of each component over the rows of a tile, and the sum of squared deviations from it.
///
/// Sums are taken relative to the tile's first row, so that they do not cancel, and a component
/// that is constant has a sum of exactly 0.
pub(crate) struct TileMoments<'a> {
    pub(crate) stride: usize,
    pub(crate) rows: usize,
    pub(crate) points: &'a [f32],
    pub(crate) mean: &'a mut [f32],
    pub(crate) squares: &'a mut [f32],
}

impl TileMoments<'_> {
    pub(crate) fn run(self) {
        Arch::new().dispatch(self);
    }
}

impl WithSimd for TileMoments<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.stride / S::F32_LANES;
        let points = &S::as_simd_f32s(self.points).0[..self.rows * width];
        let mean = &mut S::as_mut_simd_f32s(self.mean).0[..width];
        let squares = &mut S::as_mut_simd_f32s(self.squares).0[..width];
        let per_row = simd.splat_f32s(1.0 / self.rows as f32);
        for v in 0..width {
            let first = points[v];
            let (mut sum, mut square) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
            for row in 1..self.rows {
                let difference = simd.sub_f32s(points[row * width + v], first);
                sum = simd.add_f32s(sum, difference);
                square = simd.mul_add_e_f32s(difference, difference, square);
            }
            let offset = simd.mul_f32s(sum, per_row);
            mean[v] = simd.add_f32s(first, offset);
            let spread = simd.sub_f32s(square, simd.mul_f32s(sum, offset));
            squares[v] = simd.max_f32s(simd.splat_f32s(0.0), spread);
        }
    }
}

/// Moments of one tile.
pub(crate) struct Moments<'a> {
    pub(crate) rows: usize,
    pub(crate) mean: &'a [f32],
    pub(crate) squares: &'a [f32],
}

/// Joins the moments of all tiles (Chan, Golub & LeVeque 1979), in their order, into the hinge of
/// the batch.
pub(crate) struct JoinMoments<'a, 'b> {
    pub(crate) tiles: &'b [Moments<'a>],
    /// n.
    pub(crate) batch: usize,
    /// β.
    pub(crate) weight: f64,
    /// T.
    pub(crate) threshold: f32,
    pub(crate) mean: &'b mut [f32],
    pub(crate) factor: &'b mut [f32],
}

impl JoinMoments<'_, '_> {
    pub(crate) fn run(self) {
        Arch::new().dispatch(self);
    }
}

impl WithSimd for JoinMoments<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { mean, factor, .. } = self;
        let batch = self.batch as f32;
        mean.fill(0.0);
        for tile in self.tiles {
            let rows = tile.rows as f32;
            for (mean, tile) in mean.iter_mut().zip(tile.mean) {
                *mean += rows * tile;
            }
        }
        mean.iter_mut().for_each(|mean| *mean /= batch);
        factor.fill(0.0);
        for tile in self.tiles {
            let rows = tile.rows as f32;
            let columns = factor.iter_mut().zip(&*mean);
            for ((sum, mean), (tile_mean, squares)) in
                columns.zip(tile.mean.iter().zip(tile.squares))
            {
                let offset = tile_mean - mean;
                *sum += squares + rows * offset * offset;
            }
        }
        let scale = (2.0 * self.weight / (self.batch - 1) as f64) as f32;
        let rounding = f32::EPSILON * batch;
        for (factor, mean) in factor.iter_mut().zip(&*mean) {
            let deviation = (*factor / (batch - 1.0)).sqrt();
            let shortfall = (self.threshold - deviation).max(0.0);
            // No more than what rounding makes of a constant: the gradient there is 0.
            *factor = if deviation > rounding * mean.abs() {
                scale * shortfall / deviation
            } else {
                0.0
            };
        }
    }
}

#[cfg(test)]
mod tests;
