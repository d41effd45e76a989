//! From sums to drives, and from drives to levels.

#![allow(unsafe_code)]

use core::arch::x86_64::*;

use sparsecode_formats::{CODE_LIMIT, LANES, Rescales};

use super::lanes::{from_array, to_array};
use crate::kernels::compact::to_front;
use crate::kernels::integer::entry::Entry;
use crate::kernels::integer::portable;
use crate::kernels::integer::rounding::{GradientStep, High, Threshold};
use crate::kernels::level::{Avx2, Avx512Vnni};

/// See [`rescale`](crate::kernels::integer::rescale). `false` if nothing was done.
pub(crate) fn rescale(by: &Rescales<'_>, bias: &[i32], sums: &[i32], output: &mut [i32]) -> bool {
    if Avx512Vnni::new().is_some() {
        // SAFETY: the token.
        unsafe { rescale_avx512(by, bias, sums, output) };
    } else if Avx2::new().is_some() {
        // SAFETY: the token.
        unsafe { rescale_avx2(by, bias, sums, output) };
    } else {
        return false;
    }
    true
}

/// The compiler vectorises the plain loop well, and with AVX-512 has a shift for it.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn rescale_avx512(by: &Rescales<'_>, bias: &[i32], sums: &[i32], output: &mut [i32]) {
    portable::rescale(by, bias, sums, output);
}

#[target_feature(enable = "avx2")]
fn rescale_avx2(by: &Rescales<'_>, bias: &[i32], sums: &[i32], output: &mut [i32]) {
    portable::rescale(by, bias, sums, output);
}

/// [`High`] for eight sums.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn rescale_eight(sums: __m256i, multipliers: __m256i, high: High) -> __m256i {
    let even = _mm256_mul_epi32(sums, multipliers);
    let odd = _mm256_mul_epi32(
        _mm256_srli_epi64::<32>(sums),
        _mm256_srli_epi64::<32>(multipliers),
    );
    // The upper halves of both.
    let upper = _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd);
    let half = _mm256_set1_epi32(high.half);
    shift_right(_mm256_add_epi32(upper, half), high.shift)
}

#[inline]
#[target_feature(enable = "avx2")]
fn shift_right(lanes: __m256i, by: u32) -> __m256i {
    _mm256_sra_epi32(lanes, _mm_cvtsi32_si128(by.cast_signed()))
}

/// The difference, cut to 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn saturating_sub(x: __m256i, y: __m256i) -> __m256i {
    let difference = _mm256_sub_epi32(x, y);
    // The sign is wrong if those of `x` and `y` differ, and it is not that of `x`.
    let overflow = _mm256_and_si256(_mm256_xor_si256(x, y), _mm256_xor_si256(x, difference));
    cut(difference, x, overflow)
}

/// The sum, cut to 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn saturating_add(x: __m256i, y: __m256i) -> __m256i {
    let sum = _mm256_add_epi32(x, y);
    let overflow = _mm256_andnot_si256(_mm256_xor_si256(x, y), _mm256_xor_si256(x, sum));
    cut(sum, x, overflow)
}

/// `value`, or, where the sign of `overflow` is set, the limit of the sign of `x`.
#[inline]
#[target_feature(enable = "avx2")]
fn cut(value: __m256i, x: __m256i, overflow: __m256i) -> __m256i {
    let limit = _mm256_xor_si256(_mm256_srai_epi32::<31>(x), _mm256_set1_epi32(i32::MAX));
    _mm256_castps_si256(_mm256_blendv_ps(
        _mm256_castsi256_ps(value),
        _mm256_castsi256_ps(limit),
        _mm256_castsi256_ps(overflow),
    ))
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
    #[target_feature(enable = "avx2,popcnt")]
    pub(super) fn push_eight(&mut self, first: usize, drive: __m256i) {
        let Threshold { half, fraction } = self.threshold;
        // Above 0.
        let below = _mm256_set1_epi32(self.threshold.least().wrapping_sub(1));
        let active = _mm256_cmpgt_epi32(drive, below);
        let most = _mm256_set1_epi32(i32::MAX.wrapping_sub(half));
        let rounded = _mm256_add_epi32(_mm256_min_epi32(drive, most), _mm256_set1_epi32(half));
        let level = _mm256_min_epi32(
            shift_right(rounded, fraction),
            _mm256_set1_epi32(CODE_LIMIT),
        );
        let index = _mm256_add_epi32(
            _mm256_set1_epi32(first as i32),
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
        );
        // As `Entry::new::<i8>` has it.
        let entries = _mm256_or_si256(_mm256_slli_epi32::<19>(index), level);
        let set = _mm256_movemask_ps(_mm256_castsi256_ps(active)) as usize & 0xff;
        let entries = _mm256_permutevar8x32_epi32(entries, to_front(set));
        let end = self.count.wrapping_add(set.count_ones() as usize);
        let free = self.list.get_mut(self.count..).unwrap_or_default();
        if let Some(eight) = free.first_chunk_mut::<LANES>() {
            // SAFETY: eight entries, which are numbers of 32 bits; those after the active ones are
            // free.
            unsafe { _mm256_storeu_si256(eight.as_mut_ptr().cast(), entries) };
        } else {
            for (entry, new) in free.iter_mut().zip(to_array(entries)) {
                *entry = Entry(new.cast_unsigned());
            }
        }
        self.count = end.min(self.list.len());
    }

    /// The same for 16.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,popcnt")]
    pub(super) fn push_sixteen(&mut self, first: usize, drive: __m512i) {
        let Threshold { half, fraction } = self.threshold;
        let active = _mm512_cmpge_epi32_mask(drive, _mm512_set1_epi32(self.threshold.least()));
        let most = _mm512_set1_epi32(i32::MAX.wrapping_sub(half));
        let rounded = _mm512_add_epi32(_mm512_min_epi32(drive, most), _mm512_set1_epi32(half));
        let level = _mm512_min_epi32(
            _mm512_sra_epi32(rounded, _mm_cvtsi32_si128(fraction.cast_signed())),
            _mm512_set1_epi32(CODE_LIMIT),
        );
        let index = _mm512_add_epi32(
            _mm512_set1_epi32(first as i32),
            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        );
        // As `Entry::new::<i8>` has it.
        let entries = _mm512_or_si512(_mm512_slli_epi32::<19>(index), level);
        let entries = _mm512_maskz_compress_epi32(active, entries);
        let count = active.count_ones() as usize;
        let free = self.list.get_mut(self.count..).unwrap_or_default();
        let count = count.min(free.len());
        let places = (1_u32 << free.len().min(16)).wrapping_sub(1) as __mmask16;
        // SAFETY: entries are numbers of 32 bits; those after the active ones are free, and what is
        // not there is not written.
        unsafe { _mm512_mask_storeu_epi32(free.as_mut_ptr().cast(), places, entries) };
        self.count = self.count.wrapping_add(count);
    }

    /// The same for fewer than eight.
    pub(super) fn push_rest(&mut self, first: usize, drives: impl Iterator<Item = i32>) {
        for (index, drive) in (first..).zip(drives) {
            if let Some(level) = self.threshold.level(drive)
                && let Some(entry) = self.list.get_mut(self.count)
            {
                *entry = Entry::new::<i8>(index, level);
                self.count = self.count.wrapping_add(1);
            }
        }
    }
}

