//! What keeps a model from being written.

use core::fmt;

use crate::error::SpecError;
use crate::format::MAX_HEADER_LEN;
use crate::integer::Overflow;
use crate::quant::QuantError;

/// Why a model cannot be written. The message names the field or tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// A field of the specification is out of range.
    Spec(SpecError),
    /// A tensor has the wrong length or holds a number that is not finite.
    Tensor {
        /// The tensor.
        tensor: &'static str,
        /// What is wrong with it.
        error: QuantError,
    },
    /// The encoder is present or absent, or the decoder linear or not, against what the
    /// specification says.
    Layout {
        /// The field of the specification.
        field: &'static str,
        /// What the weights demand of it.
        expected: &'static str,
    },
    /// No step size exists: the decoder is all zero, or so large or small that 1/L is no `f32`.
    StepSize,
    /// The written file does not read back as what was to be written: a fault of this crate.
    ReadBack,
    /// A sum of an integer model could leave 32 bits.
    Overflow(Overflow),
    /// The metadata's text is too long.
    HeaderLength {
        /// Bytes that the header would have.
        length: usize,
    },
}

impl From<SpecError> for WriteError {
    fn from(error: SpecError) -> Self {
        Self::Spec(error)
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spec(error) => error.fmt(f),
            Self::Tensor { tensor, error } => write!(f, "tensor {tensor} {error}"),
            Self::Layout { field, expected } => {
                write!(f, "{field}: expected {expected}, as the weights are")
            }
            Self::StepSize => f.write_str(
                "step_size: the decoder is zero or its norm is out of range, so no step exists: \
                 the training collapsed, export an earlier epoch",
            ),
            Self::ReadBack => f.write_str(
                "file does not read back as it was written: please report this with the configuration of the run",
            ),
            Self::Overflow(overflow) => overflow.fmt(f),
            Self::HeaderLength { length } => write!(
                f,
                "header would have {length} bytes, more than {MAX_HEADER_LEN}: shorten data, commit or config_hash"
            ),
        }
    }
}

impl core::error::Error for WriteError {}
