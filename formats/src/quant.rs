//! Symmetric quantisation, one scale per output channel, and what it costs.
//!
//! `level = round(weight / scale)` with `scale = max|weight| / 127` (or 32767) over the channel;
//! halves round to the even level, as `numpy.rint` does, so that signs stay symmetric. A channel of
//! zeros has scale 1.
//!
//! With 4 bits it is 7 levels of 16 of those of 8 bits.

// Host code: indices come from the shapes that `check` and the types hold to.
#![allow(clippy::indexing_slicing)]

use core::fmt;
use std::vec;
use std::vec::Vec;

use crate::matrix::{MatrixRef, ScaleAxis, Weights};
use crate::spec::WeightType;

pub use crate::spectral::{atom_norm, lipschitz_bound, squared_norm_bound};

/// Why numbers cannot be quantised or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantError {
    /// The number of values is not what the shape demands.
    Length {
        /// `rows · cols`.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A NaN or an infinity.
    NonFinite {
        /// Index of the first.
        index: usize,
    },
}

impl fmt::Display for QuantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { expected, found } => {
                write!(f, "holds {found} values, its shape demands {expected}")
            }
            Self::NonFinite { index } => {
                write!(
                    f,
                    "holds NaN or infinity at {index}: the training diverged, export an earlier epoch"
                )
            }
        }
    }
}

impl core::error::Error for QuantError {}

/// A matrix as it is stored, on the heap.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedMatrix {
    rows: usize,
    cols: usize,
    scale_axis: ScaleAxis,
    values: Values,
    scale: Vec<f32>,
}

#[derive(Clone, Debug, PartialEq)]
enum Values {
    F32(Vec<f32>),
    I16(Vec<i16>),
    I8(Vec<i8>),
}

impl OwnedMatrix {
    /// The matrix as the reader gives it.
    #[must_use]
    pub fn as_ref(&self) -> MatrixRef<'_> {
        let scale = &self.scale;
        let weights = match &self.values {
            Values::F32(values) => Weights::F32(values),
            Values::I16(values) => Weights::I16 { values, scale },
            Values::I8(values) => Weights::I8 { values, scale },
        };
        MatrixRef {
            rows: self.rows,
            cols: self.cols,
            weights,
            scale_axis: self.scale_axis,
        }
    }

    /// The values' bytes, little-endian (as this machine stores them: see the crate's
    /// `compile_error`).
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.values {
            Values::F32(values) => bytemuck::cast_slice(values),
            Values::I16(values) => bytemuck::cast_slice(values),
            Values::I8(values) => bytemuck::cast_slice(values),
        }
    }
}

/// What quantisation cost a matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantReport {
    /// The largest |weight − level · scale|, in the unit of the weights.
    pub max_abs_error: f64,
    /// The root of the mean squared error, in the unit of the weights.
    pub rms_error: f64,
    /// Signal to quantisation noise: 10·log10(Σ weight² / Σ error²), in dB; infinite without error.
    pub sqnr_db: f64,
}

impl QuantReport {
    /// Compares a stored matrix with the numbers that it was made from, in `f64`.
    ///
    /// # Errors
    ///
    /// [`QuantError::Length`].
    pub fn compare(values: &[f32], stored: &MatrixRef<'_>) -> Result<Self, QuantError> {
        let restored = dequantize(stored);
        if values.len() != restored.len() {
            return Err(QuantError::Length {
                expected: restored.len(),
                found: values.len(),
            });
        }
        Ok(Self::between(values, restored.into_iter().map(f64::from)))
    }

    /// The same for as many numbers as `values` that stand for them.
    pub(crate) fn between(values: &[f32], restored: impl Iterator<Item = f64>) -> Self {
        let (mut largest, mut noise, mut signal) = (0.0f64, 0.0, 0.0);
        for (&value, restored) in values.iter().zip(restored) {
            let error = f64::from(value) - restored;
            largest = largest.max(error.abs());
            noise += error * error;
            signal += f64::from(value) * f64::from(value);
        }
        let sqnr_db = if noise == 0.0 {
            f64::INFINITY
        } else {
            10.0 * (signal / noise).log10()
        };
        let rms_error = (noise / values.len().max(1) as f64).sqrt();
        Self {
            max_abs_error: largest,
            rms_error,
            sqnr_db,
        }
    }
}

