//! Results that are not filled with zeros before they are computed.

use std::mem::MaybeUninit;

/// `count` numbers, as `write` writes them.
///
/// # Safety
///
/// `write` must write every one of them.
#[allow(unsafe_code)]
pub(super) unsafe fn written(
    count: usize,
    write: impl FnOnce(&mut [MaybeUninit<f32>]),
) -> Vec<f32> {
    let mut out = Vec::with_capacity(count);
    write(&mut out.spare_capacity_mut()[..count]);
    // SAFETY: the capacity is there, and the caller has seen to it that `count` numbers are
    // written.
    unsafe { out.set_len(count) };
    out
}
