//! The processor's engine, held to the plain one.

use candle_core::{DType, Device, Tensor};
use sparsecode_trainer::lista::inference::{
    CpuEngine, Energy, Engine, Inference, InferenceConfig, PlainFista, Stopping,
};
use sparsecode_trainer::lista::model;

use crate::reference::{Decoder, Encoder, Matrix, inference_config, rng};

/// A batch with its decoder, as f32 tensors; `double` has the same numbers in f64.
struct Case {
    decoder: model::Decoder,
    inputs: Tensor,
    encoder_codes: Tensor,
}

/// n, d, l, m (0: linear).
type Sizes = (usize, usize, usize, usize);

impl Case {
    fn new(seed: u64, (n, d, l, m): Sizes) -> Self {
        let mut rng = rng(seed);
        let inputs = Matrix::random(&mut rng, n, d, [-1.5, 1.5]);
        let encoder = Encoder::random(&mut rng, d, l);
        let decoder = match m {
            0 => Decoder::linear(&mut rng, d, l),
            _ => Decoder::one_hidden(&mut rng, d, l, m),
        };
        Self {
            encoder_codes: encoder.forward(&inputs).tensor(DType::F32),
            decoder: decoder.tensors(DType::F32),
            inputs: inputs.tensor(DType::F32),
        }
    }

    fn double(&self) -> Self {
        let double = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
        let decoder = match &self.decoder {
            model::Decoder::Linear { dictionary } => model::Decoder::Linear {
                dictionary: double(dictionary),
            },
            model::Decoder::OneHidden {
                hidden,
                hidden_bias,
                output,
            } => model::Decoder::OneHidden {
                hidden: double(hidden),
                hidden_bias: double(hidden_bias),
                output: double(output),
            },
        };
        Self {
            decoder,
            inputs: double(&self.inputs),
            encoder_codes: double(&self.encoder_codes),
        }
    }

    fn infer(&self, engine: &dyn Engine, config: &InferenceConfig) -> Inference {
        let codes = Some(&self.encoder_codes);
        let energy = Energy::new(&self.decoder, &self.inputs, codes, config);
        engine.infer(&energy, &self.encoder_codes).unwrap()
    }

    fn codes(&self, engine: &dyn Engine, config: &InferenceConfig) -> Matrix {
        Matrix::from_tensor(&self.infer(engine, config).codes)
    }
}

fn bits(inference: &Inference) -> Vec<u32> {
    let codes = inference.codes.flatten_all().unwrap();
    let codes: Vec<f32> = codes.to_vec1().unwrap();
    codes.iter().map(|value| value.to_bits()).collect()
}

/// Sizes that divide by nothing, a single sample, and a decoder for each form of the hidden layer's
/// product.
const SIZES: [Sizes; 6] = [
    (12, 10, 7, 0),
    (53, 40, 37, 0),
    (16, 30, 144, 0),
    (1, 12, 5, 0),
    (37, 40, 21, 30),
    (20, 9, 11, 33),
];

/// After every number of iterations up to 200, without a tolerance: the same iterates to 1e-4, and
/// no worse beside f64 than the plain engine in the same precision.
#[test]
fn iterates_are_those_of_the_plain_engine() {
    let engine = CpuEngine::new(2);
    for (index, sizes) in SIZES.into_iter().enumerate() {
        let case = Case::new(50 + index as u64, sizes);
        let double = case.double();
        for variance_weight in [0.0, 4.0] {
            for max_iterations in [1, 2, 3, 5, 8, 13, 30, 80, 200] {
                let config = InferenceConfig {
                    variance_weight,
                    max_iterations,
                    tolerance: 0.0,
                    ..inference_config()
                };
                let exact = double.codes(&PlainFista, &config);
                let plain = case.codes(&PlainFista, &config).relative_distance(&exact);
                let found = case.codes(&engine, &config);
                let error = found.relative_distance(&exact);
                let what = format!("{sizes:?}, β {variance_weight}, {max_iterations} iterations");
                assert!(error < 1e-4, "{what}: {error:e}, plain {plain:e}");
                assert!(
                    error < 4.0 * plain + 1e-6,
                    "{what}: {error:e}, plain {plain:e}"
                );
                assert!(
                    found.values.iter().any(|&z| z > 0.0),
                    "{what}: nothing to compare"
                );
            }
        }
    }
}

