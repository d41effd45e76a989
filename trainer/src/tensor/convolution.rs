//! Convolutions for automatic differentiation, by products of matrices: one node of the graph.
//!
//! A convolution with a stride takes wide pictures to narrow ones, a transposed one narrow pictures
//! to wide ones, and each sends gradients back as the other one goes. Both join a pixel of the
//! narrow picture with the pixels of the wide one that its kernel covers. Columns hold what the
//! kernels of all narrow pixels cover: they are copied out of wide pictures, or added into them.
//! Between copies and products pictures lie pixel after pixel, channels side by side, so that the
//! row of a kernel is one run of numbers.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Error, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::host::{is_host, slice};
use super::matmul::{Matrix, matmul};
use super::wide::widest;

/// Narrow pixels that one product takes, about: what they need stays in the cache.
const ROWS: usize = 128;
/// Images whose share of the weight's gradient is summed by itself, whoever computes it.
const SHARE: usize = 32;

/// A convolution besides its parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convolve {
    /// Side of the kernel.
    pub(crate) kernel: usize,
    /// Pixels from one place of the kernel to the next.
    pub(crate) stride: usize,
    /// Pixels of 0 around wide pictures.
    pub(crate) padding: usize,
    /// Whether narrow pictures become wide ones.
    pub(crate) is_transposed: bool,
}

impl Convolve {
    /// The convolution of `batch × channels × side × side`, with a bias a channel. The weight is
    /// `narrow channels × wide channels × kernel × kernel`, as PyTorch has it for either kind.
    ///
    /// One pass on f32 in main memory; elsewhere candle's operations.
    pub(crate) fn forward(self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        if [x, weight, bias].iter().all(|tensor| is_host(tensor)) {
            return x.contiguous()?.apply_op3(weight, bias, self);
        }
        let Self {
            stride, padding, ..
        } = self;
        let moved = match self.is_transposed {
            true => x.conv_transpose2d(weight, padding, 0, stride, 1)?,
            false => x.conv2d(weight, padding, stride, 1, 1)?,
        };
        moved.broadcast_add(&bias.reshape((1, bias.elem_count(), 1, 1))?)
    }

    /// The pictures on both sides of a weight, by the side of one of them.
    fn lattice(self, weight: &Layout, side: usize, is_wide: bool) -> Result<Lattice> {
        let (narrow_channels, wide_channels, kernel, across) = weight.shape().dims4()?;
        let sides = match is_wide {
            true => (side + 2 * self.padding)
                .checked_sub(kernel)
                .map(|room| (side, room / self.stride + 1)),
            false => (side.saturating_sub(1) * self.stride + kernel)
                .checked_sub(2 * self.padding)
                .map(|wide| (wide, side)),
        };
        match sides {
            Some((wide, narrow)) if kernel == self.kernel && across == kernel && narrow > 0 => {
                Ok(Lattice {
                    kernel,
                    stride: self.stride,
                    padding: self.padding,
                    wide,
                    narrow,
                    wide_channels,
                    narrow_channels,
                })
            }
            _ => Err(Error::Msg(format!(
                "convolution: a weight of {:?} does not fit pictures of {side}×{side}",
                weight.dims()
            ))),
        }
    }

    /// Narrow pictures to wide ones or back, whatever this convolution does.
    fn moved(
        self,
        x: (&[f32], &Layout),
        weight: (&[f32], &Layout),
        bias: Option<&[f32]>,
        grows: bool,
        side: Option<usize>,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = x.1.shape().dims4()?;
        let mut lattice = self.lattice(weight.1, height, !grows)?;
        if let Some(side) = side {
            // A stride may leave pixels at the end that no kernel covers.
            lattice.wide = side;
        }
        let [taken, given] = match grows {
            true => [lattice.narrow_channels, lattice.wide_channels],
            false => [lattice.wide_channels, lattice.narrow_channels],
        };
        if height != width || taken != channels || bias.is_some_and(|bias| bias.len() != given) {
            return Err(Error::Msg(format!(
                "convolution: pictures {:?} for a weight {:?}",
                x.1.dims(),
                weight.1.dims()
            )));
        }
        let matrix = lattice.matrix(weight.0);
        let (out, side) = match grows {
            true => (lattice.grown(x.0, &matrix, bias, batch), lattice.wide),
            false => (lattice.shrunk(x.0, &matrix, bias, batch), lattice.narrow),
        };
        Ok((CpuStorage::F32(out), (batch, given, side, side).into()))
    }
}

