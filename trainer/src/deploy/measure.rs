//! What a model file costs against the run that it came from, measured by running it as the device
//! does.

use rand_distr::{Distribution, StandardNormal};
use serde::Serialize;
use sparsecode_runtime::CodeBuffer;

use crate::data::Dataset;
use crate::deploy::denoise::{DenoiseError, Layout, Window, denoise};
use crate::deploy::{HostError, HostModel, HostRefine};
use crate::lista::evaluate;
use crate::rng::generator;

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

/// Encodes `inputs` (preprocessed, one sample after the other, as many as `clean` has), and
/// compares their reconstructions with `clean`.
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
        sums.0 += evaluate::psnr(&output, clean.sample(index), &clean.restore, index, peak);
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

/// Figures of a model file on a recording, a picture or an array, run as a device runs it: windows
/// that overlap, averaged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recorded {
    /// Windows, patches or samples.
    pub windows: usize,
    /// Deviation of the noise that was added, in preprocessed units; `None` for the values as they
    /// are.
    pub noise: Option<f64>,
    /// PSNR of the noisy values against those that were given, in dB; `None` without noise.
    pub psnr_input: Option<f64>,
    /// PSNR of what comes out against the values that were given, in dB, over all of them; the peak
    /// is the model's.
    pub psnr: f64,
    /// Root mean square, over all windows, of what the reconstruction leaves of the input; in raw
    /// units.
    pub residual_rms: f64,
    /// (1/d)‖y − ŷ‖² + λ‖z‖₁, the mean over windows; preprocessed units, λ as trained.
    pub energy: f64,
    /// Fraction of code components that are exactly 0.
    pub sparsity: f64,
    /// ‖z‖₁, the mean over windows.
    pub code_l1: f64,
    /// Code components that are 0 in every window.
    pub dead_atoms: usize,
}

/// Runs a model file over values in raw units, and measures each window and the whole. `noise` is
/// the deviation, in preprocessed units, of Gaussian noise that is added first: a function of the
/// file's seed alone, scaled.
///
/// # Errors
///
/// As [`denoise`].
pub fn measure_recorded(
    host: &mut HostModel<'_>,
    values: &[f32],
    layout: Layout,
    noise: Option<f64>,
    refine: Option<&HostRefine>,
) -> Result<(Recorded, Vec<Window>), DenoiseError> {
    let spec = *host.spec();
    let mut input = values.to_vec();
    if let Some(sigma) = noise {
        let mut rng = generator(spec.provenance.seed, evaluate::EVALUATION_NOISE);
        let raw = (sigma * f64::from(spec.preprocessing.deviation)) as f32;
        for x in &mut input {
            let draw: f32 = StandardNormal.sample(&mut rng);
            *x += raw * draw;
        }
    }
    let mut windows = Vec::new();
    let mut used = vec![false; spec.code_dim()];
    let clean = denoise(host, &input, layout, refine, &mut |window, code| {
        windows.push(*window);
        for &atom in code.indices() {
            used[usize::from(atom)] = true;
        }
    })?;
    let mean = |of: &dyn Fn(&Window) -> f64| {
        windows.iter().map(of).sum::<f64>() / windows.len().max(1) as f64
    };
    let peak = f64::from(spec.peak);
    let figures = Recorded {
        windows: windows.len(),
        noise,
        psnr_input: noise.map(|_| psnr_raw(&input, values, peak)),
        psnr: psnr_raw(&clean, values, peak),
        residual_rms: mean(&|window| window.residual_rms.powi(2)).sqrt(),
        energy: mean(&|window| window.energy),
        sparsity: 1.0 - mean(&|window| window.active as f64) / used.len() as f64,
        code_l1: mean(&|window| window.code_l1),
        dead_atoms: used.iter().filter(|used| !**used).count(),
    };
    Ok((figures, windows))
}

/// PSNR of raw values against others, in dB: `10 log10(peak²/MSE)`; 40 dB if there is no error.
pub fn psnr_raw(estimate: &[f32], clean: &[f32], peak: f64) -> f64 {
    let errors = estimate.iter().zip(clean);
    let squares = errors.map(|(a, b)| f64::from(a - b).powi(2));
    let mse = squares.sum::<f64>() / clean.len().max(1) as f64;
    if mse == 0.0 {
        evaluate::EXACT_PSNR
    } else {
        10.0 * (peak * peak / mse).log10()
    }
}

/// Signal-to-noise ratio of raw values against clean ones, in dB: `10 log10(Σx² / Σe²)`, of the
/// clean values less their mean. Infinite if there is no error.
pub fn snr_raw(estimate: &[f32], clean: &[f32]) -> f64 {
    let count = clean.len().max(1) as f64;
    let mean = clean.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
    let signal: f64 = clean.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum();
    let errors = estimate.iter().zip(clean);
    let noise: f64 = errors.map(|(a, b)| f64::from(a - b).powi(2)).sum();
    10.0 * (signal / noise).log10()
}
