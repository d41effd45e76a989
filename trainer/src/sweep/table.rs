//! The forms of the collected table: CSV, JSON, Markdown. The same results give the same bytes.

use serde_json::{Map, Value, json};

use super::collect::{Collected, Group, Row, Spread};
use super::folder::Outcome;
use crate::evaluate::Evaluation;
use crate::report::table::{Table, percent};

impl Collected<'_> {
    /// One line a run, with a header. With `seconds`, the wall time of training too, which no two sweeps share.
    ///
    /// # Panics
    ///
    /// Never: memory takes every line.
    pub fn to_csv(&self, seconds: bool) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut header: Vec<String> = ["index", "id", "data", "model"].map(str::to_owned).into();
        header.extend(self.settings.iter().cloned());
        header.extend(["status", "epochs", "best_epoch"].map(str::to_owned));
        for set in ["validation", "test"] {
            header.extend(CLEAN.map(|(name, _)| format!("{set}_{name}")));
        }
        for level in &self.noise {
            header.extend(NOISY.map(|(name, _)| format!("noise_{level}_{name}")));
        }
        if seconds {
            header.push("seconds".to_owned());
        }
        header.push("message".to_owned());
        writer.write_record(&header).expect("memory takes it");
        for row in &self.rows {
            let (status, message) = row.said();
            let mut cells = self.first_cells(row);
            cells.push(status.to_owned());
            let outcome = row.outcome();
            let text = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
            cells.push(text(outcome.map(|o| f64::from(o.epochs))));
            cells.push(text(outcome.map(|o| f64::from(o.best_epoch))));
            for set in [outcome.map(|o| &o.validation), outcome.map(|o| &o.test)] {
                cells.extend(CLEAN.map(|(_, figure)| text(set.and_then(figure))));
            }
            for &level in &self.noise {
                let figures = outcome.and_then(|outcome| at_level(outcome, level));
                cells.extend(NOISY.map(|(_, figure)| text(figures.and_then(figure))));
            }
            if seconds {
                cells.push(text(outcome.map(|o| o.seconds)));
            }
            cells.push(message);
            writer.write_record(&cells).expect("memory takes it");
        }
        let bytes = writer.into_inner().expect("memory takes it");
        String::from_utf8(bytes).expect("made of texts")
    }

    /// Runs, summary over seeds, and what is not finished, as one document.
    pub fn to_json(&self, seconds: bool) -> String {
        let settings = |row: &Row<'_>, keys: &[String]| -> Map<String, Value> {
            let table = serde_json::to_value(row.entry.config.to_table()).unwrap_or_default();
            let pointer = |key: &str| format!("/{}", key.replace('.', "/"));
            keys.iter()
                .filter_map(|key| Some((key.clone(), table.pointer(&pointer(key))?.clone())))
                .collect()
        };
        let runs = self.rows.iter().map(|row| {
            let (status, message) = row.said();
            let mut run = json!({
                "index": row.entry.index,
                "id": row.entry.id,
                "data": row.data(),
                "model": row.model(),
                "settings": settings(row, &self.settings),
                "status": status,
            });
            if !message.is_empty() {
                run["message"] = message.into();
            }
            if let Some(outcome) = row.outcome() {
                run["epochs"] = outcome.epochs.into();
                run["best_epoch"] = outcome.best_epoch.into();
                run["validation"] = json!(outcome.validation);
                run["test"] = json!(outcome.test);
                run["denoising"] = json!(outcome.denoising);
                if seconds {
                    run["seconds"] = outcome.seconds.into();
                }
            }
            run
        });
        let groups = self.groups();
        let summary = groups.iter().map(|group| {
            let noise = self.noise.iter().map(|&level| {
                let mut figures = json!({ "noise": level });
                for (name, figure) in NOISY {
                    figures[name] = json!(group.spread(|o| at_level(o, level).and_then(figure)));
                }
                figures
            });
            json!({
                "data": group.first.data(),
                "model": group.first.model(),
                "settings": settings(group.first, self.shared_settings()),
                "planned": group.planned,
                "finished": group.outcomes.len(),
                "sparsity": group.spread(|o| Some(o.test.sparsity)),
                "psnr": group.spread(|o| Some(o.test.psnr)),
                "denoising": noise.collect::<Vec<_>>(),
            })
        });
        let unfinished = self.unfinished().map(|row| {
            let (status, message) = row.said();
            json!({ "index": row.entry.index, "id": row.entry.id, "status": status, "message": message })
        });
        let document = json!({
            "runs": runs.collect::<Vec<_>>(),
            "summary": summary.collect::<Vec<_>>(),
            "unfinished": unfinished.collect::<Vec<_>>(),
        });
        let text = serde_json::to_string_pretty(&document).expect("figures and texts are JSON");
        text + "\n"
    }

    /// For people: the summary over seeds (test set, mean ± sample standard deviation), all runs, and what is not finished.
    pub fn to_markdown(&self, seconds: bool) -> String {
        let all = self.rows.len();
        let unfinished = self.unfinished().count();
        let mut text = format!("# Sweep: {} of {all} runs finished\n\n", all - unfinished);
        text += "Test set, mean ± standard deviation over seeds (n − 1); best model by validation energy.\n\n";
        text += &self.summary().markdown();
        text += "\n## Runs\n\n";
        text += &self.runs(seconds).markdown();
        if unfinished > 0 {
            text += "\n## Not finished\n\n";
            for row in self.unfinished() {
                text += &format!("- {}\n", row.line());
            }
        }
        text
    }

    /// What names a run in both tables: index, id, data, model, settings.
    fn first_cells(&self, row: &Row<'_>) -> Vec<String> {
        let mut cells = vec![
            row.entry.index.to_string(),
            row.entry.id.clone(),
            row.data().to_owned(),
            row.model().to_owned(),
        ];
        cells.extend(self.settings.iter().map(|key| row.setting(key)));
        cells
    }

    /// The settings that runs of one group share.
    fn shared_settings(&self) -> &[String] {
        // The seed is the last.
        &self.settings[..self.settings.len() - 1]
    }

    fn summary(&self) -> Table {
        let mut header: Vec<String> = ["data", "model"].map(str::to_owned).into();
        header.extend(self.shared_settings().iter().map(|key| short(key)));
        header.extend(["n", "zeros", "PSNR"].map(str::to_owned));
        for level in &self.noise {
            header.extend(["noisy", "zeros", "denoised"].map(|name| format!("σ={level} {name}")));
        }
        let mut table = Table::new(header);
        for group in self.groups() {
            let first = group.first;
            let mut cells = vec![first.data().to_owned(), first.model().to_owned()];
            cells.extend(self.shared_settings().iter().map(|key| first.setting(key)));
            let (done, planned) = (group.outcomes.len(), group.planned);
            cells.push(if done == planned {
                done.to_string()
            } else {
                format!("{done} of {planned}")
            });
            cells.push(in_percent(group.spread(|o| Some(o.test.sparsity))));
            cells.push(in_decibels(group.spread(|o| Some(o.test.psnr))));
            for &level in &self.noise {
                let figure = |of: fn(&Evaluation) -> Option<f64>| {
                    group.spread(|outcome| at_level(outcome, level).and_then(of))
                };
                cells.push(in_decibels(figure(|f| f.psnr_input)));
                cells.push(in_percent(figure(|f| Some(f.sparsity))));
                cells.push(in_decibels(figure(|f| Some(f.psnr))));
            }
            table.push(cells);
        }
        table
    }

    fn runs(&self, seconds: bool) -> Table {
        let mut header: Vec<String> = ["run", "id", "data", "model"].map(str::to_owned).into();
        header.extend(self.settings.iter().map(|key| short(key)));
        header.extend(
            [
                "status",
                "best epoch",
                "validation energy",
                "validation PSNR",
                "zeros",
                "PSNR",
                "dead atoms",
            ]
            .map(str::to_owned),
        );
        header.extend(self.noise.iter().map(|level| format!("σ={level} denoised")));
        if seconds {
            header.push("seconds".to_owned());
        }
        let mut table = Table::new(header);
        for row in &self.rows {
            let mut cells = self.first_cells(row);
            cells.push(row.said().0.to_owned());
            let outcome = row.outcome();
            let text = |decimals: usize, value: &dyn Fn(&Outcome) -> Option<f64>| {
                let value = outcome.and_then(value);
                value.map_or_else(String::new, |value| format!("{value:.decimals$}"))
            };
            cells.push(text(0, &|o| Some(f64::from(o.best_epoch))));
            cells.push(text(3, &|o| Some(o.validation.energy)));
            cells.push(text(2, &|o| Some(o.validation.psnr)));
            let sparsity = outcome.map(|outcome| percent(outcome.test.sparsity));
            cells.push(sparsity.unwrap_or_default());
            cells.push(text(2, &|o| Some(o.test.psnr)));
            cells.push(text(0, &|o| Some(o.test.dead_atoms as f64)));
            for &level in &self.noise {
                cells.push(text(2, &|o| at_level(o, level).map(|f| f.psnr)));
            }
            if seconds {
                cells.push(text(1, &|o| Some(o.seconds)));
            }
            table.push(cells);
        }
        table
    }
}

