//! The part of models that denoise.

use std::vec::Vec;

use super::super::activations::Activations;
use super::super::blocks::LANES;
use super::super::gram;
use super::super::limits::{LEAST_STEP_SHIFT, most_weight};
use super::super::parts::{Parts, invalid, multipliers_of};
use super::super::rescale::Rescale;
use super::{Atoms, Constants, IntegerContrast, Plan};
use crate::owned::OwnedGram;
use crate::spec::InputShape;
use crate::write::WriteError;

impl Plan {
    /// What makes factors of a Gram matrix from correlation multipliers, and the factors.
    pub(super) fn factors(
        &self,
        atoms: &Atoms,
        step: f64,
        gram_fraction: u32,
    ) -> Result<(Rescale, Vec<i64>), WriteError> {
        let unequal = || {
            invalid(
                "decoder.dictionary",
                "atoms whose norms are closer to one another",
            )
        };
        let ratios = self.correlation(atoms, step, gram_fraction)?.ratios;
        let (multipliers, _) = multipliers_of(&ratios, 1).ok_or(unequal())?;
        let most = multipliers.iter().copied().max().unwrap_or(1).max(1);
        let largest = atoms.scale.iter().copied().fold(0.0, f64::max);
        let unit = f64::from(1_u32 << gram_fraction);
        let target = largest * (step * unit).sqrt() * 65_536.0;
        let (multiplier, shift) = multipliers_of(&[target / f64::from(most)], 1).ok_or(unequal())?;
        let by = Rescale {
            multiplier: multiplier[0],
            shift: shift as u8,
        };
        let factors = multipliers.iter().map(|&m| gram::factor(m, by)).collect();
        Ok((by, factors))
    }

    /// The encoder on the Gram matrix.
    pub(super) fn gram(
        &self,
        file: &mut Parts,
        gram: &OwnedGram,
        constants: &Constants,
    ) -> Result<(), WriteError> {
        if self.activations != Activations::I16 {
            return Err(invalid("activations", "i16 for models that denoise"));
        }
        if self.contrast_has_units() {
            return Err(invalid(
                "contrast",
                "none, remove-mean or local for integer models that denoise: the noise of a \
                 standardised sample is not known",
            ));
        }
        let steps: Vec<i32> = gram
            .steps
            .iter()
            .map(|&step| {
                let ratio = (f64::from(step) / constants.step * 512.0).round();
                (0.0..=16383.0).contains(&ratio).then_some(ratio as i32)
            })
            .collect::<Option<_>>()
            .ok_or(invalid(
                "encoder.steps",
                "steps of 0 to 32 times the safe one for integer models",
            ))?;
        // Points of a threshold for σ of a sixteenth of a level.
        let unit = constants.step * self.units.level / 16.0 / constants.point;
        let largest = gram
            .thresholds
            .iter()
            .fold(0.0_f64, |a, b| a.max(f64::from(b.abs())));
        let shift = (i32::from(LEAST_STEP_SHIFT)..=31)
            .rev()
            .find(|&shift| (largest * unit * 2f64.powi(shift)).round() <= f64::from(i16::MAX))
            .ok_or(invalid(
                "encoder.thresholds",
                "smaller thresholds: the ranges of input and code are too far apart",
            ))?;
        let unit = unit * 2f64.powi(shift);
        let codes = gram.thresholds.len() / gram.steps.len().max(1);
        let padded = codes.next_multiple_of(LANES);
        let mut thresholds: Vec<i16> = Vec::with_capacity(gram.steps.len() * padded);
        for row in gram.thresholds.chunks(codes.max(1)) {
            let levels = row.iter().map(|&x| (f64::from(x) * unit).round() as i16);
            thresholds.extend(levels);
            thresholds.resize(thresholds.len().next_multiple_of(LANES), 0);
        }
        let level = (f64::from(gram.noise_level) / self.units.level * 16.0).round();
        file.integers
            .push(("noise_level", level.clamp(1.0, 65_535.0) as i64));
        file.integers.push(("threshold_shift", shift.into()));
        let guard = (f64::from(gram.guard) * 256.0).round().min(65_535.0);
        file.integers.push(("guard", guard as i64));
        file.push("encoder.steps", "I32", &steps);
        file.push_matrix("encoder.thresholds", "I16", &thresholds, padded);
        file.push("window.weights", "I32", &window_levels(gram, self.shape));
        Ok(())
    }

    /// Whether a level of a sample after its contrast is no level of the noise.
    fn contrast_has_units(&self) -> bool {
        matches!(self.contrast, IntegerContrast::Standardize { .. })
    }
}

/// Weights of a window from 1, as large as sums of 32 bits allow.
fn window_levels(gram: &OwnedGram, shape: InputShape) -> Vec<i32> {
    let most = f64::from(most_weight(shape, gram.hop));
    let of_axis = |weights: &[f32]| -> Vec<i32> {
        let largest = weights.iter().fold(0.0_f32, |a, b| a.max(*b));
        let levels = weights.iter().map(|weight| f64::from(weight / largest));
        levels
            .map(|share| (share * most).round().max(1.0) as i32)
            .collect()
    };
    let rows = shape.overlap_weights() - usize::from(shape.width);
    let (rows, columns) = gram.window_weights.split_at(rows);
    [of_axis(rows), of_axis(columns)].concat()
}
