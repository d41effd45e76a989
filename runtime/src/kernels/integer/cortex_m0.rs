//! The dense product of one block for Cortex-M0 and M0+.
//!
//! Loads of bytes take a register for the offset there, and a register is what the core lacks: a
//! word of four weights is loaded and taken apart. Written out because the compiler keeps the
//! inputs on the stack.

#![allow(unsafe_code)]

use core::arch::naked_asm;

use sparsecode_formats::{Blocks, LANES};

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
                // SAFETY: a block holds `rows` rows of two words, at a multiple of 4, of which every
                // other one is read from `half` to before `end`; `rows` is a multiple of 4 and not
                // 0, and `sums` holds at least as many.
                unsafe { dot_half_block(half, end, &x.map(i32::from), sums.as_mut_ptr()) }
            }
            half = half.wrapping_add(1);
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
