//! Products with the entries of a sparse vector, and what is done to their sums at once.

#![allow(unsafe_code)]

use core::arch::x86_64::*;

use sparsecode_formats::{Blocks, LANES, Packed, Rescale, Rescales};

use super::elementwise::{Levels, rescale_eight};
use super::lanes::{from_array, to_array};
use crate::kernels::integer::entry::Entry;
use crate::kernels::integer::rounding::{High, Threshold};
use crate::kernels::level::{Avx2, Avx512Vnni};

/// Rows of eight numbers as the sparse products read them.
trait Row: Copy {
    /// Eight numbers of each of two rows, those of a column side by side in 16 bits.
    ///
    /// # Safety
    ///
    /// The processor has AVX2, and there are eight numbers in both rows.
    unsafe fn load_two(a: *const Self, b: *const Self) -> __m256i;
}

impl Row for i8 {
    #[inline(always)]
    unsafe fn load_two(a: *const Self, b: *const Self) -> __m256i {
        // SAFETY: what is asked of the caller.
        unsafe {
            let columns = _mm_unpacklo_epi8(_mm_loadl_epi64(a.cast()), _mm_loadl_epi64(b.cast()));
            _mm256_cvtepi8_epi16(columns)
        }
    }
}

impl Row for i16 {
    #[inline(always)]
    unsafe fn load_two(a: *const Self, b: *const Self) -> __m256i {
        // SAFETY: what is asked of the caller.
        unsafe {
            let a = _mm256_broadcastsi128_si256(_mm_loadu_si128(a.cast()));
            let b = _mm256_broadcastsi128_si256(_mm_loadu_si128(b.cast()));
            let (low, high) = (_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b));
            _mm256_blend_epi32::<0b1111_0000>(low, high)
        }
    }
}

/// Whether every entry's row lies within each block of a matrix.
#[target_feature(enable = "avx2")]
fn lie_within<T: Packed>(entries: &[Entry], matrix: &Blocks<'_, T>) -> bool {
    let row = const { LANES * size_of::<T>() };
    let length = matrix.rows().wrapping_mul(row);
    let most = entries.iter().map(|entry| entry.offset()).max();
    most.is_none_or(|most| most.wrapping_add(row) <= length)
}

/// Says that the processor has AVX2, and that every entry's row lies within each block of the
/// matrix.
#[inline]
fn available<T: Packed>(entries: &[Entry], matrix: &Blocks<'_, T>) -> Option<Avx2> {
    // SAFETY: the token.
    Avx2::new().filter(|_| unsafe { lie_within(entries, matrix) })
}

/// `Σ_k value_k · row_k` of `N` adjacent blocks.
///
/// # Safety
///
/// The processor has AVX2. `block`: the first of `N` blocks, `stride` numbers from one to the next,
/// that hold the rows of all entries.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_blocks<T: Row, const N: usize>(
    block: *const T,
    stride: usize,
    entries: &[Entry],
) -> [__m256i; N] {
    let mut sums = [_mm256_setzero_si256(); N];
    let mut add = |a: Entry, b: Entry, values: u32| {
        let values = _mm256_set1_epi32(values.cast_signed());
        // SAFETY: the rows of all entries lie within each of the blocks.
        unsafe {
            let mut rows = (block.byte_add(a.offset()), block.byte_add(b.offset()));
            for sum in &mut sums {
                let weights = T::load_two(rows.0, rows.1);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(weights, values));
                rows = (rows.0.wrapping_add(stride), rows.1.wrapping_add(stride));
            }
        }
    };
    let (twos, last) = entries.as_chunks::<2>();
    for &[a, b] in twos {
        add(a, b, a.0 & 0xffff | b.0 << 16);
    }
    for &entry in last {
        add(entry, entry, entry.0 & 0xffff);
    }
    sums
}

