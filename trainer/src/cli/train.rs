use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::{DataFlags, DeviceChoice, print_json, usage};
use crate::config::Config;
use crate::export::TrainedRun;
use crate::report::progress::{Progress, ProgressMode};
use crate::train::{Ending, EpochRecord, LogError, Observer, RunFolder, Session};

/// Train a sparse autoencoder
///
/// Writes into the run's folder: config.toml, checkpoint.safetensors (after every epoch, on a GPU every two seconds, and on Ctrl-C),
/// best.safetensors (lowest validation energy), metrics.jsonl and TensorBoard events.
#[derive(Args)]
#[command(after_help = "Examples:
  sparsecode train --preset mnist/vdl --epochs 5 --data DIR --out runs/vdl
  sparsecode train --preset mnist/vdl --epochs 5 --data DIR --out runs/vdl --resume
  sparsecode train --from runs/vdl --epochs 3 --quantize-aware i8 --data DIR --out runs/vdl-i8
  sparsecode train --preset ecg/sdl --set data.window=128 --set optimizer.encoder_learning_rate=3e-4

Presets are DATA/MODEL: mnist, patches (a folder of images), dead-leaves, vibration, ecg (generated) with
sdl, vdl, wdl, do, none, each also as -nl (one-hidden-layer decoder), for example patches/sdl-nl.")]
pub(super) struct Arguments {
    /// Hyperparameters to start from: DATA/MODEL, as mnist/vdl
    #[arg(long)]
    preset: Option<String>,
    /// TOML file laid over the preset; a run's config.toml has all keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One value laid over preset and file: table.key=value; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// λ, the weight of the codes' ℓ1 norm (inference.lambda)
    #[arg(long)]
    lambda: Option<f64>,
    /// Passes over the training set
    #[arg(long)]
    epochs: Option<u32>,
    /// Seed of all random numbers
    #[arg(long)]
    seed: Option<u64>,
    /// Samples in a mini-batch
    #[arg(long)]
    batch_size: Option<usize>,
    /// Stop after so many epochs without a better validation energy; 0 never does
    #[arg(long)]
    patience: Option<u32>,
    /// Components of a code (model.code_dim)
    #[arg(long)]
    code_dim: Option<usize>,
    /// Hidden units of a one-hidden-layer decoder (model.hidden_dim)
    #[arg(long)]
    hidden_dim: Option<usize>,
    /// η, FISTA's step size (inference.step_size)
    #[arg(long)]
    step_size: Option<f64>,
    /// β, the weight of the variance hinge (inference.variance_weight)
    #[arg(long)]
    variance_weight: Option<f64>,
    /// γ, the weight of the distance to the encoder's code (inference.encoder_weight)
    #[arg(long)]
    encoder_weight: Option<f64>,
    /// Learn at the weights that an export for integers (--activations i16) will round to
    #[arg(long, value_enum, value_name = "WEIGHTS")]
    quantize_aware: Option<QuantizeFlag>,
    /// Start from the best weights of another run, and, without --preset or --config, from its configuration
    #[arg(long, value_name = "RUN")]
    from: Option<PathBuf>,
    #[command(flatten)]
    data: DataFlags,
    /// Folder of the run [default: runs/DATA-MODEL]
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Where to compute
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceChoice,
    /// Continue from the run's checkpoint; ends where an uninterrupted run would
    #[arg(long)]
    resume: bool,
    /// No progress
    #[arg(long)]
    quiet: bool,
    /// Print the last epoch's figures as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum QuantizeFlag {
    /// 8-bit integers, as `export --activations i16` writes them.
    I8,
}

impl Arguments {
    fn folder(&self) -> RunFolder {
        let default = || {
            let name = self.preset.as_deref().unwrap_or("run").replace('/', "-");
            PathBuf::from("runs").join(name)
        };
        RunFolder::new(self.out.clone().unwrap_or_else(default))
    }

