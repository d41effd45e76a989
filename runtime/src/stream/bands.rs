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
    /// The noise level of silence, as zeros.
    const NO_NOISE: Self::Sigma;

    /// Moves the mean of each band by `2^−shift` of the way to its magnitude in a block, of which
    /// at most three means count if `bounded`. A block of zeros, or one with a magnitude that is
    /// not finite, moves nothing. Whether the block counts.
    fn follow(
        block: &[Self; BLOCK],
        means: &mut [Self::Level; BANDS],
        bounded: bool,
        shift: u32,
    ) -> bool;

    /// The noise level. Bands up to `reach/1024` times the quietest one count.
    fn sigma(means: &[Self::Level; BANDS], reach: u16) -> Self::Sigma;

    /// `factor/1024` times the noise level that the quieter half of the bands would have, did they
    /// not count because they are quiet.
    fn rough_sigma(means: &[Self::Level; BANDS], factor: u16) -> Self::Sigma;
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
    const NO_NOISE: f32 = 0.0;

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
        if total == 0.0 || !total.is_finite() {
            return false;
        }
        let step = 1.0 / 1_u32.wrapping_shl(shift) as f32;
        let follow = |mean: &mut f32, band: f32| {
            let (magnitude, most) = (band.abs(), 3.0 * *mean);
            // A mean can leave 0.
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

    fn rough_sigma(means: &[f32; BANDS], factor: u16) -> f32 {
        let mut sorted = *means;
        sorted.sort_unstable_by(f32::total_cmp);
        let quieter = sorted.iter().take(BANDS / 2);
        let mean = quieter.sum::<f32>() / (BANDS / 2) as f32;
        mean * SIGMA * (f32::from(factor) / 1024.0)
    }
}

impl Banded for i16 {
    type Level = u32;
    type Sigma = u16;

    const QUIET: u32 = 0;
    const NO_NOISE: u16 = 0;

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
        if bands.iter().all(|(re, im)| re | im == 0) {
            return false;
        }
        for ([even, odd], (re, im)) in means.as_chunks_mut::<2>().0.iter_mut().zip(bands) {
            follow(even, re);
            follow(odd, im);
        }
        true
    }

    fn sigma(means: &[u32; BANDS], reach: u16) -> u16 {
        let least = means.iter().fold(u32::MAX, |least, mean| least.min(*mean));
        // Means are at most 2²⁹, and a band reaches to one and a half.
        let most = (u64::from(least).wrapping_mul(reach.into()) >> 10) as u32;
        let (mut sum, mut count) = (0_u64, 0_u64);
        for mean in means.iter().filter(|mean| **mean <= most) {
            sum = sum.wrapping_add(u64::from(*mean));
            count = count.wrapping_add(1);
        }
        let mean = sum.checked_div(count).unwrap_or(0);
        sixteenths(mean)
    }

    fn rough_sigma(means: &[u32; BANDS], factor: u16) -> u16 {
        let mut sorted = *means;
        sorted.sort_unstable();
        // 2³² and a factor of at most 2¹²: far below 2⁶⁴.
        let quieter = sorted.iter().take(BANDS / 2);
        let sum = quieter.fold(0_u64, |sum, mean| sum.wrapping_add((*mean).into()));
        // 1024 times half of the bands.
        sixteenths(sum.wrapping_mul(factor.into()) >> 13)
    }
}

/// A mean magnitude as σ in sixteenths of a level.
#[inline(always)]
fn sixteenths(mean: u64) -> u16 {
    let sigma = mean.wrapping_mul(SIGMA_Q24).wrapping_add(1 << 23) >> 24;
    sigma.clamp(1, u16::MAX.into()) as u16
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;
    use std::vec::Vec;

    use super::*;

    /// The window's sample times the cosine of band `k`.
    fn tap(n: usize, k: usize) -> f64 {
        let (n, k) = (n as f64, k as f64);
        (PI * (n + 0.5) / 32.0).sin() * (PI / 16.0 * (n + 8.5) * (k + 0.5)).cos()
    }

    /// Magnitudes by the definition, and of both arithmetics in the same unit.
    fn magnitudes(block: &[i16; BLOCK]) -> Vec<[f64; 3]> {
        let mut levels = [0; BANDS];
        let mut floats = [0.0; BANDS];
        assert!(i16::follow(block, &mut levels, false, 0));
        assert!(f32::follow(&block.map(f32::from), &mut floats, false, 0));
        (0..BANDS)
            .map(|place| {
                // The places of a pair are the bands 2k and 15 − 2k.
                let k = if place % 2 == 0 { place } else { 16 - place };
                let sum: f64 = (0..BLOCK).map(|n| tap(n, k) * f64::from(block[n])).sum();
                let level = f64::from(levels[place]) / 1024.0;
                [sum.abs(), level, f64::from(floats[place])]
            })
            .collect()
    }

    #[test]
    fn bands_follow_the_definition_up_to_the_largest_magnitude() {
        let mut largest = 0.0_f64;
        let mut random = 1_u32;
        for case in 0..200 {
            let block = core::array::from_fn(|n| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let sign = match case {
                    0..16 => tap(n, case) < 0.0,
                    16..32 => tap(n, case - 16) > 0.0,
                    _ => random >> 31 == 0,
                };
                if sign { i16::MIN } else { i16::MAX }
            });
            for (place, [exact, level, float]) in magnitudes(&block).into_iter().enumerate() {
                largest = largest.max(exact);
                let bound = 1.0 + 2_f64.powi(-8) * 524_288.0;
                assert!(
                    (level - exact).abs() < bound,
                    "{case} {place}: {level} {exact}"
                );
                assert!(
                    (float - exact).abs() < 0.5,
                    "{case} {place}: {float} {exact}"
                );
            }
        }
        // 2¹⁹ is the bound.
        assert!(largest > 400_000.0 && largest < 524_288.0, "{largest}");
    }
}
