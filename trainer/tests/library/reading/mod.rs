//! People's files are read right, or refused with the words that would do; and written back as they
//! were.
//!
//! Each file stands for a kind that programs and instruments write. Those of `probes/` in the
//! shared folder are read, too, where the folder is.

mod arrays;
mod folders;
mod pictures;
mod probes;
mod sound;
mod tables;

use std::path::{Path, PathBuf};

use sparsecode_trainer::data::{Column, DataConfig, DataError, Splits};
use sparsecode_trainer::data::{Hints, Recording};

/// x = sin(2π·5·t) + 0.3 sin(2π·40·t) at 500 samples per second.
fn wave(count: usize) -> Vec<f32> {
    let tau = std::f64::consts::TAU;
    (0..count)
        .map(|index| index as f64 / 500.0)
        .map(|t| ((tau * 5.0 * t).sin() + 0.3 * (tau * 40.0 * t).sin()) as f32)
        .collect()
}

fn deviation(values: &[f32]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let squares = values.iter().map(|&v| (f64::from(v) - mean).powi(2));
    (squares.sum::<f64>() / count).sqrt()
}

/// A file in a folder of its own.
struct File {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new(name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self { folder, path }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn open(path: &Path, hints: &Hints) -> Result<(Recording, usize), DataError> {
    let recording = Recording::read(path, hints)?;
    let chosen = recording.choose(hints.column.as_ref())?;
    Ok((recording, chosen))
}

fn column(text: &str) -> Hints {
    Hints {
        column: Some(Column::from(text)),
        ..Hints::default()
    }
}

/// The values of the chosen channel.
fn read(path: &Path, hints: &Hints) -> Vec<f32> {
    let (recording, chosen) = open(path, hints).unwrap();
    recording.channels[chosen].values.clone()
}

/// Why a file is refused, and whether that is a wrong use of the program.
fn refused(path: &Path, hints: &Hints) -> (String, bool) {
    match open(path, hints) {
        Ok((recording, chosen)) => panic!(
            "{} was read: {:?}",
            path.display(),
            &recording.channels[chosen].values[..4.min(recording.len())]
        ),
        Err(error) => (error.to_string(), matches!(error, DataError::Config { .. })),
    }
}

/// Loads a `[data]` table.
fn load(table: &str, folder: Option<&Path>) -> Result<Splits, DataError> {
    let config: DataConfig = toml::from_str(table).unwrap();
    config.load(folder, 7)
}

/// The folder of small files that were read wrongly once, where it is.
fn probes() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("SPARSECODE_SHARED").map_or_else(beside, PathBuf::from);
    let found = Some(folder.join("probes")).filter(|path| path.is_dir());
    if found.is_none() {
        eprintln!("skipped: no folder of probes (set SPARSECODE_SHARED)");
    }
    found
}
