//! Signals and frames without end: overlapping windows through a model, in buffers of fixed size.
//!
//! | | takes | gives | latency |
//! |---|---|---|---|
//! | [`SignalStream`] | samples of a 1-D signal | clean samples | `WINDOW` samples |
//! | [`FrameStream`] | lines of a frame | clean lines | `ROWS` lines |
//! | [`ContrastStream`] | lines of a frame | lines after local contrast normalisation, local means and deviations | `WINDOW − 1` lines |
//! | [`ContrastFrameStream`] | raw lines, for a model with local contrast normalisation | clean raw lines | `ROWS + WINDOW − 1` lines |
//!
//! A stream is the state of one channel and nothing else: plain data of a size known when the program is compiled, all
//! zeros at the start, so that a static of it lies in `.bss`. The model, its workspace and the patch that is being
//! denoised belong to the caller, who lends them from call to call; any number of channels share them. What denoises is a
//! closure that cleans a patch in place:
//!
//! ```
//! use sparsecode_runtime::stream::SignalStream;
//! # use sparsecode_runtime::formats::{self, *};
//! # use sparsecode_runtime::{Model, SparseCode, Workspace};
//! # let trained = formats::example(Preprocessing::IDENTITY);
//! # let file = AlignedBytes::from_slice(&formats::write(&trained, WeightType::I8).unwrap());
//! # let bytes: &[u8] = &file;
//!
//! // One model, workspace and window for two channels, whose windows of 8 samples start every 4.
//! let model = Model::<8, 4>::load(bytes)?;
//! let (mut code, mut workspace, mut window) = (SparseCode::new(), Workspace::new(), [0.0; 8]);
//! let mut denoise = |window: &mut [f32; 8]| {
//!     model.denoise(window, None, &mut code, &mut workspace, || false);
//! };
//! let mut channels = [const { SignalStream::<f32, 8, 4>::new() }; 2];
//!
//! let mut received = [0; 2];
//! for sample in [0.0, 1.0, 1.0, 0.5, 0.5, 0.0, 0.0, 0.0, 1.0, 1.0] {
//!     for (channel, received) in channels.iter_mut().zip(&mut received) {
//!         if let Some(clean) = channel.push(sample, &mut window, &mut denoise) {
//!             assert!(clean.is_finite());
//!             *received += 1;
//!         }
//!     }
//! }
//! assert_eq!(received, [2, 2]); // 10 samples, 8 of latency
//! assert_eq!(channels[0].finish(&mut window, &mut denoise).len(), 8);
//! # Ok::<(), sparsecode_runtime::LoadError>(())
//! ```
//!
//! # Where windows lie, and how they are added
//!
//! Windows start every `HOP` elements, and the last one is flush with the end, so that every element lies in one window at
//! least and nothing is padded. `HOP` need not divide the window. An output element is the weighted mean of the windows
//! that hold it, `Σ w·ŷ / Σ w` over those windows alone: at the start and at the end, where fewer of them overlap, the
//! divisor is that of the few. A constant therefore comes out as it went in (`f32`: but for rounding), everywhere.
//! [`Weighting`] says which weights there are.
//!
//! A signal or frame that is shorter than one window is continued by reflection (`c b | a b c | b a`) until it fills one.
//!
//! # Numbers
//!
//! `f32` samples are weighted and summed in `f32`, window after window. `i16` samples are for models that compute in
//! integers: weights and sums are `i32`, which cannot overflow, and the quotient is rounded to the nearest integer, halves
//! away from 0; no floating-point operation is involved. Both give the same bits on every core. The one division of an output
//! element is an instruction, or a library call where the core has none (Cortex-M0+).
//!
//! A NaN or an infinite sample spoils the windows that hold it and nothing else: sums are made anew for every element, none
//! runs on.

mod contrast;
mod contrast_frame;
mod frame;
mod signal;

pub use contrast::{ContrastError, ContrastStream, LocalContrast};
pub use contrast_frame::{ContrastFrameStream, FrameScratch};
pub use frame::FrameStream;
pub use signal::SignalStream;

/// The number type of a stream: `f32` or `i16`. Cannot be implemented elsewhere.
pub trait Sample: sealed::Arithmetic {}

impl Sample for f32 {}
impl Sample for i16 {}

/// How the windows that hold an element are weighted: [`Uniform`] or [`Hann`]. Cannot be implemented elsewhere.
///
/// In the type rather than in the state, so that an unused one costs no code and the state stays all zeros. The compiler makes the
/// weights; they take 4 bytes of flash an element of a window (in frames, of each side of a patch).
pub trait Weighting: sealed::Taper {}

/// Every window counts the same: the plain mean. What the host's `sparsecode denoise` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uniform;

/// The middle of a window counts more than its ends: `w[i] = sin²(π·(i + ½)/n)`, in frames the product of both axes.
///
/// Pays where the reconstruction is worst at the ends of a window; with it, ECG needs only half as many windows for nearly
/// the same result. For `i16` the weights are rounded to integers from 1, as large as the sums of 32 bits allow.
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

/// The largest sum of integer weights for which 32 bits hold the sum of weighted `i16` and half a divisor.
const SIGNAL_LIMIT: i32 = 65_535;
/// The same for each axis of a frame, where weights are products.
const FRAME_LIMIT: i32 = 255;

pub(crate) mod sealed {
    use super::Table;

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

