//! What a call answers.

#![allow(
    unsafe_code,
    reason = "functions that C finds by name; there is nothing else unsafe here"
)]

use core::ffi::{CStr, c_char};

use sparsecode_formats::{FORMAT_VERSION, INTEGER_FORMAT_VERSION, ReadError};

use crate::error::DimensionError;
#[cfg(feature = "variational")]
use crate::error::SampleError;
use crate::refinement::Stop;

/// What a call answers: 0, or why it did nothing. A call that fails leaves its arguments as they
/// are.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum sparsecode_status {
    /// Done.
    Ok = 0,
    /// A pointer is null that must not be.
    NullPointer = 1,
    /// A pointer is not aligned for its type. Model files and workspaces start on a multiple of 4,
    /// handles on one of 8.
    Misaligned = 2,
    /// Memory that the call writes overlaps other memory that it was given.
    Overlap = 3,
    /// The patch is not as long as the model's, or a length does not fit the address space.
    Length = 4,
    /// The workspace or the code's capacity is smaller than the model needs.
    TooSmall = 5,
    /// The handle holds no model.
    NotLoaded = 6,
    /// The code is none of this model: indices are not ascending or not below `code_dim`, or a
    /// value is 0, not finite, or negative although the model's codes are not signed.
    InvalidCode = 7,
    /// A setting is none of its values, or outside its range.
    InvalidSetting = 8,
    /// The bytes are no model file, or it was cut short.
    NotAModel = 9,
    /// The model file is for the other arithmetic: integers instead of float, or the reverse.
    OtherArithmetic = 10,
    /// The model file is of a version that this library does not know.
    Version = 11,
    /// The model file is damaged or inconsistent; `sparsecode inspect` on a host says where.
    InvalidModel = 12,
    /// More bytes were given than the model file has.
    TrailingData = 13,
    /// The model's weights are not those that were written.
    Checksum = 14,
    /// The model was not trained to denoise signals: `sparsecode train --task denoise`.
    NotADenoiser = 15,
    /// The memory holds no channel that was started with this model.
    NotStarted = 16,
    /// The file leaves its Gram matrix to be built, and there is no memory for it, or too little:
    /// `sparsecode_integer_model_load_into`.
    GramMemory = 17,
    /// The model's file holds no posterior to draw samples from: export the run of a variational
    /// model with `sparsecode export --posterior`.
    NoPosterior = 18,
}

use sparsecode_status as Status;

impl Status {
    const ALL: [(Self, &CStr); 19] = [
        (Self::Ok, c"done"),
        (Self::NullPointer, c"a pointer is null"),
        (Self::Misaligned, c"a pointer is not aligned for its type"),
        (Self::Overlap, c"memory to write overlaps other memory"),
        (Self::Length, c"the patch is not as long as the model's"),
        (
            Self::TooSmall,
            c"the workspace or the code is smaller than the model needs",
        ),
        (Self::NotLoaded, c"the handle holds no model"),
        (
            Self::InvalidCode,
            c"indices of the code do not ascend or are out of range, or a value is 0, not finite, or of a sign that the model has not",
        ),
        (Self::InvalidSetting, c"a setting is none of its values, or outside its range"),
        (Self::NotAModel, c"no model file, or cut short"),
        (
            Self::OtherArithmetic,
            c"the model file is for the other arithmetic (float or integer)",
        ),
        (
            Self::Version,
            c"the model file is of a version that is not known",
        ),
        (
            Self::InvalidModel,
            c"the model file is damaged or inconsistent",
        ),
        (
            Self::TrailingData,
            c"more bytes were given than the model file has",
        ),
        (
            Self::Checksum,
            c"the model's weights are not those that were written",
        ),
        (
            Self::NotADenoiser,
            c"the model was not trained to denoise signals",
        ),
        (
            Self::NotStarted,
            c"the memory holds no channel that was started with this model",
        ),
        (
            Self::GramMemory,
            c"the file leaves its Gram matrix to be built, and there is too little memory for it",
        ),
        (
            Self::NoPosterior,
            c"the model's file holds no posterior to draw samples from",
        ),
    ];
}

impl From<ReadError> for Status {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::MisalignedBuffer { .. } => Self::Misaligned,
            ReadError::Truncated { .. }
            | ReadError::HeaderLength { .. }
            | ReadError::HeaderUtf8 { .. }
            | ReadError::HeaderJson { .. } => Self::NotAModel,
            ReadError::UnsupportedVersion {
                found: FORMAT_VERSION | INTEGER_FORMAT_VERSION,
            } => Self::OtherArithmetic,
            ReadError::UnsupportedVersion { .. } => Self::Version,
            ReadError::GramMemory { .. } => Self::GramMemory,
            ReadError::TrailingData { .. } => Self::TrailingData,
            ReadError::Checksum { .. } => Self::Checksum,
            _ => Self::InvalidModel,
        }
    }
}

impl From<DimensionError> for Status {
    // Lengths are checked before; this is what is left of it for the compiler.
    fn from(_: DimensionError) -> Self {
        Self::TooSmall
    }
}

#[cfg(feature = "variational")]
impl From<SampleError> for Status {
    fn from(error: SampleError) -> Self {
        match error {
            SampleError::Posterior => Self::NoPosterior,
            SampleError::Count => Self::InvalidSetting,
            SampleError::Dimension(error) => error.into(),
        }
    }
}

/// A call's body, and its answer.
pub(super) fn attempt(body: impl FnOnce() -> Result<(), Status>) -> Status {
    match body() {
        Ok(()) => Status::Ok,
        Err(status) => status,
    }
}

/// Why a refinement ended.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum sparsecode_stop {
    /// The code changed by less than the tolerance, or is zero for good.
    Converged = 0,
    /// `max_iterations` were made.
    Budget = 1,
    /// The deadline function said so.
    Deadline = 2,
}

impl From<Stop> for sparsecode_stop {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Converged => Self::Converged,
            Stop::Budget => Self::Budget,
            Stop::Deadline => Self::Deadline,
        }
    }
}

/// A short English text for a status, for logs. Any number will do; the text is never null and
/// lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn sparsecode_status_message(status: i32) -> *const c_char {
    let known = Status::ALL
        .iter()
        .find(|(value, _)| *value as i32 == status);
    let text = known.map_or(c"no status of this library", |(_, text)| *text);
    text.as_ptr()
}
