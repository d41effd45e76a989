//! FISTA and coordinate descent in integers, on the Gram matrix that comes with the file.
//!
//! With `Ĝ = ρWᵀW` and `ĉ = ρWᵀy` the gradient step of a code is `a = z + ĉ − Ĝz`. The step of the
//! momentum point `x = z_k + m (z_k − z_{k−1})` is `a_k + m (a_k − a_{k−1})`, so that `Ĝ` only ever
//! meets codes: sparse, and changed in few components. `Ĝz` is kept and follows the changes; it is
//! exact, so that it may equally be computed anew, whichever is cheaper.
//!
//! Restarting the momentum (O'Donoghue & Candès 2015; Su, Boyd & Candès 2016) was tried and takes
//! no fewer iterations to within 1/1000 of the lowest energy on trained models.

use sparsecode_formats::{CODE_LIMIT, CodeSign, IntegerFile, IntegerRefiner};

use super::code::{self, List};
use super::workspace::Scratch;
use crate::kernels::integer::{self as kernels, Entry, GradientStep};
use crate::refinement::{Method, Stop};
use crate::shrink::Proximal;

/// When an integer refinement ends, and what it minimises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IntegerRefine {
    /// How.
    pub method: Method,
    /// λη in points, not negative: the file's for the λ of training, in proportion for any other.
    pub threshold: i32,
    /// Largest number of iterations.
    pub max_iterations: u32,
    /// Converged when `‖z_k − z_{k−1}‖₁ < 2^−tolerance_bits · ‖z_{k−1}‖₁`; 31 leaves only what
    /// [`Method`] says.
    pub tolerance_bits: u8,
    /// Whether to start at zero instead of at the code.
    pub from_zero: bool,
}

impl IntegerRefine {
    /// Coordinate descent with the file's threshold, up to 200 iterations, and 10 bits. Starts at
    /// the code handed in.
    #[must_use]
    pub const fn for_model(file: &IntegerFile<'_>) -> Self {
        Self {
            method: Method::CoordinateDescent,
            threshold: file.refiner.threshold,
            max_iterations: 200,
            tolerance_bits: 10,
            from_zero: false,
        }
    }

    /// [`for_model`](Self::for_model) from zero: how a model without an encoder is inferred.
    #[must_use]
    pub const fn for_inference(file: &IntegerFile<'_>) -> Self {
        let mut settings = Self::for_model(file);
        settings.from_zero = true;
        settings
    }
}

/// What an integer refinement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IntegerRefinement {
    /// Iterations made. The code is that of the last one, or the start if the energy of the start
    /// is lower.
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
    scratch: &mut Scratch<'_>,
    deadline: &mut dyn FnMut() -> bool,
) -> IntegerRefinement {
    let refiner = &file.refiner;
    let Scratch {
        sums: product,
        drive: correlation,
        previous,
        entries,
        levels: iterate,
        ..
    } = scratch;
    if settings.from_zero {
        code.clear();
    }
    kernels::dot_rows(&file.decoder.dictionary, levels, product);
    kernels::rescale(&refiner.correlation, refiner.bias, product, correlation);
    let (limit, fine) = (
        file.spec.activations.code_limit(),
        file.spec.activations.fine_bits(),
    );
    let codes = refiner.codes;
    let least = least_level(codes, limit);
    iterate.fill(0);
    let mut is_cut = false;
    for (index, level) in code::pairs(code.entries()) {
        let cut = level.min(limit).max(least);
        is_cut |= cut != level;
        if let Some(z) = iterate.get_mut(usize::from(index)) {
            *z = cut << fine;
        }
    }
    if is_cut {
        list(iterate, fine, code);
    }
    let mut state = State {
        codes,
        iterate,
        product,
        previous,
        entries,
    };
    let active = state.multiply_anew(refiner);
    let before =
        (settings.max_iterations > 0).then(|| state.energy(correlation, settings.threshold));

    let (iterations, stopped) = match settings.method {
        Method::Fista => state.fista(refiner, correlation, settings, deadline),
        Method::CoordinateDescent => {
            state.descend(refiner, correlation, active, settings, deadline)
        }
    };

    if fine > 0 && iterations > 0 {
        for level in state.iterate.iter_mut().filter(|level| **level != 0) {
            let nearest = rounded(level.wrapping_abs(), fine).min(limit) << fine;
            *level = if *level < 0 {
                nearest.wrapping_neg()
            } else {
                nearest
            };
        }
        state.multiply_anew(refiner);
    }
    // The list still holds the start.
    let is_worse = |before| {
        let after = state.energy(correlation, settings.threshold);
        iterations > 0 && !after.is_at_most(before, finer(refiner))
    };
    if !before.is_some_and(is_worse) {
        list(state.iterate, fine, code);
    }
    IntegerRefinement {
        iterations,
        stopped,
    }
}

