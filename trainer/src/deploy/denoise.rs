//! Denoising of whole signals and images: overlapping patches through a model file, averaged where
//! they overlap.

use sparsecode_formats::{Contrast, ModelSpec};
use sparsecode_runtime::{CodeBuffer, SparseCodeBuf};

use crate::data::local_contrast;
use crate::deploy::{HostError, HostModel, HostRefine};

/// How values in raw units belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A 1-D signal: windows of the model's length every `hop` samples, the last one flush with the
    /// end.
    Signal {
        /// Samples from one window's start to the next one's.
        hop: usize,
    },
    /// A grey image, row by row: patches every `hop` pixels both ways, the last ones flush with the
    /// borders.
    Image {
        /// Pixels in a row.
        width: usize,
        /// Pixels from one patch to the next.
        hop: usize,
    },
    /// Samples of the model's size, one after the other.
    Samples,
}

impl Layout {
    /// Checks that a model takes values of this layout.
    ///
    /// # Errors
    ///
    /// [`DenoiseError::NotWindows`] or [`DenoiseError::NotPatches`].
    pub fn check(self, spec: &ModelSpec<'_>) -> Result<(), DenoiseError> {
        match self {
            Self::Signal { .. } if !spec.input_shape.is_window() => Err(DenoiseError::NotWindows {
                shape: spec.input_shape.to_string(),
            }),
            Self::Image { .. } if spec.input_shape.is_window() => Err(DenoiseError::NotPatches {
                length: spec.input_dim(),
            }),
            _ => Ok(()),
        }
    }
}

/// What was found in one window of a signal, patch of an image or sample, on the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Where it starts: the sample of a signal or the column of an image.
    pub start: usize,
    /// The row of an image, or the number of a sample; 0 for a signal.
    pub row: usize,
    /// Root mean square of what the reconstruction leaves of the input, in raw units.
    pub residual_rms: f64,
    /// (1/d)‖y − ŷ‖² + λ‖z‖₁ in preprocessed units, with λ as trained.
    pub energy: f64,
    /// ‖z‖₁.
    pub code_l1: f64,
    /// Code components that are not 0.
    pub active: usize,
}

/// Denoises values in raw units: each output value is the mean of the windows that hold it, as a
/// device has them. `observe` is told of each window and its code.
///
/// A model with local contrast normalisation sees an image normalised by its own local means and
/// deviations, which are put back afterwards; noise raises those deviations a little, so that such
/// a model denoises less than its figures on patches say.
///
/// # Errors
///
/// If the model takes no windows, or no patches; if there is less than one; if samples do not have
/// the model's size, or lack the surroundings that local contrast normalisation needs.
pub fn denoise(
    host: &mut HostModel<'_>,
    values: &[f32],
    layout: Layout,
    refine: Option<&HostRefine>,
    observe: &mut dyn FnMut(&Window, &SparseCodeBuf),
) -> Result<Vec<f32>, DenoiseError> {
    let spec = *host.spec();
    let preprocessing = spec.preprocessing;
    let local = match preprocessing.contrast {
        Contrast::Local {
            window,
            sigma,
            floor,
        } => Some((usize::from(window), sigma, floor)),
        _ => None,
    };
    layout.check(&spec)?;
    let (width, hop) = match layout {
        Layout::Samples if local.is_some() => return Err(DenoiseError::NoSurroundings),
        Layout::Samples => return denoise_samples(host, values, refine, observe),
        Layout::Signal { hop } => (values.len(), hop),
        Layout::Image { width, hop } => (width, hop),
    };
    let grid = Grid {
        width,
        height: values.len() / width.max(1),
        hop,
    };
    let Some((window, sigma, floor)) = local else {
        let mut patches = |patch: &Patch<'_>, host: &HostModel<'_>| {
            let window = patch.window(host, |_| 1.0);
            observe(&window, host.code());
        };
        return grid.denoise(host, values, refine, &mut patches);
    };
    let (mean, deviation) = (preprocessing.mean, preprocessing.deviation);
    let scaled: Vec<f32> = values.iter().map(|x| (x - mean) / deviation).collect();
    let contrast = local_contrast(&scaled, width, grid.height, window, sigma, floor);
    // The runtime leaves patches of such models as they are.
    let mut patches = |patch: &Patch<'_>, host: &HostModel<'_>| {
        let unit = |index: usize| {
            let (y, x) = (index / patch.width, index % patch.width);
            deviation * contrast.deviation[(patch.top + y) * width + patch.left + x]
        };
        let window = patch.window(host, unit);
        observe(&window, host.code());
    };
    let clean = grid.denoise(host, &contrast.normalised, refine, &mut patches)?;
    let restored = clean
        .iter()
        .zip(contrast.deviation.iter().zip(&contrast.mean));
    Ok(restored
        .map(|(y, (local_deviation, local_mean))| {
            (y * local_deviation + local_mean) * deviation + mean
        })
        .collect())
}

