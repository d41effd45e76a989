//! Passes over elements that do not meet.

#![allow(unsafe_code)]

use core::arch::naked_asm;

use sparsecode_formats::{LANES, Rescales};

use super::lanes::{instructions, is_aligned};
use crate::kernels::integer::portable;
#[cfg(feature = "denoise")]
use crate::kernels::integer::{Entry, LearnedStep};

/// See [`portable::clamp`](crate::kernels::integer::portable::clamp): two at a time.
#[inline(never)]
pub(crate) fn clamp(levels: &mut [i16], least: i16, most: i16) {
    let both = |level: i16| {
        let bits = u32::from(level.cast_unsigned());
        bits << 16 | bits
    };
    let (eights, rest) = eights_of_words(levels);
    let whole = eights.as_mut_ptr_range();
    if !whole.is_empty() {
        // SAFETY: eights of levels from start to end, at a multiple of 4, and at least one.
        unsafe { clamp_eights(whole.start, both(least), both(most), whole.end) };
    }
    portable::clamp(rest, least, most);
}

/// The first levels in eights, and the rest: all of them if they do not lie at a multiple of 4,
/// where `LDM` takes them.
#[inline(always)]
fn eights_of_words(levels: &mut [i16]) -> (&mut [[i16; LANES]], &mut [i16]) {
    let whole = match is_aligned(levels) {
        true => levels.len() & const { !(LANES - 1) },
        false => 0,
    };
    let (whole, rest) = levels.split_at_mut_checked(whole).unwrap_or_default();
    (whole.as_chunks_mut().0, rest)
}

/// 20 instructions for eight levels. `SSUB16` sets a flag for each half that is not below the
/// other, and `SEL` chooses by it.
///
/// # Safety
///
/// From `eight` to `end`: at least one eight, at a multiple of 4.
#[unsafe(naked)]
unsafe extern "C" fn clamp_eights(
    eight: *mut [i16; LANES],
    low: u32,
    high: u32,
    end: *const [i16; LANES],
) {
    naked_asm!(
        instructions!(),
        "push {{r4-r7}}",
        "2:",
        "ldm r0, {{r4-r7}}",
        "ssub16 r12, r4, r1",
        "sel r4, r4, r1",
        "ssub16 r12, r2, r4",
        "sel r4, r4, r2",
        "ssub16 r12, r5, r1",
        "sel r5, r5, r1",
        "ssub16 r12, r2, r5",
        "sel r5, r5, r2",
        "ssub16 r12, r6, r1",
        "sel r6, r6, r1",
        "ssub16 r12, r2, r6",
        "sel r6, r6, r2",
        "ssub16 r12, r7, r1",
        "sel r7, r7, r1",
        "ssub16 r12, r2, r7",
        "sel r7, r7, r2",
        "stm r0!, {{r4-r7}}",
        "cmp r0, r3",
        "blo 2b",
        "pop {{r4-r7}}",
        "bx lr",
    )
}

/// See [`copy`](crate::kernels::integer::copy): eight at a time.
#[inline(always)]
pub(crate) fn copy(to: &mut [i16], from: &[i16]) {
    let count = to.len().min(from.len());
    let (to, from) = match (to.get_mut(..count), from.get(..count)) {
        (Some(to), Some(from)) if is_aligned(from) => (to, from),
        _ => return portable::copy(to, from),
    };
    let (eights, rest) = eights_of_words(to);
    let (from_eights, last) = match eights.is_empty() {
        true => (&[][..], from),
        false => from.as_chunks::<LANES>(),
    };
    let whole = eights.as_mut_ptr_range();
    if !whole.is_empty() {
        // SAFETY: from start to end lies at least one eight, and as many behind the other; both at
        // a multiple of 4.
        unsafe { copy_eights(whole.start, from_eights.as_ptr(), whole.end) };
    }
    portable::copy(rest, last);
}

/// Four instructions for eight levels.
///
/// # Safety
///
/// From `to` to `end`: at least one eight; behind `from`: as many; both at a multiple of 4.
#[unsafe(naked)]
unsafe extern "C" fn copy_eights(
    to: *mut [i16; LANES],
    from: *const [i16; LANES],
    end: *const [i16; LANES],
) {
    naked_asm!(
        instructions!(),
        "push {{r4, r5}}",
        "2:",
        "ldm r1!, {{r3-r5, r12}}",
        "stm r0!, {{r3-r5, r12}}",
        "cmp r0, r2",
        "blo 2b",
        "pop {{r4, r5}}",
        "bx lr",
    )
}

