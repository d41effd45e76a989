//! The part of variational models.

// Host code: indices come from the shapes that `quantize` holds to.
#![allow(clippy::indexing_slicing)]

use std::string::{String, ToString};
use std::vec::Vec;

use super::super::activations::Activations;
use super::super::layers::{SCALE, SHIFT, TRUNK};
use super::super::limits::DRIVE_LIMIT;
use super::super::parts::{Parts, bias_levels, invalid, levels, scales};
use super::super::proof::Levels;
use super::Plan;
use crate::matrix::ScaleAxis;
use crate::owned::{OwnedLayer, OwnedVariational, OwnedVariationalBody};
use crate::quant::{OwnedMatrix, check};
use crate::write::WriteError;

/// What the levels are that a layer takes.
#[derive(Clone, Copy)]
struct Input {
    levels: Levels,
    /// What a level is worth, and what level 0 stands for.
    unit: f64,
    zero: f64,
    count: usize,
}

/// A layer as levels, with drives of no fractional bits.
struct Quantised {
    names: [&'static str; 3],
    input: Input,
    matrix: OwnedMatrix,
    ratios: Vec<f64>,
    bias: Vec<f64>,
}

impl Plan {
    /// The encoder. Returns the shifts of its dense layers, if it has any.
    pub(super) fn variational(
        &self,
        file: &mut Parts,
        encoder: &OwnedVariational,
        [codes, inputs]: [usize; 2],
    ) -> Result<Option<String>, WriteError> {
        if self.activations != Activations::I16 {
            return Err(invalid("activations", "i16 for variational models"));
        }
        let gain = f64::from(encoder.gain);
        // The gain is in the unit: a level of the shift is a level of the code.
        let unit = self.units.code / gain;
        let (mut shifts, features, decides);
        match &encoder.body {
            OwnedVariationalBody::Dense {
                trunk,
                trunk_max,
                shift,
            } => {
                let mut input = Input {
                    levels: self.levels,
                    unit: self.units.level,
                    zero: self.units.zero,
                    count: inputs,
                };
                let mut layers = Vec::new();
                for ((layer, names), unit) in
                    trunk.iter().zip(TRUNK).zip(hidden_units(trunk, trunk_max)?)
                {
                    let outputs = layer.bias.len();
                    layers.push(self.layer(file, names, layer, outputs, input, unit)?);
                    input = Input {
                        levels: Levels::HIDDEN,
                        unit,
                        zero: 0.0,
                        count: outputs,
                    };
                }
                layers.push(self.layer(file, SHIFT, shift, codes, input, unit)?);
                // The finest drives that every layer allows.
                let mut fraction = 8;
                for layer in &layers {
                    let Quantised {
                        input,
                        matrix,
                        ratios,
                        bias,
                        ..
                    } = layer;
                    let most = self.fraction(input.levels, matrix, ratios, bias, (0, fraction));
                    fraction = most.map_err(|_| {
                        invalid(
                            layer.names[0],
                            "sums within 2^29 levels of the layer's largest output on data: a \
                             larger one, or activations f32",
                        )
                    })?;
                }
                file.integers.push(("drive_fraction", fraction.into()));
                let finer = f64::from(1_u32 << fraction);
                shifts = Vec::new();
                for layer in &layers {
                    shifts.push(self.push_layer(file, layer, finer)?);
                }
                (features, decides) = (input, finer / unit);
            }
            OwnedVariationalBody::Lista {
                encoder: lista,
                shrinkage,
            } => {
                let fraction = self.encoder(file, lista, unit, [codes, inputs])?;
                let name = "encoder.shrinkage";
                check(shrinkage, codes).map_err(|error| WriteError::Tensor {
                    tensor: name,
                    error,
                })?;
                let drive = f64::from(1_u32 << fraction) / unit;
                file.push(name, "I32", &rounded(shrinkage, drive));
                shifts = Vec::new();
                features = Input {
                    levels: Levels::HIDDEN,
                    unit,
                    zero: 0.0,
                    count: codes,
                };
                decides = 1.0 / unit;
            }
        }
        let decides = match &encoder.scale {
            None => decides,
            Some(scale) => {
                let layer = self.layer(file, SCALE, scale, codes, features, 1.0)?;
                let finer = finest(&layer);
                shifts.push(self.push_layer(file, &layer, finer)?);
                finer
            }
        };
        let name = "code.thresholds";
        check(&encoder.thresholds, codes).map_err(|error| WriteError::Tensor {
            tensor: name,
            error,
        })?;
        file.push(name, "I32", &rounded(&encoder.thresholds, decides));
        if let Some(mean) = &encoder.input_mean {
            self.input_mean(file, mean, inputs)?;
        }
        let text: Vec<String> = shifts.iter().map(ToString::to_string).collect();
        Ok((!text.is_empty()).then(|| text.join(",")))
    }

