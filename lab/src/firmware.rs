//! The firmware on every core that QEMU models, held to the host's results.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use sparsecode_formats::{AlignedBytes, ModelFile, Variant};
use sparsecode_patches::Patches;
use sparsecode_runtime::Method;

use crate::cores::{Core, Row, Setup, on_cores};
use crate::elf::{self, Footprint};
use crate::host::{self, Checksums, Reference};
use crate::log::Log;
use crate::toolchain::{Toolchain, Tools};
use crate::{root, signed, succeed};

/// The firmware's workspace.
pub fn folder() -> PathBuf {
    root().join("firmware-example")
}

/// What is embedded, where it is built, and how long a core gets.
#[derive(Debug, Clone)]
pub struct Files {
    /// The model file; the firmware's own by default.
    pub model: Option<PathBuf>,
    /// Noisy and clean patches for it; the firmware's own by default.
    pub patches: Option<PathBuf>,
    /// How many patches are used, the first ones; all by default.
    pub patch_limit: Option<usize>,
    /// Longest time of a core in QEMU.
    pub timeout: Duration,
    /// Where cargo builds; `firmware-example/target` by default.
    pub target_dir: Option<PathBuf>,
    /// Whether the firmware's log goes to standard error.
    pub verbose: bool,
}

impl Files {
    /// The default time limit.
    pub const TIMEOUT: Duration = Duration::from_secs(300);
}

impl Default for Files {
    fn default() -> Self {
        Self {
            model: None,
            patches: None,
            patch_limit: None,
            timeout: Self::TIMEOUT,
            target_dir: None,
            verbose: false,
        }
    }
}

/// The files that are embedded, read, and how they are built.
#[derive(Debug)]
pub struct Job {
    pub(crate) model_path: PathBuf,
    pub(crate) model: AlignedBytes,
    pub(crate) patches_path: PathBuf,
    pub(crate) patches: Patches,
    patch_limit: Option<usize>,
    /// Iterations of `stream`, and how.
    pub(crate) refine: u32,
    pub(crate) method: Method,
    timeout: Duration,
    target_dir: PathBuf,
    verbose: bool,
}

/// Sizes that a core's firmware may not exceed, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Of the model in flash.
    pub model: Option<u64>,
    /// Of patch, code and workspace in RAM.
    pub scratch: Option<u64>,
}

/// What a core's firmware measured of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurements {
    /// Flash and static RAM.
    #[serde(flatten)]
    pub footprint: Footprint,
    /// Bytes of patch, code and workspace.
    pub scratch: u64,
    /// Deepest stack of the inference, in bytes.
    pub stack: u64,
    /// Deepest stack of the whole program, logging included.
    pub stack_with_log: u64,
    /// Instructions to encode a patch, a mean over the patches.
    pub encode: u64,
    /// Instructions of one iteration of refinement.
    pub refine: u64,
    /// Instructions to decode a code.
    pub decode: u64,
    /// Instructions of the whole path with refinement.
    pub denoise: u64,
    /// Active atoms of the encoder's code, a mean over the patches.
    pub active: f32,
    /// Iterations of a refinement, a mean over the patches.
    pub iterations: f32,
    /// PSNR of the noisy patches in dB, a mean as the next two are.
    pub noisy: f32,
    /// PSNR of the patches denoised by the encoder's code.
    pub denoised: f32,
    /// PSNR of the patches denoised by the refined code.
    pub refined: f32,
    /// CRC-32 of all codes and patches: those of the host.
    pub checksums: Checksums,
}

/// The feature of the firmware that a model file asks for.
fn feature_of(model: &AlignedBytes) -> Option<&'static str> {
    let spec = match ModelFile::read(model) {
        Ok(file) => Ok(file.spec),
        Err(_) => model.integer_file().and_then(|file| file.spec()),
    };
    match spec.ok()?.variant {
        Variant::Denoise => Some("denoise"),
        Variant::Variational => Some("variational"),
        _ => None,
    }
}

