//! The moving mean of the moving mean, subtracted from a signal, in memory of any size.

use super::division::{Length, nearest};
use super::weighting::sealed::Arithmetic;

/// Samples of the longest moving mean, for which 32 bits hold the sum of the means of `i16`.
pub(super) const LONGEST: usize = 4095;

/// Bits after the binary point of a mean of `i16`.
const FRACTION: u32 = 4;

/// Whether a moving mean over `length` samples has a middle, and sums that fit.
pub(super) const fn is_length(length: usize) -> bool {
    length & 1 == 1 && length <= LONGEST
}

/// What a sample has to do for running means.
pub trait Averaged: Arithmetic {
    /// A running sum.
    type Total: Copy + core::fmt::Debug + 'static;

    /// What divides by the length of a moving mean.
    type Length: Copy + core::fmt::Debug + 'static;

    /// The sum of nothing.
    const NOTHING: Self::Total;

    /// For a length that is known when the program is compiled.
    fn length_of<const LENGTH: usize>() -> Self::Length;

    /// For another length, at most [`LONGEST`].
    fn length(length: usize) -> Self::Length;

    /// The sample as means count it: the one before if this one is not finite.
    fn counted(self, before: &mut Self) -> Self;

    /// The sample as an element of a sum.
    fn element(self) -> Self::Sum;

    /// Adds an element to the sum of a window that may hold `length` of them.
    fn enter(total: &mut Self::Total, element: Self::Sum, length: u16);

    /// Takes an element out of a sum.
    fn leave(total: &mut Self::Total, element: Self::Sum);

    /// The mean of `count` samples.
    fn mean(total: &Self::Total, count: u16) -> Self::Sum;

    /// `sample` minus the mean of `count` means.
    fn above(sample: Self, means: &Self::Total, count: u16) -> Self;

    /// [`mean`](Self::mean) of as many samples as a moving mean has.
    fn full_mean(total: &Self::Total, length: Self::Length) -> Self::Sum;

    /// [`above`](Self::above) with as many means as a moving mean has samples.
    fn above_full(sample: Self, means: &Self::Total, length: Self::Length) -> Self;
}

/// A sum that elements enter and leave, and the one that replaces it: `fresh` has no element taken
/// out.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    sum: f32,
    fresh: f32,
    /// Elements in `fresh`.
    age: u16,
}

impl Averaged for f32 {
    type Total = Running;
    type Length = f32;

    const NOTHING: Running = Running {
        sum: 0.0,
        fresh: 0.0,
        age: 0,
    };

    #[inline(always)]
    fn length_of<const LENGTH: usize>() -> f32 {
        Self::length(LENGTH)
    }

    #[inline(always)]
    fn length(length: usize) -> f32 {
        length as f32
    }

    #[inline(always)]
    fn counted(self, before: &mut Self) -> Self {
        if self.is_finite() {
            *before = self;
        }
        *before
    }

    #[inline(always)]
    fn element(self) -> f32 {
        self
    }

    #[inline(always)]
    fn enter(total: &mut Running, element: f32, length: u16) {
        total.sum += element;
        total.fresh += element;
        total.age = total.age.wrapping_add(1);
        if total.age >= length {
            *total = Running {
                sum: total.fresh,
                ..Self::NOTHING
            };
        }
    }

    #[inline(always)]
    fn leave(total: &mut Running, element: f32) {
        total.sum -= element;
    }

    #[inline(always)]
    fn mean(total: &Running, count: u16) -> f32 {
        total.sum / f32::from(count)
    }

    #[inline(always)]
    fn above(sample: Self, means: &Running, count: u16) -> Self {
        sample - means.sum / f32::from(count)
    }

    #[inline(always)]
    fn full_mean(total: &Running, length: f32) -> f32 {
        total.sum / length
    }

    #[inline(always)]
    fn above_full(sample: Self, means: &Running, length: f32) -> Self {
        sample - means.sum / length
    }
}

// Nothing wraps: a sum has at most 4,095 elements of at most 2¹⁵·2⁴.
impl Averaged for i16 {
    type Total = i32;
    type Length = Length;

    const NOTHING: i32 = 0;

    #[inline(always)]
    fn length_of<const LENGTH: usize>() -> Length {
        const { Length::new(LENGTH) }
    }

    #[inline(always)]
    fn length(length: usize) -> Length {
        Length::new(length)
    }

