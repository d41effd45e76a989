//! The types of the code that trains with candle's own tensors on a GPU, on any machine.
//!
//! What stands in the way of `cargo check --features candle-cuda` are build scripts that call
//! `nvcc`: one for CUDA's version, one to compile candle's kernels for ten minutes. Neither their
//! output nor CUDA's libraries are looked at when only types are checked, so a stand-in that says
//! its version and writes empty files will do.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{cargo, succeed, target_dir};

/// The stand-in. cudarc reads the fourth line of `--version`, cudaforge the word after `release`.
const NVCC: &str = r#"#!/bin/sh
# Not a compiler: it writes empty files, for checks of types.
case "$*" in
*--version*)
    echo "nvcc: a stand-in for checks of types"
    echo "It compiles nothing"
    echo "It comes from cargo xtask cuda"
    echo "Cuda compilation tools, release 13.0, V13.0.0"
    exit 0
    ;;
--list-gpu-code)
    echo sm_90
    exit 0
    ;;
esac
output= folder=. extension= source=
while [ $# -gt 0 ]; do
    case "$1" in
    -o | --output-file) output=$2; shift ;;
    -odir | --output-directory) folder=$2; shift ;;
    --ptx | -ptx) extension=ptx ;;
    --cubin | -cubin) extension=cubin ;;
    --fatbin | -fatbin) extension=fatbin ;;
    *.cu) source=$1 ;;
    esac
    shift
done
if [ -z "$output" ] && [ -n "$extension" ] && [ -n "$source" ]; then
    name=${source##*/}
    output=$folder/${name%.cu}.$extension
fi
[ -z "$output" ] || : >"$output"
"#;

/// Checks the types of the trainer with feature `candle-cuda`; `None` where the stand-in, a shell
/// script, does not run. Nothing is compiled for a GPU, nothing linked, nothing run.
///
/// # Errors
/// If a type is wrong.
pub fn check() -> Result<Option<()>> {
    if !cfg!(unix) {
        return Ok(None);
    }
    let folder = target_dir().join("candle-cuda");
    let nvcc = write_nvcc(&folder)?;
    let mut path = OsString::from(nvcc.parent().unwrap_or(&folder));
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut check = cargo();
    check
        .args(["check", "--quiet", "--package", "sparsecode-trainer"])
        .args(["--features", "candle-cuda", "--lib", "--bins"])
        .env("PATH", path)
        .env("NVCC", &nvcc)
        .env("CUDA_HOME", &folder)
        .env("CUDA_COMPUTE_CAP", "90");
    for other in [
        "CUDA_PATH",
        "CUDA_ROOT",
        "CUDA_TOOLKIT_ROOT_DIR",
        "CUDARC_CUDA_VERSION",
        "NVCC_CCBIN",
    ] {
        check.env_remove(other);
    }
    succeed(&mut check)?;
    Ok(Some(()))
}

/// Writes the stand-in to `toolkit/bin/nvcc`, where its build scripts derive the other folders
/// from.
fn write_nvcc(toolkit: &Path) -> Result<PathBuf> {
    let path = toolkit.join("bin").join("nvcc");
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(toolkit.join("bin"))?;
        // A newer file would make build scripts run again.
        if fs::read(&path).is_ok_and(|found| found == NVCC.as_bytes()) {
            return Ok(());
        }
        fs::write(&path, NVCC)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    };
    write().with_context(|| path.display().to_string())?;
    Ok(path)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_stand_in_writes_what_is_asked_for() {
        let folder = std::env::temp_dir().join(format!("sparsecode-nvcc-{}", std::process::id()));
        let nvcc = write_nvcc(&folder).unwrap();
        let run = |arguments: &[&str]| {
            let output = Command::new(&nvcc)
                .args(arguments)
                .current_dir(&folder)
                .output()
                .unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        };
        // As cudarc reads it.
        let version = run(&["--version"]);
        let line = version.lines().nth(3).unwrap();
        let release = line.split(", ").nth(1).unwrap();
        assert_eq!(release.split(' ').nth(1), Some("13.0"));

        run(&[
            "-gencode=arch=compute_90a,code=sm_90a",
            "-c",
            "-o",
            "a.o",
            "-O3",
            "src/a.cu",
        ]);
        run(&["--ptx", "--output-directory", "bin", "-O3", "src/unary.cu"]);
        run(&["--lib", "-o", "libmoe.a", "a.o"]);
        for name in ["a.o", "bin/unary.ptx", "libmoe.a"] {
            assert!(folder.join(name).exists(), "{name}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
