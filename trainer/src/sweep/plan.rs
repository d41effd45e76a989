//! A plan: the runs of a sweep, each a whole configuration.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{SweepError, read_text};
use crate::run::{Config, Family};

/// One run of a plan, as it stands on its line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound = "")]
pub struct Entry<F: Family> {
    /// The place in the plan, from 0.
    pub index: usize,
    /// Runs in the plan, so that one that was cut is noticed.
    pub of: usize,
    /// The hash of the configuration, [`Config::hash`]; the run's folder has this name.
    pub id: String,
    /// Noise levels (σ, preprocessed units) at which denoising is measured when the run is trained.
    pub noise: Vec<f64>,
    /// The whole configuration.
    pub config: Config<F>,
    /// The hash of all that the id does not say: place, runs in the plan, noise levels.
    pub check: String,
}

impl<F: Family> Entry<F> {
    fn new(index: usize, of: usize, config: Config<F>, noise: Vec<f64>) -> Self {
        let mut entry = Self {
            index,
            of,
            id: config.hash(),
            noise,
            config,
            check: String::new(),
        };
        entry.check = entry.sum();
        entry
    }

    /// What [`Entry::check`] must be: the first 16 hexadecimal digits of a SHA-256.
    fn sum(&self) -> String {
        let text = format!("{} {} {} {:?}", self.id, self.index, self.of, self.noise);
        let digits = Sha256::digest(text);
        digits.iter().take(8).map(|b| format!("{b:02x}")).collect()
    }

    /// Reads one entry from the JSON that a plan has on a line.
    ///
    /// # Errors
    ///
    /// [`SweepError::Line`] if it is not an entry, holds a value out of range, or was edited.
    pub fn parse(text: &str, file: &str) -> Result<Self, SweepError> {
        let at = PlanLine { file, line: 1 };
        let value = serde_json::from_str(text).map_err(|error| at.not_json(&error))?;
        at.entry(value)
    }

    fn to_line(&self) -> String {
        serde_json::to_string(self).expect("an entry holds only numbers, texts and tables")
    }
}

/// The runs of a sweep, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<F: Family> {
    entries: Vec<Entry<F>>,
}

impl<F: Family> Plan<F> {
    /// The plan of these configurations, all different.
    pub(super) fn new(configs: Vec<Config<F>>, noise: &[f64]) -> Self {
        let of = configs.len();
        let entry = |(index, config)| Entry::new(index, of, config, noise.to_vec());
        Self {
            entries: configs.into_iter().enumerate().map(entry).collect(),
        }
    }

    /// The runs.
    pub fn entries(&self) -> &[Entry<F>] {
        &self.entries
    }

    /// The run at a place.
    ///
    /// # Errors
    ///
    /// [`SweepError::Index`] says how many there are.
    pub fn entry(&self, index: usize) -> Result<&Entry<F>, SweepError> {
        self.entries.get(index).ok_or(SweepError::Index {
            index,
            runs: self.entries.len(),
        })
    }

    /// One line a run: the form that can be cut, counted and read with line tools.
    pub fn to_lines(&self) -> String {
        self.entries
            .iter()
            .map(|entry| entry.to_line() + "\n")
            .collect()
    }

    /// The same as one JSON array, an item a line: the form that HyperQueue's `--from-json` takes.
    pub fn to_json(&self) -> String {
        let lines: Vec<String> = self.entries.iter().map(Entry::to_line).collect();
        format!("[\n{}\n]\n", lines.join(",\n"))
    }

    /// Reads a plan in either form.
    ///
    /// # Errors
    ///
    /// [`SweepError::Read`], or as [`Plan::parse`].
    pub fn read(path: &Path) -> Result<Self, SweepError> {
        Self::parse(&read_text(path)?, &path.display().to_string())
    }

