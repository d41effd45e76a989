//! `train --task denoise`: networks that learn from noisy to clean.

use std::path::Path;

use super::arguments::Arguments;
use super::family::learn;
use crate::data::PatchContrast;
use crate::denoising::DenoiseConfig;
use crate::lista::remarks::enough_epochs;
use crate::run::RunFolder;

/// The preset whose values hold where none is named.
const BASE: &str = "ecg/denoise";

impl Arguments {
    fn resolve_denoising(&self, folder: &RunFolder) -> anyhow::Result<DenoiseConfig> {
        let of_run = |path: &Path| DenoiseConfig::read(&RunFolder::new(path).config());
        let base = match (&self.preset, &self.from) {
            (Some(name), _) => DenoiseConfig::preset(name)?,
            (None, _) if self.resume => DenoiseConfig::read(&folder.config())?,
            (None, Some(from)) if self.config.is_none() && of_run(from).is_ok() => of_run(from)?,
            (None, _) => DenoiseConfig::preset(BASE)?,
        };
        let own = match self.names_source() {
            true => base.data.clone(),
            false => self.data.on_own_pictures(&base.data, PatchContrast::None)?,
        };
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

/// Trains; the folder was looked at.
pub(super) fn run(arguments: &Arguments, folder: &RunFolder) -> anyhow::Result<()> {
    arguments.refuse_lista_flags("--task denoise")?;
    let device = arguments.device.candle()?;
    let mut config = arguments.resolve_denoising(folder)?;
    let splits = config.data.load(None, config.seed)?;
    if let Some(epochs) = arguments.own_denoising_epochs(&config, folder, splits.train.len()) {
        config.epochs = epochs;
    }
    learn(arguments, folder, &config, splits, &device, |best| {
        format!("{:.2} dB of the validation noise removed", -best.objective)
    })
}
