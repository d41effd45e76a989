//! Posteriors over codes: how they are sampled, how far they are from their prior, and what a
//! sample hands back to the heads of the encoder.
//!
//! Everything here is in closed form, element by element, on the host. A straight-through gradient
//! is no derivative, so that nothing is lost by writing it down; what networks need is automatic
//! differentiation, and starts where this ends: at the heads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gamma::{gamma_divergence, implicit_shape_gradient};

/// What a unit's noise is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// Normal. The scale head is the logarithm of the variance; the prior's variance is the spread.
    Gaussian,
    /// Laplace. The scale head is the logarithm of the scale; the prior's scale is the spread.
    Laplacian,
}

/// How a sample becomes sparse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sparsity {
    /// It does not.
    Dense,
    /// Noise within `threshold` of the shift makes a unit exactly 0.
    Fixed {
        /// λ.
        threshold: f64,
    },
    /// The same with a threshold of each unit and sample that the encoder has learned: λ ~
    /// Gamma(shape, rate), whose prior has shape 3.
    Learned {
        /// The mean of the prior, λ₀.
        mean: f64,
        /// γ, what the divergence of the thresholds counts beside that of the noise.
        weight: f64,
    },
    /// A gate multiplies a Gaussian slab: spike and slab, relaxed (Maddison, Mnih & Teh 2017).
    Gate {
        /// π, the prior probability of an open gate.
        open: f64,
        /// How gates open.
        relaxation: Relaxation,
        /// How the spike head says how likely that is.
        odds: GateOdds,
    },
}

/// How the spike head says how likely a gate is to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GateOdds {
    /// The head is the logit of the probability p, and gates open so often.
    Logit,
    /// As the released code: the head is ln p, at most 0, and ln p stands where the logit belongs.
    /// Gates open with the probability `p/(1 + p)`, at most ½, while the divergence counts p; a
    /// head above 0 has no gradient and stays there.
    Log,
}

/// How the gate of a spike-and-slab posterior opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Relaxation {
    /// Open or closed; the gradient is that of the soft gate.
    Straight,
    /// As far as the soft gate says.
    Soft,
}

/// What the gradient of a thresholded sample is taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Estimator {
    /// Of the sample before the threshold: straight through.
    Straight,
    /// Of the threshold itself: units that are 0 get nothing.
    Subgradient,
}

/// What the shift of an active unit receives by the straight-through estimator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ShiftGradient {
    /// The sample's gradient, as every other unit.
    Single,
    /// Twice the sample's gradient, as the released code gives.
    Double,
}

/// A posterior over codes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Posterior {
    /// What the noise is made of.
    pub base: Base,
    /// How samples become sparse.
    pub sparsity: Sparsity,
    /// The spread of the prior, s.
    pub spread: f64,
    /// What gradients are taken of.
    pub estimator: Estimator,
    /// What the shift of an active unit receives.
    pub shift_gradient: ShiftGradient,
}

/// What changes while a run warms up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmth {
    /// κ, what the noise of Laplacian bases and of slabs counts.
    pub noise: f64,
    /// T, the temperature of the gates.
    pub temperature: f64,
}

/// What the encoder says of one unit. Heads that a posterior has not are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Heads<T> {
    /// μ.
    pub shift: T,
    /// ℓ: of a Gaussian base the logarithm of the variance, of a Laplacian one that of the scale.
    pub scale: T,
    /// Of a gate: above 0 it is as open as it gets.
    pub spike: T,
    /// The logarithm of the shape of a learned threshold, before it is clipped.
    pub shape: T,
    /// The logarithm of the rate.
    pub rate: T,
}

impl Heads<f64> {
    /// All of them times a number.
    pub(super) fn scaled(self, by: f64) -> Self {
        Self {
            shift: by * self.shift,
            scale: by * self.scale,
            spike: by * self.spike,
            shape: by * self.shape,
            rate: by * self.rate,
        }
    }

    /// Adds each to each.
    pub(super) fn add(&mut self, other: &Self) {
        self.shift += other.shift;
        self.scale += other.scale;
        self.spike += other.spike;
        self.shape += other.shape;
        self.rate += other.rate;
    }
}

