//! Developer commands that are more than one cargo call: `cargo xtask --help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod firmware;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Developer commands of the sparsecode repository"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the firmware for each core, run it in QEMU and hold its results to the host's
    Firmware(firmware::Arguments),
    /// Write the model file and the patches that the firmware includes
    FirmwareModel(firmware::model::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Firmware(arguments) => firmware::run(&arguments),
        Command::FirmwareModel(arguments) => {
            firmware::model::run(&arguments).map(|()| ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
