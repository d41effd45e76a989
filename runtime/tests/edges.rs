//! Numbers at the ends of what occurs: every arithmetic stays finite and right, and one sample's
//! code is the same in every batch.
#![cfg(feature = "std")]

mod common;

use common::exact::{Integers, PRECISIONS, dense as levels, ranges_of};
use common::{Random, Reference, Shape, file, random_model};
use sparsecode_formats::{
    AlignedBytes, Contrast, IntegerFile, OwnedDecoder, OwnedModel, WeightType, write_integer_as,
};
use sparsecode_runtime::{
    CodeBuffer as _, GramView, IntegerRefine, Method, ModelView, Refine, SparseCodeBuf,
    WorkspaceBuf,
};

const INPUT: usize = 16;
const CODE: usize = 12;

/// The number of the atom, or of the row of U, that is unusual.
const ODD: usize = 5;

fn shape(lista: Option<u8>) -> Shape {
    Shape {
        input: INPUT,
        code: CODE,
        hidden: 0,
        lista,
    }
}

/// A model whose raw units are the preprocessed ones.
fn plain(lista: Option<u8>, seed: u64) -> OwnedModel {
    let mut model = random_model(shape(lista), seed);
    model.spec.preprocessing.mean = 0.0;
    model.spec.preprocessing.deviation = 1.0;
    model
}

fn with_odd_atom(size: f32, seed: u64) -> OwnedModel {
    let mut model = plain(None, seed);
    if let OwnedDecoder::Linear { dictionary } = &mut model.decoder {
        for weight in dictionary.chunks_mut(INPUT).nth(ODD).unwrap() {
            *weight *= size;
        }
    }
    model
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Direct,
    Gram,
    Descent,
}

const METHODS: [How; 3] = [How::Direct, How::Gram, How::Descent];

