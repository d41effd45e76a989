//! Products with the entries of a sparse vector.

#![allow(unsafe_code)]

use core::arch::naked_asm;

use sparsecode_formats::{Blocks, LANES, Nibbles};

use super::lanes::{EXCESS, instructions, is_aligned};
use crate::kernels::integer::entry::{Entry, lie_within};

/// See [`add_rows`](crate::kernels::integer::add_rows). `false` if the matrix or the entries are
/// nothing for it, and nothing was done.
#[inline(always)]
pub(crate) fn add_rows(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    each: &mut dyn FnMut(usize, &[i32; LANES]),
) -> bool {
    if !(is_aligned(matrix.values()) && lie_within(entries, matrix)) {
        return false;
    }
    let (start, end) = (entries.as_ptr_range().start, entries.as_ptr_range().end);
    let mut sums = [0; LANES];
    for (index, block) in matrix.blocks().enumerate() {
        // SAFETY: blocks are as long as the entries were held to, and a multiple of 8 bytes apart.
        unsafe { add_rows_dsp(block.as_ptr(), start, end, &mut sums) };
        each(index, &sums);
    }
    true
}

/// See [`add_weight_rows`](crate::kernels::integer::add_weight_rows), with 4-bit weights. `false`
/// if the matrix or the entries are nothing for it, and nothing was done.
#[inline(always)]
pub(crate) fn add_narrow_rows(
    matrix: &Blocks<'_, Nibbles>,
    entries: &[Entry],
    each: &mut dyn FnMut(usize, &[i32; LANES]),
) -> bool {
    let mut rows = entries.iter().map(|entry| entry.index::<i8>());
    if !(is_aligned(matrix.values()) && rows.all(|row| row < matrix.rows())) {
        return false;
    }
    let (start, end) = (entries.as_ptr_range().start, entries.as_ptr_range().end);
    let values = entries.iter().map(|entry| i32::from(entry.value()));
    let excess = values.fold(0, i32::wrapping_add).wrapping_mul(EXCESS);
    for (index, block) in matrix.blocks().enumerate() {
        let mut sums = [excess.wrapping_neg(); LANES];
        // SAFETY: every entry's row lies within each of the blocks, which are a multiple of 4 bytes
        // apart.
        unsafe { add_narrow_rows_dsp(block.as_ptr(), start, end, &mut sums) };
        each(index, &sums);
    }
    true
}

/// See [`add_wide_rows`](crate::kernels::integer::add_wide_rows). `false` if the matrix or the
/// entries are nothing for it, and nothing was done.
#[inline(always)]
pub(crate) fn add_wide_rows(matrix: &Blocks<'_, i16>, entries: &[Entry], sums: &mut [i32]) -> bool {
    if !(is_aligned(matrix.values()) && lie_within(entries, matrix)) {
        return false;
    }
    let (start, end) = (entries.as_ptr_range().start, entries.as_ptr_range().end);
    let (eights, rest) = sums.as_chunks_mut::<LANES>();
    let whole = eights.len().min(matrix.count());
    let stride = matrix
        .rows()
        .wrapping_mul(const { LANES * size_of::<i16>() });
    let block = matrix.values().as_ptr();
    if whole > 0 {
        let sums = eights.as_mut_ptr();
        // SAFETY: blocks are as long as the entries were held to, a multiple of 16 bytes apart, and
        // there are `whole` of them, and as many eights of sums.
        unsafe { add_wide_rows_dsp(block, start, end, sums, whole, stride) };
    }
    if !rest.is_empty()
        && let Some(block) = matrix.blocks().nth(whole)
    {
        let mut last = [0; LANES];
        // SAFETY: as above, for one block.
        unsafe { add_wide_rows_dsp(block.as_ptr(), start, end, &mut last, 1, stride) };
        for (sum, more) in rest.iter_mut().zip(last) {
            *sum = sum.wrapping_add(more);
        }
    }
    true
}

/// See [`add_wide_row`](crate::kernels::integer::add_wide_row). `false` if the matrix, the row or
/// the sums are nothing for it, and nothing was done.
#[inline(always)]
pub(crate) fn add_wide_row(
    matrix: &Blocks<'_, i16>,
    k: usize,
    value: i16,
    sums: &mut [i32],
) -> bool {
    let whole = sums.len() == matrix.count().wrapping_mul(LANES);
    if !(is_aligned(matrix.values()) && k < matrix.rows() && whole && !sums.is_empty()) {
        return false;
    }
    let row = matrix.values().as_ptr().wrapping_add(k.wrapping_mul(LANES));
    let stride = matrix
        .rows()
        .wrapping_mul(const { LANES * size_of::<i16>() });
    // SAFETY: every block has a row `k`, of sixteen bytes, a multiple of 4 from the matrix's start,
    // and `sums` has eight numbers for each.
    unsafe { add_wide_row_dsp(row, stride, matrix.count(), value.into(), sums.as_mut_ptr()) };
    true
}