/// One-hidden decoders with threads in one group (3) and in two (9), some of which have no columns;
/// in both forms, one after the other and direct to the end.
#[test]
fn hidden_layers_may_be_divided_among_many_threads() {
    for (seed, sizes) in [(80, (150, 40, 21, 37)), (81, (150, 20, 11, 70))] {
        let case = Case::new(seed, sizes);
        let config = InferenceConfig {
            variance_weight: 4.0,
            max_iterations: 25,
            tolerance: 1e-2,
            ..inference_config()
        };
        let plain = case.infer(&PlainFista, &config);
        for threads in [1, 3, 9] {
            let found = case.infer(&CpuEngine::new(threads), &config);
            assert_eq!(found.steps, plain.steps, "{sizes:?}, {threads} threads");
            let error = Matrix::from_tensor(&found.codes)
                .relative_distance(&Matrix::from_tensor(&plain.codes));
            assert!(error < 1e-4, "{sizes:?}, {threads} threads: {error:e}");
        }
    }
}

/// The same samples converge in the same iterations, in both forms of stopping, and the loop ends
/// in the same one.
#[test]
fn stopping_is_that_of_the_plain_engine() {
    let engine = CpuEngine::new(2);
    for (index, sizes) in SIZES.into_iter().enumerate() {
        let case = Case::new(60 + index as u64, sizes);
        for stopping in [Stopping::Sliding, Stopping::Freeze] {
            for variance_weight in [0.0, 4.0] {
                let config = InferenceConfig {
                    stopping,
                    variance_weight,
                    tolerance: 1e-2,
                    max_iterations: 200,
                    ..inference_config()
                };
                let plain = case.infer(&PlainFista, &config);
                let fast = case.infer(&engine, &config);
                let early = plain
                    .steps
                    .iter()
                    .any(|&steps| (steps as usize) < plain.iterations);
                assert!(
                    early || sizes.0 == 1,
                    "{sizes:?}: none converged before the end"
                );
                assert_eq!(fast.iterations, plain.iterations, "{sizes:?} {stopping:?}");
                assert_eq!(fast.steps, plain.steps, "{sizes:?} {stopping:?}");
                let distance = Matrix::from_tensor(&fast.codes)
                    .relative_distance(&Matrix::from_tensor(&plain.codes));
                assert!(distance < 1e-4, "{sizes:?} {stopping:?}: {distance:e}");
            }
        }
    }
}

/// The bound of 1e-4 at the size of MNIST: 200 iterations of a batch of 250.
#[test]
fn iterates_hold_at_full_size() {
    let case = Case::new(70, (250, 784, 128, 0));
    for variance_weight in [0.0, 10.0] {
        let config = InferenceConfig {
            variance_weight,
            step_size: 0.5,
            max_iterations: 200,
            tolerance: 0.0,
            ..inference_config()
        };
        let plain = case.codes(&PlainFista, &config);
        let error = case
            .codes(&CpuEngine::default(), &config)
            .relative_distance(&plain);
        assert!(error < 1e-4, "β {variance_weight}: {error:e}");
    }
}

#[test]
fn linear_decoders_give_the_same_bits_with_any_number_of_threads() {
    let case = Case::new(71, (100, 30, 40, 0));
    let config = InferenceConfig {
        max_iterations: 60,
        ..inference_config()
    };
    let one = case.infer(&CpuEngine::new(1), &config);
    for threads in [2, 3, 7] {
        let more = case.infer(&CpuEngine::new(threads), &config);
        assert_eq!(bits(&more), bits(&one), "{threads} threads");
        assert_eq!(more.steps, one.steps);
    }
    let again = case.infer(&CpuEngine::new(1), &config);
    assert_eq!(bits(&again), bits(&one));
}

/// From zero, with neither encoder nor hinge, as DO and evaluation infer; and from a start of which
/// many components are 0.
#[test]
fn a_start_without_an_encoder_is_followed_too() {
    let case = Case::new(72, (33, 25, 30, 0));
    let config = InferenceConfig {
        variance_weight: 0.0,
        encoder_weight: 0.0,
        max_iterations: 100,
        tolerance: 0.0,
        ..inference_config()
    };
    let energy = Energy::new(&case.decoder, &case.inputs, None, &config);
    let start = Tensor::zeros((33, 30), DType::F32, &Device::Cpu).unwrap();
    let plain = PlainFista.infer(&energy, &start).unwrap();
    let fast = CpuEngine::new(2).infer(&energy, &start).unwrap();
    let (fast, plain) = (
        Matrix::from_tensor(&fast.codes),
        Matrix::from_tensor(&plain.codes),
    );
    assert!(plain.values.contains(&0.0) && plain.values.iter().any(|&z| z > 0.0));
    assert!(fast.relative_distance(&plain) < 1e-4);
}