/// The code after many iterations.
fn refined(bytes: &AlignedBytes, how: How, input: &[f32], start: &[f32], lambda: f32) -> Vec<f32> {
    let view = ModelView::load(bytes).unwrap();
    let mut workspace = WorkspaceBuf::for_model(view.spec());
    let mut gram = GramView::new(&view).unwrap();
    let mut code = SparseCodeBuf::new(CODE as u16);
    code.from_dense(start);
    let settings = Refine {
        lambda,
        tolerance: 0.0,
        max_iterations: 4000,
        ..Refine::for_model(view.spec())
    };
    let report = match how {
        How::Direct => view.refine(input, &mut code, &settings, &mut workspace, || false),
        How::Gram => gram.refine(input, &mut code, &settings, &mut workspace, || false),
        How::Descent => gram.descend(input, &mut code, &settings, &mut workspace, || false),
    };
    let report = report.unwrap();
    assert!(report.energy.is_finite() && report.residual.is_finite());
    let mut dense = vec![0.0; CODE];
    code.to_dense(&mut dense);
    assert!(dense.iter().all(|z| z.is_finite()), "{how:?}: {dense:?}");
    dense
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

/// Karush, Kuhn and Tucker: the gradient balances λ where the code is active, and cannot overcome
/// it elsewhere.
fn assert_optimal(reference: &Reference, input: &[f32], code: &[f32], lambda: f32, what: &str) {
    let gradient = reference.gradient(input, &wide(code));
    for (k, (z, g)) in code.iter().zip(gradient).enumerate() {
        let excess = g + f64::from(lambda);
        let right = if *z > 0.0 {
            excess.abs() < 1e-5
        } else {
            excess > -1e-5
        };
        assert!(right, "{what}: {excess} at component {k}, which is {z}");
    }
}

fn input(seed: u64) -> Vec<f32> {
    Random(seed).vector(INPUT, 1.0)
}

#[test]
fn around_the_smallest_price_that_buys_nothing() {
    for weights in WeightType::FLOAT {
        let bytes = file(&plain(None, 3), weights);
        let reference = Reference::new(ModelView::load(&bytes).unwrap().file());
        let y = input(4);
        // The gradient at zero is as steep as this for the atom that is bought first.
        let gradient = reference.gradient(&y, &[0.0; CODE]);
        let first = (0..CODE)
            .min_by(|a, b| gradient[*a].total_cmp(&gradient[*b]))
            .unwrap();
        let price = -gradient[first] as f32;
        for how in METHODS {
            for start in [[0.0; CODE], [0.3; CODE]] {
                let what = format!("{weights}, {how:?} from {}", start[0]);
                let above = refined(&bytes, how, &y, &start, price * 1.0001);
                assert_eq!(above, [0.0; CODE], "{what}");
                let below = refined(&bytes, how, &y, &start, price * 0.999);
                let active: Vec<usize> = (0..CODE).filter(|k| below[*k] > 0.0).collect();
                assert_eq!(active, [first], "{what}: {below:?}");
                assert_optimal(&reference, &y, &below, price * 0.999, &what);
            }
        }
    }
}

#[test]
fn sparsity_for_nothing_and_nothing_to_explain() {
    for weights in WeightType::FLOAT {
        let bytes = file(&plain(None, 6), weights);
        let reference = Reference::new(ModelView::load(&bytes).unwrap().file());
        for how in METHODS {
            let what = format!("{weights}, {how:?}");
            let y = input(7);
            let code = refined(&bytes, how, &y, &[0.0; CODE], 0.0);
            assert_optimal(&reference, &y, &code, 0.0, &what);
            assert!(code.iter().any(|z| *z > 0.0), "{what}");
            for start in [0.0, 0.5] {
                let code = refined(&bytes, how, &[0.0; INPUT], &[start; CODE], 0.01);
                assert_eq!(code, [0.0; CODE], "{what} from {start}");
            }
            // No price and nothing to explain: what is left explains nothing.
            let code = refined(&bytes, how, &[0.0; INPUT], &[0.5; CODE], 0.0);
            assert_optimal(&reference, &[0.0; INPUT], &code, 0.0, &what);
        }
    }
}

#[test]
fn atoms_of_nothing_and_of_next_to_nothing() {
    for weights in WeightType::FLOAT {
        for size in [0.0, 1e-30] {
            let bytes = file(&with_odd_atom(size, 8), weights);
            let reference = Reference::new(ModelView::load(&bytes).unwrap().file());
            let y = input(9);
            for how in METHODS {
                for lambda in [0.0, 0.01] {
                    let what = format!("{weights}, {how:?}, atom of {size}, λ = {lambda}");
                    for start in [0.0, 0.5] {
                        let code = refined(&bytes, how, &y, &[start; CODE], lambda);
                        assert_optimal(&reference, &y, &code, lambda, &what);
                        // The atom explains nothing, whatever its component; the gradient is not
                        // quite 0.
                        assert!(code[ODD] <= start + 1e-20, "{what}: {code:?}");
                        assert!(code[ODD] == 0.0 || lambda == 0.0, "{what}: {code:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_pixel_that_no_atom_has() {
    for weights in WeightType::FLOAT {
        let mut model = plain(None, 10);
        if let OwnedDecoder::Linear { dictionary } = &mut model.decoder {
            for atom in dictionary.chunks_mut(INPUT) {
                atom[3] = 0.0;
            }
        }
        let bytes = file(&model, weights);
        let reference = Reference::new(ModelView::load(&bytes).unwrap().file());
        let mut codes = Vec::new();
        for level in [0.0, 1.0, -1e6] {
            let mut y = input(11);
            y[3] = level;
            for how in METHODS {
                let code = refined(&bytes, how, &y, &[0.0; CODE], 0.01);
                assert_optimal(&reference, &y, &code, 0.01, &format!("{weights}, {how:?}"));
                codes.push(code);
            }
        }
        // It changes nothing.
        assert_eq!(codes[..3], codes[3..6]);
        assert_eq!(codes[..3], codes[6..]);
    }
}

/// A patch whose samples are all the same has no contrast to divide by.
#[test]
fn a_constant_patch_comes_back() {
    for contrast in [
        Contrast::None,
        Contrast::RemoveMean,
        Contrast::Standardize { floor: 0.5 },
    ] {
        let mut model = plain(Some(2), 12);
        model.spec.preprocessing.contrast = contrast;
        // No biases: nothing is active for a sample of zeros.
        model.encoder.as_mut().unwrap().bias.fill(0.0);
        let bytes = file(&model, WeightType::I8);
        let view = ModelView::load(&bytes).unwrap();
        let mut workspace = WorkspaceBuf::for_model(view.spec());
        let mut code = SparseCodeBuf::new(CODE as u16);
        let settings = Refine::for_model(view.spec());
        for refine in [None, Some(&settings)] {
            let mut patch = [0.7; INPUT];
            let done = view.denoise(&mut patch, refine, &mut code, &mut workspace, || false);
            done.unwrap();
            assert!(patch.iter().all(|x| x.is_finite()), "{contrast:?}");
            if contrast != Contrast::None {
                assert!(patch.iter().all(|x| (x - 0.7).abs() < 1e-6), "{patch:?}");
            }
        }
        if contrast == Contrast::None {
            continue;
        }
        for (weights, activations) in PRECISIONS {
            let ranges = ranges_of(activations, 30.0);
            let Ok(written) = write_integer_as(&model, &ranges, weights, activations) else {
                // Standardised samples have more than 8 bits.
                continue;
            };
            let bytes = AlignedBytes::from_slice(&written.bytes);
            let mut view = Integers::new(IntegerFile::read(&bytes).unwrap());
            let settings = IntegerRefine::for_model(view.file());
            for refine in [None, Some(&settings)] {
                let mut patch = [60; INPUT];
                view.denoise(&mut patch, refine, || false).unwrap();
                assert_eq!(patch, [60; INPUT], "{contrast:?} {weights} {activations}");
            }
        }
    }
}

/// A row of U that is a millionth of the others, under a bias of 1.
fn with_odd_row(seed: u64) -> OwnedModel {
    let mut model = plain(Some(2), seed);
    let encoder = model.encoder.as_mut().unwrap();
    for weight in encoder.input.chunks_mut(INPUT).nth(ODD).unwrap() {
        *weight *= 1e-6;
    }
    encoder.bias[ODD] = 1.0;
    model
}

#[test]
fn a_row_of_next_to_nothing_keeps_its_bias() {
    let model = with_odd_row(13);
    for weights in WeightType::FLOAT {
        let bytes = file(&model, weights);
        let view = ModelView::load(&bytes).unwrap();
        let reference = Reference::new(view.file());
        let mut workspace = WorkspaceBuf::for_model(view.spec());
        let mut code = SparseCodeBuf::new(CODE as u16);
        for seed in 0..4 {
            let y = input(seed);
            view.encode(&y, &mut code, &mut workspace).unwrap();
            let mut found = vec![0.0; CODE];
            code.to_dense(&mut found);
            common::assert_close(&found, &reference.encode(&y), 2e-5);
        }
    }
    let floats = file(&model, WeightType::F32);
    let reference = Reference::new(ModelView::load(&floats).unwrap().file());
    for (weights, activations) in PRECISIONS {
        let ranges = ranges_of(activations, 5.0);
        let written = write_integer_as(&model, &ranges, weights, activations).unwrap();
        let bytes = AlignedBytes::from_slice(&written.bytes);
        let file = IntegerFile::read(&bytes).unwrap();
        let (input_scale, code_scale) = file.scales().unwrap();
        let mut view = Integers::new(file);
        for seed in 0..4 {
            let mut patch: Vec<i16> = input(seed)
                .iter()
                .map(|y| (y / input_scale).round() as i16)
                .collect();
            let _ = view.preprocess(&mut patch).unwrap();
            view.encode(&patch).unwrap();
            let y: Vec<f32> = patch.iter().map(|x| f32::from(*x) * input_scale).collect();
            let expected = reference.encode(&y);
            let size = common::norm(&expected);
            for (level, z) in levels(&view).iter().zip(&expected) {
                let found = *level as f64 * f64::from(code_scale);
                // 4 bits have steps of a seventh of the largest weight; 8 bits of a code steps of
                // 0.04.
                let bound = match (weights, activations) {
                    (WeightType::I4, _) => 0.15 * (1.0 + size),
                    _ => 0.02 * (1.0 + size) + 2.0 * f64::from(code_scale),
                };
                assert!(
                    (found - z).abs() < bound,
                    "{weights} {activations}: {found} for {z}"
                );
            }
        }
    }
}

#[test]
fn integers_at_the_same_ends() {
    for (weights, activations) in PRECISIONS {
        for (size, seed) in [(1.0, 3), (0.0, 8), (1e-30, 8)] {
            let model = with_odd_atom(size, seed);
            let ranges = ranges_of(activations, 30.0);
            let written = write_integer_as(&model, &ranges, weights, activations).unwrap();
            let bytes = AlignedBytes::from_slice(&written.bytes);
            let mut file = IntegerFile::read(&bytes).unwrap();
            file.prove().unwrap();
            let (input_scale, _) = file.scales().unwrap();
            let mut patch: Vec<i16> = input(4)
                .iter()
                .map(|y| (y / input_scale).round() as i16)
                .collect();
            for method in [Method::CoordinateDescent, Method::Fista] {
                let what = format!("{weights} {activations}, atom of {size}, {method:?}");
                let mut refine = |threshold, patch: &mut [i16], start: i16| {
                    file.refiner.threshold = threshold;
                    let mut view = Integers::new(file);
                    let _ = view.preprocess(patch).unwrap();
                    view.set_code((0..CODE as u16).map(|k| (k, start)));
                    let settings = IntegerRefine {
                        method,
                        tolerance_bits: 31,
                        max_iterations: 4000,
                        ..IntegerRefine::for_model(&file)
                    };
                    view.refine(patch, &settings, || false).unwrap();
                    levels(&view)
                };
                let active = |code: &[i64]| code.iter().filter(|z| **z > 0).count();
                // The smallest threshold that buys nothing: found by halving.
                let (mut bought, mut nothing) = (0, i32::MAX);
                while nothing - bought > 1 {
                    let middle = bought + (nothing - bought) / 2;
                    if active(&refine(middle, &mut patch, 0)) == 0 {
                        nothing = middle;
                    } else {
                        bought = middle;
                    }
                }
                assert_eq!(active(&refine(bought, &mut patch, 0)), 1, "{what}");
                assert_eq!(active(&refine(nothing, &mut patch, 0)), 0, "{what}");
                assert!(active(&refine(bought / 4, &mut patch, 0)) > 1, "{what}");
                // From elsewhere, a code of one level at most is left where the gain is below half
                // a level.
                let left = refine(nothing, &mut patch, 50);
                assert!(left.iter().all(|z| *z <= 1), "{what}: {left:?}");
                // Nothing to explain.
                let code = refine(nothing / 8, &mut [0; INPUT], 50);
                assert!(code.iter().all(|z| *z <= 1), "{what}: {code:?}");
                // Sparsity for nothing: more is active, and an atom of nothing is not.
                let free = refine(0, &mut patch, 0);
                assert!(active(&free) >= 2, "{what}: {free:?}");
                assert!(size == 1.0 || free[ODD] == 0, "{what}: {free:?}");
            }
        }
    }
}

/// The models above, with an encoder.
fn odd_models() -> Vec<OwnedModel> {
    let mut zero_atom = plain(Some(2), 14);
    if let OwnedDecoder::Linear { dictionary } = &mut zero_atom.decoder {
        dictionary[ODD * INPUT..][..INPUT].fill(0.0);
    }
    let mut tiny_atom = zero_atom.clone();
    if let OwnedDecoder::Linear { dictionary } = &mut tiny_atom.decoder {
        dictionary[ODD * INPUT..][..INPUT].fill(1e-30);
    }
    let mut free = plain(None, 15);
    free.spec.lambda = 0.0;
    vec![
        zero_atom,
        tiny_atom,
        with_odd_row(13),
        free,
        plain(Some(0), 16),
    ]
}

/// Samples of every kind in turn: usual, of zeros, constant, with one large value.
fn mixed(count: usize) -> Vec<f32> {
    let sample = |index: usize| match index % 4 {
        0 => input(index as u64),
        1 => vec![0.0; INPUT],
        2 => vec![0.4; INPUT],
        _ => {
            let mut sample = input(index as u64);
            sample[3] = 30.0;
            sample
        }
    };
    (0..count).flat_map(sample).collect()
}

#[test]
fn a_code_is_the_same_alone_and_in_every_batch() {
    let samples = mixed(250);
    for model in odd_models() {
        for weights in WeightType::FLOAT {
            let bytes = file(&model, weights);
            let view = ModelView::load(&bytes).unwrap();
            let settings = Refine::for_model(view.spec());
            let mut code = SparseCodeBuf::new(CODE as u16);
            let mut workspace = WorkspaceBuf::for_model(view.spec());
            let mut codes = |batch: usize| {
                let mut codes = Vec::new();
                for part in samples.chunks(batch * INPUT) {
                    view.encode_batch(part, &mut code, &mut workspace, |index, code, workspace| {
                        let encoded = code.clone();
                        let sample = &part[index * INPUT..][..INPUT];
                        view.refine(sample, code, &settings, workspace, || false)
                            .unwrap();
                        codes.push((encoded, code.clone()));
                    })
                    .unwrap();
                }
                codes
            };
            let alone = codes(1);
            assert_eq!(alone.len(), 250);
            assert!(alone.iter().any(|(encoded, _)| encoded.active() > 0));
            for batch in [2, 7, 250] {
                assert_eq!(codes(batch), alone, "{weights}, batches of {batch}");
            }
        }
        for (weights, activations) in PRECISIONS {
            let ranges = ranges_of(activations, 30.0);
            let written = write_integer_as(&model, &ranges, weights, activations).unwrap();
            let bytes = AlignedBytes::from_slice(&written.bytes);
            let mut view = Integers::new(IntegerFile::read(&bytes).unwrap());
            let settings = IntegerRefine::for_model(view.file());
            let patches: Vec<i16> = samples
                .iter()
                .map(|y| (y / ranges.input_scale).round() as i16)
                .map(|level| level.clamp(ranges.input_min, ranges.input_max))
                .collect();
            let mut alone = Vec::new();
            for patch in patches.chunks(INPUT) {
                view.encode(patch).unwrap();
                let encoded = levels(&view);
                view.refine(patch, &settings, || false).unwrap();
                alone.push((encoded, levels(&view)));
            }
            for batch in [1, 2, 7, 250] {
                let mut codes = Vec::new();
                for part in patches.chunks(batch * INPUT) {
                    view.encode_batch(part, |index, view| {
                        let encoded = levels(view);
                        let patch = &part[index * INPUT..][..INPUT];
                        view.refine(patch, &settings, || false).unwrap();
                        codes.push((encoded, levels(view)));
                    })
                    .unwrap();
                }
                assert_eq!(codes, alone, "{weights} {activations}, batches of {batch}");
            }
        }
    }
}