fn denoise_samples(
    host: &mut HostModel<'_>,
    values: &[f32],
    refine: Option<&HostRefine>,
    observe: &mut dyn FnMut(&Window, &SparseCodeBuf),
) -> Result<Vec<f32>, DenoiseError> {
    let mut clean = values.to_vec();
    let width = host.spec().input_dim();
    for (row, sample) in clean.chunks_mut(width).enumerate() {
        let input = sample.to_vec();
        host.denoise(sample, refine)?;
        let patch = Patch {
            top: row,
            left: 0,
            width,
            input: &input,
            output: sample,
        };
        observe(&patch.window(host, |_| 1.0), host.code());
    }
    Ok(clean)
}

/// A patch before and after, in the units that the model was given.
struct Patch<'a> {
    top: usize,
    left: usize,
    width: usize,
    input: &'a [f32],
    output: &'a [f32],
}

impl Patch<'_> {
    /// Measures it, with the code that `host` has just found; `unit` is what each number's unit is
    /// in raw units.
    fn window(&self, host: &HostModel<'_>, unit: impl Fn(usize) -> f32) -> Window {
        let spec = host.spec();
        let count = self.input.len().max(1) as f64;
        let errors = || {
            self.input
                .iter()
                .zip(self.output)
                .map(|(y, x)| f64::from(y - x))
        };
        let given: f64 = errors().map(|error| error * error).sum::<f64>() / count;
        let raw = errors()
            .enumerate()
            .map(|(index, error)| (error * f64::from(unit(index))).powi(2));
        let deviation = f64::from(spec.preprocessing.deviation);
        let scale = match spec.preprocessing.contrast {
            Contrast::None | Contrast::RemoveMean => deviation,
            Contrast::Local { .. } => 1.0,
            Contrast::Standardize { floor } => {
                let mean = self.input.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
                let squares = self.input.iter().map(|x| (f64::from(*x) - mean).powi(2));
                (squares.sum::<f64>() / count)
                    .sqrt()
                    .max(f64::from(floor) * deviation)
            }
        };
        let code = host.code();
        let code_l1: f64 = code.values().iter().map(|z| f64::from(z.abs())).sum();
        Window {
            start: self.left,
            row: self.top,
            residual_rms: (raw.sum::<f64>() / count).sqrt(),
            energy: given / (scale * scale) + f64::from(spec.lambda) * code_l1,
            code_l1,
            active: code.active(),
        }
    }
}

/// Why something cannot be denoised by a model.
#[derive(Debug, thiserror::Error)]
pub enum DenoiseError {
    /// A model of image patches was given a signal.
    #[error("the model takes patches of {shape}, not windows of a signal")]
    NotWindows {
        /// The model's input shape.
        shape: String,
    },
    /// A model of windows was given an image.
    #[error("the model takes windows of {length} samples, not patches of an image")]
    NotPatches {
        /// The model's window.
        length: usize,
    },
    /// Less than one patch.
    #[error("the input is {width}x{height}, smaller than the model's {shape}")]
    TooSmall {
        /// Columns of the input.
        width: usize,
        /// Rows of the input.
        height: usize,
        /// The model's input shape.
        shape: String,
    },
    /// Samples of a model with local contrast normalisation.
    #[error(
        "this model normalises local contrast, which needs a patch's surroundings; give a whole image"
    )]
    NoSurroundings,
    /// The model file.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Where patches of an image lie; a signal is an image of one row.