/// Makes `code` that of levels with `fine` more bits, which are 0.
#[inline(never)]
fn list(levels: &[i16], fine: u32, code: &mut List<'_>) {
    code.clear();
    for (index, &level) in levels.iter().enumerate() {
        // Most are 0.
        if level != 0 {
            code.push(index, level >> fine);
        }
    }
}

/// The smallest level of a component, where the largest is `limit`.
pub(crate) const fn least_level(codes: CodeSign, limit: i16) -> i16 {
    match codes {
        CodeSign::NonNegative => 0,
        CodeSign::Signed => limit.wrapping_neg(),
    }
}

/// What a code costs beside the code of zeros, `½ zᵀĜz − ĉᵀz + θ‖z‖₁` in two parts. Both are exact:
/// they stay below 2⁵⁹.
#[derive(Clone, Copy)]
struct Energy {
    /// `zᵀĜz`, with the fraction of the Gram matrix.
    square: i64,
    /// `ĉᵀz − θ‖z‖₁`, in points.
    linear: i64,
}

impl Energy {
    const fn is_at_most(self, other: Self, finer: u32) -> bool {
        // In half units of the Gram matrix: square ≤ linear · 2^shift, which is the quotient,
        // rounded up, below an integer.
        let shift = finer.wrapping_add(1) & 31;
        let square = self.square.wrapping_sub(other.square);
        let rounded_up = square.wrapping_add((1_i64 << shift).wrapping_sub(1)) >> shift;
        rounded_up <= self.linear.wrapping_sub(other.linear)
    }
}

/// The nearest level of one with `fine` more bits, which is not negative.
const fn rounded(level: i16, fine: u32) -> i16 {
    let half = (1_u16 << fine) >> 1;
    // Below 2¹⁵ + 2⁷ before the shift.
    (level.cast_unsigned().wrapping_add(half) >> fine).cast_signed()
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
    codes: CodeSign,
    /// `z`.
    iterate: &'w mut [i16],
    /// `Ĝ z`.
    product: &'w mut [i32],
    /// `a` of the iteration before.
    previous: &'w mut [i32],
    /// What changed, in FISTA; which components are active, in coordinate descent.
    entries: &'w mut [Entry],
}

/// What an iteration or a pass did.
struct Step {
    /// Components that changed, and that are active.
    changed: usize,
    active: usize,
    /// `‖z_k − z_{k−1}‖₁` and `‖z_{k−1}‖₁`, in levels.
    change: u32,
    norm: u32,
}

impl Step {
    const fn none() -> Self {
        Self {
            changed: 0,
            active: 0,
            change: 0,
            norm: 0,
        }
    }

    /// Makes a component the next level.
    #[inline(always)]
    fn take(&mut self, index: usize, next: i16, z: &mut i16, entries: &mut [Entry]) {
        self.norm = self.norm.wrapping_add(z.unsigned_abs().into());
        self.active = self.active.wrapping_add(usize::from(next != 0));
        if next != *z {
            // Both within 0 … 32767.
            let difference = next.wrapping_sub(*z);
            self.change = self.change.wrapping_add(difference.unsigned_abs().into());
            if let Some(entry) = entries.get_mut(self.changed) {
                *entry = Entry::new::<i16>(index, difference);
                self.changed = self.changed.wrapping_add(1);
            }
            *z = next;
        }
    }

    fn is_small(&self, settings: &IntegerRefine) -> bool {
        let bits = u32::from(settings.tolerance_bits).min(31);
        self.change < self.norm >> bits
    }
}

/// Bits that the Gram matrix has more than a point.
#[inline(always)]
fn finer(refiner: &IntegerRefiner<'_>) -> u32 {
    u32::from(refiner.gram_fraction.wrapping_sub(refiner.point_fraction)) & 31
}

fn gradient_step(refiner: &IntegerRefiner<'_>, momentum: i32) -> GradientStep {
    GradientStep {
        point: u32::from(refiner.point_fraction) & 31,
        finer: finer(refiner),
        momentum,
    }
}

/// What one more point of a component would gain.
#[inline(always)]
fn gain(correlation: i32, threshold: i32, product: i32, finer: u32) -> i32 {
    correlation
        .saturating_sub(threshold)
        .saturating_sub(product >> finer)
}

