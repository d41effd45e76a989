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
