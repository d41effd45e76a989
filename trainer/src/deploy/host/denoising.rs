//! Models that denoise, on signals and pictures.

use sparsecode_formats::{Contrast, Units};
use sparsecode_runtime::stream::{DenoiseWindows, Sample, StreamError};

use super::{Engine, HostError, HostModel, to_levels};
use crate::deploy::cleaner::{
    Cleaner, Counts, FloatCleaner, FrameCut, IntegerCleaner, Noise, clean_frame, clean_signal,
};
use crate::deploy::frame;

/// How a model that denoises is used on a signal or a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct HostStream {
    /// Samples from one window to the next, or pixels from one patch to the next.
    pub hop: usize,
    /// The length of the means that are taken off a signal before all else.
    pub drift: Option<usize>,
    /// Whether the noise of training was white, so that it can be estimated.
    pub is_white: bool,
}

/// A signal or a picture after a model that denoises.
#[derive(Clone, Debug, PartialEq)]
pub struct Cleaned {
    /// In raw units.
    pub values: Vec<f32>,
    /// What became of its windows.
    pub counts: Counts,
}

/// What values are cut into.
#[derive(Clone, Copy)]
enum Way {
    /// Windows; whether the file's drift filter runs.
    Signal { drift: bool },
    /// Patches of lines this long.
    Picture { width: usize },
}

impl HostModel<'_> {
    /// How a model that denoises is used on a signal or a picture; `None` for others.
    pub fn stream(&self) -> Option<HostStream> {
        let (hop, drift, is_white) = match &self.engine {
            Engine::Float { view, .. } => {
                let stream = view.file().gram?.stream;
                (stream.hop, stream.drift, stream.is_white)
            }
            Engine::Integer { view, .. } => {
                let stream = view.file().gram?.stream;
                (stream.hop, stream.drift, stream.is_white)
            }
        };
        Some(HostStream {
            hop: hop.into(),
            drift: drift.map(usize::from),
            is_white,
        })
    }

    /// T, c of the guard, and the file's σ in raw units, of a model that denoises.
    pub fn gram_facts(&self) -> Option<(usize, f32, f64)> {
        match &self.engine {
            Engine::Float { view, .. } => {
                let gram = view.file().gram?;
                let sigma = f64::from(gram.noise_level * self.deviation());
                Some((gram.steps.len(), gram.stream.guard, sigma))
            }
            Engine::Integer { view, units, .. } => {
                let gram = view.file().gram?;
                let guard = f32::from(gram.stream.guard) / 256.0;
                let sigma = f64::from(gram.noise_level) / 16.0 * units.input;
                Some((gram.steps.len(), guard, sigma))
            }
        }
    }

    /// Raw units of a preprocessed one.
    fn deviation(&self) -> f32 {
        match self.spec.preprocessing.contrast {
            Contrast::Local { .. } => 1.0,
            _ => self.spec.preprocessing.deviation,
        }
    }

    /// Cleans a signal in raw units with a model that denoises, as a device does it.
    /// `hop` is the file's own unless another is given, and the file's drift filter
    /// runs only if `drift`.
    ///
    /// # Errors
    ///
    /// [`HostError::Reconstructs`] for other models, [`HostError::Stream`] for a hop beyond the
    /// window.
    pub fn clean_signal(
        &mut self,
        values: &[f32],
        hop: Option<usize>,
        noise: Noise,
        drift: bool,
    ) -> Result<Cleaned, HostError> {
        self.clean(values, Way::Signal { drift }, hop, noise)
    }

    /// Cleans a picture in raw units with a model that denoises, lines of `width` pixels.
    /// What follows the last whole line is left out.
    ///
    /// Beyond its borders the picture is its own mirror image, so that each pixel lies in as many
    /// patches as any; the patches are a device's. Without a known deviation of the noise it is
    /// the one that [`frame::deviation`] finds, or the file's own where a picture is too small for
    /// one. Where most of a picture is flat the guard gives everything back.
    ///
    /// # Errors
    ///
    /// [`HostError::Reconstructs`] for other models, [`HostError::Stream`] for a hop beyond the
    /// patch, or a picture narrower than one.
    pub fn clean_picture(
        &mut self,
        pixels: &[f32],
        width: usize,
        hop: Option<usize>,
        noise: Noise,
    ) -> Result<Cleaned, HostError> {
        let hop = match hop {
            Some(hop) => hop,
            None => self.stream().ok_or(HostError::Reconstructs)?.hop,
        };
        let noise = match noise {
            Noise::Known(_) => noise,
            Noise::Estimated => frame::deviation(pixels, width)
                .map_or(noise, |sigma| Noise::Known(sigma.max(f32::MIN_POSITIVE))),
        };
        if width == 0 || pixels.len() < width {
            return Ok(Cleaned {
                values: Vec::new(),
                counts: Counts::default(),
            });
        }
        let shape = self.spec.input_shape;
        let margin = usize::from(shape.width.max(shape.height)).saturating_sub(hop);
        let margins = frame::Margins {
            width,
            height: pixels.len() / width.max(1),
            margin,
        };
        let way = Way::Picture {
            width: margins.outer_width(),
        };
        let mut cleaned = self.clean(&margins.mirrored(pixels), way, Some(hop), noise)?;
        cleaned.values = margins.inner(&cleaned.values);
        Ok(cleaned)
    }

    fn clean(
        &mut self,
        values: &[f32],
        way: Way,
        hop: Option<usize>,
        noise: Noise,
    ) -> Result<Cleaned, HostError> {
        let (deviation, shape) = (self.deviation(), self.spec.input_shape);
        let rows = shape.overlap_weights() - usize::from(shape.width);
        match &mut self.engine {
            Engine::Float {
                view, workspace, ..
            } => {
                let file = *view.file();
                let gram = file.gram.ok_or(HostError::Reconstructs)?;
                let mut cleaner = FloatCleaner {
                    view: *view,
                    code: &mut self.code,
                    workspace,
                    guard: gram.stream.guard,
                    counts: Counts::default(),
                };
                let cut = Cut {
                    way,
                    weights: gram.stream.weights.split_at(rows),
                    hop: hop.unwrap_or(gram.stream.hop.into()),
                    known: match noise {
                        Noise::Known(sigma) => Some(sigma),
                        Noise::Estimated => None,
                    },
                    otherwise: gram.noise_level * deviation,
                };
                let windows = || DenoiseWindows::<f32>::of(&file);
                let values = cut.along(values, windows, &mut cleaner)?;
                let counts = cleaner.counts;
                Ok(Cleaned { values, counts })
            }
            Engine::Integer {
                view,
                code,
                workspace,
                units,
                levels,
            } => {
                let file = *view.file();
                let gram = file.gram.ok_or(HostError::Reconstructs)?;
                let units = *units;
                let mut cleaner = IntegerCleaner {
                    view: *view,
                    code,
                    workspace,
                    guard: gram.stream.guard,
                    counts: Counts::default(),
                };
                to_levels(values, 0.0, units.input, levels);
                let cut = Cut {
                    way,
                    weights: gram.stream.weights.split_at(rows),
                    hop: hop.unwrap_or(gram.stream.hop.into()),
                    known: match noise {
                        Noise::Known(sigma) => Some(sixteenths(sigma, &units)),
                        Noise::Estimated => None,
                    },
                    otherwise: gram.noise_level,
                };
                let windows = || DenoiseWindows::<i16>::of(&file);
                let clean = cut.along(levels, windows, &mut cleaner)?;
                let raw = |level: i16| (f64::from(level) * units.input) as f32;
                Ok(Cleaned {
                    values: clean.into_iter().map(raw).collect(),
                    counts: cleaner.counts,
                })
            }
        }
    }

    /// Tells a model that denoises the deviation of the noise, in raw units (with local contrast,
    /// in normalised ones), above 0; to others it means nothing.
    pub fn set_noise_level(&mut self, sigma: f32) {
        match &mut self.engine {
            Engine::Float { view, .. } => *view = view.at_noise_level(sigma),
            Engine::Integer { view, units, .. } => {
                *view = view.at_noise_level(sixteenths(sigma, units));
            }
        }
    }
}

