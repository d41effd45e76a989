//! Passes over elements that do not meet.

use sparsecode_formats::{Rescale, Rescales};

/// Raises levels to `least`, and cuts them to `most`.
#[inline]
pub(crate) fn clamp(levels: &mut [i16], least: i16, most: i16) {
    for level in levels {
        // Not `i16::clamp`, which panics for a range that is none.
        *level = (*level).max(least).min(most);
    }
}

/// `output = rescale(sums) + bias`.
#[inline(always)]
pub(crate) fn rescale(by: &Rescales<'_>, bias: &[i32], sums: &[i32], output: &mut [i32]) {
    let terms = sums.iter().zip(by.multipliers).zip(bias);
    for (output, ((&sum, &multiplier), &bias)) in output.iter_mut().zip(terms) {
        let one = Rescale {
            multiplier,
            shift: by.shift,
        };
        *output = one.apply(sum).wrapping_add(bias);
    }
}

/// [`rescale`] without shifts of 64 bits, which cost a Cortex-M4 a third of the whole.
/// `false` if a number had to be cut, which a file's proof excludes; then `output` is unspecified.
#[inline(always)]
pub(crate) fn rescale_in_words(
    by: &Rescales<'_>,
    bias: &[i32],
    sums: &[i32],
    output: &mut [i32],
) -> bool {
    let shift = u32::from(by.shift);
    // A product below 2^(shift + 29) in magnitude is within ±2²⁹ after the shift: its upper word is
    // then below 2^(shift − 3).
    let Some(reach) = shift.checked_sub(3) else {
        return false;
    };
    let mut seen = 0_u32;
    let half = 1_i64.wrapping_shl(shift.wrapping_sub(1));
    let mut words = |sum: i32, multiplier: i32| {
        let product = i64::from(sum)
            .wrapping_mul(i64::from(multiplier))
            .wrapping_add(half);
        let upper = (product >> 32) as i32;
        seen |= (upper ^ (upper >> 31)).cast_unsigned();
        (product as u32, upper)
    };
    let terms = sums.iter().zip(by.multipliers).zip(bias);
    let all = output.iter_mut().zip(terms);
    if let Some(shift) = shift.checked_sub(32) {
        for (output, ((&sum, &multiplier), &bias)) in all {
            let (_, upper) = words(sum, multiplier);
            *output = upper.wrapping_shr(shift).wrapping_add(bias);
        }
    } else {
        let left = 32_u32.wrapping_sub(shift);
        for (output, ((&sum, &multiplier), &bias)) in all {
            let (lower, upper) = words(sum, multiplier);
            let joined = lower.wrapping_shr(shift) | upper.cast_unsigned().wrapping_shl(left);
            *output = joined.cast_signed().wrapping_add(bias);
        }
    }
    seen.checked_shr(reach).unwrap_or(0) == 0
}
