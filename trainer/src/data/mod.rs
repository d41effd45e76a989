//! Training data: from files or generators to preprocessed samples.
//!
//! [`DataConfig`] is the `[data]` table of a run's configuration; [`DataConfig::load`] turns it
//! into [`Splits`]: samples for training, validation and test, already preprocessed, with what is
//! needed to undo the preprocessing ([`Restore`]) because every measure is taken in raw units.
//!
//! | `source` | samples |
//! |---|---|
//! | `mnist` | the four idx files, gzipped or not: [`mnist`] |
//! | `images` | patches of a folder of images, local contrast normalised or whitened: [`images`] |
//! | `signal` | windows of recordings in `.npy`, `.csv`, `.tsv` or `.wav`: [`signal`] |
//! | `npy` | rows of an array N×d or N×h×w: [`mod@array`] |
//! | `idx` | pictures in idx files, as they are: [`idx`] |
//! | `pictures` | whole pictures of a folder, in colour or grey: [`pictures`] |
//! | `safetensors` | rows of the tensors of a file: [`tensors`] |
//! | `dead-leaves`, `vibration`, `ecg`, `dictionary` | generated: [`generate`] |

pub mod array;
mod atoms;
mod channel;
mod contrast;
mod dialect;
mod drift;
mod error;
mod facts;
pub mod fetch;
pub mod generate;
pub mod idx;
pub mod images;
mod look;
pub mod mnist;
pub mod npy;
mod paths;
mod per_pixel;
pub mod picture;
pub mod pictures;
mod place;
pub mod recording;
mod renormalise;
mod samples;
pub mod signal;
mod sound;
mod table;
pub mod tensors;
mod whiten;

use std::fmt;
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use sparsecode_formats::{Contrast, InputFacts, InputShape, NumberType, Preprocessing};

use crate::rng::{Stream, generator};
pub use array::NpyConfig;
pub use atoms::TrueAtoms;
pub use channel::{Channel, Hints};
#[cfg(test)]
pub(crate) use contrast::tests::reference as contrast_reference;
pub use dialect::Decimal;
pub use drift::without_drift;
pub use error::{DataError, PlaceError};
pub use facts::DataFacts;
pub use generate::{
    DeadLeavesConfig, DictionaryConfig, GeneratedSignalConfig, dead_leaves_image, ecg_signal,
    vibration_signal,
};
pub use idx::IdxConfig;
pub use images::{ImagesConfig, PatchContrast};
pub(crate) use look::short;
pub use look::{Column, Look};
pub use mnist::MnistConfig;
pub use paths::Paths;
pub(crate) use paths::has_extension;
pub use per_pixel::PerPixel;
pub use pictures::PicturesConfig;
pub use place::Named;
pub use recording::Recording;
pub use samples::Samples;
pub use signal::{Normalisation, SignalConfig};
pub use tensors::SafetensorsConfig;

/// The recordings that a table names: files, or all in a folder.
///
/// # Errors
///
/// [`DataError`] names a place where there is none.
pub(crate) fn recordings_in(
    paths: &Paths,
    folder: Option<&Path>,
) -> Result<Vec<std::path::PathBuf>, DataError> {
    let (files, _) = paths::chosen_files(Some(paths), folder, &recording::EXTENSIONS)?;
    Ok(files)
}

/// Samples ready for training: row-major f32, already preprocessed.
#[derive(Clone)]
pub struct Dataset {
    /// `len() × dim` numbers, one sample after the other.
    pub samples: Vec<f32>,
    /// Numbers in a sample (`input_dim`); at least 1.
    pub dim: usize,
    /// How to get back to raw units.
    pub restore: Restore,
    /// The class of each sample, where the data has classes.
    pub labels: Option<Vec<u8>>,
}

impl Dataset {
    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.samples.len() / self.dim
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// One sample.
    ///
    /// # Panics
    /// If `index` is not below [`Dataset::len`].
    pub fn sample(&self, index: usize) -> &[f32] {
        &self.samples[index * self.dim..][..self.dim]
    }
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the millions of numbers.
        f.debug_struct("Dataset")
            .field("len", &self.len())
            .field("dim", &self.dim)
            .finish_non_exhaustive()
    }
}

