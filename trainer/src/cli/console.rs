//! Shows how a run goes.

use std::marker::PhantomData;

use crate::report::progress::{Progress, ProgressMode};
use crate::run::{Column, Config, EpochRecord, Family, Figures, LogError, Observer, Unit};

/// A bar, and a line an epoch under a header.
pub(super) struct Console<F> {
    model: &'static str,
    epochs: u32,
    mode: ProgressMode,
    progress: Progress,
    family: PhantomData<F>,
}

impl<F: Family> Console<F> {
    pub(super) fn new(config: &Config<F>, mode: ProgressMode) -> Self {
        Self {
            model: config.model_name(),
            epochs: config.epochs,
            mode,
            // The amount of work is known when training begins.
            progress: Progress::new("", 0, "", ProgressMode::Quiet),
            family: PhantomData,
        }
    }

    pub(super) fn finish(self) {
        self.progress.finish();
    }
}

impl<F: Family> Observer for Console<F> {
    fn begin(&mut self, epochs_done: u32, done: usize, all: usize) {
        self.progress = Progress::resume(self.model, done as u64, all as u64, "batches", self.mode);
        if epochs_done < self.epochs {
            self.progress.note(&header::<F>());
        }
    }

    fn batch(&mut self, epoch: u32, done: usize, all: usize) {
        // A GPU takes many batches at a time.
        let before = u64::from(epoch.saturating_sub(1)) * all as u64;
        self.progress.reach(before + done as u64);
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<(), LogError> {
        self.progress.message(format!(
            "epoch {}/{}: {}",
            record.epoch,
            self.epochs,
            F::summary(&record.validation)
        ));
        self.progress.note(&epoch_line::<F>(record));
        Ok(())
    }
}

/// Characters of a column.
fn width(unit: Unit) -> usize {
    match unit {
        Unit::Decibels | Unit::Compact => 10,
        Unit::Number(_) => 8,
        Unit::Fraction => 7,
    }
}

/// Cells of a part of the line. After the objective of the validation set stands `mark`.
fn cells<F: Family>(
    columns: &[Column],
    mark: Option<char>,
    text: impl Fn(&Column) -> String,
) -> String {
    let cell = |column: &Column| {
        let cell = format!("{:>1$}", text(column), width(column.unit));
        match mark {
            Some(mark) if column.figure == F::OBJECTIVE => format!("{cell}{mark}"),
            _ => cell,
        }
    };
    columns.iter().map(cell).collect::<Vec<_>>().join("  ")
}

/// The names of the columns of [`epoch_line`], and what they leave open.
fn header<F: Family>() -> String {
    let heading = |column: &Column| column.heading.to_owned();
    let train = cells::<F>(F::TRAIN_COLUMNS, None, heading);
    let validation = cells::<F>(F::VALIDATION_COLUMNS, Some(' '), heading);
    let (legend, kept, width) = (F::LEGEND, F::kept(), train.chars().count());
    format!(
        "       | {:<width$} | validation\n epoch | {train} | {validation} |    time\n{legend}; \
         *: {kept} so far, kept as best",
        "training"
    )
}

/// An epoch's figures under the header; they keep to their columns, however large they are.
fn epoch_line<F: Family>(record: &EpochRecord) -> String {
    let text = |figures: &Figures, column: &Column| {
        let value = figures.get(column.figure);
        value.map_or_else(String::new, |value| column.unit.text(value))
    };
    let train = cells::<F>(F::TRAIN_COLUMNS, None, |c| text(&record.train, c));
    let mark = if record.best { '*' } else { ' ' };
    let validation = cells::<F>(F::VALIDATION_COLUMNS, Some(mark), |c| {
        text(&record.validation, c)
    });
    let remark =
        F::epoch_remark(&record.train).map_or_else(String::new, |remark| format!("  {remark}"));
    format!(
        "{:>6} | {train} | {validation} | {:>5.1} s{remark}",
        record.epoch, record.seconds
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lista::Lista;
    use crate::run::Settings;

    fn record(energy: f64) -> EpochRecord {
        EpochRecord {
            epoch: 3,
            train: Figures::from([
                ("psnr", 29.914),
                ("sparsity", 0.8734),
                ("energy", energy),
                ("fista_steps", 34.16),
            ]),
            validation: Figures::from([
                ("psnr", -104.2),
                ("sparsity", 1.0),
                ("energy", energy),
                ("dead_atoms", 65535.0),
            ]),
            learner: Figures::new(),
            best: true,
            seconds: 3.13,
        }
    }

    /// Bars and figures stand under those of the header, be the figures small or of a run that has
    /// lost its way.
    #[test]
    fn lines_of_epochs_keep_to_their_columns() {
        let bars = |line: &str| -> Vec<usize> {
            let places = line.char_indices().filter(|(_, c)| *c == '|');
            places.map(|(place, _)| place).collect()
        };
        let header = header::<Lista>();
        let header: Vec<&str> = header.lines().collect();
        let expected = bars(header[1]);
        assert_eq!(expected.len(), 3);
        assert_eq!(bars(header[0]), expected[..2]);
        for energy in [0.01234, 59.3012, 986_581_005_920.239, f64::MAX] {
            let line = epoch_line::<Lista>(&record(energy));
            assert_eq!(bars(&line), expected, "{line}");
            for (name, value) in [
                ("PSNR", "dB"),
                ("zeros", "%"),
                ("energy", "*"),
                ("dead", "5"),
            ] {
                let end = header[1].rfind(name).unwrap() + name.len();
                let found = line.rfind(value).unwrap() + value.len();
                let width = usize::from(name == "energy");
                assert_eq!(found, end + width, "{name}: {line}");
            }
        }
        for explained in ["steps:", "dead:", "*:"] {
            assert!(header[2].contains(explained));
        }
    }

    #[test]
    fn a_held_step_is_remarked_on() {
        let mut record = record(1.0);
        assert!(epoch_line::<Lista>(&record).ends_with("3.1 s"));
        record.train.set("held_step_size", 0.0625);
        let line = epoch_line::<Lista>(&record);
        assert!(line.ends_with("3.1 s  step held at 6.25e-2"), "{line}");
    }

    /// A GPU tells of many batches at once.
    #[test]
    fn batches_count_by_where_they_end() {
        let config = Lista::preset("ecg/vdl").unwrap();
        let mut console = Console::new(&config, ProgressMode::Quiet);
        let counted = |console: &mut Console<Lista>, epoch, done| {
            console.batch(epoch, done, 80);
            console.progress.done()
        };
        console.begin(0, 0, 160);
        console.progress = Progress::new("vdl", 160, "batches", ProgressMode::Lines);
        assert_eq!(counted(&mut console, 1, 70), 70);
        assert_eq!(counted(&mut console, 1, 80), 80);
        assert_eq!(counted(&mut console, 2, 80), 160);
    }
}
