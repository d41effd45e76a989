//! Products with dense vectors. Inputs are paired once for a block.

#![allow(unsafe_code)]

use core::arch::naked_asm;

use sparsecode_formats::{Blocks, LANES, Nibbles};

use super::lanes::{EXCESS, instructions, is_aligned};

/// See [`dot_rows`](crate::kernels::integer::dot_rows). `false` if the matrix is nothing for it,
/// and nothing was done.
#[inline(always)]
pub(crate) fn dot_rows(
    matrix: &Blocks<'_, i8>,
    eights: &[[i16; LANES]],
    last: Option<&[i16; LANES]>,
    sums: &mut [i32],
) -> bool {
    if !(is_aligned(matrix.values()) && matrix.rows() <= sums.len()) {
        return false;
    }
    let whole = eights.len().min(matrix.count());
    let (blocks, sums) = (matrix.values().as_ptr(), sums.as_mut_ptr());
    if whole > 0 {
        // SAFETY: a block holds `rows` rows of eight bytes, at a multiple of 4, and the next one
        // follows; there are `whole` of them, and as many eights of inputs, and at least `rows`
        // sums.
        unsafe { dot_blocks_dsp(blocks, matrix.rows(), eights.as_ptr(), sums, whole) }
    }
    if let (Some(x), Some(block)) = (last, matrix.blocks().nth(whole)) {
        // SAFETY: as above, for one block.
        unsafe { dot_blocks_dsp(block.as_ptr(), matrix.rows(), x, sums, 1) }
    }
    true
}

/// The same for 4-bit weights.
#[inline(always)]
pub(crate) fn dot_narrow_rows(
    matrix: &Blocks<'_, Nibbles>,
    eights: &[[i16; LANES]],
    last: Option<&[i16; LANES]>,
    sums: &mut [i32],
) -> bool {
    if !(is_aligned(matrix.values()) && matrix.rows() <= sums.len()) {
        return false;
    }
    let mut total = 0_i32;
    for (block, x) in matrix.blocks().zip(eights.iter().chain(last)) {
        // SAFETY: a block holds `rows` rows of four bytes, at a multiple of 4, `x` eight numbers,
        // and `sums` at least `rows`.
        let inputs =
            unsafe { dot_narrow_block_dsp(block.as_ptr(), matrix.rows(), x, sums.as_mut_ptr()) };
        total = total.wrapping_add(inputs);
    }
    let excess = total.wrapping_mul(EXCESS);
    for sum in sums {
        *sum = sum.wrapping_sub(excess);
    }
    true
}

/// One row of eight weights into a sum: `r0` walks the weights, `r8` to `r11` hold the inputs 0 2,
/// 1 3, 4 6, 5 7.
macro_rules! row_into {
    ($sum:literal) => {
        concat!(
            "ldm r0!, {{r2, r12}}\n",
            "sxtb16 lr, r2\n",
            "smlad ",
            $sum,
            ", lr, r8, ",
            $sum,
            "\n",
            "sxtb16 r2, r2, ror #8\n",
            "smlad ",
            $sum,
            ", r2, r9, ",
            $sum,
            "\n",
            "sxtb16 lr, r12\n",
            "smlad ",
            $sum,
            ", lr, r10, ",
            $sum,
            "\n",
            "sxtb16 r12, r12, ror #8\n",
            "smlad ",
            $sum,
            ", r12, r11, ",
            $sum,
            "\n",
        )
    };
}

/// Half a row into a sum: four weights, and the inputs in two registers.
macro_rules! half_row_into {
    ($sum:literal, $even:literal, $odd:literal) => {
        concat!(
            "ldr r2, [r0], #8\n",
            "sxtb16 lr, r2\n",
            "smlad ",
            $sum,
            ", lr, ",
            $even,
            ", ",
            $sum,
            "\n",
            "sxtb16 r2, r2, ror #8\n",
            "smlad ",
            $sum,
            ", r2, ",
            $odd,
            ", ",
            $sum,
            "\n",
        )
    };
}

