//! Refinement of a code by FISTA: `argmin_z (1/d)·‖y − D(z)‖² + λ·‖z‖₁`, under `z ≥ 0` unless the
//! model's codes are signed.
//!
//! Beck & Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse
//! Problems", 2009. From `x_1 = z_0` and `t_1 = 1`, with `η` the step size:
//!
//! ```text
//! z_k     = shrink(x_k − η ∇f(x_k), λη)             ∇f(x) = (2/d) Wᵀ(W x − y)
//! t_{k+1} = (1 + √(1 + 4 t_k²)) / 2
//! x_{k+1} = z_k + ((t_k − 1)/t_{k+1}) (z_k − z_{k−1})
//! ```
//!
//! [`shrink`](crate::shrink) is `(v − t)₊`, or, of signed codes, `sign(v)·(|v| − t)₊`.
//!
//! With one hidden layer `∇f(x) = (2/d) W1ᵀ(1[h>0] ⊙ W2ᵀ(W2 h − y))`, `h = relu(W1 x + b1)`.
//!
//! The energy of `z_k` may rise between two iterations, so the last iterate is compared with the
//! start: `z_0` stays where `z_k` is not at most as high.

use sparsecode_formats::{CodeSign, Decoder, ModelSpec};

use super::code::{CodeBuffer, take_dense};
use super::decoder::{self, non_zero};
use super::workspace::Scratch;
use crate::kernels::float::portable;
use crate::quality::mean_square;
use crate::refinement::Stop;
use crate::shrink::shrink;

/// Where [`Refine`] starts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Start {
    /// At the code handed in, as [`encode`](crate::Model::encode) left it. A model whose codes are
    /// non-negative starts at 0 in place of a negative component.
    Code,
    /// At zero, where the inference of linear decoders without an encoder starts.
    Zero,
    /// With every component at this value, which should be small and positive (other values mean
    /// 0).
    ///
    /// A decoder with a hidden layer needs it if there is no code to start from: at zero, hidden
    /// units whose bias is not positive are off and pass no gradient, so that the code could never
    /// leave zero.
    Constant(f32),
}

/// Settings of a refinement; see [`Refine::for_model`] for the values a model was trained with.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Refine {
    /// Weight `λ` of `‖z‖₁` in the energy; not negative. More makes the code sparser.
    pub lambda: f32,
    /// Step size `η` of the gradient. Above the model's recorded one the iteration may diverge.
    pub step_size: f32,
    /// Largest number of iterations.
    pub max_iterations: u32,
    /// Converged when `‖z_k − z_{k−1}‖ < tolerance·‖z_{k−1}‖`. 0 runs to the last iteration.
    pub tolerance: f32,
    /// Where to start.
    pub start: Start,
}

impl Refine {
    /// Iterations where nothing else is asked for (the papers' `K`).
    pub const DEFAULT_ITERATIONS: u32 = 200;
    /// Relative change of the code below which it counts as converged, where nothing else is asked
    /// for.
    pub const DEFAULT_TOLERANCE: f32 = 1e-3;
    /// Value of every component at the start of a model with a hidden layer and no encoder.
    pub const DEFAULT_START: f32 = 1e-2;

    /// The recorded `lambda` and `step_size` of a model, up to 200 iterations and a tolerance of
    /// 1e-3. Starts at the code handed in.
    #[must_use]
    pub fn for_model(spec: &ModelSpec<'_>) -> Self {
        Self {
            lambda: spec.lambda,
            step_size: spec.step_size,
            max_iterations: Self::DEFAULT_ITERATIONS,
            tolerance: Self::DEFAULT_TOLERANCE,
            start: Start::Code,
        }
    }

    /// [`for_model`](Self::for_model) without a code to start from: how a model without an encoder
    /// is inferred.
    ///
    /// Starts at zero, or, if the decoder has a hidden layer, at
    /// [`DEFAULT_START`](Self::DEFAULT_START) in every component.
    #[must_use]
    pub fn for_inference(spec: &ModelSpec<'_>) -> Self {
        Self {
            start: if spec.is_linear() {
                Start::Zero
            } else {
                Start::Constant(Self::DEFAULT_START)
            },
            ..Self::for_model(spec)
        }
    }

