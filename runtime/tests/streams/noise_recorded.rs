//! The noise level on recorded signals to which white noise is added.

use std::path::PathBuf;

use sparsecode_runtime::stream::DriftStream;

use crate::common::Random;
use crate::noise_level::{estimate, normal};

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