/// The first half of a row of eight 4-bit weights, in `r2`, into a sum; `r12` is the mask, `r8`
/// holds the inputs 0 2, `r9` 1 3.
macro_rules! first_nibbles_into {
    ($sum:literal) => {
        concat!(
            "and lr, r12, r2, lsl #4\n",
            "smlad ",
            $sum,
            ", lr, r8, ",
            $sum,
            "\n",
            "and lr, r12, r2, lsr #4\n",
            "smlad ",
            $sum,
            ", lr, r9, ",
            $sum,
            "\n",
        )
    };
}

/// The second half; `r10` holds the inputs 4 6, `r11` 5 7.
macro_rules! last_nibbles_into {
    ($sum:literal) => {
        concat!(
            "and lr, r12, r2\n",
            "smlad ",
            $sum,
            ", lr, r10, ",
            $sum,
            "\n",
            "and lr, r12, r2, lsr #8\n",
            "smlad ",
            $sum,
            ", lr, r11, ",
            $sum,
            "\n",
        )
    };
}

macro_rules! narrow_row_into {
    ($sum:literal) => {
        concat!(
            "ldr r2, [r0], #4\n",
            first_nibbles_into!($sum),
            last_nibbles_into!($sum),
        )
    };
}

macro_rules! first_half_into {
    ($sum:literal) => {
        concat!("ldr r2, [r0], #4\n", first_nibbles_into!($sum))
    };
}

macro_rules! last_half_into {
    ($sum:literal) => {
        concat!("ldr r2, [r0], #4\n", last_nibbles_into!($sum))
    };
}

/// Eight rows; the blocks where four adjacent inputs are 0 are common at the borders of what an
/// image shows.
macro_rules! eight_rows {
    ($row:ident $(, $even:literal, $odd:literal)?) => {
        concat!(
            "ldm r3, {{r4-r7}}\n",
            $row!("r4" $(, $even, $odd)?),
            $row!("r5" $(, $even, $odd)?),
            $row!("r6" $(, $even, $odd)?),
            $row!("r7" $(, $even, $odd)?),
            "stm r3!, {{r4-r7}}\n",
            "ldm r3, {{r4-r7}}\n",
            $row!("r4" $(, $even, $odd)?),
            $row!("r5" $(, $even, $odd)?),
            $row!("r6" $(, $even, $odd)?),
            $row!("r7" $(, $even, $odd)?),
            "stm r3!, {{r4-r7}}\n",
            "cmp r0, r1\n",
        )
    };
}

/// 78 instructions for 64 multiply-adds, 46 if half of a block's inputs are 0, none if all of them
/// are; and 33 a block. Rows, inputs and sums wait on the stack.
///
/// # Safety
///
/// `block`: `count · rows · 8` bytes, at a multiple of 4; `x`: `count` eights, at least one;
/// `sums`: `rows` numbers.
#[unsafe(naked)]
unsafe extern "C" fn dot_blocks_dsp(
    block: *const i8,
    rows: usize,
    x: *const [i16; LANES],
    sums: *mut i32,
    count: usize,
) {
    naked_asm!(
        instructions!(),
        "push {{r4-r11, lr}}",
        "push {{r1-r3}}",
        "1:",
        "ldm sp, {{r1-r3}}",
        // Not LDM: `x` may lie at an odd multiple of 2.
        "ldr r4, [r2], #4",
        "ldr r5, [r2], #4",
        "ldr r6, [r2], #4",
        "ldr r7, [r2], #4",
        "str r2, [sp, #4]",
        "orr r12, r4, r5",
        "orr lr, r6, r7",
        "orrs r12, r12, lr",
        "beq 8f",
        "pkhbt r8, r4, r5, lsl #16",
        "pkhtb r9, r5, r4, asr #16",
        "pkhbt r10, r6, r7, lsl #16",
        "pkhtb r11, r7, r6, asr #16",
        // r1: the end of the eights of rows; the rest waits on the stack.
        "and r4, r1, #7",
        "bic r1, r1, #7",
        "push {{r4}}",
        "add r1, r0, r1, lsl #3",
        "cmp r0, r1",
        "beq 3f",
        "orrs r12, r8, r9",
        "beq 5f",
        "orrs r12, r10, r11",
        "beq 7f",
        "2:",
        eight_rows!(row_into),
        "blo 2b",
        "b 3f",
        // The second half of the inputs.
        "5:",
        "add r0, r0, #4",
        "add r1, r1, #4",
        "6:",
        eight_rows!(half_row_into, "r10", "r11"),
        "blo 6b",
        "sub r0, r0, #4",
        "b 3f",
        // The first half.
        "7:",
        eight_rows!(half_row_into, "r8", "r9"),
        "blo 7b",
        "3:",
        "pop {{r5}}",
        "cbz r5, 9f",
        "4:",
        "ldr r4, [r3]",
        row_into!("r4"),
        "str r4, [r3], #4",
        "subs r5, r5, #1",
        "bne 4b",
        "9:",
        "ldr r2, [sp, #48]",
        "subs r2, r2, #1",
        "str r2, [sp, #48]",
        "bne 1b",
        "add sp, sp, #12",
        "pop {{r4-r11, pc}}",
        "8:",
        "add r0, r0, r1, lsl #3",
        "b 9b",
    )
}

