//! MNIST's idx files, gzipped or not, and its splits; other pictures in such files.
//!
//! The format is LeCun's: two zero bytes, the type (8 = unsigned byte), the number of axes, each
//! length as a big-endian u32, then the values.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::npy::{Values, read_npy};
use super::paths::{chosen_folder, display_name};
use super::{
    Contrast, Dataset, InputFacts, NumberType, Preprocessing, Restore, Splits, checked_counts,
    checked_shape, extent, split_generator,
};

/// Mean of MNIST's training pixels in [0, 1].
pub const MEAN: f32 = 0.1307;
/// Standard deviation of MNIST's training pixels in [0, 1].
pub const DEVIATION: f32 = 0.3081;

/// The most bytes that an idx file may unpack to (MNIST's largest has 47 million).
const MAX_UNPACKED: usize = 1 << 30;
const REMEDY: &str = "fetch it with: sparsecode data fetch mnist --output DIR";

/// `source = "mnist"`: handwritten digits, 28×28, with labels.
///
/// Pixels in [0, 1], then `(x − 0.1307) / 0.3081`. The four idx files are looked for in the folder
/// and in its `mnist/`. Training and validation are the published split if its `MNIST_train.npy`
/// and `MNIST_val.npy` (indices into the 60,000) lie beside them, and otherwise a random twelfth
/// (5,000) of the 60,000, chosen by the seed, is validation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MnistConfig {
    /// The folder with the four idx files, or with a folder `mnist` that has them. Not set: what
    /// `--data` or `SPARSECODE_DATA` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// At most so many training samples, the first of the split. Not set: all.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<usize>,
    /// At most so many validation samples. Not set: all.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<usize>,
    /// At most so many test samples. Not set: all.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<usize>,
}

impl MnistConfig {
    pub(super) fn load(&self, folder: Option<&Path>, seed: u64) -> Result<Splits, DataError> {
        let remedy = format!("; {REMEDY}");
        let folder = chosen_folder(self.folder.as_ref(), folder, "MNIST", &remedy)?;
        MNIST.load(folder, [self.train, self.validation, self.test], seed)
    }
}

/// What sets of pictures in idx files differ in.
pub(super) struct Set {
    /// What the set is called in errors, in the genitive and with a blank; may be empty.
    pub(super) whose: &'static str,
    /// The set's name in descriptions; that of the folder where it is not known.
    pub(super) name: Option<&'static str>,
    /// What to do about files that are missing or malformed.
    pub(super) remedy: &'static str,
    /// A folder in the folder that a person names, where the files may lie, too.
    pub(super) subfolder: Option<&'static str>,
    /// Subtracted from pixels in [0, 1].
    pub(super) mean: f32,
    /// Pixels are divided by it.
    pub(super) deviation: f32,
    /// Whether a split into training and validation is published, as files beside the pictures.
    pub(super) is_split: bool,
}

const MNIST: Set = Set {
    whose: "MNIST's ",
    name: Some("MNIST"),
    remedy: REMEDY,
    subfolder: Some("mnist"),
    mean: MEAN,
    deviation: DEVIATION,
    is_split: true,
};

impl Set {
    /// Reads the four files of the set, of each part at most as many samples as `limits` say.
    pub(super) fn load(
        &self,
        folder: &Path,
        limits: [Option<usize>; 3],
        seed: u64,
    ) -> Result<Splits, DataError> {
        let limits = limits.map(|count| count.unwrap_or(usize::MAX));
        checked_counts(limits[0], limits[1], limits[2])?;

        let train = Digits::read(self, folder, "train-images", "train-labels")?;
        let test = Digits::read(self, folder, "t10k-images", "t10k-labels")?;
        if (train.height, train.width) != (test.height, test.width) {
            return Err(DataError::malformed(
                &test.path,
                format!(
                    "test images are {}x{}, training images {}x{}",
                    test.height, test.width, train.height, train.width
                ),
                self.remedy,
            ));
        }
        let shape = checked_shape(train.height, train.width, "folder")?;
        let place = train.path.parent().unwrap_or(folder);
        let (mut train_rows, mut validation_rows, split) =
            match self.published_split(place, train.len())? {
                Some((train, validation)) => (train, validation, "published split".to_string()),
                None => {
                    let (train, validation) = seeded_split(train.len(), seed);
                    (train, validation, format!("random split of seed {seed}"))
                }
            };
        let test_rows: Vec<usize> = (0..test.len().min(limits[2])).collect();
        train_rows.truncate(limits[0]);
        validation_rows.truncate(limits[1]);
        Ok(Splits {
            description: format!(
                "{}, {split}, {}/{}/{}",
                self.name
                    .map_or_else(|| display_name(place), ToOwned::to_owned),
                train_rows.len(),
                validation_rows.len(),
                test_rows.len()
            ),
            validation: self.dataset(&train, &validation_rows),
            train: self.dataset(&train, &train_rows),
            test: self.dataset(&test, &test_rows),
            shape,
            preprocessing: Preprocessing {
                mean: self.mean,
                deviation: self.deviation,
                contrast: Contrast::None,
            },
            peak: 1.0,
            input: InputFacts {
                range: Some(train.extent(&train_rows)),
                sample_rate: None,
                number_type: Some(NumberType::U8),
            },
            read: format!(
                "{}: {} and {} images of {shape}, pixels from 0 to 1",
                place.display(),
                train.len(),
                test.len()
            ),
            notes: Vec::new(),
        })
    }