/// Makes a component, unless it is negative, the level that is best for it as the others stand, and
/// not negative; `gain` is what one more point of it would gain.
#[inline(never)]
fn improve(
    refiner: &IntegerRefiner<'_>,
    index: usize,
    gain: i32,
    z: &mut i16,
    product: &mut [i32],
    pass: &mut Step,
) {
    if *z < 0 {
        return;
    }
    // Both with the fraction of the Gram matrix: what saturates is a step beyond every level. 0
    // only for an atom of zeros.
    let curvature = i32::from(refiner.gram.get(index, index).unwrap_or(0));
    let gain = gain.saturating_mul(1_i32.wrapping_shl(finer(refiner)));
    let half = curvature >> 1;
    let away = if gain < 0 {
        gain.saturating_sub(half)
    } else {
        gain.saturating_add(half)
    };
    // Rounded to the nearest level, halves away from 0.
    let step = away.checked_div(curvature).unwrap_or(i32::MIN);
    let before = i32::from(*z);
    let next = before.saturating_add(step).clamp(0, CODE_LIMIT);
    pass.norm = pass.norm.wrapping_add(before.unsigned_abs());
    if next != before {
        // Both within 0 … 32767.
        let difference = next.wrapping_sub(before);
        pass.change = pass.change.wrapping_add(difference.unsigned_abs());
        pass.changed = pass.changed.wrapping_add(1);
        *z = next as i16;
        kernels::add_wide_row(&refiner.gram, index, difference as i16, product);
    }
}

