//! Integer models: against the documented arithmetic written once more in 64 bits, and against the
//! model that they stand for.
#![cfg(feature = "std")]

mod common;

use common::exact::{
    Exact, Integers, PRECISIONS, RANGES, SHAPES, dense, integer_file, ranges_of, samples,
    trained_like,
};
use common::{Random, Reference, Shape, norm, random_model};
use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, CodeSign, Contrast, IntegerFile, ModelFile,
    OwnedDecoder, WeightType, WriteError, write, write_integer, write_integer_as,
};
use sparsecode_runtime::{
    CodeBuffer, IntegerCode, IntegerCodeBuffer as _, IntegerModel, IntegerRefine, IntegerWorkspace,
    Method, Model, ModelView, SparseCode, Stop, Workspace,
};

#[test]
fn every_bit_is_the_documented_one() {
    for (weights, activations) in PRECISIONS {
        for number in 0..SHAPES.len() {
            documented(number, weights, activations, CodeSign::NonNegative);
            documented(number, weights, activations, CodeSign::Signed);
        }
    }
}

fn documented(number: usize, weights: WeightType, activations: Activations, codes: CodeSign) {
    let (input, code, lista) = SHAPES[number];
    // Signed codes have no encoder; they start at other codes than zeros all the same.
    let lista = lista.filter(|_| codes == CodeSign::NonNegative);
    let shape = Shape {
        input,
        code,
        hidden: 0,
        lista,
    };
    let what = format!("{shape:?} {weights} {activations} {codes}");
    let mut model = trained_like(shape, 7 + number as u64);
    model.spec.codes = codes;
    let code_max = if number.is_multiple_of(2) { 30.0 } else { 0.7 };
    let ranges = ranges_of(activations, code_max);
    let written = write_integer_as(&model, &ranges, weights, activations).unwrap();
    let bytes = AlignedBytes::from_slice(&written.bytes);
    let file = IntegerFile::read(&bytes).unwrap();
    let (exact, mut view) = (Exact(file), Integers::new(file));
    let mut random = Random(number as u64);
    let (mut active, mut negative, mut cut) = (0, 0, 0);
    for round in 0..8 {
        let mut patch = samples(&mut random, input);
        let _ = view.preprocess(&mut patch).unwrap();
        let levels = ranges.input_min..=ranges.input_max;
        assert!(patch.iter().all(|x| levels.contains(x)));
        let start = if lista.is_some() {
            view.encode(&patch).unwrap();
            let expected = exact.encode(&patch);
            assert_eq!(dense(&view), expected, "encode {what} {round}");
            expected
        } else if codes == CodeSign::Signed {
            let limit = exact.limit() as f32;
            let level = |x: f32| (1.5 * limit * x * x * x).clamp(-limit, limit) as i64;
            random.vector(code, 1.0).into_iter().map(level).collect()
        } else {
            vec![0; code]
        };
        let settings = IntegerRefine {
            method: Method::Fista,
            max_iterations: 25,
            tolerance_bits: 31,
            ..IntegerRefine::for_model(&file)
        };
        let set_start = |view: &mut Integers<'_>| {
            let levels = start.iter().enumerate();
            view.set_code(levels.map(|(k, z)| (k as u16, *z as i16)));
        };
        set_start(&mut view);
        let made = view.refine(&patch, &settings, || false).unwrap();
        let end = exact.refine(&patch, &start, made.iterations);
        let refined = exact.better(&patch, &start, end);
        assert_eq!(dense(&view), refined, "refine {what} {round}");
        active += refined.iter().filter(|z| **z > 0).count();
        negative += refined.iter().filter(|z| **z < 0).count();
        cut += start.iter().filter(|z| **z == exact.limit()).count();

        let descent = IntegerRefine {
            method: Method::CoordinateDescent,
            max_iterations: 4,
            ..settings
        };
        set_start(&mut view);
        let made = view.refine(&patch, &descent, || false).unwrap();
        let end = exact.descend(&patch, &start, made.iterations);
        let descended = exact.better(&patch, &start, end);
        assert_eq!(dense(&view), descended, "descend {what} {round}");

        view.set_code(
            refined
                .iter()
                .enumerate()
                .map(|(k, z)| (k as u16, *z as i16)),
        );
        let mut output = vec![0; input];
        view.decode(&mut output).unwrap();
        let expected = exact.decode(&refined);
        let found: Vec<i64> = output.iter().map(|x| i64::from(*x)).collect();
        assert_eq!(found, expected, "decode {what} {round}");
    }
    assert!(active > 0, "{what}");
    assert_eq!(negative > 0, codes == CodeSign::Signed, "{what}");
    assert!(
        cut > 0 || number.is_multiple_of(2) || lista == Some(1),
        "{what}"
    );
}

