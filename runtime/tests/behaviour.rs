//! What the documentation promises beyond the arithmetic.

mod common;

use common::{Random, Reference, Shape, assert_close, file, random_model};
use sparsecode_formats::{
    AlignedBytes, Contrast, OwnedDecoder, OwnedModel, Preprocessing, ReadError, WeightType,
};
use sparsecode_runtime::{
    CodeBuffer as _, CodeError, CodeSign, DimensionError, LoadError, Model, ModelView,
    Normalisation, Refine, SparseCode, Start, Stop, Workspace,
};

const LINEAR: Shape = Shape {
    input: 24,
    code: 16,
    hidden: 0,
    lista: Some(3),
};
const DECODER_ONLY: Shape = Shape {
    lista: None,
    ..LINEAR
};

type LinearModel<'a> = Model<'a, 24, 16>;

fn input(seed: u64) -> [f32; 24] {
    Random(seed).vector(24, 2.0).try_into().unwrap()
}

fn with_contrast(contrast: Contrast) -> AlignedBytes {
    let mut model = random_model(LINEAR, 1);
    model.spec.preprocessing = Preprocessing {
        mean: 0.4,
        deviation: 0.3,
        contrast,
    };
    file(&model, WeightType::F32)
}

#[test]
fn an_orthonormal_dictionary_needs_one_step() {
    // Rows of a Hadamard matrix of order 4, halved.
    let signs = [
        1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0, 1.0,
    ];
    let dictionary: Vec<f32> = signs.iter().map(|s| 0.5 * s).collect();
    let mut model: OwnedModel = random_model(
        Shape {
            input: 4,
            code: 4,
            hidden: 0,
            lista: None,
        },
        0,
    );
    model.decoder = OwnedDecoder::Linear {
        dictionary: dictionary.clone(),
    };
    let bytes = file(&model, WeightType::F32);
    let model = Model::<4, 4>::load(&bytes).unwrap();
    let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
    let y = [0.9, -0.4, 0.3, 0.7];
    // L = 2/d, so the exact step is d/2, and the solution relu(Wᵀy − λd/2).
    let settings = Refine {
        lambda: 0.1,
        step_size: 2.0,
        ..Refine::for_model(model.spec())
    };
    let refinement = model.refine(&y, &mut code, &settings, &mut workspace, || false);
    let expected: Vec<f64> = dictionary
        .chunks(4)
        .map(|atom| {
            let product: f64 = atom
                .iter()
                .zip(y)
                .map(|(w, y)| f64::from(*w) * f64::from(y))
                .sum();
            (product - 0.2).max(0.0)
        })
        .collect();
    assert!(expected.iter().filter(|e| **e > 0.0).count() >= 2);
    let mut dense = [0.0; 4];
    code.to_dense(&mut dense);
    assert_close(&dense, &expected, 1e-6);
    // The first step comes from zero, which never counts as converged; the second changes nothing.
    assert_eq!(
        (refinement.iterations, refinement.stopped),
        (2, Stop::Converged)
    );
}

#[test]
fn a_zero_patch_has_a_zero_code_at_once() {
    let bytes = file(&random_model(DECODER_ONLY, 2), WeightType::I8);
    let model = LinearModel::load(&bytes).unwrap();
    let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
    code.push(3, 1.0).unwrap();
    let settings = Refine::for_inference(model.spec());
    let refinement = model.refine(&[0.0; 24], &mut code, &settings, &mut workspace, || false);
    assert_eq!(code.active(), 0);
    assert_eq!(
        (refinement.iterations, refinement.stopped),
        (1, Stop::Converged)
    );
    assert_eq!((refinement.residual, refinement.energy), (0.0, 0.0));

    let mut output = [f32::NAN; 24];
    model.decode(&code, &mut output, &mut workspace);
    assert_eq!(output, [0.0; 24]);
}

