//! One channel of 2-D frames.

use core::marker::PhantomData;

use super::frame_core::Frame;
use super::ring::{Axis, Cursor};
use super::sample::Sample;
use super::weighting::{FRAME_LIMIT, Uniform, Weighting};

/// The state of one channel of frames `WIDTH` pixels wide and of any height: lines in, clean lines
/// out, one for one, `ROWS` lines later.
///
/// Patches of `ROWS × COLUMNS` pixels, `INPUT` in all and row by row, start every `HOP` pixels both
/// ways, the last ones flush with the right and the bottom border (`1 ≤ HOP ≤ ROWS, COLUMNS`;
/// `COLUMNS ≤ WIDTH`). Each goes through a closure that denoises it in place, and the results are
/// averaged where they overlap, as the [module](super) says. With [`Uniform`] weights and the same
/// model that is what `sparsecode denoise` does with a whole image, to the bit. For `i16`, no more
/// than 255 patches may overlap along either axis.
///
/// For models with local contrast normalisation see
/// [`ContrastFrameStream`](super::ContrastFrameStream).
///
/// Memory: `8·WIDTH·ROWS` bytes for `f32` and `6·WIDTH·ROWS` for `i16`, and 6 more, rounded up to a
/// multiple of 4: two rings of lines, never a frame. Cost of a line, beside the `1/HOP` rows of
/// about `WIDTH/HOP` patches for the closure, and for each pixel: two multiplications and an
/// addition for each of the `ROWS·COLUMNS/HOP²` patches that hold it, up to `COLUMNS/HOP` additions
/// of weights, and a division.
///
/// ```
/// use sparsecode_runtime::stream::FrameStream;
///
/// // Lines of 11 pixels, patches of 3×4 = 12 pixels, every 2. Here each becomes its mean.
/// let mut stream = FrameStream::<f32, 11, 3, 4, 12, 2>::new();
/// let mut denoise = |patch: &mut [f32; 12]| *patch = [patch.iter().sum::<f32>() / 12.0; 12];
/// let (mut line, mut patch) = ([0.0; 11], [0.0; 12]);
///
/// let mut lines = 0;
/// for _ in 0..8 {
///     line = [0.5; 11]; // from the sensor
///     if stream.push(&mut line, &mut patch, &mut denoise) {
///         lines += 1; // `line` is now the clean line of 3 lines before
///     }
/// }
/// stream.finish(&mut line, &mut patch, &mut denoise, |line| {
///     assert_eq!(line, &[0.5; 11]);
///     lines += 1;
/// });
/// assert_eq!(lines, 8);
/// ```
///
/// A frame that is narrower than a patch does not compile, nor a patch of another size than
/// `INPUT`:
///
/// ```compile_fail,E0080
/// let stream = sparsecode_runtime::stream::FrameStream::<f32, 7, 8, 8, 64, 4>::new();
/// ```
///
/// ```compile_fail,E0080
/// let stream = sparsecode_runtime::stream::FrameStream::<f32, 160, 8, 8, 63, 4>::new();
/// ```
#[derive(Clone, Debug)]
pub struct FrameStream<
    T: Sample,
    const WIDTH: usize,
    const ROWS: usize,
    const COLUMNS: usize,
    const INPUT: usize,
    const HOP: usize,
    K: Weighting = Uniform,
> {
    /// The last lines, in a ring.
    lines: [[T; WIDTH]; ROWS],
    /// `Σ w·ŷ` of the same lines.
    sums: [[T::Sum; WIDTH]; ROWS],
    cursor: Cursor,
    weighting: PhantomData<K>,
}

impl<
    T: Sample,
    const WIDTH: usize,
    const ROWS: usize,
    const COLUMNS: usize,
    const INPUT: usize,
    const HOP: usize,
    K: Weighting,
> FrameStream<T, WIDTH, ROWS, COLUMNS, INPUT, HOP, K>
{
    /// Size in bytes.
    pub const BYTES: usize = size_of::<Self>();

    /// Lines that go in before the first one comes out: `ROWS`, always.
    pub const LATENCY: usize = ROWS;

    /// A stream at its start, also for statics (it lies in `.bss`).
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(COLUMNS <= WIDTH, "the frame is narrower than a patch");
            assert!(
                HOP <= COLUMNS,
                "a hop wider than the patch leaves pixels out"
            );
            assert!(
                INPUT == ROWS.saturating_mul(COLUMNS),
                "INPUT is ROWS·COLUMNS"
            );
        }
        Self {
            lines: [[T::ZERO; WIDTH]; ROWS],
            sums: [[T::EMPTY; WIDTH]; ROWS],
            cursor: Cursor::of::<ROWS, HOP>(),
            weighting: PhantomData,
        }
    }

    /// Forgets all lines: the next one is the first of a frame.
    pub fn reset(&mut self) {
        self.cursor = Cursor::new();
    }

    /// Takes the next line, and replaces it by the clean one of `ROWS` lines before. `false` if
    /// there were not as many: `line` is then as before.
    ///
    /// When a row of patches is complete, they are denoised one after another in `patch`; otherwise
    /// it is left alone. Nothing is kept in it from one call to the next, so that all channels can
    /// share one.
    #[must_use = "the line is a clean one only if this is true"]
    pub fn push(
        &mut self,
        line: &mut [T; WIDTH],
        patch: &mut [T; INPUT],
        denoise: impl FnMut(&mut [T; INPUT]),
    ) -> bool {
        self.core().push(line, patch, denoise)
    }

    /// Ends the frame: gives the lines that are still in the stream to `output`, `ROWS` or as many
    /// as there were, so that as many have come out as went in. They are written to `line`, one
    /// after another.
    ///
    /// Denoises one more row of patches if the last one was not flush with the bottom. The stream
    /// is then as new: another frame may follow, and finishing again gives nothing.
    pub fn finish(
        &mut self,
        line: &mut [T; WIDTH],
        patch: &mut [T; INPUT],
        denoise: impl FnMut(&mut [T; INPUT]),
        output: impl FnMut(&mut [T; WIDTH]),
    ) {
        self.core().finish(line, patch, denoise, output);
    }

    #[inline(always)]
    fn core(&mut self) -> Frame<'_, T> {
        Frame {
            width: WIDTH,
            down: Axis::new(T::weights::<K, ROWS, HOP, FRAME_LIMIT>(), HOP),
            across: Axis::new(T::weights::<K, COLUMNS, HOP, FRAME_LIMIT>(), HOP),
            lines: self.lines.as_flattened_mut(),
            sums: self.sums.as_flattened_mut(),
            cursor: &mut self.cursor,
        }
    }
}

impl<
    T: Sample,
    const WIDTH: usize,
    const ROWS: usize,
    const COLUMNS: usize,
    const INPUT: usize,
    const HOP: usize,
    K: Weighting,
> Default for FrameStream<T, WIDTH, ROWS, COLUMNS, INPUT, HOP, K>
{
    fn default() -> Self {
        Self::new()
    }
}
