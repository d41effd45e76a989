//! From sums to drives, and from drives to levels.

#![allow(unsafe_code)]

use core::arch::naked_asm;

use sparsecode_formats::Rescales;

use crate::kernels::integer::entry::Entry;
use crate::kernels::integer::rounding::{High, Threshold};

/// See [`portable::clamp`](crate::kernels::integer::portable::clamp): eight at a time.
#[inline(always)]
pub(crate) fn clamp(levels: &mut [i16], least: i16, most: i16) {
    // SAFETY: the pointer and the length are the slice's.
    unsafe { clamp_mve(levels.as_mut_ptr(), levels.len(), least.into(), most.into()) }
}

/// Zeros: 2 instructions for four, where the library's `memclr` takes 12.
#[inline(always)]
pub(crate) fn clear(sums: &mut [i32]) {
    // SAFETY: the pointer and the length are the slice's.
    unsafe { clear_mve(sums.as_mut_ptr(), sums.len()) }
}

/// See [`rescale`](crate::kernels::integer::rescale). `false` if a sum is too large for the shift,
/// and nothing was done.
#[inline(always)]
pub(crate) fn rescale(by: &Rescales<'_>, bias: &[i32], sums: &[i32], output: &mut [i32]) -> bool {
    // Shifts below 33 become 33, and what they lack is added to the sums.
    let left = 33_u8.saturating_sub(by.shift);
    if left > 30 {
        return false;
    }
    // SAFETY: the length is the slice's.
    if left > 0
        && unsafe { largest_mve(sums.as_ptr(), sums.len()) } >= 1 << 31_u8.wrapping_sub(left)
    {
        return false;
    }
    let count = output
        .len()
        .min(sums.len())
        .min(bias.len())
        .min(by.multipliers.len());
    let (multipliers, left) = (by.multipliers.as_ptr(), left.into());
    let right = High::new(by.shift.max(33)).shift;
    let (sums, bias, output) = (sums.as_ptr(), bias.as_ptr(), output.as_mut_ptr());
    // SAFETY: none of the four is shorter than `count`.
    unsafe { rescale_mve(sums, multipliers, bias, output, count, left, right) };
    true
}

/// See [`list_levels`](crate::kernels::integer::list_levels).
#[inline(always)]
pub(crate) fn list_levels(drive: &[i32], threshold: Threshold, list: &mut [Entry]) -> Option<u16> {
    if drive.len() > list.len() || !drive.len().is_multiple_of(4) {
        return None;
    }
    let (count, to) = (drive.len(), list.as_mut_ptr());
    // SAFETY: the list is at least as long as the drive.
    Some(unsafe {
        list_levels_mve(
            drive.as_ptr(),
            count,
            threshold.fraction,
            threshold.least(),
            to,
        )
    } as u16)
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

/// # Safety
///
/// `sums`: `count` numbers.
#[unsafe(naked)]
unsafe extern "C" fn clear_mve(sums: *mut i32, count: usize) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r7, lr}}",
        "vmov.i32 q0, #0",
        "wlstp.32 lr, r1, 3f",
        "2:",
        "vstrw.32 q0, [r0], #16",
        "letp lr, 2b",
        "3:",
        "pop {{r7, pc}}",
    )
}

/// The largest magnitude.
///
/// # Safety
///
/// `count` numbers.
#[unsafe(naked)]
unsafe extern "C" fn largest_mve(sums: *const i32, count: usize) -> u32 {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r7, lr}}",
        "movs r2, #0",
        "wlstp.32 lr, r1, 3f",
        "2:",
        "vldrw.u32 q0, [r0], #16",
        "vmaxav.s32 r2, q0",
        "letp lr, 2b",
        "3:",
        "mov r0, r2",
        "pop {{r7, pc}}",
    )
}

/// `output = High(sums << left) + bias`: 9 instructions for four. `output` may be `sums`.
///
/// # Safety
///
/// `count` numbers each.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn rescale_mve(
    sums: *const i32,
    multipliers: *const i32,
    bias: *const i32,
    output: *mut i32,
    count: usize,
    left: u32,
    right: u32,
) {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r6, r7, r8, lr}}",
        "ldrd r6, r7, [sp, #16]",
        "ldr r12, [sp, #24]",
        "rsb r12, r12, #0",
        "wlstp.32 lr, r6, 3f",
        "2:",
        "vldrw.u32 q0, [r0], #16",
        "vshl.s32 q0, r7",
        "vldrw.u32 q1, [r1], #16",
        "vmulh.s32 q0, q0, q1",
        "vrshl.s32 q0, r12",
        "vldrw.u32 q2, [r2], #16",
        "vadd.i32 q0, q0, q2",
        "vstrw.32 q0, [r3], #16",
        "letp lr, 2b",
        "3:",
        "pop {{r6, r7, r8, pc}}",
    )
}

/// Appends a level that is not 0 to the list.
macro_rules! append {
    ($level:literal) => {
        concat!(
            concat!("cmp ", $level, ", #0\n"),
            "itt gt\n",
            concat!("orrgt ", $level, ", r5, ", $level, "\n"),
            concat!("strgt ", $level, ", [r12], #4\n"),
            "add r5, r5, #0x80000\n",
        )
    };
}

/// Lists the levels of `count` drives, a multiple of four, and returns how many there are: 6
/// instructions for four that are all 0. The list may begin where the drives do.
///
/// # Safety
///
/// `drive`: `count` numbers; `list`: room for as many entries.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn list_levels_mve(
    drive: *const i32,
    count: usize,
    fraction: u32,
    least: i32,
    list: *mut Entry,
) -> usize {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4, r5, r6, r7, r8, lr}}",
        "ldr r12, [sp, #24]",
        "rsbs r2, r2, #0",
        "movw r4, #32767",
        "vdup.32 q1, r4",
        "movs r5, #0",
        "lsrs r1, r1, #2",
        "wls lr, r1, 9f",
        "2:",
        "vldrw.u32 q0, [r0], #16",
        "vcmp.s32 ge, q0, r3",
        "vmrs r4, p0",
        "cbnz r4, 4f",
        "add r5, r5, #0x200000",
        "le lr, 2b",
        "b 9f",
        "4:",
        "vrshl.s32 q0, r2",
        "vmin.s32 q0, q0, q1",
        "vmov r4, r6, q0[2], q0[0]",
        "vmov r7, r8, q0[3], q0[1]",
        append!("r4"),
        append!("r7"),
        append!("r6"),
        append!("r8"),
        "le lr, 2b",
        "9:",
        "ldr r0, [sp, #24]",
        "sub r0, r12, r0",
        "lsrs r0, r0, #2",
        "pop {{r4, r5, r6, r7, r8, pc}}",
    )
}
