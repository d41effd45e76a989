//! What a step of learning minimises: the best of several samples, and how far posteriors are from
//! their prior.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::posterior::{Draw, Heads, Posterior, Unit, Warmth};

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
    /// What counts, ordered by input.
    pub counted: Vec<Counted>,
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
    /// x − A z.
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

    /// x − A z.
    fn residual(&self, input: &[f32], code: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut residual: Vec<f64> = input.iter().map(|x| f64::from(*x)).collect();
        for (atom, value) in self.atoms.chunks_exact(self.input_dim).zip(code) {
            if value != 0.0 {
                for (r, a) in residual.iter_mut().zip(atom) {
                    *r -= value * a;
                }
            }
        }
        residual
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
        let shrink = 1.0 - 2.0 * rate * decay;
        self.atoms.iter_mut().for_each(|a| *a *= shrink);
        for counted in &outcome.counted {
            let scale = rate * counted.weight / inputs as f64;
            let atoms = self.atoms.chunks_exact_mut(self.input_dim);
            for (atom, unit) in atoms.zip(&counted.code) {
                if unit.value != 0.0 {
                    let scale = scale * unit.value;
                    for (a, r) in atom.iter_mut().zip(&counted.residual) {
                        *a += scale * r;
                    }
                }
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Objective {
    /// Draws the samples of each input, and says which of them count. `heads` are those of all
    /// units, input after input; `draw(input, sample, unit)` gives random numbers, the same each
    /// time that it is asked.
    pub fn evaluate(
        &self,
        inputs: &[f32],
        heads: &[Heads<f64>],
        dictionary: &Dictionary,
        warmth: Warmth,
        draw: &impl Fn(usize, usize, usize) -> Draw,
    ) -> Outcome {
        let (input_dim, code_dim) = (dictionary.input_dim, dictionary.code_dim());
        let count = inputs.len() / input_dim;
        let mut outcome = Outcome {
            loss: 0.0,
            errors: Vec::with_capacity(count * self.samples),
            losses: Vec::with_capacity(count * self.samples),
            counted: Vec::new(),
        };
        let rows = inputs.chunks_exact(input_dim);
        for (input, (x, heads)) in rows.zip(heads.chunks_exact(code_dim)).enumerate() {
            let divergence: f64 = heads.iter().map(|h| self.posterior.divergence(h).0).sum();
            let code = |sample: usize| {
                let units = heads.iter().enumerate();
                units.map(move |(unit, heads)| {
                    let draw = draw(input, sample, unit);
                    self.posterior.sample(heads, &draw, warmth)
                })
            };
            let first = outcome.losses.len();
            for sample in 0..self.samples {
                let residual = dictionary.residual(x, code(sample).map(|unit| unit.value));
                let error = dot(&residual, &residual) / input_dim as f64;
                outcome.errors.push(error);
                outcome.losses.push(error + self.kl_weight * divergence);
            }
            let losses = &outcome.losses[first..];
            let (loss, shares) = self.shares(losses);
            outcome.loss += loss / count as f64;
            for (sample, [weight, share]) in shares {
                let code: Vec<Unit> = code(sample).collect();
                let residual = dictionary.residual(x, code.iter().map(|unit| unit.value));
                outcome.counted.push(Counted {
                    input,
                    sample,
                    weight,
                    share,
                    code,
                    residual,
                });
            }
        }
        outcome
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
                let best = (1..losses.len()).fold(0, |best, sample| {
                    if losses[sample] < losses[best] {
                        sample
                    } else {
                        best
                    }
                });
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
        let counted = outcome.counted.iter().flat_map(|counted| {
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
        draw: &impl Fn(usize, usize, usize) -> Draw,
    ) -> Vec<Heads<f64>> {
        let code_dim = outcome.counted.first().map_or(1, |first| first.code.len());
        let inputs = heads.len() / code_dim;
        let scale = self.kl_weight / inputs as f64;
        let mut gradients: Vec<Heads<f64>> = heads
            .iter()
            .map(|heads| self.posterior.divergence(heads).1.scaled(scale))
            .collect();
        let rows = outcome
            .counted
            .iter()
            .zip(code_gradients.chunks_exact(code_dim));
        for (counted, upstream) in rows {
            let first = counted.input * code_dim;
            for (unit, (sampled, upstream)) in counted.code.iter().zip(upstream).enumerate() {
                let draw = draw(counted.input, counted.sample, unit);
                let heads = &heads[first + unit];
                let by = self
                    .posterior
                    .gradient(heads, &draw, sampled, warmth, *upstream);
                gradients[first + unit].add(&by);
            }
        }
        gradients
    }
}
