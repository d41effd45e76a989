//! Whole pictures, one a sample, in colour or grey.

use std::path::{Path, PathBuf};

use image::{ImageBuffer, Luma, imageops};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::images::{find_images, split_files};
use super::paths::{chosen_folder, display_name, endings, passed_over};
use super::picture::{EXTENSIONS, Pixels};
use super::{
    Dataset, InputFacts, NumberType, Preprocessing, Restore, Splits, checked_shape, extent,
};

/// Channels of a sample in colour.
const COLOURS: usize = 3;

/// `source = "pictures"`: whole pictures of a folder and of its subfolders (`.jpg`, `.png`, `.pgm`,
/// `.bmp`, `.gif`, `.tif`, `.webp`; 8 or 16 bits), one a sample.
///
/// The square in the middle of each picture is resized by a triangle filter. A sample has three
/// channels, red, green and blue, one below the other: `3 side × side` numbers, row after row,
/// pixels in [0, 1], not normalised. A grey picture has three equal channels. With `grey` a sample
/// is one channel, ITU-R 601 luma.
///
/// Pictures are split by file: a tenth for validation, and for test those that `test_files` names,
/// or a tenth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PicturesConfig {
    /// The folder. Not set: what `--data` or `SPARSECODE_DATA` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Side of a sample, in pixels.
    #[schemars(range(min = 1))]
    pub side: usize,
    /// Whether samples are grey.
    pub grey: bool,
    /// Side of the square that is cut from the middle of a picture, in its own pixels: 140 for
    /// faces of CelebA. Not set: the picture's shorter side.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<usize>,
    /// At most so many pictures are used, chosen by the seed.
    pub max_images: usize,
    /// The names of those pictures that the reported figures are of, such as `["boat.png"]`. Not
    /// set: a tenth of them, in the order of the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_files: Option<Vec<String>>,
}

impl Default for PicturesConfig {
    fn default() -> Self {
        Self {
            folder: None,
            side: 64,
            grey: false,
            crop: None,
            max_images: 200_000,
            test_files: None,
        }
    }
}

impl PicturesConfig {
    pub(super) fn load(&self, folder: Option<&Path>, seed: u64) -> Result<Splits, DataError> {
        let channels = if self.grey { 1 } else { COLOURS };
        let shape = checked_shape(channels * self.side, self.side, "side")?;
        if self.crop == Some(0) {
            let what = "a square of 0 pixels is none";
            return Err(DataError::config("crop", what, "choose 1 or more"));
        }
        let folder = chosen_folder(self.folder.as_ref(), folder, "pictures", "")?;
        let (files, others) = find_images(folder)?;
        let named = self.test_files.as_deref().unwrap_or_default();
        let parts = split_files(files, (named, self.max_images), folder, seed)?;
        let read = |files: &[PathBuf]| -> Result<(Dataset, Vec<NumberType>), DataError> {
            let read = files.par_iter().map(|path| self.sample(path));
            let read: Vec<_> = read.collect::<Result<_, _>>()?;
            let (samples, types): (Vec<Vec<f32>>, Vec<NumberType>) = read.into_iter().unzip();
            let dataset = Dataset {
                samples: samples.concat(),
                dim: shape.input_dim(),
                restore: Restore::Global {
                    scale: 1.0,
                    offset: 0.0,
                },
                labels: None,
            };
            Ok((dataset, types))
        };
        let [train, validation, test] = &parts;
        let ((train, types), (validation, _), (test, _)) =
            (read(train)?, read(validation)?, read(test)?);
        let number_type = types.first().copied();
        let colours = if self.grey { "grey" } else { "three colours" };
        let counts = format!("{}/{}/{}", train.len(), validation.len(), test.len());
        Ok(Splits {
            description: format!(
                "{}, {counts} pictures of {side}x{side} in {colours}",
                display_name(folder),
                side = self.side
            ),
            read: format!(
                "{}: {} pictures in {colours}",
                folder.display(),
                parts.iter().map(Vec::len).sum::<usize>()
            ),
            notes: passed_over(folder, &others, endings(&EXTENSIONS))
                .into_iter()
                .collect(),
            input: InputFacts {
                range: Some(extent(train.samples.iter().copied())),
                sample_rate: None,
                number_type: number_type.filter(|first| types.iter().all(|own| own == first)),
            },
            train,
            validation,
            test,
            shape,
            preprocessing: Preprocessing::IDENTITY,
            peak: 1.0,
        })
    }

    /// A picture as a sample, and the number type of its file.
    fn sample(&self, path: &Path) -> Result<(Vec<f32>, NumberType), DataError> {
        let picture = Pixels::read(path)?;
        let size = [picture.width, picture.height];
        let shorter = size[0].min(size[1]);
        let crop = self.crop.unwrap_or(shorter);
        if crop > shorter {
            return Err(DataError::malformed(
                path,
                format!(
                    "is {}x{}, too small for data.crop={crop}",
                    picture.width, picture.height
                ),
                "take it out of the folder, or choose a smaller data.crop",
            ));
        }
        let planes = match (self.grey, &picture.channels[..]) {
            (true, _) => vec![picture.grey()],
            (false, [grey]) => vec![grey.clone(); COLOURS],
            (false, colours) => colours.to_vec(),
        };
        let planes = planes.iter().map(|plane| self.square(plane, size, crop));
        Ok((planes.collect::<Vec<_>>().concat(), picture.number_type))
    }