/// The random numbers of one unit of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Draw {
    /// Gaussian bases: ε ~ N(0, 1). Laplacian ones: u, uniform from −½ to ½.
    pub noise: f64,
    /// Of a gate: η, uniform from 0 to 1.
    pub gate: f64,
    /// Of a learned threshold: g ~ Gamma(shape, 1).
    pub gamma: f64,
    /// ∂g/∂α, where something else is wanted than [`implicit_shape_gradient`] says.
    pub gamma_by_shape: Option<f64>,
}

/// One unit of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Unit {
    /// z.
    pub value: f64,
    /// Whether the unit's noise exceeds its threshold, or its gate is open.
    pub is_active: bool,
    /// e, the noise, warmed up: what was added to the shift before the threshold. For a gate the
    /// slab.
    pub noise: f64,
    /// λ; of a gate the soft gate.
    pub threshold: f64,
}

/// A divergence with its derivatives for the heads.
pub type Divergence = (f64, Heads<f64>);

/// Shapes and rates of thresholds, and probabilities of gates, are kept within these.
const CLIP: [f64; 2] = [1e-6, 1e6];
/// The shape of the prior of learned thresholds.
const PRIOR_SHAPE: f64 = 3.0;
/// The least argument of the logarithm that makes a Laplacian draw.
const LEAST: f64 = 1e-6;

/// e^x within the clip, and its derivative: 0 where it is clipped.
fn clipped_exp(x: f64) -> [f64; 2] {
    let value = x.exp();
    match value {
        value if value < CLIP[0] => [CLIP[0], 0.0],
        value if value > CLIP[1] => [CLIP[1], 0.0],
        value => [value, value],
    }
}

/// What a spike head says.
struct Gate {
    /// The probability that the divergence counts.
    p: f64,
    /// ∂p of the head.
    slope: f64,
    /// What is added to logistic noise.
    log_odds: f64,
    /// ∂ of the head.
    log_odds_slope: f64,
}

impl GateOdds {
    fn of(self, heads: &Heads<f64>) -> Gate {
        let head = heads.spike;
        let [probability, slope, log_odds] = match self {
            Self::Log => [head.min(0.0).exp(), head.min(0.0).exp(), head.min(0.0)],
            Self::Logit => {
                let p = 1.0 / (1.0 + (-head).exp());
                [p, p * (1.0 - p), head]
            }
        };
        let p = probability.clamp(CLIP[0], 1.0 - CLIP[0]);
        let is_alive = self == Self::Logit || head < 0.0;
        Gate {
            p,
            slope: if is_alive && p == probability {
                slope
            } else {
                0.0
            },
            log_odds,
            log_odds_slope: f64::from(u8::from(is_alive)),
        }
    }
}

/// The divergence of a coin that falls on one side with probability q from one with p; p is neither
/// 0 nor 1.
fn bernoulli_divergence(q: f64, p: f64) -> f64 {
    let part = |q: f64, p: f64| if q > 0.0 { q * (q / p).ln() } else { 0.0 };
    part(q, p) + part(1.0 - q, 1.0 - p)
}

fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

