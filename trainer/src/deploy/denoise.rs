//! Denoising of whole signals and images by a model file: the device's streams, which average
//! overlapping windows and patches, in memory of the values' size.

use sparsecode_formats::{Contrast, ModelSpec};
use sparsecode_runtime::stream::{
    Cursor, FrameView, LocalContrastView, SignalView, StreamError, Windows,
};
use sparsecode_runtime::{CodeBuffer, SparseCodeBuf};

use crate::deploy::contrast::normalise;
use crate::deploy::{HostError, HostModel, HostRefine};

/// How values in raw units belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A 1-D signal: windows of the model's length every `hop` samples, the last one flush with the
    /// end. A hop of 0 counts as 1, one above the window's length as that length.
    Signal {
        /// Samples from one window's start to the next one's.
        hop: usize,
    },
    /// A grey image, row by row: patches every `hop` pixels both ways, the last ones flush with the
    /// borders. A hop of 0 counts as 1, one above a side of the patch as that side. What follows
    /// the last whole row is left out.
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

/// Denoises values in raw units: each output value is the mean of the windows that hold it, by the
/// code of [`SignalStream`](sparsecode_runtime::stream::SignalStream) and
/// [`FrameStream`](sparsecode_runtime::stream::FrameStream). `observe` is told of each window and
/// its code.
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
    layout.check(&spec)?;
    let (width, hop) = match layout {
        Layout::Samples => match preprocessing.contrast {
            Contrast::Local { .. } => return Err(DenoiseError::NoSurroundings),
            _ => return denoise_samples(host, values, refine, observe),
        },
        Layout::Signal { hop } => (values.len(), hop),
        Layout::Image { width, hop } => (width, hop),
    };
    let shape = spec.input_shape;
    let grid = Grid {
        width,
        height: values.len() / width.max(1),
        rows: shape.height.into(),
        columns: shape.width.into(),
        hop,
    };
    if width < grid.columns || grid.height < grid.rows {
        return Err(DenoiseError::TooSmall {
            width,
            height: grid.height,
            shape: shape.to_string(),
        });
    }
    let Contrast::Local { window, .. } = preprocessing.contrast else {
        return grid.denoise(host, values, refine, &mut |patch, host| {
            let window = patch.window(host, |_| 1.0);
            observe(&window, host.code());
        });
    };
    let mut taps = vec![0.0; usize::from(window)];
    let settings =
        LocalContrastView::new(&preprocessing, &mut taps).map_err(HostError::Contrast)?;
    let image = normalise(settings, values, width).map_err(HostError::Stream)?;
    // The runtime leaves patches of such models as they are.
    let mut clean = grid.denoise(host, &image.values, refine, &mut |patch, host| {
        let unit = |index: usize| {
            let (y, x) = (index / patch.width, index % patch.width);
            let place = (patch.top + y) * width + patch.left + x;
            preprocessing.deviation * image.deviation[place]
        };
        let window = patch.window(host, unit);
        observe(&window, host.code());
    })?;
    settings.restore(&mut clean, &image.mean, &image.deviation);
    Ok(clean)
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

/// An image and the patches that cover it; a signal is an image of one row, and so is its window.
struct Grid {
    width: usize,
    height: usize,
    rows: usize,
    columns: usize,
    hop: usize,
}

