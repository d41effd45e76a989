//! Numbers in the metadata's text. `core`'s parser of floats is not used because parts of it can
//! panic.

use core::str::FromStr;

/// The longest real that is read, in bytes: it bounds the work. The longest that the writer emits
/// has 48.
const MAX_LEN: usize = 64;

/// An unsigned decimal without a sign, which `str::parse` would let pass.
pub(crate) fn integer<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

/// A decimal integer with or without a minus.
pub(crate) fn signed_integer(text: &str) -> Option<i32> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// `-?DIGITS(.DIGITS)?(e[+-]?DIGITS)?` as the nearest `f32`, ties to even: right for every text
/// that is accepted.
///
/// `None` for other text, one of more than [`MAX_LEN`] bytes, digits that make an integer of 2¹²⁸
/// or more when read without the point (38 digits never do), exponents beyond ±255, and numbers
/// that round to infinity.
pub(crate) fn real(text: &str) -> Option<f32> {
    if text.len() > MAX_LEN {
        return None;
    }
    let (negative, magnitude) = match split_once(text, b'-') {
        Some(("", magnitude)) => (true, magnitude),
        _ => (false, text),
    };
    let (digits, exponent) = match split_once(magnitude, b'e') {
        Some((digits, exponent)) => (digits, signed(exponent)?),
        None => (magnitude, 0),
    };
    let (whole, fraction) = match split_once(digits, b'.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (digits, ""),
    };
    if whole.is_empty() {
        return None;
    }
    let mut number = Fixed::default();
    for byte in whole.bytes().chain(fraction.bytes()) {
        number.push(byte)?;
    }
    let shift = exponent - fraction.len() as i32;
    for _ in 0..shift {
        number.push(b'0')?;
    }
    for _ in shift..0 {
        number.divide_by_ten();
    }
    let magnitude = number.round();
    let value = if negative { -magnitude } else { magnitude };
    value.is_finite().then_some(value)
}

fn signed(text: &str) -> Option<i32> {
    let exponent = match split_once(text, b'-') {
        Some(("", digits)) => -i32::from(integer::<u8>(digits)?),
        _ => match split_once(text, b'+') {
            Some(("", digits)) => i32::from(integer::<u8>(digits)?),
            _ => i32::from(integer::<u8>(text)?),
        },
    };
    Some(exponent)
}

/// What is before and after the first ASCII character `separator`.
pub(crate) fn split_once(text: &str, separator: u8) -> Option<(&str, &str)> {
    let position = text.bytes().position(|byte| byte == separator)?;
    Some((text.get(..position)?, text.get(position + 1..)?))
}

/// 32-bit limbs of a [`Fixed`], and how many of them are behind the point.
const LIMBS: usize = 9;
const FRACTION_LIMBS: usize = 5;

/// Every bit of a [`Fixed`] that an `f32` can hold has a weight of 2⁻¹⁴⁹ or more: it is this one or
/// a higher one.
const LOWEST_BIT: u32 = 32 * FRACTION_LIMBS as u32 - 149;

/// An unsigned number with 128 bits before the point and 160 behind it, least significant limb
/// first.
///
/// `f32` ends at 2¹²⁸, and its numbers and the midpoints between them are multiples of 2⁻¹⁵⁰. So
/// these bits, and whether anything is behind them, decide what to round to.
#[derive(Default)]
struct Fixed {
    limbs: [u32; LIMBS],
    /// Whether something not zero is behind the last bit.
    more: bool,
}

impl Fixed {
    /// Appends a decimal digit to an integer; `None` if it is no digit, or too much.
    fn push(&mut self, digit: u8) -> Option<()> {
        if !digit.is_ascii_digit() {
            return None;
        }
        let mut carry = u64::from(digit - b'0');
        for limb in self.limbs.iter_mut().skip(FRACTION_LIMBS) {
            carry += u64::from(*limb) * 10;
            *limb = carry as u32;
            carry >>= 32;
        }
        (carry == 0).then_some(())
    }

    /// Rounds down. Doing so repeatedly is exact: ⌊⌊x⌋ / 10⌋ = ⌊x / 10⌋.
    fn divide_by_ten(&mut self) {
        let mut remainder = 0;
        for limb in self.limbs.iter_mut().rev() {
            let dividend = remainder << 32 | u64::from(*limb);
            *limb = (dividend / 10) as u32;
            remainder = dividend % 10;
        }
        self.more |= remainder != 0;
    }

    fn bit(&self, index: u32) -> bool {
        let limb = self.limbs.get(index as usize / 32).copied().unwrap_or(0);
        limb >> (index % 32) & 1 == 1
    }

