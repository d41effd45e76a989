//! Local contrast normalisation of crops: each pixel against its surroundings, without padding.
//! Whole images go through [`ContrastView`](sparsecode_runtime::stream::ContrastView).

/// A Gaussian of so many taps, normalised to sum 1.
pub(super) fn gaussian(window: usize, sigma: f32) -> Vec<f32> {
    let middle = (window / 2) as f64;
    let sigma = f64::from(sigma);
    let taps: Vec<f64> = (0..window)
        .map(|tap| (-0.5 * ((tap as f64 - middle) / sigma).powi(2)).exp())
        .collect();
    let sum: f64 = taps.iter().sum();
    taps.iter().map(|tap| (tap / sum) as f32).collect()
}

/// Convolves rows, then columns, of a square of `side`² with a symmetric kernel where it fits:
/// `out` is a square of `side − taps + 1`. `scratch` holds at least `side · (side − taps + 1)`.
pub(super) fn blur_valid(
    input: &[f32],
    side: usize,
    kernel: &[f32],
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let kept = side + 1 - kernel.len();
    let weighted_sum = |target: &mut [f32], source: &dyn Fn(usize) -> usize, from: &[f32]| {
        target.fill(0.0);
        for (tap, &weight) in kernel.iter().enumerate() {
            let line = &from[source(tap)..][..kept];
            for (value, input) in target.iter_mut().zip(line) {
                *value += weight * input;
            }
        }
    };
    for row in 0..side {
        let target = &mut scratch[row * kept..][..kept];
        weighted_sum(target, &|tap| row * side + tap, input);
    }
    for row in 0..kept {
        let target = &mut out[row * kept..][..kept];
        weighted_sum(target, &|tap| (row + tap) * kept, scratch);
    }
}

#[cfg(test)]
pub(super) mod tests {
    /// Local contrast normalisation as the formula says: f64, one two-dimensional Gaussian, no
    /// padding. Returns (centred, mean, deviation) of the innermost square.
    pub(crate) fn reference(
        pixels: &[f64],
        side: usize,
        window: usize,
        sigma: f64,
    ) -> [Vec<f64>; 3] {
        let half = (window / 2) as f64;
        let weight = |row: usize, column: usize| {
            let (y, x) = (row as f64 - half, column as f64 - half);
            (-(x * x + y * y) / (2.0 * sigma * sigma)).exp()
        };
        let taps = || (0..window).flat_map(|row| (0..window).map(move |column| (row, column)));
        let total: f64 = taps().map(|(row, column)| weight(row, column)).sum();
        let blur = |input: &[f64], side: usize| -> Vec<f64> {
            let kept = side + 1 - window;
            (0..kept * kept)
                .map(|place| {
                    taps()
                        .map(|(row, column)| {
                            let at = (place / kept + row) * side + place % kept + column;
                            weight(row, column) / total * input[at]
                        })
                        .sum()
                })
                .collect()
        };
        let inner = |input: &[f64], side: usize| -> Vec<f64> {
            let kept = side + 1 - window;
            (0..kept * kept)
                .map(|place| input[(place / kept + window / 2) * side + place % kept + window / 2])
                .collect()
        };
        let mean = blur(pixels, side);
        let middle = side + 1 - window;
        let centred: Vec<f64> = inner(pixels, side)
            .iter()
            .zip(&mean)
            .map(|(x, m)| x - m)
            .collect();
        let squares: Vec<f64> = centred.iter().map(|v| v * v).collect();
        let deviation = blur(&squares, middle).iter().map(|v| v.sqrt()).collect();
        [inner(&centred, middle), inner(&mean, middle), deviation]
    }
}
