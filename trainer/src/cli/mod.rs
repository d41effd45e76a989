//! The command line: one file a command, thin over the library.
//!
//! Exit status: 0 done, 1 failed, 2 used wrongly, 130 interrupted; `sweep run` has one more.

/// As the standard library's, for all commands; but an output that is full or closed is an error,
/// not a panic.
macro_rules! print {
    ($($words:tt)*) => { $crate::cli::write_out(&format!($($words)*)) };
}
macro_rules! println {
    () => { $crate::cli::write_out("\n") };
    ($($words:tt)*) => { $crate::cli::write_out(&(format!($($words)*) + "\n")) };
}

mod config;
mod console;
mod data;
mod decode;
mod denoise;
#[cfg(test)]
mod documented;
mod encode;
mod evaluate;
mod evaluate_file;
mod export;
mod features;
mod import;
mod input;
mod inspect;
mod quickstart;
mod refine;
mod run;
mod sweep;
mod train;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{
    Args, Command as ClapCommand, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};
use sparsecode_formats::{NumberType, WeightType};

use crate::data::DataFacts;
use crate::data::Hints;
use crate::data::{DataConfig, DataError, Named, PlaceError, Splits};
use crate::deploy::units::{Fit, Known};
use crate::deploy::{ExportError, TrainedRun};
use crate::lista::inference::{CpuEngine, PlainFista};
use crate::lista::{Backend, open_gpu, open_plain_gpu};
use crate::run::ConfigError;
use crate::run::TrainError;
use crate::storage::StorageError;
use crate::sweep::SweepError;

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

/// The program was used wrongly: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

/// An end that is neither success nor failure, with an exit status of its own.
#[derive(Debug, thiserror::Error)]
#[error("{1}")]
struct Exit(u8, String);

fn exit_with(status: u8, message: impl Into<String>) -> anyhow::Error {
    Exit(status, message.into()).into()
}

/// Exit status of a command that Ctrl-C or TERM ended: what `&&` follows it does not run.
const INTERRUPTED: u8 = 130;

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

/// How training computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineChoice {
    /// Kernels of this program's own.
    Fused,
    /// candle's tensor operations: slow; the reference that the kernels are tested against.
    Plain,
}

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DeviceChoice {
    /// This processor.
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
    /// A GPU if this program was built for one and finds it, else the processor.
    Auto,
}

impl DeviceChoice {
    /// The flag's value.
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Auto => "auto",
        }
    }

    /// What computes there: the plain engine on candle's tensors, or what is fastest.
    fn open_engine(self, engine: EngineChoice) -> anyhow::Result<Option<Arc<dyn Backend>>> {
        match (engine, self) {
            (EngineChoice::Fused, _) => self.gpu(),
            (EngineChoice::Plain, Self::Cpu) => Ok(Some(Arc::new(PlainFista))),
            (EngineChoice::Plain, Self::Auto) if cfg!(feature = "candle-cuda") => {
                let gpu = open_plain_gpu()
                    .inspect_err(|error| eprintln!("note: using the processor: {error}"));
                Ok(Some(gpu.unwrap_or_else(|_| Arc::new(PlainFista))))
            }
            (EngineChoice::Plain, Self::Auto) => Ok(Some(Arc::new(PlainFista))),
            (EngineChoice::Plain, Self::Cuda) if !cfg!(feature = "candle-cuda") => Err(usage(
                "--engine plain: this program was built without candle's CUDA; build with --features candle-cuda, or add --device cpu",
            )),
            (EngineChoice::Plain, Self::Cuda) => {
                open_plain_gpu().map(Some).context("--device cuda")
            }
        }
    }

    /// What computes there.
    fn open(self) -> anyhow::Result<Arc<dyn Backend>> {
        Ok(self
            .gpu()?
            .unwrap_or_else(|| Arc::new(CpuEngine::default())))
    }

    /// The GPU, or `None` for the processor.
    fn gpu(self) -> anyhow::Result<Option<Arc<dyn Backend>>> {
        match self {
            Self::Cuda if !cfg!(feature = "cuda") => Err(usage(
                "--device cuda: this program was built without CUDA; build with --features cuda",
            )),
            Self::Cuda => open_gpu().map(Some).context("--device cuda"),
            Self::Auto if cfg!(feature = "cuda") => Ok(open_gpu()
                .inspect_err(|error| eprintln!("note: using the processor: {error}"))
                .ok()),
            Self::Auto | Self::Cpu => Ok(None),
        }
    }
}