impl State<'_> {
    fn fista(
        &mut self,
        refiner: &IntegerRefiner<'_>,
        correlation: &[i32],
        settings: &IntegerRefine,
        deadline: &mut dyn FnMut() -> bool,
    ) -> (u32, Stop) {
        let mut idle = false;
        for done in 0..settings.max_iterations {
            if deadline() {
                return (done, Stop::Deadline);
            }
            let (momentum, threshold) = (momentum(done), settings.threshold);
            let step = match self.codes {
                CodeSign::NonNegative => self.step(refiner, correlation, momentum, threshold),
                CodeSign::Signed => self.signed_step(refiner, correlation, momentum, threshold),
            };
            // The product is exact either way.
            if step.changed <= step.active {
                self.add_changes(refiner, step.changed);
            } else {
                self.multiply_anew(refiner);
            }
            let now_idle = step.changed == 0;
            if step.is_small(settings) || (idle && now_idle) {
                return (done.saturating_add(1), Stop::Converged);
            }
            idle = now_idle;
        }
        (settings.max_iterations, Stop::Budget)
    }

    /// Passes over the active components, of which `entries` lists `active`, and over all of them
    /// in turn: over those that are not negative, and, of signed codes, over those that are not
    /// positive.
    fn descend(
        &mut self,
        refiner: &IntegerRefiner<'_>,
        correlation: &mut [i32],
        mut active: usize,
        settings: &IntegerRefine,
        deadline: &mut dyn FnMut() -> bool,
    ) -> (u32, Stop) {
        let signed = self.codes == CodeSign::Signed;
        let mut all = active == 0;
        for done in 0..settings.max_iterations {
            if deadline() {
                return (done, Stop::Deadline);
            }
            let mut pass = Step::none();
            // Of signed codes, the problem as it is and then its opposite.
            let mut is_opposite = false;
            loop {
                if all {
                    self.pass(refiner, correlation, settings.threshold, &mut pass);
                } else {
                    self.pass_over_active(refiner, correlation, settings.threshold, active);
                }
                if !signed {
                    break;
                }
                self.negate(correlation);
                is_opposite = !is_opposite;
                if !is_opposite {
                    break;
                }
            }
            if !all {
                all = true;
                continue;
            }
            if pass.changed == 0 || pass.is_small(settings) {
                return (done.saturating_add(1), Stop::Converged);
            }
            active = pass.active;
            all = active == 0;
        }
        (settings.max_iterations, Stop::Budget)
    }

    /// The problem whose code is the opposite: what was negative is positive.
    #[inline(never)]
    fn negate(&mut self, correlation: &mut [i32]) {
        let sums = self.product.iter_mut().chain(correlation);
        sums.for_each(|sum| *sum = sum.wrapping_neg());
        self.iterate
            .iter_mut()
            .for_each(|level| *level = level.wrapping_neg());
    }

    /// One pass of coordinate descent over all components that are not negative, which lists all
    /// active ones.
    #[inline(never)]
    fn pass(
        &mut self,
        refiner: &IntegerRefiner<'_>,
        correlation: &[i32],
        threshold: i32,
        pass: &mut Step,
    ) {
        let finer = finer(refiner);
        pass.active = 0;
        for (index, (z, &correlation)) in self.iterate.iter_mut().zip(correlation).enumerate() {
            let Some(&product) = self.product.get(index) else {
                break;
            };
            let gain = gain(correlation, threshold, product, finer);
            if *z == 0 && gain <= 0 {
                continue;
            }
            improve(refiner, index, gain, z, self.product, pass);
            if *z != 0
                && let Some(entry) = self.entries.get_mut(pass.active)
            {
                *entry = Entry::new::<i16>(index, 0);
                pass.active = pass.active.wrapping_add(1);
            }
        }
    }

    /// The same over the components that `entries` lists.
    #[inline(never)]
    fn pass_over_active(
        &mut self,
        refiner: &IntegerRefiner<'_>,
        correlation: &[i32],
        threshold: i32,
        active: usize,
    ) {
        let finer = finer(refiner);
        let mut pass = Step::none();
        for entry in self.entries.iter().take(active) {
            let index = entry.index::<i16>();
            let place = (self.iterate.get_mut(index), correlation.get(index));
            if let ((Some(z), Some(correlation)), Some(product)) = (place, self.product.get(index))
            {
                let gain = gain(*correlation, threshold, *product, finer);
                improve(refiner, index, gain, z, self.product, &mut pass);
            }
        }
    }

    /// One iteration, without the product: `entries` receives the changes.
    #[inline(never)]
    fn step(
        &mut self,
        refiner: &IntegerRefiner<'_>,
        correlation: &[i32],
        momentum: i32,
        threshold: i32,
    ) -> Step {
        let prox = Proximal::new(refiner, threshold);
        let gradient_step = gradient_step(refiner, momentum);
        let mut step = Step::none();
        #[cfg(sparsecode_host)]
        if kernels::gradient_steps(
            gradient_step,
            prox.least,
            self.iterate,
            (self.product, correlation),
            self.previous,
            &mut |index, next, z| step.take(index, prox.level(next), z, self.entries),
        ) {
            return step;
        }
        let terms = self.product.iter().zip(correlation);
        let state = self.iterate.iter_mut().zip(self.previous.iter_mut());
        for (index, ((&product, &correlation), (z, previous))) in terms.zip(state).enumerate() {
            let next = gradient_step.apply((*z).into(), product, correlation, previous);
            // Most components are 0 and stay it.
            if *z != 0 || next >= prox.least {
                step.take(index, prox.level(next), z, self.entries);
            }
        }
        step
    }

    /// [`step`](Self::step) of signed codes: another function, so that the loop of the others is as
    /// short as it can be. A component may go further than an entry holds, so that there is none,
    /// and more changes than active components.
    #[inline(never)]
    fn signed_step(
        &mut self,
        refiner: &IntegerRefiner<'_>,
        correlation: &[i32],
        momentum: i32,
        threshold: i32,
    ) -> Step {
        let prox = Proximal::new(refiner, threshold);
        let gradient_step = gradient_step(refiner, momentum);
        let mut step = Step::none();
        let terms = self.product.iter().zip(correlation);
        let state = self.iterate.iter_mut().zip(self.previous.iter_mut());
        for ((&product, &correlation), (z, previous)) in terms.zip(state) {
            let next = gradient_step.apply((*z).into(), product, correlation, previous);
            let next = prox.signed_level(next);
            step.norm = step.norm.wrapping_add(z.unsigned_abs().into());
            step.change = step.change.wrapping_add(next.abs_diff(*z).into());
            *z = next;
        }
        if step.change > 0 {
            step.changed = usize::MAX;
        }
        step
    }

    /// Of the iterate, whose product is up to date.
    #[inline(never)]
    fn energy(&self, correlation: &[i32], threshold: i32) -> Energy {
        let mut energy = Energy {
            square: 0,
            linear: 0,
        };
        let terms = self.product.iter().zip(correlation);
        for (&z, (&product, &correlation)) in self.iterate.iter().zip(terms) {
            // Most are 0.
            if z != 0 {
                let (z, product) = (i64::from(z), i64::from(product));
                let threshold = if z < 0 {
                    threshold.wrapping_neg()
                } else {
                    threshold
                };
                let slope = i64::from(correlation).wrapping_sub(threshold.into());
                energy.square = energy.square.wrapping_add(z.wrapping_mul(product));
                energy.linear = energy.linear.wrapping_add(z.wrapping_mul(slope));
            }
        }
        energy
    }

    /// `Ĝ z` of a code that changed as `entries` say.
    fn add_changes(&mut self, refiner: &IntegerRefiner<'_>, changed: usize) {
        let entries = self.entries.get(..changed).unwrap_or(&[]);
        kernels::add_wide_rows(&refiner.gram, entries, self.product);
    }

    /// `Ĝ z`. Returns how many components are active; `entries` lists them.
    fn multiply_anew(&mut self, refiner: &IntegerRefiner<'_>) -> usize {
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
        active
    }
}
