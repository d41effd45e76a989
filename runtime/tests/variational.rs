//! Variational models in `f32` against the formulas of the model file in `f64`.
#![cfg(feature = "std")]

mod common;

use common::variational::{affine, features, product, wide};
use common::{Random, assert_close, file};
use proptest::prelude::*;
use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, Decoder, ModelFile, OwnedModel, WeightType,
    example_variational, write_integer_as,
};
use sparsecode_runtime::{
    CodeBuffer as _, GramView, IntegerCodeBuf, IntegerCodeBuffer as _, IntegerView,
    IntegerWorkspaceBuf, Model, ModelView, Refine, SparseCode, SparseCodeBuf, Workspace,
    WorkspaceBuf, ram_bytes,
};

/// The shift of each component, and what decides whether the component is selected.
fn shift(file: &ModelFile<'_>, input: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let encoder = file.variational.unwrap();
    let (features, shift) = features(file, input);
    let decides = match &encoder.scale {
        Some(scale) => affine(scale, &features),
        None => shift.iter().map(|x| x.abs()).collect(),
    };
    (shift, decides)
}

/// Holds a code to the formulas. Returns how many components it has.
fn check(file: &ModelFile<'_>, input: &[f32], code: &SparseCodeBuf) -> usize {
    let encoder = file.variational.unwrap();
    let (shift, decides) = shift(file, &wide(input));
    let mut found = vec![0.0; shift.len()];
    code.to_dense(&mut found);
    let size = decides.iter().fold(1.0_f64, |size, x| size.max(x.abs()));
    let mut expected = Vec::new();
    for (k, (shift, decides)) in shift.iter().zip(decides).enumerate() {
        let threshold = f64::from(encoder.thresholds[k]);
        // Either way where rounding decides.
        let is_selected = match (decides - threshold).abs() < 1e-5 * size {
            true => found[k] != 0.0,
            false => decides > threshold,
        };
        let gain = if is_selected { encoder.gain } else { 0.0 };
        expected.push(f64::from(gain) * shift);
    }
    assert_close(&found, &expected, 1e-5);
    code.active()
}

fn encoded(view: &ModelView<'_>, input: &[f32]) -> SparseCodeBuf {
    let mut code = SparseCodeBuf::new(view.spec().code_dim);
    let mut workspace = WorkspaceBuf::for_model(view.spec());
    view.encode(input, &mut code, &mut workspace).unwrap();
    code
}

fn with_means(mut model: OwnedModel) -> OwnedModel {
    let d = model.spec.input_shape.input_dim();
    let means = (0..d).map(|i| 0.5 - 0.125 * (i % 7) as f32).collect();
    model.variational.as_mut().unwrap().input_mean = Some(means);
    model.spec.preprocessing.deviation = 2.0;
    model
}

const TRUNKS: [&[u16]; 5] = [&[], &[31], &[40, 9], &[7, 32, 24], &[16, 5, 33, 8]];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn codes_are_those_of_the_formulas(
        trunk in 0..TRUNKS.len(),
        by_scale: bool,
        weights in prop::sample::select(&WeightType::FLOAT[..]),
        (input_dim, code_dim) in prop_oneof![Just((24_u16, 17_u16)), Just((33, 40)), Just((1, 1)), Just((64, 64))],
        seed: u64,
    ) {
        let model = example_variational(input_dim, code_dim, TRUNKS[trunk], by_scale);
        let bytes = file(&model, weights);
        let view = ModelView::load(&bytes).unwrap();
        let mut random = Random(seed);
        for _ in 0..4 {
            let input = random.vector(input_dim.into(), 1.0);
            check(view.file(), &input, &encoded(&view, &input));
        }
    }
}

