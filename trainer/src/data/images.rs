//! Patches of natural images with local contrast normalisation.

use std::path::{Path, PathBuf};

use rand::Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::contrast::{blur_valid, gaussian};
use super::error::DataError;
use super::look::short;
use super::paths::{chosen_folder, display_name, endings, has_extension, is_hidden, passed_over};
use super::picture::{EXTENSIONS, Grey};
use super::{
    Contrast, Dataset, InputFacts, NumberType, Preprocessing, Restore, Splits, checked_made_counts,
    checked_shape, extent, part_generator, split_generator,
};
use crate::rng::Stream;

/// Mean of natural images' grey values in [0, 1] (ImageNet's).
pub const MEAN: f32 = 0.457;
/// Standard deviation of natural images' grey values in [0, 1] (ImageNet's).
pub const DEVIATION: f32 = 0.259;

/// Crops that share one floor of the local deviation.
const BATCH: usize = 250;
/// A patch is kept if its standard deviation is not below.
const MIN_DEVIATION: f32 = 0.5;
/// The least floor of the local deviation.
const MIN_FLOOR: f32 = 1e-4;
/// Shorter side that images are resized to.
const SIDE: u32 = 256;
/// Longest side after resizing: a strip that is longer is no picture.
const MAX_SIDE: u32 = 1 << 14;
/// Batches made before the first look at how many crops survive.
const ROUND: u32 = 16;

/// `source = "images"`: patches of the images (`.jpg`, `.png`, `.pgm`, `.bmp`, `.gif`, `.tif`,
/// `.webp`; 8 or 16 bits) in a folder and in its subfolders.
///
/// Each image: shorter side to 256 pixels, grey (ITU-R 601 luma) in [0, 1], `(x − 0.457) / 0.259`.
/// Then random crops. With `contrast = "local"` they come in batches of 250: local contrast
/// normalisation with a Gaussian window as in
/// [`ContrastStream`](sparsecode_runtime::stream::ContrastStream), but without padding, so that a
/// crop of `patch + 2 (window − 1)` pixels gives a patch; local deviations below their mean over
/// the batch (or 1e-4) are raised to it; patches with a standard deviation of 0.5 or more are kept.
///
/// Images are split by file: a tenth for validation, and for test those that `test_files` names, or
/// a tenth. Memory: 12 bytes a pixel of the patches (7.5 GB for 800,000 patches of 28×28), and a
/// byte or two a pixel of the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ImagesConfig {
    /// The folder. Not set: `natural` in the folder that `--data` or `SPARSECODE_DATA` names, or
    /// that folder itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Side of a patch, in pixels.
    #[schemars(range(min = 1))]
    pub patch: usize,
    /// What is done to the contrast of patches.
    // Left out where it is the default, so that the hashes of runs from before stay.
    #[serde(skip_serializing_if = "PatchContrast::is_local")]
    #[schemars(extend("default" = "local"))]
    pub contrast: PatchContrast,
    /// Side of the Gaussian window of local contrast normalisation, in pixels; odd.
    #[schemars(range(min = 1, max = SIDE - 1))]
    pub window: usize,
    /// Standard deviation of that Gaussian, in pixels.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub sigma: f32,
    /// At most so many pictures are used, chosen by the seed.
    pub max_images: usize,
    /// The names of those pictures that the reported figures are of, such as `["boat.png"]`. Not
    /// set: a tenth of them, in the order of the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_files: Option<Vec<String>>,
    /// Training patches.
    #[schemars(range(min = 1, max = super::MAX_SAMPLES))]
    pub train: usize,
    /// Validation patches.
    #[schemars(range(min = 1, max = super::MAX_SAMPLES))]
    pub validation: usize,
    /// Test patches.
    #[schemars(range(min = 1, max = super::MAX_SAMPLES))]
    pub test: usize,
}

/// What is done to the contrast of patches of pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PatchContrast {
    /// Local contrast normalisation, as the first paper has it. Patches without contrast are left
    /// out.
    #[default]
    Local,
    /// Nothing: patches are what a picture shows, flat ones too. Models that denoise take these.
    None,
}

impl PatchContrast {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
    fn is_local(&self) -> bool {
        *self == Self::Local
    }
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self {
            folder: None,
            patch: 28,
            window: 13,
            sigma: 5.0,
            contrast: PatchContrast::Local,
            max_images: 20_000,
            test_files: None,
            train: 200_000,
            validation: 20_000,
            test: 20_000,
        }
    }
}

