//! Memory that C hands in: checked by address before references are made of it.

#![allow(
    unsafe_code,
    reason = "references are made of the caller's pointers, and a handle holds a Rust value"
)]

use core::ffi::c_void;
use core::{ptr, slice};

use sparsecode_formats::ReadError;

use super::status::sparsecode_status as Status;

/// Memory by its addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    start: usize,
    end: usize,
}

impl Region {
    /// `count` elements: not null, aligned, and within the address space.
    pub(super) fn new<T>(start: *const T, count: usize) -> Result<Self, Status> {
        if start.is_null() {
            return Err(Status::NullPointer);
        }
        if !start.is_aligned() {
            return Err(Status::Misaligned);
        }
        let start = start.addr();
        let bytes = count
            .checked_mul(size_of::<T>())
            // The limit of Rust's slices.
            .filter(|bytes| isize::try_from(*bytes).is_ok());
        let end = bytes.and_then(|bytes| start.checked_add(bytes));
        Ok(Self {
            start,
            end: end.ok_or(Status::Length)?,
        })
    }

    /// One element, or, if the pointer is null, nothing, which overlaps nothing.
    pub(super) fn optional<T>(start: *const T) -> Result<Self, Status> {
        if start.is_null() {
            Ok(Self { start: 0, end: 0 })
        } else {
            Self::new(start, 1)
        }
    }

    fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// Refuses memory to write that overlaps any other.
pub(super) fn distinct(written: &[Region], read: &[Region]) -> Result<(), Status> {
    let mut rest = written;
    while let Some((region, others)) = rest.split_first() {
        if others
            .iter()
            .chain(read)
            .any(|other| region.overlaps(*other))
        {
            return Err(Status::Overlap);
        }
        rest = others;
    }
    Ok(())
}

/// A workspace of at least `needed` bytes.
pub(super) fn workspace(start: *mut c_void, bytes: usize, needed: usize) -> Result<Region, Status> {
    Region::new(start.cast::<u32>(), 0)?;
    if bytes < needed {
        return Err(Status::TooSmall);
    }
    Region::new(start.cast::<u8>(), needed)
}

/// Copies an argument.
///
/// # Safety
///
/// Unless it is null or not aligned, `argument` points to a `T`.
pub(super) unsafe fn read<T: Copy>(argument: *const T) -> Result<T, Status> {
    Region::new(argument, 1)?;
    // SAFETY: not null, aligned, and a `T` as the caller promises.
    Ok(unsafe { argument.read() })
}

/// Hands out a workspace part by part.
pub(super) struct Parts {
    next: *mut u8,
}

impl Parts {
    pub(super) fn new(workspace: *mut c_void) -> Self {
        Self {
            next: workspace.cast(),
        }
    }

    /// What was not handed out yet.
    pub(super) fn rest(&self) -> *mut c_void {
        self.next.cast()
    }

    /// The next `count` elements.
    ///
    /// # Safety
    ///
    /// They lie within the workspace and are aligned there, any bits are a `T`, and nothing else
    /// refers to them for `'w`.
    pub(super) unsafe fn take<'w, T>(&mut self, count: usize) -> &'w mut [T] {
        let start = self.next.cast::<T>();
        // SAFETY: the end of memory that the caller says there is.
        self.next = unsafe { start.add(count) }.cast();
        // SAFETY: as the caller promises.
        unsafe { slice::from_raw_parts_mut(start, count) }
    }
}

/// A handle that C holds by value, and what is in it.
pub(super) trait Handle: Sized {
    /// The model as Rust has it.
    type Model: Copy + 'static;

    /// Marks a handle that holds a model: no text, no small number, no address of anything likely.
    const MARK: usize;

    /// Bytes of the model's file.
    fn file_len(model: &Self::Model) -> usize;
}

/// What a handle holds.
#[repr(C)]
pub(super) struct Loaded<H: Handle> {
    // First, so that it can be looked at before the rest is known to be there.
    mark: usize,
    /// The model's file.
    file: Region,
    pub(super) model: H::Model,
}

/// Reads a model's file and writes its handle, which holds none if that fails.
///
/// # Safety
///
/// `handle` and `length` bytes from `file` are as the module's safety section demands.
pub(super) unsafe fn load<H: Handle>(
    handle: *mut H,
    file: *const c_void,
    length: usize,
    read: impl FnOnce(&'static [u8]) -> Result<H::Model, ReadError>,
) -> Result<(), Status> {
    const {
        assert!(
            size_of::<Loaded<H>>() <= size_of::<H>(),
            "the handle is too small"
        );
        assert!(align_of::<Loaded<H>>() <= align_of::<H>());
    }
    let place = Region::new(handle, 1)?;
    let bytes = Region::new(file.cast::<u8>(), length)?;
    distinct(&[place], &[bytes])?;
    // SAFETY: not null, aligned, and the caller's to write; the mark is at the start.
    unsafe { handle.cast::<usize>().write(0) };
    // SAFETY: not null, within the address space, readable, and unchanged for as long as the handle
    // is used.
    let bytes: &'static [u8] = unsafe { slice::from_raw_parts(file.cast(), length) };
    let model = read(bytes)?;
    let file = Region::new(bytes.as_ptr(), H::file_len(&model))?;
    let place = handle.cast::<Loaded<H>>();
    // One by one, and the mark last: a model is hundreds of bytes of stack each time that it is
    // moved. SAFETY: as above; the assertions say that it fits.
    unsafe {
        (&raw mut (*place).model).write(model);
        (&raw mut (*place).file).write(file);
        (&raw mut (*place).mark).write(H::MARK);
    }
    Ok(())
}

/// The model of a handle.
///
/// # Safety
///
/// `handle` is as the module's safety section demands, for `'h`.
pub(super) unsafe fn loaded<'h, H: Handle>(handle: *const H) -> Result<&'h Loaded<H>, Status> {
    Region::new(handle, 1)?;
    // SAFETY: not null, aligned, readable.
    if unsafe { handle.cast::<usize>().read() } != H::MARK {
        return Err(Status::NotLoaded);
    }
    // SAFETY: only `load` writes the mark, and it writes the rest along.
    Ok(unsafe { &*handle.cast() })
}

impl<H: Handle> Loaded<H> {
    /// Refuses memory to write that overlaps any other, the handle and the file among it.
    pub(super) fn distinct(&self, written: &[Region], read: &[Region]) -> Result<(), Status> {
        let handle = Region::new(ptr::from_ref(self).cast::<H>(), 1)?;
        distinct(written, &[handle, self.file])?;
        distinct(written, read)
    }
}
