//! Writing models for integer arithmetic.

// Host code: indices come from the shapes that `check_layout` and `quantize` hold to.
#![allow(clippy::indexing_slicing)]

mod denoiser;
mod lista;
mod variational;

use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::activations::Activations;
use super::blocks::{LANES, arrange};
use super::contrast::{IntegerContrast, Units};
use super::gram;
use super::limits::{CODE_LIMIT, DRIVE_LIMIT, LEAST_STEP_SHIFT};
use super::parts::{self, Parts, dequantized, invalid, levels, multipliers_of, quantized, scales};
use super::proof::{Levels, reach};
use super::read::{IntegerFile, IntegerVariationalBody};
use super::spec::IntegerSpec;
use crate::align::AlignedBytes;
use crate::input::InputFacts;
use crate::matrix::ScaleAxis;
use crate::owned::{OwnedDecoder, OwnedModel};
use crate::preprocessing::Contrast;
use crate::quant::OwnedMatrix;
use crate::spec::{CodeSign, InputShape, ModelSpec, Variant, WeightType};
use crate::spectral::largest_eigenvalue_bound;
use crate::write::{
    TensorReport, WriteError, check_layout, largest_step, metadata, selection, stream_entries,
};

/// What one level means, and which levels occur: from a sensor's datasheet, or from sample data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivationRanges {
    /// Raw units of one input level: 1/255 for 8-bit pixels of images in \[0, 1\]. For models with
    /// local contrast, normalised units. Finite and above 0.
    pub input_scale: f32,
    /// The smallest input level, −32767 to 0.
    pub input_min: i16,
    /// The largest input level, 1 to 32767.
    pub input_max: i16,
    /// The largest code component that is represented; larger ones are cut to it. Finite and above
    /// 0.
    pub code_max: f32,
}

/// What is worth knowing about a written integer model.
#[derive(Clone, Debug, PartialEq)]
pub struct IntegerReport {
    /// Every matrix with its error, in the order of the documentation's table. Of the Gram matrix
    /// it is the step's share, ρ·WᵀW.
    pub matrices: Vec<TensorReport>,
    /// Real units of one level of a code component.
    pub code_scale: f32,
    /// Fractional bits of drives.
    pub drive_fraction: u8,
    /// Fractional bits of the Gram matrix.
    pub gram_fraction: u8,
    /// η of the decoder as stored, rounding of the Gram matrix included.
    pub step_size: f32,
}

/// A written integer model.
#[derive(Clone, Debug, PartialEq)]
pub struct IntegerWritten {
    /// The file.
    pub bytes: Vec<u8>,
    /// About it.
    pub report: IntegerReport,
}

/// Where the Gram matrix of a model that denoises is. Files of other models always store theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GramStorage {
    /// In the file: `2 l²` bytes of flash.
    #[default]
    Stored,
    /// Built when the file is read: as many bytes of memory; see [`IntegerFile::read_into`].
    Built,
}

/// [`write_integer_as`] with 8-bit weights and 16-bit activations.
///
/// # Errors
///
/// As [`write_integer_as`].
pub fn write_integer(
    model: &OwnedModel,
    ranges: &ActivationRanges,
) -> Result<IntegerWritten, WriteError> {
    write_integer_as(model, ranges, WeightType::I8, Activations::I16)
}

/// Quantises a model with a linear decoder to integers, and proves that no 32-bit sum of its
/// products can overflow, for any sample of these levels and any code.
///
/// `weights` are [`WeightType::I8`] or [`WeightType::I4`], which is for U and Wᵀ: S keeps 8 bits.
/// With [`Activations::I8`] the levels of `ranges` have to fit 8 bits, and so have those after the
/// contrast: standardised samples have no such form.
///
/// Weights have a scale per output channel (the dictionary: per atom), found as
/// [`quantize`](crate::quant::quantize) does. The normalisation of raw samples is folded into the
/// weights and biases. The same input gives the same bytes.
///
/// # Errors
///
/// As [`write()`](crate::write()); [`WriteError::Spec`] also for ranges that are none, for a
/// decoder with a hidden layer, and for weights that no 32-bit multiplier reaches;
/// [`WriteError::Overflow`] if a sum could overflow.
pub fn write_integer_as(
    model: &OwnedModel,
    ranges: &ActivationRanges,
    weights: WeightType,
    activations: Activations,
) -> Result<IntegerWritten, WriteError> {
    write_integer_with(model, ranges, weights, activations, GramStorage::Stored)
}

