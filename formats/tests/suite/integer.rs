//! Models for integer arithmetic: what is written is what is read, what is damaged is refused, and
//! the proof is a proof.

use crate::common::{Parts, sized, small};
use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, Contrast, Dims, InputShape, IntegerContrast,
    IntegerFile, ModelFile, Overflow, OwnedDecoder, OwnedModel, Preprocessing, ReadError, Variant,
    WeightType, write, write_integer, write_integer_as,
};

const RANGES: ActivationRanges = ActivationRanges {
    input_scale: 1.0 / 255.0,
    input_min: -100,
    input_max: 355,
    code_max: 8.0,
};

fn file(model: &OwnedModel) -> Vec<u8> {
    write_integer(model, &RANGES).unwrap().bytes
}

fn vdl() -> Parts {
    Parts::of(&file(&small(Variant::Vdl, false)))
}

fn refusal(parts: &Parts) -> ReadError {
    IntegerFile::read(&parts.bytes())
        .map(|_| ())
        .expect_err(&parts.header)
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let model = small(Variant::Vdl, false);
    assert_eq!(file(&model), file(&model));
}

/// Every number of the file, times what it is worth, is the number that it stands for.
#[test]
fn levels_and_scales_stand_for_the_weights() {
    for contrast in [Contrast::None, Contrast::RemoveMean] {
        let mut model = small(Variant::Vdl, false);
        model.spec.preprocessing.contrast = contrast;
        let bytes = AlignedBytes::from_slice(&file(&model));
        let read = IntegerFile::read(&bytes).unwrap();
        read.prove().unwrap();
        read.verify_checksum().unwrap();
        assert_eq!(read.file_len(), bytes.len());
        let spec = read.spec().unwrap();
        assert_eq!(spec.lambda, model.spec.lambda);
        assert_eq!(spec.preprocessing, model.spec.preprocessing);
        let (input_scale, code_scale) = read.scales().unwrap();
        assert_eq!(input_scale, RANGES.input_scale);
        let (d, l) = (12, 5);
        let preprocessing = model.spec.preprocessing;
        let (mean, deviation) = (
            f64::from(preprocessing.mean),
            f64::from(preprocessing.deviation),
        );
        let level = f64::from(input_scale) / deviation;
        let encoder = read.encoder.unwrap();
        let weights = model.encoder.as_ref().unwrap();
        let drive = f64::from(code_scale) / f64::from(1 << encoder.drive_fraction);
        let power = |shift: u8| 2f64.powi(shift.into());
        let close = |found: f64, expected: f64, largest: f64| {
            // Half a level of a channel whose largest weight is below `largest`, and rounding of
            // the multiplier.
            assert!(
                (found - expected).abs() <= largest / 127.0 * 0.501 + 1e-6,
                "{found} for {expected}"
            );
        };
        for k in 0..l {
            let factor = f64::from(encoder.input_rescale.multipliers[k])
                / power(encoder.input_rescale.shift)
                * drive
                / level;
            let mut constant = f64::from(weights.bias[k]);
            for i in 0..d {
                let weight = f64::from(encoder.input.get(k, i).unwrap()) * factor;
                close(weight, f64::from(weights.input[k * d + i]), 1.0);
                if contrast == Contrast::None {
                    constant -= weight * mean / deviation;
                }
            }
            let bias = f64::from(encoder.bias[k]) * drive;
            assert!(
                (bias - constant).abs() <= drive + 1e-6,
                "{bias} for {constant}"
            );
        }
        for j in 0..l {
            let by = encoder.recurrent_rescale;
            let factor =
                f64::from(by.multipliers[j]) / power(by.shift) * drive / f64::from(code_scale);
            for k in 0..l {
                let weight = f64::from(encoder.recurrent.get(k, j).unwrap()) * factor;
                close(weight, f64::from(weights.recurrent[k * l + j]), 1.0);
            }
        }
        let OwnedDecoder::Linear { dictionary } = &model.decoder else {
            unreachable!()
        };
        let decoder = read.decoder;
        let output = f64::from(decoder.output.multiplier) / power(decoder.output.shift);
        let mut atoms = vec![vec![0.0; d]; l];
        for k in 0..l {
            let atom = f64::from(decoder.multiplier[k]) / 32768.0;
            for i in 0..d {
                // One code level, through to raw levels, in real units.
                let weight = f64::from(decoder.dictionary.get(k, i).unwrap()) * atom * output
                    / f64::from(code_scale)
                    * level;
                close(weight, f64::from(dictionary[k * d + i]), 1.0);
                atoms[k][i] = weight;
            }
        }
        let expected = if contrast == Contrast::None {
            mean / f64::from(input_scale)
        } else {
            0.0
        };
        assert!((f64::from(decoder.offset) - expected).abs() <= 0.5);

        // The Gram matrix is that of these atoms, times one step for all.
        let refiner = read.refiner;
        let step = 2.0 * f64::from(spec.step_size) / d as f64;
        for j in 0..l {
            for k in 0..l {
                let exact: f64 = atoms[j].iter().zip(&atoms[k]).map(|(a, b)| a * b).sum();
                let stored =
                    f64::from(refiner.gram.get(j, k).unwrap()) / power(refiner.gram_fraction);
                assert!(
                    (stored - step * exact).abs() < 2.0 / power(refiner.gram_fraction),
                    "{stored} for {}",
                    step * exact
                );
                assert_eq!(refiner.gram.get(j, k), refiner.gram.get(k, j));
            }
            let point = f64::from(code_scale) / power(refiner.point_fraction);
            let factor = f64::from(refiner.correlation.multipliers[j])
                / power(refiner.correlation.shift)
                * point
                / level;
            let i = 3;
            let found = f64::from(decoder.dictionary.get(j, i).unwrap()) * factor;
            assert!((found - step * atoms[j][i]).abs() < 1e-4 * step);
        }
        let point = f64::from(code_scale) / power(refiner.point_fraction);
        let threshold = f64::from(refiner.threshold) * point;
        let exact = f64::from(spec.lambda) * f64::from(spec.step_size);
        assert!((threshold - exact).abs() <= point);
        assert_eq!(read.threshold(spec.lambda), Ok(refiner.threshold));
        assert!(
            read.threshold(2.0 * spec.lambda)
                .unwrap()
                .abs_diff(2 * refiner.threshold)
                <= 1
        );
        assert_eq!(read.threshold(-1.0), Ok(0));
        assert_eq!(read.threshold(f32::NAN), Ok(0));
        assert_eq!(read.threshold(f32::MAX), Ok(i32::MAX));
    }
}