/// See [`add_weighted`](crate::kernels::integer::add_weighted): four at a time.
#[inline(always)]
pub(crate) fn add_weighted(sums: &mut [i32], weights: &[i32], values: &[i16]) {
    let (fours, rest) = sums.as_chunks_mut::<4>();
    let (weight_fours, last_weights) = weights.as_chunks::<4>();
    let (value_fours, last_values) = values.as_chunks::<4>();
    if fours.len() != weight_fours.len() || fours.len() != value_fours.len() {
        portable::add_weighted(sums, weights, values);
        return;
    }
    let whole = fours.as_mut_ptr_range();
    if !whole.is_empty() {
        let (weights, values) = (weight_fours.as_ptr(), value_fours.as_ptr());
        // SAFETY: fours of numbers from start to end, at least one, and as many behind the others.
        unsafe { add_weighted_fours(whole.start, weights, values, whole.end) };
    }
    portable::add_weighted(rest, last_weights, last_values);
}

/// 16 instructions for four numbers.
///
/// # Safety
///
/// From `sums` to `end`: at least one four; the others: as many.
#[unsafe(naked)]
unsafe extern "C" fn add_weighted_fours(
    sums: *mut [i32; 4],
    weights: *const [i32; 4],
    values: *const [i16; 4],
    end: *const [i32; 4],
) {
    naked_asm!(
        instructions!(),
        "push {{r4-r11, lr}}",
        "2:",
        "ldm r0, {{r4-r7}}",
        "ldm r1!, {{r8-r11}}",
        // Not LDM: values may lie at an odd multiple of 2.
        "ldr r12, [r2], #4",
        "sxth lr, r12",
        "mla r4, r8, lr, r4",
        "asr r12, r12, #16",
        "mla r5, r9, r12, r5",
        "ldr r12, [r2], #4",
        "sxth lr, r12",
        "mla r6, r10, lr, r6",
        "asr r12, r12, #16",
        "mla r7, r11, r12, r7",
        "stm r0!, {{r4-r7}}",
        "cmp r0, r3",
        "blo 2b",
        "pop {{r4-r11, pc}}",
    )
}

/// See [`clear_levels`](crate::kernels::integer::clear_levels): sixteen at a time.
#[inline(always)]
pub(crate) fn clear_levels(levels: &mut [i16]) {
    let (eights, rest) = eights_of_words(levels);
    let (pairs, last) = eights.as_chunks_mut::<2>();
    let whole = pairs.as_mut_ptr_range();
    if !whole.is_empty() {
        // SAFETY: pairs of eights, as long as eight numbers of 32 bits, from start to end, at a
        // multiple of 4, and at least one.
        unsafe { clear_eights(whole.start.cast(), whole.end.cast()) };
    }
    for level in last.as_flattened_mut().iter_mut().chain(rest) {
        *level = 0;
    }
}

/// See [`clear`](crate::kernels::integer::clear): eight at a time.
#[inline(always)]
pub(crate) fn clear(sums: &mut [i32]) {
    let (eights, rest) = sums.as_chunks_mut::<LANES>();
    let whole = eights.as_mut_ptr_range();
    if !whole.is_empty() {
        // SAFETY: eights of numbers from start to end, and at least one.
        unsafe { clear_eights(whole.start, whole.end) };
    }
    for sum in rest {
        *sum = 0;
    }
}

/// Three instructions for eight numbers.
///
/// # Safety
///
/// From `eight` to `end`: memory of the caller, at least one eight.
#[unsafe(naked)]
unsafe extern "C" fn clear_eights(eight: *mut [i32; LANES], end: *const [i32; LANES]) {
    naked_asm!(
        instructions!(),
        "push {{r4-r9}}",
        "mov r2, #0",
        "mov r3, #0",
        "mov r4, #0",
        "mov r5, #0",
        "mov r6, #0",
        "mov r7, #0",
        "mov r8, #0",
        "mov r9, #0",
        "2:",
        "stm r0!, {{r2-r9}}",
        "cmp r0, r1",
        "blo 2b",
        "pop {{r4-r9}}",
        "bx lr",
    )
}

