//! What the processor has, found out once, when a kernel is first called.

use core::sync::atomic::{AtomicU8, Ordering};

#[cfg(sparsecode_neon)]
pub(super) use aarch64::{dotprod, neon};
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512Vnni};

#[cfg(sparsecode_neon)]
use aarch64::detect;
#[cfg(target_arch = "x86_64")]
use x86::detect;

static LEVEL: AtomicU8 = AtomicU8::new(UNKNOWN);

const UNKNOWN: u8 = 0;
/// Nothing beyond what the portable kernels are compiled for; those above it are the
/// architecture's.
const BASELINE: u8 = 1;

#[inline(always)]
fn level() -> u8 {
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

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{BASELINE, level};

    const AVX2: u8 = 2;
    const AVX512_VNNI: u8 = 3;

    /// Without `std` the processor is not asked: what the compiler was told it has, counts.
    pub(super) fn detect() -> u8 {
        #[cfg(any(feature = "std", test))]
        macro_rules! has {
            ($($feature:tt),+) => { $(std::is_x86_feature_detected!($feature))&&+ };
        }
        #[cfg(not(any(feature = "std", test)))]
        macro_rules! has {
            ($($feature:tt),+) => { $(cfg!(target_feature = $feature))&&+ };
        }
        if !has!("avx2", "popcnt") {
            BASELINE
        } else if has!("avx512f", "avx512bw", "avx512vl", "avx512vnni") {
            AVX512_VNNI
        } else {
            AVX2
        }
    }

    /// The processor has AVX2 and POPCNT.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Avx2(());

    impl Avx2 {
        #[inline(always)]
        pub(crate) fn new() -> Option<Self> {
            (level() >= AVX2).then_some(Self(()))
        }
    }

    /// The processor has AVX-512 with F, BW, VL and VNNI, and what [`Avx2`] says.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Avx512Vnni(());

    impl Avx512Vnni {
        #[inline(always)]
        pub(crate) fn new() -> Option<Self> {
            (level() >= AVX512_VNNI).then_some(Self(()))
        }
    }
}

#[cfg(sparsecode_neon)]
mod aarch64 {
    use super::{BASELINE, level};

    const NEON: u8 = 2;
    const DOTPROD: u8 = 3;

    /// Without `std` the processor is not asked: what the compiler was told it has, counts.
    pub(super) fn detect() -> u8 {
        #[cfg(any(feature = "std", test))]
        let dotprod = std::arch::is_aarch64_feature_detected!("dotprod");
        #[cfg(not(any(feature = "std", test)))]
        let dotprod = cfg!(target_feature = "dotprod");
        if dotprod { DOTPROD } else { NEON }
    }

    /// Whether to use NEON: always, but for tests that compare with the portable kernels.
    #[inline(always)]
    pub(crate) fn neon() -> bool {
        !cfg!(test) || level() > BASELINE
    }

    /// Whether the processor has dot products of 8-bit numbers.
    #[inline(always)]
    pub(crate) fn dotprod() -> bool {
        level() >= DOTPROD
    }

    #[cfg(test)]
    mod tests {
        /// So that tests of every implementation are known to be that.
        #[test]
        fn dot_products_are_found_where_they_are() {
            // Set by `cargo xtask aarch64`, which knows the processor.
            if let Ok(expected) = std::env::var("SPARSECODE_DOTPROD") {
                assert_eq!(expected, if super::dotprod() { "true" } else { "false" });
            }
        }
    }
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
