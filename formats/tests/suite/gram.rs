//! Models that denoise: what is written is what is read, in both versions of the format; a Gram
//! matrix that is built has the numbers of one that is stored.

use crate::common::Parts;
use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, GramStorage, InputShape, IntegerFile, ModelFile,
    OwnedModel, ReadError, Variant, WeightType, WriteError, example_denoiser, write, write_integer,
    write_integer_as, write_integer_with,
};

const RANGES: ActivationRanges = ActivationRanges {
    input_scale: 0.001,
    input_min: -8000,
    input_max: 8000,
    code_max: 20.0,
};

fn stored(model: &OwnedModel, storage: GramStorage) -> AlignedBytes {
    let (weights, activations) = (WeightType::I8, Activations::I16);
    let written = write_integer_with(model, &RANGES, weights, activations, storage);
    AlignedBytes::from_slice(&written.unwrap().bytes)
}

#[test]
fn floats_are_read_as_they_were_written() {
    let mut model = example_denoiser(24, 20, 3);
    model.gram.as_mut().unwrap().drift = Some(361);
    let bytes = AlignedBytes::from_slice(&write(&model, WeightType::F32).unwrap());
    let file = ModelFile::read(&bytes).unwrap();
    assert!(file.encoder.is_none() && file.spec.has_encoder());
    assert_eq!(
        (file.spec.name(), file.spec.gram_iterations),
        ("denoise", Some(3))
    );
    assert_eq!(OwnedModel::from_file(&file).unwrap(), model);
    let stream = file.gram.unwrap().stream;
    assert_eq!(
        (stream.hop, stream.drift, stream.guard),
        (6, Some(361), 1.3)
    );
}

#[test]
fn integers_stand_for_the_model() {
    let model = example_denoiser(24, 20, 3);
    let gram = model.gram.as_ref().unwrap();
    let bytes = stored(&model, GramStorage::Stored);
    let file = IntegerFile::read(&bytes).unwrap();
    let read = file.gram.unwrap();
    // ρ from the step size in the metadata, η = ρ d / 2.
    let rho = f64::from(file.spec().unwrap().step_size) * 2.0 / 24.0;
    for (level, step) in read.steps.iter().zip(&gram.steps) {
        let found = f64::from(*level) / 512.0 * rho;
        assert!(
            (found - f64::from(*step)).abs() < 3e-3 * f64::from(*step),
            "{found} {step}"
        );
    }
    // θ in points for σ of a sixteenth of a level; a point is worth code_scale / 2^fraction.
    let (input, code) = file.scales().unwrap();
    let point = f64::from(code) / f64::from(1 << file.refiner.point_fraction);
    let levels = read.thresholds.chunks(24).flat_map(|row| &row[..20]);
    for (level, threshold) in levels.zip(&gram.thresholds) {
        let points = f64::from(*level) / 2_f64.powi(read.threshold_shift.into());
        let found = points * point / rho / (f64::from(input) / 16.0);
        let expected = f64::from(*threshold);
        assert!((found - expected).abs() < 1e-3, "{found} {expected}");
    }
    assert_eq!(read.noise_level, (0.2 / 0.001 * 16.0) as u16);
    assert_eq!((read.stream.hop, read.stream.guard), (6, 333));
    // Weights keep their ratios, and four of them and the one at the end fit 16 bits.
    let largest = gram.window_weights.iter().fold(0.0_f32, |a, b| a.max(*b));
    for (level, weight) in read.stream.weights.iter().zip(&gram.window_weights) {
        let expected = weight / largest * 13107.0;
        assert!((*level as f32 - expected).abs() < 1.0, "{level} {expected}");
    }
    // The decoder's contributions hold the gains.
    let multiplier = |k: usize| file.decoder.multiplier[k] as f32;
    // Atoms 2 and 3 are opposites, so that their levels have one scale.
    let ratio = multiplier(3) / multiplier(2);
    let expected = gram.gain[3] / gram.gain[2];
    assert!((ratio - expected).abs() < 1e-3, "{ratio} {expected}");
}

