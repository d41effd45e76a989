//! How the windows that hold an element of a stream are weighted.

/// How the windows that hold an element are weighted: [`Uniform`] or [`Hann`]. Cannot be
/// implemented elsewhere.
///
/// In the type rather than in the state, so that an unused one costs no code and the state stays
/// all zeros. The compiler makes the weights; they take 4 bytes of flash an element of a window (in
/// frames, of each side of a patch).
pub trait Weighting: sealed::Taper {}

/// Every window counts the same: the plain mean. What the host's `sparsecode denoise` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uniform;

/// The middle of a window counts more than its ends: `w[i] = sin²(π·(i + ½)/n)`, in frames the
/// product of both axes.
///
/// Pays where the reconstruction is worst at the ends of a window; with it, ECG needs only half as
/// many windows for nearly the same result. For `i16` the weights are rounded to integers from 1,
/// as large as the sums of 32 bits allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hann;

impl Weighting for Uniform {}
impl Weighting for Hann {}

impl sealed::Taper for Uniform {
    const HANN: bool = false;
}

impl sealed::Taper for Hann {
    const HANN: bool = true;
}

/// The largest sum of integer weights for which 32 bits hold the sum of weighted `i16` and half a
/// divisor.
pub(super) const SIGNAL_LIMIT: i32 = 65_535;
/// The same for each axis of a frame, where weights are products.
pub(super) const FRAME_LIMIT: i32 = 255;

pub(crate) mod sealed {
    use super::super::division::nearest;
    use super::Table;
    use crate::kernels::integer as kernels;

    /// Whether weights fall off towards the ends of a window.
    pub trait Taper: Copy {
        /// A Hann window, or none.
        const HANN: bool;
    }

    /// What a sample has to do, and nobody else may.
    pub trait Arithmetic: Copy + 'static {
        /// The type of weights and of sums.
        type Sum: Copy + core::fmt::Debug + 'static;

        /// Silence.
        const ZERO: Self;
        /// The sum of nothing.
        const EMPTY: Self::Sum;

        /// The weights of a window; they lie in flash.
        fn weights<K: Taper, const SIDE: usize, const HOP: usize, const LIMIT: i32>()
        -> &'static [Self::Sum; SIDE];

        /// What a weight adds to a sum that a limit bounds (0: no limit counts); `None` if it is
        /// none to compute with.
        fn load(weight: Self::Sum) -> Option<u32>;

        /// `sum + weight·value`
        fn add(sum: Self::Sum, weight: Self::Sum, value: Self) -> Self::Sum;

        /// The sum of two weights.
        fn plus(a: Self::Sum, b: Self::Sum) -> Self::Sum;

        /// The product of two weights.
        fn times(a: Self::Sum, b: Self::Sum) -> Self::Sum;

        /// `sum / weight`
        fn divide(sum: Self::Sum, weight: Self::Sum) -> Self;

        /// `to = from`, of lengths that are equal.
        fn copy(to: &mut [Self], from: &[Self]);

        /// `sums += weights·values`, of lengths that are equal.
        fn add_weighted(sums: &mut [Self::Sum], weights: &[Self::Sum], values: &[Self]);
    }

    impl Arithmetic for f32 {
        type Sum = f32;

        const ZERO: Self = 0.0;
        const EMPTY: f32 = 0.0;

        fn weights<K: Taper, const SIDE: usize, const HOP: usize, const LIMIT: i32>()
        -> &'static [f32; SIDE] {
            if K::HANN {
                Table::<SIDE, HOP, LIMIT>::HANN_F32
            } else {
                Table::<SIDE, HOP, LIMIT>::ONES_F32
            }
        }

        fn load(weight: f32) -> Option<u32> {
            // Products of two, and sums of them, neither vanish nor overflow. NaN is not among
            // them.
            (1e-12..=1e12).contains(&weight).then_some(0)
        }

        #[inline]
        fn add(sum: f32, weight: f32, value: Self) -> f32 {
            sum + weight * value
        }

        #[inline]
        fn plus(a: f32, b: f32) -> f32 {
            a + b
        }

        #[inline]
        fn times(a: f32, b: f32) -> f32 {
            a * b
        }

        #[inline]
        fn divide(sum: f32, weight: f32) -> Self {
            sum / weight
        }

        #[inline(always)]
        fn copy(to: &mut [Self], from: &[Self]) {
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
        }

        #[inline(never)]
        fn add_weighted(sums: &mut [f32], weights: &[f32], values: &[Self]) {
            for (sum, (weight, value)) in sums.iter_mut().zip(weights.iter().zip(values)) {
                *sum = Self::add(*sum, *weight, *value);
            }
        }
    }

    // Nothing wraps: `Table` and `Windows` bound the sum of the weights.
    impl Arithmetic for i16 {
        type Sum = i32;

        const ZERO: Self = 0;
        const EMPTY: i32 = 0;

        fn weights<K: Taper, const SIDE: usize, const HOP: usize, const LIMIT: i32>()
        -> &'static [i32; SIDE] {
            if K::HANN {
                Table::<SIDE, HOP, LIMIT>::HANN_I32
            } else {
                Table::<SIDE, HOP, LIMIT>::ONES_I32
            }
        }

        fn load(weight: i32) -> Option<u32> {
            (weight > 0).then_some(weight.unsigned_abs())
        }

        #[inline]
        fn add(sum: i32, weight: i32, value: Self) -> i32 {
            sum.wrapping_add(weight.wrapping_mul(i32::from(value)))
        }

        #[inline]
        fn plus(a: i32, b: i32) -> i32 {
            a.wrapping_add(b)
        }

        #[inline]
        fn times(a: i32, b: i32) -> i32 {
            a.wrapping_mul(b)
        }

        #[inline]
        fn divide(sum: i32, weight: i32) -> Self {
            // A weighted mean of `i16` is one.
            nearest(sum, weight.cast_unsigned()) as Self
        }

        #[inline(always)]
        fn copy(to: &mut [Self], from: &[Self]) {
            kernels::copy(to, from);
        }

        #[inline(always)]
        fn add_weighted(sums: &mut [i32], weights: &[i32], values: &[Self]) {
            kernels::add_weighted(sums, weights, values);
        }
    }
}

