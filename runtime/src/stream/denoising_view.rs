//! A signal through a model that denoises, with windows of a size that is known at run time only.

use super::denoising_core::{Channel, DenoiseWindows, NOISE_MEMORY};
use super::drift_core::{Drift, DriftCursor, is_length};
use super::noise_level::NoiseLevel;
use super::ring::Cursor;
use super::sample::Sample;
use super::signal_core::Signal;
use super::windows::StreamError;
use crate::error::DimensionError;

/// Where the channel of a [`DenoiseView`] stands: the drift filter, the noise, the windows.
///
/// Plain data, all zeros at the start but for the noise; 168 bytes for `i16`, 252 for `f32`. A
/// cursor belongs to the memory that it was advanced with.
#[derive(Clone, Debug)]
pub struct DenoiseCursor<T: Sample> {
    drift: DriftCursor<T>,
    noise: NoiseLevel<T, NOISE_MEMORY>,
    windows: Cursor,
}

impl<T: Sample> DenoiseCursor<T> {
    /// A channel at its start, also for statics.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            drift: DriftCursor::new(),
            noise: NoiseLevel::new(),
            windows: Cursor::new(),
        }
    }

    /// σ of the noise as far as it is estimated; see [`NoiseLevel::sigma`].
    #[must_use]
    pub fn sigma(&self) -> Option<T::Sigma> {
        self.noise.sigma()
    }
}

impl<T: Sample> Default for DenoiseCursor<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// One channel of a 1-D signal through a model of `sparsecode train --task denoise`, in borrowed
/// memory, for windows and drift filters whose length comes from a file.
///
/// The view computes the bits of [`DenoiseStream`](super::DenoiseStream), which describes the
/// method. For windows of n samples and a drift filter over m the state takes `8·(n + m)` bytes for
/// `f32` and `6·(n + m)` for `i16`, besides the cursor.
///
/// The state of the channel is what the view borrows: samples, sums and a [`DenoiseCursor`]. A view
/// may be dropped and made anew over the same three at any time. Every call checks the length of
/// the scratch memory that it is lent: two windows, in which nothing is kept. A failed call changes
/// nothing.
///
/// ```
/// use sparsecode_runtime::stream::{DenoiseCursor, DenoiseView, DenoiseWindows};
/// # use sparsecode_runtime::formats::{self, *};
/// # use sparsecode_runtime::{IntegerCodeBuf, IntegerView, IntegerWorkspaceBuf};
/// # let mut trained = formats::example_denoiser(8, 4, 2);
/// # trained.gram.as_mut().unwrap().drift = Some(25);
/// # let ranges = ActivationRanges {
/// #     input_scale: 0.001, input_min: -8000, input_max: 8000, code_max: 16.0,
/// # };
/// # let levels = Activations::I16;
/// # let written = write_integer_with(&trained, &ranges, WeightType::I8, levels, GramStorage::Stored)?;
/// # let bytes: &[u8] = &AlignedBytes::from_slice(&written.bytes);
///
/// let model = IntegerView::load(bytes)?;
/// let windows = DenoiseWindows::<i16>::of(model.file())?;
/// assert_eq!((windows.side(), windows.hop(), windows.drift()), (8, 2, 25));
/// let mut code = IntegerCodeBuf::new(model.spec().code_dim);
/// let mut workspace = IntegerWorkspaceBuf::for_model(model.spec());
/// let mut clean = |window: &mut [i16], sigma| {
///     let model = model.at_noise_level(sigma);
///     // The window has the model's length.
///     let _ = model.denoise(window, None, &mut code, &mut workspace, || false);
/// };
///
/// let length = windows.side() + windows.drift();
/// let (mut samples, mut sums, mut cursor) = (vec![0; length], vec![0; length], DenoiseCursor::new());
/// let mut channel = DenoiseView::new(windows, &mut samples, &mut sums, &mut cursor)?;
/// let mut scratch = vec![0; 2 * windows.side()];
/// let mut received = 0;
/// for sample in 0..100 {
///     received += usize::from(channel.push(sample, &mut scratch, &mut clean)?.is_some());
/// }
/// assert_eq!(received, 100 - windows.latency());
/// channel.finish(&mut scratch, &mut clean, |_| received += 1)?;
/// assert_eq!(received, 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DenoiseView<'m, T: Sample> {
    /// Its rings, where there is a filter.
    drift: Option<Drift<'m, T>>,
    channel: Channel<'m, T>,
}