    /// [`for_model`](Self::for_model) with the `lambda` that removes white noise of standard
    /// deviation `sigma`, given in the unit of the *preprocessed* input: `λ = (2/d)·0.35·σ·a·√(2 ln
    /// l)`, with `a` the file's `atom_norm`.
    ///
    /// `√(2 ln l)·σ·a` is what the largest of `l` correlations with noise reaches (Donoho &
    /// Johnstone 1994), `2/d` the scale of the energy; the factor was fitted on ECG and vibration
    /// windows. `sigma` may be wrong by a third before it costs more than about half a decibel. A
    /// `sigma` that is negative or NaN counts as 0.
    #[must_use]
    pub fn for_noise(spec: &ModelSpec<'_>, sigma: f32) -> Self {
        const FACTOR: f32 = 0.35;
        let code_dim = (spec.code_dim() as f32).max(1.0);
        let input_dim = (spec.input_dim() as f32).max(1.0);
        let largest = libm::sqrtf(2.0 * libm::logf(code_dim));
        Self {
            lambda: 2.0 / input_dim * FACTOR * portable::relu(sigma) * spec.atom_norm * largest,
            ..Self::for_model(spec)
        }
    }
}

/// What a refinement did.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Refinement {
    /// Iterations made. The code is that of the last one, or the start if the energy of the start
    /// is lower.
    pub iterations: u32,
    /// Mean squared residual of the returned code, `(1/d)·‖y − D(z)‖²`, in the squared unit of the
    /// preprocessed input.
    pub residual: f32,
    /// `(1/d)·‖y − D(z)‖² + λ·‖z‖₁` of the returned code.
    pub energy: f32,
    /// Why it ended.
    pub stopped: Stop,
}

/// Refines `code` for `input`. All slices have the dimensions of the decoder.
pub(crate) fn refine<C: CodeBuffer>(
    decoder: &Decoder<'_>,
    codes: CodeSign,
    input: &[f32],
    code: &mut C,
    settings: &Refine,
    scratch: &mut Scratch<'_>,
    deadline: &mut dyn FnMut() -> bool,
) -> Refinement {
    start(code, codes, settings.start, scratch.drive, scratch.point);
    let mut before = None;
    let ended = run(
        decoder,
        codes,
        input,
        settings,
        scratch,
        &mut before,
        deadline,
    );
    report(
        decoder,
        input,
        code,
        settings.lambda,
        scratch,
        before,
        ended,
    )
}

/// `z = x = z_0`, and so is the code.
pub(crate) fn start<C: CodeBuffer>(
    code: &mut C,
    codes: CodeSign,
    start: Start,
    iterate: &mut [f32],
    point: &mut [f32],
) {
    match start {
        Start::Code => {
            code.to_dense(iterate);
            if code.check(codes).is_err() {
                take_dense(code, codes, iterate);
                code.to_dense(iterate);
            }
        }
        Start::Zero => {
            iterate.fill(0.0);
            code.clear();
        }
        Start::Constant(value) => {
            iterate.fill(portable::relu(value));
            code.from_dense(iterate);
        }
    }
    for (x, z) in point.iter_mut().zip(iterate.iter()) {
        *x = *z;
    }
}

/// The largest ℓ1 norm of a code whose energy is believed: its square is finite. Beyond, a hidden
/// unit may be infinity less infinity, which the rectifier takes for 0.
const LARGEST: f32 = 1e18;

/// Takes the last iterate, `scratch.drive`, to `code`, which holds the start until then, and says
/// what became of it.
///
/// `before` is the mean squared residual of the start. With it, the start stays if its energy is
/// lower.
pub(crate) fn report<C: CodeBuffer>(
    decoder: &Decoder<'_>,
    input: &[f32],
    code: &mut C,
    lambda: f32,
    scratch: &mut Scratch<'_>,
    before: Option<f32>,
    (iterations, stopped): (u32, Stop),
) -> Refinement {
    let Scratch {
        drive: iterate,
        point: kept,
        residual: error,
        hidden,
    } = scratch;
    residual_at(decoder, input, iterate, hidden, error);
    let result = |l1, residual| Refinement {
        iterations,
        residual,
        energy: residual + lambda * l1,
        stopped,
    };
    let Some(before) = before else {
        code.from_dense(iterate);
        return result(code.l1_norm(), mean_square(error));
    };
    let start = result(code.l1_norm(), before);
    code.to_dense(kept);
    code.from_dense(iterate);
    let l1 = code.l1_norm();
    let end = result(l1, mean_square(error));
    // Not the other way round: what is not a number is not better.
    if end.energy <= start.energy && l1 <= LARGEST {
        return end;
    }
    code.from_dense(kept);
    start
}

