//! The method in f64 and plain loops, written from its formulas: no tensor library, nothing shared
//! with the trainer.

use candle_core::{DType, Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sparsecode_trainer::lista::inference::{InferenceConfig, StepRule, Stopping};
use sparsecode_trainer::lista::model;

/// A row-major matrix.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) values: Vec<f64>,
}

impl Matrix {
    pub(crate) fn from_fn(
        rows: usize,
        columns: usize,
        mut f: impl FnMut(usize, usize) -> f64,
    ) -> Self {
        let mut values = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            for column in 0..columns {
                values.push(f(row, column));
            }
        }
        Self {
            rows,
            columns,
            values,
        }
    }

    /// Uniform between the bounds.
    pub(crate) fn random(
        rng: &mut ChaCha8Rng,
        rows: usize,
        columns: usize,
        bounds: [f64; 2],
    ) -> Self {
        Self::from_fn(rows, columns, |_, _| rng.random_range(bounds[0]..bounds[1]))
    }

    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.columns + column]
    }

    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..][..self.columns]
    }

    pub(crate) fn tensor(&self, dtype: DType) -> Tensor {
        Tensor::from_vec(self.values.clone(), (self.rows, self.columns), &Device::Cpu)
            .and_then(|tensor| tensor.to_dtype(dtype))
            .unwrap()
    }

    /// A vector is taken for one row.
    pub(crate) fn from_tensor(tensor: &Tensor) -> Self {
        let (rows, columns) = match *tensor.dims() {
            [columns] => (1, columns),
            [rows, columns] => (rows, columns),
            _ => panic!("not a matrix: {tensor}"),
        };
        let values = tensor
            .to_dtype(DType::F64)
            .and_then(|tensor| tensor.flatten_all()?.to_vec1())
            .unwrap();
        Self {
            rows,
            columns,
            values,
        }
    }

    /// The largest absolute difference, which is NaN if any difference is.
    pub(crate) fn distance(&self, other: &Self) -> f64 {
        assert_eq!((self.rows, self.columns), (other.rows, other.columns));
        let differences = self
            .values
            .iter()
            .zip(&other.values)
            .map(|(a, b)| (a - b).abs());
        differences.fold(0.0, |a, b| if b.is_nan() { b } else { a.max(b) })
    }

    /// [`Matrix::distance`] over the largest absolute value of `other`.
    pub(crate) fn relative_distance(&self, other: &Self) -> f64 {
        let scale = other.values.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        assert!(scale > 0.0, "nothing to compare with");
        self.distance(other) / scale
    }
}

pub(crate) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A vector as a one-dimensional tensor.
pub(crate) fn vector(values: &[f64], dtype: DType) -> Tensor {
    Tensor::new(values, &Device::Cpu)
        .and_then(|tensor| tensor.to_dtype(dtype))
        .unwrap()
}

fn relu(x: f64) -> f64 {
    if x > 0.0 { x } else { 0.0 }
}

/// U, b, S.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    pub(crate) input: Matrix,
    pub(crate) bias: Vec<f64>,
    pub(crate) recurrent: Matrix,
    pub(crate) iterations: usize,
}

impl Encoder {
    pub(crate) fn random(rng: &mut ChaCha8Rng, input_dim: usize, code_dim: usize) -> Self {
        Self {
            input: Matrix::random(rng, code_dim, input_dim, [-0.5, 0.5]),
            bias: Matrix::random(rng, 1, code_dim, [-0.2, 0.3]).values,
            recurrent: Matrix::random(rng, code_dim, code_dim, [-0.4, 0.4]),
            iterations: 3,
        }
    }

    pub(crate) fn forward(&self, inputs: &Matrix) -> Matrix {
        let code_dim = self.bias.len();
        let mut codes = Matrix::from_fn(inputs.rows, code_dim, |_, _| 0.0);
        for sample in 0..inputs.rows {
            let mut drive = self.bias.clone();
            for (j, drive) in drive.iter_mut().enumerate() {
                for (k, y) in inputs.row(sample).iter().enumerate() {
                    *drive += self.input.at(j, k) * y;
                }
            }
            let mut code: Vec<f64> = drive.iter().map(|&u| relu(u)).collect();
            for _ in 0..self.iterations {
                code = (0..code_dim)
                    .map(|j| {
                        let fed_back: f64 = (0..code_dim)
                            .map(|k| self.recurrent.at(j, k) * code[k])
                            .sum();
                        relu(drive[j] + fed_back)
                    })
                    .collect();
            }
            codes.values[sample * code_dim..][..code_dim].copy_from_slice(&code);
        }
        codes
    }

    pub(crate) fn tensors(&self, dtype: DType) -> model::Encoder {
        model::Encoder {
            input: self.input.tensor(dtype),
            bias: vector(&self.bias, dtype),
            recurrent: self.recurrent.tensor(dtype),
            iterations: self.iterations,
        }
    }
}

