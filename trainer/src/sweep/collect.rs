//! What a sweep came to: a row a run, a summary over seeds, and what is not there.

use std::collections::BTreeMap;

use serde::Serialize;
use toml::{Table, Value};

use super::folder::{Outcome, Status, SweepFolder};
use super::{Entry, Plan};
use crate::run::Family;

/// The key that the column for data stands for.
const SOURCE: &str = "data.source";
const SEED: &str = "seed";

/// The results of a plan, every run of it.
#[derive(Clone, Debug)]
pub struct Collected<'a, F: Family> {
    /// A row for each run, in the plan's order.
    pub rows: Vec<Row<'a, F>>,
    /// The settings that tell runs apart, beside data and model: λ, those that vary by themselves,
    /// the seed.
    pub settings: Vec<String>,
    /// The noise levels of all runs.
    pub noise: Vec<f64>,
}

/// A run and how it stands.
#[derive(Clone, Debug)]
pub struct Row<'a, F: Family> {
    /// The run.
    pub entry: &'a Entry<F>,
    /// How it stands.
    pub status: Status,
    /// Its configuration under dotted keys.
    values: BTreeMap<String, Value>,
}

/// Runs that differ in the seed alone.
#[derive(Clone, Debug)]
pub struct Group<'a, F: Family> {
    /// The first of them.
    pub first: &'a Row<'a, F>,
    /// Runs planned.
    pub planned: usize,
    /// The results of those that are finished.
    pub outcomes: Vec<&'a Outcome>,
}

/// Mean and deviation over runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation (n − 1); `None` for fewer than two runs.
    pub std: Option<f64>,
}

impl Spread {
    /// Of some numbers; `None` of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            mean,
            std: (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt()),
        })
    }
}

impl<'a, F: Family> Collected<'a, F> {
    /// Reads what the folder holds of a plan. Nothing of the plan is left out.
    pub fn of(plan: &'a Plan<F>, folder: &SweepFolder) -> Self {
        let mut rows = Vec::new();
        let mut noise: Vec<f64> = Vec::new();
        for entry in plan.entries() {
            let mut values = BTreeMap::new();
            flatten("", &entry.config.to_table(), &mut values);
            rows.push(Row {
                entry,
                status: folder.run(entry).status(),
                values,
            });
            for &level in &entry.noise {
                if !noise.contains(&level) {
                    noise.push(level);
                }
            }
        }
        noise.sort_by(f64::total_cmp);
        let settings = telling(&rows);
        Self {
            rows,
            settings,
            noise,
        }
    }

    /// The runs without a result.
    pub fn unfinished(&self) -> impl Iterator<Item = &Row<'a, F>> {
        self.rows.iter().filter(|row| row.outcome().is_none())
    }

    /// Runs that differ in the seed alone, in the order of their first.
    pub fn groups(&self) -> Vec<Group<'_, F>> {
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let mut groups: Vec<Group<'_, F>> = Vec::new();
        for row in &self.rows {
            let mut config = row.entry.config.clone();
            config.seed = 0;
            let place = *places.entry(config.hash()).or_insert_with(|| {
                groups.push(Group {
                    first: row,
                    planned: 0,
                    outcomes: Vec::new(),
                });
                groups.len() - 1
            });
            groups[place].planned += 1;
            groups[place].outcomes.extend(row.outcome());
        }
        groups
    }
}

impl<F: Family> Row<'_, F> {
    /// The result, if there is one.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.status {
            Status::Finished(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// A setting by its dotted key, as text; empty where the run has none.
    pub fn setting(&self, key: &str) -> String {
        match self.values.get(key) {
            Some(Value::String(text)) => text.clone(),
            // Not TOML's text, which writes 1 for a float as 1.0.
            Some(Value::Float(value)) => value.to_string(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }

    /// Source of the data.
    pub fn data(&self) -> &'static str {
        self.entry.config.data.source()
    }

    /// Name of the model.
    pub fn model(&self) -> &'static str {
        self.entry.config.model_name()
    }

    /// The status in a word, and what there is to say of it.
    pub fn said(&self) -> (&'static str, String) {
        match &self.status {
            Status::Finished(_) => ("finished", String::new()),
            Status::Failed(failure) => ("failed", failure.message.clone()),
            Status::Running => ("running", String::new()),
            Status::Interrupted { epochs } => {
                let all = self.entry.config.epochs;
                ("unfinished", format!("{epochs} of {all} epochs"))
            }
            Status::Missing => ("missing", String::new()),
        }
    }
}