    fn published_split(&self, folder: &Path, count: usize) -> Result<Option<Rows>, DataError> {
        match self.is_split {
            true => published_split(folder, count),
            false => Ok(None),
        }
    }

    fn dataset(&self, images: &Digits, rows: &[usize]) -> Dataset {
        let dim = images.height * images.width;
        let values: [f32; 256] =
            std::array::from_fn(|pixel| (pixel as f32 / 255.0 - self.mean) / self.deviation);
        let mut samples = Vec::with_capacity(rows.len() * dim);
        for &row in rows {
            let pixels = &images.pixels[row * dim..][..dim];
            samples.extend(pixels.iter().map(|&pixel| values[usize::from(pixel)]));
        }
        Dataset {
            samples,
            dim,
            restore: Restore::Global {
                scale: self.deviation,
                offset: self.mean,
            },
            labels: Some(rows.iter().map(|&row| images.labels[row]).collect()),
        }
    }

    fn find(&self, folder: &Path, stem: &str, axes: usize) -> Result<PathBuf, DataError> {
        let inner = self.subfolder.map(|name| folder.join(name));
        [Some(folder.to_path_buf()), inner]
            .iter()
            .flatten()
            .flat_map(|place| names(stem, axes).map(|name| place.join(name)))
            .find(|path| path.is_file())
            .ok_or_else(|| {
                let name = &names(stem, axes)[0];
                DataError::missing(
                    folder,
                    format!("{}{name} is not in this folder", self.whose),
                    format!(
                        "name the folder of {}files with --data DIR, or {}",
                        self.whose, self.remedy
                    ),
                )
            })
    }
}

/// Images and their labels, as the files have them.
struct Digits {
    path: PathBuf,
    pixels: Vec<u8>,
    labels: Vec<u8>,
    height: usize,
    width: usize,
}

