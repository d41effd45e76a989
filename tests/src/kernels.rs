//! What an engine with kernels of its own is held to: codes to the definition in f64, whole runs to
//! the processor's. Tests ask it of the emulated device, `cargo xtask gpu` of a GPU.

use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device, Result, Tensor};
use rand::Rng;
use sparsecode_trainer::data::Splits;
use sparsecode_trainer::lista::Backend;
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::lista::Lista;
use sparsecode_trainer::lista::inference::{
    Energy, Engine, Inference, InferenceConfig, PlainFista, StepRule,
};
use sparsecode_trainer::lista::model::Decoder;
use sparsecode_trainer::rng::{Stream, generator};
use sparsecode_trainer::run::{
    Checkpoint, Ending, EpochRecord, LogError, Observer, RunFolder, TrainError, Trainer,
};

/// A decoder, inputs, a start and an encoder's codes, made up.
pub struct Problem {
    /// D.
    pub decoder: Decoder,
    /// Y, n × d.
    pub inputs: Tensor,
    /// Z_0, n × l.
    pub start: Tensor,
    /// E(Y), n × l.
    pub encoder_codes: Tensor,
    /// What is minimised.
    pub config: InferenceConfig,
}

/// Sizes below, at and beyond those of tiles, quads and chunks: n, d, l, m, and whose settings.
pub const SIZES: [(usize, usize, usize, usize, &str); 8] = [
    // More tiles of samples than are joined at once.
    (300, 9, 12, 0, "mnist/vdl"),
    (37, 20, 24, 0, "mnist/vdl"),
    (70, 90, 130, 0, "mnist/sdl"),
    (2, 5, 30, 0, "mnist/vdl"),
    (1, 64, 128, 0, "mnist/sdl"),
    (37, 20, 24, 70, "mnist/vdl-nl"),
    (20, 65, 40, 130, "mnist/sdl-nl"),
    (1, 3, 9, 5, "mnist/sdl-nl"),
];

/// Uniform numbers; the same for the same `stream`.
pub fn uniform(shape: &[usize], low: f32, high: f32, stream: u32) -> Tensor {
    let mut rng = generator(7, Stream::Shuffle { epoch: stream });
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count).map(|_| rng.random_range(low..high)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many numbers as the shape says")
}

impl Problem {
    /// A problem of these sizes with a preset's settings, and at most 40 iterations.
    ///
    /// # Panics
    ///
    /// If there is no such preset.
    pub fn new(n: usize, d: usize, l: usize, m: usize, preset: &str) -> Self {
        let decoder = if m == 0 {
            Decoder::Linear {
                dictionary: uniform(&[d, l], -0.3, 0.3, 1),
            }
        } else {
            Decoder::OneHidden {
                hidden: uniform(&[m, l], -0.3, 0.3, 1),
                hidden_bias: uniform(&[m], -0.1, 0.1, 2),
                output: uniform(&[d, m], -0.3, 0.3, 3),
            }
        };
        let start = uniform(&[n, l], -1.0, 0.5, 4).relu().expect("relu");
        let inference = Config::preset(preset).expect("a preset").family.inference;
        Self {
            decoder,
            inputs: uniform(&[n, d], -1.0, 1.0, 5),
            encoder_codes: start.clone(),
            start,
            config: InferenceConfig {
                max_iterations: 40,
                // As strong for a sample as in a batch of the published size.
                variance_weight: inference.variance_weight * n as f64 / 250.0,
                // Whatever step a test asks for.
                step_rule: StepRule::Fixed,
                ..inference
            },
        }
    }

    /// What an engine finds.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub fn infer(&self, engine: &dyn Engine) -> Result<Inference> {
        let encoder_codes = Some(&self.encoder_codes);
        let energy = Energy::new(&self.decoder, &self.inputs, encoder_codes, &self.config);
        engine.infer(&energy, &self.start)
    }

    /// What the definition finds in f64.
    ///
    /// # Errors
    ///
    /// What candle says.
    pub fn reference(&self) -> Result<Inference> {
        let double = |tensor: &Tensor| tensor.to_dtype(DType::F64);
        let decoder = match &self.decoder {
            Decoder::Linear { dictionary } => Decoder::Linear {
                dictionary: double(dictionary)?,
            },
            Decoder::OneHidden {
                hidden,
                hidden_bias,
                output,
            } => Decoder::OneHidden {
                hidden: double(hidden)?,
                hidden_bias: double(hidden_bias)?,
                output: double(output)?,
            },
        };
        let (inputs, codes) = (double(&self.inputs)?, double(&self.encoder_codes)?);
        let energy = Energy::new(&decoder, &inputs, Some(&codes), &self.config);
        PlainFista.infer(&energy, &double(&self.start)?)
    }
}

/// The numbers of a tensor.
///
/// # Panics
///
/// If it cannot be read.
pub fn values(tensor: &Tensor) -> Vec<f64> {
    let double = tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all());
    double.and_then(|t| t.to_vec1()).expect("numbers")
}

/// The largest difference, relative to the largest of `theirs`. Infinite where a number is not one.
pub fn distance(ours: &[f64], theirs: &[f64]) -> f64 {
    let scale = theirs.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let worst = ours.iter().zip(theirs).fold(0.0, |worst: f64, (a, b)| {
        let apart = (a - b).abs() / scale;
        if apart.is_nan() {
            f64::INFINITY
        } else {
            worst.max(apart)
        }
    });
    if ours.len() == theirs.len() && scale > 0.0 {
        worst
    } else {
        f64::INFINITY
    }
}