#[test]
fn a_batch_has_the_codes_of_its_patches() {
    for (number, (input, code, lista)) in SHAPES.into_iter().enumerate() {
        let shape = Shape {
            input,
            code,
            hidden: 0,
            lista,
        };
        let bytes = integer_file(&trained_like(shape, 17 + number as u64));
        let mut view = Integers::new(IntegerFile::read(&bytes).unwrap());
        let mut random = Random(number as u64);
        // More than are taken at a time.
        let count = 150;
        let mut patches = Vec::new();
        for _ in 0..count {
            let mut patch = samples(&mut random, input);
            let _ = view.preprocess(&mut patch).unwrap();
            patches.extend(patch);
        }
        let mut expected = Vec::new();
        for patch in patches.chunks(input) {
            view.encode(patch).unwrap();
            expected.push(dense(&view));
        }
        let mut found = Vec::new();
        view.encode_batch(&patches, |index, view| {
            assert_eq!(index, found.len());
            found.push(dense(view));
            // What is done with a code does not disturb the next one.
            let settings = IntegerRefine::for_model(view.file());
            let patch = &patches[index * input..][..input];
            view.refine(patch, &settings, || false).unwrap();
            view.encode_batch(&[], |_, _| ()).unwrap();
        })
        .unwrap();
        assert_eq!(found, expected, "{shape:?}");
        if input > 1 {
            let error = view.encode_batch(&patches[1..], |_, _| unreachable!());
            assert_eq!(error.unwrap_err().expected, input * (count - 1));
        }
    }
}

#[test]
fn types_and_views_agree() {
    let shape = Shape {
        input: 64,
        code: 32,
        hidden: 0,
        lista: Some(3),
    };
    let bytes = integer_file(&trained_like(shape, 3));
    let model = IntegerModel::<64, 32>::load(&bytes).unwrap();
    let mut view = Integers::new(*model.file());
    let (mut code, mut workspace) = (IntegerCode::new(), IntegerWorkspace::new());
    let mut patch: [i16; 64] = samples(&mut Random(1), 64).try_into().unwrap();
    let mut other = patch.to_vec();
    let settings = IntegerRefine::for_model(model.file());
    let one = model.denoise(
        &mut patch,
        Some(&settings),
        &mut code,
        &mut workspace,
        || false,
    );
    let two = view.denoise(&mut other, Some(&settings), || false).unwrap();
    assert_eq!(one, two);
    assert_eq!(patch[..], other[..]);
    assert!(code.iter().eq(view.code()) && code.active() > 0);
    let mut levels = [0; 32];
    code.to_dense(&mut levels);
    assert_eq!(
        levels.iter().filter(|level| **level > 0).count(),
        code.active()
    );
    assert_eq!(IntegerWorkspace::<32>::BYTES, 18 * 32);
    assert_eq!(IntegerCode::<32>::BYTES, 4 * 32 + 4);
    assert!(view.encode(&other[1..]).is_err());
    assert!(IntegerModel::<64, 31>::load(&bytes).is_err());
    assert!(Model::<64, 32>::load(&bytes).is_err());
    let floats = AlignedBytes::from_slice(&write(&trained_like(shape, 3), WeightType::I8).unwrap());
    let error = IntegerFile::read(&floats).unwrap_err().to_string();
    assert!(error.contains("f32 arithmetic"), "{error}");
    let error = ModelFile::read(&bytes).unwrap_err().to_string();
    assert!(error.contains("integer arithmetic"), "{error}");
}

