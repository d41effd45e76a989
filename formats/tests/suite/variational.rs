//! Variational models: what is written is what is read, and what cannot be read or written names
//! its field.

use crate::common::Parts;
use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, CodeSign, Contrast, EncoderWidths,
    IntegerContrast, IntegerFile, IntegerVariationalBody, ModelFile, OwnedLayer, OwnedModel,
    OwnedVariational, OwnedVariationalBody, PosteriorBase, PosteriorThreshold, ReadError, Variant,
    VariationalBody, WeightType, WriteError, example_posterior, example_variational, write,
    write_integer, write_integer_as,
};

fn encoder(model: &mut OwnedModel) -> &mut OwnedVariational {
    model.variational.as_mut().unwrap()
}

/// Every kind: either body, either selection, with and without means of each number.
fn kinds() -> Vec<OwnedModel> {
    let mut models = Vec::new();
    for widths in [&[][..], &[7], &[9, 7], &[8, 16, 3, 5]] {
        for by_scale in [false, true] {
            let mut model = example_variational(12, 6, widths, by_scale);
            models.push(model.clone());
            encoder(&mut model).input_mean = Some((0..12).map(|i| 0.1 * i as f32).collect());
            models.push(model);
        }
    }
    models
}

fn dense() -> OwnedModel {
    let mut model = example_variational(12, 6, &[9, 7], true);
    encoder(&mut model).input_mean = Some(vec![0.25; 12]);
    model
}

fn lista() -> OwnedModel {
    example_variational(12, 6, &[], true)
}

#[test]
fn floats_are_read_as_they_were_written() {
    for mut model in kinds() {
        let bytes = AlignedBytes::from_slice(&write(&model, WeightType::F32).unwrap());
        let file = ModelFile::read(&bytes).unwrap();
        assert!(file.encoder.is_none() && file.gram.is_none() && file.spec.has_encoder());
        assert_eq!(file.spec.name(), "variational");
        // Only integers need these.
        if let OwnedVariationalBody::Dense { trunk_max, .. } = &mut encoder(&mut model).body {
            trunk_max.clear();
        }
        assert_eq!(OwnedModel::from_file(&file).unwrap(), model);
    }
}

/// Base, level of the threshold, and whether thresholds are learned.
const POSTERIORS: [(PosteriorBase, Option<f32>, bool); 5] = [
    (PosteriorBase::Laplacian, Some(0.75), false),
    (PosteriorBase::Laplacian, Some(0.75), true),
    (PosteriorBase::Laplacian, None, false),
    (PosteriorBase::Gaussian, Some(1e-7), false),
    (PosteriorBase::Gaussian, None, false),
];

#[test]
fn posteriors_are_read_as_they_were_written() {
    for model in kinds() {
        for (base, level, is_learned) in POSTERIORS {
            let mut model = example_posterior(model.clone(), base, level, is_learned);
            let bytes = AlignedBytes::from_slice(&write(&model, WeightType::F32).unwrap());
            let file = ModelFile::read(&bytes).unwrap();
            let posterior = file.variational.unwrap().posterior.unwrap();
            assert_eq!(posterior.base, base);
            match (posterior.threshold, level, is_learned) {
                (PosteriorThreshold::None, None, _) => {}
                (PosteriorThreshold::Fixed(found), Some(level), false) => assert_eq!(found, level),
                (PosteriorThreshold::Learned { shape, rate }, _, true) => {
                    assert_eq!((shape.weights.rows, rate.bias.len()), (6, 6));
                }
                (found, ..) => panic!("{found:?}"),
            }
            if let Some(scale) = file.variational.unwrap().scale {
                assert_eq!(posterior.scale, scale);
            }
            if let OwnedVariationalBody::Dense { trunk_max, .. } = &mut encoder(&mut model).body {
                trunk_max.clear();
            }
            assert_eq!(OwnedModel::from_file(&file).unwrap(), model);
        }
    }
}

