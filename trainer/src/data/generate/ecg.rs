//! ECG-like beats: sums of Gaussians, as in McSharry et al., "A dynamical model for generating
//! synthetic electrocardiogram signals" (2003), with premature ventricular beats among them.

use std::f64::consts::TAU;

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use super::super::part_generator;
use super::DEMONSTRATION;
use crate::rng::Stream;

/// Samples per second of [`ecg_signal`].
pub const ECG_RATE: f32 = 360.0;

/// How many standard deviations of a wave are drawn.
const REACH: f64 = 5.0;

/// A wave of a beat: time from the R wave's peak (s), height (mV), standard deviation (s).
type Wave = (f64, f64, f64);

/// P, Q, R, S, T; the T wave's steeper end is its second half.
const NORMAL: [Wave; 6] = [
    (-0.170, 0.13, 0.022),
    (-0.026, -0.11, 0.008),
    (0.000, 1.10, 0.0105),
    (0.027, -0.24, 0.0095),
    (0.240, 0.20, 0.048),
    (0.285, 0.12, 0.028),
];

/// A premature ventricular beat: no P, a wide QRS, a T wave of opposite sign.
const VENTRICULAR: [Wave; 4] = [
    (-0.045, 0.35, 0.020),
    (0.010, 1.35, 0.032),
    (0.075, -0.45, 0.026),
    (0.260, -0.40, 0.060),
];

/// An ECG-like signal in millivolts at 360 Hz: P, Q, R, S and T waves with a heart rate about 75
/// per minute that varies from beat to beat and with the breath, heights that vary, a premature
/// ventricular beat now and then followed by its pause, and a slightly wandering baseline. Without
/// measurement noise. For demonstrations: no window of a data set comes from it.
///
/// ```
/// use sparsecode_trainer::data::ecg_signal;
///
/// let signal = ecg_signal(3600, 31);
/// let peak = signal.iter().copied().fold(0.0, f32::max);
/// assert!((0.8..2.0).contains(&peak));
/// ```
pub fn ecg_signal(samples: usize, seed: u64) -> Vec<f32> {
    generate(
        samples,
        &mut part_generator(seed, Stream::TestData, DEMONSTRATION),
    )
}

pub(super) fn generate(samples: usize, rng: &mut impl Rng) -> Vec<f32> {
    let rate = f64::from(ECG_RATE);
    let normal = |rng: &mut _| -> f64 { StandardNormal.sample(rng) };
    let breath = (rng.random_range(0.2..0.3), TAU * rng.random::<f64>());
    let wander = [
        (0.05, TAU * rng.random::<f64>()),
        (0.13, TAU * rng.random::<f64>()),
    ];
    let mut signal: Vec<f64> = (0..samples)
        .map(|sample| {
            let time = sample as f64 / rate;
            let breathing = 0.02 * (TAU * breath.0 * time + breath.1).sin();
            let waves = wander.map(|(frequency, phase)| (TAU * frequency * time + phase).sin());
            breathing + 0.02 * waves[0] + 0.015 * waves[1]
        })
        .collect();
    let end = samples as f64 / rate + 1.0;
    // The first beat may lie before the first sample.
    let mut time = -0.8 * rng.random::<f64>();
    let mut slow = 0.0;
    let mut pause = 0.0;
    while time < end {
        let phase = TAU * breath.0 * time + breath.1;
        slow = 0.95 * slow + 0.01 * normal(rng);
        let interval = 0.80 + slow + 0.035 * phase.sin() + 0.012 * normal(rng);
        let interval = interval.clamp(0.5, 1.2);
        // A ventricular beat comes early, and the next normal one where it would have come anyway.
        let premature = pause == 0.0 && rng.random::<f64>() < 0.06;
        let (waves, step): (&[Wave], f64) = if premature {
            pause = interval * rng.random_range(0.36..0.46);
            (&VENTRICULAR, interval - pause)
        } else {
            let step = interval + std::mem::take(&mut pause);
            (&NORMAL, step)
        };
        time += step;
        let height = 1.0 + 0.06 * normal(rng) + 0.04 * phase.cos();
        for &(offset, amplitude, width) in waves {
            let amplitude = amplitude * height * (1.0 + 0.05 * normal(rng));
            let width = width * (1.0 + 0.04 * normal(rng)).clamp(0.8, 1.2);
            // Slower beats have their P and T waves further away.
            let offset = offset * (step.clamp(0.5, 1.1) / 0.8).sqrt() + 0.001 * normal(rng);
            let centre = (time + offset) * rate;
            let deviation = width * rate;
            let from = (centre - REACH * deviation).max(0.0) as usize;
            let to = ((centre + REACH * deviation).max(0.0) as usize).min(samples);
            for (sample, value) in signal.iter_mut().enumerate().take(to).skip(from) {
                *value += amplitude * (-0.5 * ((sample as f64 - centre) / deviation).powi(2)).exp();
            }
        }
    }
    signal.into_iter().map(|value| value as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::mean_and_deviation;
    use super::*;

    /// Where the signal has its beats: the largest value of each stretch above half a millivolt.
    fn beats(signal: &[f32]) -> Vec<usize> {
        let mut found: Vec<usize> = Vec::new();
        for (index, &value) in signal.iter().enumerate() {
            if value < 0.6 {
                continue;
            }
            match found.last_mut() {
                Some(last) if index - *last < 72 => {
                    if value > signal[*last] {
                        *last = index;
                    }
                }
                _ => found.push(index),
            }
        }
        found
    }

    #[test]
    fn the_heart_beats_and_varies() {
        let minutes = 10;
        let signal = ecg_signal(minutes * 60 * 360, 3);
        assert_eq!(signal, ecg_signal(minutes * 60 * 360, 3));
        assert_ne!(signal, ecg_signal(minutes * 60 * 360, 4));
        let beats = beats(&signal);
        let rate = beats.len() / minutes;
        assert!((65..=85).contains(&rate), "{rate} beats a minute");
        let intervals: Vec<f32> = beats
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f32 / 360.0)
            .collect();
        let (_, deviation) = mean_and_deviation(&intervals).unwrap();
        assert!((0.03..0.25).contains(&deviation), "{deviation}");
        // Premature beats come after little more than half an interval.
        let premature = intervals
            .iter()
            .filter(|&&interval| interval < 0.56)
            .count();
        let share = premature as f32 / intervals.len() as f32;
        assert!((0.02..0.12).contains(&share), "{share}");
        let heights: Vec<f32> = beats.iter().map(|&beat| signal[beat]).collect();
        let (height, spread) = mean_and_deviation(&heights).unwrap();
        assert!(
            (0.9..1.4).contains(&height) && spread > 0.03,
            "{height} {spread}"
        );
        // Waves are rare and high, as in the recordings (kurtosis 7 and more; 3 is Gaussian).
        let (mean, deviation) = mean_and_deviation(&signal).unwrap();
        let fourth = signal
            .iter()
            .map(|v| f64::from((v - mean) / deviation).powi(4))
            .sum::<f64>();
        let kurtosis = fourth / signal.len() as f64;
        println!("ECG: deviation {deviation:.3} mV, kurtosis {kurtosis:.1}, {rate} a minute");
        assert!((6.0..25.0).contains(&kurtosis), "{kurtosis}");
    }
}