impl ImagesConfig {
    /// Side of a crop.
    fn crop(&self) -> usize {
        match self.contrast {
            PatchContrast::Local => self.patch + 2 * (self.window - 1),
            PatchContrast::None => self.patch,
        }
    }

    pub(super) fn load(&self, folder: Option<&Path>, seed: u64) -> Result<Splits, DataError> {
        checked_made_counts(self.train, self.validation, self.test)?;
        check_window(self.window, self.sigma)?;
        let shape = checked_shape(self.patch, self.patch, "patch")?;
        if self.crop() > SIDE as usize {
            return Err(DataError::config(
                "patch",
                format!(
                    "a patch of {} needs crops of {} pixels, but images are {SIDE} high or wide",
                    self.patch,
                    self.crop()
                ),
                "choose a smaller patch or window",
            ));
        }
        let natural = folder.map(|folder| folder.join("natural"));
        let given = natural.as_deref().filter(|path| path.is_dir()).or(folder);
        let folder = chosen_folder(self.folder.as_ref(), given, "images", "")?;

        let (files, others) = find_images(folder)?;
        let parts = split_files(files, self, folder, seed)?;
        let sizes = parts.each_ref().map(Vec::len);
        let mut notes = Vec::new();
        notes.extend(passed_over(folder, &others, endings(&EXTENSIONS)));
        let mut facts = InputFacts::default();
        let mut make = |part: usize, count: usize, stream: Stream| {
            let read = parts[part].par_iter().map(|path| read_grey(path));
            let read = read.collect::<Result<Vec<_>, _>>()?;
            let (images, sides): (Vec<Grey>, Vec<u32>) = read.into_iter().unzip();
            let part = Part {
                name: ["training", "validation", "test"][part],
                files: &parts[part],
                images: &images,
                sides: &sides,
            };
            part.remark(self.crop() as u32, &mut notes);
            if stream == Stream::TrainData {
                facts = part.facts();
            }
            match self.contrast {
                PatchContrast::Local => self.patches(&part, count, seed, stream, folder),
                PatchContrast::None => Ok((self.crops(&images, count, seed, stream), 0.0)),
            }
        };
        let (train, floor) = make(0, self.train, Stream::TrainData)?;
        let (validation, _) = make(1, self.validation, Stream::ValidationData)?;
        let (test, _) = make(2, self.test, Stream::TestData)?;
        let [low, high] = facts.range.unwrap_or_default().map(f64::from);
        let depth = match facts.number_type {
            Some(NumberType::U8) => "8 bits",
            Some(_) => "16 bits",
            None => "8 and 16 bits",
        };
        Ok(Splits {
            description: format!(
                "{}, {}/{}/{} images, {shape} patches{}, {}/{}/{}",
                display_name(folder),
                sizes[0],
                sizes[1],
                sizes[2],
                match self.contrast {
                    PatchContrast::Local => " with local contrast normalisation",
                    PatchContrast::None => "",
                },
                train.len(),
                validation.len(),
                test.len()
            ),
            train,
            validation,
            test,
            shape,
            preprocessing: Preprocessing {
                mean: MEAN,
                deviation: DEVIATION,
                contrast: match self.contrast {
                    PatchContrast::None => Contrast::None,
                    PatchContrast::Local => Contrast::Local {
                        // Fits: a window is smaller than an image's side.
                        window: self.window as u16,
                        sigma: self.sigma,
                        floor,
                    },
                },
            },
            peak: 1.0,
            input: facts,
            read: format!(
                "{}: {} images of {depth}, grey from {} to {} of full scale",
                folder.display(),
                sizes.iter().sum::<usize>(),
                short(low),
                short(high)
            ),
            notes,
        })
    }

