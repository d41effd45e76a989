use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::data::fetch::{FetchEvent, fetch_mnist};

/// Get public data sets
#[derive(Args)]
#[command(after_help = "Example:\n  sparsecode data fetch mnist --output data")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Fetch(Fetch),
}

/// Download a data set and check it
#[derive(Args)]
#[command(after_help = "Example:\n  sparsecode data fetch mnist --output data")]
struct Fetch {
    /// Data set
    #[arg(value_enum)]
    set: Set,
    /// Folder to put it in
    #[arg(long, value_name = "DIR", default_value = "data")]
    output: PathBuf,
    /// Where to download from, instead of the public mirrors
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Set {
    /// Handwritten digits, 11 MB
    Mnist,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Command::Fetch(fetch) = &arguments.command;
    match fetch.set {
        Set::Mnist => fetch_mnist(
            &fetch.output.join("mnist"),
            fetch.mirror.as_deref(),
            |event| show(&event),
        )?,
    }
    println!(
        "{}: MNIST is complete; train with --data {0}",
        fetch.output.display()
    );
    Ok(())
}

fn show(event: &FetchEvent) {
    match event {
        FetchEvent::Present { path } => eprintln!("{}: already there", path.display()),
        FetchEvent::Started { url } => eprintln!("fetching {url}"),
        FetchEvent::Failed { url, reason } => eprintln!("{url}: {reason}; trying the next mirror"),
        FetchEvent::Finished { path, bytes } => {
            eprintln!("{}: {} bytes, checked", path.display(), bytes)
        }
    }
}