/// Says what was read, and the remarks on it: on standard error, as figures go to standard output.
fn tell(splits: &Splits) {
    eprintln!("read {}", splits.read);
    for note in &splits.notes {
        eprintln!("note: {note}");
    }
}

/// Flags of commands that load data.
#[derive(Args)]
struct DataFlags {
    /// Where the data are: a folder, or a file with a signal or an array; generated data need none
    ///
    /// This flag overrides data.path and data.folder. A run remembers where its data were. Without
    /// the flag and the keys, the environment variable SPARSECODE_DATA names the place; generated
    /// data ignore the variable.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
}

/// What else is said about the data of a run.
#[derive(Default)]
struct OtherData {
    /// How a signal is read, over the run's own keys.
    hints: Hints,
    /// Whether data of another rate or unit are taken with a warning; `None` where the command has
    /// no flag for it.
    may_differ: Option<bool>,
}

impl OtherData {
    /// The table with the keys that are named.
    fn over(&self, mut data: DataConfig) -> anyhow::Result<DataConfig> {
        let Hints {
            column,
            decimal,
            header,
        } = self.hints.clone();
        let flags = [
            ("--column", column.is_some()),
            ("--decimal", decimal.is_some()),
            ("--header", header.is_some()),
        ];
        let given = flags
            .into_iter()
            .find_map(|(flag, is_given)| is_given.then_some(flag));
        match (&mut data, given) {
            (_, None) => {}
            (DataConfig::Signal(config), Some(_)) => {
                config.column = column.or(config.column.take());
                config.decimal = decimal.or(config.decimal);
                config.header = header.or(config.header);
            }
            (DataConfig::Vibration(_) | DataConfig::Ecg(_), Some(flag)) => {
                return Err(usage(format!(
                    "{flag}: the run's data are generated; name a recording with --data FILE, or leave {flag} out"
                )));
            }
            (other, Some(flag)) => {
                return Err(usage(format!(
                    "{flag}: the run's data are no signal but data.source={}; leave {flag} out",
                    other.source()
                )));
            }
        }
        Ok(data)
    }

    /// Refuses data of another rate or unit than the run's, or warns.
    fn check(&self, run: &DataFacts, found: &DataFacts, data: &str) -> anyhow::Result<()> {
        let known = Known::of_run(run)?;
        let refuse = |problem: String, remedy: &str| match self.may_differ {
            Some(true) => {
                eprintln!("warning: {data}: {problem}");
                Ok(())
            }
            Some(false) => Err(anyhow::anyhow!(
                "{data}: {problem}; {remedy}, or give --allow-mismatch"
            )),
            None => Err(anyhow::anyhow!("{data}: {problem}; {remedy}")),
        };
        if let Some(problem) = known.rate_mismatch(found.sample_rate) {
            refuse(problem, "resample the data")?;
        }
        match found.raw_range.map(|range| known.fit_range(range)) {
            Some(Fit::Mismatch(problem)) => {
                refuse(problem, "bring the data to the unit of the run's data")?;
            }
            Some(Fit::Unusual(problem)) => eprintln!("warning: {data}: {problem}"),
            Some(Fit::Fits) | None => {}
        }
        Ok(())
    }
}

impl DataFlags {
    /// What is said about the place of the data.
    fn named(&self) -> Named {
        let environment = std::env::var_os("SPARSECODE_DATA").filter(|name| !name.is_empty());
        Named {
            flag: self.data.clone(),
            environment: environment.map(PathBuf::from),
        }
    }

    /// The table on the data that the flag names, if it is of generated data; says so.
    fn on_own_data(&self, data: &DataConfig) -> anyhow::Result<DataConfig> {
        let Some(place) = self.data.as_deref().filter(|_| data.is_generated()) else {
            return Ok(data.clone());
        };
        let own = data.on_own_data(place)?;
        eprintln!(
            "note: --data {}: read as data.source={} in place of generated {}, samples of the same size",
            place.display(),
            own.source(),
            data.source()
        );
        Ok(own)
    }

    /// The table with the place that counts.
    fn place(&self, data: &DataConfig) -> anyhow::Result<DataConfig> {
        Ok(data.placed(&self.named())?)
    }

    fn load(&self, data: &DataConfig, seed: u64) -> anyhow::Result<Splits> {
        Ok(self.place(data)?.load(None, seed)?)
    }

