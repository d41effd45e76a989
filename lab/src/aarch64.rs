//! The runtime's tests on AArch64 processors, in QEMU.

use anyhow::{Context as _, Result};

use crate::{Tools, cargo, succeed};

/// What QEMU emulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    /// NEON alone.
    CortexA53,
    /// NEON and dot products.
    CortexA76,
}

impl Processor {
    /// Every processor.
    pub const ALL: [Self; 2] = [Self::CortexA53, Self::CortexA76];

    /// The name, as QEMU has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CortexA53 => "cortex-a53",
            Self::CortexA76 => "cortex-a76",
        }
    }
}

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";

/// Builds the runtime's tests whose names contain `filter`, and runs them on an emulated processor.
/// What they print goes to standard output.
///
/// # Errors
/// If a test fails or does not build.
pub fn test(processor: Processor, filter: Option<&str>) -> Result<()> {
    let name = processor.name();
    let mut test = cargo();
    test.args(["test", "--quiet", "--target", TARGET])
        .args(["--package", "sparsecode-runtime", "--features", "std"])
        // Documentation's examples are run on the host.
        .args(["--lib", "--test", "integer", "--test", "reference"])
        .args(filter)
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
            (processor == Processor::CortexA76).to_string(),
        );
    succeed(&mut test).context(name)
}

/// What to tell a person whose machine cannot run the tests: all that is missing.
pub fn missing(tools: &Tools) -> Option<String> {
    let library = (!tools.has_target("rustc", "std", TARGET))
        .then(|| format!("no standard library for AArch64: run `rustup target add {TARGET}`"));
    let packages = [
        (LINKER, "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"),
        (EMULATOR, "qemu-user"),
    ];
    let programs = packages
        .into_iter()
        .filter(|(program, _)| !tools.is_installed(program))
        .map(|(program, packages)| format!("{program} not found: apt install {packages}"));
    let missing: Vec<String> = library.into_iter().chain(programs).collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}
