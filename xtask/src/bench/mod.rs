//! `cargo xtask bench`: measurements for `docs/results`.

mod denoise;
mod host;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

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
Examples:
  cargo xtask bench train --data ../shared/data --family lista --markdown docs/results/train-bench.md
  cargo xtask bench train --family variational --torch python3 --markdown docs/results/train-variational.md")]
pub(crate) struct Train {
    /// Only the tables of one family: lista or variational
    #[arg(long, value_name = "NAME")]
    family: Option<String>,
    /// A Python with PyTorch, which times the variational iteration afterwards
    #[arg(long, value_name = "PROGRAM")]
    torch: Option<PathBuf>,
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
    if let Some(family) = &arguments.family {
        command.arg("--family").arg(family);
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
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(python) = &arguments.torch {
        text += &torch(python)?;
    }
    println!("{text}");
    if let Some(path) = &arguments.markdown {
        let family = arguments.family.as_ref();
        let family = family.map_or(String::new(), |family| format!(" --family {family}"));
        let torch = arguments.torch.as_ref().map_or("", |_| " --torch PYTHON");
        let quick = if arguments.quick { " --quick" } else { "" };
        write_page(
            path,
            "How long training takes",
            "Measured in one run; times are the shortest of several repetitions. The speed of virtual processors drifts by a third and \
             more from minute to minute, also that of one core beside the other: believe ratios within a table more than times, and \
             single lines less than tables.",
            &format!("cargo xtask bench train --data DIR{family}{torch}{quick}"),
            "cpu",
            &text,
        )?;
    }
    Ok(())
}

/// The variational iteration in PyTorch, on one thread, in both forms of the dictionary's step.
fn torch(python: &Path) -> Result<String> {
    let script = root().join("docs/results/compare/variational_torch.py");
    let mut text = "## The same iteration in PyTorch\n\nThresholded Laplacian codes, P = 256, one \
        thread, by [variational_torch.py](compare/variational_torch.py). *As released*: all outer \
        products of the dictionary's step are formed before they are summed.\n\n"
        .to_owned();
    for (form, arguments) in [
        ("one product", &[][..]),
        ("as released", &["--released", "--iterations", "20"]),
    ] {
        let output = Command::new(python)
            .arg(&script)
            .args(arguments)
            .stderr(Stdio::inherit())
            .output();
        let output = output.with_context(|| format!("cannot start {}", python.display()))?;
        ensure!(
            output.status.success(),
            "{} ended with {}",
            script.display(),
            output.status
        );
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            text += &format!("- {form}, {line}\n");
        }
    }
    Ok(text)
}