    /// `count` crops as they are.
    fn crops(&self, images: &[Grey], count: usize, seed: u64, stream: Stream) -> Dataset {
        let dim = self.patch * self.patch;
        let mut samples = vec![0.0; count * dim];
        let batches = samples.par_chunks_mut(BATCH * dim).enumerate();
        batches.for_each(|(batch, samples)| {
            let mut rng = part_generator(seed, stream, batch as u32);
            for sample in samples.chunks_exact_mut(dim) {
                let image = &images[rng.random_range(0..images.len())];
                let (width, height) = image.dimensions();
                let x = rng.random_range(0..=width as usize - self.patch);
                let y = rng.random_range(0..=height as usize - self.patch);
                for (row, line) in sample.chunks_exact_mut(self.patch).enumerate() {
                    image.row(x, y + row, line);
                    line.iter_mut()
                        .for_each(|value| *value = (*value - MEAN) / DEVIATION);
                }
            }
        });
        Dataset {
            samples,
            dim,
            restore: Restore::Global {
                scale: DEVIATION,
                offset: MEAN,
            },
            labels: None,
        }
    }

    /// The first `count` patches that are kept, and the mean floor of their batches.
    fn patches(
        &self,
        part: &Part<'_>,
        count: usize,
        seed: u64,
        stream: Stream,
        folder: &Path,
    ) -> Result<(Dataset, f32), DataError> {
        let images = part.images;
        let dim = self.patch * self.patch;
        let kernel = gaussian(self.window, self.sigma);
        let mut samples = Vec::with_capacity(count * dim);
        let mut scale = Vec::with_capacity(count * dim);
        let mut offset = Vec::with_capacity(count * dim);
        let (mut floors, mut next) = (0.0f64, 0u32);
        while samples.len() < count * dim {
            // As many batches as are still missing by what was kept until now: 55 % is less than
            // what photographs keep.
            let missing = (count - samples.len() / dim).div_ceil(BATCH * 55 / 100);
            let round = u32::try_from(missing).unwrap_or(ROUND).min(ROUND);
            let batches: Vec<Batch> = (next..next + round)
                .into_par_iter()
                .map(|batch| self.batch(images, &kernel, &mut part_generator(seed, stream, batch)))
                .collect();
            next += round;
            for batch in batches {
                floors += f64::from(batch.floor);
                samples.extend(batch.samples);
                scale.extend(batch.scale);
                offset.extend(batch.offset);
            }
            // Photographs keep most crops; blank pages keep next to none, and would go on for ever.
            let tried = next as usize * BATCH;
            if next >= ROUND && samples.len() / dim < tried / 200 {
                return Err(DataError::malformed(
                    folder,
                    format!(
                        "{} of {tried} crops of the {} images have any contrast: they are almost blank{}",
                        samples.len() / dim,
                        part.name,
                        part.named_blank()
                    ),
                    "take blank images out of the folder, or choose another one",
                ));
            }
        }
        for values in [&mut samples, &mut scale, &mut offset] {
            values.truncate(count * dim);
            values.shrink_to_fit();
        }
        let data = Dataset {
            samples,
            dim,
            restore: Restore::PerPixel { dim, scale, offset },
            labels: None,
        };
        Ok((data, (floors / f64::from(next)) as f32))
    }