    /// The square in the middle of a channel, resized.
    fn square(&self, plane: &[f32], [width, height]: [usize; 2], crop: usize) -> Vec<f32> {
        let (left, top) = ((width - crop) / 2, (height - crop) / 2);
        let rows = plane.chunks_exact(width).skip(top).take(crop);
        let cut: Vec<f32> = rows
            .flat_map(|row| row[left..][..crop].iter().copied())
            .collect();
        if crop == self.side {
            return cut;
        }
        let (crop, side) = (crop as u32, self.side as u32);
        let Some(cut) = ImageBuffer::<Luma<f32>, _>::from_raw(crop, crop, cut) else {
            return Vec::new();
        };
        let filter = imageops::FilterType::Triangle;
        let resized = imageops::resize(&cut, side, side, filter).into_raw();
        resized.into_iter().map(|x| x.clamp(0.0, 1.0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Rgb, RgbImage};

    use super::*;

    /// Ten pictures of 6×4: each pixel's red is its column, green its row, blue the picture.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..10 {
            let pixel = |x: u32, y: u32| Rgb([10 * x as u8, 20 * y as u8, number]);
            let picture = RgbImage::from_fn(6, 4, pixel);
            picture
                .save(folder.path().join(format!("{number}.png")))
                .unwrap();
        }
        std::fs::write(folder.path().join("list.txt"), "faces").unwrap();
        folder
    }

    fn load(folder: &tempfile::TempDir, config: &PicturesConfig) -> Result<Splits, DataError> {
        config.load(Some(folder.path()), 7)
    }

    #[test]
    fn channels_follow_each_other_and_rows_in_them() {
        let folder = folder();
        let config = PicturesConfig {
            side: 4,
            test_files: Some(vec!["3.png".to_owned()]),
            ..PicturesConfig::default()
        };
        let splits = load(&folder, &config).unwrap();
        let counts = [&splits.train, &splits.validation, &splits.test].map(Dataset::len);
        assert_eq!(counts, [8, 1, 1]);
        assert_eq!(splits.shape.to_string(), "12x4");
        assert_eq!(splits.preprocessing, Preprocessing::IDENTITY);
        // The four columns in the middle.
        let level = |channel, row, column| match channel {
            0 => 10 * (column + 1),
            1 => 20 * row,
            _ => 3,
        };
        let expected = (0..48).map(|n| level(n / 16, n / 4 % 4, n % 4) as f32 / 255.0);
        let expected: Vec<f32> = expected.collect();
        assert_eq!(splits.test.samples, expected);
        assert_eq!(splits.input.number_type, Some(NumberType::U8));
        assert!(splits.notes[0].contains("list.txt"), "{:?}", splits.notes);
        // The same seed splits alike.
        let again = load(&folder, &config).unwrap();
        assert_eq!(again.train.samples, splits.train.samples);
    }

    #[test]
    fn squares_are_cut_resized_and_grey() {
        let folder = folder();
        let config = PicturesConfig {
            side: 1,
            crop: Some(2),
            test_files: Some(vec!["9.png".to_owned()]),
            ..PicturesConfig::default()
        };
        let splits = load(&folder, &config).unwrap();
        // Columns 2 and 3, rows 1 and 2.
        let expected = [25.0, 30.0, 9.0].map(|level| level / 255.0);
        for (found, expected) in splits.test.samples.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        let grey = PicturesConfig {
            grey: true,
            ..config.clone()
        };
        let splits = load(&folder, &grey).unwrap();
        assert_eq!(
            (splits.shape.to_string(), splits.test.dim),
            ("1".to_owned(), 1)
        );
        // A grey picture in three equal channels.
        let path = folder.path().join("9.png");
        GrayImage::from_pixel(4, 4, image::Luma([51]))
            .save(path)
            .unwrap();
        assert_eq!(load(&folder, &config).unwrap().test.samples, [0.2; 3]);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let folder = folder();
        let refused = |config: PicturesConfig, words: &[&str]| {
            let error = load(&folder, &config).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{word}: {error}");
            }
        };
        let config = PicturesConfig::default;
        refused(
            PicturesConfig {
                crop: Some(5),
                ..config()
            },
            &[".png", "6x4", "data.crop"],
        );
        refused(
            PicturesConfig {
                crop: Some(0),
                ..config()
            },
            &["crop"],
        );
        refused(
            PicturesConfig {
                side: 0,
                ..config()
            },
            &["side"],
        );
        refused(
            PicturesConfig {
                max_images: 2,
                ..config()
            },
            &["at least 3"],
        );
        let error = config().load(None, 1).unwrap_err().to_string();
        assert!(error.contains("--data"), "{error}");
    }
}
