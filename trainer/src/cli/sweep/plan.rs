use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::family::of_grid;
use crate::cli::family::with_family;
use crate::run::Family;
use crate::storage::write_atomic;
use crate::sweep::Grid;

/// Write each run of a grid with its whole configuration
///
/// A list in the grid is an axis. All combinations are planned, equal ones once. Seeds vary
/// slowest, so the first seed's whole grid comes first.
#[derive(Args)]
#[command(after_help = "Examples:
  sparsecode sweep plan grid.toml --output plan.jsonl
  sparsecode sweep plan grid.toml --format json --output plan.json    # for hq submit --from-json

A grid file has the keys of a run's config.toml, preset, and noise (for the denoising figures):
  preset = [\"mnist/sdl\", \"mnist/do\"]
  epochs = 50
  seed = [1, 2, 3, 4, 5]
  inference.lambda = [0.001, 0.005]
  noise = [1.0, 1.5]")]
pub(super) struct Arguments {
    /// Grid file
    grid: PathBuf,
    /// Where to write the plan [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Form of the plan
    #[arg(long, value_enum, default_value = "lines")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A JSON object a line, one for each run.
    Lines,
    /// One JSON array.
    Json,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let grid = Grid::read(&arguments.grid)?;
    with_family!(of_grid(&grid, &arguments.grid)?, F => plan::<F>(&grid, arguments))
}

fn plan<F: Family>(grid: &Grid, arguments: &Arguments) -> anyhow::Result<()> {
    let plan = grid.plan::<F>()?;
    let text = match arguments.format {
        Format::Lines => plan.to_lines(),
        Format::Json => plan.to_json(),
    };
    match &arguments.output {
        Some(path) => write_atomic(path, text.as_bytes())?,
        None => print!("{text}"),
    }
    let runs = plan.entries().len();
    match grid.combinations() - runs {
        0 => eprintln!("{runs} runs"),
        equal => eprintln!("{runs} runs; {equal} more combinations equal one of them"),
    }
    Ok(())
}
