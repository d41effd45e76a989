//! Products of one block for Cortex-M0 and M0+.
//!
//! Loads of bytes and of half words take a register for the offset there, and registers are what
//! the core lacks: words are loaded and taken apart, and sums lie in the upper registers, which
//! take additions. Written out because the compiler keeps inputs and sums on the stack.

#![allow(unsafe_code)]

use core::arch::naked_asm;

use sparsecode_formats::{Blocks, LANES};

use crate::kernels::integer::entry::{Entry, lie_within};

/// Rows that the loop takes at a time.
const ROWS: usize = 4;

/// See [`dot_rows`](crate::kernels::integer::dot_rows). `false` if the matrix is nothing for it,
/// and nothing was done.
#[inline(always)]
pub(crate) fn dot_rows(
    matrix: &Blocks<'_, i8>,
    eights: &[[i16; LANES]],
    last: Option<&[i16; LANES]>,
    sums: &mut [i32],
) -> bool {
    let rows = matrix.rows();
    let fits = rows <= sums.len() && rows.is_multiple_of(ROWS) && rows > 0;
    if !(matrix.values().as_ptr().addr().is_multiple_of(4) && fits) {
        return false;
    }
    for (block, x) in matrix.blocks().zip(eights.iter().chain(last)) {
        let mut half = block.as_ptr().cast::<[i8; 4]>();
        for x in x.as_chunks::<4>().0 {
            if x.iter().fold(0, |any, value| any | value) != 0 {
                let end = half.wrapping_add(rows.wrapping_mul(2));
                // SAFETY: a block holds `rows` rows of two words, at a multiple of 4, of which
                // every other one is read from `half` to before `end`; `rows` is a multiple of 4
                // and not 0, and `sums` holds at least as many.
                unsafe { dot_half_block(half, end, &x.map(i32::from), sums.as_mut_ptr()) }
            }
            half = half.wrapping_add(1);
        }
    }
    true
}

/// See [`add_wide_rows`](crate::kernels::integer::add_wide_rows). `false` if the matrix or the
/// entries are nothing for it, and nothing was done.
#[inline(always)]
pub(crate) fn add_wide_rows(matrix: &Blocks<'_, i16>, entries: &[Entry], sums: &mut [i32]) -> bool {
    let is_aligned = matrix.values().as_ptr().addr().is_multiple_of(4);
    if entries.is_empty() || !(is_aligned && lie_within(entries, matrix)) {
        return false;
    }
    let (start, end) = (entries.as_ptr_range().start, entries.as_ptr_range().end);
    let (eights, rest) = sums.as_chunks_mut::<LANES>();
    let mut blocks = matrix.blocks();
    for (eight, block) in eights.iter_mut().zip(&mut blocks) {
        // SAFETY: blocks are as long as the entries were held to, and a multiple of 16 bytes apart;
        // there is an entry.
        unsafe { add_wide_block(block.as_ptr(), start, end, eight) };
    }
    if !rest.is_empty()
        && let Some(block) = blocks.next()
    {
        let mut last = [0; LANES];
        // SAFETY: as above.
        unsafe { add_wide_block(block.as_ptr(), start, end, &mut last) };
        for (sum, more) in rest.iter_mut().zip(last) {
            *sum = sum.wrapping_add(more);
        }
    }
    true
}

/// A row of four weights, `$offset` bytes behind `r0`, into the next sum at `r2`; `r4` to `r7` hold
/// the inputs.
macro_rules! row {
    ($offset:literal) => {
        concat!(
            "ldr r3, [r0, #",
            $offset,
            "]\n",
            "sxtb r1, r3\n",
            "muls r1, r4, r1\n",
            "mov r12, r1\n",
            "lsls r1, r3, #16\n",
            "asrs r1, r1, #24\n",
            "muls r1, r5, r1\n",
            "add r12, r1\n",
            "lsls r1, r3, #8\n",
            "asrs r1, r1, #24\n",
            "muls r1, r6, r1\n",
            "add r12, r1\n",
            "asrs r3, r3, #24\n",
            "muls r3, r7, r3\n",
            "add r3, r12\n",
            "ldr r1, [r2]\n",
            "adds r1, r1, r3\n",
            "stm r2!, {{r1}}\n",
        )
    };
}

/// 75 instructions for 16 multiply-adds.
///
/// # Safety
///
/// `block` to `end`: fours of rows of eight bytes, at least one, at a multiple of 4, of which the
/// first four bytes are read; `sums`: a number for each row.
#[unsafe(naked)]
unsafe extern "C" fn dot_half_block(
    block: *const [i8; 4],
    end: *const [i8; 4],
    x: *const [i32; 4],
    sums: *mut i32,
) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "push {{r4}}",
        "mov r8, r1",
        "ldm r2!, {{r4-r7}}",
        "mov r2, r3",
        "2:",
        row!("0"),
        row!("8"),
        row!("16"),
        row!("24"),
        "adds r0, #32",
        "cmp r0, r8",
        "blo 2b",
        "pop {{r4}}",
        "mov r8, r4",
        "pop {{r4-r7, pc}}",
    )
}

/// Two weights of the row at `r4` times the value in `r3`, added to two sums.
macro_rules! two_wide {
    ($offset:literal, $first:literal, $second:literal) => {
        concat!(
            "ldr r2, [r4, #",
            $offset,
            "]\n",
            "sxth r5, r2\n",
            "muls r5, r3, r5\n",
            "add ",
            $first,
            ", r5\n",
            "asrs r2, r2, #16\n",
            "muls r2, r3, r2\n",
            "add ",
            $second,
            ", r2\n",
        )
    };
}

/// 35 instructions for eight multiply-adds, and 31 a block. Sums lie in `r8` to `r12`, `lr`, `r6`
/// and `r7`.
///
/// # Safety
///
/// `block` at a multiple of 4; the row of every entry from `entries` to `end`, at least one, within
/// it.
#[unsafe(naked)]
unsafe extern "C" fn add_wide_block(
    block: *const i16,
    entries: *const Entry,
    end: *const Entry,
    sums: *mut [i32; LANES],
) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "push {{r2, r3}}",
        "ldm r3!, {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "ldm r3!, {{r4-r7}}",
        "mov r12, r4",
        "mov lr, r5",
        "2:",
        "ldm r1!, {{r3}}",
        "lsrs r4, r3, #16",
        "adds r4, r4, r0",
        "sxth r3, r3",
        two_wide!("0", "r8", "r9"),
        two_wide!("4", "r10", "r11"),
        two_wide!("8", "r12", "lr"),
        two_wide!("12", "r6", "r7"),
        "ldr r2, [sp]",
        "cmp r1, r2",
        "blo 2b",
        "pop {{r2, r3}}",
        "mov r4, r8",
        "mov r5, r9",
        "stm r3!, {{r4, r5}}",
        "mov r4, r10",
        "mov r5, r11",
        "stm r3!, {{r4, r5}}",
        "mov r4, r12",
        "mov r5, lr",
        "stm r3!, {{r4-r7}}",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
    )
}
