//! The kernels of one or two blocks for Cortex-M with Helium (M55, M85): eight 16-bit or four 32-bit products an instruction.
//!
//! Loads widen 8-bit weights as they come. Sums of a row stay in core registers; sums of columns in vectors.

#![allow(unsafe_code)]

use core::arch::naked_asm;

use sparsecode_formats::{Blocks, LANES};

use super::{Entry, lie_within};

/// See [`portable::clamp`](super::portable::clamp): eight at a time.
#[inline(always)]
pub(crate) fn clamp(levels: &mut [i16], least: i16, most: i16) {
    // SAFETY: the pointer and the length are the slice's.
    unsafe { clamp_mve(levels.as_mut_ptr(), levels.len(), least.into(), most.into()) }
}

/// See [`dot_rows`](super::dot_rows). `false` if the matrix is nothing for it, and nothing was done.
#[inline(always)]
pub(crate) fn dot_rows<'x>(
    matrix: &Blocks<'_, i8>,
    x: impl Iterator<Item = &'x [i16; LANES]>,
    sums: &mut [i32],
) -> bool {
    if matrix.rows() > sums.len() {
        return false;
    }
    for (block, x) in matrix.blocks().zip(x) {
        // SAFETY: a block holds `rows` rows of eight bytes, `x` eight numbers, and `sums` at least `rows`.
        unsafe { dot_block_mve(block.as_ptr(), matrix.rows(), x, sums.as_mut_ptr()) }
    }
    true
}

/// See [`add_rows`](super::add_rows). `false` if the entries are nothing for the matrix, and nothing was done.
#[inline(always)]
pub(crate) fn add_rows(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    each: &mut dyn FnMut(usize, &[i32; LANES]),
) -> bool {
    if !lie_within(entries, matrix) {
        return false;
    }
    let stride = matrix.rows().wrapping_mul(LANES);
    let mut sums = [[0; LANES]; 2];
    for first in (0..matrix.count()).step_by(2) {
        let block = matrix.block(first).as_ptr();
        // The last one alone: twice the same.
        let second = first.wrapping_add(1) < matrix.count();
        let next = if second { stride } else { 0 };
        // SAFETY: blocks are as long as the entries were held to, and the second is there or is the first.
        unsafe { add_rows_mve(block, entries.as_ptr(), entries.len(), next, &mut sums) };
        each(first, &sums[0]);
        if second {
            each(first.wrapping_add(1), &sums[1]);
        }
    }
    true
}

/// See [`add_wide_rows`](super::add_wide_rows). `false` if the entries are nothing for the matrix, and nothing was done.
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

/// See [`add_wide_row`](super::add_wide_row). `false` if the row or the sums are nothing for the matrix, and nothing was done.
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

/// 5 instructions for eight levels.
///
/// # Safety
///
/// `levels`: `count` numbers.
#[unsafe(naked)]
unsafe extern "C" fn clamp_mve(levels: *mut i16, count: usize, least: i32, most: i32) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r7, lr}}",
        "vdup.16 q1, r2",
        "vdup.16 q2, r3",
        "wlstp.16 lr, r1, 3f",
        "2:",
        "vldrh.u16 q0, [r0]",
        "vmax.s16 q0, q0, q1",
        "vmin.s16 q0, q0, q2",
        "vstrh.16 q0, [r0], #16",
        "letp lr, 2b",
        "3:",
        "pop {{r7, pc}}",
    )
}

/// Four rows of eight weights into four sums; `r0` walks the weights, `r3` the sums.
macro_rules! four_rows {
    () => {
        concat!(
            "ldm r3, {{r4, r6, r8, r10}}\n",
            "vldrb.s16 q1, [r0], #8\n",
            "vmlava.s16 r4, q0, q1\n",
            "vldrb.s16 q2, [r0], #8\n",
            "vmlava.s16 r6, q0, q2\n",
            "vldrb.s16 q1, [r0], #8\n",
            "vmlava.s16 r8, q0, q1\n",
            "vldrb.s16 q2, [r0], #8\n",
            "vmlava.s16 r10, q0, q2\n",
            "stm r3!, {{r4, r6, r8, r10}}\n",
        )
    };
}

/// 21 instructions for 64 multiply-adds. Returns at once if all inputs are 0.
///
/// # Safety
///
/// `block`: `rows · 8` bytes; `sums`: `rows` numbers.
#[unsafe(naked)]
unsafe extern "C" fn dot_block_mve(
    block: *const i8,
    rows: usize,
    x: *const [i16; LANES],
    sums: *mut i32,
) {
    naked_asm!(
        ".cpu cortex-m55",
        "vldrh.u16 q0, [r2]",
        "movs r2, #0",
        "vmaxav.s16 r2, q0",
        "cbz r2, 9f",
        "push {{r4, r6, r8, r10, r11, lr}}",
        "and r11, r1, #7",
        "lsrs r2, r1, #3",
        "wls lr, r2, 3f",
        "2:",
        four_rows!(),
        four_rows!(),
        "le lr, 2b",
        "3:",
        "wls lr, r11, 5f",
        "4:",
        "ldr r4, [r3]",
        "vldrb.s16 q1, [r0], #8",
        "vmlava.s16 r4, q0, q1",
        "str r4, [r3], #4",
        "le lr, 4b",
        "5:",
        "pop {{r4, r6, r8, r10, r11, pc}}",
        "9:",
        "bx lr",
    )
}

/// 13 instructions for 16 multiply-adds.
///
/// # Safety
///
/// The row of every one of `count` entries within `block`, and again `stride` bytes further on.
#[unsafe(naked)]
unsafe extern "C" fn add_rows_mve(
    block: *const i8,
    entries: *const Entry,
    count: usize,
    stride: usize,
    sums: *mut [[i32; LANES]; 2],
) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4, r5, r6, lr}}",
        "vpush {{d8-d9}}",
        "vmov.i32 q0, #0",
        "vmov.i32 q1, #0",
        "vmov.i32 q2, #0",
        "vmov.i32 q3, #0",
        "wls lr, r2, 3f",
        "2:",
        "ldr r4, [r1], #4",
        "add r5, r0, r4, lsr #16",
        "sxth r4, r4",
        "vldrb.s32 q4, [r5]",
        "vmla.s32 q0, q4, r4",
        "vldrb.s32 q4, [r5, #4]",
        "vmla.s32 q1, q4, r4",
        "add r5, r5, r3",
        "vldrb.s32 q4, [r5]",
        "vmla.s32 q2, q4, r4",
        "vldrb.s32 q4, [r5, #4]",
        "vmla.s32 q3, q4, r4",
        "le lr, 2b",
        "3:",
        "vpop {{d8-d9}}",
        "ldr r12, [sp, #16]",
        "vstrw.32 q0, [r12]",
        "vstrw.32 q1, [r12, #16]",
        "vstrw.32 q2, [r12, #32]",
        "vstrw.32 q3, [r12, #48]",
        "pop {{r4, r5, r6, pc}}",
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
/// `row`: eight numbers, and again every `stride` bytes, `count` times; `sums`: `8 · count` numbers.
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
