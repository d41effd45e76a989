//! The flags of `train`, and which keys they set.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::data_flags::DataFlags;
use crate::cli::device::{DeviceChoice, EngineChoice};
use crate::run::RunFolder;

/// Train a sparse autoencoder
///
/// With --data, a preset of generated data (ecg, vibration, dead-leaves) learns from your
/// recording, folder of pictures or array. Writes into the run's folder: config.toml,
/// checkpoint.safetensors (after every epoch, on a GPU every two seconds, and on Ctrl-C),
/// best.safetensors (lowest validation energy; of variational models the last), metrics.jsonl and
/// TensorBoard events.
#[derive(Args)]
#[command(after_help = "Examples:
  sparsecode train --preset vibration/vdl --data bearing.wav --out runs/bearing
  sparsecode train --task denoise --data recording.wav --out runs/denoiser
  sparsecode train --preset mnist/vdl --epochs 5 --data DIR --out runs/vdl
  sparsecode train --preset mnist/vdl --epochs 5 --data DIR --out runs/vdl --resume
  sparsecode train --from runs/vdl --epochs 3 --quantize-aware i8 --data DIR --out runs/vdl-i8
  sparsecode train --from runs/imported --frozen-decoder --data recording.wav --out runs/encoder
  sparsecode train --preset variational/laplacian-fixed --out runs/variational
  sparsecode train --preset ecg/sdl --set data.window=128 --set optimizer.encoder_learning_rate=3e-4

Presets are DATA/MODEL, for example patches/sdl-nl.
  DATA:  mnist, patches (a folder of pictures), dead-leaves, vibration, ecg (generated)
  MODEL: sdl, vdl, wdl, do, none; with a one-hidden-layer decoder sdl-nl, vdl-nl, …
  To denoise: ecg/denoise, bearing/denoise, pictures/denoise.
  Variational: variational/gaussian, laplacian, gaussian-fixed, laplacian-fixed, gaussian-learned,
  laplacian-learned, spike-and-slab, fista; with conv- before the name (but fista) convolutional
  networks for pictures of 28×28 or 3×64×64; with /paper behind it as the paper's code has it.

docs/your-own-data.md: formats, columns, units, λ. docs/configuration.md: all keys, as `sparsecode config` prints them.

