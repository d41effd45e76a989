//! Models whose codes are signed: every way to refine arrives where the energy is the lowest, and
//! models whose codes are not signed are as they were.
#![cfg(feature = "std")]

mod common;

use common::exact::{Integers, RANGES, ranges_of, trained_like};
use common::{Random, Reference, Shape, assert_close, file, random_model};
use proptest::prelude::*;
use sparsecode_formats::{
    Activations, AlignedBytes, CodeSign, IntegerFile, ModelFile, OwnedDecoder, OwnedModel,
    WeightType, write_integer, write_integer_as,
};
use sparsecode_runtime::stream::SignalStream;
use sparsecode_runtime::{
    CodeBuffer, GramView, IntegerRefine, Method, Model, ModelView, Refine, Refinement, SparseCode,
    SparseCodeBuf, Start, Workspace, WorkspaceBuf,
};

const LINEAR: Shape = Shape {
    input: 24,
    code: 16,
    hidden: 0,
    lista: None,
};

fn signed(shape: Shape, seed: u64) -> OwnedModel {
    let mut model = random_model(shape, seed);
    model.spec.codes = CodeSign::Signed;
    model
}

fn wide(code: &impl CodeBuffer) -> Vec<f64> {
    let mut dense = vec![0.0; code.capacity()];
    code.to_dense(&mut dense);
    dense.into_iter().map(f64::from).collect()
}

/// Ways to refine in `f32`.
#[derive(Clone, Copy, Debug)]
enum Way {
    Direct,
    Gram,
    Descent,
}

const WAYS: [Way; 3] = [Way::Direct, Way::Gram, Way::Descent];

fn refine(
    way: Way,
    view: &ModelView<'_>,
    input: &[f32],
    code: &mut SparseCodeBuf,
    settings: &Refine,
) -> Refinement {
    let mut workspace = WorkspaceBuf::for_model(view.spec());
    let workspace = &mut workspace;
    let gram = || GramView::new(view).unwrap();
    let refinement = match way {
        Way::Direct => view.refine(input, code, settings, workspace, || false),
        Way::Gram => gram().refine(input, code, settings, workspace, || false),
        Way::Descent => gram().descend(input, code, settings, workspace, || false),
    };
    refinement.unwrap()
}

