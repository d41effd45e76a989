//! How samples of codes are drawn: from given random numbers, or from a seed.
//!
//! A seeded draw is a function of seed, purpose, step, input and sample alone, so that a sample can
//! be drawn again: all are drawn to find the best, of whose units alone everything is then known.
//! Where a distribution has a closed form only the units that are active cost more than one
//! comparison. A unit of a Laplacian posterior is active with probability p, whatever its threshold
//! is, and what is beyond the threshold is Laplacian again (it has no memory); a learned threshold
//! is drawn afterwards, for the samples that count, given what is known of them.

use rand::RngCore;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, Gamma, StandardNormal};
use statrs::function::erf::erfc_inv;

use super::posterior::{Base, Draw, Heads, Posterior, Relaxation, Sparsity, Unit, Warmth};

/// Draws samples of the codes of a batch.
pub trait Sampler: Sync {
    /// The components of a sample that are not 0, in ascending order; what `code` held is gone.
    fn code(&self, input: usize, sample: usize, code: &mut Vec<(usize, f64)>);

    /// The same sample unit by unit, with the random numbers behind each.
    fn units(&self, input: usize, sample: usize) -> (Vec<Unit>, Vec<Draw>);
}

/// Samples of given random numbers.
pub struct Given<'a, D> {
    /// The distribution.
    pub posterior: Posterior,
    /// What the encoder says of all units, input after input.
    pub heads: &'a [Heads<f64>],
    /// Units of an input.
    pub code_dim: usize,
    /// κ and T.
    pub warmth: Warmth,
    /// The random numbers of `(input, sample, unit)`, the same each time that it is asked.
    pub draw: D,
}

impl<D: Fn(usize, usize, usize) -> Draw + Sync> Sampler for Given<'_, D> {
    fn code(&self, input: usize, sample: usize, code: &mut Vec<(usize, f64)>) {
        let (units, _) = self.units(input, sample);
        let values = units.iter().map(|unit| unit.value).enumerate();
        code.clear();
        code.extend(values.filter(|(_, value)| *value != 0.0));
    }

    fn units(&self, input: usize, sample: usize) -> (Vec<Unit>, Vec<Draw>) {
        let heads = &self.heads[input * self.code_dim..][..self.code_dim];
        let draws = (0..self.code_dim).map(|unit| (self.draw)(input, sample, unit));
        let both = heads.iter().zip(draws).map(|(heads, draw)| {
            let unit = self.posterior.sample(heads, &draw, self.warmth);
            (unit, draw)
        });
        both.unzip()
    }
}

/// Samples of random numbers from a seed.
pub struct Seeded<'a> {
    posterior: Posterior,
    heads: &'a [Heads<f64>],
    code_dim: usize,
    samples: usize,
    warmth: Warmth,
    rng: ChaCha8Rng,
    /// Of each unit.
    odds: Vec<Odds>,
}

/// What decides whether a unit is active.
#[derive(Clone, Copy, Debug, Default)]
struct Odds {
    /// It is active where 31 random bits are below this.
    limit: u32,
    /// κb, σ, or the slab's deviation.
    spread: f64,
}

/// 31 bits of a random word say how far out a unit's noise is; the last one says on which side.
const RANGE: f64 = (1_u32 << 31) as f64;
/// Words of a sample. What is drawn afterwards begins in the middle.
const WORDS: u32 = 16;
/// Words of a step.
const STEP: u32 = 40;

impl<'a> Seeded<'a> {
    /// Samples of a step: `samples` of each input. `rng` is the generator of the purpose.
    pub fn new(
        posterior: Posterior,
        heads: &'a [Heads<f64>],
        [code_dim, samples]: [usize; 2],
        warmth: Warmth,
        mut rng: ChaCha8Rng,
        step: u64,
    ) -> Self {
        rng.set_word_pos(u128::from(step) << STEP);
        let odds = heads.iter().map(|heads| {
            let spread = match (posterior.sparsity, posterior.base) {
                (Sparsity::Gate { .. }, _) => {
                    warmth.noise * (0.5 * heads.scale).exp() + (1.0 - warmth.noise).sqrt()
                }
                (_, Base::Gaussian) => (0.5 * heads.scale).exp(),
                (_, Base::Laplacian) => warmth.noise * heads.scale.exp(),
            };
            let active = match (posterior.sparsity, posterior.base) {
                (Sparsity::Dense, _) | (Sparsity::Learned { .. }, Base::Gaussian) => 1.0,
                (_, Base::Laplacian) => posterior.activity_within(heads, spread),
                (_, Base::Gaussian) => posterior.activity(heads),
            };
            Odds {
                limit: (active * RANGE).round() as u32,
                spread,
            }
        });
        Self {
            odds: odds.collect(),
            posterior,
            heads,
            code_dim,
            samples,
            warmth,
            rng,
        }
    }

