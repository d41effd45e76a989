//! A signal through a model that was trained to denoise: drift, noise, windows and guard.

use sparsecode_formats::{IntegerFile, ModelFile};

use super::denoising_core::{Channel, DenoiseWindows, NOISE_MEMORY, Rule};
use super::drift_core::{Drift, DriftCursor, is_length};
use super::noise_level::NoiseLevel;
use super::ring::{Axis, Cursor};
use super::sample::Sample;
use super::signal_core::Signal;
use super::windows::StreamError;
use crate::error::DimensionError;

/// [`DenoiseWindows`] for a [`DenoiseStream`].
///
/// `WINDOW` is the model's window, `DRIFT` the length of the moving means that are taken off first:
/// 0 if the file says nothing of drift.
#[derive(Clone, Copy, Debug)]
pub struct Denoising<'w, T: Sample, const WINDOW: usize, const DRIFT: usize> {
    windows: DenoiseWindows<'w, T>,
}

impl<'w, const WINDOW: usize, const DRIFT: usize> Denoising<'w, i16, WINDOW, DRIFT> {
    /// From a model file in integers. `totals` holds a number for each sample of a hop: the sum of
    /// the weights that meet there, added up once.
    ///
    /// # Errors
    ///
    /// What [`DenoiseWindows::of`] and [`DenoiseWindows::with_totals`] say, and
    /// [`StreamError::Memory`] for another window or drift filter than this type's.
    pub fn of(file: &IntegerFile<'w>, totals: &'w mut [i32]) -> Result<Self, StreamError> {
        Self::checked(DenoiseWindows::<i16>::of(file)?, totals)
    }
}

impl<'w, const WINDOW: usize, const DRIFT: usize> Denoising<'w, f32, WINDOW, DRIFT> {
    /// From a model file in `f32`; `totals` as for integers.
    ///
    /// # Errors
    ///
    /// As for integers.
    pub fn of(file: &ModelFile<'w>, totals: &'w mut [f32]) -> Result<Self, StreamError> {
        Self::checked(DenoiseWindows::<f32>::of(file)?, totals)
    }
}

impl<'w, T: Sample, const WINDOW: usize, const DRIFT: usize> Denoising<'w, T, WINDOW, DRIFT> {
    fn checked(
        windows: DenoiseWindows<'w, T>,
        totals: &'w mut [T::Sum],
    ) -> Result<Self, StreamError> {
        DimensionError::check("window", WINDOW, windows.side())?;
        DimensionError::check("drift", DRIFT, windows.drift())?;
        let windows = windows.with_totals(totals)?;
        Ok(Self { windows })
    }

    /// See [`DenoiseWindows::with_noise`].
    #[must_use]
    pub fn with_noise(mut self, sigma: T::Sigma) -> Self {
        self.windows = self.windows.with_noise(sigma);
        self
    }

    #[inline(always)]
    fn axis(&self) -> &Axis<'w, T> {
        &self.windows.axis
    }
}

