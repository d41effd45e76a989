//! What can be wrong with a model file.

use core::fmt;

use crate::format::{FORMAT_VERSION, INTEGER_FORMAT_VERSION, MAX_HEADER_LEN};

/// A value of a [`ModelSpec`](crate::ModelSpec) that is out of range, or text that is no such
/// value.
///
/// ```
/// let error = "vld".parse::<sparsecode_formats::Variant>().unwrap_err();
/// assert_eq!(error.to_string(), "variant: expected one of sdl, vdl, wdl, do, none, denoise, variational");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SpecError {
    /// The field, by its name in the metadata.
    pub field: &'static str,
    /// What would be right.
    pub expected: &'static str,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}", self.field, self.expected)
    }
}

impl core::error::Error for SpecError {}

/// A name found in a file, cut to 32 bytes so that an error needs no allocator and no lifetime.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; 32],
    len: u8,
}

impl Name {
    pub(crate) fn new(text: &str) -> Self {
        let mut len = text.len().min(32);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(text.bytes().take(len)) {
            *to = from;
        }
        Self {
            bytes,
            len: len as u8,
        }
    }

    /// The name, or its first 32 bytes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Name {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.as_str());
    }
}

/// The shape of a tensor, up to the two dimensions that a model file uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Dims {
    /// `[length]`
    Vector(usize),
    /// `[rows, columns]`
    Matrix(usize, usize),
    /// A scalar (0), or more than two dimensions.
    Rank(usize),
}

impl fmt::Display for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vector(length) => write!(f, "[{length}]"),
            Self::Matrix(rows, cols) => write!(f, "[{rows}, {cols}]"),
            Self::Rank(rank) => write!(f, "{rank} dimensions"),
        }
    }
}

