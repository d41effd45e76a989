//! From sums to drives, and from drives to levels.

#![allow(unsafe_code)]

use core::arch::aarch64::*;

use sparsecode_formats::LANES;

use super::lanes::{Eight, from_array, lanes, load, load_levels, to_array};
use crate::kernels::integer::entry::Entry;
use crate::kernels::integer::rounding::{GradientStep, High, Threshold};
use crate::kernels::level::neon;

/// [`High`] for eight sums.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn rescale_eight(sums: Eight, multipliers: Eight, high: High) -> Eight {
    // The product doubled, of which the upper half is left, so that there is one bit more to round
    // off.
    let down = vdupq_n_s32(high.shift.wrapping_add(1).cast_signed().wrapping_neg());
    let one = |sums, multipliers| vrshlq_s32(vqdmulhq_s32(sums, multipliers), down);
    [one(sums[0], multipliers[0]), one(sums[1], multipliers[1])]
}

/// A list of levels that are not 0, and how long it is.
pub(super) struct Levels<'l> {
    pub(super) list: &'l mut [Entry],
    pub(super) count: usize,
    pub(super) threshold: Threshold,
}

impl Levels<'_> {
    /// Appends the levels of the eight drives from `first` on.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn push_eight(&mut self, first: usize, drive: Eight) {
        let least = vdupq_n_s32(self.threshold.least());
        let active = drive.map(|drive| vcgeq_s32(drive, least));
        for lane in lanes(active) {
            if let Some(drive) = to_array(drive).get(lane)
                && let Some(level) = self.threshold.level(*drive)
                && let Some(entry) = self.list.get_mut(self.count)
            {
                *entry = Entry::new::<i8>(first.wrapping_add(lane), level);
                self.count = self.count.wrapping_add(1);
            }
        }
    }
}

/// See [`list_levels`](crate::kernels::integer::list_levels).
pub(crate) fn list_levels(drive: &[i32], threshold: Threshold, list: &mut [Entry]) -> Option<u16> {
    let mut levels = Levels {
        list,
        count: 0,
        threshold,
    };
    for first in (0..drive.len()).step_by(LANES) {
        // SAFETY: the target has NEON.
        unsafe { levels.push_eight(first, load(drive, first, i32::MIN)) };
    }
    neon().then_some(levels.count as u16)
}

/// See [`gradient_steps`](crate::kernels::integer::gradient_steps).
#[inline(always)]
pub(crate) fn gradient_steps(
    step: GradientStep,
    least: i32,
    code: &mut [i16],
    terms: (&[i32], &[i32]),
    previous: &mut [i32],
    each: &mut impl FnMut(usize, i32, &mut i16),
) -> bool {
    if neon() {
        // SAFETY: the target has NEON.
        unsafe { gradient_steps_neon(step, least, code, terms, previous, each) };
    }
    neon()
}

#[target_feature(enable = "neon")]
fn gradient_steps_neon(
    step: GradientStep,
    least: i32,
    code: &mut [i16],
    (product, correlation): (&[i32], &[i32]),
    previous: &mut [i32],
    each: &mut impl FnMut(usize, i32, &mut i16),
) {
    let (codes, code_rest) = code.as_chunks_mut::<LANES>();
    let (products, product_rest) = product.as_chunks::<LANES>();
    let (correlations, correlation_rest) = correlation.as_chunks::<LANES>();
    let (befores, before_rest) = previous.as_chunks_mut::<LANES>();
    let point = vdupq_n_s32(step.point.cast_signed());
    let finer = vdupq_n_s32(step.finer.cast_signed().wrapping_neg());
    let momentum = vdupq_n_s32(step.momentum);
    let lowest = vdupq_n_s32(least);
    // The next step, the gradient step, and whether neither is 0 that stays 0.
    let four = |level: int32x4_t, product, correlation, before| {
        let gradient_step = vqsubq_s32(
            vaddq_s32(vshlq_s32(level, point), correlation),
            vshlq_s32(product, finer),
        );
        let change = vqsubq_s32(gradient_step, before);
        // The product doubled, of which the upper half is left, without its lowest bit.
        let extra = vbicq_s32(vqdmulhq_s32(change, momentum), vdupq_n_s32(1));
        let next = vqaddq_s32(gradient_step, extra);
        let busy = vorrq_u32(vtstq_s32(level, level), vcgeq_s32(next, lowest));
        (next, gradient_step, busy)
    };
    let mut first = 0_usize;
    let eights = codes
        .iter_mut()
        .zip(products)
        .zip(correlations)
        .zip(befores);
    for (((code, product), correlation), before) in eights {
        let levels = load_levels(code);
        let ([p_low, p_high], [c_low, c_high]) = (from_array(product), from_array(correlation));
        let [b_low, b_high] = from_array(before);
        let low = four(vmovl_s16(vget_low_s16(levels)), p_low, c_low, b_low);
        let high = four(vmovl_high_s16(levels), p_high, c_high, b_high);
        *before = to_array([low.1, high.1]);
        for lane in lanes([low.2, high.2]) {
            if let (Some(next), Some(z)) = (to_array([low.0, high.0]).get(lane), code.get_mut(lane))
            {
                each(first.wrapping_add(lane), *next, z);
            }
        }
        first = first.wrapping_add(LANES);
    }
    let terms = product_rest.iter().zip(correlation_rest);
    let state = code_rest.iter_mut().zip(before_rest);
    for (index, ((product, correlation), (z, before))) in (first..).zip(terms.zip(state)) {
        let code = i32::from(*z);
        let next = step.apply(code, *product, *correlation, before);
        if code != 0 || next >= least {
            each(index, next, z);
        }
    }
}
