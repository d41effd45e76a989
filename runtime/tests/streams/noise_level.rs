//! The noise level beside its definition.

use proptest::prelude::*;
use sparsecode_runtime::stream::NoiseLevel;

use crate::common::Random;

/// Normal numbers (Box–Muller).
pub(crate) fn normal(random: &mut Random) -> f64 {
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

/// The estimates of `f32` and of `i16`, in units of a sample.
pub(crate) fn estimate<const MEMORY: usize>(signal: &[f64]) -> (f64, f64) {
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
    let mut random = Random(2);
    for _ in 0..20_000 {
        noise.push((0.4 * normal(&mut random)).round() as i16);
    }
    // 0.4 and the rounding, √(0.16 + 1/12) = 0.49 levels.
    let found = noise.sigma().unwrap();
    assert!((6..=10).contains(&found), "{found}");
    // One level, once in a thousand samples.
    for time in 0..200_000 {
        noise.push(i16::from(time % 1000 == 0));
        assert!(noise.sigma().unwrap() > 0);
    }
    // From there up to noise that is ten thousand times as strong, within 25 s at 360 Hz.
    for _ in 0..9000 {
        noise.push((1000.0 * normal(&mut random)) as i16);
    }
    let found = f64::from(noise.sigma().unwrap()) / 16.0;
    assert!((found / 1000.0 - 1.0).abs() < 0.12, "{found}");
}

#[test]
fn a_gap_leaves_the_estimate_as_it_is() {
    let (mut levels, mut floats) = (NoiseLevel::<i16>::new(), NoiseLevel::<f32>::new());
    levels.push_block(&[0; 2000]);
    floats.push_block(&[0.0; 2000]);
    assert_eq!((levels.sigma(), floats.sigma()), (None, None));
    levels.reset();
    floats.reset();
    for x in Random(9).vector(3200, 100.0) {
        levels.push(x as i16);
        floats.push(x);
    }
    let before = (levels.sigma(), floats.sigma());
    levels.push_block(&[0; 32_000]);
    floats.push_block(&[0.0; 32_000]);
    assert_eq!((levels.sigma(), floats.sigma()), before);
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
        (200, 136)
    );
}

#[test]
fn noise_follows_a_constant() {
    let mut levels = NoiseLevel::<i16>::new();
    let mut floats = NoiseLevel::<f32>::new();
    levels.push_block(&[1000; 3200]);
    floats.push_block(&[1000.0; 3200]);
    assert_eq!(levels.sigma(), Some(1));
    let mut random = Random(10);
    for _ in 0..32 * 300 {
        let x = 1000.0 + 40.0 * normal(&mut random);
        levels.push(x as i16);
        floats.push(x as f32);
    }
    let found = f64::from(levels.sigma().unwrap()) / 16.0;
    assert!((found / 40.0 - 1.0).abs() < 0.12, "{found}");
    let found = f64::from(floats.sigma().unwrap());
    assert!((found / 40.0 - 1.0).abs() < 0.12, "{found}");
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

/// Before there is an estimate the quieter half of the bands says what the noise is, roughly: right
/// in the mean, and whatever a signal does in the other half.
#[test]
fn the_first_blocks_have_a_rough_estimate() {
    for (blocks, scatter) in [(1, 0.40), (2, 0.26), (4, 0.18), (16, 0.09), (31, 0.09)] {
        for signal in [0.0, 3000.0] {
            let (mut sum, mut square, places) = (0.0, 0.0, 400_u64);
            for place in 0..places {
                let mut levels = NoiseLevel::<i16>::new();
                let mut floats = NoiseLevel::<f32>::new();
                assert_eq!((levels.rough_sigma(), floats.rough_sigma()), (None, None));
                let mut random = Random(place + 1);
                for time in 0..32 * blocks {
                    let noise = normal(&mut random);
                    // A slow signal: the lowest two bands.
                    let wave = signal * (time as f64 * 0.05 + place as f64).sin();
                    let sample = (200.0 * noise + wave).round();
                    levels.push(sample as i16);
                    floats.push(sample as f32);
                }
                let found = f64::from(levels.rough_sigma().unwrap()) / 16.0;
                let float = f64::from(floats.rough_sigma().unwrap());
                let allowed = if signal == 0.0 { 0.01 } else { 0.08 };
                assert!((found / float - 1.0).abs() < allowed, "{found} {float}");
                assert_eq!(levels.sigma(), None);
                sum += found / 200.0;
                square += (found / 200.0).powi(2);
            }
            let mean = sum / places as f64;
            let deviation = (square / places as f64 - mean * mean).sqrt();
            let most = if signal == 0.0 { 0.07 } else { 0.25 };
            assert!((mean - 1.0).abs() < most, "{blocks} {signal}: {mean}");
            assert!(deviation < scatter * 1.25, "{blocks} {signal}: {deviation}");
        }
    }
}