/// Why bytes are not a readable model file. The message names the field and what to do.
///
/// ```
/// use sparsecode_formats::ReadError;
///
/// let error = ReadError::MissingTensor { tensor: "encoder.bias" };
/// assert_eq!(error.to_string(), "tensor encoder.bias is missing: export the model again");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ReadError {
    /// The bytes end before the header does.
    Truncated {
        /// Bytes that the header needs.
        needed: u64,
        /// Bytes that there are.
        found: usize,
    },
    /// The buffer does not start on a boundary of [`MIN_ALIGNMENT`](crate::MIN_ALIGNMENT) bytes.
    MisalignedBuffer {
        /// The address modulo 8.
        remainder: usize,
    },
    /// The file does not store its Gram matrix, and there is too little memory to build it in: see
    /// [`IntegerFile::read_into`](crate::IntegerFile::read_into).
    GramMemory {
        /// Numbers that the matrix takes.
        needed: usize,
        /// Numbers that there is memory for.
        found: usize,
    },
    /// The header's length is above [`MAX_HEADER_LEN`](crate::MAX_HEADER_LEN).
    HeaderLength {
        /// The length that the first eight bytes state.
        length: u64,
    },
    /// The header is not UTF-8.
    HeaderUtf8 {
        /// Position in the header of the first wrong byte.
        position: usize,
    },
    /// The header is not JSON, or not the JSON of a safetensors header.
    HeaderJson {
        /// Position in the header.
        position: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// A field of the header is missing: `__metadata__`, `dtype`, `shape` or `data_offsets`.
    MissingField {
        /// The tensor, or `"header"`.
        tensor: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A field of the header occurs twice: `__metadata__`, `dtype`, `shape` or `data_offsets`.
    DuplicateField {
        /// The tensor, or `"header"`.
        tensor: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A metadata key is missing.
    MissingMetadata {
        /// The key.
        key: &'static str,
    },
    /// A metadata key occurs twice.
    DuplicateMetadata {
        /// The key.
        key: &'static str,
    },
    /// A metadata value cannot be read, or is out of range.
    InvalidMetadata {
        /// The key.
        key: &'static str,
        /// What would be right.
        expected: &'static str,
    },
    /// The file is of another version of the format than the reader:
    /// [`FORMAT_VERSION`](crate::FORMAT_VERSION) or
    /// [`INTEGER_FORMAT_VERSION`](crate::INTEGER_FORMAT_VERSION).
    UnsupportedVersion {
        /// The version of the file.
        found: u32,
    },
    /// A tensor that no model has.
    UnknownTensor {
        /// Its name, cut to 32 bytes.
        name: Name,
    },
    /// A tensor that a model of this kind does not have, such as an encoder's in a decoder-only
    /// model.
    UnexpectedTensor {
        /// The tensor.
        tensor: &'static str,
    },
    /// A tensor that a model of this kind must have.
    MissingTensor {
        /// The tensor.
        tensor: &'static str,
    },
    /// A tensor that is described twice.
    DuplicateTensor {
        /// The tensor.
        tensor: &'static str,
    },
    /// A tensor of the wrong number type.
    Dtype {
        /// The tensor.
        tensor: &'static str,
        /// The type that it should have.
        expected: &'static str,
        /// The type that it has.
        found: Name,
    },
    /// A tensor of another shape than the metadata demands.
    Shape {
        /// The tensor.
        tensor: &'static str,
        /// The shape that it should have.
        expected: Dims,
        /// The shape that it has.
        found: Dims,
    },
    /// A tensor whose data is not within the file, or not as long as its shape.
    Offsets {
        /// The tensor.
        tensor: &'static str,
        /// Where its data begins, in the data section.
        begin: u64,
        /// Where its data ends.
        end: u64,
        /// The length that its data should have.
        expected: usize,
        /// Bytes in the data section.
        available: usize,
    },
    /// A tensor that shares bytes with another.
    Overlap {
        /// The tensor.
        tensor: &'static str,
        /// The tensor before it.
        other: &'static str,
    },
    /// Bytes before a tensor that belong to none.
    Gap {
        /// The tensor.
        tensor: &'static str,
        /// Bytes between it and what is before it.
        bytes: usize,
    },
    /// Bytes after the last tensor.
    TrailingData {
        /// How many.
        bytes: usize,
    },
    /// A tensor that does not start on a boundary of its number type.
    MisalignedTensor {
        /// The tensor.
        tensor: &'static str,
        /// The boundary, in bytes.
        alignment: usize,
    },
    /// A NaN or an infinity.
    NonFinite {
        /// The tensor.
        tensor: &'static str,
        /// Index of the first such element.
        index: usize,
    },
    /// A scale that is not above 0.
    Scale {
        /// The tensor.
        tensor: &'static str,
        /// Index of the first such element.
        index: usize,
    },
    /// A number below 0 where none may be, such as a shrinkage.
    Negative {
        /// The tensor.
        tensor: &'static str,
        /// Index of the first such element.
        index: usize,
    },
    /// A multiplier that is below 0.
    Multiplier {
        /// The tensor.
        tensor: &'static str,
        /// Index of the first such element.
        index: usize,
    },
    /// A quantised weight of −128 or −32768, which the symmetric scheme does not use.
    Level {
        /// The tensor.
        tensor: &'static str,
        /// Index of the first such element.
        index: usize,
    },
    /// The tensor data is not what was written.
    Checksum {
        /// The CRC-32 in the metadata.
        stored: u32,
        /// The CRC-32 of the data.
        computed: u32,
    },
}

impl From<SpecError> for ReadError {
    fn from(error: SpecError) -> Self {
        Self::InvalidMetadata {
            key: error.field,
            expected: error.expected,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const AGAIN: &str = "export the model again";
        match *self {
            Self::Truncated { needed, found } => write!(
                f,
                "header needs {needed} bytes, the file has {found}: it is no model file, or was cut short"
            ),
            Self::MisalignedBuffer { remainder } => write!(
                f,
                "buffer starts {remainder} bytes past an 8-byte boundary: include the file with include_model!, \
                 or copy it to an Aligned or AlignedBytes"
            ),
            Self::GramMemory { needed, found } => write!(
                f,
                "the file does not store its Gram matrix, which takes {needed} numbers of 16 bits, and there is memory for {found}: read it with more, or export it with the matrix"
            ),
            Self::HeaderLength { length } => write!(
                f,
                "header length is {length} bytes, more than {}: this is no model file",
                MAX_HEADER_LEN
            ),
            Self::HeaderUtf8 { position } => {
                write!(
                    f,
                    "header is not UTF-8 at byte {position}: this is no model file"
                )
            }
            Self::HeaderJson { position, expected } => {
                write!(f, "header at byte {position}: expected {expected}; {AGAIN}")
            }
            Self::MissingField { tensor, field } => write!(f, "{tensor} has no {field}: {AGAIN}"),
            Self::DuplicateField { tensor, field } => {
                write!(f, "{tensor} has {field} twice: {AGAIN}")
            }
            Self::MissingMetadata { key } => write!(
                f,
                "metadata key {key} is missing: weights of another program are brought in with `sparsecode import`"
            ),
            Self::DuplicateMetadata { key } => {
                write!(f, "metadata key {key} occurs twice: {AGAIN}")
            }
            Self::InvalidMetadata { key, expected } => {
                write!(f, "metadata key {key}: expected {expected}; {AGAIN}")
            }
            // A reader never refuses its own version: these two met the other's.
            Self::UnsupportedVersion { found: FORMAT_VERSION } => f.write_str(
                "metadata key version is 1, a model for f32 arithmetic: load it as such, or export it with activations i16",
            ),
            Self::UnsupportedVersion { found: INTEGER_FORMAT_VERSION } => f.write_str(
                "metadata key version is 2, a model for integer arithmetic: load it as such, or export it with activations f32",
            ),
            Self::UnsupportedVersion { found } => write!(
                f,
                "metadata key version is {found}, this program reads {} and {}: {AGAIN} with the same release",
                FORMAT_VERSION,
                INTEGER_FORMAT_VERSION
            ),
            Self::UnknownTensor { name } => {
                write!(
                    f,
                    "tensor {name} belongs to no model of this version: remove it or {AGAIN}"
                )
            }
            Self::UnexpectedTensor { tensor } => write!(
                f,
                "tensor {tensor} contradicts the metadata keys variant, lista_iterations, hidden_dim or weights: {AGAIN}"
            ),
            Self::MissingTensor { tensor } => write!(f, "tensor {tensor} is missing: {AGAIN}"),
            Self::DuplicateTensor { tensor } => {
                write!(f, "tensor {tensor} is described twice: {AGAIN}")
            }
            Self::Dtype {
                tensor,
                expected,
                found,
            } => {
                write!(
                    f,
                    "tensor {tensor} has dtype {found}, expected {expected}: {AGAIN}"
                )
            }
            Self::Shape {
                tensor,
                expected,
                found,
            } => {
                write!(
                    f,
                    "tensor {tensor} has shape {found}, expected {expected}: {AGAIN}"
                )
            }
            Self::Offsets {
                tensor,
                begin,
                end,
                expected,
                available,
            } => write!(
                f,
                "tensor {tensor} has data_offsets [{begin}, {end}], expected {expected} bytes within the \
                 {available} of the file: it was cut short or damaged, copy it anew or {AGAIN}"
            ),
            Self::Overlap { tensor, other } => {
                write!(f, "tensor {tensor} overlaps {other}: {AGAIN}")
            }
            Self::Gap { tensor, bytes } => {
                write!(f, "{bytes} unused bytes before tensor {tensor}: {AGAIN}")
            }
            Self::TrailingData { bytes } => write!(
                f,
                "{bytes} unused bytes after the last tensor: hand over the file's bytes alone, not the whole flash slot"
            ),
            Self::MisalignedTensor { tensor, alignment } => {
                write!(
                    f,
                    "tensor {tensor} does not start on a boundary of {alignment} bytes: {AGAIN}"
                )
            }
            Self::NonFinite { tensor, index } => write!(
                f,
                "tensor {tensor} holds NaN or infinity at {index}: the training diverged, export an earlier epoch"
            ),
            Self::Scale { tensor, index } => {
                write!(
                    f,
                    "tensor {tensor} holds a scale that is not above 0 at {index}: {AGAIN}"
                )
            }
            Self::Negative { tensor, index } => {
                write!(f, "tensor {tensor} holds a number below 0 at {index}: {AGAIN}")
            }
            Self::Multiplier { tensor, index } => write!(
                f,
                "tensor {tensor} holds a multiplier below 0 at {index}: {AGAIN}"
            ),
            Self::Level { tensor, index } => write!(
                f,
                "tensor {tensor} holds the lowest integer at {index}, symmetric weights stop one above it: {AGAIN}"
            ),
            Self::Checksum { stored, computed } => write!(
                f,
                "checksum of the tensor data is {computed:08x}, the metadata says {stored:08x}: \
                 the file is damaged, copy it anew"
            ),
        }
    }
}

impl core::error::Error for ReadError {}
