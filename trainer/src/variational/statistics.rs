//! What is said of the codes of a trained model, and of the gradients that they give.

use candle_core::{Result, Tensor};
use serde::Serialize;

use super::learner::VariationalLearner;
use super::metrics::{Rows, SignalToNoise, collapsed, information, support_similarity};
use super::objective::Outcome;
use super::posterior::Heads;
use super::sampler::{Sampler as _, Seeded};
use crate::data::Samples;
use crate::rng::{Stream, generator};

/// Random numbers; see [`Stream::Noise`].
const STATISTICS: u16 = 11;

/// Edges of the bins that codes are told apart by, as the released dictionary experiment has them.
const EDGES: usize = 20;
/// What counts as collapsed.
const COLLAPSED: f64 = 0.01;
/// Inferences of an input, and inputs, that supports are compared of.
const INFERENCES: u64 = 20;
const REPEATED: usize = 100;
/// Inputs of a batch that gradients are taken of.
const BATCH: usize = 100;

/// Statistics of codes: of the sample that counts for each input, the best of several.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CodeStatistics {
    /// Inputs that they are of.
    pub inputs: usize,
    /// ‖z‖₁, on average of an input.
    pub l1: f64,
    /// `Σ H(Z_d) − H(Z)` in bits: marginal entropies of the components in bins less the joint one.
    pub multi_information: f64,
    /// The same of as many codes that are drawn from the prior and know nothing of an input. With
    /// many components either is little but the sum of the entropies, and says how sparse codes
    /// are.
    pub multi_information_of_prior: Option<f64>,
    /// The share of the components whose divergence from the prior is at most 0.01 nats in 95 % of
    /// the inputs. FISTA has none.
    pub posterior_collapse: Option<f64>,
    /// The share of the components that are within 0.01 of 0 in 95 % of the inputs. A component
    /// that is active more rarely than that counts, too.
    pub coefficient_collapse: f64,
    /// Jaccard similarity of the supports of repeated inferences: components that are active in
    /// both, of those that are active in either. Mean over the pairs of 20 inferences, and over at
    /// most 100 inputs.
    pub support_similarity: Option<f64>,
}

/// How much larger gradients of a batch are than they scatter from pass to pass: `|mean|/(deviation
/// + 1e-9)`, mean over the entries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GradientStatistics {
    /// Passes over the first 100 inputs.
    pub passes: usize,
    /// Of the dictionary.
    pub dictionary: f64,
    /// Of the encoder.
    pub encoder: f64,
}

