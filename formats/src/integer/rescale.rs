//! Multiplication by a number that is no integer.

use core::fmt;

use super::limits::DRIVE_LIMIT;

/// `x ↦ (x · multiplier + 2^(shift − 1)) >> shift`: multiplication by `multiplier / 2^shift`,
/// halves rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Rescale {
    /// Not negative.
    pub multiplier: i32,
    /// 1 to 62.
    pub shift: u8,
}

impl Rescale {
    /// The product, rounded, and cut to ±2²⁹. Exact in 64 bits.
    #[must_use]
    #[inline(always)]
    pub const fn apply(self, x: i32) -> i32 {
        let product = x as i64 * self.multiplier as i64;
        let half = 1_i64 << (self.shift as u32).wrapping_sub(1);
        let rounded = (product + half) >> (self.shift as u32);
        if rounded > DRIVE_LIMIT as i64 {
            DRIVE_LIMIT
        } else if rounded < -(DRIVE_LIMIT as i64) {
            -DRIVE_LIMIT
        } else {
            rounded as i32
        }
    }
}

/// A [`Rescale`] for each of several outputs: a multiplier each, one shift.
#[derive(Clone, Copy, PartialEq)]
pub struct Rescales<'a> {
    /// Not negative.
    pub multipliers: &'a [i32],
    /// 1 to 62.
    pub shift: u8,
}

impl fmt::Debug for Rescales<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rescales({}, >> {})", self.multipliers.len(), self.shift)
    }
}
