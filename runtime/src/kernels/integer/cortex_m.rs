//! The kernels of one block for Cortex-M with the DSP extension (M4, M7, M33 and up): two 16-bit products an instruction.
//!
//! Eight-bit weights become pairs of 16-bit ones by `SXTB16`, which takes bytes 0 and 2, or 1 and 3; inputs are paired likewise, once
//! for a block. Pairs of 4-bit weights are a mask away, each 128 too large, which is taken off the sums. Written out because a loop over
//! single `asm!` instructions is not unrolled and keeps no eight sums in registers.

#![allow(unsafe_code)]

use core::arch::{asm, naked_asm};

use sparsecode_formats::{Blocks, LANES, Nibbles};

use super::{Entry, lie_within};

/// What each level of [`Nibbles`] is too large by.
const EXCESS: i32 = 128;

/// Whether numbers lie where `LDM` takes them.
#[inline(always)]
fn is_aligned<T>(block: &[T]) -> bool {
    block.as_ptr().addr().is_multiple_of(4)
}

/// See [`dot_rows`](super::dot_rows). `false` if the matrix is nothing for it, and nothing was done.
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
    for (block, x) in matrix.blocks().zip(eights.iter().chain(last)) {
        // SAFETY: a block holds `rows` rows of eight bytes, at a multiple of 4, `x` eight numbers, and `sums` at least `rows`.
        unsafe { dot_block_dsp(block.as_ptr(), matrix.rows(), x, sums.as_mut_ptr()) }
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
        // SAFETY: a block holds `rows` rows of four bytes, at a multiple of 4, `x` eight numbers, and `sums` at least `rows`.
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

/// See [`portable::clamp`](super::portable::clamp): two at a time.
#[inline(never)]
pub(crate) fn clamp(levels: &mut [i16], least: i16, most: i16) {
    let both = |level: i16| {
        let bits = u32::from(level.cast_unsigned());
        bits << 16 | bits
    };
    let (low, high) = (both(least), both(most));
    let (fours, rest) = levels.as_chunks_mut::<4>();
    for four in fours {
        for two in four.as_chunks_mut::<2>().0 {
            let [first, second] = *two;
            let mut pair =
                u32::from(second.cast_unsigned()) << 16 | u32::from(first.cast_unsigned());
            // SAFETY: registers only. `SSUB16` sets a flag for each half that is not below the other, and `SEL` chooses by it.
            unsafe {
                asm!(
                    "ssub16 {scratch}, {pair}, {low}",
                    "sel {pair}, {pair}, {low}",
                    "ssub16 {scratch}, {high}, {pair}",
                    "sel {pair}, {pair}, {high}",
                    pair = inout(reg) pair,
                    scratch = out(reg) _,
                    low = in(reg) low,
                    high = in(reg) high,
                    options(pure, nomem, nostack),
                );
            }
            *two = [
                (pair as u16).cast_signed(),
                ((pair >> 16) as u16).cast_signed(),
            ];
        }
    }
    super::portable::clamp(rest, least, most);
}

/// See [`add_rows`](super::add_rows). `false` if the matrix or the entries are nothing for it, and nothing was done.
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

/// See [`add_weight_rows`](super::add_weight_rows), with 4-bit weights. `false` if the matrix or the entries are nothing for it, and nothing
/// was done.
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
        // SAFETY: every entry's row lies within each of the blocks, which are a multiple of 4 bytes apart.
        unsafe { add_narrow_rows_dsp(block.as_ptr(), start, end, &mut sums) };
        each(index, &sums);
    }
    true
}

/// See [`add_wide_rows`](super::add_wide_rows). `false` if the matrix or the entries are nothing for it, and nothing was done.
#[inline(always)]
pub(crate) fn add_wide_rows(matrix: &Blocks<'_, i16>, entries: &[Entry], sums: &mut [i32]) -> bool {
    if !(is_aligned(matrix.values()) && lie_within(entries, matrix)) {
        return false;
    }
    let (start, end) = (entries.as_ptr_range().start, entries.as_ptr_range().end);
    let (eights, rest) = sums.as_chunks_mut::<LANES>();
    let mut last = [0; LANES];
    for (block, eight) in matrix.blocks().zip(eights.iter_mut().chain([&mut last])) {
        // SAFETY: blocks are as long as the entries were held to, and a multiple of 16 bytes apart.
        unsafe { add_wide_rows_dsp(block.as_ptr(), start, end, eight) };
    }
    for (sum, more) in rest.iter_mut().zip(last) {
        *sum = sum.wrapping_add(more);
    }
    true
}

/// See [`add_wide_row`](super::add_wide_row). `false` if the matrix, the row or the sums are nothing for it, and nothing was done.
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
    // SAFETY: every block has a row `k`, of sixteen bytes, a multiple of 4 from the matrix's start, and `sums` has eight numbers for each.
    unsafe { add_wide_row_dsp(row, stride, matrix.count(), value.into(), sums.as_mut_ptr()) };
    true
}

/// Functions written out are assembled without regard to the processor's name.
#[cfg(sparsecode_dsp = "extension")]
macro_rules! instructions {
    () => {
        ".cpu cortex-m33"
    };
}
#[cfg(not(sparsecode_dsp = "extension"))]
macro_rules! instructions {
    () => {
        ""
    };
}

/// One row of eight weights into a sum: `r0` walks the weights, `r8` to `r11` hold the inputs 0 2, 1 3, 4 6, 5 7.
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

/// The first half of a row of eight 4-bit weights, in `r2`, into a sum; `r12` is the mask, `r8` holds the inputs 0 2, `r9` 1 3.
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

/// Eight rows; the blocks where four adjacent inputs are 0 are common at the borders of what an image shows.
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

/// 78 instructions for 64 multiply-adds, 46 if half of the inputs are 0. Returns at once if all of them are.
///
/// # Safety
///
/// `block`: `rows · 8` bytes, at a multiple of 4; `sums`: `rows` numbers.
#[unsafe(naked)]
unsafe extern "C" fn dot_block_dsp(
    block: *const i8,
    rows: usize,
    x: *const [i16; LANES],
    sums: *mut i32,
) {
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
        "pop {{r4-r11, pc}}",
    )
}

/// 78 instructions for 64 multiply-adds, 46 if half of the inputs are 0. Returns the sum of the inputs; at once if all of them are 0.
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
        // r1: the end of the eights of rows; the rest, and the sum of the inputs, wait on the stack.
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

/// One entry's row of eight 4-bit weights into `r4` to `r11`; `lr` is the mask. Its offset is that of a row of 8-bit ones.
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

/// Walks a list, four entries at a time and then one by one: the ends of both wait on the stack, because every register is taken.
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

/// 51 instructions for 32 multiply-adds.
///
/// # Safety
///
/// `block` at a multiple of 4; the row of every entry from `entries` to `end` within it.
#[unsafe(naked)]
unsafe extern "C" fn add_wide_rows_dsp(
    block: *const i16,
    entries: *const Entry,
    end: *const Entry,
    sums: *mut [i32; LANES],
) {
    walk!(wide_entry_into, "ldm r3, {{r4-r11}}")
}

/// 17 instructions for eight multiply-adds.
///
/// # Safety
///
/// `row`: eight numbers at a multiple of 4, and again every `stride` bytes, a multiple of 4, `count` times, at least once; `sums`: `8 · count`
/// numbers.
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
