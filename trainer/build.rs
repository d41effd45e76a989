//! Puts the commit of the sources into the program, for the provenance of models, and, with feature
//! `cuda`, the GPU's kernels.

use std::env;
use std::error::Error;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How the kernels are compiled.
const FLAGS: [&str; 9] = [
    "-std=c++17",
    "-O3",
    "--threads=2",
    // Products and sums are fused where the kernels say so, and nowhere else, as in their host's
    // build.
    "-fmad=false",
    "-gencode=arch=compute_80,code=sm_80",
    "-gencode=arch=compute_90,code=[sm_90,compute_90]",
    // Registers, stack and spills of each kernel.
    "-Xptxas",
    "-v",
    "-fatbin",
];

fn main() -> Result<(), Box<dyn Error>> {
    commit();
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        kernels()?;
    }
    Ok(())
}

fn commit() {
    println!("cargo:rerun-if-env-changed=SPARSECODE_COMMIT");
    for name in ["HEAD", "refs/heads"] {
        // In a worktree of its own, `.git` is not a folder.
        if let Some(path) = git(&["rev-parse", "--git-path", name]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let commit = env::var("SPARSECODE_COMMIT")
        .ok()
        .or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!(
        "cargo:rustc-env=SPARSECODE_COMMIT={}",
        commit.as_deref().unwrap_or("unknown")
    );
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Compiles `kernels/sparsecode.cu` into one image: machine code for 8.0 (and 8.6, 8.9) and 9.0,
/// and PTX for what comes after. What the assembler says of each kernel lies beside it, for `cargo
/// xtask cuda`.
fn kernels() -> Result<(), Box<dyn Error>> {
    for name in ["NVCC", "CUDA_HOME", "CUDA_PATH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let nvcc = nvcc();
    let mut inputs = DefaultHasher::new();
    (&nvcc, FLAGS).hash(&mut inputs);
    for entry in fs::read_dir("kernels")? {
        let path = entry?.path();
        if path.is_file() {
            println!("cargo:rerun-if-changed={}", path.display());
            fs::read(&path)?.hash(&mut inputs);
        }
    }
    let inputs = inputs.finish().to_string();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let (image, stamp) = (out.join("sparsecode.fatbin"), out.join("sparsecode.inputs"));
    // This script also runs when only the commit is another.
    if image.exists() && fs::read_to_string(&stamp).is_ok_and(|before| before == inputs) {
        return Ok(());
    }
    let output = Command::new(&nvcc)
        .args(FLAGS)
        .arg("-o")
        .args([image.as_path(), Path::new("kernels/sparsecode.cu")])
        .output()
        .map_err(|error| {
            format!(
                "{}: {error}; feature `cuda` needs nvcc 13 (CUDA toolkit): set NVCC or CUDA_HOME, or build without the feature",
                nvcc.display()
            )
        })?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let more = String::from_utf8_lossy(&output.stdout);
        return Err(format!("{} failed:\n{said}{more}", nvcc.display()).into());
    }
    fs::write(out.join("ptxas.txt"), said.as_bytes())?;
    fs::write(stamp, inputs)?;
    Ok(())
}

fn nvcc() -> PathBuf {
    if let Some(nvcc) = env::var_os("NVCC") {
        return nvcc.into();
    }
    for home in ["CUDA_HOME", "CUDA_PATH"] {
        if let Some(home) = env::var_os(home) {
            return Path::new(&home).join("bin").join("nvcc");
        }
    }
    "nvcc".into()
}
