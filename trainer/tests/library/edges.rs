//! Numbers at the ends of what occurs: inference stays finite and right, and a sample's code is the
//! same in every batch.

use candle_core::{DType, Device, Tensor};
use sparsecode_trainer::lista::inference::{
    CpuEngine, Energy, Engine, Inference, InferenceConfig, PlainFista, Stopping,
};
use sparsecode_trainer::lista::model;

use crate::reference::{Matrix, rng};

const INPUT: usize = 30;
const CODE: usize = 40;

/// The atom that is unusual.
const ODD: usize = 7;

/// `INPUT × CODE`, with an atom of this length, and a pixel that no atom has.
fn dictionary(length: f64) -> Matrix {
    let random = Matrix::random(&mut rng(3), INPUT, CODE, [-0.3, 0.4]);
    Matrix::from_fn(INPUT, CODE, |pixel, atom| match (pixel, atom) {
        (4, _) => 0.0,
        (_, ODD) => random.at(pixel, atom) * length,
        _ => random.at(pixel, atom),
    })
}

fn linear(dictionary: &Matrix) -> model::Decoder {
    model::Decoder::Linear {
        dictionary: dictionary.tensor(DType::F32),
    }
}

/// Usual samples, samples of zeros, constant ones, and ones with a large value, in turn.
fn samples(count: usize) -> Matrix {
    let random = Matrix::random(&mut rng(6), count, INPUT, [-1.0, 1.0]);
    Matrix::from_fn(count, INPUT, |sample, pixel| match (sample % 4, pixel) {
        (1, _) => 0.0,
        (2, _) => 0.4,
        (3, 4) => 30.0,
        _ => random.at(sample, pixel),
    })
}

fn config(lambda: f64) -> InferenceConfig {
    InferenceConfig {
        lambda,
        step_size: 1.0,
        step_rule: Default::default(),
        max_iterations: 3000,
        tolerance: 0.0,
        stopping: Stopping::Freeze,
        encoder_weight: 0.0,
        variance_weight: 0.0,
        variance_threshold: 0.0,
        initial_code: 0.0,
    }
}

fn infer(
    engine: &dyn Engine,
    decoder: &model::Decoder,
    inputs: &Matrix,
    config: &InferenceConfig,
) -> Inference {
    let inputs = inputs.tensor(DType::F32);
    let energy = Energy::new(decoder, &inputs, None, config);
    let rows = inputs.dim(0).unwrap();
    let start = Tensor::zeros((rows, CODE), DType::F32, &Device::Cpu).unwrap();
    engine.infer(&energy, &start).unwrap()
}

/// `∇f` of a sample's code, for `f = (1/d)·‖y − W z‖²`.
fn gradient(dictionary: &Matrix, input: &[f64], code: &[f64]) -> Vec<f64> {
    let error: Vec<f64> = (0..INPUT)
        .map(|i| {
            (0..CODE)
                .map(|k| dictionary.at(i, k) * code[k])
                .sum::<f64>()
                - input[i]
        })
        .collect();
    (0..CODE)
        .map(|k| {
            let product: f64 = (0..INPUT).map(|i| dictionary.at(i, k) * error[i]).sum();
            2.0 / INPUT as f64 * product
        })
        .collect()
}

#[test]
fn codes_are_finite_and_optimal() {
    let inputs = samples(8);
    for length in [1.0, 0.0, 1e-30] {
        let dictionary = dictionary(length);
        let decoder = linear(&dictionary);
        // For the first sample, the smallest λ that gives a code of zeros.
        let steepest = gradient(&dictionary, inputs.row(0), &[0.0; CODE]);
        let price = -steepest.iter().copied().fold(0.0, f64::min);
        for lambda in [0.0, 0.01, 0.9999 * price, 1.0001 * price] {
            let engines: [&dyn Engine; 2] = [&PlainFista, &CpuEngine::new(2)];
            for (name, engine) in ["plain", "cpu"].iter().zip(engines) {
                let what = format!("{name}, atom of {length}, λ = {lambda}");
                let found = infer(engine, &decoder, &inputs, &config(lambda));
                let codes = Matrix::from_tensor(&found.codes);
                assert!(codes.values.iter().all(|z| z.is_finite()), "{what}");
                for sample in 0..inputs.rows {
                    let code = codes.row(sample);
                    let gradient = gradient(&dictionary, inputs.row(sample), code);
                    for (z, g) in code.iter().zip(gradient) {
                        let excess = g + lambda;
                        let right = if *z > 0.0 {
                            excess.abs() < 1e-4
                        } else {
                            excess > -1e-4
                        };
                        assert!(right, "{what}, sample {sample}: {excess} at {z}");
                    }
                    if inputs.row(sample).iter().all(|y| *y == 0.0) {
                        assert!(code.iter().all(|z| *z == 0.0), "{what}: {code:?}");
                    }
                    // The gradient there is not quite 0.
                    assert!(code[ODD] < 1e-20 || length == 1.0, "{what}: {code:?}");
                }
                let active = codes.row(0).iter().filter(|z| **z > 0.0).count();
                if lambda > price {
                    assert_eq!(active, 0, "{what}");
                } else if lambda > 0.999 * price {
                    assert_eq!(active, 1, "{what}: {:?}", codes.row(0));
                } else {
                    assert!(active > 1, "{what}");
                }
            }
        }
    }
}

/// Without the hinge, samples have nothing to do with each other.
#[test]
fn codes_are_the_same_alone_and_in_every_batch() {
    let inputs = samples(250);
    let engine = CpuEngine::new(2);
    for length in [1.0, 0.0, 1e-30] {
        let decoder = linear(&dictionary(length));
        for lambda in [0.0, 0.01] {
            let config = InferenceConfig {
                max_iterations: 60,
                tolerance: 1e-3,
                ..config(lambda)
            };
            let codes = |batch: usize| -> Vec<u32> {
                let parts = (0..inputs.rows).step_by(batch).map(|first| {
                    let rows = batch.min(inputs.rows - first);
                    let part = Matrix::from_fn(rows, INPUT, |i, j| inputs.at(first + i, j));
                    let found = infer(&engine, &decoder, &part, &config);
                    let codes = found.codes.flatten_all().unwrap();
                    codes.to_vec1::<f32>().unwrap()
                });
                parts.flatten().map(f32::to_bits).collect()
            };
            let alone = codes(1);
            for batch in [2, 7, 250] {
                let different = codes(batch)
                    .iter()
                    .zip(&alone)
                    .filter(|(a, b)| a != b)
                    .count();
                assert_eq!(
                    different, 0,
                    "atom of {length}, λ = {lambda}, batches of {batch}"
                );
            }
        }
    }
}