/// How values are cut into windows or patches, and what is known of their noise.
struct Cut<'w, T: Sample> {
    way: Way,
    /// Of the rows of a patch, and of its columns; of windows there are columns alone.
    weights: (&'w [T::Sum], &'w [T::Sum]),
    hop: usize,
    /// σ, if it is known.
    known: Option<T::Sigma>,
    /// σ to take otherwise.
    otherwise: T::Sigma,
}

impl<T> Cut<'_, T>
where
    T: Sample + Default,
    T::Sum: Default,
{
    /// Cleans values along the way that they take. `windows` is what the file says of signals.
    fn along<'f>(
        &self,
        values: &[T],
        windows: impl FnOnce() -> Result<DenoiseWindows<'f, T>, StreamError>,
        cleaner: &mut dyn Cleaner<T>,
    ) -> Result<Vec<T>, HostError> {
        match self.way {
            Way::Signal { drift } => {
                let mut windows = windows()?.with_hop(self.hop)?;
                if let Some(sigma) = self.known {
                    windows = windows.with_noise(sigma);
                }
                if !drift {
                    windows = windows.without_drift();
                }
                Ok(clean_signal(values, windows, cleaner)?)
            }
            Way::Picture { width } => {
                let cut = FrameCut {
                    weights: [self.weights.0, self.weights.1],
                    hop: self.hop,
                    width,
                    sigma: self.known.unwrap_or(self.otherwise),
                };
                clean_frame(values, &cut, cleaner)
            }
        }
    }
}

/// σ of raw units as a model in integers takes it.
fn sixteenths(sigma: f32, units: &Units) -> u16 {
    // The conversion saturates.
    let sixteenths = (f64::from(sigma) / units.input * 16.0).round() as u16;
    sixteenths.max(1)
}