    /// The generator of a sample, at its first word or behind all of them.
    fn rng(&self, input: usize, sample: usize, is_behind: bool) -> ChaCha8Rng {
        let mut rng = self.rng.clone();
        let row = (input * self.samples + sample) as u128;
        let behind = if is_behind { 1 << (WORDS - 1) } else { 0 };
        rng.set_word_pos(rng.get_word_pos() + (row << WORDS) + behind);
        rng
    }

    fn of(&self, input: usize) -> (&[Heads<f64>], &[Odds]) {
        let place = input * self.code_dim;
        (
            &self.heads[place..][..self.code_dim],
            &self.odds[place..][..self.code_dim],
        )
    }

    /// Whether a closed form says which units are active.
    fn is_closed(&self) -> bool {
        !matches!(
            (self.posterior.sparsity, self.posterior.base),
            (Sparsity::Dense | Sparsity::Learned { .. }, Base::Gaussian)
        )
    }

    /// Samples of normal noise whose thresholds, if any, have to be drawn for every unit.
    fn open(&self, input: usize, sample: usize) -> impl Iterator<Item = (Unit, Draw)> {
        let mut rng = self.rng(input, sample, false);
        let is_learned = self.posterior.sparsity != Sparsity::Dense;
        self.of(input).0.iter().map(move |heads| {
            let noise = StandardNormal.sample(&mut rng);
            let gamma = match is_learned {
                true => gamma(Posterior::threshold_shape(heads), &mut rng),
                false => 0.0,
            };
            let draw = Draw {
                noise,
                gamma,
                ..Draw::default()
            };
            (self.posterior.sample(heads, &draw, self.warmth), draw)
        })
    }

    /// The value of an active unit, by 31 bits below its limit.
    fn value(&self, heads: &Heads<f64>, odds: &Odds, word: u32) -> f64 {
        let sign = if word & 1 == 0 { 1.0 } else { -1.0 };
        let beyond = match self.posterior.base {
            Base::Laplacian => -odds.spread * conditional(word, odds).ln(),
            Base::Gaussian => odds.spread * normal(word) - self.threshold(),
        };
        heads.shift + sign * beyond.max(0.0)
    }

    /// λ where it is fixed, else 0.
    fn threshold(&self) -> f64 {
        match self.posterior.sparsity {
            Sparsity::Fixed { threshold } => threshold.abs(),
            _ => 0.0,
        }
    }

    /// A unit of a thresholded sample, by its word.
    fn unit(
        &self,
        heads: &Heads<f64>,
        odds: &Odds,
        word: u32,
        behind: &mut ChaCha8Rng,
    ) -> (Unit, Draw) {
        let is_active = word >> 1 < odds.limit;
        let sign = if word & 1 == 0 { 1.0 } else { -1.0 };
        let value = match is_active {
            true => self.value(heads, odds, word),
            false => 0.0,
        };
        let beyond = if is_active {
            (value - heads.shift).abs()
        } else {
            0.0
        };
        let mut draw = Draw::default();
        let (magnitude, threshold) = match self.posterior.sparsity {
            Sparsity::Learned { .. } => {
                let rate = Posterior::threshold_rate(heads);
                let shape = Posterior::threshold_shape(heads);
                let (magnitude, threshold) = if is_active {
                    // Given that noise exceeds it, a threshold is smaller than it was.
                    let threshold = gamma(shape, behind) / (rate + 1.0 / odds.spread);
                    (threshold + beyond, threshold)
                } else {
                    below(shape, rate, odds.spread, behind)
                };
                draw.gamma = threshold * rate;
                (magnitude, threshold)
            }
            _ => {
                let magnitude = match self.posterior.base {
                    Base::Laplacian => -odds.spread * uniform(word).ln(),
                    Base::Gaussian => odds.spread * normal(word),
                };
                (magnitude, self.threshold())
            }
        };
        let unit = Unit {
            value,
            is_active,
            noise: sign * magnitude,
            threshold,
        };
        (unit, draw)
    }

