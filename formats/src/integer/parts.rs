//! A model for integer arithmetic in the making: matrices as levels, tensors, metadata.

// Host code: indices come from the shapes that `check_layout` and `quantize` hold to.
#![allow(clippy::indexing_slicing)]

use std::borrow::ToOwned;
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::blocks::{LANES, arrange, nibbles};
use super::limits::DRIVE_LIMIT;
use crate::error::SpecError;
use crate::format::INTEGER_FORMAT_VERSION;
use crate::input::InputFacts;
use crate::matrix::{ScaleAxis, Weights};
use crate::quant::{OwnedMatrix, QuantReport, quantize};
use crate::spec::{ModelSpec, WeightType};
use crate::write::{Stored, TensorReport, WriteError, lay_out, metadata};

pub(super) fn invalid(field: &'static str, expected: &'static str) -> WriteError {
    WriteError::Spec(SpecError { field, expected })
}

pub(super) fn levels(matrix: &OwnedMatrix) -> Vec<i8> {
    match matrix.as_ref().weights {
        Weights::I8 { values, .. } => values.to_vec(),
        // Only 8-bit matrices are made here.
        _ => Vec::new(),
    }
}

/// The scale of each channel; 0, not 1, for one whose levels are all 0, so that it counts for
/// nothing.
pub(super) fn scales(matrix: &OwnedMatrix) -> Vec<f64> {
    let stored = matrix.as_ref();
    let mut used = vec![false; stored.scale().len()];
    for (index, level) in levels(matrix).into_iter().enumerate() {
        let channel = match stored.scale_axis {
            ScaleAxis::Row => index / stored.cols,
            ScaleAxis::Column => index % stored.cols,
        };
        used[channel] |= level != 0;
    }
    let scales = stored.scale().iter().zip(used);
    scales
        .map(|(&scale, used)| if used { f64::from(scale) } else { 0.0 })
        .collect()
}

/// Levels times a scale per row.
pub(super) fn dequantized(matrix: &OwnedMatrix, scale: &[f64]) -> Vec<f64> {
    let cols = matrix.as_ref().cols;
    levels(matrix)
        .iter()
        .enumerate()
        .map(|(index, &level)| f64::from(level) * scale[index / cols])
        .collect()
}

/// What a sample of which every number is `constant` gives for each row.
pub(super) fn bias_levels(matrix: &OwnedMatrix, constant: f64) -> impl Iterator<Item = f64> {
    let cols = matrix.as_ref().cols;
    let sums: Vec<f64> = levels(matrix)
        .chunks(cols)
        .map(|row| row.iter().map(|&level| f64::from(level)).sum())
        .collect();
    sums.into_iter()
        .zip(scales(matrix))
        .map(move |(sum, scale)| sum * scale * constant)
}

/// Multipliers and a common shift of at least `least` for factors that are not negative: the
/// largest uses 31 bits, unless the shift would pass 62. `None` if a factor is too large.
pub(super) fn multipliers_of(ratios: &[f64], least: u32) -> Option<(Vec<i32>, i64)> {
    let largest = ratios.iter().copied().fold(0.0, f64::max);
    let shift = (least..=62)
        .rev()
        .find(|&shift| (largest * 2f64.powi(shift as i32)).round() <= f64::from(i32::MAX))?;
    let unit = 2f64.powi(shift as i32);
    let multipliers = ratios.iter().map(|ratio| (ratio * unit).round() as i32);
    Some((multipliers.collect(), shift.into()))
}

pub(super) fn quantized(
    tensor: &'static str,
    values: &[f32],
    [rows, cols]: [usize; 2],
    axis: ScaleAxis,
    weights: WeightType,
) -> Result<(OwnedMatrix, QuantReport), WriteError> {
    quantize(values, rows, cols, axis, weights)
        .map_err(|error| WriteError::Tensor { tensor, error })
}

/// The file in the making.
#[derive(Default)]
pub(super) struct Parts {
    tensors: Vec<(&'static str, &'static str, usize, String, Vec<u8>)>,
    pub(super) integers: Vec<(&'static str, i64)>,
    pub(super) reports: Vec<TensorReport>,
}

impl Parts {
    pub(super) fn quantize(
        &mut self,
        tensor: &'static str,
        values: &[f32],
        shape: [usize; 2],
        axis: ScaleAxis,
        weights: WeightType,
    ) -> Result<OwnedMatrix, WriteError> {
        let (matrix, quantization) = quantized(tensor, values, shape, axis, weights)?;
        self.reports.push(TensorReport {
            tensor,
            shape,
            quantization,
        });
        Ok(matrix)
    }

