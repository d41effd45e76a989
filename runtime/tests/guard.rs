//! Refinement never makes a code worse, whatever the method, the arithmetic, the start, the budget
//! and the deadline.
#![cfg(feature = "std")]

mod common;

use common::exact::{Exact, Integers, PRECISIONS, dense, ranges_of, samples, trained_like};
use common::{Random, Reference, Shape, file, random_model};
use proptest::prelude::*;
use sparsecode_formats::{AlignedBytes, CodeSign, IntegerFile, WeightType, write_integer_as};
use sparsecode_runtime::{
    CodeBuffer as _, DimensionError, GramView, IntegerRefine, Method, ModelView, Refine,
    Refinement, SparseCodeBuf, Start, WorkspaceBuf,
};

/// Budgets that are tried.
const BUDGETS: std::ops::RangeInclusive<u32> = 0..=60;

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Direct,
    Gram,
    Descent,
}

struct Floats<'a> {
    view: ModelView<'a>,
    gram: Option<GramView<'a>>,
    workspace: WorkspaceBuf,
    reference: Reference,
    input: Vec<f32>,
}

impl<'a> Floats<'a> {
    fn new(bytes: &'a AlignedBytes, input: Vec<f32>) -> Self {
        let view = ModelView::load(bytes).unwrap();
        Self {
            gram: GramView::new(&view).ok(),
            workspace: WorkspaceBuf::for_model(view.spec()),
            reference: Reference::new(view.file()),
            input,
            view,
        }
    }

    fn methods(&self) -> &'static [How] {
        if self.gram.is_some() {
            &[How::Direct, How::Gram, How::Descent]
        } else {
            &[How::Direct]
        }
    }

    fn encode(&mut self) -> SparseCodeBuf {
        let mut code = SparseCodeBuf::new(self.view.spec().code_dim);
        self.view
            .encode(&self.input, &mut code, &mut self.workspace)
            .unwrap();
        code
    }

    fn refine(
        &mut self,
        how: How,
        code: &mut SparseCodeBuf,
        settings: &Refine,
        mut deadline: impl FnMut() -> bool,
    ) -> Refinement {
        let (input, workspace) = (&self.input, &mut self.workspace);
        let late = &mut deadline;
        let done: Result<Refinement, DimensionError> = match (how, &mut self.gram) {
            (How::Gram, Some(gram)) => gram.refine(input, code, settings, workspace, late),
            (How::Descent, Some(gram)) => gram.descend(input, code, settings, workspace, late),
            _ => self.view.refine(input, code, settings, workspace, late),
        };
        done.unwrap()
    }

    fn energy(&self, code: &SparseCodeBuf, lambda: f32) -> f64 {
        let mut dense = vec![0.0; code.capacity()];
        code.to_dense(&mut dense);
        let wide: Vec<f64> = dense.into_iter().map(f64::from).collect();
        self.reference.energy(&self.input, &wide, lambda)
    }

    /// Codes of every kind to start from: the model's, any, nearly the best, none.
    fn starts(&mut self, random: &mut Random, settings: &Refine) -> Vec<SparseCodeBuf> {
        let encoded = self.encode();
        let mut any = encoded.clone();
        any.from_dense(&random.vector(any.capacity(), 1.0));
        let mut starts = vec![
            encoded.clone(),
            any,
            SparseCodeBuf::new(encoded.capacity() as u16),
        ];
        for iterations in [7, 80, 1000] {
            let mut code = encoded.clone();
            let settings = Refine {
                max_iterations: iterations,
                tolerance: 0.0,
                start: Start::Code,
                ..*settings
            };
            let how = *self.methods().last().unwrap();
            self.refine(how, &mut code, &settings, || false);
            starts.push(code);
        }
        starts
    }

    fn check(&mut self, how: How, start: &SparseCodeBuf, settings: &Refine) {
        let what = format!("{how:?} {settings:?}");
        // The start that the settings name, measured as the arithmetic does.
        let none = Refine {
            max_iterations: 0,
            ..*settings
        };
        let mut code = start.clone();
        let measured = self.refine(how, &mut code, &none, || false).energy;
        let before = self.energy(&code, settings.lambda);
        let start = start.clone();
        for budget in BUDGETS {
            for by_deadline in [false, true] {
                let mut code = start.clone();
                let mut asked = 0;
                let allowed = Refine {
                    max_iterations: if by_deadline { 1000 } else { budget },
                    ..*settings
                };
                let done = self.refine(how, &mut code, &allowed, || {
                    asked += 1;
                    by_deadline && asked > budget
                });
                assert!(done.iterations <= budget, "{what}: {done:?}");
                let after = self.energy(&code, settings.lambda);
                let rounding = 1e-6 * (1.0 + before.abs());
                assert!(
                    after <= before + rounding,
                    "{what}: {budget} iterations lead from {before} to {after}"
                );
                // Descent goes down by its nature, so that nothing is compared there.
                let allowance = if how == How::Descent { 1e-6 } else { 0.0 };
                assert!(
                    done.energy <= measured * (1.0 + allowance) + allowance,
                    "{what}: {budget} iterations: {done:?}, and the start {measured}"
                );
                assert!((f64::from(done.energy) - after).abs() <= 1e-5 * (1.0 + after));
            }
        }
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let hidden = prop_oneof![2 => Just(0), 1 => 1..20_usize];
    let lista = prop_oneof![Just(None), (0..3_u8).prop_map(Some)];
    (1..24_usize, 1..24_usize, hidden, lista).prop_map(|(input, code, hidden, lista)| Shape {
        input,
        code,
        hidden,
        lista,
    })
}

