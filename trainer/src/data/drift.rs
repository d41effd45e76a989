//! Drift of a whole signal, and what is left without it.

use sparsecode_runtime::stream::{DriftCursor, DriftView};

/// `x − B(B(x))`, where B is the mean of `length` samples around each, or of as many as there are
/// near the ends: by the device's filter, [`DriftView`]. A length that the filter does not take (an
/// even one, or one above 4095) leaves the signal as it is.
///
/// ```
/// use sparsecode_trainer::data::without_drift;
///
/// let clean = without_drift(&[3.0, 0.0, 0.0, 6.0], 3);
/// assert_eq!(clean, [1.75, -1.5, -2.0, 3.5]);
/// ```
pub fn without_drift(signal: &[f32], length: usize) -> Vec<f32> {
    let mut clean = signal.to_vec();
    let (mut samples, mut means) = (vec![0.0; length], vec![0.0; length]);
    let mut cursor = DriftCursor::new();
    if let Ok(mut drift) = DriftView::new(&mut samples, &mut means, &mut cursor) {
        drift.filter(&mut clean);
    }
    clean
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
