//! `cargo xtask bench precision`: what bits and iterations buy, and what they cost on a
//! microcontroller.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use sparsecode_lab::precision::{self, ITERATIONS, Inputs, Precision};
use sparsecode_lab::{Core, Tools};
use sparsecode_report::table::Table;

use crate::exit::SKIPPED;
use crate::results::{command_line, write_page};

/// PSNR, zeros, flash and instructions of a model with f32, i16 and i8 weights, and in integers,
/// with 4-bit weights and with 8-bit activations, too, after so many iterations of refinement.
///
/// Instructions are a Cortex-M4F's, in QEMU: preprocess, encode, refine with the Gram matrix,
/// decode.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = "\
Exit status: 0 done; 1 failed; 77 done, but without instructions, because the compiler or the \
emulator is missing.

Without arguments: the small ECG model of the repository.

Example:
  sparsecode export runs/mnist --weights f32 --output f32.safetensors
  sparsecode export runs/mnist --activations i16 --output integer.safetensors
  cargo xtask bench precision --model f32.safetensors --integer integer.safetensors --patches \
  digits.npy")]
pub(crate) struct Arguments {
    /// The model with f32 weights
    #[arg(long, requires_all = ["integer", "patches"])]
    model: Option<PathBuf>,
    /// The same model in integers
    #[arg(long, requires = "model")]
    integer: Option<PathBuf>,
    /// Noisy and clean patches, .npy of shape (2, n, d); a signal (2, 1, samples) is cut into
    /// windows
    #[arg(long, requires = "model")]
    patches: Option<PathBuf>,
    /// Only what the host computes
    #[arg(long)]
    no_device: bool,
    /// Write the table here as Markdown, with the command, the commit and the machine
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// Runs `cargo xtask bench precision`.
pub(crate) fn run(tools: &Tools, arguments: &Arguments) -> Result<ExitCode> {
    let default = Inputs::default();
    let inputs = Inputs {
        model: arguments.model.clone().unwrap_or(default.model),
        integer: arguments.integer.clone().unwrap_or(default.integer),
        patches: arguments.patches.clone().unwrap_or(default.patches),
    };
    let mut code = ExitCode::SUCCESS;
    if !arguments.no_device
        && let Err(missing) = Core::M4f.setup().ready(tools)
    {
        eprintln!("m4f: skipped: {missing}");
        code = ExitCode::from(SKIPPED);
    }
    let tools = (!arguments.no_device).then_some(tools);
    let text = text(&precision::run(&inputs, tools)?);
    println!("{text}");
    if let Some(path) = &arguments.markdown {
        write_page(
            path,
            "What bits and iterations buy",
            "PSNR and zeros of the device's code on the host, which are the device's to the bit.",
            &command_line(),
            "cpu",
            &text,
        )?;
    }
    Ok(code)
}

fn text(found: &Precision) -> String {
    let mut table = Table::new([
        "weights",
        "activations",
        "iterations",
        "PSNR, dB",
        "zeros",
        "model",
        "instructions",
    ]);
    for entry in &found.entries {
        for (index, (iterations, quality)) in ITERATIONS.iter().zip(&entry.quality).enumerate() {
            table.push([
                entry.weights.to_owned(),
                entry.activations.to_owned(),
                iterations.to_string(),
                format!("{:.2}", quality.psnr),
                format!("{:.1} %", 100.0 * quality.zeros),
                entry.bytes.to_string(),
                match entry.instructions {
                    Some(instructions) => instructions[index].to_string(),
                    None => "not run".to_owned(),
                },
            ]);
        }
    }
    format!(
        "{} of {}, {} → {}, {} patches with noise of deviation {:.3}. *Iterations* of FISTA after \
         the encoder; *model* is the file, in bytes of flash; \
         *instructions* of a Cortex-M4F from raw samples to clean ones, with the Gram matrix in \
         RAM (f32) or in the file (i16).\n\n{}",
        found.name,
        found.data,
        found.input_dim,
        found.code_dim,
        found.patches,
        found.noise,
        table.markdown()
    )
}