/// How a preprocessed value, or an error in preprocessed units, becomes one in raw units: `raw = y
/// · scale + offset`.
#[derive(Clone, Debug)]
pub enum Restore {
    /// The same for every value.
    Global {
        /// Raw units in one preprocessed unit.
        scale: f32,
        /// The raw value of a preprocessed 0.
        offset: f32,
    },
    /// One scale and offset a sample (windows normalised one by one).
    PerSample {
        /// Raw units in one preprocessed unit, per sample.
        scale: Vec<f32>,
        /// The raw value of a preprocessed 0, per sample.
        offset: Vec<f32>,
    },
    /// One scale and offset a value (local contrast normalisation); row-major like the samples.
    PerPixel {
        /// Numbers in a sample.
        dim: usize,
        /// Raw units in one preprocessed unit, per value.
        scale: Vec<f32>,
        /// The raw value of a preprocessed 0, per value.
        offset: Vec<f32>,
    },
    /// One scale and offset a place in a sample, the same for all samples ([`PerPixel`]).
    PerPosition {
        /// Raw units in one preprocessed unit, per place.
        scale: Vec<f32>,
        /// The raw value of a preprocessed 0, per place.
        offset: Vec<f32>,
    },
}

impl Restore {
    /// Turns sample `index`, or anything in its preprocessed units, into raw units, in place.
    /// Values are not clamped.
    ///
    /// ```
    /// use sparsecode_trainer::data::Restore;
    ///
    /// let restore = Restore::Global { scale: 0.25, offset: 0.5 };
    /// let mut sample = [-2.0, 0.0, 2.0];
    /// restore.restore(0, &mut sample);
    /// assert_eq!(sample, [0.0, 0.5, 1.0]);
    /// ```
    ///
    /// # Panics
    /// If the data set has no sample `index`, or `sample` is longer than one.
    pub fn restore(&self, index: usize, sample: &mut [f32]) {
        match self {
            Self::Global { scale, offset } => {
                sample.iter_mut().for_each(|y| *y = *y * scale + offset);
            }
            Self::PerSample { scale, offset } => {
                let (scale, offset) = (scale[index], offset[index]);
                sample.iter_mut().for_each(|y| *y = *y * scale + offset);
            }
            Self::PerPixel { dim, scale, offset } => {
                let start = index * dim;
                let scale = &scale[start..start + dim][..sample.len()];
                let offset = &offset[start..start + dim][..sample.len()];
                for ((y, scale), offset) in sample.iter_mut().zip(scale).zip(offset) {
                    *y = *y * scale + offset;
                }
            }
            Self::PerPosition { scale, offset } => {
                let length = sample.len();
                let places = scale[..length].iter().zip(&offset[..length]);
                for (y, (scale, offset)) in sample.iter_mut().zip(places) {
                    *y = *y * scale + offset;
                }
            }
        }
    }

    /// The mean over values of the squared error of sample `index` in raw units, of `difference` =
    /// preprocessed estimate − preprocessed sample. 0 for an empty difference. Offsets cancel in a
    /// difference, so only scales matter.
    ///
    /// # Panics
    /// If the data set has no sample `index`.
    pub fn squared_error(&self, index: usize, difference: impl Iterator<Item = f32>) -> f64 {
        let (mut sum, mut count) = (0.0f64, 0usize);
        let mut add = |value: f64| {
            sum += value * value;
            count += 1;
        };
        match self {
            Self::Global { scale, .. } => {
                difference.for_each(|y| add(f64::from(y) * f64::from(*scale)));
            }
            Self::PerSample { scale, .. } => {
                let scale = f64::from(scale[index]);
                difference.for_each(|y| add(f64::from(y) * scale));
            }
            Self::PerPixel { dim, scale, .. } => difference
                .zip(&scale[index * dim..][..*dim])
                .for_each(|(y, &scale)| add(f64::from(y) * f64::from(scale))),
            Self::PerPosition { scale, .. } => difference
                .zip(scale)
                .for_each(|(y, &scale)| add(f64::from(y) * f64::from(scale))),
        }
        sum / count.max(1) as f64
    }
}

/// Everything that training and evaluation need to know about the data.
#[derive(Clone, Debug)]
pub struct Splits {
    /// For gradient steps.
    pub train: Dataset,
    /// For choosing a model.
    pub validation: Dataset,
    /// For the figures that are reported.
    pub test: Dataset,
    /// The shape of one sample.
    pub shape: InputShape,
    /// How raw samples were preprocessed; goes into the model file.
    pub preprocessing: Preprocessing,
    /// The range of raw values that PSNR refers to: 1 for images, the test part's maximum − minimum
    /// otherwise.
    pub peak: f32,
    /// Range, sample rate and number type of the raw training samples.
    pub input: InputFacts,
    /// What the data is, in one line without quotes, backslashes and control characters; goes into
    /// files.
    pub description: String,
    /// What was read, in one line for a person: file, column, samples, rate, range.
    pub read: String,
    /// Remarks on what was read, a line each: what was passed over, what was found out and may be
    /// wrong.
    pub notes: Vec<String>,
}

