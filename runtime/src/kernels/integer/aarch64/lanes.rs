//! Between arrays and registers.

#![allow(unsafe_code)]

use core::arch::aarch64::*;

use sparsecode_formats::LANES;

/// Eight numbers of 32 bits.
pub(super) type Eight = [int32x4_t; 2];

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_levels(eight: &[i16; LANES]) -> int16x8_t {
    // SAFETY: eight numbers of 16 bits.
    unsafe { vld1q_s16(eight.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn to_array([low, high]: Eight) -> [i32; LANES] {
    let mut array = [0; LANES];
    // SAFETY: eight numbers of 32 bits.
    unsafe {
        vst1q_s32(array.as_mut_ptr(), low);
        vst1q_s32(array.as_mut_ptr().add(4), high);
    }
    array
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn from_array(array: &[i32; LANES]) -> Eight {
    // SAFETY: eight numbers of 32 bits.
    unsafe { [vld1q_s32(array.as_ptr()), vld1q_s32(array.as_ptr().add(4))] }
}

/// Eight numbers from `first` on; those beyond the last are `beyond`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load(values: &[i32], first: usize, beyond: i32) -> Eight {
    let values = values.get(first..).unwrap_or_default();
    if let Some(eight) = values.first_chunk() {
        return from_array(eight);
    }
    let mut eight = [beyond; LANES];
    for (to, from) in eight.iter_mut().zip(values) {
        *to = *from;
    }
    from_array(&eight)
}

/// The lanes that are set, ascending.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn lanes([low, high]: [uint32x4_t; 2]) -> impl Iterator<Item = usize> {
    let halves = vcombine_u16(vmovn_u32(low), vmovn_u32(high));
    // A byte for each, of which one bit is left.
    let bytes = vget_lane_u64::<0>(vreinterpret_u64_u8(vmovn_u16(halves)));
    let mut bits = bytes & 0x0101_0101_0101_0101;
    core::iter::from_fn(move || {
        let lane = (bits.trailing_zeros() / 8) as usize;
        bits &= bits.wrapping_sub(1);
        (lane < LANES).then_some(lane)
    })
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn add([x_low, x_high]: Eight, [y_low, y_high]: Eight) -> Eight {
    [vaddq_s32(x_low, y_low), vaddq_s32(x_high, y_high)]
}