/// Calls `$each(b, sums)` for the blocks of `$matrix` from number `$first` on, eight at a time and
/// then one by one.
macro_rules! for_blocks {
    ($first:expr, $matrix:expr, $entries:expr, |$index:ident, $sums:ident| $each:expr) => {{
        let matrix = $matrix;
        let stride = matrix.rows().wrapping_mul(LANES);
        let count = matrix.count();
        let mut first: usize = $first;
        let mut block = matrix
            .values()
            .as_ptr()
            .wrapping_add(first.wrapping_mul(stride));
        while first.wrapping_add(8) <= count {
            // SAFETY: AVX2 is there in a function that has it enabled; the caller held the entries
            // to the matrix.
            let eight = unsafe { add_blocks::<_, 8>(block, stride, $entries) };
            for (lane, $sums) in eight.into_iter().enumerate() {
                let $index = first.wrapping_add(lane);
                $each;
            }
            block = block.wrapping_add(stride.wrapping_mul(8));
            first = first.wrapping_add(8);
        }
        while first < count {
            // SAFETY: as above.
            let [$sums] = unsafe { add_blocks::<_, 1>(block, stride, $entries) };
            let $index = first;
            $each;
            block = block.wrapping_add(stride);
            first = first.wrapping_add(1);
        }
    }};
}

/// See [`add_rows`](crate::kernels::integer::add_rows). `false` if nothing was done.
pub(crate) fn add_rows(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    each: &mut dyn FnMut(usize, &[i32; LANES]),
) -> bool {
    let Some(_) = available(entries, matrix) else {
        return false;
    };
    // SAFETY: the token, and the entries were held to the matrix.
    unsafe { add_rows_avx2(matrix, entries, each) };
    true
}

/// # Safety
///
/// The processor has AVX2; the rows of all entries lie within the matrix.
#[target_feature(enable = "avx2")]
unsafe fn add_rows_avx2(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    each: &mut dyn FnMut(usize, &[i32; LANES]),
) {
    for_blocks!(0, matrix, entries, |index, sums| each(
        index,
        &to_array(sums)
    ));
}

/// See [`add_wide_rows`](crate::kernels::integer::add_wide_rows). `false` if nothing was done.
pub(crate) fn add_wide_rows(matrix: &Blocks<'_, i16>, entries: &[Entry], sums: &mut [i32]) -> bool {
    let Some(_) = available(entries, matrix) else {
        return false;
    };
    // SAFETY: the token, and the entries were held to the matrix.
    unsafe { add_wide_rows_avx2(matrix, entries, sums) };
    true
}

/// # Safety
///
/// The processor has AVX2; the rows of all entries lie within the matrix.
#[target_feature(enable = "avx2")]
unsafe fn add_wide_rows_avx2(matrix: &Blocks<'_, i16>, entries: &[Entry], sums: &mut [i32]) {
    let (eights, rest) = sums.as_chunks_mut::<LANES>();
    for_blocks!(0, matrix, entries, |index, more| {
        if let Some(eight) = eights.get_mut(index) {
            *eight = to_array(_mm256_add_epi32(from_array(eight), more));
        } else {
            for (sum, more) in rest.iter_mut().zip(to_array(more)) {
                *sum = sum.wrapping_add(more);
            }
        }
    });
}

/// See [`list_next_levels`](crate::kernels::integer::list_next_levels).
pub(crate) fn list_next_levels(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: &Rescales<'_>,
    drive: &[i32],
    threshold: Threshold,
    list: &mut [Entry],
) -> Option<u16> {
    let _ = available(entries, matrix)?;
    let mut levels = Levels {
        list,
        count: 0,
        threshold,
    };
    // SAFETY: the tokens, and the entries were held to the matrix.
    unsafe {
        let done = match Avx512Vnni::new() {
            Some(_) => list_next_levels_avx512(matrix, entries, by, drive, &mut levels),
            None => 0,
        };
        if done < matrix.count() {
            list_next_levels_avx2(done, matrix, entries, by, drive, &mut levels);
        }
    }
    Some(levels.count as u16)
}

