//! Frames through a model with local contrast normalisation.

use super::contrast::ContrastStream;
use super::contrast_core::{Lines, Ring};
use super::frame::FrameStream;
use super::local_contrast::LocalContrast;
use super::weighting::{Uniform, Weighting};

/// Scratch memory of [`ContrastFrameStream`]: the patch that is being denoised, and two lines.
/// Nothing is kept in it from one call to the next: one serves any number of channels.
#[derive(Clone, Debug)]
pub struct FrameScratch<const WIDTH: usize, const INPUT: usize> {
    patch: [f32; INPUT],
    mean: [f32; WIDTH],
    deviation: [f32; WIDTH],
}

impl<const WIDTH: usize, const INPUT: usize> FrameScratch<WIDTH, INPUT> {
    /// Size in bytes: `4·INPUT + 8·WIDTH`.
    pub const BYTES: usize = size_of::<Self>();

    /// A scratch of zeros, also for statics (it lies in `.bss`).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            patch: [0.0; INPUT],
            mean: [0.0; WIDTH],
            deviation: [0.0; WIDTH],
        }
    }
}

impl<const WIDTH: usize, const INPUT: usize> Default for FrameScratch<WIDTH, INPUT> {
    fn default() -> Self {
        Self::new()
    }
}

/// The state of one channel of frames for a model with local contrast normalisation: raw lines in,
/// clean raw lines out, one for one, `ROWS + WINDOW − 1` lines later.
///
/// A [`ContrastStream`] with the model's window, then a [`FrameStream`], then
/// [`LocalContrast::restore`] with the local means and deviations, which are kept for as long; see
/// these for the dimensions. The same as `sparsecode denoise` with a whole image, but for rounding.
///
/// Memory: `8·WIDTH·(2·ROWS + WINDOW) + 24` bytes, and one [`FrameScratch`] for all channels. 160
/// pixels wide with patches of 8 rows and a window of 13 that is 37,144 bytes. Cost: the sum of the
/// parts.
///
/// ```
/// use sparsecode_runtime::stream::{ContrastFrameStream, FrameScratch, LocalContrast};
/// # use sparsecode_runtime::formats::{self, *};
/// # use sparsecode_runtime::{Model, SparseCode, Workspace};
/// # let dictionary = (0..256).map(|i| if i / 16 == i % 16 { 1.0 } else { 0.0 }).collect();
/// # let contrast = Contrast::Local { window: 5, sigma: 2.0, floor: 0.1 };
/// # let preprocessing = Preprocessing { mean: 0.4, deviation: 0.2, contrast };
/// # let shape = InputShape { height: 4, width: 4 };
/// # let trained = formats::example_decoder(shape, preprocessing, dictionary);
/// # let file = AlignedBytes::from_slice(&formats::write(&trained, WeightType::I8).unwrap());
/// # let bytes: &[u8] = &file;
/// # let sensor = |y: usize| -> [f32; 20] { core::array::from_fn(|x| (x * y % 7) as f32 / 7.0) };
///
/// // Frames 20 pixels wide, a model of 4×4 patches and a contrast window of 5.
/// type Thermal = ContrastFrameStream<20, 4, 4, 16, 2, 5>;
///
/// let model = Model::<16, 16>::load(bytes)?;
/// let contrast = LocalContrast::new(&model.spec().preprocessing)?;
/// let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
/// let mut denoise = |patch: &mut [f32; 16]| {
///     model.denoise(patch, None, &mut code, &mut workspace, || false);
/// };
/// let (mut stream, mut scratch) = (Thermal::new(), FrameScratch::new());
///
/// let (mut line, mut lines) = ([0.0; 20], 0);
/// for y in 0..15 {
///     line = sensor(y);
///     if stream.push(&contrast, &mut line, &mut scratch, &mut denoise) {
///         lines += 1; // `line` is now the clean line of 8 lines before
///     }
/// }
/// stream.finish(&contrast, &mut line, &mut scratch, &mut denoise, |_line| lines += 1);
/// assert_eq!((lines, Thermal::LATENCY), (15, 8));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ContrastFrameStream<
    const WIDTH: usize,
    const ROWS: usize,
    const COLUMNS: usize,
    const INPUT: usize,
    const HOP: usize,
    const WINDOW: usize,
    K: Weighting = Uniform,
> {
    contrast: ContrastStream<WIDTH, WINDOW>,
    frame: Restored<WIDTH, ROWS, COLUMNS, INPUT, HOP, K>,
}

/// A frame whose lines are brought back to raw samples when they come out.
#[derive(Clone, Debug)]
struct Restored<
    const WIDTH: usize,
    const ROWS: usize,
    const COLUMNS: usize,
    const INPUT: usize,
    const HOP: usize,
    K: Weighting,
> {
    frame: FrameStream<f32, WIDTH, ROWS, COLUMNS, INPUT, HOP, K>,
    /// Local means and deviations of the lines that are in `frame`.
    means: Kept<WIDTH, ROWS>,
    deviations: Kept<WIDTH, ROWS>,
}

/// The last `DEPTH` lines.
#[derive(Clone, Debug)]
struct Kept<const WIDTH: usize, const DEPTH: usize> {
    lines: [[f32; WIDTH]; DEPTH],
    ring: Ring,
}

