//! Denoising of whole signals and images: overlapping patches through a model file, averaged where they overlap.

use sparsecode_formats::Contrast;

use crate::data::local_contrast;
use crate::export::{HostError, HostModel, HostRefine};

/// Denoises a signal in raw units: windows of the model's length every `hop` samples, the last one flush with the end; each output
/// sample is the mean of the windows that hold it.
///
/// # Errors
///
/// If the model takes no windows, or the signal is shorter than one.
pub fn denoise_signal(
    host: &mut HostModel<'_>,
    signal: &[f32],
    hop: usize,
    refine: Option<&HostRefine>,
) -> Result<Vec<f32>, DenoiseError> {
    let shape = host.spec().input_shape;
    if !shape.is_window() {
        return Err(DenoiseError::NotWindows {
            shape: shape.to_string(),
        });
    }
    denoise_grid(host, signal, signal.len(), 1, hop, refine)
}

/// Denoises a grey image in raw units (row by row, `width × height`): patches every `hop` pixels both ways, the last ones flush with
/// the borders; each output pixel is the mean of the patches that hold it.
///
/// A model with local contrast normalisation sees the image normalised by its own local means and deviations, which are put back
/// afterwards; noise raises those deviations a little, so that such a model denoises less than its figures on patches say.
///
/// # Errors
///
/// If the model takes windows of a signal, or the image is smaller than a patch.
pub fn denoise_image(
    host: &mut HostModel<'_>,
    image: &[f32],
    width: usize,
    height: usize,
    hop: usize,
    refine: Option<&HostRefine>,
) -> Result<Vec<f32>, DenoiseError> {
    let spec = *host.spec();
    if spec.input_shape.is_window() {
        return Err(DenoiseError::NotPatches {
            length: spec.input_dim(),
        });
    }
    let Contrast::Local {
        window,
        sigma,
        floor,
    } = spec.preprocessing.contrast
    else {
        return denoise_grid(host, image, width, height, hop, refine);
    };
    let (mean, deviation) = (spec.preprocessing.mean, spec.preprocessing.deviation);
    let scaled: Vec<f32> = image.iter().map(|x| (x - mean) / deviation).collect();
    let contrast = local_contrast(&scaled, width, height, usize::from(window), sigma, floor);
    // The runtime leaves patches of such models as they are.
    let clean = denoise_grid(host, &contrast.normalised, width, height, hop, refine)?;
    let restored = clean
        .iter()
        .zip(contrast.deviation.iter().zip(&contrast.mean));
    Ok(restored
        .map(|(y, (local_deviation, local_mean))| {
            (y * local_deviation + local_mean) * deviation + mean
        })
        .collect())
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
    /// The model file.
    #[error(transparent)]
    Host(#[from] HostError),
}

fn denoise_grid(
    host: &mut HostModel<'_>,
    image: &[f32],
    width: usize,
    height: usize,
    hop: usize,
    refine: Option<&HostRefine>,
) -> Result<Vec<f32>, DenoiseError> {
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
    let mut patch = vec![0.0f32; patch_height * patch_width];
    for top in positions(height, patch_height, hop) {
        for left in positions(width, patch_width, hop) {
            let row = |y: usize| (top + y) * width + left;
            for (y, line) in patch.chunks_exact_mut(patch_width).enumerate() {
                line.copy_from_slice(&image[row(y)..row(y) + patch_width]);
            }
            host.denoise(&mut patch, refine)?;
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

/// Where patches start along one axis: every `hop`, and flush with the end. `hop` is cut to the patch so that no sample is left out.
fn positions(length: usize, patch: usize, hop: usize) -> impl Iterator<Item = usize> {
    let last = length - patch;
    (0..last)
        .step_by(hop.clamp(1, patch))
        .chain(std::iter::once(last))
}

#[cfg(test)]
mod tests {
    use super::*;

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