/// A short run of every kind of model, on small built-in data.
pub const VARIANTS: [&str; 10] = [
    "dead-leaves/sdl",
    "dead-leaves/vdl",
    "dead-leaves/wdl",
    "dead-leaves/do",
    "dead-leaves/none",
    "dead-leaves/sdl-nl",
    "dead-leaves/vdl-nl",
    "dead-leaves/wdl-nl",
    "dead-leaves/do-nl",
    "dead-leaves/none-nl",
];

/// The configuration of a short run: two epochs of two batches and a rest, validated on one batch
/// and a rest.
///
/// # Panics
///
/// If a setting is refused.
pub fn short_run(preset: &str, more: &[&str]) -> Config {
    let mut settings = vec![
        "epochs=2",
        "batch_size=50",
        "data.train=130",
        "data.validation=60",
        "data.test=50",
        "data.height=6",
        "data.width=6",
        "model.code_dim=40",
        "inference.max_iterations=15",
        // What keeps the run on a device.
        "inference.step_rule=fixed",
    ];
    if preset.ends_with("-nl") {
        settings.push("model.hidden_dim=24");
    }
    settings.extend(more);
    let settings: Vec<String> = settings.into_iter().map(str::to_owned).collect();
    let preset = Config::preset(preset).expect("a preset");
    preset.with_overrides(None, &settings).expect("settings")
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Its parameters at the end.
    pub parameters: Vec<(&'static str, Vec<f64>)>,
    /// The figures of its epochs.
    pub epochs: Vec<EpochRecord>,
    /// Its last checkpoint.
    pub checkpoint: Vec<u8>,
    /// How it ended.
    pub ending: Ending,
}

/// Keeps the figures, and raises the flag after so many batches.
struct Watcher<'a> {
    epochs: Vec<EpochRecord>,
    stop: Option<(&'a AtomicBool, u32, usize)>,
}

impl Observer for Watcher<'_> {
    fn batch(&mut self, epoch: u32, done: usize, _: usize) {
        if let Some((stop, last_epoch, last)) = self.stop
            && (epoch, done) == (last_epoch, last)
        {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn epoch(&mut self, record: &EpochRecord) -> std::result::Result<(), LogError> {
        self.epochs.push(record.clone());
        Ok(())
    }
}

/// Trains in `folder`, from its checkpoint if it has one; up to batch `stop` of an epoch (both from
/// 1) if that is given.
///
/// # Errors
///
/// What the trainer says.
///
/// # Panics
///
/// If the built-in data cannot be made.
pub fn train(
    engine: &(dyn Backend + 'static),
    config: &Config,
    folder: &RunFolder,
    stop: Option<(u32, usize)>,
) -> std::result::Result<Trained, TrainError> {
    let splits = config.data.load(None, config.seed).expect("built-in data");
    train_on(engine, config, splits, folder, stop)
}

/// The same on other data.
///
/// # Errors
///
/// What the trainer says.
///
/// # Panics
///
/// If the files cannot be read.
pub fn train_on(
    engine: &(dyn Backend + 'static),
    config: &Config,
    splits: Splits,
    folder: &RunFolder,
    stop: Option<(u32, usize)>,
) -> std::result::Result<Trained, TrainError> {
    let mut trainer = Trainer::new(config.clone(), splits, engine)?;
    if folder.checkpoint().exists() {
        trainer.restore(&Checkpoint::read::<Lista>(&folder.checkpoint())?)?;
    }
    let flag = AtomicBool::new(false);
    let mut watcher = Watcher {
        epochs: Vec::new(),
        stop: stop.map(|(epoch, batch)| (&flag, epoch, batch)),
    };
    let ending = trainer.run(folder, &mut watcher, &flag)?;
    let parameters = trainer.model().parameters();
    Ok(Trained {
        parameters: parameters
            .into_iter()
            .map(|(name, parameter)| (name, values(parameter)))
            .collect(),
        epochs: watcher.epochs,
        checkpoint: std::fs::read(folder.checkpoint()).expect("a checkpoint"),
        ending,
    })
}

/// How far apart two runs of the same configuration are: their parameters, and the figures of their
/// epochs, both relative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Apart {
    /// The parameter that is farthest.
    pub parameters: f64,
    /// The figure that is farthest.
    pub figures: f64,
}

/// Compares two runs.
///
/// # Panics
///
/// If they are not of one configuration.
pub fn compare(ours: &Trained, theirs: &Trained) -> Apart {
    assert_eq!(ours.epochs.len(), theirs.epochs.len(), "epochs");
    let mut apart = Apart {
        parameters: 0.0,
        figures: 0.0,
    };
    for ((name, a), (other, b)) in ours.parameters.iter().zip(&theirs.parameters) {
        assert_eq!(name, other);
        apart.parameters = apart.parameters.max(distance(a, b));
    }
    for (a, b) in ours.epochs.iter().zip(&theirs.epochs) {
        for (a, b) in figures(a).into_iter().zip(figures(b)) {
            let difference = (a - b).abs() / b.abs().max(1e-6);
            apart.figures = if difference.is_nan() {
                f64::INFINITY
            } else {
                apart.figures.max(difference)
            };
        }
    }
    apart
}

/// All figures of an epoch that do not tell the time.
fn figures(record: &EpochRecord) -> Vec<f64> {
    let (train, validation) = (&record.train, &record.validation);
    vec![
        train["psnr"],
        train["sparsity"],
        train["code_l1"],
        train["energy"],
        train["encoder_loss"],
        train["fista_steps"],
        train["fista_iterations"],
        validation["psnr"],
        validation["sparsity"],
        validation["code_l1"],
        validation["energy"],
        validation["dead_atoms"],
        validation["samples"],
        record.learner["decoder_norm"],
        record.learner["decoder_learning_rate"],
        f64::from(u8::from(record.best)),
    ]
}
