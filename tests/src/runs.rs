//! Small seeded models, trained for a few steps: enough for weights that nobody chose.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use sparsecode_trainer::data::Splits;
use sparsecode_trainer::deploy::TrainedRun;
use sparsecode_trainer::lista::Backend;
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::lista::inference::PlainFista;
use sparsecode_trainer::run::{RunFolder, Silent, Trainer};
use sparsecode_trainer::storage::write_atomic;

/// One epoch of a few batches on built-in data.
pub const FEW_STEPS: [&str; 5] = [
    "epochs=1",
    "batch_size=50",
    "data.train=300",
    "data.validation=50",
    "data.test=50",
];

/// Trains `preset` with `settings` laid over it and over [`FEW_STEPS`], into `folder`, by the plain
/// engine. Returns the run as another program would open it, and its data.
///
/// # Errors
///
/// What the trainer says.
pub fn train(
    preset: &str,
    settings: &[&str],
    folder: &Path,
) -> anyhow::Result<(TrainedRun, Splits)> {
    train_with(&PlainFista, preset, settings, folder)
}

/// The same by another engine.
///
/// # Errors
///
/// What the trainer says.
pub fn train_with(
    engine: &(dyn Backend + 'static),
    preset: &str,
    settings: &[&str],
    folder: &Path,
) -> anyhow::Result<(TrainedRun, Splits)> {
    let settings: Vec<String> = FEW_STEPS
        .iter()
        .chain(settings)
        .map(|setting| (*setting).to_owned())
        .collect();
    let config = Config::preset(preset)?.with_overrides(None, &settings)?;
    let splits = config.data.load(None, config.seed)?;
    let folder = RunFolder::new(folder);
    write_atomic(folder.config(), config.to_toml().as_bytes())?;
    let mut trainer = Trainer::new(config, splits.clone(), engine)?;
    trainer.run(&folder, &mut Silent, &AtomicBool::new(false))?;
    let run = TrainedRun::open(&folder).context("the run just trained")?;
    Ok((run, splits))
}