impl Posterior {
    /// One unit of a sample.
    ///
    /// With the noise e: dense, `z = μ + e`. Thresholded, `z = μ + t` with `t = sign(e) max(|e| −
    /// |λ|, 0)`, and 0 where t is: the threshold acts on the distance from the shift.
    pub fn sample(&self, heads: &Heads<f64>, draw: &Draw, warmth: Warmth) -> Unit {
        if let Sparsity::Gate {
            relaxation, odds, ..
        } = self.sparsity
        {
            let kappa = warmth.noise;
            let deviation = kappa * (0.5 * heads.scale).exp() + (1.0 - kappa).sqrt();
            let slab = kappa * heads.shift + deviation * draw.noise;
            let logistic = draw.gate.ln() - (1.0 - draw.gate).ln();
            let log_odds = odds.of(heads).log_odds;
            let soft = 1.0 / (1.0 + (-(logistic + log_odds) / warmth.temperature).exp());
            let gate = match relaxation {
                Relaxation::Straight => soft.round_ties_even(),
                Relaxation::Soft => soft,
            };
            return Unit {
                value: gate * slab,
                is_active: gate != 0.0,
                noise: slab,
                threshold: soft,
            };
        }
        let noise = match self.base {
            Base::Gaussian => (0.5 * heads.scale).exp() * draw.noise,
            Base::Laplacian => {
                let u = draw.noise;
                let magnitude = -(1.0 - 2.0 * u.abs()).max(LEAST).ln();
                warmth.noise * heads.scale.exp() * sign(u) * magnitude
            }
        };
        let threshold = match self.sparsity {
            Sparsity::Fixed { threshold } => threshold.abs(),
            Sparsity::Learned { .. } => draw.gamma / clipped_exp(heads.rate)[0],
            Sparsity::Dense | Sparsity::Gate { .. } => {
                return Unit {
                    value: heads.shift + noise,
                    is_active: true,
                    noise,
                    threshold: 0.0,
                };
            }
        };
        let is_active = noise.abs() > threshold;
        let beyond = sign(noise) * (noise.abs() - threshold);
        Unit {
            value: if is_active { heads.shift + beyond } else { 0.0 },
            is_active,
            noise,
            threshold,
        }
    }

    /// What a unit hands back to its heads, for the gradient of a loss for its value.
    pub fn gradient(
        &self,
        heads: &Heads<f64>,
        draw: &Draw,
        unit: &Unit,
        warmth: Warmth,
        upstream: f64,
    ) -> Heads<f64> {
        let mut gradient = Heads::default();
        if let Sparsity::Gate {
            relaxation, odds, ..
        } = self.sparsity
        {
            let (kappa, soft) = (warmth.noise, unit.threshold);
            let gate = match relaxation {
                Relaxation::Straight => soft.round_ties_even(),
                Relaxation::Soft => soft,
            };
            gradient.shift = upstream * gate * kappa;
            gradient.scale = upstream * gate * draw.noise * kappa * 0.5 * (0.5 * heads.scale).exp();
            let slope = odds.of(heads).log_odds_slope / warmth.temperature;
            gradient.spike = upstream * unit.noise * soft * (1.0 - soft) * slope;
            return gradient;
        }
        // ∂e/∂ℓ.
        let by_scale = match self.base {
            Base::Gaussian => 0.5 * unit.noise,
            Base::Laplacian => unit.noise,
        };
        let active = f64::from(u8::from(unit.is_active));
        let is_sparse = self.sparsity != Sparsity::Dense;
        let reaches = match self.estimator {
            Estimator::Subgradient if is_sparse => active,
            _ => 1.0,
        };
        let times = match (self.estimator, self.shift_gradient) {
            (Estimator::Straight, ShiftGradient::Double) if is_sparse => 1.0 + active,
            _ => reaches,
        };
        gradient.shift = upstream * times;
        gradient.scale = upstream * reaches * by_scale;
        if let Sparsity::Learned { .. } = self.sparsity {
            let by_threshold = self.threshold_gradient(unit, upstream);
            if by_threshold != 0.0 {
                let [shape, shape_slope] = clipped_exp(heads.shape);
                let rate_slope = clipped_exp(heads.rate)[1];
                let exact = || implicit_shape_gradient(shape, draw.gamma);
                let moved = draw.gamma_by_shape.unwrap_or_else(exact);
                let [by_shape, by_rate] = Self::threshold_slopes(heads, unit.threshold, moved);
                gradient.shape = by_threshold * by_shape * shape_slope;
                gradient.rate = by_threshold * by_rate * rate_slope;
            }
        }
        gradient
    }

    /// The gradient for λ, of a loss whose gradient for the unit's value is `upstream`: what is
    /// beyond the threshold moves against it.
    pub fn threshold_gradient(&self, unit: &Unit, upstream: f64) -> f64 {
        match unit.is_active {
            true => -upstream * sign(unit.noise),
            false => 0.0,
        }
    }

