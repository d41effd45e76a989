use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::common::check_extension;
use super::input::check_output;
use crate::data::npy::write_npy_f32;
use crate::deploy::{HostModel, read_model};

/// Reconstruct samples (.npy, N×d) from codes (.npy, N×l)
///
/// The samples are in raw units: the mean and deviation of the data set are undone. A code does not
/// know what was normalised patch by patch (the patch's own mean or contrast); that stays
/// normalised.
#[derive(Args)]
#[command(
    after_help = "Example:\n  sparsecode decode model.safetensors --input Z.npy --output Y.npy"
)]
pub(super) struct Arguments {
    /// Model file
    file: PathBuf,
    /// Codes, not negative
    #[arg(long, value_name = "Z.npy")]
    input: PathBuf,
    /// Samples to write, in raw units
    #[arg(long, value_name = "Y.npy")]
    output: PathBuf,
    /// Allow the output to replace the input
    #[arg(long)]
    overwrite: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    check_extension(&arguments.input, &["npy"])?;
    check_extension(&arguments.output, &["npy"])?;
    check_output(&arguments.output, &[&arguments.input], arguments.overwrite)?;
    let bytes = read_model(&arguments.file)?;
    let mut host = HostModel::new(&bytes, &arguments.file.display().to_string())?;
    let (d, l) = (host.spec().input_dim(), host.spec().code_dim());
    let (_, count, codes) = super::common::read_rows(&arguments.input, l)?;
    let mut samples = vec![0.0f32; count * d];
    for (row, (code, sample)) in codes
        .chunks_exact(l)
        .zip(samples.chunks_exact_mut(d))
        .enumerate()
    {
        host.decode_dense(row, code, sample)
            .with_context(|| arguments.input.display().to_string())?;
    }
    write_npy_f32(&arguments.output, &[count, d], &samples)?;
    println!("{}: {count} samples of {d}", arguments.output.display());
    Ok(())
}
