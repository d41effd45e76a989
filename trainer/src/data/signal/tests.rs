use super::super::npy::write_npy_f32;
use super::super::tests::shared_data;
use super::*;

fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|v| v as f32).collect()
}

fn load(values: &[f32], config: &SignalConfig) -> Result<Splits, DataError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signal.npy");
    write_npy_f32(&path, &[values.len()], values).unwrap();
    config.load(Some(&path), 1)
}

fn small(normalisation: Normalisation) -> SignalConfig {
    SignalConfig {
        window: 10,
        hop: 5,
        normalisation,
        ..SignalConfig::default()
    }
}

#[test]
fn windows_keep_to_their_part_and_restore_to_the_signal() {
    for normalisation in [
        Normalisation::Global,
        Normalisation::WindowMean,
        Normalisation::Window,
    ] {
        let splits = load(&ramp(500), &small(normalisation)).unwrap();
        assert_eq!(splits.preprocessing.contrast, normalisation.contrast());
        assert_eq!(splits.peak, 99.0);
        let parts = [
            (&splits.train, 0..300, 59),
            (&splits.validation, 300..400, 19),
            (&splits.test, 400..500, 19),
        ];
        for (part, extent, count) in parts {
            assert_eq!(part.len(), count);
            for index in 0..count {
                let mut window = part.sample(index).to_vec();
                part.restore.restore(index, &mut window);
                for (offset, value) in window.iter().enumerate() {
                    let expected = extent.start + 5 * index + offset;
                    assert!(extent.contains(&expected));
                    assert!((value - expected as f32).abs() < 1e-2, "{value} {expected}");
                }
                let (window, count) = (part.sample(index), 10.0);
                let mean = window.iter().sum::<f32>() / count;
                let power = window.iter().map(|y| y * y).sum::<f32>() / count;
                match normalisation {
                    Normalisation::Global | Normalisation::Recording => {}
                    Normalisation::WindowMean => assert!(mean.abs() < 1e-5 && power < 0.01),
                    // A ramp of ten samples has a deviation of 2.87, the training part 86.6:
                    // the floor acts.
                    Normalisation::Window => {
                        assert!(mean.abs() < 1e-5);
                        let expected = (2.8723 / (86.6 * WINDOW_FLOOR)).powi(2);
                        assert!((power - expected).abs() < 1e-2, "{power} {expected}");
                    }
                }
            }
        }
    }
    let loud: Vec<f32> = (0..500).map(|t| (t * t % 17) as f32).collect();
    let splits = load(&loud, &small(Normalisation::Window)).unwrap();
    let power: f32 = splits.test.sample(3).iter().map(|y| y * y).sum();
    assert!((power - 10.0).abs() < 1e-4, "{power}");
}

/// Recordings of another loudness, each normalised by its own mean and deviation; named files are
/// in the part that they are named for, and nowhere else.
#[test]
fn recordings_are_normalised_and_split_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (index, name) in ["a", "b", "c", "d"].iter().enumerate() {
        let gain = 10_f32.powi(index as i32);
        let values: Vec<f32> = (0..200)
            .map(|t| gain * (5.0 + (t * t % 17) as f32))
            .collect();
        let path = folder.path().join(format!("{name}.npy"));
        write_npy_f32(&path, &[200], &values).unwrap();
    }
    let names = |names: &[&str]| Some(names.iter().map(|name| format!("{name}.npy")).collect());
    let config = SignalConfig {
        validation_files: names(&["b"]),
        test_files: names(&["d", "a"]),
        ..small(Normalisation::Recording)
    };
    let splits = config.load(Some(folder.path()), 1).unwrap();
    let lengths = [&splits.train, &splits.validation, &splits.test].map(Dataset::len);
    assert_eq!(lengths, [39, 39, 78]);
    assert!(
        splits.description.contains("1/1/2 files by name"),
        "{}",
        splits.description
    );
    // All have the same shape, and their own way back.
    let pairs = splits
        .train
        .sample(3)
        .iter()
        .zip(splits.validation.sample(3));
    for (a, b) in pairs {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    for (part, index, gain) in [
        (&splits.validation, 0, 10.0),
        (&splits.test, 0, 1000.0),
        (&splits.test, 39, 1.0),
    ] {
        let mut window = part.sample(index).to_vec();
        part.restore.restore(index, &mut window);
        for (t, value) in window.iter().enumerate() {
            let expected = gain * (5.0 + (t * t % 17) as f32);
            assert!((value - expected).abs() < 1e-3 * gain, "{value} {expected}");
        }
    }
    let error = |config: SignalConfig| {
        let error = config.load(Some(folder.path()), 1).unwrap_err();
        error.to_string()
    };
    let with = |validation: &[&str], test: &[&str]| SignalConfig {
        validation_files: names(validation),
        test_files: names(test),
        ..config.clone()
    };
    assert!(error(with(&["b"], &["b"])).contains("b.npy is named twice"));
    assert!(error(with(&["x"], &["b"])).contains("no recording x.npy"));
    assert!(error(with(&["a", "b"], &["c", "d"])).contains("left to train on"));
    let half = SignalConfig {
        test_files: None,
        ..config.clone()
    };
    assert!(error(half).contains("data.test_files"));
    let even = SignalConfig {
        drift: Some(10),
        ..config.clone()
    };
    assert!(error(even).contains("data.drift"));
    let one = config
        .load(Some(&folder.path().join("a.npy")), 1)
        .unwrap_err();
    assert!(one.to_string().contains("one recording"), "{one}");
}