/// Iterates from `point` = `drive` = `z_0`; leaves the last iterate in `drive`, and in `before` the
/// mean squared residual of `z_0`.
fn run(
    decoder: &Decoder<'_>,
    codes: CodeSign,
    input: &[f32],
    settings: &Refine,
    scratch: &mut Scratch<'_>,
    before: &mut Option<f32>,
    deadline: &mut dyn FnMut() -> bool,
) -> (u32, Stop) {
    let Scratch {
        drive: iterate,
        point,
        residual,
        hidden,
    } = scratch;
    let mut momentum = Momentum::new();

    for done in 0..settings.max_iterations {
        if deadline() {
            return (done, Stop::Deadline);
        }
        let update = Update::new(settings, input.len(), momentum.next());
        residual_at(decoder, input, point, hidden, residual);
        if done == 0 {
            *before = Some(mean_square(residual));
        }
        let mut change = Change::new();
        decoder::correlate(decoder, hidden, residual, &mut |k, correlation| {
            // With the correlation known, the old point and iterate of this component are needed no
            // more.
            if let (Some(x), Some(z)) = (point.get_mut(k), iterate.get_mut(k)) {
                update.apply(codes, x, z, correlation, &mut change);
            }
        });
        if change.is_below(settings.tolerance) {
            return (done.saturating_add(1), Stop::Converged);
        }
    }
    (settings.max_iterations, Stop::Budget)
}

/// Writes `D(x) − y` to `residual`; with a hidden layer, `hidden` receives its activations.
pub(crate) fn residual_at(
    decoder: &Decoder<'_>,
    input: &[f32],
    point: &[f32],
    hidden: &mut [f32],
    residual: &mut [f32],
) {
    decoder::decode(decoder, &mut non_zero(point), hidden, residual);
    for (r, y) in residual.iter_mut().zip(input) {
        *r -= y;
    }
}

/// `t_k`.
pub(crate) struct Momentum(f32);

impl Momentum {
    pub(crate) fn new() -> Self {
        Self(1.0)
    }

    /// `(t_k − 1)/t_{k+1}` of the next iteration.
    pub(crate) fn next(&mut self) -> f32 {
        let t = self.0;
        self.0 = 0.5 * (1.0 + libm::sqrtf(1.0 + 4.0 * t * t));
        (t - 1.0) / self.0
    }
}

/// The step of a component in one iteration.
pub(crate) struct Update {
    /// `2η/d`.
    rate: f32,
    /// `λη`.
    threshold: f32,
    momentum: f32,
}

impl Update {
    pub(crate) fn new(settings: &Refine, input_dim: usize, momentum: f32) -> Self {
        Self {
            rate: settings.step_size * (2.0 / input_dim as f32),
            threshold: settings.lambda * settings.step_size,
            momentum,
        }
    }

    /// Moves the point `x` and the iterate `z` of a component with `½d ∂f/∂x`.
    #[inline(always)]
    pub(crate) fn apply(
        &self,
        codes: CodeSign,
        x: &mut f32,
        z: &mut f32,
        gradient: f32,
        change: &mut Change,
    ) {
        let moved = *x - self.rate * gradient;
        let next = shrink(codes, moved - self.threshold, moved + self.threshold);
        change.add(*x, *z, next);
        *x = next + self.momentum * (next - *z);
        *z = next;
    }
}

/// The change of the code in one iteration.
pub(crate) struct Change {
    /// `‖z_k − z_{k−1}‖²`
    difference: f32,
    /// `‖z_{k−1}‖²`
    previous: f32,
    /// `x_k`, `z_{k−1}` and `z_k` are all exactly zero, so that the next iteration would be the
    /// same.
    at_zero: bool,
}

impl Change {
    pub(crate) fn new() -> Self {
        Self {
            difference: 0.0,
            previous: 0.0,
            at_zero: true,
        }
    }

    #[inline]
    pub(crate) fn add(&mut self, point: f32, previous: f32, next: f32) {
        self.difference += (next - previous) * (next - previous);
        self.previous += previous * previous;
        self.at_zero &= point == 0.0 && previous == 0.0 && next == 0.0;
    }

    /// A component that is and stays at `value`.
    #[inline]
    pub(crate) fn stay(&mut self, value: f32) {
        self.previous += value * value;
        self.at_zero &= value == 0.0;
    }

    /// The relative test on squares, which needs neither root nor division: a zero code before
    /// counts as "not converged", because nothing is below 0.
    pub(crate) fn is_below(&self, tolerance: f32) -> bool {
        self.at_zero || self.difference < tolerance * tolerance * self.previous
    }
}