/// Codes and reconstructions of the file beside those of the model in `f64`, in real units.
#[test]
fn levels_stand_for_the_trained_model() {
    for (number, (input, code, lista)) in SHAPES.into_iter().enumerate() {
        let Some(_) = lista else { continue };
        let shape = Shape {
            input,
            code,
            hidden: 0,
            lista,
        };
        let model = trained_like(shape, 70 + number as u64);
        let bytes = integer_file(&model);
        let file = IntegerFile::read(&bytes).unwrap();
        let (input_scale, code_scale) = file.scales().unwrap();
        let floats = AlignedBytes::from_slice(&write(&model, WeightType::F32).unwrap());
        let reference = Reference::new(&ModelFile::read(&floats).unwrap());
        let preprocessing = model.spec.preprocessing;
        let mut view = Integers::new(file);
        let mut random = Random(5 + number as u64);
        for _ in 0..5 {
            let mut patch = samples(&mut random, input);
            let _ = view.preprocess(&mut patch).unwrap();
            let y: Vec<f32> = patch
                .iter()
                .map(|level| {
                    (f32::from(*level) * input_scale - preprocessing.mean) / preprocessing.deviation
                })
                .collect();
            view.encode(&patch).unwrap();
            let found: Vec<f64> = dense(&view)
                .iter()
                .map(|level| *level as f64 * f64::from(code_scale))
                .collect();
            let expected = reference.encode(&y);
            let error: Vec<f64> = found.iter().zip(&expected).map(|(a, b)| a - b).collect();
            // Weights of 8 bits: half a step of 1/127 for each, which random signs mostly cancel.
            assert!(
                norm(&error) <= 0.02 * (1.0 + norm(&expected)),
                "{shape:?}: {} of {}",
                norm(&error),
                norm(&expected)
            );

            let mut output = vec![0; input];
            view.decode(&mut output).unwrap();
            let decoded = reference.decode(&found);
            for (level, y) in output.iter().zip(&decoded) {
                let x = f64::from(*level) * f64::from(input_scale);
                let expected =
                    y * f64::from(preprocessing.deviation) + f64::from(preprocessing.mean);
                let size = norm(&decoded) + 1.0;
                assert!((x - expected).abs() < 0.01 * size, "{x} for {expected}");
            }
        }
    }
}

/// The energy that integer FISTA reaches beside the optimum of the dictionary as stored.
#[test]
fn refinement_reaches_the_optimum() {
    let shape = Shape {
        input: 64,
        code: 32,
        hidden: 0,
        lista: Some(3),
    };
    for seed in 0..5 {
        let model = trained_like(shape, 90 + seed);
        let bytes = integer_file(&model);
        let file = IntegerFile::read(&bytes).unwrap();
        let spec = file.spec().unwrap();
        let (input_scale, code_scale) = file.scales().unwrap();
        // The dictionary as stored, in f32: levels times the scale of the atom.
        let floats = AlignedBytes::from_slice(&write(&model, WeightType::F32).unwrap());
        let reference = Reference::new(&ModelFile::read(&floats).unwrap());
        let mut view = Integers::new(file);
        let mut patch = samples(&mut Random(seed), 64);
        let _ = view.preprocess(&mut patch).unwrap();
        let preprocessing = spec.preprocessing;
        let y: Vec<f32> = patch
            .iter()
            .map(|level| {
                (f32::from(*level) * input_scale - preprocessing.mean) / preprocessing.deviation
            })
            .collect();
        let energy = |view: &Integers<'_>| {
            let code: Vec<f64> = dense(view)
                .iter()
                .map(|level| *level as f64 * f64::from(code_scale))
                .collect();
            reference.energy(&y, &code, spec.lambda)
        };
        let optimum = reference.fista(&y, &[0.0; 32], spec.lambda, spec.step_size, 4000);
        let optimum = reference.energy(&y, &optimum, spec.lambda);
        view.encode(&patch).unwrap();
        let start = energy(&view);
        assert!(start > optimum * 1.05, "there was something to do");
        for method in [Method::CoordinateDescent, Method::Fista] {
            let settings = IntegerRefine {
                method,
                max_iterations: 1000,
                tolerance_bits: 31,
                ..IntegerRefine::for_model(&file)
            };
            view.encode(&patch).unwrap();
            let made = view.refine(&patch, &settings, || false).unwrap();
            assert_eq!(made.stopped, Stop::Converged, "{method:?}");
            // The optimum is that of the unquantised dictionary; 8 bits move it by about a
            // thousandth.
            let end = energy(&view);
            assert!(
                end < optimum * 1.003,
                "{method:?}: {end} for {optimum}, from {start}"
            );
        }
    }
}