#[test]
fn the_training_part_alone_sets_the_normalisation() {
    let mut values = ramp(500);
    let expected = load(&values, &small(Normalisation::Global))
        .unwrap()
        .preprocessing;
    assert_eq!(expected.mean, 149.5);
    values[300..].iter_mut().for_each(|v| *v *= 100.0);
    let found = load(&values, &small(Normalisation::Global))
        .unwrap()
        .preprocessing;
    assert_eq!(found, expected);
}

#[test]
fn a_limit_takes_windows_evenly() {
    let config = SignalConfig {
        train: Some(3),
        ..small(Normalisation::Global)
    };
    let splits = load(&ramp(500), &config).unwrap();
    let starts: Vec<f32> = (0..3)
        .map(|index| {
            let mut window = splits.train.sample(index).to_vec();
            splits.train.restore.restore(index, &mut window);
            window[0].round()
        })
        .collect();
    assert_eq!(starts, [0.0, 95.0, 195.0]);
}

#[test]
fn unusable_signals_and_fields_are_named() {
    let mut gap = ramp(500);
    gap[123] = f32::NAN;
    let mut quiet = ramp(500);
    quiet[400..].fill(1.0);
    let global = small(Normalisation::Global);
    let no_hop = SignalConfig {
        hop: 0,
        ..global.clone()
    };
    let no_window = SignalConfig {
        window: 0,
        ..global.clone()
    };
    let no_rate = SignalConfig {
        sample_rate: Some(0.0),
        ..global.clone()
    };
    let no_column = SignalConfig {
        column: Some(Column::Index(1)),
        ..global.clone()
    };
    let cases: [(&[f32], &SignalConfig, &str); 8] = [
        (&gap, &global, "sample 123 is NaN"),
        (&ramp(40), &global, "too few"),
        (&[2.0; 500], &global, "is constant"),
        (&quiet, &global, "last 20 %"),
        (&gap, &no_hop, "data.hop"),
        (&gap, &no_window, "data.window"),
        (&gap, &no_rate, "data.sample_rate"),
        (&gap, &no_column, "data.column"),
    ];
    for (values, config, needle) in cases {
        let error = load(values, config).unwrap_err().to_string();
        assert!(error.contains(needle), "{error:?} lacks {needle:?}");
    }
}

#[test]
fn the_real_recordings() {
    let Some(folder) = shared_data() else { return };
    let path = folder.join("sensor/ecg_mitbih208_360hz_mV.npy");
    let splits = SignalConfig::default().load(Some(&path), 1).unwrap();
    println!("{} peak {}", splits.description, splits.peak);
    // The unit that the recording's denoising figures are stated in: the deviation of its first
    // 60 %.
    assert!((splits.preprocessing.deviation - 0.639).abs() < 5e-4);
    assert_eq!(splits.test.len(), (21_600 - 64) / 16 + 1);
}
