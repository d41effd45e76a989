//! Samples from the tensors of a safetensors file, which says what is training and validation.

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::atoms::TrueAtoms;
use super::error::DataError;
use super::look::short;
use super::paths::{chosen_file, display_name};
use super::{
    Dataset, InputFacts, NumberType, PerPixel, Preprocessing, Restore, Splits, checked_counts,
    checked_shape, extent, range,
};

/// `source = "safetensors"`: the rows of the tensors `train`, `validation` (or `val`) and `test` of
/// a file, each N×d, of floating-point numbers.
///
/// The rows are used as they are. Without `test` the validation rows are the test rows, too. If the
/// file has the tensors `mean` and `std` (of d numbers), the rows were normalised by them, and raw
/// units are those before. If it has `dict_true_normalised` (d×D), the true atoms of a synthetic
/// set in the unit of the rows, or `dict_true`, those in raw units, recovery can be measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SafetensorsConfig {
    /// The file (`.safetensors`). Not set: what `--data` or `SPARSECODE_DATA` names, or the only
    /// such file in that folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// At most so many training rows, the first. Not set: all.
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
}

const TRAIN: &[&str] = &["train"];
const VALIDATION: &[&str] = &["validation", "val"];
const TEST: &[&str] = &["test"];
const MEAN: &[&str] = &["mean"];
const DEVIATION: &[&str] = &["std"];
const ATOMS: &[&str] = &["dict_true_normalised"];
const RAW_ATOMS: &[&str] = &["dict_true"];

impl SafetensorsConfig {
    pub(super) fn load(&self, folder: Option<&Path>) -> Result<Splits, DataError> {
        let limits = [self.train, self.validation, self.test].map(|c| c.unwrap_or(usize::MAX));
        checked_counts(limits[0], limits[1], limits[2])?;
        let path = chosen_file(self.path.as_deref(), folder, &["safetensors"])?;
        let bytes = std::fs::read(&path).map_err(DataError::read(&path))?;
        let file = File::new(&path, &bytes)?;
        let train = file.needed(TRAIN, 2)?;
        let validation = file.needed(VALIDATION, 2)?;
        let test = file.optional(TEST, 2)?;
        let dim = train.shape[1];
        let shape = checked_shape(1, dim, "path")?;
        for other in [Some(&validation), test.as_ref()].into_iter().flatten() {
            if other.shape[1] != dim {
                let (name, columns) = (other.name, other.shape[1]);
                return Err(file.malformed(format!(
                    "rows of `{name}` have {columns} numbers, rows of `{}` have {dim}",
                    train.name
                )));
            }
        }
        let statistics = file.statistics(dim)?;
        let mut notes = Vec::new();
        if test.is_none() {
            notes.push(format!(
                "{}: there is no tensor `test`; the validation rows are the test rows, too",
                path.display()
            ));
        }
        let number_type = train.number_type;
        let test = test.unwrap_or_else(|| validation.clone());
        let part = |tensor: Tensor, limit: usize| {
            let mut samples = tensor.values;
            samples.truncate(limit.saturating_mul(dim));
            match &statistics {
                Some(statistics) => statistics.dataset(samples),
                None => Dataset {
                    samples,
                    dim,
                    restore: Restore::Global {
                        scale: 1.0,
                        offset: 0.0,
                    },
                    labels: None,
                },
            }
        };
        let train = part(train, limits[0]);
        let validation = part(validation, limits[1]);
        let test = part(test, limits[2]);
        let raw = |set: &Dataset| {
            let mut raw = set.samples.clone();
            for (index, sample) in raw.chunks_exact_mut(dim).enumerate() {
                set.restore.restore(index, sample);
            }
            raw
        };
        let [low, high] = extent(raw(&train));
        let peak = range(&raw(&test));
        if peak <= 0.0 {
            return Err(file.malformed(
                "all values of the test rows are the same, so PSNR has no range".to_owned(),
            ));
        }
        Ok(Splits {
            description: format!(
                "{}, rows of {shape}, {}/{}/{}",
                display_name(&path),
                train.len(),
                validation.len(),
                test.len()
            ),
            read: format!(
                "{}: {}, {} and {} rows of {dim}, {number_type}, {} to {} in raw units",
                path.display(),
                train.len(),
                validation.len(),
                test.len(),
                short(low.into()),
                short(high.into())
            ),
            train,
            validation,
            test,
            shape,
            preprocessing: Preprocessing::IDENTITY,
            peak,
            input: InputFacts {
                range: Some([low, high]),
                sample_rate: None,
                number_type: Some(number_type),
            },
            notes,
        })
    }

