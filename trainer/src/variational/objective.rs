//! What a step of learning minimises: the best of several samples, and how far posteriors are from
//! their prior.

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::posterior::{Draw, Heads, Posterior, Sparsity, Unit, Warmth};
use super::sampler::Sampler;
use crate::tensor::matmul::{Matrix, matmul};
use crate::tensor::wide::widest;

/// Which samples of an input a step learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Select {
    /// The sample of the least loss; the first of those that are equal.
    Best,
    /// All of them alike.
    Average,
    /// All of them, weighted by softmax(−loss). The weights are differentiated, too. In spite of
    /// the name this is not the bound of Burda, Grosse & Salakhutdinov (2016).
    Iwae,
}

/// A linear generator: x̂ = A z.
#[derive(Clone, Debug, PartialEq)]
pub struct Dictionary {
    /// The atoms one after the other, `code_dim × input_dim`.
    atoms: Vec<f64>,
    input_dim: usize,
}

/// The objective of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// How codes are distributed.
    pub posterior: Posterior,
    /// J, the samples of an input.
    pub samples: usize,
    /// Which of them count.
    pub select: Select,
    /// w, what the divergence counts.
    pub kl_weight: f64,
}

/// The samples of a batch that a step learns from.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The mean loss of the batch.
    pub loss: f64,
    /// Mean square error of each sample, `inputs × samples`.
    pub errors: Vec<f64>,
    /// Loss of each sample.
    pub losses: Vec<f64>,
    /// The mean divergence of a unit from its prior.
    pub divergence: f64,
    /// What each unit's divergence hands back to its heads.
    pub divergences: Vec<Heads<f64>>,
    /// What counts, ordered by input.
    pub counted: Vec<Counted>,
}

/// What is known of one input.
struct Part {
    loss: f64,
    errors: Vec<f64>,
    losses: Vec<f64>,
    divergence: f64,
    divergences: Vec<Heads<f64>>,
    counted: Vec<Counted>,
}

impl Outcome {
    /// That of inputs with so many units in all.
    fn of(parts: Vec<Part>, units: usize) -> Self {
        let count = parts.len();
        let mut outcome = Self {
            loss: 0.0,
            errors: Vec::new(),
            losses: Vec::new(),
            divergences: Vec::with_capacity(units),
            divergence: 0.0,
            counted: Vec::with_capacity(count),
        };
        for part in parts {
            outcome.loss += part.loss / count as f64;
            outcome.divergence += part.divergence / units as f64;
            outcome.errors.extend(part.errors);
            outcome.losses.extend(part.losses);
            outcome.divergences.extend(part.divergences);
            outcome.counted.extend(part.counted);
        }
        outcome
    }
}

/// A sample that counts.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Its input.
    pub input: usize,
    /// Its number, from 0.
    pub sample: usize,
    /// What its residual counts in the dictionary's step.
    pub weight: f64,
    /// What its loss counts in the gradient.
    pub share: f64,
    /// Its code.
    pub code: Vec<Unit>,
    /// The random numbers behind it.
    pub draws: Vec<Draw>,
    /// x − A z, where the generator is a dictionary.
    pub residual: Vec<f64>,
}

impl Dictionary {
    /// A dictionary of these atoms, one after the other.
    ///
    /// # Panics
    ///
    /// If the atoms are no whole number of `input_dim`.
    pub fn new(atoms: Vec<f64>, input_dim: usize) -> Self {
        assert!(input_dim > 0 && atoms.len().is_multiple_of(input_dim));
        Self { atoms, input_dim }
    }

    /// The atoms one after the other.
    pub fn atoms(&self) -> &[f64] {
        &self.atoms
    }

    /// Numbers of an input.
    pub fn input_dim(&self) -> usize {
        self.input_dim
    }

    /// Components of a code.
    pub fn code_dim(&self) -> usize {
        self.atoms.len() / self.input_dim
    }

    /// A z, `input_dim` numbers, for the components of a code by their places. Its cost follows
    /// the components.
    pub fn answer(&self, code: &[(usize, f64)]) -> Vec<f64> {
        let mut answer = Vec::new();
        self.residual(&vec![0.0; self.input_dim], code, &mut answer);
        answer.iter_mut().for_each(|a| *a = -*a);
        answer
    }

