//! Tables of measurements that are kept in `docs/results`: with the command, the commit and the machine that made them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::root;

/// Writes a page of results: title, how it was made, and the text.
pub(crate) fn write_page(
    path: &Path,
    title: &str,
    summary: &str,
    command: &str,
    device: &str,
    text: &str,
) -> Result<()> {
    let page = format!(
        "# {title}\n\n{summary}\n\n- command: `{command}`\n- commit: {}\n- machine: {}\n\n{}\n",
        commit(),
        machine(device),
        text.trim_end()
    );
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        sparsecode_formats::write_file(path, page.as_bytes())
    };
    write().with_context(|| path.display().to_string())
}

/// How this program was called; of paths, only the file's name: the others say something about a machine, not about the figures.
pub(crate) fn command_line() -> String {
    let arguments = std::env::args().skip(1).map(|argument| {
        let name = Path::new(&argument).file_name();
        let is_path = argument.contains('/');
        match name.filter(|_| is_path) {
            Some(name) => name.to_string_lossy().into_owned(),
            None => argument,
        }
    });
    let words: Vec<String> = ["cargo".to_owned(), "xtask".to_owned()]
        .into_iter()
        .chain(arguments)
        .collect();
    words.join(" ")
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(root())
            .args(arguments)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".into();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => hash,
        _ => format!("{hash}, with changes"),
    }
}

/// The processor and the number of its cores, and the GPU if that did the work.
fn machine(device: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let processor = fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let mut text = format!("{processor}, {cores} cores");
    if device != "cpu" {
        let graphics = Command::new("nvidia-smi")
            .args(["--query-gpu=name", "--format=csv,noheader"])
            .output()
            .ok()
            .filter(|output| output.status.success())
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let _ = write!(text, ", {}", graphics.as_deref().unwrap_or("no GPU"));
    }
    text
}
