//! Samples from one `.npy` array, a row each.

use std::path::{Path, PathBuf};

use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::look::short;
use super::npy::read_npy;
use super::paths::{chosen_file, display_name};
use super::{
    Contrast, InputFacts, Preprocessing, Splits, checked_counts, checked_shape, extent,
    globally_normalised, mean_and_deviation, range, split_generator,
};

/// An array of so few rows may hold channels, not samples.
const MOST_CHANNELS: usize = 16;

/// `source = "npy"`: the rows of an array N×d (windows of d) or N×h×w (images), of any real number
/// type.
///
/// Rows are shuffled by the seed: 80 % training, 10 % validation, 10 % test. All values are
/// normalised by the mean and the standard deviation of the training rows. Raw units are the
/// array's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NpyConfig {
    /// The file (`.npy`). Not set: what `--data` or `SPARSECODE_DATA` names, or the only `.npy` in
    /// that folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// At most so many training rows. Not set: all.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<usize>,
    /// At most so many validation rows. Not set: all.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<usize>,
    /// At most so many test rows. Not set: all.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<usize>,
    /// The range of raw values that PSNR refers to. Not set: maximum − minimum of the test rows.
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<f32>,
}

impl NpyConfig {
    pub(super) fn load(&self, folder: Option<&Path>, seed: u64) -> Result<Splits, DataError> {
        let path = chosen_file(self.path.as_deref(), folder, &["npy"])?;
        let limits = [self.train, self.validation, self.test].map(|c| c.unwrap_or(usize::MAX));
        checked_counts(limits[0], limits[1], limits[2])?;
        let array = read_npy(&path)?;
        let (axes, number_type) = (array.shape, array.number_type);
        let values = array.values.into_f32();
        let (count, height, width) = match axes[..] {
            [count, width] => (count, 1, width),
            [count, height, width] => (count, height, width),
            _ => {
                return Err(DataError::malformed(
                    &path,
                    format!("shape {axes:?} is neither N×d nor N×h×w"),
                    "reshape it; for one long signal use source = \"signal\"",
                ));
            }
        };
        let transposed = matches!(axes[..], [rows, columns]
            if rows > 0 && rows <= MOST_CHANNELS && columns >= MOST_CHANNELS * rows);
        let looks = format!(
            "shape {count}×{width} is {count} rows of {width} values as it stands, and looks transposed"
        );
        let remedy = "save array.T if its columns are the samples";
        if transposed && count < 3 {
            let remedy = format!(
                "{remedy}; for one long signal of several channels use data.source = \"signal\" with it"
            );
            return Err(DataError::malformed(&path, looks, remedy));
        }
        let shape = checked_shape(height, width, "path")?;
        let dim = shape.input_dim();
        if let Some(bad) = values.iter().position(|value| !value.is_finite()) {
            return Err(DataError::malformed(
                &path,
                format!(
                    "value {} of row {} is {}",
                    bad % dim,
                    bad / dim,
                    values[bad]
                ),
                "remove that row or repair it",
            ));
        }
        if count < 3 {
            return Err(DataError::malformed(
                &path,
                format!("{count} rows cannot be split into training, validation and test"),
                "give at least 3 rows",
            ));
        }
        let mut rows: Vec<usize> = (0..count).collect();
        rows.shuffle(&mut split_generator(seed));
        let tenth = (count / 10).max(1);
        let (held_out, train) = rows.split_at(2 * tenth);
        let (validation, test) = held_out.split_at(tenth);
        let part = |rows: &[usize], limit: usize| -> Vec<f32> {
            let rows = &rows[..rows.len().min(limit)];
            rows.iter()
                .flat_map(|&row| &values[row * dim..][..dim])
                .copied()
                .collect()
        };
        let train = part(train, limits[0]);
        let test = part(test, limits[2]);
        let (mean, deviation) = mean_and_deviation(&train).ok_or_else(|| {
            DataError::malformed(
                &path,
                "all values of the training rows are the same",
                "give data with content",
            )
        })?;
        let peak = match self.peak {
            Some(peak) if peak.is_finite() && peak > 0.0 => peak,
            Some(peak) => {
                return Err(DataError::config(
                    "peak",
                    format!("{peak} is not a range"),
                    "give a number above 0, such as 255 for 8-bit images",
                ));
            }
            None => range(&test),
        };
        if peak <= 0.0 {
            return Err(DataError::malformed(
                &path,
                "all values of the test rows are the same, so PSNR has no range",
                "set data.peak",
            ));
        }
        let [low, high] = extent(train.iter().copied());
        let train = globally_normalised(train, dim, mean, deviation);
        let test = globally_normalised(test, dim, mean, deviation);
        let validation = globally_normalised(part(validation, limits[1]), dim, mean, deviation);
        Ok(Splits {
            description: format!(
                "{}, rows of {shape}, random split of seed {seed}, {}/{}/{}",
                display_name(&path),
                train.len(),
                validation.len(),
                test.len()
            ),
            train,
            validation,
            test,
            shape,
            preprocessing: Preprocessing {
                mean,
                deviation,
                contrast: Contrast::None,
            },
            peak,
            input: InputFacts {
                range: Some([low, high]),
                sample_rate: None,
                number_type: Some(number_type),
            },
            read: format!(
                "{}: {count} samples of {shape}, {number_type}, {} to {}",
                path.display(),
                short(low.into()),
                short(high.into())
            ),
            notes: match transposed {
                true => vec![format!("{}: {looks}: {remedy}", path.display())],
                false => Vec::new(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::npy::write_npy_f32;
    use super::*;

    fn load(shape: &[usize], values: &[f32], config: &NpyConfig) -> Result<Splits, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.npy");
        write_npy_f32(&path, shape, values).unwrap();
        config.load(Some(&path), 4)
    }

    #[test]
    fn rows_are_split_without_overlap_and_normalised_by_the_training_rows() {
        let values: Vec<f32> = (0..50 * 6).map(|v| v as f32).collect();
        for (axes, text) in [(vec![50, 6], "6"), (vec![50, 2, 3], "2x3")] {
            let splits = load(&axes, &values, &NpyConfig::default()).unwrap();
            assert_eq!(splits.shape.to_string(), text);
            let mut rows = Vec::new();
            for (split, count) in [
                (&splits.train, 40),
                (&splits.validation, 5),
                (&splits.test, 5),
            ] {
                assert_eq!(split.len(), count);
                for index in 0..count {
                    let mut sample = split.sample(index).to_vec();
                    split.restore.restore(index, &mut sample);
                    let row = (sample[0] / 6.0).round() as usize;
                    for (pixel, value) in sample.iter().enumerate() {
                        assert!((value - (6 * row + pixel) as f32).abs() < 1e-3);
                    }
                    rows.push(row);
                }
            }
            rows.sort_unstable();
            assert_eq!(rows, (0..50).collect::<Vec<_>>());
            let (mean, deviation) = mean_and_deviation(&splits.train.samples).unwrap();
            assert!(mean.abs() < 1e-5 && (deviation - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn peak_is_the_range_unless_it_is_given() {
        let values: Vec<f32> = (0..10).flat_map(|row| [row as f32, 100.0]).collect();
        let range = load(&[10, 2], &values, &NpyConfig::default()).unwrap().peak;
        assert!((91.0..=100.0).contains(&range), "{range}");
        let given = NpyConfig {
            peak: Some(255.0),
            ..NpyConfig::default()
        };
        assert_eq!(load(&[10, 2], &values, &given).unwrap().peak, 255.0);
        let wrong = NpyConfig {
            peak: Some(-1.0),
            ..NpyConfig::default()
        };
        let error = load(&[10, 2], &values, &wrong).unwrap_err().to_string();
        assert!(error.starts_with("data.peak"), "{error}");
    }

    #[test]
    fn unusable_arrays_are_refused() {
        let mut broken: Vec<f32> = (0..20).map(|v| v as f32).collect();
        broken[7] = f32::NAN;
        for (axes, values, needle) in [
            (vec![20], vec![0.0; 20], "neither"),
            (vec![5, 0], vec![], "1 to 65535"),
            (vec![2, 2], vec![1.0; 4], "at least 3"),
            (vec![10, 2], vec![1.0; 20], "the same"),
            (vec![10, 2], broken, "value 1 of row 3 is NaN"),
        ] {
            let error = load(&axes, &values, &NpyConfig::default())
                .unwrap_err()
                .to_string();
            assert!(error.contains(needle), "{error:?} lacks {needle:?}");
        }
    }

    #[test]
    fn a_folder_must_hold_exactly_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let load = |config: &NpyConfig| config.load(Some(folder.path()), 1);
        let error = load(&NpyConfig::default()).unwrap_err().to_string();
        assert!(
            error.contains("no file in this folder ends in .npy"),
            "{error}"
        );
        let values: Vec<f32> = (0..20).map(|v| v as f32).collect();
        write_npy_f32(&folder.path().join("a.npy"), &[10, 2], &values).unwrap();
        assert_eq!(load(&NpyConfig::default()).unwrap().train.len(), 8);
        write_npy_f32(&folder.path().join("b.npy"), &[20, 1], &values).unwrap();
        let error = load(&NpyConfig::default()).unwrap_err().to_string();
        assert!(
            error.contains("there are 2") && error.contains("data.path"),
            "{error}"
        );
        let named = NpyConfig {
            path: Some("b.npy".into()),
            ..NpyConfig::default()
        };
        assert_eq!(load(&named).unwrap().train.len(), 16);
    }
}
