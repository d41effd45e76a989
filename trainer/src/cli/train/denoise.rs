//! `train --task denoise`: networks that learn from noisy to clean.

use std::path::Path;

use super::arguments::{Arguments, Task};
use super::session::{at_terminal, crowded_note, interrupted, stop_flag};
use crate::cli::common::{print_json, usage};
use crate::cli::console::Console;
use crate::cli::data_flags::tell;
use crate::data::{DataConfig, PatchContrast};
use crate::denoising::{Denoise, DenoiseConfig};
use crate::lista::remarks::enough_epochs;
use crate::report::progress::ProgressMode;
use crate::run::{Ending, RunFolder, Session, Settings, Weights, family_named};

/// The preset whose values hold where none is named.
const BASE: &str = "ecg/denoise";

impl Arguments {
    /// Whether the run is of the family that denoises: by `--task`, by its preset, by its file, by
    /// the run that it continues or starts from.
    pub(super) fn is_denoising(&self, folder: &RunFolder) -> anyhow::Result<bool> {
        let by_preset = self.preset.as_ref().map(|name| name.ends_with("/denoise"));
        let by_file = self.file_table().map(|table| names_family(&table));
        let by_run = |folder: &RunFolder| family_named(&folder.config()).ok().flatten();
        let of_run = |folder: &RunFolder| by_run(folder).map(|name| name == Denoise::NAME);
        let resumed = self.resume.then(|| of_run(folder)).flatten();
        let from = self
            .from
            .as_ref()
            .and_then(|from| of_run(&RunFolder::new(from)));
        let found = by_preset.or(by_file).or(resumed);
        match (self.task, found) {
            (Some(Task::Denoise), Some(false)) => Err(usage(
                "--task denoise: the preset, file or run is of models that reconstruct; take \
                 --preset ecg/denoise, bearing/denoise or pictures/denoise, and --from RUN for its \
                 dictionary",
            )),
            (Some(Task::Reconstruct), Some(true)) => Err(usage(
                "--task reconstruct: the preset, file or run denoises; take a preset such as ecg/vdl",
            )),
            (Some(task), _) => Ok(task == Task::Denoise),
            (None, found) => Ok(found.or(from).unwrap_or(false)),
        }
    }

    fn resolve_denoising(&self, folder: &RunFolder) -> anyhow::Result<DenoiseConfig> {
        let of_run = |path: &Path| DenoiseConfig::read(&RunFolder::new(path).config());
        let base = match (&self.preset, &self.from) {
            (Some(name), _) => DenoiseConfig::preset(name)?,
            (None, _) if self.resume => DenoiseConfig::read(&folder.config())?,
            (None, Some(from)) if self.config.is_none() && of_run(from).is_ok() => of_run(from)?,
            (None, _) => DenoiseConfig::preset(BASE)?,
        };
        let mut own = match self.names_source() {
            true => base.data.clone(),
            false => self.data.on_own_data(&base.data)?,
        };
        if let (DataConfig::Images(images), true) = (&mut own, base.data.is_generated()) {
            images.contrast = PatchContrast::None;
        }
        let base = DenoiseConfig { data: own, ..base };
        let mut resolved = base.with_overrides(self.config.as_deref(), &self.settings())?;
        resolved.data = self.data.place(&resolved.data)?;
        resolved.family.noise.place(self.data.data.as_deref())?;
        Ok(resolved)
    }
}

impl Arguments {
    /// How many epochs data of one's own take, where nobody says; a run that is continued takes
    /// what it began with.
    fn own_denoising_epochs(
        &self,
        config: &DenoiseConfig,
        folder: &RunFolder,
        samples: usize,
    ) -> Option<u32> {
        let by_run = self.from.is_some() && self.preset.is_none() && self.config.is_none();
        let is_named = by_run || self.names_key("epochs", self.epochs.is_some());
        if config.data.is_generated() || is_named {
            return None;
        }
        if self.resume {
            let run = DenoiseConfig::read(&folder.config()).ok();
            return run.map(|run| run.epochs);
        }
        Some(enough_epochs(samples, config.batch_size, config.epochs))
    }
}

fn names_family(table: &toml::Table) -> bool {
    table.get("family").and_then(toml::Value::as_str) == Some(Denoise::NAME)
}

/// Trains; the folder was looked at.
pub(super) fn run(arguments: &Arguments, folder: &RunFolder) -> anyhow::Result<()> {
    for (flag, is_given) in [
        ("--frozen-decoder", arguments.frozen_decoder),
        ("--lambda", arguments.lambda.is_some()),
        ("--step-size", arguments.step_size.is_some()),
        ("--hidden-dim", arguments.hidden_dim.is_some()),
        ("--variance-weight", arguments.variance_weight.is_some()),
        ("--encoder-weight", arguments.encoder_weight.is_some()),
    ] {
        if is_given {
            return Err(usage(format!(
                "{flag}: not for --task denoise; leave it out"
            )));
        }
    }
    let device = arguments.device.candle()?;
    let mut config = arguments.resolve_denoising(folder)?;
    let splits = config.data.load(None, config.seed)?;
    if let Some(epochs) = arguments.own_denoising_epochs(&config, folder, splits.train.len()) {
        config.epochs = epochs;
    }
    let config = config;
    let start = match &arguments.from {
        Some(from) if !arguments.resume => {
            Some(Weights::read(&crate::cli::run::checked(from)?.best())?)
        }
        _ => None,
    };
    if !arguments.quiet {
        eprintln!("{}: {}", folder.path().display(), config.model_name());
    }
    tell(&splits);
    crowded_note();
    let stop = stop_flag(at_terminal())?;
    let mut console = Console::new(&config, ProgressMode::detect(arguments.quiet));
    let session = Session {
        folder,
        config: &config,
        backend: &device,
        resume: arguments.resume,
        start: start.as_ref().map(Weights::tensors),
    };
    let trained = session.run(splits, &mut console, &stop)?;
    console.finish();
    if arguments.json {
        let record = match &trained.last {
            Some(record) => Some(serde_json::to_value(record)?),
            None => crate::report::metrics::read(folder.metrics())?.pop(),
        };
        print_json(&record)?;
    } else if let Some(best) = trained.best {
        println!(
            "best: epoch {}, {:.2} dB of the validation noise removed; {}",
            best.epoch,
            -best.objective,
            folder.best().display()
        );
    }
    match trained.ending {
        Ending::Interrupted => Err(interrupted(folder)),
        _ => Ok(()),
    }
}