/// One entry's row of eight 8-bit weights into `r4` to `r11`.
macro_rules! entry_into {
    () => {
        concat!(
            "ldr r3, [r1], #4\n",
            "add r12, r0, r3, lsr #16\n",
            "ldm r12, {{r12, lr}}\n",
            "sxtb16 r2, r12\n",
            "smlabb r4, r2, r3, r4\n",
            "smlatb r6, r2, r3, r6\n",
            "sxtb16 r2, r12, ror #8\n",
            "smlabb r5, r2, r3, r5\n",
            "smlatb r7, r2, r3, r7\n",
            "sxtb16 r2, lr\n",
            "smlabb r8, r2, r3, r8\n",
            "smlatb r10, r2, r3, r10\n",
            "sxtb16 r2, lr, ror #8\n",
            "smlabb r9, r2, r3, r9\n",
            "smlatb r11, r2, r3, r11\n",
        )
    };
}

/// One entry's row of eight 4-bit weights into `r4` to `r11`; `lr` is the mask. Its offset is that
/// of a row of 8-bit ones.
macro_rules! narrow_entry_into {
    () => {
        concat!(
            "ldr r3, [r1], #4\n",
            "add r12, r0, r3, lsr #17\n",
            "ldr r12, [r12]\n",
            "and r2, lr, r12, lsl #4\n",
            "smlabb r4, r2, r3, r4\n",
            "smlatb r6, r2, r3, r6\n",
            "and r2, lr, r12, lsr #4\n",
            "smlabb r5, r2, r3, r5\n",
            "smlatb r7, r2, r3, r7\n",
            "and r2, lr, r12\n",
            "smlabb r8, r2, r3, r8\n",
            "smlatb r10, r2, r3, r10\n",
            "and r2, lr, r12, lsr #8\n",
            "smlabb r9, r2, r3, r9\n",
            "smlatb r11, r2, r3, r11\n",
        )
    };
}

/// One entry's row of eight 16-bit weights into `r4` to `r11`.
macro_rules! wide_entry_into {
    () => {
        concat!(
            "ldr r3, [r1], #4\n",
            "add r12, r0, r3, lsr #16\n",
            "ldm r12!, {{r2, lr}}\n",
            "smlabb r4, r2, r3, r4\n",
            "smlatb r5, r2, r3, r5\n",
            "smlabb r6, lr, r3, r6\n",
            "smlatb r7, lr, r3, r7\n",
            "ldm r12, {{r2, lr}}\n",
            "smlabb r8, r2, r3, r8\n",
            "smlatb r9, r2, r3, r9\n",
            "smlabb r10, lr, r3, r10\n",
            "smlatb r11, lr, r3, r11\n",
        )
    };
}

/// Walks a list, four entries at a time and then one by one: the ends of both wait on the stack,
/// because every register is taken.
macro_rules! walk {
    ($entry:ident, $($start:literal),+) => {
        naked_asm!(
            instructions!(),
            "push {{r3-r11, lr}}",
            $($start,)+
            "subs r3, r2, r1",
            "bic r3, r3, #15",
            "add r3, r1, r3",
            "push {{r2, r3}}",
            "cmp r1, r3",
            "beq 3f",
            "2:",
            $entry!(),
            $entry!(),
            $entry!(),
            $entry!(),
            "ldr r2, [sp, #4]",
            "cmp r1, r2",
            "blo 2b",
            "3:",
            "ldr r2, [sp]",
            "cmp r1, r2",
            "beq 5f",
            "4:",
            $entry!(),
            "ldr r2, [sp]",
            "cmp r1, r2",
            "blo 4b",
            "5:",
            "pop {{r2, r3}}",
            "pop {{r3}}",
            "stm r3, {{r4-r11}}",
            "pop {{r4-r11, pc}}",
        )
    };
}

