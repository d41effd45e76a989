//! The noise level beside its definition, and on recorded signals.

use std::path::PathBuf;

use proptest::prelude::*;
use sparsecode_runtime::stream::{DriftStream, NoiseLevel};

use crate::common::Random;

/// Normal numbers (the sum of twelve uniform ones would have no tails: Box–Muller).
fn normal(random: &mut Random) -> f64 {
    let radius = (-2.0 * (0.5 - 0.5 * f64::from(random.next())).max(1e-12).ln()).sqrt();
    radius * (std::f64::consts::PI * f64::from(random.next())).cos()
}

/// The modified discrete cosine transform by its sum, orthonormal.
fn bands(block: &[f64]) -> Vec<f64> {
    use std::f64::consts::PI;
    (0..16)
        .map(|k| {
            let term = |(n, x): (usize, &f64)| {
                let n = n as f64;
                let window = (PI * (n + 0.5) / 32.0).sin();
                window * x * (PI / 16.0 * (n + 8.5) * (k as f64 + 0.5)).cos()
            };
            block.iter().enumerate().map(term).sum::<f64>() / 8.0_f64.sqrt()
        })
        .collect()
}

/// The estimate as the documentation defines it.
fn exact(signal: &[f64], memory: f64) -> f64 {
    let (mut means, mut blocks) = (vec![0.0_f64; 16], 0.0_f64);
    for block in signal.chunks_exact(32) {
        let n = (blocks + 1.0).log2().floor().exp2().min(memory);
        for (mean, band) in means.iter_mut().zip(bands(block)) {
            let most = if blocks < 4.0 { f64::MAX } else { 3.0 * *mean };
            *mean += (band.abs().min(most) - *mean) / n;
        }
        blocks += 1.0;
    }
    let n = (blocks / 2.0).log2().floor().exp2().min(memory);
    let least = means.iter().fold(f64::MAX, |a, b| a.min(*b));
    let quiet: Vec<f64> = means
        .into_iter()
        .filter(|mean| *mean <= least * (1.0 + 2.0 / n.sqrt()))
        .collect();
    quiet.iter().sum::<f64>() / quiet.len() as f64 / 0.792_039
}

fn estimate<const MEMORY: usize>(signal: &[f64]) -> (f64, f64) {
    let mut floats = NoiseLevel::<f32, MEMORY>::new();
    let mut levels = NoiseLevel::<i16, MEMORY>::new();
    for x in signal {
        floats.push(*x as f32);
        levels.push(x.round() as i16);
    }
    let level = f64::from(levels.sigma().unwrap()) / 16.0;
    (f64::from(floats.sigma().unwrap()), level)
}

#[test]
fn both_arithmetics_follow_the_definition() {
    let mut random = Random(1);
    for sigma in [2.0, 37.0, 1000.0, 3500.0] {
        for blocks in [32, 63, 64, 100, 600] {
            let signal: Vec<f64> = (0..32 * blocks)
                .map(|_| {
                    (sigma * normal(&mut random))
                        .round()
                        .clamp(-32_768.0, 32_767.0)
                })
                .collect();
            for memory in [16, 32, 256] {
                let (float, level) = match memory {
                    16 => estimate::<16>(&signal),
                    32 => estimate::<32>(&signal),
                    _ => estimate::<256>(&signal),
                };
                // Where a band lies at the limit of those that count, rounding decides.
                let exact = exact(&signal, memory.into());
                assert!(
                    (float / exact - 1.0).abs() < 2e-3,
                    "{sigma} {blocks}: {float} {exact}"
                );
                let bound = 0.004 * exact + 1.0 / 16.0;
                assert!(
                    (level - exact).abs() < bound,
                    "{sigma} {blocks}: {level} {exact}"
                );
                assert!(
                    (exact / sigma - 1.0).abs() < 0.25,
                    "{sigma} {blocks}: {exact}"
                );
            }
        }
    }
}

#[test]
fn weak_noise_is_not_silence() {
    let mut noise = NoiseLevel::<i16>::new();
    noise.push_block(&[0; 2000]);
    assert_eq!(noise.sigma(), Some(0));
    let mut random = Random(2);
    for _ in 0..20_000 {
        noise.push((0.4 * normal(&mut random)).round() as i16);
    }
    // 0.4 and the rounding, √(0.16 + 1/12) = 0.49 levels.
    assert!(
        (6..=10).contains(&noise.sigma().unwrap()),
        "{:?}",
        noise.sigma()
    );
    // One level, once in a thousand samples.
    for time in 0..20_000 {
        noise.push(i16::from(time % 1000 == 0));
        assert!(noise.sigma().unwrap() > 0);
    }
}

