//! Passes over the channels of pictures, for networks that only look: no graph.
//!
//! The tensors are `batch × channels × side × side`.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Error, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::elementwise::positive_part;
use super::host::{is_host, slice};
use super::wide::widest;

/// Images whose sums are taken by themselves, whoever computes them.
const SHARE: usize = 32;
const LANES: usize = 8;

/// Whether these passes take a tensor: f32 in main memory.
pub(crate) fn takes(x: &Tensor) -> bool {
    is_host(x) && x.is_contiguous() && x.rank() == 4
}

/// Mean and variance of each channel, without Bessel's correction, in one pass: `2 × channels`.
pub(crate) fn statistics(x: &Tensor) -> Result<Tensor> {
    x.apply_op1_no_bwd(&Statistics)
}

/// `max(0, x · scale + shift)` with a scale and a shift a channel, in one pass; NaN stays NaN.
pub(crate) fn rectified(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    x.apply_op3_no_bwd(scale, shift, &Rectified)
}

struct Statistics;

impl CustomOp1 for Statistics {
    fn name(&self) -> &'static str {
        "statistics of channels"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let (x, pixels) = (slice(x, layout)?, height * width);
        let shares = x.par_chunks(SHARE * channels * pixels).map(|images| {
            let mut sums = vec![[0.0; 2]; channels];
            for image in images.chunks_exact(channels * pixels) {
                let rows = image.chunks_exact(pixels);
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let [sum, square] = of_row(row);
                    sums[0] += sum;
                    sums[1] += square;
                }
            }
            sums
        });
        // In their order, whoever computes them.
        let shares: Vec<Vec<[f64; 2]>> = shares.collect();
        let count = (batch * pixels) as f64;
        let mut out = vec![0.0; 2 * channels];
        for channel in 0..channels {
            let of = |which: usize| shares.iter().map(|sums| sums[channel][which]).sum::<f64>();
            let mean = of(0) / count;
            out[channel] = mean as f32;
            let variance = of(1) / count - mean * mean;
            // Rounding may leave a little less than nothing; NaN stays NaN.
            out[channels + channel] = if variance < 0.0 { 0.0 } else { variance as f32 };
        }
        Ok((CpuStorage::F32(out), (2, channels).into()))
    }
}

/// The sum and the sum of squares.
fn of_row(row: &[f32]) -> [f64; 2] {
    widest(
        #[inline(always)]
        || {
            let (mut sums, mut squares) = ([0.0; LANES], [0.0; LANES]);
            let (chunks, rest) = row.as_chunks::<LANES>();
            for chunk in chunks {
                for lane in 0..LANES {
                    let value = f64::from(chunk[lane]);
                    sums[lane] += value;
                    squares[lane] += value * value;
                }
            }
            for value in rest.iter().map(|value| f64::from(*value)) {
                sums[0] += value;
                squares[0] += value * value;
            }
            [sums.iter().sum(), squares.iter().sum()]
        },
    )
}

struct Rectified;

impl CustomOp3 for Rectified {
    fn name(&self) -> &'static str {
        "rectified channels"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        of_x: &Layout,
        scale: &CpuStorage,
        of_scale: &Layout,
        shift: &CpuStorage,
        of_shift: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, channels, height, width) = of_x.shape().dims4()?;
        let (scale, shift) = (slice(scale, of_scale)?, slice(shift, of_shift)?);
        if [scale.len(), shift.len()] != [channels; 2] {
            return Err(Error::Msg(format!(
                "{channels} channels have other factors"
            )));
        }
        let (mut out, pixels) = (slice(x, of_x)?.to_vec(), height * width);
        out.par_chunks_mut(SHARE * channels * pixels)
            .for_each(|images| {
                widest(
                    #[inline(always)]
                    || {
                        for image in images.chunks_exact_mut(channels * pixels) {
                            let rows = image.chunks_exact_mut(pixels);
                            for (row, (scale, shift)) in rows.zip(scale.iter().zip(shift)) {
                                row.iter_mut()
                                    .for_each(|x| *x = positive_part(*x * scale + shift));
                            }
                        }
                    },
                );
            });
        Ok((CpuStorage::F32(out), of_x.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn list(tensor: &Tensor) -> Vec<f64> {
        let wide = tensor.to_dtype(DType::F64).unwrap();
        wide.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn passes_over_channels_are_their_formulas() {
        let (batch, channels, pixels) = (70, 3, 15);
        let values = (0..batch * channels * pixels).map(|n| (n as f32 * 0.7).sin() + 2.0);
        let shape = (batch, channels, 3, 5);
        let x = Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu).unwrap();
        let found = list(&statistics(&x).unwrap());
        let numbers = list(&x);
        for channel in 0..channels {
            let own = numbers.iter().enumerate();
            let own = own.filter(|(n, _)| n / pixels % channels == channel);
            let own: Vec<f64> = own.map(|(_, value)| *value).collect();
            let mean = own.iter().sum::<f64>() / own.len() as f64;
            let variance = own.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / own.len() as f64;
            assert!((found[channel] - mean).abs() < 1e-6);
            assert!((found[channels + channel] - variance).abs() < 1e-6);
        }
        let scale = Tensor::new(&[1.0f32, -0.5, 0.0], &Device::Cpu).unwrap();
        let shift = Tensor::new(&[-2.0f32, 1.0, 0.25], &Device::Cpu).unwrap();
        let made = list(&rectified(&x, &scale, &shift).unwrap());
        for (n, (found, x)) in made.iter().zip(&numbers).enumerate() {
            let expected = match n / pixels % channels {
                0 => x - 2.0,
                1 => 1.0 - 0.5 * x,
                _ => 0.25,
            };
            assert!((found - expected.max(0.0)).abs() < 1e-6, "{n}");
        }
    }
}
