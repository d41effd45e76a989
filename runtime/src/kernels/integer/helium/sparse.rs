//! Products with the entries of a sparse vector, and what is done to their sums at once. Sums of
//! columns stay in vectors.

#![allow(unsafe_code)]

use core::arch::naked_asm;

use sparsecode_formats::{Blocks, LANES, Rescale, Rescales};

use super::elementwise::{list_levels_mve, rescale_mve};
use crate::kernels::integer::entry::{Entry, lie_within};
use crate::kernels::integer::rounding::{High, Threshold};

/// See [`add_rows`](crate::kernels::integer::add_rows). `false` if the entries are nothing for the
/// matrix, and nothing was done.
#[inline(always)]
pub(crate) fn add_rows(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    each: &mut dyn FnMut(usize, &[i32; LANES]),
) -> bool {
    if !lie_within(entries, matrix) {
        return false;
    }
    let mut sums = [[0; LANES]; 2];
    for first in (0..matrix.count()).step_by(2) {
        // SAFETY: the entries lie in every block.
        unsafe { add_two(matrix, first, entries, &mut sums) };
        each(first, &sums[0]);
        if first.wrapping_add(1) < matrix.count() {
            each(first.wrapping_add(1), &sums[1]);
        }
    }
    true
}

/// The sums of a block and of the next; of the last one twice.
///
/// # Safety
///
/// Every entry's row lies within each block of the matrix.
#[inline(always)]
unsafe fn add_two(
    matrix: &Blocks<'_, i8>,
    first: usize,
    entries: &[Entry],
    sums: &mut [[i32; LANES]; 2],
) {
    let block = matrix.block(first).as_ptr();
    let next = next_block(matrix, first);
    // SAFETY: what is asked of the caller; the second is there or is the first.
    unsafe {
        add_rows_mve(
            block,
            entries.as_ptr(),
            entries.len(),
            next,
            sums.as_mut_ptr().cast(),
            1,
        )
    };
}

/// Bytes from a block to the next, or to itself if it is the last.
#[inline(always)]
fn next_block(matrix: &Blocks<'_, i8>, block: usize) -> usize {
    if block.wrapping_add(1) < matrix.count() {
        matrix.rows().wrapping_mul(LANES)
    } else {
        0
    }
}

/// See [`list_next_levels`](crate::kernels::integer::list_next_levels). Sums and drives lie where
/// the list comes to lie, which is never behind them.
#[inline(always)]
pub(crate) fn list_next_levels(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: &Rescales<'_>,
    drive: &[i32],
    threshold: Threshold,
    list: &mut [Entry],
) -> Option<u16> {
    let count = drive.len();
    let whole = matrix.cols() == count && count.is_multiple_of(LANES);
    let fits = whole && count <= list.len() && count <= by.multipliers.len();
    if !(fits && lie_within(entries, matrix)) {
        return None;
    }
    let stride = matrix.rows().wrapping_mul(LANES);
    let (from, active) = (entries.as_ptr(), entries.len());
    let mut to_drives = ToDrives {
        multipliers: by.multipliers.as_ptr(),
        shift: High::new(by.shift).shift,
        drive: drive.as_ptr(),
    };
    let sums = list.as_mut_ptr().cast::<i32>();
    let pairs = matrix.count() >> 1;
    let blocks = matrix.values().as_ptr();
    // SAFETY: the entries lie in every block, and for each there are eight multipliers, drives, and
    // places on the list.
    unsafe { add_rows_to_drives_mve(blocks, from, active, stride, sums, pairs, &mut to_drives) };
    if !matrix.count().is_multiple_of(2) {
        let mut last = [[0; LANES]; 2];
        let block = pairs.wrapping_mul(2);
        // SAFETY: of the last block; its eight places are the last of the list's `count`.
        unsafe {
            add_two(matrix, block, entries, &mut last);
            let to = sums.wrapping_add(block.wrapping_mul(LANES));
            let ToDrives {
                multipliers,
                shift,
                drive,
            } = to_drives;
            rescale_mve(last[0].as_ptr(), multipliers, drive, to, LANES, 0, shift);
        }
    }
    // SAFETY: the list is `count` long. An entry is written when the four numbers at its place have
    // been read, or those behind it.
    Some(unsafe {
        list_levels_mve(
            sums,
            count,
            threshold.fraction,
            threshold.least(),
            list.as_mut_ptr(),
        )
    } as u16)
}