/// A component that is the same for all samples has no deviation to raise: the hinge leaves it
/// alone, whatever rounding makes of the mean of equal numbers.
#[test]
fn a_constant_component_is_not_pushed() {
    let (n, d, l) = (50, 20, 9);
    let case = Case::new(73, (n, d, l, 0));
    let config = InferenceConfig {
        lambda: 0.0,
        encoder_weight: 0.0,
        max_iterations: 1,
        ..inference_config()
    };
    // Equal inputs and equal starts: every component is constant.
    let first = case.inputs.narrow(0, 0, 1).unwrap();
    let inputs = first.repeat((n, 1)).unwrap();
    let start = Tensor::full(0.1f32, (n, l), &Device::Cpu).unwrap();
    let infer = |variance_weight| {
        let config = InferenceConfig {
            variance_weight,
            ..config.clone()
        };
        let energy = Energy::new(&case.decoder, &inputs, None, &config);
        bits(&CpuEngine::new(2).infer(&energy, &start).unwrap())
    };
    assert_eq!(infer(1e6), infer(0.0));
}

/// As for the plain engine: an overflow must reach the caller, and not come back as the zeros that
/// relu makes of NaN.
#[test]
fn overflow_is_not_hidden() {
    for sizes in [(12, 10, 7, 0), (12, 10, 7, 9)] {
        let case = Case::new(74, sizes);
        for step_size in [1e3, 1e8] {
            for max_iterations in 20..80 {
                let config = InferenceConfig {
                    step_size,
                    max_iterations,
                    ..inference_config()
                };
                let inference = case.infer(&CpuEngine::new(2), &config);
                let codes = Some(&case.encoder_codes);
                let energy = Energy::new(&case.decoder, &case.inputs, codes, &config);
                let value = energy.value(&inference.codes).unwrap().total();
                let norm: f32 = inference
                    .codes
                    .flatten_all()
                    .unwrap()
                    .to_vec1::<f32>()
                    .unwrap()
                    .iter()
                    .map(|z| z.abs())
                    .sum();
                // A one-hidden decoder may also fall dead at 0, where it stays.
                assert!(
                    !value.is_finite() || value > 1e6 || (sizes.3 > 0 && norm == 0.0),
                    "{sizes:?}: {value} after {max_iterations} iterations of step {step_size}"
                );
            }
        }
    }
}

/// The loop ends where numbers leave the floats, as the plain one does; the rest of 10,000
/// iterations would be for nothing.
#[test]
fn an_overflow_ends_the_loop() {
    for sizes in [(40, 10, 7, 0), (40, 10, 7, 9)] {
        let case = Case::new(78, sizes);
        let config = InferenceConfig {
            step_size: 1e8,
            max_iterations: 10_000,
            tolerance: 0.0,
            ..inference_config()
        };
        let found = case.infer(&CpuEngine::new(2), &config).iterations;
        let plain = case.infer(&PlainFista, &config).iterations;
        assert!(
            found <= plain.max(100),
            "{sizes:?}: {found} iterations, plain {plain}"
        );
    }
}

#[test]
fn two_threads_may_share_an_engine() {
    let engine = CpuEngine::new(2);
    let case = Case::new(75, (64, 20, 16, 0));
    let expected = bits(&case.infer(&engine, &inference_config()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(bits(&case.infer(&engine, &inference_config())), expected);
                }
            });
        }
    });
}

#[test]
fn tensors_that_it_cannot_take_are_refused_by_name() {
    let case = Case::new(76, (12, 10, 7, 0));
    let config = inference_config();
    let double = case.double();
    let energy = Energy::new(&double.decoder, &double.inputs, None, &config);
    let engine = CpuEngine::new(1);
    let error = engine.infer(&energy, &double.encoder_codes).unwrap_err();
    assert!(error.to_string().contains("f32"), "{error}");

    let other = Case::new(77, (11, 10, 7, 0));
    let codes = Some(&other.encoder_codes);
    let energy = Energy::new(&case.decoder, &case.inputs, codes, &config);
    let error = engine.infer(&energy, &case.encoder_codes).unwrap_err();
    assert!(error.to_string().contains("encoder's codes"), "{error}");
}
