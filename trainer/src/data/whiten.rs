//! Whitening of whole pictures, as Olshausen & Field (1997) do it before they learn a dictionary.
//!
//! The filter is `f · exp(−(f/f₀)⁴)`, where f is the distance from frequency 0 in cycles per
//! pixel, and f₀ the cut-off. The first factor makes the falling spectrum of natural pictures flat.
//! The second takes away what is finer than the pixels resolve. The filter is real, so it moves
//! nothing (zero phase), and 0 at f = 0, so a filtered picture has mean 0.
//!
//! A picture goes on beyond its borders as in a mirror, with the outermost pixels repeated. Cosine
//! transforms (DCT-II) have this border by themselves: coefficient k of n pixels has the frequency
//! `k / 2n`.

use std::f64::consts::PI;
use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use super::picture::Grey;

/// The cut-off f₀ in cycles per pixel: 200 cycles across the 512 pixels of the pictures that the
/// filter was made for.
pub(super) const CUTOFF: f64 = 0.39;

/// What the filter does to an amplitude of frequency `f`, with both in cycles per pixel.
fn response(f: f64, cutoff: f64) -> f64 {
    f * (-(f / cutoff).powi(4)).exp()
}

/// A whitened picture.
pub(super) struct Whitened {
    width: usize,
    height: usize,
    /// Row by row.
    pixels: Vec<f32>,
}

impl Whitened {
    /// Filters a picture. Cost: four cosine transforms of every row and column.
    pub(super) fn of(picture: &Grey, cutoff: f64) -> Self {
        let (width, height) = picture.dimensions();
        let (width, height) = (width as usize, height as usize);
        let mut row = vec![0.0; width];
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            picture.row(0, y, &mut row);
            pixels.extend(row.iter().map(|&value| f64::from(value)));
        }
        let pixels = filtered(&pixels, width, cutoff);
        Self {
            width,
            height,
            pixels: pixels.into_iter().map(|value| value as f32).collect(),
        }
    }

    pub(super) fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// So many values of one row, from column `x` on.
    pub(super) fn row(&self, x: usize, y: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.pixels[y * self.width + x..][..out.len()]);
    }
}

/// A picture behind the filter.
fn filtered(pixels: &[f64], width: usize, cutoff: f64) -> Vec<f64> {
    let height = pixels.len() / width;
    let (rows, columns) = (Cosine::new(width), Cosine::new(height));
    let mut coefficients = pixels.to_vec();
    rows.forward(&mut coefficients);
    // A line is a column from here on.
    let mut coefficients = transposed(&coefficients, width);
    columns.forward(&mut coefficients);
    for (x, line) in coefficients.chunks_exact_mut(height).enumerate() {
        let across = x as f64 / (2 * width) as f64;
        for (y, coefficient) in line.iter_mut().enumerate() {
            let down = y as f64 / (2 * height) as f64;
            *coefficient *= response(across.hypot(down), cutoff);
        }
    }
    columns.backward(&mut coefficients);
    let mut coefficients = transposed(&coefficients, height);
    rows.backward(&mut coefficients);
    coefficients
}

/// Lines of `width` as columns.
fn transposed(values: &[f64], width: usize) -> Vec<f64> {
    let columns = (0..width).flat_map(|x| values[x..].iter().step_by(width));
    columns.copied().collect()
}

/// The order in which a line is transformed: first even places, then odd ones backwards.
fn places(length: usize) -> impl Iterator<Item = usize> {
    let odd = (1..length).step_by(2).rev();
    (0..length).step_by(2).chain(odd)
}

/// The cosine transform of lines of one length, by one complex transform of that length (Makhoul
/// 1980).
struct Cosine {
    forward: Arc<dyn Fft<f64>>,
    backward: Arc<dyn Fft<f64>>,
    /// `exp(−iπk / 2n)`.
    turns: Vec<Complex<f64>>,
}

impl Cosine {
    fn new(length: usize) -> Self {
        let mut planner = FftPlanner::new();
        let turn = |k: usize| Complex::from_polar(1.0, -PI * k as f64 / (2 * length) as f64);
        Self {
            forward: planner.plan_fft_forward(length),
            backward: planner.plan_fft_inverse(length),
            turns: (0..length).map(turn).collect(),
        }
    }

    /// Each line becomes `X[k] = Σ x[n] cos(πk(2n + 1) / 2N)`.
    fn forward(&self, lines: &mut [f64]) {
        let length = self.turns.len();
        for line in lines.chunks_exact_mut(length) {
            let mut values: Vec<Complex<f64>> = places(length).map(|n| line[n].into()).collect();
            self.forward.process(&mut values);
            for ((out, value), turn) in line.iter_mut().zip(&values).zip(&self.turns) {
                *out = (value * turn).re;
            }
        }
    }

