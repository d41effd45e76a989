//! Settings of the networks that denoise.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::overlap::windows_in;
use crate::data::{DataConfig, DataError, DeadLeavesConfig, GeneratedSignalConfig, Paths};
use crate::run::{self, ConfigError, Settings, in_range};
use crate::tensor::quantized::QuantizeAware;

/// The configuration of a run of this family.
pub type DenoiseConfig = run::Config<Denoise>;

/// Networks that learn from noisy to clean, through the overlap of their windows: the family's
/// settings.
///
/// A sample of the data is a stretch: the windows that overlap in it are one learning example.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Denoise {
    /// Sizes of the network.
    pub model: NetworkConfig,
    /// What is added to the clean samples.
    pub noise: NoiseConfig,
    /// How the network learns.
    pub optimizer: DenoiseOptimizer,
}

/// Sizes of a network that denoises windows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Samples in a window of a signal; for pictures, the side of a square patch in pixels. A
    /// sample of the data holds whole hops beside its first window: `data.window` (of pictures
    /// `data.patch`, or `data.height` and `data.width`) is `model.window` and a multiple of
    /// `model.hop`.
    #[schemars(range(min = 1, max = 65535))]
    pub window: usize,
    /// Samples from the start of one window to the start of the next; pixels from one patch to the
    /// next, both ways.
    #[schemars(range(min = 1))]
    pub hop: usize,
    /// l, the atoms of the dictionary.
    #[schemars(range(min = 1, max = 4095))]
    pub code_dim: usize,
    /// T, the steps that a code takes.
    #[schemars(range(min = 1, max = 255))]
    pub iterations: usize,
    /// c of the residual guard in the exported file: where the mean square of what is taken off a
    /// window is r, the share 1 − c σ²/r of it is given back, if that is above 0, so that input
    /// cleaner than trained passes. 0 gives everything back. White noise takes 1.3, noise whose
    /// loudness changes within seconds 3.
    #[schemars(range(min = 0, max = 255))]
    pub guard: f64,
}

/// Noise of training and validation. Its level is drawn anew for each stretch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoiseConfig {
    /// The lowest signal-to-noise ratio of the input, in dB against data of deviation 1.
    #[schemars(range(min = -60, max = 60))]
    pub lowest: f64,
    /// The highest.
    #[schemars(range(min = -60, max = 60))]
    pub highest: f64,
    /// Recordings of noise, beside white noise: files, or a folder of them. Of each the first 60 %
    /// are used. Every stretch takes them from random places, with random signs and gains. Drift is
    /// removed from them as from the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recordings: Option<Paths>,
    /// The share of the noise's power that is white; 1 without recordings.
    #[schemars(range(min = 0, max = 1))]
    pub white: f64,
}

impl NoiseConfig {
    /// Makes the places of recordings absolute: relative ones lie in the working directory, or
    /// beside the data.
    ///
    /// # Errors
    ///
    /// Names the recording that is not there.
    pub fn place(&mut self, data: Option<&Path>) -> Result<(), DataError> {
        let Some(recordings) = &self.recordings else {
            return Ok(());
        };
        let beside = |path: &Path| {
            let folder = data.map(|data| match data.is_dir() {
                true => data.to_path_buf(),
                false => data.parent().unwrap_or(Path::new("")).to_path_buf(),
            });
            let places = [
                Some(path.to_path_buf()),
                folder.map(|folder| folder.join(path)),
            ];
            let found = places.into_iter().flatten().find(|place| place.exists());
            found.and_then(|place| std::path::absolute(place).ok())
        };
        if let Some(gone) = recordings.iter().find(|path| beside(path).is_none()) {
            return Err(DataError::missing(
                gone,
                "there is no such recording of noise",
                "name it with noise.recordings, from the working directory or from --data",
            ));
        }
        self.recordings = Some(recordings.moved(|path| beside(path).unwrap_or_default()));
        Ok(())
    }
}

/// How a network that denoises learns: Adam with one cycle of the learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DenoiseOptimizer {
    /// The highest learning rate, which is reached after `warm_up`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f64,
    /// The share of the steps in which the learning rate rises; in the others it falls to 0.
    #[schemars(range(min = 0, max = 1))]
    pub warm_up: f64,
    /// The weight of the codes' ℓ1 norm, in units of the noise.
    #[schemars(range(min = 0))]
    pub code_l1: f64,
    /// What noisier stretches count more: the square error in units of the noise's variance is
    /// multiplied by σ to this power.
    #[schemars(range(min = 0, max = 2))]
    pub level_exponent: f64,
    /// Steps of sparse dictionary learning (SDL), by which the dictionary is found before all else;
    /// 0 starts from windows of the data.
    pub dictionary_steps: u32,
    /// Trains with a dictionary rounded as an export for integers rounds it. Not set: with the
    /// dictionary as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantize_aware: Option<QuantizeAware>,
}

impl Settings for Denoise {
    const NAME: &'static str = "denoise";
    const KEYS: &'static [&'static str] = &["model", "noise", "optimizer"];
    const SHOWN_SETTINGS: &'static [(&'static str, &'static str)] =
        &[("model.code_dim", "atoms"), ("model.window", "window")];

    fn preset(name: &str) -> Result<DenoiseConfig, ConfigError> {
        preset(name)
    }

    fn presets() -> Vec<String> {
        PRESETS.map(str::to_owned).to_vec()
    }

    fn validate(config: &DenoiseConfig) -> Result<(), ConfigError> {
        validate(config)
    }

    fn model_name(&self) -> &'static str {
        "denoise"
    }
}

