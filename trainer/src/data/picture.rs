//! Pictures: files of 8 or 16 bits a channel, grey or in colour, read and written back as they
//! were.
//!
//! There is one conversion to grey: ITU-R 601 luma of the levels as they are stored. Values are
//! fractions of full scale.

use std::io::Cursor;
use std::path::Path;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{
    AnimationDecoder, ColorType, DynamicImage, ExtendedColorType, GrayImage, ImageBuffer,
    ImageError, ImageFormat, ImageReader, Luma,
};
use sparsecode_formats::NumberType;

use super::error::DataError;
use super::has_extension;
use crate::storage::write_atomic;

/// Endings of the pictures that are read.
pub const EXTENSIONS: [&str; 11] = [
    "jpg", "jpeg", "png", "pgm", "ppm", "pnm", "bmp", "gif", "tif", "tiff", "webp",
];

/// A picture, channel by channel.
///
/// ```
/// use sparsecode_trainer::data::picture::Pixels;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("thermal.png");
/// let thermal = image::ImageBuffer::from_fn(4, 3, |x, y| image::Luma([7000u16 + (x + y) as u16]));
/// thermal.save(&path)?;
/// let picture = Pixels::read(&path)?;
/// assert_eq!((picture.width, picture.height, picture.channels.len()), (4, 3, 1));
/// assert_eq!(picture.grey()[5], 7002.0 / 65535.0);
/// // Written with 16 bits, as it was.
/// picture.write(&path, &picture.channels)?;
/// assert_eq!(Pixels::read(&path)?, picture);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// [`NumberType::U8`] or [`NumberType::U16`].
    pub number_type: NumberType,
    /// Grey alone, or red, green and blue: each `width · height` values from 0 to 1, row by row.
    pub channels: Vec<Vec<f32>>,
    /// Opacity as it is stored, where the file has it.
    pub alpha: Option<Vec<u16>>,
}

impl Pixels {
    /// Reads a picture. Palettes and depths below 8 bits become 8 bits.
    ///
    /// # Errors
    /// The file cannot be read or decoded; it has no pixels; it holds several pictures, or
    /// floating-point values.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let decoded = decode(path)?;
        let (width, height) = (decoded.width() as usize, decoded.height() as usize);
        let (number_type, count, levels) = match decoded.color() {
            ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => {
                let bytes = decoded.as_bytes().iter().copied();
                (
                    NumberType::U8,
                    decoded.color().channel_count(),
                    bytes.map(u16::from).collect(),
                )
            }
            ColorType::L16 => (NumberType::U16, 1, decoded.into_luma16().into_raw()),
            ColorType::La16 => (NumberType::U16, 2, decoded.into_luma_alpha16().into_raw()),
            ColorType::Rgb16 => (NumberType::U16, 3, decoded.into_rgb16().into_raw()),
            _ => (NumberType::U16, 4, decoded.into_rgba16().into_raw()),
        };
        let levels: Vec<u16> = levels;
        let count = usize::from(count);
        let plane = |channel: usize| levels.iter().skip(channel).step_by(count).copied();
        let has_alpha = count % 2 == 0;
        let full = full_scale(number_type);
        let colours = count - usize::from(has_alpha);
        Ok(Self {
            width,
            height,
            number_type,
            channels: (0..colours)
                .map(|channel| {
                    plane(channel)
                        .map(|level| f32::from(level) / full)
                        .collect()
                })
                .collect(),
            alpha: has_alpha.then(|| plane(colours).collect()),
        })
    }

    /// The picture in grey, as training sees it: [`luma`] of the stored levels. Opacity is left
    /// out.
    pub fn grey(&self) -> Vec<f32> {
        let [red, green, blue] = &self.channels[..] else {
            return self.channels[0].clone();
        };
        let full = full_scale(self.number_type);
        let level = |value: f32| (value * full).round() as u32;
        red.iter()
            .zip(green)
            .zip(blue)
            .map(|((&red, &green), &blue)| {
                luma([level(red), level(green), level(blue)]) as f32 / full
            })
            .collect()
    }

    /// The format of a file's name, if it holds so many channels with the depth and the opacity of
    /// this picture.
    ///
    /// # Errors
    /// It does not, or is not known.
    pub(crate) fn format(&self, path: &Path, channels: usize) -> Result<ImageFormat, DataError> {
        let format = ImageFormat::from_path(path).map_err(|_| {
            DataError::malformed(
                path,
                "its name does not say a format of pictures",
                "give a name that ends in .png or .tiff",
            )
        })?;
        let holds_16 = matches!(
            format,
            ImageFormat::Png | ImageFormat::Tiff | ImageFormat::Pnm
        );
        if self.number_type == NumberType::U16 && !holds_16 {
            return Err(DataError::malformed(
                path,
                "the picture has 16 bits, which this format does not hold",
                "give a name that ends in .png or .tiff",
            ));
        }
        let more = match (channels, &self.alpha) {
            (1, None) => return Ok(format),
            (1, Some(_)) => "opacity",
            _ => "colours",
        };
        if has_extension(path, &["pgm"]) {
            return Err(DataError::malformed(
                path,
                format!("the picture has {more}, and a .pgm holds grey alone"),
                "give a name that ends in .png",
            ));
        }
        Ok(format)
    }

    /// Writes other values with the depth and the opacity of this picture: as many channels as it
    /// has, or one for grey. The format is that of the file's name. Returns how many values were
    /// cut to 0 or 1.
    ///
    /// # Errors
    /// The file cannot be written; its format does not hold 16 bits, or is not known.
    ///
    /// # Panics
    /// If the number of channels, or of values in one, does not fit.
    pub fn write(&self, path: &Path, channels: &[Vec<f32>]) -> Result<usize, DataError> {
        assert!(
            channels.len() == self.channels.len() || channels.len() == 1,
            "{} channels for {}",
            channels.len(),
            self.channels.len()
        );
        let format = self.format(path, channels.len())?;
        let deep = self.number_type == NumberType::U16;
        let pixels = self.width * self.height;
        let full = full_scale(self.number_type);
        let alpha = self.alpha.as_deref();
        let (mut levels, mut clipped) = (Vec::new(), 0);
        for pixel in 0..pixels {
            for channel in channels {
                let value = channel[pixel];
                clipped += usize::from(!(0.0..=1.0).contains(&value));
                levels.push((value.clamp(0.0, 1.0) * full).round() as u16);
            }
            levels.extend(alpha.map(|alpha| alpha[pixel]));
        }
        let count = channels.len() + usize::from(alpha.is_some());
        if has_extension(path, &["pgm"]) {
            // The encoder would write P7, which few programs read as a .pgm.
            let mut bytes = format!("P5\n{} {}\n{full}\n", self.width, self.height).into_bytes();
            match deep {
                true => bytes.extend(levels.iter().flat_map(|level| level.to_be_bytes())),
                false => bytes.extend(levels.iter().map(|&level| level as u8)),
            }
            write_atomic(path, &bytes)?;
            return Ok(clipped);
        }
        let (bytes, colour) = if deep {
            let bytes = levels
                .iter()
                .flat_map(|level| level.to_ne_bytes())
                .collect();
            let colours = [
                ExtendedColorType::L16,
                ExtendedColorType::La16,
                ExtendedColorType::Rgb16,
                ExtendedColorType::Rgba16,
            ];
            (bytes, colours[count - 1])
        } else {
            let bytes: Vec<u8> = levels.iter().map(|&level| level as u8).collect();
            let colours = [
                ExtendedColorType::L8,
                ExtendedColorType::La8,
                ExtendedColorType::Rgb8,
                ExtendedColorType::Rgba8,
            ];
            (bytes, colours[count - 1])
        };
        let mut encoded = Cursor::new(Vec::new());
        image::write_buffer_with_format(
            &mut encoded,
            &bytes,
            self.width as u32,
            self.height as u32,
            colour,
            format,
        )
        .map_err(|error| {
            DataError::malformed(
                path,
                format!("cannot be written in this format ({error})"),
                "give a name that ends in .png",
            )
        })?;
        write_atomic(path, &encoded.into_inner())?;
        Ok(clipped)
    }
}

