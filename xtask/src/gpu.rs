//! `cargo xtask gpu`: what only a GPU can show, in one go.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use sparsecode_lab::{cargo, root, succeed, target_dir};

/// Checks the GPU's kernels, measures them, compares with PyTorch, and writes golden files. Without
/// a GPU it says what it would run.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
With --pack it builds the program and puts it into a folder, with the data and a script, for a \
machine that has a GPU but neither
cargo nor a network: `sh FOLDER/run.sh OUT` there writes gpu-bench.md, torch.json and golden/ into \
OUT. What to do with them is said at
the end. Such a program is built without feature candle-cuda, and does not compare with candle.

Example: cargo xtask gpu --data ../shared/data")]
pub(crate) struct Arguments {
    /// Folder with MNIST's four files, and the split's two; without it, only made-up and built-in
    /// data are used
    #[arg(long, env = "SPARSECODE_DATA", default_value = "../shared/data")]
    data: PathBuf,
    /// Put everything into this folder instead of running it
    #[arg(long, value_name = "DIR")]
    pack: Option<PathBuf>,
    /// Where the figures and golden files go [default: gpu in cargo's target folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What travels may be so large.
const MOST_BYTES: u64 = 64 << 20;

const SCRIPT: &str = r#"#!/bin/sh
# sh run.sh OUT: checks, times and golden files of the GPU here, into OUT. Needs a driver for CUDA 13, and python3 with PyTorch for
# the comparison.
set -eu
if [ $# -lt 1 ]; then
  echo "usage: sh run.sh OUT" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
export CUDA_CACHE_PATH="${CUDA_CACHE_PATH:-${TMPDIR:-/tmp}/sparsecode-cuda}"
[ -d "$here/data" ] && set -- "$1" --data "$here/data"
out=$1
shift
exec "$here/gpu" --torch "$here/torch_bench.py" --out "$out" "$@"
"#;

/// Runs `cargo xtask gpu`.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None => target_dir().join("gpu"),
    };
    if let Some(folder) = &arguments.pack {
        let bytes = pack(folder, &arguments.data)?;
        println!(
            "{}: {:.1} MiB; on a machine with a GPU: sh run.sh OUT\n{}",
            folder.display(),
            bytes as f64 / f64::from(1 << 20),
            to_keep(Path::new("OUT"))
        );
        return Ok(ExitCode::SUCCESS);
    }
    if !has_gpu() {
        println!(
            "no GPU here (nvidia-smi -L lists none). On a machine with one this would\n\
             1. build sparsecode-tests' program `gpu` with --release --features cuda,candle-cuda (nvcc 13; candle's kernels take a \
                quarter of an hour),\n\
             2. hold codes to the definition in f64, short runs of every variant to the processor's and to candle's \
                tensors on that GPU, MNIST's first epochs to the processor's, and runs side by side to the same runs alone,\n\
             3. write golden files for the runtime,\n\
             4. time an iteration of inference, an epoch of each variant, 200 epochs of VDL on MNIST, and runs side by side,\n\
             5. time the same in PyTorch (docs/results/compare/torch_bench.py),\n\
             and write {}/gpu-bench.md, in less than ten minutes.\n\
             cargo xtask gpu --pack DIR packs it for such a machine. The kernels compiled for the host are part of `cargo test`.",
            out.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let program = build("cuda,candle-cuda")?;
    let mut gpu = Command::new(program);
    gpu.arg("--out").arg(&out);
    gpu.arg("--torch").arg(root().join(TORCH));
    if has_mnist(&arguments.data) {
        gpu.arg("--data").arg(&arguments.data);
    }
    let status = gpu.status().context("the program gpu")?;
    println!("{}", to_keep(&out));
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// What is to be done with what was written.
fn to_keep(out: &Path) -> String {
    format!(
        "to keep: {0}/gpu-bench.md as docs/results/gpu-bench.md, {0}/golden as tests/golden/cuda (then: cargo test -p \
         sparsecode-tests golden_files); {0}/torch.json has PyTorch's figures, which the page holds, too",
        out.display()
    )
}

/// Whether the training images are in `folder` or in its `mnist`, packed or not.
fn has_mnist(folder: &Path) -> bool {
    let files = ["train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"];
    let holds = |folder: &Path| files.iter().any(|file| folder.join(file).exists());
    holds(folder) || holds(&folder.join("mnist"))
}

const TORCH: &str = "docs/results/compare/torch_bench.py";

fn has_gpu() -> bool {
    let listed = Command::new("nvidia-smi").arg("-L").output();
    listed.is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
}

/// Builds the program with these features; returns where it is.
fn build(features: &str) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--release", "--package", "sparsecode-tests"]);
    build.args(["--features", features, "--bin", "gpu"]);
    succeed(&mut build)?;
    Ok(target_dir().join("release").join("gpu"))
}

/// Puts program, script and data into a folder; returns how many bytes they are.
fn pack(folder: &Path, data: &Path) -> Result<u64> {
    let program = build("cuda")?;
    let write = |name: &str, from: &Path| -> Result<u64> {
        let to = folder.join(name);
        fs::copy(from, &to).with_context(|| format!("{} to {}", from.display(), to.display()))
    };
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let stripped = folder.join("gpu");
    succeed(Command::new("strip").arg("-o").arg(&stripped).arg(program))?;
    let mut bytes = fs::metadata(&stripped)?.len();
    bytes += write("torch_bench.py", &root().join(TORCH))?;
    let script = folder.join("run.sh");
    fs::write(&script, SCRIPT).with_context(|| script.display().to_string())?;
    if has_mnist(data) {
        let inner = data.join("mnist");
        let data = if has_mnist(&inner) { &inner } else { data };
        fs::create_dir_all(folder.join("data"))?;
        for entry in fs::read_dir(data).with_context(|| data.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let wanted = name.contains("-ubyte") || name.starts_with("MNIST_");
            if wanted && path.is_file() {
                bytes += write(&format!("data/{name}"), &path)?;
            }
        }
    } else {
        println!("{}: no MNIST, so it is not packed", data.display());
    }
    ensure!(
        bytes <= MOST_BYTES,
        "{}: {} MiB, more than {} MiB",
        folder.display(),
        bytes >> 20,
        MOST_BYTES >> 20
    );
    Ok(bytes)
}