    /// The atoms that the file names as the true ones.
    pub(super) fn true_atoms(&self, folder: Option<&Path>) -> Result<Option<TrueAtoms>, DataError> {
        let path = chosen_file(self.path.as_deref(), folder, &["safetensors"])?;
        let bytes = std::fs::read(&path).map_err(DataError::read(&path))?;
        let file = File::new(&path, &bytes)?;
        let dim = file.needed(TRAIN, 2)?.shape[1];
        let (atoms, deviation) = match file.optional(ATOMS, 2)? {
            Some(atoms) => (atoms, vec![1.0; dim]),
            None => match (file.optional(RAW_ATOMS, 2)?, file.statistics(dim)?) {
                (Some(atoms), Some(statistics)) => (atoms, statistics.deviation),
                (Some(atoms), None) => (atoms, vec![1.0; dim]),
                (None, _) => return Ok(None),
            },
        };
        let (rows, count) = (atoms.shape[0], atoms.shape[1]);
        if rows != dim {
            return Err(file.malformed(format!(
                "`{}` is {rows}×{count}, but samples have {dim} numbers: an atom is a column",
                atoms.name
            )));
        }
        let columns = (0..count).flat_map(|atom| atoms.values[atom..].iter().step_by(count));
        let columns: Vec<f64> = columns.map(|&value| value.into()).collect();
        let is_zero = |atom: &[f64]| atom.iter().all(|value| *value == 0.0);
        if let Some(atom) = columns.chunks_exact(dim).position(is_zero) {
            return Err(file.malformed(format!("atom {atom} of `{}` is 0", atoms.name)));
        }
        Ok(Some(TrueAtoms::normalised(columns, &deviation)))
    }
}

/// A tensor of finite numbers.
#[derive(Clone)]
struct Tensor {
    name: &'static str,
    shape: Vec<usize>,
    number_type: NumberType,
    values: Vec<f32>,
}

/// A file that holds a set.
struct File<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
}

