//! Steps on the Gram matrix, learned: the encoder of models that denoise, in integers.
//!
//! The arithmetic is that of refinement without its momentum: correlations in points, a Gram matrix
//! that meets sparse codes only, levels of 16 bits in between.

use sparsecode_formats::{IntegerFile, IntegerGram, IntegerRefiner, LANES};

use super::code::List;
use super::workspace::Scratch;
use crate::kernels::integer::{self as kernels, Entry, Points};

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
    let points = Points {
        finer: refiner.gram_fraction.wrapping_sub(refiner.point_fraction),
        threshold_shift: gram.threshold_shift,
        noise_level: gram.noise_level,
    };
    let mut thresholds = gram.thresholds;
    let mut active = 0_usize;
    for &step in gram.steps {
        let (own, rest) = thresholds
            .split_at_checked(correlation.len().next_multiple_of(LANES))
            .unwrap_or((thresholds, &[]));
        thresholds = rest;
        product.fill(0);
        if let listed @ [_, ..] = entries.get(..active).unwrap_or(&[]) {
            kernels::add_wide_rows(&refiner.gram, listed, product);
        }
        points.replace(product, correlation, own);
        active = take_step(Step::new(refiner, step), product, iterate, entries);
    }
    code.set(entries.get(..active).unwrap_or(&[]));
}

/// Takes the step of every component by its `points`, lists those that are then not 0 for rows of
/// the Gram matrix, and says how many they are.
#[inline(never)]
fn take_step(by: Step, points: &[i32], iterate: &mut [i16], entries: &mut [Entry]) -> usize {
    let mut list = Active::new(entries);
    let mut take = |index: usize, points: i32, z: &mut i16| {
        // Most are 0 and stay it: a step is not negative.
        if *z != 0 || points > 0 {
            *z = by.apply(*z, points);
            list.push(index, *z);
        }
    };
    let mut first = 0_usize;
    let (eights, rest) = iterate.as_chunks_mut::<LANES>();
    let (points, last) = points.as_chunks::<LANES>();
    for (eight, points) in eights.iter_mut().zip(points) {
        for (lane, (z, &points)) in eight.iter_mut().zip(points).enumerate() {
            take(first.wrapping_add(lane), points, z);
        }
        first = first.wrapping_add(LANES);
    }
    for (lane, (z, &points)) in rest.iter_mut().zip(last).enumerate() {
        take(first.wrapping_add(lane), points, z);
    }
    list.count()
}

/// Components that are not 0, in the order of their indices.
struct Active<'e> {
    free: core::slice::IterMut<'e, Entry>,
    all: usize,
}

impl<'e> Active<'e> {
    fn new(entries: &'e mut [Entry]) -> Self {
        let all = entries.len();
        let free = entries.iter_mut();
        Self { free, all }
    }

    #[inline(always)]
    fn push(&mut self, index: usize, level: i16) {
        if level != 0
            && let Some(entry) = self.free.next()
        {
            *entry = Entry::new::<i16>(index, level);
        }
    }

    fn count(self) -> usize {
        self.all.wrapping_sub(self.free.len())
    }
}

/// One iteration's step of a component.
#[derive(Clone, Copy)]
struct Step {
    /// From points to half levels.
    halves: u32,
    step: i32,
}

impl Step {
    fn new(refiner: &IntegerRefiner<'_>, step: i32) -> Self {
        Self {
            halves: u32::from(refiner.point_fraction).wrapping_sub(1) & 31,
            step,
        }
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
            (finer, halves, threshold_shift) in (2..=23_u8, 0..=12_u32, 2..=31_u8),
        ) {
            let by = Step { halves, step };
            let of = Points { finer, threshold_shift, noise_level: noise };
            let own = (i64::from(threshold) * i64::from(noise)) >> threshold_shift;
            let points = i64::from(correlation) - (i64::from(product) >> finer) - own;
            let halves = (points >> halves).clamp(-(1 << 17), 1 << 17);
            let change = (halves * i64::from(step) + 512) >> 10;
            let expected = (i64::from(z) + change).clamp(0, 32_767);
            let points = of.of(product, correlation, threshold);
            prop_assert_eq!(i64::from(by.apply(z, points)), expected);
            // What is passed over would be 0.
            if z == 0 && points <= 0 {
                prop_assert_eq!(expected, 0);
            }
        }
    }
}
