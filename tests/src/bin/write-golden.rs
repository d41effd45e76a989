//! Writes the golden files that the runtime must meet: `cargo xtask golden`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use sparsecode_tests::{golden, workspace};
use sparsecode_trainer::lista::Backend;
use sparsecode_trainer::lista::inference::PlainFista;
use sparsecode_trainer::lista::open_gpu;

/// Trains the golden models and writes them, with what the trainer computes from them.
#[derive(Parser)]
#[command(
    name = "write-golden",
    after_help = "Example:\n  cargo run -p sparsecode-tests --bin write-golden -- --device cpu"
)]
struct Arguments {
    /// Where to train and compute
    #[arg(long, value_enum, default_value = "cpu")]
    device: Choice,
    /// Folder to write [default: tests/golden/DEVICE]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// This processor
    Cpu,
    /// The first NVIDIA GPU; needs --features cuda
    Cuda,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.device == Choice::Cuda && !cfg!(feature = "cuda") {
        eprintln!("error: --device cuda: built without it; run with --features cuda");
        return ExitCode::from(2);
    }
    match write(&arguments) {
        Ok(changes) => {
            print!("{changes}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the files; returns the folder and what changed in it.
fn write(arguments: &Arguments) -> Result<String> {
    let (name, engine): (_, Arc<dyn Backend>) = match arguments.device {
        Choice::Cpu => ("cpu", Arc::new(PlainFista)),
        Choice::Cuda => ("cuda", open_gpu()?),
    };
    let folder = arguments
        .output
        .clone()
        .unwrap_or_else(|| workspace().join("tests/golden").join(name));
    let before = contents(&folder)?;
    golden::write(
        &folder,
        engine.as_ref(),
        name,
        &format!("cargo xtask golden --device {name}"),
    )?;
    let changes = differences(&before, &contents(&folder)?);
    Ok(format!("{}\n{changes}", folder.display()))
}

type Contents = BTreeMap<PathBuf, Vec<u8>>;

/// The files below `folder`, by their paths in it; none if there is no such folder.
fn contents(folder: &Path) -> Result<Contents> {
    let mut found = Contents::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let entries = match fs::read_dir(&next) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| next.display().to_string())?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
                found.insert(path.strip_prefix(folder)?.to_path_buf(), bytes);
            }
        }
    }
    Ok(found)
}

/// A line for each file that came, went or changed, and how many did not.
fn differences(before: &Contents, after: &Contents) -> String {
    let mut text = String::new();
    let mut same = 0;
    let mut line =
        |path: &Path, what: String| text.push_str(&format!("{}: {what}\n", path.display()));
    for (path, new) in after {
        match before.get(path) {
            None => line(path, format!("new, {} bytes", new.len())),
            Some(old) if old == new => same += 1,
            Some(old) if old.len() == new.len() => {
                let count = old.iter().zip(new).filter(|(a, b)| a != b).count();
                line(path, format!("changed, {count} of {} bytes", new.len()));
            }
            Some(old) => line(
                path,
                format!("changed, {} bytes instead of {}", new.len(), old.len()),
            ),
        }
    }
    for path in before.keys().filter(|path| !after.contains_key(*path)) {
        line(path, "no longer there".into());
    }
    text.push_str(&format!("{same} of {} files as they were\n", after.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_has_a_line() {
        let files = |list: &[(&str, &[u8])]| -> Contents {
            list.iter()
                .map(|(name, bytes)| (PathBuf::from(name), bytes.to_vec()))
                .collect()
        };
        let before = files(&[("a", b"1234"), ("b", b"12"), ("c", b"x"), ("d", b"same")]);
        let after = files(&[("a", b"1324"), ("b", b"123"), ("d", b"same"), ("e", b"new")]);
        assert_eq!(
            differences(&before, &after),
            "a: changed, 2 of 4 bytes\n\
             b: changed, 3 bytes instead of 2\n\
             e: new, 3 bytes\n\
             c: no longer there\n\
             1 of 4 files as they were\n"
        );
    }

    #[test]
    fn a_folder_that_is_not_there_holds_nothing() {
        assert!(contents(Path::new("/no/such/folder")).unwrap().is_empty());
    }
}
