//! Passing on what a denoiser removed beyond the noise.

use super::bands::Banded;

/// Elements that one call takes.
const MOST: usize = 65_535;

/// What a sample has to do for the residual guard.
pub trait Guarded: Banded {
    /// [`residual_guard`] or [`residual_guard_i16`].
    fn guard(noisy: &[Self], clean: &mut [Self], sigma: Self::Sigma, c: Self::Sigma);
}

impl Guarded for f32 {
    #[inline(always)]
    fn guard(noisy: &[Self], clean: &mut [Self], sigma: f32, c: f32) {
        residual_guard(noisy, clean, sigma, c);
    }
}

impl Guarded for i16 {
    #[inline(always)]
    fn guard(noisy: &[Self], clean: &mut [Self], sigma: u16, c: u16) {
        residual_guard_i16(noisy, clean, sigma, c);
    }
}

/// Gives back to a denoised window what was removed beyond the noise: `x̂ + g·(x − x̂)` with
/// `g = max(0, 1 − c·σ²/r)` and `r` the mean of `(x − x̂)²`. Returns `g`.
///
/// A denoiser that removes the noise and nothing else leaves `r = σ²`. A larger residual holds
/// signal: the model meets something that it has not been trained for, or a signal that is cleaner
/// than those it has been trained for. The share is that of a positive-part James–Stein estimate
/// (James & Stein 1961). `c` is 1 or more; 1.3 suits windows of 64 samples and white noise, where
/// it costs 0.01 dB. Noise whose loudness
/// changes within seconds wants longer windows, or 3.
///
/// `noisy` is `x`; `clean` holds `x̂` and then the result. Both in the units of `sigma`. The
/// shorter length counts, and at most 65,535 elements. With `r = 0`, with a NaN and without
/// elements `clean` stays as it is, and `g` is 0. `r` is off by at most `n·2⁻²⁴`, relatively. Where
/// a square overflows, `g` is 1.
///
/// Cost: two passes, of a subtraction and a multiply-add an element each, and a division. No
/// memory.
///
/// ```
/// use sparsecode_runtime::stream::residual_guard;
///
/// // σ is 1, but the denoiser removed a beat of 10.
/// let (noisy, mut clean) = ([0.0, 10.0, 0.0, 0.0], [0.0; 4]);
/// let share = residual_guard(&noisy, &mut clean, 1.0, 1.25);
/// assert_eq!(share, 0.95); // r = 25
/// assert_eq!(clean, [0.0, 9.5, 0.0, 0.0]);
/// ```
pub fn residual_guard(noisy: &[f32], clean: &mut [f32], sigma: f32, c: f32) -> f32 {
    let (mut energy, mut count) = (0.0_f32, 0_u16);
    for (x, estimate) in noisy.iter().zip(clean.iter()).take(MOST) {
        let residual = x - estimate;
        energy += residual * residual;
        count = count.wrapping_add(1);
    }
    let mean = energy / f32::from(count);
    let share = 1.0 - c * (sigma * sigma) / mean;
    // Not NaN either.
    if !(mean > 0.0 && share > 0.0) {
        return 0.0;
    }
    for (x, estimate) in noisy.iter().zip(clean.iter_mut()).take(MOST) {
        *estimate += share * (x - *estimate);
    }
    share
}

/// The square of a number of at most 2¹⁶ − 1 in magnitude: below 2³².
#[inline(always)]
fn square(number: i32) -> u64 {
    if cfg!(sparsecode_dsp) {
        // One instruction multiplies and adds to 64 bits.
        return i64::from(number)
            .wrapping_mul(number.into())
            .cast_unsigned();
    }
    number.wrapping_mul(number).cast_unsigned().into()
}

/// [`residual_guard`] in integers. Returns `g` in units of 2⁻¹⁵ (0 to 32,768).
///
/// `sigma` is in 1/16 of a level, as [`NoiseLevel`](super::NoiseLevel) gives it; `c` is in 1/256
/// (333 for 1.3). `r` is exact, and `g` is rounded to the nearest: a result is off by at most
/// `½ + ∣x − x̂∣·2⁻¹⁶` levels, which is less than 1.5. Nothing overflows, whatever the values, for
/// the 65,535 elements that count.
///
/// Cost: two passes, of a subtraction and a multiply-add an element each (the sum has 64 bits), and
/// a division of 64 bits. No memory.
///
/// ```
/// use sparsecode_runtime::stream::residual_guard_i16;
///
/// // σ is 1 level, but the denoiser removed a beat of 100.
/// let (noisy, mut clean) = ([0, 100, 0, 0], [0; 4]);
/// let share = residual_guard_i16(&noisy, &mut clean, 16, 256);
/// assert_eq!(share, 32_755); // 1 − 1/2500
/// assert_eq!(clean, [0, 100, 0, 0]);
/// ```
pub fn residual_guard_i16(noisy: &[i16], clean: &mut [i16], sigma: u16, c: u16) -> u16 {
    let length = noisy.len().min(clean.len()).min(MOST);
    let count = length as u64;
    // In eights, which are unrolled.
    let (eights, rest) = noisy.get(..length).unwrap_or_default().as_chunks::<8>();
    let (to_eights, to_rest) = clean
        .get_mut(..length)
        .unwrap_or_default()
        .as_chunks_mut::<8>();

    // The largest residual is 2¹⁶ − 1 in magnitude, and there are fewer than 2¹⁶ of them: the
    // energy is below 2⁴⁸.
    let mut energy = 0_u64;
    let mut add = |x: i16, estimate: i16| {
        let residual = i32::from(x).wrapping_sub(i32::from(estimate));
        energy = energy.wrapping_add(square(residual));
    };
    for (eight, estimates) in eights.iter().zip(&*to_eights) {
        for (x, estimate) in eight.iter().zip(estimates) {
            add(*x, *estimate);
        }
    }
    for (x, estimate) in rest.iter().zip(&*to_rest) {
        add(*x, *estimate);
    }
    // c·σ²·n/r·2¹⁶, where c has 8 bits after the point and σ² as many. Four factors of at most
    // 2¹⁶ − 1: the product is below 2⁶⁴ − 2⁴⁹, so that half a divisor, below 2⁴⁸, fits as well.
    let sigma = u64::from(sigma);
    let noise = u64::from(c)
        .wrapping_mul(sigma.wrapping_mul(sigma))
        .wrapping_mul(count);
    if noise >= energy << 16 {
        return 0;
    }
    // noise/(energy·2¹⁶) in units of 2⁻¹⁵.
    let removed = noise
        .wrapping_add(energy)
        .checked_div(energy << 1)
        .unwrap_or(1 << 15);
    let share = (1_u64 << 15).wrapping_sub(removed) as i32;
    let give = |x: i16, estimate: &mut i16| {
        let residual = i32::from(x).wrapping_sub(i32::from(*estimate));
        // At most 2¹⁵·(2¹⁶ − 1) + 2¹⁴ in magnitude. The result lies between the two.
        let back = share.wrapping_mul(residual).wrapping_add(1 << 14) >> 15;
        *estimate = i32::from(*estimate).wrapping_add(back) as i16;
    };
    for (eight, estimates) in eights.iter().zip(to_eights) {
        for (x, estimate) in eight.iter().zip(estimates) {
            give(*x, estimate);
        }
    }
    for (x, estimate) in rest.iter().zip(to_rest) {
        give(*x, estimate);
    }
    share as u16
}
