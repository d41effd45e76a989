//! `sweep`: many runs from one file.

mod collect;
mod family;
mod plan;
mod run;
mod slurm;

use clap::{Args, Subcommand};

/// Do many runs from one file, here or on a cluster, and make one table of them
///
/// A grid file (TOML) lists presets, settings and values to combine. A plan has one line for each
/// resulting configuration, named by its hash. Each run has its folder OUT/ID. Interrupted and
/// killed runs are resumed, and nothing is done twice.
#[derive(Args)]
#[command(after_help = "Example:
  sparsecode sweep plan grid.toml --output plan.jsonl
  sparsecode sweep run plan.jsonl --out sweep --data DIR
  sparsecode sweep collect plan.jsonl --out sweep --output table.md

docs/sweeps.md explains grid files, Slurm and HyperQueue.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Plan(plan::Arguments),
    Run(run::Arguments),
    Slurm(slurm::Arguments),
    Collect(collect::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.command {
        Command::Plan(arguments) => plan::run(arguments),
        Command::Run(arguments) => run::run(arguments),
        Command::Slurm(arguments) => slurm::run(arguments),
        Command::Collect(arguments) => collect::run(arguments),
    }
}
