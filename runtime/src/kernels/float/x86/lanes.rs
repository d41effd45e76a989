//! How weights come into registers.

#![allow(unsafe_code)]

use core::arch::x86_64::*;

use crate::kernels::float::portable::Weight;

/// Lanes of a register, from one to before another.
#[derive(Clone, Copy)]
pub(crate) struct Lanes {
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Lanes {
    /// -1 in these lanes, 0 in the others.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn mask(self) -> __m256i {
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let before = _mm256_cmpgt_epi32(_mm256_set1_epi32(self.from as i32), lane);
        let within = _mm256_cmpgt_epi32(_mm256_set1_epi32(self.to as i32), lane);
        _mm256_andnot_si256(before, within)
    }
}

/// Weights that can be read eight at a time.
pub(crate) trait Eight: Weight {
    /// Eight weights, without their scale.
    ///
    /// # Safety
    ///
    /// The processor has AVX2, and there are eight weights.
    unsafe fn load(weights: *const Self) -> __m256;

    /// The weights in some lanes of eight, and 0 in the others.
    ///
    /// # Safety
    ///
    /// The processor has AVX2, and the weights of these lanes are there.
    unsafe fn load_some(weights: *const Self, lanes: Lanes) -> __m256;

    /// Sixteen weights, of which those that the mask leaves out are 0 and not read, without their
    /// scale.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512, and the weights that the mask sets are there.
    #[cfg(feature = "std")]
    unsafe fn load_wide(weights: *const Self, mask: __mmask16) -> __m512;

    /// How many weights `rows` lies behind a boundary of 32 bytes, if that is worth knowing: every
    /// second load from two lines of the cache costs a third of the time of a product.
    fn phase(rows: *const Self, columns: usize) -> usize;
}

impl Eight for f32 {
    #[inline(always)]
    unsafe fn load(weights: *const Self) -> __m256 {
        // SAFETY: what is asked of the caller.
        unsafe { _mm256_loadu_ps(weights) }
    }

    #[inline(always)]
    unsafe fn load_some(weights: *const Self, lanes: Lanes) -> __m256 {
        // SAFETY: what is asked of the caller; the others are not read.
        unsafe { _mm256_maskload_ps(weights, lanes.mask()) }
    }

    #[cfg(feature = "std")]
    #[inline(always)]
    unsafe fn load_wide(weights: *const Self, mask: __mmask16) -> __m512 {
        // SAFETY: what is asked of the caller.
        unsafe { _mm512_maskz_loadu_ps(mask, weights) }
    }

    #[inline(always)]
    fn phase(rows: *const Self, columns: usize) -> usize {
        if columns.is_multiple_of(LANES) {
            (rows.addr() >> const { size_of::<Self>().trailing_zeros() }) % LANES
        } else {
            0
        }
    }
}

/// Conversion takes longer than the loads.
macro_rules! converted {
    ($type:ty, |$weights:ident| $eight:expr, |$wide:ident, $mask:ident| $sixteen:expr) => {
        impl Eight for $type {
            #[inline(always)]
            unsafe fn load($weights: *const Self) -> __m256 {
                // SAFETY: what is asked of the caller.
                unsafe { _mm256_cvtepi32_ps($eight) }
            }

            #[inline(always)]
            unsafe fn load_some(weights: *const Self, lanes: Lanes) -> __m256 {
                let mut eight = [0; LANES];
                for (lane, to) in eight.iter_mut().enumerate() {
                    if lanes.from <= lane && lane < lanes.to {
                        // SAFETY: what is asked of the caller.
                        *to = unsafe { weights.wrapping_add(lane).read() };
                    }
                }
                // SAFETY: eight weights.
                unsafe { Self::load(eight.as_ptr()) }
            }

            #[cfg(feature = "std")]
            #[inline(always)]
            unsafe fn load_wide($wide: *const Self, $mask: __mmask16) -> __m512 {
                // SAFETY: what is asked of the caller.
                unsafe { _mm512_cvtepi32_ps($sixteen) }
            }

            #[inline(always)]
            fn phase(_: *const Self, _: usize) -> usize {
                0
            }
        }
    };
}

converted!(
    i16,
    |weights| _mm256_cvtepi16_epi32(_mm_loadu_si128(weights.cast())),
    |weights, mask| _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(mask, weights))
);
converted!(
    i8,
    |weights| _mm256_cvtepi8_epi32(_mm_loadl_epi64(weights.cast())),
    |weights, mask| _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, weights))
);

/// Partial sums of a row, and rows at a time.
pub(super) const LANES: usize = 8;

/// Lanes of a wide register.
pub(super) const WIDE: usize = 2 * LANES;

/// The lowest lanes.
#[inline(always)]
pub(super) fn below(lane: usize) -> u32 {
    (1_u32 << lane).wrapping_sub(1)
}
