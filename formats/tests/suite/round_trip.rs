//! What is written is what is read.

use crate::common::{Numbers, join, join_padded, sized, small, split};
use sparsecode_formats::quant::{QuantReport, dequantize, lipschitz_bound};
use sparsecode_formats::{
    AlignedBytes, Contrast, Decoder, InputShape, ModelFile, OwnedModel, ReadError, Variant,
    WeightType, Weights, WriteError, write, write_file, write_with_report,
};

fn every_kind() -> impl Iterator<Item = (OwnedModel, WeightType)> {
    let models = Variant::ALL
        .into_iter()
        .flat_map(|variant| [small(variant, false), small(variant, true)]);
    models.flat_map(|model| WeightType::FLOAT.map(|weights| (model.clone(), weights)))
}

#[test]
fn every_variant_decoder_and_weight_type() {
    for (model, weights) in every_kind() {
        let written = write_with_report(&model, weights).unwrap();
        let bytes = AlignedBytes::from_slice(&written.bytes);
        let file = ModelFile::read(&bytes).unwrap();
        file.verify_checksum().unwrap();
        let name = format!("{} {weights}", file.spec.name());
        assert_eq!(file.file_len(), bytes.len(), "{name}");
        assert_eq!(file.spec.weights, weights, "{name}");
        assert_eq!(file.spec.step_size, written.step_size, "{name}");
        assert_eq!(
            file.encoder.is_some(),
            model.spec.variant.has_encoder(),
            "{name}"
        );

        let back = OwnedModel::from_file(&file).unwrap();
        assert_eq!(back.spec, model.spec, "{name}");
        if weights == WeightType::F32 {
            assert_eq!(back, model, "{name}");
            assert!(
                written
                    .matrices
                    .iter()
                    .all(|m| m.quantization.sqnr_db == f64::INFINITY)
            );
        } else {
            let floor = if weights == WeightType::I8 {
                38.0
            } else {
                85.0
            };
            for matrix in &written.matrices {
                assert!(matrix.quantization.sqnr_db > floor, "{name} {matrix:?}");
            }
            // Levels survive a second time round; scales may move by a rounding.
            let again = AlignedBytes::from_slice(&write(&back, weights).unwrap());
            let again = OwnedModel::from_file(&ModelFile::read(&again).unwrap()).unwrap();
            let (Some(a), Some(b)) = (&back.encoder, &again.encoder) else {
                continue;
            };
            assert!(
                a.input
                    .iter()
                    .zip(&b.input)
                    .all(|(a, b)| (a - b).abs() <= 1e-6 * a.abs()),
                "{name}"
            );
        }
    }
}

#[test]
fn scales_belong_to_outputs() {
    let bytes =
        AlignedBytes::from_slice(&write(&small(Variant::Sdl, true), WeightType::I16).unwrap());
    let file = ModelFile::read(&bytes).unwrap();
    let encoder = file.encoder.unwrap();
    let Decoder::OneHidden {
        hidden,
        output,
        hidden_bias,
    } = file.decoder
    else {
        panic!("linear")
    };
    assert_eq!(
        (
            encoder.input.rows,
            encoder.input.cols,
            encoder.input.scale().len()
        ),
        (5, 12, 5)
    );
    assert_eq!(
        (
            encoder.recurrent.rows,
            encoder.recurrent.cols,
            encoder.recurrent.scale().len()
        ),
        (5, 5, 5)
    );
    assert_eq!(
        (
            hidden.rows,
            hidden.cols,
            hidden.scale().len(),
            hidden_bias.len()
        ),
        (5, 7, 7, 7)
    );
    assert_eq!(
        (output.rows, output.cols, output.scale().len()),
        (7, 12, 12)
    );

    // The largest of each row of U, and of each column of W2ᵀ, is at the last level.
    let Weights::I16 { values, .. } = encoder.input.weights else {
        panic!("not i16")
    };
    assert!(
        values
            .chunks(12)
            .all(|row| row.iter().any(|level| level.abs() == i16::MAX))
    );
    let Weights::I16 { values, .. } = output.weights else {
        panic!("not i16")
    };
    assert!((0..12).all(|column| (0..7).any(|row| values[row * 12 + column].abs() == i16::MAX)));
}

