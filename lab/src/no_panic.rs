//! Firmware and C library have no path to a panic, however `core` was compiled.

use std::fs;
use std::thread;

use anyhow::{Context as _, Result};

use crate::firmware::{Files, Job};
use crate::{Core, Toolchain, capi, target_dir};

/// Links a program that calls all of the runtime and does not link if a panic can be reached, and
/// looks for a panic in the C library, both at once. No emulator is needed.
///
/// # Errors
/// If a panic can be reached, or something does not build.
pub fn check(core: Core, toolchain: &Toolchain) -> Result<()> {
    let setup = core.setup();
    let library = || {
        let build = toolchain.cargo_build(setup.target, setup.target_cpu);
        let archive = capi::library(build, &target_dir().join("capi"), Some(setup.target))?;
        capi::check_symbols(&fs::read(archive)?).context("the C library")
    };
    // Two workspaces with a folder each: one build does not wait for the other.
    thread::scope(|scope| {
        let library = scope.spawn(library);
        let program = Job::of(&Files::default())?.build_binary(&setup, toolchain, "no_panic");
        let library = library.join().expect("a check returns");
        program.context("a panic is reachable, or `no_panic` does not build (see above)")?;
        library
    })
}