/// A mean that is large beside the deviation is folded in without cutting what is bright.
#[test]
fn a_large_mean_cuts_nothing() {
    let d = 64;
    let mut model = random_model(
        Shape {
            input: d,
            code: 2,
            hidden: 0,
            lista: None,
        },
        1,
    );
    model.spec.lambda = 1e-4;
    // Two orthonormal atoms, one of them constant.
    let constant = 1.0 / (d as f32).sqrt();
    let atoms = (0..2 * d).map(|i| {
        if i < d || i % 2 == 0 {
            constant
        } else {
            -constant
        }
    });
    model.decoder = OwnedDecoder::Linear {
        dictionary: atoms.collect(),
    };
    for ratio in [2.0, 9.0, 20.0] {
        model.spec.preprocessing.mean = 0.5;
        model.spec.preprocessing.deviation = 0.5 / ratio;
        let ranges = ActivationRanges {
            input_scale: 1.0 / 255.0,
            input_min: 0,
            input_max: 255,
            code_max: 40.0,
        };
        let bytes = AlignedBytes::from_slice(&write_integer(&model, &ranges).unwrap().bytes);
        let file = IntegerFile::read(&bytes).unwrap();
        let mut view = Integers::new(file);
        for level in [100_i16, 140, 150, 178] {
            let mut patch = vec![level; d];
            let settings = IntegerRefine::for_inference(&file);
            view.denoise(&mut patch, Some(&settings), || false).unwrap();
            // Below the mean the code would be negative; above what a code holds it is cut.
            let y = (f32::from(level) / 255.0 - 0.5) * ratio / 0.5;
            let expected = (y.clamp(0.0, 40.0 * constant) / ratio * 0.5 + 0.5) * 255.0;
            assert!(
                (f32::from(patch[5]) - expected).abs() < 2.0,
                "{ratio}: {} for {expected}, of {level}",
                patch[5]
            );
        }
    }
}

#[test]
fn refinement_ends_as_asked() {
    let shape = Shape {
        input: 64,
        code: 32,
        hidden: 0,
        lista: Some(3),
    };
    let bytes = integer_file(&trained_like(shape, 4));
    let mut view = Integers::new(IntegerFile::read(&bytes).unwrap());
    let mut patch = samples(&mut Random(2), 64);
    let _ = view.preprocess(&mut patch).unwrap();
    view.encode(&patch).unwrap();
    let start = dense(&view);
    let settings = IntegerRefine {
        method: Method::Fista,
        ..IntegerRefine::for_model(view.file())
    };
    let none = IntegerRefine {
        max_iterations: 0,
        ..settings
    };
    let result = view.refine(&patch, &none, || false).unwrap();
    assert_eq!((result.iterations, result.stopped), (0, Stop::Budget));
    assert_eq!(dense(&view), start);
    let mut asked = 0;
    let result = view
        .refine(&patch, &settings, || {
            asked += 1;
            asked > 3
        })
        .unwrap();
    assert_eq!((result.iterations, result.stopped), (3, Stop::Deadline));
    let result = view.refine(&patch, &settings, || false).unwrap();
    assert_eq!(result.stopped, Stop::Converged);
    let stays = IntegerRefine {
        method: Method::CoordinateDescent,
        tolerance_bits: 31,
        ..settings
    };
    let result = view.refine(&patch, &stays, || false).unwrap();
    assert_eq!(result.stopped, Stop::Converged);
    // Neither the active components nor any other.
    let result = view.refine(&patch, &stays, || false).unwrap();
    assert_eq!((result.iterations, result.stopped), (2, Stop::Converged));
    let result = view.refine(&patch, &stays, || true).unwrap();
    assert_eq!((result.iterations, result.stopped), (0, Stop::Deadline));
    // Nothing is worth its price.
    for method in [Method::CoordinateDescent, Method::Fista] {
        view.encode(&patch).unwrap();
        let settings = IntegerRefine {
            method,
            threshold: i32::MAX,
            ..settings
        };
        let result = view.refine(&patch, &settings, || false).unwrap();
        assert_eq!(result.stopped, Stop::Converged);
        assert_eq!(view.code().count(), 0);
    }
}