const PRESETS: [&str; 3] = ["ecg/denoise", "bearing/denoise", "pictures/denoise"];

/// Windows that overlap in a stretch.
const WINDOWS: usize = 16;

/// Patches in a row of a tile.
const PATCHES: usize = 5;

fn preset(name: &str) -> Result<DenoiseConfig, ConfigError> {
    let (window, hop, code_dim, windows) = match name {
        "ecg/denoise" => (64, 16, 64, WINDOWS),
        "bearing/denoise" => (64, 16, 128, WINDOWS),
        "pictures/denoise" => (8, 4, 128, PATCHES),
        _ => {
            return Err(ConfigError::UnknownPreset {
                name: name.to_owned(),
                guess: String::new(),
                form: format!("those that denoise are {}", PRESETS.join(", ")),
            });
        }
    };
    let length = window + (windows - 1) * hop;
    let (train, validation, test) = (6000, 300, 300);
    let generated = GeneratedSignalConfig {
        window: length,
        hop: 4 * hop,
        train,
        validation,
        test,
    };
    // Pictures have a deviation of a quarter, so that these are 15 to 50 levels of 256.
    let (lowest, highest) = match name {
        "pictures/denoise" => (2.0, 13.0),
        _ => (0.0, 10.0),
    };
    Ok(DenoiseConfig {
        family: Denoise {
            model: NetworkConfig {
                window,
                hop,
                code_dim,
                iterations: 3,
                guard: 1.3,
            },
            noise: NoiseConfig {
                lowest,
                highest,
                recordings: None,
                white: 1.0,
            },
            optimizer: DenoiseOptimizer {
                learning_rate: 1e-2,
                warm_up: 0.3,
                code_l1: 3e-3,
                level_exponent: 1.0,
                dictionary_steps: 0,
                quantize_aware: None,
            },
        },
        seed: 31,
        epochs: 8,
        batch_size: 16,
        patience: 0,
        data: match name {
            "ecg/denoise" => DataConfig::Ecg(generated),
            "pictures/denoise" => DataConfig::DeadLeaves(DeadLeavesConfig {
                height: length,
                width: length,
                train,
                validation,
                test,
                ..DeadLeavesConfig::default()
            }),
            _ => DataConfig::Vibration(generated),
        },
    })
}

fn validate(config: &DenoiseConfig) -> Result<(), ConfigError> {
    let Denoise {
        model,
        noise,
        optimizer,
    } = &config.family;
    let within = |x: usize, most: usize| (1..=most).contains(&x);
    in_range(
        within(model.window, usize::from(u16::MAX)),
        "model.window",
        model.window,
        "1 to 65535",
    )?;
    in_range(
        within(model.hop, model.window),
        "model.hop",
        model.hop,
        "at least 1, and at most model.window, so that no sample is left out",
    )?;
    let (key, length) = match &config.data {
        DataConfig::Signal(signal) => ("data.window", signal.window),
        DataConfig::Ecg(signal) | DataConfig::Vibration(signal) => ("data.window", signal.window),
        DataConfig::Images(images) => ("data.patch", images.patch),
        DataConfig::DeadLeaves(leaves) => ("data.height", leaves.height),
        // Their shape is known when they are read.
        DataConfig::Dictionary(vectors) => ("data.input_dim", vectors.input_dim),
        DataConfig::Mnist(_)
        | DataConfig::Npy(_)
        | DataConfig::Idx(_)
        | DataConfig::Pictures(_)
        | DataConfig::Safetensors(_) => ("data", model.window),
    };
    in_range(
        windows_in(length, model.window, model.hop).is_some(),
        key,
        length,
        "model.window and a multiple of model.hop: a stretch or a square tile of several windows",
    )?;
    in_range(
        within(model.code_dim, 4095),
        "model.code_dim",
        model.code_dim,
        "1 to 4095",
    )?;
    in_range(
        within(model.iterations, 255),
        "model.iterations",
        model.iterations,
        "1 to 255",
    )?;
    in_range(
        (0.0..=255.0).contains(&model.guard),
        "model.guard",
        model.guard,
        "0 to 255",
    )?;
    let level = |x: f64| (-60.0..=60.0).contains(&x);
    in_range(
        level(noise.lowest),
        "noise.lowest",
        noise.lowest,
        "-60 to 60 (dB)",
    )?;
    in_range(
        level(noise.highest) && noise.highest >= noise.lowest,
        "noise.highest",
        noise.highest,
        "noise.lowest to 60 (dB)",
    )?;
    let share = |x: f64| (0.0..=1.0).contains(&x);
    in_range(share(noise.white), "noise.white", noise.white, "0 to 1")?;
    in_range(
        noise.white == 1.0 || noise.recordings.is_some(),
        "noise.white",
        noise.white,
        "1 where noise.recordings names no other noise",
    )?;
    in_range(
        optimizer.learning_rate.is_finite() && optimizer.learning_rate > 0.0,
        "optimizer.learning_rate",
        optimizer.learning_rate,
        "positive",
    )?;
    in_range(
        share(optimizer.warm_up),
        "optimizer.warm_up",
        optimizer.warm_up,
        "0 to 1",
    )?;
    in_range(
        optimizer.code_l1.is_finite() && optimizer.code_l1 >= 0.0,
        "optimizer.code_l1",
        optimizer.code_l1,
        "a finite number, not negative",
    )?;
    in_range(
        (0.0..=2.0).contains(&optimizer.level_exponent),
        "optimizer.level_exponent",
        optimizer.level_exponent,
        "0 to 2",
    )
}
