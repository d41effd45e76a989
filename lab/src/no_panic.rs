//! Firmware and C library have no path to a panic, however `core` was compiled.

use std::fs;

use anyhow::{Context as _, Result};

use crate::firmware::{Files, Job};
use crate::{Core, Toolchain, capi, target_dir};

/// Links a program that calls all of the runtime and does not link if a panic can be reached, and
/// looks for a panic in the C library. No emulator is needed.
///
/// # Errors
/// If a panic can be reached, or something does not build.
pub fn check(core: Core, toolchain: &Toolchain) -> Result<()> {
    let setup = core.setup();
    Job::of(&Files::default())?
        .build_binary(&setup, toolchain, "no_panic")
        .context("a panic is reachable, or `no_panic` does not build (see above)")?;
    let build = toolchain.cargo_build(setup.target, setup.target_cpu);
    let archive = capi::library(build, &target_dir().join("capi"), Some(setup.target))?;
    capi::check_symbols(&fs::read(archive)?).context("the C library")
}
