//! `cargo xtask stream`: a signal through an integer model on a core in QEMU, sample by sample, beside the host.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum as _;
use serde_json::json;
use sparsecode_formats::IntegerFile;
use sparsecode_runtime::stream::SignalStream;
use sparsecode_runtime::{IntegerCodeBuf, IntegerRefine, IntegerView, IntegerWorkspaceBuf, Method};

use super::{Core, Files, Job, check_counter, integer, npy};
use crate::SKIPPED;
use crate::results::{command_line, write_page};

/// Denoises a signal on emulated cores as a stream, holds every clean sample to the host's, and says what a sample costs.
///
/// The model takes windows and was exported with --activations i16; windows start every quarter of a window.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 every core gave the host's samples; 1 something failed; 2 usage; 77 nothing failed, but a core was skipped because
its compiler or emulator is missing.

The signal is an .npy file of shape (2, 1, n): noisy, then clean, in the data's unit; `sparsecode quickstart --signal ecg` writes one beside
its model. Without --model and --patches: ecg.safetensors and ecg.npy of firmware-example/model.

Example:
  cargo run --release -- quickstart --signal ecg --output ecg
  cargo xtask stream --model ecg/integer.safetensors --patches ecg/signal.npy --rate 360")]
pub(crate) struct Arguments {
    /// Run only these cores (repeatable, or separated by commas)
    #[arg(long, value_enum, value_delimiter = ',', default_value = "m4f")]
    core: Vec<Core>,
    #[command(flatten)]
    files: Files,
    /// At most so many iterations of refinement for each window, with the λ for the signal's noise; 0: the encoder's code
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
    /// Print JSON instead of the table: decibels, what each core's firmware printed by name, and
    /// the cores that were skipped
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

/// What the host finds.
struct Host {
    checksum: u32,
    /// Sums of squares in levels: the noise, and what is left of it.
    noise: u64,
    error: u64,
    /// Of the clean signal about its mean.
    power: f64,
}

impl Host {
    /// Signal to noise before and after.
    fn decibels(&self) -> [f64; 2] {
        [self.noise, self.error].map(|error| 10.0 * (self.power / error.max(1) as f64).log10())
    }
}

/// What `bin/stream.rs` does, by the same crate.
fn host<const WINDOW: usize, const HOP: usize>(job: &Job, refine: u32) -> Result<Host> {
    let file = IntegerFile::read(&job.model).map_err(|error| anyhow::anyhow!("{error}"))?;
    let sound = |error| anyhow::anyhow!("{error}");
    let (scale, _) = file.scales().map_err(sound)?;
    let settings = IntegerRefine {
        method: job.method,
        threshold: npy::threshold(&file, job.patches.noise()).map_err(sound)?,
        max_iterations: refine,
        ..IntegerRefine::for_model(&file)
    };
    let settings = (refine > 0).then_some(settings);
    let view = IntegerView::from(file);
    let mut code = IntegerCodeBuf::new(file.spec.code_dim);
    let mut workspace = IntegerWorkspaceBuf::for_model(&file.spec);
    let mut denoise = |window: &mut [i16; WINDOW]| {
        // The window has the model's length: it chose this function.
        let settings = settings.as_ref();
        let _ = view.denoise(window, settings, &mut code, &mut workspace, || false);
    };
    let levels =
        |samples: &[f32]| -> Vec<i16> { samples.iter().map(|x| npy::level(*x, scale)).collect() };
    let (noisy, clean) = (levels(&job.patches.noisy), levels(&job.patches.clean));
    let mut stream = SignalStream::<i16, WINDOW, HOP>::new();
    let mut window = [0; WINDOW];
    let mut found = noisy.clone();
    let mut output = stream
        .push_block(&mut found, &mut window, &mut denoise)
        .to_vec();
    output.extend_from_slice(stream.finish(&mut window, &mut denoise));
    ensure!(output.len() == clean.len(), "as many samples out as in");
    let mut hasher = crc32fast::Hasher::new();
    output
        .iter()
        .for_each(|level| hasher.update(&level.to_le_bytes()));
    let squares = |values: &[i16]| -> u64 {
        let pairs = values.iter().zip(&clean);
        pairs.map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum()
    };
    let mean = clean.iter().map(|x| f64::from(*x)).sum::<f64>() / clean.len() as f64;
    Ok(Host {
        checksum: hasher.finalize(),
        noise: squares(&noisy),
        error: squares(&output),
        power: clean.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum(),
    })
}

/// Runs `cargo xtask stream`.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let model = super::folder().join("model");
    let files = Files {
        model: Some(
            arguments
                .files
                .model
                .clone()
                .unwrap_or_else(|| model.join("ecg.safetensors")),
        ),
        patches: Some(
            arguments
                .files
                .patches
                .clone()
                .unwrap_or_else(|| model.join("ecg.npy")),
        ),
        ..arguments.files.clone()
    };
    let job = Job {
        refine: arguments.refine,
        method: arguments.method.into(),
        ..Job::of(&files)?
    };
    ensure!(
        integer::takes(&job.model),
        "{}: a model exported with --activations i16 is wanted",
        job.model_path.display()
    );
    ensure!(
        job.patches.count == 1,
        "{}: one signal is wanted, shape (2, 1, samples)",
        job.patches_path.display()
    );
    let file = IntegerFile::read(&job.model).map_err(|error| anyhow::anyhow!("{error}"))?;
    ensure!(
        file.spec.input_shape.is_window(),
        "the model takes patches of {}, not windows of a signal",
        file.spec.input_shape
    );
    let refine = arguments.refine;
    let host = match file.spec.input_dim() {
        32 => host::<32, 8>(&job, refine),
        64 => host::<64, 16>(&job, refine),
        128 => host::<128, 32>(&job, refine),
        256 => host::<256, 64>(&job, refine),
        other => bail!("windows of {other}: the host's side is compiled for 32, 64, 128 and 256"),
    }?;

