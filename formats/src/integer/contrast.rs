//! What is done to a patch of integer samples.

use crate::preprocessing::{Contrast, Preprocessing};

/// Fractional bits of standardised samples: 4096 levels are one standard deviation of the patch.
pub const STANDARD_FRACTION: u32 = 12;

/// [`Contrast`](crate::Contrast) in levels: from raw levels `r` of a patch to what the weights
/// take. The affine normalisation is folded into the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum IntegerContrast {
    /// The raw levels themselves.
    None,
    /// `r − mean`, with the patch's mean rounded to a level.
    RemoveMean,
    /// `r − mean` for each number of the patch, with the means of `input.mean`; see
    /// [`IntegerVariational::input_mean`](crate::IntegerVariational).
    InputMean,
    /// `(r − mean) · 4096 / max(deviation, floor)`.
    Standardize {
        /// Smallest divisor, in sixteenths of a level; at least 16.
        floor: u32,
    },
    /// The caller normalises: see [`Contrast::Local`](crate::Contrast::Local).
    External,
}

/// The units of a model's integers, for hosts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Units {
    /// Raw units of a raw level (normalised units under [`IntegerContrast::External`]).
    pub input: f64,
    /// Preprocessed units of a level that the products take.
    pub level: f64,
    /// Preprocessed units of level 0.
    pub zero: f64,
    /// Code units of a level.
    pub code: f64,
}

impl Units {
    /// From a model's preprocessing, and what a level of the input and of the code is.
    pub(crate) fn new(preprocessing: &Preprocessing, input_scale: f32, code_scale: f32) -> Self {
        let (mean, deviation) = (
            f64::from(preprocessing.mean),
            f64::from(preprocessing.deviation),
        );
        let input = f64::from(input_scale);
        let (level, zero) = match preprocessing.contrast {
            Contrast::None => (input / deviation, -mean / deviation),
            // The patch's mean takes the data set's with it.
            Contrast::RemoveMean => (input / deviation, 0.0),
            Contrast::Standardize { .. } => (1.0 / f64::from(1_u32 << STANDARD_FRACTION), 0.0),
            Contrast::Local { .. } => (input, 0.0),
        };
        Self {
            input,
            level,
            zero,
            code: f64::from(code_scale),
        }
    }
}
