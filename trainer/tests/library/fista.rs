//! FISTA: its iterates, where it ends, and what it finds.

use candle_core::DType;
use sparsecode_trainer::lista::inference::{
    Energy, Engine, Inference, InferenceConfig, PlainFista, Stopping,
};

use crate::reference::{
    Decoder, Encoder, Matrix, Problem, column_statistics, inference_config, rng,
};

const BATCH: usize = 12;
const INPUT_DIM: usize = 10;
const CODE_DIM: usize = 7;

struct Case {
    decoder: Decoder,
    inputs: Matrix,
    encoder_codes: Matrix,
}

impl Case {
    fn new(seed: u64, one_hidden: bool) -> Self {
        let mut rng = rng(seed);
        let inputs = Matrix::random(&mut rng, BATCH, INPUT_DIM, [-1.5, 1.5]);
        let encoder = Encoder::random(&mut rng, INPUT_DIM, CODE_DIM);
        Self {
            decoder: if one_hidden {
                Decoder::one_hidden(&mut rng, INPUT_DIM, CODE_DIM, 9)
            } else {
                Decoder::linear(&mut rng, INPUT_DIM, CODE_DIM)
            },
            encoder_codes: encoder.forward(&inputs),
            inputs,
        }
    }

    /// By the trainer's engine, from the encoder's codes, with the encoder term.
    fn infer(&self, config: &InferenceConfig, dtype: DType) -> (Matrix, Inference) {
        let decoder = self.decoder.tensors(dtype);
        let (y, e) = (self.inputs.tensor(dtype), self.encoder_codes.tensor(dtype));
        let energy = Energy::new(&decoder, &y, Some(&e), config);
        let inference = PlainFista.infer(&energy, &e).unwrap();
        (Matrix::from_tensor(&inference.codes), inference)
    }

    fn problem<'a>(&'a self, config: &'a InferenceConfig) -> Problem<'a> {
        Problem {
            decoder: &self.decoder,
            inputs: &self.inputs,
            encoder_codes: Some(&self.encoder_codes),
            config,
        }
    }
}

/// Each of the first 50 iterates (the last one of runs of every length), both forms of stopping,
/// both decoders, with and without hinge.
#[test]
fn iterates_are_those_of_the_plain_loops() {
    for stopping in [Stopping::Sliding, Stopping::Freeze] {
        for one_hidden in [false, true] {
            for variance_weight in [0.0, 4.0] {
                let case = Case::new(if one_hidden { 31 } else { 30 }, one_hidden);
                let mut partly_converged = false;
                for max_iterations in 1..=50 {
                    let config = InferenceConfig {
                        stopping,
                        variance_weight,
                        max_iterations,
                        tolerance: 1e-2,
                        ..inference_config()
                    };
                    let (expected, iterations, steps) =
                        case.problem(&config).fista(&case.encoder_codes);
                    let (codes, found) = case.infer(&config, DType::F64);
                    let error = codes.distance(&expected);
                    assert!(
                        error < 1e-10,
                        "iteration {max_iterations}: {error} with {config:?}"
                    );
                    assert_eq!(found.iterations, iterations);
                    assert_eq!(found.steps, steps);
                    let mean = steps.iter().sum::<u32>() as f64 / BATCH as f64;
                    assert!((found.mean_steps() - mean).abs() < 1e-12);
                    partly_converged |= steps.iter().any(|&s| (s as usize) < iterations);
                }
                assert!(partly_converged, "no sample converged before the others");
            }
        }
    }
}

#[test]
fn single_precision_follows_double() {
    for one_hidden in [false, true] {
        let case = Case::new(32, one_hidden);
        // Without a tolerance, so that both take the same iterations.
        let config = InferenceConfig {
            tolerance: 0.0,
            ..inference_config()
        };
        let (double, _) = case.infer(&config, DType::F64);
        let (single, _) = case.infer(&config, DType::F32);
        let error = single.distance(&double);
        assert!(error > 0.0 && error < 1e-4, "{error}");
    }
}

/// A frozen sample keeps the first iterate that met the criterion; a sliding one moves on.
#[test]
fn stopping_forms_differ_as_described() {
    let case = Case::new(33, false);
    let run = |stopping, max_iterations| {
        let config = InferenceConfig {
            stopping,
            max_iterations,
            variance_weight: 0.0,
            tolerance: 2e-2,
            ..inference_config()
        };
        case.infer(&config, DType::F64)
    };
    let (frozen, inference) = run(Stopping::Freeze, 200);
    let (sliding, _) = run(Stopping::Sliding, inference.iterations);
    let early: Vec<usize> = (0..BATCH)
        .filter(|&i| (inference.steps[i] as usize) + 2 < inference.iterations)
        .collect();
    assert!(!early.is_empty());
    let mut moved = false;
    for &i in &early {
        let first = inference.steps[i] as usize + 1;
        let (at_first, _) = run(Stopping::Freeze, first);
        assert_eq!(frozen.row(i), at_first.row(i));
        moved |= sliding.row(i) != at_first.row(i);
    }
    assert!(moved);
}

/// At a minimum of f + g with z ≥ 0: the gradient is −λ where z > 0 and at least −λ where z = 0.
#[test]
fn linear_solution_meets_the_optimality_conditions() {
    let case = Case::new(34, false);
    let config = InferenceConfig {
        lambda: 0.08,
        variance_weight: 0.0,
        encoder_weight: 0.0,
        max_iterations: 20_000,
        tolerance: 0.0,
        step_size: 0.5,
        ..inference_config()
    };
    let (codes, _) = case.infer(&config, DType::F64);
    let gradient = case.problem(&config).gradient(&codes);
    let (mut active, mut zero) = (0, 0);
    for (z, g) in codes.values.iter().zip(&gradient.values) {
        if *z > 0.0 {
            active += 1;
            assert!((g + config.lambda).abs() < 1e-7, "z {z}, gradient {g}");
        } else {
            zero += 1;
            assert!(
                *z == 0.0 && *g > -config.lambda - 1e-7,
                "z {z}, gradient {g}"
            );
        }
    }
    assert!(active > 5 && zero > 5, "{active} active, {zero} zero");
}