/// See [`list_levels`](crate::kernels::integer::list_levels).
pub(crate) fn list_levels(drive: &[i32], threshold: Threshold, list: &mut [Entry]) -> Option<u16> {
    let _ = Avx2::new()?;
    let mut levels = Levels {
        list,
        count: 0,
        threshold,
    };
    let (sixteens, rest) = match Avx512Vnni::new() {
        Some(_) => drive.as_chunks(),
        None => (&[][..], drive),
    };
    // SAFETY: the tokens.
    unsafe {
        if !sixteens.is_empty() {
            list_levels_avx512(sixteens, &mut levels);
        }
        if !rest.is_empty() {
            list_levels_avx2(sixteens.len().wrapping_mul(16), rest, &mut levels);
        }
    }
    Some(levels.count as u16)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,popcnt")]
fn list_levels_avx512(drive: &[[i32; 16]], levels: &mut Levels<'_>) {
    let mut first = 0_usize;
    for sixteen in drive {
        // SAFETY: 16 numbers of 32 bits.
        let drive = unsafe { _mm512_loadu_si512(sixteen.as_ptr().cast()) };
        levels.push_sixteen(first, drive);
        first = first.wrapping_add(16);
    }
}

/// `drive` of the components from `first` on.
#[target_feature(enable = "avx2,popcnt")]
fn list_levels_avx2(mut first: usize, drive: &[i32], levels: &mut Levels<'_>) {
    let (eights, rest) = drive.as_chunks::<LANES>();
    for eight in eights {
        levels.push_eight(first, from_array(eight));
        first = first.wrapping_add(LANES);
    }
    levels.push_rest(first, rest.iter().copied());
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
    if Avx2::new().is_none() {
        return false;
    }
    // SAFETY: the token.
    unsafe { gradient_steps_avx2(step, least, code, terms, previous, each) };
    true
}

#[target_feature(enable = "avx2,popcnt")]
fn gradient_steps_avx2(
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
    let point = _mm_cvtsi32_si128(step.point.cast_signed());
    let momentum = _mm256_set1_epi32(step.momentum);
    let least_lanes = _mm256_set1_epi32(least);
    let mut first = 0_usize;
    let eights = codes
        .iter_mut()
        .zip(products)
        .zip(correlations)
        .zip(befores);
    for (((code, product), correlation), before) in eights {
        // SAFETY: eight numbers of 16 bits.
        let levels = unsafe { _mm256_cvtepi16_epi32(_mm_loadu_si128(code.as_ptr().cast())) };
        let gradient_step = saturating_sub(
            _mm256_add_epi32(_mm256_sll_epi32(levels, point), from_array(correlation)),
            shift_right(from_array(product), step.finer),
        );
        let change = saturating_sub(gradient_step, from_array(before));
        *before = to_array(gradient_step);
        let even = _mm256_mul_epi32(change, momentum);
        let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(change), momentum);
        let upper = _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd);
        let next = saturating_add(gradient_step, _mm256_slli_epi32::<1>(upper));
        // Neither 0 that stays 0.
        let idle = _mm256_and_si256(
            _mm256_cmpeq_epi32(levels, _mm256_setzero_si256()),
            _mm256_cmpgt_epi32(least_lanes, next),
        );
        let mut busy = !_mm256_movemask_ps(_mm256_castsi256_ps(idle)) & 0xff;
        if busy != 0 {
            let next = to_array(next);
            while busy != 0 {
                let lane = busy.trailing_zeros() as usize;
                busy &= busy.wrapping_sub(1);
                if let (Some(next), Some(z)) = (next.get(lane), code.get_mut(lane)) {
                    each(first.wrapping_add(lane), *next, z);
                }
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
