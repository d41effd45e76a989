//! A signal or a picture through a model that denoises, as a device does it: of a signal drift is
//! taken off, and σ estimated on the way; windows are cleaned and guarded, and added up with their
//! weights.

use super::HostError;
use sparsecode_runtime::stream::{
    Cursor, DriftCursor, DriftView, FrameView, NOISE_MEMORY, NoiseLevel, Sample, SignalView,
    StreamError, Windows, residual_guard, residual_guard_i16,
};
use sparsecode_runtime::{
    CodeBuffer, IntegerCodeBuf, IntegerCodeBuffer, IntegerView, IntegerWorkspaceBuf, ModelView,
    SparseCodeBuf, WorkspaceBuf,
};

/// What is known of the noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// Its deviation, in raw units.
    Known(f32),
    /// It is estimated on the way. Until there is an estimate, the file's own level is taken.
    Estimated,
}

/// How a signal is cut into windows, and what is done to it before.
pub(super) struct Cut<'w, T: Sample> {
    pub(super) weights: &'w [T::Sum],
    pub(super) hop: usize,
    /// The length of the means that are taken off.
    pub(super) drift: Option<usize>,
}

/// Cleans windows of a signal whose samples it hears of.
pub(super) trait Cleaner<T> {
    /// A sample, without drift, before the windows that hold it.
    fn hear(&mut self, sample: T);

    /// Cleans a window in place.
    fn clean(&mut self, window: &mut [T]);
}

/// The clean signal, as long as `samples`.
pub(super) fn clean<T>(
    samples: &[T],
    cut: &Cut<'_, T>,
    cleaner: &mut dyn Cleaner<T>,
) -> Result<Vec<T>, StreamError>
where
    T: Sample + Default,
    T::Sum: Default,
{
    let side = cut.weights.len();
    let windows = Windows::new(cut.weights, cut.hop)?;
    let (mut held, mut sums) = (vec![T::default(); side], vec![T::Sum::default(); side]);
    let mut cursor = Cursor::new();
    let mut stream = SignalView::new(windows, &mut held, &mut sums, &mut cursor)?;
    let mut window = vec![T::default(); side];
    let mut clean = Vec::with_capacity(samples.len());
    let mut push = |sample: T, cleaner: &mut dyn Cleaner<T>| -> Result<(), StreamError> {
        cleaner.hear(sample);
        clean.extend(stream.push(sample, &mut window, |window| cleaner.clean(window))?);
        Ok(())
    };
    match cut.drift {
        None => {
            for &sample in samples {
                push(sample, cleaner)?;
            }
        }
        Some(length) => {
            let (mut held, mut means) =
                (vec![T::default(); length], vec![T::Sum::default(); length]);
            let mut cursor = DriftCursor::new();
            let mut drift = DriftView::new(&mut held, &mut means, &mut cursor)?;
            for &sample in samples {
                if let Some(sample) = drift.push(sample) {
                    push(sample, cleaner)?;
                }
            }
            for sample in drift.finish() {
                push(sample, cleaner)?;
            }
        }
    }
    let rest = stream.finish(&mut window, |window| cleaner.clean(window))?;
    clean.extend_from_slice(rest);
    Ok(clean)
}

/// How a picture is cut into patches.
pub(super) struct FrameCut<'w, T: Sample> {
    /// Of the rows of a patch, and of its columns.
    pub(super) weights: [&'w [T::Sum]; 2],
    /// Pixels from one patch to the next, both ways.
    pub(super) hop: usize,
    /// Pixels in a line.
    pub(super) width: usize,
}