/// For orthonormal columns every component is found alone: z = (wᵀy − λd/2)_+.
#[test]
fn orthonormal_dictionary_has_a_closed_form() {
    // A Hadamard matrix of order 8, scaled; six of its columns.
    let (d, l) = (8, 6);
    let sign = |i: usize, j: usize| {
        if (i & j).count_ones().is_multiple_of(2) {
            1.0
        } else {
            -1.0
        }
    };
    let dictionary = Matrix::from_fn(d, l, |i, j| sign(i, j) / 8.0f64.sqrt());
    let inputs = Matrix::random(&mut rng(35), 5, d, [-2.0, 2.0]);
    let config = InferenceConfig {
        lambda: 0.1,
        step_size: 1.0,
        variance_weight: 0.0,
        encoder_weight: 0.0,
        max_iterations: 2000,
        tolerance: 0.0,
        ..inference_config()
    };
    let expected = Matrix::from_fn(5, l, |i, j| {
        let correlation: f64 = (0..d).map(|k| dictionary.at(k, j) * inputs.at(i, k)).sum();
        (correlation - config.lambda * d as f64 / 2.0).max(0.0)
    });
    assert!(expected.values.iter().any(|&z| z > 0.0) && expected.values.contains(&0.0));
    let decoder = Decoder::Linear(dictionary).tensors(DType::F64);
    let y = inputs.tensor(DType::F64);
    let energy = Energy::new(&decoder, &y, None, &config);
    let start = Matrix::from_fn(5, l, |_, _| 0.0).tensor(DType::F64);
    let codes = Matrix::from_tensor(&PlainFista.infer(&energy, &start).unwrap().codes);
    assert!(codes.distance(&expected) < 1e-8, "{codes:?} {expected:?}");
}

#[test]
fn hinge_raises_low_deviations() {
    let case = Case::new(36, false);
    let deviations = |variance_weight: f64| -> Vec<f64> {
        let config = InferenceConfig {
            variance_weight,
            lambda: 0.05,
            max_iterations: 200,
            ..inference_config()
        };
        let (codes, _) = case.infer(&config, DType::F64);
        (0..CODE_DIM)
            .map(|j| column_statistics(&codes, j).1)
            .collect()
    };
    let (without, with) = (deviations(0.0), deviations(10.0));
    let mut low = 0;
    for (without, with) in without.iter().zip(&with) {
        // Components that no sample uses have nothing to spread.
        if *without > 1e-6 && *without < 0.4 {
            low += 1;
            assert!(*with > without + 0.05, "{without} became {with}");
        }
    }
    assert!(low >= 3, "{without:?}");
}

#[test]
fn zero_tolerance_runs_all_iterations() {
    let case = Case::new(37, false);
    for stopping in [Stopping::Sliding, Stopping::Freeze] {
        let config = InferenceConfig {
            tolerance: 0.0,
            max_iterations: 77,
            stopping,
            variance_weight: 0.0,
            ..inference_config()
        };
        let (_, inference) = case.infer(&config, DType::F32);
        assert_eq!(inference.iterations, 77);
        assert!(inference.steps.iter().all(|&steps| steps == 77));
        let lax = InferenceConfig {
            tolerance: 1e-2,
            ..config
        };
        assert!(case.infer(&lax, DType::F32).1.iterations < 77);
    }
}

/// With λ above every correlation all codes stay 0: no change over nothing, which is not
/// convergence.
#[test]
fn nothing_over_nothing_is_not_convergence() {
    let case = Case::new(38, false);
    for stopping in [Stopping::Sliding, Stopping::Freeze] {
        let config = InferenceConfig {
            lambda: 100.0,
            tolerance: 0.5,
            max_iterations: 23,
            stopping,
            ..inference_config()
        };
        let decoder = case.decoder.tensors(DType::F64);
        let y = case.inputs.tensor(DType::F64);
        let energy = Energy::new(&decoder, &y, None, &config);
        let start = Matrix::from_fn(BATCH, CODE_DIM, |_, _| 0.0).tensor(DType::F64);
        let inference = PlainFista.infer(&energy, &start).unwrap();
        assert_eq!(inference.iterations, 23);
        assert!(inference.steps.iter().all(|&steps| steps == 23));
        assert!(
            Matrix::from_tensor(&inference.codes)
                .values
                .iter()
                .all(|&z| z == 0.0)
        );
    }
}

/// A step far too large overflows; that must reach the caller whatever the number of iterations,
/// and not come back as the zeros that relu makes of NaN.
#[test]
fn overflow_is_not_hidden() {
    let case = Case::new(39, false);
    for step_size in [1e2, 1e4, 1e8] {
        for variance_weight in [0.0, 4.0] {
            for max_iterations in 20..120 {
                let config = InferenceConfig {
                    step_size,
                    max_iterations,
                    variance_weight,
                    ..inference_config()
                };
                let decoder = case.decoder.tensors(DType::F32);
                let y = case.inputs.tensor(DType::F32);
                let e = case.encoder_codes.tensor(DType::F32);
                let energy = Energy::new(&decoder, &y, Some(&e), &config);
                let inference = PlainFista.infer(&energy, &e).unwrap();
                let value = energy.value(&inference.codes).unwrap().total();
                assert!(
                    !value.is_finite() || value > 1e6,
                    "{value} after {max_iterations} iterations of step {step_size}"
                );
            }
        }
    }
}
