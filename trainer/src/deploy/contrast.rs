//! Local contrast normalisation of whole images, by the code that normalises a device's lines.

use sparsecode_runtime::stream::{ContrastCursor, ContrastView, LocalContrastView, StreamError};

/// An image after local contrast normalisation. Row-major, as large as the image.
pub(super) struct Normalised {
    /// The normalised image.
    pub(super) values: Vec<f32>,
    /// The local mean of each pixel, in the unit of the model's data.
    pub(super) mean: Vec<f32>,
    /// The local deviation of each pixel, not below the floor; same unit.
    pub(super) deviation: Vec<f32>,
}

/// Normalises the whole rows of an image in raw units, `width` pixels wide. See
/// [`ContrastStream`](sparsecode_runtime::stream::ContrastStream) for the definition and the cost.
///
/// # Errors
///
/// [`StreamError::Width`] if `width` is 0.
pub(super) fn normalise(
    settings: LocalContrastView<'_>,
    raw: &[f32],
    width: usize,
) -> Result<Normalised, StreamError> {
    let size = width * settings.taps().len();
    let (mut samples, mut centred) = (vec![0.0; size], vec![0.0; size]);
    let mut cursor = ContrastCursor::new();
    let mut stream = ContrastView::new(settings, width, &mut samples, &mut centred, &mut cursor)?;
    let [mut line, mut mean, mut deviation] = [(); 3].map(|()| vec![0.0; width]);
    let mut image = Normalised {
        values: Vec::with_capacity(raw.len()),
        mean: Vec::with_capacity(raw.len()),
        deviation: Vec::with_capacity(raw.len()),
    };
    for raw in raw.chunks_exact(width) {
        line.copy_from_slice(raw);
        settings.scale(&mut line);
        if stream.push(&mut line, &mut mean, &mut deviation)? {
            image.extend(&line, &mean, &deviation);
        }
    }
    stream.finish(
        &mut line,
        &mut mean,
        &mut deviation,
        |line, mean, deviation| image.extend(line, mean, deviation),
    )?;
    Ok(image)
}

impl Normalised {
    fn extend(&mut self, values: &[f32], mean: &[f32], deviation: &[f32]) {
        self.values.extend_from_slice(values);
        self.mean.extend_from_slice(mean);
        self.deviation.extend_from_slice(deviation);
    }
}

#[cfg(test)]
mod tests {
    use sparsecode_formats::{Contrast, Preprocessing};

    use super::*;

    #[test]
    fn images_smaller_than_the_window_are_normalised_too() {
        let contrast = Contrast::Local {
            window: 13,
            sigma: 5.0,
            floor: 0.1,
        };
        let preprocessing = Preprocessing {
            contrast,
            ..Preprocessing::IDENTITY
        };
        let mut taps = [0.0; 13];
        let settings = LocalContrastView::new(&preprocessing, &mut taps).unwrap();
        for (width, height) in [(1, 1), (1, 5), (3, 2), (4, 0)] {
            let raw: Vec<f32> = (0..width * height).map(|v| v as f32).collect();
            let mut image = normalise(settings, &raw, width).unwrap();
            assert_eq!(image.values.len(), raw.len());
            assert!(image.deviation.iter().all(|v| *v >= 0.1));
            settings.restore(&mut image.values, &image.mean, &image.deviation);
            for (found, raw) in image.values.iter().zip(raw) {
                assert!((found - raw).abs() < 1e-5, "{found} {raw}");
            }
        }
        let refused = normalise(settings, &[], 0).err();
        assert_eq!(refused, Some(StreamError::Width { found: 0, least: 1 }));
    }
}