/// See [`portable::rescale_in_words`](crate::kernels::integer::portable::rescale_in_words), for
/// shifts up to 32 and whole eights. `false` if they are others or sums are too large.
#[inline(always)]
pub(crate) fn rescale(by: &Rescales<'_>, bias: &[i32], sums: &[i32], output: &mut [i32]) -> bool {
    let count = output.len();
    let fits = sums.len() >= count
        && by.multipliers.len() >= count
        && bias.len() >= count
        && count.is_multiple_of(LANES)
        && count > 0;
    let Some(left) = 32_u8.checked_sub(by.shift) else {
        return false;
    };
    if !fits {
        return false;
    }
    let end = output.as_ptr_range().end;
    let (sums, multipliers, bias) = (sums.as_ptr(), by.multipliers.as_ptr(), bias.as_ptr());
    // SAFETY: up to `end` lie eights of numbers, at least one, and as many behind the others.
    let seen = unsafe {
        rescale_dsp(
            sums,
            multipliers,
            bias,
            output.as_mut_ptr(),
            end,
            left.into(),
        )
    };
    portable::are_small(seen, by.shift)
}

/// Two numbers: `r12` is the shift to the left, `lr` what is seen of the sums.
macro_rules! two_rescaled {
    () => {
        concat!(
            "ldrd r4, r5, [r0], #8\n",
            "ldrd r6, r7, [r1], #8\n",
            "ldrd r8, r9, [r2], #8\n",
            "eor r10, r4, r4, asr #31\n",
            "orr lr, lr, r10\n",
            "lsl r4, r4, r12\n",
            "smmlar r8, r4, r6, r8\n",
            "eor r10, r5, r5, asr #31\n",
            "orr lr, lr, r10\n",
            "lsl r5, r5, r12\n",
            "smmlar r9, r5, r7, r9\n",
            "strd r8, r9, [r3], #8\n",
        )
    };
}

/// 51 instructions for eight numbers. Returns the magnitudes of all sums, or'ed.
///
/// # Safety
///
/// `output` to `end`: eights of numbers, at least one; the others: as many.
#[unsafe(naked)]
unsafe extern "C" fn rescale_dsp(
    sums: *const i32,
    multipliers: *const i32,
    bias: *const i32,
    output: *mut i32,
    end: *const i32,
    left: u32,
) -> i32 {
    naked_asm!(
        instructions!(),
        "push {{r4-r11, lr}}",
        "ldrd r11, r12, [sp, #36]",
        "mov lr, #0",
        "2:",
        two_rescaled!(),
        two_rescaled!(),
        two_rescaled!(),
        two_rescaled!(),
        "cmp r3, r11",
        "blo 2b",
        "mov r0, lr",
        "pop {{r4-r11, pc}}",
    )
}

/// See [`LearnedStep::take`]. `None` if the shift or the numbers are nothing for it, and nothing
/// was done.
#[cfg(feature = "denoise")]
#[inline(always)]
pub(crate) fn learned_step(
    by: LearnedStep,
    products: &[i32],
    correlations: &[i32],
    thresholds: &[i16],
    code: &mut [i16],
    entries: &mut [Entry],
) -> Option<usize> {
    let count = products.len();
    let fits = correlations.len() >= count
        && thresholds.len() >= count
        && code.len() >= count
        && entries.len() >= count
        && count.is_multiple_of(LANES)
        && count > 0;
    if !fits || by.threshold_shift < 2 {
        return None;
    }
    // `θσ >> shift` is `θ·(σ << 16 − shift) >> 16`, which one instruction computes.
    let left = 16_u8.checked_sub(by.threshold_shift)?;
    let given = Given {
        end: products.as_ptr_range().end,
        second: code.as_ptr().wrapping_add(2),
        products: products.as_ptr(),
        correlations: correlations.as_ptr(),
        thresholds: thresholds.as_ptr(),
        noise: u32::from(by.noise_level).wrapping_shl(left.into()),
        // `(x g + 2⁹) >> 10` is `(2¹³ x · 2⁹ g + 2³¹) >> 32`, which one instruction computes.
        step: by.step.wrapping_shl(9),
        halves: by.halves.into(),
        code: code.as_mut_ptr(),
        entries: entries.as_mut_ptr(),
        finer: by.finer.into(),
    };
    // SAFETY: up to `end` lie eights of products, at least one, and as many lie behind the other
    // pointers.
    let end = unsafe { learned_step_dsp(&given) };
    let bytes = end.addr().wrapping_sub(given.entries.addr());
    Some(bytes >> const { size_of::<Entry>().trailing_zeros() })
}

