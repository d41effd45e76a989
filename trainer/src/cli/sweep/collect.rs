use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::family::of_plan;
use crate::cli::family::with_family;
use crate::run::Family;
use crate::storage::write_atomic;
use crate::sweep::collect::Collected;
use crate::sweep::{Plan, SweepFolder};

/// Make the table of a sweep: a row a run, and means over seeds
///
/// Every run has a row. Runs that failed, are missing or not finished are also listed, and the exit
/// status is then 1. The same results give the same bytes.
#[derive(Args)]
#[command(after_help = "Examples:
  sparsecode sweep collect plan.jsonl --out sweep
  sparsecode sweep collect plan.jsonl --out sweep --output table.csv")]
pub(super) struct Arguments {
    /// Plan, as `sweep plan` wrote it
    plan: PathBuf,
    /// Folder of the sweep
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Form of the table [default: by the output's extension, else md]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Where to write it [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Add the seconds of training, which differ each time
    #[arg(long)]
    seconds: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A row a run, figures in full.
    Csv,
    /// Runs, summary and what is not finished.
    Json,
    /// The same for people, figures rounded.
    Md,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    with_family!(of_plan(&arguments.plan)?, F => collect::<F>(arguments))
}

fn collect<F: Family>(arguments: &Arguments) -> anyhow::Result<()> {
    let plan = Plan::<F>::read(&arguments.plan)?;
    let collected = Collected::of(&plan, &SweepFolder::new(&arguments.out));
    let seconds = arguments.seconds;
    let text = match arguments.format() {
        Format::Csv => collected.to_csv(seconds),
        Format::Json => collected.to_json(seconds),
        Format::Md => collected.to_markdown(seconds),
    };
    match &arguments.output {
        Some(path) => write_atomic(path, text.as_bytes())?,
        None => print!("{text}"),
    }
    let outcomes = collected.rows.iter().filter_map(|row| row.outcome());
    let commits: BTreeSet<&str> = outcomes.map(|outcome| outcome.commit.as_str()).collect();
    if commits.len() > 1 {
        let commits: Vec<&str> = commits.into_iter().collect();
        eprintln!(
            "note: several versions of this program finished runs: {}",
            commits.join(", ")
        );
    }
    let unfinished: Vec<String> = collected.unfinished().map(|row| row.line()).collect();
    if unfinished.is_empty() {
        return Ok(());
    }
    for line in &unfinished {
        eprintln!("{line}");
    }
    anyhow::bail!(
        "{} of {} runs are not finished; `sweep run` continues them",
        unfinished.len(),
        collected.rows.len()
    )
}

impl Arguments {
    fn format(&self) -> Format {
        let extension = self.output.as_ref().and_then(|path| path.extension());
        self.format
            .unwrap_or(match extension.and_then(|e| e.to_str()) {
                Some("csv") => Format::Csv,
                Some("json") => Format::Json,
                _ => Format::Md,
            })
    }
}