impl Job {
    /// Reads the files.
    ///
    /// # Errors
    /// If a file cannot be read, or the patches' file is none.
    pub fn of(files: &Files) -> Result<Self> {
        let absolute = |path: &Option<PathBuf>, default: &str| {
            let path = path.clone().unwrap_or_else(|| folder().join(default));
            fs::canonicalize(&path).with_context(|| path.display().to_string())
        };
        let model_path = absolute(&files.model, "model/model.safetensors")?;
        let patches_path = absolute(&files.patches, "model/patches.npy")?;
        let model =
            AlignedBytes::read(&model_path).with_context(|| model_path.display().to_string())?;
        let patches = Patches::parse(&fs::read(&patches_path)?, files.patch_limit)
            .with_context(|| patches_path.display().to_string())?;
        let target_dir = match &files.target_dir {
            Some(folder) => std::path::absolute(folder)?,
            None => folder().join("target"),
        };
        Ok(Self {
            model_path,
            model,
            patches_path,
            patches,
            patch_limit: files.patch_limit,
            refine: 0,
            method: Method::default(),
            timeout: files.timeout,
            target_dir,
            verbose: files.verbose,
        })
    }

    /// The same files for `stream`: at most `iterations` of refinement for a window, by `method`.
    pub fn refined(self, iterations: u32, method: Method) -> Self {
        Self {
            refine: iterations,
            method,
            ..self
        }
    }

    /// Builds the firmware and, where asked, runs the test of the kernels; returns the firmware's
    /// ELF.
    fn build(&self, setup: &Setup, toolchain: &Toolchain) -> Result<PathBuf> {
        if setup.tests_itself {
            let log = |binary: &str| {
                let elf_path = self.build_binary(setup, toolchain, binary)?;
                let elf = fs::read(&elf_path).with_context(|| elf_path.display().to_string())?;
                self.log_of(setup, &elf_path, &elf)
            };
            let models = folder().join("model");
            let tested = log("self_test").context("a kernel differs from the portable one")?;
            signed::check(&tested, &models)?;
            let drawn = log("samples").context("the best of several samples is not found")?;
            signed::check_samples(&drawn, &models)?;
        }
        self.build_binary(setup, toolchain, "sparsecode-firmware")
    }

    /// Builds one program; returns its ELF.
    pub(crate) fn build_binary(
        &self,
        setup: &Setup,
        toolchain: &Toolchain,
        binary: &str,
    ) -> Result<PathBuf> {
        let mut cargo = toolchain.cargo_build(setup.target, setup.target_cpu);
        // All of the runtime has to be free of panics, and all kernels are tested.
        let all = matches!(binary, "no_panic" | "self_test" | "samples");
        let own = match all {
            true => Some("denoise,variational"),
            false => feature_of(&self.model),
        };
        let features = [setup.name].into_iter().chain(own).collect::<Vec<_>>();
        let features = features.join(",");
        cargo
            .current_dir(folder())
            .args(["--quiet", "--no-default-features"])
            .args(["--features", &features, "--bin", binary])
            .arg("--target-dir")
            .arg(&self.target_dir)
            .env("SPARSECODE_MODEL", &self.model_path)
            .env("SPARSECODE_PATCHES", &self.patches_path)
            .env("SPARSECODE_REFINE", self.refine.to_string())
            .env("SPARSECODE_METHOD", format!("{:?}", self.method))
            .env("DEFMT_LOG", "info");
        match self.patch_limit {
            Some(limit) => cargo.env("SPARSECODE_PATCH_LIMIT", limit.to_string()),
            None => cargo.env_remove("SPARSECODE_PATCH_LIMIT"),
        };
        succeed(&mut cargo)?;

        // M4F and M7, M33 and M55 share a target, so the next build would overwrite the file. What
        // it links is kept for both: cargo tells artifacts of different flags apart.
        let built = self
            .target_dir
            .join(setup.target)
            .join("release")
            .join(binary);
        let kept = self
            .target_dir
            .join("firmware")
            .join(format!("{}-{binary}.elf", setup.name));
        fs::create_dir_all(self.target_dir.join("firmware"))?;
        fs::copy(&built, &kept).with_context(|| built.display().to_string())?;
        Ok(kept)
    }

