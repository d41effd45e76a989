//! `cargo xtask firmware` and `cargo xtask firmware-model`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use sparsecode_lab::firmware::{self, Job, Limits, Measurements};
use sparsecode_lab::{Core, Row, Tools, model, status};
use sparsecode_report::table::thousands;

use super::{FileArguments, core, cores, exit_code, without};

/// Build the firmware for each core, run it in QEMU, and hold its results to the host's.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 every core ran and agrees with the host; 1 something failed; 2 usage; 77 nothing \
failed, but a core was
skipped because its compiler or emulator is missing.

Examples:
  cargo xtask firmware
  cargo xtask firmware --core m4f --model big.safetensors --patches big.npy --max-model 225000 \
  --max-scratch 8192")]
pub(crate) struct Arguments {
    /// Run only these cores (repeatable, or separated by commas)
    #[arg(long, value_parser = core(), value_delimiter = ',', conflicts_with = "all")]
    core: Vec<Core>,
    /// Run every core (the default)
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    files: FileArguments,
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

/// Runs `cargo xtask firmware`.
pub(crate) fn run(tools: &Tools, arguments: &Arguments) -> Result<ExitCode> {
    let job = Job::of(&arguments.files.files())?;
    let limits = Limits {
        model: arguments.max_model,
        scratch: arguments.max_scratch,
    };
    let rows = firmware::run(tools, &job, &cores(&arguments.core), &limits);
    match arguments.json {
        true => println!("{:#}", json!({ "cores": rows })),
        false => print!("{}", text(&rows)),
    }
    Ok(exit_code(status(&rows)))
}

const HEADINGS: [&str; 12] = [
    "core",
    "flash",
    "model",
    "RAM static",
    "scratch",
    "stack",
    "encode",
    "refine/iter",
    "decode",
    "denoise",
    "PSNR dB",
    "checksum",
];

/// The table, then what its columns mean, then the cores without figures.
fn text(rows: &[Row<Measurements>]) -> String {
    let table = super::table(&HEADINGS, rows, |found| {
        vec![
            thousands(found.footprint.flash),
            thousands(found.footprint.model),
            thousands(found.footprint.ram),
            thousands(found.scratch),
            thousands(found.stack),
            thousands(found.encode),
            thousands(found.refine),
            thousands(found.decode),
            thousands(found.denoise),
            format!(
                "{:.2} > {:.2} > {:.2}",
                found.noisy, found.denoised, found.refined
            ),
            format!("{:08x} ok", found.checksums.all()),
        ]
    });
    let meaning = "\
flash to stack: bytes (stack: inference alone). encode to denoise: instructions for a patch as \
QEMU executes them,
not cycles: no pipeline, wait states or caches. denoise is the whole path with refinement. PSNR: \
noisy > encoder's
code > refined code. checksum: codes and reconstructions, bit for bit those of the host.
";
    let table = table.map_or_else(String::new, |table| format!("{table}\n{meaning}"));
    table + &without(rows)
}

/// Puts an exported model and its patches into the firmware, after checking that they fit each
/// other.
///
/// `sparsecode quickstart` writes all of them: `model.safetensors`, `integer.safetensors` and
/// `patches.npy`.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Example:
  cargo run --release -- quickstart --output quickstart
  cargo xtask firmware-model --from quickstart
  cargo xtask firmware")]
pub(crate) struct Model {
    /// Folder with model.safetensors, integer.safetensors and patches.npy, of shape (2, n, d):
    /// noisy, then clean, in raw samples
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// Keep only the first patches (they take flash, too)
    #[arg(long, default_value_t = 4, value_name = "N")]
    patches: usize,
    /// Where to put the files [default: firmware-example/model]
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Runs `cargo xtask firmware-model`.
pub(crate) fn install(arguments: &Model) -> Result<ExitCode> {
    let output = arguments.output.clone();
    let output = output.unwrap_or_else(|| firmware::folder().join("model"));
    let installed = model::install(&arguments.from, arguments.patches, &output)?;
    for (name, bytes) in &installed.files {
        println!("{}: {bytes} bytes", output.join(name).display());
    }
    let [noisy, denoised, refined] = installed.psnr;
    println!(
        "{} patches: PSNR {noisy:.2} dB noisy, {denoised:.2} dB by the encoder's code, \
         {refined:.2} dB refined",
        installed.patches
    );
    Ok(ExitCode::SUCCESS)
}
