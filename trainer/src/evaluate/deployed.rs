//! What a model file costs against the run that it came from, measured by running it as the device does.

use serde::Serialize;

use crate::data::Dataset;
use crate::export::{HostError, HostModel, HostRefine};
use sparsecode_runtime::CodeBuffer;

/// Figures of a model file on some samples, means over them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deployed {
    /// Samples measured.
    pub samples: usize,
    /// PSNR against the clean samples, in dB, in raw units.
    pub psnr: f64,
    /// Fraction of code components that are exactly 0.
    pub sparsity: f64,
    /// For each atom, in how many samples it is active.
    pub usage: Vec<u32>,
    /// Wall time for a sample on this machine: encode, refine, decode.
    pub seconds: f64,
}

/// Encodes `inputs` (preprocessed, one sample after the other, as many as `clean` has), and compares their reconstructions
/// with `clean`.
///
/// # Errors
///
/// If the samples' dimension is not the model's.
pub fn measure(
    host: &mut HostModel<'_>,
    inputs: &[f32],
    clean: &Dataset,
    peak: f64,
    refine: Option<&HostRefine>,
) -> std::result::Result<Deployed, HostError> {
    let mut usage = vec![0u32; host.spec().code_dim()];
    let mut output = vec![0.0; clean.dim];
    let mut sums = (0.0, 0.0);
    let mut seconds = 0.0;
    let count = clean.len();
    for (index, input) in inputs.chunks_exact(clean.dim).take(count).enumerate() {
        let started = std::time::Instant::now();
        host.encode(input, refine)?;
        host.reconstruct(&mut output)?;
        seconds += started.elapsed().as_secs_f64();
        sums.0 += super::psnr(&output, clean.sample(index), &clean.restore, index, peak);
        sums.1 += 1.0 - host.code().active() as f64 / usage.len() as f64;
        for &atom in host.code().indices() {
            usage[usize::from(atom)] += 1;
        }
    }
    let mean = |sum: f64| sum / count.max(1) as f64;
    Ok(Deployed {
        samples: count,
        psnr: mean(sums.0),
        sparsity: mean(sums.1),
        usage,
        seconds: mean(seconds),
    })
}
