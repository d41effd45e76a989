//! One channel of a 1-D signal.

use core::marker::PhantomData;

use super::ring::{Cursor, by_age, by_age_mut, reflect};
use super::weighting::{SIGNAL_LIMIT, Sample, Uniform, Weighting};

/// The state of one channel of a 1-D signal: samples in, clean samples out, one for one, `WINDOW`
/// samples later.
///
/// Every `HOP` samples (`1 ≤ HOP ≤ WINDOW ≤ 65535`) the last `WINDOW` samples go through a closure
/// that denoises them in place, and the results are averaged where they overlap, as the
/// [module](super) says. With [`Uniform`] weights and the same model that is what `sparsecode
/// denoise` does with a whole signal, to the bit.
///
/// Memory: `8·WINDOW` bytes for `f32` and `6·WINDOW` for `i16`, and 6 more, rounded up to a
/// multiple of 4. Cost of a sample, beside the `1/HOP` windows for the closure: `WINDOW/HOP`
/// multiply-adds, up to as many additions of weights, and a division.
///
/// ```
/// use sparsecode_runtime::stream::{Hann, SignalStream};
///
/// // Windows of 8 samples, every 3. Here they come back as they are.
/// let mut stream = SignalStream::<i16, 8, 3, Hann>::new();
/// let mut window = [0; 8];
/// let mut block = [3, -1, 4, 1, -5, 9, -2, 6, 5, 3];
/// assert_eq!(stream.push_block(&mut block, &mut window, |_| {}), [3, -1]);
/// assert_eq!(stream.push(-5, &mut window, |_| {}), Some(4));
/// assert_eq!(stream.finish(&mut window, |_| {}), [1, -5, 9, -2, 6, 5, 3, -5]);
/// ```
///
/// A hop that does not fit the window does not compile:
///
/// ```compile_fail,E0080
/// let stream = sparsecode_runtime::stream::SignalStream::<f32, 8, 9>::new();
/// ```
#[derive(Clone, Debug)]
pub struct SignalStream<T: Sample, const WINDOW: usize, const HOP: usize, K: Weighting = Uniform> {
    /// The last samples, in a ring.
    samples: [T; WINDOW],
    /// `Σ w·ŷ` of the same samples.
    sums: [T::Sum; WINDOW],
    cursor: Cursor<WINDOW, HOP>,
    weighting: PhantomData<K>,
}

impl<T: Sample, const WINDOW: usize, const HOP: usize, K: Weighting>
    SignalStream<T, WINDOW, HOP, K>
{
    /// Size in bytes.
    pub const BYTES: usize = size_of::<Self>();

    /// Samples that go in before the first one comes out: `WINDOW`, always.
    pub const LATENCY: usize = WINDOW;

    /// A stream at its start, also for statics (it lies in `.bss`).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            samples: [T::ZERO; WINDOW],
            sums: [T::EMPTY; WINDOW],
            cursor: Cursor::new(),
            weighting: PhantomData,
        }
    }

    /// Forgets all samples: the next one is the first.
    pub fn reset(&mut self) {
        self.cursor = Cursor::new();
    }

    /// Takes the next sample, and gives the clean one of `WINDOW` samples before, if there were as
    /// many.
    ///
    /// When a window is complete, it is copied to `window` and denoised there; otherwise `window`
    /// is left alone. Nothing is kept in it from one call to the next, so that all channels can
    /// share one.
    pub fn push(
        &mut self,
        sample: T,
        window: &mut [T; WINDOW],
        denoise: impl FnMut(&mut [T; WINDOW]),
    ) -> Option<T> {
        let next = self.cursor.next();
        let (place, sum) = (self.samples.get_mut(next)?, self.sums.get_mut(next)?);
        let clean = self.cursor.is_full().then(|| {
            let weights = T::weights::<K, WINDOW, HOP, SIGNAL_LIMIT>();
            T::divide(*sum, self.cursor.divisor::<T>(weights, 0))
        });
        *place = sample;
        *sum = T::EMPTY;
        if self.cursor.advance() {
            self.add_window(window, denoise);
        }
        clean
    }

    /// Takes samples and gives clean ones as [`push`](Self::push) does, any number at once, in
    /// place: returns the first part of `block`, which is all of it after the first `WINDOW`
    /// samples. What lies behind that part is unspecified.
    pub fn push_block<'b>(
        &mut self,
        block: &'b mut [T],
        window: &mut [T; WINDOW],
        mut denoise: impl FnMut(&mut [T; WINDOW]),
    ) -> &'b mut [T] {
        let mut written = 0_usize;
        for index in 0..block.len() {
            let Some(&sample) = block.get(index) else {
                break;
            };
            if let Some(clean) = self.push(sample, window, &mut denoise)
                && let Some(place) = block.get_mut(written)
            {
                *place = clean;
                written = written.wrapping_add(1);
            }
        }
        block.get_mut(..written).unwrap_or_default()
    }

    /// Ends the signal: gives the samples that are still in the stream, `WINDOW` or as many as
    /// there were, so that as many have come out as went in. They lie in `window`.
    ///
    /// Denoises one more window if the last one was not flush with the end. The stream is then as
    /// new: another signal may follow, and finishing again gives nothing.
    pub fn finish<'w>(
        &mut self,
        window: &'w mut [T; WINDOW],
        denoise: impl FnMut(&mut [T; WINDOW]),
    ) -> &'w [T] {
        let held = self.cursor.held();
        let Some(last) = held.checked_sub(1) else {
            return &[];
        };
        if !self.cursor.is_full() {
            for index in held..WINDOW {
                let sample = self.samples.get(reflect(index, last)).copied();
                if let (Some(place), Some(sample)) = (self.samples.get_mut(index), sample) {
                    *place = sample;
                }
            }
            self.cursor.next = 0;
        }
        if self.cursor.since > 0 {
            self.add_window(window, denoise);
        }
        let weights = T::weights::<K, WINDOW, HOP, SIGNAL_LIMIT>();
        let sums = by_age(&self.sums, self.cursor.next());
        for (index, (clean, sum)) in window.iter_mut().zip(sums).enumerate() {
            *clean = T::divide(*sum, self.cursor.last_divisor::<T>(weights, index));
        }
        self.reset();
        window.get(..held).unwrap_or_default()
    }

    fn add_window(&mut self, window: &mut [T; WINDOW], mut denoise: impl FnMut(&mut [T; WINDOW])) {
        let next = self.cursor.next();
        for (element, sample) in window.iter_mut().zip(by_age(&self.samples, next)) {
            *element = *sample;
        }
        denoise(window);
        let weights = T::weights::<K, WINDOW, HOP, SIGNAL_LIMIT>();
        let sums = by_age_mut(&mut self.sums, next);
        for (sum, (weight, value)) in sums.zip(weights.iter().zip(window.iter())) {
            *sum = T::add(*sum, *weight, *value);
        }
    }
}

impl<T: Sample, const WINDOW: usize, const HOP: usize, K: Weighting> Default
    for SignalStream<T, WINDOW, HOP, K>
{
    fn default() -> Self {
        Self::new()
    }
}