struct Grid {
    width: usize,
    height: usize,
    hop: usize,
}

impl Grid {
    fn denoise(
        &self,
        host: &mut HostModel<'_>,
        image: &[f32],
        refine: Option<&HostRefine>,
        observe: &mut dyn FnMut(&Patch<'_>, &HostModel<'_>),
    ) -> Result<Vec<f32>, DenoiseError> {
        let &Self { width, height, hop } = self;
        let shape = host.spec().input_shape;
        let (patch_height, patch_width) = (usize::from(shape.height), usize::from(shape.width));
        if width < patch_width || height < patch_height {
            return Err(DenoiseError::TooSmall {
                width,
                height,
                shape: shape.to_string(),
            });
        }
        let mut sums = vec![0.0f32; image.len()];
        let mut counts = vec![0u32; image.len()];
        let mut input = vec![0.0f32; patch_height * patch_width];
        let mut patch = input.clone();
        for top in positions(height, patch_height, hop) {
            for left in positions(width, patch_width, hop) {
                let row = |y: usize| (top + y) * width + left;
                for (y, line) in input.chunks_exact_mut(patch_width).enumerate() {
                    line.copy_from_slice(&image[row(y)..row(y) + patch_width]);
                }
                patch.copy_from_slice(&input);
                host.denoise(&mut patch, refine)?;
                let seen = Patch {
                    top,
                    left,
                    width: patch_width,
                    input: &input,
                    output: &patch,
                };
                observe(&seen, host);
                for (y, line) in patch.chunks_exact(patch_width).enumerate() {
                    let area = row(y)..row(y) + patch_width;
                    sums[area.clone()]
                        .iter_mut()
                        .zip(line)
                        .for_each(|(sum, value)| *sum += value);
                    counts[area].iter_mut().for_each(|count| *count += 1);
                }
            }
        }
        Ok(sums
            .iter()
            .zip(&counts)
            .map(|(sum, &count)| sum / count as f32)
            .collect())
    }
}

/// Where patches start along one axis: every `hop`, and flush with the end. `hop` is cut to the
/// patch so that no sample is left out.
fn positions(length: usize, patch: usize, hop: usize) -> impl Iterator<Item = usize> {
    let last = length - patch;
    (0..last)
        .step_by(hop.clamp(1, patch))
        .chain(std::iter::once(last))
}

#[cfg(test)]
mod tests {
    use sparsecode_formats::{
        AlignedBytes, CodeSign, InputFacts, InputShape, OwnedDecoder, OwnedModel, OwnedProvenance,
        OwnedSpec, Preprocessing, Variant, WeightType, write,
    };

    use super::*;

    const LAMBDA: f32 = 0.02;

    /// A model of four numbers whose atoms are the unit vectors and their opposites.
    fn model(input_shape: InputShape, contrast: Contrast) -> AlignedBytes {
        let spec = OwnedSpec {
            variant: Variant::Do,
            input_shape,
            code_dim: 8,
            hidden_dim: 0,
            lista_iterations: None,
            codes: CodeSign::NonNegative,
            lambda: LAMBDA,
            preprocessing: Preprocessing {
                mean: 1.0,
                deviation: 2.0,
                contrast,
            },
            peak: 10.0,
            input: InputFacts::default(),
            provenance: OwnedProvenance::default(),
        };
        let dictionary = (0..32)
            .map(|i| f32::from(i8::from(i / 4 == i % 4) - i8::from(i / 4 == i % 4 + 4)))
            .collect();
        let decoder = OwnedDecoder::Linear { dictionary };
        let model = OwnedModel {
            spec,
            encoder: None,
            decoder,
        };
        AlignedBytes::from_slice(&write(&model, WeightType::F32).unwrap())
    }

