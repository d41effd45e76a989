//! Developer commands that are more than one cargo call: `cargo xtask --help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sparsecode_lab::Tools;

mod aarch64;
mod bench;
mod cuda;
mod devices;
mod exit;
mod golden;
mod gpu;
mod header;
mod no_std;
mod reproduce;
mod results;
mod tools;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Developer commands of the sparsecode repository"
)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the firmware for each core, run it in QEMU and hold its results to the host's
    Firmware(devices::firmware::Arguments),
    /// Put an exported model and its patches into the firmware
    FirmwareModel(devices::firmware::Model),
    /// Denoise a signal sample by sample on a core in QEMU, and hold it to the host's result
    Stream(devices::stream::Arguments),
    /// Look for a path to a panic in firmware and C library, built in every way that is here
    NoPanic(devices::capi::NoPanic),
    /// Build the crates that run on devices for bare-metal targets
    NoStd(no_std::Arguments),
    /// Build the C API, and run programs in C on the host and in QEMU
    Capi(devices::capi::Capi),
    /// Build and run the program of docs/embedded.md
    Guide(devices::capi::Guide),
    /// Run the runtime's tests on AArch64 processors in QEMU
    Aarch64(aarch64::Arguments),
    /// Write the header of the C API from its source
    Header(header::Arguments),
    /// Check and measure the GPU's kernels on a GPU, or say what would be run
    Gpu(gpu::Arguments),
    /// Build for NVIDIA GPUs, without one: kernels, lints, and what a person is told
    Cuda(cuda::Arguments),
    /// Train on MNIST and compare each epoch with the published code's
    Parity(reproduce::Arguments),
    /// Train on MNIST to the end and compare with the paper's Table 1
    Table1(reproduce::Arguments),
    /// Train the variational models on a synthetic set and compare with the released code's curves
    Curves(reproduce::Arguments),
    /// Measure how fast training is
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Write the golden files anew and say what changed
    Golden(golden::Arguments),
    /// Say what the other commands can run on this machine, and what is missing for the rest
    Tools(tools::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let tools = match Tools::here() {
        Ok(tools) => tools,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(2);
        }
    };
    let outcome = match arguments.command {
        Task::Firmware(arguments) => devices::firmware::run(&tools, &arguments),
        Task::FirmwareModel(arguments) => devices::firmware::install(&arguments),
        Task::Stream(arguments) => devices::stream::run(&tools, &arguments),
        Task::NoPanic(arguments) => devices::capi::no_panic(&tools, &arguments),
        Task::NoStd(arguments) => no_std::run(&tools, &arguments),
        Task::Capi(arguments) => devices::capi::run(&tools, &arguments),
        Task::Guide(_) => devices::capi::guide(&tools),
        Task::Aarch64(arguments) => aarch64::run(&tools, &arguments),
        Task::Header(arguments) => header::run(&arguments).map(|()| ExitCode::SUCCESS),
        Task::Gpu(arguments) => gpu::run(&arguments),
        Task::Cuda(arguments) => cuda::run(&tools, &arguments),
        Task::Parity(arguments) => reproduce::run("parity", &arguments),
        Task::Table1(arguments) => reproduce::run("table1", &arguments),
        Task::Curves(arguments) => reproduce::run("curves", &arguments),
        Task::Bench(arguments) => bench::run(&tools, &arguments),
        Task::Golden(arguments) => golden::run(&arguments).map(|()| ExitCode::SUCCESS),
        Task::Tools(_) => {
            tools::run(&tools);
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use sparsecode_lab::root;

    use super::*;

    /// The pages of commands; those of the program `sparsecode` are run by its tests.
    const PAGES: [&str; 4] = [
        "README.md",
        "CONTRIBUTING.md",
        "docs/embedded.md",
        "firmware-example/README.md",
    ];

    /// The lines of a page that call this program, in blocks and in text, continued lines in one.
    fn commands(page: &str) -> Vec<String> {
        let page = page.replace("\\\n", " ");
        let start = "cargo xtask ";
        let found = page.match_indices(start).map(|(at, _)| {
            let rest = &page[at + start.len()..];
            // In text a command stands in backticks, which may break a line.
            let is_text = page[..at].ends_with('`');
            let end = rest.find(if is_text { "`" } else { "\n" });
            let line = &rest[..end.unwrap_or(rest.len())];
            line.split(" #").next().unwrap_or(line).replace('\n', " ")
        });
        found.collect()
    }

    #[test]
    fn commands_are_found_in_blocks_and_in_text() {
        let page = "```sh\ncargo xtask a --b \\\n  c   # why\n```\nand `cargo xtask d\n--e`.";
        assert_eq!(commands(page), ["a --b    c  ", "d --e"]);
    }

    #[test]
    fn every_command_of_the_pages_is_understood() {
        for page in PAGES {
            let text = std::fs::read_to_string(root().join(page)).unwrap();
            let commands = commands(&text);
            assert!(!commands.is_empty(), "{page} names no command");
            for command in commands {
                let words = ["cargo xtask"]
                    .into_iter()
                    .chain(command.split_whitespace());
                if let Err(error) = Arguments::try_parse_from(words) {
                    let shown = clap::error::ErrorKind::DisplayHelp;
                    assert_eq!(error.kind(), shown, "{page}: {command}: {error}");
                }
            }
        }
    }
}