#[test]
fn malformed_posteriors_are_errors_that_name_the_field() {
    let (base, level, is_learned) = POSTERIORS[1];
    let learned = example_posterior(dense(), base, level, is_learned);
    let by_shift = example_variational(12, 6, &[9, 7], false);
    let by_shift = example_posterior(by_shift, PosteriorBase::Gaussian, Some(1.0), false);
    let of = |model: &OwnedModel| Parts::of(&write(model, WeightType::I8).unwrap());
    let error = |parts: Parts| ModelFile::read(&parts.bytes()).map(|_| ()).unwrap_err();
    for (key, values) in [
        ("posterior", &["", "laplace", "none"][..]),
        (
            "posterior_threshold",
            &["", "0", "-1", "inf", "fixed", "learned"],
        ),
    ] {
        for value in values {
            let error = error(of(&by_shift).metadata(key, value)).to_string();
            assert!(error.contains(key), "{key} = {value}: {error}");
        }
    }
    let key = "posterior_threshold";
    let missing = of(&by_shift).replace(&format!("\"{key}\""), "\"other\"");
    assert_eq!(error(missing), ReadError::MissingMetadata { key });
    // Heads that nothing asks for, and heads that are missing.
    for (model, tensor) in [(&by_shift, "encoder.scale"), (&learned, "encoder.shape")] {
        let without = of(model).replace("\"posterior\"", "\"other\"");
        assert_eq!(error(without), ReadError::UnexpectedTensor { tensor });
    }
    let asked = of(&by_shift)
        .metadata("posterior", "laplacian")
        .metadata(key, "learned");
    let tensor = "encoder.shape";
    assert_eq!(error(asked), ReadError::MissingTensor { tensor });

    let refused = |model: &OwnedModel| write(model, WeightType::F32).unwrap_err().to_string();
    for level in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let model = example_posterior(dense(), base, Some(level), false);
        assert!(refused(&model).contains(key), "{level}");
    }
    let gaussian = example_posterior(dense(), PosteriorBase::Gaussian, Some(1.0), true);
    assert!(refused(&gaussian).contains("laplacian"));
    let mut twice = learned.clone();
    let scale = encoder(&mut twice).scale.clone();
    encoder(&mut twice).posterior.as_mut().unwrap().scale = scale;
    assert!(refused(&twice).contains("encoder.scale"));
    let ranges = ActivationRanges {
        input_scale: 0.01,
        input_min: -100,
        input_max: 100,
        code_max: 8.0,
    };
    let integers = write_integer(&learned, &ranges).unwrap_err().to_string();
    assert!(integers.contains("posterior"), "{integers}");
}

#[test]
fn quantised_layers_have_a_scale_per_output() {
    for weights in [WeightType::I16, WeightType::I8] {
        let model = dense();
        let bytes = AlignedBytes::from_slice(&write(&model, weights).unwrap());
        let file = ModelFile::read(&bytes).unwrap();
        assert_eq!(file.spec.encoder_widths, EncoderWidths::new(&[9, 7]));
        assert_eq!((file.spec.hidden_units(), file.spec.hidden_dim()), (16, 0));
        let found = file.variational.unwrap();
        let VariationalBody::Dense { trunk, shift } = found.body else {
            panic!("dense")
        };
        let OwnedVariationalBody::Dense {
            trunk: written,
            shift: head,
            ..
        } = model.variational.unwrap().body
        else {
            panic!("dense")
        };
        let layers = trunk.iter().flatten().chain([&shift]);
        for (found, written) in layers.zip(written.iter().chain([&head])) {
            let (rows, cols) = (found.weights.rows, found.weights.cols);
            assert_eq!(found.weights.scale().len(), rows);
            for row in 0..rows {
                let half = found.weights.scale()[row] * 0.501;
                for col in 0..cols {
                    let error =
                        found.weights.weight(row, col).unwrap() - written.weights[row * cols + col];
                    assert!(error.abs() <= half, "{row} {col}: {error}");
                }
            }
            assert_eq!(found.bias, written.bias);
        }
    }
}