fn full_scale(number_type: NumberType) -> f32 {
    match number_type {
        NumberType::U8 => 255.0,
        _ => 65535.0,
    }
}

/// ITU-R 601 luma of red, green and blue levels of 8 or 16 bits: 0.299 R + 0.587 G + 0.114 B,
/// rounded to a level. (The image crate's own grey is Rec. 709.)
pub fn luma([red, green, blue]: [u32; 3]) -> u32 {
    (299 * red + 587 * green + 114 * blue + 500) / 1000
}

/// A grey picture as levels.
#[derive(Clone, Debug)]
pub(super) enum Grey {
    Eight(GrayImage),
    Sixteen(ImageBuffer<Luma<u16>, Vec<u16>>),
}

impl Grey {
    pub(super) fn read(path: &Path) -> Result<Self, DataError> {
        Ok(match decode(path)? {
            DynamicImage::ImageLuma8(grey) => Self::Eight(grey),
            grey @ DynamicImage::ImageLumaA8(_) => Self::Eight(grey.into_luma8()),
            DynamicImage::ImageLuma16(grey) => Self::Sixteen(grey),
            grey @ DynamicImage::ImageLumaA16(_) => Self::Sixteen(grey.into_luma16()),
            colour @ (DynamicImage::ImageRgb8(_) | DynamicImage::ImageRgba8(_)) => {
                let colour = colour.into_rgb8();
                let pixels = colour
                    .pixels()
                    .map(|pixel| luma(pixel.0.map(u32::from)) as u8);
                let grey = GrayImage::from_raw(colour.width(), colour.height(), pixels.collect());
                Self::Eight(grey.expect("as many pixels as before"))
            }
            colour => {
                let colour = colour.into_rgb16();
                let pixels = colour
                    .pixels()
                    .map(|pixel| luma(pixel.0.map(u32::from)) as u16);
                let grey = ImageBuffer::from_raw(colour.width(), colour.height(), pixels.collect());
                Self::Sixteen(grey.expect("as many pixels as before"))
            }
        })
    }

