//! `cargo xtask stream`: a signal through an integer model on a core in QEMU, sample by sample,
//! beside the host.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use sparsecode_lab::firmware::Job;
use sparsecode_lab::stream::{self, Stream};
use sparsecode_lab::{Core, Tools};
use sparsecode_runtime::Method;

use super::{FileArguments, core, cores, none_failed, table, without};
use crate::results::{command_line, write_page};

/// Denoises a signal on emulated cores as a stream, holds every clean sample to the host's, and
/// says what a sample costs.
///
/// The model takes windows and was exported with --activations i16; windows start every quarter of
/// a window. A model of `train --task denoise` brings its own hop, drift filter and guard, and the
/// noise is estimated on the way.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 every core gave the host's samples; 1 something failed; 2 usage; 77 nothing \
failed, but a core was skipped because
its compiler or emulator is missing.

The signal is an .npy file of shape (2, 1, n): noisy, then clean, in the data's unit; `sparsecode \
quickstart --signal ecg` writes one beside
its model. Without --model and --patches: ecg.safetensors and ecg.npy of firmware-example/model.

Example:
  cargo run --release -- quickstart --signal ecg --output ecg
  cargo xtask stream --model ecg/integer.safetensors --patches ecg/signal.npy --rate 360")]
pub(crate) struct Arguments {
    /// Run only these cores (repeatable, or separated by commas)
    #[arg(long, value_parser = core(), value_delimiter = ',', default_value = "m4f")]
    core: Vec<Core>,
    #[command(flatten)]
    files: FileArguments,
    /// At most so many iterations of refinement for each window, with the λ for the signal's noise;
    /// 0: the encoder's code
    #[arg(long, default_value_t = 0, value_name = "ITERATIONS")]
    refine: u32,
    /// How a window is refined
    #[arg(long, value_enum, default_value_t = Way::Descent)]
    method: Way,
    /// Samples per second of the sensor
    #[arg(long, default_value_t = 360.0, value_name = "HZ", value_parser = above_0)]
    rate: f64,
    /// The core's clock in MHz; 168 is that of an STM32F405
    #[arg(long, default_value_t = 168.0, value_name = "MHZ", value_parser = above_0)]
    clock: f64,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Write the table here as Markdown, with the command, the commit and the machine
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn above_0(text: &str) -> Result<f64, &'static str> {
    let number = text.parse().ok();
    number
        .filter(|number: &f64| number.is_finite() && *number > 0.0)
        .ok_or("expected a finite number above 0")
}

/// How a code is refined.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Coordinate descent: fewest instructions
    Descent,
    /// FISTA: where it is stopped early, often less noise
    Fista,
}

impl From<Way> for Method {
    fn from(way: Way) -> Self {
        match way {
            Way::Descent => Self::CoordinateDescent,
            Way::Fista => Self::Fista,
        }
    }
}

/// Runs `cargo xtask stream`.
pub(crate) fn run(tools: &Tools, arguments: &Arguments) -> Result<ExitCode> {
    let job = Job::of(&stream::ecg(arguments.files.files()))?;
    let job = job.refined(arguments.refine, arguments.method.into());
    let found = stream::run(tools, &job, &cores(&arguments.core))?;
    let text = text(arguments, &found);
    match arguments.json {
        true => println!("{:#}", serde_json::to_value(&found)?),
        false => println!("{text}"),
    }
    let code = none_failed(&found.cores)?;
    if let Some(path) = &arguments.markdown {
        write_page(
            path,
            "A signal as a stream on a microcontroller",
            "Every clean sample is bit for bit the host's. Instructions as QEMU executes them, \
             not cycles.",
            &command_line(),
            "cpu",
            &text,
        )?;
    }
    Ok(code)
}

fn text(arguments: &Arguments, found: &Stream) -> String {
    let how = match (arguments.refine, arguments.method) {
        _ if found.denoises => match found.drift {
            Some(length) => format!("drift by means over {length}, σ estimated, windows guarded"),
            None => "σ estimated, windows guarded".to_owned(),
        },
        (0, _) => "the encoder's codes".to_owned(),
        (most, Way::Descent) => {
            format!("codes refined by at most {most} passes of coordinate descent")
        }
        (most, Way::Fista) => format!("codes refined by at most {most} iterations of FISTA"),
    };
    let [before, after] = found.db;
    let heading = format!(
        "{}, windows of {} every {}, {} atoms, {how}; {} samples: signal to noise {before:.2} dB \
         before, {after:.2} dB after.\n\n\
         *Real time*: how many times faster than {} samples a second a core of {} MHz is at one \
         instruction a cycle; *load* is its inverse. \
         Cores take one to two cycles an instruction.\n",
        found.data,
        found.window,
        found.hop,
        found.code_dim,
        found.samples,
        arguments.rate,
        arguments.clock
    );
    let headings = [
        "core",
        "instructions a sample",
        "longest sample",
        "real time, ×",
        "load",
        "a channel, bytes",
        "all buffers, bytes",
        "stack, bytes",
    ];
    let available = arguments.clock * 1e6 / arguments.rate;
    let table = table(&headings, &found.cores, |costs| {
        let sample = costs.sample as f64;
        vec![
            costs.sample.to_string(),
            costs.longest.to_string(),
            format!("{:.1}", available / sample),
            format!("{:.2} %", 100.0 * sample / available),
            costs.channel.to_string(),
            costs.buffers.to_string(),
            costs.stack.to_string(),
        ]
    });
    let table = table.map_or_else(String::new, |table| format!("\n{}\n", table.markdown()));
    format!("{heading}{table}{}", without(&found.cores))
}
