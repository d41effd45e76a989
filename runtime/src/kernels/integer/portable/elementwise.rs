//! Passes over elements that do not meet.

use sparsecode_formats::{Rescale, Rescales};

use crate::kernels::integer::rounding::{High, upper};

/// Raises levels to `least`, and cuts them to `most`.
#[inline]
pub(crate) fn clamp(levels: &mut [i16], least: i16, most: i16) {
    for level in levels {
        // Not `i16::clamp`, which panics for a range that is none.
        *level = (*level).max(least).min(most);
    }
}

/// `to = from`
#[inline]
pub(crate) fn copy(to: &mut [i16], from: &[i16]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// `sums += weights·values`
#[inline]
pub(crate) fn add_weighted(sums: &mut [i32], weights: &[i32], values: &[i16]) {
    for (sum, (weight, value)) in sums.iter_mut().zip(weights.iter().zip(values)) {
        *sum = sum.wrapping_add(weight.wrapping_mul((*value).into()));
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

/// [`rescale`] without shifts of 64 bits, which are most of the cost on a microcontroller.
/// `false` if a sum is so large that a number might have to be cut; then `output` is unspecified.
#[inline(always)]
pub(crate) fn rescale_in_words(
    by: &Rescales<'_>,
    bias: &[i32],
    sums: &[i32],
    output: &mut [i32],
) -> bool {
    let terms = sums.iter().zip(by.multipliers).zip(bias);
    let all = output.iter_mut().zip(terms);
    let Some(left) = 32_u8.checked_sub(by.shift) else {
        let high = High::new(by.shift);
        for (output, ((&sum, &multiplier), &bias)) in all {
            *output = high.apply(sum, multiplier).wrapping_add(bias);
        }
        return true;
    };
    let mut seen = 0_i32;
    for (output, ((&sum, &multiplier), &bias)) in all {
        seen |= sum ^ (sum >> 31);
        let rounded = upper::<0x8000>(sum.wrapping_shl(left.into()), multiplier);
        *output = rounded.wrapping_add(bias);
    }
    are_small(seen, by.shift)
}

/// Whether sums, `seen` in all their magnitudes, make numbers below 2²⁹ by a shift of at most 32,
/// and fit when they are moved up to where the rounded number is the upper word of the product:
/// multipliers are below 2³¹.
#[inline(always)]
pub(crate) fn are_small(seen: i32, shift: u8) -> bool {
    match shift.checked_sub(2) {
        Some(reach) => seen >> reach == 0,
        None => false,
    }
}