/// The `[data]` table of a run's configuration. `source` names the variant; every field has a
/// default.
///
/// ```
/// use sparsecode_trainer::data::DataConfig;
///
/// let config: DataConfig = toml::from_str(
///     r#"
///     source = "signal"
///     path = "bearing.npy"
///     window = 128
///     normalisation = "window-mean"
///     "#,
/// )?;
/// assert_eq!(config.source(), "signal");
/// let mistake = toml::from_str::<DataConfig>("source = 'mnist'\nwindow = 3").unwrap_err();
/// assert!(mistake.to_string().contains("window"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "source", rename_all = "kebab-case")]
pub enum DataConfig {
    /// Handwritten digits: 28×28 pixels in [0, 1], from the four idx files.
    Mnist(MnistConfig),
    /// Patches of a folder of pictures: with local contrast normalisation, whitened or as they are.
    Images(ImagesConfig),
    /// Windows of recordings: tables, sound or arrays.
    Signal(SignalConfig),
    /// Rows of an array: N×d (windows, features) or N×h×w (pictures).
    Npy(NpyConfig),
    /// Pictures in the four idx files, such as Fashion-MNIST: pixels in [0, 1], not normalised.
    Idx(IdxConfig),
    /// Whole pictures of a folder, in colour or grey: pixels in [0, 1], not normalised.
    Pictures(PicturesConfig),
    /// Rows of the tensors of a safetensors file, which may name the true atoms of a synthetic set.
    Safetensors(SafetensorsConfig),
    /// Patches of generated pictures of occluding discs, which look like natural images to a
    /// dictionary.
    DeadLeaves(DeadLeavesConfig),
    /// Windows of a generated vibration: a machine with a bearing fault.
    Vibration(GeneratedSignalConfig),
    /// Windows of generated, ECG-like beats.
    Ecg(GeneratedSignalConfig),
    /// Generated sparse combinations of the atoms of a random dictionary, which is known.
    Dictionary(DictionaryConfig),
}

impl DataConfig {
    /// The name of the source, as the table has it.
    pub fn source(&self) -> &'static str {
        match self {
            Self::Mnist(_) => "mnist",
            Self::Images(_) => "images",
            Self::Signal(_) => "signal",
            Self::Npy(_) => "npy",
            Self::Idx(_) => "idx",
            Self::Pictures(_) => "pictures",
            Self::Safetensors(_) => "safetensors",
            Self::DeadLeaves(_) => "dead-leaves",
            Self::Vibration(_) => "vibration",
            Self::Ecg(_) => "ecg",
            Self::Dictionary(_) => "dictionary",
        }
    }

    /// Loads or generates the three splits. `folder` is where files are looked for when the table
    /// does not name their place (`--data`, `SPARSECODE_DATA`). The same table, files and seed give
    /// the same samples, whatever the number of threads.
    ///
    /// ```
    /// use sparsecode_trainer::data::{DataConfig, DeadLeavesConfig};
    ///
    /// let config = DataConfig::DeadLeaves(DeadLeavesConfig {
    ///     train: 100,
    ///     ..DeadLeavesConfig::default()
    /// });
    /// let splits = config.load(None, 31)?;
    /// assert_eq!((splits.train.len(), splits.train.dim), (100, splits.shape.input_dim()));
    /// # Ok::<(), sparsecode_trainer::data::DataError>(())
    /// ```
    ///
    /// # Errors
    /// Files are missing, unreadable or malformed; a field of the table cannot be used; the data is
    /// too short or constant.
    pub fn load(&self, folder: Option<&Path>, seed: u64) -> Result<Splits, DataError> {
        match self {
            Self::Mnist(config) => config.load(folder, seed),
            Self::Images(config) => config.load(folder, seed),
            Self::Signal(config) => config.load(folder, seed),
            Self::Npy(config) => config.load(folder, seed),
            Self::Idx(config) => config.load(folder, seed),
            Self::Pictures(config) => config.load(folder, seed),
            Self::Safetensors(config) => config.load(folder),
            Self::DeadLeaves(config) => config.load(seed),
            Self::Vibration(config) => config.load_vibration(seed),
            Self::Ecg(config) => config.load_ecg(seed),
            Self::Dictionary(config) => config.load(seed),
        }
    }

    /// The atoms that a synthetic set was made with, in the unit of its preprocessed samples.
    ///
    /// `None` for other data. `folder` and `seed` as for [`load`](Self::load). Cost: as loading.
    ///
    /// ```
    /// use sparsecode_trainer::data::{DataConfig, DictionaryConfig};
    ///
    /// let config = DataConfig::Dictionary(DictionaryConfig::default());
    /// let truth = config.true_atoms(None, 31)?.unwrap();
    /// assert_eq!((truth.count(), truth.input_dim), (64, 64));
    /// # Ok::<(), sparsecode_trainer::data::DataError>(())
    /// ```
    ///
    /// # Errors
    /// As [`load`](Self::load); the atoms have another length than the samples.
    pub fn true_atoms(
        &self,
        folder: Option<&Path>,
        seed: u64,
    ) -> Result<Option<TrueAtoms>, DataError> {
        match self {
            Self::Dictionary(config) => config.true_atoms(seed).map(Some),
            Self::Safetensors(config) => config.true_atoms(folder),
            _ => Ok(None),
        }
    }
}