    /// The inverse of [`forward`](Self::forward).
    fn backward(&self, lines: &mut [f64]) {
        let length = self.turns.len();
        for line in lines.chunks_exact_mut(length) {
            let mut values: Vec<Complex<f64>> = (0..length)
                .map(|k| {
                    let mirrored = if k == 0 { 0.0 } else { line[length - k] };
                    Complex::new(line[k], -mirrored) * self.turns[k].conj()
                })
                .collect();
            self.backward.process(&mut values);
            for (n, value) in places(length).zip(&values) {
                line[n] = value.re / length as f64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Σ x e^(−2πi(fx·x + fy·y)) over a picture that its mirror images surround, the slow way.
    fn spectrum(pixels: &[f64], width: usize, across: usize, down: usize) -> Complex<f64> {
        let height = pixels.len() / width;
        let mirrored = |n: usize, length: usize| if n < length { n } else { 2 * length - 1 - n };
        let mut sum = Complex::new(0.0, 0.0);
        for y in 0..2 * height {
            for x in 0..2 * width {
                let value = pixels[mirrored(y, height) * width + mirrored(x, width)];
                let turns = (across * x) as f64 / (2 * width) as f64
                    + (down * y) as f64 / (2 * height) as f64;
                sum += Complex::from_polar(value, -2.0 * PI * turns);
            }
        }
        sum
    }

    /// A point has all frequencies; each comes out with what the formula says, and with its phase.
    #[test]
    fn the_spectrum_of_a_point_is_the_filter() {
        // Sizes with small and with large prime factors.
        for (width, height) in [(12, 20), (17, 13)] {
            let mut point = vec![0.0; width * height];
            point[7 * width + 5] = 1.0;
            let found = filtered(&point, width, CUTOFF);
            for across in 0..2 * width {
                for down in 0..2 * height {
                    let signed = |k: usize, length: usize| {
                        let k = k as f64 / (2 * length) as f64;
                        if k > 0.5 { k - 1.0 } else { k }
                    };
                    let f = signed(across, width).hypot(signed(down, height));
                    let expected =
                        spectrum(&point, width, across, down) * (f * (-(f / CUTOFF).powi(4)).exp());
                    let found = spectrum(&found, width, across, down);
                    assert!(
                        (found - expected).norm() < 1e-12,
                        "{across} {down}: {found}"
                    );
                }
            }
        }
    }

    /// Far from borders a wave of any direction stays what it was, times the filter.
    #[test]
    fn a_wave_keeps_its_place_and_is_weighed() {
        let side = 96;
        for (across, down) in [(0.13, 0.0), (0.0, 0.31), (0.1, -0.2), (0.35, 0.35)] {
            let wave =
                |x: usize, y: usize| (2.0 * PI * (across * x as f64 + down * y as f64) + 0.4).sin();
            // Faded out, so that borders show nothing.
            let window = |n: usize| (PI * (n as f64 + 0.5) / side as f64).sin().powi(2);
            let places = || (0..side * side).map(|place| (place % side, place / side));
            let input: Vec<f64> = places()
                .map(|(x, y)| 0.7 + window(x) * window(y) * wave(x, y))
                .collect();
            let found = filtered(&input, side, CUTOFF);
            let f = across.hypot(down);
            let weight = f * (-(f / CUTOFF).powi(4)).exp();
            for (x, y) in places().filter(|&(x, y)| [x, y].iter().all(|n| (46..50).contains(n))) {
                let expected = weight * window(x) * window(y) * wave(x, y);
                let found = found[y * side + x];
                assert!(
                    (found - expected).abs() < 2e-3,
                    "{x} {y}: {found} {expected}"
                );
            }
            let mean = found.iter().sum::<f64>() / found.len() as f64;
            assert!(mean.abs() < 1e-12, "{mean}");
        }
    }

    /// What is symmetric stays symmetric about the same point: nothing moves.
    #[test]
    fn the_filter_has_no_phase() {
        let (width, height) = (21, 15);
        let blob = |x: usize, y: usize| {
            let (x, y) = (x as f64 - 10.0, y as f64 - 7.0);
            (-(x * x + 0.5 * y * y) / 8.0).exp()
        };
        let places = || (0..width * height).map(|place| (place % width, place / width));
        let input: Vec<f64> = places().map(|(x, y)| blob(x, y)).collect();
        let found = filtered(&input, width, CUTOFF);
        let at = |x: usize, y: usize| found[y * width + x];
        for (x, y) in places() {
            assert!((at(x, y) - at(width - 1 - x, y)).abs() < 1e-13);
            assert!((at(x, y) - at(x, height - 1 - y)).abs() < 1e-13);
        }
        let brightest = places().max_by(|a, b| at(a.0, a.1).total_cmp(&at(b.0, b.1)));
        assert_eq!(brightest, Some((10, 7)));
    }

    #[test]
    fn a_picture_is_filtered_row_by_row() {
        let pixels: Vec<u8> = (0..40 * 30).map(|n| (n * 37 % 251) as u8).collect();
        let picture = image::GrayImage::from_raw(40, 30, pixels.clone()).unwrap();
        let found = Whitened::of(&Grey::Eight(picture), CUTOFF);
        assert_eq!(found.dimensions(), (40, 30));
        let pixels: Vec<f64> = pixels.iter().map(|&v| f64::from(v) / 255.0).collect();
        let expected = filtered(&pixels, 40, CUTOFF);
        let mut row = [0.0; 6];
        found.row(11, 17, &mut row);
        for (value, expected) in row.iter().zip(&expected[17 * 40 + 11..]) {
            assert!((f64::from(*value) - expected).abs() < 1e-7);
        }
    }
}
