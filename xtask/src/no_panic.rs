//! `cargo xtask no-panic`: firmware and C library have no path to a panic, however `core` was
//! compiled.
//!
//! The optimiser removes a check of `core` in one build and not in another, so each way to build
//! that is here is tried.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;

use crate::firmware::{Core, Files, Job};
use crate::toolchain::{self, Toolchain};
use crate::{SKIPPED, capi, target_dir};

/// Link a program that calls all of the runtime and does not link if a panic can be reached, and
/// look for one in the C library.
///
/// Each core is built in every way that is here: with the target that rustup installed, and by
/// Debian's compiler, which compiles core along.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 no panic can be reached; 1 one can, or something does not build; 2 usage; 77 nothing failed, but a core was skipped
because no compiler here can build for it. No emulator is needed.

SPARSECODE_TOOLCHAIN=rustup or debian tries one way alone.")]
pub(crate) struct Arguments {
    /// Only for these cores (repeatable, or separated by commas)
    // One for each code generator and each kind of kernel: an M7 runs what an M4F runs.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Core::M0plus, Core::M4f, Core::M33, Core::M55, Core::Rv32imc])]
    core: Vec<Core>,
}

/// Runs `cargo xtask no-panic`.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let job = Job::of(&Files::default())?;
    let (mut failed, mut skipped) = (false, false);
    for core in Core::value_variants() {
        if !arguments.core.contains(core) {
            continue;
        }
        let setup = core.setup();
        let ways = toolchain::ways(setup.target);
        if ways.is_empty() {
            println!(
                "{}: skipped: {}",
                setup.name,
                toolchain::remedy(setup.target)
            );
            skipped = true;
        }
        for toolchain in ways {
            let verdict = match check(&job, *core, &toolchain) {
                Ok(()) => "no panic can be reached".to_owned(),
                Err(error) => {
                    failed = true;
                    format!("FAILED: {error:#}")
                }
            };
            println!(
                "{}, {} through {toolchain}: {verdict}",
                setup.name, setup.target
            );
        }
    }
    Ok(ExitCode::from(match (failed, skipped) {
        (true, _) => 1,
        (false, true) => SKIPPED,
        (false, false) => 0,
    }))
}

fn check(job: &Job, core: Core, toolchain: &Toolchain) -> Result<()> {
    let setup = core.setup();
    job.build_binary(&setup, toolchain, "no_panic")
        .context("a panic is reachable, or `no_panic` does not build (see above)")?;
    let build = toolchain.cargo_build(setup.target, setup.target_cpu);
    let archive = capi::library(build, &target_dir().join("capi"), Some(setup.target))?;
    capi::check_symbols(&fs::read(archive)?).context("the C library")
}