impl<'a> File<'a> {
    fn new(path: &'a Path, bytes: &'a [u8]) -> Result<Self, DataError> {
        let remedy = "give a file of the safetensors format";
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| {
            DataError::malformed(path, format!("not a safetensors file: {error}"), remedy)
        })?;
        Ok(Self { path, tensors })
    }

    fn malformed(&self, reason: String) -> DataError {
        DataError::malformed(
            self.path,
            reason,
            "write it again; a set has the tensors train, val or validation, and may have test, \
             mean, std and dict_true_normalised",
        )
    }

    /// The first tensor of these names that is there.
    fn optional(&self, names: &[&'static str], axes: usize) -> Result<Option<Tensor>, DataError> {
        let found = names.iter().find_map(|name| {
            let view = self.tensors.tensor(name).ok()?;
            Some((*name, view))
        });
        found
            .map(|(name, view)| self.read(name, &view, axes))
            .transpose()
    }

    fn needed(&self, names: &[&'static str], axes: usize) -> Result<Tensor, DataError> {
        self.optional(names, axes)?.ok_or_else(|| {
            let mut there = self.tensors.names();
            there.sort_unstable();
            self.malformed(format!(
                "there is no tensor `{}`; there are: {}",
                names.join("` or `"),
                there.join(", ")
            ))
        })
    }

    fn read(
        &self,
        name: &'static str,
        view: &TensorView<'_>,
        axes: usize,
    ) -> Result<Tensor, DataError> {
        let shape = view.shape().to_vec();
        if shape.len() != axes || shape.contains(&0) {
            let expected = if axes == 2 {
                "rows×columns"
            } else {
                "one axis"
            };
            return Err(self.malformed(format!("`{name}` has shape {shape:?}, not {expected}")));
        }
        let bytes = view.data();
        let (number_type, values): (_, Vec<f32>) = match view.dtype() {
            Dtype::F16 => (
                NumberType::F16,
                words(bytes, |b| f16::from_le_bytes(b).to_f32()),
            ),
            // A model file has no name for it; every such number is one of 32 bits.
            Dtype::BF16 => (
                NumberType::F32,
                words(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            ),
            Dtype::F32 => (NumberType::F32, words(bytes, f32::from_le_bytes)),
            Dtype::F64 => (
                NumberType::F64,
                words(bytes, |b| f64::from_le_bytes(b) as f32),
            ),
            other => {
                return Err(self.malformed(format!(
                    "`{name}` holds {other:?}, not floating-point numbers of 16 to 64 bits"
                )));
            }
        };
        if let Some(bad) = values.iter().position(|value| !value.is_finite()) {
            let columns = shape.last().copied().unwrap_or(1);
            return Err(self.malformed(format!(
                "value {} of row {} of `{name}` is {}",
                bad % columns,
                bad / columns,
                values[bad]
            )));
        }
        Ok(Tensor {
            name,
            shape,
            number_type,
            values,
        })
    }

    /// What the rows were normalised by, if the file says so.
    fn statistics(&self, dim: usize) -> Result<Option<PerPixel>, DataError> {
        let (mean, deviation) = match (self.optional(MEAN, 1)?, self.optional(DEVIATION, 1)?) {
            (None, None) => return Ok(None),
            (Some(mean), Some(deviation)) => (mean, deviation),
            _ => return Err(self.malformed("`mean` and `std` go together".to_owned())),
        };
        for tensor in [&mean, &deviation] {
            if tensor.values.len() != dim {
                return Err(self.malformed(format!(
                    "`{}` has {} numbers, but samples have {dim}",
                    tensor.name,
                    tensor.values.len()
                )));
            }
        }
        if let Some(place) = deviation.values.iter().position(|value| *value <= 0.0) {
            return Err(self.malformed(format!(
                "number {place} of `std` is {}, not above 0",
                deviation.values[place]
            )));
        }
        Ok(Some(PerPixel {
            mean: mean.values,
            deviation: deviation.values,
        }))
    }
}

/// Little-endian words of `N` bytes.
fn words<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| value(*word)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::DataFacts;
    use super::super::tests::shared_data;
    use super::*;

    /// Name, type, shape and bytes of each tensor.
    type Tensors = BTreeMap<&'static str, (Dtype, Vec<usize>, Vec<u8>)>;

    fn halves(
        shape: [usize; 2],
        values: impl Iterator<Item = f32>,
    ) -> (Dtype, Vec<usize>, Vec<u8>) {
        let bytes = values.flat_map(|v| f16::from_f32(v).to_le_bytes());
        (Dtype::F16, shape.to_vec(), bytes.collect())
    }

    fn floats(shape: &[usize], values: &[f32]) -> (Dtype, Vec<usize>, Vec<u8>) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes());
        (Dtype::F32, shape.to_vec(), bytes.collect())
    }

    /// 5 and 3 rows of 2 numbers, and 3 atoms.
    fn tensors() -> Tensors {
        [
            ("train", halves([5, 2], (0..10).map(|n| n as f32 * 0.5))),
            ("val", halves([3, 2], (0..6).map(|n| n as f32 * -0.25))),
            ("mean", floats(&[2], &[10.0, 20.0])),
            ("std", floats(&[2], &[2.0, 4.0])),
            (
                "dict_true",
                floats(&[2, 3], &[1.0, 0.0, 0.6, 0.0, 1.0, 0.8]),
            ),
        ]
        .into()
    }

    fn write(folder: &tempfile::TempDir, tensors: &Tensors) -> SafetensorsConfig {
        let path = folder.path().join("set.safetensors");
        let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
            (
                *name,
                TensorView::new(*dtype, shape.clone(), bytes).unwrap(),
            )
        });
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        SafetensorsConfig {
            path: Some(path),
            ..SafetensorsConfig::default()
        }
    }

    #[test]
    fn rows_split_and_atoms_come_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let config = write(&folder, &tensors());
        let splits = config.load(None).unwrap();
        assert_eq!((splits.train.len(), splits.validation.len()), (5, 3));
        assert_eq!(splits.train.sample(3), [3.0, 3.5]);
        assert_eq!(splits.test.samples, splits.validation.samples);
        assert!(
            splits.notes[0].contains("no tensor `test`"),
            "{:?}",
            splits.notes
        );
        assert_eq!(splits.input.number_type, Some(NumberType::F16));
        let mut raw = splits.train.sample(1).to_vec();
        splits.train.restore.restore(1, &mut raw);
        assert_eq!(raw, [12.0, 26.0]);
        let facts = DataFacts::of(&splits).per_pixel.unwrap();
        assert_eq!(
            (facts.mean, facts.deviation),
            (vec![10.0, 20.0], vec![2.0, 4.0])
        );
        // Atoms in raw units, in the unit of the rows: (0.6/2, 0.8/4) has norm 0.36056.
        let atoms = config.true_atoms(None).unwrap().unwrap();
        let expected = [1.0, 0.0, 0.0, 1.0, 0.832_05, 0.554_70];
        for (found, expected) in atoms.atoms.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{:?}", atoms.atoms);
        }

        // What the file says of them goes first; more names and other types are read, too.
        let mut more = tensors();
        more.insert("dict_true_normalised", floats(&[2, 1], &[0.0, 3.0]));
        let of_test = [1.5f64, 2.5].iter().flat_map(|v| v.to_le_bytes()).collect();
        more.insert("test", (Dtype::F64, vec![1, 2], of_test));
        let config = SafetensorsConfig {
            train: Some(2),
            ..write(&folder, &more)
        };
        let splits = config.load(None).unwrap();
        assert_eq!(
            (splits.train.len(), splits.test.samples),
            (2, vec![1.5, 2.5])
        );
        assert!(splits.notes.is_empty());
        let atoms = config.true_atoms(None).unwrap().unwrap();
        assert_eq!(atoms.atoms, [0.0, 1.0]);

        let bare: Tensors = [
            ("train", tensors()["train"].clone()),
            ("val", tensors()["val"].clone()),
        ]
        .into();
        let config = write(&folder, &bare);
        assert_eq!(config.true_atoms(None).unwrap(), None);
        assert_eq!(DataFacts::of(&config.load(None).unwrap()).per_pixel, None);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let refused =
            |name: &'static str, tensor: Option<(Dtype, Vec<usize>, Vec<u8>)>, words: &[&str]| {
                let mut all = tensors();
                match tensor {
                    Some(tensor) => all.insert(name, tensor),
                    None => all.remove(name),
                };
                let config = write(&folder, &all);
                let error = match config.load(None) {
                    Err(error) => error,
                    Ok(_) => config.true_atoms(None).unwrap_err(),
                };
                let error = error.to_string();
                for word in [name, "set.safetensors"].iter().chain(words) {
                    assert!(error.contains(word), "{word}: {error}");
                }
            };
        refused("train", None, &["dict_true, mean, std, val"]);
        refused("val", None, &["validation"]);
        refused("std", None, &["together"]);
        refused("std", Some(floats(&[2], &[1.0, 0.0])), &["not above 0"]);
        refused("mean", Some(floats(&[3], &[1.0; 3])), &["3 numbers"]);
        refused(
            "val",
            Some(halves([2, 3], (0..6).map(|n| n as f32))),
            &["3 numbers"],
        );
        refused("val", Some(floats(&[6], &[1.0; 6])), &["[6]"]);
        refused(
            "train",
            Some(floats(&[1, 2], &[1.0, f32::NAN])),
            &["row 0", "NaN"],
        );
        refused("train", Some((Dtype::I8, vec![2, 2], vec![0; 4])), &["I8"]);
        refused("dict_true", Some(floats(&[3, 2], &[1.0; 6])), &["3×2"]);
        refused("dict_true", Some(floats(&[2, 1], &[0.0; 2])), &["atom 0"]);
        let path = folder.path().join("text.safetensors");
        std::fs::write(&path, "no such file").unwrap();
        let config = SafetensorsConfig {
            path: Some(path),
            ..SafetensorsConfig::default()
        };
        let error = config.load(None).unwrap_err().to_string();
        assert!(error.contains("not a safetensors file"), "{error}");
    }

    #[test]
    fn the_stored_set() {
        let Some(data) = shared_data() else { return };
        let path = data.join("../golden/variational_synthetic.safetensors");
        if !path.is_file() {
            return;
        }
        let config = SafetensorsConfig {
            path: Some(path),
            ..SafetensorsConfig::default()
        };
        let splits = config.load(None).unwrap();
        let atoms = config.true_atoms(None).unwrap().unwrap();
        assert_eq!(atoms.input_dim, splits.train.dim);
        assert!(splits.train.len() > splits.validation.len());
        // Rows of training have mean 0 and deviation 1 in each place, up to what 16 bits lose.
        let found = PerPixel::of(&splits.train.samples, splits.train.dim).unwrap();
        assert!(found.mean.iter().all(|mean| mean.abs() < 1e-3));
        assert!(found.deviation.iter().all(|d| (d - 1.0).abs() < 1e-3));
    }
}
