//! `cargo xtask aarch64`: the runtime's tests on AArch64 processors, in QEMU.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::toolchain::{self, is_installed};
use crate::{SKIPPED, cargo, succeed};

/// Build the runtime's tests for AArch64 and run them on emulated processors: one with NEON alone, one with dot products of 8-bit numbers.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 every test passed; 1 something failed; 2 usage; 77 nothing ran, because the target, its C compiler or the emulator
is missing.")]
pub(crate) struct Arguments {
    /// On these processors only (repeatable, or separated by commas)
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Processor::CortexA53, Processor::CortexA76])]
    cpu: Vec<Processor>,
    /// Only the tests whose names contain this
    filter: Option<String>,
}

/// What QEMU emulates.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Processor {
    /// NEON alone
    CortexA53,
    /// NEON and dot products
    CortexA76,
}

impl Processor {
    const fn name(self) -> &'static str {
        match self {
            Self::CortexA53 => "cortex-a53",
            Self::CortexA76 => "cortex-a76",
        }
    }
}

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";

/// Runs `cargo xtask aarch64`.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(remedy) = missing() {
        println!("skipped: {remedy}");
        return Ok(ExitCode::from(SKIPPED));
    }
    for processor in &arguments.cpu {
        let name = processor.name();
        println!("{name}:");
        let mut test = cargo();
        test.args(["test", "--quiet", "--target", TARGET])
            .args(["--package", "sparsecode-runtime", "--features", "std"])
            // Documentation's examples are run on the host.
            .args(["--lib", "--test", "integer", "--test", "reference"])
            .args(&arguments.filter)
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
            .env(
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
                format!("{EMULATOR} -cpu {name}"),
            )
            // Linked with the C library, the tests need no other file of the target.
            .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env(
                "SPARSECODE_DOTPROD",
                (*processor == Processor::CortexA76).to_string(),
            );
        succeed(&mut test).context(name)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What to tell a person whose machine cannot run the tests: all that is missing.
pub(crate) fn missing() -> Option<String> {
    let library = (!toolchain::has_target("rustc", "std", TARGET))
        .then(|| format!("no standard library for AArch64: run `rustup target add {TARGET}`"));
    let packages = [
        (LINKER, "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"),
        (EMULATOR, "qemu-user"),
    ];
    let programs = packages
        .into_iter()
        .filter(|(program, _)| !is_installed(program))
        .map(|(program, packages)| format!("{program} not found: apt install {packages}"));
    let missing: Vec<String> = library.into_iter().chain(programs).collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}