impl CustomOp3 for Convolve {
    fn name(&self) -> &'static str {
        "convolution"
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
        let x = (slice(x, of_x)?, of_x);
        let weight = (slice(weight, of_weight)?, of_weight);
        let bias = slice(bias, of_bias)?;
        self.moved(x, weight, Some(bias), self.is_transposed, None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.detach().contiguous()?;
        let back = Back {
            of: *self,
            side: x.dim(2)?,
        };
        let by_input = match x.track_op() {
            true => Some(gradient.apply_op2_no_bwd(&weight.detach(), &back)?),
            false => None,
        };
        let (narrow, wide) = match self.is_transposed {
            true => (&x.detach(), &gradient),
            false => (&gradient, &x.detach()),
        };
        let by_weight = narrow.apply_op2_no_bwd(wide, &Weigh(*self))?;
        let by_bias = gradient.flatten_from(2)?.sum(2)?.sum(0)?;
        Ok((by_input, Some(by_weight), Some(by_bias)))
    }
}

/// The gradient of pictures of this side, by that of what became of them.
struct Back {
    of: Convolve,
    side: usize,
}

impl CustomOp2 for Back {
    fn name(&self) -> &'static str {
        "convolution, backwards"
    }

    fn cpu_fwd(
        &self,
        gradient: &CpuStorage,
        of_gradient: &Layout,
        weight: &CpuStorage,
        of_weight: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let gradient = (slice(gradient, of_gradient)?, of_gradient);
        let weight = (slice(weight, of_weight)?, of_weight);
        let grows = !self.of.is_transposed;
        let side = grows.then_some(self.side);
        self.of.moved(gradient, weight, None, grows, side)
    }
}

/// The gradient of the weight, by narrow and wide pictures of which one is a gradient.
struct Weigh(Convolve);

impl CustomOp2 for Weigh {
    fn name(&self) -> &'static str {
        "convolution, its weight"
    }

    fn cpu_fwd(
        &self,
        narrow: &CpuStorage,
        of_narrow: &Layout,
        wide: &CpuStorage,
        of_wide: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, narrow_channels, narrow_side, _) = of_narrow.shape().dims4()?;
        let (_, wide_channels, wide_side, _) = of_wide.shape().dims4()?;
        let Convolve {
            kernel,
            stride,
            padding,
            ..
        } = self.0;
        let lattice = Lattice {
            kernel,
            stride,
            padding,
            wide: wide_side,
            narrow: narrow_side,
            wide_channels,
            narrow_channels,
        };
        let (narrow, wide) = (slice(narrow, of_narrow)?, slice(wide, of_wide)?);
        let weight = lattice.weighed(narrow, wide, batch);
        let shape = (narrow_channels, wide_channels, kernel, kernel);
        Ok((CpuStorage::F32(weight), shape.into()))
    }
}

/// Wide and narrow pictures, and the kernel between them.
#[derive(Clone, Copy, Debug)]
struct Lattice {
    kernel: usize,
    stride: usize,
    padding: usize,
    /// Side of a wide picture.
    wide: usize,
    /// Side of a narrow one.
    narrow: usize,
    wide_channels: usize,
    narrow_channels: usize,
}

impl Lattice {
    fn wide_pixels(&self) -> usize {
        self.wide * self.wide
    }

    fn narrow_pixels(&self) -> usize {
        self.narrow * self.narrow
    }

    /// Numbers that a kernel covers.
    fn covered(&self) -> usize {
        self.kernel * self.kernel * self.wide_channels
    }

    /// Images that one product takes.
    fn images(&self) -> usize {
        (ROWS / self.narrow_pixels()).max(1)
    }

    /// A weight as a matrix, `narrow channels × covered`.
    fn matrix(&self, weight: &[f32]) -> Vec<f32> {
        let (places, channels) = (self.kernel * self.kernel, self.wide_channels);
        let mut matrix = vec![0.0; weight.len()];
        let rows = weight.chunks_exact(self.covered());
        for (weight, row) in rows.zip(matrix.chunks_exact_mut(self.covered())) {
            turn(weight, row, channels, places);
        }
        matrix
    }

