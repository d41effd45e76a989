//! What a whole picture needs before and after its patches: a mirrored border, the deviation of its
//! noise.

/// The deviation of white noise in a picture of lines of `width` pixels, 0 where most of it is
/// flat; `None` without two lines of two pixels.
///
/// Of each block of 2×2 pixels `(a − b − c + d) / 2` has the noise's deviation, and seldom much of
/// the picture. The median of its magnitude over 0.6745 is the deviation (Donoho & Johnstone 1994).
/// Texture raises it.
///
/// ```
/// use sparsecode_trainer::deploy::frame::deviation;
///
/// // A slope has no noise.
/// let slope: Vec<f32> = (0..400).map(|index| (index % 20) as f32).collect();
/// assert_eq!(deviation(&slope, 20), Some(0.0));
/// ```
pub fn deviation(pixels: &[f32], width: usize) -> Option<f32> {
    if width < 2 {
        return None;
    }
    let lines: Vec<&[f32]> = pixels.chunks_exact(width).collect();
    let mut details: Vec<f32> = lines
        .chunks_exact(2)
        .flat_map(|pair| {
            let blocks = pair[0].chunks_exact(2).zip(pair[1].chunks_exact(2));
            blocks.map(|(above, below)| (above[0] - above[1] - below[0] + below[1]).abs() / 2.0)
        })
        .filter(|detail| detail.is_finite())
        .collect();
    if details.is_empty() {
        return None;
    }
    let middle = details.len() / 2;
    let (_, median, _) = details.select_nth_unstable_by(middle, f32::total_cmp);
    Some(*median / 0.6745)
}

/// A picture and its mirror images around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Margins {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Pixels on each side.
    pub(super) margin: usize,
}

impl Margins {
    pub(super) fn outer_width(&self) -> usize {
        self.width + 2 * self.margin
    }

    /// The picture with its margins. The pixels at the border are not repeated.
    pub(super) fn mirrored(&self, pixels: &[f32]) -> Vec<f32> {
        let (width, height) = (self.width, self.height);
        (0..height + 2 * self.margin)
            .flat_map(|y| {
                let row = mirror(y, self.margin, height) * width;
                (0..self.outer_width()).map(move |x| row + mirror(x, self.margin, width))
            })
            .map(|place| pixels[place])
            .collect()
    }

    /// The picture without its margins.
    pub(super) fn inner(&self, outer: &[f32]) -> Vec<f32> {
        let lines = outer.chunks_exact(self.outer_width());
        let lines = lines.skip(self.margin).take(self.height);
        lines
            .flat_map(|line| &line[self.margin..][..self.width])
            .copied()
            .collect()
    }
}

/// The place among `length` that is seen at `outer`, behind a margin.
fn mirror(outer: usize, margin: usize, length: usize) -> usize {
    let period = (2 * length).saturating_sub(2).max(1);
    // Whole periods on, so that nothing is negative.
    let place = (outer + margin * (period - 1)) % period;
    place.min(period - place)
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::rng::{Stream, generator};

    #[test]
    fn margins_are_mirror_images() {
        let margins = Margins {
            width: 4,
            height: 2,
            margin: 3,
        };
        let pixels: Vec<f32> = (0..8).map(|x| x as f32).collect();
        let outer = margins.mirrored(&pixels);
        let line = [3.0, 2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0];
        assert_eq!(outer[3 * 10..4 * 10], line);
        assert_eq!(outer[10..2 * 10], line, "the third line is the first again");
        assert_eq!(outer[0], 7.0);
        assert_eq!(margins.inner(&outer), pixels);
        let one = Margins {
            width: 1,
            height: 1,
            margin: 2,
        };
        assert_eq!(one.mirrored(&[5.0]), [5.0; 25]);
    }

    #[test]
    fn the_deviation_is_that_of_the_noise() {
        let mut rng = generator(3, Stream::Noise { purpose: 9 });
        let width = 120;
        let pixels: Vec<f32> = (0..width * 121 + 7)
            .map(|index| {
                let draw: f32 = StandardNormal.sample(&mut rng);
                // A slope, and an edge.
                let edge = f32::from(u8::from(index % width > 50));
                edge + (index / width) as f32 * 0.01 + 0.05 * draw
            })
            .collect();
        let found = deviation(&pixels, width).unwrap();
        assert!((found / 0.05 - 1.0).abs() < 0.05, "{found}");
        assert_eq!(deviation(&[1.0; 9], 3), Some(0.0));
        assert_eq!(deviation(&[1.0, 2.0], 1), None);
    }
}
