//! From sums to drives, levels and points: what every implementation does to a component alike.

use sparsecode_formats::CODE_LIMIT;

/// [`Rescale`](sparsecode_formats::Rescale) with a shift of 33 or more: only the upper half of the
/// product counts, because rounding down twice is rounding down once, and the limit is out of
/// reach.
#[derive(Clone, Copy)]
pub(crate) struct High {
    pub(super) half: i32,
    pub(super) shift: u32,
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
        upper::<0>(x, multiplier).wrapping_add(self.half) >> self.shift
    }
}

/// `⌊(a·b + HALF·2¹⁶) / 2³²⌋` for `b` that is not negative: the upper word of a product, rounded
/// down if `HALF` is 0 and to the nearest if it is 2¹⁵.
#[inline(always)]
pub(crate) const fn upper<const HALF: u32>(a: i32, b: i32) -> i32 {
    if !cfg!(sparsecode_v6m) {
        let product = (a as i64).wrapping_mul(b as i64);
        return (product.wrapping_add((HALF as i64) << 16) >> 32) as i32;
    }
    upper_of_halves::<HALF>(a, b)
}

/// [`upper`] in products of 16 bits, for a Cortex-M0+: one of 64 bits is a function of the library
/// there, which takes three times as long.
const fn upper_of_halves<const HALF: u32>(a: i32, b: i32) -> i32 {
    let (a_low, a_high) = (a.cast_unsigned() & 0xffff, a >> 16);
    let (b_low, b_high) = (b.cast_unsigned() & 0xffff, b.cast_unsigned() >> 16);
    // (2¹⁶ − 1)² needs 32 bits; 2¹⁵·(2¹⁶ − 1) and 16 bits more need 31 and a sign.
    let carried = a_low.wrapping_mul(b_low) >> 16;
    let middle = a_high
        .wrapping_mul(b_low.cast_signed())
        .wrapping_add(carried.cast_signed());
    // Below 2³².
    let rest = a_low
        .wrapping_mul(b_high)
        .wrapping_add(middle.cast_unsigned() & 0xffff)
        .wrapping_add(HALF);
    a_high
        .wrapping_mul(b_high.cast_signed())
        .wrapping_add(middle >> 16)
        .wrapping_add((rest >> 16).cast_signed())
}

/// From drives to levels: the relu, rounding to the nearest, and the cut at the largest level.
#[derive(Clone, Copy)]
pub(crate) struct Threshold {
    /// Below this a drive is level 0.
    pub(super) half: i32,
    pub(super) fraction: u32,
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

/// The gradient step of FISTA, and the momentum that it is extended by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GradientStep {
    /// Fractional bits of a point.
    pub(crate) point: u32,
    /// Bits that the Gram matrix has more.
    pub(crate) finer: u32,
    /// Not negative, with 31 fractional bits.
    pub(crate) momentum: i32,
}

impl GradientStep {
    /// The step of the momentum point, for a component of the code, of `Ĝz`, and of `ĉ`; `previous`
    /// is the gradient step before, and becomes this one.
    #[inline(always)]
    pub(crate) fn apply(
        self,
        code: i32,
        product: i32,
        correlation: i32,
        previous: &mut i32,
    ) -> i32 {
        // Below 2²⁸ + 2³⁰ before the product, which is cut off at 31 bits: bits that a file's proof
        // leaves unused.
        let gradient_step = (code << self.point)
            .wrapping_add(correlation)
            .saturating_sub(product >> self.finer);
        let change = gradient_step.saturating_sub(*previous);
        *previous = gradient_step;
        let extra = ((i64::from(change).wrapping_mul(i64::from(self.momentum)) >> 32) as i32) << 1;
        gradient_step.saturating_add(extra)
    }
}

/// The nearest level of 16 bits.
#[inline(always)]
pub(crate) const fn saturate(level: i32) -> i16 {
    if level > i16::MAX as i32 {
        i16::MAX
    } else if level < i16::MIN as i32 {
        i16::MIN
    } else {
        level as i16
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
        fn halves_make_the_upper_half(
            a in prop_oneof![any::<i32>(), Just(i32::MIN), Just(i32::MAX), Just(-1), Just(0xffff)],
            b in prop_oneof![0..=i32::MAX, Just(i32::MAX), Just(0), Just(0xffff)],
        ) {
            let product = i64::from(a) * i64::from(b);
            let nearest = (product + (1 << 31)) >> 32;
            prop_assert_eq!(i64::from(upper_of_halves::<0>(a, b)), product >> 32);
            prop_assert_eq!(i64::from(upper_of_halves::<0x8000>(a, b)), nearest);
            prop_assert_eq!(i64::from(upper::<0>(a, b)), product >> 32);
            prop_assert_eq!(i64::from(upper::<0x8000>(a, b)), nearest);
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
