//! Signals in windows of a size that is known at run time only.

use super::ring::Cursor;
use super::sample::Sample;
use super::signal_core::Signal;
use super::weighting::SIGNAL_LIMIT;
use super::windows::{StreamError, Windows};
use crate::error::DimensionError;

/// One channel of a 1-D signal in borrowed memory, for windows whose length comes from a file.
///
/// The view computes the bits of [`SignalStream`](super::SignalStream), which describes the method
/// and the cost. For windows of n samples the state takes `8·n` bytes for `f32` and `6·n` for
/// `i16`, besides the cursor.
///
/// The state of the channel is what the view borrows: samples, sums and a [`Cursor`]. A view may be
/// dropped and made anew over the same three at any time; making one costs a few comparisons. Every
/// call checks the length of the window that it is lent. A failed call changes nothing.
///
/// ```
/// use sparsecode_runtime::stream::{Cursor, SignalView, Windows};
///
/// // Windows of 8 samples, every 3. Here they come back as they are.
/// let (side, hop) = (8, 3);
/// let (weights, mut window) = (vec![1.0_f32; side], vec![0.0; side]);
/// let (mut samples, mut sums, mut cursor) = (vec![0.0; side], vec![0.0; side], Cursor::new());
/// let windows = Windows::new(&weights, hop)?;
/// let mut stream = SignalView::new(windows, &mut samples, &mut sums, &mut cursor)?;
///
/// let mut clean = Vec::new();
/// for sample in [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, -2.0, 6.0, 5.0, 3.0] {
///     clean.extend(stream.push(sample, &mut window, |_| {})?);
/// }
/// assert_eq!(clean, [3.0, -1.0]);
/// clean.extend(stream.finish(&mut window, |_| {})?);
/// assert_eq!(clean, [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, -2.0, 6.0, 5.0, 3.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SignalView<'m, T: Sample> {
    core: Signal<'m, T>,
}

impl<'m, T: Sample> SignalView<'m, T> {
    /// A channel whose state is `samples` and `sums`, each as long as a window, and `cursor`.
    ///
    /// A new cursor makes a stream at its start, whatever the other two hold.
    ///
    /// # Errors
    ///
    /// [`StreamError::Overflow`], [`StreamError::Memory`] for `samples` or `sums`, or
    /// [`StreamError::Cursor`].
    pub fn new(
        windows: Windows<'m, T>,
        samples: &'m mut [T],
        sums: &'m mut [T::Sum],
        cursor: &'m mut Cursor,
    ) -> Result<Self, StreamError> {
        let axis = windows.within(SIGNAL_LIMIT)?;
        StreamError::check("samples", axis.side(), 1, samples)?;
        StreamError::check("sums", axis.side(), 1, sums)?;
        StreamError::check_cursor(cursor, &axis)?;
        let core = Signal {
            axis,
            samples,
            sums,
            cursor,
        };
        Ok(Self { core })
    }

    /// Forgets all samples: the next one is the first.
    pub fn reset(&mut self) {
        *self.core.cursor = Cursor::new();
    }

    /// See [`SignalStream::push`](super::SignalStream::push).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if `window` is not as long as a window.
    pub fn push(
        &mut self,
        sample: T,
        window: &mut [T],
        denoise: impl FnMut(&mut [T]),
    ) -> Result<Option<T>, DimensionError> {
        self.check(window)?;
        Ok(self.core.push(sample, window, denoise))
    }

    /// See [`SignalStream::push_block`](super::SignalStream::push_block).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if `window` is not as long as a window.
    pub fn push_block<'b>(
        &mut self,
        block: &'b mut [T],
        window: &mut [T],
        denoise: impl FnMut(&mut [T]),
    ) -> Result<&'b mut [T], DimensionError> {
        self.check(window)?;
        Ok(self.core.push_block(block, window, denoise))
    }

    /// See [`SignalStream::finish`](super::SignalStream::finish).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if `window` is not as long as a window.
    pub fn finish<'w>(
        &mut self,
        window: &'w mut [T],
        denoise: impl FnMut(&mut [T]),
    ) -> Result<&'w [T], DimensionError> {
        self.check(window)?;
        Ok(self.core.finish(window, denoise))
    }

    fn check(&self, window: &[T]) -> Result<(), DimensionError> {
        DimensionError::check("window", self.core.axis.side(), window.len())
    }
}
