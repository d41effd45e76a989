//! What levels and drives stay within.

#[cfg(feature = "denoise")]
use crate::spec::InputShape;

/// Largest magnitude of the level of a code component: codes are `0 ..= 32767`, or `±32767` if they
/// are signed.
pub const CODE_LIMIT: i32 = i16::MAX as i32;

/// What drives and correlations are cut to, ±2²⁹, so that what is added to them cannot overflow.
pub const DRIVE_LIMIT: i32 = 1 << 29;

/// Least shift of the two terms that a learned step subtracts from a correlation: each is then
/// within ±2²⁹, and the difference within 32 bits.
pub(super) const LEAST_STEP_SHIFT: u8 = 2;

/// The largest weight of overlapping windows. Those that meet in a sample come to 65,535 at most,
/// or to 255 in either direction of a picture, and the window at the end is one more.
#[cfg(feature = "denoise")]
pub(in crate::integer) fn most_weight(shape: InputShape, hop: u16) -> i32 {
    let (limit, side) = match shape.is_window() {
        true => (65_535, shape.width),
        false => (255, shape.width.max(shape.height)),
    };
    limit / (i32::from(side.div_ceil(hop.max(1))) + 1)
}
