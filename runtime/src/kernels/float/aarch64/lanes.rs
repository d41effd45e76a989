//! How weights come into registers.

#![allow(unsafe_code)]

use core::arch::aarch64::*;

use crate::kernels::float::portable::Weight;

/// Partial sums of a row.
pub(super) const LANES: usize = 8;

/// Weights that can be read eight at a time.
pub(crate) trait Eight: Weight + Default {
    /// Eight weights, without their scale.
    ///
    /// # Safety
    ///
    /// The processor has NEON.
    unsafe fn load(weights: &[Self; LANES]) -> [float32x4_t; 2];
}

impl Eight for f32 {
    #[inline(always)]
    unsafe fn load(weights: &[Self; LANES]) -> [float32x4_t; 2] {
        let weights = weights.as_ptr();
        // SAFETY: eight numbers of 32 bits.
        unsafe { [vld1q_f32(weights), vld1q_f32(weights.add(4))] }
    }
}

impl Eight for i16 {
    #[inline(always)]
    unsafe fn load(weights: &[Self; LANES]) -> [float32x4_t; 2] {
        // SAFETY: eight numbers of 16 bits.
        unsafe { convert(vld1q_s16(weights.as_ptr())) }
    }
}

impl Eight for i8 {
    #[inline(always)]
    unsafe fn load(weights: &[Self; LANES]) -> [float32x4_t; 2] {
        // SAFETY: eight numbers of 8 bits.
        unsafe { convert(vmovl_s8(vld1_s8(weights.as_ptr()))) }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn convert(eight: int16x8_t) -> [float32x4_t; 2] {
    [
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(eight))),
        vcvtq_f32_s32(vmovl_high_s16(eight)),
    ]
}
