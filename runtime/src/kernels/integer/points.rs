//! How far the components of a code are from where a learned step ends.

use sparsecode_formats::LANES;

/// From products with the Gram matrix to points, in which
/// [`IntegerGram`](sparsecode_formats::IntegerGram) takes its steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Points {
    /// Bits that the Gram matrix has more than a point; 2 to 31.
    pub(crate) finer: u8,
    /// 2 to 31.
    pub(crate) threshold_shift: u8,
    /// σ in sixteenths of a level.
    pub(crate) noise_level: u16,
}

impl Points {
    /// `products = correlations − (products >> finer) − (thresholds σ >> threshold_shift)`, for
    /// products and correlations of one length, and thresholds filled up to eights.
    #[inline(never)]
    pub(crate) fn replace(self, products: &mut [i32], correlations: &[i32], thresholds: &[i16]) {
        #[cfg(sparsecode_dsp)]
        if super::device::points(self, products, correlations, thresholds) {
            return;
        }
        self.replace_one_by_one(products, correlations, thresholds);
    }

    /// [`replace`](Self::replace), portably.
    #[inline(always)]
    pub(crate) fn replace_one_by_one(
        self,
        products: &mut [i32],
        correlations: &[i32],
        thresholds: &[i16],
    ) {
        let (eights, rest) = products.as_chunks_mut::<LANES>();
        let (correlations, last_correlations) = correlations.as_chunks::<LANES>();
        let (thresholds, _) = thresholds.as_chunks::<LANES>();
        let last_thresholds = thresholds.get(eights.len()).into_iter().flatten();
        // Of known length, which the compiler unrolls.
        let terms = correlations.iter().zip(thresholds);
        for (eight, (correlations, thresholds)) in eights.iter_mut().zip(terms) {
            let terms = correlations.iter().zip(thresholds);
            for (product, (&correlation, &threshold)) in eight.iter_mut().zip(terms) {
                *product = self.of(*product, correlation, threshold);
            }
        }
        let terms = last_correlations.iter().zip(last_thresholds);
        for (product, (&correlation, &threshold)) in rest.iter_mut().zip(terms) {
            *product = self.of(*product, correlation, threshold);
        }
    }

    /// One component's.
    #[inline(always)]
    pub(crate) fn of(self, product: i32, correlation: i32, threshold: i16) -> i32 {
        // Within 15 bits times 16 bits: below 2³¹. Correlations are within ±2³⁰, and readers refuse
        // shifts below 2: nothing wraps.
        let threshold = i32::from(threshold)
            .wrapping_mul(self.noise_level.into())
            .wrapping_shr(self.threshold_shift.into());
        correlation
            .wrapping_sub(product.wrapping_shr(self.finer.into()))
            .wrapping_sub(threshold)
    }
}