#[test]
fn widths_are_text() {
    for text in ["1", "128,64", "1,2,3,4", "65535"] {
        assert_eq!(text.parse::<EncoderWidths>().unwrap().to_string(), text);
    }
    for text in ["", "0", "1,", ",1", "1,2,3,4,5", "65536", "1, 2", "x"] {
        let error = text.parse::<EncoderWidths>().unwrap_err();
        assert_eq!(error.field, "encoder_widths", "{text}");
    }
    for widths in [&[][..], &[0], &[3, 0], &[1; 5]] {
        assert_eq!(EncoderWidths::new(widths), None, "{widths:?}");
    }
}

#[test]
fn malformed_values_are_errors_that_name_the_field() {
    let of = |model: &OwnedModel| Parts::of(&write(model, WeightType::I8).unwrap());
    let error = |parts: Parts| ModelFile::read(&parts.bytes()).map(|_| ()).unwrap_err();
    for (key, values) in [
        ("code_gain", &["0", "-1", "nan", ""][..]),
        ("selection", &["", "both"]),
        ("encoder_widths", &["", "9,0", "9,7,", "1,2,3,4,5"]),
        ("codes", &["non-negative", "any"]),
        ("mean", &["0.5"]),
        ("contrast", &["remove-mean", "standardize:0.1"]),
        ("hidden_dim", &["3"]),
    ] {
        for value in values {
            let error = error(of(&dense()).metadata(key, value)).to_string();
            assert!(error.contains(key), "{key} = {value}: {error}");
        }
    }
    for key in ["code_gain", "selection"] {
        let missing = of(&dense()).replace(&format!("\"{key}\""), "\"other\"");
        assert_eq!(error(missing), ReadError::MissingMetadata { key });
    }
    // Widths and LISTA exclude one another, and one of the two is there.
    let both = error(of(&dense()).metadata("lista_iterations", "3")).to_string();
    assert!(both.contains("encoder"), "{both}");
    let neither = of(&dense()).replace("\"encoder_widths\"", "\"other\"");
    let neither = error(neither).to_string();
    assert!(neither.contains("encoder_widths"), "{neither}");
    let other = error(of(&dense()).metadata("variant", "do")).to_string();
    assert!(other.contains("encoder_widths"), "{other}");
    // Other widths than the tensors'.
    let wider = error(of(&dense()).metadata("encoder_widths", "9,8"));
    assert!(
        matches!(
            wider,
            ReadError::Shape {
                tensor: "encoder.trunk.1",
                ..
            }
        ),
        "{wider}"
    );
    let fewer = error(of(&dense()).metadata("encoder_widths", "9"));
    assert!(
        matches!(
            fewer,
            ReadError::Shape {
                tensor: "encoder.shift",
                ..
            }
        ),
        "{fewer}"
    );
    // A head that the metadata does not know of.
    let unexpected = error(of(&dense()).metadata("selection", "shift"));
    let tensor = "encoder.scale";
    assert_eq!(unexpected, ReadError::UnexpectedTensor { tensor });
    for tensor in [
        "encoder.trunk.0",
        "encoder.trunk.1.bias",
        "encoder.shift.scale",
        "encoder.scale.bias",
        "code.thresholds",
    ] {
        let renamed = of(&dense()).replace(&format!("\"{tensor}\""), "\"encoder.bias\"");
        assert_eq!(error(renamed), ReadError::MissingTensor { tensor });
    }
    for tensor in [
        "encoder.trunk.0.bias",
        "encoder.shift.bias",
        "encoder.scale.bias",
        "code.thresholds",
        "input.mean",
    ] {
        let nan = of(&dense()).poke(tensor, 2, &f32::NAN.to_le_bytes());
        assert_eq!(error(nan), ReadError::NonFinite { tensor, index: 2 });
    }
    let (tensor, index) = ("encoder.shrinkage", 4);
    let negative = of(&lista()).poke(tensor, index, &(-0.1_f32).to_le_bytes());
    assert_eq!(error(negative), ReadError::Negative { tensor, index });
    let missing = of(&lista()).replace("\"encoder.shrinkage\"", "\"encoder.trunk.2.bias\"");
    assert_eq!(error(missing), ReadError::MissingTensor { tensor });
}

