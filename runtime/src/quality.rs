//! How close two patches are: for logs and tests on the device.

use crate::kernels::float::portable;

/// Mean squared error between two patches, `(1/d)·‖a − b‖²`; 0 for empty ones. The shorter length
/// counts.
///
/// Cost: one pass, a subtraction and a multiply-add an element.
///
/// ```
/// assert_eq!(sparsecode_runtime::mean_squared_error(&[1.0, 2.0], &[1.0, 4.0]), 2.0);
/// ```
#[must_use]
pub fn mean_squared_error(a: &[f32], b: &[f32]) -> f32 {
    let length = a.len().min(b.len());
    if length == 0 {
        return 0.0;
    }
    let sum: f32 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    sum / length as f32
}

/// Peak signal-to-noise ratio in decibels, `10·log10(peak²/mse)`, where `peak` is the range of the
/// samples (`ModelSpec::peak`).
///
/// The sign of `peak` does not count. A perfect reconstruction (`mse` = 0) gives infinity, and NaN
/// gives NaN. Logarithm through `libm`: for figures that are written down.
///
/// ```
/// let psnr = sparsecode_runtime::psnr_db(0.01, 1.0);
/// assert!((psnr - 20.0).abs() < 1e-5);
/// ```
#[must_use]
pub fn psnr_db(mse: f32, peak: f32) -> f32 {
    10.0 * libm::log10f(peak * peak / mse)
}

/// A power ratio in decibels, `10·log10(ratio)`, for telemetry: within 0.02 dB between −90 and 90
/// dB.
///
/// The logarithm is `micromath`'s, a short polynomial that is inaccurate below 1; such ratios are
/// inverted first. Returns −infinity for 0 and NaN for negative ratios and NaN.
///
/// ```
/// let level = sparsecode_runtime::decibel(1000.0);
/// assert!((level - 30.0).abs() < 0.02);
/// ```
#[cfg(feature = "micromath")]
#[must_use]
pub fn decibel(ratio: f32) -> f32 {
    // Named in full: with `std` the plain method would be another logarithm.
    use micromath::F32Ext;

    if ratio == 0.0 {
        f32::NEG_INFINITY
    } else if ratio == f32::INFINITY {
        f32::INFINITY
    } else if ratio >= 1.0 {
        10.0 * F32Ext::log10(ratio)
    } else if ratio > 0.0 {
        -10.0 * F32Ext::log10(1.0 / ratio)
    } else {
        f32::NAN
    }
}

/// `(1/d)·‖r‖²` of a residual.
pub(crate) fn mean_square(residual: &[f32]) -> f32 {
    if residual.is_empty() {
        return 0.0;
    }
    portable::sum_of_squares(residual) / residual.len() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psnr_follows_the_definition() {
        for (mse, peak) in [(0.01_f32, 1.0_f32), (3.7, 255.0), (2e-6, 0.5)] {
            let expected = 10.0 * (f64::from(peak).powi(2) / f64::from(mse)).log10();
            assert!((f64::from(psnr_db(mse, peak)) - expected).abs() < 1e-4);
        }
        assert_eq!(psnr_db(0.0, 1.0), f32::INFINITY);
        assert!(psnr_db(f32::NAN, 1.0).is_nan());
    }

    #[test]
    fn mean_squared_error_of_nothing_is_zero() {
        assert_eq!(mean_squared_error(&[], &[1.0]), 0.0);
        assert_eq!(mean_square(&[]), 0.0);
        assert_eq!(mean_square(&[3.0, -4.0]), 12.5);
    }

    #[cfg(feature = "micromath")]
    #[test]
    fn decibel_is_within_its_bound() {
        let mut worst = 0.0_f64;
        for step in -900_000..=900_000_i32 {
            let db = f64::from(step) * 1e-4;
            let ratio = 10.0_f64.powf(db / 10.0) as f32;
            let exact = 10.0 * f64::from(ratio).log10();
            worst = worst.max((f64::from(decibel(ratio)) - exact).abs());
        }
        assert!(worst < 0.02, "{worst} dB");
        assert_eq!(decibel(0.0), f32::NEG_INFINITY);
        assert_eq!(decibel(f32::INFINITY), f32::INFINITY);
        assert!(decibel(-1.0).is_nan() && decibel(f32::NAN).is_nan());
    }
}
