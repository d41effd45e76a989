//! Networks, energy and all closed-form gradients, in f64.

use candle_core::{DType, Tensor, Var};
use sparsecode_trainer::lista::inference::{Energy, InferenceConfig};
use sparsecode_trainer::optim::Named;

use crate::reference::{
    Decoder, Encoder, Matrix, Problem, column_statistics, finite_differences, inference_config,
    rng, vector,
};

const BATCH: usize = 7;
const INPUT_DIM: usize = 9;
const CODE_DIM: usize = 6;
const HIDDEN_DIM: usize = 8;

/// Both kinds of decoder.
fn decoders(seed: u64) -> [Decoder; 2] {
    [
        Decoder::linear(&mut rng(seed), INPUT_DIM, CODE_DIM),
        Decoder::one_hidden(&mut rng(seed + 1), INPUT_DIM, CODE_DIM, HIDDEN_DIM),
    ]
}

/// Points of FISTA's momentum: some components negative, some columns spread below and some above
/// the threshold, one constant.
fn codes(seed: u64) -> Matrix {
    let noise = Matrix::random(&mut rng(seed), BATCH, CODE_DIM, [-1.0, 1.0]);
    let spread = [0.2, 1.5, 0.5, 0.0, 0.3, 2.0];
    let middle = [0.3, 0.4, -0.2, 0.25, 1.0, 0.1];
    Matrix::from_fn(BATCH, CODE_DIM, |i, j| {
        middle[j] + spread[j] * noise.at(i, j)
    })
}

fn inputs(seed: u64) -> Matrix {
    Matrix::random(&mut rng(seed), BATCH, INPUT_DIM, [-1.5, 1.5])
}

fn named<'a>(gradients: &'a [Named<Tensor>], name: &str) -> &'a Tensor {
    let found = gradients.iter().find(|(other, _)| *other == name);
    &found.unwrap_or_else(|| panic!("no gradient of {name}")).1
}

#[test]
fn networks_are_the_formulas() {
    let inputs = inputs(1);
    let encoder = Encoder::random(&mut rng(2), INPUT_DIM, CODE_DIM);
    let expected = encoder.forward(&inputs);
    assert!(expected.values.contains(&0.0) && expected.values.iter().any(|&z| z > 0.0));
    let forward = encoder
        .tensors(DType::F64)
        .forward(&inputs.tensor(DType::F64))
        .unwrap();
    assert!(Matrix::from_tensor(&forward).distance(&expected) < 1e-12);

    for decoder in decoders(3) {
        let codes = codes(4);
        let forward = decoder
            .tensors(DType::F64)
            .forward(&codes.tensor(DType::F64))
            .unwrap();
        assert!(Matrix::from_tensor(&forward).distance(&decoder.forward(&codes)) < 1e-12);
    }
}

#[test]
fn an_encoder_without_iterations_is_one_layer() {
    let inputs = inputs(5);
    let encoder = Encoder {
        iterations: 0,
        ..Encoder::random(&mut rng(6), INPUT_DIM, CODE_DIM)
    };
    let forward = encoder
        .tensors(DType::F64)
        .forward(&inputs.tensor(DType::F64))
        .unwrap();
    let one_layer = Matrix::from_fn(BATCH, CODE_DIM, |i, j| {
        let sum: f64 = (0..INPUT_DIM)
            .map(|k| encoder.input.at(j, k) * inputs.at(i, k))
            .sum();
        (sum + encoder.bias[j]).max(0.0)
    });
    assert!(Matrix::from_tensor(&forward).distance(&one_layer) < 1e-12);
}

/// Every combination of hinge and encoder term.
fn configs() -> [(InferenceConfig, bool); 4] {
    let with = |variance_weight| InferenceConfig {
        variance_weight,
        ..inference_config()
    };
    [(0.0, false), (4.0, false), (0.0, true), (4.0, true)].map(|(beta, e)| (with(beta), e))
}

#[test]
fn energy_terms_are_the_formulas() {
    let (inputs, codes) = (inputs(7), codes(8));
    let (y, z) = (inputs.tensor(DType::F64), codes.tensor(DType::F64));
    let encoder_codes = Matrix::random(&mut rng(9), BATCH, CODE_DIM, [0.0, 1.0]);
    let e = encoder_codes.tensor(DType::F64);
    for decoder in decoders(10) {
        let tensors = decoder.tensors(DType::F64);
        for (config, with_encoder) in configs() {
            let problem = Problem {
                decoder: &decoder,
                inputs: &inputs,
                encoder_codes: with_encoder.then_some(&encoder_codes),
                config: &config,
            };
            let energy = Energy::new(&tensors, &y, with_encoder.then_some(&e), &config);
            let found = energy.value(&z).unwrap();
            let expected = problem.energy(&codes);
            let terms = [
                found.reconstruction,
                found.variance,
                found.encoder,
                found.l1,
            ];
            for (found, expected) in terms.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-11, "{terms:?} {expected:?}");
            }
            assert!((found.total() - expected.iter().sum::<f64>()).abs() < 1e-11);
            assert_eq!(expected[1] > 0.0, config.variance_weight > 0.0);
            assert_eq!(expected[2] > 0.0, with_encoder);
        }
    }
}