/// Refines from every start by every method: `step` is a multiple of the safe step.
fn every_way_in_f32(
    shape: Shape,
    weights: WeightType,
    [lambda, step, tolerance]: [f32; 3],
    seed: u64,
) {
    let bytes = file(&random_model(shape, seed), weights);
    let mut random = Random(!seed);
    let mut case = Floats::new(&bytes, random.vector(shape.input, 2.0));
    let own = Refine::for_model(case.view.spec());
    let settings = Refine {
        lambda,
        tolerance,
        step_size: step * own.step_size,
        ..own
    };
    let starts = case.starts(&mut random, &settings);
    for how in case.methods() {
        for code in &starts {
            case.check(*how, code, &settings);
        }
        for start in [Start::Zero, Start::Constant(0.01), Start::Constant(2.0)] {
            case.check(*how, &starts[1], &Refine { start, ..settings });
        }
    }
}

/// Hidden units of a code that ran away were infinity less infinity, which the rectifier took for 0
/// and the guard for a good code.
#[test]
fn a_code_that_ran_away_is_not_better() {
    let shape = Shape {
        input: 12,
        code: 16,
        hidden: 3,
        lista: None,
    };
    every_way_in_f32(shape, WeightType::I16, [0.0, 1e6, 0.0], 1998488080307302776);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn in_f32(
        shape in shapes(),
        weights in prop::sample::select(&WeightType::FLOAT[..]),
        lambda in prop::sample::select(&[0.0_f32, 1e-4, 0.01, 0.3][..]),
        // Beyond the safe step the iterates run away.
        step in prop::sample::select(&[1.0_f32, 1.0, 3.0, 1e6][..]),
        tolerance in prop::sample::select(&[0.0_f32, 1e-3][..]),
        seed: u64,
    ) {
        every_way_in_f32(shape, weights, [lambda, step, tolerance], seed);
    }

    #[test]
    fn in_integers(
        precision in prop::sample::select(&PRECISIONS[..]),
        (input, code) in (1..24_usize, 1..24_usize),
        lista in prop_oneof![Just(None), (0..3_u8).prop_map(Some)],
        price in prop::sample::select(&[0_i32, 1, 3][..]),
        tolerance_bits in prop::sample::select(&[10_u8, 31][..]),
        codes in prop::sample::select(&CodeSign::ALL[..]),
        seed: u64,
    ) {
        let lista = lista.filter(|_| codes == CodeSign::NonNegative);
        let shape = Shape { input, code, hidden: 0, lista };
        let (weights, activations) = precision;
        let ranges = ranges_of(activations, 30.0);
        let mut model = trained_like(shape, seed);
        model.spec.codes = codes;
        let written = write_integer_as(&model, &ranges, weights, activations);
        let bytes = AlignedBytes::from_slice(&written.unwrap().bytes);
        let mut file = IntegerFile::read(&bytes).unwrap();
        // Another λ.
        file.refiner.threshold = file.refiner.threshold.saturating_mul(price);
        let (exact, mut view) = (Exact(file), Integers::new(file));
        let mut random = Random(!seed);
        let mut patch = samples(&mut random, input);
        let _ = view.preprocess(&mut patch).unwrap();

        let own = IntegerRefine { tolerance_bits, ..IntegerRefine::for_model(&file) };
        view.encode(&patch).unwrap();
        let encoded = dense(&view);
        let any = (0..code).map(|_| (400.0 * random.next()) as i64).map(|level| level.clamp(0, 127));
        let mut starts = vec![encoded.clone(), any.collect(), vec![0; code]];
        let set = |view: &mut Integers<'_>, code: &[i64]| {
            // What a model whose codes are not signed takes for 0, at the start and where it stays.
            let level = |(k, level): (usize, &i64)| match codes {
                CodeSign::NonNegative if *level == 0 => (k as u16, -(k as i16 % 3)),
                _ => (k as u16, *level as i16),
            };
            view.set_code(code.iter().enumerate().map(level));
        };
        // Nearly the best ones.
        for max_iterations in [3, 40, 500] {
            set(&mut view, &encoded);
            let settings = IntegerRefine { max_iterations, tolerance_bits: 31, ..own };
            view.refine(&patch, &settings, || false).unwrap();
            starts.push(dense(&view));
        }
        for (start, from_zero) in starts.iter().map(|start| (start, false)).chain([(&starts[1], true)]) {
            let zero = vec![0; code];
            let before = exact.energy(&patch, if from_zero { &zero } else { start });
            for method in [Method::CoordinateDescent, Method::Fista] {
                for budget in BUDGETS {
                    for by_deadline in [false, true] {
                        set(&mut view, start);
                        let max_iterations = if by_deadline { 1000 } else { budget };
                        let settings = IntegerRefine { method, max_iterations, from_zero, ..own };
                        let mut asked = 0;
                        let done = view.refine(&patch, &settings, || {
                            asked += 1;
                            by_deadline && asked > budget
                        });
                        prop_assert!(done.unwrap().iterations <= budget);
                        let code = dense(&view);
                        prop_assert!(codes == CodeSign::Signed || code.iter().all(|z| *z >= 0));
                        let after = exact.energy(&patch, &code);
                        prop_assert!(after <= before, "{settings:?}: from {before} to {after}");
                    }
                }
            }
        }
    }
}
