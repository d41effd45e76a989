//! The outputs of the second paper's released code: files `golden/variational*.safetensors` of the
//! shared data, with a README beside them.
//!
//! Sizes come from shapes, settings from the metadata, tolerances from the README. What neither
//! says stands in the tables [`settings`] and [`tolerances`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::shared;

/// A number of a record of the metadata.
#[derive(Debug)]
pub struct Setting {
    /// Where it may stand, the best place first: as a number, or in a text.
    places: &'static [&'static str],
    /// In a text it follows these words.
    words: &'static str,
    /// What the README or the specification says, where the metadata is silent.
    default: f64,
}

/// A tolerance of the README's table.
#[derive(Debug)]
pub struct Tolerance {
    /// The first cell of its line. The table is read again; numbers in the cell may differ.
    line: &'static str,
    /// Its place among the numbers of the last cell.
    place: usize,
    /// What stood there when this was written.
    default: f64,
    /// Whether it is relative to the largest magnitude of the tensor.
    is_relative: bool,
}

/// What the release was run with. Beside each, in the README's words, where its default is from.
pub mod settings {
    use super::Setting;

    /// "After one Nesterov step from empty buffers, lr 0.01".
    pub const RATE: Setting = setting(&["/single/lr", "/single/note"], "lr", 0.01);
    /// "One dictionary step η = 0.5".
    pub const ETA: Setting = setting(&["/single/eta", "/single/note"], "eta", 0.5);
    /// "One dictionary step η = 0.5, φ = 1e-4".
    pub const PHI: Setting = setting(&["/single/phi", "/single/note"], "phi", 1e-4);

    /// "Scheduler n = 40 calls".
    pub const CALLS: Setting = scheduler("n=", 40.0);
    /// Of the specification: "one-cycle over n iterations, peak 0.01".
    pub const PEAK: Setting = scheduler("peak", 0.01);
    /// Of the specification: "to the peak over the first 5 %".
    pub const WARM_UP: Setting = scheduler("warm-up proportion", 0.05);
    /// "κ 0.4, 0.4, 0.65, 0.9, 1".
    pub const KAPPA: Setting = setting(&["/sequence/kappa"], "starts at", 0.4);
    /// κ stays for the first step.
    pub const KAPPA_FROM: Setting = setting(&["/sequence/kappa"], "index >=", 1.0);
    /// And grows by a quarter.
    pub const KAPPA_RISE: Setting = setting(&["/sequence/kappa"], "+=", 0.25);
    /// "T × 0.9995, floor 0.9985".
    pub const COOLING: Setting = setting(&["/sequence/temperature"], "x", 0.9995);
    /// "T × 0.9995, floor 0.9985".
    pub const COOLEST: Setting = setting(&["/sequence/temperature"], "not below", 0.9985);
    /// η at first.
    pub const FIRST_ETA: Setting = setting(&["/sequence/eta"], "", 0.5);
    /// "η × 0.99 after every second step".
    pub const ETA_DECAY: Setting = setting(&["/sequence/eta"], "x", 0.99);
    /// The last step, from 0, before η is multiplied for the first time.
    pub const ETA_FROM: Setting = setting(&["/sequence/eta"], "after steps", 1.0);
    /// As in a single step.
    pub const SEQUENCE_PHI: Setting = setting(&["/sequence/phi"], "phi", 1e-4);

    /// Of a tensor: "holds every 4th row and column, from 0".
    pub const EVERY: Setting = setting(&["/every", "/what"], "every", 4.0);
    /// Of a tensor: the dictionary's step with FISTA's codes, "same η" as in the specification.
    pub const OWN_ETA: Setting = setting(&["/eta", "/what"], "eta", 0.5);
    /// Of a tensor: the dictionary's step with FISTA's codes, "same φ" as in the specification.
    pub const OWN_PHI: Setting = setting(&["/phi", "/what"], "phi", 1e-4);
    /// Of the specification: "edges linspace(−2,2,20)".
    pub const EDGES: Setting = setting(&["/edges", "/bins"], "linspace(-2,2,", 20.0);
    /// Of the specification: a unit has collapsed with "KL ≤ 0.01", "|z| ≤ 0.01".
    pub const COLLAPSED: Setting = setting(&["/limit"], "", 0.01);
    /// "Relative error 1.1e-3 at α ≈ 27" of ∂g/∂α as torch gives it.
    pub const TORCH: Setting = setting(
        &["/torch_dg_dalpha_relative_error/max", "/relative_error_max"],
        "",
        1.1e-3,
    );