/// The weights of a window of `SIDE` elements every `HOP`, whose integer sums stay within `LIMIT`.
/// Made by the compiler.
struct Table<const SIDE: usize, const HOP: usize, const LIMIT: i32>;

impl<const SIDE: usize, const HOP: usize, const LIMIT: i32> Table<SIDE, HOP, LIMIT> {
    const ONES_F32: &'static [f32; SIDE] = &[1.0; SIDE];
    const HANN_F32: &'static [f32; SIDE] = &Self::hann_f32();
    const ONES_I32: &'static [i32; SIDE] = {
        let _ = Self::PEAK;
        &[1; SIDE]
    };
    const HANN_I32: &'static [i32; SIDE] = &Self::hann_i32();

    /// The most windows that can hold one element, the one flush with the end included.
    const OVERLAPS: usize = {
        let regular = SIDE.div_ceil(HOP).saturating_add(1);
        if regular < SIDE { regular } else { SIDE }
    };

    /// The largest integer weight.
    const PEAK: i32 = {
        assert!(
            Self::OVERLAPS <= LIMIT as usize,
            "too many windows overlap for sums of 32 bits: choose a larger hop"
        );
        match LIMIT.checked_div(Self::OVERLAPS as i32) {
            Some(peak) => peak,
            None => 1,
        }
    };

    const fn hann_f32() -> [f32; SIDE] {
        let mut table = [0.0; SIDE];
        let (mut rest, mut index) = (table.as_mut_slice(), 0_usize);
        while let Some((weight, tail)) = rest.split_first_mut() {
            *weight = hann(index, SIDE) as f32;
            (rest, index) = (tail, index.wrapping_add(1));
        }
        table
    }

    const fn hann_i32() -> [i32; SIDE] {
        let mut table = [0; SIDE];
        let (mut rest, mut index) = (table.as_mut_slice(), 0_usize);
        while let Some((weight, tail)) = rest.split_first_mut() {
            // Halves go up, whatever the last bits of the sine.
            let level = (hann(index, SIDE) * Self::PEAK as f64 + 0.500_001) as i32;
            *weight = if level > 1 { level } else { 1 };
            (rest, index) = (tail, index.wrapping_add(1));
        }
        table
    }
}

/// `sin²(π·(index + ½)/side)`, for the compiler alone: the Taylor series of `sin` up to π/2, where
/// 12 terms leave less than 1e-19.
const fn hann(index: usize, side: usize) -> f64 {
    let mirrored = side.wrapping_sub(1).wrapping_sub(index);
    let index = if index < mirrored { index } else { mirrored };
    let x = core::f64::consts::PI * (index as f64 + 0.5) / side as f64;
    // sin x = x·(1 − x²/(2·3)·(1 − x²/(4·5)·(…)))
    let mut factors: &[f64] = &[
        506.0, 420.0, 342.0, 272.0, 210.0, 156.0, 110.0, 72.0, 42.0, 20.0, 6.0,
    ];
    let mut series = 1.0;
    while let Some((factor, rest)) = factors.split_first() {
        series = 1.0 - x * x / *factor * series;
        factors = rest;
    }
    let sine = x * series;
    sine * sine
}