/// See [`add_rescaled_rows`](crate::kernels::integer::add_rescaled_rows).
#[inline(always)]
pub(crate) fn add_rescaled_rows(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: Rescale,
    offset: i16,
    output: &mut [i16],
) -> bool {
    if !(lie_within(entries, matrix) && matrix.cols() == output.len()) {
        return false;
    }
    let to_level = ToLevel {
        multiplier: by.multiplier,
        shift: High::new(by.shift).shift,
        offset: offset.into(),
    };
    let stride = matrix.rows().wrapping_mul(LANES);
    let (from, count) = (entries.as_ptr(), entries.len());
    let (pairs, rest) = output.as_chunks_mut::<{ 2 * LANES }>();
    let blocks = matrix.values().as_ptr();
    // SAFETY: the entries lie in every block, of which there are two for each pair of eights.
    unsafe {
        add_rescaled_rows_mve(
            blocks,
            from,
            count,
            stride,
            pairs.as_mut_ptr(),
            pairs.len(),
            &to_level,
        )
    };
    if !rest.is_empty() {
        let mut last = [0; 2 * LANES];
        let first = pairs.len().wrapping_mul(2);
        let (block, next) = (matrix.block(first).as_ptr(), next_block(matrix, first));
        // SAFETY: of one block or two that are left; the second is there or is the first.
        unsafe { add_rescaled_rows_mve(block, from, count, next, &mut last, 1, &to_level) };
        for (to, level) in rest.iter_mut().zip(last) {
            *to = level;
        }
    }
    true
}

/// What the encoder does to sums.
#[repr(C)]
struct ToDrives {
    /// Next of the multipliers.
    multipliers: *const i32,
    /// Of the upper half of the product.
    shift: u32,
    /// Next of what is added.
    drive: *const i32,
}

/// What the decoder does to a sum.
#[repr(C)]
struct ToLevel {
    multiplier: i32,
    /// Of the upper half of the product.
    shift: u32,
    offset: i32,
}

/// See [`add_wide_rows`](crate::kernels::integer::add_wide_rows). `false` if the entries are
/// nothing for the matrix, and nothing was done.
#[inline(always)]
pub(crate) fn add_wide_rows(matrix: &Blocks<'_, i16>, entries: &[Entry], sums: &mut [i32]) -> bool {
    let whole = sums.len() == matrix.count().wrapping_mul(LANES);
    if !(lie_within(entries, matrix) && whole) {
        return false;
    }
    for (block, sums) in matrix.blocks().zip(sums.as_chunks_mut::<LANES>().0) {
        // SAFETY: blocks are as long as the entries were held to.
        unsafe { add_wide_rows_mve(block.as_ptr(), entries.as_ptr(), entries.len(), sums) };
    }
    true
}

/// See [`add_wide_row`](crate::kernels::integer::add_wide_row). `false` if the row or the sums are
/// nothing for the matrix, and nothing was done.
#[inline(always)]
pub(crate) fn add_wide_row(
    matrix: &Blocks<'_, i16>,
    k: usize,
    value: i16,
    sums: &mut [i32],
) -> bool {
    let whole = sums.len() == matrix.count().wrapping_mul(LANES);
    if !(k < matrix.rows() && whole) {
        return false;
    }
    let row = matrix.values().as_ptr().wrapping_add(k.wrapping_mul(LANES));
    let stride = matrix
        .rows()
        .wrapping_mul(const { LANES * size_of::<i16>() });
    // SAFETY: every block has a row `k`, and `sums` has eight numbers for each.
    unsafe { add_wide_row_mve(row, stride, matrix.count(), value.into(), sums.as_mut_ptr()) };
    true
}

