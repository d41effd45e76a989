//! How deep the stack went: what is free is painted at the start, what kept its paint was never
//! used.
#![allow(unsafe_code)]

use core::ptr;

const PAINT: u32 = 0xA5A5_5A5A;
/// Left unpainted below the painter's own frame.
const MARGIN: usize = 128;

unsafe extern "C" {
    // Both from the linker script: the end of the static variables and the stack's first address,
    // from where it grows down.
    static mut __euninit: u32;
    static _stack_start: u32;
}

fn lowest() -> *mut u32 {
    &raw mut __euninit
}

/// Paints the free stack: first thing in `main`, and again to measure anew.
#[inline(never)]
pub fn paint() {
    let frame = 0_u32;
    let end = ptr::from_ref(&frame) as usize - MARGIN;
    let mut word = lowest();
    while (word as usize) < end {
        // SAFETY: between the end of the statics and this frame's margin lies only unused stack of
        // a core without other threads, and the linker script aligns both ends to words.
        unsafe {
            word.write_volatile(PAINT);
            word = word.add(1);
        }
    }
}

/// Most bytes of stack in use at any time since the last `paint`.
pub fn high_water() -> usize {
    let top = &raw const _stack_start as usize;
    let mut word = lowest().cast_const();
    while (word as usize) < top {
        // SAFETY: the range is the stack's RAM, word-aligned; reading it volatile takes it as it
        // is.
        unsafe {
            if word.read_volatile() != PAINT {
                break;
            }
            word = word.add(1);
        }
    }
    top - word as usize
}
