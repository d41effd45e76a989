//! The second model of a quickstart: one that learns to denoise.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::cli::console::Console;
use crate::data::{DataConfig, DeadLeavesConfig, GeneratedSignalConfig};
use crate::denoising::DenoiseConfig;
use crate::deploy::{Calibration, DenoiserRun, HostModel, Noise};
use crate::lista::Config;
use crate::report::progress::ProgressMode;
use crate::run::{Ending, RunFolder, Session};
use crate::storage::write_atomic;
use candle_core::Device;
use sparsecode_formats::{GramStorage, InputShape, WeightType};

/// Stretches of windows, or tiles of patches, for as many patches of the other model.
const SHARE: usize = 8;
const EPOCHS: u32 = 6;

/// The preset, for windows of the other model's shape and as much data.
pub(super) fn configuration(
    preset: &str,
    other: &Config,
    shape: InputShape,
    epochs: Option<u32>,
) -> anyhow::Result<DenoiseConfig> {
    let mut config = DenoiseConfig::preset(preset)?;
    let preset = config.family.model.clone();
    let window = usize::from(shape.width);
    let hop = (window * preset.hop / preset.window).max(1);
    // As many windows in a stretch as the preset has.
    let length = |own: usize| window + (own - preset.window) / preset.hop * hop;
    let (train, validation) = match &other.data {
        DataConfig::DeadLeaves(data) => (data.train, data.validation),
        DataConfig::Ecg(data) | DataConfig::Vibration(data) => (data.train, data.validation),
        _ => (SHARE, SHARE),
    };
    let [train, validation] =
        [train, validation].map(|count| (count / SHARE).max(config.batch_size));
    match &mut config.data {
        DataConfig::DeadLeaves(data) => {
            let side = length(data.height);
            *data = DeadLeavesConfig {
                height: side,
                width: side,
                train,
                validation,
                test: validation,
                ..data.clone()
            };
        }
        DataConfig::Ecg(data) | DataConfig::Vibration(data) => {
            *data = GeneratedSignalConfig {
                window: length(data.window),
                hop: 4 * hop,
                train,
                validation,
                test: validation,
            };
        }
        _ => {}
    }
    config.family.model.window = window;
    config.family.model.hop = hop;
    config.seed = other.seed;
    config.epochs = epochs.unwrap_or(EPOCHS);
    Ok(config)
}

/// Trains, and writes the file for integers.
pub(super) fn train(
    config: &DenoiseConfig,
    folder: &RunFolder,
    file: &Path,
    quiet: bool,
    stop: &AtomicBool,
) -> anyhow::Result<Ending> {
    let splits = config.data.load(None, config.seed)?;
    let validation = splits.validation.clone();
    let mut console = Console::new(config, ProgressMode::detect(quiet));
    let session = Session {
        folder,
        config,
        backend: &Device::Cpu,
        resume: false,
        start: None,
    };
    let trained = session.run(splits, &mut console, stop)?;
    console.finish();
    if trained.ending == Ending::Interrupted {
        return Ok(trained.ending);
    }
    let run = DenoiserRun::open(folder)?;
    let (weights, storage) = (WeightType::I8, GramStorage::Built);
    let method = Calibration::default();
    let (written, _) = run.export_integer(&validation, method, None, weights, storage)?;
    write_atomic(file, &written.bytes)?;
    Ok(trained.ending)
}

/// A whole picture or stretch of signal, the noise known.
pub(super) fn clean(
    host: &mut HostModel<'_>,
    noisy: &[f32],
    width: usize,
    raw_sigma: f32,
) -> anyhow::Result<Vec<f32>> {
    let noise = Noise::Known(raw_sigma);
    let cleaned = match host.spec().input_shape.is_window() {
        true => host.clean_signal(noisy, None, noise, false)?,
        false => host.clean_picture(noisy, width, None, noise)?,
    };
    Ok(cleaned.values)
}
