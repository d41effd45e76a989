//! FISTA in integers, on the Gram matrix that comes with the file.
//!
//! With `Ĝ = ρWᵀW` and `ĉ = ρWᵀy` the gradient step of a code is `a = z + ĉ − Ĝz`. The step of the momentum point
//! `x = z_k + m (z_k − z_{k−1})` is `a_k + m (a_k − a_{k−1})`, so that `Ĝ` only ever meets codes: sparse, and changed in few
//! components. `Ĝz` is kept and follows the changes; it is exact, so that it may equally be computed anew, whichever is cheaper.

use sparsecode_formats::{IntegerFile, IntegerRefiner};

use super::code::{self, List};
use super::workspace::Scratch;
use crate::fista::Stop;
#[cfg(target_arch = "x86_64")]
use crate::kernels::integer::GradientStep;
use crate::kernels::integer::{self as kernels, Entry, Threshold};

/// When an integer refinement ends, and what it minimises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IntegerRefine {
    /// λη in points, not negative: the file's for the λ of training, in proportion for any other.
    pub threshold: i32,
    /// Largest number of iterations.
    pub max_iterations: u32,
    /// Converged when `‖z_k − z_{k−1}‖₁ < 2^−tolerance_bits · ‖z_{k−1}‖₁`, and when no component changes twice in a row. 31 leaves
    /// only the latter.
    pub tolerance_bits: u8,
    /// Whether to start at zero instead of at the code.
    pub from_zero: bool,
}

impl IntegerRefine {
    /// The file's threshold, up to 200 iterations, and 10 bits. Starts at the encoder's code, without an encoder at zero.
    #[must_use]
    pub const fn for_model(file: &IntegerFile<'_>) -> Self {
        Self {
            threshold: file.refiner.threshold,
            max_iterations: 200,
            tolerance_bits: 10,
            from_zero: file.encoder.is_none(),
        }
    }
}

/// What an integer refinement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IntegerRefinement {
    /// Iterations made; 0 leaves the code at its start.
    pub iterations: u32,
    /// Why it ended.
    pub stopped: Stop,
}

/// Refines `code` for `levels`. All slices have the dimensions of the model.
#[inline(never)]
pub(crate) fn refine(
    file: &IntegerFile<'_>,
    levels: &[i16],
    code: &mut List<'_>,
    settings: &IntegerRefine,
    scratch: Scratch<'_>,
    deadline: &mut dyn FnMut() -> bool,
) -> IntegerRefinement {
    let refiner = &file.refiner;
    let Scratch {
        sums: product,
        drive: correlation,
        previous,
        entries,
        levels: iterate,
    } = scratch;
    if settings.from_zero {
        code.clear();
    }
    kernels::dot_rows(&file.decoder.dictionary, levels, product);
    kernels::rescale(&refiner.correlation, refiner.bias, product, correlation);
    code::write_dense(code::pairs(code.entries()), iterate);
    let mut state = State {
        iterate,
        product,
        previous,
        entries,
    };
    state.multiply_anew(refiner);

    let (mut iterations, mut idle) = (0, false);
    let stopped = loop {
        if iterations >= settings.max_iterations {
            break Stop::Budget;
        }
        if deadline() {
            break Stop::Deadline;
        }
        let momentum = momentum(iterations);
        let step = state.step(refiner, correlation, momentum, settings.threshold);
        iterations = iterations.saturating_add(1);
        let bits = u32::from(settings.tolerance_bits).min(31);
        if step.change < step.norm >> bits || (idle && step.changed == 0) {
            break Stop::Converged;
        }
        idle = step.changed == 0;
        // The product is exact either way.
        if step.changed <= step.active {
            state.add_changes(refiner, step.changed);
        } else {
            state.multiply_anew(refiner);
        }
    };

    code.clear();
    for (index, &level) in state.iterate.iter().enumerate() {
        if level > 0 {
            code.push(index, level);
        }
    }
    IntegerRefinement {
        iterations,
        stopped,
    }
}

/// `(k − 1)/(k + 2)` of iteration k = `done + 1`, in 31 fractional bits, 16 of them exact.
const fn momentum(done: u32) -> i32 {
    let done = if done > 0x7fff { 0x7fff } else { done };
    match (done << 16).checked_div(done.wrapping_add(3)) {
        Some(share) => (share << 15).cast_signed(),
        None => 0,
    }
}

struct State<'w> {
    /// `z`.
    iterate: &'w mut [i16],
    /// `Ĝ z`.
    product: &'w mut [i32],
    /// `a` of the iteration before.
    previous: &'w mut [i32],
    /// What changed.
    entries: &'w mut [Entry],
}

/// What an iteration did.
struct Step {
    /// Components that changed, and that are active.
    changed: usize,
    active: usize,
    /// `‖z_k − z_{k−1}‖₁` and `‖z_{k−1}‖₁`, in levels.
    change: u32,
    norm: u32,
}