/// What [`learned_step_dsp`] is given.
#[cfg(feature = "denoise")]
#[repr(C)]
struct Given {
    /// End of the products.
    end: *const i32,
    /// The second pair of the code.
    second: *const i16,
    // In the order of registers from here on.
    products: *const i32,
    correlations: *const i32,
    thresholds: *const i16,
    noise: u32,
    step: i32,
    halves: u32,
    code: *mut i16,
    entries: *mut Entry,
    finer: u32,
}

/// The step of a component, whose negative correlation is taken off the point so far: `r8` holds a
/// pair of levels, `r10` the place behind the pair, and `r9` is free.
#[cfg(feature = "denoise")]
macro_rules! component {
    (
        $point:literal,
        $correlation:literal,
        $level:literal,
        $half:literal,
        $place:literal,
        $odd:literal
    ) => {
        concat!(
            "subs ",
            $point,
            ", ",
            $correlation,
            ", ",
            $point,
            "\n",
            "bgt 5f\n",
            $level,
            "\n",
            "beq 6f\n",
            "5:\n",
            "asr ",
            $point,
            ", ",
            $point,
            ", r7\n",
            "ssat ",
            $point,
            ", #18, ",
            $point,
            "\n",
            "lsl ",
            $point,
            ", ",
            $point,
            ", #13\n",
            "smmulr ",
            $point,
            ", ",
            $point,
            ", r6\n",
            "uxtah ",
            $point,
            ", ",
            $point,
            ", r8",
            $half,
            "\n",
            "usat ",
            $point,
            ", #15, ",
            $point,
            "\n",
            "strh ",
            $point,
            ", [r10, ",
            $place,
            "]\n",
            "cbz ",
            $point,
            ", 6f\n",
            "ldr r9, [sp, #4]\n",
            "sub r9, r10, r9\n",
            "orr ",
            $point,
            ", ",
            $point,
            ", r9, lsl #19\n",
            $odd,
            "str ",
            $point,
            ", [r11], #4\n",
            "6:\n",
        )
    };
}

#[cfg(feature = "denoise")]
macro_rules! two_components {
    () => {
        concat!(
            "ldrd r4, r5, [r0], #8\n",
            "ldrd r9, lr, [r1], #8\n",
            "ldr r8, [r2], #4\n",
            "asr r4, r4, r12\n",
            "asr r5, r5, r12\n",
            "smlawb r4, r3, r8, r4\n",
            "smlawt r5, r3, r8, r5\n",
            "ldr r8, [r10], #4\n",
            component!("r4", "r9", "lsls r9, r8, #16", "", "#-4", ""),
            component!(
                "r5",
                "lr",
                "lsrs r9, r8, #16",
                ", ror #16",
                "#-2",
                "orr r5, r5, #0x100000\n"
            ),
        )
    };
}

/// Eight instructions for a component that is 0 and stays it, up to 18 for another. Returns the
/// end of what it lists. An offset of a row is `index << 20` in an entry, and two bytes of the code
/// make an index.
///
/// # Safety
///
/// Up to `end`: eights of products, at least one; correlations, thresholds, code and entries: as
/// many.
#[cfg(feature = "denoise")]
#[unsafe(naked)]
unsafe extern "C" fn learned_step_dsp(given: &Given) -> *const Entry {
    naked_asm!(
        instructions!(),
        "push {{r4-r11, lr}}",
        "ldrd r4, r5, [r0], #8",
        "push {{r4, r5}}",
        "ldm r0, {{r0-r3, r6, r7, r10-r12}}",
        "2:",
        two_components!(),
        two_components!(),
        two_components!(),
        two_components!(),
        "ldr r9, [sp]",
        "cmp r0, r9",
        "blo 2b",
        "mov r0, r11",
        "add sp, sp, #8",
        "pop {{r4-r11, pc}}",
    )
}