/// The formulas of `docs/model-file.md`, on levels of the whole range.
fn contrasts_are_exact() {
    let shape = Shape {
        input: 7,
        code: 3,
        hidden: 0,
        lista: Some(1),
    };
    let mut random = Random(17);
    for contrast in [Contrast::RemoveMean, Contrast::Standardize { floor: 2.0 }] {
        let mut model = random_model(shape, 1);
        model.spec.preprocessing.contrast = contrast;
        let ranges = ActivationRanges {
            input_min: -32767,
            input_max: 32767,
            ..RANGES
        };
        let bytes = AlignedBytes::from_slice(&write_integer(&model, &ranges).unwrap().bytes);
        let view = Integers::new(IntegerFile::read(&bytes).unwrap());
        for round in 0..200 {
            let size = [3.0, 300.0, 40_000.0][round % 3];
            let raw: Vec<i16> = (0..7).map(|_| (size * random.next()) as i16).collect();
            let cut: Vec<i64> = raw.iter().map(|r| i64::from(*r).max(-32767)).collect();
            let sum: i64 = cut.iter().sum();
            // Halves away from 0.
            let mean = (2 * sum.abs() + 7) / 14 * sum.signum();
            let squares: i64 = cut.iter().map(|r| (r - mean).pow(2)).sum();
            let root = ((256 * squares / 7) as u64).isqrt() as i64;
            let deviation = root.max((2.0 * 0.3 * 1000.0 * 16.0_f64).round() as i64);
            let expected: Vec<i64> = cut
                .iter()
                .map(|r| match contrast {
                    Contrast::RemoveMean => (r - mean).clamp(-32767, 32767),
                    _ => (((r - mean) * ((1_i64 << 35) / deviation) + (1 << 18)) >> 19)
                        .clamp(-32767, 32767),
                })
                .collect();
            let mut patch = raw.clone();
            let normalisation = view.preprocess(&mut patch).unwrap();
            let found: Vec<i64> = patch.iter().map(|n| i64::from(*n)).collect();
            assert_eq!(found, expected, "{contrast} {raw:?}");
            view.restore(&mut patch, normalisation).unwrap();
            for (restored, n) in patch.iter().zip(expected) {
                let raw = match contrast {
                    Contrast::RemoveMean => n + mean,
                    _ => ((n * deviation + (1 << 15)) >> 16) + mean,
                };
                assert_eq!(i64::from(*restored), raw.clamp(-32768, 32767));
            }
        }
    }
}

#[test]
fn contrast_is_removed_and_restored() {
    let shape = Shape {
        input: 64,
        code: 32,
        hidden: 0,
        lista: Some(3),
    };
    for contrast in [
        Contrast::RemoveMean,
        Contrast::Standardize { floor: 0.01 },
        Contrast::Local {
            window: 5,
            sigma: 2.0,
            floor: 0.1,
        },
    ] {
        let mut model = trained_like(shape, 11);
        model.spec.preprocessing.contrast = contrast;
        let ranges = ActivationRanges {
            input_min: -3000,
            input_max: 3000,
            ..RANGES
        };
        let bytes = AlignedBytes::from_slice(&write_integer(&model, &ranges).unwrap().bytes);
        let view = Integers::new(IntegerFile::read(&bytes).unwrap());
        let floats = AlignedBytes::from_slice(&write(&model, WeightType::F32).unwrap());
        let float_view = ModelView::load(&floats).unwrap();
        let raw: Vec<i16> = samples(&mut Random(3), 64)
            .iter()
            .map(|level| level / 2 + 700)
            .collect();
        let mut patch = raw.clone();
        let normalisation = view.preprocess(&mut patch).unwrap();

        let mut y: Vec<f32> = raw.iter().map(|level| f32::from(*level) / 1000.0).collect();
        let _ = float_view.preprocess(&mut y).unwrap();
        let unit = match contrast {
            Contrast::Standardize { .. } => 4096.0,
            Contrast::Local { .. } => 1000.0,
            _ => 1000.0 * 0.3,
        };
        for (level, y) in patch.iter().zip(&y) {
            // Half a level of the mean, and half of the sample.
            let bound = if unit == 4096.0 { 8.0 } else { 1.0 };
            assert!(
                (f32::from(*level) - y * unit).abs() <= bound,
                "{contrast}: {level} for {}",
                y * unit
            );
        }
        view.restore(&mut patch, normalisation).unwrap();
        for (restored, raw) in patch.iter().zip(&raw) {
            assert!((restored - raw).abs() <= 1, "{contrast}: {restored} {raw}");
        }
    }
    contrasts_are_exact();
    // A constant patch has no deviation: the floor stands in.
    let mut model = trained_like(shape, 11);
    model.spec.preprocessing.contrast = Contrast::Standardize { floor: 0.01 };
    let bytes = integer_file(&model);
    let view = Integers::new(IntegerFile::read(&bytes).unwrap());
    let mut patch = [77; 64];
    let normalisation = view.preprocess(&mut patch).unwrap();
    assert_eq!(patch, [0; 64]);
    assert_eq!(normalisation.deviation, 48); // 0.01 · 0.3 · 1000 · 16
    view.restore(&mut patch, normalisation).unwrap();
    assert_eq!(patch, [77; 64]);
}