    fn resolve(&self, folder: &RunFolder) -> anyhow::Result<Config> {
        let base = match &self.preset {
            Some(name) => Config::preset(name)?,
            None if self.resume => Config::read(&folder.config())?,
            None if self.config.is_some() => Config::preset("dead-leaves/vdl")?,
            None if self.from.is_some() => {
                let from = RunFolder::new(self.from.as_deref().unwrap_or(Path::new("")));
                Config::read(&from.config())?
            }
            None => {
                return Err(usage(
                    "give --preset DATA/MODEL (for example mnist/vdl), --config FILE, --from RUN, or --resume with --out RUN",
                ));
            }
        };
        let mut settings = self.set.clone();
        let mut short = |key: &str, value: Option<String>| {
            settings.extend(value.map(|value| format!("{key}={value}")));
        };
        short("inference.lambda", self.lambda.map(|v| v.to_string()));
        short("epochs", self.epochs.map(|v| v.to_string()));
        short("seed", self.seed.map(|v| v.to_string()));
        short("batch_size", self.batch_size.map(|v| v.to_string()));
        short("patience", self.patience.map(|v| v.to_string()));
        short("model.code_dim", self.code_dim.map(|v| v.to_string()));
        short("model.hidden_dim", self.hidden_dim.map(|v| v.to_string()));
        short("inference.step_size", self.step_size.map(|v| v.to_string()));
        short(
            "inference.variance_weight",
            self.variance_weight.map(|v| v.to_string()),
        );
        short(
            "inference.encoder_weight",
            self.encoder_weight.map(|v| v.to_string()),
        );
        let quantize = self.quantize_aware.map(|QuantizeFlag::I8| "i8".to_owned());
        short("optimizer.quantize_aware", quantize);
        let file = self.config.as_deref();
        let resolved = base.with_overrides(file, &settings)?;
        if self.preset.is_none() {
            return Ok(resolved);
        }
        // A preset may depend on λ, wherever λ was set.
        Ok(base
            .at_lambda(resolved.inference.lambda)
            .with_overrides(file, &settings)?)
    }
}

/// What to say of more threads than cores.
fn crowded(threads: usize, cores: usize) -> Option<String> {
    (threads > cores).then(|| {
        format!(
            "note: RAYON_NUM_THREADS={threads}, but there are {cores} cores: threads wait for each other, and fewer are much faster"
        )
    })
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = arguments.folder();
    let config = arguments.resolve(&folder)?;
    let has_run = folder.checkpoint().exists();
    if arguments.resume && !has_run {
        return Err(usage(format!(
            "--resume: {} holds no checkpoint; leave --resume out to start",
            folder.path().display()
        )));
    }
    if !arguments.resume && (has_run || folder.best().exists()) {
        return Err(usage(format!(
            "{} already holds a run: --resume continues it, or choose another --out",
            folder.path().display()
        )));
    }
    let engine = arguments.device.open()?;
    let splits = arguments.data.load(&config.data, config.seed)?;
    if !arguments.quiet {
        eprintln!(
            "{}: {} on {}",
            folder.path().display(),
            config.model_name(),
            splits.description
        );
    }
    if let Some(note) = crowded(
        rayon::current_num_threads(),
        thread::available_parallelism().map_or(usize::MAX, usize::from),
    ) {
        eprintln!("{note}");
    }
    // What it starts from, where it does not go on.
    let start = match &arguments.from {
        Some(from) if !arguments.resume => Some(TrainedRun::open(&RunFolder::new(from))?.model),
        _ => None,
    };
    let stop = stop_flag(at_terminal())?;
    let mut console = Console::new(&config, ProgressMode::detect(arguments.quiet));
    let session = Session {
        folder: &folder,
        config: &config,
        engine: engine.as_ref(),
        resume: arguments.resume,
        start: start.as_ref(),
    };
    let trained = session.run(splits, &mut console, &stop)?;
    console.finish();
    match trained.ending {
        Ending::Interrupted => eprintln!(
            "interrupted: {} holds the state; the same command with --resume goes on from here",
            folder.checkpoint().display()
        ),
        Ending::StoppedEarly => eprintln!(
            "stopped early: no better validation energy for {} epochs",
            config.patience
        ),
        Ending::Finished => {}
    }
    if arguments.json {
        // A run that was finished already has its last figures in the log.
        let record = match &trained.last {
            Some(record) => Some(serde_json::to_value(record)?),
            None => crate::report::metrics::read(folder.metrics())?.pop(),
        };
        print_json(&record)?;
    } else if let Some(best) = trained.best {
        println!(
            "best: epoch {}, validation energy {:.4}; {}",
            best.epoch,
            best.energy,
            folder.best().display()
        );
    }
    Ok(())
}

