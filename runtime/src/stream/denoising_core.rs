//! What a model that denoises does to a signal, in memory of any size.

use sparsecode_formats::{IntegerFile, ModelFile};

use super::noise_level::NoiseLevel;
use super::ring::{Axis, overlapping};
use super::sample::Sample;
use super::signal_core::Signal;
use super::weighting::SIGNAL_LIMIT;
use super::windows::{StreamError, Windows};
use crate::error::DimensionError;
use crate::float::denoise::noise_unit;

/// Blocks that the estimate of the noise of a [`DenoiseStream`](super::DenoiseStream) remembers:
/// the `MEMORY` of its [`NoiseLevel`].
pub const NOISE_MEMORY: usize = 64;

/// What a model file says of signals: window weights, hop, drift filter, guard, and the level of
/// noise to take until there is an estimate. Made once; serves any number of channels.
///
/// σ is estimated, by [`NoiseLevel::rough_sigma`], unless [`with_noise`](Self::with_noise) gives
/// one. What an estimate finds is white noise: a model that was trained for other noise
/// ([`is_white`](sparsecode_formats::StreamSpec::is_white)) then takes off next to nothing, and has
/// to be told.
///
/// For windows of a size that is known at run time only: [`DenoiseView`](super::DenoiseView) takes
/// one. [`Denoising`](super::Denoising) is the same for [`DenoiseStream`](super::DenoiseStream).
#[derive(Clone, Copy, Debug)]
pub struct DenoiseWindows<'w, T: Sample> {
    pub(super) axis: Axis<'w, T>,
    /// Samples of the means that are taken off; 0 for none.
    pub(super) drift: usize,
    pub(super) rule: Rule<T>,
}

/// What is done to a window beside the model's own work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule<T: Sample> {
    /// c of the guard.
    guard: T::Sigma,
    /// σ until there is an estimate, however rough.
    sigma: T::Sigma,
    /// Whether this is the noise, and nothing is estimated.
    pub(super) known: bool,
}

impl<'w> DenoiseWindows<'w, i16> {
    /// From a model file in integers.
    ///
    /// # Errors
    ///
    /// [`StreamError::Denoiser`] if the model was not trained to denoise signals,
    /// [`StreamError::Overflow`] for weights that no writer makes.
    pub fn of(file: &IntegerFile<'w>) -> Result<Self, StreamError> {
        let of_signals = file.spec.input_shape.is_window();
        let gram = file.gram.filter(|_| of_signals);
        let gram = gram.ok_or(StreamError::Denoiser)?;
        let (stream, sigma) = (gram.stream, gram.noise_level);
        let rule = Rule::new(stream.guard, sigma);
        Self::new(stream.weights, stream.hop, stream.drift, rule)
    }
}

impl<'w> DenoiseWindows<'w, f32> {
    /// From a model file in `f32`.
    ///
    /// # Errors
    ///
    /// As for integers.
    pub fn of(file: &ModelFile<'w>) -> Result<Self, StreamError> {
        let of_signals = file.spec.input_shape.is_window();
        let gram = file.gram.filter(|_| of_signals);
        let gram = gram.ok_or(StreamError::Denoiser)?;
        let (stream, sigma) = (gram.stream, gram.noise_level * noise_unit(file));
        let rule = Rule::new(stream.guard, sigma);
        Self::new(stream.weights, stream.hop, stream.drift, rule)
    }
}

impl<'w, T: Sample> DenoiseWindows<'w, T> {
    fn new(
        weights: &'w [T::Sum],
        hop: u16,
        drift: Option<u16>,
        rule: Rule<T>,
    ) -> Result<Self, StreamError> {
        Ok(Self {
            axis: Windows::new(weights, hop.into())?.within(SIGNAL_LIMIT)?,
            drift: drift.unwrap_or(0).into(),
            rule,
        })
    }

    /// The same with the sums of the weights that meet in a sample, one for each sample of a hop,
    /// added up once in `totals`. Without them the weights are added up for every sample.
    ///
    /// # Errors
    ///
    /// [`StreamError::Memory`] for another number of `totals`.
    pub fn with_totals(self, totals: &'w mut [T::Sum]) -> Result<Self, StreamError> {
        let (side, axis) = (self.side(), self.axis);
        DimensionError::check("totals", axis.hop, totals.len())?;
        for (place, total) in totals.iter_mut().enumerate() {
            *total = overlapping(&axis, place, side);
        }
        let axis = axis.with_totals(totals);
        Ok(Self { axis, ..self })
    }

