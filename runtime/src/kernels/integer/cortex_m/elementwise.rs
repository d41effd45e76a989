//! Passes over elements that do not meet.

#![allow(unsafe_code)]

use core::arch::asm;
#[cfg(feature = "denoise")]
use core::arch::naked_asm;

#[cfg(feature = "denoise")]
use sparsecode_formats::LANES;

#[cfg(feature = "denoise")]
use super::lanes::instructions;
#[cfg(feature = "denoise")]
use crate::kernels::integer::Points;
use crate::kernels::integer::portable;

/// See [`portable::clamp`](crate::kernels::integer::portable::clamp): two at a time.
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
            // SAFETY: registers only. `SSUB16` sets a flag for each half that is not below the
            // other, and `SEL` chooses by it.
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
    portable::clamp(rest, least, most);
}

/// See [`Points::replace`]. `false` if the shift or the numbers are nothing for it, and nothing was
/// done.
#[cfg(feature = "denoise")]
#[inline(always)]
pub(crate) fn points(
    by: Points,
    products: &mut [i32],
    correlations: &[i32],
    thresholds: &[i16],
) -> bool {
    let count = products.len();
    let fits = correlations.len() >= count
        && thresholds.len() >= count
        && count.is_multiple_of(LANES)
        && thresholds.as_ptr().addr().is_multiple_of(4)
        && !products.is_empty();
    // `θσ >> shift` is `θ·(σ << 16 − shift) >> 16`, which one instruction computes.
    let Some(left) = 16_u8.checked_sub(by.threshold_shift) else {
        return false;
    };
    if !fits || by.threshold_shift < 2 {
        return false;
    }
    let noise = u32::from(by.noise_level).wrapping_shl(left.into());
    let end = products.as_ptr_range().end;
    // SAFETY: from `products` to `end` lie eights of numbers, as many lie behind the other two, and
    // `LDM` and `LDR` take what lies at multiples of 4.
    unsafe {
        points_dsp(
            products.as_mut_ptr(),
            correlations.as_ptr(),
            thresholds.as_ptr(),
            noise,
            end,
            by.finer.into(),
        );
    }
    true
}

/// Two points, of the products and correlations in four registers; `lr` holds both thresholds.
#[cfg(feature = "denoise")]
macro_rules! two_points {
    ($product:literal, $next:literal, $point:literal, $next_point:literal) => {
        concat!(
            "ldr lr, [r2], #4\n",
            "asr ",
            $product,
            ", ",
            $product,
            ", r12\n",
            "sub ",
            $point,
            ", ",
            $point,
            ", ",
            $product,
            "\n",
            "smulwb ",
            $product,
            ", r3, lr\n",
            "sub ",
            $point,
            ", ",
            $point,
            ", ",
            $product,
            "\n",
            "asr ",
            $next,
            ", ",
            $next,
            ", r12\n",
            "sub ",
            $next_point,
            ", ",
            $next_point,
            ", ",
            $next,
            "\n",
            "smulwt ",
            $next,
            ", r3, lr\n",
            "sub ",
            $next_point,
            ", ",
            $next_point,
            ", ",
            $next,
            "\n",
        )
    };
}

#[cfg(feature = "denoise")]
macro_rules! four_points {
    () => {
        concat!(
            "ldm r0, {{r4-r7}}\n",
            "ldm r1!, {{r8-r11}}\n",
            two_points!("r4", "r5", "r8", "r9"),
            two_points!("r6", "r7", "r10", "r11"),
            "stm r0!, {{r8-r11}}\n",
        )
    };
}

/// 45 instructions for eight components.
///
/// # Safety
///
/// `products` to `end`: eights of numbers, at least one; `correlations` and `thresholds`: as many,
/// the latter at a multiple of 4.
#[cfg(feature = "denoise")]
#[unsafe(naked)]
unsafe extern "C" fn points_dsp(
    products: *mut i32,
    correlations: *const i32,
    thresholds: *const i16,
    noise: u32,
    end: *const i32,
    finer: u32,
) {
    naked_asm!(
        instructions!(),
        "push {{r4-r11, lr}}",
        "ldr r12, [sp, #40]",
        "2:",
        four_points!(),
        four_points!(),
        "ldr lr, [sp, #36]",
        "cmp r0, lr",
        "blo 2b",
        "pop {{r4-r11, pc}}",
    )
}