    /// Reads the text of a plan; `file` names it in errors.
    ///
    /// # Errors
    ///
    /// [`SweepError::Line`] names the line that is no entry, was edited, stands twice or in another
    /// place, or the last one of a plan that was cut; [`SweepError::Empty`].
    pub fn parse(text: &str, file: &str) -> Result<Self, SweepError> {
        let mut values: Vec<(usize, Value)> = Vec::new();
        if text.trim_start().starts_with('[') {
            let items: Vec<Value> = serde_json::from_str(text).map_err(|error| {
                PlanLine {
                    file,
                    line: error.line(),
                }
                .not_json(&error)
            })?;
            values.extend((1..).zip(items));
        } else {
            for (line, text) in (1..).zip(text.lines()) {
                if !text.trim().is_empty() {
                    let value = serde_json::from_str(text)
                        .map_err(|error| PlanLine { file, line }.not_json(&error))?;
                    values.push((line, value));
                }
            }
        }
        let mut entries: Vec<Entry<F>> = Vec::new();
        let mut lines = std::collections::BTreeMap::new();
        for (line, value) in values {
            let at = PlanLine { file, line };
            let entry = at.entry(value)?;
            if let Some(first) = lines.insert(entry.id.clone(), line) {
                return Err(at.refuse(
                    format!("the same run as line {first}"),
                    "delete one of them and plan again",
                ));
            }
            if entry.index != entries.len() {
                return Err(at.refuse(
                    format!("index is {}, but this is run {}", entry.index, entries.len()),
                    "a plan's runs are numbered from 0 without gaps: make it anew with `sparsecode sweep plan`",
                ));
            }
            entries.push(entry);
        }
        let Some(last) = entries.last() else {
            return Err(SweepError::Empty(file.to_owned()));
        };
        if let Some(entry) = entries.iter().find(|entry| entry.of != entries.len()) {
            let line = lines.get(&last.id).copied().unwrap_or_default();
            return Err(PlanLine { file, line }.refuse(
                format!("the plan ends here: {} of {} runs", entries.len(), entry.of),
                "a part of it is missing, or plans were joined: make it anew with `sparsecode sweep plan`",
            ));
        }
        Ok(Self { entries })
    }
}

/// The family that the first run of a plan names, in either form, or a run alone; `None` for the
/// first family, which is not named, and for what is no run.
pub fn family_in(text: &str) -> Option<String> {
    let items = text.trim_start().trim_start_matches('[');
    let mut values = serde_json::Deserializer::from_str(items).into_iter::<Value>();
    let first = values.next()?.ok()?;
    Some(first["config"]["family"].as_str()?.to_owned())
}

/// The same of a file.
///
/// # Errors
///
/// [`SweepError::Read`].
pub fn family_named(path: &Path) -> Result<Option<String>, SweepError> {
    Ok(family_in(&read_text(path)?))
}

/// A line of a file, for errors.
struct PlanLine<'a> {
    file: &'a str,
    line: usize,
}

