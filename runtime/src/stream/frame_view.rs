//! Frames in patches of a size that is known at run time only.

use super::frame_core::Frame;
use super::ring::Cursor;
use super::sample::Sample;
use super::weighting::FRAME_LIMIT;
use super::windows::{StreamError, Windows};
use crate::error::DimensionError;

/// One channel of frames in borrowed memory, for widths and patches that come from a file.
///
/// The view computes the bits of [`FrameStream`](super::FrameStream), which describes the method
/// and the cost. The hop down the lines may differ from the hop along them. For a frame w pixels
/// wide in patches of r rows the state takes `8·w·r` bytes for `f32` and `6·w·r` for `i16`, besides
/// the cursor.
///
/// The state of the channel is what the view borrows: lines, sums and a [`Cursor`]. A view may be
/// dropped and made anew over the same three at any time; making one costs a few comparisons. Every
/// call checks the lengths of the line and the patch that it is lent. A failed call changes
/// nothing.
///
/// ```
/// use sparsecode_runtime::stream::{Cursor, FrameView, Windows};
///
/// // Lines of 11 pixels, patches of 3×4 pixels, every 2. Here each becomes its mean.
/// let (width, rows, columns, hop) = (11, 3, 4, 2);
/// let weights = vec![1.0_f32; rows.max(columns)];
/// let down = Windows::new(&weights[..rows], hop)?;
/// let across = Windows::new(&weights[..columns], hop)?;
/// let (mut lines, mut sums) = (vec![0.0; width * rows], vec![0.0; width * rows]);
/// let mut cursor = Cursor::new();
/// let mut stream = FrameView::new(width, down, across, &mut lines, &mut sums, &mut cursor)?;
/// let mut denoise = |patch: &mut [f32]| patch.fill(patch.iter().sum::<f32>() / 12.0);
/// let (mut line, mut patch) = (vec![0.0; width], vec![0.0; rows * columns]);
///
/// let mut lines = 0;
/// for _ in 0..8 {
///     line.fill(0.5); // from the sensor
///     if stream.push(&mut line, &mut patch, &mut denoise)? {
///         lines += 1; // `line` is now the clean line of 3 lines before
///     }
/// }
/// stream.finish(&mut line, &mut patch, &mut denoise, |line| {
///     assert_eq!(line, [0.5; 11]);
///     lines += 1;
/// })?;
/// assert_eq!(lines, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FrameView<'m, T: Sample> {
    core: Frame<'m, T>,
}

impl<'m, T: Sample> FrameView<'m, T> {
    /// A channel of frames `width` pixels wide, in patches of `down.side()` rows and
    /// `across.side()` columns. Its state is `lines` and `sums`, each of `width · down.side()`
    /// elements, and `cursor`.
    ///
    /// A new cursor makes a stream at its start, whatever the other two hold.
    ///
    /// # Errors
    ///
    /// [`StreamError::Overflow`], [`StreamError::Width`], [`StreamError::Memory`] for `lines` or
    /// `sums`, or [`StreamError::Cursor`].
    pub fn new(
        width: usize,
        down: Windows<'m, T>,
        across: Windows<'m, T>,
        lines: &'m mut [T],
        sums: &'m mut [T::Sum],
        cursor: &'m mut Cursor,
    ) -> Result<Self, StreamError> {
        let (down, across) = (down.within(FRAME_LIMIT)?, across.within(FRAME_LIMIT)?);
        if width < across.side() {
            return Err(StreamError::Width {
                found: width,
                least: across.side(),
            });
        }
        StreamError::check("lines", width, down.side(), lines)?;
        StreamError::check("sums", width, down.side(), sums)?;
        StreamError::check_cursor(cursor, &down)?;
        let core = Frame {
            width,
            down,
            across,
            lines,
            sums,
            cursor,
        };
        Ok(Self { core })
    }

    /// Forgets all lines: the next one is the first of a frame.
    pub fn reset(&mut self) {
        *self.core.cursor = Cursor::new();
    }

    /// See [`FrameStream::push`](super::FrameStream::push).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if `line` or `patch` has another length.
    pub fn push(
        &mut self,
        line: &mut [T],
        patch: &mut [T],
        denoise: impl FnMut(&mut [T]),
    ) -> Result<bool, DimensionError> {
        self.check(line, patch)?;
        Ok(self.core.push(line, patch, denoise))
    }

    /// See [`FrameStream::finish`](super::FrameStream::finish).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if `line` or `patch` has another length.
    pub fn finish(
        &mut self,
        line: &mut [T],
        patch: &mut [T],
        denoise: impl FnMut(&mut [T]),
        output: impl FnMut(&mut [T]),
    ) -> Result<(), DimensionError> {
        self.check(line, patch)?;
        self.core.finish(line, patch, denoise, output);
        Ok(())
    }

    fn check(&self, line: &[T], patch: &[T]) -> Result<(), DimensionError> {
        let size = self
            .core
            .down
            .side()
            .saturating_mul(self.core.across.side());
        DimensionError::check("line", self.core.width, line.len())?;
        DimensionError::check("patch", size, patch.len())
    }
}