#[test]
fn contrasts_become_integers() {
    let mut model = small(Variant::Vdl, false);
    for (contrast, expected) in [
        (Contrast::None, IntegerContrast::None),
        (Contrast::RemoveMean, IntegerContrast::RemoveMean),
        (
            // 0.5 · 0.3081 · 255 · 16
            Contrast::Standardize { floor: 0.5 },
            IntegerContrast::Standardize { floor: 629 },
        ),
        (
            Contrast::Standardize { floor: 1e-9 },
            IntegerContrast::Standardize { floor: 16 },
        ),
        (model.spec.preprocessing.contrast, IntegerContrast::External),
    ] {
        model.spec.preprocessing.contrast = contrast;
        let bytes = AlignedBytes::from_slice(&file(&model));
        assert_eq!(IntegerFile::read(&bytes).unwrap().spec.contrast, expected);
    }
}

#[test]
fn an_atom_of_zeros_counts_for_nothing() {
    let mut model = small(Variant::Vdl, false);
    if let OwnedDecoder::Linear { dictionary } = &mut model.decoder {
        dictionary[12..24].fill(0.0);
    }
    if let Some(encoder) = &mut model.encoder {
        encoder.input[..12].fill(0.0);
    }
    let bytes = AlignedBytes::from_slice(&file(&model));
    let read = IntegerFile::read(&bytes).unwrap();
    assert_eq!(read.decoder.multiplier[1], 0);
    assert_eq!(read.encoder.unwrap().input_rescale.multipliers[0], 0);
    // And a dictionary of zeros is none.
    model.decoder = OwnedDecoder::Linear {
        dictionary: vec![0.0; 60],
    };
    let error = write_integer(&model, &RANGES).unwrap_err().to_string();
    assert!(error.starts_with("step_size"), "{error}");
}