    /// How a threshold λ = g/β moves with its shape and its rate, for ∂g/∂α of its draw.
    pub fn threshold_slopes(heads: &Heads<f64>, threshold: f64, draw_by_shape: f64) -> [f64; 2] {
        let rate = clipped_exp(heads.rate)[0];
        [draw_by_shape / rate, -threshold / rate]
    }

    /// The divergence of a unit's posterior from its prior, as the loss counts it, with its
    /// derivatives: that of the noise before the threshold, and γ times that of a learned
    /// threshold.
    ///
    /// Gaussian: `−½ (1 + ℓ − ln s) + ½ (μ² + e^ℓ)/s`. Laplacian, with b = e^ℓ: `|μ|/s + ln s − ℓ −
    /// 1 + (b/s) e^{−|μ|/b}`. A gate that is open with probability p: `p KL + (1 − p) ln((1 − p)/(1
    /// − π)) + p ln(p/π)`.
    pub fn divergence(&self, heads: &Heads<f64>) -> Divergence {
        let (value, mut gradient) = self.base_divergence(heads);
        match self.sparsity {
            Sparsity::Dense | Sparsity::Fixed { .. } => (value, gradient),
            Sparsity::Learned { weight, .. } => {
                let (threshold, by_head) = self.threshold_divergence(heads);
                gradient.shape = weight * by_head.shape;
                gradient.rate = weight * by_head.rate;
                (value + weight * threshold, gradient)
            }
            Sparsity::Gate { open, odds, .. } => {
                let Gate { p, slope, .. } = odds.of(heads);
                let logarithms = (p / open).ln() - ((1.0 - p) / (1.0 - open)).ln();
                let gate = bernoulli_divergence(p, open);
                let spike = slope * (value + logarithms);
                let gradient = Heads {
                    shift: p * gradient.shift,
                    scale: p * gradient.scale,
                    spike,
                    ..Heads::default()
                };
                (p * value + gate, gradient)
            }
        }
    }

    /// Of a learned threshold, without γ; 0 where there is none.
    pub fn threshold_divergence(&self, heads: &Heads<f64>) -> Divergence {
        let Sparsity::Learned { mean, .. } = self.sparsity else {
            return (0.0, Heads::default());
        };
        let [shape, shape_slope] = clipped_exp(heads.shape);
        let [rate, rate_slope] = clipped_exp(heads.rate);
        let prior = [PRIOR_SHAPE, PRIOR_SHAPE / mean];
        let [value, by_shape, by_rate] = gamma_divergence([shape, rate], prior);
        let gradient = Heads {
            shape: by_shape * shape_slope,
            rate: by_rate * rate_slope,
            ..Heads::default()
        };
        (value, gradient)
    }

    fn base_divergence(&self, heads: &Heads<f64>) -> Divergence {
        let (s, mu, l) = (self.spread, heads.shift, heads.scale);
        let (value, shift, scale) = match self.base {
            Base::Gaussian => {
                let variance = l.exp();
                (
                    -0.5 * (1.0 + l - s.ln()) + 0.5 * (mu * mu + variance) / s,
                    mu / s,
                    0.5 * (variance / s - 1.0),
                )
            }
            Base::Laplacian => {
                let (b, distance) = (l.exp(), mu.abs());
                let decay = (-distance / b).exp();
                (
                    distance / s + s.ln() - l - 1.0 + b / s * decay,
                    sign(mu) * (1.0 - decay) / s,
                    (b + distance) / s * decay - 1.0,
                )
            }
        };
        let gradient = Heads {
            shift,
            scale,
            ..Heads::default()
        };
        (value, gradient)
    }

