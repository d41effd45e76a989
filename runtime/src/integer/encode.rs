//! LISTA in integers.

use sparsecode_formats::{CODE_LIMIT, IntegerEncoder, LANES, Rescales};

use super::code::List;
use super::workspace::Scratch;
use crate::kernels::integer::{self as kernels, Entry};

/// Writes the code of `levels`. All slices have the dimensions of the encoder.
#[inline(never)]
pub(crate) fn encode(
    encoder: &IntegerEncoder<'_>,
    levels: &[i16],
    code: &mut List<'_>,
    scratch: Scratch<'_>,
) {
    let Scratch {
        sums,
        drive,
        entries,
        ..
    } = scratch;
    kernels::dot_rows(&encoder.input, levels, sums);
    rescale(&encoder.input_rescale, encoder.bias, sums, drive);

    let threshold = Threshold::new(encoder.drive_fraction);
    code.clear();
    for (index, &u) in drive.iter().enumerate() {
        if let Some(level) = threshold.level(u) {
            code.push(index, level);
        }
    }
    for _ in 0..encoder.iterations {
        let mut active = 0;
        let mut next = List {
            entries,
            active: &mut active,
        };
        recur(encoder, code.entries(), drive, threshold, &mut next);
        code.copy_from(next.entries());
    }
}

/// One iteration: the next code of `u + S z`.
#[inline(never)]
fn recur(
    encoder: &IntegerEncoder<'_>,
    code: &[Entry],
    drive: &[i32],
    threshold: Threshold,
    next: &mut List<'_>,
) {
    let Rescales { multipliers, shift } = encoder.recurrent_rescale;
    let high = High::new(shift);
    let (eights, rest) = drive.as_chunks::<LANES>();
    let (multipliers, multipliers_rest) = multipliers.as_chunks::<LANES>();
    let mut lines = multipliers.iter().zip(eights);
    // Moved, so that it is loaded once for eight.
    kernels::add_rows(&encoder.recurrent, code, &mut move |block, sums| {
        let first = block.wrapping_mul(LANES);
        let mut output = |lane: usize, sum: i32, multiplier: i32, u: i32| {
            if let Some(level) = threshold.level(u.wrapping_add(high.apply(sum, multiplier))) {
                next.push(first.wrapping_add(lane), level);
            }
        };
        if let Some((multipliers, drive)) = lines.next() {
            for (lane, ((sum, multiplier), u)) in
                sums.iter().zip(multipliers).zip(drive).enumerate()
            {
                output(lane, *sum, *multiplier, *u);
            }
        } else {
            for (lane, ((sum, multiplier), u)) in
                sums.iter().zip(multipliers_rest).zip(rest).enumerate()
            {
                output(lane, *sum, *multiplier, *u);
            }
        }
    });
}

/// `output = rescale(sums) + bias`: within ±2³⁰.
#[inline(never)]
pub(crate) fn rescale(by: &Rescales<'_>, bias: &[i32], sums: &[i32], output: &mut [i32]) {
    let terms = sums.iter().zip(by.multipliers).zip(bias);
    for (output, ((&sum, &multiplier), &bias)) in output.iter_mut().zip(terms) {
        let one = sparsecode_formats::Rescale {
            multiplier,
            shift: by.shift,
        };
        *output = one.apply(sum).wrapping_add(bias);
    }
}

/// [`Rescale`](sparsecode_formats::Rescale) with a shift of 33 or more: only the upper half of the product counts, because rounding
/// down twice is rounding down once, and the limit is out of reach.
#[derive(Clone, Copy)]
pub(crate) struct High {
    half: i32,
    shift: u32,
}

impl High {
    #[inline(always)]
    pub(crate) const fn new(shift: u8) -> Self {
        let shift = (shift as u32).wrapping_sub(32) & 31;
        Self {
            half: (1 << shift) >> 1,
            shift,
        }
    }

    #[inline(always)]
    pub(crate) const fn apply(self, x: i32, multiplier: i32) -> i32 {
        let upper = ((x as i64).wrapping_mul(multiplier as i64) >> 32) as i32;
        upper.wrapping_add(self.half) >> self.shift
    }
}

/// From drives to levels: the relu, rounding to the nearest, and the cut at the largest level.
#[derive(Clone, Copy)]
pub(crate) struct Threshold {
    /// Below this a drive is level 0.
    half: i32,
    fraction: u32,
}

impl Threshold {
    #[inline(always)]
    pub(crate) const fn new(fraction: u8) -> Self {
        let fraction = fraction as u32 & 31;
        Self {
            half: (1 << fraction) >> 1,
            fraction,
        }
    }

    /// The smallest drive that is not level 0.
    #[inline(always)]
    pub(crate) const fn least(self) -> i32 {
        if self.half == 0 { 1 } else { self.half }
    }

    /// The level, if it is not 0.
    #[inline(always)]
    pub(crate) const fn level(self, drive: i32) -> Option<i16> {
        if drive < self.least() {
            return None;
        }
        let level = drive.saturating_add(self.half) >> self.fraction;
        Some(if level > CODE_LIMIT {
            CODE_LIMIT as i16
        } else {
            level as i16
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sparsecode_formats::{DRIVE_LIMIT, Rescale};

    use super::*;

    proptest! {
        #[test]
        fn the_upper_half_is_enough(x: i32, multiplier in 0..=i32::MAX, shift in 33..=62_u8) {
            let exact = Rescale { multiplier, shift }.apply(x);
            prop_assert_eq!(High::new(shift).apply(x, multiplier), exact);
        }

        #[test]
        fn rescaling_rounds_to_the_nearest(x: i32, multiplier in 0..=i32::MAX, shift in 1..=62_u8) {
            let exact = f64::from(x) * f64::from(multiplier) / 2_f64.powi(shift.into());
            let limit = f64::from(DRIVE_LIMIT);
            let found = f64::from(Rescale { multiplier, shift }.apply(x));
            prop_assert!((found - exact.clamp(-limit, limit)).abs() <= 0.5 + 1e-6);
        }

        #[test]
        fn levels_round_to_the_nearest(drive: i32, fraction in 0..=13_u8) {
            let exact = (f64::from(drive) / 2_f64.powi(fraction.into()) + 0.5).floor();
            let expected = exact.clamp(0.0, 32767.0) as i16;
            prop_assert_eq!(Threshold::new(fraction).level(drive).unwrap_or(0), expected);
            prop_assert_ne!(Threshold::new(fraction).level(drive), Some(0));
        }
    }
}
