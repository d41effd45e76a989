//! Between arrays and registers.

#![allow(unsafe_code)]

use core::arch::x86_64::*;

use sparsecode_formats::LANES;

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn to_array(lanes: __m256i) -> [i32; LANES] {
    let mut array = [0; LANES];
    // SAFETY: eight numbers of 32 bits.
    unsafe { _mm256_storeu_si256(array.as_mut_ptr().cast(), lanes) };
    array
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn from_array(array: &[i32; LANES]) -> __m256i {
    // SAFETY: eight numbers of 32 bits.
    unsafe { _mm256_loadu_si256(array.as_ptr().cast()) }
}
