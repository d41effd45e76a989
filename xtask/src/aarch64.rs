//! `cargo xtask aarch64`: the runtime's tests on AArch64 processors, in QEMU.

use std::process::ExitCode;

use anyhow::Result;
use sparsecode_lab::Tools;
use sparsecode_lab::aarch64::{self, Processor};

use crate::devices::one_of;
use crate::exit::SKIPPED;

/// Build the runtime's tests for AArch64 and run them on emulated processors: one with NEON alone,
/// one with dot products of 8-bit numbers.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 every test passed; 1 something failed; 2 usage; 77 nothing ran, because the \
target, its C compiler or the emulator
is missing.")]
pub(crate) struct Arguments {
    /// On these processors only (repeatable, or separated by commas)
    #[arg(long, value_parser = one_of(Processor::ALL, Processor::name), value_delimiter = ',',
          default_values = Processor::ALL.map(Processor::name))]
    cpu: Vec<Processor>,
    /// Only the tests whose names contain this
    filter: Option<String>,
}

/// Runs `cargo xtask aarch64`.
pub(crate) fn run(tools: &Tools, arguments: &Arguments) -> Result<ExitCode> {
    if let Some(remedy) = aarch64::missing(tools) {
        println!("skipped: {remedy}");
        return Ok(ExitCode::from(SKIPPED));
    }
    for processor in &arguments.cpu {
        println!("{}:", processor.name());
        aarch64::test(*processor, arguments.filter.as_deref())?;
    }
    Ok(ExitCode::SUCCESS)
}