#[test]
fn nan_and_infinity_do_no_lasting_harm() {
    for shape in [
        LINEAR,
        DECODER_ONLY,
        Shape {
            hidden: 9,
            ..LINEAR
        },
    ] {
        let bytes = file(&random_model(shape, 4), WeightType::I16);
        let model = ModelView::load(&bytes).unwrap();
        let mut workspace = Workspace::<24, 16, 9>::new();
        let settings = Refine::for_model(model.spec());
        let good = input(4);
        let mut clean = SparseCode::<16>::new();
        model.encode(&good, &mut clean, &mut workspace).unwrap();

        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let mut code = SparseCode::<16>::new();
            let mut patch = good;
            patch[5] = bad;
            model.encode(&patch, &mut code, &mut workspace).unwrap();
            model
                .refine(&patch, &mut code, &settings, &mut workspace, || false)
                .unwrap();
            assert!(
                code.values().iter().all(|value| *value > 0.0),
                "{bad}: {code:?}"
            );
            if bad.is_nan() {
                assert_eq!(code.active(), 0);
            }
            // The next patch does not notice.
            model.encode(&good, &mut code, &mut workspace).unwrap();
            assert_eq!(code, clean);
        }
    }
}

#[test]
fn a_deadline_ends_it_with_the_code_so_far() {
    let bytes = file(&random_model(LINEAR, 6), WeightType::F32);
    let model = LinearModel::load(&bytes).unwrap();
    let mut workspace = Workspace::new();
    let y = input(6);
    let settings = Refine {
        tolerance: 0.0,
        ..Refine::for_model(model.spec())
    };
    let mut start = SparseCode::new();
    model.encode(&y, &mut start, &mut workspace);

    let mut previous = start.clone();
    for allowed in 0..6 {
        let mut polls = 0;
        let mut code = start.clone();
        let refinement = model.refine(&y, &mut code, &settings, &mut workspace, || {
            polls += 1;
            polls > allowed
        });
        assert_eq!(
            (refinement.iterations, refinement.stopped),
            (allowed, Stop::Deadline)
        );

        let mut expected = start.clone();
        let budget = Refine {
            max_iterations: allowed,
            ..settings
        };
        let by_budget = model.refine(&y, &mut expected, &budget, &mut workspace, || false);
        assert_eq!(code, expected);
        assert_eq!(refinement.energy, by_budget.energy);
        assert_eq!(code == previous, allowed == 0);
        previous = code;
    }
}

#[test]
fn a_hidden_layer_without_an_encoder_needs_a_positive_start() {
    let mut model = random_model(
        Shape {
            hidden: 20,
            ..DECODER_ONLY
        },
        7,
    );
    if let OwnedDecoder::OneHidden { hidden_bias, .. } = &mut model.decoder {
        hidden_bias.fill(0.0);
    }
    model.spec.lambda = 1e-4;
    let bytes = file(&model, WeightType::F32);
    let model = Model::<24, 16, 20>::load(&bytes).unwrap();
    let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
    let y = input(7);
    let settings = Refine::for_inference(model.spec());
    assert_eq!(settings.start, Start::Constant(Refine::DEFAULT_START));
    let from_zero = Refine {
        start: Start::Zero,
        ..settings
    };
    let stuck = model.refine(&y, &mut code, &from_zero, &mut workspace, || false);
    assert_eq!(code.active(), 0);

    model.encode(&y, &mut code, &mut workspace);
    assert!(code.active() > 0);
    let measure = Refine {
        start: Start::Code,
        max_iterations: 0,
        ..settings
    };
    let before = code.clone();
    let encoded = model.refine(&y, &mut code, &measure, &mut workspace, || false);
    assert_eq!(code, before, "measuring changes nothing");
    assert!(
        encoded.energy < 0.95 * stuck.energy,
        "{encoded:?} {stuck:?}"
    );
}

