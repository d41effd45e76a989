//! What the tests that cross crates share: where data and programs are, and how a skip is said.

pub mod deployed;
pub mod emulator;
pub mod golden;
pub mod kernels;
pub mod papers;
pub mod release;
pub mod runs;
pub mod tools;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use sparsecode_trainer::lista::Backend;
use sparsecode_trainer::lista::open_gpu;

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// A file or folder of the shared development data: `SPARSECODE_SHARED`, else `../shared` beside
/// the workspace. Says plainly what is skipped when it is not there.
pub fn shared(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SPARSECODE_SHARED")
        .map_or_else(|| workspace().join("../shared"), PathBuf::from);
    let path = folder.join(name);
    if path.exists() {
        Some(path)
    } else {
        skipped(&format!(
            "{} is not there (set SPARSECODE_SHARED to its folder)",
            path.display()
        ));
        None
    }
}

/// Says that a test, or part of one, is skipped, and why. Goes past the test harness, which would
/// hide it.
pub fn skipped(reason: &str) {
    use std::io::Write;
    // Nothing to be done if even standard error is closed.
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// The GPU's engine. Says plainly that the tests of it are skipped where there is none.
pub fn gpu() -> Option<Arc<dyn Backend>> {
    open_gpu()
        .inspect_err(|error| {
            skipped(&format!(
                "the GPU tests: {error}; on a machine with a GPU, cargo test -p sparsecode-tests --features cuda"
            ));
        })
        .ok()
}

/// A cargo command that builds into the folder, and with the profile, of these tests.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    // What cargo says of this crate to its tests; a build script that asks for it (ring's) would
    // take it for a change and build anew.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Where cargo puts the programs of these tests' profile.
pub(crate) fn target_folder() -> PathBuf {
    // Tests lie in <target>/<profile>/deps.
    let program = std::env::current_exe().expect("a test has a path");
    let folder = program.parent().and_then(Path::parent);
    folder
        .expect("a test lies in target/profile/deps")
        .to_owned()
}

/// The program `sparsecode`, built when it is not up to date.
///
/// # Panics
///
/// If it does not build.
pub fn program() -> PathBuf {
    static PROGRAM: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    PROGRAM
        .get_or_init(|| {
            let mut build = cargo();
            // With the features that `cargo test --workspace` chose for what they share, so that
            // nothing is built twice.
            build.args([
                "build",
                "--quiet",
                "--workspace",
                "--bin",
                "sparsecode",
                "--tests",
            ]);
            if cfg!(feature = "cuda") {
                build.args(["--features", "sparsecode-tests/cuda"]);
            }
            let folder = target_folder();
            if folder.file_name().is_some_and(|name| name == "release") {
                build.arg("--release");
            }
            assert!(
                build.status().expect("cargo runs").success(),
                "sparsecode does not build"
            );
            folder.join(format!("sparsecode{}", std::env::consts::EXE_SUFFIX))
        })
        .clone()
}

/// The largest absolute difference of two slices of one length.
///
/// # Panics
///
/// If the lengths differ.
pub fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "lengths differ");
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}