/// The closed form against differences of the reference's energy, at points with negative
/// components. A component that is constant over the batch has no derivative through its deviation,
/// so it is compared without the hinge.
#[test]
fn energy_gradient_is_that_of_the_energy() {
    let (inputs, codes) = (inputs(11), codes(12));
    assert!(codes.values.iter().any(|&z| z < 0.0));
    let deviations: Vec<f64> = (0..CODE_DIM)
        .map(|j| column_statistics(&codes, j).1)
        .collect();
    assert!(
        deviations[0] > 0.0 && deviations[0] < 0.5 && deviations[1] > 0.5 && deviations[3] == 0.0
    );
    let (y, z) = (inputs.tensor(DType::F64), codes.tensor(DType::F64));
    let encoder_codes = Matrix::random(&mut rng(13), BATCH, CODE_DIM, [0.0, 1.0]);
    let e = encoder_codes.tensor(DType::F64);
    for decoder in decoders(14) {
        let tensors = decoder.tensors(DType::F64);
        for (config, with_encoder) in configs() {
            let energy = Energy::new(&tensors, &y, with_encoder.then_some(&e), &config);
            let gradient = Matrix::from_tensor(&energy.gradient(&z).unwrap());
            let problem = |config| Problem {
                decoder: &decoder,
                inputs: &inputs,
                encoder_codes: with_encoder.then_some(&encoder_codes),
                config,
            };
            let plain = InferenceConfig {
                variance_weight: 0.0,
                ..config.clone()
            };
            let all = finite_differences(&codes, |z| problem(&config).smooth(z));
            let without = finite_differences(&codes, |z| problem(&plain).smooth(z));
            let expected = Matrix::from_fn(BATCH, CODE_DIM, |i, j| {
                if deviations[j] == 0.0 {
                    without.at(i, j)
                } else {
                    all.at(i, j)
                }
            });
            let error = gradient.relative_distance(&expected);
            assert!(
                error < 1e-6,
                "{error} with {config:?} and encoder {with_encoder}"
            );
            // The reference's own closed form, which its FISTA uses.
            assert!(
                problem(&config)
                    .gradient(&codes)
                    .relative_distance(&expected)
                    < 1e-6
            );
        }
    }
}

/// A component without spread is left alone by the hinge: a dead atom is not revived, and rounding
/// of the mean is not mistaken for spread.
#[test]
fn hinge_does_not_move_a_constant_component() {
    let inputs = inputs(15);
    for value in [0.0, 0.25, 0.1, 1.0 / 3.0] {
        for dtype in [DType::F64, DType::F32] {
            let y = inputs.tensor(dtype);
            let mut codes = codes(16);
            for i in 0..BATCH {
                codes.values[i * CODE_DIM + 3] = value;
            }
            let z = codes.tensor(dtype);
            for decoder in decoders(17) {
                let tensors = decoder.tensors(dtype);
                let gradient = |variance_weight| {
                    let config = InferenceConfig {
                        variance_weight,
                        ..inference_config()
                    };
                    let energy = Energy::new(&tensors, &y, None, &config);
                    Matrix::from_tensor(&energy.gradient(&z).unwrap())
                };
                let (with, without) = (gradient(1e3), gradient(0.0));
                for i in 0..BATCH {
                    assert_eq!(with.at(i, 3), without.at(i, 3), "{value} in {dtype:?}");
                    assert_ne!(with.at(i, 0), without.at(i, 0));
                }
            }
        }
    }
}

#[test]
fn a_batch_of_one_has_no_hinge() {
    let inputs = Matrix::random(&mut rng(18), 1, INPUT_DIM, [-1.0, 1.0]);
    let codes = Matrix::random(&mut rng(19), 1, CODE_DIM, [0.0, 1.0]);
    let (y, z) = (inputs.tensor(DType::F64), codes.tensor(DType::F64));
    let [linear, _] = decoders(20);
    let tensors = linear.tensors(DType::F64);
    let config = inference_config();
    let energy = Energy::new(&tensors, &y, None, &config);
    assert_eq!(energy.value(&z).unwrap().variance, 0.0);
    let problem = Problem {
        decoder: &linear,
        inputs: &inputs,
        encoder_codes: None,
        config: &InferenceConfig {
            variance_weight: 0.0,
            ..config.clone()
        },
    };
    let expected = finite_differences(&codes, |z| problem.smooth(z));
    let gradient = Matrix::from_tensor(&energy.gradient(&z).unwrap());
    assert!(gradient.relative_distance(&expected) < 1e-6);
}

