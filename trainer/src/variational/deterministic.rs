//! One answer for an input, in place of samples: the shift of the components that a rule keeps,
//! times a gain.
//!
//! The threshold of a variational model acts on noise, not on the shift, so that a posterior itself
//! says nothing of which shifts to keep: where each unit is active with a probability below ½, the
//! most likely support is empty. Rule and gain are calibrated on training data instead.

use rayon::prelude::*;

use super::objective::Dictionary;
use super::posterior::{Heads, Posterior, Sparsity};

/// Which components of a code are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Those with |shift| above this.
    Shift(f64),
    /// Those that are active with a probability above this, by scale and threshold of the
    /// posterior.
    Activity(f64),
}

impl Rule {
    /// Whether a model file can hold the rule: one head alone has to decide. With a learned
    /// threshold the probability takes three, and a gate's is not that of its slab.
    pub fn is_held(&self, posterior: &Posterior) -> bool {
        match self {
            Self::Shift(_) => true,
            Self::Activity(_) => matches!(posterior.sparsity, Sparsity::Fixed { .. }),
        }
    }
}

/// A rule with its gain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibrated {
    /// Which components are kept.
    pub rule: Rule,
    /// What a kept shift is multiplied by.
    pub gain: f64,
}

impl Calibrated {
    /// What the rule comes to on inputs, `count × input_dim`, with the heads of all units, input
    /// after input.
    pub fn answer(
        &self,
        posterior: &Posterior,
        dictionary: &Dictionary,
        inputs: &[f32],
        heads: &[Heads<f64>],
    ) -> Answer {
        let sums = rows(dictionary, inputs, heads).map(|(x, heads)| {
            let code = self.code(posterior, heads);
            let answer = dictionary.answer(&code);
            let squares = answer
                .iter()
                .zip(x)
                .map(|(a, x)| (f64::from(*x) - a).powi(2));
            (squares.sum::<f64>(), code.len())
        });
        let sums: Vec<(f64, usize)> = sums.collect();
        let kept: usize = sums.iter().map(|(_, kept)| kept).sum();
        Answer {
            error: sums.iter().map(|(square, _)| square).sum::<f64>() / inputs.len().max(1) as f64,
            active: kept as f64 / heads.len().max(1) as f64,
        }
    }

    /// The components of a code that are not 0, in ascending order.
    pub fn code(&self, posterior: &Posterior, heads: &[Heads<f64>]) -> Vec<(usize, f64)> {
        let is_kept = |heads: &Heads<f64>| match self.rule {
            Rule::Shift(limit) => heads.shift.abs() > limit,
            Rule::Activity(limit) => posterior.activity(heads) > limit && heads.shift != 0.0,
        };
        let units = heads.iter().enumerate();
        let kept = units.filter(|(_, heads)| is_kept(heads));
        kept.map(|(unit, heads)| (unit, self.gain * heads.shift))
            .collect()
    }
}

/// What a calibrated rule comes to on the data that it was calibrated on, or on others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Mean square error.
    pub error: f64,
    /// The share of the components that are kept.
    pub active: f64,
}

/// Calibrates either rule to keep the share `active` of the components, each with the gain of least
/// squares. Returns the one with the smaller square error first.
///
/// `heads` are those of all units, input after input; `inputs` is `count × input_dim`.
pub fn calibrate(
    posterior: &Posterior,
    dictionary: &Dictionary,
    inputs: &[f32],
    heads: &[Heads<f64>],
    active: f64,
) -> [(Calibrated, Answer); 2] {
    let mut rules = rules(posterior, heads, active).map(|rule| {
        let raw = Calibrated { rule, gain: 1.0 };
        let gain = gain(posterior, dictionary, inputs, heads, &raw);
        let rule = Calibrated { gain, ..raw };
        (rule, rule.answer(posterior, dictionary, inputs, heads))
    });
    if rules[1].1.error < rules[0].1.error {
        rules.swap(0, 1);
    }
    rules
}

/// Either rule, with the limit that the share `active` of the components exceeds.
pub(super) fn rules(posterior: &Posterior, heads: &[Heads<f64>], active: f64) -> [Rule; 2] {
    let by_shift: Vec<f64> = heads.iter().map(|heads| heads.shift.abs()).collect();
    let by_activity: Vec<f64> = heads.iter().map(|h| posterior.activity(h)).collect();
    [
        Rule::Shift(limit(by_shift, active)),
        Rule::Activity(limit(by_activity, active)),
    ]
}

/// The number that the share `active` of the scores exceeds: below all of them if that is 1.
fn limit(mut scores: Vec<f64>, active: f64) -> f64 {
    let kept = (active * scores.len() as f64).round() as usize;
    if kept >= scores.len() || scores.is_empty() {
        return -1.0;
    }
    scores.sort_by(f64::total_cmp);
    scores[scores.len() - kept - 1]
}

/// `Σ⟨x, A z⟩ / Σ‖A z‖²` over all inputs; 1 where nothing is kept.
fn gain(
    posterior: &Posterior,
    dictionary: &Dictionary,
    inputs: &[f32],
    heads: &[Heads<f64>],
    rule: &Calibrated,
) -> f64 {
    let sums = rows(dictionary, inputs, heads).map(|(x, heads)| {
        let answer = dictionary.answer(&rule.code(posterior, heads));
        let along = answer.iter().zip(x).map(|(a, x)| a * f64::from(*x));
        let square = answer.iter().map(|a| a * a);
        [along.sum::<f64>(), square.sum::<f64>()]
    });
    // In their order, whoever computes them.
    let sums: Vec<[f64; 2]> = sums.collect();
    let [along, square] = sums
        .iter()
        .fold([0.0; 2], |a, b| [a[0] + b[0], a[1] + b[1]]);
    if square > 0.0 { along / square } else { 1.0 }
}

fn rows<'a>(
    dictionary: &Dictionary,
    inputs: &'a [f32],
    heads: &'a [Heads<f64>],
) -> impl IndexedParallelIterator<Item = (&'a [f32], &'a [Heads<f64>])> {
    let inputs = inputs.par_chunks_exact(dictionary.input_dim());
    inputs.zip(heads.par_chunks_exact(dictionary.code_dim()))
}