    /// One step for codes with the same weight, `inputs × code_dim`, and their inputs.
    pub(super) fn step_for(&mut self, codes: &[f64], inputs: &[f32], rate: f64, decay: f64) {
        let count = inputs.len() / self.input_dim;
        let rows = codes.chunks_exact(self.code_dim());
        let counted = rows.zip(inputs.chunks_exact(self.input_dim)).enumerate();
        let mut residual = Vec::new();
        let counted = counted.map(|(input, (codes, x))| {
            let units = codes.iter().copied().enumerate();
            let code: Vec<(usize, f64)> = units.filter(|(_, value)| *value != 0.0).collect();
            self.residual(x, &code, &mut residual);
            let unit = |value: f64| Unit {
                value,
                ..Unit::default()
            };
            Counted {
                input,
                sample: 0,
                weight: 1.0,
                share: 1.0,
                code: codes.iter().copied().map(unit).collect(),
                draws: Vec::new(),
                residual: residual.clone(),
            }
        });
        let counted: Vec<Counted> = counted.collect();
        self.descend(&counted, count, rate, decay);
    }

    /// x − A z, into `residual`.
    fn residual(&self, input: &[f32], code: &[(usize, f64)], residual: &mut Vec<f64>) {
        residual.clear();
        residual.extend(input.iter().map(|x| f64::from(*x)));
        widest(
            #[inline(always)]
            || {
                for (unit, value) in code {
                    let atom = &self.atoms[unit * self.input_dim..][..self.input_dim];
                    for (r, a) in residual.iter_mut().zip(atom) {
                        *r -= value * a;
                    }
                }
            },
        );
    }

    /// Mean square errors of samples with hardly a component that is 0, by one product.
    fn dense_errors(
        &self,
        atoms: &[f32],
        input: &[f32],
        samples: usize,
        code: impl Fn(usize, &mut Vec<(usize, f64)>),
    ) -> Vec<f64> {
        let (units, mut values) = (self.code_dim(), Vec::new());
        let mut codes = vec![0.0_f32; samples * units];
        for (sample, row) in codes.chunks_exact_mut(units).enumerate() {
            code(sample, &mut values);
            values
                .iter()
                .for_each(|(unit, value)| row[*unit] = *value as f32);
        }
        let mut answers = vec![0.0_f32; samples * self.input_dim];
        let left = Matrix::new(&codes, samples, units, units);
        let right = Matrix::new(atoms, units, self.input_dim, self.input_dim);
        matmul(&mut answers, self.input_dim, false, 1.0, left, right);
        let square = |answer: &[f32]| -> f64 {
            let pairs = answer.iter().zip(input);
            pairs.map(|(a, x)| f64::from(x - a).powi(2)).sum()
        };
        let rows = answers.chunks_exact(self.input_dim);
        rows.map(|answer| square(answer) / self.input_dim as f64)
            .collect()
    }

    /// The gradient of a sample's mean square error for its code: `−(2/P) Aᵀ (x − A z)`.
    fn back(&self, residual: &[f64]) -> impl Iterator<Item = f64> {
        let scale = -2.0 / self.input_dim as f64;
        let atoms = self.atoms.chunks_exact(self.input_dim);
        atoms.map(move |atom| scale * dot(atom, residual))
    }

    /// One step down `½ mean ‖x − A z‖² + φ ‖A‖²` over the samples that count:
    /// `A ← A + η ((1/B) Σ ω (x − A z) zᵀ − 2 φ A)`.
    pub fn step(&mut self, outcome: &Outcome, inputs: usize, rate: f64, decay: f64) {
        self.descend(&outcome.counted, inputs, rate, decay);
    }

    fn descend(&mut self, counted: &[Counted], inputs: usize, rate: f64, decay: f64) {
        let shrink = 1.0 - 2.0 * rate * decay;
        self.atoms.iter_mut().for_each(|a| *a *= shrink);
        for counted in counted {
            let scale = rate * counted.weight / inputs as f64;
            let atoms = self.atoms.chunks_exact_mut(self.input_dim);
            for (atom, unit) in atoms.zip(&counted.code) {
                if unit.value != 0.0 {
                    let scale = scale * unit.value;
                    widest(
                        #[inline(always)]
                        || {
                            for (a, r) in atom.iter_mut().zip(&counted.residual) {
                                *a += scale * r;
                            }
                        },
                    );
                }
            }
        }
    }
}

/// More than single precision rounds a mean square error, beside the error and the input's mean
/// square.
const ROUNDING: f64 = 1e-4;

/// The place of the least number, the first of those that are equal.
fn first_least(numbers: &[f64]) -> usize {
    let less = |best: usize, place: usize| match numbers[place] < numbers[best] {
        true => place,
        false => best,
    };
    (1..numbers.len()).fold(0, less)
}

/// In eight partial sums, which a processor adds at once.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    widest(
        #[inline(always)]
        || {
            // Not the caller's: those would go through memory with every sum.
            let mut sums = [0.0; 8];
            let ((a, rest_of_a), (b, rest_of_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
            for (a, b) in a.iter().zip(b) {
                for lane in 0..8 {
                    sums[lane] += a[lane] * b[lane];
                }
            }
            for (a, b) in rest_of_a.iter().zip(rest_of_b) {
                sums[0] += a * b;
            }
            sums.iter().sum()
        },
    )
}