    /// The same with another hop, and without totals.
    ///
    /// # Errors
    ///
    /// [`StreamError::Hop`], or [`StreamError::Overflow`] if too many windows overlap.
    pub fn with_hop(self, hop: usize) -> Result<Self, StreamError> {
        let axis = Windows::new(self.axis.weights, hop)?.within(SIGNAL_LIMIT)?;
        Ok(Self { axis, ..self })
    }

    /// The same for a signal that has no drift, or keeps it.
    #[must_use]
    pub fn without_drift(mut self) -> Self {
        self.drift = 0;
        self
    }

    /// The same for noise of known deviation: in units of a sample, for `i16` in sixteenths of a
    /// level. Nothing is estimated.
    #[must_use]
    pub fn with_noise(mut self, sigma: T::Sigma) -> Self {
        self.rule.sigma = sigma;
        self.rule.known = true;
        self
    }

    /// Samples of a window.
    #[must_use]
    pub fn side(&self) -> usize {
        self.axis.side()
    }

    /// Samples from the start of one window to the start of the next.
    #[must_use]
    pub fn hop(&self) -> usize {
        self.axis.hop
    }

    /// Samples of the means that are taken off; 0 for none.
    #[must_use]
    pub fn drift(&self) -> usize {
        self.drift
    }

    /// Samples that go in before the first one comes out.
    #[must_use]
    pub fn latency(&self) -> usize {
        let filter = self.drift.saturating_sub(1);
        self.side().saturating_add(filter)
    }
}

impl<T: Sample> Rule<T> {
    fn new(guard: T::Sigma, sigma: T::Sigma) -> Self {
        Self {
            guard,
            sigma,
            known: false,
        }
    }

    /// A window in place: by the model, at the σ of now, and guarded.
    #[inline(always)]
    fn clean<W: AsMut<[T]> + ?Sized>(
        &self,
        noise: &NoiseLevel<T, NOISE_MEMORY>,
        window: &mut W,
        noisy: &mut [T],
        clean: &mut impl FnMut(&mut W, T::Sigma),
    ) {
        let sigma = match self.known {
            true => self.sigma,
            false => noise.rough_sigma().unwrap_or(self.sigma),
        };
        T::copy(noisy, window.as_mut());
        clean(window, sigma);
        T::guard(noisy, window.as_mut(), sigma, self.guard);
    }
}

/// A channel behind its drift filter, in borrowed memory. What the calls are lent is as long as a
/// window.
pub(super) struct Channel<'m, T: Sample> {
    pub(super) rule: Rule<T>,
    pub(super) noise: &'m mut NoiseLevel<T, NOISE_MEMORY>,
    pub(super) signal: Signal<'m, T>,
}

// Into the types with a fixed size, so that their sizes are constants here.
impl<T: Sample> Channel<'_, T> {
    /// The window that is [due](super::Cursor::is_due).
    #[inline(always)]
    pub(super) fn add_window<W: AsMut<[T]> + ?Sized>(
        &mut self,
        window: &mut W,
        noisy: &mut [T],
        mut clean: impl FnMut(&mut W, T::Sigma),
    ) {
        let Self {
            rule,
            noise,
            signal,
        } = self;
        let fresh = signal.cursor.fresh(&signal.axis);
        let old = signal.samples.len().saturating_sub(fresh);
        signal.add_window(window, |window| {
            if !rule.known {
                noise.push_block(window.as_mut().get(old..).unwrap_or_default());
            }
            rule.clean(noise, window, noisy, &mut clean);
        });
    }

    /// The samples that are still in the channel. They lie in `window`.
    #[inline(always)]
    pub(super) fn finish<'w, W: AsMut<[T]> + ?Sized>(
        &mut self,
        window: &'w mut W,
        noisy: &mut [T],
        mut clean: impl FnMut(&mut W, T::Sigma),
    ) -> &'w [T] {
        let Self {
            rule,
            noise,
            signal,
        } = self;
        // The samples since the last window lie before the place of the next one, or at the end.
        if !rule.known {
            let (next, since) = (signal.cursor.next(), usize::from(signal.cursor.since));
            let (new, old) = signal.samples.split_at_checked(next).unwrap_or_default();
            let at_end = old.len().saturating_sub(since.saturating_sub(new.len()));
            noise.push_block(old.get(at_end..).unwrap_or_default());
            let before = new.len().saturating_sub(since);
            noise.push_block(new.get(before..).unwrap_or_default());
        }
        signal.finish(window, |window| {
            rule.clean(noise, window, noisy, &mut clean);
        })
    }
}
