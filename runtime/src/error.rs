//! What can be wrong with a model or a call.

use core::fmt;

use sparsecode_formats::ReadError;

/// A dimension is not what it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DimensionError {
    /// What has the wrong dimension: `input_dim`, `code_dim` or `hidden_dim` of a model file, or
    /// the name of an argument.
    pub field: &'static str,
    /// The dimension that is needed (for a code or a workspace, at least).
    pub expected: usize,
    /// The dimension found.
    pub found: usize,
}

impl DimensionError {
    pub(crate) fn check(field: &'static str, expected: usize, found: usize) -> Result<(), Self> {
        if expected == found {
            Ok(())
        } else {
            Err(Self {
                field,
                expected,
                found,
            })
        }
    }
}

#[cfg(feature = "std")]
impl DimensionError {
    /// `found` is a multiple of `unit`; otherwise the next smaller one is expected.
    pub(crate) fn check_whole(field: &'static str, unit: usize, found: usize) -> Result<(), Self> {
        let rest = found.checked_rem(unit).unwrap_or(found);
        Self::check(field, found.saturating_sub(rest), found)
    }
}

impl fmt::Display for DimensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            expected,
            found,
        } = self;
        write!(f, "{field} is {found}, but {expected} is needed")
    }
}

impl core::error::Error for DimensionError {}

/// Why a model could not be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LoadError {
    /// The bytes are not a readable model file.
    Format(ReadError),
    /// The file is sound, but its dimensions are not those of the [`Model`](crate::Model) type:
    /// `expected` is the type's, `found` the file's. Build the program for this file, or export a
    /// file with these dimensions.
    Dimension(DimensionError),
}

impl From<ReadError> for LoadError {
    fn from(error: ReadError) -> Self {
        Self::Format(error)
    }
}

impl From<DimensionError> for LoadError {
    fn from(error: DimensionError) -> Self {
        Self::Dimension(error)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(error) => error.fmt(f),
            Self::Dimension(DimensionError {
                field,
                expected,
                found,
            }) => write!(
                f,
                "{field} of the model file is {found}, but this program was built for {expected}: \
                 rebuild it with this file, or export one with these dimensions"
            ),
        }
    }
}

impl core::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Format(error) => Some(error),
            Self::Dimension(error) => Some(error),
        }
    }
}

/// Why no samples of a code were drawn.
#[cfg(feature = "variational")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SampleError {
    /// The file does not hold what samples are drawn from: `posterior` is missing in its metadata.
    /// Export the run of a variational model with `--posterior`.
    Posterior,
    /// [`Samples::count`](crate::Samples::count) is 0.
    Count,
    /// An argument has the wrong length.
    Dimension(DimensionError),
}

#[cfg(feature = "variational")]
impl From<DimensionError> for SampleError {
    fn from(error: DimensionError) -> Self {
        Self::Dimension(error)
    }
}

#[cfg(feature = "variational")]
impl fmt::Display for SampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Posterior => f.write_str(
                "posterior: the model file holds none to draw samples from; export a variational \
                 run with --posterior",
            ),
            Self::Count => f.write_str("count of samples is 0: draw at least one"),
            Self::Dimension(error) => error.fmt(f),
        }
    }
}

#[cfg(feature = "variational")]
impl core::error::Error for SampleError {}

/// Why a code could not be built from given components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum CodeError {
    /// The index does not lie below the code dimension.
    Index {
        /// The index given.
        found: u16,
        /// The code dimension.
        code_dim: usize,
    },
    /// The index is not greater than the one before it.
    Order {
        /// The index given.
        found: u16,
    },
    /// There are not as many values as indices.
    Lengths {
        /// Number of indices.
        indices: usize,
        /// Number of values.
        values: usize,
    },
    /// The value is 0 or not finite (in integers: 0 or −32768).
    Value {
        /// The index of the component with this value.
        index: u16,
    },
    /// The value is negative, and the model's codes are not.
    Negative {
        /// The index of the component with this value.
        index: u16,
    },
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index { found, code_dim } => {
                write!(
                    f,
                    "index {found} of the code is not below its dimension, {code_dim}"
                )
            }
            Self::Order { found } => {
                write!(
                    f,
                    "index {found} of the code does not come after the one before it: give them in ascending order"
                )
            }
            Self::Lengths { indices, values } => {
                write!(f, "the code has {indices} indices but {values} values")
            }
            Self::Value { index } => {
                write!(
                    f,
                    "value at index {index} of the code is zero or not finite: leave zeros out"
                )
            }
            Self::Negative { index } => {
                write!(
                    f,
                    "value at index {index} of the code is negative, but the model's codes are non-negative"
                )
            }
        }
    }
}

impl core::error::Error for CodeError {}
