//! Patches of natural images, with local contrast normalisation, whitened, or as they are.

mod files;

use std::path::{Path, PathBuf};

use rand::Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::contrast::{blur_valid, gaussian};
use super::error::DataError;
use super::look::short;
use super::paths::{chosen_folder, display_name, endings, passed_over};
use super::picture::{EXTENSIONS, Grey};
use super::whiten::{CUTOFF, Whitened};
use super::{
    Contrast, Dataset, InputFacts, NumberType, PerPixel, Preprocessing, Restore, Splits,
    checked_made_counts, checked_shape, extent, part_generator, range, split_generator,
};
use crate::rng::Stream;
pub(super) use files::find_images;
pub(crate) use files::pictures_in;
use files::test_files;

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
/// With `contrast = "whiten"` each whole grey picture, as resized, goes through the filter `f ·
/// exp(−(f/cutoff)⁴)`, where f is in cycles per pixel. Its borders are mirrors. Crops of the
/// filtered pictures are raw samples; all are kept. Each pixel of a patch is normalised by the mean
/// and the deviation that it has over the training patches.
///
/// Images are split by file: a tenth for validation, and for test those that `test_files` names, or
/// a tenth. Memory: 12 bytes a pixel of the patches (7.5 GB for 800,000 patches of 28×28), and a
/// byte or two a pixel of the images. With `contrast = "whiten"` 4 bytes a pixel of the patches,
/// and 4 more a pixel of the images of a part.
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
    /// Cut-off of `contrast = "whiten"`, in cycles per pixel: finer structure is taken away.
    // Left out where it is the default, so that the hashes of runs from before stay.
    #[serde(skip_serializing_if = "is_usual_cutoff")]
    #[schemars(extend("default" = CUTOFF, "exclusiveMinimum" = 0, "maximum" = 1))]
    pub cutoff: f64,
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
    /// Whole pictures are whitened, as the second paper has it; then each pixel of a patch is
    /// normalised by its own mean and deviation over the training patches.
    Whiten,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_usual_cutoff(cutoff: &f64) -> bool {
    *cutoff == CUTOFF
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
            cutoff: CUTOFF,
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
            PatchContrast::None | PatchContrast::Whiten => self.patch,
        }
    }

    pub(super) fn load(&self, folder: Option<&Path>, seed: u64) -> Result<Splits, DataError> {
        checked_made_counts(self.train, self.validation, self.test)?;
        check_window(self.window, self.sigma)?;
        check_cutoff(self.cutoff)?;
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
        let named = self.test_files.as_deref().unwrap_or_default();
        let parts = split_files(files, (named, self.max_images), folder, seed)?;
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
                PatchContrast::None => Ok((self.grey_crops(&images, count, seed, stream), 0.0)),
                PatchContrast::Whiten => Ok((self.white_crops(&images, count, seed, stream), 0.0)),
            }
        };
        let (mut train, floor) = make(0, self.train, Stream::TrainData)?;
        let (mut validation, _) = make(1, self.validation, Stream::ValidationData)?;
        let (mut test, _) = make(2, self.test, Stream::TestData)?;
        let [low, high] = facts.range.unwrap_or_default().map(f64::from);
        let depth = match facts.number_type {
            Some(NumberType::U8) => "8 bits",
            Some(_) => "16 bits",
            None => "8 and 16 bits",
        };
        let read = format!(
            "{}: {} images of {depth}, grey from {} to {} of full scale",
            folder.display(),
            sizes.iter().sum::<usize>(),
            short(low),
            short(high)
        );
        let mut peak = 1.0;
        if self.contrast == PatchContrast::Whiten {
            facts = InputFacts {
                range: Some(extent(train.samples.iter().copied())),
                ..InputFacts::default()
            };
            peak = range(&test.samples);
            let statistics = PerPixel::of(&train.samples, train.dim).map_err(|place| {
                let what = format!("pixel {place} is the same in all training patches");
                DataError::malformed(folder, what, "give pictures with content, or more patches")
            })?;
            for part in [&mut train, &mut validation, &mut test] {
                *part = statistics.normalised(std::mem::take(&mut part.samples));
            }
        }
        Ok(Splits {
            description: format!(
                "{}, {}/{}/{} images, {shape} patches{}, {}/{}/{}",
                display_name(folder),
                sizes[0],
                sizes[1],
                sizes[2],
                match self.contrast {
                    PatchContrast::Local => " with local contrast normalisation".to_owned(),
                    PatchContrast::None => String::new(),
                    PatchContrast::Whiten => format!(", whitened up to {}", self.cutoff),
                },
                train.len(),
                validation.len(),
                test.len()
            ),
            train,
            validation,
            test,
            shape,
            preprocessing: self.preprocessing(floor),
            peak,
            input: facts,
            read,
            notes,
        })
    }

    fn preprocessing(&self, floor: f32) -> Preprocessing {
        let contrast = match self.contrast {
            // Each pixel has its own statistics.
            PatchContrast::Whiten => return Preprocessing::IDENTITY,
            PatchContrast::None => Contrast::None,
            PatchContrast::Local => Contrast::Local {
                // Fits: a window is smaller than an image's side.
                window: self.window as u16,
                sigma: self.sigma,
                floor,
            },
        };
        Preprocessing {
            mean: MEAN,
            deviation: DEVIATION,
            contrast,
        }
    }

    /// `count` crops as they are.
    fn grey_crops(&self, images: &[Grey], count: usize, seed: u64, stream: Stream) -> Dataset {
        let size = |image: usize| {
            let (width, height) = images[image].dimensions();
            (width as usize, height as usize)
        };
        let row = |image: usize, x: usize, y: usize, line: &mut [f32]| {
            images[image].row(x, y, line);
            line.iter_mut()
                .for_each(|value| *value = (*value - MEAN) / DEVIATION);
        };
        Dataset {
            samples: self.crops(images.len(), size, row, count, (seed, stream)),
            dim: self.patch * self.patch,
            restore: Restore::Global {
                scale: DEVIATION,
                offset: MEAN,
            },
            labels: None,
        }
    }

    /// `count` crops of whitened pictures, in raw units.
    fn white_crops(&self, images: &[Grey], count: usize, seed: u64, stream: Stream) -> Dataset {
        let white: Vec<Whitened> = images
            .par_iter()
            .map(|image| Whitened::of(image, self.cutoff))
            .collect();
        let size = |image: usize| white[image].dimensions();
        let row = |image: usize, x: usize, y: usize, line: &mut [f32]| white[image].row(x, y, line);
        Dataset {
            samples: self.crops(images.len(), size, row, count, (seed, stream)),
            dim: self.patch * self.patch,
            restore: Restore::Global {
                scale: 1.0,
                offset: 0.0,
            },
            labels: None,
        }
    }

    /// `count` crops of so many pictures. `size` says a picture's width and height; `row` reads a
    /// row of it from (x, y) on.
    fn crops(
        &self,
        images: usize,
        size: impl Fn(usize) -> (usize, usize) + Sync,
        row: impl Fn(usize, usize, usize, &mut [f32]) + Sync,
        count: usize,
        (seed, stream): (u64, Stream),
    ) -> Vec<f32> {
        let dim = self.patch * self.patch;
        let mut samples = vec![0.0; count * dim];
        let batches = samples.par_chunks_mut(BATCH * dim).enumerate();
        batches.for_each(|(batch, samples)| {
            let mut rng = part_generator(seed, stream, batch as u32);
            for sample in samples.chunks_exact_mut(dim) {
                let image = rng.random_range(0..images);
                let (width, height) = size(image);
                let x = rng.random_range(0..=width - self.patch);
                let y = rng.random_range(0..=height - self.patch);
                for (down, line) in sample.chunks_exact_mut(self.patch).enumerate() {
                    row(image, x, y + down, line);
                }
            }
        });
        samples
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

fn check_cutoff(cutoff: f64) -> Result<(), DataError> {
    match cutoff > 0.0 && cutoff <= 1.0 {
        true => Ok(()),
        false => Err(DataError::config(
            "cutoff",
            format!("{cutoff} is no cut-off of a filter"),
            format!("choose cycles per pixel above 0 and at most 1, such as {CUTOFF}"),
        )),
    }
}

/// Training, validation and test files: for test those of these names, and of the others at most so
/// many in all.
pub(super) fn split_files(
    mut files: Vec<PathBuf>,
    (named, most): (&[String], usize),
    folder: &Path,
    seed: u64,
) -> Result<[Vec<PathBuf>; 3], DataError> {
    let named = test_files(&mut files, named, folder)?;
    files.shuffle(&mut split_generator(seed));
    files.truncate(most);
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