impl Objective {
    /// Draws the samples of each input, and says which of them count. `heads` are those of all
    /// units, input after input.
    pub fn evaluate(
        &self,
        inputs: &[f32],
        heads: &[Heads<f64>],
        dictionary: &Dictionary,
        sampler: &impl Sampler,
    ) -> Outcome {
        let (input_dim, code_dim) = (dictionary.input_dim, dictionary.code_dim());
        let rows = inputs
            .par_chunks_exact(input_dim)
            .zip(heads.par_chunks_exact(code_dim));
        let atoms: Vec<f32> = match self.is_by_product() {
            true => dictionary.atoms.iter().map(|a| *a as f32).collect(),
            false => Vec::new(),
        };
        let parts: Vec<Part> = rows
            .enumerate()
            .map(|(input, (x, heads))| self.part(input, x, heads, (dictionary, &atoms), sampler))
            .collect();
        Outcome::of(parts, heads.len())
    }

    /// Which samples count by the mean square error of each, `inputs × samples`, whatever generator
    /// they are of. Residuals stay empty.
    ///
    /// # Panics
    ///
    /// If there are no samples, or the errors are not those of as many inputs as `heads` are of.
    pub fn judge(
        &self,
        heads: &[Heads<f64>],
        code_dim: usize,
        errors: &[f64],
        sampler: &impl Sampler,
    ) -> Outcome {
        let rows = heads.par_chunks_exact(code_dim);
        let errors = errors.par_chunks_exact(self.samples);
        assert_eq!(rows.len(), errors.len(), "inputs");
        let parts = rows
            .zip(errors)
            .enumerate()
            .map(|(input, (heads, errors))| {
                self.chosen(input, heads, errors.to_vec(), sampler, |_| Vec::new())
            });
        Outcome::of(parts.collect(), heads.len())
    }

    /// The divergences of an input's units from their prior: their sum, and what each hands back to
    /// its heads.
    fn divergences(&self, heads: &[Heads<f64>]) -> (f64, Vec<Heads<f64>>) {
        let mut sum = 0.0;
        let gradients = heads.iter().map(|heads| {
            let (value, gradient) = self.posterior.divergence(heads);
            sum += value;
            gradient
        });
        let gradients = gradients.collect();
        (sum, gradients)
    }

    /// The same of one input.
    fn part(
        &self,
        input: usize,
        x: &[f32],
        heads: &[Heads<f64>],
        (dictionary, atoms): (&Dictionary, &[f32]),
        sampler: &impl Sampler,
    ) -> Part {
        let (mut code, mut residual) = (Vec::new(), Vec::new());
        let pixels = dictionary.input_dim as f64;
        let mut exact = |sample: usize| {
            sampler.code(input, sample, &mut code);
            dictionary.residual(x, &code, &mut residual);
            dot(&residual, &residual) / pixels
        };
        let errors = if self.is_by_product() {
            let mut errors = dictionary.dense_errors(atoms, x, self.samples, |sample, code| {
                sampler.code(input, sample, code);
            });
            // Single precision finds those that may be the best, which are then compared exactly.
            let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
            let square: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
            let most = least + ROUNDING * (least + square / pixels);
            for (sample, error) in errors.iter_mut().enumerate() {
                if *error <= most {
                    *error = exact(sample);
                }
            }
            errors
        } else {
            (0..self.samples).map(exact).collect()
        };
        self.chosen(input, heads, errors, sampler, |units| {
            let values = units.iter().map(|unit| unit.value).enumerate();
            code.clear();
            code.extend(values.filter(|(_, value)| *value != 0.0));
            dictionary.residual(x, &code, &mut residual);
            residual.clone()
        })
    }

    /// What is known of an input by the mean square error of each of its samples.
    fn chosen(
        &self,
        input: usize,
        heads: &[Heads<f64>],
        errors: Vec<f64>,
        sampler: &impl Sampler,
        mut residual: impl FnMut(&[Unit]) -> Vec<f64>,
    ) -> Part {
        let (divergence, divergences) = self.divergences(heads);
        let losses = errors
            .iter()
            .map(|error| error + self.kl_weight * divergence);
        let losses: Vec<f64> = losses.collect();
        let (loss, shares) = self.shares(&losses);
        let counted = shares.into_iter().map(|(sample, [weight, share])| {
            let (code, draws) = sampler.units(input, sample);
            Counted {
                input,
                sample,
                weight,
                share,
                residual: residual(&code),
                code,
                draws,
            }
        });
        Part {
            counted: counted.collect(),
            loss,
            errors,
            losses,
            divergence,
            divergences,
        }
    }