    /// The runs of numbers that kernels cover, of one image: where each begins in the columns, and
    /// in the wide picture, and its length.
    fn runs(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let channels = self.wide_channels;
        // Of a kernel at this pixel, the places that lie in the picture, and where they begin.
        let inside = |at: usize| {
            let begin = at * self.stride;
            let first = self.padding.saturating_sub(begin).min(self.kernel);
            let end = (self.wide + self.padding).saturating_sub(begin);
            (first..end.min(self.kernel), begin)
        };
        for (pixel, (row, column)) in (0..self.narrow_pixels())
            .map(|pixel| (pixel, (pixel / self.narrow, pixel % self.narrow)))
        {
            let ((down, top), (across, left)) = (inside(row), inside(column));
            if across.is_empty() {
                continue;
            }
            let length = across.len() * channels;
            for place in down {
                let y = top + place - self.padding;
                let x = left + across.start - self.padding;
                let in_column = place * self.kernel + across.start;
                visit(
                    pixel * self.covered() + in_column * channels,
                    (y * self.wide + x) * channels,
                    length,
                );
            }
        }
    }

    /// What kernels cover of wide pictures, `narrow pixels × covered` an image.
    fn columns(&self, wide: &[f32], images: usize, columns: &mut [f32]) {
        // Beyond a picture's edge stands 0 from the beginning.
        let one = self.narrow_pixels() * self.covered();
        let wide = wide.chunks_exact(self.wide_pixels() * self.wide_channels);
        for (wide, columns) in wide.zip(columns.chunks_exact_mut(one)).take(images) {
            self.runs(|to, from, length| {
                columns[to..][..length].copy_from_slice(&wide[from..][..length]);
            });
        }
    }

    /// Adds columns to wide pictures.
    fn spread(&self, columns: &[f32], wide: &mut [f32]) {
        let one = self.narrow_pixels() * self.covered();
        widest(
            #[inline(always)]
            || {
                let wide = wide.chunks_exact_mut(self.wide_pixels() * self.wide_channels);
                for (wide, columns) in wide.zip(columns.chunks_exact(one)) {
                    self.runs(|from, to, length| {
                        let pairs = wide[to..][..length].iter_mut();
                        let pairs = pairs.zip(&columns[from..][..length]);
                        pairs.for_each(|(sum, value)| *sum += value);
                    });
                }
            },
        );
    }

    /// Wide pictures of narrow ones.
    fn grown(&self, x: &[f32], matrix: &[f32], bias: Option<&[f32]>, batch: usize) -> Vec<f32> {
        let (from, to) = (self.narrow_pixels(), self.wide_pixels());
        let (taken, given) = (self.narrow_channels, self.wide_channels);
        let covered = self.covered();
        let weight = Matrix::new(matrix, taken, covered, covered);
        let mut out = vec![0.0; batch * to * given];
        let parts = out.par_chunks_mut(self.images() * to * given);
        parts.enumerate().for_each_init(
            || Room::of(self),
            |room, (part, out)| {
                let count = out.len() / (to * given);
                let x = &x[part * self.images() * from * taken..][..count * from * taken];
                let narrow = &mut room.narrow[..count * from * taken];
                to_pixels(x, narrow, from, taken);
                let columns = &mut room.columns[..count * from * covered];
                let narrow = Matrix::new(narrow, count * from, taken, taken);
                matmul(columns, covered, false, 1.0, narrow, weight);
                let wide = &mut room.wide[..out.len()];
                begin(wide, bias, given);
                self.spread(columns, wide);
                to_channels(wide, out, to, given);
            },
        );
        out
    }

    /// Narrow pictures of wide ones.
    fn shrunk(&self, x: &[f32], matrix: &[f32], bias: Option<&[f32]>, batch: usize) -> Vec<f32> {
        let (from, to) = (self.wide_pixels(), self.narrow_pixels());
        let (taken, given) = (self.wide_channels, self.narrow_channels);
        let covered = self.covered();
        let weight = Matrix::new(matrix, given, covered, covered).t();
        let mut out = vec![0.0; batch * to * given];
        let parts = out.par_chunks_mut(self.images() * to * given);
        parts.enumerate().for_each_init(
            || Room::of(self),
            |room, (part, out)| {
                let count = out.len() / (to * given);
                let x = &x[part * self.images() * from * taken..][..count * from * taken];
                let wide = &mut room.wide[..count * from * taken];
                to_pixels(x, wide, from, taken);
                let columns = &mut room.columns[..count * to * covered];
                self.columns(wide, count, columns);
                let narrow = &mut room.narrow[..out.len()];
                begin(narrow, bias, given);
                let columns = Matrix::new(columns, count * to, covered, covered);
                matmul(narrow, given, true, 1.0, columns, weight);
                to_channels(narrow, out, to, given);
            },
        );
        out
    }