#[test]
fn the_largest_noise_saturates() {
    let mut noise = NoiseLevel::<i16>::new();
    let mut random = Random(3);
    for _ in 0..10_000 {
        noise.push(if random.next() < 0.0 {
            i16::MIN
        } else {
            i16::MAX
        });
    }
    assert_eq!(noise.sigma(), Some(u16::MAX));
    // The largest band there is: the block that has its signs.
    for _ in 0..100 {
        for n in 0..32 {
            let phase = std::f64::consts::PI / 16.0 * (f64::from(n) + 8.5) * 7.5;
            noise.push(if phase.cos() < 0.0 {
                i16::MIN
            } else {
                i16::MAX
            });
        }
    }
    assert!(noise.sigma().is_some());
}

#[test]
fn a_change_is_followed_within_seconds() {
    let mut noise = NoiseLevel::<f32>::new();
    let mut random = Random(4);
    // Seconds at 360 Hz from one σ to within a tenth of the next.
    for (sigma, seconds) in [(1.0, 8), (2.0, 10), (20.0, 13), (5.0, 15), (0.5, 18)] {
        for _ in 0..360 * seconds {
            noise.push((sigma * normal(&mut random)) as f32);
        }
        let found = f64::from(noise.sigma().unwrap());
        assert!((found / sigma - 1.0).abs() < 0.12, "{sigma}: {found}");
    }
}

#[test]
fn a_bad_block_does_not_count() {
    let mut random = Random(5);
    let signal = random.vector(3200, 1.0);
    let mut good = NoiseLevel::<f32>::new();
    good.push_block(&signal);
    for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
        let mut noise = NoiseLevel::<f32>::new();
        noise.push_block(&signal[..640]);
        let mut block = [bad; 32];
        block[1..].copy_from_slice(&signal[..31]);
        noise.push_block(&block);
        noise.push_block(&[bad; 32]);
        noise.push_block(&signal[640..]);
        if bad.is_finite() {
            // Counted, but three times the mean at most.
            let ratio = noise.sigma().unwrap() / good.sigma().unwrap();
            assert!((ratio - 1.0).abs() < 0.1, "{ratio}");
        } else {
            assert_eq!(noise.sigma(), good.sigma());
        }
    }
}

#[test]
fn the_first_estimate_comes_after_1024_samples_and_reset_forgets() {
    let signal = Random(6).vector(1024, 1.0);
    let mut noise = NoiseLevel::<f32>::new();
    for _ in 0..2 {
        for x in &signal {
            assert_eq!(noise.sigma(), None);
            noise.push(*x);
        }
        assert!(noise.sigma().is_some());
        noise.push(f32::NAN);
        noise.reset();
    }
    assert_eq!(NoiseLevel::<f32>::FIRST, 1024);
    assert_eq!(
        (NoiseLevel::<f32>::BYTES, NoiseLevel::<i16, 256>::BYTES),
        (196, 132)
    );
}

#[test]
fn an_offset_does_not_count() {
    let mut random = Random(7);
    let mut plain = NoiseLevel::<i16>::new();
    let mut offset = NoiseLevel::<i16>::new();
    for _ in 0..5000 {
        let x = (50.0 * normal(&mut random)) as i16;
        plain.push(x);
        offset.push(x + 20_000);
    }
    let ratio = f64::from(offset.sigma().unwrap()) / f64::from(plain.sigma().unwrap());
    assert!((ratio - 1.0).abs() < 0.02, "{ratio}");
}

proptest! {
    #[test]
    fn any_signal_has_a_level(signal in prop::collection::vec(any::<i16>(), 1024..1200)) {
        let mut noise = NoiseLevel::<i16, 16>::new();
        noise.push_block(&signal);
        prop_assert!(noise.sigma().unwrap() > 0);
    }
}

/// An `.npy` of one dimension, if the folder of shared data is there.
fn recorded(name: &str) -> Option<Vec<f64>> {
    let shared = std::env::var_os("SPARSECODE_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")),
        Into::into,
    );
    let bytes = std::fs::read(shared.join("data").join(name)).ok()?;
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let text = String::from_utf8_lossy(&bytes[..header]).into_owned();
    let data = &bytes[header..];
    let values = if text.contains("<i2") {
        data.chunks_exact(2)
            .map(|b| f64::from(i16::from_le_bytes([b[0], b[1]])))
            .collect()
    } else if text.contains("<f4") {
        data.chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
            .collect()
    } else {
        data.chunks_exact(8)
            .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    Some(values)
}

