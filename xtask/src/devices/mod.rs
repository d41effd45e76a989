//! Commands on devices in QEMU: what they ask for, and how cores that did not run are told.

pub(crate) mod bench;
pub(crate) mod capi;
pub(crate) mod firmware;
pub(crate) mod precision;
pub(crate) mod stream;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sparsecode_lab::firmware::Files;
use sparsecode_lab::{Core, Outcome, Row, Status, status};
use sparsecode_report::table::Table;

use crate::exit::SKIPPED;

/// Reads the name of one of `all`.
pub(crate) fn one_of<T: Copy + Send + Sync + 'static, const COUNT: usize>(
    all: [T; COUNT],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.map(name)).map(move |given| {
        let found = all.into_iter().find(|one| name(*one) == given);
        found.expect("a possible value")
    })
}

/// Reads the name of a core.
pub(crate) fn core() -> impl TypedValueParser<Value = Core> {
    one_of(Core::ALL, Core::name)
}

/// The cores that were named, the smallest first; every core if none was.
pub(crate) fn cores(named: &[Core]) -> Vec<Core> {
    let wanted = |core: &Core| named.is_empty() || named.contains(core);
    Core::ALL.into_iter().filter(wanted).collect()
}

fn at_least_1(text: &str) -> Result<usize, &'static str> {
    let number = text.parse().ok();
    number
        .filter(|number| *number > 0)
        .ok_or("expected 1 or more")
}

/// What is embedded, where it is built, and how long a core gets.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct FileArguments {
    /// Model file to embed [default: the firmware's own]
    #[arg(long)]
    pub(crate) model: Option<PathBuf>,
    /// Noisy and clean patches, .npy of shape (2, n, d), for --model [default: the firmware's own]
    #[arg(long)]
    pub(crate) patches: Option<PathBuf>,
    /// Use only the first patches (they take flash, too)
    #[arg(long, value_name = "N", value_parser = at_least_1)]
    pub(crate) patch_limit: Option<usize>,
    /// Give a core at most this long in QEMU
    #[arg(long, default_value_t = Files::TIMEOUT.as_secs(), value_name = "SECONDS")]
    timeout: u64,
    /// Where cargo builds [default: firmware-example/target]
    #[arg(long, value_name = "FOLDER")]
    target_dir: Option<PathBuf>,
    /// Print the firmware's log, too
    #[arg(long)]
    verbose: bool,
}

impl FileArguments {
    /// The same for the lab.
    pub(crate) fn files(&self) -> Files {
        Files {
            model: self.model.clone(),
            patches: self.patches.clone(),
            patch_limit: self.patch_limit,
            timeout: Duration::from_secs(self.timeout),
            target_dir: self.target_dir.clone(),
            verbose: self.verbose,
        }
    }
}

/// A table of the cores that ran, a row each with the core's name first; `None` if none did.
pub(crate) fn table<T>(
    headings: &[&str],
    rows: &[Row<T>],
    cells: impl Fn(&T) -> Vec<String>,
) -> Option<Table> {
    let mut table = Table::new(headings.iter().copied());
    let ran = rows
        .iter()
        .filter_map(|row| Some((row.core, row.passed()?)));
    let ran = ran.map(|(core, found)| {
        let name = std::iter::once(core.to_string());
        table.push(name.chain(cells(found)));
    });
    (ran.count() > 0).then_some(table)
}

/// Numbers as cells.
pub(crate) fn cells<const COUNT: usize>(numbers: [u64; COUNT]) -> Vec<String> {
    numbers.map(|number| number.to_string()).to_vec()
}

/// A line for each core that did not run or failed.
pub(crate) fn without<T>(rows: &[Row<T>]) -> String {
    let lines = rows.iter().filter_map(|row| match &row.outcome {
        Outcome::Passed(_) => None,
        Outcome::Skipped(why) => Some(format!("{}: skipped: {why}\n", row.core)),
        Outcome::Failed(why) => Some(format!("{}: FAILED: {why}\n", row.core)),
    });
    lines.collect()
}

/// The exit status of a command whose cores fared so.
pub(crate) fn exit_code(status: Status) -> ExitCode {
    ExitCode::from(match status {
        Status::Passed => 0,
        Status::Skipped => SKIPPED,
        Status::Failed => 1,
    })
}

/// The same; a failure is an error, so that no page is written.
pub(crate) fn none_failed<T>(rows: &[Row<T>]) -> Result<ExitCode> {
    let status = status(rows);
    if status == Status::Failed {
        bail!("{}", without(rows).trim_end());
    }
    Ok(exit_code(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(core: Core, outcome: Outcome<u64>) -> Row<u64> {
        Row {
            core,
            toolchain: String::new(),
            outcome,
        }
    }

    #[test]
    fn cores_without_figures_say_why() {
        let rows = [
            row(Core::M4f, Outcome::Skipped("no emulator".into())),
            row(Core::M7, Outcome::Failed("does not link".into())),
            row(Core::M33, Outcome::Passed(7)),
        ];
        assert_eq!(
            without(&rows),
            "m4f: skipped: no emulator\nm7: FAILED: does not link\n"
        );
        let table = |rows: &[Row<u64>]| table(&["core", "figure"], rows, |n| cells([*n]));
        let text = table(&rows).unwrap().to_string();
        assert!(text.contains("m33") && !text.contains("m4f"), "{text}");
        assert!(table(&rows[..2]).is_none());
        assert!(none_failed(&rows).is_err());
        let code = none_failed(&rows[..1]).unwrap();
        assert_eq!(
            format!("{code:?}"),
            format!("{:?}", ExitCode::from(SKIPPED))
        );
    }

    #[test]
    fn cores_come_in_one_order() {
        assert_eq!(cores(&[Core::M7, Core::M0plus]), [Core::M0plus, Core::M7]);
        assert_eq!(cores(&[]), Core::ALL);
    }
}
