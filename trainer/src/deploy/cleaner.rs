//! A signal or a picture through a model that denoises, as a device does it: of a signal drift is
//! taken off, and σ estimated on the way; windows are cleaned and guarded, and added up with their
//! weights.

use super::HostError;
use sparsecode_runtime::stream::{
    Cursor, DenoiseCursor, DenoiseView, DenoiseWindows, FrameView, Sample, StreamError, Windows,
    residual_guard, residual_guard_i16,
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
    /// It is estimated on the way. What is found is white noise.
    Estimated,
}

/// What became of the windows of a signal, or of the patches of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub windows: usize,
    /// Their active components together.
    pub active: usize,
    /// Those with a sample beyond the levels that the file takes, which were cut. None in `f32`.
    pub cut: usize,
    /// Others with a component at the largest level of a code. None in `f32`.
    pub full: usize,
}

impl Counts {
    /// Active components of a window, mean.
    pub fn mean_active(&self) -> f64 {
        self.active as f64 / self.windows.max(1) as f64
    }

    /// The share of the windows in which integers saturated: a sample lay beyond the levels that
    /// the file takes, or a component reached the largest level of a code.
    pub fn saturated(&self) -> f64 {
        (self.cut + self.full) as f64 / self.windows.max(1) as f64
    }
}

/// A model as it cleans windows and patches in place.
pub(super) trait Cleaner<T: Sample> {
    /// By the model's own steps, for noise of this deviation.
    fn clean(&mut self, window: &mut [T], sigma: T::Sigma);

    /// See [`residual_guard`].
    fn guard(&self, noisy: &[T], clean: &mut [T], sigma: T::Sigma);
}

/// The clean signal, as long as `samples`.
pub(super) fn clean_signal<T>(
    samples: &[T],
    windows: DenoiseWindows<'_, T>,
    cleaner: &mut dyn Cleaner<T>,
) -> Result<Vec<T>, StreamError>
where
    T: Sample + Default,
    T::Sum: Default,
{
    let length = windows.side() + windows.drift();
    let (mut held, mut sums) = (vec![T::default(); length], vec![T::Sum::default(); length]);
    let mut cursor = DenoiseCursor::new();
    let mut scratch = vec![T::default(); 2 * windows.side()];
    let mut channel = DenoiseView::new(windows, &mut held, &mut sums, &mut cursor)?;
    let mut by_model = |window: &mut [T], sigma| cleaner.clean(window, sigma);
    let mut clean = Vec::with_capacity(samples.len());
    for &sample in samples {
        clean.extend(channel.push(sample, &mut scratch, &mut by_model)?);
    }
    channel.finish(&mut scratch, &mut by_model, |sample| clean.push(sample))?;
    Ok(clean)
}

/// How a picture is cut into patches, and what is known of its noise.
pub(super) struct FrameCut<'w, T: Sample> {
    /// Of the rows of a patch, and of its columns.
    pub(super) weights: [&'w [T::Sum]; 2],
    /// Pixels from one patch to the next, both ways.
    pub(super) hop: usize,
    /// Pixels in a line.
    pub(super) width: usize,
    pub(super) sigma: T::Sigma,
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
        sigma,
    } = cut;
    let size = width * rows.len();
    let (mut lines, mut sums) = (vec![T::default(); size], vec![T::Sum::default(); size]);
    let mut cursor = Cursor::new();
    let (down, across) = (Windows::new(rows, hop)?, Windows::new(columns, hop)?);
    let mut frame = FrameView::new(width, down, across, &mut lines, &mut sums, &mut cursor)?;
    let mut patch = vec![T::default(); rows.len() * columns.len()];
    let mut noisy = patch.clone();
    let mut each = |patch: &mut [T]| {
        noisy.copy_from_slice(patch);
        cleaner.clean(patch, sigma);
        cleaner.guard(&noisy, patch, sigma);
    };
    let mut line = vec![T::default(); width];
    let mut clean = Vec::with_capacity(pixels.len());
    for pixels in pixels.chunks_exact(width) {
        line.copy_from_slice(pixels);
        if frame.push(&mut line, &mut patch, &mut each)? {
            clean.extend_from_slice(&line);
        }
    }
    let mut output = |line: &mut [T]| clean.extend_from_slice(line);
    frame.finish(&mut line, &mut patch, &mut each, &mut output)?;
    Ok(clean)
}

/// Arithmetic in `f32`.
pub(super) struct FloatCleaner<'h, 'a> {
    pub(super) view: ModelView<'a>,
    pub(super) code: &'h mut SparseCodeBuf,
    pub(super) workspace: &'h mut WorkspaceBuf,
    pub(super) guard: f32,
    pub(super) counts: Counts,
}

impl Cleaner<f32> for FloatCleaner<'_, '_> {
    fn clean(&mut self, window: &mut [f32], sigma: f32) {
        let view = self.view.at_noise_level(sigma);
        // Code and workspace have the model's size, and so has the window.
        let _ = view.denoise(window, None, self.code, self.workspace, || false);
        self.counts.windows += 1;
        self.counts.active += self.code.active();
    }

    fn guard(&self, noisy: &[f32], clean: &mut [f32], sigma: f32) {
        residual_guard(noisy, clean, sigma, self.guard);
    }
}

/// Arithmetic in integers.
pub(super) struct IntegerCleaner<'h, 'a> {
    pub(super) view: IntegerView<'a>,
    pub(super) code: &'h mut IntegerCodeBuf,
    pub(super) workspace: &'h mut IntegerWorkspaceBuf,
    pub(super) guard: u16,
    pub(super) counts: Counts,
}

impl Cleaner<i16> for IntegerCleaner<'_, '_> {
    fn clean(&mut self, window: &mut [i16], sigma: u16) {
        let file = self.view.file();
        // Levels that the conversion to 16 bits may have cut count as cut, too.
        let least = file.spec.input_min.max(1 - i16::MAX);
        let most = file.spec.input_max.min(i16::MAX - 1);
        let is_cut = window.iter().any(|x| !(least..=most).contains(x));
        let view = self.view.at_noise_level(sigma);
        let _ = view.denoise(window, None, self.code, self.workspace, || false);
        let limit = file.spec.activations.code_limit();
        let is_full = self.code.iter().any(|(_, level)| level >= limit);
        self.counts.windows += 1;
        self.counts.active += self.code.active();
        self.counts.cut += usize::from(is_cut);
        self.counts.full += usize::from(is_full && !is_cut);
    }

    fn guard(&self, noisy: &[i16], clean: &mut [i16], sigma: u16) {
        residual_guard_i16(noisy, clean, sigma, self.guard);
    }
}
