//! Devices in QEMU: builds firmware and C programs for the cores that the project supports, runs
//! them, and holds their results to the host's.
//!
//! Nothing here prints results: functions return typed values, from which `cargo xtask` makes
//! tables and which the tests compare. Progress (which core is being built) goes to standard error.
//!
//! | module | does |
//! |---|---|
//! | [`toolchain`] | finds compilers and emulators: [`Tools`] |
//! | [`cores`] | says how a core is built and where it runs: [`Core`] |
//! | [`qemu`] | runs an ELF |
//! | [`log`] | decodes what firmware prints |
//! | [`elf`] | measures flash and RAM |
//! | [`firmware`] | builds and runs the firmware on every core |
//! | [`mod@bench`] | counts instructions of every stage, in f32 and in integers, within budgets |
//! | [`stream`] | runs a signal through an integer model |
//! | [`precision`] | says what bits and iterations buy, and what they cost |
//! | [`model`] | puts an exported model into the firmware |
//! | [`no_std`] | builds the crates of devices for bare metal |
//! | [`no_panic`] | looks for a path to a panic |
//! | [`capi`] | builds and runs programs in C |
//! | [`guide`] | builds and runs the program of `docs/embedded.md` |
//! | [`aarch64`] | runs the runtime's tests on AArch64 processors |
//! | [`ptxas`] | reads what the GPU's kernels take |
//! | [`candle_cuda`] | checks the types of the code for candle on a GPU |

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

pub mod aarch64;
pub mod bench;
mod budget;
mod c_compiler;
pub mod candle_cuda;
pub mod capi;
pub mod cores;
pub mod denoising;
pub mod elf;
pub mod firmware;
pub mod guide;
mod host;
mod integer;
pub mod log;
pub mod model;
pub mod no_panic;
pub mod no_std;
pub mod precision;
pub mod ptxas;
pub mod qemu;
mod signed;
pub mod stream;
pub mod toolchain;
pub mod variational;
pub mod without_driver;

pub use cores::{Core, Outcome, Row, Setup, Status, status};
pub use toolchain::{Toolchain, Tools, Ways};

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where cargo builds the workspace.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        // Relative to where cargo was called, as cargo has it.
        Some(folder) => std::path::absolute(&folder).unwrap_or_else(|_| folder.into()),
        None => root().join("target"),
    }
}

/// The cargo that runs this program, at the repository's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command to its end and asks for success.
///
/// # Errors
/// If the program does not start, or ends with another status than 0.
pub fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}

/// An error of a crate whose errors are no [`std::error::Error`] without `std`.
fn sound(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}