    pub(super) fn report(
        &mut self,
        tensor: &'static str,
        shape: [usize; 2],
        values: &[f32],
        restored: impl Iterator<Item = f64>,
    ) {
        self.reports.push(TensorReport {
            tensor,
            shape,
            quantization: QuantReport::between(values, restored),
        });
    }

    /// Stores the multipliers; returns the shift.
    pub(super) fn rescale(
        &mut self,
        tensor: &'static str,
        ratios: &[f64],
        least: u32,
    ) -> Result<i64, WriteError> {
        let (multipliers, shift) = multipliers_of(ratios, least).ok_or(invalid(
            tensor,
            "a smaller factor: the ranges of input and code are too far apart",
        ))?;
        self.push(tensor, "I32", &multipliers);
        Ok(shift)
    }

    pub(super) fn bias(
        &mut self,
        tensor: &'static str,
        values: impl Iterator<Item = f64>,
    ) -> Result<(), WriteError> {
        let limit = f64::from(DRIVE_LIMIT);
        let levels: Vec<i32> = values
            .map(|value| {
                let level = value.round();
                (level.abs() <= limit).then_some(level as i32)
            })
            .collect::<Option<_>>()
            .ok_or(invalid(
                tensor,
                "finite numbers within the code's range (a larger code_max)",
            ))?;
        self.push(tensor, "I32", &levels);
        Ok(())
    }

    pub(super) fn push<T: bytemuck::NoUninit>(
        &mut self,
        tensor: &'static str,
        dtype: &'static str,
        values: &[T],
    ) {
        let shape = format!("[{}]", values.len());
        let bytes = bytemuck::cast_slice(values).to_vec();
        self.tensors
            .push((tensor, dtype, size_of::<T>(), shape, bytes));
    }

    /// Rows of `cols` numbers, as they are.
    pub(super) fn push_matrix<T: bytemuck::NoUninit>(
        &mut self,
        tensor: &'static str,
        dtype: &'static str,
        values: &[T],
        cols: usize,
    ) {
        let shape = format!("[{},{cols}]", values.len() / cols.max(1));
        let bytes = bytemuck::cast_slice(values).to_vec();
        self.tensors
            .push((tensor, dtype, size_of::<T>(), shape, bytes));
    }

    pub(super) fn blocks(
        &mut self,
        tensor: &'static str,
        matrix: &OwnedMatrix,
        weights: WeightType,
    ) {
        let (rows, cols) = (matrix.as_ref().rows, matrix.as_ref().cols);
        let stored = arrange(rows, cols, &levels(matrix));
        match weights {
            WeightType::I4 => {
                let eights = stored.as_chunks().0;
                let stored: Vec<_> = eights.iter().flat_map(nibbles).collect();
                self.push_rows(tensor, weights, &stored, LANES / 2);
            }
            _ => self.push_rows(tensor, weights, &stored, LANES),
        }
    }

    /// Numbers that were laid out in blocks, so many in a row.
    pub(super) fn push_rows<T: bytemuck::NoUninit>(
        &mut self,
        tensor: &'static str,
        dtype: WeightType,
        stored: &[T],
        row: usize,
    ) {
        let shape = format!("[{},{row}]", stored.len() / row);
        let bytes = bytemuck::cast_slice(stored).to_vec();
        self.tensors
            .push((tensor, dtype.dtype(), size_of::<T>(), shape, bytes));
    }

    pub(super) fn layout(
        &self,
        spec: &ModelSpec<'_>,
        input: &InputFacts,
        own: &[(&'static str, String)],
    ) -> Result<Vec<u8>, WriteError> {
        let tensors = self
            .tensors
            .iter()
            .map(|(name, dtype, width, shape, bytes)| Stored {
                name: (*name).to_owned(),
                dtype,
                width: *width,
                shape: shape.clone(),
                bytes,
            });
        lay_out(tensors.collect(), |checksum| {
            let mut entries = metadata(spec, input, checksum);
            for (key, value) in &mut entries {
                if *key == "version" {
                    *value = INTEGER_FORMAT_VERSION.to_string();
                }
            }
            entries.extend(
                self.integers
                    .iter()
                    .map(|(key, value)| (*key, value.to_string())),
            );
            entries.extend_from_slice(own);
            entries.sort();
            entries
        })
    }
}