/// `x` where `x > 0`, else 0, with derivative 0 at 0.
fn masked_relu(x: &Tensor) -> Tensor {
    let mask = x.detach().gt(0.0).unwrap().to_dtype(x.dtype()).unwrap();
    (x * mask).unwrap()
}

fn var(matrix: &Matrix) -> Var {
    Var::from_tensor(&matrix.tensor(DType::F64)).unwrap()
}

fn var_of(values: &[f64]) -> Var {
    Var::from_tensor(&vector(values, DType::F64)).unwrap()
}

fn row(values: &[f64]) -> Matrix {
    Matrix::from_fn(1, values.len(), |_, j| values[j])
}

#[test]
fn encoder_gradients_match_differences_and_autograd() {
    let inputs = inputs(21);
    let y = inputs.tensor(DType::F64);
    let targets = Matrix::random(&mut rng(22), BATCH, CODE_DIM, [0.0, 1.0]);
    for iterations in [0, 1, 3] {
        let encoder = Encoder {
            iterations,
            ..Encoder::random(&mut rng(23), INPUT_DIM, CODE_DIM)
        };
        let loss = |encoder: &Encoder| {
            let codes = encoder.forward(&inputs);
            let squares = codes
                .values
                .iter()
                .zip(&targets.values)
                .map(|(a, b)| (a - b).powi(2));
            squares.sum::<f64>() / (BATCH * CODE_DIM) as f64
        };
        let tensors = encoder.tensors(DType::F64);
        let trace = tensors.forward_traced(&y).unwrap();
        let scale = 2.0 / (BATCH * CODE_DIM) as f64;
        let code_gradient = ((trace.code() - targets.tensor(DType::F64)).unwrap() * scale).unwrap();
        let found = tensors.gradients(&y, &trace, &code_gradient).unwrap();
        assert_eq!(found.len(), 3);

        let by_difference = [
            (
                "encoder.input",
                finite_differences(&encoder.input, |input| {
                    loss(&Encoder {
                        input: input.clone(),
                        ..encoder.clone()
                    })
                }),
            ),
            (
                "encoder.bias",
                finite_differences(&row(&encoder.bias), |bias| {
                    loss(&Encoder {
                        bias: bias.values.clone(),
                        ..encoder.clone()
                    })
                }),
            ),
            (
                "encoder.recurrent",
                finite_differences(&encoder.recurrent, |recurrent| {
                    loss(&Encoder {
                        recurrent: recurrent.clone(),
                        ..encoder.clone()
                    })
                }),
            ),
        ];

        let (u, b, s) = (
            var(&encoder.input),
            var_of(&encoder.bias),
            var(&encoder.recurrent),
        );
        let drive = y
            .matmul(&u.t().unwrap())
            .unwrap()
            .broadcast_add(&b)
            .unwrap();
        let mut code = masked_relu(&drive);
        for _ in 0..iterations {
            code = masked_relu(&(code.matmul(&s.t().unwrap()).unwrap() + &drive).unwrap());
        }
        let difference = (code - targets.tensor(DType::F64)).unwrap();
        let store = difference
            .sqr()
            .unwrap()
            .mean_all()
            .unwrap()
            .backward()
            .unwrap();
        for ((name, expected), var) in by_difference.iter().zip([&u, &b, &s]) {
            let found = Matrix::from_tensor(named(&found, name));
            match store.get(var.as_tensor()) {
                Some(autograd) => {
                    assert!(
                        found.relative_distance(&Matrix::from_tensor(autograd)) < 1e-12,
                        "{name}"
                    );
                    assert!(found.relative_distance(expected) < 1e-6, "{name}");
                }
                // Without iterations S takes no part.
                None => assert!(
                    iterations == 0 && found.values.iter().all(|&g| g == 0.0),
                    "{name}"
                ),
            }
        }
    }
}