#[test]
fn denoising_without_an_encoder_refines_what_the_model_infers() {
    let bytes = file(&random_model(DECODER_ONLY, 8), WeightType::F32);
    let model = LinearModel::load(&bytes).unwrap();
    let mut workspace = Workspace::new();
    let raw = input(8);
    let mut y = raw;
    let _ = model.preprocess(&mut y);
    let from_code = Refine {
        max_iterations: 3,
        ..Refine::for_model(model.spec())
    };
    let from_zero = Refine {
        max_iterations: 3,
        ..Refine::for_inference(model.spec())
    };
    assert_eq!(
        (from_code.start, from_zero.start),
        (Start::Code, Start::Zero)
    );
    for settings in [from_code, from_zero] {
        // A code left over from another patch is no starting point.
        let mut code = SparseCode::new();
        code.from_dense(&[7.0; 16]);
        let mut patch = raw;
        let denoised = model.denoise(
            &mut patch,
            Some(&settings),
            &mut code,
            &mut workspace,
            || false,
        );

        let mut expected = SparseCode::new();
        if settings.start == Start::Code {
            model.encode(&y, &mut expected, &mut workspace);
        }
        let refinement = model.refine(&y, &mut expected, &settings, &mut workspace, || false);
        assert_eq!(denoised.refinement, Some(refinement));
        assert_eq!(code, expected, "{:?}", settings.start);
    }
}

#[test]
fn preprocessing_follows_its_definition_and_is_undone() {
    let raw = input(9);
    let affine: Vec<f64> = raw
        .iter()
        .map(|x| (f64::from(*x) - f64::from(0.4_f32)) / f64::from(0.3_f32))
        .collect();
    let mean = affine.iter().sum::<f64>() / 24.0;
    let deviation = (affine.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 24.0).sqrt();
    for (contrast, mean, deviation) in [
        (Contrast::None, 0.0, 1.0),
        (Contrast::RemoveMean, mean, 1.0),
        (Contrast::Standardize { floor: 0.1 }, mean, deviation),
        (Contrast::Standardize { floor: 50.0 }, mean, 50.0),
    ] {
        let bytes = with_contrast(contrast);
        let model = LinearModel::load(&bytes).unwrap();
        let mut patch = raw;
        let normalisation = model.preprocess(&mut patch);
        let expected: Vec<f64> = affine.iter().map(|v| (v - mean) / deviation).collect();
        assert_close(&patch, &expected, 1e-6);
        let Normalisation::Patch {
            mean: m,
            deviation: s,
        } = normalisation
        else {
            panic!("{contrast:?} is the runtime's to do");
        };
        assert_close(&[m, s], &[mean, deviation], 1e-6);

        model.restore(&mut patch, normalisation);
        let raw: Vec<f64> = raw.iter().copied().map(f64::from).collect();
        assert_close(&patch, &raw, 1e-6);
    }
}

#[test]
fn a_flat_patch_is_divided_by_the_floor() {
    let bytes = with_contrast(Contrast::Standardize { floor: 0.25 });
    let model = LinearModel::load(&bytes).unwrap();
    let mut patch = [0.7; 24];
    let normalisation = model.preprocess(&mut patch);
    assert!(matches!(
        normalisation,
        Normalisation::Patch {
            deviation: 0.25,
            ..
        }
    ));
    assert!(patch.iter().all(|v| v.abs() < 1e-5));
}

#[test]
fn locally_normalised_patches_are_left_alone() {
    let bytes = with_contrast(Contrast::Local {
        window: 13,
        sigma: 5.0,
        floor: 0.1,
    });
    let model = LinearModel::load(&bytes).unwrap();
    let mut patch = input(10);
    let normalisation = model.preprocess(&mut patch);
    assert_eq!((patch, normalisation), (input(10), Normalisation::External));
    model.restore(&mut patch, normalisation);
    assert_eq!(patch, input(10));
}

