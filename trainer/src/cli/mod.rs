//! The command line: one file a command, thin over the library.
//!
//! Exit status: 0 done, 1 failed, 2 used wrongly, 130 interrupted; `sweep run` has one more.

// First, as its macros hold for what follows.
#[macro_use]
mod common;

mod config;
mod console;
mod data;
mod data_flags;
mod decode;
mod denoise;
mod device;
#[cfg(test)]
mod documented;
mod encode;
mod evaluate;
mod evaluate_denoising;
mod evaluate_file;
mod evaluate_l0;
mod evaluate_pictures;
mod export;
mod export_denoising;
mod export_report;
mod family;
mod features;
mod import;
mod input;
mod inspect;
mod quickstart;
mod refine;
mod run;
mod sweep;
mod train;
mod variational;

use std::process::ExitCode;

use clap::{Command as ClapCommand, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::data::{DataError, PlaceError};
use crate::deploy::ExportError;
use crate::run::{ConfigError, TrainError};
use crate::sweep::SweepError;
use common::{Exit, Usage};

/// Learns sparse codes on a workstation and runs them on a microcontroller.
#[derive(Parser)]
#[command(name = "sparsecode", version, max_term_width = 100)]
#[command(
    after_help = "Example:\n  sparsecode quickstart\n\nExit status: 0 done, 1 failed, 2 used wrongly, 130 interrupted."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Quickstart(quickstart::Arguments),
    Train(train::Arguments),
    Config(config::Arguments),
    Sweep(sweep::Arguments),
    Evaluate(evaluate::Arguments),
    Features(features::Arguments),
    Export(export::Arguments),
    Import(import::Arguments),
    Inspect(inspect::Arguments),
    Encode(encode::Arguments),
    Decode(decode::Arguments),
    Denoise(denoise::Arguments),
    Data(data::Arguments),
}

/// Runs the program on its command line.
pub fn main() -> ExitCode {
    crate::lista::cuda::let_runs_overlap();
    let matches = with_negative_numbers(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match cli.command {
        Command::Quickstart(arguments) => quickstart::run(&arguments),
        Command::Train(arguments) => train::run(&arguments),
        Command::Config(arguments) => config::run(&arguments),
        Command::Sweep(arguments) => sweep::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::Features(arguments) => features::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Encode(arguments) => encode::run(&arguments),
        Command::Decode(arguments) => decode::run(&arguments),
        Command::Denoise(arguments) => denoise::run(&arguments),
        Command::Data(arguments) => data::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(Exit(status, message)) = error.downcast_ref() {
                eprintln!("{message}");
                return ExitCode::from(*status);
            }
            eprintln!("error: {}", told(&error));
            if is_usage(&error) {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Has every flag take a negative number for its value, so that the command says which numbers
/// would do.
fn with_negative_numbers(command: ClapCommand) -> ClapCommand {
    command
        .mut_args(|argument| match argument.is_positional() {
            true => argument,
            false if argument.get_action().takes_values() => argument.allow_negative_numbers(true),
            false => argument,
        })
        .mut_subcommands(with_negative_numbers)
}

/// An error with its causes, without those that it says already.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}

fn is_usage(error: &anyhow::Error) -> bool {
    // What a file holds is not the command line's fault; what a preset, flag or setting says is.
    let config = |error: &ConfigError| !matches!(error, ConfigError::Io(..));
    error.chain().any(|cause| {
        cause.is::<Usage>()
            || matches!(cause.downcast_ref(), Some(DataError::Config { .. }))
            || matches!(cause.downcast_ref(), Some(DataError::Place(error)) if error.is_usage())
            || cause.downcast_ref().is_some_and(PlaceError::is_usage)
            || cause.downcast_ref().is_some_and(SweepError::is_usage)
            || cause.downcast_ref::<ConfigError>().is_some_and(config)
            || matches!(cause.downcast_ref(), Some(TrainError::Config(error)) if config(error))
            || matches!(cause.downcast_ref(), Some(ExportError::Config(error)) if config(error))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::Context;

    use super::*;
    use crate::storage::StorageError;

    #[test]
    fn causes_are_told_once() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let storage = StorageError::new("write", Path::new("model"), full());
        let said = storage.to_string();
        let error = anyhow::Error::from(SweepError::from(storage)).context("sweep");
        assert_eq!(told(&error), format!("sweep: {said}"));
        let error = Err::<(), _>(full())
            .context("cannot create logs")
            .unwrap_err();
        assert_eq!(told(&error), format!("cannot create logs: {}", full()));
    }
}
