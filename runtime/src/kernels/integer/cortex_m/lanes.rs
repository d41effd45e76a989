//! What the kernels that are written out ask of memory and of the assembler.

/// What each level of [`Nibbles`] is too large by.
pub(super) const EXCESS: i32 = 128;

/// Whether numbers lie where `LDM` takes them.
#[inline(always)]
pub(super) fn is_aligned<T>(block: &[T]) -> bool {
    block.as_ptr().addr().is_multiple_of(4)
}

/// Functions written out are assembled without regard to the processor's name.
#[cfg(sparsecode_dsp = "extension")]
macro_rules! instructions {
    () => {
        ".cpu cortex-m33"
    };
}
#[cfg(not(sparsecode_dsp = "extension"))]
macro_rules! instructions {
    () => {
        ""
    };
}

pub(super) use instructions;
