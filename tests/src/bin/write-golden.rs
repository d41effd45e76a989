//! Writes the golden files that the runtime must meet: `cargo xtask golden`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use sparsecode_tests::{golden, workspace};
use sparsecode_trainer::lista::Backend;
use sparsecode_trainer::lista::inference::PlainFista;
use sparsecode_trainer::lista::open_gpu;

/// Trains the golden models and writes them, with what the trainer computes from them.
#[derive(Parser)]
#[command(
    name = "write-golden",
    after_help = "Example:\n  cargo run -p sparsecode-tests --bin write-golden -- --device cpu"
)]
struct Arguments {
    /// Where to train and compute
    #[arg(long, value_enum, default_value = "cpu")]
    device: Choice,
    /// Folder to write [default: tests/golden/DEVICE]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// This processor
    Cpu,
    /// The first NVIDIA GPU; needs --features cuda
    Cuda,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.device == Choice::Cuda && !cfg!(feature = "cuda") {
        eprintln!("error: --device cuda: built without it; run with --features cuda");
        return ExitCode::from(2);
    }
    match write(&arguments) {
        Ok(folder) => {
            println!("{}", folder.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    let (name, engine): (_, Arc<dyn Backend>) = match arguments.device {
        Choice::Cpu => ("cpu", Arc::new(PlainFista)),
        Choice::Cuda => ("cuda", open_gpu()?),
    };
    let folder = arguments
        .output
        .clone()
        .unwrap_or_else(|| workspace().join("tests/golden").join(name));
    golden::write(
        &folder,
        engine.as_ref(),
        name,
        &format!("cargo xtask golden --device {name}"),
    )?;
    Ok(folder)
}
