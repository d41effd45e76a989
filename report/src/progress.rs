//! How far long work has come: a bar on a terminal, a line now and then in a log, or nothing.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::table::{duration, thousands};

/// How progress is shown. It goes to standard error, so that standard output stays free for
/// figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    /// A bar that is redrawn in place.
    Bar,
    /// A line every ten seconds, and one at the end.
    Lines,
    /// Nothing at all.
    Quiet,
}

impl ProgressMode {
    /// A bar if standard error is a terminal and lines otherwise; nothing if `quiet`.
    pub fn detect(quiet: bool) -> Self {
        if quiet {
            Self::Quiet
        } else if std::io::stderr().is_terminal() {
            Self::Bar
        } else {
            Self::Lines
        }
    }
}

/// Progress of work of a known amount.
///
/// ```
/// use sparsecode_report::progress::{Progress, ProgressMode};
///
/// let mut progress = Progress::new("epoch 1/5", 60_000, "patches", ProgressMode::Quiet);
/// for _ in 0..240 {
///     progress.advance(250);
///     progress.message("energy 0.0312");
/// }
/// progress.finish();
/// ```
pub struct Progress(Shown);

enum Shown {
    Bar(ProgressBar),
    Lines(Lines),
    Quiet,
}

impl Progress {
    /// Work of `total` units, for example patches, of which none is done. `label` says what it is,
    /// for example `epoch 3/200`.
    pub fn new(label: &str, total: u64, unit: &str, mode: ProgressMode) -> Self {
        Self::resume(label, 0, total, unit, mode)
    }

    /// As [`Progress::new`], with `done` units behind us that count for the bar but not for the
    /// rate.
    pub fn resume(label: &str, done: u64, total: u64, unit: &str, mode: ProgressMode) -> Self {
        Self(match mode {
            ProgressMode::Bar => Shown::Bar(bar(label, done, total, unit)),
            ProgressMode::Lines => Shown::Lines(Lines::new(label, done, total, unit)),
            ProgressMode::Quiet => Shown::Quiet,
        })
    }

    /// Counts `units` more as done. Cheap enough to call for every batch.
    pub fn advance(&mut self, units: u64) {
        match &mut self.0 {
            Shown::Bar(bar) => bar.inc(units),
            Shown::Lines(lines) => {
                if let Some(line) = lines.advance(units, Instant::now()) {
                    print(&line);
                }
            }
            Shown::Quiet => {}
        }
    }

    /// Counts all units up to `done` as done, those behind us at the start included; never fewer
    /// than before.
    pub fn reach(&mut self, done: u64) {
        self.advance(done.saturating_sub(self.done()));
    }

    /// Units done; 0 where nothing is shown.
    pub fn done(&self) -> u64 {
        match &self.0 {
            Shown::Bar(bar) => bar.position(),
            Shown::Lines(lines) => lines.done,
            Shown::Quiet => 0,
        }
    }

    /// Takes `units` that nobody will do here out of the total: they count neither as work done nor
    /// as work left.
    pub fn shrink(&mut self, units: u64) {
        match &mut self.0 {
            Shown::Bar(bar) => bar.set_length(bar.length().unwrap_or(0).saturating_sub(units)),
            Shown::Lines(lines) => lines.total = lines.total.saturating_sub(units),
            Shown::Quiet => {}
        }
    }

    /// Sets the short text behind the figures, for example the energy of the last batch.
    pub fn message(&mut self, text: impl Into<String>) {
        match &mut self.0 {
            Shown::Bar(bar) => bar.set_message(text.into()),
            Shown::Lines(lines) => lines.message = text.into(),
            Shown::Quiet => {}
        }
    }

    /// Writes a line that stays, above the bar if there is one.
    pub fn note(&self, line: &str) {
        match &self.0 {
            Shown::Bar(bar) => bar.suspend(|| print(line)),
            Shown::Lines(_) => print(line),
            Shown::Quiet => {}
        }
    }

    /// Ends the work: the bar goes, and a line with time and rate stays.
    pub fn finish(self) {
        match self.0 {
            Shown::Bar(bar) => {
                let elapsed = bar.elapsed();
                let prefix = bar.prefix();
                let message = bar.message();
                bar.finish_and_clear();
                print(&final_line(&prefix, elapsed, &message));
            }
            Shown::Lines(lines) => {
                let elapsed = Instant::now().duration_since(lines.started);
                print(&final_line(&lines.label, elapsed, &lines.message));
            }
            Shown::Quiet => {}
        }
    }
}

/// A full pipe or a closed terminal must not stop a training run, as `eprintln!` would.
fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn final_line(label: &str, elapsed: Duration, message: &str) -> String {
    let line = format!("{label}  {}", duration(elapsed));
    with_message(line, message)
}

fn with_message(line: String, message: &str) -> String {
    if message.is_empty() {
        line
    } else {
        format!("{line}  {message}")
    }
}

fn bar(label: &str, done: u64, total: u64, unit: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
    let template = format!(
        "{{prefix}}  {{bar:30}} {{percent:>3}} %  {{human_pos}}/{{human_len}} {unit}  {{per_sec}}  ETA {{eta}}  {{msg}}"
    );
    let style = ProgressStyle::with_template(&template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key(
            "per_sec",
            |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{}/s", figures(state.per_sec()));
            },
        )
        .progress_chars("=> ");
    bar.set_style(style);
    bar.set_prefix(label.to_owned());
    bar.set_position(done);
    bar.reset_eta();
    bar
}

