//! Chooses the board's memory map, and turns the model file and the patches into Rust source.
//!
//! Variables: `SPARSECODE_MODEL` (default `model/model.safetensors`), `SPARSECODE_PATCHES`
//! (`model/patches.npy`), `SPARSECODE_PATCH_LIMIT` (how many patches; all), `SPARSECODE_REFINE`
//! (iterations of refinement in `stream`; 0), `SPARSECODE_METHOD` (how: a `Method`;
//! `CoordinateDescent`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};

use sparsecode_patches::{Patches, level, threshold};
use sparsecode_runtime::ModelFile;
use sparsecode_runtime::embed::{self, Arithmetic, Embed};
use sparsecode_runtime::formats::{AlignedBytes, IntegerFile};

const CORES: [&str; 6] = ["m0plus", "m4f", "m7", "m33", "m55", "rv32imc"];

fn main() -> Result<()> {
    let output = PathBuf::from(env::var("OUT_DIR")?);
    let ram = link(&output)?;

    println!("cargo::rustc-check-cfg=cfg(gram)");
    println!("cargo::rustc-check-cfg=cfg(integer)");
    println!("cargo::rustc-check-cfg=cfg(builds_gram)");
    // Models of `self_test`, whose codes are signed.
    Embed::new("model/signed.safetensors")
        .name("signed")
        .write()?;
    Embed::new("model/signed-integer.safetensors")
        .name("signed_integer")
        .arithmetic(Arithmetic::Integers)
        .write()?;
    // A variational one in f32; those in integers are for `integer`.
    Embed::new("model/variational.safetensors")
        .name("variational")
        .write()?;
    // One whose samples have Gaussian noise.
    Embed::new("model/sampled.safetensors")
        .name("sampled")
        .write()?;
    let path = input("SPARSECODE_MODEL", "model/model.safetensors")?;
    let bytes = AlignedBytes::read(&path)?;
    // The programs for f32 and for integers are different ones; which is built is chosen by who
    // names the model.
    let integer = match ModelFile::read(&bytes) {
        Ok(file) => {
            embed::model(&path)?;
            offer_gram(&file, ram);
            None
        }
        Err(_) => {
            embed::integer_model(&path)?;
            println!("cargo::rustc-cfg=integer");
            if IntegerFile::read(&bytes).is_err() {
                println!("cargo::rustc-cfg=builds_gram");
            }
            Some(bytes.integer_file()?)
        }
    };
    let patches = input("SPARSECODE_PATCHES", "model/patches.npy")?;
    write_patches(&patches, integer.as_ref(), &output.join("patches.rs"))
        .with_context(|| patches.display().to_string())
}

/// Sets `gram` if nothing has hidden units and the Gram matrix fits the RAM beside everything else
/// and 8 KB of stack.
fn offer_gram(file: &ModelFile<'_>, ram: usize) {
    let (input_dim, code_dim) = (file.spec.input_dim(), file.spec.code_dim());
    let matrix = 4 * code_dim * code_dim + 14 * code_dim;
    let rest = sparsecode_runtime::ram_bytes(input_dim, code_dim, 0) + 8 * 1024;
    if file.spec.is_linear() && file.spec.hidden_units() == 0 && matrix + rest <= ram {
        println!("cargo::rustc-cfg=gram");
    }
}

/// The only feature that names a core decides on the memory map, whose bytes of RAM are returned.
fn link(output: &Path) -> Result<usize> {
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
    fs::copy(&map, output.join("memory.x")).with_context(|| map.clone())?;
    println!("cargo:rustc-link-search={}", output.display());
    if core == "rv32imc" {
        // cortex-m-rt's link.x includes memory.x, riscv-rt's does not.
        println!("cargo:rustc-link-arg-bins=-Tmemory.x");
    }
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    for binary in [
        "sparsecode-firmware",
        "bench",
        "integer",
        "stream",
        "denoise",
        "self_test",
        "samples",
    ] {
        println!("cargo:rustc-link-arg-bin={binary}=-Tdefmt.x");
    }
    ram_of(&fs::read_to_string(&map)?)
        .with_context(|| format!("{map}: no line `RAM : … LENGTH = …K`"))
}

