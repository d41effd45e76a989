//! Noise of a posterior, from random words: which components of a sample are active, and how far
//! out they are.
//!
//! One comparison decides whether a component is active; only active ones cost more. A component is
//! active with a probability p that its threshold and its noise's spread say, and what is beyond
//! the threshold is drawn given that it is: of Laplacian noise that is Laplacian again, which has
//! no memory, whatever the threshold was. A learned threshold is therefore never drawn itself.
//!
//! Logarithms and exponentials are `libm`'s, in `f32` and without fused products, so that every
//! core and every host gets the same bits.

use sparsecode_formats::{Posterior, PosteriorBase, PosteriorThreshold};

/// What a share of 1 is: of a random word 30 bits say how far out noise is, and the lowest one on
/// which side.
const WHOLE: u32 = 1 << 30;

/// Thresholds' shapes and rates are kept within these, as in training.
const CLIP: [f32; 2] = [1e-6, 1e6];

/// How a component's noise becomes a value.
#[derive(Clone, Copy)]
pub(super) struct Noise {
    base: PosteriorBase,
    /// λ of Gaussian noise, whose tail is no Gaussian; else 0.
    threshold: f32,
}

/// What is known of a component before a sample is drawn.
#[derive(Clone, Copy)]
pub(super) struct Unit {
    /// μ.
    pub(super) shift: f32,
    /// b, or σ.
    pub(super) spread: f32,
    /// What [`Limit`] made of the probability to be active.
    pub(super) limit: f32,
}

/// b or σ, from the scale head.
pub(super) fn spread(base: PosteriorBase, logarithm: f32) -> f32 {
    match base {
        PosteriorBase::Gaussian => libm::expf(0.5 * logarithm),
        PosteriorBase::Laplacian => libm::expf(logarithm),
    }
}

/// The probability that noise of this spread exceeds the threshold λ.
pub(super) fn activity(base: PosteriorBase, threshold: f32, spread: f32) -> f32 {
    match base {
        PosteriorBase::Gaussian => libm::erfcf(threshold / (spread * core::f32::consts::SQRT_2)),
        PosteriorBase::Laplacian => libm::expf(-threshold / spread),
    }
}

/// The same for λ ~ Gamma(α, β), of which the heads give the logarithms: `(β/(β + 1/b))^α`.
pub(super) fn learned_activity(shape: f32, rate: f32, spread: f32) -> f32 {
    let [shape, rate] = [shape, rate].map(|x| {
        let [least, most] = CLIP;
        // NaN stays NaN.
        libm::expf(x).clamp(least, most)
    });
    libm::expf(-shape * libm::log1pf(1.0 / (rate * spread)))
}

/// A probability as random bits compare with it: an integer of 0 to [`WHOLE`] whose bits are those
/// of a small positive `f32`, so that it can wait in a buffer for floats.
pub(super) fn limit(probability: f32) -> f32 {
    // Saturates; NaN becomes 0.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded down on purpose, and no probability is negative"
    )]
    let count = (probability * WHOLE as f32 + 0.5) as u32;
    f32::from_bits(count.min(WHOLE))
}

impl Noise {
    pub(super) fn new(posterior: &Posterior<'_>) -> Self {
        let threshold = match (posterior.base, &posterior.threshold) {
            (PosteriorBase::Gaussian, PosteriorThreshold::Fixed(threshold)) => *threshold,
            _ => 0.0,
        };
        Self {
            base: posterior.base,
            threshold,
        }
    }

    /// The value of a component by its random word; `None` where it is not active.
    #[inline]
    pub(super) fn value(self, unit: Unit, word: u32) -> Option<f32> {
        let (bits, limit) = (word >> 2, unit.limit.to_bits());
        (bits < limit).then(|| self.active(unit, word))
    }