    /// Quantises a layer whose outputs have levels of `unit`.
    fn layer(
        &self,
        file: &mut Parts,
        names: [&'static str; 3],
        layer: &OwnedLayer,
        outputs: usize,
        input: Input,
        unit: f64,
    ) -> Result<Quantised, WriteError> {
        let [name, _, bias_name] = names;
        let (shape, axis) = ([outputs, input.count], ScaleAxis::Row);
        let matrix = file.quantize(name, &layer.weights, shape, axis, self.weights)?;
        check(&layer.bias, outputs).map_err(|error| WriteError::Tensor {
            tensor: bias_name,
            error,
        })?;
        let ratios = scales(&matrix)
            .iter()
            .map(|scale| scale * input.unit / unit)
            .collect();
        let bias = bias_levels(&matrix, input.zero)
            .zip(&layer.bias)
            .map(|(constant, &bias)| (constant + f64::from(bias)) / unit)
            .collect();
        Ok(Quantised {
            names,
            input,
            matrix,
            ratios,
            bias,
        })
    }

    /// Stores a layer whose drives are `finer` than levels; returns the shift.
    fn push_layer(
        &self,
        file: &mut Parts,
        layer: &Quantised,
        finer: f64,
    ) -> Result<i64, WriteError> {
        let [name, multiplier, bias] = layer.names;
        let ratios: Vec<f64> = layer.ratios.iter().map(|ratio| ratio * finer).collect();
        let shift = file.rescale(multiplier, &ratios, 1)?;
        file.bias(bias, layer.bias.iter().map(|bias| bias * finer))?;
        file.blocks(name, &layer.matrix, self.weights);
        Ok(shift)
    }

    fn input_mean(&self, file: &mut Parts, mean: &[f32], inputs: usize) -> Result<(), WriteError> {
        let tensor = "input.mean";
        check(mean, inputs).map_err(|error| WriteError::Tensor { tensor, error })?;
        let (least, most) = self.input_range;
        let means: Option<Vec<i16>> = mean
            .iter()
            .map(|mean| {
                let level = (f64::from(*mean) / self.units.input).round();
                (f64::from(least)..=f64::from(most))
                    .contains(&level)
                    .then_some(level as i16)
            })
            .collect();
        let means = means.ok_or(invalid(
            tensor,
            "means between the smallest and the largest level of the input",
        ))?;
        file.push(tensor, "I16", &means);
        Ok(())
    }
}

/// What a level of each layer's outputs is worth.
fn hidden_units(trunk: &[OwnedLayer], largest: &[f32]) -> Result<Vec<f64>, WriteError> {
    let is_sound = |largest: &f32| largest.is_normal() && *largest > 0.0;
    if trunk.len() != largest.len() || !largest.iter().all(is_sound) {
        return Err(invalid(
            "encoder.trunk",
            "for integer models the largest output of each layer on data (trunk_max), above 0",
        ));
    }
    let units = largest.iter().copied().map(f64::from);
    Ok(units.map(|most| most / f64::from(i16::MAX)).collect())
}

/// How fine the drives of a layer may be that no level follows.
fn finest(layer: &Quantised) -> f64 {
    let cols = layer.input.count;
    let stored = levels(&layer.matrix);
    let reach = stored.chunks(cols).zip(&layer.ratios).map(|(row, ratio)| {
        let levels = row.iter().copied().map(i16::from);
        layer.input.levels.reach(levels) as f64 * ratio
    });
    let bias = layer.bias.iter().map(|bias| bias.abs());
    let largest = reach.chain(bias).fold(f64::MIN_POSITIVE, f64::max);
    // A power of two; multipliers are rounded.
    let limit = f64::from(DRIVE_LIMIT) * (1.0 - 1e-6) - 1.0;
    2_f64.powi((limit / largest).log2().floor().clamp(-60.0, 60.0) as i32)
}

/// Numbers in so many parts of their unit, cut to 32 bits.
fn rounded(values: &[f32], finer: f64) -> Vec<i32> {
    let parts = values.iter().map(|value| f64::from(*value) * finer);
    // The conversion saturates.
    parts.map(|part| part.round() as i32).collect()
}