#[test]
fn decoder_gradients_match_differences_and_autograd() {
    let inputs = inputs(24);
    let codes = Matrix::random(&mut rng(25), BATCH, CODE_DIM, [0.0, 1.5]);
    let (y, z) = (inputs.tensor(DType::F64), codes.tensor(DType::F64));
    let loss = |decoder: &Decoder| {
        let reconstruction = decoder.forward(&codes);
        let squares = reconstruction
            .values
            .iter()
            .zip(&inputs.values)
            .map(|(a, b)| (a - b).powi(2));
        squares.sum::<f64>() / (BATCH * INPUT_DIM) as f64
    };
    for decoder in decoders(26) {
        let (found, error) = decoder.tensors(DType::F64).gradients(&z, &y).unwrap();
        let reconstruction = decoder.forward(&codes);
        let expected = Matrix::from_fn(BATCH, INPUT_DIM, |i, j| {
            reconstruction.at(i, j) - inputs.at(i, j)
        });
        assert!(Matrix::from_tensor(&error).distance(&expected) < 1e-12);

        let (by_difference, vars, output) = match &decoder {
            Decoder::Linear(dictionary) => {
                let w = var(dictionary);
                let differences =
                    finite_differences(dictionary, |w| loss(&Decoder::Linear(w.clone())));
                let output = z.matmul(&w.t().unwrap()).unwrap();
                (vec![("decoder.dictionary", differences)], vec![w], output)
            }
            Decoder::OneHidden {
                hidden,
                bias,
                output,
            } => {
                let with = |hidden: &Matrix, bias: &[f64], output: &Matrix| {
                    loss(&Decoder::OneHidden {
                        hidden: hidden.clone(),
                        bias: bias.to_vec(),
                        output: output.clone(),
                    })
                };
                let differences = vec![
                    (
                        "decoder.hidden",
                        finite_differences(hidden, |x| with(x, bias, output)),
                    ),
                    (
                        "decoder.hidden_bias",
                        finite_differences(&row(bias), |x| with(hidden, &x.values, output)),
                    ),
                    (
                        "decoder.output",
                        finite_differences(output, |x| with(hidden, bias, x)),
                    ),
                ];
                let (w1, b1, w2) = (var(hidden), var_of(bias), var(output));
                let drive = z
                    .matmul(&w1.t().unwrap())
                    .unwrap()
                    .broadcast_add(&b1)
                    .unwrap();
                let output = masked_relu(&drive).matmul(&w2.t().unwrap()).unwrap();
                (differences, vec![w1, b1, w2], output)
            }
        };
        let store = (output - &y)
            .unwrap()
            .sqr()
            .unwrap()
            .mean_all()
            .unwrap()
            .backward()
            .unwrap();
        assert_eq!(found.len(), vars.len());
        for ((name, expected), var) in by_difference.iter().zip(&vars) {
            let found = Matrix::from_tensor(named(&found, name));
            let autograd = Matrix::from_tensor(store.get(var.as_tensor()).unwrap());
            assert!(found.relative_distance(&autograd) < 1e-12, "{name}");
            assert!(found.relative_distance(expected) < 1e-6, "{name}");
        }
    }
}

/// All weights 1 and no bias, at a code of 0: every pre-activation is exactly 0, where the
/// derivative counts as 0.
#[test]
fn relu_at_zero_passes_no_gradient() {
    let ones = |rows, columns| Matrix::from_fn(rows, columns, |_, _| 1.0);
    let y = ones(2, 3).tensor(DType::F64);
    let decoder = Decoder::OneHidden {
        hidden: ones(4, 2),
        bias: vec![0.0; 4],
        output: ones(3, 4),
    };
    let tensors = decoder.tensors(DType::F64);
    let z = Matrix::from_fn(2, 2, |_, _| 0.0).tensor(DType::F64);
    let config = InferenceConfig {
        encoder_weight: 0.0,
        variance_weight: 0.0,
        ..inference_config()
    };
    let energy = Energy::new(&tensors, &y, None, &config);
    let gradient = Matrix::from_tensor(&energy.gradient(&z).unwrap());
    assert!(gradient.values.iter().all(|&g| g == 0.0), "{gradient:?}");
    let (gradients, error) = tensors.gradients(&z, &y).unwrap();
    assert!(
        Matrix::from_tensor(&error)
            .values
            .iter()
            .all(|&e| e == -1.0)
    );
    for (name, gradient) in &gradients {
        let gradient = Matrix::from_tensor(gradient);
        assert!(
            gradient.values.iter().all(|&g| g == 0.0),
            "{name}: {gradient:?}"
        );
    }

    let encoder = Encoder {
        input: ones(2, 3),
        bias: vec![0.0; 2],
        recurrent: ones(2, 2),
        iterations: 2,
    };
    let tensors = encoder.tensors(DType::F64);
    let nothing = Matrix::from_fn(2, 3, |_, _| 0.0).tensor(DType::F64);
    let trace = tensors.forward_traced(&nothing).unwrap();
    let gradients = tensors
        .gradients(&nothing, &trace, &ones(2, 2).tensor(DType::F64))
        .unwrap();
    for (name, gradient) in &gradients {
        let gradient = Matrix::from_tensor(gradient);
        assert!(
            gradient.values.iter().all(|&g| g == 0.0),
            "{name}: {gradient:?}"
        );
    }
}
