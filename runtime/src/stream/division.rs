//! Quotients of integers, rounded to the nearest.

/// `sum / divisor` to the nearest integer, halves away from 0; 0 for a divisor of 0. `∣sum∣` and
/// half a divisor are below 2³² together.
// By magnitude: a signed division is one without a sign and more around it.
#[inline(always)]
pub(super) fn nearest(sum: i32, divisor: u32) -> i32 {
    let biased = sum.unsigned_abs().wrapping_add(divisor >> 1);
    signed(biased.checked_div(divisor).unwrap_or(0), sum)
}

/// The magnitude with the sign of `sum`.
#[inline(always)]
fn signed(magnitude: u32, sum: i32) -> i32 {
    let sign = sum >> 31;
    (magnitude.cast_signed() ^ sign).wrapping_sub(sign)
}

/// A divisor that is met again and again: the length of a moving mean, 1 to 4095.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    length: u16,
    /// `⌈log₂ length⌉`
    bits: u8,
    /// `⌈2^(31 + bits) / length⌉`
    factor: u32,
}

impl Length {
    pub(super) const fn new(length: usize) -> Self {
        let length = length as u16;
        let bits = u16::BITS.wrapping_sub(length.wrapping_sub(1).leading_zeros());
        let dividend = (1_u64 << 31 << (bits & 15))
            .wrapping_add(length as u64)
            .wrapping_sub(1);
        let factor = match dividend.checked_div(length as u64) {
            Some(factor) => factor as u32,
            None => 0,
        };
        Self {
            length,
            bits: bits as u8,
            factor,
        }
    }

    /// [`nearest`] with the divisor `length·2^MORE`, for sums of at most `length·2¹⁹` in magnitude.
    #[inline(always)]
    pub(super) fn nearest<const MORE: u32>(self, sum: i32) -> i32 {
        let half = u32::from(self.length).wrapping_shl(MORE) >> 1;
        let biased = sum.unsigned_abs().wrapping_add(half);
        signed(self.quotient(biased.wrapping_shr(MORE)), sum)
    }

    /// `⌊dividend / length⌋`, for dividends `x` up to `length·(2¹⁹ + 1)`.
    ///
    /// The factor exceeds `2^(31 + bits) / length` by less than 1, so that the product exceeds
    /// `x·2^(31 + bits) / length` by less than `x`. That is less than `2^(31 + bits) / length`,
    /// which the next integer is away at least: `x·length < 2^(2·bits + 19) ≤ 2^(31 + bits)`, as
    /// `bits ≤ 12`.
    #[inline(always)]
    fn quotient(self, dividend: u32) -> u32 {
        match self.bits.checked_sub(1) {
            Some(shift) => upper(dividend, self.factor).wrapping_shr(shift.into()),
            None => dividend,
        }
    }
}

/// The upper half of a product.
#[inline(always)]
const fn upper(a: u32, b: u32) -> u32 {
    if !cfg!(sparsecode_v6m) {
        return ((a as u64).wrapping_mul(b as u64) >> 32) as u32;
    }
    upper_of_halves(a, b)
}

/// The same in products of 16 bits, for a Cortex-M0+: one of 64 bits is a function of the library
/// there.
#[inline(always)]
const fn upper_of_halves(a: u32, b: u32) -> u32 {
    let (a_low, a_high, b_low, b_high) = (a & 0xffff, a >> 16, b & 0xffff, b >> 16);
    // (2¹⁶ − 1)² and two halves of a number are below 2³².
    let first = a_high
        .wrapping_mul(b_low)
        .wrapping_add(a_low.wrapping_mul(b_low) >> 16);
    let second = a_low.wrapping_mul(b_high).wrapping_add(first & 0xffff);
    a_high
        .wrapping_mul(b_high)
        .wrapping_add(first >> 16)
        .wrapping_add(second >> 16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn upper_halves(a: u32, b: u32) {
            let expected = (u64::from(a) * u64::from(b)) >> 32;
            prop_assert_eq!(u64::from(upper(a, b)), expected);
            prop_assert_eq!(u64::from(upper_of_halves(a, b)), expected);
        }

        #[test]
        fn quotients_are_rounded(sum: i32, divisor in 1..=65_535_u32) {
            let (sum, divisor) = (sum.max(-i32::MAX), divisor);
            let twice = (2 * i64::from(sum.abs()) + i64::from(divisor)) / (2 * i64::from(divisor));
            prop_assert_eq!(i64::from(nearest(sum, divisor)), i64::from(sum.signum()) * twice);
        }
    }

    /// For every length: at both sides of multiples, small, large and in between.
    #[test]
    fn multiplied_lengths_divide() {
        for length in 1..=4095_u32 {
            let by = Length::new(length as usize);
            for multiple in
                (0..=19).flat_map(|bits| [1 << bits, (1 << bits) - 1, (1 << 19) / 3 * 2])
            {
                for dividend in [length * multiple, length * multiple + length - 1] {
                    assert_eq!(
                        by.quotient(dividend),
                        dividend / length,
                        "{dividend} / {length}"
                    );
                }
            }
        }
    }
}