#[test]
fn a_built_gram_matrix_is_the_stored_one() {
    for (window, code_dim) in [(24, 20), (9, 7), (64, 33)] {
        let model = example_denoiser(window, code_dim, 2);
        let (small, large) = (
            stored(&model, GramStorage::Built),
            stored(&model, GramStorage::Stored),
        );
        let needed = IntegerFile::gram_levels(code_dim.into());
        assert!(small.len() + 2 * needed <= large.len() + 192);
        let with = IntegerFile::read(&large).unwrap();
        let refused = IntegerFile::read(&small).unwrap_err();
        assert_eq!(refused, ReadError::GramMemory { needed, found: 0 });
        assert!(
            refused.to_string().contains(&needed.to_string()),
            "{refused}"
        );
        let mut memory = vec![7; needed + 3];
        let short = IntegerFile::read_into(&small, &mut memory[..needed - 1]);
        let found = needed - 1;
        assert_eq!(short.unwrap_err(), ReadError::GramMemory { needed, found });
        let built = IntegerFile::read_into(&small, &mut memory).unwrap();
        assert_eq!(built.refiner.gram, with.refiner.gram);
        assert_eq!(
            small.integer_file().unwrap().refiner.gram,
            with.refiner.gram
        );
        assert_eq!(
            small.integer_file().unwrap().refiner.gram,
            with.refiner.gram
        );
        // ρ WᵀW of the atoms as they are stored.
        let l = usize::from(code_dim);
        let gram = with.refiner.gram;
        let rho = f64::from(with.spec().unwrap().step_size) * 2.0 / f64::from(window);
        let unit = f64::from(1_u32 << with.refiner.gram_fraction);
        let dictionary = match &model.decoder {
            sparsecode_formats::OwnedDecoder::Linear { dictionary } => dictionary,
            _ => panic!("linear"),
        };
        let atoms: Vec<&[f32]> = dictionary.chunks(window.into()).collect();
        for i in 0..l {
            for j in 0..l {
                let dot: f64 = atoms[i]
                    .iter()
                    .zip(atoms[j])
                    .map(|(a, b)| f64::from(a * b))
                    .sum();
                let found = f64::from(gram.get(i, j).unwrap()) / unit / rho;
                // 8 bits of weights.
                assert!((found - dot).abs() < 0.02, "{i} {j}: {found} {dot}");
            }
        }
    }
}

#[test]
fn malformed_values_are_errors_that_name_the_key() {
    let model = example_denoiser(24, 20, 3);
    let float = || Parts::of(&write(&model, WeightType::I8).unwrap());
    let integer = || Parts::of(&write_integer(&model, &RANGES).unwrap().bytes);
    for (key, values) in [
        ("hop", ["0", "25", "x"]),
        ("guard", ["-1", "nan", ""]),
        ("noise_level", ["0", "-2", "?"]),
        ("gram_iterations", ["0", "256", "none"]),
    ] {
        for value in values {
            let errors = [
                ModelFile::read(&float().metadata(key, value).bytes()).map(|_| ()),
                IntegerFile::read(&integer().metadata(key, value).bytes()).map(|_| ()),
            ];
            for error in errors {
                let error = error.unwrap_err().to_string();
                assert!(error.contains(key), "{key} = {value}: {error}");
            }
        }
    }
    let error = |parts: Parts| IntegerFile::read(&parts.bytes()).map(|_| ()).unwrap_err();
    let mine = error(integer().metadata("variant", "vdl"));
    assert!(mine.to_string().contains("lista_iterations"), "{mine}");
    for wrong in ["1", "32"] {
        let shift = error(integer().metadata("threshold_shift", wrong));
        assert!(shift.to_string().contains("threshold_shift"), "{shift}");
    }
    // A product would leave 32 bits with the correlation.
    let fraction = error(
        integer()
            .metadata("point_fraction", "13")
            .metadata("gram_fraction", "14"),
    );
    assert!(
        fraction.to_string().contains("point_fraction + 2"),
        "{fraction}"
    );
}

