//! Developer commands that are more than one cargo call: `cargo xtask --help`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

mod aarch64;
mod bench;
mod capi;
mod cuda;
mod firmware;
mod golden;
mod gpu;
mod guide;
mod header;
mod no_panic;
mod no_std;
mod parity;
mod results;
mod table1;
mod toolchain;
mod tools;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Developer commands of the sparsecode repository"
)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the firmware for each core, run it in QEMU and hold its results to the host's
    Firmware(firmware::Arguments),
    /// Put an exported model and its patches into the firmware
    FirmwareModel(firmware::model::Arguments),
    /// Denoise a signal sample by sample on a core in QEMU, and hold it to the host's result
    Stream(firmware::stream::Arguments),
    /// Look for a path to a panic in firmware and C library, built in every way that is here
    NoPanic(no_panic::Arguments),
    /// Build the crates that run on devices for bare-metal targets
    NoStd(no_std::Arguments),
    /// Build the C API, and run programs in C on the host and in QEMU
    Capi(capi::Arguments),
    /// Build and run the program of docs/embedded.md
    Guide(guide::Arguments),
    /// Run the runtime's tests on AArch64 processors in QEMU
    Aarch64(aarch64::Arguments),
    /// Write the header of the C API from its source
    Header(header::Arguments),
    /// Check and measure the GPU's kernels on a GPU, or say what would be run
    Gpu(gpu::Arguments),
    /// Build for NVIDIA GPUs, without one: kernels, lints, and what a person is told
    Cuda(cuda::Arguments),
    /// Train on MNIST and compare each epoch with the published code's
    Parity(parity::Arguments),
    /// Train on MNIST to the end and compare with the paper's Table 1
    Table1(table1::Arguments),
    /// Measure how fast training is
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Write the golden files anew and say what changed
    Golden(golden::Arguments),
    /// Say what the other commands can run on this machine, and what is missing for the rest
    Tools(tools::Arguments),
}

/// The exit status of "nothing failed, but something could not run here", as automake's tests have it.
const SKIPPED: u8 = 77;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = toolchain::check_variable() {
        eprintln!("error: {error:#}");
        return ExitCode::from(2);
    }
    let outcome = match arguments.command {
        Task::Firmware(arguments) => firmware::run(&arguments),
        Task::FirmwareModel(arguments) => {
            firmware::model::run(&arguments).map(|()| ExitCode::SUCCESS)
        }
        Task::Stream(arguments) => firmware::stream::run(&arguments),
        Task::NoPanic(arguments) => no_panic::run(&arguments),
        Task::NoStd(arguments) => no_std::run(&arguments),
        Task::Capi(arguments) => capi::run(&arguments),
        Task::Aarch64(arguments) => aarch64::run(&arguments),
        Task::Guide(arguments) => guide::run(&arguments),
        Task::Header(arguments) => header::run(&arguments).map(|()| ExitCode::SUCCESS),
        Task::Gpu(arguments) => gpu::run(&arguments),
        Task::Cuda(arguments) => cuda::run(&arguments),
        Task::Parity(arguments) => parity::run(&arguments),
        Task::Table1(arguments) => table1::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Golden(arguments) => golden::run(&arguments).map(|()| ExitCode::SUCCESS),
        Task::Tools(arguments) => {
            tools::run(&arguments);
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where cargo builds the workspace.
fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        // Relative to where cargo was called, as cargo has it.
        Some(folder) => std::path::absolute(&folder).unwrap_or_else(|_| folder.into()),
        None => root().join("target"),
    }
}

/// The cargo that runs this program, at the repository's root.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command to its end and asks for success.
fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}