impl PlanLine<'_> {
    fn refuse(&self, problem: String, remedy: &'static str) -> SweepError {
        SweepError::Line {
            file: self.file.to_owned(),
            line: self.line,
            problem,
            remedy,
        }
    }

    fn not_json(&self, error: &serde_json::Error) -> SweepError {
        self.refuse(
            format!("not JSON ({error})"),
            "a plan is what `sparsecode sweep plan` writes",
        )
    }

    fn entry<F: Family>(&self, value: Value) -> Result<Entry<F>, SweepError> {
        let entry: Entry<F> = serde_json::from_value(value).map_err(|error| {
            self.refuse(
                format!("not a run of a plan ({error})"),
                "a plan is what `sparsecode sweep plan` writes",
            )
        })?;
        entry
            .config
            .validate()
            .map_err(|error| self.refuse(error.to_string(), "change the grid and plan again"))?;
        if let Some(level) = entry
            .noise
            .iter()
            .find(|level| !(level.is_finite() && **level > 0.0))
        {
            return Err(self.refuse(
                format!("noise {level} is not positive"),
                "change the grid and plan again",
            ));
        }
        let hash = entry.config.hash();
        if entry.id != hash {
            return Err(self.refuse(
                format!("id is {}, but the configuration's hash is {hash}", entry.id),
                "a planned run is not edited, nor carried to a version with other settings: change the grid and plan again",
            ));
        }
        let sum = entry.sum();
        if entry.check != sum {
            return Err(self.refuse(
                format!(
                    "check is {}, but the hash of index, number of runs and noise levels is {sum}",
                    entry.check
                ),
                "a planned run is not edited: change the grid and plan again",
            ));
        }
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grid;
    use super::*;
    use crate::lista::Lista;

    type Plan = super::Plan<Lista>;
    type Entry = super::Entry<Lista>;

    fn plan() -> Plan {
        let text =
            "preset = [\"patches/sdl\", \"mnist/vdl-nl\"]\ninference.lambda = [1e-4, 0.1, 0.3]";
        Grid::parse(text, "grid.toml")
            .unwrap()
            .plan::<Lista>()
            .unwrap()
    }

    #[test]
    fn both_forms_are_read_back() {
        let plan = plan();
        for text in [
            plan.to_lines(),
            plan.to_json(),
            plan.to_lines().replace('\n', "\r\n\n"),
        ] {
            assert_eq!(Plan::parse(&text, "plan").unwrap(), plan, "{text}");
        }
        assert_eq!(plan.to_lines().lines().count(), 6);
        // An item of the array is what HyperQueue hands to a task.
        let items: Vec<Value> = serde_json::from_str(&plan.to_json()).unwrap();
        let entry = Entry::parse(&items[4].to_string(), "HQ_ENTRY").unwrap();
        assert_eq!(&entry, plan.entry(4).unwrap());
        let message = plan.entry(6).unwrap_err().to_string();
        assert!(message.contains("6 runs, 0 to 5"), "{message}");
    }

    #[test]
    fn what_is_not_as_planned_is_named_with_its_line() {
        let text = plan().to_lines();
        let lines: Vec<&str> = text.lines().collect();
        let changed = |line: usize, to: &str| {
            let mut lines = lines.clone();
            lines[line - 1] = to;
            lines.join("\n")
        };
        let edited = lines[2].replace("\"epochs\":100", "\"epochs\":1");
        let unknown = lines[2].replace("\"epochs\"", "\"epoch\"");
        let range = lines[2].replace("\"epochs\":100", "\"epochs\":0");
        let noise = lines[2].replace("[1.0,1.5]", "[-1.0]");
        let louder = lines[2].replace("[1.0,1.5]", "[1.0,2.0]");
        let fewer = lines[2].replace("\"of\":6", "\"of\":3");
        assert!(
            [&edited, &noise, &louder, &fewer]
                .iter()
                .all(|line| *line != lines[2])
        );
        for (text, words) in [
            (changed(3, &edited), ["plan:3", "hash"]),
            (changed(3, &unknown), ["plan:3", "epoch"]),
            (changed(3, &range), ["plan:3", "epochs is 0"]),
            (changed(3, &noise), ["plan:3", "noise"]),
            (changed(3, &louder), ["plan:3", "noise levels"]),
            (changed(3, &fewer), ["plan:3", "number of runs"]),
            (lines[..4].join("\n"), ["plan:4", "4 of 6 runs"]),
            (changed(3, "{\"index\":2,"), ["plan:3", "not JSON"]),
            (changed(3, "[]"), ["plan:3", "not a run"]),
            (changed(4, lines[0]), ["plan:4", "line 1"]),
            (lines[1..].join("\n"), ["plan:1", "index is 1"]),
            (String::new(), ["plan", "no runs"]),
            ("[".to_owned(), ["plan:1", "not JSON"]),
        ] {
            let message = Plan::parse(&text, "plan").unwrap_err().to_string();
            for word in words {
                assert!(message.contains(word), "'{word}' is not in: {message}");
            }
        }
    }
}