/// Quantises a row-major matrix, and says what that cost. [`WeightType::F32`] copies;
/// [`WeightType::I4`] gives 8-bit levels, multiples of 16.
///
/// For finite weights |weight − level · scale| ≤ scale/2 (8 · scale with 4 bits), up to rounding in
/// `f32`.
///
/// ```
/// use sparsecode_formats::{ScaleAxis, WeightType, quant::quantize};
///
/// // One scale per row: 1.27/127 and 254/127.
/// let (matrix, report) = quantize(&[1.27, 0.5, 254.0, -3.0], 2, 2, ScaleAxis::Row, WeightType::I8)?;
/// assert_eq!(matrix.as_ref().scale(), [0.01, 2.0]);
/// assert_eq!(matrix.as_ref().weight(1, 1), Some(-4.0)); // −1.5 levels: to the even one
/// assert_eq!(report.max_abs_error, 1.0);
/// # Ok::<(), sparsecode_formats::quant::QuantError>(())
/// ```
///
/// # Errors
///
/// [`QuantError`] if there are not `rows · cols` values, or one of them is not finite.
pub fn quantize(
    values: &[f32],
    rows: usize,
    cols: usize,
    scale_axis: ScaleAxis,
    weights: WeightType,
) -> Result<(OwnedMatrix, QuantReport), QuantError> {
    check(values, rows * cols)?;
    let (scale, values_stored) = match weights.max_level() {
        None => (Vec::new(), Values::F32(values.to_vec())),
        Some(max_level) => {
            let channel = |index: usize| match scale_axis {
                ScaleAxis::Row => index / cols,
                ScaleAxis::Column => index % cols,
            };
            let mut largest = vec![
                0.0f32;
                if scale_axis == ScaleAxis::Row {
                    rows
                } else {
                    cols
                }
            ];
            for (index, value) in values.iter().enumerate() {
                largest[channel(index)] = largest[channel(index)].max(value.abs());
            }
            let mut scale: Vec<f32> = largest
                .into_iter()
                .map(|largest| channel_scale(largest, max_level))
                .collect();
            // In f64, so that the quotient is rounded once. It is within ±max_level by the choice
            // of the scale.
            let levels = values.iter().enumerate().map(|(index, &value)| {
                (f64::from(value) / f64::from(scale[channel(index)])).round_ties_even()
            });
            let stored = match weights {
                WeightType::I4 => Values::I8(levels.map(|level| 16 * level as i8).collect()),
                WeightType::I8 => Values::I8(levels.map(|level| level as i8).collect()),
                _ => Values::I16(levels.map(|level| level as i16).collect()),
            };
            if weights == WeightType::I4 {
                scale.iter_mut().for_each(|scale| *scale /= 16.0);
            }
            (scale, stored)
        }
    };
    let matrix = OwnedMatrix {
        rows,
        cols,
        scale_axis,
        values: values_stored,
        scale,
    };
    let report = QuantReport::compare(values, &matrix.as_ref())?;
    Ok((matrix, report))
}

/// The scale of a channel whose largest magnitude is `largest`: normal, and such that `max_level ·
/// scale` is finite.
fn channel_scale(largest: f32, max_level: i16) -> f32 {
    if largest == 0.0 {
        return 1.0;
    }
    let scale = (largest / f32::from(max_level)).max(f32::MIN_POSITIVE);
    if (scale * f32::from(max_level)).is_finite() {
        scale
    } else {
        scale.next_down()
    }
}

/// The weights that a device computes with, `level as f32 * scale`, row-major: the reference for
/// every kernel.
#[must_use]
pub fn dequantize(matrix: &MatrixRef<'_>) -> Vec<f32> {
    let cells = (0..matrix.rows).flat_map(|row| (0..matrix.cols).map(move |col| (row, col)));
    cells
        .filter_map(|(row, col)| matrix.weight(row, col))
        .collect()
}

/// Whether there are `expected` values, all finite.
pub(crate) fn check(values: &[f32], expected: usize) -> Result<(), QuantError> {
    if values.len() != expected {
        return Err(QuantError::Length {
            expected,
            found: values.len(),
        });
    }
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(QuantError::NonFinite { index }),
    }
}
