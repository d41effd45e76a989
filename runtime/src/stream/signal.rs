//! One channel of a 1-D signal.

use core::marker::PhantomData;

use super::ring::{Axis, Cursor};
use super::sample::Sample;
use super::signal_core::Signal;
use super::weighting::{SIGNAL_LIMIT, Uniform, Weighting};

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
    cursor: Cursor,
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
            cursor: Cursor::of::<WINDOW, HOP>(),
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
        self.core().push(sample, window, denoise)
    }

    /// Takes samples and gives clean ones as [`push`](Self::push) does, any number at once, in
    /// place: returns the first part of `block`, which is all of it after the first `WINDOW`
    /// samples. What lies behind that part is unspecified.
    pub fn push_block<'b>(
        &mut self,
        block: &'b mut [T],
        window: &mut [T; WINDOW],
        denoise: impl FnMut(&mut [T; WINDOW]),
    ) -> &'b mut [T] {
        self.core().push_block(block, window, denoise)
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
        self.core().finish(window, denoise)
    }

    #[inline(always)]
    fn core(&mut self) -> Signal<'_, T> {
        Signal {
            axis: Axis::new(T::weights::<K, WINDOW, HOP, SIGNAL_LIMIT>(), HOP),
            samples: &mut self.samples,
            sums: &mut self.sums,
            cursor: &mut self.cursor,
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
