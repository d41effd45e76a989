//! Which family the flags of `train` name, and how those train that compute with candle.

use candle_core::Device;

use super::arguments::{Arguments, Task};
use super::session::{at_terminal, crowded_note, interrupted, stop_flag};
use crate::cli::common::{print_json, usage};
use crate::cli::console::Console;
use crate::cli::data_flags::tell;
use crate::cli::family::FamilyName;
use crate::data::Splits;
use crate::report::progress::ProgressMode;
use crate::run::{Best, Config, Ending, Family, RunFolder, Session, Weights};

impl Arguments {
    /// By `--task`, by the preset, by the file, by the run that it continues or starts from.
    pub(super) fn family(&self, folder: &RunFolder) -> anyhow::Result<FamilyName> {
        let by_preset = self.preset.as_deref().map(FamilyName::of_preset);
        let by_file = self.file_table().map(|table| {
            let name = table.get("family").and_then(toml::Value::as_str);
            FamilyName::of_name(name)
        });
        let resumed = self.resume.then(|| FamilyName::of_run(folder)).flatten();
        let found = by_preset.or(by_file).or(resumed);
        let from = || {
            let from = self.from.as_ref()?;
            FamilyName::of_run(&RunFolder::new(from))
        };
        match (self.task, found) {
            (Some(Task::Denoise), Some(found)) if found != FamilyName::Denoise => Err(usage(
                "--task denoise: the preset, file or run is of models that reconstruct; take \
                 --preset ecg/denoise, bearing/denoise or pictures/denoise, and --from RUN for its \
                 dictionary",
            )),
            (Some(Task::Reconstruct), Some(FamilyName::Denoise)) => Err(usage(
                "--task reconstruct: the preset, file or run denoises; take a preset such as ecg/vdl",
            )),
            (Some(Task::Denoise), _) => Ok(FamilyName::Denoise),
            (Some(Task::Reconstruct), found) => Ok(found.unwrap_or(FamilyName::Lista)),
            (None, found) => Ok(found.or_else(from).unwrap_or(FamilyName::Lista)),
        }
    }

    /// Refuses the flags that are short for keys of the first family alone.
    pub(super) fn refuse_lista_flags(&self, of: &str) -> anyhow::Result<()> {
        for (flag, is_given) in [
            ("--frozen-decoder", self.frozen_decoder),
            ("--lambda", self.lambda.is_some()),
            ("--step-size", self.step_size.is_some()),
            ("--hidden-dim", self.hidden_dim.is_some()),
            ("--variance-weight", self.variance_weight.is_some()),
            ("--encoder-weight", self.encoder_weight.is_some()),
        ] {
            if is_given {
                return Err(usage(format!("{flag}: not for {of}; leave it out")));
            }
        }
        Ok(())
    }
}

/// Trains; the folder was looked at. `words` says what the best epoch came to.
pub(super) fn learn<F: Family<Backend = Device>>(
    arguments: &Arguments,
    folder: &RunFolder,
    config: &Config<F>,
    splits: Splits,
    device: &Device,
    words: impl Fn(&Best) -> String,
) -> anyhow::Result<()> {
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
    let mut console = Console::new(config, ProgressMode::detect(arguments.quiet));
    let session = Session {
        folder,
        config,
        backend: device,
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
            "best: epoch {}, {}; {}",
            best.epoch,
            words(&best),
            folder.best().display()
        );
    }
    match trained.ending {
        Ending::Interrupted => Err(interrupted(folder)),
        _ => Ok(()),
    }
}
