//! Products with dense vectors. Sums of a row stay in core registers.

#![allow(unsafe_code)]

use core::arch::naked_asm;

use sparsecode_formats::{Blocks, LANES};

/// See [`dot_rows`](crate::kernels::integer::dot_rows). `false` if the matrix is nothing for it,
/// and nothing was done.
#[inline(always)]
pub(crate) fn dot_rows(
    matrix: &Blocks<'_, i8>,
    eights: &[[i16; LANES]],
    last: Option<&[i16; LANES]>,
    sums: &mut [i32],
) -> bool {
    let count = eights.len().wrapping_add(usize::from(last.is_some()));
    if matrix.rows() > sums.len() || matrix.count() < count {
        return false;
    }
    let (blocks, rows) = (matrix.values().as_ptr(), matrix.rows());
    let sums = sums.as_mut_ptr();
    // SAFETY: there are as many blocks of `rows` rows as eights, and at least `rows` sums.
    unsafe { dot_rows_mve(blocks, rows, eights.as_ptr(), eights.len(), sums) };
    if let Some(last) = last {
        let block = matrix.block(eights.len()).as_ptr();
        // SAFETY: one block more.
        unsafe { dot_rows_mve(block, rows, last, 1, sums) };
    }
    true
}

/// Eight weights of a row, from `$at`, by the inputs in `$x` into a sum; in turn through two
/// registers.
macro_rules! row {
    ($sum:literal, $at:literal, $x:literal, $weights:literal) => {
        concat!(
            concat!("vldrb.s16 ", $weights, ", [", $at, "], #8\n"),
            concat!("vmlava.s16 ", $sum, ", ", $x, ", ", $weights, "\n"),
        )
    };
}

/// Four rows of one block; `r5` walks the weights, `r7` the sums.
macro_rules! four_rows {
    () => {
        concat!(
            "ldm r7, {{r4, r8, r10, r12}}\n",
            row!("r4", "r5", "q0", "q2"),
            row!("r8", "r5", "q0", "q3"),
            row!("r10", "r5", "q0", "q2"),
            row!("r12", "r5", "q0", "q3"),
            "stm r7!, {{r4, r8, r10, r12}}\n",
        )
    };
}

/// Four rows of two blocks; `r5` and `r6` walk the weights, `r7` the sums.
macro_rules! four_rows_twice {
    () => {
        concat!(
            "ldm r7, {{r4, r8, r10, r12}}\n",
            row!("r4", "r5", "q0", "q2"),
            row!("r4", "r6", "q1", "q3"),
            row!("r8", "r5", "q0", "q2"),
            row!("r8", "r6", "q1", "q3"),
            row!("r10", "r5", "q0", "q2"),
            row!("r10", "r6", "q1", "q3"),
            row!("r12", "r5", "q0", "q2"),
            row!("r12", "r6", "q1", "q3"),
            "stm r7!, {{r4, r8, r10, r12}}\n",
        )
    };
}

/// Adds the products of `count` blocks to the sums: 37 instructions for 128 multiply-adds, as
/// blocks whose inputs are not all 0 are taken two by two; 7 for every other.
///
/// # Safety
///
/// `blocks`: `count · rows · 8` bytes; `x`: `count` eights; `sums`: `rows` numbers.
#[unsafe(naked)]
unsafe extern "C" fn dot_rows_mve(
    blocks: *const i8,
    rows: usize,
    x: *const [i16; LANES],
    count: usize,
    sums: *mut i32,
) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4, r5, r6, r7, r8, r9, r10, r11, r12, lr}}",
        "lsrs r9, r1, #3",
        "and r11, r1, #7",
        "lsls r1, r1, #3",
        // The next block that counts.
        "10:",
        "movs r4, #0",
        "11:",
        "subs r3, #1",
        "blo 90f",
        "vldrh.u16 q0, [r2], #16",
        "add r0, r0, r1",
        "vmaxav.s16 r4, q0",
        "cbnz r4, 20f",
        "b 11b",
        // And the one after it.
        "20:",
        "sub r5, r0, r1",
        "ldr r7, [sp, #40]",
        "movs r4, #0",
        "21:",
        "subs r3, #1",
        "blo 40f",
        "vldrh.u16 q1, [r2], #16",
        "add r0, r0, r1",
        "vmaxav.s16 r4, q1",
        "cbnz r4, 30f",
        "b 21b",
        // Both.
        "30:",
        "sub r6, r0, r1",
        "wls lr, r9, 32f",
        "31:",
        four_rows_twice!(),
        four_rows_twice!(),
        "le lr, 31b",
        "32:",
        "cmp r11, #0",
        "beq 10b",
        "dls lr, r11",
        "33:",
        "ldr r4, [r7]",
        row!("r4", "r5", "q0", "q2"),
        row!("r4", "r6", "q1", "q3"),
        "str r4, [r7], #4",
        "le lr, 33b",
        "b 10b",
        // The last one, alone.
        "40:",
        "wls lr, r9, 42f",
        "41:",
        four_rows!(),
        four_rows!(),
        "le lr, 41b",
        "42:",
        "wls lr, r11, 90f",
        "43:",
        "ldr r4, [r7]",
        row!("r4", "r5", "q0", "q2"),
        "str r4, [r7], #4",
        "le lr, 43b",
        "90:",
        "pop {{r4, r5, r6, r7, r8, r9, r10, r11, r12, pc}}",
    )
}