    /// Runs an ELF; its log, if it ended well.
    pub(crate) fn log_of(&self, setup: &Setup, elf_path: &Path, elf: &[u8]) -> Result<Log> {
        let (success, frames) = setup.machine.run(elf_path, self.timeout)?;
        let log = Log::decode(elf, &frames)?;
        if self.verbose {
            for line in &log.lines {
                eprintln!("{}: {line}", setup.name);
            }
        }
        if !success {
            bail!(
                "the firmware gave up: {}",
                log.lines.last().map_or("no log", String::as_str)
            );
        }
        Ok(log)
    }

    /// Runs an ELF and compares.
    fn emulate(&self, setup: &Setup, elf_path: &Path, limits: &Limits) -> Result<Measurements> {
        let elf = fs::read(elf_path).with_context(|| elf_path.display().to_string())?;
        let footprint = elf::footprint(&elf, &self.model)?;
        let log = self.log_of(setup, elf_path, &elf)?;
        let reference = host::reference(&self.model, &self.patches, log.value("refine budget")?)?;
        let measured = measurements(&log, footprint)?;
        check(&measured, &log, &reference)?;
        for (name, bytes, limit) in [
            ("model", measured.footprint.model, limits.model),
            ("scratch", measured.scratch, limits.scratch),
        ] {
            if let Some(limit) = limit {
                ensure!(
                    bytes <= limit,
                    "{name}: {bytes} bytes, the limit is {limit}"
                );
            }
        }
        Ok(measured)
    }
}

/// Builds the firmware for each core, runs it, and holds its results to the host's and to `limits`.
/// On one core for each kind of kernel, `self_test` runs before.
pub fn run(tools: &Tools, job: &Job, cores: &[Core], limits: &Limits) -> Vec<Row<Measurements>> {
    on_cores(
        tools,
        cores,
        |setup, toolchain| job.build(setup, toolchain),
        |core, _, elf| job.emulate(&core.setup(), elf, limits),
    )
}

fn measurements(log: &Log, footprint: Footprint) -> Result<Measurements> {
    let patches: f32 = log.value("patches")?;
    let iterations: f32 = log.value("refine iterations")?;
    Ok(Measurements {
        footprint,
        scratch: log.value("scratch bytes")?,
        stack: log.value("stack bytes")?,
        stack_with_log: log.value("stack bytes with log")?,
        encode: log.value("encode instructions")?,
        refine: log.value("refine instructions per iteration")?,
        decode: log.value("decode instructions")?,
        denoise: log.value("denoise instructions")?,
        active: log.value("active atoms")?,
        iterations: iterations / patches,
        noisy: log.value("psnr noisy")?,
        denoised: log.value("psnr denoised")?,
        refined: log.value("psnr refined")?,
        checksums: Checksums {
            encode: log.value("encode checksum")?,
            refine: log.value("refine checksum")?,
            decode: log.value("decode checksum")?,
            denoise: log.value("denoise checksum")?,
        },
    })
}

