//! Refinement by means of the Gram matrix, beside the `f64` reference.

mod common;

use common::{Random, Reference, Shape, assert_close, file, random_model};
use proptest::prelude::*;
use sparsecode_formats::{OwnedDecoder, WeightType};
use sparsecode_runtime::{
    CodeBuffer as _, GramBuffer, GramWorkspace, Model, Refine, Refinement, SparseCode, Start, Stop,
    Workspace,
};

/// A model with everything that its refinement needs.
struct Case<const INPUT: usize, const CODE: usize> {
    bytes: sparsecode_formats::AlignedBytes,
    input: [f32; INPUT],
}

/// How a code is refined.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    Direct,
    Gram,
    Descent,
}

impl<const INPUT: usize, const CODE: usize> Case<INPUT, CODE> {
    fn new(weights: WeightType, seed: u64) -> Self {
        let shape = Shape {
            input: INPUT,
            code: CODE,
            hidden: 0,
            lista: Some(1),
        };
        Self {
            bytes: file(&random_model(shape, seed), weights),
            input: Random(!seed).vector(INPUT, 2.0).try_into().unwrap(),
        }
    }

    fn model(&self) -> Model<'_, INPUT, CODE> {
        Model::load(&self.bytes).unwrap()
    }

    /// `iterations` from the encoder's code, or until `tolerance`.
    fn settings(&self, max_iterations: u32, tolerance: f32) -> Refine {
        Refine {
            max_iterations,
            tolerance,
            ..Refine::for_model(self.model().spec())
        }
    }

    fn encode(&self) -> SparseCode<CODE> {
        let mut code = SparseCode::new();
        self.model()
            .encode(&self.input, &mut code, &mut Workspace::new());
        code
    }

    fn refine(&self, method: Method, settings: &Refine, code: &mut SparseCode<CODE>) -> Refinement {
        let (model, input) = (self.model(), &self.input);
        let (mut workspace, mut scratch) = (Workspace::new(), GramWorkspace::new());
        let mut buffer = Box::new(GramBuffer::new());
        let gram = model.gram(&mut buffer, &mut workspace);
        let (workspace, scratch) = (&mut workspace, &mut scratch);
        match method {
            Method::Direct => model.refine(input, code, settings, workspace, || false),
            Method::Gram => gram.refine(input, code, settings, workspace, scratch, || false),
            Method::Descent => gram.descend(input, code, settings, workspace, scratch, || false),
        }
    }
}

