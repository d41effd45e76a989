//! Codes in float arithmetic, in arrays of the program in C.

#![allow(
    unsafe_code,
    reason = "slices are made of pointers; the module says what is checked"
)]

use core::slice;

use sparsecode_formats::CodeSign;

use super::memory::Region;
use super::status::sparsecode_status as Status;
use crate::float::code::{CodeBuffer, sealed::Storage};

/// A sparse code: the active components only, in arrays of the caller. Set the pointers and the
/// capacity; calls that make a code set `active`. To decode a code from elsewhere, fill in
/// `indices`, `values` and `active`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sparsecode_code {
    /// Indices of the active components, ascending. Room for `capacity`.
    pub indices: *mut u16,
    /// Their values, finite and not 0; not negative unless the model's codes are signed. Room for
    /// `capacity`.
    pub values: *mut f32,
    /// Elements of both arrays; at least the model's `code_dim`.
    pub capacity: u16,
    /// Active components.
    pub active: u16,
}

/// A code's arrays, cut to the model's dimension.
pub(super) struct Code {
    indices: *mut u16,
    values: *mut f32,
    code_dim: u16,
    pub(super) regions: [Region; 2],
}

impl Code {
    pub(super) fn new(header: &sparsecode_code, code_dim: u16) -> Result<Self, Status> {
        let length = usize::from(code_dim);
        let regions = [
            Region::new(header.indices, length)?,
            Region::new(header.values, length)?,
        ];
        if header.capacity < code_dim {
            return Err(Status::TooSmall);
        }
        Ok(Self {
            indices: header.indices,
            values: header.values,
            code_dim,
            regions,
        })
    }

    /// The arrays of a code that is only read.
    ///
    /// # Safety
    ///
    /// The caller's arrays are as long as they say, and nothing writes them for `'c`.
    pub(super) unsafe fn slices<'c>(&self) -> (&'c [u16], &'c [f32]) {
        let length = usize::from(self.code_dim);
        // SAFETY: checked by `new` as far as that goes; the rest is the caller's promise.
        unsafe {
            (
                slice::from_raw_parts(self.indices, length),
                slice::from_raw_parts(self.values, length),
            )
        }
    }

    /// The arrays as a buffer for a code.
    ///
    /// # Safety
    ///
    /// The caller's arrays are as long as they say, and nothing else refers to them for `'c`.
    pub(super) unsafe fn buffer<'c>(&self) -> Buffer<'c> {
        let length = usize::from(self.code_dim);
        // SAFETY: checked by `new` as far as that goes; the rest is the caller's promise.
        let indices = unsafe { slice::from_raw_parts_mut(self.indices, length) };
        // SAFETY: as above.
        Buffer::of(indices, unsafe {
            slice::from_raw_parts_mut(self.values, length)
        })
    }
}

/// A code in two arrays of the same length.
pub(super) struct Buffer<'c> {
    indices: &'c mut [u16],
    values: &'c mut [f32],
    pub(super) active: usize,
}

impl<'c> Buffer<'c> {
    /// No code yet, in two arrays of the same length.
    pub(super) fn of(indices: &'c mut [u16], values: &'c mut [f32]) -> Self {
        Self {
            indices,
            values,
            active: 0,
        }
    }

    /// Takes over a code that is in the arrays already.
    pub(super) fn keep(&mut self, active: u16, codes: CodeSign) -> Result<(), Status> {
        self.active = components(self.indices, self.values, active, codes)?
            .0
            .len();
        Ok(())
    }
}

/// The active components in two arrays as long as the code dimension, if they are a code.
pub(super) fn components<'c>(
    indices: &'c [u16],
    values: &'c [f32],
    active: u16,
    codes: CodeSign,
) -> Result<(&'c [u16], &'c [f32]), Status> {
    let (code_dim, active) = (indices.len(), usize::from(active));
    let parts = indices.get(..active).zip(values.get(..active));
    let (indices, values) = parts.ok_or(Status::InvalidCode)?;
    let mut least = 0;
    for (index, value) in indices.iter().zip(values) {
        let within = *index >= least && usize::from(*index) < code_dim;
        if !(within && *value != 0.0 && codes.admits(*value)) {
            return Err(Status::InvalidCode);
        }
        // Below the code dimension, so below 65535.
        least = index.wrapping_add(1);
    }
    Ok((indices, values))
}

impl Storage for Buffer<'_> {
    #[inline]
    fn append(&mut self, index: u16, value: f32) {
        let place = self.indices.get_mut(self.active);
        if let Some((i, v)) = place.zip(self.values.get_mut(self.active)) {
            (*i, *v) = (index, value);
            self.active = self.active.wrapping_add(1);
        }
    }
}

impl CodeBuffer for Buffer<'_> {
    fn capacity(&self) -> usize {
        self.indices.len()
    }

    fn indices(&self) -> &[u16] {
        self.indices.get(..self.active).unwrap_or_default()
    }

    fn values(&self) -> &[f32] {
        self.values.get(..self.active).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.active = 0;
    }
}
