//! What levels and drives stay within.

/// Largest magnitude of the level of a code component: codes are `0 ..= 32767`, or `±32767` if they
/// are signed.
pub const CODE_LIMIT: i32 = i16::MAX as i32;

/// What drives and correlations are cut to, ±2²⁹, so that what is added to them cannot overflow.
pub const DRIVE_LIMIT: i32 = 1 << 29;

/// Least shift of the two terms that a learned step subtracts from a correlation: each is then
/// within ±2²⁹, and the difference within 32 bits.
pub(super) const LEAST_STEP_SHIFT: u8 = 2;