impl VariationalLearner {
    /// Statistics of the codes of a set.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn code_statistics(&self, set: &Samples) -> Result<CodeStatistics> {
        /// Inputs at a time.
        const CHUNK: usize = 250;
        let (rows, units) = (set.inputs.dim(0)?, self.dictionary().code_dim());
        let (mut codes, mut divergences) = (Vec::new(), Vec::new());
        let posterior = self.family().posterior();
        for first in (0..rows).step_by(CHUNK) {
            let inputs = set.inputs.narrow(0, first, CHUNK.min(rows - first))?;
            if self.encoder().is_none() {
                let values: Vec<f32> = inputs.flatten_all()?.to_vec1()?;
                let found = self.by_fista(&values, self.family().inference.sparsity);
                codes.extend(found.codes);
                continue;
            }
            let step = (first / CHUNK) as u64;
            let (encoded, outcome) = self.drawn(&inputs, step)?;
            divergences.extend(encoded.iter().map(|heads| posterior.divergence(heads).0));
            codes.extend(codes_of(&outcome));
        }
        let bits = |codes: &[f64]| {
            let rows = Rows {
                values: codes,
                width: units,
            };
            information(rows, EDGES).multi_information()
        };
        let collapse = |values: &[f64]| {
            let rows = Rows {
                values,
                width: units,
            };
            collapsed(rows, COLLAPSED)
        };
        let has_encoder = self.encoder().is_some();
        let similarity = has_encoder.then(|| self.support_similarity(set));
        Ok(CodeStatistics {
            inputs: rows,
            l1: codes.iter().map(|z| z.abs()).sum::<f64>() / rows.max(1) as f64,
            multi_information: bits(&codes),
            multi_information_of_prior: has_encoder.then(|| bits(&self.codes_of_prior(rows))),
            posterior_collapse: has_encoder.then(|| collapse(&divergences)),
            coefficient_collapse: collapse(&codes),
            support_similarity: similarity.transpose()?,
        })
    }

    /// Signal and noise of the gradients of the first inputs of a set, over so many passes with
    /// other samples each. `None` without an encoder.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn gradient_statistics(
        &self,
        set: &Samples,
        passes: usize,
    ) -> Result<Option<GradientStatistics>> {
        let Some(encoder) = self.encoder() else {
            return Ok(None);
        };
        let count = set.len().min(BATCH);
        let inputs = set.inputs.narrow(0, 0, count)?;
        let objective = self.family().objective();
        let warmth = self.warmth();
        let (mut of_dictionary, mut of_encoder) =
            (SignalToNoise::default(), SignalToNoise::default());
        for pass in 0..passes as u64 {
            let (encoded, outcome) =
                self.outcome(&inputs, &inputs, warmth, STATISTICS, FIRST_PASS + pass)?;
            // A step of rate 1 without decay is the gradient.
            let mut moved = self.dictionary().clone();
            moved.step(&outcome, count, 1.0, 0.0);
            let atoms = self.dictionary().atoms().iter();
            of_dictionary.push(atoms.zip(moved.atoms()).map(|(a, b)| a - b));
            let by_code = objective.code_gradients(&outcome, self.dictionary(), count);
            let by_head = objective.head_gradients(&outcome, &by_code, &encoded.heads, warmth);
            let gradients = encoded.backward(&by_head)?;
            let mut all = Vec::new();
            for (_, parameter) in encoder.parameters() {
                if let Some(gradient) = gradients.get(&parameter) {
                    all.extend(gradient.flatten_all()?.to_vec1::<f32>()?);
                }
            }
            of_encoder.push(all.into_iter().map(f64::from));
        }
        let mean = |of: &SignalToNoise| {
            let ratios = of.ratios();
            ratios.iter().sum::<f64>() / ratios.len().max(1) as f64
        };
        Ok(Some(GradientStatistics {
            passes,
            dictionary: mean(&of_dictionary),
            encoder: mean(&of_encoder),
        }))
    }

    /// The heads of some inputs, and samples of their codes.
    fn drawn(&self, inputs: &Tensor, step: u64) -> Result<(Vec<Heads<f64>>, Outcome)> {
        let (encoded, outcome) = self.outcome(inputs, inputs, self.warmth(), STATISTICS, step)?;
        Ok((encoded.heads, outcome))
    }

    fn support_similarity(&self, set: &Samples) -> Result<f64> {
        let count = set.len().min(REPEATED);
        let inputs = set.inputs.narrow(0, 0, count)?;
        let units = self.dictionary().code_dim();
        let mut all = vec![Vec::new(); count];
        for inference in 0..INFERENCES {
            let (_, outcome) = self.drawn(&inputs, FIRST_INFERENCE + inference)?;
            let codes: Vec<f64> = codes_of(&outcome).collect();
            for (all, code) in all.iter_mut().zip(codes.chunks_exact(units)) {
                all.extend_from_slice(code);
            }
        }
        let similarities = all.iter().map(|codes| {
            support_similarity(Rows {
                values: codes,
                width: units,
            })
        });
        Ok(similarities.sum::<f64>() / count.max(1) as f64)
    }

    /// Codes of the prior, of so many inputs that it knows nothing of.
    fn codes_of_prior(&self, rows: usize) -> Vec<f64> {
        let (posterior, units) = (self.family().posterior(), self.dictionary().code_dim());
        let heads = vec![posterior.prior(); rows * units];
        let rng = generator(
            self.config().seed,
            Stream::Noise {
                purpose: STATISTICS,
            },
        );
        let sampler = Seeded::new(posterior, &heads, [units, 1], self.warmth(), rng, OF_PRIOR);
        let mut codes = vec![0.0; rows * units];
        let mut code = Vec::new();
        for (row, codes) in codes.chunks_exact_mut(units).enumerate() {
            sampler.code(row, 0, &mut code);
            code.iter().for_each(|(unit, value)| codes[*unit] = *value);
        }
        codes
    }
}

/// Steps of the random numbers, each for something else.
const FIRST_INFERENCE: u64 = 1 << 20;
const FIRST_PASS: u64 = 1 << 21;
const OF_PRIOR: u64 = 1 << 22;

/// The code of the sample that counts, input after input; the first where several do.
fn codes_of(outcome: &Outcome) -> impl Iterator<Item = f64> + '_ {
    let mut last = None;
    let counted = outcome.counted.iter();
    let first = counted.filter(move |counted| last.replace(counted.input) != Some(counted.input));
    first.flat_map(|counted| counted.code.iter().map(|unit| unit.value))
}
