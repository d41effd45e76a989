//! One learned step of a code: [`IntegerGram`](sparsecode_formats::IntegerGram).

use sparsecode_formats::LANES;

use super::Entry;

/// What a point moves a component by at most, in half levels: −2¹⁷ to 2¹⁷ − 1, as `SSAT` cuts.
///
/// The definition's upper bound is 2¹⁷. A step `g` of at most 2⁹ makes the same of both, because
/// the difference is lost in rounding. A larger one makes 2¹⁵ or more of both, which is cut anyway.
const REACH: i32 = 1 << 17;

/// From products with the Gram matrix to points, and from points to levels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LearnedStep {
    /// Bits that the Gram matrix has more than a point; 2 to 31.
    pub(crate) finer: u8,
    /// 2 to 31.
    pub(crate) threshold_shift: u8,
    /// σ in sixteenths of a level.
    pub(crate) noise_level: u16,
    /// From points to half levels; below 32.
    pub(crate) halves: u8,
    /// In units of 2⁻¹¹; not negative, at most 14 bits.
    pub(crate) step: i32,
}

impl LearnedStep {
    /// Takes the step of every component of `code`, lists those that are then not 0 for rows of the
    /// Gram matrix, and says how many they are: `entries` is as long as the code. With
    /// `point = correlation − (product >> finer) − (threshold σ >> threshold_shift)`,
    /// `z = z + (cut(point >> halves) step + 2⁹ >> 10)`, cut to 0 … 32,767.
    ///
    /// Products, correlations and levels have one length, thresholds are filled up to eights.
    /// Correlations are within ±2³⁰, levels not negative. What is in `products` then is
    /// unspecified.
    #[inline(never)]
    pub(crate) fn take(
        self,
        products: &mut [i32],
        correlations: &[i32],
        thresholds: &[i16],
        code: &mut [i16],
        entries: &mut [Entry],
    ) -> usize {
        #[cfg(sparsecode_dsp)]
        if let Some(active) =
            super::device::learned_step(self, products, correlations, thresholds, code, entries)
        {
            return active;
        }
        self.take_portably(products, correlations, thresholds, code, entries)
    }

    /// [`take`](Self::take) in two passes: together they have more numbers in hand than a processor
    /// of a microcontroller has registers.
    #[inline(always)]
    pub(crate) fn take_portably(
        self,
        products: &mut [i32],
        correlations: &[i32],
        thresholds: &[i16],
        code: &mut [i16],
        entries: &mut [Entry],
    ) -> usize {
        let (eights, rest) = products.as_chunks_mut::<LANES>();
        let (correlations, last_correlations) = correlations.as_chunks::<LANES>();
        let (thresholds, _) = thresholds.as_chunks::<LANES>();
        let last_thresholds = thresholds.get(eights.len()).into_iter().flatten();
        // Of known length, which the compiler unrolls.
        let terms = correlations.iter().zip(thresholds);
        for (eight, (correlations, thresholds)) in eights.iter_mut().zip(terms) {
            let terms = correlations.iter().zip(thresholds);
            for (product, (&correlation, &threshold)) in eight.iter_mut().zip(terms) {
                *product = self.point(*product, correlation, threshold);
            }
        }
        let terms = last_correlations.iter().zip(last_thresholds);
        for (product, (&correlation, &threshold)) in rest.iter_mut().zip(terms) {
            *product = self.point(*product, correlation, threshold);
        }
        self.move_by(products, code, entries)
    }