/// 78 instructions for 64 multiply-adds, 46 if half of the inputs are 0. Returns the sum of the
/// inputs; at once if all of them are 0.
///
/// # Safety
///
/// `block`: `rows · 4` bytes, at a multiple of 4; `sums`: `rows` numbers.
#[unsafe(naked)]
unsafe extern "C" fn dot_narrow_block_dsp(
    block: *const Nibbles,
    rows: usize,
    x: *const [i16; LANES],
    sums: *mut i32,
) -> i32 {
    naked_asm!(
        instructions!(),
        "push {{r4-r11, lr}}",
        // Not LDM: `x` may lie at an odd multiple of 2.
        "ldr r4, [r2]",
        "ldr r5, [r2, #4]",
        "ldr r6, [r2, #8]",
        "ldr r7, [r2, #12]",
        "orr r12, r4, r5",
        "orr lr, r6, r7",
        "orrs r12, r12, lr",
        "beq 9f",
        "mov r12, #0x00010001",
        "smuad lr, r4, r12",
        "smlad lr, r5, r12, lr",
        "smlad lr, r6, r12, lr",
        "smlad lr, r7, r12, lr",
        "pkhbt r8, r4, r5, lsl #16",
        "pkhtb r9, r5, r4, asr #16",
        "pkhbt r10, r6, r7, lsl #16",
        "pkhtb r11, r7, r6, asr #16",
        // r1: the end of the eights of rows; the rest, and the sum of the inputs, wait on the
        // stack.
        "and r4, r1, #7",
        "bic r1, r1, #7",
        "push {{r4, lr}}",
        "add r1, r0, r1, lsl #2",
        "mov r12, #0x00f000f0",
        "cmp r0, r1",
        "beq 3f",
        "orrs lr, r8, r9",
        "beq 5f",
        "orrs lr, r10, r11",
        "beq 7f",
        "2:",
        eight_rows!(narrow_row_into),
        "blo 2b",
        "b 3f",
        "5:",
        eight_rows!(last_half_into),
        "blo 5b",
        "b 3f",
        "7:",
        eight_rows!(first_half_into),
        "blo 7b",
        "3:",
        "pop {{r5, r6}}",
        "cbz r5, 8f",
        "4:",
        "ldr r4, [r3]",
        narrow_row_into!("r4"),
        "str r4, [r3], #4",
        "subs r5, r5, #1",
        "bne 4b",
        "8:",
        "mov r0, r6",
        "pop {{r4-r11, pc}}",
        "9:",
        "mov r0, #0",
        "pop {{r4-r11, pc}}",
    )
}