#[test]
fn a_fifth_of_the_components_is_active_and_has_both_signs() {
    for trunk in TRUNKS {
        for by_scale in [false, true] {
            let bytes = file(
                &example_variational(64, 64, trunk, by_scale),
                WeightType::I8,
            );
            let view = ModelView::load(&bytes).unwrap();
            let mut random = Random(5);
            let (mut active, mut negative) = (0, 0);
            for _ in 0..50 {
                let code = encoded(&view, &random.vector(64, 1.0));
                active += code.active();
                negative += code.values().iter().filter(|z| **z < 0.0).count();
            }
            // Of LISTA's shift some components are 0, whatever a scale head says.
            assert!(
                (200..1000).contains(&active),
                "{trunk:?} {by_scale}: {active}"
            );
            assert!(
                (active / 8..active * 7 / 8).contains(&negative),
                "{negative}"
            );
        }
    }
}

/// Of a size that the compiler knows, of one that the file says, and many at once: the same bits.
#[test]
fn every_way_to_encode_gives_the_same_code() {
    fn each<const HIDDEN: usize>(bytes: &AlignedBytes) {
        let model = Model::<64, 64, HIDDEN>::load(bytes).unwrap();
        let view = model.view();
        let mut random = Random(9);
        let inputs = random.vector(64 * 5, 1.0);
        let mut batch = Vec::new();
        let mut workspace = WorkspaceBuf::for_model(view.spec());
        let code = &mut SparseCodeBuf::new(64);
        view.encode_batch(&inputs, code, &mut workspace, |_, code, _| {
            batch.push(code.clone());
        })
        .unwrap();
        for (input, batched) in inputs.as_chunks().0.iter().zip(&batch) {
            let mut code = SparseCode::<64>::new();
            model.encode(input, &mut code, &mut Workspace::new());
            assert!(code.active() > 0);
            assert!(code.iter().eq(batched.iter()));
            assert!(code.iter().eq(encoded(&view, input).iter()));
        }
    }
    each::<0>(&file(
        &example_variational(64, 64, &[], true),
        WeightType::I8,
    ));
    each::<128>(&file(
        &example_variational(64, 64, &[128], true),
        WeightType::I8,
    ));
    each::<160>(&file(
        &example_variational(64, 64, &[96, 64, 32], false),
        WeightType::F32,
    ));
}

#[test]
fn the_workspace_has_room_for_two_layers() {
    let bytes = file(
        &example_variational(64, 64, &[128, 32, 100], true),
        WeightType::I8,
    );
    let file = ModelFile::read(&bytes).unwrap();
    assert_eq!(file.spec.hidden_units(), 160);
    let error = Model::<64, 64>::load(&bytes).unwrap_err().to_string();
    assert!(
        error.contains("hidden_dim") && error.contains("160"),
        "{error}"
    );
    let expected = ram_bytes(64, 64, 160);
    let found = 4 * 64 + SparseCode::<64>::BYTES + Workspace::<64, 64, 160>::BYTES;
    assert_eq!(found, expected);
    let view = ModelView::load(&bytes).unwrap();
    let mut narrow = WorkspaceBuf::new(64, 64, 159);
    let mut code = SparseCodeBuf::new(64);
    let error = view.encode(&[0.0; 64], &mut code, &mut narrow).unwrap_err();
    assert_eq!((error.expected, error.found), (160, 159));
}