fn settled(view: &ModelView<'_>, start: Start) -> Refine {
    Refine {
        max_iterations: 20_000,
        tolerance: 0.0,
        start,
        ..Refine::for_model(view.spec())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_way_arrives_at_the_lowest_energy(
        seed: u64,
        input_dim in 4..30_usize,
        code_dim in 1..40_usize,
        lambda in prop_oneof![Just(0.0_f32), 1e-3..0.05_f32],
        from_code: bool,
    ) {
        // Half as many atoms: a square matrix of random numbers is nearly singular now and then.
        let shape = Shape { input: input_dim, code: code_dim.min(input_dim / 2), ..LINEAR };
        let mut model = signed(shape, seed);
        model.spec.lambda = lambda;
        let bytes = file(&model, WeightType::F32);
        let view = ModelView::load(&bytes).unwrap();
        let reference = Reference::new(view.file());
        let mut random = Random(seed ^ 1);
        let input = random.vector(shape.input, 2.0);
        let begin = random.vector(shape.code, 1.0);
        let start = if from_code { Start::Code } else { Start::Zero };
        let mut lowest = f64::INFINITY;
        let mut found = Vec::new();
        for way in WAYS {
            let mut code = SparseCodeBuf::new(shape.code as u16);
            code.from_dense(&begin);
            let settings = Refine { max_iterations: 4000, ..settled(&view, start) };
            let made = refine(way, &view, &input, &mut code, &settings);
            let code = wide(&code);
            let energy = reference.energy(&input, &code, lambda);
            prop_assert!((energy - f64::from(made.energy)).abs() <= 1e-4 * (1.0 + energy));
            lowest = lowest.min(energy);
            found.push((way, energy, reference.violation(&input, &code, lambda)));
        }
        for (way, energy, violation) in found {
            prop_assert!(energy <= lowest + 1e-4 * (1.0 + lowest), "{way:?}: {energy}, {lowest}");
            // The gradient's size is that of the input's, about 1.
            prop_assert!(violation <= 2e-3, "{way:?}: {violation}");
        }
    }

    /// Nothing prefers one sign.
    #[test]
    fn the_opposite_of_a_sample_has_the_opposite_code(
        seed: u64,
        iterations in 0..60_u32,
        way in prop::sample::select(&WAYS[..]),
        weights in prop::sample::select(&WeightType::FLOAT[..]),
    ) {
        let bytes = file(&signed(LINEAR, seed), weights);
        let view = ModelView::load(&bytes).unwrap();
        let input = Random(seed ^ 2).vector(24, 2.0);
        let opposite: Vec<f32> = input.iter().map(|x| -x).collect();
        let settings = Refine { max_iterations: iterations, ..settled(&view, Start::Zero) };
        let code_of = |input: &[f32]| {
            let mut code = SparseCodeBuf::new(16);
            let _ = refine(way, &view, input, &mut code, &settings);
            code
        };
        let (one, other) = (code_of(&input), code_of(&opposite));
        prop_assert!(one.iter().map(|(k, z)| (k, -z)).eq(other.iter()));
        prop_assert!(iterations == 0 || one.active() > 0);
    }

    /// A signed code is the difference of two that are not negative, of the atoms and of their
    /// opposites.
    #[test]
    fn atoms_and_their_opposites_do_the_same(seed: u64) {
        let model = signed(LINEAR, seed);
        let mut both = model.clone();
        both.spec.codes = CodeSign::NonNegative;
        both.spec.code_dim = 32;
        let OwnedDecoder::Linear { dictionary } = &mut both.decoder else { unreachable!() };
        let opposites: Vec<f32> = dictionary.iter().map(|w| -w).collect();
        dictionary.extend(opposites);
        let input = Random(seed ^ 3).vector(24, 2.0);
        let energy = |model: &OwnedModel| {
            let bytes = file(model, WeightType::F32);
            let view = ModelView::load(&bytes).unwrap();
            let mut code = SparseCodeBuf::new(model.spec.code_dim);
            refine(Way::Descent, &view, &input, &mut code, &settled(&view, Start::Zero)).energy
        };
        let (one, two) = (energy(&model), energy(&both));
        prop_assert!((one - two).abs() <= 1e-4 * (1.0 + one), "{one} {two}");
    }

    /// A model without signed codes starts at 0 in place of what is negative, in both arithmetics.
    #[test]
    fn negative_components_of_a_start_are_zeros(seed: u64, iterations in 0..5_u32) {
        let model = random_model(LINEAR, seed);
        let bytes = file(&model, WeightType::I8);
        let view = ModelView::load(&bytes).unwrap();
        let mut random = Random(seed ^ 4);
        let (input, start) = (random.vector(24, 2.0), random.vector(16, 1.0));
        let positive: Vec<f32> = start.iter().map(|z| z.max(0.0)).collect();
        for way in WAYS {
            let settings = Refine { max_iterations: iterations, ..settled(&view, Start::Code) };
            let refined = |start: &[f32]| {
                let mut code = SparseCodeBuf::new(16);
                code.from_dense(start);
                let made = refine(way, &view, &input, &mut code, &settings);
                (code, made)
            };
            let (code, made) = refined(&start);
            prop_assert_eq!(code.check(CodeSign::NonNegative), Ok(()));
            prop_assert_eq!((code, made), refined(&positive));
        }

        let bytes = AlignedBytes::from_slice(&write_integer(&model, &RANGES).unwrap().bytes);
        let mut view = Integers::new(IntegerFile::read(&bytes).unwrap());
        let patch: Vec<i16> = input.iter().map(|x| (700.0 * x) as i16).collect();
        let components = |start: &[f32]| -> Vec<(u16, i16)> {
            let level = |(k, z): (usize, &f32)| (k as u16, (9000.0 * z) as i16);
            start.iter().enumerate().map(level).collect()
        };
        for method in [Method::Fista, Method::CoordinateDescent] {
            let settings = IntegerRefine {
                method,
                max_iterations: iterations,
                ..IntegerRefine::for_model(view.file())
            };
            let mut refined = |start: Vec<(u16, i16)>| {
                view.set_code(start.into_iter());
                view.refine(&patch, &settings, || false).unwrap();
                view.code().collect::<Vec<_>>()
            };
            let code = refined(components(&start));
            prop_assert!(code.iter().all(|(_, level)| *level > 0));
            prop_assert_eq!(code, refined(components(&positive)));
        }
    }

    /// In integers, as near to the lowest energy as levels allow: no component's subgradient is
    /// worth another level.
    #[test]
    fn integers_arrive_as_well(seed: u64, input_dim in 8..40_usize, code_dim in 1..24_usize) {
        let shape = Shape { input: input_dim, code: code_dim.min(input_dim), ..LINEAR };
        let mut model = trained_like(shape, seed);
        model.spec.codes = CodeSign::Signed;
        let bytes = AlignedBytes::from_slice(&write_integer(&model, &RANGES).unwrap().bytes);
        let file = IntegerFile::read(&bytes).unwrap();
        let units = file.units().unwrap();
        let problem = Problem::new(&file);
        let mut view = Integers::new(file);
        let mut random = Random(seed ^ 5);
        let mut patch: Vec<i16> = (0..input_dim).map(|_| (1500.0 * random.next()) as i16).collect();
        let _ = view.preprocess(&mut patch).unwrap();
        let correlation = problem.correlation(&file, &patch);
        for method in [Method::Fista, Method::CoordinateDescent] {
            let settings = IntegerRefine {
                method,
                max_iterations: 5000,
                tolerance_bits: 31,
                from_zero: true,
                ..IntegerRefine::for_model(&file)
            };
            view.refine(&patch, &settings, || false).unwrap();
            let mut code = vec![0.0; shape.code];
            for (k, level) in view.code() {
                code[usize::from(k)] = f64::from(level);
            }
            // No eigenvalue of `Ĝ` exceeds 1, so that a step moves a component by its violation at
            // most. What a step cannot round to another level, stays; that is half a level, and a
            // little more where momentum goes around.
            let most = match method {
                Method::Fista => 1.25,
                Method::CoordinateDescent => 0.51,
            };
            let violation = problem.violation(&correlation, &code);
            prop_assert!(violation <= most, "{method:?}: {violation} levels, {units:?}");
        }
    }
}

/// `½ zᵀĜz − ĉᵀz + θ‖z‖₁` in levels, in `f64`.
struct Problem {
    gram: Vec<Vec<f64>>,
    threshold: f64,
    point: f64,
}

impl Problem {
    fn new(file: &IntegerFile<'_>) -> Self {
        let refiner = &file.refiner;
        let unit = 2_f64.powi(refiner.gram_fraction.into());
        let codes = file.spec.code_dim();
        let entry = |j, k| f64::from(refiner.gram.get(j, k).unwrap()) / unit;
        let point = 2_f64.powi(refiner.point_fraction.into());
        Self {
            gram: (0..codes)
                .map(|j| (0..codes).map(|k| entry(j, k)).collect())
                .collect(),
            threshold: f64::from(refiner.threshold) / point,
            point,
        }
    }

    fn correlation(&self, file: &IntegerFile<'_>, patch: &[i16]) -> Vec<f64> {
        let by = &file.refiner.correlation;
        let of = |k: usize| {
            let sum: i64 = (0..patch.len())
                .map(|i| {
                    let weight = file.decoder.dictionary.get(k, i).unwrap();
                    i64::from(weight) * i64::from(patch[i])
                })
                .sum();
            let scaled = sum as f64 * f64::from(by.multipliers[k]) / 2_f64.powi(by.shift.into());
            (scaled + f64::from(file.refiner.bias[k])) / self.point
        };
        (0..self.gram.len()).map(of).collect()
    }

    /// The largest entry of the energy's smallest subgradient at `z`, in levels. A component at
    /// the end of its range may press outwards.
    fn violation(&self, correlation: &[f64], z: &[f64]) -> f64 {
        let product = |row: &[f64]| -> f64 { row.iter().zip(z).map(|(g, z)| g * z).sum() };
        let of = |((row, c), &z): ((&Vec<f64>, &f64), &f64)| {
            let gradient = product(row) - c;
            match z {
                0.0 => gradient.abs() - self.threshold,
                _ if z.abs() == 32767.0 => z.signum() * gradient + self.threshold,
                _ => (gradient + self.threshold * z.signum()).abs(),
            }
        };
        let terms = self.gram.iter().zip(correlation).zip(z);
        terms.map(of).fold(0.0, f64::max)
    }
}

/// Iteration by iteration, beside the textbook's FISTA in `f64`; with a hidden layer, too.
#[test]
fn iterates_are_those_of_the_reference() {
    for (hidden, seed) in [(0, 1), (0, 2), (12, 3)] {
        let shape = Shape { hidden, ..LINEAR };
        for weights in WeightType::FLOAT {
            let bytes = file(&signed(shape, seed), weights);
            let view = ModelView::load(&bytes).unwrap();
            let reference = Reference::new(&ModelFile::read(&bytes).unwrap());
            let mut random = Random(seed ^ 9);
            let (input, start) = (random.vector(24, 2.0), random.vector(16, 1.0));
            let begin: Vec<f64> = start.iter().map(|z| f64::from(*z)).collect();
            let mut negative = 0;
            for iterations in [1, 2, 10, 30] {
                let settings = Refine {
                    max_iterations: iterations,
                    ..settled(&view, Start::Code)
                };
                let mut code = SparseCodeBuf::new(16);
                code.from_dense(&start);
                let _ = refine(Way::Direct, &view, &input, &mut code, &settings);
                let (lambda, step) = (settings.lambda, settings.step_size);
                let end = reference.fista(&input, &begin, lambda, step, iterations);
                let expected = reference.better(&input, &begin, end, lambda);
                negative += expected.iter().filter(|z| **z < 0.0).count();
                let mut dense = [0.0; 16];
                code.to_dense(&mut dense);
                assert_close(&dense, &expected, 1e-4);
            }
            assert!(negative > 0);
        }
    }
}

/// A component that goes from one end of its levels to the other, which is more than a kernel's
/// factor holds.
#[test]
fn levels_go_from_one_end_to_the_other() {
    let shape = Shape {
        input: 4,
        code: 2,
        ..LINEAR
    };
    let mut model = trained_like(shape, 5);
    model.spec.codes = CodeSign::Signed;
    let ranges = sparsecode_formats::ActivationRanges {
        code_max: 0.01,
        ..RANGES
    };
    let bytes = AlignedBytes::from_slice(&write_integer(&model, &ranges).unwrap().bytes);
    let file = IntegerFile::read(&bytes).unwrap();
    let exact = common::exact::Exact(file);
    let mut view = Integers::new(file);
    let patch = [1500, -1200, 900, 1300];
    for method in [Method::Fista, Method::CoordinateDescent] {
        for iterations in 1..6 {
            let settings = IntegerRefine {
                method,
                max_iterations: iterations,
                tolerance_bits: 31,
                ..IntegerRefine::for_model(&file)
            };
            for start in [
                [32767, 32767],
                [-32767, -32767],
                [32767, -32767],
                [-32767, 32767],
            ] {
                view.set_code((0..).zip(start));
                let made = view.refine(&patch, &settings, || false).unwrap();
                let start = start.map(i64::from);
                let end = match method {
                    Method::Fista => exact.refine(&patch, &start, made.iterations),
                    Method::CoordinateDescent => exact.descend(&patch, &start, made.iterations),
                };
                let expected = exact.better(&patch, &start, end);
                assert_eq!(
                    common::exact::dense(&view),
                    expected,
                    "{method:?} {start:?}"
                );
                assert!(expected.iter().any(|z| z.abs() == 32767), "{expected:?}");
            }
        }
    }
}

/// A model of 8-bit activations takes larger levels of either sign for its largest.
#[test]
fn levels_beyond_eight_bits_are_cut_when_they_are_decoded() {
    let mut model = trained_like(LINEAR, 3);
    model.spec.codes = CodeSign::Signed;
    let ranges = ranges_of(Activations::I8, 30.0);
    let (weights, activations) = (WeightType::I8, Activations::I8);
    let written = write_integer_as(&model, &ranges, weights, activations).unwrap();
    let bytes = AlignedBytes::from_slice(&written.bytes);
    let mut view = Integers::new(IntegerFile::read(&bytes).unwrap());
    let mut decoded = |level: i16| {
        view.set_code([(3, level), (7, 20)].into_iter());
        let mut patch = vec![0; 24];
        view.decode(&mut patch).unwrap();
        patch
    };
    assert_eq!(decoded(-500), decoded(-127));
    assert_eq!(decoded(500), decoded(127));
    assert_ne!(decoded(-126), decoded(-127));
}

/// Streams of numbers in `f32`.
#[test]
fn a_stream_of_the_opposite_is_the_opposite() {
    let shape = Shape {
        input: 8,
        code: 8,
        ..LINEAR
    };
    let mut model = signed(shape, 11);
    model.spec.preprocessing.mean = 0.0;
    let bytes = file(&model, WeightType::I8);
    let model = Model::<8, 8>::load(&bytes).unwrap();
    let settings = Refine::for_inference(model.spec());
    let signal = Random(3).vector(50, 1.0);
    let clean = |sign: f32| {
        let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
        let mut negative = 0;
        let mut denoise = |window: &mut [f32; 8]| {
            model.denoise(window, Some(&settings), &mut code, &mut workspace, || false);
            negative += code.values().iter().filter(|z| **z < 0.0).count();
        };
        let (mut stream, mut window) = (SignalStream::<f32, 8, 4>::new(), [0.0; 8]);
        let pushed: Vec<f32> = signal
            .iter()
            .filter_map(|x| stream.push(sign * x, &mut window, &mut denoise))
            .collect();
        assert!(negative > 0);
        pushed
    };
    let (one, other) = (clean(1.0), clean(-1.0));
    assert_eq!(one.len(), 42);
    assert!(one.iter().zip(&other).all(|(a, b)| *a == -b));
    assert!(one.iter().any(|x| x.abs() > 0.1));
}
