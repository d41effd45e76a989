//! QEMU's `virt` machine with the extensions that RV32IMC parts have.

use core::hint::black_box;

use riscv::register::minstret;
pub use riscv_rt::entry;

pub const NAME: &str = "RV32IMC (virt)";

/// Nothing to start: the instruction counter always runs.
pub fn init() {}

/// Runs `work` and counts its instructions (`minstret`; the same on real hardware).
#[inline(never)]
pub fn measure<R>(work: impl FnOnce() -> R) -> (R, u64) {
    let empty = {
        let start = minstret::read64();
        minstret::read64() - start
    };
    let start = minstret::read64();
    let result = black_box(work());
    (result, (minstret::read64() - start).saturating_sub(empty))
}

/// A loop of `iterations` times two instructions.
pub(super) fn delay_loop(iterations: u32) {
    riscv::asm::delay(2 * (iterations - 1));
}