    /// The probability that a unit is active, whatever its shift.
    ///
    /// Laplacian noise of scale b: `e^{−λ/b}`, and `(β/(β + 1/b))^α` with a learned threshold.
    /// Gaussian noise: `erfc(λ/(σ√2))`; with a learned threshold at its mean. A gate: `p/(1 + p)`,
    /// what the relaxation makes of its p.
    pub fn activity(&self, heads: &Heads<f64>) -> f64 {
        let gaussian = |threshold: f64| {
            let deviation = (0.5 * heads.scale).exp();
            statrs::function::erf::erfc(threshold / (deviation * std::f64::consts::SQRT_2))
        };
        match self.sparsity {
            Sparsity::Dense => 1.0,
            Sparsity::Fixed { threshold } if self.base == Base::Gaussian => {
                gaussian(threshold.abs())
            }
            Sparsity::Learned { .. } if self.base == Base::Gaussian => {
                gaussian(Self::threshold_shape(heads) / Self::threshold_rate(heads))
            }
            Sparsity::Fixed { .. } | Sparsity::Learned { .. } => {
                self.activity_within(heads, heads.scale.exp())
            }
            Sparsity::Gate { odds, .. } => {
                let p = odds.of(heads).p;
                match odds {
                    GateOdds::Logit => p,
                    GateOdds::Log => p / (1.0 + p),
                }
            }
        }
    }

    /// The divergence of the posterior *after* the threshold from the prior after its own, which
    /// is at most that of the noise; `None` where it has no closed form.
    ///
    /// A thresholded Laplacian is 0 with the probability 1 − q and else Laplacian again: `q KL + q
    /// ln(q/p) + (1 − q) ln((1 − q)/(1 − p))`, with q and p the activity of posterior and prior. It
    /// is a figure to report. To train by it fails: where q is small it holds back neither shift
    /// nor scale, which go on receiving straight-through gradients.
    pub fn exact_divergence(&self, heads: &Heads<f64>) -> Option<f64> {
        let base = self.base_divergence(heads).0;
        match (self.base, self.sparsity) {
            (_, Sparsity::Dense) => Some(base),
            (_, Sparsity::Gate { open, .. }) => {
                let q = self.activity(heads);
                Some(q * base + bernoulli_divergence(q, open))
            }
            (Base::Gaussian, _) => None,
            (Base::Laplacian, _) => {
                let [q, p] = [heads, &self.prior()].map(|heads| self.activity(heads));
                Some(q * base + bernoulli_divergence(q, p))
            }
        }
    }

    /// The heads of a unit that knows nothing of its input: its posterior is the prior.
    pub fn prior(&self) -> Heads<f64> {
        let mut prior = Heads {
            // Variance of a Gaussian base, scale of a Laplacian one.
            scale: self.spread.ln(),
            ..Heads::default()
        };
        match self.sparsity {
            Sparsity::Dense | Sparsity::Fixed { .. } => {}
            Sparsity::Learned { mean, .. } => {
                prior.shape = PRIOR_SHAPE.ln();
                prior.rate = (PRIOR_SHAPE / mean).ln();
            }
            Sparsity::Gate { open, odds, .. } => {
                prior.spike = match odds {
                    GateOdds::Logit => (open / (1.0 - open)).ln(),
                    GateOdds::Log => open.ln(),
                };
            }
        }
        prior
    }

    /// The same for Laplacian noise of another scale than the head says, such as one that is not
    /// warm yet.
    pub(super) fn activity_within(&self, heads: &Heads<f64>, scale: f64) -> f64 {
        match self.sparsity {
            Sparsity::Fixed { threshold } => (-threshold.abs() / scale).exp(),
            Sparsity::Learned { .. } => {
                let (shape, rate) = (Self::threshold_shape(heads), Self::threshold_rate(heads));
                (-shape * (1.0 / (rate * scale)).ln_1p()).exp()
            }
            Sparsity::Dense | Sparsity::Gate { .. } => 1.0,
        }
    }

    /// Rate of a learned threshold.
    pub(super) fn threshold_rate(heads: &Heads<f64>) -> f64 {
        clipped_exp(heads.rate)[0]
    }

    /// Shape of a learned threshold: what its draws of Gamma(shape, 1) are of.
    pub fn threshold_shape(heads: &Heads<f64>) -> f64 {
        clipped_exp(heads.shape)[0]
    }
}