    /// With these atoms the code of `y` is known: `|z| = max(|y| − λd/2, 0)`. Residual, energy and
    /// active components are worked out of it.
    #[test]
    fn windows_are_measured_in_the_units_that_they_state() {
        let values: Vec<f32> = (0..11).map(|i| 1.0 + ((i * 5) % 7) as f32).collect();
        let threshold = f64::from(LAMBDA) * 4.0 / 2.0;
        for contrast in [
            Contrast::None,
            Contrast::RemoveMean,
            Contrast::Standardize { floor: 0.1 },
        ] {
            let bytes = model(InputShape::window(4), contrast);
            let mut host = HostModel::new(&bytes, "model").unwrap();
            let mut refine = host.refinement(2000);
            refine.settings.tolerance = 0.0;
            let mut windows = Vec::new();
            let layout = Layout::Signal { hop: 3 };
            let clean = denoise(
                &mut host,
                &values,
                layout,
                Some(&refine),
                &mut |window, code| {
                    assert_eq!(code.active(), window.active);
                    windows.push(*window);
                },
            );
            assert_eq!(clean.unwrap().len(), 11);
            let starts: Vec<usize> = windows.iter().map(|window| window.start).collect();
            assert_eq!(starts, [0, 3, 6, 7]);
            for window in windows {
                let raw = &values[window.start..window.start + 4];
                let mut y: Vec<f64> = raw.iter().map(|x| (f64::from(*x) - 1.0) / 2.0).collect();
                let mut scale = 2.0;
                if contrast != Contrast::None {
                    let mean = y.iter().sum::<f64>() / 4.0;
                    y.iter_mut().for_each(|y| *y -= mean);
                }
                if let Contrast::Standardize { .. } = contrast {
                    let deviation = (y.iter().map(|y| y * y).sum::<f64>() / 4.0).sqrt();
                    y.iter_mut().for_each(|y| *y /= deviation);
                    scale *= deviation;
                }
                let code: Vec<f64> = y.iter().map(|y| (y.abs() - threshold).max(0.0)).collect();
                let errors = y.iter().zip(&code).map(|(y, z)| y.abs() - z);
                let mse = errors.map(|error| error * error).sum::<f64>() / 4.0;
                let energy = mse + f64::from(LAMBDA) * code.iter().sum::<f64>();
                let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-4, "{contrast} {a} {b}");
                close(window.residual_rms, scale * mse.sqrt());
                close(window.energy, energy);
                close(window.code_l1, code.iter().sum());
                assert_eq!(window.active, code.iter().filter(|z| **z > 0.0).count());
            }
        }
    }

    /// Local contrast: residuals come out in raw units, and agree with what is left of the picture.
    #[test]
    fn local_contrast_is_measured_in_raw_units() {
        let shape = InputShape {
            height: 2,
            width: 2,
        };
        let contrast = Contrast::Local {
            window: 3,
            sigma: 1.0,
            floor: 0.01,
        };
        let bytes = model(shape, contrast);
        let mut host = HostModel::new(&bytes, "model").unwrap();
        let picture: Vec<f32> = (0..48).map(|i| ((i * 31) % 17) as f32).collect();
        let mut squares = 0.0;
        // Patches that do not overlap: together they are the picture.
        let layout = Layout::Image { width: 8, hop: 2 };
        let clean = denoise(&mut host, &picture, layout, None, &mut |window, _| {
            squares += 4.0 * window.residual_rms.powi(2);
        });
        let errors = clean.unwrap().into_iter().zip(&picture);
        let left: f64 = errors.map(|(a, b)| f64::from(a - b).powi(2)).sum();
        assert!((squares - left).abs() < 1e-3 * left, "{squares} {left}");
        let rows = denoise(&mut host, &picture, Layout::Samples, None, &mut |_, _| {});
        assert!(matches!(rows, Err(DenoiseError::NoSurroundings)));
    }

    #[test]
    fn positions_cover_everything_once_at_least() {
        for (length, patch, hop) in [
            (10, 4, 2),
            (10, 4, 3),
            (10, 4, 4),
            (10, 4, 9),
            (4, 4, 1),
            (5, 4, 4),
            (64, 8, 3),
        ] {
            let mut counts = vec![0; length];
            for start in positions(length, patch, hop) {
                counts[start..start + patch]
                    .iter_mut()
                    .for_each(|count| *count += 1);
            }
            assert!(
                counts.iter().all(|&count| count > 0),
                "{length} {patch} {hop}: {counts:?}"
            );
        }
        assert_eq!(positions(8, 4, 2).collect::<Vec<_>>(), [0, 2, 4]);
    }
}