    fn batch(&self, images: &[Grey], kernel: &[f32], rng: &mut impl Rng) -> Batch {
        let (crop, patch, margin) = (self.crop(), self.patch, self.window / 2);
        let middle = crop - 2 * margin;
        let dim = patch * patch;
        let mut pixels = vec![0.0f32; crop * crop];
        let mut scratch = vec![0.0f32; crop * crop];
        let mut local_mean = vec![0.0f32; middle * middle];
        let mut centred = vec![0.0f32; middle * middle];
        let mut squares = vec![0.0f32; middle * middle];
        let mut means = vec![0.0f32; BATCH * dim];
        let mut deviations = vec![0.0f32; BATCH * dim];
        let mut values = vec![0.0f32; BATCH * dim];
        for index in 0..BATCH {
            let image = &images[rng.random_range(0..images.len())];
            let (width, height) = image.dimensions();
            let (width, height) = (width as usize, height as usize);
            let x = rng.random_range(0..=width - crop);
            let y = rng.random_range(0..=height - crop);
            for (row, line) in pixels.chunks_exact_mut(crop).enumerate() {
                image.row(x, y + row, line);
                for value in line {
                    *value = (*value - MEAN) / DEVIATION;
                }
            }
            blur_valid(&pixels, crop, kernel, &mut scratch, &mut local_mean);
            for row in 0..middle {
                let line = &pixels[(row + margin) * crop + margin..][..middle];
                let mean = &local_mean[row * middle..][..middle];
                let out = &mut centred[row * middle..][..middle];
                for ((out, value), mean) in out.iter_mut().zip(line).zip(mean) {
                    *out = value - mean;
                }
            }
            for (square, value) in squares.iter_mut().zip(&centred) {
                *square = value * value;
            }
            let place = index * dim..(index + 1) * dim;
            let deviation = &mut deviations[place.clone()];
            blur_valid(&squares, middle, kernel, &mut scratch, deviation);
            deviation.iter_mut().for_each(|v| *v = v.sqrt());
            for row in 0..patch {
                let source = (row + margin) * middle + margin;
                let target = place.start + row * patch;
                means[target..][..patch].copy_from_slice(&local_mean[source..][..patch]);
                values[target..][..patch].copy_from_slice(&centred[source..][..patch]);
            }
        }
        let floor = deviations.iter().map(|&v| f64::from(v)).sum::<f64>() / deviations.len() as f64;
        let floor = (floor as f32).max(MIN_FLOOR);
        let mut batch = Batch {
            floor,
            samples: Vec::new(),
            scale: Vec::new(),
            offset: Vec::new(),
        };
        for index in 0..BATCH {
            let place = index * dim..(index + 1) * dim;
            let patch = &mut values[place.clone()];
            let deviation = &mut deviations[place.clone()];
            for (value, deviation) in patch.iter_mut().zip(deviation.iter_mut()) {
                *deviation = deviation.max(floor);
                *value /= *deviation;
            }
            let kept = super::mean_and_deviation(patch).is_some_and(|(_, d)| d >= MIN_DEVIATION);
            if kept {
                batch.samples.extend_from_slice(patch);
                batch.scale.extend(deviation.iter().map(|d| d * DEVIATION));
                batch
                    .offset
                    .extend(means[place].iter().map(|m| m * DEVIATION + MEAN));
            }
        }
        batch
    }
}

/// The images of training, validation or test.
struct Part<'a> {
    name: &'static str,
    files: &'a [PathBuf],
    images: &'a [Grey],
    /// Their shorter sides in the files.
    sides: &'a [u32],
}

impl Part<'_> {
    /// The range of grey values, and the depth that all images have.
    fn facts(&self) -> InputFacts {
        let bounds = self.images.iter().flat_map(Grey::extent);
        let first = self.images.first().map(Grey::number_type);
        let all = |number_type: &NumberType| {
            let mut images = self.images.iter();
            images.all(|image| image.number_type() == *number_type)
        };
        InputFacts {
            range: Some(extent(bounds)),
            sample_rate: None,
            number_type: first.filter(all),
        }
    }

    /// Remarks on images without content, and on images that are smaller than a crop.
    fn remark(&self, crop: u32, notes: &mut Vec<String>) {
        let mut say = |what: &str, meant: Vec<&PathBuf>| {
            if let Some((first, more)) = meant.split_first() {
                let more = match more.len() {
                    0 => String::new(),
                    more => format!(" and {more} more of the {} images", self.name),
                };
                notes.push(format!("{}{more}: {what}", first.display()));
            }
        };
        say("blank: every pixel is the same", self.blank().collect());
        let sides = self.files.iter().zip(self.sides);
        let small = sides.filter(|&(_, &side)| side < crop);
        say(
            &format!(
                "smaller than a crop of {crop} pixels, so enlarged to a shorter side of {SIDE}"
            ),
            small.map(|(file, _)| file).collect(),
        );
    }

    /// The images in which every pixel is the same.
    fn blank(&self) -> impl Iterator<Item = &PathBuf> {
        let images = self.files.iter().zip(self.images);
        let blank = images.filter(|(_, image)| {
            let [low, high] = image.extent();
            low == high
        });
        blank.map(|(file, _)| file)
    }

    /// The names of blank images, for an error.
    fn named_blank(&self) -> String {
        const MOST: usize = 3;
        let names = self
            .blank()
            .take(MOST)
            .map(|file| file.display().to_string());
        match names.collect::<Vec<_>>() {
            names if names.is_empty() => String::new(),
            names => format!(" (blank: {})", names.join(", ")),
        }
    }
}

/// The kept patches of a batch of crops.
struct Batch {
    floor: f32,
    samples: Vec<f32>,
    scale: Vec<f32>,
    offset: Vec<f32>,
}

