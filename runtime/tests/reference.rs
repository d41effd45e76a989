//! The runtime against the dense `f64` reference, for random models of every kind.

mod common;

use common::{Random, Reference, Shape, assert_close, file, norm, random_model};
use proptest::prelude::*;
use sparsecode_formats::{AlignedBytes, WeightType};
use sparsecode_runtime::{
    CodeBuffer as _, Model, ModelView, Refine, SparseCode, Start, Stop, Workspace,
};

/// Room for every shape below, so that one type serves all.
type Code = SparseCode<24>;
type Scratch = Workspace<48, 24, 32>;

fn shapes() -> impl Strategy<Value = Shape> {
    let hidden = prop_oneof![Just(0), 1..32_usize];
    (1..48_usize, 1..24_usize, hidden, 0..4_u8).prop_map(|(input, code, hidden, lista)| Shape {
        input,
        code,
        hidden,
        lista: Some(lista),
    })
}

fn weights() -> impl Strategy<Value = WeightType> {
    prop::sample::select(&WeightType::FLOAT[..])
}

fn dense(code: &Code, code_dim: usize) -> Vec<f32> {
    let mut dense = vec![0.0; code_dim];
    code.to_dense(&mut dense);
    dense
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

fn fixed_budget(view: &ModelView<'_>, iterations: u32, start: Start) -> Refine {
    Refine {
        max_iterations: iterations,
        tolerance: 0.0,
        start,
        ..Refine::for_model(view.spec())
    }
}

struct Case {
    bytes: AlignedBytes,
    input: Vec<f32>,
}

impl Case {
    fn new(shape: Shape, weights: WeightType, seed: u64) -> Self {
        Self {
            bytes: file(&random_model(shape, seed), weights),
            input: Random(!seed).vector(shape.input, 2.0),
        }
    }

    fn open(&self) -> (ModelView<'_>, Reference, Code, Scratch) {
        let view = ModelView::load(&self.bytes).unwrap();
        let reference = Reference::new(view.file());
        (view, reference, Code::new(), Scratch::new())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn encoding_and_decoding(shape in shapes(), weights in weights(), seed: u64) {
        let case = Case::new(shape, weights, seed);
        let (view, reference, mut code, mut workspace) = case.open();
        view.encode(&case.input, &mut code, &mut workspace).unwrap();
        let found = dense(&code, shape.code);
        assert_close(&found, &reference.encode(&case.input), 2e-5);

        let mut output = vec![f32::NAN; shape.input];
        view.decode(&code, &mut output, &mut workspace).unwrap();
        assert_close(&output, &reference.decode(&wide(&found)), 2e-6);
    }

    #[test]
    fn refining_from_a_code(shape in shapes(), weights in weights(), seed: u64, iterations in 0..20_u32) {
        let case = Case::new(shape, weights, seed);
        let (view, reference, mut code, mut workspace) = case.open();
        view.encode(&case.input, &mut code, &mut workspace).unwrap();
        let start = wide(&dense(&code, shape.code));
        let settings = fixed_budget(&view, iterations, Start::Code);
        let refinement = view
            .refine(&case.input, &mut code, &settings, &mut workspace, || false)
            .unwrap();

        let found = dense(&code, shape.code);
        let end = reference.fista(&case.input, &start, settings.lambda, settings.step_size, iterations);
        let expected = reference.better(&case.input, &start, end, settings.lambda);
        // A hidden unit may switch at a slightly different place, which moves the code by a step's
        // worth.
        assert_close(&found, &expected, if shape.hidden == 0 { 2e-5 } else { 5e-4 });
        if refinement.stopped == Stop::Budget {
            prop_assert_eq!(refinement.iterations, iterations);
        } else {
            // Only a code that stays zero ends early at tolerance 0.
            prop_assert_eq!((refinement.stopped, code.active()), (Stop::Converged, 0));
        }

        // What is reported belongs to the code that is returned.
        let code = wide(&found);
        let energy = reference.energy(&case.input, &code, settings.lambda);
        let residual = reference.mean_squared_residual(&case.input, &code);
        prop_assert!((f64::from(refinement.energy) - energy).abs() < 1e-5 * (1.0 + energy));
        prop_assert!((f64::from(refinement.residual) - residual).abs() < 1e-5 * (1.0 + residual));
    }

    #[test]
    fn models_without_an_encoder_start_at_zero(
        input in 1..40_usize, code_dim in 1..24_usize, weights in weights(), seed: u64,
    ) {
        let shape = Shape { input, code: code_dim, hidden: 0, lista: None };
        let case = Case::new(shape, weights, seed);
        let (view, reference, mut code, mut workspace) = case.open();
        view.encode(&case.input, &mut code, &mut workspace).unwrap();
        let encoded = code.clone();

        // 200 iterations or a relative change of 1e-3: no iterate before the last one may meet the
        // criterion.
        let settings = Refine::for_inference(view.spec());
        prop_assert_eq!(settings.start, Start::Zero);
        let refinement = view.refine(&case.input, &mut code, &settings, &mut workspace, || false).unwrap();
        prop_assert_eq!(&code, &encoded);
        let zero = vec![0.0; code_dim];
        let at = |k| reference.fista(&case.input, &zero, settings.lambda, settings.step_size, k);
        // Every iteration rounds anew, and momentum carries what was rounded on: the error grows
        // with the square of their number.
        let rounding = 0.25 * f64::from(f32::EPSILON) * f64::from(refinement.iterations).powi(2);
        let tolerance = rounding.max(1e-4);
        assert_close(&dense(&code, code_dim), &at(refinement.iterations), tolerance);
        let change = |k: u32| {
            let (new, old) = (at(k), at(k - 1));
            let difference: Vec<f64> = new.iter().zip(&old).map(|(a, b)| a - b).collect();
            norm(&difference) / norm(&old)
        };
        for k in 2..refinement.iterations {
            prop_assert!(change(k) > 0.99e-3, "iteration {} had converged", k);
        }
        if refinement.stopped == Stop::Converged && code.active() > 0 {
            prop_assert!(change(refinement.iterations) < 1.01e-3);
        }
    }

    #[test]
    fn fista_converges_at_its_rate_and_to_the_optimum(
        input in 2..40_usize, code_dim in 1..24_usize, weights in weights(), seed: u64,
    ) {
        let shape = Shape { input, code: code_dim, hidden: 0, lista: None };
        let case = Case::new(shape, weights, seed);
        let (view, reference, mut code, mut workspace) = case.open();
        let mut refine = |iterations| {
            let settings = fixed_budget(&view, iterations, Start::Zero);
            let refinement = view.refine(&case.input, &mut code, &settings, &mut workspace, || false).unwrap();
            (settings, refinement, dense(&code, code_dim))
        };
        let (settings, best, optimum) = refine(20_000);

        // Karush, Kuhn and Tucker: the gradient balances λ where the code is active, and cannot
        // overcome it elsewhere.
        let gradient = reference.gradient(&case.input, &wide(&optimum));
        for (z, g) in optimum.iter().zip(gradient) {
            let excess = g + f64::from(settings.lambda);
            prop_assert!(if *z > 0.0 { excess.abs() < 2e-4 } else { excess > -2e-4 }, "{} at {}", excess, z);
        }

        // Beck and Teboulle, theorem 4.4: F(z_k) − F* ≤ 2 ‖z_0 − z*‖² / (η (k + 1)²).
        let distance = norm(&wide(&optimum)).powi(2);
        for k in [1, 3, 10, 30, 100] {
            let (_, refinement, _) = refine(k);
            let bound = 2.0 * distance / (f64::from(settings.step_size) * f64::from(k + 1).powi(2));
            let above = f64::from(refinement.energy) - f64::from(best.energy);
            prop_assert!(above <= bound + 1e-5, "{} above the optimum after {} iterations", above, k);
            prop_assert!(above >= -1e-5);
        }
    }

    #[test]
    fn dimensions_in_the_type_change_nothing(weights in weights(), seed: u64, lista in 0..4_u8) {
        let shape = Shape { input: 20, code: 12, hidden: 16, lista: Some(lista) };
        let case = Case::new(shape, weights, seed);
        let view = ModelView::load(&case.bytes).unwrap();
        let model = Model::<20, 12, 16>::load(&case.bytes).unwrap();
        let settings = Refine { lambda: 0.003, ..Refine::for_model(view.spec()) };
        let patch: [f32; 20] = case.input.try_into().unwrap();

        let (mut one, mut other) = (SparseCode::<12>::new(), Code::new());
        let (mut fitting, mut larger) = (Workspace::new(), Scratch::new());
        let (mut a, mut b) = (patch, patch);
        let first = model.denoise(&mut a, Some(&settings), &mut one, &mut fitting, || false);
        let second = view.denoise(&mut b, Some(&settings), &mut other, &mut larger, || false).unwrap();
        prop_assert_eq!(a, b);
        prop_assert_eq!(first, second);
        prop_assert!(one.iter().eq(other.iter()));

        // Denoising is its steps, one after another.
        let mut c = patch;
        let normalisation = model.preprocess(&mut c);
        model.encode(&c, &mut one, &mut fitting);
        let refinement = model.refine(&c, &mut one, &settings, &mut fitting, || false);
        model.decode(&one, &mut c, &mut fitting);
        model.restore(&mut c, normalisation);
        prop_assert_eq!(a, c);
        prop_assert_eq!(first.refinement, Some(refinement));
        prop_assert_eq!(first.active, one.active());
    }
}

#[test]
fn the_reference_gradient_is_that_of_its_energy() {
    for hidden in [0, 9] {
        let shape = Shape {
            input: 11,
            code: 6,
            hidden,
            lista: None,
        };
        let case = Case::new(shape, WeightType::F32, 5);
        let (_, reference, _, _) = case.open();
        let code = wide(&Random(8).vector(6, 1.0));
        let gradient = reference.gradient(&case.input, &code);
        for k in 0..6 {
            let at = |shift: f64| {
                let mut moved = code.clone();
                moved[k] += shift;
                reference.energy(&case.input, &moved, 0.0)
            };
            let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!(
                (gradient[k] - difference).abs() < 1e-7,
                "{} and {difference}",
                gradient[k]
            );
        }
    }
}