/// A model of patches of 4×6 pixels.
fn of_patches() -> OwnedModel {
    let mut model = example_denoiser(24, 20, 3);
    model.spec.input_shape = InputShape {
        height: 4,
        width: 6,
    };
    let gram = model.gram.as_mut().unwrap();
    gram.hop = 2;
    gram.window_weights = (0..10).map(|index| 1.0 + 0.1 * index as f32).collect();
    model
}

#[test]
fn patches_have_weights_of_rows_and_columns() {
    let model = of_patches();
    let bytes = AlignedBytes::from_slice(&write(&model, WeightType::F32).unwrap());
    let read = ModelFile::read(&bytes).unwrap().gram.unwrap();
    assert_eq!(
        read.stream.weights,
        model.gram.as_ref().unwrap().window_weights
    );
    let bytes = AlignedBytes::from_slice(&write_integer(&model, &RANGES).unwrap().bytes);
    let read = IntegerFile::read(&bytes).unwrap().gram.unwrap();
    let (rows, columns) = read.stream.weights.split_at(4);
    // As many as meet, and the patch at the border, come to 255 at most.
    let most = 255 / (3 + 1);
    assert_eq!((rows[3], columns[5]), (most, most));
    assert_eq!(rows[0], (1.0_f32 / 1.3 * most as f32).round() as i32);
    for (spoil, field) in [
        (
            (|m| m.gram.as_mut().unwrap().hop = 5) as fn(&mut OwnedModel),
            "hop",
        ),
        (|m| m.gram.as_mut().unwrap().drift = Some(5), "drift"),
        (
            |m| m.gram.as_mut().unwrap().window_weights.truncate(9),
            "window.weights",
        ),
    ] {
        let mut model = of_patches();
        spoil(&mut model);
        for error in [
            write(&model, WeightType::F32).unwrap_err(),
            write_integer(&model, &RANGES).unwrap_err(),
        ] {
            assert!(error.to_string().contains(field), "{field}: {error}");
        }
    }
}

/// What is wrong with a model, and the field that the error names.
type Fault = (fn(&mut OwnedModel), &'static str);

#[test]
fn what_cannot_be_written_is_named() {
    let faults: [Fault; 9] = [
        (|m| m.gram = None, "gram_iterations"),
        (|m| m.spec.variant = Variant::Do, "gram_iterations"),
        (|m| m.gram.as_mut().unwrap().hop = 0, "hop"),
        (|m| m.gram.as_mut().unwrap().hop = 25, "hop"),
        (|m| m.gram.as_mut().unwrap().drift = Some(4), "drift"),
        (|m| m.gram.as_mut().unwrap().guard = f32::NAN, "guard"),
        (
            |m| m.gram.as_mut().unwrap().noise_level = 0.0,
            "noise_level",
        ),
        (
            |m| m.gram.as_mut().unwrap().thresholds.truncate(59),
            "encoder.thresholds",
        ),
        (
            |m| m.gram.as_mut().unwrap().window_weights[3] = 0.0,
            "window.weights",
        ),
    ];
    for (spoil, field) in faults {
        let mut model = example_denoiser(24, 20, 3);
        spoil(&mut model);
        for error in [
            write(&model, WeightType::F32).unwrap_err(),
            write_integer(&model, &RANGES).unwrap_err(),
        ] {
            assert!(error.to_string().contains(field), "{field}: {error}");
        }
    }
    let model = example_denoiser(24, 20, 3);
    let narrow = ActivationRanges {
        input_min: -127,
        input_max: 127,
        ..RANGES
    };
    let error = write_integer_as(&model, &narrow, WeightType::I8, Activations::I8).unwrap_err();
    assert!(
        matches!(error, WriteError::Spec(spec) if spec.field == "activations"),
        "{error}"
    );
    let mut steep = model.clone();
    steep.gram.as_mut().unwrap().steps[1] = 180.0;
    let error = write_integer(&steep, &RANGES).unwrap_err();
    assert!(error.to_string().contains("encoder.steps"), "{error}");
    let mut negative = model;
    negative.gram.as_mut().unwrap().gain[4] = -0.1;
    let error = write_integer(&negative, &RANGES).unwrap_err();
    assert!(error.to_string().contains("decoder.gain"), "{error}");
}
