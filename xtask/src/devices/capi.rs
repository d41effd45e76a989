//! `cargo xtask capi`, `cargo xtask guide` and `cargo xtask no-panic`.

use std::process::ExitCode;

use anyhow::Result;
use sparsecode_lab::capi::{self, Place};
use sparsecode_lab::{Core, Tools, guide, no_panic, toolchain};

use super::{core, cores, one_of};
use crate::exit::SKIPPED;

/// Build the static library and the programs of `examples/c`, run them, and hold their results to
/// Rust's.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 every program ran and computes what Rust does; 1 something failed; 2 usage; 77 \
nothing failed, but a place was
skipped because a compiler or the emulator is missing. CC and CXX choose the host's compilers.")]
pub(crate) struct Capi {
    /// Only there (repeatable, or separated by commas)
    #[arg(long, value_parser = one_of(Place::ALL, Place::name), value_delimiter = ',',
          default_values_t = Place::ALL)]
    on: Vec<Place>,
}

/// Runs `cargo xtask capi`.
pub(crate) fn run(tools: &Tools, arguments: &Capi) -> Result<ExitCode> {
    let mut skipped = false;
    for place in &arguments.on {
        let checked = capi::check(tools, *place)?;
        for ran in &checked.ran {
            print!("{place}: {} computes what Rust does", ran.source);
            match ran.stack {
                None => println!(", compiled by {}", ran.through),
                Some(stack) => {
                    println!(" with {stack} bytes of stack, compiled by {}", ran.through)
                }
            }
        }
        for reason in &checked.skipped {
            println!("{place}: skipped: {reason}");
            skipped = true;
        }
    }
    Ok(ExitCode::from(if skipped { SKIPPED } else { 0 }))
}

/// Write the files of docs/embedded.md, section 2a, build them for a Cortex-M4F, run the program in
/// QEMU, and hold its code to the host's.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 it computes what the host does; 1 it does not build, or computes something else; \
77 skipped, because the compiler or
the emulator is missing. Without the emulator it is built and not run.")]
pub(crate) struct Guide {}

/// Runs `cargo xtask guide`.
pub(crate) fn guide(tools: &Tools) -> Result<ExitCode> {
    let found = match guide::check(tools)? {
        Ok(found) => found,
        Err(missing) => {
            println!("skipped: {missing}");
            return Ok(ExitCode::from(SKIPPED));
        }
    };
    let built = format!(
        "built through {}: {} bytes of flash",
        found.through, found.flash
    );
    match &found.not_run {
        None => println!("{built}; computes what the host does"),
        Some(missing) => println!("{built}\nskipped: not run: {missing}"),
    }
    let skipped = found.not_run.is_some();
    Ok(ExitCode::from(if skipped { SKIPPED } else { 0 }))
}

/// Link a program that calls all of the runtime and does not link if a panic can be reached, and
/// look for one in the C library.
///
/// The optimiser removes a check of `core` in one build and not in another. The cores with the
/// fewest and with the most instructions are therefore built in every way that is here: with the
/// target that rustup installed, and by Debian's compiler, which compiles core along. The others
/// are built in the preferred way.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 no panic can be reached; 1 one can, or something does not build; 2 usage; 77 \
nothing failed, but a core was skipped
because no compiler here can build for it. No emulator is needed.

SPARSECODE_TOOLCHAIN=rustup or debian tries one way alone.")]
pub(crate) struct NoPanic {
    /// Only for these cores (repeatable, or separated by commas)
    #[arg(long, value_parser = core(), value_delimiter = ',', default_values_t = KINDS)]
    core: Vec<Core>,
}

/// One core for each code generator and each kind of kernel: an M7 runs what an M4F runs.
const KINDS: [Core; 5] = [Core::M0plus, Core::M4f, Core::M33, Core::M55, Core::Rv32imc];

/// Built in every way.
const EVERY_WAY: [Core; 2] = [Core::M0plus, Core::M55];

/// Runs `cargo xtask no-panic`.
pub(crate) fn no_panic(tools: &Tools, arguments: &NoPanic) -> Result<ExitCode> {
    let (mut failed, mut skipped) = (false, false);
    for core in cores(&arguments.core) {
        let target = core.setup().target;
        let ways = tools.ways(target);
        if ways.is_empty() {
            println!("{core}: skipped: {}", toolchain::remedy(target));
            skipped = true;
        }
        let most = match EVERY_WAY.contains(&core) {
            true => ways.len(),
            false => 1,
        };
        for toolchain in ways.into_iter().take(most) {
            let verdict = match no_panic::check(core, &toolchain) {
                Ok(()) => "no panic can be reached".to_owned(),
                Err(error) => {
                    failed = true;
                    format!("FAILED: {error:#}")
                }
            };
            println!("{core}, {target} through {toolchain}: {verdict}");
        }
    }
    Ok(ExitCode::from(match (failed, skipped) {
        (true, _) => 1,
        (false, true) => SKIPPED,
        (false, false) => 0,
    }))
}