        /// `sum + weight·value`
        fn add(sum: Self::Sum, weight: Self::Sum, value: Self) -> Self::Sum;

        /// The sum of two weights.
        fn plus(a: Self::Sum, b: Self::Sum) -> Self::Sum;

        /// The product of two weights.
        fn times(a: Self::Sum, b: Self::Sum) -> Self::Sum;

        /// `sum / weight`
        fn divide(sum: Self::Sum, weight: Self::Sum) -> Self;
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
    }

    // Nothing wraps: `Table` bounds the sum of the weights.
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
            let half = weight >> 1;
            let biased = if sum < 0 {
                sum.wrapping_sub(half)
            } else {
                sum.wrapping_add(half)
            };
            // A weighted mean of `i16` is one.
            biased.checked_div(weight).unwrap_or(0) as Self
        }
    }
}

/// The weights of a window of `SIDE` elements every `HOP`, whose integer sums stay within `LIMIT`. Made by the compiler.
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

/// `sin²(π·(index + ½)/side)`, for the compiler alone: the Taylor series of `sin` up to π/2, where 12 terms leave less than
/// 1e-19.
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

/// Where a ring of `LENGTH` elements stands, and the windows of that length that have been added to it.
///
/// Counts nothing that grows without end. A hop of 0 does not compile:
///
/// ```compile_fail,E0080
/// let stream = sparsecode_runtime::stream::SignalStream::<f32, 8, 0>::new();
/// ```
#[derive(Clone, Debug)]
struct Cursor<const LENGTH: usize, const HOP: usize> {
    /// Where the next element goes, which is where the oldest one lies.
    next: u16,
    /// Elements since the last window, or since the start.
    since: u16,
    /// Windows so far; not counted beyond those that can hold one element.
    windows: u16,
}

impl<const LENGTH: usize, const HOP: usize> Cursor<LENGTH, HOP> {
    /// Regular windows that can hold one element.
    const OVERLAPS: usize = LENGTH.div_ceil(HOP);

    const fn new() -> Self {
        const {
            assert!(
                LENGTH <= u16::MAX as usize,
                "windows have at most 65535 elements"
            );
            assert!(HOP > 0, "a hop of 0 never moves on");
            assert!(
                HOP <= LENGTH,
                "a hop larger than the window leaves elements out"
            );
        }
        Self {
            next: 0,
            since: 0,
            windows: 0,
        }
    }

    fn next(&self) -> usize {
        self.next.into()
    }

    /// Whether the next element takes the place of one that all its windows have been added to.
    fn is_full(&self) -> bool {
        self.windows > 0
    }

    /// Elements in the ring.
    fn held(&self) -> usize {
        if self.is_full() {
            LENGTH
        } else {
            self.since.into()
        }
    }

    /// Moves on by one element. Whether a window is due.
    fn advance(&mut self) -> bool {
        let next = self.next.wrapping_add(1);
        self.next = if usize::from(next) < LENGTH { next } else { 0 };
        self.since = self.since.wrapping_add(1);
        let due = if self.is_full() { HOP } else { LENGTH };
        if usize::from(self.since) < due {
            return false;
        }
        self.since = 0;
        if usize::from(self.windows) < Self::OVERLAPS {
            self.windows = self.windows.wrapping_add(1);
        }
        true
    }

    /// The sum of the weights of the regular windows that hold the `index`-th oldest element.
    fn divisor<T: Sample>(&self, weights: &[T::Sum; LENGTH], index: usize) -> T::Sum {
        let place = index.wrapping_add(self.since.into());
        overlapping::<T>(weights, place, HOP, self.windows.into())
    }

    /// The same at the end, where another window is flush with it unless a regular one is.
    fn last_divisor<T: Sample>(&self, weights: &[T::Sum; LENGTH], index: usize) -> T::Sum {
        let regular = self.divisor::<T>(weights, index);
        match weights.get(index) {
            Some(weight) if self.since > 0 => T::plus(regular, *weight),
            _ => regular,
        }
    }
}

/// The sum of at most `count` weights from `place` on, every `hop`.
fn overlapping<T: Sample>(weights: &[T::Sum], place: usize, hop: usize, count: usize) -> T::Sum {
    let mut rest = weights.get(place..).unwrap_or_default();
    let mut sum = T::EMPTY;
    for _ in 0..count {
        let Some(weight) = rest.first() else { break };
        sum = T::plus(sum, *weight);
        rest = rest.get(hop..).unwrap_or_default();
    }
    sum
}

/// The elements of a ring from the oldest, which lies at `next`, to the newest.
fn by_age<E>(ring: &[E], next: usize) -> impl Iterator<Item = &E> {
    let (new, old) = ring.split_at_checked(next).unwrap_or((&[], ring));
    old.iter().chain(new)
}

/// [`by_age`], to be written.
fn by_age_mut<E>(ring: &mut [E], next: usize) -> impl Iterator<Item = &mut E> {
    let (new, old) = ring.split_at_mut_checked(next).unwrap_or_default();
    old.iter_mut().chain(new)
}

/// The index that lies at distance `index` from the first of `0..=last` when these are reflected at both ends, again and
/// again (`c b | a b c | b a`): the same for `index` and `−index`.
fn reflect(index: usize, last: usize) -> usize {
    let period = last.wrapping_mul(2);
    let place = index.checked_rem(period).unwrap_or(0);
    place.min(period.wrapping_sub(place))
}
