//! Removal of baseline drift with a mean of a length that is known at run time only.

use super::drift_core::{Drift, DriftCursor, is_length};
use super::sample::Sample;
use super::windows::StreamError;

/// A drift filter in borrowed memory, for a moving mean whose length comes from a file.
///
/// The view computes the bits of [`DriftStream`](super::DriftStream), which describes the method,
/// the errors and the cost. For a mean over n samples the state takes `8·n` bytes for `f32` and
/// `6·n` for `i16`, besides the cursor.
///
/// The state of the channel is what the view borrows: samples, means and a [`DriftCursor`]. A view
/// may be dropped and made anew over the same three at any time.
///
/// ```
/// use sparsecode_runtime::stream::{DriftCursor, DriftView, StreamError};
///
/// let (mut samples, mut means, mut cursor) = ([0_i16; 25], [0; 25], DriftCursor::new());
/// let mut drift = DriftView::new(&mut samples, &mut means, &mut cursor)?;
/// let mut signal = [500; 100];
/// drift.filter(&mut signal);
/// assert_eq!(signal, [0; 100]);
///
/// let refused = DriftView::new(&mut samples[..24], &mut means[..24], &mut cursor);
/// assert_eq!(refused.err(), Some(StreamError::Mean { found: 24 }));
/// # Ok::<(), StreamError>(())
/// ```
#[derive(Debug)]
pub struct DriftView<'m, T: Sample> {
    core: Drift<'m, T>,
}

impl<'m, T: Sample> DriftView<'m, T> {
    /// A channel whose state is `samples` and `means`, each as long as the moving mean (odd, 1 to
    /// 4095), and `cursor`.
    ///
    /// A new cursor makes a filter at its start, whatever the other two hold.
    ///
    /// # Errors
    ///
    /// [`StreamError::Mean`], [`StreamError::Memory`] for `means`, or [`StreamError::Cursor`].
    pub fn new(
        samples: &'m mut [T],
        means: &'m mut [T::Sum],
        cursor: &'m mut DriftCursor<T>,
    ) -> Result<Self, StreamError> {
        let length = samples.len();
        if !is_length(length) {
            return Err(StreamError::Mean { found: length });
        }
        StreamError::check("means", length, 1, means)?;
        if !cursor.belongs_to(length) {
            return Err(StreamError::Cursor);
        }
        let core = Drift {
            samples,
            means,
            cursor,
            length: T::length(length),
        };
        Ok(Self { core })
    }

    /// Forgets all samples: the next one is the first.
    pub fn reset(&mut self) {
        *self.core.cursor = DriftCursor::new();
    }

    /// See [`DriftStream::push`](super::DriftStream::push).
    pub fn push(&mut self, sample: T) -> Option<T> {
        self.core.push(sample)
    }

    /// See [`DriftStream::push_block`](super::DriftStream::push_block).
    pub fn push_block<'b>(&mut self, block: &'b mut [T]) -> &'b mut [T] {
        self.core.push_block(block)
    }

    /// See [`DriftStream::finish`](super::DriftStream::finish).
    pub fn finish(&mut self) -> impl Iterator<Item = T> {
        core::iter::from_fn(|| self.core.pull())
    }

    /// See [`DriftStream::filter`](super::DriftStream::filter).
    pub fn filter(&mut self, signal: &mut [T]) {
        self.core.filter(signal);
    }
}