/// W, or W1, b1 and W2.
#[derive(Clone, Debug)]
pub(crate) enum Decoder {
    Linear(Matrix),
    OneHidden {
        hidden: Matrix,
        bias: Vec<f64>,
        output: Matrix,
    },
}

impl Decoder {
    pub(crate) fn linear(rng: &mut ChaCha8Rng, input_dim: usize, code_dim: usize) -> Self {
        Self::Linear(Matrix::random(rng, input_dim, code_dim, [-0.6, 0.6]))
    }

    pub(crate) fn one_hidden(
        rng: &mut ChaCha8Rng,
        input_dim: usize,
        code_dim: usize,
        hidden_dim: usize,
    ) -> Self {
        Self::OneHidden {
            hidden: Matrix::random(rng, hidden_dim, code_dim, [-0.6, 0.6]),
            bias: Matrix::random(rng, 1, hidden_dim, [-0.2, 0.3]).values,
            output: Matrix::random(rng, input_dim, hidden_dim, [-0.5, 0.5]),
        }
    }

    fn units(hidden: &Matrix, bias: &[f64], code: &[f64]) -> Vec<f64> {
        (0..hidden.rows)
            .map(|j| {
                let fed: f64 = (0..code.len()).map(|k| hidden.at(j, k) * code[k]).sum();
                relu(fed + bias[j])
            })
            .collect()
    }

    pub(crate) fn reconstruct(&self, code: &[f64]) -> Vec<f64> {
        let product = |matrix: &Matrix, x: &[f64]| -> Vec<f64> {
            (0..matrix.rows)
                .map(|i| (0..x.len()).map(|k| matrix.at(i, k) * x[k]).sum())
                .collect()
        };
        match self {
            Self::Linear(dictionary) => product(dictionary, code),
            Self::OneHidden {
                hidden,
                bias,
                output,
            } => product(output, &Self::units(hidden, bias, code)),
        }
    }

    pub(crate) fn forward(&self, codes: &Matrix) -> Matrix {
        let rows: Vec<Vec<f64>> = (0..codes.rows)
            .map(|i| self.reconstruct(codes.row(i)))
            .collect();
        Matrix::from_fn(codes.rows, rows[0].len(), |i, j| rows[i][j])
    }

    /// ∂/∂z of (1/d)‖y − D(z)‖².
    fn gradient(&self, code: &[f64], input: &[f64]) -> Vec<f64> {
        let error: Vec<f64> = self
            .reconstruct(code)
            .iter()
            .zip(input)
            .map(|(a, b)| a - b)
            .collect();
        let scale = 2.0 / input.len() as f64;
        (0..code.len())
            .map(|t| match self {
                Self::Linear(dictionary) => {
                    scale
                        * (0..input.len())
                            .map(|i| dictionary.at(i, t) * error[i])
                            .sum::<f64>()
                }
                Self::OneHidden {
                    hidden,
                    bias,
                    output,
                } => {
                    let units = Self::units(hidden, bias, code);
                    let through = (0..units.len()).filter(|&j| units[j] > 0.0).map(|j| {
                        let back: f64 = (0..input.len()).map(|i| output.at(i, j) * error[i]).sum();
                        hidden.at(j, t) * back
                    });
                    scale * through.sum::<f64>()
                }
            })
            .collect()
    }

    pub(crate) fn tensors(&self, dtype: DType) -> model::Decoder {
        match self {
            Self::Linear(dictionary) => model::Decoder::Linear {
                dictionary: dictionary.tensor(dtype),
            },
            Self::OneHidden {
                hidden,
                bias,
                output,
            } => model::Decoder::OneHidden {
                hidden: hidden.tensor(dtype),
                hidden_bias: vector(bias, dtype),
                output: output.tensor(dtype),
            },
        }
    }
}

/// Mean and unbiased standard deviation of a column.
pub(crate) fn column_statistics(codes: &Matrix, column: usize) -> (f64, f64) {
    let n = codes.rows as f64;
    let mean = (0..codes.rows).map(|i| codes.at(i, column)).sum::<f64>() / n;
    let squares: f64 = (0..codes.rows)
        .map(|i| (codes.at(i, column) - mean).powi(2))
        .sum();
    (mean, (squares / (n - 1.0)).sqrt())
}

/// Inference of one mini-batch.
pub(crate) struct Problem<'a> {
    pub(crate) decoder: &'a Decoder,
    pub(crate) inputs: &'a Matrix,
    pub(crate) encoder_codes: Option<&'a Matrix>,
    pub(crate) config: &'a InferenceConfig,
}