/// 63 instructions for 32 multiply-adds.
///
/// # Safety
///
/// `block` at a multiple of 4; the row of every entry from `entries` to `end` within it.
#[unsafe(naked)]
unsafe extern "C" fn add_rows_dsp(
    block: *const i8,
    entries: *const Entry,
    end: *const Entry,
    sums: *mut [i32; LANES],
) {
    walk!(
        entry_into,
        "mov r4, #0",
        "mov r5, #0",
        "mov r6, #0",
        "mov r7, #0",
        "mov r8, #0",
        "mov r9, #0",
        "mov r10, #0",
        "mov r11, #0"
    )
}

/// 63 instructions for 32 multiply-adds.
///
/// # Safety
///
/// `block` at a multiple of 4; the row of every entry from `entries` to `end` within it.
#[unsafe(naked)]
unsafe extern "C" fn add_narrow_rows_dsp(
    block: *const Nibbles,
    entries: *const Entry,
    end: *const Entry,
    sums: *mut [i32; LANES],
) {
    walk!(
        narrow_entry_into,
        "ldm r3, {{r4-r11}}",
        "mov lr, #0x00f000f0"
    )
}

/// 51 instructions for 32 multiply-adds, and 19 a block. What every register is taken for waits on
/// the stack: block, entries, their end, sums, the end of the fours of entries.
///
/// # Safety
///
/// `block` at a multiple of 4, and `count` of them, at least one, every `stride` bytes, a multiple
/// of 4; the row of every entry from `entries` to `end` within each; `sums`: `count` eights.
#[unsafe(naked)]
unsafe extern "C" fn add_wide_rows_dsp(
    block: *const i16,
    entries: *const Entry,
    end: *const Entry,
    sums: *mut [i32; LANES],
    count: usize,
    stride: usize,
) {
    naked_asm!(
        instructions!(),
        "push {{r4-r11, lr}}",
        "subs r12, r2, r1",
        "bic r12, r12, #15",
        "add r12, r1, r12",
        "push {{r0-r3, r12, lr}}",
        "1:",
        "ldr r3, [sp, #12]",
        "ldm r3, {{r4-r11}}",
        "ldrd r0, r1, [sp]",
        "ldr r2, [sp, #16]",
        "cmp r1, r2",
        "beq 3f",
        "2:",
        wide_entry_into!(),
        wide_entry_into!(),
        wide_entry_into!(),
        wide_entry_into!(),
        "ldr r2, [sp, #16]",
        "cmp r1, r2",
        "blo 2b",
        "3:",
        "ldr r2, [sp, #8]",
        "cmp r1, r2",
        "beq 5f",
        "4:",
        wide_entry_into!(),
        "ldr r2, [sp, #8]",
        "cmp r1, r2",
        "blo 4b",
        "5:",
        "ldr r3, [sp, #12]",
        "stm r3!, {{r4-r11}}",
        "str r3, [sp, #12]",
        "ldr r2, [sp, #64]",
        "add r0, r0, r2",
        "str r0, [sp]",
        "ldr r2, [sp, #60]",
        "subs r2, r2, #1",
        "str r2, [sp, #60]",
        "bne 1b",
        "add sp, sp, #24",
        "pop {{r4-r11, pc}}",
    )
}

/// 17 instructions for eight multiply-adds.
///
/// # Safety
///
/// `row`: eight numbers at a multiple of 4, and again every `stride` bytes, a multiple of 4,
/// `count` times, at least once; `sums`: `8 · count` numbers.
#[unsafe(naked)]
unsafe extern "C" fn add_wide_row_dsp(
    row: *const i16,
    stride: usize,
    count: usize,
    value: i32,
    sums: *mut i32,
) {
    naked_asm!(
        instructions!(),
        "push {{r4-r9, lr}}",
        "ldr r12, [sp, #28]",
        "2:",
        "ldm r12, {{r4-r7}}",
        "ldrd r8, r9, [r0]",
        "smlabb r4, r8, r3, r4",
        "smlatb r5, r8, r3, r5",
        "smlabb r6, r9, r3, r6",
        "smlatb r7, r9, r3, r7",
        "stm r12!, {{r4-r7}}",
        "ldm r12, {{r4-r7}}",
        "ldrd r8, r9, [r0, #8]",
        "smlabb r4, r8, r3, r4",
        "smlatb r5, r8, r3, r5",
        "smlabb r6, r9, r3, r6",
        "smlatb r7, r9, r3, r7",
        "stm r12!, {{r4-r7}}",
        "add r0, r0, r1",
        "subs r2, r2, #1",
        "bne 2b",
        "pop {{r4-r9, pc}}",
    )
}
