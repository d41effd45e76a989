//! Drift of a whole signal, and what is left without it.

/// `x − B(B(x))`, where B is the mean of `length` samples around each, or of as many as there are
/// near the ends.
pub fn without_drift(signal: &[f32], length: usize) -> Vec<f32> {
    let values: Vec<f64> = signal.iter().map(|&x| f64::from(x)).collect();
    let drift = centred_mean(&centred_mean(&values, length), length);
    let clean = values.iter().zip(drift).map(|(x, drift)| x - drift);
    clean.map(|x| x as f32).collect()
}

fn centred_mean(values: &[f64], length: usize) -> Vec<f64> {
    let half = length / 2;
    let mut sums = vec![0.0; values.len() + 1];
    for (index, value) in values.iter().enumerate() {
        sums[index + 1] = sums[index] + value;
    }
    let mean = |index: usize| {
        let (first, end) = (
            index.saturating_sub(half),
            (index + half + 1).min(values.len()),
        );
        (sums[end] - sums[first]) / (end - first) as f64
    };
    (0..values.len()).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line is drift, and so is a constant, but near the ends; what is fast passes.
    #[test]
    fn slow_parts_go_and_fast_ones_stay() {
        let count = 2000;
        let fast = |n: usize| (n as f32 * 0.9).sin();
        let signal: Vec<f32> = (0..count)
            .map(|n| 50.0 + 0.01 * n as f32 + fast(n))
            .collect();
        let clean = without_drift(&signal, 361);
        assert_eq!(clean.len(), count);
        for (n, x) in clean.iter().enumerate().take(count - 361).skip(361) {
            assert!((x - fast(n)).abs() < 0.02, "{n}: {x} {}", fast(n));
        }
    }

    /// Means of three, twice, over the samples that there are.
    #[test]
    fn ends_take_what_there_is() {
        let clean = without_drift(&[3.0, 0.0, 0.0, 6.0], 3);
        // B: 1.5, 1, 2, 3. B of that: 1.25, 1.5, 2, 2.5.
        for (found, expected) in clean.iter().zip([1.75, -1.5, -2.0, 3.5]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        assert!(without_drift(&[], 3).is_empty());
    }
}