    /// A unit behind a gate, by the words of the gate and of the slab.
    fn gated(&self, heads: &Heads<f64>, words: [u32; 2]) -> (Unit, Draw) {
        let sign = if words[1] & 1 == 0 { 1.0 } else { -1.0 };
        let draw = Draw {
            noise: sign * normal(words[1]),
            // A gate opens where η is high.
            gate: 1.0 - uniform(words[0]),
            ..Draw::default()
        };
        (self.posterior.sample(heads, &draw, self.warmth), draw)
    }

    fn words(&self, input: usize, sample: usize) -> Vec<u32> {
        let is_gate = matches!(self.posterior.sparsity, Sparsity::Gate { .. });
        let count = if is_gate { 2 } else { 1 } * self.code_dim;
        let mut rng = self.rng(input, sample, false);
        let mut bytes = vec![0; 4 * count];
        rng.fill_bytes(&mut bytes);
        let words = bytes.as_chunks().0.iter();
        words.map(|word| u32::from_le_bytes(*word)).collect()
    }
}

/// A draw of Gamma(shape, 1), shapes within the clip of [`Posterior::threshold_shape`].
fn gamma(shape: f64, rng: &mut ChaCha8Rng) -> f64 {
    Gamma::new(shape, 1.0).map_or(0.0, |gamma| gamma.sample(rng))
}

/// Laplacian noise that stays below a threshold, and the threshold: again until it does.
fn below(shape: f64, rate: f64, spread: f64, rng: &mut ChaCha8Rng) -> (f64, f64) {
    /// So often in vain only where hardly a unit is inactive.
    const MOST: usize = 10_000;
    for _ in 0..MOST {
        let threshold = gamma(shape, rng) / rate;
        let noise: f64 = Exp1.sample(rng);
        if spread * noise <= threshold {
            return (spread * noise, threshold);
        }
    }
    (0.0, 0.0)
}

/// Above 0, below 1.
fn uniform(word: u32) -> f64 {
    (f64::from(word >> 1) + 0.5) / RANGE
}

/// The share of the bits below the limit.
fn conditional(word: u32, odds: &Odds) -> f64 {
    (f64::from(word >> 1) + 0.5) / f64::from(odds.limit.max(1))
}

/// The magnitude of a normal number that so small a share exceeds.
fn normal(word: u32) -> f64 {
    std::f64::consts::SQRT_2 * erfc_inv(uniform(word))
}

impl Sampler for Seeded<'_> {
    fn code(&self, input: usize, sample: usize, code: &mut Vec<(usize, f64)>) {
        code.clear();
        if !self.is_closed() {
            let values = self.open(input, sample).map(|(unit, _)| unit.value);
            code.extend(values.enumerate().filter(|(_, value)| *value != 0.0));
            return;
        }
        let (heads, odds) = self.of(input);
        let words = self.words(input, sample);
        if let Sparsity::Gate { relaxation, .. } = self.posterior.sparsity {
            for (unit, (heads, odds)) in heads.iter().zip(odds).enumerate() {
                let words = [words[2 * unit], words[2 * unit + 1]];
                if relaxation == Relaxation::Straight && words[0] >> 1 > odds.limit {
                    continue;
                }
                let (sampled, _) = self.gated(heads, words);
                if sampled.value != 0.0 {
                    code.push((unit, sampled.value));
                }
            }
            return;
        }
        for (unit, (word, odds)) in words.iter().zip(odds).enumerate() {
            if word >> 1 < odds.limit {
                code.push((unit, self.value(&heads[unit], odds, *word)));
            }
        }
    }

    fn units(&self, input: usize, sample: usize) -> (Vec<Unit>, Vec<Draw>) {
        if !self.is_closed() {
            return self.open(input, sample).unzip();
        }
        let (heads, odds) = self.of(input);
        let words = self.words(input, sample);
        if let Sparsity::Gate { .. } = self.posterior.sparsity {
            let words = words.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
            let both = heads.iter().zip(words);
            return both.map(|(heads, words)| self.gated(heads, words)).unzip();
        }
        let mut behind = self.rng(input, sample, true);
        let all = heads.iter().zip(odds).zip(words);
        all.map(|((heads, odds), word)| self.unit(heads, odds, word, &mut behind))
            .unzip()
    }
}
