//! Ranges of activations for integer arithmetic, from sample data.

use serde::Serialize;
use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, Contrast, OwnedModel, WeightType,
};
use sparsecode_runtime::{CodeBuffer as _, Refine};

use super::{ExportError, HostModel};
use crate::data::Dataset;

/// How the largest value that is represented is chosen from those that occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Calibration {
    /// The largest, and a quarter more for samples that were not seen.
    #[default]
    Max,
    /// One that 99.99 % of the values do not exceed.
    Percentile,
    /// The one with the least mean squared error of cutting and rounding together.
    Mse,
}

impl Calibration {
    /// The largest value to represent with `levels` steps above 0. Values are magnitudes; 0 if all
    /// of them are.
    ///
    /// ```
    /// use sparsecode_trainer::deploy::Calibration;
    ///
    /// let mut values: Vec<f32> = (0..=1000).map(|i| i as f32 / 1000.0).collect();
    /// values.push(50.0);
    /// assert_eq!(Calibration::Max.range(&values, 32767), 62.5);
    /// // With few levels an outlier is not worth what it costs all others.
    /// assert!(Calibration::Mse.range(&values, 7) < 50.0);
    /// ```
    pub fn range(self, values: &[f32], levels: u32) -> f32 {
        let mut sorted: Vec<f32> = values.iter().map(|x| x.abs()).collect();
        sorted.sort_by(f32::total_cmp);
        let Some(&largest) = sorted.last() else {
            return 0.0;
        };
        match self {
            Self::Max => 1.25 * largest,
            Self::Percentile => {
                let rank = (sorted.len() as f64 * 0.9999).ceil() as usize;
                sorted[rank.clamp(1, sorted.len()) - 1]
            }
            Self::Mse => {
                // Rounding costs step²/12 of each value that is not cut, cutting what it takes off.
                let cost = |range: f32| {
                    let step = f64::from(range) / f64::from(levels);
                    let whole = sorted.partition_point(|x| *x <= range);
                    let cut = sorted[whole..].iter().map(|x| f64::from(x - range).powi(2));
                    whole as f64 * step * step / 12.0 + cut.sum::<f64>()
                };
                let candidates = (0..100).map(|i| largest * 0.97_f32.powi(i));
                candidates
                    .min_by(|a, b| cost(*a).total_cmp(&cost(*b)))
                    .unwrap_or(largest)
            }
        }
    }
}

/// Finds ranges for a model from samples: the inputs that occur, and the components of every code
/// on the way, those after refinement included. `input_scale` is what one level of the sensor is in
/// raw units, if that is known.
///
/// Without `input_scale`, samples that all lie on the grid of 8-bit pixels, k/255, keep it; others
/// get the range that `method` finds. 16 bits leave as much again for noise, 8 bits nothing.
///
/// # Errors
///
/// [`ExportError::Samples`] for samples that no ranges can be found from, and what running the
/// model says.
pub fn calibrate(
    model: &OwnedModel,
    samples: &Dataset,
    method: Calibration,
    input_scale: Option<f32>,
    activations: Activations,
) -> Result<ActivationRanges, ExportError> {
    let raw = raw_samples(model, samples);
    let contrast = model.spec.preprocessing.contrast;
    let codes = || codes(model, samples);
    ranges_of(&raw, codes, contrast, method, input_scale, activations)
}