/// Signals within this time are one request: a group of processes gets one from several sides.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// Whether a person is there to press Ctrl-C.
pub(super) fn at_terminal() -> bool {
    std::io::stdin().is_terminal() || std::io::stderr().is_terminal()
}

/// A flag that Ctrl-C (and a polite kill) raises. If `impatient`, a later Ctrl-C ends the program at once; otherwise it always saves,
/// as a batch system may ask twice: it sends TERM to all processes of a task, and its script passes it on.
pub(super) fn stop_flag(impatient: bool) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    let mut first: Option<Instant> = None;
    ctrlc::set_handler(move || {
        raised.store(true, Ordering::Relaxed);
        match first {
            None => {
                first = Some(Instant::now());
                let once_more = match impatient {
                    true => "; once more to stop at once",
                    false => "",
                };
                // Not `eprintln!`, which would panic where nobody reads any more.
                let _ = writeln!(std::io::stderr(), "\nstopping after this batch{once_more}");
            }
            Some(first) if impatient && first.elapsed() > ONE_REQUEST => std::process::exit(130),
            Some(_) => {}
        }
    })?;
    Ok(stop)
}

/// Shows how a run goes.
pub(super) struct Console {
    model: &'static str,
    epochs: u32,
    mode: ProgressMode,
    progress: Progress,
}

impl Console {
    pub(super) fn new(config: &Config, mode: ProgressMode) -> Self {
        Self {
            model: config.model_name(),
            epochs: config.epochs,
            mode,
            // The amount of work is known when training begins.
            progress: Progress::new("", 0, "", ProgressMode::Quiet),
        }
    }

    pub(super) fn finish(self) {
        self.progress.finish();
    }
}

impl Observer for Console {
    fn begin(&mut self, _epochs_done: u32, done: usize, all: usize) {
        self.progress = Progress::resume(self.model, done as u64, all as u64, "batches", self.mode);
    }

    fn batch(&mut self, _epoch: u32, _done: usize, _all: usize) {
        self.progress.advance(1);
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<(), LogError> {
        let (train, validation) = (&record.train, &record.validation);
        self.progress.message(format!(
            "epoch {}/{}: {:.2} dB, {:.1} % zeros",
            record.epoch,
            self.epochs,
            validation.psnr,
            100.0 * validation.sparsity
        ));
        self.progress.note(&format!(
            "epoch {:>3}  train {:6.2} dB {:5.1} % zeros {:5.1} steps  validation {:6.2} dB {:5.1} % zeros energy {:9.3}{} {:4} dead  {:5.1} s",
            record.epoch,
            train.psnr,
            100.0 * train.sparsity,
            train.fista_steps,
            validation.psnr,
            100.0 * validation.sparsity,
            validation.energy,
            if record.best { '*' } else { ' ' },
            validation.dead_atoms,
            record.seconds,
        ));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_threads_than_cores_are_remarked_on() {
        assert_eq!(crowded(2, 2), None);
        assert!(crowded(20, 2).unwrap().contains("20"));
    }
}
