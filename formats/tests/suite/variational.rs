//! Variational models: what is written is what is read, and what cannot be read or written names
//! its field.

use crate::common::Parts;
use sparsecode_formats::{
    AlignedBytes, CodeSign, Contrast, EncoderWidths, ModelFile, OwnedLayer, OwnedModel,
    OwnedVariational, OwnedVariationalBody, ReadError, Variant, VariationalBody, WeightType,
    example_variational, write,
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
