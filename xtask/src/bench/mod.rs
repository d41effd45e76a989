//! `cargo xtask bench`: measurements for `docs/results`.

mod denoise;
mod host;

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use sparsecode_lab::{Tools, cargo, root};

use crate::results::write_page;

/// What is measured.
#[derive(clap::Subcommand, Debug, Clone)]
pub(crate) enum Bench {
    /// Training: an iteration, an epoch, operations a second, and how they grow
    Train(Train),
    /// Microcontrollers: instructions of every stage, and of ways to refine
    Device(crate::devices::bench::Arguments),
    /// Bits and iterations: PSNR, zeros, flash and instructions
    Precision(crate::devices::precision::Arguments),
    /// Hosts: encoding, refining and decoding, beside candle, ONNX Runtime and scikit-learn
    Host(host::Host),
    /// Denoising: gain, PRD and beats of exported files on records that training never saw
    Denoise(denoise::Denoise),
}

/// Times the plain and the fast engine in one run on this machine, which should be quiet.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Example: cargo xtask bench train --data ../shared/data --markdown docs/results/train-bench.md")]
pub(crate) struct Train {
    /// Folder with MNIST's four files; without it, generated images take its place
    #[arg(long, env = "SPARSECODE_DATA", default_value = "../shared/data")]
    data: PathBuf,
    /// A few iterations of everything, in seconds; the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Write the tables here as Markdown, with the command, the commit and the machine
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// Runs `cargo xtask bench`.
pub(crate) fn run(tools: &Tools, bench: &Bench) -> Result<ExitCode> {
    match bench {
        Bench::Train(arguments) => train(arguments).map(|()| ExitCode::SUCCESS),
        Bench::Device(arguments) => crate::devices::bench::run(tools, arguments),
        Bench::Precision(arguments) => crate::devices::precision::run(tools, arguments),
        Bench::Host(arguments) => host::run(arguments),
        Bench::Denoise(arguments) => denoise::run(arguments),
    }
}

fn train(arguments: &Train) -> Result<()> {
    let mut command = cargo();
    command
        .args(["bench", "--quiet", "-p", "sparsecode-trainer"])
        .args(["--bench", "train", "--"])
        // Cargo runs a benchmark in its package's folder.
        .arg("--data")
        .arg(std::path::absolute(root().join(&arguments.data))?);
    if arguments.quick {
        command.arg("--quick");
    }
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "the benchmark ended with {}",
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    if let Some(path) = &arguments.markdown {
        let quick = if arguments.quick { " --quick" } else { "" };
        write_page(
            path,
            "How long training takes",
            "Measured in one run; times are the shortest of several repetitions. The speed of virtual processors drifts by a third and \
             more from minute to minute, also that of one core beside the other: believe ratios within a table more than times, and \
             single lines less than tables.",
            &format!("cargo xtask bench train --data DIR{quick}"),
            "cpu",
            &text,
        )?;
    }
    Ok(())
}