/// [`write_integer_as`] with a choice of where the Gram matrix of a model that denoises is.
///
/// # Errors
///
/// As [`write_integer_as`].
pub fn write_integer_with(
    model: &OwnedModel,
    ranges: &ActivationRanges,
    weights: WeightType,
    activations: Activations,
    storage: GramStorage,
) -> Result<IntegerWritten, WriteError> {
    let spec = check_layout(model)?;
    check_ranges(ranges, activations)?;
    if !matches!(weights, WeightType::I8 | WeightType::I4) {
        return Err(invalid("weights", "i8 or i4 for integer models"));
    }
    let OwnedDecoder::Linear { dictionary } = &model.decoder else {
        return Err(invalid(
            "hidden_dim",
            "0: decoders with a hidden layer have no integer form",
        ));
    };
    if spec.code_dim > 4095 {
        return Err(invalid("code_dim", "at most 4095 for integer models"));
    }
    let means = model
        .variational
        .as_ref()
        .and_then(|v| v.input_mean.as_deref());
    let plan = Plan::new(&spec, ranges, weights, activations, means.is_some())?;
    let (inputs, codes) = (spec.input_dim(), spec.code_dim());
    let mut file = Parts::default();

    if let Some(encoder) = &model.encoder {
        plan.encoder(&mut file, encoder, plan.units.code, [codes, inputs])?;
    }
    let mut own = plan.entries(ranges).to_vec();
    if let Some(encoder) = &model.variational {
        if encoder.posterior.is_some() {
            return Err(invalid("posterior", "none: samples are drawn in f32"));
        }
        let shifts = plan.variational(&mut file, encoder, [codes, inputs])?;
        own.extend(shifts.map(|shifts| ("layer_shifts", shifts)));
        own.extend(selection(Some(encoder)));
    }
    let gain = model.gram.as_ref().map(|gram| gram.gain.as_slice());
    let dictionary = plan.decoder(&mut file, dictionary, gain, inputs, codes)?;
    let built = model.gram.is_some();
    let constants = plan.refiner(&mut file, &dictionary, built, storage)?;
    if let Some(gram) = &model.gram {
        plan.gram(&mut file, gram, &constants)?;
        own.extend(stream_entries(Some(gram)));
    }
    let spec = ModelSpec {
        step_size: constants.step_size,
        atom_norm: constants.atom_norm,
        weights,
        ..spec
    };
    spec.check()?;

    let reports = file.reports.clone();
    let input = &model.spec.input;
    let bytes = file.layout(&spec, input, &own)?;
    let aligned = AlignedBytes::from_slice(&bytes);
    let mut memory = vec![0; IntegerFile::gram_levels(codes)];
    let written =
        IntegerFile::read_into(&aligned, &mut memory).map_err(|_| WriteError::ReadBack)?;
    if written.refiner.gram.values() != constants.gram {
        return Err(WriteError::ReadBack);
    }
    written.prove().map_err(WriteError::Overflow)?;
    let found = written
        .spec()
        .and_then(|found| Ok(metadata(&found, &InputFacts::read(&bytes)?, 0)))
        .map_err(|_| WriteError::ReadBack)?;
    if found != metadata(&spec, input, 0) {
        return Err(WriteError::ReadBack);
    }
    let report = IntegerReport {
        matrices: reports,
        code_scale: plan.code_scale,
        drive_fraction: drive_fraction(&written),
        gram_fraction: written.refiner.gram_fraction,
        step_size: spec.step_size,
    };
    Ok(IntegerWritten { bytes, report })
}