    /// The nearest `f32`, ties to even; infinity above the largest.
    fn round(&self) -> f32 {
        let bits = 0..32 * LIMBS as u32;
        let top = bits.rev().find(|&index| self.bit(index)).unwrap_or(0);
        let last = top.saturating_sub(23).max(LOWEST_BIT);
        let significand = (last..last + 24).rev().fold(0, |significand, index| {
            significand << 1 | u32::from(self.bit(index))
        });
        let half = self.bit(last - 1);
        let above_half = self.more || (0..last - 1).any(|index| self.bit(index));
        let up = half && (above_half || significand & 1 == 1);
        // A normal number's leading bit adds the 1 that the exponent's field lacks, a carry from
        // rounding another.
        f32::from_bits(((last - LOWEST_BIT) << 23) + significand + u32::from(up))
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_LEN, real, split_once};
    use proptest::prelude::*;
    use std::format;
    use std::string::ToString;

    fn round_trips(bits: u32) {
        let value = f32::from_bits(bits);
        for text in [
            value.to_string(),
            format!("{value:?}"),
            format!("{value:e}"),
        ] {
            assert!(text.len() <= 48, "{text}");
            assert_eq!(real(&text).map(f32::to_bits), Some(bits), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        // Every exponent: powers of two and subnormals, their neighbours, and mantissas all over.
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for exponent in 0..255 {
            for mantissa in [0, 1, 2, 0x40_0000, 0x7f_fffe, 0x7f_ffff] {
                round_trips(exponent << 23 | mantissa);
            }
            for _ in 0..1000 {
                random = random
                    .wrapping_mul(0x5851_f42d_4c95_7f2d)
                    .wrapping_add(0x1405_7b7e_f767_814f);
                let [_, .., low, middle, high, sign] = random.to_le_bytes();
                let mantissa = u32::from_le_bytes([low, middle, high & 0x7f, 0]);
                round_trips(u32::from(sign & 0x80) << 24 | exponent << 23 | mantissa);
            }
        }
        for bit in 0..23 {
            round_trips(1 << bit); // the subnormal powers of two
        }
        for value in [f32::MIN_POSITIVE, f32::MAX, f32::MIN, -0.0] {
            round_trips(value.to_bits());
        }
    }

    #[test]
    fn ties_go_to_even() {
        for (text, expected) in [
            ("16777217", 16_777_216.0),
            ("16777217.00000000000000000000000000001", 16_777_218.0),
            ("16777219", 16_777_220.0),
            // Half of the smallest subnormal, and a little more.
            ("7.006492321624085354618e-46", 0.0),
            ("7.006492321624085354619e-46", f32::from_bits(1)),
            // 2¹²⁸ − 2¹⁰³, half-way to infinity, and a little less.
            ("340282356779733661637539395458142568447", f32::MAX),
            ("1e-255", 0.0),
            ("0e255", 0.0),
        ] {
            assert_eq!(real(text), Some(expected), "{text}");
        }
        assert_eq!(real("340282356779733661637539395458142568448"), None);
    }

    #[test]
    fn other_text_is_refused() {
        let long = format!("0.{}", "0".repeat(MAX_LEN - 1));
        assert!(real(&long[..MAX_LEN]).is_some());
        for bad in [
            "",
            "-",
            "+1",
            "--1",
            "1-",
            ".5",
            "5.",
            ".",
            "e1",
            "1e",
            "1e-",
            "1e+-1",
            "1.e1",
            "1.5.5",
            "1e1.5",
            "1e256",
            "1E5",
            " 1",
            "1 ",
            "1_0",
            "0x1",
            "nan",
            "inf",
            "-inf",
            "infinity",
            "0,02",
            "١",
            "1e39",
            "3.5e38",
            "340282366920938463463374607431768211456",
            &long,
        ] {
            assert_eq!(real(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_first_separator_splits() {
        assert_eq!(split_once("σ:1:2", b':'), Some(("σ", "1:2")));
        assert_eq!(split_once(":", b':'), Some(("", "")));
        assert_eq!(split_once("σ", b':'), None);
    }

    /// By the standard library.
    fn nearest(text: &str) -> Option<u32> {
        let value: f32 = text.parse().unwrap();
        value.is_finite().then_some(value.to_bits())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn every_text_gives_the_nearest_number(text in "-?[0-9]{1,12}(\\.[0-9]{1,24})?(e[+-]?[0-9]{1,2})?") {
            prop_assert_eq!(real(&text).map(f32::to_bits), nearest(&text), "{}", text);
        }

        #[test]
        fn near_midpoints_too(bits in 0..0x7f7f_ffff_u32) {
            let [below, above] = [bits, bits + 1].map(|bits| f64::from(f32::from_bits(bits)));
            let middle = 0.5 * (below + above);
            for near in [middle.next_down(), middle, middle.next_up()] {
                let text = format!("{near:e}");
                prop_assert_eq!(real(&text).map(f32::to_bits), nearest(&text), "{}", text);
            }
        }
    }
}