impl Problem<'_> {
    /// Reconstruction, variance, encoder and ℓ1 term.
    pub(crate) fn energy(&self, codes: &Matrix) -> [f64; 4] {
        let config = self.config;
        let mut terms = [0.0; 4];
        for i in 0..codes.rows {
            let reconstruction = self.decoder.reconstruct(codes.row(i));
            let input = self.inputs.row(i);
            for (a, b) in reconstruction.iter().zip(input) {
                terms[0] += (a - b).powi(2) / input.len() as f64;
            }
            if let Some(encoder_codes) = self.encoder_codes {
                for (a, b) in codes.row(i).iter().zip(encoder_codes.row(i)) {
                    terms[2] += config.encoder_weight / codes.columns as f64 * (a - b).powi(2);
                }
            }
            terms[3] += config.lambda * codes.row(i).iter().map(|z| z.abs()).sum::<f64>();
        }
        if config.variance_weight > 0.0 {
            for j in 0..codes.columns {
                let (_, deviation) = column_statistics(codes, j);
                terms[1] +=
                    config.variance_weight * relu(config.variance_threshold - deviation).powi(2);
            }
        }
        terms
    }

    /// f alone.
    pub(crate) fn smooth(&self, codes: &Matrix) -> f64 {
        self.energy(codes)[..3].iter().sum()
    }

    /// ∇f by the formulas.
    pub(crate) fn gradient(&self, codes: &Matrix) -> Matrix {
        let config = self.config;
        let mut gradient = Matrix::from_fn(codes.rows, codes.columns, |_, _| 0.0);
        for i in 0..codes.rows {
            let reconstruction = self.decoder.gradient(codes.row(i), self.inputs.row(i));
            for (t, value) in reconstruction.into_iter().enumerate() {
                gradient.values[i * codes.columns + t] += value;
                if let Some(encoder_codes) = self.encoder_codes {
                    let scale = 2.0 * config.encoder_weight / codes.columns as f64;
                    gradient.values[i * codes.columns + t] +=
                        scale * (codes.at(i, t) - encoder_codes.at(i, t));
                }
            }
        }
        for s in 0..codes.columns {
            let (mean, deviation) = column_statistics(codes, s);
            if deviation > 0.0 && deviation < config.variance_threshold {
                let factor = -2.0 * config.variance_weight / (codes.rows as f64 - 1.0)
                    * (config.variance_threshold - deviation)
                    / deviation;
                for t in 0..codes.rows {
                    gradient.values[t * codes.columns + s] += factor * (codes.at(t, s) - mean);
                }
            }
        }
        gradient
    }

    /// FISTA, sample by sample: codes, iterations of the loop, unconverged iterations of each
    /// sample.
    pub(crate) fn fista(&self, start: &Matrix) -> (Matrix, usize, Vec<u32>) {
        let config = self.config;
        let (eta, l) = (config.step_size, start.columns);
        let mut codes = start.clone();
        let mut point = start.clone();
        let mut flagged = vec![false; start.rows];
        let mut steps = vec![0; start.rows];
        let mut t = 1.0;
        for iteration in 1..=config.max_iterations {
            let gradient = self.gradient(&point);
            let t_next = (1.0 + f64::sqrt(1.0 + 4.0 * t * t)) / 2.0;
            let previous = codes.clone();
            for i in 0..start.rows {
                let frozen = flagged[i] && config.stopping == Stopping::Freeze;
                for j in (0..l).filter(|_| !frozen) {
                    let x = point.at(i, j);
                    codes.values[i * l + j] = if flagged[i] {
                        relu(x)
                    } else {
                        relu(x - eta * gradient.at(i, j) - config.lambda * eta)
                    };
                }
                let norm = |values: &mut dyn Iterator<Item = f64>| {
                    values.map(|x| x * x).sum::<f64>().sqrt()
                };
                let change = norm(&mut (0..l).map(|j| codes.at(i, j) - previous.at(i, j)));
                let before = norm(&mut (0..l).map(|j| previous.at(i, j)));
                flagged[i] = frozen || (before > 0.0 && change / before < config.tolerance);
                steps[i] += u32::from(!flagged[i]);
                for j in 0..l {
                    point.values[i * l + j] =
                        codes.at(i, j) + (t - 1.0) / t_next * (codes.at(i, j) - previous.at(i, j));
                }
            }
            t = t_next;
            if flagged.iter().all(|&f| f) {
                return (codes, iteration, steps);
            }
        }
        (codes, config.max_iterations, steps)
    }
}

/// Central differences of `f` for every entry of `at`.
pub(crate) fn finite_differences(at: &Matrix, f: impl Fn(&Matrix) -> f64) -> Matrix {
    let h = 1e-5;
    let mut point = at.clone();
    Matrix::from_fn(at.rows, at.columns, |row, column| {
        let index = row * at.columns + column;
        let middle = at.values[index];
        point.values[index] = middle + h;
        let above = f(&point);
        point.values[index] = middle - h;
        let below = f(&point);
        point.values[index] = middle;
        (above - below) / (2.0 * h)
    })
}

/// All terms on, in sizes at which the hinge acts on some components and not on others.
pub(crate) fn inference_config() -> InferenceConfig {
    InferenceConfig {
        lambda: 0.02,
        step_size: 0.3,
        step_rule: StepRule::Fixed,
        max_iterations: 50,
        tolerance: 1e-3,
        stopping: Stopping::Sliding,
        encoder_weight: 3.0,
        variance_weight: 4.0,
        variance_threshold: 0.5,
        initial_code: 0.0,
    }
}
