//! Vibration of a rotating machine whose bearing has a fault on its inner race.
//!
//! The usual model (Randall & Antoni, "Rolling element bearing diagnostics", 2011): each time a
//! ball meets the fault, an impulse sets off the structure's damped resonances; the fault turns
//! with the shaft through the loaded zone, so the impulses swell and fade once a turn; the balls
//! slip, so they are not quite periodic. Beneath lie the shaft's harmonics and broadband noise.

use std::f64::consts::TAU;

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use super::super::part_generator;
use super::DEMONSTRATION;
use crate::rng::Stream;

/// Samples per second of [`vibration_signal`].
pub const VIBRATION_RATE: f32 = 12_000.0;

/// Turns of the shaft per second.
const SHAFT: f64 = 29.5;
/// Balls that meet a fault on the inner race in one turn (a 6205 deep-groove bearing).
const FAULT_ORDER: f64 = 5.415;
/// Order, amplitude (g) of the shaft's harmonics.
const HARMONICS: [(f64, f64); 5] = [
    (1.0, 0.030),
    (2.0, 0.045),
    (3.0, 0.015),
    (4.0, 0.012),
    (6.0, 0.008),
];
/// Frequency (Hz), damping ratio, amplitude (g) of the resonances that an impulse sets off.
const RESONANCES: [(f64, f64, f64); 2] = [(2750.0, 0.030, 0.95), (3550.0, 0.025, 0.6)];

/// The vibration (acceleration in g at 12 kHz) of a machine at 1770 turns a minute with an
/// inner-race fault in a bearing: impulses at about 160 Hz that set off resonances at 2750 and 3550
/// Hz, shaft harmonics, coloured noise. Every seed is the same machine at another time. For
/// demonstrations: no window of a data set comes from it.
///
/// ```
/// use sparsecode_trainer::data::vibration_signal;
///
/// let second = vibration_signal(12_000, 31);
/// let power = second.iter().map(|v| v * v).sum::<f32>() / 12_000.0;
/// assert!((0.1..0.6).contains(&power.sqrt()));
/// ```
pub fn vibration_signal(samples: usize, seed: u64) -> Vec<f32> {
    generate(
        samples,
        &mut part_generator(seed, Stream::TestData, DEMONSTRATION),
    )
}

pub(super) fn generate(samples: usize, rng: &mut impl Rng) -> Vec<f32> {
    let rate = f64::from(VIBRATION_RATE);
    let normal = |rng: &mut _| -> f64 { StandardNormal.sample(rng) };
    let phases = HARMONICS.map(|_| TAU * rng.random::<f64>());
    let loaded = TAU * rng.random::<f64>();
    // Turns until the next ball meets the fault.
    let mut turns_left = rng.random::<f64>() / FAULT_ORDER;
    let (mut turns, mut speed) = (0.0f64, 0.0f64);
    let mut coloured = [0.0f64; 2];
    let mut signal = vec![0.0f64; samples];
    for sample in 0..samples {
        // The speed wanders by a few parts in a thousand within seconds.
        speed = 0.9999 * speed + 4e-5 * normal(rng);
        let step = SHAFT * (1.0 + speed) / rate;
        turns += step;
        turns_left -= step;
        if turns_left <= 0.0 {
            // Before this sample by the rest of the way, which keeps impulses from locking to
            // samples.
            let late = -turns_left / step;
            let load = 0.6 + 0.4 * (TAU * turns + loaded).cos();
            let force = load * (0.2 * normal(rng)).exp();
            strike(&mut signal[sample..], late / rate, force);
            turns_left += (1.0 + 0.015 * normal(rng)).max(0.5) / FAULT_ORDER;
        }
        for ((order, amplitude), phase) in HARMONICS.iter().zip(phases) {
            signal[sample] += amplitude * (TAU * order * turns + phase).sin();
        }
        // A broad hump about 1.3 kHz, and a white floor.
        let white = normal(rng);
        let hump = 0.075 * white + 1.32 * coloured[0] - 0.74 * coloured[1];
        coloured = [hump, coloured[0]];
        signal[sample] += hump + 0.075 * normal(rng);
    }
    signal.into_iter().map(|value| value as f32).collect()
}

/// Adds the resonances' answer to an impulse `late` seconds before the first sample.
fn strike(signal: &mut [f64], late: f64, force: f64) {
    let rate = f64::from(VIBRATION_RATE);
    for (frequency, damping, amplitude) in RESONANCES {
        let decay = TAU * frequency * damping;
        // Until it has fallen to e⁻⁷.
        let length = (7.0 / decay * rate) as usize;
        for (index, value) in signal.iter_mut().take(length).enumerate() {
            let time = late + index as f64 / rate;
            *value += force * amplitude * (-decay * time).exp() * (TAU * frequency * time).sin();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::mean_and_deviation;
    use super::*;

    /// Mean power about a frequency (Hz), a direct Fourier sum over stretches of `length` samples.
    fn power(signal: &[f64], length: usize, frequency: f64) -> f64 {
        let stretches = signal.chunks_exact(length);
        let count = stretches.len() as f64;
        let total: f64 = stretches
            .map(|stretch| {
                let (mut re, mut im) = (0.0, 0.0);
                for (index, value) in stretch.iter().enumerate() {
                    let turn = TAU * index as f64;
                    let hann = 0.5 - 0.5 * (turn / length as f64).cos();
                    let angle = turn * frequency / f64::from(VIBRATION_RATE);
                    re += hann * value * angle.cos();
                    im += hann * value * angle.sin();
                }
                re * re + im * im
            })
            .sum();
        total / count
    }

    #[test]
    fn the_fault_strikes_and_the_structure_rings() {
        let raw = vibration_signal(120_000, 3);
        assert_eq!(raw, vibration_signal(120_000, 3));
        assert_ne!(raw, vibration_signal(120_000, 4));
        let (mean, deviation) = mean_and_deviation(&raw).unwrap();
        let signal: Vec<f64> = raw
            .iter()
            .map(|v| f64::from((v - mean) / deviation))
            .collect();
        let kurtosis = signal.iter().map(|v| v.powi(4)).sum::<f64>() / signal.len() as f64;
        println!("vibration: deviation {deviation:.3} g, kurtosis {kurtosis:.1}");
        // A recording of such a fault has 0.29 g and 5.4; a healthy bearing's noise has 3.
        assert!((0.2..0.4).contains(&deviation), "{deviation}");
        assert!((4.3..9.0).contains(&kurtosis), "{kurtosis}");
        let floor = power(&signal, 256, 5200.0);
        for (frequency, _, _) in RESONANCES {
            assert!(
                power(&signal, 256, frequency) > 5.0 * floor,
                "{frequency} Hz"
            );
        }
        // The envelope repeats with the fault's frequency, not with one beside it.
        let envelope: Vec<f64> = signal.iter().map(|v| v * v - 1.0).collect();
        let fault = power(&envelope, 6000, SHAFT * FAULT_ORDER);
        for beside in [0.85, 1.1] {
            let other = power(&envelope, 6000, SHAFT * FAULT_ORDER * beside);
            assert!(fault > 5.0 * other, "{fault} {other}");
        }
        // And is modulated by the shaft.
        let side = power(&envelope, 6000, SHAFT * (FAULT_ORDER - 1.0));
        assert!(side > 2.0 * power(&envelope, 6000, SHAFT * (FAULT_ORDER - 0.5)));
    }
}
