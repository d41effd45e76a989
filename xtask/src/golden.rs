//! `cargo xtask golden`: the golden files anew, and what changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{cargo, root, succeed};

/// Writes `tests/golden/` anew with the trainer of this tree, and says which files changed.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "Example: cargo xtask golden --device cpu")]
pub(crate) struct Arguments {
    /// Where the trainer computes: cpu or cuda
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// Runs `cargo xtask golden`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = root().join("tests/golden");
    let before = contents(&folder)?;
    let mut writer = cargo();
    writer.args(["run", "--quiet", "--package", "sparsecode-tests"]);
    if arguments.device == "cuda" {
        writer.args(["--features", "cuda"]);
    }
    succeed(writer.args(["--bin", "write-golden", "--", "--device", &arguments.device]))?;
    print!("{}", differences(&before, &contents(&folder)?));
    Ok(())
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