#[test]
fn what_could_overflow_is_refused() {
    let shape = Shape {
        input: 2000,
        code: 4,
        hidden: 0,
        lista: Some(1),
    };
    let mut model = random_model(shape, 1);
    if let Some(encoder) = &mut model.encoder {
        // Every weight at its largest level: 2000 · 127 · 32767 > 2³¹.
        encoder.input.fill(0.01);
    }
    let ranges = |most| ActivationRanges {
        input_scale: 1.0 / 32767.0,
        input_min: 0,
        input_max: most,
        code_max: 100.0,
    };
    let error = write_integer(&model, &ranges(i16::MAX)).unwrap_err();
    assert!(matches!(error, WriteError::Overflow(_)), "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with("tensor encoder.input: output 0 could reach 8322818000"),
        "{text}"
    );
    write_integer(&model, &ranges(8000)).unwrap();
}

#[test]
fn ranges_and_models_that_are_none_are_refused() {
    let shape = Shape {
        input: 8,
        code: 4,
        hidden: 0,
        lista: Some(1),
    };
    let model = random_model(shape, 1);
    for (ranges, field) in [
        (
            ActivationRanges {
                input_scale: 0.0,
                ..RANGES
            },
            "input_scale",
        ),
        (
            ActivationRanges {
                input_scale: f32::NAN,
                ..RANGES
            },
            "input_scale",
        ),
        (
            ActivationRanges {
                input_min: 1,
                ..RANGES
            },
            "input_min",
        ),
        (
            ActivationRanges {
                input_max: 0,
                ..RANGES
            },
            "input_max",
        ),
        (
            ActivationRanges {
                code_max: f32::INFINITY,
                ..RANGES
            },
            "code_max",
        ),
    ] {
        let error = write_integer(&model, &ranges).unwrap_err().to_string();
        assert!(error.starts_with(field), "{error}");
    }
    let hidden = random_model(Shape { hidden: 3, ..shape }, 1);
    let error = write_integer(&hidden, &RANGES).unwrap_err().to_string();
    assert!(error.starts_with("hidden_dim"), "{error}");
}

/// What the file holds is what the float runtime would compute, to the last digit that 16 bits
/// show.
#[test]
fn close_to_the_float_runtime() {
    let shape = Shape {
        input: 64,
        code: 32,
        hidden: 0,
        lista: Some(3),
    };
    let model = trained_like(shape, 21);
    let bytes = integer_file(&model);
    let integer = IntegerModel::<64, 32>::load(&bytes).unwrap();
    let floats = AlignedBytes::from_slice(&write(&model, WeightType::I8).unwrap());
    let float = Model::<64, 32>::load(&floats).unwrap();
    let (mut code, mut workspace) = (IntegerCode::new(), IntegerWorkspace::new());
    let (mut float_code, mut float_workspace) = (SparseCode::new(), Workspace::new());
    let (input_scale, code_scale) = integer.file().scales().unwrap();
    let mut random = Random(9);
    for _ in 0..10 {
        let mut patch: [i16; 64] = samples(&mut random, 64).try_into().unwrap();
        let _ = integer.preprocess(&mut patch);
        let mut sample = patch.map(|level| f32::from(level) * input_scale);
        let _ = float.preprocess(&mut sample);
        integer.encode(&patch, &mut code, &mut workspace);
        float.encode(&sample, &mut float_code, &mut float_workspace);
        let (mut a, mut b) = ([0; 32], [0.0; 32]);
        code.to_dense(&mut a);
        float_code.to_dense(&mut b);
        // U and S have the same levels and scales in both files: what differs is rounding of 16
        // bits.
        for (level, value) in a.into_iter().zip(b) {
            assert!(
                (f32::from(level) * code_scale - value).abs() < 4.0 * code_scale,
                "{level} for {}",
                value / code_scale
            );
        }
    }
}
