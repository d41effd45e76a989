//! Local contrast normalisation, line by line.

use super::contrast_core::{ContrastCursor, ContrastLines, Lines};
use super::local_contrast::LocalContrast;

/// Local contrast normalisation of frames `WIDTH` pixels wide and of any height: lines in,
/// normalised lines out, one for one, `WINDOW − 1` lines later, with the local means and deviations
/// that [`LocalContrast::restore`] needs.
///
/// The mean of each pixel's surroundings under the Gaussian window is subtracted; what is left is
/// divided by the root of the mean of its square under the same window, or by the floor if that is
/// larger. The frame is continued by reflection (`c b | a b c | b a`). Windows of up to 31 pixels
/// give means and deviations to within 5e-7 of the largest sample of a pixel's surroundings.
///
/// A NaN or infinite sample spoils normalised pixels and means less than `WINDOW/2` pixels away and
/// deviations less than `WINDOW` pixels away, and nothing else.
///
/// Memory: `8·WIDTH·WINDOW + 8` bytes. Cost of a pixel: `5·WINDOW` multiplications, `4·WINDOW`
/// additions, a division and a root.
///
/// ```
/// use sparsecode_runtime::formats::{Contrast, Preprocessing};
/// use sparsecode_runtime::stream::{ContrastStream, LocalContrast};
///
/// let contrast = Contrast::Local { window: 5, sigma: 2.0, floor: 0.1 };
/// let settings = LocalContrast::<5>::new(&Preprocessing { contrast, ..Preprocessing::IDENTITY })?;
/// let mut stream = ContrastStream::<16, 5>::new();
/// let (mut mean, mut deviation) = ([0.0; 16], [0.0; 16]);
///
/// let (mut line, mut lines) = ([0.0; 16], 0);
/// for _ in 0..9 {
///     line = core::array::from_fn(|x| x as f32); // from the sensor, after `settings.scale`
///     if stream.push(&settings, &mut line, &mut mean, &mut deviation) {
///         // `line` is now the normalised line of 4 lines before.
///         assert!((mean[8] - 8.0).abs() < 1e-5 && line[8].abs() < 1e-5);
///         lines += 1;
///     }
/// }
/// stream.finish(&settings, &mut line, &mut mean, &mut deviation, |_line, _mean, _deviation| lines += 1);
/// assert_eq!(lines, 9);
/// # Ok::<(), sparsecode_runtime::stream::ContrastError>(())
/// ```
///
/// A window without a centre does not compile:
///
/// ```compile_fail,E0080
/// let stream = sparsecode_runtime::stream::ContrastStream::<160, 12>::new();
/// ```
#[derive(Clone, Debug)]
pub struct ContrastStream<const WIDTH: usize, const WINDOW: usize> {
    /// The last lines, in a ring.
    samples: [[f32; WIDTH]; WINDOW],
    /// Samples less their local means.
    centred: [[f32; WIDTH]; WINDOW],
    cursor: ContrastCursor,
}

impl<const WIDTH: usize, const WINDOW: usize> ContrastStream<WIDTH, WINDOW> {
    /// Size in bytes.
    pub const BYTES: usize = size_of::<Self>();

    /// Lines that go in before the first one comes out: `WINDOW − 1`.
    pub const LATENCY: usize = (WINDOW >> 1).wrapping_mul(2);

    /// A stream at its start, also for statics (it lies in `.bss`).
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(WIDTH > 0, "a frame has at least one column");
            assert!(WINDOW % 2 == 1, "the window has no centre");
            assert!(
                WINDOW <= u16::MAX as usize,
                "a ring has at most 65535 lines"
            );
        }
        Self {
            samples: [[0.0; WIDTH]; WINDOW],
            centred: [[0.0; WIDTH]; WINDOW],
            cursor: ContrastCursor::new(),
        }
    }

    /// Forgets all lines: the next one is the first of a frame.
    pub fn reset(&mut self) {
        self.cursor = ContrastCursor::new();
    }

    /// Takes the next line, after [`LocalContrast::scale`], and replaces it by the normalised one
    /// of `WINDOW − 1` lines before; `mean` and `deviation` receive that line's local means and
    /// deviations. `false` if there were not as many lines: `line` is then as before, and what is
    /// in the other two is unspecified.
    #[must_use = "the line is a normalised one only if this is true"]
    pub fn push(
        &mut self,
        contrast: &LocalContrast<WINDOW>,
        line: &mut [f32; WIDTH],
        mean: &mut [f32; WIDTH],
        deviation: &mut [f32; WIDTH],
    ) -> bool {
        self.core().push(contrast.gaussian(), line, mean, deviation)
    }

    /// Ends the frame: gives the lines that are still in the stream to `output`, with their local
    /// means and deviations, so that as many have come out as went in. They are written to the
    /// three buffers, one after another.
    ///
    /// The stream is then as new: another frame may follow, and finishing again gives nothing.
    pub fn finish(
        &mut self,
        contrast: &LocalContrast<WINDOW>,
        line: &mut [f32; WIDTH],
        mean: &mut [f32; WIDTH],
        deviation: &mut [f32; WIDTH],
        output: impl FnMut(&mut [f32; WIDTH], &mut [f32; WIDTH], &mut [f32; WIDTH]),
    ) {
        let gaussian = contrast.gaussian();
        self.core().finish(gaussian, line, mean, deviation, output);
    }

    #[inline(always)]
    fn core(&mut self) -> ContrastLines<'_> {
        ContrastLines {
            samples: Lines {
                lines: self.samples.as_flattened_mut(),
                width: WIDTH,
                depth: WINDOW,
                ring: &mut self.cursor.samples,
            },
            centred: Lines {
                lines: self.centred.as_flattened_mut(),
                width: WIDTH,
                depth: WINDOW,
                ring: &mut self.cursor.centred,
            },
        }
    }
}

impl<const WIDTH: usize, const WINDOW: usize> Default for ContrastStream<WIDTH, WINDOW> {
    fn default() -> Self {
        Self::new()
    }
}
