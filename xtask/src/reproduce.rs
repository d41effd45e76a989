//! `cargo xtask parity`, `table1` and `curves`: the papers' results beside ours, by the program
//! `reproduce`.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use sparsecode_lab::{cargo, succeed, target_dir};

/// What the program takes; `--help` says it.
#[derive(clap::Args, Debug, Clone)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<OsString>,
}

/// Builds `sparsecode` and `reproduce`, and runs the latter's command.
pub(crate) fn run(command: &str, arguments: &Arguments) -> Result<ExitCode> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--release"]);
    build.args(["--package", "sparsecode-trainer", "--bin", "sparsecode"]);
    build.args(["--package", "sparsecode-tests", "--bin", "reproduce"]);
    if arguments.rest.iter().any(|word| word == "cuda") {
        build.args(["--features", "sparsecode-tests/cuda"]);
    }
    succeed(&mut build)?;
    let mut reproduce = Command::new(target_dir().join("release").join("reproduce"));
    let status = reproduce.arg(command).args(&arguments.rest).status();
    let code = status.context("the program reproduce")?.code();
    Ok(ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
    ))
}
