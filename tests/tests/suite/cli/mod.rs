//! The program as a person uses it: commands, exit codes, messages, files.

mod configuration;
mod denoising;
mod denoising_pictures;
mod finished_runs;
mod given_back;
mod import;
mod integers;
mod model_on_data;
mod old_runs;
mod places;
mod refine;
mod samples;
#[cfg(target_os = "linux")]
mod slurm;
mod sweep;
mod training;
mod units;
mod usage;
mod whole;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use candle_core::Device;
use sparsecode_formats::{AlignedBytes, Contrast, ModelFile};
use sparsecode_tests::golden::{Tensors, read_tensors, write_tensors};
use sparsecode_tests::papers::flat;
use sparsecode_tests::{max_difference, program, runs, shared, skipped};
use sparsecode_trainer::data::npy::{read_npy_f32, write_npy_f32};
use sparsecode_trainer::data::{dead_leaves_image, ecg_signal};
use sparsecode_trainer::deploy::{HostModel, TrainedRun};
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::run::{Checkpoint, RunFolder, Weights};
use tempfile::TempDir;

const COMMANDS: [&[&str]; 19] = [
    &[],
    &["quickstart"],
    &["train"],
    &["config"],
    &["sweep"],
    &["sweep", "plan"],
    &["sweep", "run"],
    &["sweep", "slurm"],
    &["sweep", "collect"],
    &["evaluate"],
    &["features"],
    &["export"],
    &["import"],
    &["inspect"],
    &["encode"],
    &["decode"],
    &["denoise"],
    &["data"],
    &["data", "fetch"],
];

/// The program, away from the environment of whoever runs the tests.
fn sparsecode() -> Command {
    let mut command = Command::new(program());
    command.env_remove("SPARSECODE_DATA").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    sparsecode().args(arguments).output().expect("it starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command that must succeed; returns what it prints.
fn done(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{arguments:?}: {}",
        stderr(&output)
    );
    stdout(&output)
}

fn json(arguments: &[&str]) -> serde_json::Value {
    let text = done(arguments);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
}

/// Runs a command that must fail with this exit status and a message that holds all `words`; it
/// must not be a panic.
fn refused(status: i32, arguments: &[&str], words: &[&str]) {
    let output = run(arguments);
    let message = stderr(&output);
    assert_eq!(
        output.status.code(),
        Some(status),
        "{arguments:?}: {message}"
    );
    for word in words {
        assert!(
            message.contains(word),
            "{arguments:?}: '{word}' is not in: {message}"
        );
    }
    assert!(!message.contains("panicked"), "{arguments:?}: {message}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the tests is UTF-8")
}

/// The flags of a run that takes a second.
fn tiny(preset: &str, out: &Path, epochs: u32) -> Vec<String> {
    let mut arguments: Vec<String> = ["train", "--preset", preset, "--out", text(out), "--epochs"]
        .map(str::to_owned)
        .into();
    arguments.push(epochs.to_string());
    for setting in [
        "data.train=500",
        "data.validation=100",
        "data.test=100",
        "batch_size=50",
        "inference.max_iterations=30",
    ] {
        arguments.extend(["--set".to_owned(), setting.to_owned()]);
    }
    arguments
}

fn train(preset: &str, out: &Path, epochs: u32, more: &[&str]) -> Output {
    sparsecode()
        .args(tiny(preset, out, epochs))
        .args(more)
        .output()
        .expect("it starts")
}

/// A run of each kind that several tests read, and an i8 and an f32 file of each.
struct Runs {
    folder: TempDir,
}

impl Runs {
    fn get() -> &'static Self {
        static RUNS: OnceLock<Runs> = OnceLock::new();
        RUNS.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            for (preset, name) in [
                ("dead-leaves/vdl", "image"),
                ("dead-leaves/sdl-nl", "image-nl"),
                ("ecg/vdl", "signal"),
                ("dead-leaves/do", "do"),
            ] {
                let out = folder.path().join(name);
                let output = train(preset, &out, 1, &["--quiet"]);
                assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
                for weights in ["f32", "i8"] {
                    let file = folder.path().join(format!("{name}-{weights}.safetensors"));
                    done(&[
                        "export",
                        text(&out),
                        "--weights",
                        weights,
                        "--output",
                        text(&file),
                    ]);
                }
            }
            Runs { folder }
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
