//! Sixteen bands of a block of samples, and the level of the quietest ones.

use super::cosine::{BANDS, BLOCK, RISE, RISE_Q14, TOP, TOP_Q14, cosines, fold};
use super::weighting::sealed::Arithmetic;

/// What a sample has to do for the noise level.
pub trait Banded: Arithmetic {
    /// The magnitude of a band, `√8` times that of the orthonormal transform.
    type Level: Copy + core::fmt::Debug + 'static;
    /// A noise level.
    type Sigma: Copy + core::fmt::Debug + PartialEq + 'static;

    /// The level of silence.
    const QUIET: Self::Level;

    /// Moves the mean of each band by `2^−shift` of the way to its magnitude in a block, of which
    /// at most three means count if `bounded`. Whether all magnitudes are finite; otherwise nothing
    /// moves.
    fn follow(
        block: &[Self; BLOCK],
        means: &mut [Self::Level; BANDS],
        bounded: bool,
        shift: u32,
    ) -> bool;

    /// The noise level. Bands up to `reach/1024` times the quietest one count.
    fn sigma(means: &[Self::Level; BANDS], reach: u16) -> Self::Sigma;
}

/// `1 / (√8·κ)`. `κ = 0.79204` is the mean magnitude of a normal number of deviation 1 whose
/// magnitude counts up to `3κ`: the solution of `κ = E min(∣N∣, 3κ)`.
const SIGMA: f32 = 0.4463838;
/// The same, from units of 2⁻¹⁰ to sixteenths, in units of 2⁻²⁴.
const SIGMA_Q24: u64 = 117_017;

/// Bits after the binary point of a band of `i16`.
const FRACTION: u32 = 10;

impl Banded for f32 {
    type Level = f32;
    type Sigma = f32;

    const QUIET: f32 = 0.0;

    fn follow(block: &[Self; BLOCK], means: &mut [f32; BANDS], bounded: bool, shift: u32) -> bool {
        let folded = fold(block, (&RISE, &TOP), |(w, x), (v, y), late| {
            if late {
                -(w * x) - v * y
            } else {
                w * x - v * y
            }
        });
        let bands = cosines(&folded);
        let total: f32 = bands.iter().map(|(re, im)| re.abs() + im.abs()).sum();
        if !total.is_finite() {
            return false;
        }
        let step = 1.0 / 1_u32.wrapping_shl(shift) as f32;
        let follow = |mean: &mut f32, band: f32| {
            let (magnitude, most) = (band.abs(), 3.0 * *mean);
            let counts = !bounded || magnitude <= most || *mean == 0.0;
            *mean += (if counts { magnitude } else { most } - *mean) * step;
        };
        for ([even, odd], (re, im)) in means.as_chunks_mut::<2>().0.iter_mut().zip(bands) {
            follow(even, re);
            follow(odd, im);
        }
        true
    }

    fn sigma(means: &[f32; BANDS], reach: u16) -> f32 {
        let least = means.iter().fold(f32::MAX, |least, mean| least.min(*mean));
        let most = least * (f32::from(reach) / 1024.0);
        let (mut sum, mut count) = (0.0_f32, 0.0_f32);
        for mean in means {
            if *mean <= most {
                sum += mean;
                count += 1.0;
            }
        }
        sum / count * SIGMA
    }
}

impl Banded for i16 {
    type Level = u32;
    type Sigma = u16;

    const QUIET: u32 = 0;

    fn follow(block: &[Self; BLOCK], means: &mut [u32; BANDS], bounded: bool, shift: u32) -> bool {
        let folded = fold(block, (&RISE_Q14, &TOP_Q14), |(w, x), (v, y), late| {
            let (first, second) = (w.wrapping_mul(x.into()), v.wrapping_mul(y.into()));
            let first = if late { first.wrapping_neg() } else { first };
            first.wrapping_sub(second).wrapping_add(1 << 10) >> 11
        });
        let half = 1_i32.wrapping_shl(shift) >> 1;
        // A mean is at most 2²⁹. One level counts in full, so that a mean can leave 0.
        let (factor, least) = if bounded {
            (3, 1 << FRACTION)
        } else {
            (0, u32::MAX)
        };
        let follow = |mean: &mut u32, band: i32| {
            let most = mean.wrapping_mul(factor).max(least);
            let way = band.unsigned_abs().min(most).wrapping_sub(*mean);
            let step = way.cast_signed().wrapping_add(half).wrapping_shr(shift);
            *mean = mean.wrapping_add_signed(step);
        };
        let bands = cosines(&folded);
        for ([even, odd], (re, im)) in means.as_chunks_mut::<2>().0.iter_mut().zip(bands) {
            follow(even, re);
            follow(odd, im);
        }
        true
    }

    fn sigma(means: &[u32; BANDS], reach: u16) -> u16 {
        let least = means.iter().fold(u32::MAX, |least, mean| least.min(*mean));
        let most = u64::from(least).wrapping_mul(reach.into()) >> 10;
        let (mut sum, mut count) = (0_u64, 0_u64);
        for mean in means.iter().map(|mean| u64::from(*mean)) {
            if mean <= most {
                sum = sum.wrapping_add(mean);
                count = count.wrapping_add(1);
            }
        }
        let mean = sum.checked_div(count).unwrap_or(0);
        let sigma = mean.wrapping_mul(SIGMA_Q24).wrapping_add(1 << 23) >> 24;
        let least = u64::from(mean > 0);
        sigma.clamp(least, u16::MAX.into()) as u16
    }
}