    #[inline(never)]
    fn active(self, unit: Unit, word: u32) -> f32 {
        // Below 2³¹.
        let place = (word >> 1) | 1;
        let beyond = match self.base {
            PosteriorBase::Laplacian => {
                let most = unit.limit.to_bits().wrapping_mul(2);
                -unit.spread * libm::logf(place as f32 / most as f32)
            }
            PosteriorBase::Gaussian => {
                let beyond = unit.spread * normal(place) - self.threshold;
                if beyond > 0.0 { beyond } else { 0.0 }
            }
        };
        if word & 1 == 0 {
            unit.shift + beyond
        } else {
            unit.shift - beyond
        }
    }
}

/// The magnitude of a normal number that the share `place / 2³¹` exceeds, `place` odd and below
/// 2³¹: PPND7 of Wichura's algorithm AS 241 (1988), within 4e-7 of itself or of 1.
fn normal(place: u32) -> f32 {
    // Of one side, and what lies between it and the middle: either is rounded once.
    let tail = place as f32 / 4_294_967_296.0;
    let centre = (0x8000_0000_u32).wrapping_sub(place) as f32 / 4_294_967_296.0;
    if centre <= 0.425 {
        let r = 0.180_625 - centre * centre;
        return centre * polynomial(&[59.109_375, 159.291_13, 50.434_273, 3.387_132_7], r)
            / polynomial(&[67.187_56, 78.757_76, 17.895_17, 1.0], r);
    }
    let r = libm::sqrtf(-libm::logf(tail));
    if r <= 5.0 {
        let r = r - 1.6;
        polynomial(&[0.170_238_21, 1.306_728_5, 2.756_815_4, 1.423_437_3], r)
            / polynomial(&[0.120_211_33, 0.737_001_64, 1.0], r)
    } else {
        let r = r - 5.0;
        polynomial(&[0.017_337_204, 0.428_682_94, 3.081_226_4, 6.657_905], r)
            / polynomial(&[0.012_258_203, 0.241_978_94, 1.0], r)
    }
}