#[test]
fn means_are_taken_off_and_given_back_number_by_number() {
    let model = with_means(example_variational(24, 17, &[31], false));
    let means = model
        .variational
        .as_ref()
        .unwrap()
        .input_mean
        .clone()
        .unwrap();
    let bytes = file(&model, WeightType::F32);
    let view = ModelView::load(&bytes).unwrap();
    let raw = Random(3).vector(24, 2.0);
    let mut patch = raw.clone();
    let normalisation = view.preprocess(&mut patch).unwrap();
    for ((found, raw), mean) in patch.iter().zip(&raw).zip(&means) {
        assert_eq!(*found, (raw - mean) / 2.0);
    }
    let input = patch.clone();
    view.restore(&mut patch, normalisation).unwrap();
    for (found, raw) in patch.iter().zip(&raw) {
        assert!((found - raw).abs() < 1e-6, "{found} {raw}");
    }
    // In one call: decoded, and the means on top.
    let mut code = SparseCodeBuf::new(17);
    let mut workspace = WorkspaceBuf::for_model(view.spec());
    let mut clean = raw.clone();
    view.denoise(&mut clean, None, &mut code, &mut workspace, || false)
        .unwrap();
    assert!(check(view.file(), &input, &code) > 0);
    let Decoder::Linear { dictionary } = view.file().decoder else {
        panic!("linear")
    };
    let mut dense = vec![0.0; 17];
    code.to_dense(&mut dense);
    let decoded = product(&dictionary, &wide(&dense), true);
    let pairs = decoded.iter().zip(&means);
    let expected: Vec<f64> = pairs.map(|(y, mean)| 2.0 * y + f64::from(*mean)).collect();
    assert_close(&clean, &expected, 1e-6);
}

/// Refinement starts at the code of the encoder, and lowers the energy whichever way is taken.
#[test]
fn codes_are_refined() {
    for trunk in [TRUNKS[0], TRUNKS[2]] {
        let bytes = file(&example_variational(40, 24, trunk, true), WeightType::I16);
        let view = ModelView::load(&bytes).unwrap();
        let input = Random(8).vector(40, 1.0);
        let start = encoded(&view, &input);
        let mut workspace = WorkspaceBuf::for_model(view.spec());
        let workspace = &mut workspace;
        let settings = Refine {
            max_iterations: 3000,
            tolerance: 0.0,
            ..Refine::for_model(view.spec())
        };
        let measured = Refine {
            max_iterations: 0,
            ..settings
        };
        let energy = |code: &SparseCodeBuf, workspace: &mut WorkspaceBuf| {
            let mut code = code.clone();
            let found = view.refine(&input, &mut code, &measured, workspace, || false);
            found.unwrap().energy
        };
        let before = energy(&start, workspace);
        let mut gram = GramView::new(&view).unwrap();
        let mut ends = Vec::new();
        for way in 0..3 {
            let mut code = start.clone();
            let done = match way {
                0 => view.refine(&input, &mut code, &settings, workspace, || false),
                1 => gram.refine(&input, &mut code, &settings, workspace, || false),
                _ => gram.descend(&input, &mut code, &settings, workspace, || false),
            };
            done.unwrap();
            ends.push(energy(&code, workspace));
        }
        for end in &ends {
            assert!(*end < 0.9 * before, "{before} {ends:?}");
            assert!((end - ends[0]).abs() < 1e-4 * before, "{ends:?}");
        }
    }
}

/// A sample that is no number selects nothing.
#[test]
fn nan_enters_no_code() {
    for trunk in TRUNKS {
        for by_scale in [false, true] {
            let bytes = file(
                &example_variational(24, 17, trunk, by_scale),
                WeightType::F32,
            );
            let view = ModelView::load(&bytes).unwrap();
            let code = encoded(&view, &[f32::NAN; 24]);
            assert!(code.values().iter().all(|z| z.is_finite()), "{trunk:?}");
        }
    }
}

/// The arithmetic of `docs/model-file.md`, in 64 bits and without a kernel.
mod exact {
    use sparsecode_formats::{
        IntegerFile, IntegerLayer, IntegerVariationalBody, Rescales, WeightBlocks,
    };

    fn rescale(sum: i64, by: &Rescales<'_>, k: usize) -> i64 {
        let product = i128::from(sum) * i128::from(by.multipliers[k]);
        let rounded = (product + (1 << (by.shift - 1))) >> by.shift;
        let cut = rounded.clamp(-(1 << 29), 1 << 29);
        // What was proved.
        assert_eq!(cut, rounded);
        i64::try_from(cut).unwrap()
    }

    fn level(drive: i64, fraction: u8) -> i64 {
        ((drive + (1 << fraction) / 2) >> fraction).clamp(0, 32767)
    }