/// The sums of 16 columns in `q0` to `q3`: 13 instructions for 16 multiply-adds. The row of every
/// entry within the block at `r0`, and again `r3` bytes further on.
macro_rules! sums_of_two {
    () => {
        concat!(
            "vmov.i32 q0, #0\n",
            "vmov.i32 q1, #0\n",
            "vmov.i32 q2, #0\n",
            "vmov.i32 q3, #0\n",
            "mov r6, r1\n",
            "wls lr, r2, 3f\n",
            "2:\n",
            "ldr r4, [r6], #4\n",
            "add r5, r0, r4, lsr #16\n",
            "sxth r4, r4\n",
            "vldrb.s32 q4, [r5]\n",
            "vmla.s32 q0, q4, r4\n",
            "vldrb.s32 q4, [r5, #4]\n",
            "vmla.s32 q1, q4, r4\n",
            "add r5, r5, r3\n",
            "vldrb.s32 q4, [r5]\n",
            "vmla.s32 q2, q4, r4\n",
            "vldrb.s32 q4, [r5, #4]\n",
            "vmla.s32 q3, q4, r4\n",
            "le lr, 2b\n",
            "3:\n",
        )
    };
}

/// Writes the sums of `pairs` times two blocks, which is not 0.
///
/// # Safety
///
/// The row of every one of `count` entries within `block`, and again `stride` bytes further on, and
/// again for every pair; `sums`: 16 numbers for each pair.
#[unsafe(naked)]
unsafe extern "C" fn add_rows_mve(
    block: *const i8,
    entries: *const Entry,
    count: usize,
    stride: usize,
    sums: *mut i32,
    pairs: usize,
) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4, r5, r6, r7, r8, lr}}",
        "vpush {{d8-d9}}",
        "ldrd r7, r8, [sp, #40]",
        "cmp r8, #0",
        "beq 9f",
        "1:",
        sums_of_two!(),
        "vstrw.32 q0, [r7], #16",
        "vstrw.32 q1, [r7], #16",
        "vstrw.32 q2, [r7], #16",
        "vstrw.32 q3, [r7], #16",
        "add r0, r0, r3, lsl #1",
        "subs r8, #1",
        "bne 1b",
        "9:",
        "vpop {{d8-d9}}",
        "pop {{r4, r5, r6, r7, r8, pc}}",
    )
}

/// From four sums to four drives, written.
macro_rules! to_drives {
    ($sums:literal) => {
        concat!(
            "vldrw.u32 q4, [r10], #16\n",
            concat!("vmulh.s32 ", $sums, ", ", $sums, ", q4\n"),
            "vldrw.u32 q4, [r12], #16\n",
            concat!("vrshl.s32 ", $sums, ", r9\n"),
            concat!("vadd.i32 ", $sums, ", ", $sums, ", q4\n"),
            concat!("vstrw.32 ", $sums, ", [r7], #16\n"),
        )
    };
}

/// Writes the drives of `pairs` times two blocks, and moves on in multipliers and drives.
///
/// # Safety
///
/// As of [`add_rows_mve`], with multipliers and drives for each pair.
#[unsafe(naked)]
unsafe extern "C" fn add_rows_to_drives_mve(
    block: *const i8,
    entries: *const Entry,
    count: usize,
    stride: usize,
    output: *mut i32,
    pairs: usize,
    to_drives: &mut ToDrives,
) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4, r5, r6, r7, r8, r9, r10, lr}}",
        "vpush {{d8-d9}}",
        "ldrd r7, r8, [sp, #48]",
        "cmp r8, #0",
        "beq 9f",
        "ldr r6, [sp, #56]",
        "ldm r6, {{r4, r9, r12}}",
        "mov r10, r4",
        "rsb r9, r9, #0",
        "1:",
        sums_of_two!(),
        to_drives!("q0"),
        to_drives!("q1"),
        to_drives!("q2"),
        to_drives!("q3"),
        "add r0, r0, r3, lsl #1",
        "subs r8, #1",
        "bne 1b",
        "ldr r6, [sp, #56]",
        "str r10, [r6]",
        "str r12, [r6, #8]",
        "9:",
        "vpop {{d8-d9}}",
        "pop {{r4, r5, r6, r7, r8, r9, r10, pc}}",
    )
}

