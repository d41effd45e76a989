//! What a model file takes off noise that was added to a recording.

use serde::Serialize;

use super::HostModel;
use super::denoise::{DenoiseError, Layout, denoise};
use super::qrs::{Beats, beats};
use crate::denoising::{Noise, level};
use crate::rng::{Stream, generator};

/// Random numbers of the noise that is added; see [`Stream::Noise`].
const EVALUATION: u16 = 5;

/// A clean recording.
pub struct Clean<'a> {
    /// In raw units, without drift if the model removes it.
    pub values: &'a [f32],
    /// Samples per second, where known.
    pub rate: Option<f32>,
    /// Annotated beats, in samples, ascending.
    pub beats: Option<&'a [usize]>,
}

/// What became of one recording at one level of noise.
#[derive(Clone, Debug, Serialize)]
pub struct Gain {
    /// Signal-to-noise ratio of the input, in dB.
    pub input: f64,
    /// By how much that of the output is higher, in dB.
    pub gain: f64,
    /// Root mean square of the error beside that of the signal, in percent.
    pub prd: f64,
    /// Atoms of a window, mean.
    pub active: f64,
    /// F1 of a QRS detector on the output, where beats are annotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f1: Option<f64>,
    /// The same on the noisy input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f1_noisy: Option<f64>,
    /// Sensitivity and precision behind `f1`.
    #[serde(skip)]
    pub beats: Option<Beats>,
}

/// Adds noise of deviation σ, which the model is told, to a recording, and measures what is left of
/// it, without `skip` samples at either end. `draw` chooses the noise.
///
/// # Errors
///
/// What [`denoise`] says.
pub fn measure(
    host: &mut HostModel<'_>,
    clean: &Clean<'_>,
    noise: &Noise,
    snr: f64,
    skip: usize,
    (seed, draw): (u64, u32),
) -> Result<Gain, DenoiseError> {
    let values = clean.values;
    let count = values.len() as f64;
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let power = values
        .iter()
        .map(|&x| (f64::from(x) - mean).powi(2))
        .sum::<f64>()
        / count;
    let sigma = (power.sqrt() * level(snr)) as f32;
    let mut rng = generator(
        seed,
        Stream::Noise {
            purpose: EVALUATION,
        },
    );
    rng.set_word_pos(u128::from(draw) << 40);
    let mut noisy = values.to_vec();
    noise.add_steadily(&mut rng, sigma, &mut noisy);
    host.set_noise_level(sigma);
    let hop = host.stream().map_or(1, |stream| stream.hop);
    let (mut active, mut windows) = (0.0, 0.0);
    let layout = Layout::Signal { hop };
    let output = denoise(host, &noisy, layout, None, &mut |window, _| {
        active += window.active as f64;
        windows += 1.0;
    })?;
    let skip = skip.min(values.len().saturating_sub(1) / 2);
    let inner = skip..values.len() - skip;
    let squares = |of: &[f32]| -> f64 {
        let errors = of[inner.clone()].iter().zip(&values[inner.clone()]);
        errors.map(|(a, b)| f64::from(a - b).powi(2)).sum()
    };
    let (given, left) = (squares(&noisy), squares(&output));
    let found = |of: &[f32]| {
        let (rate, annotated) = (f64::from(clean.rate?), clean.beats?);
        Some(Beats::of(&beats(of, rate), annotated, rate))
    };
    let found_clean = found(&output);
    Ok(Gain {
        input: snr,
        gain: 10.0 * (given / left).log10(),
        prd: 100.0 * (left / (power * inner.len() as f64)).sqrt(),
        active: active / f64::max(windows, 1.0),
        f1: found_clean.map(|beats| beats.f1()),
        f1_noisy: found(&noisy).map(|beats| beats.f1()),
        beats: found_clean,
    })
}