Exit status: 0 done, 1 failed, 2 used wrongly, 130 interrupted: the state is saved, and --resume goes on.")]
pub(crate) struct Arguments {
    /// Hyperparameters to start from: DATA/MODEL, such as mnist/vdl
    #[arg(long)]
    pub(super) preset: Option<String>,
    /// What the model is to learn [default: what the preset, file or run learns; else reconstruct]
    #[arg(long, value_enum)]
    pub(super) task: Option<Task>,
    /// TOML file laid over the preset; needs no preset if it names its data, as a run's config.toml
    /// does
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// One value laid over preset and file: table.key=value; may be repeated. `sparsecode config`
    /// explains all keys
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// λ, the weight of the codes' ℓ1 norm (inference.lambda)
    #[arg(long)]
    pub(super) lambda: Option<f64>,
    /// Passes over the training set [default: the preset's; on your own data, as many as take
    /// enough steps]
    #[arg(long)]
    pub(super) epochs: Option<u32>,
    /// Seed of all random numbers
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Samples in a mini-batch
    #[arg(long)]
    pub(super) batch_size: Option<usize>,
    /// Stop after this many epochs without a better validation energy; 0 never stops early
    #[arg(long)]
    pub(super) patience: Option<u32>,
    /// Components of a code (model.code_dim)
    #[arg(long)]
    pub(super) code_dim: Option<usize>,
    /// Hidden units of a one-hidden-layer decoder (model.hidden_dim)
    #[arg(long)]
    pub(super) hidden_dim: Option<usize>,
    /// η, FISTA's step size (inference.step_size)
    #[arg(long)]
    pub(super) step_size: Option<f64>,
    /// β, the weight of the variance hinge (inference.variance_weight)
    #[arg(long)]
    pub(super) variance_weight: Option<f64>,
    /// γ, the weight of the distance to the encoder's code (inference.encoder_weight)
    #[arg(long)]
    pub(super) encoder_weight: Option<f64>,
    /// Train with weights rounded as an export for integers (--activations i16, --weights i8 or
    /// i4) rounds them
    #[arg(long, value_enum, value_name = "WEIGHTS")]
    pub(super) quantize_aware: Option<QuantizeFlag>,
    /// Learn an encoder for the decoder of --from, which stays as it is, bit for bit
    ///
    /// The encoder learns FISTA's codes. Unless settings say otherwise, λ, sizes, mean and
    /// deviation are those of --from, and there is no hinge. On a GPU such a run takes its steps on
    /// the processor.
    #[arg(long)]
    pub(super) frozen_decoder: bool,
    /// Start from the best weights of another run, and from its configuration unless --preset or
    /// --config is given
    #[arg(long, value_name = "RUN")]
    pub(super) from: Option<PathBuf>,
    #[command(flatten)]
    pub(super) data: DataFlags,
    /// Folder of the run [default: runs/DATA-MODEL]
    #[arg(long, value_name = "RUN")]
    pub(super) out: Option<PathBuf>,
    /// Where to compute
    #[arg(long, value_enum, default_value = "cpu")]
    pub(super) device: DeviceChoice,
    /// How to compute
    #[arg(long, value_enum, default_value = "fused")]
    pub(super) engine: EngineChoice,
    /// Continue from the run's checkpoint; the result is that of an uninterrupted run
    #[arg(long)]
    pub(super) resume: bool,
    /// Show no progress
    #[arg(long)]
    pub(super) quiet: bool,
    /// Print the last epoch's figures as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What a model learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Task {
    /// To give back its input from a sparse code.
    Reconstruct,
    /// To give back its input without the noise that was added to it.
    Denoise,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum QuantizeFlag {
    /// 8-bit integers, as `export --activations i16` writes them.
    I8,
    /// 4-bit integers, as `export --activations i16 --weights i4` writes them.
    I4,
}

impl Arguments {
    pub(super) fn folder(&self) -> RunFolder {
        let default = || {
            let name = match (&self.preset, self.task) {
                (Some(preset), _) => preset.replace('/', "-"),
                (None, Some(Task::Denoise)) => "denoise".to_owned(),
                (None, _) => "run".to_owned(),
            };
            PathBuf::from("runs").join(name)
        };
        RunFolder::new(self.out.clone().unwrap_or_else(default))
    }

    /// What `--config` holds; `None` without it, and if the file cannot be read or parsed, which is
    /// told when it is laid over the base.
    pub(super) fn file_table(&self) -> Option<toml::Table> {
        let text = std::fs::read_to_string(self.config.as_deref()?).ok()?;
        text.parse().ok()
    }

    /// Whether a setting or the file says where samples come from.
    pub(super) fn names_source(&self) -> bool {
        let in_file = self.file_table().is_some_and(|table| {
            let data = table.get("data");
            data.is_some_and(|data| data.get("source").is_some())
        });
        let is_source = |setting: &String| {
            let key = setting.split('=').next().unwrap_or("").trim();
            key == "data.source" || key == "data"
        };
        in_file || self.set.iter().any(is_source)
    }

    /// The settings of `--set` and of the flags that are short for one.
    pub(super) fn settings(&self) -> Vec<String> {
        let mut settings = self.set.clone();
        let mut short = |key: &str, value: Option<String>| {
            settings.extend(value.map(|value| format!("{key}={value}")));
        };
        // As TOML writes it: NaN and infinity have other names there.
        let float = |value: Option<f64>| value.map(|v| toml::Value::Float(v).to_string());
        short("inference.lambda", float(self.lambda));
        short("epochs", self.epochs.map(|v| v.to_string()));
        short("seed", self.seed.map(|v| v.to_string()));
        short("batch_size", self.batch_size.map(|v| v.to_string()));
        short("patience", self.patience.map(|v| v.to_string()));
        short("model.code_dim", self.code_dim.map(|v| v.to_string()));
        short("model.hidden_dim", self.hidden_dim.map(|v| v.to_string()));
        short("inference.step_size", float(self.step_size));
        short("inference.variance_weight", float(self.variance_weight));
        short("inference.encoder_weight", float(self.encoder_weight));
        let quantize = self.quantize_aware.map(|weights| match weights {
            QuantizeFlag::I8 => "i8",
            QuantizeFlag::I4 => "i4",
        });
        short("optimizer.quantize_aware", quantize.map(str::to_owned));
        settings
    }
}