fn check_window(window: usize, sigma: f32) -> Result<(), DataError> {
    if window.is_multiple_of(2) || window > SIDE as usize {
        return Err(DataError::config(
            "window",
            format!("{window} is not a possible Gaussian window"),
            format!("choose an odd number of pixels below {SIDE}"),
        ));
    }
    if !(sigma.is_finite() && sigma > 0.0) {
        return Err(DataError::config(
            "sigma",
            format!("{sigma} is not a width"),
            "choose a number of pixels above 0",
        ));
    }
    Ok(())
}

/// Every image in a folder and its subfolders, and the other files there, each in the order of
/// their names.
fn find_images(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let (mut found, mut others) = (Vec::new(), Vec::new());
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(DataError::read(&folder))? {
            let entry = entry.map_err(DataError::read(&folder))?;
            // A link to a folder is not followed: it may lead back here.
            if entry
                .file_type()
                .map_err(DataError::read(&folder))?
                .is_dir()
            {
                folders.push(entry.path());
            } else if has_extension(&entry.path(), &EXTENSIONS) {
                found.push(entry.path());
            } else if !is_hidden(&entry.path()) {
                others.push(entry.path());
            }
        }
    }
    found.sort();
    others.sort();
    Ok((found, others))
}

/// Takes the files of these names out.
fn test_files(
    files: &mut Vec<PathBuf>,
    names: &[String],
    folder: &Path,
) -> Result<Vec<PathBuf>, DataError> {
    let is_named = |path: &Path, name: &str| path.file_name().is_some_and(|own| own == name);
    if let Some(gone) = names
        .iter()
        .find(|name| !files.iter().any(|path| is_named(path, name)))
    {
        return Err(DataError::missing(
            &folder.join(gone),
            "data.test_files names it, and no picture has this name",
            "name pictures of the folder without the folder's name",
        ));
    }
    let (named, others) = std::mem::take(files)
        .into_iter()
        .partition(|path| names.iter().any(|name| is_named(path, name)));
    *files = others;
    Ok(named)
}

/// Training, validation and test files.
fn split_files(
    mut files: Vec<PathBuf>,
    config: &ImagesConfig,
    folder: &Path,
    seed: u64,
) -> Result<[Vec<PathBuf>; 3], DataError> {
    let named = test_files(
        &mut files,
        config.test_files.as_deref().unwrap_or_default(),
        folder,
    )?;
    files.shuffle(&mut split_generator(seed));
    files.truncate(config.max_images);
    if files.len() < 3 {
        let count = match files.len() {
            0 => "there are no images in it".to_string(),
            1 => "there is one image in it".to_string(),
            count => format!("there are {count} images in it"),
        };
        return Err(DataError::missing(
            folder,
            format!("{count}, and training, validation and test need at least 3"),
            format!(
                "name another folder with --data DIR; images end in {}",
                endings(&EXTENSIONS)
            ),
        ));
    }
    let tenth = (files.len() / 10).max(1);
    let test = match named.is_empty() {
        true => files.split_off(files.len() - tenth),
        false => named,
    };
    let validation = files.split_off(files.len() - tenth);
    Ok([files, validation, test])
}

/// Every picture in a folder and its subfolders, in the order of their names; or the one file.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn pictures_in(place: &Path) -> Result<Vec<PathBuf>, DataError> {
    match place.is_dir() {
        true => find_images(place).map(|(found, _)| found),
        false => Ok(vec![place.to_path_buf()]),
    }
}

/// Reads an image in grey with a shorter side of 256, and its shorter side in the file.
fn read_grey(path: &Path) -> Result<(Grey, u32), DataError> {
    let malformed = |reason: String| {
        DataError::malformed(path, reason, "replace it or take it out of the folder")
    };
    let grey = Grey::read(path)?;
    let (width, height) = grey.dimensions();
    let shorter = width.min(height);
    if shorter == SIDE {
        return Ok((grey, shorter));
    }
    let scaled = |side: u32| {
        ((f64::from(side) * f64::from(SIDE) / f64::from(shorter)).round() as u32).max(SIDE)
    };
    let (width, height) = (scaled(width), scaled(height));
    if width.max(height) > MAX_SIDE {
        return Err(malformed(format!(
            "is too long and narrow ({width}x{height} when resized)"
        )));
    }
    Ok((grey.resized(width, height), shorter))
}

#[cfg(test)]
mod tests;