impl Digits {
    fn read(set: &Set, folder: &Path, images: &str, labels: &str) -> Result<Self, DataError> {
        let path = set.find(folder, images, 3)?;
        let (axes, pixels) = read_bytes(&path, 3, set.remedy)?;
        let (height, width) = (axes[1], axes[2]);
        if axes.contains(&0) {
            return Err(DataError::malformed(
                &path,
                format!("there are no pixels: lengths are {axes:?}"),
                set.remedy,
            ));
        }
        let labels_path = set.find(folder, labels, 1)?;
        let (label_axes, labels) = read_bytes(&labels_path, 1, set.remedy)?;
        if label_axes[0] != axes[0] {
            return Err(DataError::malformed(
                &labels_path,
                format!("{} labels for {} images", label_axes[0], axes[0]),
                set.remedy,
            ));
        }
        Ok(Self {
            path,
            pixels,
            labels,
            height,
            width,
        })
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    /// The darkest and the brightest pixel of some images, from 0 to 1.
    fn extent(&self, rows: &[usize]) -> [f32; 2] {
        let dim = self.height * self.width;
        let pixels = rows.iter().flat_map(|row| &self.pixels[row * dim..][..dim]);
        extent(pixels.map(|&pixel| f32::from(pixel) / 255.0))
    }
}

/// The four names that one idx file goes by.
fn names(stem: &str, axes: usize) -> [String; 4] {
    [
        format!("{stem}-idx{axes}-ubyte.gz"),
        format!("{stem}-idx{axes}-ubyte"),
        format!("{stem}.idx{axes}-ubyte.gz"),
        format!("{stem}.idx{axes}-ubyte"),
    ]
}

/// Reads an idx file of unsigned bytes with so many axes, gzipped or not (told by its first bytes,
/// not by its name): the lengths of the axes and the values.
///
/// # Errors
/// The file cannot be read or unpacked; it is not an idx file of bytes with `axes` axes; its length
/// is not what its header says, or above 1 GiB.
pub fn read_idx(path: &Path, axes: usize) -> Result<(Vec<usize>, Vec<u8>), DataError> {
    read_bytes(path, axes, REMEDY)
}

fn read_bytes(path: &Path, axes: usize, remedy: &str) -> Result<(Vec<usize>, Vec<u8>), DataError> {
    let malformed = |reason: String| DataError::malformed(path, reason, remedy);
    let bytes = std::fs::read(path).map_err(DataError::read(path))?;
    let mut reader: Box<dyn Read> = if bytes.starts_with(&[0x1f, 0x8b]) {
        Box::new(GzDecoder::new(bytes.as_slice()))
    } else {
        Box::new(bytes.as_slice())
    };
    let mut header = vec![0u8; 4 + 4 * axes];
    reader
        .read_exact(&mut header)
        .map_err(|error| malformed(format!("cannot read the header ({error})")))?;
    if header[..4] != [0, 0, 8, axes as u8] {
        return Err(malformed(format!(
            "starts with {:02x?}, not with [00, 00, 08, {axes:02x}]",
            &header[..4]
        )));
    }
    let lengths: Vec<usize> = header[4..]
        .chunks_exact(4)
        .map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]) as usize)
        .collect();
    let count = lengths
        .iter()
        .try_fold(1usize, |product, &length| product.checked_mul(length))
        .filter(|&count| count <= MAX_UNPACKED)
        .ok_or_else(|| malformed(format!("lengths {lengths:?} exceed 1 GiB")))?;
    // Grows with what is really there, not with what the header claims; one byte more shows what is
    // too many.
    let mut values = Vec::new();
    reader
        .take(count as u64 + 1)
        .read_to_end(&mut values)
        .map_err(|error| malformed(format!("broken after {} values ({error})", values.len())))?;
    if values.len() != count {
        let found = if values.len() > count {
            "more".to_string()
        } else {
            values.len().to_string()
        };
        return Err(malformed(format!(
            "lengths {lengths:?} make {count} values, the file has {found}"
        )));
    }
    Ok((lengths, values))
}

/// Rows of training and of validation.
type Rows = (Vec<usize>, Vec<usize>);

/// The published split, if its files are there.
fn published_split(folder: &Path, count: usize) -> Result<Option<Rows>, DataError> {
    let paths = ["MNIST_train.npy", "MNIST_val.npy"].map(|name| folder.join(name));
    match (paths[0].is_file(), paths[1].is_file()) {
        (false, false) => return Ok(None),
        (true, true) => {}
        (train, _) => {
            let (there, other) = match train {
                true => ("MNIST_train.npy", "MNIST_val.npy"),
                false => ("MNIST_val.npy", "MNIST_train.npy"),
            };
            return Err(DataError::missing(
                folder,
                format!("{other} is not beside {there}, and both make the published split"),
                "add it, or remove the other for a random split",
            ));
        }
    }
    let mut seen = HashSet::new();
    let mut read = |path: &Path| -> Result<Vec<usize>, DataError> {
        let malformed = |reason: String| {
            DataError::malformed(
                path,
                reason,
                "replace both files of the published split, or remove both for a random split",
            )
        };
        let array = read_npy(path)?;
        let Values::Integer(values) = array.values else {
            return Err(malformed("indices are not integers".to_string()));
        };
        if values.is_empty() {
            return Err(malformed("there are no indices".to_string()));
        }
        let mut rows = Vec::with_capacity(values.len());
        for (position, value) in values.into_iter().enumerate() {
            let row = usize::try_from(value).ok().filter(|&row| row < count);
            let row = row.ok_or_else(|| {
                malformed(format!(
                    "index {value} at position {position} is not below {count}"
                ))
            })?;
            if !seen.insert(row) {
                return Err(malformed(format!(
                    "index {row} at position {position} occurs a second time"
                )));
            }
            rows.push(row);
        }
        Ok(rows)
    };
    let train = read(&paths[0])?;
    Ok(Some((train, read(&paths[1])?)))
}

