//! Models that denoise, on signals and pictures.

use sparsecode_formats::Contrast;
use sparsecode_runtime::stream::{NoiseLevel, Sample};

use super::{Engine, HostError, HostModel, to_levels};
use crate::deploy::cleaner::{
    Cleaner, Cut, FloatCleaner, FrameCut, IntegerCleaner, Noise, clean, clean_frame,
};
use crate::deploy::frame;

/// How a model that denoises is used on a signal or a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct HostStream {
    /// Samples from one window to the next, or pixels from one patch to the next.
    pub hop: usize,
    /// The length of the means that are taken off a signal before all else.
    pub drift: Option<usize>,
}

/// What values are cut into.
#[derive(Clone, Copy)]
enum Way {
    /// Windows, after the moving means of this length are taken off.
    Signal { drift: Option<usize> },
    /// Patches of lines this long.
    Picture { width: usize },
}

impl HostModel<'_> {
    /// How a model that denoises is used on a signal or a picture; `None` for others.
    pub fn stream(&self) -> Option<HostStream> {
        let (hop, drift) = match &self.engine {
            Engine::Float { view, .. } => {
                let stream = view.file().gram?.stream;
                (stream.hop, stream.drift)
            }
            Engine::Integer { view, .. } => {
                let stream = view.file().gram?.stream;
                (stream.hop, stream.drift)
            }
        };
        Some(HostStream {
            hop: hop.into(),
            drift: drift.map(usize::from),
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

    /// Cleans a signal in raw units with a model that denoises, as a device does it; `None` for
    /// other models. `hop` is the file's own unless another is given, and the file's drift filter
    /// runs only if `drift`. `observe` is told of each window: active components, ‖z‖₁, and the
    /// mean square of what was taken off, in raw units.
    ///
    /// # Errors
    ///
    /// [`HostError::Stream`] for a hop beyond the window.
    pub fn clean_signal(
        &mut self,
        values: &[f32],
        hop: Option<usize>,
        noise: Noise,
        drift: bool,
        observe: &mut dyn FnMut(usize, f64, f64),
    ) -> Result<Option<Vec<f32>>, HostError> {
        let Some(stream) = self.stream() else {
            return Ok(None);
        };
        let drift = stream.drift.filter(|_| drift);
        let hop = hop.unwrap_or(stream.hop);
        self.clean(values, Way::Signal { drift }, hop, noise, observe)
    }

    /// Cleans a picture in raw units with a model that denoises, lines of `width` pixels; `None`
    /// for other models. What follows the last whole line is left out.
    ///
    /// Beyond its borders the picture is its own mirror image, so that each pixel lies in as many
    /// patches as any; the patches are a device's. Without a known deviation of the noise it is
    /// the one that [`frame::deviation`] finds, or the file's own where a picture is too small for
    /// one. Where most of a picture is flat the guard gives everything back.
    ///
    /// # Errors
    ///
    /// [`HostError::Stream`] for a hop beyond the patch, or a picture narrower than one.
    pub fn clean_picture(
        &mut self,
        pixels: &[f32],
        width: usize,
        hop: Option<usize>,
        noise: Noise,
        observe: &mut dyn FnMut(usize, f64, f64),
    ) -> Result<Option<Vec<f32>>, HostError> {
        let Some(stream) = self.stream() else {
            return Ok(None);
        };
        let hop = hop.unwrap_or(stream.hop);
        let noise = match noise {
            Noise::Known(_) => noise,
            Noise::Estimated => frame::deviation(pixels, width)
                .map_or(noise, |sigma| Noise::Known(sigma.max(f32::MIN_POSITIVE))),
        };
        if width == 0 || pixels.len() < width {
            return Ok(Some(Vec::new()));
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
        let clean = self.clean(&margins.mirrored(pixels), way, hop, noise, observe)?;
        Ok(clean.map(|clean| margins.inner(&clean)))
    }

    fn clean(
        &mut self,
        values: &[f32],
        way: Way,
        hop: usize,
        noise: Noise,
        observe: &mut dyn FnMut(usize, f64, f64),
    ) -> Result<Option<Vec<f32>>, HostError> {
        let (deviation, shape) = (self.deviation(), self.spec.input_shape);
        let rows = shape.overlap_weights() - usize::from(shape.width);
        match &mut self.engine {
            Engine::Float {
                view, workspace, ..
            } => {
                let Some(gram) = view.file().gram else {
                    return Ok(None);
                };
                let mut cleaner = FloatCleaner {
                    view: *view,
                    code: &mut self.code,
                    workspace,
                    guard: gram.stream.guard,
                    sigma: match noise {
                        Noise::Known(sigma) => sigma,
                        Noise::Estimated => gram.noise_level * deviation,
                    },
                    level: (noise == Noise::Estimated).then(NoiseLevel::new),
                    observe: &mut |seen| observe(seen.active, seen.code_l1, seen.square),
                };
                let weights = gram.stream.weights;
                along(values, way, weights, rows, hop, &mut cleaner).map(Some)
            }
            Engine::Integer {
                view,
                code,
                workspace,
                units,
                levels,
            } => {
                let Some(gram) = view.file().gram else {
                    return Ok(None);
                };
                let units = *units;
                let sixteenths =
                    |sigma: f32| (f64::from(sigma) / units.input * 16.0).round() as u16;
                let mut cleaner = IntegerCleaner {
                    view: *view,
                    code,
                    workspace,
                    guard: gram.stream.guard,
                    sigma: match noise {
                        Noise::Known(sigma) => sixteenths(sigma).max(1),
                        Noise::Estimated => gram.noise_level,
                    },
                    level: (noise == Noise::Estimated).then(NoiseLevel::new),
                    observe: &mut |seen| {
                        let square = seen.square * units.input * units.input;
                        observe(seen.active, seen.code_l1 * units.code, square);
                    },
                };
                to_levels(values, 0.0, units.input, levels);
                let weights = gram.stream.weights;
                let clean = along(levels, way, weights, rows, hop, &mut cleaner)?;
                let raw = |level: i16| (f64::from(level) * units.input) as f32;
                Ok(Some(clean.into_iter().map(raw).collect()))
            }
        }
    }

    /// Tells a model that denoises the deviation of the noise, in raw units (with local contrast,
    /// in normalised ones), above 0; to others it means nothing.
    pub fn set_noise_level(&mut self, sigma: f32) {
        match &mut self.engine {
            Engine::Float { view, .. } => *view = view.at_noise_level(sigma),
            Engine::Integer { view, units, .. } => {
                // The conversion saturates.
                let sixteenths = (f64::from(sigma) / units.input * 16.0).round() as u16;
                *view = view.at_noise_level(sixteenths.max(1));
            }
        }
    }
}

/// Cleans values along the way that they take; `rows` of the weights are for the rows of a patch.
fn along<T>(
    values: &[T],
    way: Way,
    weights: &[T::Sum],
    rows: usize,
    hop: usize,
    cleaner: &mut dyn Cleaner<T>,
) -> Result<Vec<T>, HostError>
where
    T: Sample + Default,
    T::Sum: Default,
{
    match way {
        Way::Signal { drift } => {
            let cut = Cut {
                weights,
                hop,
                drift,
            };
            Ok(clean(values, &cut, cleaner)?)
        }
        Way::Picture { width } => {
            let (down, across) = weights.split_at(rows);
            let cut = FrameCut {
                weights: [down, across],
                hop,
                width,
            };
            clean_frame(values, &cut, cleaner)
        }
    }
}