#[test]
fn loading_names_the_dimension_or_the_field() {
    let bytes = file(&random_model(LINEAR, 11), WeightType::I8);
    let dimension = |field, expected, found| {
        Some(LoadError::Dimension(DimensionError {
            field,
            expected,
            found,
        }))
    };
    assert_eq!(
        Model::<25, 16>::load(&bytes).err(),
        dimension("input_dim", 25, 24)
    );
    assert_eq!(
        Model::<24, 15>::load(&bytes).err(),
        dimension("code_dim", 15, 16)
    );
    assert_eq!(
        Model::<24, 16, 8>::load(&bytes).err(),
        dimension("hidden_dim", 8, 0)
    );
    let message = Model::<25, 16>::load(&bytes).unwrap_err().to_string();
    assert!(
        message.starts_with("input_dim of the model file is 24, but this program was built for 25")
    );

    let cut = &bytes[..bytes.len() - 4];
    let error = LinearModel::load(cut).unwrap_err();
    assert_eq!(LoadError::Format(ModelView::load(cut).unwrap_err()), error);
    assert!(
        matches!(error, LoadError::Format(ReadError::Offsets { .. })),
        "{error:?}"
    );
}

#[test]
fn a_view_checks_the_lengths_of_its_arguments() {
    let bytes = file(&random_model(LINEAR, 12), WeightType::I8);
    let view = ModelView::load(&bytes).unwrap();
    let mut workspace = Workspace::<24, 16>::new();
    let mut code = SparseCode::<16>::new();
    let field =
        |result: Result<(), DimensionError>| result.map_err(|e| (e.field, e.expected, e.found));
    assert_eq!(
        field(view.encode(&[0.0; 23], &mut code, &mut workspace)),
        Err(("input", 24, 23))
    );
    assert_eq!(
        field(view.decode(&code, &mut [0.0; 25], &mut workspace)),
        Err(("output", 24, 25))
    );
    let mut short = SparseCode::<15>::new();
    assert_eq!(
        field(view.encode(&[0.0; 24], &mut short, &mut workspace)),
        Err(("code", 16, 15))
    );
    let mut short = Workspace::<24, 15>::new();
    assert_eq!(
        field(view.encode(&[0.0; 24], &mut code, &mut short)),
        Err(("workspace code_dim", 16, 15))
    );
    assert_eq!(view.preprocess(&mut [0.0; 2]).unwrap_err().field, "patch");
    assert_eq!(
        field(view.encode(&[0.0; 24], &mut code, &mut workspace)),
        Ok(())
    );
}

#[test]
fn lambda_follows_the_noise() {
    let bytes = file(&random_model(LINEAR, 13), WeightType::F32);
    let model = LinearModel::load(&bytes).unwrap();
    let settings = Refine::for_noise(model.spec(), 0.5);
    let atom_norm = f64::from(model.spec().atom_norm);
    let expected = 2.0 / 24.0 * 0.35 * 0.5 * atom_norm * (2.0 * 16_f64.ln()).sqrt();
    assert!((f64::from(settings.lambda) - expected).abs() < 1e-7);
    assert_eq!(settings.step_size, model.spec().step_size);
    assert_eq!(Refine::for_noise(model.spec(), f32::NAN).lambda, 0.0);
    assert_eq!(Refine::for_noise(model.spec(), -1.0).lambda, 0.0);
}

#[test]
fn a_larger_lambda_makes_a_sparser_code() {
    let bytes = file(&random_model(LINEAR, 14), WeightType::F32);
    let model = LinearModel::load(&bytes).unwrap();
    let reference = Reference::new(model.file());
    let mut workspace = Workspace::new();
    let y = input(14);
    let mut norms = vec![f64::INFINITY];
    for lambda in [0.001, 0.01, 0.05, 10.0] {
        let mut code = SparseCode::new();
        let settings = Refine {
            lambda,
            max_iterations: 3000,
            start: Start::Zero,
            ..Refine::for_model(model.spec())
        };
        let refinement = model.refine(&y, &mut code, &settings, &mut workspace, || false);
        let mut dense = [0.0; 16];
        code.to_dense(&mut dense);
        let energy = reference.energy(&y, &dense.map(f64::from), lambda);
        assert!((f64::from(refinement.energy) - energy).abs() < 1e-5 * energy);
        norms.push(f64::from(code.l1_norm()));
    }
    assert!(norms.is_sorted_by(|a, b| a > b), "{norms:?}");
    assert_eq!(norms.last(), Some(&0.0));
}