impl<const WIDTH: usize, const DEPTH: usize> Kept<WIDTH, DEPTH> {
    const fn new() -> Self {
        Self {
            lines: [[0.0; WIDTH]; DEPTH],
            ring: Ring::new(),
        }
    }

    #[inline(always)]
    fn core(&mut self) -> Lines<'_> {
        Lines {
            lines: self.lines.as_flattened_mut(),
            width: WIDTH,
            depth: DEPTH,
            ring: &mut self.ring,
        }
    }
}

impl<
    const WIDTH: usize,
    const ROWS: usize,
    const COLUMNS: usize,
    const INPUT: usize,
    const HOP: usize,
    const WINDOW: usize,
    K: Weighting,
> ContrastFrameStream<WIDTH, ROWS, COLUMNS, INPUT, HOP, WINDOW, K>
{
    /// Size in bytes.
    pub const BYTES: usize = size_of::<Self>();

    /// Lines that go in before the first one comes out: `ROWS + WINDOW − 1`, always.
    pub const LATENCY: usize = ROWS.wrapping_add(ContrastStream::<WIDTH, WINDOW>::LATENCY);

    /// A stream at its start, also for statics (it lies in `.bss`).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            contrast: ContrastStream::new(),
            frame: Restored {
                frame: FrameStream::new(),
                means: Kept::new(),
                deviations: Kept::new(),
            },
        }
    }

    /// Forgets all lines: the next one is the first of a frame.
    pub fn reset(&mut self) {
        self.contrast.reset();
        self.frame.reset();
    }

    /// Takes the next raw line, and replaces it by the clean one of `ROWS + WINDOW − 1` lines
    /// before. `false` if there were not as many: what is in `line` is then unspecified.
    ///
    /// `denoise` gets patches that are normalised already, as
    /// [`Model::denoise`](crate::Model::denoise) wants them from such a model.
    #[must_use = "the line is a clean one only if this is true"]
    pub fn push(
        &mut self,
        contrast: &LocalContrast<WINDOW>,
        line: &mut [f32; WIDTH],
        scratch: &mut FrameScratch<WIDTH, INPUT>,
        mut denoise: impl FnMut(&mut [f32; INPUT]),
    ) -> bool {
        let FrameScratch {
            patch,
            mean,
            deviation,
        } = scratch;
        contrast.scale(line);
        self.contrast.push(contrast, line, mean, deviation)
            && self
                .frame
                .push(contrast, line, (mean, deviation), patch, &mut denoise)
    }

    /// Ends the frame: gives the clean raw lines that are still in the stream to `output`, so that
    /// as many have come out as went in. They are written to `line`, one after another.
    ///
    /// The stream is then as new: another frame may follow, and finishing again gives nothing.
    pub fn finish(
        &mut self,
        contrast: &LocalContrast<WINDOW>,
        line: &mut [f32; WIDTH],
        scratch: &mut FrameScratch<WIDTH, INPUT>,
        mut denoise: impl FnMut(&mut [f32; INPUT]),
        mut output: impl FnMut(&mut [f32; WIDTH]),
    ) {
        let FrameScratch {
            patch,
            mean,
            deviation,
        } = scratch;
        let frame = &mut self.frame;
        self.contrast
            .finish(contrast, line, mean, deviation, |line, mean, deviation| {
                if frame.push(contrast, line, (mean, deviation), patch, &mut denoise) {
                    output(line);
                }
            });
        let mut held = frame.means.ring.count();
        frame.frame.finish(line, patch, denoise, |line| {
            held = held.wrapping_sub(1);
            if let (Some(mean), Some(deviation)) = (
                frame.means.core().aged(held),
                frame.deviations.core().aged(held),
            ) {
                contrast.restore(line, mean, deviation);
            }
            output(line);
        });
        frame.reset();
    }
}

impl<
    const WIDTH: usize,
    const ROWS: usize,
    const COLUMNS: usize,
    const INPUT: usize,
    const HOP: usize,
    K: Weighting,
> Restored<WIDTH, ROWS, COLUMNS, INPUT, HOP, K>
{
    fn reset(&mut self) {
        self.frame.reset();
        self.means.ring = Ring::new();
        self.deviations.ring = Ring::new();
    }

    /// A normalised line in, a clean raw one out.
    fn push<const WINDOW: usize>(
        &mut self,
        contrast: &LocalContrast<WINDOW>,
        line: &mut [f32; WIDTH],
        (mean, deviation): (&[f32; WIDTH], &[f32; WIDTH]),
        patch: &mut [f32; INPUT],
        denoise: &mut impl FnMut(&mut [f32; INPUT]),
    ) -> bool {
        let full = self.frame.push(line, patch, denoise);
        // The line that comes out is the oldest in the rings.
        let oldest = ROWS.wrapping_sub(1);
        if full
            && let (Some(mean), Some(deviation)) = (
                self.means.core().aged(oldest),
                self.deviations.core().aged(oldest),
            )
        {
            contrast.restore(line, mean, deviation);
        }
        self.means.core().push(mean);
        self.deviations.core().push(deviation);
        full
    }
}

impl<
    const WIDTH: usize,
    const ROWS: usize,
    const COLUMNS: usize,
    const INPUT: usize,
    const HOP: usize,
    const WINDOW: usize,
    K: Weighting,
> Default for ContrastFrameStream<WIDTH, ROWS, COLUMNS, INPUT, HOP, WINDOW, K>
{
    fn default() -> Self {
        Self::new()
    }
}