#[test]
fn step_size_is_that_of_the_stored_decoder() {
    for (model, weights) in every_kind() {
        let bytes = AlignedBytes::from_slice(&write(&model, weights).unwrap());
        let file = ModelFile::read(&bytes).unwrap();
        let product = f64::from(file.spec.step_size) * lipschitz_bound(&file.decoder);
        assert!(
            product <= 1.0 && product > 1.0 - 1e-6,
            "{} {weights}: {product}",
            file.spec.name()
        );
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    for (model, weights) in every_kind() {
        assert_eq!(
            write(&model, weights).unwrap(),
            write(&model.clone(), weights).unwrap()
        );
    }
    // Keys are sorted, so no map's order shows.
    let (header, _) = split(&write(&small(Variant::Vdl, false), WeightType::I8).unwrap());
    let metadata = &header[header.find(":{").unwrap() + 2..header.find('}').unwrap()];
    let keys: Vec<&str> = metadata
        .split("\",\"")
        .map(|pair| pair.trim_matches('"').split('"').next().unwrap())
        .collect();
    assert_eq!(keys.len(), 22);
    assert!(keys.is_sorted(), "{keys:?}");
}

#[test]
fn an_i8_model_of_784_to_128_fits_225_000_bytes() {
    let mut model = sized(
        Variant::Vdl,
        InputShape {
            height: 28,
            width: 28,
        },
        128,
        0,
    );
    model.spec.provenance.commit = "0".repeat(40);
    model.spec.provenance.config_hash = "0".repeat(64);
    let bytes = AlignedBytes::from_slice(&write(&model, WeightType::I8).unwrap());
    assert!(bytes.len() < 225_000, "{} bytes", bytes.len());
    assert_eq!(ModelFile::read(&bytes).unwrap().file_len(), bytes.len());
}

#[test]
fn the_safetensors_crate_reads_it_and_what_it_writes_is_read() {
    for (model, weights) in every_kind() {
        let bytes = AlignedBytes::from_slice(&write(&model, weights).unwrap());
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(
            metadata.metadata().as_ref().unwrap()["weights"],
            weights.name()
        );
        let bias = if model.spec.hidden_dim > 0 {
            "decoder.hidden_bias"
        } else {
            "encoder.bias"
        };
        assert_eq!(
            tensors.tensor(bias).is_ok(),
            model.encoder.is_some() || model.spec.hidden_dim > 0
        );

        // Its metadata comes in a hash map's order, and its tensors as it likes.
        let copy = safetensors::serialize(tensors.tensors(), metadata.metadata().clone()).unwrap();
        let copy = AlignedBytes::from_slice(&copy);
        let (original, copy) = (
            ModelFile::read(&bytes).unwrap(),
            ModelFile::read(&copy).unwrap(),
        );
        copy.verify_checksum().unwrap();
        assert_eq!(
            (copy.spec, copy.encoder, copy.decoder),
            (original.spec, original.encoder, original.decoder)
        );
    }
}

#[test]
fn any_legal_layout_of_the_header_is_read() {
    let bytes =
        AlignedBytes::from_slice(&write(&small(Variant::Wdl, false), WeightType::I8).unwrap());
    let original = ModelFile::read(&bytes).unwrap();
    let (header, data) = split(&bytes);
    let spaced = header
        .replace(',', " ,\n ")
        .replace(":{", " : {\t")
        .replace("[", "[ ")
        .replace(']', "\r]");
    let end = header.find("},").unwrap() + 1;
    let (metadata, tensors) = (&header[1..end], &header[end + 1..header.len() - 1]);
    let metadata_last = format!("{{{tensors},{metadata}}}");
    let foreign_key = header.replacen("{\"checksum\"", "{\"tool\":\"other\",\"checksum\"", 1);
    for (what, text) in [
        ("spaces", spaced),
        ("metadata last", metadata_last),
        ("foreign key", foreign_key),
    ] {
        let file = join(&text, &data);
        let model =
            ModelFile::read(&file).unwrap_or_else(|error| panic!("{what}: {error}\n{text}"));
        assert_eq!(
            (model.spec, model.decoder),
            (original.spec, original.decoder),
            "{what}"
        );
    }
    let padded = join_padded(&header, &data, header.len().next_multiple_of(8) + 4096);
    assert_eq!(ModelFile::read(&padded).unwrap().encoder, original.encoder);
}

#[test]
fn a_slot_may_be_larger_than_the_file() {
    let file = write(&small(Variant::Sdl, false), WeightType::I8).unwrap();
    let mut slot = file.clone();
    slot.resize(file.len() + 100, 0xff);
    let slot = AlignedBytes::from_slice(&slot);
    let model = ModelFile::read_slot(&slot).unwrap();
    assert_eq!(model.file_len(), file.len());
    model.verify_checksum().unwrap();
    assert_eq!(
        ModelFile::read(&slot).unwrap_err(),
        ReadError::TrailingData { bytes: 100 }
    );
}

#[test]
fn text_names_read_back() {
    for variant in Variant::ALL {
        assert_eq!(variant.to_string().parse(), Ok(variant));
    }
    for weights in WeightType::FLOAT {
        assert_eq!(weights.to_string().parse(), Ok(weights));
    }
    let mut numbers = Numbers(7);
    for _ in 0..200 {
        let floor =
            numbers.next().abs() * 10f32.powi((numbers.next() * 30.0) as i32) + f32::MIN_POSITIVE;
        for contrast in [
            Contrast::Standardize { floor },
            Contrast::Local {
                window: 13,
                sigma: 5.0,
                floor,
            },
        ] {
            assert_eq!(contrast.to_string().parse(), Ok(contrast));
        }
    }
    for bad in [
        "0x4", "4x", "x4", "256x256", "65536", "-1", "+4", "", "4x4x4", " 4",
    ] {
        assert!(bad.parse::<InputShape>().is_err(), "{bad}");
    }
    assert_eq!("1x64".parse(), Ok(InputShape::window(64)));
    for bad in [
        "",
        "local:12:5:1",
        "local:13:5",
        "local:13:0:1",
        "standardize:nan",
        "standardize:1:2",
        "none:",
        "Local",
    ] {
        assert!(bad.parse::<Contrast>().is_err(), "{bad}");
    }
}

#[test]
fn what_could_not_be_read_is_not_written() {
    type Damage = fn(&mut OwnedModel);
    let cases: [(&str, Damage); 14] = [
        ("code_dim", |m| m.spec.code_dim = 0),
        ("input_shape", |m| {
            m.spec.input_shape = InputShape {
                height: 300,
                width: 300,
            }
        }),
        ("lista_iterations", |m| m.spec.lista_iterations = None),
        ("lista_iterations", |m| m.encoder = None),
        ("hidden_dim", |m| m.spec.hidden_dim = 3),
        ("lambda", |m| m.spec.lambda = -0.1),
        ("deviation", |m| m.spec.preprocessing.deviation = 0.0),
        ("contrast", |m| {
            m.spec.preprocessing.contrast = Contrast::Standardize { floor: f32::NAN }
        }),
        ("peak", |m| m.spec.peak = f32::INFINITY),
        ("data", |m| m.spec.provenance.data = "C:\\data".into()),
        ("commit", |m| m.spec.provenance.commit = "a\nb".into()),
        ("config_hash", |m| {
            m.spec.provenance.config_hash = "\"".into()
        }),
        ("encoder.bias", |m| {
            m.encoder.as_mut().unwrap().bias[2] = f32::NAN
        }),
        ("encoder.recurrent", |m| {
            m.encoder.as_mut().unwrap().recurrent.truncate(24)
        }),
    ];
    for (field, damage) in cases {
        let mut model = small(Variant::Vdl, false);
        damage(&mut model);
        let error = write(&model, WeightType::I8).unwrap_err();
        assert!(error.to_string().contains(field), "{field}: {error}");
    }
    let mut collapsed = small(Variant::Plain, false);
    collapsed.decoder = sparsecode_formats::OwnedDecoder::Linear {
        dictionary: vec![0.0; 60],
    };
    assert_eq!(
        write(&collapsed, WeightType::F32),
        Err(WriteError::StepSize)
    );
    let mut verbose = small(Variant::Plain, false);
    verbose.spec.provenance.data = "x".repeat(70_000);
    assert!(
        matches!(write(&verbose, WeightType::F32), Err(WriteError::HeaderLength { length }) if length > 70_000)
    );
}

#[test]
fn files_are_replaced_whole_and_read_aligned() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, "old").unwrap();
    let bytes = write(&small(Variant::Do, true), WeightType::I16).unwrap();
    write_file(&path, &bytes).unwrap();
    let read = AlignedBytes::read(&path).unwrap();
    assert_eq!(&read[..], &bytes[..]);
    assert_eq!(ModelFile::read(&read).unwrap().spec.name(), "do-nl");
    assert_eq!(
        std::fs::read_dir(&folder).unwrap().count(),
        1,
        "a temporary file was left"
    );
    assert!(write_file(folder.path().join("no/such/folder.safetensors"), &bytes).is_err());
    assert!(write_file("/", &bytes).is_err());
}

#[test]
fn reports_compare_with_the_original() {
    let model = small(Variant::Vdl, false);
    let written = write_with_report(&model, WeightType::I8).unwrap();
    let bytes = AlignedBytes::from_slice(&written.bytes);
    let input = ModelFile::read(&bytes).unwrap().encoder.unwrap().input;
    let original = &model.encoder.unwrap().input;
    let report = QuantReport::compare(original, &input).unwrap();
    assert_eq!(written.matrices[0].quantization, report);
    let errors: Vec<f64> = original
        .iter()
        .zip(dequantize(&input))
        .map(|(a, b)| f64::from(*a) - f64::from(b))
        .collect();
    let rms = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
    assert!((report.rms_error - rms).abs() < 1e-12);
    assert_eq!(
        report.max_abs_error,
        errors.iter().fold(0.0, |most: f64, e| most.max(e.abs()))
    );
    assert!(QuantReport::compare(&original[1..], &input).is_err());
}