/// Ranges from samples in raw units, or, if their contrast is the caller's business, as the model
/// takes them, and from the components of their codes.
pub(super) fn ranges_of(
    raw: &[f32],
    codes: impl FnOnce() -> Result<Vec<f32>, ExportError>,
    contrast: Contrast,
    method: Calibration,
    input_scale: Option<f32>,
    activations: Activations,
) -> Result<ActivationRanges, ExportError> {
    if raw.iter().any(|x| !x.is_finite()) {
        return Err(ExportError::Samples("hold NaN or infinity"));
    }
    if raw.iter().all(|x| *x == 0.0) {
        return Err(ExportError::Samples("are none, or all zero"));
    }
    let (least, most) = raw
        .iter()
        .fold((0.0_f32, 0.0_f32), |(a, b), x| (a.min(*x), b.max(*x)));
    let on_grid = least >= 0.0
        && most <= 1.0
        && raw.iter().all(|x| {
            let level = x * 255.0;
            (level - level.round()).abs() < 1e-3
        });
    // The largest level, and how many times the largest sample it is to be at least.
    let (levels, room): (i16, f32) = match (activations, contrast) {
        (Activations::I16, _) => (i16::MAX, 2.0),
        (Activations::I8, _) if on_grid => (255, 1.0),
        // The difference of two has to fit, too.
        (Activations::I8, Contrast::RemoveMean) => (63, 1.0),
        (Activations::I8, _) => (127, 1.0),
    };
    let most_level = f32::from(levels);
    let scale = match input_scale {
        Some(scale) => scale,
        None if on_grid => 1.0 / 255.0,
        None => room * method.range(raw, (most_level / room) as u32) / most_level,
    };
    let level = |x: f32| (x / scale).round();
    // A scale that was found may cut, as it is asked to.
    if input_scale.is_some() && level(most.max(-least)) > most_level {
        return Err(ExportError::Samples(
            "reach beyond the levels of the input scale: give a larger one",
        ));
    }
    let span = most - least;
    let (input_min, input_max) = match activations {
        // As much again on both sides, for noise.
        Activations::I16 => (level(least - span), level(most + span)),
        Activations::I8 if on_grid => (0.0, level(1.0)),
        Activations::I8 => (-most_level, most_level),
    };

    let code_levels = activations.code_limit().unsigned_abs().into();
    let code_max = method.range(&codes()?, code_levels);
    if code_max <= 0.0 {
        return Err(ExportError::Samples(
            "have codes of zeros only: the model has collapsed, or they are not its data",
        ));
    }
    Ok(ActivationRanges {
        input_scale: scale,
        // The conversion saturates.
        input_min: (input_min as i16).max(-i16::MAX),
        input_max: (input_max as i16).max(1),
        code_max,
    })
}

/// In raw units, or, if their contrast is the caller's business, as the model takes them.
fn raw_samples(model: &OwnedModel, samples: &Dataset) -> Vec<f32> {
    let mut raw = samples.samples.clone();
    if !matches!(model.spec.preprocessing.contrast, Contrast::Local { .. }) {
        for (index, sample) in raw.chunks_exact_mut(samples.dim).enumerate() {
            samples.restore.restore(index, sample);
        }
    }
    raw
}