    /// Whether samples are compared by one product in single precision: where hardly a component
    /// is 0, and only the best counts.
    fn is_by_product(&self) -> bool {
        self.posterior.sparsity == Sparsity::Dense && self.select == Select::Best
    }

    /// The loss of an input by those of its samples, and what each sample counts: in it, and in its
    /// gradient.
    fn shares(&self, losses: &[f64]) -> (f64, Vec<(usize, [f64; 2])>) {
        let all = |of: &dyn Fn(f64) -> [f64; 2]| {
            let samples = losses.iter().enumerate();
            samples.map(|(sample, loss)| (sample, of(*loss))).collect()
        };
        match self.select {
            Select::Best => {
                let best = first_least(losses);
                (losses[best], vec![(best, [1.0; 2])])
            }
            Select::Average => {
                let each = 1.0 / losses.len() as f64;
                let mean = losses.iter().sum::<f64>() * each;
                (mean, all(&|_| [each; 2]))
            }
            Select::Iwae => {
                let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
                let total: f64 = losses.iter().map(|loss| (least - loss).exp()).sum();
                let weight = |loss: f64| (least - loss).exp() / total;
                let mean: f64 = losses.iter().map(|loss| weight(*loss) * loss).sum();
                // ∂/∂L_j Σ_k w_k L_k with w = softmax(−L).
                let share = |loss: f64| [weight(loss), weight(loss) * (1.0 + mean - loss)];
                (mean, all(&share))
            }
        }
    }

    /// The gradient of the batch's loss for the codes of the samples that count, one after the
    /// other.
    pub fn code_gradients(
        &self,
        outcome: &Outcome,
        dictionary: &Dictionary,
        inputs: usize,
    ) -> Vec<f64> {
        let counted = outcome.counted.par_iter().flat_map_iter(|counted| {
            let scale = counted.share / inputs as f64;
            let back = dictionary.back(&counted.residual);
            back.map(move |gradient| scale * gradient)
        });
        counted.collect()
    }

    /// The gradient of the batch's loss for the heads of all units, input after input, given those
    /// for the codes: see [`code_gradients`](Self::code_gradients).
    pub fn head_gradients(
        &self,
        outcome: &Outcome,
        code_gradients: &[f64],
        heads: &[Heads<f64>],
        warmth: Warmth,
    ) -> Vec<Heads<f64>> {
        let code_dim = outcome.counted.first().map_or(1, |first| first.code.len());
        let inputs = heads.len() / code_dim;
        let scale = self.kl_weight / inputs as f64;
        // Samples of an input lie next to each other.
        let mut groups: Vec<&[Counted]> = Vec::with_capacity(inputs);
        groups.extend(outcome.counted.chunk_by(|a, b| a.input == b.input));
        let per_input = outcome.counted.len() / groups.len().max(1);
        let rows = outcome
            .divergences
            .par_chunks_exact(code_dim)
            .zip(groups)
            .zip(heads.par_chunks_exact(code_dim))
            .zip(code_gradients.par_chunks_exact(code_dim * per_input.max(1)));
        let rows = rows.flat_map_iter(|(((divergences, group), heads), upstream)| {
            let divergences = divergences.iter();
            let mut gradients: Vec<Heads<f64>> = divergences.map(|by| by.scaled(scale)).collect();
            for (counted, upstream) in group.iter().zip(upstream.chunks_exact(code_dim)) {
                let units = counted.code.iter().zip(&counted.draws).zip(upstream);
                for ((heads, gradient), ((unit, draw), upstream)) in
                    heads.iter().zip(&mut gradients).zip(units)
                {
                    gradient.add(
                        &self
                            .posterior
                            .gradient(heads, draw, unit, warmth, *upstream),
                    );
                }
            }
            gradients
        });
        rows.collect()
    }
}

/// What is said of an outcome: means over a batch.
pub(super) struct Facts {
    /// Mean square error of the best sample.
    pub(super) best: f64,
    /// That of the first.
    pub(super) one: f64,
    /// The share of the units that are active, of the samples that count.
    pub(super) active: f64,
}

impl Facts {
    pub(super) fn of(outcome: &Outcome, samples: usize) -> Self {
        let rows = outcome.errors.chunks_exact(samples);
        let count = rows.len().max(1) as f64;
        let least = |row: &[f64]| row.iter().copied().fold(f64::INFINITY, f64::min);
        let best = rows.clone().map(least).sum::<f64>() / count;
        let one = rows.map(|row| row[0]).sum::<f64>() / count;
        let units: usize = outcome
            .counted
            .iter()
            .map(|counted| counted.code.len())
            .sum();
        let codes = outcome.counted.iter().flat_map(|counted| &counted.code);
        let active = codes.filter(|unit| unit.value != 0.0).count();
        Self {
            best,
            one,
            active: active as f64 / units.max(1) as f64,
        }
    }
}
