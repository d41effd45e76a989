//! `train --preset variational/…`: variational sparse coding.

use super::arguments::Arguments;
use super::family::learn;
use crate::cli::common::usage;
use crate::cli::device::EngineChoice;
use crate::data::PatchContrast;
use crate::run::RunFolder;
use crate::variational::{Base, EncoderKind, Threshold, VariationalConfig};

/// The preset whose values hold for keys that a `--config FILE` without a preset leaves out.
const BASE: &str = "variational/laplacian-fixed";

impl Arguments {
    fn resolve_variational(&self, folder: &RunFolder) -> anyhow::Result<VariationalConfig> {
        let read = |path: &RunFolder| VariationalConfig::read(&path.config());
        let base = match (&self.preset, &self.from) {
            (Some(name), _) => VariationalConfig::preset(name)?,
            (None, _) if self.resume => read(folder)?,
            (None, Some(from)) if self.config.is_none() => read(&RunFolder::new(from))?,
            (None, _) => VariationalConfig::preset(BASE)?,
        };
        let own = match self.names_source() {
            true => base.data.clone(),
            // The paper's pictures are whitened.
            false => self
                .data
                .on_own_pictures(&base.data, PatchContrast::Whiten)?,
        };
        let base = VariationalConfig { data: own, ..base };
        let mut resolved = base.with_overrides(self.config.as_deref(), &self.settings())?;
        resolved.data = self.data.place(&resolved.data)?;
        Ok(resolved)
    }
}

/// Trains; the folder was looked at.
pub(super) fn run(arguments: &Arguments, folder: &RunFolder) -> anyhow::Result<()> {
    arguments.refuse_lista_flags("variational models")?;
    if arguments.quantize_aware.is_some() {
        return Err(usage(
            "--quantize-aware: not for variational models; leave it out",
        ));
    }
    if arguments.engine != EngineChoice::Fused {
        return Err(usage(
            "--engine: variational models have one engine; leave --engine out",
        ));
    }
    let device = arguments.device.candle()?;
    let config = arguments.resolve_variational(folder)?;
    if arguments.resume
        && let Ok(run) = VariationalConfig::read(&folder.config())
        && run.epochs != config.epochs
    {
        return Err(usage(format!(
            "--epochs {}: the run was begun with {}, and its schedules end with them; leave \
             --epochs out, or train into another folder",
            config.epochs, run.epochs
        )));
    }
    let family = &config.family;
    let is_warmed = family.model.encoder != EncoderKind::Conv
        && (family.posterior.base == Base::Laplacian
            || family.posterior.threshold == Threshold::Gate);
    let (schedule, optimizer) = (&family.schedule, &family.optimizer);
    if is_warmed && schedule.noise < 1.0 && schedule.noise_until > optimizer.warm_up {
        eprintln!(
            "note: the learning rate is highest (optimizer.warm_up={}) before the noise is whole \
             (schedule.noise_until={}): such runs may diverge",
            optimizer.warm_up, schedule.noise_until
        );
    }
    let splits = config.data.load(None, config.seed)?;
    learn(arguments, folder, &config, splits, &device, |_| {
        "the last".to_owned()
    })
}
