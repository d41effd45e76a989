//! Chooses the board's memory map, and turns the model file and the patches into Rust source.
//!
//! Variables: `SPARSECODE_MODEL` (default `model/model.safetensors`), `SPARSECODE_PATCHES` (`model/patches.npy`),
//! `SPARSECODE_PATCH_LIMIT` (how many patches; all).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};

#[path = "npy.rs"]
mod npy;

const CORES: [&str; 6] = ["m0plus", "m4f", "m7", "m33", "m55", "rv32imc"];

fn main() -> Result<()> {
    let output = PathBuf::from(env::var("OUT_DIR")?);
    link(&output)?;

    let model = input("SPARSECODE_MODEL", "model/model.safetensors")?;
    sparsecode_runtime::embed::model(&model)?;
    let patches = input("SPARSECODE_PATCHES", "model/patches.npy")?;
    write_patches(&patches, &output.join("patches.rs"))
        .with_context(|| patches.display().to_string())
}

/// The only feature that names a core decides on the memory map.
fn link(output: &Path) -> Result<()> {
    let chosen: Vec<_> = CORES
        .into_iter()
        .filter(|core| env::var_os(format!("CARGO_FEATURE_{}", core.to_uppercase())).is_some())
        .collect();
    let [core] = chosen[..] else {
        bail!("choose one core: --no-default-features --features <one of {CORES:?}>");
    };
    let architecture = env::var("CARGO_CFG_TARGET_ARCH")?;
    let expected = if core == "rv32imc" { "riscv32" } else { "arm" };
    ensure!(
        architecture == expected,
        "core {core} needs a target of architecture {expected}, not {architecture}"
    );

    let map = format!("memory/{core}.x");
    println!("cargo:rerun-if-changed={map}");
    fs::copy(&map, output.join("memory.x")).context(map)?;
    println!("cargo:rustc-link-search={}", output.display());
    if core == "rv32imc" {
        // cortex-m-rt's link.x includes memory.x, riscv-rt's does not.
        println!("cargo:rustc-link-arg-bins=-Tmemory.x");
    }
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rustc-link-arg-bin=sparsecode-firmware=-Tdefmt.x");
    Ok(())
}

/// The file that `variable` names, or the default, as an absolute path that cargo watches.
fn input(variable: &str, default: &str) -> Result<PathBuf> {
    println!("cargo:rerun-if-env-changed={variable}");
    let name = env::var(variable).unwrap_or_else(|_| default.to_owned());
    let path = fs::canonicalize(&name).with_context(|| format!("{variable}: {name}"))?;
    println!("cargo:rerun-if-changed={}", path.display());
    Ok(path)
}

/// Writes `NOISE`, the noise's deviation, and `NOISY` and `CLEAN`, arrays of patches; bit patterns keep every float as it is.
fn write_patches(path: &Path, to: &Path) -> Result<()> {
    println!("cargo:rerun-if-env-changed=SPARSECODE_PATCH_LIMIT");
    let limit = env::var("SPARSECODE_PATCH_LIMIT")
        .ok()
        .map(|limit| limit.parse().context("SPARSECODE_PATCH_LIMIT"))
        .transpose()?;
    let patches = npy::Patches::parse(&fs::read(path)?, limit).map_err(anyhow::Error::msg)?;
    let mut source = String::new();
    writeln!(
        source,
        "pub(crate) const NOISE: f32 = f32::from_bits({:#x});",
        patches.noise().to_bits()
    )?;
    for (name, samples) in [("NOISY", &patches.noisy), ("CLEAN", &patches.clean)] {
        writeln!(
            source,
            "pub(crate) static {name}: [[f32; {}]; {}] = [",
            patches.input_dim, patches.count
        )?;
        for patch in samples.chunks(patches.input_dim) {
            source.push('[');
            for sample in patch {
                write!(source, "f32::from_bits({:#x}),", sample.to_bits())?;
            }
            source.push_str("],\n");
        }
        source.push_str("];\n");
    }
    fs::write(to, source).with_context(|| to.display().to_string())
}