/// A rate to about three figures: `0.25`, `12.3`, `4,560`.
fn figures(rate: f64) -> String {
    match rate {
        r if r < 9.995 => format!("{r:.2}"),
        r if r < 99.95 => format!("{r:.1}"),
        r => thousands(r.round() as u64),
    }
}

/// The log form. Time is handed in, so that tests need not wait for it.
struct Lines {
    label: String,
    unit: String,
    message: String,
    total: u64,
    done: u64,
    done_before: u64,
    started: Instant,
    last_line: Instant,
}

impl Lines {
    const INTERVAL: Duration = Duration::from_secs(10);

    fn new(label: &str, done: u64, total: u64, unit: &str) -> Self {
        let now = Instant::now();
        Self {
            label: label.to_owned(),
            unit: unit.to_owned(),
            message: String::new(),
            total,
            done,
            done_before: done,
            started: now,
            last_line: now,
        }
    }

    fn advance(&mut self, units: u64, now: Instant) -> Option<String> {
        self.done += units;
        if now.duration_since(self.last_line) < Self::INTERVAL {
            return None;
        }
        self.last_line = now;
        let elapsed = now.duration_since(self.started).as_secs_f64();
        let rate = (self.done - self.done_before) as f64 / elapsed;
        let percent = 100 * self.done / self.total.max(1);
        let mut line = format!(
            "{}  {percent} %  {}/{} {}  {}/s",
            self.label,
            thousands(self.done),
            thousands(self.total),
            self.unit,
            figures(rate)
        );
        let left = self.total.saturating_sub(self.done) as f64 / rate;
        // No rate, no forecast; nor one beyond what a duration holds.
        if let Ok(left) = Duration::try_from_secs_f64(left) {
            line += &format!("  ETA {}", duration(left));
        }
        Some(with_message(line, &self.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_every_ten_seconds_with_rate_and_eta() {
        let mut lines = Lines::new("epoch 2/5", 10_000, 60_000, "patches");
        let start = lines.started;
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(lines.advance(5_000, at(9)), None);
        lines.message = "energy 0.03".into();
        assert_eq!(
            lines.advance(5_000, at(10)).as_deref(),
            Some("epoch 2/5  33 %  20,000/60,000 patches  1,000/s  ETA 40.0 s  energy 0.03")
        );
        assert_eq!(lines.advance(1, at(19)), None);
        assert!(lines.advance(1, at(20)).is_some());
    }

    #[test]
    fn work_that_leaves_the_total_is_not_done() {
        let mut progress = Progress::new("sweep", 300, "epochs", ProgressMode::Lines);
        progress.advance(100);
        progress.shrink(100);
        let Shown::Lines(mut lines) = progress.0 else {
            panic!("lines were asked for");
        };
        let later = lines.started + Duration::from_secs(100);
        let line = lines.advance(0, later).unwrap();
        assert!(line.contains("50 %  100/200 epochs  1.00/s  ETA"), "{line}");
        let bar = bar("sweep", 100, 300, "epochs");
        let mut progress = Progress(Shown::Bar(bar.clone()));
        progress.shrink(100);
        assert_eq!((bar.position(), bar.length()), (100, Some(200)));
    }

    #[test]
    fn what_comes_in_leaps_is_counted_in_full() {
        for mode in [ProgressMode::Lines, ProgressMode::Bar] {
            let mut progress = Progress::resume("vdl", 40, 200, "batches", mode);
            for done in [41, 140, 140, 120, 200] {
                progress.reach(done);
            }
            assert_eq!(progress.done(), 200, "{mode:?}");
        }
    }

    #[test]
    fn no_rate_gives_no_eta_and_too_much_work_no_panic() {
        let mut lines = Lines::new("x", 0, 10, "batches");
        let later = lines.started + Duration::from_secs(60);
        assert_eq!(
            lines.advance(0, later).as_deref(),
            Some("x  0 %  0/10 batches  0.00/s")
        );
        let line = lines.advance(25, later + Duration::from_secs(60)).unwrap();
        assert!(
            line.contains("250 %") && line.ends_with("ETA 0 ns"),
            "{line}"
        );
        let mut empty = Lines::new("x", 0, 0, "batches");
        let later = empty.started + Duration::from_secs(60);
        assert!(empty.advance(0, later).is_some());
    }

    #[test]
    fn the_bar_counts_and_has_a_valid_template() {
        let bar = bar("epoch 1/5", 100, 1_000, "patches {of 8x8}");
        assert_eq!((bar.position(), bar.length()), (100, Some(1_000)));
        bar.inc(250);
        assert_eq!(bar.position(), 350);
    }

    #[test]
    fn quiet_is_quiet_and_rates_have_three_figures() {
        assert_eq!(ProgressMode::detect(true), ProgressMode::Quiet);
        let texts = [0.25, 9.999, 12.34, 4560.2].map(figures);
        assert_eq!(texts, ["0.25", "10.0", "12.3", "4,560"]);
    }
}