    const fn setting(
        places: &'static [&'static str],
        words: &'static str,
        default: f64,
    ) -> Setting {
        Setting {
            places,
            words,
            default,
        }
    }

    const fn scheduler(words: &'static str, default: f64) -> Setting {
        setting(&["/sequence/scheduler"], words, default)
    }
}

/// How near each quantity has to come. A tensor whose metadata has a number `tolerance` overrides
/// its line.
pub mod tolerances {
    use super::Tolerance;

    const ONE_STEP: &str = "weights after 1 step, A after 1 step (absolute)";
    const SEQUENCE: &str = "weights after 5 steps, A, loss (absolute)";
    const FISTA_LINE: &str = "FISTA codes in float64 / float32 (absolute)";

    /// Trunk, heads, z, λ, KL, losses.
    pub const FORWARD: Tolerance = relative("trunk, heads, z, λ, KL, losses", 5e-6);
    /// Gradients for codes and heads.
    pub const HEADS: Tolerance = relative("∂L/∂z, ∂L/∂heads", 5e-6);
    /// Gradients for parameters.
    pub const PARAMETERS: Tolerance = relative("∂L/∂parameters", 1e-5);
    /// Weights after a step.
    pub const WEIGHTS: Tolerance = absolute(ONE_STEP, 0, 5e-7);
    /// The dictionary after a step.
    pub const DICTIONARY: Tolerance = absolute(ONE_STEP, 1, 1e-6);
    /// Weights after the sequence.
    pub const FINAL_WEIGHTS: Tolerance = absolute(SEQUENCE, 0, 1e-6);
    /// The dictionary after the sequence, and its norm after each step.
    pub const FINAL_DICTIONARY: Tolerance = absolute(SEQUENCE, 1, 1e-5);
    /// The loss of each step of the sequence.
    pub const LOSS: Tolerance = absolute(SEQUENCE, 2, 1e-5);
    /// Momentum after the sequence.
    pub const MOMENTUM: Tolerance = relative("momentum after 5 steps", 5e-5);
    /// Codes that FISTA finds in double precision.
    pub const FISTA: Tolerance = absolute(FISTA_LINE, 0, 1e-10);
    /// "Exact in f32 and f64 alike": choices, and shares of units to the rounding of a share.
    pub const EXACT: Tolerance = absolute("", 0, 2e-7);
    /// The README has no line for what the release computed in double precision.
    pub const DOUBLE: Tolerance = relative("", 1e-12);
    /// Nor for a regression through a pseudo-inverse in double precision.
    pub const REGRESSION: Tolerance = relative("", 1e-9);
    /// Of each ∂g/∂α: "exact to 1e-8", and of the specification: a stencil "agrees to 1e-7".
    pub const SLOPE: Tolerance = absolute("", 0, 1e-7);

    /// What the rounding of numbers in single precision adds to an error that the file states.
    pub const ROUNDING: f64 = 1e-7;

    const fn relative(line: &'static str, default: f64) -> Tolerance {
        Tolerance {
            line,
            place: 0,
            default,
            is_relative: true,
        }
    }

    const fn absolute(line: &'static str, place: usize, default: f64) -> Tolerance {
        Tolerance {
            line,
            place,
            default,
            is_relative: false,
        }
    }
}

/// The sizes of a file, all from shapes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// Batches of inputs.
    pub steps: usize,
    /// B, inputs of a batch.
    pub inputs: usize,
    /// P, numbers of an input.
    pub pixels: usize,
    /// D, units of a code.
    pub units: usize,
    /// J, samples of an input.
    pub samples: usize,
}

