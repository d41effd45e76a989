//! Random models, and the same algorithms written once more: dense, in `f64`, in the textbook
//! orientation.

#![allow(dead_code, reason = "every test file uses its part")]

#[cfg(feature = "std")]
pub(crate) mod exact;
#[cfg(feature = "std")]
pub(crate) mod variational;

use sparsecode_formats::{
    AlignedBytes, CodeSign, Contrast, Decoder, InputFacts, InputShape, MatrixRef, ModelFile,
    OwnedDecoder, OwnedEncoder, OwnedModel, OwnedProvenance, OwnedSpec, Preprocessing, Variant,
    WeightType, write,
};

/// Numbers that depend on the seed alone (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Uniform in −1..1.
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn vector(&mut self, length: usize, size: f32) -> Vec<f32> {
        (0..length).map(|_| size * self.next()).collect()
    }
}

/// Dimensions and kind of a random model; `hidden` 0 is linear, `lista` `None` has no encoder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) input: usize,
    pub(crate) code: usize,
    pub(crate) hidden: usize,
    pub(crate) lista: Option<u8>,
}

/// A model with weights uniform in ±1/√fan_in, as after torch's initialisation, and small biases.
pub(crate) fn random_model(shape: Shape, seed: u64) -> OwnedModel {
    let Shape {
        input,
        code,
        hidden,
        lista,
    } = shape;
    let mut random = Random(seed);
    let fan_in = |n: usize| 1.0 / (n as f32).sqrt();
    OwnedModel {
        spec: OwnedSpec {
            variant: if lista.is_some() {
                Variant::Vdl
            } else {
                Variant::Do
            },
            input_shape: InputShape::window(input as u16),
            code_dim: code as u16,
            hidden_dim: hidden as u16,
            lista_iterations: lista,
            codes: CodeSign::NonNegative,
            lambda: 0.01,
            preprocessing: Preprocessing {
                mean: 0.4,
                deviation: 0.3,
                contrast: Contrast::None,
            },
            peak: 1.0,
            input: InputFacts::default(),
            provenance: OwnedProvenance::default(),
        },
        encoder: lista.map(|_| OwnedEncoder {
            input: random.vector(code * input, 2.0 * fan_in(input)),
            bias: random.vector(code, 0.1),
            recurrent: random.vector(code * code, fan_in(code)),
        }),
        gram: None,
        variational: None,
        decoder: if hidden == 0 {
            OwnedDecoder::Linear {
                dictionary: random.vector(code * input, fan_in(code)),
            }
        } else {
            OwnedDecoder::OneHidden {
                hidden: random.vector(code * hidden, fan_in(code)),
                hidden_bias: random.vector(hidden, 0.1),
                output: random.vector(hidden * input, fan_in(hidden)),
            }
        },
    }
}

/// The bytes of a model file, aligned.
pub(crate) fn file(model: &OwnedModel, weights: WeightType) -> AlignedBytes {
    AlignedBytes::from_slice(&write(model, weights).unwrap())
}

type Matrix = Vec<Vec<f64>>;

/// A model in `f64`, with the weights that the file stands for.
pub(crate) struct Reference {
    signed: bool,
    input_dim: usize,
    lista: usize,
    /// `U`, `b`, `S`
    encoder: Option<(Matrix, Vec<f64>, Matrix)>,
    /// `W`, or `W1`; rows are outputs.
    first: Matrix,
    /// `b1`, `W2`
    second: Option<(Vec<f64>, Matrix)>,
}

fn rows(matrix: &MatrixRef<'_>) -> Matrix {
    let weight = |i, j| f64::from(matrix.weight(i, j).unwrap());
    (0..matrix.rows)
        .map(|i| (0..matrix.cols).map(|j| weight(i, j)).collect())
        .collect()
}

