//! What the processor has, found out once, when a kernel is first called.

use core::sync::atomic::{AtomicU8, Ordering};

#[cfg(sparsecode_neon)]
use super::aarch64::detect;
#[cfg(target_arch = "x86_64")]
use super::x86::detect;

static LEVEL: AtomicU8 = AtomicU8::new(UNKNOWN);

const UNKNOWN: u8 = 0;
/// Nothing beyond what the portable kernels are compiled for; those above it are the architecture's.
pub(super) const BASELINE: u8 = 1;

#[inline(always)]
pub(super) fn level() -> u8 {
    match LEVEL.load(Ordering::Relaxed) {
        UNKNOWN => find_out(),
        level => level,
    }
}

#[cold]
fn find_out() -> u8 {
    let level = detect();
    LEVEL.store(level, Ordering::Relaxed);
    level
}

/// What `run` gives with every implementation that the processor can run, the portable one first.
#[cfg(test)]
pub(super) fn at_every_level<T>(run: impl Fn() -> T) -> std::vec::Vec<T> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    // A failed test has left the level as it was for the next one.
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let real = detect();
    let results = (BASELINE..=real).map(|level| {
        LEVEL.store(level, Ordering::Relaxed);
        run()
    });
    let results = results.collect();
    LEVEL.store(real, Ordering::Relaxed);
    results
}