    pub(super) fn dimensions(&self) -> (u32, u32) {
        match self {
            Self::Eight(grey) => grey.dimensions(),
            Self::Sixteen(grey) => grey.dimensions(),
        }
    }

    pub(super) fn number_type(&self) -> NumberType {
        match self {
            Self::Eight(_) => NumberType::U8,
            Self::Sixteen(_) => NumberType::U16,
        }
    }

    /// Resized by a triangle filter, in the same depth.
    pub(super) fn resized(&self, width: u32, height: u32) -> Self {
        let filter = image::imageops::FilterType::Triangle;
        match self {
            Self::Eight(grey) => Self::Eight(image::imageops::resize(grey, width, height, filter)),
            Self::Sixteen(grey) => {
                Self::Sixteen(image::imageops::resize(grey, width, height, filter))
            }
        }
    }

    /// So many values from 0 to 1 of one row, from column `x` on.
    pub(super) fn row(&self, x: usize, y: usize, out: &mut [f32]) {
        let start = y * self.dimensions().0 as usize + x;
        match self {
            Self::Eight(grey) => {
                let levels = &grey.as_raw()[start..][..out.len()];
                for (value, &level) in out.iter_mut().zip(levels) {
                    *value = f32::from(level) / 255.0;
                }
            }
            Self::Sixteen(grey) => {
                let levels = &grey.as_raw()[start..][..out.len()];
                for (value, &level) in out.iter_mut().zip(levels) {
                    *value = f32::from(level) / 65535.0;
                }
            }
        }
    }

    /// The darkest and the brightest value, from 0 to 1.
    pub(super) fn extent(&self) -> [f32; 2] {
        let bounds = |low: Option<f32>, high: Option<f32>, full: f32| {
            [low.unwrap_or(0.0) / full, high.unwrap_or(0.0) / full]
        };
        match self {
            Self::Eight(grey) => {
                let levels = || grey.as_raw().iter().copied();
                bounds(
                    levels().min().map(f32::from),
                    levels().max().map(f32::from),
                    255.0,
                )
            }
            Self::Sixteen(grey) => {
                let levels = || grey.as_raw().iter().copied();
                bounds(
                    levels().min().map(f32::from),
                    levels().max().map(f32::from),
                    65535.0,
                )
            }
        }
    }
}

/// Decodes a picture of 8 or 16 bits.
fn decode(path: &Path) -> Result<DynamicImage, DataError> {
    let malformed = |reason: String| {
        DataError::malformed(path, reason, "replace it or take it out of the folder")
    };
    let bytes = std::fs::read(path).map_err(DataError::read(path))?;
    let reader = ImageReader::new(Cursor::new(&bytes))
        .with_guessed_format()
        .map_err(DataError::read(path))?;
    let format = reader.format();
    let undecodable = |error: ImageError| malformed(format!("cannot be decoded ({error})"));
    let decoded = reader.decode().map_err(undecodable)?;
    if holds_several(&bytes, format).map_err(undecodable)? {
        return Err(DataError::malformed(
            path,
            "holds several pictures",
            "save each as a file of its own",
        ));
    }
    if matches!(
        decoded,
        DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_)
    ) {
        return Err(DataError::malformed(
            path,
            "holds floating-point values, whose full scale is not known",
            "save it with 8 or 16 bits",
        ));
    }
    if decoded.width() == 0 || decoded.height() == 0 {
        return Err(malformed("has no pixels".to_string()));
    }
    Ok(decoded)
}

/// Whether a file holds a film, or a stack of pictures.
fn holds_several(bytes: &[u8], format: Option<ImageFormat>) -> Result<bool, ImageError> {
    let file = || Cursor::new(bytes);
    Ok(match format {
        Some(ImageFormat::Gif) => GifDecoder::new(file())?.into_frames().take(2).count() > 1,
        Some(ImageFormat::WebP) => WebPDecoder::new(file())?.has_animation(),
        Some(ImageFormat::Png) => PngDecoder::new(file())?.is_apng()?,
        Some(ImageFormat::Tiff) => has_second_directory(bytes).unwrap_or(false),
        _ => false,
    })
}

/// Whether the first directory of a TIFF file names a second one: both are lists of 12 bytes an
/// entry.
fn has_second_directory(bytes: &[u8]) -> Option<bool> {
    let big_endian = bytes.starts_with(b"MM");
    let number = |place: usize, size: usize| {
        let bytes = bytes.get(place..place + size)?.iter();
        let join = |number: usize, &byte: &u8| number << 8 | usize::from(byte);
        Some(match big_endian {
            true => bytes.fold(0, join),
            false => bytes.rev().fold(0, join),
        })
    };
    // BigTIFF, which is not 42, has other lengths.
    if number(2, 2)? != 42 {
        return None;
    }
    let first = number(4, 4)?;
    let entries = number(first, 2)?;
    Some(number(first + 2 + 12 * entries, 4)? != 0)
}