/// The signal at a deviation of 1 with white noise of `decibel`, from `place` on; both estimates
/// over the true σ. Samples of `i16` have 1000 levels for the signal's deviation.
fn ratio<const MEMORY: usize>(
    signal: &[f64],
    decibel: f64,
    place: usize,
    length: usize,
    random: &mut Random,
) -> (f64, f64) {
    let sigma = 1000.0 * 10.0_f64.powf(-decibel / 20.0);
    let noisy: Vec<f64> = signal[place..place + length]
        .iter()
        .map(|x| (1000.0 * x + sigma * normal(random)).clamp(-32_768.0, 32_767.0))
        .collect();
    let (float, level) = estimate::<MEMORY>(&noisy);
    (float / sigma, level / sigma)
}

fn standard(mut signal: Vec<f64>) -> Vec<f64> {
    let n = signal.len() as f64;
    let mean = signal.iter().sum::<f64>() / n;
    signal.iter_mut().for_each(|x| *x -= mean);
    let deviation = (signal.iter().map(|x| x * x).sum::<f64>() / n).sqrt();
    signal.iter_mut().for_each(|x| *x /= deviation);
    signal
}

/// Mean and root mean square error of both estimates over 40 places.
fn table<const MEMORY: usize>(
    name: &str,
    signal: &[f64],
    length: usize,
    from: usize,
) -> Vec<[f64; 4]> {
    let mut random = Random(8);
    let mut rows = Vec::new();
    for decibel in [0.0, 5.0, 10.0, 20.0, 30.0] {
        let mut sums = [0.0; 4];
        for draw in 0..40 {
            let place = from + draw * (signal.len() - from - length) / 40;
            let (float, level) = ratio::<MEMORY>(signal, decibel, place, length, &mut random);
            sums[0] += float / 40.0;
            sums[1] += (float - 1.0).powi(2) / 40.0;
            sums[2] += level / 40.0;
            sums[3] += (level - 1.0).powi(2) / 40.0;
        }
        let row = [sums[0], sums[1].sqrt(), sums[2], sums[3].sqrt()];
        println!("{name} {MEMORY} {length} {decibel} dB: {row:.3?}");
        rows.push(row);
    }
    rows
}

#[test]
fn recorded_signals_hide_little_of_the_noise() {
    let mut five_seconds = Vec::new();
    for patient in [103, 119, 214, 223] {
        let Some(mut ecg) = recorded(&format!("sensor2/ecg_{patient}.npy")) else {
            println!("skipped: no sensor2/ecg_{patient}.npy in the folder of shared data");
            return;
        };
        let mut narrow: Vec<f32> = ecg.iter().map(|x| *x as f32).collect();
        DriftStream::<f32, 361>::new().filter(&mut narrow);
        ecg = standard(narrow.iter().map(|x| f64::from(*x)).collect());
        let name = format!("ecg {patient}");
        five_seconds.push(table::<32>(&name, &ecg, 1800, 0));
        table::<32>(&name, &ecg, 7200, 0);
        table::<64>(&name, &ecg, 7200, 0);
    }
    // 0, 5 and 10 dB: the mean within 5 %, the error of one estimate within 5 % and 10 %.
    let mut errors: Vec<f64> = Vec::new();
    for row in five_seconds.iter().flat_map(|rows| &rows[..3]) {
        assert!(
            (row[0] - 1.0).abs() < 0.05 && (row[2] - 1.0).abs() < 0.05,
            "{row:?}"
        );
        errors.extend([row[1], row[3]]);
    }
    errors.sort_by(f64::total_cmp);
    assert!(
        errors[errors.len() / 2] < 0.05 && errors[errors.len() - 1] < 0.10,
        "{errors:?}"
    );
    for name in [
        "vibration_cwru_ir007_0_de_12khz",
        "vibration_cwru_normal0_de",
    ] {
        let Some(signal) = recorded(&format!("sensor/{name}.npy")) else {
            println!("skipped: no sensor/{name}.npy in the folder of shared data");
            return;
        };
        let signal = standard(signal);
        table::<32>(name, &signal, 12_000, 0);
        table::<256>(name, &signal, 24_000, 0);
    }
}