/// The clean picture, line by line. What follows the last whole line is left out.
pub(super) fn clean_frame<T>(
    pixels: &[T],
    cut: &FrameCut<'_, T>,
    cleaner: &mut dyn Cleaner<T>,
) -> Result<Vec<T>, HostError>
where
    T: Sample + Default,
    T::Sum: Default,
{
    let &FrameCut {
        weights: [rows, columns],
        hop,
        width,
    } = cut;
    let size = width * rows.len();
    let (mut lines, mut sums) = (vec![T::default(); size], vec![T::Sum::default(); size]);
    let mut cursor = Cursor::new();
    let (down, across) = (Windows::new(rows, hop)?, Windows::new(columns, hop)?);
    let mut frame = FrameView::new(width, down, across, &mut lines, &mut sums, &mut cursor)?;
    let mut patch = vec![T::default(); rows.len() * columns.len()];
    let mut line = vec![T::default(); width];
    let mut clean = Vec::with_capacity(pixels.len());
    for pixels in pixels.chunks_exact(width) {
        line.copy_from_slice(pixels);
        if frame.push(&mut line, &mut patch, |patch| cleaner.clean(patch))? {
            clean.extend_from_slice(&line);
        }
    }
    let mut output = |line: &mut [T]| clean.extend_from_slice(line);
    frame.finish(
        &mut line,
        &mut patch,
        |patch| cleaner.clean(patch),
        &mut output,
    )?;
    Ok(clean)
}

/// What became of a window: its active components, its code's ℓ1 norm in levels or code units, and
/// the mean square of what was taken off it.
pub(super) struct Seen {
    pub(super) active: usize,
    pub(super) code_l1: f64,
    pub(super) square: f64,
}

/// Arithmetic in `f32`.
pub(super) struct FloatCleaner<'h, 'a> {
    pub(super) view: ModelView<'a>,
    pub(super) code: &'h mut SparseCodeBuf,
    pub(super) workspace: &'h mut WorkspaceBuf,
    pub(super) guard: f32,
    /// Of the noise, in raw units.
    pub(super) sigma: f32,
    pub(super) level: Option<NoiseLevel<f32, NOISE_MEMORY>>,
    pub(super) observe: &'h mut dyn FnMut(Seen),
}

impl Cleaner<f32> for FloatCleaner<'_, '_> {
    fn hear(&mut self, sample: f32) {
        if let Some(level) = &mut self.level {
            level.push(sample);
        }
    }

    fn clean(&mut self, window: &mut [f32]) {
        if let Some(sigma) = self.level.as_ref().and_then(NoiseLevel::sigma) {
            self.sigma = sigma;
        }
        let noisy = window.to_vec();
        let view = self.view.at_noise_level(self.sigma);
        // Code and workspace have the model's size, and so has the window.
        let _ = view.denoise(window, None, self.code, self.workspace, || false);
        residual_guard(&noisy, window, self.sigma, self.guard);
        let values = self.code.values().iter();
        (self.observe)(Seen {
            active: self.code.active(),
            code_l1: values.map(|z| f64::from(z.abs())).sum(),
            square: mean_square(noisy.iter().zip(&*window).map(|(x, y)| f64::from(x - y))),
        });
    }
}

/// Arithmetic in integers.
pub(super) struct IntegerCleaner<'h, 'a> {
    pub(super) view: IntegerView<'a>,
    pub(super) code: &'h mut IntegerCodeBuf,
    pub(super) workspace: &'h mut IntegerWorkspaceBuf,
    pub(super) guard: u16,
    /// Of the noise, in sixteenths of a level.
    pub(super) sigma: u16,
    pub(super) level: Option<NoiseLevel<i16, NOISE_MEMORY>>,
    pub(super) observe: &'h mut dyn FnMut(Seen),
}

impl Cleaner<i16> for IntegerCleaner<'_, '_> {
    fn hear(&mut self, sample: i16) {
        if let Some(level) = &mut self.level {
            level.push(sample);
        }
    }

    fn clean(&mut self, window: &mut [i16]) {
        if let Some(sigma) = self.level.as_ref().and_then(NoiseLevel::sigma) {
            self.sigma = sigma;
        }
        let noisy = window.to_vec();
        let view = self.view.at_noise_level(self.sigma);
        let _ = view.denoise(window, None, self.code, self.workspace, || false);
        residual_guard_i16(&noisy, window, self.sigma, self.guard);
        let levels = self.code.iter().map(|(_, level)| f64::from(level));
        let pairs = noisy.iter().zip(&*window);
        (self.observe)(Seen {
            active: self.code.active(),
            code_l1: levels.sum(),
            square: mean_square(pairs.map(|(x, y)| f64::from(*x) - f64::from(*y))),
        });
    }
}

fn mean_square(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.map(|x| x * x).sum::<f64>() / count
}
