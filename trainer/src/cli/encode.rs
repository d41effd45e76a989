use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use sparsecode_runtime::CodeBuffer;

use super::common::{check_extension, print_json};
use super::input::{UnitFlags, check_output, known};
use super::refine::RefineFlags;
use crate::data::npy::write_npy_f32;
use crate::deploy::units::Stored;
use crate::deploy::{HostModel, read_model};
use crate::report::table::percent;

/// Encode raw samples (.npy, N×d or N×h×w) into codes (.npy, N×l)
///
/// The samples are preprocessed as the model file says. Models with local contrast normalisation
/// take patches with their surroundings: N×52×52 for patches of 28×28 and a window of 13. Models
/// without an encoder find codes by FISTA.
#[derive(Args)]
#[command(
    after_help = "Example:\n  sparsecode encode model.safetensors --input X.npy --output Z.npy --refine 20"
)]
pub(super) struct Arguments {
    /// Model file
    file: PathBuf,
    /// Samples in the model's unit: for MNIST models pixels in [0, 1]
    #[arg(long, value_name = "X.npy")]
    input: PathBuf,
    /// Codes to write
    #[arg(long, value_name = "Z.npy")]
    output: PathBuf,
    /// Allow the output to replace the input
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    refine: RefineFlags,
    #[command(flatten)]
    units: UnitFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    check_extension(&arguments.input, &["npy"])?;
    check_extension(&arguments.output, &["npy"])?;
    check_output(&arguments.output, &[&arguments.input], arguments.overwrite)?;
    let bytes = read_model(&arguments.file)?;
    let mut host = HostModel::new(&bytes, &arguments.file.display().to_string())?;
    let l = host.spec().code_dim();
    let (height, width) = host.raw_shape();
    let known = known(&host, &bytes, &arguments.file)?;
    let dim = height * width;
    let (number_type, count, mut samples) = super::common::read_rows(&arguments.input, dim)
        .with_context(|| format!("the model takes raw samples of {height}x{width}"))?;
    let stored = Stored::Numbers { number_type };
    let (units, name) = (&arguments.units, arguments.input.display().to_string());
    let unit = units.unit(&known, stored, &samples, &arguments.input)?;
    unit.to_raw(&mut samples);
    units.check(&known, stored, &samples, &name)?;
    let refine = arguments.refine.settings(&host)?;
    let mut codes = vec![0.0f32; count * l];
    let mut active = 0usize;
    for (sample, code) in samples
        .chunks_exact(height * width)
        .zip(codes.chunks_exact_mut(l))
    {
        host.encode_raw(sample, refine.as_ref())?;
        host.code().to_dense(code);
        active += host.code().active();
    }
    write_npy_f32(&arguments.output, &[count, l], &codes)?;
    let sparsity = 1.0 - active as f64 / codes.len().max(1) as f64;
    if arguments.json {
        return print_json(&serde_json::json!({
            "output": arguments.output, "samples": count, "code_dim": l, "sparsity": sparsity
        }));
    }
    println!(
        "{}: {count} codes of {l}, {} zeros",
        arguments.output.display(),
        percent(sparsity)
    );
    Ok(())
}