impl Grid {
    /// Sends whole rows of values through the model; `observe` is told of each patch.
    fn denoise(
        &self,
        host: &mut HostModel<'_>,
        values: &[f32],
        refine: Option<&HostRefine>,
        observe: &mut dyn FnMut(&Patch<'_>, &HostModel<'_>),
    ) -> Result<Vec<f32>, DenoiseError> {
        let columns = self.columns;
        let (down, across) = (self.hop.clamp(1, self.rows), self.hop.clamp(1, columns));
        let (last_top, last_left) = (self.height - self.rows, self.width - columns);
        // Patches come row by row, the last ones flush with the borders.
        let in_row = last_left.div_ceil(across) + 1;
        let (mut count, mut failure) = (0, None);
        let mut input = Vec::new();
        let weights = vec![1.0; columns];
        let mut patch = |patch: &mut [f32]| {
            input.clear();
            input.extend_from_slice(patch);
            if failure.is_some() {
                return;
            }
            if let Err(error) = host.denoise(patch, refine) {
                failure = Some(error);
                return;
            }
            let seen = Patch {
                top: (count / in_row * down).min(last_top),
                left: (count % in_row * across).min(last_left),
                width: columns,
                input: &input,
                output: patch,
            };
            observe(&seen, host);
            count += 1;
        };
        let clean = match self.rows {
            1 => self.signal(values, &weights, across, &mut patch),
            _ => self.image(values, [down, across], &mut patch),
        };
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(clean.map_err(HostError::Stream)?),
        }
    }

    fn signal(
        &self,
        values: &[f32],
        weights: &[f32],
        hop: usize,
        denoise: &mut dyn FnMut(&mut [f32]),
    ) -> Result<Vec<f32>, StreamError> {
        let [mut samples, mut sums, mut window] = [(); 3].map(|()| vec![0.0; self.columns]);
        let mut cursor = Cursor::new();
        let windows = Windows::new(weights, hop)?;
        let mut stream = SignalView::new(windows, &mut samples, &mut sums, &mut cursor)?;
        let mut clean = values.to_vec();
        let given = stream
            .push_block(&mut clean, &mut window, &mut *denoise)?
            .len();
        clean.truncate(given);
        clean.extend_from_slice(stream.finish(&mut window, denoise)?);
        Ok(clean)
    }

    fn image(
        &self,
        values: &[f32],
        [down, across]: [usize; 2],
        denoise: &mut dyn FnMut(&mut [f32]),
    ) -> Result<Vec<f32>, StreamError> {
        let &Self {
            width,
            rows,
            columns,
            ..
        } = self;
        let weights = vec![1.0_f32; rows.max(columns)];
        let (down, across) = (
            Windows::new(&weights[..rows], down)?,
            Windows::new(&weights[..columns], across)?,
        );
        let [mut lines, mut sums] = [(); 2].map(|()| vec![0.0; width * rows]);
        let mut cursor = Cursor::new();
        let mut stream = FrameView::new(width, down, across, &mut lines, &mut sums, &mut cursor)?;
        let (mut line, mut patch) = (vec![0.0; width], vec![0.0; rows * columns]);
        let mut clean = Vec::with_capacity(values.len());
        for values in values.chunks_exact(width) {
            line.copy_from_slice(values);
            if stream.push(&mut line, &mut patch, &mut *denoise)? {
                clean.extend_from_slice(&line);
            }
        }
        stream.finish(&mut line, &mut patch, denoise, |line| {
            clean.extend_from_slice(line);
        })?;
        Ok(clean)
    }
}

#[cfg(test)]
mod tests {
    use sparsecode_formats::{
        AlignedBytes, CodeSign, InputFacts, InputShape, OwnedDecoder, OwnedModel, OwnedProvenance,
        OwnedSpec, Preprocessing, Variant, WeightType, write,
    };

    use super::*;
    use crate::data::{contrast_reference, dead_leaves_image};

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
            gram: None,
            variational: None,
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

    /// Where windows start along one axis, by definition: every hop, cut to the window so that no
    /// element is left out, and flush with the end.
    fn starts(length: usize, side: usize, hop: usize) -> Vec<usize> {
        let last = length - side;
        let regular = (0..last).step_by(hop.clamp(1, side));
        regular.chain(std::iter::once(last)).collect()
    }

    /// A whole image with local contrast normalisation beside its definition in `f64`.
    #[test]
    fn images_with_local_contrast_are_denoised_as_the_formula_says() {
        const SIDE: usize = 21;
        let (window, sigma, floor) = (7, 2.5_f32, 0.02_f32);
        let contrast = Contrast::Local {
            window: 7,
            sigma,
            floor,
        };
        let shape = InputShape {
            height: 2,
            width: 2,
        };
        let bytes = model(shape, contrast);
        let mut host = HostModel::new(&bytes, "model").unwrap();
        let refine = host.refinement(20);
        let picture: Vec<f32> = dead_leaves_image(SIDE, SIDE, 5)
            .iter()
            .map(|x| 1.0 + 2.0 * x)
            .collect();
        // Continued by reflection, as far as the second Gaussian after the first one sees.
        let margin = window - 1;
        let wide = SIDE + 2 * margin;
        let reflected = |place: usize| {
            let distance = place.abs_diff(margin);
            distance.min(2 * (SIDE - 1) - distance)
        };
        let padded: Vec<f64> = (0..wide * wide)
            .map(|i| picture[reflected(i / wide) * SIDE + reflected(i % wide)])
            .map(|x| (f64::from(x) - 1.0) / 2.0)
            .collect();
        let [centred, mean, deviation] =
            contrast_reference(&padded, wide, window, f64::from(sigma));
        let deviation: Vec<f64> = deviation.iter().map(|d| d.max(f64::from(floor))).collect();
        for hop in 1..=2 {
            let mut sums = vec![(0.0, 0.0); SIDE * SIDE];
            let tops = starts(SIDE, 2, hop);
            for (top, left) in tops
                .iter()
                .flat_map(|top| tops.iter().map(move |left| (top, left)))
            {
                let places = [0, 1, SIDE, SIDE + 1].map(|i| top * SIDE + left + i);
                let mut patch = places.map(|i| (centred[i] / deviation[i]) as f32);
                host.denoise(&mut patch, Some(&refine)).unwrap();
                for (place, value) in places.into_iter().zip(patch) {
                    sums[place].0 += f64::from(value);
                    sums[place].1 += 1.0;
                }
            }
            let layout = Layout::Image { width: SIDE, hop };
            let clean = denoise(&mut host, &picture, layout, Some(&refine), &mut |_, _| {});
            let mut largest = 0.0_f64;
            for (place, found) in clean.unwrap().into_iter().enumerate() {
                let normalised = sums[place].0 / sums[place].1;
                let expected = (normalised * deviation[place] + mean[place]) * 2.0 + 1.0;
                let error = (f64::from(found) - expected).abs();
                assert!(error < 2e-6, "{place}: {found} {expected}");
                largest = largest.max((expected - f64::from(picture[place])).abs());
            }
            assert!(largest > 1e-3, "nothing was denoised: {largest}");
        }
    }

