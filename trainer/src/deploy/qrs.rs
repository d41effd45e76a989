//! Beats of an ECG: a plain detector, and how many of the annotated beats it finds.

use std::collections::VecDeque;

/// How far a beat that is found may lie from one that is annotated.
const TOLERANCE: f64 = 0.075;
/// Two beats are not closer than this.
const REFRACTORY: f64 = 0.2;
/// The band of a QRS complex, in Hz.
const BAND: [f64; 2] = [5.0, 15.0];
/// Over which the squared slope is averaged.
const INTEGRATION: f64 = 0.12;
/// What lies above `noise + 0.25 (beat − noise)` is a beat (Pan & Tompkins 1985).
const SHARE: f64 = 0.25;

/// Sensitivity, precision and their harmonic mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beats {
    /// The share of the annotated beats that were found.
    pub sensitivity: f64,
    /// The share of the found beats that are annotated.
    pub precision: f64,
}

impl Beats {
    /// `2 s p / (s + p)`.
    pub fn f1(&self) -> f64 {
        let sum = self.sensitivity + self.precision;
        match sum > 0.0 {
            true => 2.0 * self.sensitivity * self.precision / sum,
            false => 0.0,
        }
    }

    /// Compares beats that were found with annotated ones, both ascending, in samples. Every beat
    /// is counted once.
    pub fn of(found: &[usize], annotated: &[usize], rate: f64) -> Self {
        let tolerance = (TOLERANCE * rate) as usize;
        let (mut hits, mut next) = (0, 0);
        for beat in annotated {
            while next < found.len() && found[next] + tolerance < *beat {
                next += 1;
            }
            if next < found.len() && found[next] <= beat + tolerance {
                hits += 1;
                next += 1;
            }
        }
        let share = |count: usize| match count {
            0 => 0.0,
            count => f64::from(hits) / count as f64,
        };
        Self {
            sensitivity: share(annotated.len()),
            precision: share(found.len()),
        }
    }
}

/// The beats of an ECG of `rate` samples a second: peaks of the averaged squared slope between 5
/// and 15 Hz that pass a threshold between the latest beats and the latest noise.
///
/// ```
/// use sparsecode_trainer::deploy::qrs::beats;
///
/// let mut signal = vec![0.0_f32; 3600];
/// for beat in [400, 700, 1000, 1300, 1600, 1900, 2200, 2500, 2800, 3100] {
///     for k in 0..18 {
///         signal[beat + k] = (k as f32 * std::f32::consts::PI / 18.0).sin();
///     }
/// }
/// let found = beats(&signal, 360.0);
/// assert_eq!(found.len(), 10);
/// assert!(found.iter().all(|at| (at - 109) % 300 < 20));
/// ```
pub fn beats(signal: &[f32], rate: f64) -> Vec<usize> {
    let filtered = band_pass(signal, rate);
    let slope: Vec<f64> = (0..filtered.len())
        .map(|n| {
            let at = |n: usize| filtered.get(n).copied().unwrap_or(0.0);
            ((at(n + 1) - at(n.saturating_sub(1))) / 2.0).powi(2)
        })
        .collect();
    let energy = centred_mean(&slope, (INTEGRATION * rate) as usize);
    let refractory = (REFRACTORY * rate) as usize;
    let peaks = peaks(&energy, refractory);
    let mut heights: Vec<f64> = peaks.iter().map(|&at| energy[at]).collect();
    heights.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let rank = (heights.len() as f64 * share) as usize;
        heights
            .get(rank.min(heights.len().saturating_sub(1)))
            .copied()
    };
    let (Some(beat), Some(noise)) = (at(0.75), at(0.1)) else {
        return Vec::new();
    };
    let mut latest: VecDeque<f64> = [beat; 8].into();
    // Where nearly all peaks are beats, none is noise.
    let mut noise = if noise > 0.5 * beat { 0.0 } else { noise };
    let mut found = Vec::new();
    for at in peaks {
        let height = energy[at];
        let mut sorted: Vec<f64> = latest.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let beat = 0.5 * (sorted[3] + sorted[4]);
        if height > noise + SHARE * (beat - noise) {
            latest.pop_front();
            latest.push_back(height);
            let reach = refractory / 3;
            let around = at.saturating_sub(reach)..(at + reach + 1).min(filtered.len());
            let largest = around.max_by(|a, b| filtered[*a].abs().total_cmp(&filtered[*b].abs()));
            found.push(largest.unwrap_or(at));
        } else {
            noise += 0.125 * (height - noise);
        }
    }
    found
}

/// A linear-phase band pass, without delay: a windowed sinc of a quarter of a second either way.
fn band_pass(signal: &[f32], rate: f64) -> Vec<f64> {
    let half = (0.25 * rate) as usize;
    let taps: Vec<f64> = (0..=2 * half)
        .map(|k| {
            let n = k as f64 - half as f64;
            let low_pass = |f: f64| match n == 0.0 {
                true => 2.0 * f / rate,
                false => {
                    (2.0 * std::f64::consts::PI * f / rate * n).sin() / (std::f64::consts::PI * n)
                }
            };
            let phase = std::f64::consts::PI * k as f64 / half as f64;
            (low_pass(BAND[1]) - low_pass(BAND[0])) * (0.54 - 0.46 * phase.cos())
        })
        .collect();
    // Beyond its ends the signal is its mean.
    let mean = signal.iter().map(|&x| f64::from(x)).sum::<f64>() / signal.len().max(1) as f64;
    (0..signal.len())
        .map(|n| {
            let products = taps.iter().enumerate().filter_map(|(k, tap)| {
                let sample = signal.get((n + k).checked_sub(half)?)?;
                Some(tap * (f64::from(*sample) - mean))
            });
            products.sum()
        })
        .collect()
}

fn centred_mean(values: &[f64], length: usize) -> Vec<f64> {
    let half = length / 2;
    let mut sums = vec![0.0; values.len() + 1];
    for (index, value) in values.iter().enumerate() {
        sums[index + 1] = sums[index] + value;
    }
    (0..values.len())
        .map(|n| {
            let ends = [n.saturating_sub(half), (n + half + 1).min(values.len())];
            (sums[ends[1]] - sums[ends[0]]) / (ends[1] - ends[0]) as f64
        })
        .collect()
}

/// Largest values within `distance` on either side.
fn peaks(values: &[f64], distance: usize) -> Vec<usize> {
    let mut peaks: Vec<usize> = Vec::new();
    for n in 1..values.len().saturating_sub(1) {
        if values[n] <= values[n - 1] || values[n] < values[n + 1] {
            continue;
        }
        match peaks.last_mut() {
            Some(last) if n - *last < distance => {
                if values[n] > values[*last] {
                    *last = n;
                }
            }
            _ => peaks.push(n),
        }
    }
    peaks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beat_is_counted_once() {
        let found = [100, 110, 300, 500, 900];
        let annotated = [105, 310, 700, 890];
        let beats = Beats::of(&found, &annotated, 360.0);
        assert_eq!(beats.sensitivity, 0.75);
        assert_eq!(beats.precision, 0.6);
        assert!((beats.f1() - 2.0 * 0.45 / 1.35).abs() < 1e-12);
        let none = Beats::of(&[], &annotated, 360.0);
        assert_eq!(
            (none.sensitivity, none.precision, none.f1()),
            (0.0, 0.0, 0.0)
        );
    }

    #[test]
    fn silence_has_no_beats() {
        assert!(beats(&[], 360.0).is_empty());
        assert!(beats(&[1.0; 2000], 360.0).is_empty());
    }
}