/// The generator of one part (an image, a batch of crops) of the data drawn from a stream: parts
/// can then be made in any order, on any thread. A part has 2³² words to itself.
fn part_generator(seed: u64, stream: Stream, part: u32) -> ChaCha8Rng {
    let mut rng = generator(seed, stream);
    rng.set_word_pos(u128::from(part) << 32);
    rng
}

/// The generator of a random split of files or rows: a part of the training stream that no data
/// uses.
fn split_generator(seed: u64) -> ChaCha8Rng {
    part_generator(seed, Stream::TrainData, u32::MAX)
}

/// Mean and population standard deviation, in f64; `None` if the deviation is not above 0 (or a
/// value is not finite).
pub(crate) fn mean_and_deviation(values: &[f32]) -> Option<(f32, f32)> {
    let count = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let variance = values
        .iter()
        .map(|&v| (f64::from(v) - mean).powi(2))
        .sum::<f64>()
        / count;
    let deviation = variance.sqrt() as f32;
    (deviation > 0.0 && deviation.is_finite()).then_some((mean as f32, deviation))
}

/// The smallest and the largest value.
fn extent(values: impl IntoIterator<Item = f32>) -> [f32; 2] {
    let values = values.into_iter();
    values.fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], value| {
        [low.min(value), high.max(value)]
    })
}

/// Maximum − minimum.
fn range(values: &[f32]) -> f32 {
    let [low, high] = extent(values.iter().copied());
    high - low
}

/// Raw samples, normalised by one mean and deviation.
fn globally_normalised(mut samples: Vec<f32>, dim: usize, mean: f32, deviation: f32) -> Dataset {
    samples
        .iter_mut()
        .for_each(|x| *x = (*x - mean) / deviation);
    Dataset {
        samples,
        dim,
        restore: Restore::Global {
            scale: deviation,
            offset: mean,
        },
        labels: None,
    }
}

/// Checks a shape that goes into a model file.
fn checked_shape(
    height: usize,
    width: usize,
    field: &'static str,
) -> Result<InputShape, DataError> {
    let shape = match (u16::try_from(height), u16::try_from(width)) {
        (Ok(height), Ok(width)) => Some(InputShape { height, width }),
        _ => None,
    };
    shape
        .filter(|shape| (1..=usize::from(u16::MAX)).contains(&shape.input_dim()))
        .ok_or_else(|| {
            DataError::config(
                field,
                format!("a sample of {height}x{width} is not possible"),
                "choose 1 to 65535 numbers in a sample",
            )
        })
}

/// The most samples that are generated or cropped for one split: a count that is larger is a slip,
/// and would only fill the memory.
const MAX_SAMPLES: usize = 10_000_000;

/// [`checked_counts`] for samples that are made, not read.
fn checked_made_counts(train: usize, validation: usize, test: usize) -> Result<(), DataError> {
    checked_counts(train, validation, test)?;
    for (field, count) in [("train", train), ("validation", validation), ("test", test)] {
        if count > MAX_SAMPLES {
            return Err(DataError::config(
                field,
                format!("{count} samples are too many"),
                format!("give at most {MAX_SAMPLES}"),
            ));
        }
    }
    Ok(())
}

