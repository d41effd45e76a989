//! `cargo xtask cuda`: the trainer for NVIDIA GPUs, as far as a machine without one can show it.
//!
//! nvcc compiles the kernels for the GPU, and its assembler says whether their values stay in
//! registers; the program is linked, linted, and run where there is no driver. What the kernels
//! compute is tested elsewhere: `sparsecode-tests` compiles them for the host.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use sparsecode_lab::{Tools, candle_cuda, cargo, ptxas, succeed, target_dir, without_driver};

use crate::exit::SKIPPED;

/// Build with feature `cuda`, hold the kernels to their registers, lint, and run the program where
/// there is no driver.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 everything holds; 1 something failed; 2 usage; 77 nothing ran, because there is no nvcc.

nvcc is that of NVCC, CUDA_HOME, CUDA_PATH or PATH.")]
pub(crate) struct Arguments {
    /// Without nvcc, install it into the target folder: NVIDIA's wheels, with pip
    #[arg(long)]
    install: bool,
}

/// The parts of the toolkit that nvcc needs for these kernels, as wheels for pip.
const WHEELS: [(&str, &str); 5] = [
    ("nvidia-cuda-nvcc", "13.0.88"),
    ("nvidia-cuda-crt", "13.0.88"),
    ("nvidia-nvvm", "13.0.88"),
    ("nvidia-cuda-runtime", "13.0.96"),
    ("nvidia-cuda-cccl", "13.0.85"),
];

/// With all packages of the workspace, so that what they share is not built again with fewer
/// features.
const WORKSPACE: [&str; 3] = ["--workspace", "--features", "sparsecode-tests/cuda"];

/// Numbers need not be fast.
const PLAIN: &str = "profile.dev.package.sparsecode-trainer.opt-level=0";

/// Runs `cargo xtask cuda`.
pub(crate) fn run(tools: &Tools, arguments: &Arguments) -> Result<ExitCode> {
    let toolkit = target_dir().join("cuda-toolkit");
    let home = if tools.is_installed(&nvcc()) {
        None
    } else if !arguments.install {
        println!(
            "skipped: {} not found. It would compile the kernels, check their registers, build and lint with feature cuda, and run the \
             program without a driver. Set NVCC or CUDA_HOME (CUDA 13), or let --install put {} into {}",
            nvcc(),
            WHEELS[0].0,
            toolkit.display()
        );
        return Ok(ExitCode::from(SKIPPED));
    } else {
        match install(tools, &toolkit) {
            Ok(home) => Some(home),
            Err(error) => {
                println!("skipped: no nvcc: {error:#}");
                return Ok(ExitCode::from(SKIPPED));
            }
        }
    };
    // The same for all, or the kernels would be compiled anew.
    let cargo = |command: &str| {
        let mut cargo = cargo();
        cargo.arg(command).args(WORKSPACE).args(["--config", PLAIN]);
        if let Some(home) = &home {
            cargo.env_remove("NVCC").env("CUDA_HOME", home);
        }
        cargo
    };

    let began = Instant::now();
    let mut lint = cargo("clippy");
    lint.args(["--quiet", "--all-targets"])
        .arg("--message-format=json-render-diagnostics");
    let path = report(lint.args(["--", "-D", "warnings"]))?;
    println!("no lint ({:.0} s)", began.elapsed().as_secs_f64());
    let report = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let kernels = ptxas::parse(&report)?;
    print!("{}", ptxas::table(&kernels));
    ptxas::check(&kernels)?;

    // Of the program only that it links and what it says without a driver are looked at: its
    // numbers need not be fast.
    let began = Instant::now();
    succeed(cargo("build").args(["--quiet", "--bin", "sparsecode"]))?;
    let program = format!("sparsecode{}", env::consts::EXE_SUFFIX);
    match without_driver::check(&target_dir().join("debug").join(program))? {
        Some(()) => println!(
            "built, and says what is missing without a driver ({:.0} s)",
            began.elapsed().as_secs_f64()
        ),
        None => println!("built; skipped: what is said without an NVIDIA driver: here is one"),
    }
    let began = Instant::now();
    match candle_cuda::check()? {
        Some(()) => println!(
            "feature candle-cuda: types only ({:.0} s)",
            began.elapsed().as_secs_f64()
        ),
        None => println!("skipped: feature candle-cuda, whose stand-in for nvcc is a shell script"),
    }
    println!("nothing was run on a GPU");
    Ok(ExitCode::SUCCESS)
}

/// What to tell a person who has no nvcc.
pub(crate) fn missing(tools: &Tools) -> Option<String> {
    (!tools.is_installed(&nvcc())).then(|| {
        format!(
            "{} not found: set NVCC or CUDA_HOME (CUDA 13), or run `cargo xtask cuda --install`",
            nvcc()
        )
    })
}

/// nvcc, as `trainer/build.rs` finds it.
pub(crate) fn nvcc() -> String {
    if let Ok(nvcc) = env::var("NVCC") {
        return nvcc;
    }
    let home = ["CUDA_HOME", "CUDA_PATH"].iter().find_map(env::var_os);
    match home {
        Some(home) => in_toolkit(Path::new(&home)).display().to_string(),
        None => "nvcc".to_owned(),
    }
}

fn in_toolkit(home: &Path) -> PathBuf {
    home.join("bin").join("nvcc")
}

/// Unpacks the wheels into a folder, unless they are there; returns CUDA's home.
fn install(tools: &Tools, folder: &Path) -> Result<PathBuf> {
    let home = |folder: &Path| folder.join("nvidia").join("cu13");
    let is_there = WHEELS.iter().all(|(name, version)| {
        let name = name.replace('-', "_");
        folder.join(format!("{name}-{version}.dist-info")).exists()
    });
    if !is_there {
        println!("installing CUDA's compiler into {}", folder.display());
        let part = folder.with_extension("part");
        for old in [folder, &part] {
            if old.exists() {
                fs::remove_dir_all(old).with_context(|| old.display().to_string())?;
            }
        }
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps"])
            .args(["--disable-pip-version-check", "--only-binary=:all:"])
            .env("PIP_ROOT_USER_ACTION", "ignore")
            .arg("--target")
            .arg(&part)
            .args(WHEELS.map(|(name, version)| format!("{name}=={version}")));
        succeed(&mut pip)?;
        for programs in ["bin", "nvvm/bin"] {
            make_executable(&home(&part).join(programs))?;
        }
        fs::rename(&part, folder).with_context(|| folder.display().to_string())?;
    }
    let home = home(folder);
    let nvcc = in_toolkit(&home);
    ensure!(
        tools.is_installed(&nvcc.display().to_string()),
        "{} does not run",
        nvcc.display()
    );
    Ok(home)
}

/// pip forgets that programs are programs.
fn make_executable(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        use std::os::unix::fs::PermissionsExt;
        let path = entry?.path();
        if path.is_file() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .with_context(|| path.display().to_string())?;
        }
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Runs cargo; returns where the assembler's report of the kernels is.
fn report(cargo: &mut Command) -> Result<PathBuf> {
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let mut report = None;
    let messages = child.stdout.take().context("cargo's messages")?;
    for line in BufReader::new(messages).lines() {
        let message: serde_json::Value = serde_json::from_str(&line?)?;
        let package = message["package_id"].as_str().unwrap_or_default();
        if !package.contains("/trainer#") {
            continue;
        }
        if let Some(folder) = message["out_dir"].as_str() {
            report = Some(Path::new(folder).join("ptxas.txt"));
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "cargo ended with {status}");
    report.context("cargo does not say where the trainer's build script writes")
}
