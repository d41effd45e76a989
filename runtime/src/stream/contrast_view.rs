//! Local contrast normalisation with a window and a width that are known at run time only.

use super::contrast_core::{ContrastCursor, ContrastLines, Lines};
use super::local_contrast::LocalContrastView;
use super::windows::StreamError;
use crate::error::DimensionError;

/// Local contrast normalisation of one channel of frames in borrowed memory, for windows and widths
/// that come from a file.
///
/// The view computes the bits of [`ContrastStream`](super::ContrastStream), which describes the
/// method and the cost. For a frame w pixels wide and a window of n the state takes `8·w·n` bytes,
/// besides the cursor.
///
/// The state of the channel is what the view borrows: samples, centred samples and a
/// [`ContrastCursor`]. A view may be dropped and made anew over the same three at any time; making
/// one costs a few comparisons. Every call checks the lengths of the lines that it is lent. A
/// failed call changes nothing.
///
/// ```
/// use sparsecode_runtime::formats::{Contrast, Preprocessing};
/// use sparsecode_runtime::stream::{ContrastCursor, ContrastView, LocalContrastView};
///
/// let (width, window) = (16, 5);
/// let contrast = Contrast::Local { window: 5, sigma: 2.0, floor: 0.1 };
/// let preprocessing = Preprocessing { contrast, ..Preprocessing::IDENTITY };
/// let mut taps = vec![0.0; window];
/// let settings = LocalContrastView::new(&preprocessing, &mut taps)?;
/// let (mut samples, mut centred) = (vec![0.0; width * window], vec![0.0; width * window]);
/// let mut cursor = ContrastCursor::new();
/// let mut stream = ContrastView::new(settings, width, &mut samples, &mut centred, &mut cursor)?;
/// let (mut mean, mut deviation) = (vec![0.0; width], vec![0.0; width]);
///
/// let (mut line, mut lines) = (vec![0.0; width], 0);
/// for _ in 0..9 {
///     line.iter_mut().enumerate().for_each(|(x, v)| *v = x as f32); // after `settings.scale`
///     if stream.push(&mut line, &mut mean, &mut deviation)? {
///         // `line` is now the normalised line of 4 lines before.
///         assert!((mean[8] - 8.0).abs() < 1e-5 && line[8].abs() < 1e-5);
///         lines += 1;
///     }
/// }
/// stream.finish(&mut line, &mut mean, &mut deviation, |_line, _mean, _deviation| lines += 1)?;
/// assert_eq!(lines, 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ContrastView<'m> {
    settings: LocalContrastView<'m>,
    core: ContrastLines<'m>,
}

impl<'m> ContrastView<'m> {
    /// A channel of frames `width` pixels wide. Its state is `samples` and `centred`, each of
    /// `width · settings.taps().len()` elements, and `cursor`.
    ///
    /// A new cursor makes a stream at its start, whatever the other two hold.
    ///
    /// # Errors
    ///
    /// [`StreamError::Width`], [`StreamError::Memory`] for `samples` or `centred`, or
    /// [`StreamError::Cursor`].
    pub fn new(
        settings: LocalContrastView<'m>,
        width: usize,
        samples: &'m mut [f32],
        centred: &'m mut [f32],
        cursor: &'m mut ContrastCursor,
    ) -> Result<Self, StreamError> {
        let depth = settings.taps().len();
        if width == 0 {
            return Err(StreamError::Width { found: 0, least: 1 });
        }
        StreamError::check("samples", width, depth, samples)?;
        StreamError::check("centred", width, depth, centred)?;
        if !(cursor.samples.belongs_to(depth) && cursor.centred.belongs_to(depth)) {
            return Err(StreamError::Cursor);
        }
        let ring = |lines, ring| Lines {
            lines,
            width,
            depth,
            ring,
        };
        let core = ContrastLines {
            samples: ring(samples, &mut cursor.samples),
            centred: ring(centred, &mut cursor.centred),
        };
        Ok(Self { settings, core })
    }

    /// Forgets all lines: the next one is the first of a frame.
    pub fn reset(&mut self) {
        self.core.reset();
    }

    /// See [`ContrastStream::push`](super::ContrastStream::push).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if a line has another length than the frame's width.
    pub fn push(
        &mut self,
        line: &mut [f32],
        mean: &mut [f32],
        deviation: &mut [f32],
    ) -> Result<bool, DimensionError> {
        self.check(line, mean, deviation)?;
        let gaussian = self.settings.gaussian();
        Ok(self.core.push(gaussian, line, mean, deviation))
    }

    /// See [`ContrastStream::finish`](super::ContrastStream::finish).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if a line has another length than the frame's width.
    pub fn finish(
        &mut self,
        line: &mut [f32],
        mean: &mut [f32],
        deviation: &mut [f32],
        output: impl FnMut(&mut [f32], &mut [f32], &mut [f32]),
    ) -> Result<(), DimensionError> {
        self.check(line, mean, deviation)?;
        let gaussian = self.settings.gaussian();
        self.core.finish(gaussian, line, mean, deviation, output);
        Ok(())
    }

    fn check(&self, line: &[f32], mean: &[f32], deviation: &[f32]) -> Result<(), DimensionError> {
        let width = self.core.samples.width;
        DimensionError::check("line", width, line.len())?;
        DimensionError::check("mean", width, mean.len())?;
        DimensionError::check("deviation", width, deviation.len())
    }
}
