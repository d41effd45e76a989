//! What levels and drives stay within.

/// Largest magnitude of the level of a code component: codes are `0 ..= 32767`, or `±32767` if they
/// are signed.
pub const CODE_LIMIT: i32 = i16::MAX as i32;

/// What drives and correlations are cut to, ±2²⁹, so that what is added to them cannot overflow.
pub const DRIVE_LIMIT: i32 = 1 << 29;

/// Bits that what a learned step takes off a correlation loses at least: a product with the Gram
/// matrix has 31 and a sign before, a threshold has 31 and a sign, and both with a correlation stay
/// within 32 bits.
pub(super) const SPARE_BITS: u8 = 2;