impl<'m, T: Sample> DenoiseView<'m, T> {
    /// A channel whose state is `samples` and `sums`, each as long as a window and the drift filter
    /// together, and `cursor`.
    ///
    /// A new cursor makes a channel at its start, whatever the other two hold.
    ///
    /// # Errors
    ///
    /// [`StreamError::Memory`] for `samples` or `sums`, or [`StreamError::Cursor`].
    pub fn new(
        windows: DenoiseWindows<'m, T>,
        samples: &'m mut [T],
        sums: &'m mut [T::Sum],
        cursor: &'m mut DenoiseCursor<T>,
    ) -> Result<Self, StreamError> {
        let DenoiseWindows { axis, drift, rule } = windows;
        let length = axis.side().saturating_add(drift);
        DimensionError::check("samples", length, samples.len())?;
        DimensionError::check("sums", length, sums.len())?;
        StreamError::check_cursor(&cursor.windows, &axis)?;
        let (levels, samples) = samples.split_at_mut_checked(drift).unwrap_or_default();
        let (means, sums) = sums.split_at_mut_checked(drift).unwrap_or_default();
        let drift = match drift {
            0 => None,
            length if !is_length(length) => return Err(StreamError::Mean { found: length }),
            length if !cursor.drift.belongs_to(length) => return Err(StreamError::Cursor),
            length => Some(Drift {
                samples: levels,
                means,
                cursor: &mut cursor.drift,
                length: T::length(length),
            }),
        };
        let signal = Signal {
            axis,
            samples,
            sums,
            cursor: &mut cursor.windows,
        };
        let channel = Channel {
            rule,
            noise: &mut cursor.noise,
            signal,
        };
        Ok(Self { drift, channel })
    }

    /// Forgets all samples and the noise: the next sample is the first.
    pub fn reset(&mut self) {
        if let Some(drift) = &mut self.drift {
            *drift.cursor = DriftCursor::new();
        }
        self.channel.noise.reset();
        *self.channel.signal.cursor = Cursor::new();
    }

    /// See [`DenoiseStream::push`](super::DenoiseStream::push).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if `scratch` is not as long as two windows.
    pub fn push(
        &mut self,
        sample: T,
        scratch: &mut [T],
        clean: impl FnMut(&mut [T], T::Sigma),
    ) -> Result<Option<T>, DimensionError> {
        let (window, noisy) = self.halves(scratch)?;
        let sample = match &mut self.drift {
            Some(drift) => drift.push(sample),
            None => Some(sample),
        };
        Ok(sample.and_then(|sample| self.take(sample, window, noisy, clean)))
    }

    /// See [`DenoiseStream::finish`](super::DenoiseStream::finish).
    ///
    /// # Errors
    ///
    /// [`DimensionError`] if `scratch` is not as long as two windows.
    pub fn finish(
        &mut self,
        scratch: &mut [T],
        mut clean: impl FnMut(&mut [T], T::Sigma),
        mut give: impl FnMut(T),
    ) -> Result<(), DimensionError> {
        let (window, noisy) = self.halves(scratch)?;
        while let Some(sample) = self.drift.as_mut().and_then(Drift::pull) {
            self.take(sample, window, noisy, &mut clean)
                .into_iter()
                .for_each(&mut give);
        }
        let rest = self.channel.finish(window, noisy, clean);
        rest.iter().copied().for_each(give);
        self.reset();
        Ok(())
    }

    /// A sample without drift.
    fn take(
        &mut self,
        sample: T,
        window: &mut [T],
        noisy: &mut [T],
        clean: impl FnMut(&mut [T], T::Sigma),
    ) -> Option<T> {
        let given = self.channel.signal.exchange(sample);
        if self.channel.signal.cursor.is_due() {
            self.channel.add_window(window, noisy, clean);
        }
        given
    }

    /// A window, and the same window as it was.
    fn halves<'s>(
        &self,
        scratch: &'s mut [T],
    ) -> Result<(&'s mut [T], &'s mut [T]), DimensionError> {
        let side = self.channel.signal.axis.side();
        DimensionError::check("scratch", side.saturating_mul(2), scratch.len())?;
        Ok(scratch.split_at_mut_checked(side).unwrap_or_default())
    }
}