fn transposed(matrix: &Matrix) -> Matrix {
    (0..matrix[0].len())
        .map(|j| matrix.iter().map(|row| row[j]).collect())
        .collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

fn product(matrix: &Matrix, x: &[f64]) -> Vec<f64> {
    let dot = |row: &Vec<f64>| row.iter().zip(x).map(|(w, x)| w * x).sum();
    matrix.iter().map(dot).collect()
}

fn relu(values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|v| v.max(0.0)).collect()
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

pub(crate) fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

impl Reference {
    pub(crate) fn new(file: &ModelFile<'_>) -> Self {
        let encoder = file.encoder.map(|encoder| {
            let recurrent = transposed(&rows(&encoder.recurrent));
            (rows(&encoder.input), wide(encoder.bias), recurrent)
        });
        let (first, second) = match file.decoder {
            Decoder::Linear { dictionary } => (transposed(&rows(&dictionary)), None),
            Decoder::OneHidden {
                hidden,
                hidden_bias,
                output,
            } => {
                let second = (wide(hidden_bias), transposed(&rows(&output)));
                (transposed(&rows(&hidden)), Some(second))
            }
        };
        Self {
            signed: file.spec.codes == CodeSign::Signed,
            input_dim: file.spec.input_dim(),
            lista: file.spec.lista_iterations.unwrap_or(0).into(),
            encoder,
            first,
            second,
        }
    }

    pub(crate) fn encode(&self, input: &[f32]) -> Vec<f64> {
        let (u_matrix, bias, recurrent) = self.encoder.as_ref().unwrap();
        let u = sum(&product(u_matrix, &wide(input)), bias);
        let mut z = relu(u.clone());
        for _ in 0..self.lista {
            z = relu(sum(&u, &product(recurrent, &z)));
        }
        z
    }

    pub(crate) fn decode(&self, code: &[f64]) -> Vec<f64> {
        let first = product(&self.first, code);
        match &self.second {
            None => first,
            Some((bias, output)) => product(output, &relu(sum(&first, bias))),
        }
    }

    fn residual(&self, input: &[f32], code: &[f64]) -> Vec<f64> {
        let output = self.decode(code);
        output
            .iter()
            .zip(input)
            .map(|(o, y)| o - f64::from(*y))
            .collect()
    }

    pub(crate) fn mean_squared_residual(&self, input: &[f32], code: &[f64]) -> f64 {
        norm(&self.residual(input, code)).powi(2) / self.input_dim as f64
    }

    pub(crate) fn energy(&self, input: &[f32], code: &[f64], lambda: f32) -> f64 {
        let size: f64 = code.iter().map(|z| z.abs()).sum();
        self.mean_squared_residual(input, code) + f64::from(lambda) * size
    }

    /// The end of a refinement, unless the energy of its start is lower.
    pub(crate) fn better(
        &self,
        input: &[f32],
        start: &[f64],
        end: Vec<f64>,
        lambda: f32,
    ) -> Vec<f64> {
        if self.energy(input, &end, lambda) <= self.energy(input, start, lambda) {
            end
        } else {
            start.to_vec()
        }
    }

    pub(crate) fn gradient(&self, input: &[f32], code: &[f64]) -> Vec<f64> {
        let mut back = self.residual(input, code);
        if let Some((bias, output)) = &self.second {
            let before = sum(&product(&self.first, code), bias);
            back = product(&transposed(output), &back);
            for (gradient, h) in back.iter_mut().zip(before) {
                *gradient = if h > 0.0 { *gradient } else { 0.0 };
            }
        }
        let scale = 2.0 / self.input_dim as f64;
        product(&transposed(&self.first), &back)
            .into_iter()
            .map(|g| scale * g)
            .collect()
    }

    /// `argmin_z ½(z − v)² + t|z|`, of either sign or not negative.
    fn shrunken(&self, v: f64, t: f64) -> f64 {
        let size = (v.abs() - t).max(0.0);
        if v < 0.0 && !self.signed {
            0.0
        } else {
            size.copysign(v)
        }
    }

    /// How far a code is from the conditions under which its energy is the lowest (Karush, Kuhn &
    /// Tucker): the gradient is −λ where a component is positive, λ where it is negative, and
    /// within ±λ (not negative codes: −λ or more) where it is 0.
    pub(crate) fn violation(&self, input: &[f32], code: &[f64], lambda: f32) -> f64 {
        let lambda = f64::from(lambda);
        let gradient = self.gradient(input, code);
        let of = |(&z, g): (&f64, f64)| match z {
            z if z > 0.0 => (g + lambda).abs(),
            z if z < 0.0 => (g - lambda).abs(),
            _ if self.signed => g.abs() - lambda,
            _ => -g - lambda,
        };
        code.iter().zip(gradient).map(of).fold(0.0, f64::max)
    }

    /// `iterations` of FISTA from `code`, never stopping early.
    pub(crate) fn fista(
        &self,
        input: &[f32],
        code: &[f64],
        lambda: f32,
        step_size: f32,
        iterations: u32,
    ) -> Vec<f64> {
        let (lambda, step_size) = (f64::from(lambda), f64::from(step_size));
        let (mut z, mut x, mut t) = (code.to_vec(), code.to_vec(), 1.0_f64);
        for _ in 0..iterations {
            let gradient = self.gradient(input, &x);
            let next = x
                .iter()
                .zip(gradient)
                .map(|(x, g)| self.shrunken(x - step_size * g, lambda * step_size))
                .collect::<Vec<f64>>();
            let t_next = (1.0 + (1.0 + 4.0 * t * t).sqrt()) / 2.0;
            x = next
                .iter()
                .zip(&z)
                .map(|(new, old)| new + (t - 1.0) / t_next * (new - old))
                .collect();
            (z, t) = (next, t_next);
        }
        z
    }
}

/// Demands `|found − expected| ≤ tolerance·(1 + max|expected|)` for every element.
pub(crate) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(1.0_f64, |size, e| size.max(e.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f64::from(*f) - e).abs() <= tolerance * size,
            "element {i}: {f} instead of {e} (largest {size})"
        );
    }
}
