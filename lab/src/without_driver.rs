//! What a program for NVIDIA GPUs says on a machine that has not even their driver.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

/// Runs `sparsecode`, built with feature `cuda`.
///
/// Asked for a GPU, the program fails, leaves nothing behind, and names what is missing and the
/// remedies, each once. Asked to choose, it takes the processor. `None` where there is a driver.
///
/// # Errors
/// If the program does not start, or does something else.
pub fn check(program: &Path) -> Result<Option<()>> {
    let folder = std::env::temp_dir().join(format!("sparsecode-driver-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let checked = check_in(&folder, program);
    fs::remove_dir_all(&folder)?;
    checked
}

fn check_in(folder: &Path, program: &Path) -> Result<Option<()>> {
    let run = |arguments: &str| {
        let mut command = Command::new(program);
        command.current_dir(folder).args(arguments.split(' '));
        command
            .output()
            .with_context(|| program.display().to_string())
    };
    let train = "train --preset ecg/vdl --set epochs=1 --set data.train=300 --quiet --out out";
    let asked = run(&format!("{train} --device cuda"))?;
    let message = message(&asked);
    if asked.status.success() || message.contains("CUDA_ERROR") {
        return Ok(None);
    }
    told(&asked, 1)?;
    ensure!(message.starts_with("error: --device cuda: "), "{message}");

    fs::write(folder.join("grid.toml"), "preset = \"ecg/sdl\"\n")?;
    let planned = run("sweep plan grid.toml --output plan.jsonl")?;
    ensure!(planned.status.success(), "{}", self::message(&planned));
    let sweep = run("sweep run plan.jsonl --out out --device cuda")?;
    told(&sweep, 1)?;
    let other = self::message(&sweep);
    ensure!(other == message, "train: {message}sweep run: {other}");
    let out = folder.join("out");
    ensure!(!out.exists(), "a run that could not begin left its folder");

    let chosen = run(&format!("{train} --device auto"))?;
    told(&chosen, 0)?;
    let note = self::message(&chosen);
    ensure!(note.contains("note: using the processor: "), "{note}");
    let model = out.join("best.safetensors");
    ensure!(model.exists(), "--device auto trained nothing: {note}");
    Ok(Some(()))
}

fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What is missing and the remedies, each once.
fn told(output: &Output, status: i32) -> Result<()> {
    let message = message(output);
    let found = output.status;
    ensure!(found.code() == Some(status), "{found}: {message}");
    for words in ["libcuda.so.1", "nvidia-smi", "--device cpu"] {
        let count = message.matches(words).count();
        ensure!(count == 1, "{words} is there {count} times: {message}");
    }
    Ok(())
}
