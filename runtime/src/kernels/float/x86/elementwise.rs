//! From dense vectors to codes.

#![allow(unsafe_code)]

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::lanes::{LANES, WIDE, below};
use crate::kernels::compact::to_front;
use crate::kernels::level::{Avx2, Avx512Vnni};

/// Components that [`active`] takes at a time.
pub(crate) const PART: usize = 128;

/// The components of a part that are in its code.
pub(crate) struct Active {
    // Room for more: whole registers are stored.
    indices: [MaybeUninit<u16>; PART + WIDE],
    values: [MaybeUninit<f32>; PART + WIDE],
    /// How many of both are there.
    count: usize,
}

impl Active {
    pub(crate) const EMPTY: Self = Self {
        indices: [MaybeUninit::uninit(); PART + WIDE],
        values: [MaybeUninit::uninit(); PART + WIDE],
        count: 0,
    };

    pub(crate) fn indices(&self) -> &[u16] {
        let found = self.indices.get(..self.count).unwrap_or(&[]);
        // SAFETY: so many were written.
        unsafe { core::slice::from_raw_parts(found.as_ptr().cast(), found.len()) }
    }

    pub(crate) fn values(&self) -> &[f32] {
        let found = self.values.get(..self.count).unwrap_or(&[]);
        // SAFETY: so many were written.
        unsafe { core::slice::from_raw_parts(found.as_ptr().cast(), found.len()) }
    }
}

/// Finds the components of `dense`, at most [`PART`] of which the first is number `first`, that are
/// greater than 0, or, with `SIGNED`, not 0 and not NaN: without a branch for each. `false` if
/// nothing was done.
#[inline]
pub(crate) fn active<const SIGNED: bool>(dense: &[f32], first: u16, found: &mut Active) -> bool {
    if Avx512Vnni::new().is_some() {
        // SAFETY: the token.
        unsafe { active_avx512::<SIGNED>(dense, first, found) };
    } else if Avx2::new().is_some() {
        // SAFETY: the token.
        unsafe { active_avx2::<SIGNED>(dense, first, found) };
    } else {
        return false;
    }
    true
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,popcnt")]
fn active_avx512<const SIGNED: bool>(dense: &[f32], first: u16, found: &mut Active) {
    found.count = 0;
    let mut index = _mm512_add_epi32(
        _mm512_set1_epi32(first.into()),
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    );
    for some in dense.chunks(WIDE) {
        // SAFETY: as many numbers; others are 0.
        let values =
            unsafe { _mm512_maskz_loadu_ps(below(some.len()) as __mmask16, some.as_ptr()) };
        let zero = _mm512_setzero_ps();
        let active = if SIGNED {
            _mm512_cmp_ps_mask::<_CMP_NEQ_OQ>(values, zero)
        } else {
            _mm512_cmp_ps_mask::<_CMP_GT_OQ>(values, zero)
        };
        let free = (
            found.indices.get_mut(found.count..),
            found.values.get_mut(found.count..),
        );
        if let (Some(to_indices), Some(to_values)) = free
            && let Some(to_indices) = to_indices.first_chunk_mut::<WIDE>()
            && let Some(to_values) = to_values.first_chunk_mut::<WIDE>()
        {
            let indices = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(active, index));
            // SAFETY: 16 numbers of 16 bits, and 16 of 32.
            unsafe {
                _mm256_storeu_si256(to_indices.as_mut_ptr().cast(), indices);
                _mm512_storeu_ps(
                    to_values.as_mut_ptr().cast(),
                    _mm512_maskz_compress_ps(active, values),
                );
            }
            found.count = found.count.wrapping_add(active.count_ones() as usize);
        }
        index = _mm512_add_epi32(index, _mm512_set1_epi32(16));
    }
}

#[target_feature(enable = "avx2,popcnt")]
fn active_avx2<const SIGNED: bool>(dense: &[f32], first: u16, found: &mut Active) {
    found.count = 0;
    let (eights, rest) = dense.as_chunks::<LANES>();
    let mut index = _mm256_add_epi32(
        _mm256_set1_epi32(first.into()),
        _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
    );
    let mut last = [0.0; LANES];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    for eight in eights.iter().chain((!rest.is_empty()).then_some(&last)) {
        // SAFETY: eight numbers.
        let values = unsafe { _mm256_loadu_ps(eight.as_ptr()) };
        let zero = _mm256_setzero_ps();
        let active = if SIGNED {
            _mm256_cmp_ps::<_CMP_NEQ_OQ>(values, zero)
        } else {
            _mm256_cmp_ps::<_CMP_GT_OQ>(values, zero)
        };
        let set = _mm256_movemask_ps(active) as usize & 0xff;
        let order = to_front(set);
        let values = _mm256_permutevar8x32_ps(values, order);
        let indices = _mm256_permutevar8x32_epi32(index, order);
        let indices = _mm_packus_epi32(
            _mm256_castsi256_si128(indices),
            _mm256_extracti128_si256::<1>(indices),
        );
        let free = (
            found.indices.get_mut(found.count..),
            found.values.get_mut(found.count..),
        );
        if let (Some(to_indices), Some(to_values)) = free
            && let Some(to_indices) = to_indices.first_chunk_mut::<LANES>()
            && let Some(to_values) = to_values.first_chunk_mut::<LANES>()
        {
            // SAFETY: eight numbers of 16 bits, and eight of 32.
            unsafe {
                _mm_storeu_si128(to_indices.as_mut_ptr().cast(), indices);
                _mm256_storeu_ps(to_values.as_mut_ptr().cast(), values);
            }
            found.count = found.count.wrapping_add(set.count_ones() as usize);
        }
        index = _mm256_add_epi32(index, _mm256_set1_epi32(8));
    }
}