    #[inline(always)]
    fn counted(self, _before: &mut Self) -> Self {
        self
    }

    #[inline(always)]
    fn element(self) -> i32 {
        i32::from(self)
    }

    #[inline(always)]
    fn enter(total: &mut i32, element: i32, _length: u16) {
        *total = total.wrapping_add(element);
    }

    #[inline(always)]
    fn leave(total: &mut i32, element: i32) {
        *total = total.wrapping_sub(element);
    }

    #[inline(always)]
    fn mean(total: &i32, count: u16) -> i32 {
        nearest(total.wrapping_shl(FRACTION), count.into())
    }

    #[inline(always)]
    fn above(sample: Self, means: &i32, count: u16) -> Self {
        let mean = nearest(*means, u32::from(count).wrapping_shl(FRACTION));
        below(sample, mean)
    }

    #[inline(always)]
    fn full_mean(total: &i32, length: Length) -> i32 {
        length.nearest::<0>(total.wrapping_shl(FRACTION))
    }

    #[inline(always)]
    fn above_full(sample: Self, means: &i32, length: Length) -> Self {
        below(sample, length.nearest::<FRACTION>(*means))
    }
}

/// `sample − mean`, cut.
#[inline(always)]
fn below(sample: i16, mean: i32) -> i16 {
    let level = i32::from(sample).wrapping_sub(mean);
    level.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// Where a drift filter stands, and its running sums.
///
/// Plain data, all zeros at the start: 24 bytes for `i16`, 44 for `f32`.
/// [`DriftView`](super::DriftView) borrows one, so that the whole state of a channel lies in memory
/// of the caller's choice. A cursor belongs to the memory that it was advanced with.
///
/// ```
/// use sparsecode_runtime::stream::DriftCursor;
///
/// assert_eq!(size_of_val(&DriftCursor::<i16>::new()), 24);
/// assert_eq!(size_of_val(&DriftCursor::<f32>::new()), 44);
/// ```
#[derive(Clone, Debug)]
pub struct DriftCursor<T: Averaged> {
    /// The sum of the samples around the newest mean.
    samples: T::Total,
    /// The sum of the means around the oldest sample.
    means: T::Total,
    /// The last finite sample that came, and the last one that left.
    came: T,
    left: T,
    /// Where the next sample and the next mean go, which is where the oldest ones lie.
    next: u16,
    /// Steps so far; not counted beyond two lengths.
    time: u16,
    /// Steps since the last sample.
    ended: u16,
    /// Elements of the two sums.
    sample_count: u16,
    mean_count: u16,
}

impl<T: Averaged> DriftCursor<T> {
    /// A filter at its start, also for statics (a cursor lies in `.bss`).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            samples: T::NOTHING,
            means: T::NOTHING,
            came: T::ZERO,
            left: T::ZERO,
            next: 0,
            time: 0,
            ended: 0,
            sample_count: 0,
            mean_count: 0,
        }
    }

    /// Whether the cursor can have come about with a mean over `length` samples.
    pub(super) fn belongs_to(&self, length: usize) -> bool {
        let (next, time) = (usize::from(self.next), usize::from(self.time));
        let double = length.saturating_mul(2);
        // The ring starts at 0 and goes round once in `length` steps.
        next < length
            && time <= double
            && (time == double || time.checked_rem(length) == Some(next))
            && usize::from(self.ended) < length
    }
}

impl<T: Averaged> Default for DriftCursor<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// What [`DriftStream`](super::DriftStream) and [`DriftView`](super::DriftView) do, in borrowed
/// memory. Both rings are as long as the moving mean.
#[derive(Debug)]
pub(super) struct Drift<'m, T: Averaged> {
    /// The last samples, in a ring.
    pub(super) samples: &'m mut [T],
    /// The last means, in a ring.
    pub(super) means: &'m mut [T::Sum],
    pub(super) cursor: &'m mut DriftCursor<T>,
    /// That of both rings.
    pub(super) length: T::Length,
}

