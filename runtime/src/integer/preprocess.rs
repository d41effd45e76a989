//! The contrast of a patch, in integers.

use sparsecode_formats::{IntegerContrast, IntegerFile};

use crate::kernels::integer::{self as kernels, saturate};

/// What [`preprocess`](crate::IntegerModel::preprocess) did to one patch, which
/// [`restore`](crate::IntegerModel::restore) undoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[must_use = "restoring the patch needs it"]
pub struct IntegerNormalisation {
    /// What was subtracted, in raw levels; 0 where the model leaves it in.
    pub mean: i16,
    /// What the patch was divided by, in sixteenths of a raw level; 0 where the model does not
    /// divide.
    pub deviation: u32,
}

/// Largest standardised level.
const LIMIT: i64 = i16::MAX as i64;

/// What is taken off each level of a patch.
#[inline(always)]
fn input_mean<'a>(file: &IntegerFile<'a>) -> &'a [i16] {
    #[cfg(feature = "variational")]
    if let Some(mean) = file.variational.as_ref().and_then(|model| model.input_mean) {
        return mean;
    }
    let _ = file;
    &[]
}

/// Brings raw levels to the levels of the products, in place.
#[inline(never)]
pub(crate) fn apply(file: &IntegerFile<'_>, patch: &mut [i16]) -> IntegerNormalisation {
    let spec = &file.spec;
    kernels::clamp(patch, spec.input_min, spec.input_max);
    let nothing = IntegerNormalisation {
        mean: 0,
        deviation: 0,
    };
    match spec.contrast {
        IntegerContrast::None | IntegerContrast::External => nothing,
        // Of variational models alone.
        #[cfg(not(feature = "variational"))]
        IntegerContrast::InputMean => nothing,
        #[cfg(feature = "variational")]
        IntegerContrast::InputMean => {
            for (level, mean) in patch.iter_mut().zip(input_mean(file)) {
                *level = level.saturating_sub(*mean).max(-i16::MAX);
            }
            nothing
        }
        IntegerContrast::RemoveMean => {
            let mean = mean(patch);
            for level in patch.iter_mut() {
                *level = level.saturating_sub(mean).max(-i16::MAX);
            }
            IntegerNormalisation { mean, ..nothing }
        }
        IntegerContrast::Standardize { floor } => {
            let mean = mean(patch);
            let count = (patch.len() as u64).max(1);
            let squares = patch.iter().map(|level| {
                let centred = i64::from(*level).wrapping_sub(i64::from(mean));
                centred.wrapping_mul(centred).cast_unsigned()
            });
            // At most 65535 squares of at most 2³², and 8 bits for the sixteenths.
            let power = squares.fold(0_u64, u64::wrapping_add) << 8;
            let deviation = root(power.checked_div(count).unwrap_or(0))
                .max(floor)
                .max(1);
            // 4096/deviation in 19 more bits: (r − mean) · 2¹² · 16 / deviation.
            let reciprocal = (1_u64 << 35).checked_div(u64::from(deviation)).unwrap_or(0);
            for level in patch.iter_mut() {
                let centred = i64::from(*level).wrapping_sub(i64::from(mean));
                let product = centred.wrapping_mul(reciprocal.cast_signed());
                let rounded = product.wrapping_add(1 << 18) >> 19;
                *level = rounded.clamp(-LIMIT, LIMIT) as i16;
            }
            IntegerNormalisation { mean, deviation }
        }
    }
}

/// Undoes [`apply`].
#[inline(never)]
pub(crate) fn restore(
    file: &IntegerFile<'_>,
    patch: &mut [i16],
    normalisation: IntegerNormalisation,
) {
    for (level, mean) in patch.iter_mut().zip(input_mean(file)) {
        *level = level.saturating_add(*mean);
    }
    let IntegerNormalisation { mean, deviation } = normalisation;
    if mean == 0 && deviation == 0 {
        return;
    }
    let mean = i64::from(mean);
    for level in patch.iter_mut() {
        let value = i64::from(*level);
        let raw = if deviation == 0 {
            value
        } else {
            value
                .wrapping_mul(i64::from(deviation))
                .wrapping_add(1 << 15)
                >> 16
        };
        // Within 37 bits before the cut.
        let raw = raw.wrapping_add(mean);
        *level = saturate(raw.clamp(-65536, 65536) as i32);
    }
}

/// The mean, rounded to the nearest level, halves away from zero.
fn mean(patch: &[i16]) -> i16 {
    let count = (patch.len() as i32).max(1);
    // At most 65535 levels of 15 bits.
    let sum = patch
        .iter()
        .fold(0_i32, |sum, level| sum.wrapping_add(i32::from(*level)));
    let half = count >> 1;
    let shifted = if sum < 0 {
        sum.wrapping_sub(half)
    } else {
        sum.wrapping_add(half)
    };
    saturate(shifted.checked_div(count).unwrap_or(0))
}

/// The integer square root, rounded down.
fn root(square: u64) -> u32 {
    // Digit by digit, without divisions: 32 steps.
    let (mut rest, mut found, mut bit) = (square, 0_u64, 1_u64 << 62);
    while bit != 0 {
        let trial = found.wrapping_add(bit);
        found >>= 1;
        if rest >= trial {
            rest = rest.wrapping_sub(trial);
            found = found.wrapping_add(bit);
        }
        bit >>= 2;
    }
    found as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn roots_are_rounded_down(square: u64) {
            let found = u128::from(root(square));
            prop_assert!(found * found <= u128::from(square));
            prop_assert!((found + 1) * (found + 1) > u128::from(square));
        }

        #[test]
        fn means_are_rounded(patch in prop::collection::vec(any::<i16>(), 1..100)) {
            let exact = patch.iter().map(|x| f64::from(*x)).sum::<f64>() / patch.len() as f64;
            prop_assert!((f64::from(mean(&patch)) - exact).abs() <= 0.5);
        }
    }
}
