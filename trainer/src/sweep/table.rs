//! The forms of the collected table: CSV, JSON, Markdown. The same results give the same bytes.

use serde_json::{Map, Value, json};

use super::collect::{Collected, Group, Row, Spread};
use super::folder::Outcome;
use crate::report::table::Table;
use crate::run::{Family, Figures, Unit};

impl<F: Family> Collected<'_, F> {
    /// One line a run, with a header. With `seconds`, the wall time of training too, which no two
    /// sweeps share.
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
            header.extend(
                F::CLEAN_COLUMNS
                    .iter()
                    .map(|c| format!("{set}_{}", c.figure)),
            );
        }
        for level in &self.noise {
            let names = F::NOISY_COLUMNS.iter().map(|column| column.figure);
            header.extend(names.map(|name| format!("noise_{level}_{name}")));
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
                let figure = |name: &str| set.and_then(|figures| figures.get(name));
                cells.extend(F::CLEAN_COLUMNS.iter().map(|c| text(figure(c.figure))));
            }
            for &level in &self.noise {
                let figures = outcome.and_then(|outcome| at_level(outcome, level));
                let figure = |name: &str| figures.and_then(|figures| figures.get(name));
                cells.extend(F::NOISY_COLUMNS.iter().map(|c| text(figure(c.figure))));
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
        let settings = |row: &Row<'_, F>, keys: &[String]| -> Map<String, Value> {
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
                for column in F::NOISY_COLUMNS {
                    let name = column.figure;
                    let figure = |o: &Outcome| at_level(o, level)?.get(name);
                    figures[name] = json!(group.spread(figure));
                }
                figures
            });
            let mut summary = json!({
                "data": group.first.data(),
                "model": group.first.model(),
                "settings": settings(group.first, self.shared_settings()),
                "planned": group.planned,
                "finished": group.outcomes.len(),
                "denoising": noise.collect::<Vec<_>>(),
            });
            for column in F::CLEAN_COLUMNS {
                let name = column.figure;
                summary[name] = json!(group.spread(|outcome| outcome.test.get(name)));
            }
            summary
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

    /// For people: the summary over seeds (test set, mean ± sample standard deviation), all runs,
    /// and what is not finished.
    pub fn to_markdown(&self, seconds: bool) -> String {
        let all = self.rows.len();
        let unfinished = self.unfinished().count();
        let mut text = format!("# Sweep: {} of {all} runs finished\n\n", all - unfinished);
        text += &format!(
            "Test set, mean ± standard deviation over seeds (n − 1); best model: {}.\n\n",
            F::kept()
        );
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
    fn first_cells(&self, row: &Row<'_, F>) -> Vec<String> {
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
        header.extend(self.shared_settings().iter().map(|key| short::<F>(key)));
        header.push("n".to_owned());
        header.extend(
            F::CLEAN_COLUMNS
                .iter()
                .map(|column| column.heading.to_owned()),
        );
        for level in &self.noise {
            let names = F::NOISY_COLUMNS.iter().map(|column| column.heading);
            header.extend(names.map(|name| format!("σ={level} {name}")));
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
            for column in F::CLEAN_COLUMNS {
                let spread = group.spread(|outcome| outcome.test.get(column.figure));
                cells.push(with_deviation(spread, column.unit));
            }
            for &level in &self.noise {
                for column in F::NOISY_COLUMNS {
                    let figure = |o: &Outcome| at_level(o, level)?.get(column.figure);
                    cells.push(with_deviation(group.spread(figure), column.unit));
                }
            }
            table.push(cells);
        }
        table
    }

    fn runs(&self, seconds: bool) -> Table {
        let mut header: Vec<String> = ["run", "id", "data", "model"].map(str::to_owned).into();
        header.extend(self.settings.iter().map(|key| short::<F>(key)));
        header.extend(["status", "best epoch"].map(str::to_owned));
        header.push(format!("validation {}", F::OBJECTIVE));
        header.extend(
            F::CLEAN_COLUMNS
                .iter()
                .map(|column| column.heading.to_owned()),
        );
        let denoised = F::NOISY_COLUMNS.last();
        if let Some(column) = denoised {
            let levels = self.noise.iter();
            header.extend(levels.map(|level| format!("σ={level} {}", column.heading)));
        }
        if seconds {
            header.push("seconds".to_owned());
        }
        let mut table = Table::new(header);
        for row in &self.rows {
            let mut cells = self.first_cells(row);
            cells.push(row.said().0.to_owned());
            let outcome = row.outcome();
            let text = |unit: Unit, value: &dyn Fn(&Outcome) -> Option<f64>| {
                let value = outcome.and_then(value);
                value.map_or_else(String::new, |value| unit.text(value))
            };
            cells.push(text(Unit::Number(0), &|o| Some(f64::from(o.best_epoch))));
            cells.push(text(Unit::Number(3), &|o| o.validation.get(F::OBJECTIVE)));
            for column in F::CLEAN_COLUMNS {
                cells.push(text(column.unit, &|o| o.test.get(column.figure)));
            }
            if let Some(column) = denoised {
                for &level in &self.noise {
                    cells.push(text(column.unit, &|o| {
                        at_level(o, level)?.get(column.figure)
                    }));
                }
            }
            if seconds {
                cells.push(text(Unit::Number(1), &|o| Some(o.seconds)));
            }
            table.push(cells);
        }
        table
    }
}

impl<F: Family> Row<'_, F> {
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

impl<F: Family> Group<'_, F> {
    fn spread(&self, figure: impl Fn(&Outcome) -> Option<f64>) -> Option<Spread> {
        let values: Vec<f64> = self
            .outcomes
            .iter()
            .filter_map(|outcome| figure(outcome))
            .collect();
        Spread::of(&values)
    }
}

/// The figures with this noise.
fn at_level(outcome: &Outcome, level: f64) -> Option<&Figures> {
    let mut levels = outcome.denoising.iter();
    levels
        .find(|denoising| denoising.noise == level)
        .map(|denoising| &denoising.figures)
}

/// A setting's key as a heading.
fn short<F: Family>(key: &str) -> String {
    let shown = F::SHOWN_SETTINGS.iter().find(|(shown, _)| *shown == key);
    match shown {
        Some((_, heading)) => (*heading).to_owned(),
        None => key.rsplit('.').next().unwrap_or(key).to_owned(),
    }
}

/// Mean and deviation with their unit. The deviation has one decimal more: over seeds it is small.
fn with_deviation(spread: Option<Spread>, unit: Unit) -> String {
    let Some(Spread { mean, std }) = spread else {
        return String::new();
    };
    let (factor, decimals, name) = match unit {
        Unit::Fraction => (100.0, 1, " %"),
        Unit::Decibels => (1.0, 2, " dB"),
        Unit::Number(decimals) => (1.0, decimals, ""),
        Unit::Compact => (1.0, 3, ""),
    };
    let mean = format!("{:.decimals$}", factor * mean);
    match std {
        Some(std) => format!("{mean} ± {:.1$}{name}", factor * std, decimals + 1),
        None => format!("{mean}{name}"),
    }
}
