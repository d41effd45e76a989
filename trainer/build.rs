//! Puts the commit of the sources into the program, for the provenance of models, and, with feature `cuda`, the GPU's kernels.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Compiles `kernels/sparsecode.cu` into one image: machine code for 8.0 (and 8.6, 8.9) and 9.0, and PTX for what comes after. What
/// the assembler says of each kernel lies beside it, for `cargo xtask cuda`.
fn kernels() -> Result<(), Box<dyn Error>> {
    for name in ["NVCC", "CUDA_HOME", "CUDA_PATH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    for entry in fs::read_dir("kernels")? {
        let path = entry?.path();
        if path.is_file() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    let nvcc = nvcc();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let image = out.join("sparsecode.fatbin");
    let output = Command::new(&nvcc)
        .args(["-std=c++17", "-O3", "--threads=2"])
        // Products and sums are fused where the kernels say so, and nowhere else, as in their host's build.
        .arg("-fmad=false")
        .arg("-gencode=arch=compute_80,code=sm_80")
        .arg("-gencode=arch=compute_90,code=[sm_90,compute_90]")
        // Registers, stack and spills of each kernel.
        .args(["-Xptxas", "-v"])
        .args(["-fatbin", "-o"])
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
