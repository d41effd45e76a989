//! What a model file takes off noise that was added to a recording or a picture.

use std::time::Instant;

use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::measure::psnr_raw;
use super::qrs::{Beats, beats};
use super::{Cleaned, HostError, HostModel, Noise as Sigma};
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
    /// The share of the windows in which integers saturated:
    /// [`Counts::saturated`](super::Counts::saturated).
    pub saturated: f64,
    /// F1 of a QRS detector on the output, where beats are annotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f1: Option<f64>,
    /// The same on the noisy input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f1_noisy: Option<f64>,
}

/// What became of one picture at one level of noise.
#[derive(Clone, Debug, Serialize)]
pub struct PictureGain {
    /// Deviation of the noise, in levels of 256.
    pub sigma: f64,
    /// Peak signal-to-noise ratio of the noisy picture, in dB; 1 is the peak.
    pub psnr_noisy: f64,
    /// That of the clean one.
    pub psnr: f64,
    /// Atoms of a patch, mean.
    pub active: f64,
    /// The share of the patches in which integers saturated:
    /// [`Counts::saturated`](super::Counts::saturated).
    pub saturated: f64,
    /// Seconds of one thread.
    pub seconds: f64,
}

/// Adds white noise of `sigma` levels of 256 to a picture of lines of `width` pixels from 0 to 1,
/// without cutting what leaves this range, and measures what a model that denoises leaves of it;
/// also the clean picture.
///
/// # Errors
///
/// What [`HostModel::clean_picture`] says.
pub fn measure_picture(
    host: &mut HostModel<'_>,
    pixels: &[f32],
    width: usize,
    sigma: f64,
    settings: &Settings,
) -> Result<(PictureGain, [Vec<f32>; 2]), HostError> {
    let deviation = (sigma / 255.0) as f32;
    let mut noisy = pixels.to_vec();
    let mut rng = settings.generator();
    Noise::white().add_steadily(&mut rng, deviation, &mut noisy);
    let known = match settings.estimate {
        true => Sigma::Estimated,
        false => Sigma::Known(deviation),
    };
    let begun = Instant::now();
    let cleaned = host.clean_picture(&noisy, width, None, known)?;
    let seconds = begun.elapsed().as_secs_f64();
    let Cleaned {
        values: output,
        counts,
    } = cleaned;
    let gain = PictureGain {
        sigma,
        psnr_noisy: psnr_raw(&noisy, pixels, 1.0),
        psnr: psnr_raw(&output, pixels, 1.0),
        active: counts.mean_active(),
        saturated: counts.saturated(),
        seconds,
    };
    Ok((gain, [noisy, output]))
}

/// How noise is added, and what is counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Signal-to-noise ratio of the input, in dB; means nothing for pictures.
    pub snr: f64,
    /// Whether σ is estimated; otherwise the model is told.
    pub estimate: bool,
    /// Samples at either end of a recording that are not counted.
    pub skip: usize,
    /// Seed of the noise.
    pub seed: u64,
    /// Which of the seed's draws.
    pub draw: u32,
}

impl Settings {
    fn generator(&self) -> ChaCha8Rng {
        let purpose = EVALUATION;
        let mut rng = generator(self.seed, Stream::Noise { purpose });
        rng.set_word_pos(u128::from(self.draw) << 40);
        rng
    }
}

/// Adds noise to a recording, and measures what a model that denoises leaves of it.
///
/// # Errors
///
/// What [`HostModel::clean_signal`] says.
pub fn measure(
    host: &mut HostModel<'_>,
    clean: &Clean<'_>,
    noise: &Noise,
    settings: &Settings,
) -> Result<Gain, HostError> {
    let &Settings { snr, skip, .. } = settings;
    let values = clean.values;
    let count = values.len() as f64;
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let power = values
        .iter()
        .map(|&x| (f64::from(x) - mean).powi(2))
        .sum::<f64>()
        / count;
    let sigma = (power.sqrt() * level(snr)) as f32;
    let mut rng = settings.generator();
    let mut noisy = values.to_vec();
    noise.add_steadily(&mut rng, sigma, &mut noisy);
    let known = match settings.estimate {
        true => Sigma::Estimated,
        false => Sigma::Known(sigma),
    };
    let cleaned = host.clean_signal(&noisy, None, known, false)?;
    let Cleaned {
        values: output,
        counts,
    } = cleaned;
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
    Ok(Gain {
        input: snr,
        gain: 10.0 * (given / left).log10(),
        prd: 100.0 * (left / (power * inner.len() as f64)).sqrt(),
        active: counts.mean_active(),
        saturated: counts.saturated(),
        f1: found(&output).map(|beats| beats.f1()),
        f1_noisy: found(&noisy).map(|beats| beats.f1()),
    })
}