/// Every component that is not 0 of the codes after 0 … L iterations, and after refinement.
fn codes(model: &OwnedModel, samples: &Dataset) -> Result<Vec<f32>, ExportError> {
    let mut values = Vec::new();
    let last = model.spec.lista_iterations.unwrap_or(0);
    for iterations in 0..=last {
        let mut part = model.clone();
        part.spec.lista_iterations = part.spec.lista_iterations.map(|_| iterations);
        let bytes = sparsecode_formats::write(&part, WeightType::F32)?;
        let aligned = AlignedBytes::from_slice(&bytes);
        let mut host = HostModel::new(&aligned, "the model to calibrate")?;
        let mut refine = host.refinement(50);
        if !host.spec().has_encoder() {
            // From zero: codes on the way to those of the inference.
            refine.settings.start = Refine::for_inference(host.spec()).start;
        }
        for sample in samples.samples.chunks_exact(samples.dim) {
            values.extend(host.encode(sample, None)?.values());
            if iterations == last {
                values.extend(host.encode(sample, Some(&refine))?.values());
            }
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use sparsecode_formats::{
        CodeSign, InputFacts, InputShape, OwnedDecoder, OwnedProvenance, OwnedSpec, Preprocessing,
        Variant,
    };

    use super::*;
    use crate::data::Restore;

    fn ranges(samples: Vec<f32>, scale: Option<f32>) -> Result<ActivationRanges, ExportError> {
        let method = Calibration::Max;
        found(samples, scale, method, Contrast::None, Activations::I16)
    }

    fn found(
        samples: Vec<f32>,
        scale: Option<f32>,
        method: Calibration,
        contrast: Contrast,
        activations: Activations,
    ) -> Result<ActivationRanges, ExportError> {
        let model = OwnedModel {
            spec: OwnedSpec {
                variant: Variant::Do,
                input_shape: InputShape::window(2),
                code_dim: 2,
                hidden_dim: 0,
                lista_iterations: None,
                codes: CodeSign::NonNegative,
                lambda: 0.01,
                preprocessing: Preprocessing {
                    contrast,
                    ..Preprocessing::IDENTITY
                },
                peak: 1.0,
                input: InputFacts::default(),
                provenance: OwnedProvenance::default(),
            },
            encoder: None,
            gram: None,
            variational: None,
            decoder: OwnedDecoder::Linear {
                dictionary: vec![1.0, 0.0, 0.0, 1.0],
            },
        };
        let samples = Dataset {
            samples,
            dim: 2,
            restore: Restore::Global {
                scale: 1.0,
                offset: 0.0,
            },
            labels: None,
        };
        calibrate(&model, &samples, method, scale, activations)
    }

    #[test]
    fn pixels_keep_their_grid_and_others_get_headroom() {
        let pixels = ranges(vec![0.0, 51.0 / 255.0, 1.0, 102.0 / 255.0], None).unwrap();
        assert_eq!(pixels.input_scale, 1.0 / 255.0);
        assert_eq!((pixels.input_min, pixels.input_max), (-255, 510));
        assert!((1.2..1.3).contains(&pixels.code_max), "{pixels:?}");
        let signal = ranges(vec![-2.0, 0.3, 1.0, 0.5], None).unwrap();
        // Twice a quarter more than the largest.
        assert!(
            (f32::from(i16::MAX) * signal.input_scale - 5.0).abs() < 1e-3,
            "{signal:?}"
        );
        assert_eq!(ranges(vec![0.0, 0.5], Some(0.25)).unwrap().input_max, 4);
    }

    #[test]
    fn sixteen_bits_cut_what_they_are_asked_to() {
        let many: Vec<f32> = (0..100_000).map(|i| 0.5 + (i % 7) as f32 * 0.1).collect();
        let samples = [&many[..], &[40.0; 2]].concat();
        for method in [Calibration::Percentile, Calibration::Mse] {
            let (contrast, bits) = (Contrast::None, Activations::I16);
            let found = found(samples.clone(), None, method, contrast, bits).unwrap();
            assert_eq!(found.input_max, i16::MAX, "{found:?}");
            let largest = f32::from(found.input_max) * found.input_scale;
            // Twice 1.1; with 16 bits an outlier costs more cut than all others rounded.
            let expected = if method == Calibration::Percentile {
                2.2
            } else {
                80.0
            };
            assert!((largest / expected - 1.0).abs() < 0.05, "{largest}");
        }
    }

    #[test]
    fn eight_bits_leave_no_room() {
        let of = |samples: &[f32], scale, method, contrast| {
            let (samples, bits) = (samples.to_vec(), Activations::I8);
            found(samples, scale, method, contrast, bits)
        };
        let levels = |ranges: ActivationRanges| (ranges.input_min, ranges.input_max);
        let none = Contrast::None;
        let pixels = [0.0, 51.0 / 255.0, 1.0, 102.0 / 255.0];
        let found = of(&pixels, None, Calibration::Max, none).unwrap();
        assert_eq!(found.input_scale, 1.0 / 255.0);
        assert_eq!(levels(found), (0, 255));
        let found = of(&pixels, Some(0.01), Calibration::Max, none).unwrap();
        assert_eq!(levels(found), (0, 100));
        let signal = [-2.0, 0.3, 1.0, 0.5];
        for (contrast, most) in [(none, 127), (Contrast::RemoveMean, 63)] {
            let found = of(&signal, None, Calibration::Max, contrast).unwrap();
            assert_eq!(levels(found), (-most, most));
            assert!((f32::from(most) * found.input_scale - 2.5).abs() < 1e-5);
        }
        // What cuts is allowed to, but not a scale that was given.
        let outliers: Vec<f32> = (0..20_000).map(|i| 0.5 + (i % 7) as f32).collect();
        let outliers = [&outliers[..], &[900.0; 2]].concat();
        let found = of(&outliers, None, Calibration::Percentile, none).unwrap();
        assert!((found.input_scale * 127.0 - 6.5).abs() < 1e-3, "{found:?}");
        let error = of(&signal, Some(0.01), Calibration::Max, none).unwrap_err();
        assert!(error.to_string().contains("larger one"), "{error}");
    }

    #[test]
    fn samples_without_ranges_are_refused() {
        for (samples, scale, complaint) in [
            (vec![], None, "are none"),
            (vec![0.0; 4], None, "all zero"),
            (vec![0.0, f32::NAN], None, "NaN"),
            (vec![0.0, 1.0], Some(1e-5), "larger one"),
            (vec![-1.0, -0.5], None, "collapsed"),
        ] {
            let error = ranges(samples, scale).unwrap_err().to_string();
            assert!(error.contains(complaint), "{error}");
        }
    }
}
