//! All that depends on the board. To run on your own, write a module with these five items and put
//! it here:
//!
//! | item | on your board |
//! |---|---|
//! | `entry` | your runtime crate's entry attribute |
//! | `NAME` | any name |
//! | `init()` | clocks, pins, the counter behind `measure` |
//! | `measure(work)` | `DWT::cycle_count` or a timer; only the printed figures depend on it |
//! | `exit(ok)` | a loop with `wfi` |

#[cfg(target_arch = "arm")]
mod cortex_m;
#[cfg(target_arch = "arm")]
pub use cortex_m::*;

#[cfg(target_arch = "riscv32")]
mod riscv;
#[cfg(target_arch = "riscv32")]
pub use riscv::*;

/// Ends the emulation with status 0 or 1.
pub fn exit(ok: bool) -> ! {
    semihosting::process::exit(if ok { 0 } else { 1 })
}

/// Runs a loop whose length is known and returns (instructions counted, instructions executed).
///
/// They agree if the emulator's clock is what this module takes it to be.
pub fn check_counter() -> (u64, u64) {
    let iterations = 50_000;
    let ((), counted) = measure(|| delay_loop(iterations));
    (counted, 2 * u64::from(iterations))
}