/// One channel of a 1-D signal through a model of `sparsecode train --task denoise`: samples in,
/// clean samples out, one for one, [`LATENCY`](Self::LATENCY) samples later.
///
/// Drift is taken off by the filter of [`DriftStream`](super::DriftStream), and stays off.
/// [`NoiseLevel`] estimates σ of what is left, roughly from the 32nd sample on, unless
/// [`Denoising::with_noise`] gives it; a model that was trained for recorded noise has to be told.
/// Windows overlap by the hop and the weights of the
/// file; the model cleans each at this σ, and [`residual_guard`](super::residual_guard) gives back
/// what it removed beyond the noise. `sparsecode denoise` computes the same bits.
///
/// | bytes of RAM, a channel | `f32` | `i16` |
/// |---|---|---|
/// | windows of 64, no drift filter | 764 | 552 |
/// | windows of 64, drift by means over 361 samples | 3,652 | 2,716 |
///
/// [`BYTES`](Self::BYTES) is the constant. Model, code, workspace and the two windows of
/// [`DenoiseScratch`] are the caller's, for all channels together.
///
/// ```
/// use sparsecode_runtime::stream::{DenoiseScratch, DenoiseStream, Denoising};
/// # use sparsecode_runtime::formats::{self, *};
/// # use sparsecode_runtime::{IntegerCode, IntegerModel, IntegerWorkspace};
/// # let mut trained = formats::example_denoiser(8, 4, 2);
/// # trained.gram.as_mut().unwrap().drift = Some(25);
/// # let ranges = ActivationRanges {
/// #     input_scale: 0.001, input_min: -8000, input_max: 8000, code_max: 16.0,
/// # };
/// # let levels = Activations::I16;
/// # let written = write_integer_with(&trained, &ranges, WeightType::I8, levels, GramStorage::Stored)?;
/// # let bytes: &[u8] = &AlignedBytes::from_slice(&written.bytes);
///
/// // Windows of 8 samples every 2, drift by means over 25.
/// let model = IntegerModel::<8, 4>::load(bytes)?;
/// let mut totals = [0; 2];
/// let by = Denoising::<i16, 8, 25>::of(model.file(), &mut totals)?;
/// let (mut code, mut workspace) = (IntegerCode::new(), IntegerWorkspace::new());
/// let mut clean = |window: &mut [i16; 8], sigma| {
///     let model = model.at_noise_level(sigma);
///     model.denoise(window, None, &mut code, &mut workspace, || false);
/// };
///
/// let mut channel = DenoiseStream::<i16, 8, 25>::new(); // in a static: `.bss`
/// let mut scratch = DenoiseScratch::new();
/// let mut received = 0;
/// for sample in 0..100 {
///     received += usize::from(channel.push(sample, &by, &mut scratch, &mut clean).is_some());
/// }
/// assert_eq!(received, 100 - DenoiseStream::<i16, 8, 25>::LATENCY);
/// channel.finish(&by, &mut scratch, &mut clean, |_| received += 1);
/// assert_eq!(received, 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct DenoiseStream<T: Sample, const WINDOW: usize, const DRIFT: usize> {
    /// The drift filter's rings.
    levels: [T; DRIFT],
    means: [T::Sum; DRIFT],
    drift: DriftCursor<T>,
    noise: NoiseLevel<T, NOISE_MEMORY>,
    /// The last samples without drift, in a ring, and what windows add up to there.
    samples: [T; WINDOW],
    sums: [T::Sum; WINDOW],
    cursor: Cursor,
}

/// What a [`DenoiseStream`] is lent from call to call: a window, and the same window as it was.
/// Nothing is kept in it, so that all channels can share one.
#[derive(Clone, Debug)]
pub struct DenoiseScratch<T: Sample, const WINDOW: usize> {
    window: [T; WINDOW],
    noisy: [T; WINDOW],
}

impl<T: Sample, const WINDOW: usize> DenoiseScratch<T, WINDOW> {
    /// Scratch memory, also for statics (it lies in `.bss`).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            window: [T::ZERO; WINDOW],
            noisy: [T::ZERO; WINDOW],
        }
    }
}

impl<T: Sample, const WINDOW: usize> Default for DenoiseScratch<T, WINDOW> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Sample, const WINDOW: usize, const DRIFT: usize> DenoiseStream<T, WINDOW, DRIFT> {
    /// Size in bytes.
    pub const BYTES: usize = size_of::<Self>();

    /// Samples that go in before the first one comes out.
    pub const LATENCY: usize = WINDOW.wrapping_add(DRIFT.saturating_sub(1));