impl State<'_> {
    /// One iteration, without the product: `entries` receives the changes.
    #[inline(never)]
    fn step(
        &mut self,
        refiner: &IntegerRefiner<'_>,
        correlation: &[i32],
        momentum: i32,
        threshold: i32,
    ) -> Step {
        #[cfg(target_arch = "x86_64")]
        if let Some(step) = self.step_by_kernel(refiner, correlation, momentum, threshold) {
            return step;
        }
        let round = Threshold::new(refiner.point_fraction);
        // A component below this becomes, or stays, 0.
        let least = threshold.saturating_add(round.least());
        let finer = u32::from(refiner.gram_fraction.wrapping_sub(refiner.point_fraction)) & 31;
        let point = u32::from(refiner.point_fraction) & 31;
        let mut step = Step {
            changed: 0,
            active: 0,
            change: 0,
            norm: 0,
        };
        let terms = self.product.iter().zip(correlation);
        let state = self.iterate.iter_mut().zip(self.previous.iter_mut());
        for (index, ((&product, &correlation), (z, previous))) in terms.zip(state).enumerate() {
            let code = i32::from(*z);
            // Below 2²⁸ + 2³⁰ before the product, which is cut off at 31 bits: bits that a file's proof leaves unused.
            let gradient_step = (code << point)
                .wrapping_add(correlation)
                .saturating_sub(product >> finer);
            let change = gradient_step.saturating_sub(*previous);
            *previous = gradient_step;
            let extra = ((i64::from(change).wrapping_mul(i64::from(momentum)) >> 32) as i32) << 1;
            let next = gradient_step.saturating_add(extra);
            // Most components are 0 and stay it.
            if code == 0 && next < least {
                continue;
            }
            let next = round.level(next.saturating_sub(threshold)).unwrap_or(0);
            step.norm = step.norm.wrapping_add(code.unsigned_abs());
            step.active = step.active.wrapping_add(usize::from(next != 0));
            if next != *z {
                // Both within 0 … 32767.
                let difference = next.wrapping_sub(*z);
                step.change = step
                    .change
                    .wrapping_add(u32::from(difference.unsigned_abs()));
                if let Some(entry) = self.entries.get_mut(step.changed) {
                    *entry = Entry::new::<i16>(index, difference);
                    step.changed = step.changed.wrapping_add(1);
                }
                *z = next;
            }
        }
        step
    }

    /// [`step`](Self::step) by a kernel; `None` if there is none. Apart, because the loop of a microcontroller is faster written out.
    #[cfg(target_arch = "x86_64")]
    fn step_by_kernel(
        &mut self,
        refiner: &IntegerRefiner<'_>,
        correlation: &[i32],
        momentum: i32,
        threshold: i32,
    ) -> Option<Step> {
        let round = Threshold::new(refiner.point_fraction);
        // A component below this becomes, or stays, 0.
        let least = threshold.saturating_add(round.least());
        let gradient_step = GradientStep {
            point: u32::from(refiner.point_fraction) & 31,
            finer: u32::from(refiner.gram_fraction.wrapping_sub(refiner.point_fraction)) & 31,
            momentum,
        };
        let mut step = Step {
            changed: 0,
            active: 0,
            change: 0,
            norm: 0,
        };
        let entries = &mut *self.entries;
        let mut apply = |index: usize, next: i32, z: &mut i16| {
            let code = i32::from(*z);
            let next = round.level(next.saturating_sub(threshold)).unwrap_or(0);
            step.norm = step.norm.wrapping_add(code.unsigned_abs());
            step.active = step.active.wrapping_add(usize::from(next != 0));
            if next != *z {
                // Both within 0 … 32767.
                let difference = next.wrapping_sub(*z);
                step.change = step
                    .change
                    .wrapping_add(u32::from(difference.unsigned_abs()));
                if let Some(entry) = entries.get_mut(step.changed) {
                    *entry = Entry::new::<i16>(index, difference);
                    step.changed = step.changed.wrapping_add(1);
                }
                *z = next;
            }
        };
        let done = kernels::gradient_steps(
            gradient_step,
            least,
            self.iterate,
            (self.product, correlation),
            self.previous,
            &mut apply,
        );
        done.then_some(step)
    }

    /// `Ĝ z` of a code that changed as `entries` say.
    fn add_changes(&mut self, refiner: &IntegerRefiner<'_>, changed: usize) {
        let entries = self.entries.get(..changed).unwrap_or(&[]);
        kernels::add_wide_rows(&refiner.gram, entries, self.product);
    }

    /// `Ĝ z`.
    fn multiply_anew(&mut self, refiner: &IntegerRefiner<'_>) {
        let mut active = 0_usize;
        for (index, &level) in self.iterate.iter().enumerate() {
            if level != 0
                && let Some(entry) = self.entries.get_mut(active)
            {
                *entry = Entry::new::<i16>(index, level);
                active = active.wrapping_add(1);
            }
        }
        self.product.fill(0);
        self.add_changes(refiner, active);
    }
}