    fn signed(drive: i64, fraction: u8) -> i64 {
        level(drive.abs(), fraction) * drive.signum()
    }

    fn drives(weights: &WeightBlocks<'_>, by: &Rescales<'_>, bias: &[i32], x: &[i64]) -> Vec<i64> {
        let sum = |k: usize| -> i64 {
            let terms = x.iter().enumerate();
            terms
                .map(|(i, x)| i64::from(weights.get(k, i).unwrap()) * x)
                .sum()
        };
        (0..weights.rows())
            .map(|k| {
                let sum = sum(k);
                assert!(i32::try_from(sum).is_ok(), "what was proved");
                rescale(sum, by, k) + i64::from(bias[k])
            })
            .collect()
    }

    fn of(layer: &IntegerLayer<'_>, x: &[i64]) -> Vec<i64> {
        drives(&layer.weights, &layer.rescale, layer.bias, x)
    }

    /// The code of levels after the contrast.
    pub(crate) fn encode(file: &IntegerFile<'_>, levels: &[i16]) -> Vec<i64> {
        let encoder = file.variational.unwrap();
        let levels: Vec<i64> = levels.iter().copied().map(i64::from).collect();
        let (features, shift, fraction) = match encoder.body {
            IntegerVariationalBody::Dense {
                trunk,
                shift,
                drive_fraction,
            } => {
                let mut x = levels;
                for layer in trunk.iter().flatten() {
                    let drives = of(layer, &x);
                    x = drives.iter().map(|u| level(*u, drive_fraction)).collect();
                }
                let shift = of(&shift, &x);
                (x, shift, drive_fraction)
            }
            IntegerVariationalBody::Lista {
                encoder: lista,
                shrinkage,
            } => {
                let fraction = lista.drive_fraction;
                let shrink = |v: &[i64]| -> Vec<i64> {
                    v.iter()
                        .zip(shrinkage)
                        .map(|(v, t)| level(v.abs() - i64::from(*t), fraction) * v.signum())
                        .collect()
                };
                let u = drives(&lista.input, &lista.input_rescale, lista.bias, &levels);
                let mut z = shrink(&u);
                for _ in 0..lista.iterations {
                    let next: Vec<i64> = (0..z.len())
                        .map(|j| {
                            let weight = |k: usize| i64::from(lista.recurrent.get(k, j).unwrap());
                            let sum: i64 = z.iter().enumerate().map(|(k, z)| weight(k) * z).sum();
                            assert!(i32::try_from(sum).is_ok(), "what was proved");
                            u[j] + rescale(sum, &lista.recurrent_rescale, j)
                        })
                        .collect();
                    z = shrink(&next);
                }
                (z.iter().map(|z| z.abs()).collect(), z, 0)
            }
        };
        let decides = match &encoder.scale {
            Some(scale) => of(scale, &features),
            None => shift.iter().map(|shift| shift.abs()).collect(),
        };
        let pairs = shift.iter().zip(decides).zip(encoder.thresholds);
        pairs
            .map(
                |((shift, decides), threshold)| match decides > i64::from(*threshold) {
                    true => signed(*shift, fraction),
                    false => 0,
                },
            )
            .collect()
    }
}

/// Samples of ±1 in levels of 1/1000.
const RANGES: ActivationRanges = ActivationRanges {
    input_scale: 0.001,
    input_min: -1500,
    input_max: 1500,
    code_max: 8.0,
};

fn integers(model: &OwnedModel, weights: WeightType) -> AlignedBytes {
    let written = write_integer_as(model, &RANGES, weights, Activations::I16).unwrap();
    AlignedBytes::from_slice(&written.bytes)
}

fn integer_code(view: &IntegerView<'_>, levels: &[i16]) -> Vec<i64> {
    let mut code = IntegerCodeBuf::new(view.spec().code_dim);
    let mut workspace = IntegerWorkspaceBuf::for_model(view.spec());
    view.encode(levels, &mut code, &mut workspace).unwrap();
    let mut dense = vec![0; view.spec().code_dim()];
    code.to_dense(&mut dense);
    dense.into_iter().map(i64::from).collect()
}

