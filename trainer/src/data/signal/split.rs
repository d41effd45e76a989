//! Which part of which recording is for training, validation and test.

use rand::seq::SliceRandom;

use super::super::error::DataError;
use super::super::paths::display_name;
use super::super::split_generator;
use super::{Signal, SignalConfig};

/// Signals of training, validation and test, and how they were split.
pub(super) struct Parts<'a> {
    pub(super) signals: [Vec<&'a [f32]>; 3],
    pub(super) split: String,
}

impl SignalConfig {
    /// The parts of one recording or several.
    pub(super) fn split<'a>(
        &self,
        signals: &'a [Signal],
        seed: u64,
    ) -> Result<Parts<'a>, DataError> {
        match signals {
            [one] => {
                self.check_no_files_named()?;
                self.split_by_time(one)
            }
            several => self.split_by_file(several, seed),
        }
    }

    fn split_by_time<'a>(&self, signal: &'a Signal) -> Result<Parts<'a>, DataError> {
        let count = signal.values.len();
        let (train, rest) = signal.values.split_at(count * 3 / 5);
        let (validation, test) = rest.split_at(rest.len() / 2);
        if validation.len() < self.window {
            return Err(DataError::malformed(
                &signal.path,
                format!(
                    "{count} samples are too few: the validation part (20 %) is shorter than a window of {}",
                    self.window
                ),
                "give a longer signal or a shorter data.window",
            ));
        }
        Ok(Parts {
            signals: [vec![train], vec![validation], vec![test]],
            split: "split by time".to_string(),
        })
    }

    fn split_by_file<'a>(&self, signals: &'a [Signal], seed: u64) -> Result<Parts<'a>, DataError> {
        let count = signals.len();
        if count < 3 {
            return Err(DataError::config(
                "path",
                format!(
                    "{count} recordings cannot be split by file into training, validation and test"
                ),
                "name at least 3, or one, which is split by time",
            ));
        }
        for signal in signals {
            if signal.values.len() < self.window {
                return Err(DataError::malformed(
                    &signal.path,
                    format!(
                        "{} samples are fewer than a window of {}",
                        signal.values.len(),
                        self.window
                    ),
                    "take the file out, or choose a shorter data.window",
                ));
            }
        }
        if self.validation_files.is_some() || self.test_files.is_some() {
            return self.split_by_name(signals);
        }
        let mut order: Vec<&[f32]> = signals.iter().map(|s| s.values.as_slice()).collect();
        order.shuffle(&mut split_generator(seed));
        let fifth = (count / 5).max(1);
        let test = order.split_off(count - fifth);
        let validation = order.split_off(count - 2 * fifth);
        Ok(Parts {
            split: format!(
                "{}/{fifth}/{fifth} files by random split of seed {seed}",
                order.len()
            ),
            signals: [order, validation, test],
        })
    }

    /// The recordings as `validation_files` and `test_files` divide them.
    fn split_by_name<'a>(&self, signals: &'a [Signal]) -> Result<Parts<'a>, DataError> {
        let named = |field: &'static str, names: Option<&Vec<String>>| match names {
            Some(names) if !names.is_empty() => Ok(names.clone()),
            _ => Err(DataError::config(
                field,
                "names no recording",
                "name both data.validation_files and data.test_files, or neither",
            )),
        };
        let lists = [
            ("validation_files", self.validation_files.as_ref()),
            ("test_files", self.test_files.as_ref()),
        ];
        let mut parts: [Vec<&[f32]>; 3] = Default::default();
        let mut taken = vec![false; signals.len()];
        for ((field, names), part) in lists.into_iter().zip(&mut parts[1..]) {
            for name in named(field, names)? {
                let place = signals.iter().position(|s| display_name(&s.path) == name);
                let Some(place) = place else {
                    return Err(DataError::config(
                        field,
                        format!("there is no recording {name} among the files of data.path"),
                        "name files as they lie in their folder, with their ending",
                    ));
                };
                if std::mem::replace(&mut taken[place], true) {
                    return Err(DataError::config(
                        field,
                        format!("{name} is named twice"),
                        "no recording may be in two parts",
                    ));
                }
                part.push(&signals[place].values);
            }
        }
        let others = signals.iter().zip(&taken).filter(|(_, taken)| !**taken);
        parts[0] = others.map(|(signal, _)| signal.values.as_slice()).collect();
        if parts[0].is_empty() {
            return Err(DataError::config(
                "path",
                "no recording is left to train on",
                "name more files, or fewer of them in data.validation_files and data.test_files",
            ));
        }
        let [train, validation, test] = [0, 1, 2].map(|part| parts[part].len());
        Ok(Parts {
            signals: parts,
            split: format!("{train}/{validation}/{test} files by name"),
        })
    }

    /// Refuses names of recordings where there is one alone.
    fn check_no_files_named(&self) -> Result<(), DataError> {
        let lists = [
            ("validation_files", &self.validation_files),
            ("test_files", &self.test_files),
        ];
        match lists.into_iter().find(|(_, names)| names.is_some()) {
            Some((field, _)) => Err(DataError::config(
                field,
                "there is one recording, which is split by time",
                "name several files, or leave it out",
            )),
            None => Ok(()),
        }
    }
}
