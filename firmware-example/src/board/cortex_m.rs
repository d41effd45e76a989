//! Arm's development boards as QEMU models them, and the micro:bit.

use core::hint::black_box;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::Peripherals;
use cortex_m::peripheral::{SYST, syst::SystClkSource};
pub use cortex_m_rt::entry;
use cortex_m_rt::exception;

#[cfg(feature = "m0plus")]
mod clock {
    pub const NAME: &str = "Cortex-M0+ (micro:bit)";
    // 16 MHz, 64 ns an instruction: 1.024 ticks.
    pub(super) const INSTRUCTIONS_PER_TICK: (u64, u64) = (125, 128);
}
#[cfg(feature = "m4f")]
mod clock {
    pub const NAME: &str = "Cortex-M4F (MPS2 AN386)";
    // 25 MHz, 64 ns an instruction: 1.6 ticks.
    pub(super) const INSTRUCTIONS_PER_TICK: (u64, u64) = (5, 8);
}
#[cfg(feature = "m7")]
mod clock {
    pub const NAME: &str = "Cortex-M7 (MPS2 AN500)";
    // 25 MHz, 64 ns an instruction: 1.6 ticks.
    pub(super) const INSTRUCTIONS_PER_TICK: (u64, u64) = (5, 8);
}
#[cfg(feature = "m33")]
mod clock {
    pub const NAME: &str = "Cortex-M33 (MPS2 AN505)";
    // 20 MHz, 64 ns an instruction: 1.28 ticks.
    pub(super) const INSTRUCTIONS_PER_TICK: (u64, u64) = (25, 32);
}
#[cfg(feature = "m55")]
mod clock {
    pub const NAME: &str = "Cortex-M55 (MPS3 AN547)";
    // 32 MHz, 32 ns an instruction: 1.024 ticks.
    pub(super) const INSTRUCTIONS_PER_TICK: (u64, u64) = (125, 128);
}

use clock::INSTRUCTIONS_PER_TICK;
pub use clock::NAME;

/// SysTick counts 24 bits down.
const PERIOD: u32 = 1 << 24;

static WRAPS: AtomicU32 = AtomicU32::new(0);

#[exception]
fn SysTick() {
    // Only this handler writes, so a load and a store suffice (the M0+ has no compare-and-swap).
    WRAPS.store(
        WRAPS.load(Ordering::Relaxed).wrapping_add(1),
        Ordering::Relaxed,
    );
}

/// Starts SysTick on the core's clock.
pub fn init() {
    if let Some(mut peripherals) = Peripherals::take() {
        let timer = &mut peripherals.SYST;
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(PERIOD - 1);
        timer.clear_current();
        timer.enable_interrupt();
        timer.enable_counter();
    }
}

/// Ticks since `init`. Each period adds the handler's few instructions to what is measured across
/// it.
#[inline]
fn ticks() -> u64 {
    loop {
        let wraps = WRAPS.load(Ordering::Relaxed);
        let current = SYST::get_current();
        if WRAPS.load(Ordering::Relaxed) == wraps {
            // The interrupt comes when the counter reaches 0, one tick before it reloads.
            let since_wrap = if current == 0 { 0 } else { PERIOD - current };
            return u64::from(wraps) * u64::from(PERIOD) + u64::from(since_wrap);
        }
    }
}

/// Runs `work` and counts its instructions, exactly where the emulator ties time to them
/// (`-icount`).
///
/// On real hardware SysTick counts time instead; use the cycle counter there (`DWT::cycle_count`).
#[inline(never)]
pub fn measure<R>(work: impl FnOnce() -> R) -> (R, u64) {
    let empty = {
        let start = ticks();
        ticks() - start
    };
    let start = ticks();
    let result = black_box(work());
    let elapsed = (ticks() - start).saturating_sub(empty);
    let (numerator, denominator) = INSTRUCTIONS_PER_TICK;
    (
        result,
        (elapsed * numerator + denominator / 2) / denominator,
    )
}

/// A loop of `iterations` times two instructions.
pub(super) fn delay_loop(iterations: u32) {
    cortex_m::asm::delay(iterations - 1);
}