    #[inline(always)]
    fn move_by(self, points: &[i32], code: &mut [i16], entries: &mut [Entry]) -> usize {
        let places = entries.len();
        let mut free = entries.iter_mut();
        let mut take = |index: usize, point: i32, z: &mut i16| {
            if let Some(entry) = self.component(index, point, z)
                && let Some(place) = free.next()
            {
                *place = entry;
            }
        };
        let mut first = 0_usize;
        let (eights, rest) = code.as_chunks_mut::<LANES>();
        let (points, last) = points.as_chunks::<LANES>();
        for (eight, points) in eights.iter_mut().zip(points) {
            for (lane, (z, &point)) in eight.iter_mut().zip(points).enumerate() {
                take(first.wrapping_add(lane), point, z);
            }
            first = first.wrapping_add(LANES);
        }
        for (lane, (z, &point)) in rest.iter_mut().zip(last).enumerate() {
            take(first.wrapping_add(lane), point, z);
        }
        places.wrapping_sub(free.len())
    }

    #[inline(always)]
    fn point(self, product: i32, correlation: i32, threshold: i16) -> i32 {
        // Within 15 bits times 16 bits: below 2³¹. Correlations are within ±2³⁰, and readers refuse
        // shifts below 2: nothing wraps.
        let threshold = i32::from(threshold)
            .wrapping_mul(self.noise_level.into())
            .wrapping_shr(self.threshold_shift.into());
        correlation
            .wrapping_sub(product.wrapping_shr(self.finer.into()))
            .wrapping_sub(threshold)
    }

    /// The step of component `index`. Its entry, if it is then not 0.
    #[inline(always)]
    fn component(self, index: usize, point: i32, z: &mut i16) -> Option<Entry> {
        // Most are 0 and stay it: a step is not negative.
        if *z == 0 && point <= 0 {
            return None;
        }
        let halves = point
            .wrapping_shr(self.halves.into())
            .clamp(-REACH, const { REACH - 1 });
        // 2¹⁷ times 14 bits, and half a unit: below 2³¹.
        let change = halves.wrapping_mul(self.step).wrapping_add(1 << 9) >> 10;
        let next = i32::from(*z).wrapping_add(change);
        *z = next.clamp(0, i16::MAX.into()) as i16;
        (*z != 0).then(|| Entry::new::<i16>(index, *z))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A step is that of the definition, in 64 bits and rounded down where it says so.
        #[test]
        fn steps_are_exact(
            terms in prop::collection::vec(
                (
                    prop_oneof![Just(0), 0..=i16::MAX],
                    any::<i32>(),
                    -(1 << 30)..=(1 << 30_i32),
                    any::<i16>(),
                ),
                1..40,
            ),
            noise: u16,
            step in prop_oneof![0..=16383_i32, 500..=520_i32],
            (finer, halves, threshold_shift) in (2..=23_u8, 0..=12_u8, 2..=31_u8),
        ) {
            let by = LearnedStep { finer, threshold_shift, noise_level: noise, halves, step };
            let mut expected = Vec::new();
            for &(z, product, correlation, threshold) in &terms {
                let own = (i64::from(threshold) * i64::from(noise)) >> threshold_shift;
                let point = i64::from(correlation) - (i64::from(product) >> finer) - own;
                let halves = (point >> halves).clamp(-(1 << 17), 1 << 17);
                let change = (halves * i64::from(step) + 512) >> 10;
                expected.push((i64::from(z) + change).clamp(0, 32_767) as i16);
            }
            let listed: Vec<Entry> = expected.iter().enumerate().filter(|(_, z)| **z != 0)
                .map(|(k, z)| Entry::new::<i16>(k, *z)).collect();
            let mut thresholds: Vec<i16> = terms.iter().map(|one| one.3).collect();
            thresholds.resize(terms.len().next_multiple_of(LANES), 7);
            let mut code: Vec<i16> = terms.iter().map(|one| one.0).collect();
            let mut products: Vec<i32> = terms.iter().map(|one| one.1).collect();
            let correlations: Vec<i32> = terms.iter().map(|one| one.2).collect();
            let mut entries = std::vec![Entry::ZERO; terms.len()];
            let active =
                by.take(&mut products, &correlations, &thresholds, &mut code, &mut entries);
            prop_assert_eq!(code, expected);
            prop_assert_eq!(&entries[..active], &listed[..]);
        }
    }
}