fn drive_fraction(file: &IntegerFile<'_>) -> u8 {
    let of_body = file.variational.map(|encoder| match encoder.body {
        IntegerVariationalBody::Dense { drive_fraction, .. } => drive_fraction,
        IntegerVariationalBody::Lista { encoder, .. } => encoder.drive_fraction,
    });
    let own = file.encoder.map(|encoder| encoder.drive_fraction);
    of_body.or(own).unwrap_or(0)
}

fn check_ranges(ranges: &ActivationRanges, activations: Activations) -> Result<(), WriteError> {
    let positive = |x: f32| x.is_normal() && x > 0.0;
    let ActivationRanges {
        input_scale,
        input_min,
        input_max,
        code_max,
    } = *ranges;
    if !positive(input_scale) {
        return Err(invalid("input_scale", "a finite number above 0"));
    }
    if !(-i16::MAX..=0).contains(&input_min) {
        return Err(invalid("input_min", "an integer of -32767 to 0"));
    }
    if input_max < 1 {
        return Err(invalid("input_max", "an integer of 1 to 32767"));
    }
    if !positive(code_max / f32::from(activations.code_limit())) {
        return Err(invalid("code_max", "a finite number above 0"));
    }
    Ok(())
}

/// What one level is in the units of the model.
struct Plan {
    shape: InputShape,
    weights: WeightType,
    activations: Activations,
    units: Units,
    code_scale: f32,
    contrast: IntegerContrast,
    codes: CodeSign,
    /// Which levels the products take.
    levels: Levels,
    /// The smallest and the largest raw level.
    input_range: (i16, i16),
    /// The normalisation's mean in raw levels.
    offset: i16,
    lambda: f64,
    /// Bits that the Gram matrix has more than a point, at least.
    least_finer: u32,
}

impl Plan {
    fn new(
        spec: &ModelSpec<'_>,
        ranges: &ActivationRanges,
        weights: WeightType,
        activations: Activations,
        has_input_mean: bool,
    ) -> Result<Self, WriteError> {
        let code_scale = ranges.code_max / f32::from(activations.code_limit());
        let units = Units::new(&spec.preprocessing, ranges.input_scale, code_scale);
        let contrast = match spec.preprocessing.contrast {
            Contrast::None if has_input_mean => IntegerContrast::InputMean,
            Contrast::None => IntegerContrast::None,
            Contrast::RemoveMean => IntegerContrast::RemoveMean,
            Contrast::Standardize { floor } => {
                let deviation = f64::from(spec.preprocessing.deviation);
                let sixteenths = f64::from(floor) * deviation / units.input * 16.0;
                IntegerContrast::Standardize {
                    floor: sixteenths.round().clamp(16.0, f64::from(1 << 20)) as u32,
                }
            }
            Contrast::Local { .. } => IntegerContrast::External,
        };
        // Where the mean stays in, level 0 is that far from it.
        let offset = (-units.zero / units.level).round();
        if offset.abs() > f64::from(i16::MAX) {
            return Err(invalid(
                "input_scale",
                "a scale at which the data's mean is a level of 16 bits",
            ));
        }
        let levels = IntegerSpec {
            variant: spec.variant,
            input_shape: spec.input_shape,
            code_dim: spec.code_dim,
            encoder_widths: spec.encoder_widths,
            input_min: ranges.input_min,
            input_max: ranges.input_max,
            contrast,
            activations,
        };
        if !activations.hold(levels.level_range()) {
            return Err(match contrast {
                IntegerContrast::Standardize { .. } => invalid(
                    "contrast",
                    "another than standardize, whose levels need more than 8 bits: activations i16",
                ),
                _ => invalid(
                    "input_scale",
                    "levels of 8 bits, -127 to 127 or 0 to 255 after the contrast: a larger input scale, or activations i16",
                ),
            });
        }
        Ok(Self {
            shape: spec.input_shape,
            weights,
            activations,
            units,
            code_scale,
            contrast,
            codes: spec.codes,
            levels: Levels::of(&levels),
            input_range: (ranges.input_min, ranges.input_max),
            offset: offset as i16,
            lambda: f64::from(spec.lambda),
            least_finer: match spec.variant {
                Variant::Denoise => LEAST_STEP_SHIFT.into(),
                _ => 0,
            },
        })
    }