struct Stored {
    shape: Vec<usize>,
    values: Vec<f64>,
}

/// A file.
pub struct Release {
    name: String,
    tensors: BTreeMap<String, Stored>,
    metadata: BTreeMap<String, Value>,
    readme: String,
    /// Tensors that were asked for.
    read: Mutex<BTreeSet<String>>,
}

/// The number behind `words` in a text.
fn number_behind(text: &str, words: &str) -> Option<f64> {
    let behind = text.match_indices(words).filter_map(|(place, _)| {
        let before = text[..place].chars().next_back();
        if before.is_some_and(char::is_alphanumeric) {
            return None;
        }
        let rest = text[place + words.len()..].trim_start();
        let is_part = |c: char| c.is_ascii_digit() || ".eE+-".contains(c);
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        // As much of it as is a number: behind one may be a full stop.
        (1..=end).rev().find_map(|end| rest[..end].parse().ok())
    });
    behind.into_iter().next()
}

/// The numbers of a text, in their order.
fn numbers(text: &str) -> Vec<f64> {
    let words = text.split([' ', ',', '/', ';']);
    words.filter_map(|word| word.parse().ok()).collect()
}

fn decoded(name: &str, view: &TensorView<'_>) -> Vec<f64> {
    let bytes = view.data();
    match view.dtype() {
        Dtype::F32 => {
            let numbers = bytes.as_chunks().0.iter();
            numbers.map(|x| f32::from_le_bytes(*x).into()).collect()
        }
        Dtype::F64 => {
            let numbers = bytes.as_chunks().0.iter();
            numbers.map(|x| f64::from_le_bytes(*x)).collect()
        }
        Dtype::I32 => {
            let numbers = bytes.as_chunks().0.iter();
            numbers.map(|x| i32::from_le_bytes(*x).into()).collect()
        }
        Dtype::I64 => {
            let numbers = bytes.as_chunks().0.iter();
            numbers.map(|x| i64::from_le_bytes(*x) as f64).collect()
        }
        other => panic!("{name} is {other:?}"),
    }
}

/// Each number within `allowed` of its counterpart.
///
/// # Panics
///
/// If one is not, or if there are not as many.
pub fn near(name: &str, found: &[f64], expected: &[f64], allowed: f64) {
    assert_eq!(found.len(), expected.len(), "{name}: how many numbers");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let apart = (found - expected).abs();
        // Also false for NaN.
        assert!(
            apart <= allowed,
            "{name}, {place}: {found} for {expected}, {apart:e} apart, allowed {allowed:e}"
        );
    }
}

/// Each number within `allowed` of its counterpart, relative to that.
///
/// # Panics
///
/// If one is not, or if there are not as many.
pub fn nearly_times_one(name: &str, found: &[f64], expected: &[f64], allowed: f64) {
    assert_eq!(found.len(), expected.len(), "{name}: how many numbers");
    let pairs = found.iter().zip(expected);
    let shares: Vec<f64> = pairs.map(|(found, expected)| found / expected).collect();
    near(name, &shares, &vec![1.0; shares.len()], allowed);
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().expect("a file has a name");
    name.to_string_lossy().into_owned()
}

impl Release {
    /// The files of the shared data. None, with a line that says so, when they are not there.
    ///
    /// # Panics
    ///
    /// If a file cannot be read.
    pub fn all() -> Vec<Self> {
        let Some(first) = shared("golden/variational.safetensors") else {
            return Vec::new();
        };
        let folder = first.parent().expect("a file lies in a folder");
        let entries = std::fs::read_dir(folder).expect("the folder can be read");
        let paths = entries.map(|entry| entry.expect("the folder can be read").path());
        let mut others: Vec<_> = paths
            .filter(|path| {
                let name = file_name(path);
                name.starts_with("variational") && name.ends_with(".safetensors") && *path != first
            })
            .collect();
        others.sort();
        let mut files = vec![Self::read(&first, false).expect("it is read whatever it holds")];
        files.extend(others.iter().filter_map(|path| Self::read(path, true)));
        files
    }

