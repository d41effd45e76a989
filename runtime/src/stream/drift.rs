//! Removal of baseline drift from one channel.

use super::drift_core::{Drift, DriftCursor, is_length};
use super::sample::Sample;

/// A linear-phase high-pass that removes baseline drift from one channel: samples in, samples
/// without drift out, one for one, `LENGTH − 1` samples later.
///
/// `y[n] = x[n] − B(B(x))[n]`, where `B(x)[n]` is the mean of `x[n−h] … x[n+h]`, `LENGTH = 2h + 1`.
/// Near the start and the end of the signal a mean counts the samples that exist. `LENGTH` is odd,
/// from 1 to 4095. The gain at `f` hertz and a rate of `r` is
/// `1 − (sin(π·f·LENGTH/r) / (LENGTH·sin(π·f/r)))²`: −3 dB at `0.58·r/LENGTH`. 361 samples suit ECG
/// at 360 Hz: −3 dB at 0.58 Hz. The filter delays all frequencies alike, so that it keeps the shape
/// of beats.
///
/// | | `f32` | `i16` |
/// |---|---|---|
/// | bytes of RAM | `8·LENGTH + 44` | `6·LENGTH + 24`, rounded up to a multiple of 4 |
/// | difference from the formula | at most `(6·LENGTH + 8)·2⁻²⁴·max∣x∣` | at most `½ + 1/32` levels |
/// | cost of a sample | 7 additions, 2 divisions | 5 additions, 2 multiplications |
///
/// **`f32`.** A second sum starts anew every `LENGTH` samples and replaces the running one, so that
/// errors do not add up. A NaN or an infinite sample comes out as NaN or infinite; means count the
/// last finite sample before it (0 if there is none) in its place. Sums overflow when samples
/// exceed `10³⁴` in magnitude; the filter recovers within `4·LENGTH` samples.
///
/// **`i16`.** Sums are exact, the inner means have 4 bits after the binary point, and the output is
/// rounded to the nearest level, halves away from 0 in the mean. An output beyond `i16` is cut to
/// its range: a step from −32,768 to 32,767 would give twice that.
///
/// ```
/// use sparsecode_runtime::stream::DriftStream;
///
/// // A mean over 3 samples, twice. A ramp is drift; only its ends, where means are one-sided, stay.
/// let mut drift = DriftStream::<f32, 3>::new();
/// let mut clean = Vec::new();
/// for sample in 0..8 {
///     clean.extend(drift.push(12.0 * sample as f32));
/// }
/// assert_eq!(clean.len(), 6); // 8 samples, 2 of latency
/// clean.extend(drift.finish());
/// assert_eq!(clean, [-9.0, -2.0, 0.0, 0.0, 0.0, 0.0, 2.0, 9.0]);
/// ```
///
/// A mean without a middle does not compile:
///
/// ```compile_fail,E0080
/// let drift = sparsecode_runtime::stream::DriftStream::<f32, 360>::new();
/// ```
#[derive(Clone, Debug)]
pub struct DriftStream<T: Sample, const LENGTH: usize> {
    /// The last samples, in a ring.
    samples: [T; LENGTH],
    /// The last means, in a ring.
    means: [T::Sum; LENGTH],
    cursor: DriftCursor<T>,
}

impl<T: Sample, const LENGTH: usize> DriftStream<T, LENGTH> {
    /// Size in bytes.
    pub const BYTES: usize = size_of::<Self>();

    /// Samples that go in before the first one comes out.
    pub const LATENCY: usize = LENGTH.wrapping_sub(1);

    /// A filter at its start, also for statics (it lies in `.bss`).
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(
                is_length(LENGTH),
                "a centred mean has an odd number of samples, at most 4095"
            );
        }
        Self {
            samples: [T::ZERO; LENGTH],
            means: [T::EMPTY; LENGTH],
            cursor: DriftCursor::new(),
        }
    }

    /// Forgets all samples: the next one is the first.
    pub fn reset(&mut self) {
        self.cursor = DriftCursor::new();
    }

    /// Takes the next sample, and gives the one of `LENGTH − 1` samples before without its drift,
    /// if there were as many.
    pub fn push(&mut self, sample: T) -> Option<T> {
        self.core().push(sample)
    }

    /// Takes samples and gives filtered ones as [`push`](Self::push) does, any number at once, in
    /// place: returns the first part of `block`. What lies behind that part is unspecified.
    pub fn push_block<'b>(&mut self, block: &'b mut [T]) -> &'b mut [T] {
        self.core().push_block(block)
    }

    /// Ends the signal: gives the samples that are still in the filter, one by one, so that as many
    /// come out as went in.
    ///
    /// The filter is as new when the iterator has given its last sample, or at the next
    /// [`push`](Self::push).
    pub fn finish(&mut self) -> impl Iterator<Item = T> {
        let mut core = self.core();
        core::iter::from_fn(move || core.pull())
    }

    /// Filters a whole signal in place. The filter is as new before and afterwards.
    ///
    /// ```
    /// use sparsecode_runtime::stream::DriftStream;
    ///
    /// let mut signal = [500_i16; 100];
    /// DriftStream::<i16, 25>::new().filter(&mut signal);
    /// assert_eq!(signal, [0; 100]);
    /// ```
    pub fn filter(&mut self, signal: &mut [T]) {
        self.core().filter(signal);
    }

    #[inline(always)]
    fn core(&mut self) -> Drift<'_, T> {
        Drift {
            samples: &mut self.samples,
            means: &mut self.means,
            cursor: &mut self.cursor,
            length: T::length_of::<LENGTH>(),
        }
    }
}

impl<T: Sample, const LENGTH: usize> Default for DriftStream<T, LENGTH> {
    fn default() -> Self {
        Self::new()
    }
}
