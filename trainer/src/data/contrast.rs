//! Local contrast normalisation: each pixel against its surroundings.

/// A Gaussian of so many taps, normalised to sum 1.
pub(super) fn gaussian(window: usize, sigma: f32) -> Vec<f32> {
    let middle = (window / 2) as f64;
    let sigma = f64::from(sigma);
    let taps: Vec<f64> = (0..window)
        .map(|tap| (-0.5 * ((tap as f64 - middle) / sigma).powi(2)).exp())
        .collect();
    let sum: f64 = taps.iter().sum();
    taps.iter().map(|tap| (tap / sum) as f32).collect()
}

/// Convolves rows, then columns, of a square of `side`² with a symmetric kernel where it fits:
/// `out` is a square of `side − taps + 1`. `scratch` holds at least `side · (side − taps + 1)`.
pub(super) fn blur_valid(
    input: &[f32],
    side: usize,
    kernel: &[f32],
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let kept = side + 1 - kernel.len();
    blur_rectangle(input, side, side, kernel, scratch, &mut out[..kept * kept]);
}

fn blur_rectangle(
    input: &[f32],
    width: usize,
    height: usize,
    kernel: &[f32],
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let columns = width + 1 - kernel.len();
    let rows = height + 1 - kernel.len();
    let weighted_sum = |target: &mut [f32], source: &dyn Fn(usize) -> usize, from: &[f32]| {
        target.fill(0.0);
        for (tap, &weight) in kernel.iter().enumerate() {
            let line = &from[source(tap)..][..columns];
            for (value, input) in target.iter_mut().zip(line) {
                *value += weight * input;
            }
        }
    };
    for row in 0..height {
        let target = &mut scratch[row * columns..][..columns];
        weighted_sum(target, &|tap| row * width + tap, input);
    }
    for row in 0..rows {
        let target = &mut out[row * columns..][..columns];
        weighted_sum(target, &|tap| (row + tap) * columns, scratch);
    }
}

