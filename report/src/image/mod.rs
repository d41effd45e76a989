//! Grey pictures of atoms and of what denoising does, as 8-bit PNG.
//!
//! Values are levels from 0 (black) to 1 (white). Small patches are enlarged by whole numbers, so
//! that a pixel of the patch stays a sharp square in the picture.

use std::path::Path;

use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ::image::{ExtendedColorType, ImageEncoder};

use crate::storage::{StorageError, write_atomic};

mod draw;
mod font;
mod gallery;
mod strip;

pub use gallery::{GalleryOptions, Scaling, gallery};
pub use strip::strip;

const WHITE: f32 = 1.0;
const ZERO_LINE: f32 = 0.82;
const FAINT: f32 = 0.72;
const MIDDLE: f32 = 0.45;
const DARK: f32 = 0.05;

/// Space between tiles.
const GAP: usize = 2;

/// Larger pictures are refused: a wrong shape would otherwise fill the memory.
const MAX_PIXELS: usize = 1 << 27;

/// Why a picture could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The values do not fill the shape.
    #[error("{what} has {found} values where its shape wants {expected}")]
    Shape {
        /// What was to be drawn.
        what: String,
        /// Values handed over.
        found: usize,
        /// Values wanted.
        expected: usize,
    },
    /// There is nothing to draw.
    #[error("nothing to draw: {0}")]
    Empty(&'static str),
    /// The picture would be too large.
    #[error("a picture of {width} x {height} pixels is too large; draw fewer or smaller tiles")]
    TooLarge {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// The PNG encoder failed.
    #[error("cannot encode the picture as PNG: {0}")]
    Encode(#[from] ::image::ImageError),
    /// The file could not be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A grey canvas of levels from 0 (black) to 1 (white), row by row from the top left.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    width: usize,
    height: usize,
    levels: Vec<f32>,
}

impl Picture {
    /// A canvas of one level.
    ///
    /// # Errors
    /// [`PictureError::Empty`] for a side of 0, [`PictureError::TooLarge`] beyond 2²⁷ pixels.
    pub fn new(width: usize, height: usize, level: f32) -> Result<Self, PictureError> {
        if width == 0 || height == 0 {
            return Err(PictureError::Empty("a side of the picture is 0"));
        }
        match width.checked_mul(height) {
            Some(pixels) if pixels <= MAX_PIXELS => Ok(Self {
                width,
                height,
                levels: vec![level; pixels],
            }),
            _ => Err(PictureError::TooLarge { width, height }),
        }
    }

    /// A picture of given levels, `height * width` of them, row by row.
    ///
    /// # Errors
    /// [`PictureError::Shape`] if there are more or fewer, otherwise as [`Picture::new`].
    pub fn from_levels(width: usize, height: usize, levels: &[f32]) -> Result<Self, PictureError> {
        let mut picture = Self::new(width, height, 0.0)?;
        expect("the picture", levels.len(), picture.levels.len())?;
        picture.levels.copy_from_slice(levels);
        Ok(picture)
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The level of a pixel; nothing outside.
    pub fn level(&self, x: usize, y: usize) -> Option<f32> {
        (x < self.width && y < self.height).then(|| self.levels[y * self.width + x])
    }

    /// The picture as an 8-bit grey PNG. Levels outside 0..=1 are clipped, NaN is black.
    ///
    /// # Errors
    /// [`PictureError::Encode`] if the encoder fails.
    pub fn to_png(&self) -> Result<Vec<u8>, PictureError> {
        let pixels: Vec<u8> = self.levels.iter().map(|&level| quantise(level)).collect();
        let mut png = Vec::new();
        PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive)
            .write_image(
                &pixels,
                self.width as u32,
                self.height as u32,
                ExtendedColorType::L8,
            )?;
        Ok(png)
    }

    /// Writes the picture as PNG to `path`, by way of a temporary file.
    ///
    /// # Errors
    /// [`PictureError::Encode`] or [`PictureError::Storage`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PictureError> {
        Ok(write_atomic(path, &self.to_png()?)?)
    }
}

fn quantise(level: f32) -> u8 {
    // The cast takes NaN to 0.
    (level.clamp(0.0, 1.0) * 255.0).round() as u8
}

fn expect(what: &str, found: usize, expected: usize) -> Result<(), PictureError> {
    if found == expected {
        return Ok(());
    }
    Err(PictureError::Shape {
        what: what.to_owned(),
        found,
        expected,
    })
}

/// By how much a patch is enlarged for its shorter side to fill a tile.
fn enlargement(tile: usize, height: usize, width: usize) -> usize {
    tile.div_ceil(height.min(width).max(1))
}

/// Wide enough for every sample to be seen, within reason.
fn plot_width(least: usize, samples: usize) -> usize {
    (2 * samples).clamp(least, 4 * least)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(png: &[u8]) -> ::image::GrayImage {
        match ::image::load_from_memory(png).unwrap() {
            ::image::DynamicImage::ImageLuma8(image) => image,
            other => panic!("{:?} is not 8-bit grey", other.color()),
        }
    }

    #[test]
    fn png_has_the_levels_and_is_replaced_as_a_whole() {
        let picture = Picture::from_levels(3, 2, &[0.0, 0.5, 1.0, -3.0, f32::NAN, 7.0]).unwrap();
        let image = decode(&picture.to_png().unwrap());
        assert_eq!((image.width(), image.height()), (3, 2));
        assert_eq!(image.into_raw(), [0, 128, 255, 0, 0, 255]);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pictures/atoms.png");
        picture.save(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), picture.to_png().unwrap());
    }

    #[test]
    fn shapes_are_checked() {
        let options = GalleryOptions::default();
        let message = gallery(&[0.0; 63], 1, 8, 8, &options)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("63") && message.contains("64"),
            "{message}"
        );
        assert!(matches!(
            gallery(&[], 0, 8, 8, &options),
            Err(PictureError::Empty(_))
        ));
        assert!(matches!(strip(&[], 8, 8), Err(PictureError::Empty(_))));
        assert!(matches!(
            Picture::new(1 << 20, 1 << 20, 0.0),
            Err(PictureError::TooLarge { .. })
        ));
        let (long, short) = ([0.0; 64], [0.0; 63]);
        let message = strip(
            &[("clean", vec![&long[..]]), ("noisy", vec![&short[..]])],
            8,
            8,
        )
        .unwrap_err()
        .to_string();
        assert!(message.contains("noisy"), "{message}");
        assert!(strip(&[("clean", vec![&long[..]]), ("noisy", vec![])], 8, 8).is_err());
    }
}