/// What is wrong with a model, and the field that the error names.
type Fault = (fn(&mut OwnedModel), &'static str);

#[test]
fn what_cannot_be_written_is_named() {
    fn trunk(model: &mut OwnedModel) -> &mut Vec<OwnedLayer> {
        match &mut encoder(model).body {
            OwnedVariationalBody::Dense { trunk, .. } => trunk,
            OwnedVariationalBody::Lista { .. } => panic!("dense"),
        }
    }
    let faults: [Fault; 14] = [
        (|m| m.variational = None, "variant"),
        (|m| m.spec.variant = Variant::Do, "encoder_widths"),
        (|m| m.spec.codes = CodeSign::NonNegative, "codes"),
        (|m| m.spec.hidden_dim = 3, "hidden_dim"),
        (|m| m.spec.lista_iterations = Some(1), "encoder_widths"),
        (|m| encoder(m).gain = 0.0, "code_gain"),
        (|m| encoder(m).thresholds.truncate(5), "code.thresholds"),
        (
            |m| encoder(m).input_mean = Some(vec![0.0; 11]),
            "input.mean",
        ),
        (|m| m.spec.preprocessing.mean = 0.1, "mean"),
        (
            |m| m.spec.preprocessing.contrast = Contrast::RemoveMean,
            "contrast",
        ),
        (|m| trunk(m).clear(), "encoder_widths"),
        (|m| trunk(m)[1].weights.truncate(62), "encoder.trunk.1"),
        (|m| trunk(m)[0].bias[3] = f32::NAN, "encoder.trunk.0.bias"),
        (
            |m| encoder(m).scale.as_mut().unwrap().bias.truncate(1),
            "encoder.scale.bias",
        ),
    ];
    for (spoil, field) in faults {
        let mut model = dense();
        spoil(&mut model);
        let error = write(&model, WeightType::F32).unwrap_err().to_string();
        assert!(error.contains(field), "{field}: {error}");
    }
    let mut model = lista();
    match &mut encoder(&mut model).body {
        OwnedVariationalBody::Lista { shrinkage, .. } => shrinkage[2] = -0.5,
        OwnedVariationalBody::Dense { .. } => panic!("LISTA"),
    }
    let error = write(&model, WeightType::F32).unwrap_err().to_string();
    assert!(error.contains("encoder.shrinkage"), "{error}");
    let mut other = crate::common::small(Variant::Vdl, false);
    other.variational = lista().variational;
    let error = write(&other, WeightType::F32).unwrap_err().to_string();
    assert!(error.contains("variant"), "{error}");
}

const RANGES: ActivationRanges = ActivationRanges {
    input_scale: 0.001,
    input_min: -1500,
    input_max: 1500,
    code_max: 8.0,
};

#[test]
fn integers_stand_for_the_model() {
    for model in kinds() {
        for weights in [WeightType::I8, WeightType::I4] {
            let written = write_integer_as(&model, &RANGES, weights, Activations::I16).unwrap();
            let bytes = AlignedBytes::from_slice(&written.bytes);
            let file = IntegerFile::read(&bytes).unwrap();
            let encoder = model.variational.as_ref().unwrap();
            let found = file.variational.unwrap();
            assert!(file.encoder.is_none() && file.gram.is_none());
            assert_eq!(found.scale.is_some(), encoder.scale.is_some());
            let contrast = match encoder.input_mean {
                Some(_) => IntegerContrast::InputMean,
                None => IntegerContrast::None,
            };
            assert_eq!(file.spec.contrast, contrast);
            let means = encoder.input_mean.as_deref().unwrap_or_default();
            for (level, mean) in found.input_mean.unwrap_or_default().iter().zip(means) {
                assert!((f32::from(*level) * 0.001 - mean).abs() <= 0.0005 + 1e-6);
            }
            // The gain is in the unit of the shift.
            let unit = 8.0 / 32767.0 / encoder.gain;
            let bits = match (&found.body, &encoder.body) {
                (
                    IntegerVariationalBody::Lista { encoder, shrinkage },
                    OwnedVariationalBody::Lista { shrinkage: own, .. },
                ) => {
                    let drive = unit / f32::from(1_u16 << encoder.drive_fraction);
                    for (level, threshold) in shrinkage.iter().zip(own) {
                        assert!((*level as f32 * drive - threshold).abs() <= drive);
                    }
                    assert_eq!((file.spec.hidden_units(), encoder.iterations), (0, 3));
                    0
                }
                (
                    IntegerVariationalBody::Dense {
                        trunk,
                        shift,
                        drive_fraction,
                    },
                    OwnedVariationalBody::Dense { shift: own, .. },
                ) => {
                    let widths = file.spec.encoder_widths.unwrap();
                    let found = trunk.iter().flatten().map(|layer| layer.weights.rows());
                    assert!(found.eq(widths.iter()));
                    assert_eq!(file.spec.hidden_units(), widths.iter().max().unwrap());
                    let drive = unit / f32::from(1_u16 << drive_fraction);
                    for (level, bias) in shift.bias.iter().zip(&own.bias) {
                        assert!((*level as f32 * drive - bias).abs() <= drive);
                    }
                    *drive_fraction
                }
                _ => panic!("another body"),
            };
            if encoder.scale.is_none() {
                let drive = unit / f32::from(1_u16 << bits);
                for (level, threshold) in found.thresholds.iter().zip(&encoder.thresholds) {
                    assert!((*level as f32 * drive - threshold).abs() <= drive);
                }
            }
            file.prove().unwrap();
        }
    }
}

#[test]
fn malformed_integers_are_errors_that_name_the_field() {
    let of = |model: &OwnedModel| Parts::of(&write_integer(model, &RANGES).unwrap().bytes);
    let error = |parts: Parts| IntegerFile::read(&parts.bytes()).map(|_| ()).unwrap_err();
    for (key, values) in [
        ("selection", &["", "both"][..]),
        ("encoder_widths", &["", "9,0", "9,7,"]),
        (
            "layer_shifts",
            &["", "40", "40,40,40,40,40", "40,63,40,40", "0,40,40,40", "a"],
        ),
        ("drive_fraction", &["9", ""]),
        ("codes", &["non-negative"]),
        ("activations", &["i8"]),
        ("contrast", &["remove-mean"]),
    ] {
        for value in values {
            let error = error(of(&dense()).metadata(key, value)).to_string();
            let known = error.contains(key) || key == "activations";
            assert!(known, "{key} = {value}: {error}");
        }
    }
    let both = error(of(&lista()).replace("\"config_hash\"", "\"encoder_widths\":\"3\",\"x\""));
    assert!(both.to_string().contains("encoder_widths"), "{both}");
    let missing = error(of(&dense()).replace("\"layer_shifts\"", "\"other\""));
    assert!(missing.to_string().contains("layer_shifts"), "{missing}");
    let (tensor, index) = ("encoder.shrinkage", 4);
    let negative = of(&lista()).poke(tensor, index, &(-1_i32).to_le_bytes());
    assert_eq!(error(negative), ReadError::Negative { tensor, index });
    let (tensor, index) = ("encoder.trunk.1.multiplier", 2);
    let negative = of(&dense()).poke(tensor, index, &(-1_i32).to_le_bytes());
    assert_eq!(error(negative), ReadError::Multiplier { tensor, index });
    for tensor in ["encoder.trunk.0.bias", "encoder.scale.bias"] {
        let large = of(&dense()).poke(tensor, 1, &((1_i32 << 29) + 1).to_le_bytes());
        assert_eq!(error(large), ReadError::Level { tensor, index: 1 });
    }
    let (tensor, index) = ("input.mean", 3);
    let outside = of(&dense()).poke(tensor, index, &1501_i16.to_le_bytes());
    assert_eq!(error(outside), ReadError::Level { tensor, index });
    let unexpected = error(of(&dense()).metadata("selection", "shift"));
    assert!(
        unexpected.to_string().contains("layer_shifts"),
        "{unexpected}"
    );
    for tensor in ["encoder.trunk.1", "encoder.shift.bias", "code.thresholds"] {
        let renamed = of(&dense()).replace(&format!("\"{tensor}\""), "\"encoder.bias\"");
        assert_eq!(error(renamed), ReadError::MissingTensor { tensor });
    }
}

#[test]
fn cut_files_are_refused() {
    for model in [dense(), lista()] {
        for file in [
            write(&model, WeightType::I8).unwrap(),
            write_integer(&model, &RANGES).unwrap().bytes,
        ] {
            for length in (0..file.len()).step_by(7) {
                let bytes = AlignedBytes::from_slice(&file[..length]);
                assert!(ModelFile::read(&bytes).is_err(), "{length}");
                assert!(IntegerFile::read(&bytes).is_err(), "{length}");
            }
        }
    }
}

/// What a dense layer could reach is found from its weights, wherever the file was written.
#[test]
fn sums_that_could_overflow_are_refused() {
    let wide = |most: f32| {
        let mut model = example_variational(4, 3, &[900], false);
        let OwnedVariationalBody::Dense {
            shift, trunk_max, ..
        } = &mut encoder(&mut model).body
        else {
            panic!("dense")
        };
        // 900 levels of 127: 127 · 32767 · 900 is more than 2³¹, a sign in between is not.
        shift.weights = (0..3 * 900)
            .map(|i| if i % 2 == 0 { 0.001 } else { most })
            .collect();
        trunk_max[0] = 1.0;
        model
    };
    write_integer(&wide(-0.001), &RANGES).unwrap();
    let error = write_integer(&wide(0.001), &RANGES).unwrap_err();
    let WriteError::Overflow(overflow) = error else {
        panic!("{error}")
    };
    assert_eq!(overflow.tensor, "encoder.shift");
    assert_eq!(overflow.bound, 127 * 32767 * 900);
    assert!(!overflow.by_input);
    // A file whose multiplier makes drives of more than 2²⁹.
    let parts = Parts::of(&write_integer(&dense(), &RANGES).unwrap().bytes);
    let tensor = "encoder.trunk.1.multiplier";
    let large = parts
        .poke(tensor, 3, &i32::MAX.to_le_bytes())
        .metadata("layer_shifts", "40,20,40,40");
    let bytes = large.bytes();
    let overflow = IntegerFile::read(&bytes).unwrap().prove().unwrap_err();
    assert_eq!(overflow.tensor, tensor);
}

#[test]
fn what_has_no_integer_form_is_named() {
    let faults: [Fault; 5] = [
        (|m| trunk_max(m).clear(), "encoder.trunk"),
        (|m| trunk_max(m)[1] = 0.0, "encoder.trunk"),
        (|m| trunk_max(m)[0] = f32::NAN, "encoder.trunk"),
        (
            |m| encoder(m).input_mean.as_mut().unwrap()[5] = 1.6,
            "input.mean",
        ),
        // Drives of more than 2²⁹ levels.
        (|m| trunk_max(m)[0] = 1e-5, "encoder.trunk.0"),
    ];
    for (spoil, field) in faults {
        let mut model = dense();
        spoil(&mut model);
        let error = write_integer(&model, &RANGES).unwrap_err().to_string();
        assert!(error.contains(field), "{field}: {error}");
    }
    let narrow = ActivationRanges {
        input_min: -127,
        input_max: 127,
        input_scale: 0.01,
        ..RANGES
    };
    let error = write_integer_as(&lista(), &narrow, WeightType::I8, Activations::I8).unwrap_err();
    assert!(
        matches!(error, WriteError::Spec(spec) if spec.field == "activations"),
        "{error}"
    );
}

fn trunk_max(model: &mut OwnedModel) -> &mut Vec<f32> {
    match &mut encoder(model).body {
        OwnedVariationalBody::Dense { trunk_max, .. } => trunk_max,
        OwnedVariationalBody::Lista { .. } => panic!("dense"),
    }
}