/// An image after local contrast normalisation: `image = normalised · deviation + mean`, pixel by
/// pixel.
#[derive(Clone, Debug)]
pub struct LocalContrast {
    /// The normalised image, row-major.
    pub normalised: Vec<f32>,
    /// The local mean of each pixel.
    pub mean: Vec<f32>,
    /// The local deviation of each pixel, not below the floor.
    pub deviation: Vec<f32>,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// Local contrast normalisation of a whole image: subtract the local mean, divide by `max(local
/// deviation, floor)`, both under a square Gaussian window of `window` pixels with standard
/// deviation `sigma`.
///
/// The image is continued by reflection (`c b | a b c`), so the result has its size; inside, it
/// equals the normalisation of the training patches. `image` is row-major, in affinely normalised
/// units; so is `floor`. Cost: `4 · window` multiply-adds a pixel.
///
/// ```
/// use sparsecode_trainer::data::local_contrast;
///
/// let ramp: Vec<f32> = (0..400).map(|index| (index % 20) as f32).collect();
/// let contrast = local_contrast(&ramp, 20, 20, 5, 2.0, 0.1);
/// let pixel = 7 * 20 + 9;
/// assert!((contrast.mean[pixel] - 9.0).abs() < 1e-5);
/// let restored = contrast.normalised[0] * contrast.deviation[0] + contrast.mean[0];
/// assert!((restored - ramp[0]).abs() < 1e-5);
/// ```
///
/// # Panics
/// If `image` is not `width · height` long, the window is even, or `sigma` or `floor` is not above
/// 0.
pub fn local_contrast(
    image: &[f32],
    width: usize,
    height: usize,
    window: usize,
    sigma: f32,
    floor: f32,
) -> LocalContrast {
    assert_eq!(
        image.len(),
        width * height,
        "not an image of {width}x{height}"
    );
    assert!(window % 2 == 1, "a window of {window} pixels has no centre");
    assert!(sigma > 0.0 && floor > 0.0, "sigma and floor are above 0");
    let kernel = gaussian(window, sigma);
    let mean = blur_reflected(image, width, height, &kernel);
    let mut normalised: Vec<f32> = image.iter().zip(&mean).map(|(x, m)| x - m).collect();
    let squares: Vec<f32> = normalised.iter().map(|v| v * v).collect();
    let mut deviation = blur_reflected(&squares, width, height, &kernel);
    for (value, deviation) in normalised.iter_mut().zip(&mut deviation) {
        *deviation = deviation.sqrt().max(floor);
        *value /= *deviation;
    }
    LocalContrast {
        normalised,
        mean,
        deviation,
        width,
        height,
    }
}

fn blur_reflected(image: &[f32], width: usize, height: usize, kernel: &[f32]) -> Vec<f32> {
    if image.is_empty() {
        return Vec::new();
    }
    let margin = kernel.len() / 2;
    // Position in a line of `length` of what lies at `index − margin` when the line is reflected
    // again and again.
    let reflect = |index: usize, length: usize| {
        let period = 2 * (length - 1);
        if period == 0 {
            return 0;
        }
        let offset = (index + period * margin - margin) % period;
        offset.min(period - offset)
    };
    let (wide, high) = (width + 2 * margin, height + 2 * margin);
    let columns: Vec<usize> = (0..wide).map(|column| reflect(column, width)).collect();
    let mut padded = Vec::with_capacity(wide * high);
    for row in 0..high {
        let line = &image[reflect(row, height) * width..][..width];
        padded.extend(columns.iter().map(|&column| line[column]));
    }
    let mut scratch = vec![0.0; width * high];
    let mut out = vec![0.0; width * height];
    blur_rectangle(&padded, wide, high, kernel, &mut scratch, &mut out);
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::generate::dead_leaves_image;
    use super::*;

    /// Local contrast normalisation as the formula says: f64, one two-dimensional Gaussian, no
    /// padding. Returns (centred, mean, deviation) of the innermost square.
    pub(crate) fn reference(
        pixels: &[f64],
        side: usize,
        window: usize,
        sigma: f64,
    ) -> [Vec<f64>; 3] {
        let half = (window / 2) as f64;
        let weight = |row: usize, column: usize| {
            let (y, x) = (row as f64 - half, column as f64 - half);
            (-(x * x + y * y) / (2.0 * sigma * sigma)).exp()
        };
        let taps = || (0..window).flat_map(|row| (0..window).map(move |column| (row, column)));
        let total: f64 = taps().map(|(row, column)| weight(row, column)).sum();
        let blur = |input: &[f64], side: usize| -> Vec<f64> {
            let kept = side + 1 - window;
            (0..kept * kept)
                .map(|place| {
                    taps()
                        .map(|(row, column)| {
                            let at = (place / kept + row) * side + place % kept + column;
                            weight(row, column) / total * input[at]
                        })
                        .sum()
                })
                .collect()
        };
        let inner = |input: &[f64], side: usize| -> Vec<f64> {
            let kept = side + 1 - window;
            (0..kept * kept)
                .map(|place| input[(place / kept + window / 2) * side + place % kept + window / 2])
                .collect()
        };
        let mean = blur(pixels, side);
        let middle = side + 1 - window;
        let centred: Vec<f64> = inner(pixels, side)
            .iter()
            .zip(&mean)
            .map(|(x, m)| x - m)
            .collect();
        let squares: Vec<f64> = centred.iter().map(|v| v * v).collect();
        let deviation = blur(&squares, middle).iter().map(|v| v.sqrt()).collect();
        [inner(&centred, middle), inner(&mean, middle), deviation]
    }

    #[test]
    fn whole_images_agree_with_patches_and_keep_their_size() {
        let (width, height, window) = (31, 24, 7);
        let image = dead_leaves_image(width, height, 5);
        let contrast = local_contrast(&image, width, height, window, 2.5, 0.02);
        assert_eq!((contrast.width, contrast.height), (width, height));
        for (index, &pixel) in image.iter().enumerate() {
            let restored =
                contrast.normalised[index] * contrast.deviation[index] + contrast.mean[index];
            assert!((restored - pixel).abs() < 1e-5);
        }
        // The 24×24 square on the left, where nothing is padded.
        let square: Vec<f64> = (0..24 * 24)
            .map(|place| f64::from(image[place / 24 * width + place % 24]))
            .collect();
        let [centred, mean, deviation] = reference(&square, 24, window, 2.5);
        for place in 0..12 * 12 {
            let index = (place / 12 + 6) * width + place % 12 + 6;
            let scale = deviation[place].max(f64::from(0.02f32));
            assert!((f64::from(contrast.mean[index]) - mean[place]).abs() < 1e-5);
            assert!((f64::from(contrast.deviation[index]) - scale).abs() < 1e-5);
            assert!((f64::from(contrast.normalised[index]) - centred[place] / scale).abs() < 1e-3);
        }
        // Reflection: the mean at a corner of an image is that of the image mirrored about its
        // first row and column.
        let mirrored: Vec<f64> = (0..7 * 7)
            .map(|place: usize| {
                let at = |offset: usize| offset.abs_diff(3);
                f64::from(image[at(place / 7) * width + at(place % 7)])
            })
            .collect();
        let kernel = gaussian(7, 2.5);
        let expected: f64 = (0..49)
            .map(|place| {
                mirrored[place] * f64::from(kernel[place / 7]) * f64::from(kernel[place % 7])
            })
            .sum();
        assert!((f64::from(contrast.mean[0]) - expected).abs() < 1e-5);
    }

    #[test]
    fn images_smaller_than_the_window_are_normalised_too() {
        for (width, height) in [(1, 1), (1, 5), (3, 2), (0, 4)] {
            let image: Vec<f32> = (0..width * height).map(|v| v as f32).collect();
            let contrast = local_contrast(&image, width, height, 13, 5.0, 0.1);
            assert_eq!(contrast.normalised.len(), image.len());
            assert!(contrast.normalised.iter().all(|v| v.is_finite()));
        }
    }
}