#[test]
fn codes_keep_their_order() {
    let mut code = SparseCode::<6>::new();
    code.from_dense(&[0.0, -1.0, 2.0, f32::NAN, -0.0, 0.5, 9.0]);
    assert!(code.iter().eq([(1, -1.0), (2, 2.0), (5, 0.5)]), "{code:?}");
    assert_eq!((code.active(), code.l1_norm()), (3, 3.5));
    let mut dense = [9.0; 7];
    code.to_dense(&mut dense);
    assert_eq!(dense, [0.0, -1.0, 2.0, 0.0, 0.0, 0.5, 0.0]);
    assert_eq!(code.check(CodeSign::Signed), Ok(()));
    let negative = CodeError::Negative { index: 1 };
    assert_eq!(code.check(CodeSign::NonNegative), Err(negative));

    code.clear();
    assert_eq!(code.push(1, 0.5), Ok(()));
    assert_eq!(code.push(1, 0.5), Err(CodeError::Order { found: 1 }));
    assert_eq!(
        code.push(6, 0.5),
        Err(CodeError::Index {
            found: 6,
            code_dim: 6
        })
    );
    for value in [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(code.push(2, value), Err(CodeError::Value { index: 2 }));
    }
    assert_eq!(code.check(CodeSign::NonNegative), Ok(()));
    assert_eq!(code.push(2, -0.5), Ok(()));
    assert!(code.iter().eq([(1, 0.5), (2, -0.5)]));
}

#[cfg(feature = "std")]
#[test]
fn a_batch_has_the_codes_of_its_patches() {
    use sparsecode_runtime::{SparseCodeBuf, WorkspaceBuf};

    let shapes = [
        (24, 16, 0, Some(2)),
        (50, 130, 0, Some(3)),
        (7, 3, 5, Some(0)),
        (9, 4, 0, None),
    ];
    for (number, (input, code, hidden, lista)) in shapes.into_iter().enumerate() {
        let shape = Shape {
            input,
            code,
            hidden,
            lista,
        };
        for weights in [WeightType::F32, WeightType::I16, WeightType::I8] {
            let bytes = file(&random_model(shape, 70 + number as u64), weights);
            let view = ModelView::load(&bytes).unwrap();
            let mut found = SparseCodeBuf::new(code as u16);
            let mut workspace = WorkspaceBuf::for_model(view.spec());
            // More than are taken at a time, and not a multiple of it.
            let count = 101;
            let inputs = Random(number as u64).vector(count * input, 1.0);
            let mut one_by_one = Vec::new();
            let mut alone = Vec::new();
            for input in inputs.chunks(input) {
                view.encode(input, &mut found, &mut workspace).unwrap();
                let mut dense = vec![0.0; code];
                found.to_dense(&mut dense);
                one_by_one.push(dense);
                view.encode_batch(input, &mut found, &mut workspace, |_, code, _| {
                    alone.push(code.clone());
                })
                .unwrap();
            }
            let mut next = 0;
            view.encode_batch(
                &inputs,
                &mut found,
                &mut workspace,
                |index, found, workspace| {
                    assert_eq!(index, next);
                    next += 1;
                    assert_eq!(
                        found, &alone[index],
                        "{shape:?}: a code depends on the patches beside it"
                    );
                    let mut dense = vec![0.0; code];
                    found.to_dense(&mut dense);
                    for (a, b) in dense.iter().zip(&one_by_one[index]) {
                        assert!((a - b).abs() < 1e-4, "{shape:?}: {a} instead of {b}");
                    }
                    // What is done with a code does not disturb the next one.
                    view.decode(found, &mut vec![0.0; input], workspace)
                        .unwrap();
                    found.clear();
                    view.encode_batch(&[], found, workspace, |_, _, _| ())
                        .unwrap();
                },
            )
            .unwrap();
            assert_eq!(next, count);
            let mut refused = |inputs, code, expected| {
                let mut found = SparseCodeBuf::new(code);
                let error =
                    view.encode_batch(inputs, &mut found, &mut workspace, |_, _, _| unreachable!());
                assert_eq!(error.unwrap_err().expected, expected);
            };
            refused(&inputs[1..], code as u16, input * (count - 1));
            refused(&inputs[..], code as u16 - 1, code);
        }
    }
}

