//! Adam against its scalar recurrence in f64.

use candle_core::{DType, Tensor};
use sparsecode_trainer::optim::Adam;

use crate::reference::{Matrix, rng, vector};

/// torch's `Adam` for one number.
#[derive(Default)]
struct ScalarAdam {
    m: f64,
    v: f64,
    t: i32,
}

impl ScalarAdam {
    fn step(&mut self, parameter: &mut f64, gradient: f64, rate: f64, decay: f64) {
        self.t += 1;
        let gradient = gradient + decay * *parameter;
        self.m = 0.9 * self.m + 0.1 * gradient;
        self.v = 0.999 * self.v + 0.001 * gradient * gradient;
        let m = self.m / (1.0 - 0.9f64.powi(self.t));
        let v = self.v / (1.0 - 0.999f64.powi(self.t));
        *parameter -= rate * m / (v.sqrt() + 1e-8);
    }
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Matrix::from_tensor(tensor).values
}

/// 20 steps with changing gradients and rates, each parameter with a decay of its own.
#[test]
fn matches_the_scalar_recurrence() {
    let mut rng = rng(40);
    let decay = |name: &str| match name {
        "decoder.hidden_bias" => 0.3,
        "decoder.output" => 0.01,
        _ => 0.0,
    };
    let names = ["decoder.hidden", "decoder.hidden_bias", "decoder.output"];
    let mut expected: Vec<Vec<f64>> = names
        .iter()
        .map(|_| Matrix::random(&mut rng, 1, 5, [-1.0, 1.0]).values)
        .collect();
    let mut tensors: Vec<Tensor> = expected.iter().map(|v| vector(v, DType::F64)).collect();
    let parameters: Vec<_> = names.iter().copied().zip(&tensors).collect();
    let mut adam = Adam::new(&parameters, decay).unwrap();
    let mut scalars: Vec<Vec<ScalarAdam>> = names
        .iter()
        .map(|_| (0..5).map(|_| ScalarAdam::default()).collect())
        .collect();
    for step in 0..20 {
        let rate = 0.05 / f64::from(1 + step / 7);
        let gradients: Vec<Vec<f64>> = names
            .iter()
            .map(|_| Matrix::random(&mut rng, 1, 5, [-2.0, 1.0]).values)
            .collect();
        let named: Vec<_> = names
            .iter()
            .copied()
            .zip(gradients.iter().map(|g| vector(g, DType::F64)))
            .collect();
        let parameters = names.iter().copied().zip(&mut tensors).collect();
        adam.step(parameters, &named, rate).unwrap();
        for (group, name) in names.iter().enumerate() {
            for k in 0..5 {
                let parameter = &mut expected[group][k];
                scalars[group][k].step(parameter, gradients[group][k], rate, decay(name));
            }
            for (found, expected) in values(&tensors[group]).iter().zip(&expected[group]) {
                assert!((found - expected).abs() < 1e-12, "{name}, step {step}");
            }
        }
    }
    assert_eq!(adam.steps(), 20);
}

/// With gradients of 0 only the parameter that has a decay moves, and towards 0 by the rate.
#[test]
fn only_named_parameters_decay() {
    let start = vector(&[0.5, -0.5], DType::F64);
    let (mut bias, mut weight) = (start.clone(), start.clone());
    let decay = |name: &str| if name == "encoder.bias" { 1e-2 } else { 0.0 };
    let mut adam = Adam::new(
        &[("encoder.bias", &bias), ("encoder.input", &weight)],
        decay,
    )
    .unwrap();
    let zero = start.zeros_like().unwrap();
    let gradients = [("encoder.bias", zero.clone()), ("encoder.input", zero)];
    let parameters = vec![("encoder.bias", &mut bias), ("encoder.input", &mut weight)];
    adam.step(parameters, &gradients, 1e-3).unwrap();
    // The first step of Adam is the rate times the gradient's sign.
    for (found, expected) in values(&bias).iter().zip([0.499, -0.499]) {
        assert!((found - expected).abs() < 1e-6);
    }
    assert_eq!(values(&weight), [0.5, -0.5]);
}

#[test]
fn a_parameter_without_gradient_stays() {
    let (mut a, mut b) = (vector(&[1.0], DType::F64), vector(&[1.0], DType::F64));
    let mut adam = Adam::new(&[("encoder.input", &a), ("encoder.bias", &b)], |_| 0.1).unwrap();
    let gradients = [("encoder.input", vector(&[1.0], DType::F64))];
    adam.step(
        vec![("encoder.input", &mut a), ("encoder.bias", &mut b)],
        &gradients,
        0.1,
    )
    .unwrap();
    assert!(values(&a)[0] < 1.0);
    assert_eq!(values(&b), [1.0]);
}

#[test]
fn restored_moments_continue_bit_for_bit() {
    let mut rng = rng(41);
    let gradients: Vec<Tensor> = (0..12)
        .map(|_| Matrix::random(&mut rng, 3, 4, [-1.0, 1.0]).tensor(DType::F32))
        .collect();
    let start = Matrix::random(&mut rng, 3, 4, [-1.0, 1.0]).tensor(DType::F32);
    let name = "decoder.dictionary";
    let run = |adam: &mut Adam, parameter: &mut Tensor, gradients: &[Tensor]| {
        for gradient in gradients {
            adam.step(
                vec![(name, &mut *parameter)],
                &[(name, gradient.clone())],
                1e-2,
            )
            .unwrap();
        }
    };
    let new = || Adam::new(&[(name, &start)], |_| 5e-4).unwrap();
    let (mut whole, mut whole_parameter) = (new(), start.clone());
    run(&mut whole, &mut whole_parameter, &gradients);

    let (mut first, mut parameter) = (new(), start.clone());
    run(&mut first, &mut parameter, &gradients[..5]);
    let (_, m, v) = first.moments().unwrap()[0].clone();
    let (m, v) = (m.clone(), v.clone());
    let mut second = new();
    let restored = second.restore::<candle_core::Error>(first.steps(), |asked, _| {
        assert_eq!(asked, name);
        Ok((m.clone(), v.clone()))
    });
    restored.unwrap();
    run(&mut second, &mut parameter, &gradients[5..]);
    let bits = |tensor: &Tensor| -> Vec<u32> {
        let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        values.iter().map(|v| v.to_bits()).collect()
    };
    assert_eq!(bits(&parameter), bits(&whole_parameter));
    assert_eq!(second.steps(), 12);

    let mut unfit = new();
    let small = vector(&[0.0], DType::F32);
    let refused = unfit
        .restore::<candle_core::Error>(3, |_, _| Ok((small.clone(), small.clone())))
        .unwrap_err()
        .to_string();
    assert!(refused.contains(name), "{refused}");
}