#[test]
fn models_without_an_encoder() {
    let bytes = AlignedBytes::from_slice(&file(&small(Variant::Do, false)));
    let read = IntegerFile::read(&bytes).unwrap();
    assert!(read.encoder.is_none());
    read.prove().unwrap();
}

#[test]
fn each_version_refuses_the_other() {
    let float =
        AlignedBytes::from_slice(&write(&small(Variant::Vdl, false), WeightType::I8).unwrap());
    let integer = vdl().bytes();
    let found = |error: ReadError| match error {
        ReadError::UnsupportedVersion { found } => found,
        other => panic!("{other}"),
    };
    assert_eq!(found(IntegerFile::read(&float).unwrap_err()), 1);
    assert_eq!(found(ModelFile::read(&integer).unwrap_err()), 2);
    let other = refusal(&vdl().metadata("version", "3"));
    assert_eq!(found(other), 3);
    assert!(other.to_string().contains("reads 1 and 2"), "{other}");
}

#[test]
fn every_key_is_checked() {
    for (key, value) in [
        ("activations", "f32"),
        ("weights", "i16"),
        ("hidden_dim", "3"),
        ("code_dim", "0"),
        ("code_dim", "4096"),
        ("contrast", "remove_mean"),
        ("contrast_floor", "15"),
        ("contrast_floor", "-16"),
        ("input_min", "1"),
        ("input_min", "-32768"),
        ("input_min", "--1"),
        ("input_min", "+0"),
        ("input_max", "0"),
        ("input_max", "32768"),
        ("input_shift", "0"),
        ("input_shift", "63"),
        ("recurrent_shift", "32"),
        ("drive_fraction", "9"),
        ("output_multiplier", "2147483648"),
        ("output_multiplier", "-1"),
        ("output_offset", "32768"),
        ("output_shift", "32"),
        ("correlation_shift", "0"),
        ("gram_fraction", "25"),
        ("point_fraction", "14"),
        ("point_fraction", "0"),
        ("threshold", "2147483648"),
        ("lista_iterations", "256"),
        ("lista_iterations", "none"),
        ("variant", "vld"),
        ("input_shape", "0x4"),
        ("checksum", "0123456"),
    ] {
        let error = refusal(&vdl().metadata(key, value));
        let ReadError::InvalidMetadata { key: named, .. } = error else {
            panic!("{key} {value}: {error}")
        };
        assert_eq!(named, key, "{value}");
        assert!(error.to_string().contains(key), "{error}");
    }
    // The real numbers are looked at when they are asked for.
    for (key, value) in [("lambda", "-1"), ("step_size", "0"), ("deviation", "x")] {
        let bytes = vdl().metadata(key, value).bytes();
        let error = IntegerFile::read(&bytes).unwrap().spec().unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
    for key in ["input_scale", "code_scale"] {
        let bytes = vdl().metadata(key, "0").bytes();
        let error = IntegerFile::read(&bytes).unwrap().scales().unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
}

#[test]
fn keys_are_required() {
    for key in [
        "activations",
        "contrast_floor",
        "input_min",
        "threshold",
        "checksum",
        "gram_fraction",
    ] {
        let error = refusal(&vdl().replace(&format!("\"{key}\":"), "\"other\":"));
        assert_eq!(error, ReadError::MissingMetadata { key });
    }
}

#[test]
fn every_tensor_is_checked() {
    let names = [
        "encoder.input",
        "encoder.input.multiplier",
        "encoder.bias",
        "encoder.recurrent",
        "encoder.recurrent.multiplier",
        "decoder.dictionary",
        "decoder.dictionary.multiplier",
        "refiner.gram",
        "refiner.correlation.multiplier",
        "refiner.correlation.bias",
    ];
    for tensor in names {
        let renamed = vdl().replace(&format!("\"{tensor}\":{{"), &format!("\"x.{tensor}\":{{"));
        let error = refusal(&renamed);
        assert!(
            matches!(error, ReadError::UnknownTensor { name } if name.as_str() == &format!("x.{tensor}")[..(tensor.len() + 2).min(32)]),
            "{error}"
        );
        let dtype = vdl().in_tensor(tensor, "\"I", "\"U");
        assert!(
            matches!(refusal(&dtype), ReadError::Dtype { tensor: named, .. } if named == tensor),
            "{tensor}"
        );
        let length = if tensor.contains("multiplier") || tensor.contains("bias") {
            "[5]"
        } else {
            ",8]"
        };
        let shape = vdl().in_tensor(tensor, length, &length.replace(['5', '8'], "7"));
        assert!(
            matches!(refusal(&shape), ReadError::Shape { tensor: named, .. } if named == tensor),
            "{tensor}"
        );
    }
    let wrong = vdl().in_tensor("encoder.input", "[10,8]", "[80]");
    assert_eq!(
        refusal(&wrong),
        ReadError::Shape {
            tensor: "encoder.input",
            expected: Dims::Matrix(10, 8),
            found: Dims::Vector(80),
        }
    );
}

#[test]
fn every_number_is_checked() {
    for (tensor, bytes) in [
        ("encoder.input", &[0x80_u8][..]),
        ("encoder.recurrent", &[0x80]),
        ("decoder.dictionary", &[0x80]),
        ("refiner.gram", &[0, 0x80]),
        // Beyond ±2²⁹.
        ("encoder.bias", &(1_i32 << 30).to_le_bytes()),
        ("refiner.correlation.bias", &i32::MIN.to_le_bytes()),
        ("decoder.dictionary.multiplier", &32768_i32.to_le_bytes()),
    ] {
        let error = refusal(&vdl().poke(tensor, 2, bytes));
        assert_eq!(error, ReadError::Level { tensor, index: 2 });
    }
    for tensor in [
        "encoder.input.multiplier",
        "encoder.recurrent.multiplier",
        "decoder.dictionary.multiplier",
        "refiner.correlation.multiplier",
    ] {
        let error = refusal(&vdl().poke(tensor, 4, &(-1_i32).to_le_bytes()));
        assert_eq!(error, ReadError::Multiplier { tensor, index: 4 });
        assert!(error.to_string().contains(tensor), "{error}");
    }
}

#[test]
fn places_are_checked() {
    let mut longer = vdl();
    longer.data.push(0);
    assert_eq!(refusal(&longer), ReadError::TrailingData { bytes: 1 });
    let mut shorter = vdl();
    shorter.data.pop();
    assert!(matches!(refusal(&shorter), ReadError::Offsets { .. }));
    let bytes = vdl().bytes();
    let shifted = AlignedBytes::from_slice(&[&[0; 2][..], &bytes].concat());
    assert_eq!(
        IntegerFile::read(&shifted[2..]).unwrap_err(),
        ReadError::MisalignedBuffer { remainder: 2 }
    );
    for length in 0..bytes.len() {
        assert!(IntegerFile::read(&bytes[..length]).is_err(), "{length}");
    }
}

/// d = l = 600 with small weights: room for sums of 2³¹.
fn wide(weights: WeightType) -> Parts {
    let mut model = sized(Variant::Vdl, InputShape::window(600), 600, 0);
    model.spec.preprocessing = Preprocessing {
        contrast: Contrast::None,
        ..Preprocessing::IDENTITY
    };
    let encoder = model.encoder.as_mut().unwrap();
    for values in [
        &mut encoder.input,
        &mut encoder.recurrent,
        &mut encoder.bias,
    ] {
        values.iter_mut().for_each(|w| *w *= 1e-3);
    }
    // Atoms of the same size, so that every multiplier is the largest; a quarter of them counts for
    // an output.
    let OwnedDecoder::Linear { dictionary } = &mut model.decoder else {
        unreachable!()
    };
    for (index, weight) in dictionary.iter_mut().enumerate() {
        let counts = (index / 600 + index % 600) % 4 == 0;
        *weight = if counts { 1e-3 * weight.signum() } else { 0.0 };
    }
    let ranges = ActivationRanges {
        input_scale: 1.0,
        input_min: -i16::MAX,
        input_max: i16::MAX,
        code_max: 1e7,
    };
    written(&model, &ranges, weights, Activations::I16).unwrap()
}

/// Overwrites the first `count` weights of a row or a column by `value`, and the others by 0.
fn fill(mut parts: Parts, tensor: &str, line: usize, count: usize, value: i8, row: bool) -> Parts {
    for other in 0..600 {
        let (r, c) = if row { (line, other) } else { (other, line) };
        let place = (c / 8 * 600 + r) * 8 + c % 8;
        let weight = if other < count { value } else { 0 };
        parts = parts.poke(tensor, place, &weight.to_le_bytes());
    }
    parts
}

fn written(
    model: &OwnedModel,
    ranges: &ActivationRanges,
    weights: WeightType,
    activations: Activations,
) -> Result<Parts, String> {
    let written = write_integer_as(model, ranges, weights, activations);
    written
        .map(|written| Parts::of(&written.bytes))
        .map_err(|error| error.to_string())
}

fn narrow() -> Parts {
    let model = small(Variant::Vdl, false);
    written(&model, &RANGES, WeightType::I4, Activations::I16).unwrap()
}

#[test]
fn four_bit_weights_are_the_nearest_of_15() {
    let model = small(Variant::Vdl, false);
    let bytes = narrow().bytes();
    let read = IntegerFile::read(&bytes).unwrap();
    read.prove().unwrap();
    assert_eq!(read.spec().unwrap().weights, WeightType::I4);
    let (d, l) = (12, 5);
    let weights = &model.encoder.as_ref().unwrap().input;
    let OwnedDecoder::Linear { dictionary } = &model.decoder else {
        unreachable!()
    };
    for (blocks, weights) in [
        (read.encoder.unwrap().input, weights),
        (read.decoder.dictionary, dictionary),
    ] {
        assert_eq!((blocks.rows(), blocks.cols()), (l, d));
        assert_eq!((blocks.get(l, 0), blocks.get(0, d)), (None, None));
        for (k, row) in weights.chunks(d).enumerate() {
            let largest = row.iter().fold(0.0_f32, |a, w| a.max(w.abs()));
            for (i, weight) in row.iter().enumerate() {
                let nearest = 16.0 * (weight / largest * 7.0).round();
                assert_eq!(
                    blocks.get(k, i),
                    Some(nearest as i16),
                    "{weight} of {largest}"
                );
            }
        }
    }
    // Block 1, row 2 begins at byte (1·5 + 2)·4: the columns 8 and 12, 9 and 13, …
    let poked = narrow().poke("encoder.input", 28 + 1, &[0x5c]).bytes();
    let input = IntegerFile::read(&poked).unwrap().encoder.unwrap().input;
    assert_eq!((input.get(2, 9), input.get(2, 13)), (Some(64), None));
    let poked = narrow().poke("encoder.input", 8 + 1, &[0x5c]).bytes();
    let input = IntegerFile::read(&poked).unwrap().encoder.unwrap().input;
    assert_eq!((input.get(2, 1), input.get(2, 5)), (Some(64), Some(-48)));
}

#[test]
fn four_bit_weights_are_checked() {
    for tensor in ["encoder.input", "decoder.dictionary"] {
        for byte in [0x10, 0x01, 0x00] {
            let error = refusal(&narrow().poke(tensor, 5, &[byte]));
            assert_eq!(error, ReadError::Level { tensor, index: 5 }, "{byte:02x}");
        }
        let dtype = narrow().in_tensor(tensor, "\"U8", "\"I8");
        assert!(
            matches!(refusal(&dtype), ReadError::Dtype { tensor: named, .. } if named == tensor)
        );
        let shape = narrow().in_tensor(tensor, "[10,4]", "[5,8]");
        assert!(
            matches!(refusal(&shape), ReadError::Shape { tensor: named, .. } if named == tensor)
        );
    }
    for parts in [
        narrow().metadata("weights", "i8"),
        vdl().metadata("weights", "i4"),
    ] {
        assert!(matches!(
            refusal(&parts),
            ReadError::Dtype {
                tensor: "encoder.input",
                ..
            }
        ));
    }
    // Arithmetic in f32 has none, and integers have no wider ones.
    let model = small(Variant::Vdl, false);
    let error = write(&model, WeightType::I4).unwrap_err().to_string();
    assert!(error.contains("weights") && error.contains("i4"), "{error}");
    let float = Parts::of(&write(&model, WeightType::I8).unwrap());
    let error = ModelFile::read(&float.metadata("weights", "i4").bytes()).unwrap_err();
    assert!(error.to_string().contains("i4 is for"), "{error}");
    let error = written(&model, &RANGES, WeightType::I16, Activations::I16).unwrap_err();
    assert!(error.contains("weights"), "{error}");
}

#[test]
fn levels_of_eight_bits_are_checked() {
    let mut model = small(Variant::Vdl, false);
    let of = |model: &OwnedModel, input_min, input_max| {
        let ranges = ActivationRanges {
            input_min,
            input_max,
            ..RANGES
        };
        written(model, &ranges, WeightType::I8, Activations::I8)
    };
    for (contrast, good, bad) in [
        (
            Contrast::None,
            [(0, 255), (-127, 127)],
            [(0, 256), (-1, 128)],
        ),
        (
            Contrast::RemoveMean,
            [(0, 127), (-63, 64)],
            [(0, 128), (-64, 64)],
        ),
    ] {
        model.spec.preprocessing.contrast = contrast;
        for (least, most) in good {
            let parts = of(&model, least, most).unwrap();
            let bytes = parts.bytes();
            let file = IntegerFile::read(&bytes).unwrap();
            file.prove().unwrap();
            assert_eq!(file.spec.activations, Activations::I8);
            let (_, code_scale) = file.scales().unwrap();
            assert_eq!(code_scale, RANGES.code_max / 127.0);
            let threshold = file.threshold(file.spec().unwrap().lambda).unwrap();
            assert!(threshold.abs_diff(file.refiner.threshold) <= 1 && threshold > 0);
            let wide = (1_i32 << 23).to_le_bytes();
            let error = refusal(&parts.poke("decoder.dictionary.multiplier", 1, &wide));
            assert!(
                matches!(error, ReadError::Level { index: 1, .. }),
                "{error}"
            );
        }
        for (least, most) in bad {
            let error = of(&model, least, most).unwrap_err();
            assert!(error.contains("larger input scale"), "{error}");
        }
    }
    model.spec.preprocessing.contrast = Contrast::Standardize { floor: 0.1 };
    let error = of(&model, 0, 255).unwrap_err();
    assert!(
        error.contains("contrast") && error.contains("i16"),
        "{error}"
    );
    let error = refusal(&vdl().metadata("activations", "i8"));
    assert!(
        matches!(
            error,
            ReadError::InvalidMetadata {
                key: "input_max",
                ..
            }
        ),
        "{error}"
    );
}

/// As for 8 bits, with levels of 112.
#[test]
fn the_proof_finds_sums_of_four_bit_weights() {
    let wide = wide(WeightType::I4).metadata("input_min", "0");
    for (tensor, multiplier) in [
        ("encoder.input", "encoder.input.multiplier"),
        ("decoder.dictionary", "refiner.correlation.multiplier"),
    ] {
        let proof = |count: usize| {
            let level = |col: usize| if col < count { 15_u8 } else { 8 };
            let bytes = (0..75).flat_map(|block| (0..4).map(move |byte| (block, byte)));
            let filled = bytes.fold(wide.clone(), |parts, (block, byte)| {
                let col = block * 8 + byte;
                let both = level(col) | level(col + 4) << 4;
                parts.poke(tensor, (block * 600 + 7) * 4 + byte, &[both])
            });
            let bytes = filled.poke(multiplier, 7, &0_i32.to_le_bytes()).bytes();
            IntegerFile::read(&bytes).unwrap().prove()
        };
        let most = (i64::from(i32::MAX) / (112 * 32767)) as usize;
        assert_eq!(proof(most), Ok(()));
        let overflow = proof(most + 1).unwrap_err();
        assert_eq!(
            (overflow.tensor, overflow.output, overflow.bound),
            (tensor, 7, (most as i64 + 1) * 112 * 32767)
        );
    }
}

/// For every product and either sign of the weights: one weight more, and a sum could leave 32
/// bits.
#[test]
fn the_proof_finds_each_sum() {
    let wide = wide(WeightType::I8);
    for (tensor, row, unit, by_input) in [
        ("encoder.input", true, 32767, true),
        ("decoder.dictionary", true, 32767, true),
        ("encoder.recurrent", false, 32767, false),
        // (32767 · 32767 + 2¹⁴) >> 15 at most.
        ("decoder.dictionary", false, 32766, false),
    ] {
        for value in [127, -127_i8] {
            let count = (i64::from(i32::MAX) / (127 * unit)) as usize;
            // The multipliers of rescaling are another proof's.
            let zero = |parts: Parts| -> Parts {
                let multipliers = ["encoder.input", "refiner.correlation"];
                multipliers.into_iter().fold(parts, |parts, name| {
                    parts.poke(&format!("{name}.multiplier"), 7, &0_i32.to_le_bytes())
                })
            };
            // From 0 on, so that one sign of the weights counts at a time.
            let read = |count| {
                let parts = fill(wide.clone(), tensor, 7, count, value, row);
                zero(parts).metadata("input_min", "0").bytes()
            };
            let most = read(count);
            assert_eq!(
                IntegerFile::read(&most).unwrap().prove(),
                Ok(()),
                "{tensor}"
            );
            let more = read(count + 1);
            let found = IntegerFile::read(&more).unwrap().prove().unwrap_err();
            let expected = Overflow {
                tensor,
                output: 7,
                bound: (count as i64 + 1) * 127 * unit,
                limit: i64::from(i32::MAX),
                by_input,
            };
            assert_eq!(found, expected, "{value}");
            assert_eq!(found.to_string().contains("larger input scale"), by_input);
        }
    }
}

#[test]
fn the_proof_finds_drives_that_would_be_cut() {
    let wide = wide(WeightType::I8);
    for (tensor, product, shift) in [
        ("encoder.input.multiplier", "encoder.input", "input_shift"),
        (
            "refiner.correlation.multiplier",
            "decoder.dictionary",
            "correlation_shift",
        ),
    ] {
        let parts = fill(wide.clone(), product, 7, 500, 127, true);
        let others = (0..600).filter(|k| *k != 7);
        let bytes = others
            .fold(parts, |parts, k| parts.poke(tensor, k, &[0; 4]))
            .poke(tensor, 7, &i32::MAX.to_le_bytes())
            .metadata(shift, "32")
            .bytes();
        let found = IntegerFile::read(&bytes).unwrap().prove();
        // Half of 500 · 127 · 32767 is more than 2²⁹.
        let overflow = found.unwrap_err();
        assert_eq!((overflow.tensor, overflow.output), (tensor, 7));
        assert_eq!(overflow.limit, 1 << 29);
    }
    // The Gram matrix: 5 rows of the largest level.
    let mut raised = vdl();
    for index in 0..5 * 8 {
        raised = raised.poke("refiner.gram", index, &32767_i16.to_le_bytes());
    }
    let bytes = raised.bytes();
    let read = IntegerFile::read(&bytes).unwrap();
    let overflow = read.prove().unwrap_err();
    assert_eq!(overflow.tensor, "refiner.gram");
    assert_eq!(overflow.bound, 5 * 32767 * 32767);
    assert!(read.verify_checksum().is_err());
}

/// Standardised levels are bounded by their norm: flat atoms of many inputs are no reason to
/// refuse.
#[test]
fn standardised_samples_are_bounded_by_their_norm() {
    let mut model = sized(
        Variant::Vdl,
        InputShape {
            height: 28,
            width: 28,
        },
        3,
        0,
    );
    model.spec.preprocessing.contrast = Contrast::Standardize { floor: 0.01 };
    let OwnedDecoder::Linear { dictionary } = &mut model.decoder else {
        unreachable!()
    };
    for (index, weight) in dictionary.iter_mut().enumerate() {
        *weight = if index % 2 == 0 { 0.03 } else { -0.03 };
    }
    let bytes = AlignedBytes::from_slice(&file(&model));
    let read = IntegerFile::read(&bytes).unwrap();
    // Its sample: all of the norm along the atom.
    let level = 4361_i64;
    let sum: i64 = (0..784)
        .map(|i| i64::from(read.decoder.dictionary.get(0, i).unwrap()).abs() * level)
        .sum();
    assert!(
        sum < i64::from(i32::MAX) && sum > i64::from(i32::MAX) / 6,
        "{sum}"
    );
}

/// Rounding makes a matrix of many like atoms indefinite, and its largest eigenvalue larger than
/// its trace.
#[test]
fn no_eigenvalue_exceeds_one() {
    let l = 200;
    let mut model = sized(Variant::Do, InputShape::window(2), l, 0);
    let OwnedDecoder::Linear { dictionary } = &mut model.decoder else {
        unreachable!()
    };
    for (k, atom) in dictionary.chunks_mut(2).enumerate() {
        let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
        let length = if k % 4 < 2 { 1.0 } else { 0.9998 };
        atom.copy_from_slice(&[sign * length, 0.0]);
    }
    let bytes = AlignedBytes::from_slice(&file(&model));
    let refiner = IntegerFile::read(&bytes).unwrap().refiner;
    let n = usize::from(l);
    let unit = f64::from(1_u32 << refiner.gram_fraction);
    // All that the matrix does lies along the alternating vector.
    let mut vector: Vec<f64> = (0..n)
        .map(|k| if k % 2 == 0 { 1.0 } else { -1.0 })
        .collect();
    let mut eigenvalue = 0.0;
    for _ in 0..50 {
        let product: Vec<f64> = (0..n)
            .map(|j| {
                (0..n)
                    .map(|k| f64::from(refiner.gram.get(j, k).unwrap()) / unit * vector[k])
                    .sum()
            })
            .collect();
        let norm = product.iter().map(|x| x * x).sum::<f64>().sqrt();
        eigenvalue = norm / vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        vector = product.iter().map(|x| x / norm).collect();
    }
    assert!(eigenvalue <= 1.0 && eigenvalue > 0.98, "{eigenvalue}");
}
