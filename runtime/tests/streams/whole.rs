//! Whole signals and frames: what streams are held to.

use crate::common::Random;

/// Rounding of `f32`.
pub(crate) const U: f64 = 1.0 / 16_777_216.0;

/// Where windows start.
pub(crate) fn positions(length: usize, window: usize, hop: usize) -> Vec<usize> {
    let last = length - window;
    (0..last).step_by(hop).chain([last]).collect()
}

/// `(c b | a b c | b a)`, by walking there and back.
pub(crate) fn reflected(index: isize, length: usize) -> usize {
    let (mut place, last) = (index, length as isize - 1);
    if last == 0 {
        return 0;
    }
    while place < 0 || place > last {
        place = if place < 0 { -place } else { 2 * last - place };
    }
    place as usize
}

/// `rows` lines of `columns`, and weights of both axes.
#[derive(Clone)]
pub(crate) struct Grid {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) hop: usize,
    pub(crate) hop_across: usize,
    pub(crate) down: Vec<f64>,
    pub(crate) across: Vec<f64>,
}

pub(crate) fn hann(side: usize) -> Vec<f64> {
    let angle = |i: usize| std::f64::consts::PI * (i as f64 + 0.5) / side as f64;
    (0..side).map(|i| angle(i).sin().powi(2)).collect()
}

/// Integer weights as the documentation has them: at least 1, at most what sums of 32 bits allow.
pub(crate) fn integer_hann(side: usize, hop: usize, limit: usize) -> Vec<f64> {
    let peak = limit / (side.div_ceil(hop) + 1).min(side);
    // Halves go up, whatever the last bits of the sine.
    hann(side)
        .iter()
        .map(|w| (w * peak as f64 + 1e-6).round().max(1.0))
        .collect()
}

/// Extends a frame that is too low (or a signal that is too short), denoises every patch, averages
/// in `f64` or, for uniform weights, in the host's `f32`. Returns both.
pub(crate) fn whole(
    frame: &[f32],
    width: usize,
    grid: &Grid,
    mut denoise: impl FnMut(&mut [f32]),
) -> (Vec<f64>, Vec<f32>) {
    let height = frame.len() / width;
    if height == 0 {
        return (Vec::new(), Vec::new());
    }
    let tall = height.max(grid.rows);
    let pixel = |y: usize, x: usize| frame[reflected(y as isize, height) * width + x];
    let mut sums = vec![(0.0_f64, 0.0_f64); tall * width];
    let mut host = vec![(0.0_f32, 0_u32); tall * width];
    let mut patch = vec![0.0; grid.rows * grid.columns];
    for top in positions(tall, grid.rows, grid.hop) {
        for left in positions(width, grid.columns, grid.hop_across) {
            for (i, value) in patch.iter_mut().enumerate() {
                *value = pixel(top + i / grid.columns, left + i % grid.columns);
            }
            denoise(&mut patch);
            for (i, value) in patch.iter().enumerate() {
                let (y, x) = (i / grid.columns, i % grid.columns);
                let weight = grid.down[y] * grid.across[x];
                let place = (top + y) * width + left + x;
                sums[place].0 += weight * f64::from(*value);
                sums[place].1 += weight;
                host[place].0 += value;
                host[place].1 += 1;
            }
        }
    }
    let kept = height * width;
    let exact = sums.iter().take(kept).map(|(s, w)| s / w).collect();
    let host = host.iter().take(kept).map(|(s, n)| s / *n as f32).collect();
    (exact, host)
}

/// Not the identity, not the same for all places in a window, and of the whole window.
pub(crate) fn stir(patch: &mut [f32]) {
    let mean = patch.iter().sum::<f32>() / patch.len() as f32;
    for (i, value) in patch.iter_mut().enumerate() {
        *value = 0.5 * *value + 0.25 * mean + 0.01 * i as f32;
    }
}

/// [`stir`] for integers; exact in `f32` too.
pub(crate) fn stir_integers(patch: &mut [i16]) {
    let first = patch[0] / 4;
    for (i, value) in patch.iter_mut().enumerate() {
        *value = (*value / 2).wrapping_add(first).wrapping_add(i as i16 % 64);
    }
}

pub(crate) fn integers(seed: u64, length: usize) -> Vec<i16> {
    let mut random = Random(seed);
    (0..length)
        .map(|_| (32768.0 * random.next()) as i16)
        .collect()
}

pub(crate) fn wide(values: &[i16]) -> Vec<f32> {
    values.iter().map(|v| f32::from(*v)).collect()
}

pub(crate) fn rounded(value: f64) -> i16 {
    // `round` takes halves away from zero, which is what the streams do.
    value.round() as i16
}

pub(crate) fn close(found: f32, expected: f64, bound: f64) {
    let error = (f64::from(found) - expected).abs();
    assert!(
        error <= bound,
        "{found} instead of {expected}: {error:e} > {bound:e}"
    );
}