fn sample(random: &mut Random, length: usize) -> Vec<i16> {
    let levels = random.vector(length, 1000.0);
    levels.into_iter().map(|x| x as i16).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn integers_are_those_of_the_formulas(
        trunk in 0..TRUNKS.len(),
        by_scale: bool,
        weights in prop::sample::select(&[WeightType::I8, WeightType::I4][..]),
        (input_dim, code_dim) in prop_oneof![Just((24_u16, 17_u16)), Just((33, 40)), Just((1, 1)), Just((64, 64))],
        has_means: bool,
        code_max in prop_oneof![Just(8.0_f32), Just(0.5)],
        seed: u64,
    ) {
        let mut model = example_variational(input_dim, code_dim, TRUNKS[trunk], by_scale);
        if has_means {
            model = with_means(model);
        }
        let ranges = ActivationRanges { code_max, ..RANGES };
        let written = write_integer_as(&model, &ranges, weights, Activations::I16).unwrap();
        let bytes = AlignedBytes::from_slice(&written.bytes);
        let view = IntegerView::load(&bytes).unwrap();
        view.file().prove().unwrap();
        let mut random = Random(seed);
        for _ in 0..4 {
            let mut levels = sample(&mut random, input_dim.into());
            let _ = view.preprocess(&mut levels).unwrap();
            prop_assert_eq!(integer_code(&view, &levels), exact::encode(view.file(), &levels));
        }
        // The largest levels that there are.
        let largest: Vec<i16> = (0..input_dim).map(|i| if i % 3 == 0 { -1500 } else { 1500 }).collect();
        prop_assert_eq!(integer_code(&view, &largest), exact::encode(view.file(), &largest));
    }
}

/// Signal to noise of reconstructions in integers beside those in `f32`, in dB.
fn agreement(trunk: &[u16], by_scale: bool, weights: WeightType, against: WeightType) -> f64 {
    let model = with_means(example_variational(64, 64, trunk, by_scale));
    let (bytes, floats) = (integers(&model, weights), file(&model, against));
    let view = IntegerView::load(&bytes).unwrap();
    let floats = ModelView::load(&floats).unwrap();
    let mut workspace = IntegerWorkspaceBuf::for_model(view.spec());
    let mut code = IntegerCodeBuf::new(64);
    let mut float_workspace = WorkspaceBuf::for_model(floats.spec());
    let mut float_code = SparseCodeBuf::new(64);
    let mut random = Random(12);
    let (mut signal, mut noise) = (0.0, 0.0);
    for _ in 0..60 {
        let levels = sample(&mut random, 64);
        let mut clean = levels.clone();
        view.denoise(&mut clean, None, &mut code, &mut workspace, || false)
            .unwrap();
        let mut exact: Vec<f32> = levels.iter().map(|x| f32::from(*x) / 1000.0).collect();
        floats
            .denoise(
                &mut exact,
                None,
                &mut float_code,
                &mut float_workspace,
                || false,
            )
            .unwrap();
        for (found, expected) in clean.iter().zip(&exact) {
            let error = f64::from(*found) / 1000.0 - f64::from(*expected);
            signal += f64::from(*expected).powi(2);
            noise += error * error;
        }
    }
    10.0 * (signal / noise).log10()
}

#[test]
fn integers_are_close_to_floats() {
    for trunk in TRUNKS {
        for by_scale in [false, true] {
            let same = agreement(trunk, by_scale, WeightType::I8, WeightType::I8);
            let exact = agreement(trunk, by_scale, WeightType::I8, WeightType::F32);
            assert!(same > 38.0, "{trunk:?} {by_scale}: {same} dB");
            assert!(exact > 20.0, "{trunk:?} {by_scale}: {exact} dB");
        }
    }
}