fn dense<const CODE: usize>(code: &SparseCode<CODE>) -> Vec<f32> {
    let mut dense = vec![0.0; CODE];
    code.to_dense(&mut dense);
    dense
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// Without a tolerance, only a code that stays zero ends before the budget.
fn ends_early_at_zero_only<const CODE: usize>(
    report: &Refinement,
    budget: u32,
    code: &SparseCode<CODE>,
) {
    match report.stopped {
        Stop::Budget => assert_eq!(report.iterations, budget),
        stopped => assert_eq!((stopped, code.active()), (Stop::Converged, 0)),
    }
}

/// FISTA on the Gram matrix is FISTA, and its report is of the code that it returns.
fn iterates<const INPUT: usize, const CODE: usize>(weights: WeightType, seed: u64, budget: u32) {
    let case = Case::<INPUT, CODE>::new(weights, seed);
    let reference = Reference::new(case.model().file());
    let settings = case.settings(budget, 0.0);
    let mut code = case.encode();
    let start = wide(&dense(&code));
    let report = case.refine(Method::Gram, &settings, &mut code);
    let (lambda, step_size) = (settings.lambda, settings.step_size);
    let end = reference.fista(&case.input, &start, lambda, step_size, budget);
    let expected = reference.better(&case.input, &start, end, lambda);
    assert_close(&dense(&code), &expected, 5e-5);
    ends_early_at_zero_only(&report, budget, &code);

    let energy = reference.energy(&case.input, &wide(&dense(&code)), lambda);
    assert!((f64::from(report.energy) - energy).abs() < 1e-5 * (1.0 + energy));
}

/// Coordinate descent never raises the energy and ends where no component can be improved.
fn descent<const INPUT: usize, const CODE: usize>(weights: WeightType, seed: u64) {
    let case = Case::<INPUT, CODE>::new(weights, seed);
    let reference = Reference::new(case.model().file());
    let mut energies = Vec::new();
    let mut optimum = Vec::new();
    for passes in [0, 1, 2, 3, 5, 10, 100, 3000] {
        let settings = case.settings(passes, 0.0);
        let mut code = case.encode();
        let report = case.refine(Method::Descent, &settings, &mut code);
        ends_early_at_zero_only(&report, passes, &code);
        let energy = reference.energy(&case.input, &wide(&dense(&code)), settings.lambda);
        assert!((f64::from(report.energy) - energy).abs() < 1e-5 * (1.0 + energy));
        energies.push(energy);
        optimum = dense(&code);
    }
    for pair in energies.windows(2) {
        assert!(pair[1] <= pair[0] + 1e-6, "{energies:?}");
    }
    // Karush, Kuhn and Tucker.
    let lambda = f64::from(case.model().spec().lambda);
    for (z, g) in optimum
        .iter()
        .zip(reference.gradient(&case.input, &wide(&optimum)))
    {
        let excess = g + lambda;
        assert!(
            if *z > 0.0 {
                excess.abs() < 2e-4
            } else {
                excess > -2e-4
            },
            "{excess} at {z}"
        );
    }
}

/// Dimensions that are known at run time only change nothing.
#[cfg(feature = "std")]
#[test]
fn a_view_gives_the_same_bits() {
    use sparsecode_runtime::{GramView, ModelView, SparseCodeBuf, WorkspaceBuf};

    for weights in WeightType::FLOAT {
        let case = Case::<30, 43>::new(weights, 21);
        let view = ModelView::load(&case.bytes).unwrap();
        let mut gram = GramView::new(&view).unwrap();
        let mut workspace = WorkspaceBuf::for_model(view.spec());
        let settings = case.settings(40, 1e-3);
        for method in [Method::Gram, Method::Descent] {
            let mut typed = case.encode();
            let expected = case.refine(method, &settings, &mut typed);
            let mut code = SparseCodeBuf::new(43);
            view.encode(&case.input, &mut code, &mut workspace).unwrap();
            let found = match method {
                Method::Descent => {
                    gram.descend(&case.input, &mut code, &settings, &mut workspace, || false)
                }
                _ => gram.refine(&case.input, &mut code, &settings, &mut workspace, || false),
            };
            assert_eq!(found.unwrap(), expected, "{method:?}");
            assert!(code.iter().eq(typed.iter()), "{method:?}");
        }
        let error = gram.refine(
            &case.input[1..],
            &mut SparseCodeBuf::new(43),
            &settings,
            &mut workspace,
            || false,
        );
        assert_eq!(error.unwrap_err().field, "input");
        let error = gram.descend(
            &case.input,
            &mut SparseCodeBuf::new(42),
            &settings,
            &mut workspace,
            || false,
        );
        assert_eq!(error.unwrap_err().field, "code");
    }
    let shape = Shape {
        input: 9,
        code: 5,
        hidden: 4,
        lista: Some(1),
    };
    let bytes = file(&random_model(shape, 1), WeightType::F32);
    let error = GramView::new(&ModelView::load(&bytes).unwrap()).unwrap_err();
    assert_eq!((error.field, error.found), ("hidden_dim", 4));
}

fn weights() -> impl Strategy<Value = WeightType> {
    prop::sample::select(&WeightType::FLOAT[..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Fewer atoms than a tile, whole tiles, and tiles with a rest.
    #[test]
    fn fista_with_the_gram_matrix(weights in weights(), seed: u64, budget in 1..20_u32) {
        iterates::<20, 7>(weights, seed, budget);
        iterates::<9, 16>(weights, seed, budget);
        iterates::<30, 43>(weights, seed, budget);
    }

    #[test]
    fn coordinate_descent(weights in weights(), seed: u64) {
        descent::<20, 7>(weights, seed);
        descent::<24, 16>(weights, seed);
        descent::<30, 43>(weights, seed);
    }

    #[test]
    fn all_methods_have_one_optimum(weights in weights(), seed: u64) {
        let case = Case::<24, 16>::new(weights, seed);
        let settings = case.settings(20_000, 0.0);
        let energies = [Method::Direct, Method::Gram, Method::Descent]
            .map(|method| case.refine(method, &settings, &mut case.encode()).energy);
        for energy in energies {
            prop_assert!((energy - energies[0]).abs() < 1e-5, "{:?}", energies);
        }
    }
}

#[test]
fn a_tolerance_and_a_deadline_end_it() {
    let case = Case::<24, 16>::new(WeightType::I8, 3);
    for method in [Method::Gram, Method::Descent] {
        let report = case.refine(method, &case.settings(10_000, 1e-3), &mut case.encode());
        assert_eq!(report.stopped, Stop::Converged, "{method:?}");
        assert!(report.iterations < 1000, "{method:?}: {report:?}");

        let before = case.encode();
        let mut code = before.clone();
        let report = case.refine(method, &case.settings(0, 0.0), &mut code);
        assert_eq!((report.iterations, report.stopped), (0, Stop::Budget));
        assert_eq!(code, before, "{method:?}");
    }

    let model = case.model();
    let (mut workspace, mut scratch) = (Workspace::new(), GramWorkspace::new());
    let mut buffer = GramBuffer::new();
    let gram = model.gram(&mut buffer, &mut workspace);
    let settings = case.settings(100, 0.0);
    let mut asked = 0;
    let mut deadline = || {
        asked += 1;
        asked > 3
    };
    let mut code = case.encode();
    let report = gram.descend(
        &case.input,
        &mut code,
        &settings,
        &mut workspace,
        &mut scratch,
        &mut deadline,
    );
    assert_eq!((report.iterations, report.stopped), (3, Stop::Deadline));
    asked = 0;
    let mut deadline = || {
        asked += 1;
        asked > 3
    };
    let report = gram.refine(
        &case.input,
        &mut code,
        &settings,
        &mut workspace,
        &mut scratch,
        &mut deadline,
    );
    assert_eq!((report.iterations, report.stopped), (3, Stop::Deadline));
}

/// An atom that is 0 explains nothing: its component goes, and nothing else is spoilt by a division
/// by 0.
#[test]
fn a_zero_atom_is_left_out() {
    let shape = Shape {
        input: 24,
        code: 16,
        hidden: 0,
        lista: None,
    };
    let mut model = random_model(shape, 9);
    if let OwnedDecoder::Linear { dictionary } = &mut model.decoder {
        dictionary[5 * 24..6 * 24].fill(0.0);
    }
    for lambda in [0.01, 0.0] {
        let case = Case::<24, 16> {
            bytes: file(&model, WeightType::I8),
            input: Random(4).vector(24, 2.0).try_into().unwrap(),
        };
        let settings = Refine {
            lambda,
            start: Start::Constant(0.1),
            ..case.settings(50, 0.0)
        };
        let mut code = SparseCode::new();
        let report = case.refine(Method::Descent, &settings, &mut code);
        assert!(report.energy.is_finite());
        assert!(code.active() > 0 && !code.indices().contains(&5));
    }
}

#[test]
fn nan_stays_out_of_codes() {
    let mut case = Case::<24, 16>::new(WeightType::F32, 11);
    let clean = case.input;
    case.input[3] = f32::NAN;
    for method in [Method::Gram, Method::Descent] {
        let mut code = SparseCode::new();
        case.refine(method, &case.settings(20, 0.0), &mut code);
        assert!(
            code.values().iter().all(|value| value.is_finite()),
            "{method:?}"
        );
    }
    // The next patch is as if nothing had been.
    case.input = clean;
    let settings = case.settings(20, 0.0);
    let model = case.model();
    let (mut workspace, mut scratch) = (Workspace::new(), GramWorkspace::new());
    let mut buffer = GramBuffer::new();
    let gram = model.gram(&mut buffer, &mut workspace);
    let mut spoilt = case.encode();
    let mut dirty = clean;
    dirty[0] = f32::NAN;
    gram.refine(
        &dirty,
        &mut spoilt,
        &settings,
        &mut workspace,
        &mut scratch,
        || false,
    );
    let mut code = case.encode();
    gram.refine(
        &clean,
        &mut code,
        &settings,
        &mut workspace,
        &mut scratch,
        || false,
    );
    let mut expected = case.encode();
    case.refine(Method::Gram, &settings, &mut expected);
    assert_eq!(code, expected);
}

#[test]
fn sizes_are_what_the_documentation_says() {
    assert_eq!(GramBuffer::<128>::BYTES, 66_048);
    assert_eq!(GramWorkspace::<128>::BYTES, 1280);
}