#[cfg(feature = "std")]
#[test]
fn host_buffers_give_the_same() {
    use sparsecode_runtime::{SparseCodeBuf, WorkspaceBuf};

    let bytes = file(
        &random_model(
            Shape {
                hidden: 5,
                ..LINEAR
            },
            15,
        ),
        WeightType::I8,
    );
    let view = ModelView::load(&bytes).unwrap();
    let (mut fixed, mut workspace) = (SparseCode::<16>::new(), Workspace::<24, 16, 5>::new());
    let (mut host, mut host_workspace) =
        (SparseCodeBuf::new(16), WorkspaceBuf::for_model(view.spec()));
    let (mut a, mut b) = (input(15), input(15));
    let settings = Refine::for_model(view.spec());
    view.denoise(&mut a, Some(&settings), &mut fixed, &mut workspace, || {
        false
    })
    .unwrap();
    view.denoise(
        &mut b,
        Some(&settings),
        &mut host,
        &mut host_workspace,
        || false,
    )
    .unwrap();
    assert_eq!(a, b);
    assert!(fixed.active() > 0 && fixed.iter().eq(host.iter()));
}

#[cfg(feature = "serde")]
#[test]
fn integer_codes_are_stored_as_their_components() {
    use sparsecode_runtime::{IntegerCode, IntegerCodeBuffer as _};

    let mut code = IntegerCode::<6>::new();
    code.push(1, 500).unwrap();
    code.push(5, 32767).unwrap();
    let text = serde_json::to_string(&code).unwrap();
    assert_eq!(text, "[[1,500],[5,32767]]");
    assert!(serde_json::from_str::<IntegerCode<6>>(&text).unwrap() == code);
    for (bad, complaint) in [
        ("[[6,1]]", "6"),
        ("[[2,1],[2,1]]", "2"),
        ("[[2,0]]", "2"),
        ("[[2,-32768]]", "2"),
        ("[[0,1],[1,1],[2,1],[3,1],[4,1],[5,1],[6,1]]", "length"),
    ] {
        let error = serde_json::from_str::<IntegerCode<6>>(bad).unwrap_err();
        assert!(error.to_string().contains(complaint), "{bad}: {error}");
    }
}

#[cfg(feature = "serde")]
#[test]
fn stored_codes_are_checked() {
    let mut code = SparseCode::<6>::new();
    code.from_dense(&[0.0, 1.5, 0.0, -0.25]);
    let text = serde_json::to_string(&code).unwrap();
    assert_eq!(text, r#"{"indices":[1,3],"values":[1.5,-0.25]}"#);
    assert_eq!(serde_json::from_str::<SparseCode<6>>(&text).unwrap(), code);
    for (bad, reason) in [
        (r#"{"indices":[3,1],"values":[1.5,0.25]}"#, "ascending"),
        (r#"{"indices":[1,6],"values":[1.5,0.25]}"#, "not below"),
        (r#"{"indices":[1,3],"values":[1.5,0.0]}"#, "is zero"),
        (
            r#"{"indices":[1,3],"values":[1.5]}"#,
            "2 indices but 1 values",
        ),
    ] {
        let error = serde_json::from_str::<SparseCode<6>>(bad)
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{error}");
    }
}