// Into the types with a fixed size, so that their sizes are constants here.
impl<T: Averaged> Drift<'_, T> {
    #[inline(always)]
    pub(super) fn push(&mut self, sample: T) -> Option<T> {
        if self.cursor.ended > 0 {
            *self.cursor = DriftCursor::new();
        }
        if usize::from(self.cursor.time) >= self.samples.len().wrapping_mul(2) {
            return self.settled(sample);
        }
        self.step(Some(sample))
    }

    /// [`step`](Self::step) where both sums have all their elements: nothing is counted.
    #[inline(always)]
    fn settled(&mut self, sample: T) -> Option<T> {
        let length = self.samples.len();
        let cursor = &mut *self.cursor;
        let slot = usize::from(cursor.next);
        let (place, mean) = (self.samples.get_mut(slot)?, self.means.get_mut(slot)?);
        let left = place.counted(&mut cursor.left).element();
        let came = sample.counted(&mut cursor.came).element();
        T::leave(&mut cursor.samples, left);
        T::enter(&mut cursor.samples, came, length as u16);
        *place = sample;
        T::leave(&mut cursor.means, *mean);
        *mean = T::full_mean(&cursor.samples, self.length);
        T::enter(&mut cursor.means, *mean, length as u16);
        let next = slot.wrapping_add(1);
        let next = if next < length { next } else { 0 };
        cursor.next = next as u16;
        let oldest = *self.samples.get(next)?;
        Some(T::above_full(oldest, &cursor.means, self.length))
    }

    /// The next sample after the end.
    #[inline(always)]
    pub(super) fn pull(&mut self) -> Option<T> {
        let latency = self.samples.len().saturating_sub(1);
        while usize::from(self.cursor.ended) < latency {
            self.cursor.ended = self.cursor.ended.wrapping_add(1);
            if let Some(clean) = self.step(None) {
                return Some(clean);
            }
        }
        *self.cursor = DriftCursor::new();
        None
    }

    #[inline(always)]
    pub(super) fn push_block<'b>(&mut self, block: &'b mut [T]) -> &'b mut [T] {
        let mut written = 0_usize;
        for index in 0..block.len() {
            let Some(&sample) = block.get(index) else {
                break;
            };
            if let Some(clean) = self.push(sample)
                && let Some(place) = block.get_mut(written)
            {
                *place = clean;
                written = written.wrapping_add(1);
            }
        }
        block.get_mut(..written).unwrap_or_default()
    }

    /// A whole signal in place.
    #[inline(always)]
    pub(super) fn filter(&mut self, signal: &mut [T]) {
        *self.cursor = DriftCursor::new();
        let written = self.push_block(signal).len();
        for place in signal.get_mut(written..).unwrap_or_default() {
            let Some(clean) = self.pull() else { break };
            *place = clean;
        }
        *self.cursor = DriftCursor::new();
    }

    /// One step on. With `h = (length − 1)/2` and `t` steps before, sample `t` comes, mean `t − h`
    /// is made, and sample `t − 2h` is given.
    #[inline(always)]
    fn step(&mut self, sample: Option<T>) -> Option<T> {
        let length = self.samples.len();
        let half = length >> 1;
        let cursor = &mut *self.cursor;
        let (slot, time) = (usize::from(cursor.next), usize::from(cursor.time));
        let (place, mean) = (self.samples.get_mut(slot)?, self.means.get_mut(slot)?);

        if time >= length {
            let left = place.counted(&mut cursor.left).element();
            T::leave(&mut cursor.samples, left);
            cursor.sample_count = cursor.sample_count.wrapping_sub(1);
        }
        if let Some(sample) = sample {
            let came = sample.counted(&mut cursor.came).element();
            T::enter(&mut cursor.samples, came, length as u16);
            cursor.sample_count = cursor.sample_count.wrapping_add(1);
            *place = sample;
        }
        if time >= length.wrapping_add(half) {
            T::leave(&mut cursor.means, *mean);
            cursor.mean_count = cursor.mean_count.wrapping_sub(1);
        }
        if time >= half && usize::from(cursor.ended) <= half {
            *mean = T::mean(&cursor.samples, cursor.sample_count);
            T::enter(&mut cursor.means, *mean, length as u16);
            cursor.mean_count = cursor.mean_count.wrapping_add(1);
        }

        let next = slot.wrapping_add(1);
        let next = if next < length { next } else { 0 };
        cursor.next = next as u16;
        if time < length.wrapping_mul(2) {
            cursor.time = cursor.time.wrapping_add(1);
        }
        let sample = *self.samples.get(next)?;
        let given = time >= length.wrapping_sub(1);
        given.then(|| T::above(sample, &cursor.means, cursor.mean_count))
    }
}