    /// Reads a file; `None` if it should hold noise and does not: data sets lie there, too.
    fn read(path: &Path, needs_noise: bool) -> Option<Self> {
        let name = file_name(path);
        let bytes = std::fs::read(path).expect("a golden file can be read");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("it is safetensors");
        let file = SafeTensors::deserialize(&bytes).expect("a golden file is whole");
        if needs_noise && file.tensor("noise.eps").is_err() {
            return None;
        }
        let metadata = header.metadata().clone().unwrap_or_default().into_iter();
        let metadata = metadata.map(|(name, text)| {
            let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            (name, value)
        });
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let stored = Stored {
                shape: view.shape().to_vec(),
                values: decoded(&name, &view),
            };
            (name, stored)
        });
        Some(Self {
            tensors: tensors.collect(),
            metadata: metadata.collect(),
            readme: std::fs::read_to_string(path.with_file_name("README.md")).unwrap_or_default(),
            read: Mutex::default(),
            name,
        })
    }

    fn stored(&self, name: &str) -> &Stored {
        let found = self.tensors.get(name);
        found.unwrap_or_else(|| panic!("{} has no tensor {name}", self.name))
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The names of all tensors, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensors that the metadata describes and the file does not hold.
    pub fn missing(&self) -> Vec<&str> {
        // Names without a full stop are also those of settings.
        let described = self.metadata.keys().map(String::as_str);
        let names = described.filter(|name| name.contains('.'));
        names.filter(|name| !self.has(name)).collect()
    }

    /// The tensors that nothing asked for.
    ///
    /// # Panics
    ///
    /// If a check panicked.
    pub fn unread(&self) -> Vec<&str> {
        let read = self.read.lock().expect("no check panicked");
        self.names().filter(|name| !read.contains(*name)).collect()
    }

    /// A tensor's shape.
    ///
    /// # Panics
    ///
    /// If there is no such tensor.
    pub fn shape(&self, name: &str) -> &[usize] {
        &self.stored(name).shape
    }

    /// A tensor's values.
    ///
    /// # Panics
    ///
    /// If there is no such tensor.
    pub fn values(&self, name: &str) -> &[f64] {
        let values = &self.stored(name).values;
        let mut read = self.read.lock().expect("no check panicked");
        read.insert(name.to_owned());
        values
    }

    /// A tensor's values, if it has this shape.
    ///
    /// # Panics
    ///
    /// If there is no such tensor, or if it has another shape.
    pub fn shaped(&self, name: &str, shape: &[usize]) -> &[f64] {
        assert_eq!(self.shape(name), shape, "{name}: its shape");
        self.values(name)
    }

    /// What the metadata says of a tensor, or of `settings` and `checks`, as JSON.
    pub fn record(&self, name: &str) -> &Value {
        self.metadata.get(name).unwrap_or(&Value::Null)
    }

    /// What stands in a record at a JSON pointer.
    ///
    /// # Panics
    ///
    /// If nothing does.
    pub fn fact(&self, record: &str, pointer: &str) -> &Value {
        let found = self.record(record).pointer(pointer);
        found.unwrap_or_else(|| panic!("{}: {record} does not say {pointer}", self.name))
    }

    /// A number that stands there.
    ///
    /// # Panics
    ///
    /// If none does.
    pub fn number(&self, record: &str, pointer: &str) -> f64 {
        let found = self.fact(record, pointer).as_f64();
        found.unwrap_or_else(|| panic!("{}: {record} has no number at {pointer}", self.name))
    }

    /// A number of a record, or its default.
    pub fn setting(&self, record: &str, setting: &Setting) -> f64 {
        let record = self.record(record);
        let found = setting.places.iter().find_map(|place| {
            let value = record.pointer(place)?;
            let in_text = || number_behind(value.as_str()?, setting.words);
            value.as_f64().or_else(in_text)
        });
        found.unwrap_or(setting.default)
    }

    /// The number of a tolerance, as the metadata of the tensor or the README's table says.
    pub fn tolerance(&self, name: &str, tolerance: &Tolerance) -> f64 {
        let own = self.record(name).get("tolerance").and_then(Value::as_f64);
        // The number of steps, which may be another, stands in a cell.
        let plain = |cell: &str| cell.trim().replace(|c: char| c.is_ascii_digit(), "");
        let written = || {
            let mut lines = self.readme.lines().map(|line| {
                let cells: Vec<&str> = line.trim().trim_matches('|').split('|').collect();
                cells
            });
            let cells = lines.find(|cells| {
                !tolerance.line.is_empty() && plain(cells[0]) == plain(tolerance.line)
            })?;
            numbers(cells.last()?).get(tolerance.place).copied()
        };
        own.or_else(written).unwrap_or(tolerance.default)
    }

    /// How far a number may be from that of a tensor.
    ///
    /// # Panics
    ///
    /// If there is no such tensor.
    pub fn allowed(&self, name: &str, tolerance: &Tolerance) -> f64 {
        let number = self.tolerance(name, tolerance);
        if !tolerance.is_relative {
            return number;
        }
        let stated = self.record(name).get("absmax").and_then(Value::as_f64);
        let largest = || {
            let values = self.stored(name).values.iter();
            values.fold(0.0_f64, |most, value| most.max(value.abs()))
        };
        number * stated.unwrap_or_else(largest)
    }

    /// Each number is as near to that of a tensor as its tolerance says.
    ///
    /// # Panics
    ///
    /// If one is not, if there are not as many, or if there is no such tensor.
    pub fn close(&self, name: &str, found: &[f64], tolerance: &Tolerance) {
        let allowed = self.allowed(name, tolerance);
        near(name, found, self.values(name), allowed);
    }

    /// A matrix or vector as the file holds a tensor of it: whole, or every so many rows and
    /// columns, from 0.
    ///
    /// # Panics
    ///
    /// If the tensor's shape is neither.
    pub fn thinned(&self, name: &str, whole: &[f64], shape: &[usize]) -> Vec<f64> {
        let stored = self.shape(name);
        if stored == shape {
            return whole.to_vec();
        }
        let every = self.setting(name, &settings::EVERY) as usize;
        let thin: Vec<usize> = shape.iter().map(|size| size.div_ceil(every)).collect();
        assert_eq!((stored, shape.len()), (&*thin, 2), "{name}: its shape");
        let rows = whole.chunks_exact(shape[1]).step_by(every);
        rows.flat_map(|row| row.iter().step_by(every).copied())
            .collect()
    }

    /// The sizes.
    ///
    /// # Panics
    ///
    /// If shapes, or the settings, contradict each other.
    pub fn sizes(&self) -> Sizes {
        let [&[pixels, units], &[steps, inputs, _], &[_, _, samples, _]] =
            ["A", "x", "noise.eps"].map(|name| self.shape(name))
        else {
            panic!("{}: A is P × D, x steps × B × P", self.name);
        };
        let sizes = Sizes {
            steps,
            inputs,
            pixels,
            units,
            samples,
        };
        assert_eq!(self.shape("x"), [steps, inputs, pixels], "x");
        for noise in ["noise.eps", "noise.u", "noise.eta"] {
            let shape = [steps, inputs, samples, units];
            assert_eq!(self.shape(noise), shape, "{noise}: its shape");
        }
        let stated = [("P", pixels), ("D", units), ("B", inputs), ("J", samples)];
        for (key, size) in stated {
            if let Some(value) = self.record("settings").get(key) {
                assert_eq!(value.as_u64(), Some(size as u64), "settings: {key}");
            }
        }
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_texts() {
        let text = "index beta 3, lr 0.01, n=40 calls; x 0.99 after, phi 1e-4.";
        for (words, number) in [("lr", 0.01), ("n=", 40.0), ("x", 0.99), ("phi", 1e-4)] {
            assert_eq!(number_behind(text, words), Some(number), "{words}");
        }
        assert_eq!(number_behind(text, "eta"), None);
        assert_eq!(number_behind("0.5; x 2", ""), Some(0.5));
        assert_eq!(numbers(" 1e-10 / 1e-5, 3e-4 "), [1e-10, 1e-5, 3e-4]);
    }
}