    /// A channel at its start, also for statics (it lies in `.bss`).
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(
                DRIFT == 0 || is_length(DRIFT),
                "a centred mean has an odd number of samples, at most 4095"
            );
        }
        Self {
            levels: [T::ZERO; DRIFT],
            means: [T::EMPTY; DRIFT],
            drift: DriftCursor::new(),
            noise: NoiseLevel::new(),
            samples: [T::ZERO; WINDOW],
            sums: [T::EMPTY; WINDOW],
            cursor: Cursor::of::<WINDOW, 1>(),
        }
    }

    /// Forgets all samples and the noise: the next sample is the first.
    pub fn reset(&mut self) {
        self.drift = DriftCursor::new();
        self.noise.reset();
        self.cursor = Cursor::new();
    }

    /// σ of the noise as far as it is estimated; see [`NoiseLevel::sigma`].
    #[must_use]
    pub fn sigma(&self) -> Option<T::Sigma> {
        self.noise.sigma()
    }

    /// Takes the next sample, and gives the clean one of [`LATENCY`](Self::LATENCY) samples before,
    /// if there were as many. `clean` cleans a window in place, at a σ.
    pub fn push(
        &mut self,
        sample: T,
        by: &Denoising<'_, T, WINDOW, DRIFT>,
        scratch: &mut DenoiseScratch<T, WINDOW>,
        clean: impl FnMut(&mut [T; WINDOW], T::Sigma),
    ) -> Option<T> {
        let given = self.step(sample, by.axis())?;
        if self.cursor.is_due() {
            self.add_window(by, scratch, clean);
        }
        given
    }

    /// Ends the signal: calls `give` with every sample that is still in the stream, so that as many
    /// have come out as went in. The channel is then as new.
    pub fn finish(
        &mut self,
        by: &Denoising<'_, T, WINDOW, DRIFT>,
        scratch: &mut DenoiseScratch<T, WINDOW>,
        mut clean: impl FnMut(&mut [T; WINDOW], T::Sigma),
        mut give: impl FnMut(T),
    ) {
        while DRIFT > 0
            && let Some(sample) = self.filter().pull()
        {
            self.take(sample, by, scratch, &mut clean)
                .into_iter()
                .for_each(&mut give);
        }
        let DenoiseScratch { window, noisy } = scratch;
        let rest = self.channel(by).finish(window, noisy, clean);
        rest.iter().copied().for_each(give);
        self.reset();
    }

    /// A sample up to where a window may be [due](Cursor::is_due), if one without drift came of it.
    // Not written out in `push`: the compiler would run out of registers for what is done with
    // every sample.
    #[inline(never)]
    fn step(&mut self, sample: T, axis: &Axis<'_, T>) -> Option<Option<T>> {
        let sample = match DRIFT {
            0 => sample,
            _ => self.filter().push(sample)?,
        };
        Some(self.exchange(sample, axis))
    }

    /// A sample without drift.
    #[inline(never)]
    fn take(
        &mut self,
        sample: T,
        by: &Denoising<'_, T, WINDOW, DRIFT>,
        scratch: &mut DenoiseScratch<T, WINDOW>,
        clean: impl FnMut(&mut [T; WINDOW], T::Sigma),
    ) -> Option<T> {
        let given = self.exchange(sample, by.axis());
        if self.cursor.is_due() {
            self.add_window(by, scratch, clean);
        }
        given
    }

    #[inline(never)]
    fn add_window(
        &mut self,
        by: &Denoising<'_, T, WINDOW, DRIFT>,
        scratch: &mut DenoiseScratch<T, WINDOW>,
        clean: impl FnMut(&mut [T; WINDOW], T::Sigma),
    ) {
        let DenoiseScratch { window, noisy } = scratch;
        self.channel(by).add_window(window, noisy, clean);
    }

    #[inline(always)]
    fn channel<'c>(&'c mut self, by: &Denoising<'c, T, WINDOW, DRIFT>) -> Channel<'c, T> {
        let rule: Rule<T> = by.windows.rule;
        let signal = Signal {
            axis: *by.axis(),
            samples: &mut self.samples,
            sums: &mut self.sums,
            cursor: &mut self.cursor,
        };
        Channel {
            rule,
            noise: &mut self.noise,
            signal,
        }
    }

    /// See [`Signal::exchange`].
    #[inline(always)]
    fn exchange(&mut self, sample: T, axis: &Axis<'_, T>) -> Option<T> {
        let mut signal = Signal {
            axis: *axis,
            samples: &mut self.samples,
            sums: &mut self.sums,
            cursor: &mut self.cursor,
        };
        signal.exchange(sample)
    }

    #[inline(always)]
    fn filter(&mut self) -> Drift<'_, T> {
        Drift {
            samples: &mut self.levels,
            means: &mut self.means,
            cursor: &mut self.drift,
            length: T::length_of::<DRIFT>(),
        }
    }
}

impl<T: Sample, const WINDOW: usize, const DRIFT: usize> Default
    for DenoiseStream<T, WINDOW, DRIFT>
{
    fn default() -> Self {
        Self::new()
    }
}