    /// Loads the data of a run, or others of the same shape in the preprocessed units of the run;
    /// says which.
    ///
    /// Data of another rate or unit are refused, unless `other` lets them through.
    fn load_for(&self, run: &TrainedRun, other: &OtherData) -> anyhow::Result<Splits> {
        let data = other.over(self.on_own_data(&run.config.data)?)?;
        let has_flags = other.may_differ.is_some();
        let mut splits = self.load(&data, run.config.seed).map_err(|error| {
            match error.downcast::<DataError>() {
                Ok(error) if has_flags => input::in_own_flags(error),
                Ok(error) => error.into(),
                Err(error) => error,
            }
        })?;
        if has_flags {
            let notes = splits.notes.iter();
            splits.notes = notes.map(|note| input::in_flags(note)).collect();
        }
        tell(&splits);
        let found = DataFacts::of(&splits);
        let facts = &run.facts;
        let refuse = |what: String| {
            let (trained, named) = (&facts.description, self.data.as_deref());
            let data = named.map_or_else(
                || "the data".to_owned(),
                |path| format!("--data {}", path.display()),
            );
            Err(usage(format!(
                "{data}: {what}; the run was trained on {trained}"
            )))
        };
        if found.input_shape != facts.input_shape {
            return refuse(format!(
                "samples are {}, but the model takes {}",
                found.input_shape, facts.input_shape
            ));
        }
        if found.same_samples(facts) {
            return Ok(splits);
        }
        let place = self.place(&data)?.place();
        let first = place.as_ref().and_then(|place| place.iter().next());
        let named = match (&self.data, first) {
            (Some(path), _) => format!("--data {}", path.display()),
            (None, Some(path)) => path.display().to_string(),
            (None, None) => "the data".to_owned(),
        };
        other.check(facts, &found, &named)?;
        let (_, preprocessing) = facts.parse()?;
        let description = splits.description.clone();
        let Some(splits) = splits.preprocessed_as(&preprocessing) else {
            return refuse(format!(
                "samples have contrast normalisation {}, but the model takes {}",
                found.contrast, facts.contrast
            ));
        };
        // Weights that were imported know no samples; a dictionary that stayed was not in its
        // samples' own units.
        if facts.digest.is_empty() || DataFacts::of(&splits).same_samples(facts) {
            return Ok(splits);
        }
        eprintln!(
            "note: these are not the samples that the run was trained on ({}), but {description}, taken in the run's units",
            facts.description
        );
        Ok(splits)
    }
}

/// Number type of exported weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Weights {
    /// 32-bit floats.
    F32,
    /// 16-bit integers with a scale for each output channel.
    I16,
    /// 8-bit integers with a scale for each output channel.
    I8,
    /// 4-bit integers for the encoder's first layer and the dictionary, 8-bit ones for the rest.
    I4,
}

impl From<Weights> for WeightType {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::F32 => Self::F32,
            Weights::I16 => Self::I16,
            Weights::I8 => Self::I8,
            Weights::I4 => Self::I4,
        }
    }
}

/// Writes to standard output; where that fails, says so and ends the program with status 1.
fn write_out(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(source) = written {
        let error = StorageError::new("write to", Path::new("standard output"), source);
        // There may be nobody for this either.
        let _ = writeln!(std::io::stderr(), "error: {error}");
        std::process::exit(1);
    }
}

/// Prints a document as one line of JSON.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// Refuses an extension that a command does not know, before it does any work.
fn check_extension(path: &Path, expected: &[&str]) -> anyhow::Result<()> {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or("")
        .to_ascii_lowercase();
    if expected.contains(&extension.as_str()) {
        return Ok(());
    }
    Err(usage(format!(
        "{}: expected a file name that ends in .{}",
        path.display(),
        expected.join(", .")
    )))
}

/// Reads an array of samples: N×`dim`, or N×h×w with `h·w = dim`. Returns the number type, N and
/// the numbers.
fn read_rows(path: &Path, dim: usize) -> anyhow::Result<(NumberType, usize, Vec<f32>)> {
    let array = crate::data::npy::read_npy(path)?;
    let (shape, number_type, values) = (array.shape, array.number_type, array.values.into_f32());
    if !crate::deploy::given::fits_samples(&shape, dim) {
        anyhow::bail!(
            "{}: shape {shape:?}, but the model takes rows of {dim} numbers: N×{dim}",
            path.display()
        );
    }
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        anyhow::bail!(
            "{}: row {} holds a value that is not finite",
            path.display(),
            index / dim
        );
    }
    Ok((number_type, shape[0], values))
}

#[cfg(test)]
mod tests {
    use super::*;

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
