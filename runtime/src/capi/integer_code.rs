//! Codes in integer arithmetic, in arrays of the program in C.

#![allow(
    unsafe_code,
    reason = "functions that C calls, with C's pointers; the module says what is checked"
)]

use super::memory::{self, Region, distinct};
use super::status::{attempt, sparsecode_status};
use crate::integer::code::{component, entry, is_level};
use crate::kernels::integer::Entry;

use sparsecode_status as Status;

/// A sparse code in levels of 16 bits: the active components only, packed in an array of the
/// caller. Set the pointer and the capacity; calls that make a code set `active`.
/// `sparsecode_integer_code_get` reads a component; to decode a code from elsewhere, set `active`
/// to 0 and append its components with `sparsecode_integer_code_push`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sparsecode_integer_code {
    /// The active components, in a form that is the library's. Room for `capacity`.
    pub entries: *mut u32,
    /// Elements of the array; at least the model's `code_dim`, at most 4095.
    pub capacity: u16,
    /// Active components.
    pub active: u16,
}

/// Writes the component of a code at `position`, below `active`: its index, and its level, which is
/// not 0.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_code_get(
    code: *const sparsecode_integer_code,
    position: u16,
    index: *mut u16,
    level: *mut i16,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a code, as the caller promises.
        let header = unsafe { memory::read(code) }?;
        let written = [Region::new(index, 1)?, Region::new(level, 1)?];
        if position >= header.active || header.active > header.capacity {
            return Err(Status::InvalidCode);
        }
        let entries = Region::new(header.entries, header.capacity.into())?;
        distinct(&written, &[Region::new(code, 1)?, entries])?;
        let place = header.entries.wrapping_add(position.into());
        // SAFETY: within the array, as the caller promises; an entry is a `u32`.
        let found = unsafe { memory::read(place.cast::<Entry>()) }?;
        let (found, value) = component(found);
        // SAFETY: not null, aligned, and the caller's to write.
        unsafe {
            index.write(found);
            level.write(value);
        }
        Ok(())
    })
}

/// Appends a component to a code: its index, greater than those before it and below the capacity,
/// and its level, -32767 to 32767 and not 0. Calls with a model refuse a code with negative levels
/// unless the model's codes are signed.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_code_push(
    code: *mut sparsecode_integer_code,
    index: u16,
    level: i16,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a code, as the caller promises.
        let mut header = unsafe { memory::read(code) }?;
        let entries = Region::new(header.entries, header.capacity.into())?;
        distinct(&[Region::new(code, 1)?, entries], &[])?;
        if header.active >= header.capacity
            || index >= header.capacity.min(4095)
            || !is_level(level)
        {
            return Err(Status::InvalidCode);
        }
        if let Some(last) = header.active.checked_sub(1) {
            let last = header.entries.wrapping_add(last.into());
            // SAFETY: within the array, as the caller promises; an entry is a `u32`.
            let last = unsafe { memory::read(last.cast::<Entry>()) }?;
            if component(last).0 >= index {
                return Err(Status::InvalidCode);
            }
        }
        let place = header.entries.wrapping_add(header.active.into());
        // SAFETY: within the array, which is the caller's to write.
        unsafe { place.cast::<Entry>().write(entry(index, level)) };
        header.active = header.active.wrapping_add(1);
        // SAFETY: read above, and the caller's to write.
        unsafe { code.write(header) };
        Ok(())
    })
}
