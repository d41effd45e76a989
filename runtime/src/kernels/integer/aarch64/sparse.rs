//! Products with the entries of a sparse vector, and what is done to their sums at once.

#![allow(unsafe_code)]

use core::arch::aarch64::*;

use sparsecode_formats::{Blocks, LANES, Packed, Rescale, Rescales};

use super::elementwise::{Levels, rescale_eight};
use super::lanes::{Eight, add, from_array, load, to_array};
use crate::kernels::integer::entry::{Entry, lie_within};
use crate::kernels::integer::rounding::{High, Threshold};
use crate::kernels::level::neon;

/// Rows of eight numbers as the sparse products read them.
trait Row: Packed {
    /// Eight numbers.
    ///
    /// # Safety
    ///
    /// The processor has NEON, and there are eight numbers.
    unsafe fn load(row: *const Self) -> int16x8_t;
}

impl Row for i8 {
    #[inline(always)]
    unsafe fn load(row: *const Self) -> int16x8_t {
        // SAFETY: what is asked of the caller.
        unsafe { vmovl_s8(vld1_s8(row)) }
    }
}

impl Row for i16 {
    #[inline(always)]
    unsafe fn load(row: *const Self) -> int16x8_t {
        // SAFETY: what is asked of the caller.
        unsafe { vld1q_s16(row) }
    }
}

/// `Σ_k value_k · row_k` of `N` adjacent blocks.
///
/// # Safety
///
/// `block`: the first of `N` blocks, `stride` numbers from one to the next, that hold the rows of
/// all entries.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add_blocks<T: Row, const N: usize>(
    block: *const T,
    stride: usize,
    entries: &[Entry],
) -> [Eight; N] {
    let mut sums = [[vdupq_n_s32(0); 2]; N];
    for entry in entries {
        let value = vdupq_n_s16(entry.value());
        // SAFETY: the rows of all entries lie within each of the blocks.
        unsafe {
            let mut row = block.byte_add(entry.offset());
            for [low, high] in &mut sums {
                let weights = T::load(row);
                *low = vmlal_s16(*low, vget_low_s16(weights), vget_low_s16(value));
                *high = vmlal_high_s16(*high, weights, value);
                row = row.wrapping_add(stride);
            }
        }
    }
    sums
}

/// Calls `each(b, Σ_k value_k · row_k of block b)` for all blocks, which are read eight at a time
/// and then one by one. `false`, and nothing is done, if entries do not lie within the matrix.
#[inline(always)]
fn for_blocks<T: Row>(
    matrix: &Blocks<'_, T>,
    entries: &[Entry],
    mut each: impl FnMut(usize, Eight),
) -> bool {
    if !(neon() && lie_within(entries, matrix)) {
        return false;
    }
    let stride = matrix.rows().wrapping_mul(LANES);
    let mut block = matrix.values().as_ptr();
    let mut first = 0_usize;
    while first.wrapping_add(8) <= matrix.count() {
        // SAFETY: the target has NEON; the entries were held to the matrix.
        let eight = unsafe { add_blocks::<T, 8>(block, stride, entries) };
        for (lane, sums) in eight.into_iter().enumerate() {
            each(first.wrapping_add(lane), sums);
        }
        block = block.wrapping_add(stride.wrapping_mul(8));
        first = first.wrapping_add(8);
    }
    while first < matrix.count() {
        // SAFETY: as above.
        let [sums] = unsafe { add_blocks::<T, 1>(block, stride, entries) };
        each(first, sums);
        block = block.wrapping_add(stride);
        first = first.wrapping_add(1);
    }
    true
}

/// See [`add_rows`](crate::kernels::integer::add_rows). `false` if nothing was done.
pub(crate) fn add_rows(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    each: &mut dyn FnMut(usize, &[i32; LANES]),
) -> bool {
    for_blocks(matrix, entries, |index, sums| {
        // SAFETY: the target has NEON.
        each(index, &unsafe { to_array(sums) });
    })
}

/// See [`add_wide_rows`](crate::kernels::integer::add_wide_rows). `false` if nothing was done.
pub(crate) fn add_wide_rows(matrix: &Blocks<'_, i16>, entries: &[Entry], sums: &mut [i32]) -> bool {
    let mut eights = sums.chunks_mut(LANES);
    for_blocks(matrix, entries, |_, more| {
        let eight = eights.next().unwrap_or_default();
        if let Some(eight) = eight.first_chunk_mut() {
            // SAFETY: the target has NEON.
            *eight = unsafe { to_array(add(from_array(eight), more)) };
        } else {
            // SAFETY: as above.
            for (sum, more) in eight.iter_mut().zip(unsafe { to_array(more) }) {
                *sum = sum.wrapping_add(more);
            }
        }
    })
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
    let mut levels = Levels {
        list,
        count: 0,
        threshold,
    };
    let high = High::new(by.shift);
    let done = for_blocks(matrix, entries, |index, sums| {
        let first = index.wrapping_mul(LANES);
        // SAFETY: the target has NEON.
        unsafe {
            let rescaled = rescale_eight(sums, load(by.multipliers, first, 0), high);
            levels.push_eight(first, add(load(drive, first, i32::MIN), rescaled));
        }
    });
    done.then_some(levels.count as u16)
}

/// See [`add_rescaled_rows`](crate::kernels::integer::add_rescaled_rows).
pub(crate) fn add_rescaled_rows(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: Rescale,
    offset: i16,
    output: &mut [i16],
) -> bool {
    let high = High::new(by.shift);
    let mut eights = output.chunks_mut(LANES);
    for_blocks(matrix, entries, |_, sums| {
        // SAFETY: the target has NEON.
        let levels = unsafe {
            let multiplier = [vdupq_n_s32(by.multiplier); 2];
            let offset = [vdupq_n_s32(offset.into()); 2];
            let [low, high] = add(rescale_eight(sums, multiplier, high), offset);
            let mut levels = [0; LANES];
            vst1q_s16(levels.as_mut_ptr(), vqmovn_high_s32(vqmovn_s32(low), high));
            levels
        };
        let eight = eights.next().unwrap_or_default();
        if let Some(eight) = eight.first_chunk_mut() {
            *eight = levels;
        } else {
            for (to, level) in eight.iter_mut().zip(levels) {
                *to = level;
            }
        }
    })
}