    /// Each value is the mean of the windows that hold it, in the order in which they start, to the
    /// bit; the windows are told of in this order.
    fn check_windows(host: &mut HostModel<'_>, layout: Layout, height: usize, values: &[f32]) {
        let shape = host.spec().input_shape;
        let (rows, columns) = (usize::from(shape.height), usize::from(shape.width));
        let (width, hop) = match layout {
            Layout::Signal { hop } => (values.len(), hop),
            Layout::Image { width, hop } => (width, hop),
            Layout::Samples => unreachable!(),
        };
        let (mut sums, mut counts) = (vec![0.0_f32; values.len()], vec![0_u32; values.len()]);
        let mut expected = Vec::new();
        for top in starts(height, rows, hop) {
            for left in starts(width, columns, hop) {
                let place = |i: usize| (top + i / columns) * width + left + i % columns;
                let mut patch: Vec<f32> = (0..rows * columns).map(|i| values[place(i)]).collect();
                host.denoise(&mut patch, None).unwrap();
                let l1: f64 = host
                    .code()
                    .values()
                    .iter()
                    .map(|z| f64::from(z.abs()))
                    .sum();
                expected.push((top, left, host.code().active(), l1));
                for (i, value) in patch.iter().enumerate() {
                    sums[place(i)] += value;
                    counts[place(i)] += 1;
                }
            }
        }
        let means = sums.iter().zip(&counts).map(|(sum, n)| sum / *n as f32);
        let mut found = Vec::new();
        let clean = denoise(host, values, layout, None, &mut |window, _| {
            found.push((window.row, window.start, window.active, window.code_l1));
        });
        let bits = |values: Vec<f32>| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(
            bits(clean.unwrap()),
            bits(means.collect()),
            "{layout:?} {height}"
        );
        assert_eq!(found, expected, "{layout:?} {height}");
    }

    #[test]
    fn values_are_the_means_of_their_windows() {
        let values: Vec<f32> = (0..140).map(|i| ((i * 37) % 101) as f32 * 0.137).collect();
        let shape = |height, width| InputShape { height, width };
        let contrast = Contrast::RemoveMean;
        let bytes = model(shape(1, 4), contrast);
        let mut host = HostModel::new(&bytes, "model").unwrap();
        for hop in 0..7 {
            for length in 4..18 {
                check_windows(&mut host, Layout::Signal { hop }, 1, &values[..length]);
            }
        }
        for shape in [shape(2, 2), shape(4, 1)] {
            let bytes = model(shape, contrast);
            let mut host = HostModel::new(&bytes, "model").unwrap();
            for (hop, width) in (0..7).flat_map(|hop| (2..8).map(move |width| (hop, width))) {
                for height in 4..11 {
                    let layout = Layout::Image { width, hop };
                    check_windows(&mut host, layout, height, &values[..width * height]);
                }
            }
        }
    }

    #[test]
    fn less_than_a_window_is_refused() {
        let refused = |shape: InputShape, contrast, layout, count: usize| {
            let bytes = model(shape, contrast);
            let mut host = HostModel::new(&bytes, "model").unwrap();
            let values = vec![1.0; count];
            let error = denoise(&mut host, &values, layout, None, &mut |_, _| {
                panic!("nothing to denoise")
            });
            error.unwrap_err().to_string()
        };
        let local = Contrast::Local {
            window: 3,
            sigma: 1.0,
            floor: 0.01,
        };
        let tall = InputShape {
            height: 4,
            width: 1,
        };
        let (signal, image) = (
            Layout::Signal { hop: 1 },
            Layout::Image { width: 5, hop: 1 },
        );
        for contrast in [Contrast::None, local] {
            let say = |width, height, shape| {
                format!("the input is {width}x{height}, smaller than the model's {shape}")
            };
            assert_eq!(
                refused(InputShape::window(4), contrast, signal, 3),
                say(3, 1, "4")
            );
            assert_eq!(
                refused(InputShape::window(4), contrast, signal, 0),
                say(0, 0, "4")
            );
            assert_eq!(refused(tall, contrast, image, 15), say(5, 3, "4x1"));
        }
    }
}
