//! `cargo xtask firmware`: the firmware on every core that QEMU models, held to the host's results.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use sparsecode_formats::AlignedBytes;
use sparsecode_runtime::Method;

pub(crate) mod bench;
mod budget;
mod cores;
pub(crate) mod elf;
pub(crate) mod host;
mod integer;
mod log;
pub(crate) mod model;
#[path = "../../../firmware-example/npy.rs"]
pub(crate) mod npy;
pub(crate) mod precision;
pub(crate) mod qemu;
mod report;
mod signed;
pub(crate) mod stream;

pub(crate) use cores::{Core, Setup};
use host::{Checksums, Reference};
use log::Log;
use npy::Patches;
use report::{Measurements, Outcome, Row};

use crate::toolchain::Toolchain;
use crate::{SKIPPED, succeed};

/// Build the firmware for each core, run it in QEMU, and hold its results to the host's.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 every core ran and agrees with the host; 1 something failed; 2 usage; 77 nothing failed, but a core was
skipped because its compiler or emulator is missing.

Examples:
  cargo xtask firmware
  cargo xtask firmware --core m4f --model big.safetensors --patches big.npy --max-model 225000 --max-scratch 8192")]
pub(crate) struct Arguments {
    /// Run only these cores (repeatable, or separated by commas)
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with = "all")]
    core: Vec<Core>,
    /// Run every core (the default)
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    files: Files,
    /// Fail if the model takes more flash than this, in bytes
    #[arg(long, value_name = "BYTES")]
    max_model: Option<u64>,
    /// Fail if patch, code and workspace take more RAM than this, in bytes
    #[arg(long, value_name = "BYTES")]
    max_scratch: Option<u64>,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// The firmware's workspace.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("firmware-example")
}

/// The files that are embedded, and what the options ask for.
pub(crate) struct Job {
    model_path: PathBuf,
    model: AlignedBytes,
    patches_path: PathBuf,
    patches: Patches,
    patch_limit: Option<usize>,
    /// Iterations of `stream`, and how.
    refine: u32,
    method: Method,
    max_model: Option<u64>,
    max_scratch: Option<u64>,
    timeout: Duration,
    target_dir: PathBuf,
    verbose: bool,
}

fn at_least_1(text: &str) -> Result<usize, &'static str> {
    let number = text.parse().ok();
    number
        .filter(|number| *number > 0)
        .ok_or("expected 1 or more")
}

/// What is embedded, where it is built, and how long a core gets.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Files {
    /// Model file to embed [default: the firmware's own]
    #[arg(long)]
    model: Option<PathBuf>,
    /// Noisy and clean patches, .npy of shape (2, n, d), for --model [default: the firmware's own]
    #[arg(long)]
    patches: Option<PathBuf>,
    /// Use only the first patches (they take flash, too)
    #[arg(long, value_name = "N", value_parser = at_least_1)]
    patch_limit: Option<usize>,
    /// Give a core at most this long in QEMU
    #[arg(long, default_value_t = Self::TIMEOUT, value_name = "SECONDS")]
    timeout: u64,
    /// Where cargo builds [default: firmware-example/target]
    #[arg(long, value_name = "FOLDER")]
    target_dir: Option<PathBuf>,
    /// Print the firmware's log, too
    #[arg(long)]
    verbose: bool,
}

impl Files {
    const TIMEOUT: u64 = 300;
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

impl Job {
    fn new(arguments: &Arguments) -> Result<Self> {
        Ok(Self {
            max_model: arguments.max_model,
            max_scratch: arguments.max_scratch,
            ..Self::of(&arguments.files)?
        })
    }

    pub(crate) fn of(arguments: &Files) -> Result<Self> {
        let absolute = |path: &Option<PathBuf>, default: &str| {
            let path = path.clone().unwrap_or_else(|| folder().join(default));
            fs::canonicalize(&path).with_context(|| path.display().to_string())
        };
        let model_path = absolute(&arguments.model, "model/model.safetensors")?;
        let patches_path = absolute(&arguments.patches, "model/patches.npy")?;
        let model =
            AlignedBytes::read(&model_path).with_context(|| model_path.display().to_string())?;
        let patches = Patches::parse(&fs::read(&patches_path)?, arguments.patch_limit)
            .map_err(anyhow::Error::msg)
            .with_context(|| patches_path.display().to_string())?;
        let target_dir = match &arguments.target_dir {
            Some(folder) => std::path::absolute(folder)?,
            None => folder().join("target"),
        };
        Ok(Self {
            model_path,
            model,
            patches_path,
            patches,
            patch_limit: arguments.patch_limit,
            refine: 0,
            method: Method::default(),
            max_model: None,
            max_scratch: None,
            timeout: Duration::from_secs(arguments.timeout),
            target_dir,
            verbose: arguments.verbose,
        })
    }