/// By Horner's rule, the highest power first.
#[inline(always)]
fn polynomial<const N: usize>(coefficients: &[f32; N], x: f32) -> f32 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chacha::Words;
    use std::vec::Vec;

    /// The share of normal numbers whose magnitude exceeds this.
    fn beyond(magnitude: f64) -> f64 {
        libm::erfc(magnitude / core::f64::consts::SQRT_2)
    }

    #[test]
    fn normal_numbers_are_those_of_the_distribution() {
        let places = (0..2_000_u32).map(|i| (i * 536_870) * 2 + 1);
        let far = (0..30).map(|i| (1_u32 << i) | 1);
        for place in places.chain(far).chain([0x7fff_ffff]) {
            let found = f64::from(normal(place));
            let share = f64::from(place) / f64::from(1_u32 << 31);
            // The share moves by its slope for a magnitude that is off by so much.
            let off = 6e-7 * found.max(1.0);
            let [low, high] = [found + off, (found - off).max(0.0)].map(beyond);
            assert!(low <= share && share <= high, "{place}: {found}");
        }
    }

    /// Kolmogorov and Smirnov's distance from a distribution, times the root of the count: above
    /// 1.95 once in a thousand.
    fn distance(mut values: Vec<f64>, distribution: impl Fn(f64) -> f64) -> f64 {
        values.sort_by(f64::total_cmp);
        let count = values.len() as f64;
        let places = values.iter().enumerate().map(|(i, value)| {
            let at = distribution(*value);
            (at - i as f64 / count).max((i + 1) as f64 / count - at)
        });
        places.fold(0.0, f64::max) * count.sqrt()
    }

    const COUNT: usize = 100_000;

    /// Values of a component with shift 0, and the share of those that are active.
    fn drawn(base: PosteriorBase, threshold: f32, spread: f32) -> (Vec<f64>, f64) {
        let noise = Noise {
            base,
            threshold: match base {
                PosteriorBase::Gaussian => threshold,
                PosteriorBase::Laplacian => 0.0,
            },
        };
        let unit = Unit {
            shift: 0.0,
            spread,
            limit: limit(activity(base, threshold, spread)),
        };
        let mut words = Words::new(11, 5, 0);
        let values = (0..COUNT).filter_map(|_| noise.value(unit, words.next()));
        let values: Vec<f64> = values.map(f64::from).collect();
        let share = values.len() as f64 / COUNT as f64;
        (values, share)
    }

    #[test]
    fn noise_has_its_distribution() {
        for (base, threshold, spread) in [
            (PosteriorBase::Laplacian, 0.0, 0.7),
            (PosteriorBase::Laplacian, 1.5, 0.7),
            (PosteriorBase::Gaussian, 0.0, 0.7),
            (PosteriorBase::Gaussian, 1.5, 0.7),
            (PosteriorBase::Gaussian, 0.1, 1.3),
        ] {
            let (values, share) = drawn(base, threshold, spread);
            let (b, at) = (f64::from(spread), f64::from(threshold));
            // That |e| exceeds so much.
            let tail = |x: f64| match base {
                PosteriorBase::Laplacian => (-x / b).exp(),
                PosteriorBase::Gaussian => beyond(x / b),
            };
            let p = tail(at);
            let off = 4.0 * (p * (1.0 - p) / COUNT as f64).sqrt();
            assert!((share - p).abs() <= off, "{base} {threshold}: {share} {p}");
            let distribution = |x: f64| {
                let half = 0.5 * tail(at + x.abs()) / p;
                if x < 0.0 { half } else { 1.0 - half }
            };
            let count = values.len() as f64;
            let mean = values.iter().sum::<f64>() / count;
            let square = values.iter().map(|x| x * x).sum::<f64>() / count;
            if threshold == 0.0 || base == PosteriorBase::Laplacian {
                // Without memory: the same beyond a threshold.
                let (variance, fourth) = match base {
                    PosteriorBase::Laplacian => (2.0 * b * b, 24.0 * b.powi(4)),
                    PosteriorBase::Gaussian => (b * b, 3.0 * b.powi(4)),
                };
                assert!(
                    mean.abs() < 4.0 * (variance / count).sqrt(),
                    "{base}: {mean}"
                );
                let off = 4.0 * ((fourth - variance * variance) / count).sqrt();
                assert!((square - variance).abs() < off, "{base}: {square}");
            }
            let far = distance(values, distribution);
            assert!(far < 1.95, "{base} {threshold}: {far}");
        }
    }

    #[test]
    fn probabilities_are_those_of_the_formulas() {
        for exponent in -40..40 {
            let spread = 2.0_f32.powf(0.25 * exponent as f32);
            let wide = f64::from(spread);
            for threshold in [0.3, 1.0, 4.0_f32] {
                let ratio = f64::from(threshold) / wide;
                let laplacian = activity(PosteriorBase::Laplacian, threshold, spread);
                assert!((f64::from(laplacian) - (-ratio).exp()).abs() < 1e-6);
                let gaussian = activity(PosteriorBase::Gaussian, threshold, spread);
                assert!((f64::from(gaussian) - beyond(ratio)).abs() < 1e-6);
            }
            for (shape, rate) in [(1.1_f32, 2.0_f32), (-3.0, 0.5), (20.0, 20.0), (0.0, -20.0)] {
                let [a, b] = [shape, rate].map(|x| f64::from(x).exp().clamp(1e-6, 1e6));
                let expected = (-a * (1.0 / (b * wide)).ln_1p()).exp();
                let found = f64::from(learned_activity(shape, rate, spread));
                assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
        }
        assert_eq!(limit(1.0).to_bits(), WHOLE);
        assert_eq!(limit(0.0).to_bits(), 0);
        assert_eq!(limit(f32::NAN).to_bits(), 0);
        assert_eq!(limit(0.25).to_bits(), WHOLE / 4);
        // Bits of numbers that survive being moved about.
        assert!(limit(1.0).is_finite());
    }
}