/// Eleven twelfths and one twelfth (55,000 and 5,000 of 60,000), both in rising order.
fn seeded_split(count: usize, seed: u64) -> Rows {
    let mut rows: Vec<usize> = (0..count).collect();
    rows.shuffle(&mut split_generator(seed));
    let mut train = rows.split_off((count / 12).max(1));
    train.sort_unstable();
    rows.sort_unstable();
    (train, rows)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::npy::write_npy_f32;
    use super::super::tests::shared_data;
    use super::*;

    /// An idx file of bytes.
    pub(crate) fn idx(lengths: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, lengths.len() as u8];
        for length in lengths {
            bytes.extend(length.to_be_bytes());
        }
        bytes.extend(values);
        bytes
    }

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A folder with 24 + 3 images of 2×3; pixel p of image i is 6 i + p.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let pixels: Vec<u8> = (0..24 * 6).collect();
        let labels: Vec<u8> = (0..24).map(|row| row % 10).collect();
        let place = folder.path().join("mnist");
        std::fs::create_dir(&place).unwrap();
        let write = |name: &str, bytes: Vec<u8>| std::fs::write(place.join(name), bytes).unwrap();
        write(
            "train-images-idx3-ubyte.gz",
            gzip(&idx(&[24, 2, 3], &pixels)),
        );
        write("train-labels.idx1-ubyte", idx(&[24], &labels));
        write(
            "t10k-images.idx3-ubyte.gz",
            gzip(&idx(&[3, 2, 3], &pixels[..18])),
        );
        write("t10k-labels-idx1-ubyte", idx(&[3], &labels[..3]));
        folder
    }

    fn load(folder: &Path, seed: u64) -> Result<Splits, DataError> {
        MnistConfig::default().load(Some(folder), seed)
    }

    #[test]
    fn files_of_any_name_make_three_disjoint_splits() {
        let folder = folder();
        let splits = load(folder.path(), 31).unwrap();
        assert_eq!(splits.shape.to_string(), "2x3");
        assert_eq!(
            (
                splits.train.len(),
                splits.validation.len(),
                splits.test.len()
            ),
            (22, 2, 3)
        );
        assert!(splits.description.contains("random split of seed 31"));
        let mut rows: Vec<usize> = Vec::new();
        for split in [&splits.train, &splits.validation] {
            for index in 0..split.len() {
                let mut sample = split.sample(index).to_vec();
                split.restore.restore(index, &mut sample);
                let pixels: Vec<usize> = sample
                    .iter()
                    .map(|v| (v * 255.0).round() as usize)
                    .collect();
                let row = pixels[0] / 6;
                assert_eq!(pixels, (6 * row..6 * row + 6).collect::<Vec<_>>());
                assert_eq!(split.labels.as_ref().unwrap()[index], (row % 10) as u8);
                rows.push(row);
            }
        }
        rows.sort_unstable();
        assert_eq!(rows, (0..24).collect::<Vec<_>>());
        assert_eq!(splits.test.sample(0)[0], -MEAN / DEVIATION);

        assert_eq!(
            load(folder.path(), 31).unwrap().train.samples,
            splits.train.samples
        );
        assert_ne!(
            load(folder.path(), 32).unwrap().train.samples,
            splits.train.samples
        );
        let small = MnistConfig {
            train: Some(5),
            ..MnistConfig::default()
        };
        let small = small.load(Some(folder.path()), 31).unwrap();
        assert_eq!(small.train.samples, splits.train.samples[..30]);
    }

    #[test]
    fn the_published_split_is_followed_and_checked() {
        let folder = folder();
        let place = folder.path().join("mnist");
        let write = |name: &str, rows: &[i64]| {
            let header = format!(
                "{{'descr': '<i8', 'fortran_order': False, 'shape': ({},)}}",
                rows.len()
            );
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.bytes());
            bytes.extend(rows.iter().flat_map(|row| row.to_le_bytes()));
            std::fs::write(place.join(name), bytes).unwrap();
        };
        write("MNIST_train.npy", &[7, 3]);
        let error = load(folder.path(), 1).unwrap_err().to_string();
        assert!(error.contains("MNIST_val.npy"), "{error}");
        write("MNIST_val.npy", &[5]);
        let splits = load(folder.path(), 1).unwrap();
        assert_eq!(splits.train.labels.unwrap(), [7, 3]);
        assert_eq!(splits.validation.labels.unwrap(), [5]);
        assert!(splits.description.contains("published split"));
        for (rows, needle) in [
            (vec![7], "second time"),
            (vec![24], "not below 24"),
            (vec![-1], "not below 24"),
            (vec![], "no indices"),
        ] {
            write("MNIST_val.npy", &rows);
            let error = load(folder.path(), 1).unwrap_err().to_string();
            assert!(
                error.contains(needle) && error.contains("MNIST_val.npy"),
                "{error}"
            );
        }
        write_npy_f32(&place.join("MNIST_val.npy"), &[1], &[5.0]).unwrap();
        let error = load(folder.path(), 1).unwrap_err().to_string();
        assert!(error.contains("not integers"), "{error}");
    }

    #[test]
    fn hostile_files_are_refused_by_name_with_a_remedy() {
        let good = idx(&[24, 2, 3], &[0; 144]);
        let huge = idx(&[u32::MAX, u32::MAX, u32::MAX], &[]);
        let claims = idx(&[1000, 1000, 1000], &[1, 2, 3]);
        let mut flipped = gzip(&idx(&[24, 2, 3], &(0..144).collect::<Vec<u8>>()));
        let cut = flipped[..flipped.len() / 2].to_vec();
        let middle = flipped.len() - 6;
        flipped[middle] ^= 0x55;
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (vec![], "header"),
            (b"<html>not found</html>".to_vec(), "starts with"),
            (idx(&[24], &[0; 24]), "starts with"),
            (huge, "1 GiB"),
            (gzip(&claims), "has 3"),
            (good[..good.len() - 1].to_vec(), "has 143"),
            ([good.clone(), vec![0]].concat(), "has more"),
            (gzip(&[good.clone(), vec![0; 1 << 20]].concat()), "has more"),
            (cut, "broken"),
            (flipped, "broken"),
            (idx(&[24, 0, 3], &[]), "no pixels"),
            (idx(&[23, 2, 3], &[0; 138]), "24 labels for 23 images"),
        ];
        for (bytes, needle) in cases {
            let folder = folder();
            let name = "mnist/train-images-idx3-ubyte.gz";
            std::fs::write(folder.path().join(name), bytes).unwrap();
            let error = load(folder.path(), 1).unwrap_err().to_string();
            assert!(error.contains(needle), "{error:?} lacks {needle:?}");
            assert!(error.contains("train-"), "{error}");
            assert!(error.contains("sparsecode data fetch mnist"), "{error}");
        }
    }

    #[test]
    fn missing_files_and_folders_are_named_with_a_remedy() {
        let empty = tempfile::tempdir().unwrap();
        for error in [
            load(empty.path(), 1).unwrap_err().to_string(),
            load(&empty.path().join("nowhere"), 1)
                .unwrap_err()
                .to_string(),
            MnistConfig::default()
                .load(None, 1)
                .unwrap_err()
                .to_string(),
        ] {
            assert!(
                error.contains("sparsecode data fetch mnist --output DIR"),
                "{error}"
            );
            assert!(error.contains("--data DIR"), "{error}");
        }
        let none = MnistConfig {
            test: Some(0),
            ..MnistConfig::default()
        };
        let error = none.load(Some(folder().path()), 1).unwrap_err().to_string();
        assert!(error.starts_with("data.test"), "{error}");
    }

    #[test]
    fn the_real_files() {
        let Some(folder) = shared_data() else { return };
        let start = std::time::Instant::now();
        let splits = load(&folder, 31).unwrap();
        println!(
            "MNIST loaded in {:?}: {}",
            start.elapsed(),
            splits.description
        );
        assert_eq!(
            splits.description,
            "MNIST, published split, 55000/5000/10000"
        );
        assert_eq!(splits.train.labels.as_ref().unwrap().len(), 55_000);
        // The normalising constants are the training set's own, so what comes out is standard.
        let (mean, deviation) = super::super::mean_and_deviation(&splits.train.samples).unwrap();
        assert!(
            mean.abs() < 2e-3 && (deviation - 1.0).abs() < 2e-3,
            "{mean} {deviation}"
        );
        let mut counts = [0; 10];
        splits
            .test
            .labels
            .unwrap()
            .iter()
            .for_each(|&label| counts[usize::from(label)] += 1);
        // The class counts of the published test set.
        assert_eq!(
            counts,
            [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
        );
    }
}
