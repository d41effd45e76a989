//! How long training takes: `cargo xtask bench train` runs this and saves what it prints, Markdown.
//!
//! Everything is measured in one process, so that ratios hold on a machine whose speed drifts.
//! Times are the shortest of several repetitions.

mod measure;
mod problems;
mod tables;
mod variational;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use problems::Models;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Family {
    Lista,
    Variational,
}

#[derive(Parser)]
struct Arguments {
    /// Only the tables of one family
    #[arg(long)]
    family: Option<Family>,
    /// Folder with MNIST's four files; without it, the generated dead leaves take its place
    #[arg(long, env = "SPARSECODE_DATA")]
    data: Option<PathBuf>,
    /// A few iterations of each, to see that it runs
    #[arg(long)]
    quick: bool,
    /// Cargo passes it
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let effort = if arguments.quick {
        measure::Effort::Quick
    } else {
        measure::Effort::Full
    };
    if arguments.family != Some(Family::Variational) {
        let models = Models::load(arguments.data.as_deref(), effort)?;
        println!("Data: {}.\n", models.description());
        tables::iterations(&models, effort)?;
        tables::epochs(&models, effort)?;
        tables::products(effort)?;
        tables::growth(effort)?;
    }
    if arguments.family != Some(Family::Lista) {
        variational::variational(effort)?;
    }
    Ok(())
}