    let mut text = heading(&job, &file, arguments, &host)?;
    let mut skipped = BTreeMap::new();
    let mut logs = serde_json::Map::new();
    for core in Core::value_variants() {
        if !arguments.core.contains(core) {
            continue;
        }
        let setup = core.setup();
        let toolchain = match setup.ready() {
            Ok(toolchain) => toolchain,
            Err(missing) => {
                skipped.insert(setup.name, missing);
                continue;
            }
        };
        eprintln!("{}: {} through {toolchain}", setup.name, setup.target);
        let path = job.build_binary(&setup, &toolchain, "stream")?;
        let elf = fs::read(&path)?;
        integer::check_floats(setup.name, &elf)?;
        let log = job.log_of(&setup, &path, &elf)?;
        check_counter(&log).context(setup.name)?;
        let value = |name: &str| log.value::<u64>(name);
        let found: u32 = log.value("checksum")?;
        ensure!(
            (found, value("error")?, value("noise")?) == (host.checksum, host.error, host.noise),
            "{}: checksum of the clean samples {found:08x}, the host's is {:08x}",
            setup.name,
            host.checksum
        );
        let sample = value("instructions per sample")? as f64;
        let available = arguments.clock * 1e6 / arguments.rate;
        writeln!(
            text,
            "| {} | {sample} | {} | {:.1} | {:.2} % | {} | {} | {} |",
            setup.name,
            value("longest")?,
            available / sample,
            100.0 * sample / available,
            value("channel bytes")?,
            value("scratch bytes")?,
            value("stack bytes")?
        )?;
        let mut values = log.json();
        values["real time"] = (available / sample).into();
        logs.insert(setup.name.to_owned(), values);
    }
    for (core, missing) in &skipped {
        writeln!(text, "\nSkipped: {core}: {missing}")?;
    }
    if arguments.json {
        let [before, after] = host.decibels();
        let report = json!({ "cores": logs, "skipped": skipped, "db": { "before": before, "after": after } });
        println!("{report:#}");
    } else {
        println!("{text}");
    }
    if let Some(path) = &arguments.markdown {
        write_page(
            path,
            "A signal as a stream on a microcontroller",
            "Every clean sample is bit for bit the host's. Instructions as QEMU executes them, not cycles.",
            &command_line(),
            "cpu",
            &text,
        )?;
    }
    Ok(ExitCode::from(if skipped.is_empty() { 0 } else { SKIPPED }))
}

fn heading(
    job: &Job,
    file: &IntegerFile<'_>,
    arguments: &Arguments,
    host: &Host,
) -> Result<String> {
    let [before, after] = host.decibels();
    let spec = file.spec().map_err(|error| anyhow::anyhow!("{error}"))?;
    let how = match arguments.refine {
        0 => "the encoder's codes".to_owned(),
        iterations => {
            let by = match arguments.method {
                Way::Descent => "passes of coordinate descent",
                Way::Fista => "iterations of FISTA",
            };
            format!("codes refined by at most {iterations} {by}")
        }
    };
    let mut text = String::new();
    writeln!(
        text,
        "{}, windows of {} every {}, {} atoms, {how}; {} samples: signal to noise {:.2} dB before, {:.2} dB after.\n",
        spec.provenance.data,
        spec.input_dim(),
        spec.input_dim().div_ceil(4),
        spec.code_dim(),
        job.patches.input_dim,
        before,
        after
    )?;
    writeln!(
        text,
        "*Real time*: how many times faster than {} samples a second a core of {} MHz is at one instruction a cycle; *load* is its inverse. Cores take one to two cycles \
         an instruction.\n",
        arguments.rate, arguments.clock
    )?;
    writeln!(
        text,
        "| core | instructions a sample | longest sample | real time, × | load | a channel, bytes | all buffers, bytes | stack, bytes |"
    )?;
    writeln!(text, "|---|{}", "---:|".repeat(7))?;
    Ok(text)
}
