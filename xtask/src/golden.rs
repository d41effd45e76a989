//! `cargo xtask golden`: the golden files anew, and what changed.

use anyhow::Result;
use sparsecode_lab::{cargo, succeed};

/// Writes `tests/golden/` anew with the trainer of this tree, and says which files changed.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "Example: cargo xtask golden --device cpu")]
pub(crate) struct Arguments {
    /// Where the trainer computes: cpu or cuda
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// Runs `cargo xtask golden`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut writer = cargo();
    writer.args(["run", "--quiet", "--package", "sparsecode-tests"]);
    if arguments.device == "cuda" {
        writer.args(["--features", "cuda"]);
    }
    succeed(writer.args(["--bin", "write-golden", "--", "--device", &arguments.device]))
}
