//! Pictures in idx files, such as Fashion-MNIST, with pixels as they are.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Splits;
use super::error::DataError;
use super::mnist::Set;
use super::paths::chosen_folder;

/// `source = "idx"`: pictures with labels in the four idx files `train-images`, `train-labels`,
/// `t10k-images` and `t10k-labels`, gzipped or not, such as Fashion-MNIST's.
///
/// Samples are pixels in [0, 1], not normalised. Sizes and counts come from the files. A random
/// twelfth of the training pictures, chosen by the seed, is validation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IdxConfig {
    /// The folder with the four idx files. Not set: what `--data` or `SPARSECODE_DATA` names.
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

const PICTURES: Set = Set {
    whose: "",
    name: None,
    remedy: "replace the file by one that is whole, such as Fashion-MNIST's",
    subfolder: None,
    mean: 0.0,
    deviation: 1.0,
    is_split: false,
};

impl IdxConfig {
    pub(super) fn load(&self, folder: Option<&Path>, seed: u64) -> Result<Splits, DataError> {
        let folder = chosen_folder(self.folder.as_ref(), folder, "pictures in idx files", "")?;
        PICTURES.load(folder, [self.train, self.validation, self.test], seed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::mnist::tests::{gzip, idx};
    use super::super::tests::shared_data;
    use super::super::{Preprocessing, mean_and_deviation};
    use super::*;

    fn load(folder: &Path) -> Result<Splits, DataError> {
        IdxConfig::default().load(Some(folder), 5)
    }

    /// 24 + 3 pictures of 2×3.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let pixels: Vec<u8> = (0..24 * 6).collect();
        let write = |name: &str, bytes| std::fs::write(folder.path().join(name), bytes).unwrap();
        write(
            "train-images-idx3-ubyte.gz",
            gzip(&idx(&[24, 2, 3], &pixels)),
        );
        write(
            "train-labels-idx1-ubyte.gz",
            gzip(&idx(&[24], &pixels[..24])),
        );
        write("t10k-images-idx3-ubyte", idx(&[3, 2, 3], &pixels[..18]));
        write("t10k-labels-idx1-ubyte", idx(&[3], &pixels[..3]));
        folder
    }

    #[test]
    fn pixels_are_what_the_files_hold() {
        let folder = folder();
        let splits = load(folder.path()).unwrap();
        assert_eq!((splits.train.len(), splits.validation.len()), (22, 2));
        assert_eq!(splits.preprocessing, Preprocessing::IDENTITY);
        let expected: Vec<f32> = (0..18u8).map(|pixel| f32::from(pixel) / 255.0).collect();
        assert_eq!(splits.test.samples, expected);
        // Another person's published split is not theirs.
        std::fs::write(folder.path().join("MNIST_train.npy"), "").unwrap();
        assert_eq!(load(folder.path()).unwrap().train.len(), 22);
    }

    #[test]
    fn files_that_are_missing_or_broken_are_named() {
        let folder = folder();
        let broken = |name: &str, bytes: Option<Vec<u8>>, words: &[&str]| {
            let path = folder.path().join(name);
            let before = std::fs::read(&path).unwrap();
            match bytes {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let error = load(folder.path()).unwrap_err().to_string();
            for word in [name].iter().chain(words) {
                assert!(error.contains(word), "{word}: {error}");
            }
            assert!(!error.contains("fetch"), "{error}");
            std::fs::write(path, before).unwrap();
        };
        broken("train-images-idx3-ubyte.gz", None, &["--data DIR"]);
        let short = idx(&[3, 2, 3], &[0; 17]);
        broken("t10k-images-idx3-ubyte", Some(short), &["has 17"]);
        let wide = idx(&[3, 2, 4], &[0; 24]);
        broken(
            "t10k-images-idx3-ubyte",
            Some(wide),
            &["test images are 2x4"],
        );
        let fewer = idx(&[2], &[0; 2]);
        broken("t10k-labels-idx1-ubyte", Some(fewer), &["2 labels for 3"]);
        let page = b"<html>".to_vec();
        broken("train-labels-idx1-ubyte.gz", Some(page), &["header"]);
        let error = IdxConfig::default().load(None, 1).unwrap_err().to_string();
        assert!(
            error.contains("idx files") && error.contains("--data"),
            "{error}"
        );
    }

    #[test]
    fn fashion_mnist() {
        let Some(folder) = shared_data().map(|data| data.join("fashion-mnist-subset")) else {
            return;
        };
        let splits = load(&folder).unwrap();
        assert_eq!(
            splits.description,
            "fashion-mnist-subset, random split of seed 5, 5500/500/1000"
        );
        assert_eq!(splits.shape.to_string(), "28x28");
        // The whole set's mean is 0.28604, its deviation 0.35302.
        let (mean, deviation) = mean_and_deviation(&splits.train.samples).unwrap();
        assert!((mean - 0.286).abs() < 3e-3 && (deviation - 0.353).abs() < 3e-3);
        let classes = splits.test.labels.unwrap();
        assert!((0..10).all(|class| classes.contains(&class)));
    }
}