    /// What the metadata says of the levels of samples and codes.
    fn entries(&self, ranges: &ActivationRanges) -> [(&'static str, String); 5] {
        [
            ("activations", self.activations.to_string()),
            ("code_scale", self.code_scale.to_string()),
            ("input_max", ranges.input_max.to_string()),
            ("input_min", ranges.input_min.to_string()),
            ("input_scale", ranges.input_scale.to_string()),
        ]
    }

    /// The most fractional bits, of `most` or fewer, with which no drive and no bias passes its
    /// limit: `scale` is what a level of each row's sums is worth without any, `constants` what the
    /// bias is.
    fn fraction(
        &self,
        levels: Levels,
        matrix: &OwnedMatrix,
        scale: &[f64],
        constants: &[f64],
        (least, most): (u8, u8),
    ) -> Result<u8, WriteError> {
        let cols = matrix.as_ref().cols;
        let stored = parts::levels(matrix);
        let reach = stored
            .chunks(cols)
            .zip(scale)
            .map(|(row, scale)| levels.reach(row.iter().copied().map(i16::from)) as f64 * scale);
        let largest = reach
            .chain(constants.iter().map(|constant| constant.abs()))
            .fold(0.0, f64::max);
        // A multiplier is rounded by less than a part in 2³⁰ of the largest.
        let limit = f64::from(DRIVE_LIMIT) * (1.0 - 1e-6) - 1.0;
        (least..=most)
            .rev()
            .find(|&f| largest * f64::from(1_u32 << f) <= limit)
            .ok_or(invalid(
                "input_scale",
                "levels and weights that keep drives within 2^29 levels of the code: a larger input scale, or activations f32",
            ))
    }

    /// Returns the atoms as the device has them, the scale of each included. `gain` is what
    /// components count, beside the scales.
    fn decoder(
        &self,
        file: &mut Parts,
        dictionary: &[f32],
        gain: Option<&[f32]>,
        inputs: usize,
        codes: usize,
    ) -> Result<Atoms, WriteError> {
        let one = f64::from(self.activations.most_contribution());
        // The report follows below: with each atom's scale as the device has it.
        let (levels, _) = quantized(
            "decoder.dictionary",
            dictionary,
            [codes, inputs],
            ScaleAxis::Row,
            self.weights,
        )?;
        let own = scales(&levels);
        let counted: Vec<f64> = match gain {
            None => own.clone(),
            Some(gain) if gain.iter().all(|gain| *gain >= 0.0) => {
                let gain = gain.iter().copied().map(f64::from);
                own.iter()
                    .zip(gain)
                    .map(|(scale, gain)| scale * gain)
                    .collect()
            }
            Some(_) => return Err(invalid("decoder.gain", "numbers of 0 or more")),
        };
        let largest = counted.iter().copied().fold(0.0, f64::max);
        if largest <= 0.0 {
            return Err(WriteError::StepSize);
        }
        let multipliers: Vec<i32> = counted
            .iter()
            .map(|scale| (scale / largest * one).round() as i32)
            .collect();
        // `v = z · m / 2^15`, so that a level of `v` is 2^15/m levels of the largest atom's: 16
        // bits whatever those of z.
        let unit = largest * 32768.0 / one;
        let scale: Vec<f64> = match gain {
            Some(_) => own,
            None => multipliers
                .iter()
                .map(|&multiplier| unit * f64::from(multiplier) / 32768.0)
                .collect(),
        };
        let ratio = self.units.code * unit / self.units.level;
        let (multipliers_out, shift) = multipliers_of(&[ratio], 33).ok_or(invalid(
            "input_scale",
            "larger: a level of the input is too fine for the code's range",
        ))?;
        file.integers
            .push(("output_multiplier", i64::from(multipliers_out[0])));
        file.integers.push(("output_shift", shift));
        file.integers
            .push(("output_offset", i64::from(self.offset)));
        let floor = match self.contrast {
            IntegerContrast::Standardize { floor } => floor,
            _ => 16,
        };
        file.integers.push(("contrast_floor", floor.into()));
        file.blocks("decoder.dictionary", &levels, self.weights);
        file.push("decoder.dictionary.multiplier", "I32", &multipliers);
        let values = dequantized(&levels, &scale);
        file.report(
            "decoder.dictionary",
            [codes, inputs],
            dictionary,
            values.iter().copied(),
        );
        Ok(Atoms {
            inputs,
            levels,
            scale,
            values,
        })
    }

    /// What refinement takes. A Gram matrix that can be `built` from the dictionary has the numbers
    /// that a reader builds, wherever it is.
    fn refiner(
        &self,
        file: &mut Parts,
        atoms: &Atoms,
        built: bool,
        storage: GramStorage,
    ) -> Result<Constants, WriteError> {
        let codes = atoms.scale.len();
        let gram = atoms.gram();
        let bound = largest_eigenvalue_bound(&gram, codes, atoms.inputs, f64::INFINITY);
        if !(bound.is_normal() && bound > 0.0) {
            return Err(WriteError::StepSize);
        }
        let (mut step, mut fraction) = (1.0 / bound, 15);
        let levels = loop {
            let unit = f64::from(1_u32 << fraction);
            let levels: Vec<f64> = match built {
                true => {
                    let (_, factors) = self.factors(atoms, step, fraction)?;
                    let levels = gram::built(&levels(&atoms.levels), atoms.inputs, &factors);
                    levels.into_iter().map(f64::from).collect()
                }
                false => gram.iter().map(|g| (g * step * unit).round()).collect(),
            };
            // Sums of integers, which are exact.
            let sum = |row: &[f64], sign: f64| -> i64 {
                row.iter().map(|g| (sign * g).max(0.0) as i64).sum()
            };
            let reach = |row: &[f64]| {
                reach(self.codes, sum(row, 1.0), sum(row, -1.0)) * i64::from(CODE_LIMIT)
            };
            let fits = levels.iter().all(|g| g.abs() <= f64::from(i16::MAX))
                && levels
                    .chunks(codes)
                    .all(|row| reach(row) < i64::from(i32::MAX));
            if !fits {
                if fraction == 1 {
                    return Err(WriteError::StepSize);
                }
                fraction -= 1;
                continue;
            }
            // What rounding added to the largest eigenvalue comes off the step.
            let rounded: Vec<f64> = levels.iter().map(|g| g / unit).collect();
            let excess = largest_eigenvalue_bound(&rounded, codes, 1, f64::INFINITY);
            if excess <= 1.0 {
                break levels;
            }
            step /= excess * (1.0 + 1e-6);
        };
        let correlation = self.correlation(atoms, step, fraction)?;
        let point_fraction = correlation.point_fraction;
        let point = self.code_unit() / f64::from(1_u32 << point_fraction);
        let step_size = step * atoms.inputs as f64 / 2.0;
        let shift = file.rescale("refiner.correlation.multiplier", &correlation.ratios, 1)?;
        file.integers.push(("correlation_shift", shift));
        file.bias("refiner.correlation.bias", correlation.bias.into_iter())?;
        file.integers.push(("gram_fraction", fraction.into()));
        file.integers
            .push(("point_fraction", point_fraction.into()));
        let threshold = (self.lambda * step_size / point).round();
        file.integers
            .push(("threshold", threshold.min(f64::from(i32::MAX)) as i64));

        let stored: Vec<i16> = levels.iter().map(|g| *g as i16).collect();
        let unit = f64::from(1_u32 << fraction);
        let exact: Vec<f32> = gram.iter().map(|g| (g * step) as f32).collect();
        file.report(
            "refiner.gram",
            [codes, codes],
            &exact,
            levels.iter().map(|g| g / unit),
        );
        let stored = arrange(codes, codes, &stored);
        if built && storage == GramStorage::Built {
            let (by, _) = self.factors(atoms, step, fraction)?;
            file.integers
                .push(("gram_multiplier", by.multiplier.into()));
            file.integers.push(("gram_shift", by.shift.into()));
        } else {
            file.push_rows("refiner.gram", WeightType::I16, &stored, LANES);
        }

        let squares: f64 = atoms.values.iter().map(|w| w * w).sum();
        Ok(Constants {
            step_size: largest_step(1.0 / step_size).ok_or(WriteError::StepSize)?,
            atom_norm: (squares / codes as f64).sqrt() as f32,
            gram: stored,
            step,
            point,
        })
    }

    /// Code units of one level of refinement.
    fn code_unit(&self) -> f64 {
        self.units.code / f64::from(1_u32 << self.activations.fine_bits())
    }

    /// What makes `ĉ` of sums, for a step and the fraction of the Gram matrix.
    fn correlation(
        &self,
        atoms: &Atoms,
        step: f64,
        gram_fraction: u32,
    ) -> Result<Correlation, WriteError> {
        let code_scale = self.code_unit();
        let ratios: Vec<f64> = atoms
            .scale
            .iter()
            .map(|scale| step * scale * self.units.level / code_scale)
            .collect();
        let sums = atoms.values.chunks(atoms.inputs);
        let bias: Vec<f64> = sums
            .map(|row| step * self.units.zero * row.iter().sum::<f64>() / code_scale)
            .collect();
        let most = gram_fraction.saturating_sub(self.least_finer).clamp(1, 13) as u8;
        let point_fraction =
            self.fraction(self.levels, &atoms.levels, &ratios, &bias, (1, most))?;
        let finer = f64::from(1_u32 << point_fraction);
        Ok(Correlation {
            point_fraction,
            ratios: ratios.iter().map(|ratio| ratio * finer).collect(),
            bias: bias.iter().map(|bias| bias * finer).collect(),
        })
    }
}

/// From sums of the dictionary's levels to correlations in points.
struct Correlation {
    point_fraction: u8,
    ratios: Vec<f64>,
    bias: Vec<f64>,
}

struct Constants {
    step_size: f32,
    atom_norm: f32,
    /// Ĝ as it is stored or built.
    gram: Vec<i16>,
    /// ρ of `Ĝ = ρ WᵀW`.
    step: f64,
    /// Code units of a point.
    point: f64,
}

/// The dictionary as the device has it.
struct Atoms {
    inputs: usize,
    levels: OwnedMatrix,
    /// Of each atom's levels.
    scale: Vec<f64>,
    /// Row-major, an atom per row.
    values: Vec<f64>,
}

impl Atoms {
    /// `WᵀW`: exact products of integers where the levels are.
    fn gram(&self) -> Vec<f64> {
        let codes = self.scale.len();
        let mut gram = vec![0.0; codes * codes];
        let rows: Vec<&[f64]> = self.values.chunks(self.inputs).collect();
        for (i, a) in rows.iter().enumerate() {
            for (j, b) in rows.iter().enumerate().take(i + 1) {
                let product: f64 = a.iter().zip(*b).map(|(a, b)| a * b).sum();
                gram[i * codes + j] = product;
                gram[j * codes + i] = product;
            }
        }
        gram
    }
}