fn flatten(prefix: &str, table: &Table, values: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let key = match prefix {
            "" => key.clone(),
            _ => format!("{prefix}.{key}"),
        };
        match value {
            Value::Table(table) => flatten(&key, table, values),
            value => {
                values.insert(key, value.clone());
            }
        }
    }
}

/// The settings that tell runs apart. Most that vary in a sweep over models follow from the model
/// (the hyperparameter table has a row a model); a column for each would hide those that were
/// chosen.
fn telling<F: Family>(rows: &[Row<'_, F>]) -> Vec<String> {
    let keys: std::collections::BTreeSet<&String> =
        rows.iter().flat_map(|row| row.values.keys()).collect();
    let shown = F::SHOWN_SETTINGS.iter().map(|(key, _)| *key);
    let mut settings: Vec<String> = shown.map(str::to_owned).collect();
    for key in keys {
        let is_named = key == SOURCE || F::NAMED_KEYS.contains(&key.as_str());
        if settings.contains(key) || key == SEED || is_named {
            continue;
        }
        let mut follows = BTreeMap::new();
        let varies_by_itself = rows.iter().any(|row| {
            let mut known = vec![row.data().to_owned(), row.model().to_owned()];
            known.extend(settings.iter().map(|key| row.setting(key)));
            let value = row.setting(key);
            *follows.entry(known).or_insert_with(|| value.clone()) != value
        });
        if varies_by_itself {
            settings.push(key.clone());
        }
    }
    settings.push(SEED.to_owned());
    settings
}

#[cfg(test)]
mod tests {
    use super::super::Grid;
    use super::*;
    use crate::lista::Lista;

    fn settings(grid: &str) -> Vec<String> {
        let plan = Grid::parse(grid, "grid.toml").unwrap();
        let plan = plan.plan::<Lista>().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let collected = Collected::of(&plan, &SweepFolder::new(folder.path()));
        collected.settings
    }

    #[test]
    fn columns_are_what_was_chosen_not_what_follows_from_it() {
        // Step size, γ, β and the rates follow from the model; γ of VDL-NL on patches from λ.
        let table = "preset = [\"patches/sdl\", \"patches/vdl-nl\"]\nseed = [1, 2]\ninference.lambda = [0.001, 0.02]";
        assert_eq!(settings(table), ["inference.lambda", "seed"]);
        let more = format!("{table}\nmodel.code_dim = [64, 128]");
        assert_eq!(
            settings(&more),
            ["inference.lambda", "model.code_dim", "seed"]
        );
    }

    #[test]
    fn a_spread_is_the_sample_deviation() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0]).unwrap().std, None);
        let spread = Spread::of(&[1.0, 2.0, 3.0, 6.0]).unwrap();
        assert_eq!(spread.mean, 3.0);
        assert!((spread.std.unwrap() - (14.0f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn nothing_of_the_plan_is_left_out() {
        let text = "preset = \"ecg/sdl\"\nseed = [1, 2, 3]";
        let plan = Grid::parse(text, "grid.toml")
            .unwrap()
            .plan::<Lista>()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let sweep = SweepFolder::new(folder.path());
        let run = sweep.run(&plan.entries()[1]);
        let lock = run.lock().unwrap().unwrap();
        run.fail("it diverged".to_owned(), true, &lock).unwrap();
        let status = |index: usize| {
            let collected = Collected::of(&plan, &sweep);
            assert_eq!(collected.rows.len(), 3);
            assert_eq!(collected.unfinished().count(), 3);
            collected.rows[index].said().0
        };
        assert_eq!(
            (status(0), status(1), status(2)),
            ("missing", "running", "missing")
        );
        // Who only looks is not kept out, and nobody else takes it.
        assert!(run.lock().unwrap().is_none());
        drop(lock);
        assert_eq!(status(1), "failed");
        let collected = Collected::of(&plan, &sweep);
        for text in [
            collected.to_csv(false),
            collected.to_json(false),
            collected.to_markdown(true),
        ] {
            assert!(text.contains("it diverged"), "{text}");
            assert!(
                plan.entries().iter().all(|entry| text.contains(&entry.id)),
                "{text}"
            );
        }
        let _again = run.lock().unwrap().unwrap();
        let attempt = run.fail("again".to_owned(), true, &_again).unwrap().attempt;
        assert_eq!(attempt, 2);
    }
}
