mod arguments;
mod denoise;
mod family;
pub(super) mod session;
mod start;
mod variational;

use std::path::Path;
use std::sync::Arc;

use super::common::{print_json, usage};
use super::console::Console;
use super::data_flags::tell;
use super::device::EngineChoice;
use super::family::FamilyName;
use crate::lista::inference::CpuEngine;
use crate::lista::remarks::{held, undertrained};
use crate::lista::{Backend, Config};
use crate::report::progress::ProgressMode;
use crate::run::{Ending, RunFolder, Session};
pub(super) use arguments::Arguments;
use session::{at_terminal, crowded_note, interrupted, stop_flag};

/// The preset whose values hold for keys that a `--config FILE` without a preset leaves out.
const BASE: &str = "dead-leaves/vdl";

impl Arguments {
    fn resolve(&self, folder: &RunFolder) -> anyhow::Result<Config> {
        let base = match &self.preset {
            Some(name) => Config::preset(name)?,
            None if self.resume => self.resumed(folder)?,
            None if self.config.is_some() => self.only_file()?,
            None if self.from.is_some() => {
                let from = self.from.as_deref().unwrap_or(Path::new(""));
                Config::read(&super::run::checked(from)?.config())?
            }
            None => {
                return Err(usage(
                    "give --preset DATA/MODEL (for example mnist/vdl), --config FILE, --from RUN, or --resume with --out RUN",
                ));
            }
        };
        let base = self.frozen(base)?;
        let generated = base.data.clone();
        let own = match self.names_source() {
            true => generated.clone(),
            false => self.data.on_own_data(&generated)?,
        };
        let on_own_data = |config: Config| Config {
            data: own.clone(),
            ..config
        };
        let settings = self.settings();
        let file = self.config.as_deref();
        let with_overrides = |base: Config| {
            let resolved = on_own_data(base).with_overrides(file, &settings);
            resolved.map_err(|error| match own == generated {
                true => anyhow::Error::from(error),
                false => anyhow::Error::from(error).context(format!(
                    "because of --data the preset reads data.source={}",
                    own.source()
                )),
            })
        };
        let mut resolved = with_overrides(base.clone())?;
        if self.preset.is_some() {
            // A preset may depend on λ, wherever λ was set.
            let base = self.frozen(base.at_lambda(resolved.family.inference.lambda))?;
            resolved = with_overrides(base)?;
        }
        resolved.data = self.data.place(&resolved.data)?;
        // A run that began before its preset had a bounded step goes on with the step that it has.
        if self.resume
            && !settings
                .iter()
                .any(|s| s.starts_with("inference.step_rule"))
            && let Ok(run) = Config::read(&folder.config())
        {
            resolved.family.inference.step_rule = run.family.inference.step_rule;
        }
        Ok(resolved)
    }

    /// The configuration of the run to continue.
    fn resumed(&self, folder: &RunFolder) -> anyhow::Result<Config> {
        let config = Config::read(&folder.config())?;
        match &self.data.data {
            Some(path) if config.data.is_generated() => Err(usage(format!(
                "--data {}: this run was begun on generated {}, and --resume continues it; leave --data out, or train into another folder",
                path.display(),
                config.data.source()
            ))),
            _ => Ok(config),
        }
    }

    /// What a file that is laid over nothing is laid over all the same.
    fn only_file(&self) -> anyhow::Result<Config> {
        let base = Config::preset(BASE)?;
        let path = self.config.as_deref().unwrap_or(Path::new(""));
        let Some(table) = self.file_table() else {
            return Ok(base);
        };
        if !self.names_source() {
            return Err(usage(format!(
                "--config {}: the file names no data; add --preset DATA/MODEL, or data.source to the file",
                path.display()
            )));
        }
        let mut model = base.to_table();
        model.remove("data");
        if !covers(&table, &model) {
            eprintln!(
                "note: --config {} without --preset: values that the file leaves out are those of \
                 {BASE}",
                path.display()
            );
        }
        Ok(base)
    }
}

/// Whether a table has every key of another, tables in it included.
fn covers(table: &toml::Table, keys: &toml::Table) -> bool {
    keys.iter()
        .all(|(key, value)| match (value, table.get(key)) {
            (toml::Value::Table(keys), Some(toml::Value::Table(table))) => covers(table, keys),
            (_, found) => found.is_some(),
        })
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = arguments.folder();
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
    match arguments.family(&folder)? {
        FamilyName::Denoise => return denoise::run(arguments, &folder),
        FamilyName::Variational => return variational::run(arguments, &folder),
        FamilyName::Lista => {}
    }
    let mut config = arguments.resolve(&folder)?;
    let chosen = arguments.device.open_engine(arguments.engine)?;
    let is_gpu = chosen.is_some() && arguments.engine == EngineChoice::Fused;
    let backend: Arc<dyn Backend> = chosen.unwrap_or_else(|| Arc::new(CpuEngine::default()));
    // The place is resolved already.
    let mut splits = config.data.load(None, config.seed)?;
    // What it starts from, where it does not go on.
    let start = match &arguments.from {
        Some(from) if !arguments.resume => Some(super::run::open(from)?),
        _ => None,
    };
    if config.family.optimizer.frozen_decoder {
        splits = start::in_units_of_dictionary(splits, start.as_ref(), &folder)?;
    }
    let samples = splits.train.len();
    if !arguments.quiet {
        eprintln!("{}: {}", folder.path().display(), config.model_name());
    }
    tell(&splits);
    if let Some(batch_size) = arguments.own_batch_size(&config, &folder, samples)
        && batch_size != config.batch_size
    {
        if !arguments.quiet {
            eprintln!(
                "note: mini-batches of {batch_size} instead of {}, because there are {samples} \
                 training samples; --batch-size names another size",
                config.batch_size
            );
        }
        config.batch_size = batch_size;
    }
    let batches = samples / config.batch_size;
    if let Some(epochs) = arguments.own_epochs(&config, &folder, samples) {
        config.epochs = epochs;
        if !arguments.quiet {
            eprintln!(
                "note: {epochs} epochs, {} steps: {batches} batches of {} in an epoch; --epochs \
                 names another number",
                epochs as usize * batches,
                config.batch_size
            );
        }
    }
    if is_gpu && let Some(why) = config.steps_on_processor() {
        eprintln!("note: the processor takes the steps, the GPU only finds codes: {why}");
    }
    crowded_note();
    let stop = stop_flag(at_terminal())?;
    let mut console = Console::new(&config, ProgressMode::detect(arguments.quiet));
    let start_from = start.as_ref().map(|run| run.model.tensors());
    let session = Session {
        folder: &folder,
        config: &config,
        backend: backend.as_ref(),
        resume: arguments.resume,
        start: start_from.as_ref(),
    };
    let trained = session.run(splits, &mut console, &stop)?;
    console.finish();
    if trained.ending == Ending::StoppedEarly {
        eprintln!(
            "stopped early: no better validation energy for {} epochs",
            config.patience
        );
    }
    if !arguments.quiet && trained.ending != Ending::Interrupted {
        let records = crate::report::metrics::read(folder.metrics())?;
        let remarks = [
            held(&records, config.family.inference.step_size)
                .filter(|_| !config.family.optimizer.frozen_decoder),
            undertrained(&records, batches, folder.path())
                .filter(|_| trained.ending == Ending::Finished),
        ];
        for remark in remarks.into_iter().flatten() {
            eprintln!("note: {remark}");
        }
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
            best.objective,
            folder.best().display()
        );
    }
    if trained.ending == Ending::Interrupted {
        return Err(interrupted(&folder));
    }
    Ok(())
}
