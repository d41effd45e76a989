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