/// Holds a device's figures to the host's and to the ELF.
fn check(measured: &Measurements, log: &Log, reference: &Reference) -> Result<()> {
    let stages = |sums: Checksums| {
        [
            ("encode", sums.encode),
            ("refine", sums.refine),
            ("decode", sums.decode),
            ("denoise", sums.denoise),
        ]
    };
    for ((stage, found), (_, expected)) in stages(measured.checksums)
        .into_iter()
        .zip(stages(reference.checksums))
    {
        ensure!(
            found == expected,
            "the results of {stage} differ from the host's: checksum {found:08x}, the host's is \
             {expected:08x}"
        );
    }
    let psnr = [measured.noisy, measured.denoised, measured.refined];
    for (found, expected) in psnr.into_iter().zip(reference.psnr) {
        // Both through libm; only the printed digits differ.
        ensure!(
            (found - expected).abs() < 1e-3,
            "PSNR {found} dB, the host's is {expected} dB"
        );
    }
    let iterations: u64 = log.value("refine iterations")?;
    ensure!(
        iterations == reference.iterations,
        "{iterations} iterations, the host's are {}",
        reference.iterations
    );

    // The cell that hands the buffers out adds a flag.
    let symbol = measured.footprint.scratch;
    ensure!(
        (measured.scratch..=measured.scratch + 8).contains(&symbol),
        "the firmware prints {} bytes of scratch, its ELF has {symbol}",
        measured.scratch
    );
    check_counter(log)
}

/// Whether the emulator's clock counts instructions.
pub(crate) fn check_counter(log: &Log) -> Result<()> {
    let (counted, expected): (u64, u64) = (
        log.value("counter counted")?,
        log.value("counter expected")?,
    );
    ensure!(
        counted.abs_diff(expected) * 1000 <= expected,
        "the instruction counter gives {counted} for {expected} instructions: this QEMU's clock \
         is not what the board module expects"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKSUMS: Checksums = Checksums {
        encode: 1,
        refine: 2,
        decode: 3,
        denoise: 4,
    };

    fn log_with(replaced: &str, value: &str) -> Log {
        let values = [
            ("patches", "4"),
            ("refine iterations", "80"),
            ("scratch bytes", "1000"),
            ("stack bytes", "300"),
            ("stack bytes with log", "700"),
            ("encode instructions", "10"),
            ("refine instructions per iteration", "20"),
            ("decode instructions", "30"),
            ("denoise instructions", "40"),
            ("active atoms", "12.5"),
            ("psnr noisy", "14"),
            ("psnr denoised", "20"),
            ("psnr refined", "21"),
            ("encode checksum", "1"),
            ("refine checksum", "2"),
            ("decode checksum", "3"),
            ("denoise checksum", "4"),
            ("counter counted", "100000"),
            ("counter expected", "100002"),
        ];
        Log::from_lines(
            values
                .map(|(name, kept)| {
                    format!(
                        "info  {name} = {}",
                        if name == replaced { value } else { kept }
                    )
                })
                .into(),
        )
    }

    fn outcome(log: &Log, scratch: u64) -> Result<()> {
        let footprint = Footprint {
            flash: 1,
            model: 1,
            data: 0,
            ram: 1,
            scratch,
        };
        let reference = Reference {
            checksums: CHECKSUMS,
            psnr: [14.0, 20.0, 21.0],
            iterations: 80,
        };
        check(&measurements(log, footprint)?, log, &reference)
    }

    #[test]
    fn agreement_passes_and_each_difference_is_named() {
        outcome(&log_with("", ""), 1004).unwrap();
        for (name, value, complaint) in [
            ("decode checksum", "33", "results of decode"),
            ("psnr refined", "21.5", "PSNR 21.5"),
            ("refine iterations", "79", "79 iterations"),
            ("scratch bytes", "1008", "1008 bytes of scratch"),
            ("counter counted", "40", "instruction counter"),
        ] {
            let error = outcome(&log_with(name, value), 1004)
                .unwrap_err()
                .to_string();
            assert!(error.contains(complaint), "{error}");
        }
    }

    #[test]
    fn every_core_has_its_memory_map_and_feature() {
        let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
        for core in Core::ALL {
            let name = core.name();
            assert!(
                folder().join("memory").join(format!("{name}.x")).exists(),
                "{name}"
            );
            assert!(manifest.contains(&format!("\n{name} = []")), "{name}");
        }
    }
}