/// From four sums to four levels, written.
macro_rules! to_level {
    ($sums:literal) => {
        concat!(
            concat!("vmulh.s32 ", $sums, ", ", $sums, ", q5\n"),
            concat!("vrshl.s32 ", $sums, ", r9\n"),
            concat!("vadd.i32 ", $sums, ", ", $sums, ", r10\n"),
            concat!("vqmovnb.s32 ", $sums, ", ", $sums, "\n"),
            concat!("vstrh.32 ", $sums, ", [r7], #8\n"),
        )
    };
}

/// Writes the levels of `pairs` times two blocks.
///
/// # Safety
///
/// As of [`add_rows_mve`], with room for the levels of each pair.
#[unsafe(naked)]
unsafe extern "C" fn add_rescaled_rows_mve(
    block: *const i8,
    entries: *const Entry,
    count: usize,
    stride: usize,
    output: *mut [i16; 2 * LANES],
    pairs: usize,
    to_level: &ToLevel,
) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4, r5, r6, r7, r8, r9, r10, lr}}",
        "vpush {{d8-d11}}",
        "ldrd r7, r8, [sp, #64]",
        "cmp r8, #0",
        "beq 9f",
        "ldr r6, [sp, #72]",
        "ldm r6, {{r4, r9, r10}}",
        "vdup.32 q5, r4",
        "rsb r9, r9, #0",
        "1:",
        sums_of_two!(),
        to_level!("q0"),
        to_level!("q1"),
        to_level!("q2"),
        to_level!("q3"),
        "add r0, r0, r3, lsl #1",
        "subs r8, #1",
        "bne 1b",
        "9:",
        "vpop {{d8-d11}}",
        "pop {{r4, r5, r6, r7, r8, r9, r10, pc}}",
    )
}

/// 8 instructions for 8 multiply-adds; adds to what is there.
///
/// # Safety
///
/// The row of every one of `count` entries within `block`.
#[unsafe(naked)]
unsafe extern "C" fn add_wide_rows_mve(
    block: *const i16,
    entries: *const Entry,
    count: usize,
    sums: *mut [i32; LANES],
) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4, r5, r6, lr}}",
        "vldrw.u32 q0, [r3]",
        "vldrw.u32 q1, [r3, #16]",
        "wls lr, r2, 3f",
        "2:",
        "ldr r4, [r1], #4",
        "add r5, r0, r4, lsr #16",
        "sxth r4, r4",
        "vldrh.s32 q2, [r5]",
        "vmla.s32 q0, q2, r4",
        "vldrh.s32 q3, [r5, #8]",
        "vmla.s32 q1, q3, r4",
        "le lr, 2b",
        "3:",
        "vstrw.32 q0, [r3]",
        "vstrw.32 q1, [r3, #16]",
        "pop {{r4, r5, r6, pc}}",
    )
}

/// 10 instructions for eight multiply-adds.
///
/// # Safety
///
/// `row`: eight numbers, and again every `stride` bytes, `count` times; `sums`: `8 · count`
/// numbers.
#[unsafe(naked)]
unsafe extern "C" fn add_wide_row_mve(
    row: *const i16,
    stride: usize,
    count: usize,
    value: i32,
    sums: *mut i32,
) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4, lr}}",
        "ldr r12, [sp, #8]",
        "wls lr, r2, 3f",
        "2:",
        "vldrh.s32 q2, [r0]",
        "vldrw.u32 q0, [r12]",
        "vmla.s32 q0, q2, r3",
        "vstrw.32 q0, [r12], #16",
        "vldrh.s32 q3, [r0, #8]",
        "vldrw.u32 q1, [r12]",
        "vmla.s32 q1, q3, r3",
        "vstrw.32 q1, [r12], #16",
        "add r0, r0, r1",
        "le lr, 2b",
        "3:",
        "pop {{r4, pc}}",
    )
}