    /// The gradient of the weight, as PyTorch lays it out.
    fn weighed(&self, narrow: &[f32], wide: &[f32], batch: usize) -> Vec<f32> {
        let (pixels, channels, covered) =
            (self.narrow_pixels(), self.narrow_channels, self.covered());
        let wide_numbers = self.wide_pixels() * self.wide_channels;
        let shares = (0..batch.div_ceil(SHARE)).into_par_iter().map(|share| {
            let mut room = Room::of(self);
            let mut sum = vec![0.0; channels * covered];
            let end = batch.min((share + 1) * SHARE);
            let mut first = share * SHARE;
            while first < end {
                let count = self.images().min(end - first);
                let x = &narrow[first * pixels * channels..][..count * pixels * channels];
                let rows = &mut room.narrow[..x.len()];
                to_pixels(x, rows, pixels, channels);
                let x = &wide[first * wide_numbers..][..count * wide_numbers];
                let pictures = &mut room.wide[..x.len()];
                to_pixels(x, pictures, self.wide_pixels(), self.wide_channels);
                let columns = &mut room.columns[..count * pixels * covered];
                self.columns(pictures, count, columns);
                let rows = Matrix::new(rows, count * pixels, channels, channels).t();
                let columns = Matrix::new(columns, count * pixels, covered, covered);
                matmul(&mut sum, covered, true, 1.0, rows, columns);
                first += count;
            }
            sum
        });
        // In their order, whoever computes them.
        let shares: Vec<Vec<f32>> = shares.collect();
        let mut total = vec![0.0; channels * covered];
        for share in shares {
            total.iter_mut().zip(share).for_each(|(a, b)| *a += b);
        }
        let mut weight = vec![0.0; total.len()];
        let rows = total.chunks_exact(covered);
        for (row, weight) in rows.zip(weight.chunks_exact_mut(covered)) {
            turn(row, weight, self.kernel * self.kernel, self.wide_channels);
        }
        weight
    }
}

/// What one product needs.
struct Room {
    narrow: Vec<f32>,
    wide: Vec<f32>,
    columns: Vec<f32>,
}

impl Room {
    fn of(lattice: &Lattice) -> Self {
        let images = lattice.images();
        let narrow = images * lattice.narrow_pixels();
        Self {
            narrow: vec![0.0; narrow * lattice.narrow_channels],
            wide: vec![0.0; images * lattice.wide_pixels() * lattice.wide_channels],
            columns: vec![0.0; narrow * lattice.covered()],
        }
    }
}

/// Fills pixels with their channels' biases, or with 0.
fn begin(pixels: &mut [f32], bias: Option<&[f32]>, channels: usize) {
    match bias {
        Some(bias) => pixels
            .chunks_exact_mut(channels)
            .for_each(|pixel| pixel.copy_from_slice(bias)),
        None => pixels.fill(0.0),
    }
}

/// The transpose of `rows × columns`.
fn turn(from: &[f32], to: &mut [f32], rows: usize, columns: usize) {
    for (row, from) in from.chunks_exact(columns).take(rows).enumerate() {
        for (column, value) in from.iter().enumerate() {
            to[column * rows + row] = *value;
        }
    }
}

/// Images channel after channel to images pixel after pixel.
fn to_pixels(from: &[f32], to: &mut [f32], pixels: usize, channels: usize) {
    let images = from.chunks_exact(pixels * channels);
    for (from, to) in images.zip(to.chunks_exact_mut(pixels * channels)) {
        turn(from, to, channels, pixels);
    }
}

/// Images pixel after pixel to images channel after channel.
fn to_channels(from: &[f32], to: &mut [f32], pixels: usize, channels: usize) {
    to_pixels(from, to, channels, pixels);
}

#[cfg(test)]
mod tests;
