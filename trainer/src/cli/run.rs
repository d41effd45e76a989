//! The run that a command line names: opened, or refused with what would do.

use std::path::{Path, PathBuf};

use super::common::usage;
use crate::deploy::TrainedRun;
use crate::run::RunFolder;

/// The most runs that a message lists.
const LISTED: usize = 8;

/// Opens the best model of the run in `path`.
pub(super) fn open(path: &Path) -> anyhow::Result<TrainedRun> {
    Ok(TrainedRun::open(&checked(path)?)?)
}

/// The run in `path`, which has a configuration and a model.
pub(super) fn checked(path: &Path) -> anyhow::Result<RunFolder> {
    let folder = RunFolder::new(path);
    let name = path.display();
    if path.is_file() {
        return Err(usage(match run_of(path) {
            Some(run) => format!(
                "{name} is a file of a run; name the run's folder: {}",
                run.display()
            ),
            None => format!(
                "{name} is a file, but a run is the folder that `sparsecode train` writes; `sparsecode inspect` shows what a model file holds"
            ),
        }));
    }
    if !path.exists() {
        anyhow::bail!("{name}: there is no such folder{}", others(parent(path)));
    }
    if !folder.config().exists() {
        anyhow::bail!(
            "{name} holds no run (no config.toml){}",
            others(path.to_path_buf())
        );
    }
    if !folder.best().exists() {
        anyhow::bail!(
            "{name} holds no model yet: no epoch has ended; `sparsecode train --resume --out \
             {name}` continues the run"
        );
    }
    Ok(folder)
}

/// The run that a file belongs to.
fn run_of(file: &Path) -> Option<PathBuf> {
    let parent = parent(file);
    RunFolder::new(&parent).config().exists().then_some(parent)
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// The runs that lie in a folder, as the end of a message.
fn others(folder: PathBuf) -> String {
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return String::new();
    };
    let mut runs: Vec<String> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| RunFolder::new(path).config().exists())
        .map(|path| path.display().to_string())
        .collect();
    runs.sort();
    let more = match runs.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    runs.truncate(LISTED);
    match runs.len() {
        0 => String::new(),
        _ => format!("; runs in {}: {}{more}", folder.display(), runs.join(", ")),
    }
}