/// Sixteen blocks at a time; returns the first that is not done.
///
/// # Safety
///
/// The processor has the instructions; the rows of all entries lie within the matrix.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,popcnt")]
unsafe fn list_next_levels_avx512(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: &Rescales<'_>,
    drive: &[i32],
    levels: &mut Levels<'_>,
) -> usize {
    const BLOCKS: usize = 16;
    let high = High::new(by.shift);
    let half = _mm512_set1_epi32(high.half);
    let shift = _mm_cvtsi32_si128(high.shift.cast_signed());
    let stride = matrix.rows().wrapping_mul(LANES);
    let groups = matrix
        .values()
        .chunks_exact(stride.wrapping_mul(BLOCKS).max(1));
    let drives = drive.as_chunks::<{ BLOCKS * LANES }>().0;
    let multipliers = by.multipliers.as_chunks::<{ BLOCKS * LANES }>().0;
    let mut first = 0_usize;
    for (blocks, (drive, by)) in groups.zip(drives.iter().zip(multipliers)) {
        // SAFETY: as many blocks, which the caller held the entries to.
        let sums = unsafe { add_blocks::<_, BLOCKS>(blocks.as_ptr(), stride, entries) };
        let terms = drive.as_chunks::<16>().0.iter().zip(by.as_chunks::<16>().0);
        for ([a, b], (drive, by)) in sums.as_chunks::<2>().0.iter().zip(terms) {
            let sums = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(*a), *b);
            // SAFETY: 16 numbers of 32 bits.
            let (drive, by) = unsafe {
                (
                    _mm512_loadu_si512(drive.as_ptr().cast()),
                    _mm512_loadu_si512(by.as_ptr().cast()),
                )
            };
            let even = _mm512_mul_epi32(sums, by);
            let odd = _mm512_mul_epi32(_mm512_srli_epi64::<32>(sums), _mm512_srli_epi64::<32>(by));
            // The upper halves of both.
            let upper = _mm512_mask_mov_epi32(_mm512_srli_epi64::<32>(even), 0xaaaa, odd);
            let rescaled = _mm512_sra_epi32(_mm512_add_epi32(upper, half), shift);
            levels.push_sixteen(first, _mm512_add_epi32(drive, rescaled));
            first = first.wrapping_add(16);
        }
    }
    first.checked_div(LANES).unwrap_or(0)
}

/// The blocks from `first` on.
///
/// # Safety
///
/// The processor has AVX2; the rows of all entries lie within the matrix.
#[target_feature(enable = "avx2,popcnt")]
unsafe fn list_next_levels_avx2(
    first: usize,
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: &Rescales<'_>,
    drive: &[i32],
    levels: &mut Levels<'_>,
) {
    let high = High::new(by.shift);
    let (eights, rest) = drive.as_chunks::<LANES>();
    let (multipliers, multipliers_rest) = by.multipliers.as_chunks::<LANES>();
    for_blocks!(first, matrix, entries, |index, sums| {
        let first = index.wrapping_mul(LANES);
        if let (Some(drive), Some(by)) = (eights.get(index), multipliers.get(index)) {
            let rescaled = rescale_eight(sums, from_array(by), high);
            levels.push_eight(first, _mm256_add_epi32(from_array(drive), rescaled));
        } else {
            let terms = to_array(sums).into_iter().zip(multipliers_rest).zip(rest);
            let drives = terms.map(|((sum, by), u)| u.wrapping_add(high.apply(sum, *by)));
            levels.push_rest(first, drives);
        }
    });
}

/// See [`add_rescaled_rows`](crate::kernels::integer::add_rescaled_rows).
pub(crate) fn add_rescaled_rows(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: Rescale,
    offset: i16,
    output: &mut [i16],
) -> bool {
    let Some(_) = available(entries, matrix) else {
        return false;
    };
    // SAFETY: the token, and the entries were held to the matrix.
    unsafe { add_rescaled_rows_avx2(matrix, entries, by, offset, output) };
    true
}

/// # Safety
///
/// The processor has AVX2; the rows of all entries lie within the matrix.
#[target_feature(enable = "avx2")]
unsafe fn add_rescaled_rows_avx2(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: Rescale,
    offset: i16,
    output: &mut [i16],
) {
    let high = High::new(by.shift);
    let multiplier = _mm256_set1_epi32(by.multiplier);
    let offset = _mm256_set1_epi32(offset.into());
    let (eights, rest) = output.as_chunks_mut::<LANES>();
    for_blocks!(0, matrix, entries, |index, sums| {
        let levels = _mm256_add_epi32(rescale_eight(sums, multiplier, high), offset);
        let levels = _mm_packs_epi32(
            _mm256_castsi256_si128(levels),
            _mm256_extracti128_si256::<1>(levels),
        );
        let mut last = [0; LANES];
        let eight = eights.get_mut(index);
        let apart = eight.is_none();
        let to = eight.unwrap_or(&mut last);
        // SAFETY: eight numbers of 16 bits.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), levels) };
        if apart {
            for (to, level) in rest.iter_mut().zip(last) {
                *to = level;
            }
        }
    });
}
