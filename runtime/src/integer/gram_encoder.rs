//! Steps on the Gram matrix, learned: the encoder of models that denoise, in integers.
//!
//! The arithmetic is that of refinement without its momentum: correlations in points, a Gram matrix
//! that meets sparse codes only, levels of 16 bits in between.

use sparsecode_formats::{IntegerFile, IntegerGram, IntegerRefiner};

use super::code::List;
use super::workspace::Scratch;
use crate::kernels::integer::{self as kernels, Entry};

/// What a point that is taken off a component may come to, in half levels.
const REACH: i32 = 1 << 17;

/// Writes the code of `levels`. All slices have the dimensions of the model.
#[inline(never)]
pub(crate) fn encode(
    file: &IntegerFile<'_>,
    gram: &IntegerGram<'_>,
    levels: &[i16],
    code: &mut List<'_>,
    scratch: &mut Scratch<'_>,
) {
    let refiner = &file.refiner;
    let Scratch {
        sums: product,
        drive: correlation,
        entries,
        levels: iterate,
        ..
    } = scratch;
    kernels::dot_rows(&file.decoder.dictionary, levels, product);
    kernels::rescale(&refiner.correlation, refiner.bias, product, correlation);
    iterate.fill(0);
    product.fill(0);
    let (mut thresholds, mut is_first) = (gram.thresholds, true);
    for &step in gram.steps {
        if !is_first {
            let active = list(iterate, entries);
            product.fill(0);
            let entries = entries.get(..active).unwrap_or(&[]);
            kernels::add_wide_rows(&refiner.gram, entries, product);
        }
        is_first = false;
        let (own, rest) = thresholds
            .split_at_checked(correlation.len())
            .unwrap_or((thresholds, &[]));
        thresholds = rest;
        let by = Step::new(refiner, gram, step);
        let terms = product.iter().zip(correlation.iter()).zip(own);
        for (z, ((&product, &correlation), &threshold)) in iterate.iter_mut().zip(terms) {
            *z = by.apply(*z, product, correlation, threshold);
        }
    }
    code.clear();
    for (index, &level) in iterate.iter().enumerate() {
        // Most are 0.
        if level != 0 {
            code.push(index, level);
        }
    }
}

/// Lists the components that are not 0 for rows of the Gram matrix; how many there are.
#[inline(never)]
fn list(levels: &[i16], entries: &mut [Entry]) -> usize {
    let mut active = 0_usize;
    for (index, &level) in levels.iter().enumerate() {
        if level != 0
            && let Some(entry) = entries.get_mut(active)
        {
            *entry = Entry::new::<i16>(index, level);
            active = active.wrapping_add(1);
        }
    }
    active
}

/// One iteration's step of a component.
#[derive(Clone, Copy)]
struct Step {
    /// Bits that the Gram matrix has more than a point.
    finer: u32,
    /// From points to half levels.
    halves: u32,
    threshold_shift: u32,
    noise: i32,
    step: i32,
}

impl Step {
    #[inline(always)]
    fn new(refiner: &IntegerRefiner<'_>, gram: &IntegerGram<'_>, step: i16) -> Self {
        Self {
            finer: u32::from(refiner.gram_fraction.wrapping_sub(refiner.point_fraction)) & 31,
            halves: u32::from(refiner.point_fraction).wrapping_sub(1) & 31,
            threshold_shift: u32::from(gram.threshold_shift) & 31,
            noise: gram.noise_level.into(),
            step: step.into(),
        }
    }

    /// See [`IntegerGram`].
    #[inline(always)]
    fn apply(self, z: i16, product: i32, correlation: i32, threshold: i16) -> i16 {
        // Within 15 bits times 16 bits: below 2³¹.
        let threshold = i32::from(threshold).wrapping_mul(self.noise) >> self.threshold_shift;
        let points = correlation
            .saturating_sub(product >> self.finer)
            .saturating_sub(threshold);
        let halves = (points >> self.halves).clamp(-REACH, REACH);
        // 2¹⁷ times 13 bits: 2³⁰.
        let change = halves.wrapping_mul(self.step).wrapping_add(1 << 11) >> 12;
        let next = i32::from(z).wrapping_add(change);
        next.clamp(0, i16::MAX.into()) as i16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The step is that of the definition, in 64 bits and rounded down where it says so.
        #[test]
        fn a_step_is_exact(
            z in 0..=i16::MAX,
            product: i32,
            correlation in -(1 << 30)..=(1 << 30_i32),
            threshold: i16,
            noise: u16,
            step in -8191..=8191_i16,
            (finer, halves, threshold_shift) in (0..=23_u32, 0..=12_u32, 0..=31_u32),
        ) {
            let by = Step { finer, halves, threshold_shift, noise: noise.into(), step: step.into() };
            let own = (i64::from(threshold) * i64::from(noise)) >> threshold_shift;
            let within = |x: i64| x.clamp(i32::MIN.into(), i32::MAX.into());
            let points = within(i64::from(correlation) - (i64::from(product) >> finer));
            let points = within(points - own);
            let halves = (points >> halves).clamp(-(1 << 17), 1 << 17);
            let change = (halves * i64::from(step) + 2048) >> 12;
            let expected = (i64::from(z) + change).clamp(0, 32_767);
            prop_assert_eq!(i64::from(by.apply(z, product, correlation, threshold)), expected);
        }
    }
}
