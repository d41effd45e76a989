//! Passes over elements that do not meet.

#![allow(unsafe_code)]

use core::arch::asm;

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
