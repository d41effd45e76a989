//! Steps on the Gram matrix, learned: the encoder of models that denoise, in integers.
//!
//! The arithmetic is that of refinement without its momentum: correlations in points, a Gram matrix
//! that meets sparse codes only, levels of 16 bits in between.

use sparsecode_formats::{IntegerFile, IntegerGram, IntegerRefiner, LANES};

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
    let mut thresholds = gram.thresholds;
    let mut active = 0_usize;
    for (index, &step) in gram.steps.iter().enumerate() {
        if index > 0 {
            product.fill(0);
            let entries = entries.get(..active).unwrap_or(&[]);
            kernels::add_wide_rows(&refiner.gram, entries, product);
        }
        let (own, rest) = thresholds
            .split_at_checked(correlation.len().next_multiple_of(LANES))
            .unwrap_or((thresholds, &[]));
        thresholds = rest;
        let terms = Terms {
            product,
            correlation,
            thresholds: own,
        };
        active = take_step(Step::new(refiner, gram, step), &terms, iterate, entries);
    }
    code.clear();
    for entry in entries.iter().take(active) {
        code.push(entry.index::<i16>(), entry.value());
    }
}

/// What a step is made of, but for the code.
struct Terms<'t> {
    product: &'t [i32],
    correlation: &'t [i32],
    thresholds: &'t [i16],
}

/// Takes a step of every component, lists those that are then not 0 for rows of the Gram matrix,
/// and says how many they are.
#[inline(never)]
fn take_step(by: Step, terms: &Terms<'_>, iterate: &mut [i16], entries: &mut [Entry]) -> usize {
    let mut active = 0_usize;
    let sums = terms.product.iter().zip(terms.correlation);
    let sums = sums.zip(terms.thresholds);
    for (index, (z, ((&product, &correlation), &threshold))) in
        iterate.iter_mut().zip(sums).enumerate()
    {
        let points = by.points(product, correlation, threshold);
        // Most are 0 and stay it: a step is not negative.
        if *z == 0 && points <= 0 {
            continue;
        }
        *z = by.apply(*z, points);
        if *z != 0
            && let Some(entry) = entries.get_mut(active)
        {
            *entry = Entry::new::<i16>(index, *z);
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
    fn new(refiner: &IntegerRefiner<'_>, gram: &IntegerGram<'_>, step: i32) -> Self {
        Self {
            finer: u32::from(refiner.gram_fraction.wrapping_sub(refiner.point_fraction)) & 31,
            halves: u32::from(refiner.point_fraction).wrapping_sub(1) & 31,
            threshold_shift: u32::from(gram.threshold_shift) & 31,
            noise: gram.noise_level.into(),
            step,
        }
    }

    /// How far a component is from where a step ends that is 1.
    #[inline(always)]
    fn points(self, product: i32, correlation: i32, threshold: i16) -> i32 {
        // Within 15 bits times 16 bits: below 2³¹.
        let threshold = i32::from(threshold).wrapping_mul(self.noise) >> self.threshold_shift;
        correlation
            .saturating_sub(product >> self.finer)
            .saturating_sub(threshold)
    }

    /// See [`IntegerGram`].
    #[inline(always)]
    fn apply(self, z: i16, points: i32) -> i16 {
        let halves = (points >> self.halves).clamp(-REACH, REACH);
        // 2¹⁷ times 14 bits, and half a unit: below 2³¹.
        let change = halves.wrapping_mul(self.step).wrapping_add(1 << 9) >> 10;
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
            step in 0..=16383_i32,
            (finer, halves, threshold_shift) in (0..=23_u32, 0..=12_u32, 0..=31_u32),
        ) {
            let by = Step { finer, halves, threshold_shift, noise: noise.into(), step };
            let own = (i64::from(threshold) * i64::from(noise)) >> threshold_shift;
            let within = |x: i64| x.clamp(i32::MIN.into(), i32::MAX.into());
            let points = within(i64::from(correlation) - (i64::from(product) >> finer));
            let points = within(points - own);
            let halves = (points >> halves).clamp(-(1 << 17), 1 << 17);
            let change = (halves * i64::from(step) + 512) >> 10;
            let expected = (i64::from(z) + change).clamp(0, 32_767);
            let points = by.points(product, correlation, threshold);
            prop_assert_eq!(i64::from(by.apply(z, points)), expected);
            // What is passed over would be 0.
            if z == 0 && points <= 0 {
                prop_assert_eq!(expected, 0);
            }
        }
    }
}
