//! What makes two configurations the same run: all but its length (`epochs`, `patience`) and the
//! place of its data.

use std::fmt;

use toml::{Table, Value};

use super::config::Config;
use super::family::Family;

/// The hash that names a run's computation.
///
/// Before runs remembered where their data were, configurations with a place had another one:
/// [`with_place`].
pub(super) fn identity<F: Family>(config: &Config<F>) -> String {
    with_place(&without_place(config))
}

/// [`identity`] as checkpoints had it before runs remembered where their data were.
pub(super) fn with_place<F: Family>(config: &Config<F>) -> String {
    Config {
        epochs: 1,
        patience: 0,
        ..config.clone()
    }
    .hash()
}

/// The configuration without the place of its data: what is hashed where machines must not matter.
pub(crate) fn without_place<F: Family>(config: &Config<F>) -> Config<F> {
    Config {
        data: config.data.without_place(),
        ..config.clone()
    }
}

/// What [`identity`] is the hash of, as a table: the text that files of a run hold, so that a
/// difference can be named.
pub(super) fn essence<F: Family>(config: &Config<F>) -> Table {
    let mut table = without_place(config).to_table();
    for length in ["epochs", "patience"] {
        table.remove(length);
    }
    table
}

/// A key of a configuration that two runs do not share.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The key with its table, `inference.lambda`.
    pub key: String,
    /// Its value in the configuration at hand; `None` if it is not set.
    pub found: Option<Value>,
    /// Its value in the file; `None` if it is not set.
    pub stored: Option<Value>,
}

/// The keys in which `found` and `stored` differ, in order.
pub(super) fn differences(found: &Table, stored: &Table) -> Vec<Difference> {
    let mut all = Vec::new();
    collect(found, stored, "", &mut all);
    all
}

fn collect(found: &Table, stored: &Table, prefix: &str, all: &mut Vec<Difference>) {
    let mut keys: Vec<&String> = found.keys().chain(stored.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let name = format!("{prefix}{key}");
        match (found.get(key), stored.get(key)) {
            (Some(Value::Table(found)), Some(Value::Table(stored))) => {
                collect(found, stored, &format!("{name}."), all);
            }
            (found, stored) if found != stored => all.push(Difference {
                key: name,
                found: found.cloned(),
                stored: stored.cloned(),
            }),
            _ => {}
        }
    }
}

/// The most differences that a message names.
const NAMED: usize = 5;

/// Differences in words: `inference.lambda is 0.05 in config.toml, 0.02 in the trained model`.
#[derive(Clone, Debug, PartialEq)]
pub struct Differences {
    /// What differs; empty if a file of an older version says no more than that something does.
    pub keys: Vec<Difference>,
    /// Where the values at hand stand.
    pub found_in: &'static str,
    /// Where the stored values stand.
    pub stored_in: &'static str,
}

impl Differences {
    /// Those of a run's `config.toml` from what its best model was trained with.
    pub(super) fn new(keys: Vec<Difference>) -> Self {
        Self {
            keys,
            found_in: "config.toml",
            stored_in: "the trained model",
        }
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<Value>| match value {
            Some(value) => value.to_string(),
            None => "not set".to_owned(),
        };
        if self.keys.is_empty() {
            let (found, stored) = (self.found_in, self.stored_in);
            return write!(out, "{found} and {stored} have different hashes");
        }
        for (index, difference) in self.keys.iter().take(NAMED).enumerate() {
            let comma = if index > 0 { "; " } else { "" };
            let (key, found) = (&difference.key, value(&difference.found));
            let stored = value(&difference.stored);
            let (found_in, stored_in) = (self.found_in, self.stored_in);
            write!(
                out,
                "{comma}{key} is {found} in {found_in}, {stored} in {stored_in}"
            )?;
        }
        match self.keys.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(out, "; and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lista::Config;

    fn config(settings: &[&str]) -> Config {
        let settings: Vec<String> = settings.iter().map(|&s| s.to_owned()).collect();
        let preset = Config::preset("mnist/vdl").unwrap();
        preset.with_overrides(None, &settings).unwrap()
    }

    #[test]
    fn length_and_place_are_no_part_of_a_run() {
        let plain = identity(&config(&[]));
        assert_eq!(plain, with_place(&config(&[])), "a hash of old runs");
        for same in ["epochs=7", "patience=3", "data.folder=/data/mnist"] {
            assert_eq!(identity(&config(&[same])), plain, "{same}");
            assert_eq!(essence(&config(&[same])), essence(&config(&[])), "{same}");
        }
        for other in ["seed=7", "inference.lambda=0.5", "data.train=9"] {
            assert_ne!(identity(&config(&[other])), plain, "{other}");
        }
    }

    #[test]
    fn differences_are_named_with_both_values() {
        let stored = essence(&config(&[]));
        let found = essence(&config(&["inference.lambda=0.05", "data.train=9"]));
        let keys = differences(&found, &stored);
        assert_eq!(
            Differences::new(keys).to_string(),
            "data.train is 9 in config.toml, not set in the trained model; \
             inference.lambda is 0.05 in config.toml, 0.02 in the trained model"
        );
        assert_eq!(differences(&stored, &stored), []);
    }
}