    /// Builds one core; what comes back runs and checks it. Nothing is built for a core that cannot
    /// run here.
    fn start(&self, setup: Setup) -> impl FnOnce() -> Row + Send {
        let ready = setup.ready();
        let built = ready.clone().map(|toolchain| {
            eprintln!("{}: {} through {toolchain}", setup.name, setup.target);
            self.build(&setup, &toolchain)
        });
        move || {
            let outcome = match built {
                Err(missing) => Ok(Outcome::Skipped(missing)),
                Ok(built) => built.and_then(|elf| self.emulate(&setup, &elf)),
            };
            Row {
                core: setup.name,
                toolchain: ready.map_or_else(|_| String::new(), |toolchain| toolchain.to_string()),
                outcome: outcome.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}"))),
            }
        }
    }

    /// Builds the firmware and, where asked, runs the test of the kernels; returns the firmware's
    /// ELF.
    fn build(&self, setup: &Setup, toolchain: &Toolchain) -> Result<PathBuf> {
        if setup.tests_itself {
            let elf_path = self.build_binary(setup, toolchain, "self_test")?;
            let elf = fs::read(&elf_path).with_context(|| elf_path.display().to_string())?;
            let log = self
                .log_of(setup, &elf_path, &elf)
                .context("a kernel differs from the portable one")?;
            signed::check(&log)?;
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
        cargo
            .current_dir(folder())
            .args(["--quiet", "--no-default-features"])
            .args(["--features", setup.name, "--bin", binary])
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

        // M4F and M7, M33 and M55 share a target, so the next build would overwrite the file.
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
    fn log_of(&self, setup: &Setup, elf_path: &Path, elf: &[u8]) -> Result<Log> {
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
    fn emulate(&self, setup: &Setup, elf_path: &Path) -> Result<Outcome> {
        let elf = fs::read(elf_path).with_context(|| elf_path.display().to_string())?;
        let footprint = elf::footprint(&elf, &self.model)?;
        let log = self.log_of(setup, elf_path, &elf)?;
        let reference = host::reference(&self.model, &self.patches, log.value("refine budget")?)?;
        let measured = measurements(&log, footprint)?;
        check(&measured, &log, &reference)?;
        for (name, bytes, limit) in [
            ("model", measured.footprint.model, self.max_model),
            ("scratch", measured.scratch, self.max_scratch),
        ] {
            if let Some(limit) = limit {
                ensure!(
                    bytes <= limit,
                    "{name}: {bytes} bytes, the limit is {limit}"
                );
            }
        }
        Ok(Outcome::Passed(Box::new(measured)))
    }
}

fn measurements(log: &Log, footprint: elf::Footprint) -> Result<Measurements> {
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
            "the results of {stage} differ from the host's: checksum {found:08x}, the host's is {expected:08x}"
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
fn check_counter(log: &Log) -> Result<()> {
    let (counted, expected): (u64, u64) = (
        log.value("counter counted")?,
        log.value("counter expected")?,
    );
    ensure!(
        counted.abs_diff(expected) * 1000 <= expected,
        "the instruction counter gives {counted} for {expected} instructions: this QEMU's clock is not what the board module expects"
    );
    Ok(())
}

/// Runs `cargo xtask firmware`.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let job = Job::new(arguments)?;
    let cores = if arguments.core.is_empty() {
        Core::value_variants()
    } else {
        &arguments.core
    };
    // While one core runs in its emulator, the next is built.
    let rows: Vec<Row> = thread::scope(|scope| {
        let running: Vec<_> = cores
            .iter()
            .map(|core| scope.spawn(job.start(core.setup())))
            .collect();
        running
            .into_iter()
            .map(|core| core.join().expect("a thread that does not panic"))
            .collect()
    });
    if arguments.json {
        println!("{:#}", report::json(&rows));
    } else {
        print!("{}", report::table(&rows));
    }
    Ok(ExitCode::from(exit_status(&rows)))
}

fn exit_status(rows: &[Row]) -> u8 {
    if rows
        .iter()
        .any(|row| matches!(row.outcome, Outcome::Failed(_)))
    {
        1
    } else if rows
        .iter()
        .any(|row| matches!(row.outcome, Outcome::Skipped(_)))
    {
        SKIPPED
    } else {
        0
    }
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
        let footprint = elf::Footprint {
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
    fn skipped_is_neither_success_nor_failure() {
        let row = |outcome| Row {
            core: "m4f",
            toolchain: String::new(),
            outcome,
        };
        let skipped = || row(Outcome::Skipped("no emulator".into()));
        let failed = row(Outcome::Failed("differs".into()));
        assert_eq!(exit_status(&[]), 0);
        assert_eq!(exit_status(&[skipped()]), SKIPPED);
        assert_eq!(exit_status(&[skipped(), failed]), 1);
    }

    #[test]
    fn every_core_has_its_memory_map_and_feature() {
        let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
        for core in Core::value_variants() {
            let name = core.setup().name;
            assert!(
                folder().join("memory").join(format!("{name}.x")).exists(),
                "{name}"
            );
            assert!(manifest.contains(&format!("\n{name} = []")), "{name}");
            assert_eq!(core.to_possible_value().unwrap().get_name(), name);
        }
    }
}