impl Row<'_> {
    /// The run and its status in a line, for lists of what is not finished.
    pub fn line(&self) -> String {
        let (status, message) = self.said();
        let (index, id) = (self.entry.index, &self.entry.id);
        let colon = if message.is_empty() { "" } else { ": " };
        let message = message.replace('\n', " ");
        format!(
            "run {index} {id} ({}/{}): {status}{colon}{message}",
            self.data(),
            self.model()
        )
    }
}

impl Group<'_> {
    fn spread(&self, figure: impl Fn(&Outcome) -> Option<f64>) -> Option<Spread> {
        let values: Vec<f64> = self
            .outcomes
            .iter()
            .filter_map(|outcome| figure(outcome))
            .collect();
        Spread::of(&values)
    }
}

type Figure = (&'static str, fn(&Evaluation) -> Option<f64>);

const CLEAN: [Figure; 5] = [
    ("psnr", |f| Some(f.psnr)),
    ("sparsity", |f| Some(f.sparsity)),
    ("code_l1", |f| Some(f.code_l1)),
    ("energy", |f| Some(f.energy)),
    ("dead_atoms", |f| Some(f.dead_atoms as f64)),
];

const NOISY: [Figure; 3] = [
    ("psnr_input", |f| f.psnr_input),
    ("sparsity", |f| Some(f.sparsity)),
    ("psnr", |f| Some(f.psnr)),
];

fn at_level(outcome: &Outcome, level: f64) -> Option<&Evaluation> {
    outcome
        .denoising
        .iter()
        .find(|figures| figures.noise == Some(level))
}

/// A setting's key as a heading.
fn short(key: &str) -> String {
    match key {
        "inference.lambda" => "λ".to_owned(),
        _ => key.rsplit('.').next().unwrap_or(key).to_owned(),
    }
}

fn in_percent(spread: Option<Spread>) -> String {
    with_deviation(spread, 100.0, 1, "%")
}

fn in_decibels(spread: Option<Spread>) -> String {
    with_deviation(spread, 1.0, 2, "dB")
}

fn with_deviation(spread: Option<Spread>, factor: f64, decimals: usize, unit: &str) -> String {
    let Some(Spread { mean, std }) = spread else {
        return String::new();
    };
    let mean = format!("{:.decimals$}", factor * mean);
    match std {
        // One place more than the mean: the deviation over seeds is small.
        Some(std) => format!("{mean} ± {:.1$} {unit}", factor * std, decimals + 1),
        None => format!("{mean} {unit}"),
    }
}