fn ram_of(map: &str) -> Option<usize> {
    let line = map
        .lines()
        .find(|line| line.trim_start().starts_with("RAM"))?;
    let length = line.split("LENGTH = ").nth(1)?.trim();
    Some(length.strip_suffix('K')?.parse::<usize>().ok()? * 1024)
}

/// The file that `variable` names, or the default, as an absolute path that cargo watches.
fn input(variable: &str, default: &str) -> Result<PathBuf> {
    println!("cargo:rerun-if-env-changed={variable}");
    let name = env::var(variable).unwrap_or_else(|_| default.to_owned());
    let path = fs::canonicalize(&name).with_context(|| format!("{variable}: {name}"))?;
    println!("cargo:rerun-if-changed={}", path.display());
    Ok(path)
}

/// Writes `NOISE`, the noise's deviation, and `NOISY` and `CLEAN`, arrays of patches; bit patterns
/// keep every float as it is. For an integer model `NOISY` and `CLEAN` are levels, and in place of
/// `NOISE` there are `THRESHOLD`, that of refinement against this noise, and `REFINE`, its
/// iterations, and `METHOD`.
fn write_patches(path: &Path, integer: Option<&IntegerFile<'_>>, to: &Path) -> Result<()> {
    println!("cargo:rerun-if-env-changed=SPARSECODE_PATCH_LIMIT");
    let limit = env::var("SPARSECODE_PATCH_LIMIT")
        .ok()
        .map(|limit| limit.parse().context("SPARSECODE_PATCH_LIMIT"))
        .transpose()?;
    let patches = Patches::parse(&fs::read(path)?, limit)?;
    let mut source = String::new();
    let scale = match integer {
        None => {
            let noise = patches.noise().to_bits();
            writeln!(source, "pub const NOISE: f32 = f32::from_bits({noise:#x});")?;
            None
        }
        Some(file) => {
            println!("cargo:rerun-if-env-changed=SPARSECODE_REFINE");
            let refine = env::var("SPARSECODE_REFINE").unwrap_or_else(|_| "0".to_owned());
            let refine: u32 = refine.parse().context("SPARSECODE_REFINE")?;
            let threshold = threshold(file, patches.noise())?;
            writeln!(source, "pub const REFINE: u32 = {refine};")?;
            println!("cargo:rerun-if-env-changed=SPARSECODE_METHOD");
            let method = env::var("SPARSECODE_METHOD");
            let method = match method.as_deref().unwrap_or("CoordinateDescent") {
                known @ ("CoordinateDescent" | "Fista") => known,
                other => bail!("SPARSECODE_METHOD: {other} is neither CoordinateDescent nor Fista"),
            };
            writeln!(
                source,
                "pub const METHOD: sparsecode_runtime::Method = sparsecode_runtime::Method::{method};"
            )?;
            writeln!(source, "pub const THRESHOLD: i32 = {threshold};")?;
            Some(file.scales()?.0)
        }
    };
    let number = if scale.is_none() { "f32" } else { "i16" };
    for (name, samples) in [("NOISY", &patches.noisy), ("CLEAN", &patches.clean)] {
        let (count, input_dim) = (patches.count, patches.input_dim);
        writeln!(
            source,
            "pub static {name}: [[{number}; {input_dim}]; {count}] = ["
        )?;
        for patch in samples.chunks(input_dim) {
            source.push('[');
            for sample in patch {
                match scale {
                    None => write!(source, "f32::from_bits({:#x}),", sample.to_bits())?,
                    Some(scale) => write!(source, "{},", level(*sample, scale))?,
                }
            }
            source.push_str("],\n");
        }
        source.push_str("];\n");
    }
    fs::write(to, source).with_context(|| to.display().to_string())
}
