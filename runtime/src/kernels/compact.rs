//! Brings lanes of a register of AVX2 to the front.

#![allow(unsafe_code)]

use core::arch::x86_64::*;

/// Lanes of a register.
const LANES: usize = 8;

/// For each set of lanes the order that brings them to the front.
#[allow(clippy::indexing_slicing, reason = "when this crate is compiled")]
pub(crate) static TO_FRONT: [[u8; LANES]; 256] = {
    let mut table = [[0; LANES]; 256];
    let mut set = 0;
    while set < 256 {
        let (mut lane, mut count) = (0, 0);
        while lane < LANES {
            if set >> lane & 1 == 1 {
                table[set][count] = lane as u8;
                count += 1;
            }
            lane += 1;
        }
        set += 1;
    }
    table
};

/// The order of lanes that brings those of `set`, below 256, to the front.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn to_front(set: usize) -> __m256i {
    let order = TO_FRONT.get(set).unwrap_or(&[0; LANES]);
    // SAFETY: eight bytes.
    _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(order.as_ptr().cast()) })
}
