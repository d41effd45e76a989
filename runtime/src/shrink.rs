//! Shrinkage: what a proximal step of `λ‖z‖₁` leaves of a component, in `f32` and in integers.
//!
//! A model's [`CodeSign`](sparsecode_formats::CodeSign) chooses it: `max(z − t, 0)` where codes are
//! non-negative, `sign(z)·max(|z| − t, 0)` where they have either sign.
//!
//! Coordinate descent in integers moves a component point by point and has its own form of the same
//! rule, `gain` in `integer/refine.rs`.

use sparsecode_formats::{CodeSign, IntegerRefiner};

use crate::kernels::integer::Threshold;

/// The shrunken value of a component `z`, of which `less` is `z − t` and `more` is `z + t`, `t ≥
/// 0`.
///
/// Handed both because callers have the threshold in sums of their own. NaN becomes 0, so that a
/// code never contains one.
#[inline(always)]
pub(crate) fn shrink(codes: CodeSign, less: f32, more: f32) -> f32 {
    if less > 0.0 {
        less
    } else if codes == CodeSign::Signed {
        negative_part(more)
    } else {
        0.0
    }
}

/// `min(value, 0)`; NaN becomes 0. On a device a function of its own, so that nothing of it is
/// computed for models whose codes are non-negative.
#[cfg_attr(sparsecode_host, inline(always))]
#[cfg_attr(not(sparsecode_host), cold, inline(never))]
fn negative_part(value: f32) -> f32 {
    if value < 0.0 { value } else { 0.0 }
}

/// From a point of integer FISTA to the next level of its component: shrunken by the threshold, and
/// rounded to the nearest level, halves away from 0.
#[derive(Clone, Copy)]
pub(crate) struct Proximal {
    round: Threshold,
    /// In points, not negative.
    threshold: i32,
    /// A component that is 0 stays 0 at a point of a smaller magnitude; above 0.
    pub(crate) least: i32,
}

impl Proximal {
    #[inline(always)]
    pub(crate) fn new(refiner: &IntegerRefiner<'_>, threshold: i32) -> Self {
        let round = Threshold::new(refiner.point_fraction);
        Self {
            round,
            threshold,
            least: threshold.saturating_add(round.least()),
        }
    }

    /// The level where codes are non-negative.
    #[inline(always)]
    pub(crate) fn level(&self, point: i32) -> i16 {
        let level = self.round.level(point.saturating_sub(self.threshold));
        level.unwrap_or(0)
    }

    /// The level where codes are signed.
    #[inline(always)]
    pub(crate) fn signed_level(&self, point: i32) -> i16 {
        if point < 0 {
            self.level(point.saturating_neg()).wrapping_neg()
        } else {
            self.level(point)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sparsecode_formats::{Blocks, Rescales};

    use super::*;

    /// `argmin ½(z − x)² + t|z|`, of either sign or not negative, in `f64`.
    fn exact(x: f64, t: f64, signed: bool) -> f64 {
        if x < 0.0 {
            if signed { -exact(-x, t, signed) } else { 0.0 }
        } else {
            (x - t).max(0.0)
        }
    }

    fn shrunken(codes: CodeSign, x: f32, t: f32) -> f32 {
        shrink(codes, x - t, x + t)
    }

    fn proximal(point_fraction: u8, threshold: i32) -> Proximal {
        let rescales = Rescales {
            multipliers: &[],
            shift: 1,
        };
        let refiner = IntegerRefiner {
            gram: Blocks::new(0, 0, &[]).unwrap(),
            gram_fraction: point_fraction,
            point_fraction,
            correlation: rescales,
            bias: &[],
            threshold,
            codes: CodeSign::Signed,
        };
        Proximal::new(&refiner, threshold)
    }

    proptest! {
        #[test]
        fn floats_are_shrunken(x in -4.0_f32..4.0, t in prop_oneof![Just(0.0), 0.0_f32..3.0]) {
            for codes in CodeSign::ALL {
                let found = shrunken(codes, x, t);
                let expected = exact(x.into(), t.into(), codes == CodeSign::Signed);
                let error = (f64::from(found) - expected).abs();
                prop_assert!(error <= f64::from(x.abs() + t) * 2_f64.powi(-24), "{found} for {expected}");
            }
            let signed = |x| shrunken(CodeSign::Signed, x, t);
            prop_assert_eq!(signed(-x), -signed(x));
        }

        #[test]
        fn points_are_shrunken_and_rounded(
            point in prop_oneof![any::<i32>(), -9000..9000_i32, Just(i32::MIN), Just(i32::MAX)],
            threshold in prop_oneof![0..5000_i32, 0..=i32::MAX],
            fraction in 1..=13_u8,
        ) {
            let unit = f64::from(1 << fraction);
            let rounded = |x: f64| (x.abs() / unit + 0.5).floor().min(32767.0).copysign(x);
            let prox = proximal(fraction, threshold);
            let (plain, signed) = (prox.level(point), prox.signed_level(point));
            prop_assert_eq!(f64::from(plain), rounded(exact(point.into(), threshold.into(), false)));
            prop_assert_eq!(point >= prox.least, plain != 0);
            let expected = rounded(exact(point.into(), threshold.into(), true));
            // -2³¹ is taken for -(2³¹ - 1).
            let slack = if point == i32::MIN { 1.0 } else { 0.0 };
            prop_assert!((f64::from(signed) - expected).abs() <= slack, "{signed}: {expected}");
        }
    }

    #[test]
    fn nan_is_zero() {
        for codes in CodeSign::ALL {
            assert_eq!(shrink(codes, f32::NAN, f32::NAN), 0.0);
        }
    }
}