/// Checks that no count of samples is 0.
fn checked_counts(train: usize, validation: usize, test: usize) -> Result<(), DataError> {
    for (field, count) in [("train", train), ("validation", validation), ("test", test)] {
        if count == 0 {
            return Err(DataError::config(
                field,
                "there must be at least one sample",
                "give a count above 0, or leave it out",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// The folder with real data (`mnist/`, `natural/`, `sensor/`), where there is one: `data/` in
    /// `SPARSECODE_SHARED`, or in `shared/` beside the workspace.
    pub(crate) fn shared_data() -> Option<PathBuf> {
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
        let folder = std::env::var_os("SPARSECODE_SHARED").map_or_else(beside, PathBuf::from);
        let found = Some(folder.join("data")).filter(|path| path.is_dir());
        if found.is_none() {
            // Past the test harness, which would hide it.
            let line = b"skipped: tests on real data: no data folder (set SPARSECODE_SHARED)\n";
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line);
        }
        found
    }

    #[test]
    fn every_table_reads_back_as_it_was_written() {
        let configs = [
            DataConfig::Mnist(MnistConfig::default()),
            DataConfig::Images(ImagesConfig {
                folder: Some("pictures".into()),
                ..ImagesConfig::default()
            }),
            DataConfig::Signal(SignalConfig {
                column: Some(Column::Name("x".to_string())),
                normalisation: Normalisation::Window,
                ..SignalConfig::default()
            }),
            DataConfig::Signal(SignalConfig {
                column: Some(Column::Index(2)),
                ..SignalConfig::default()
            }),
            DataConfig::Npy(NpyConfig::default()),
            DataConfig::DeadLeaves(DeadLeavesConfig::default()),
            DataConfig::Vibration(GeneratedSignalConfig::default()),
            DataConfig::Ecg(GeneratedSignalConfig::default()),
            DataConfig::Idx(IdxConfig::default()),
            DataConfig::Pictures(PicturesConfig::default()),
            DataConfig::Safetensors(SafetensorsConfig::default()),
            DataConfig::Dictionary(DictionaryConfig::default()),
        ];
        for config in configs {
            let text = toml::to_string(&config).unwrap();
            assert!(text.contains(config.source()), "{text}");
            assert_eq!(toml::from_str::<DataConfig>(&text).unwrap(), config);
            let minimal = format!("source = \"{}\"", config.source());
            toml::from_str::<DataConfig>(&minimal).unwrap();
            let wrong = format!("{minimal}\nfrobnicate = 1");
            let error = toml::from_str::<DataConfig>(&wrong).unwrap_err();
            assert!(error.to_string().contains("frobnicate"), "{error}");
        }
        assert!(toml::from_str::<DataConfig>("source = 'cifar'").is_err());
    }

    #[test]
    fn restoring_follows_each_scale() {
        let per_sample = Restore::PerSample {
            scale: vec![1.0, 2.0],
            offset: vec![0.0, 10.0],
        };
        let per_pixel = Restore::PerPixel {
            dim: 2,
            scale: vec![9.0, 9.0, 2.0, 4.0],
            offset: vec![9.0, 9.0, 1.0, -1.0],
        };
        let mut sample = [1.0, 3.0];
        per_sample.restore(1, &mut sample);
        assert_eq!(sample, [12.0, 16.0]);
        let mut sample = [1.0, 3.0];
        per_pixel.restore(1, &mut sample);
        assert_eq!(sample, [3.0, 11.0]);
        assert_eq!(per_sample.squared_error(1, [1.0, 2.0].into_iter()), 10.0);
        assert_eq!(per_pixel.squared_error(1, [1.0, 2.0].into_iter()), 34.0);
        let global = Restore::Global {
            scale: 0.5,
            offset: 7.0,
        };
        assert_eq!(global.squared_error(0, [2.0, 4.0].into_iter()), 2.5);
    }

    #[test]
    fn parts_of_a_stream_differ_and_repeat() {
        use rand::Rng;
        let draw = |part| part_generator(5, Stream::TrainData, part).random::<u64>();
        assert_eq!(draw(3), draw(3));
        let mut all: Vec<u64> = (0..100).map(draw).collect();
        all.push(split_generator(5).random());
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 101);
    }
}
