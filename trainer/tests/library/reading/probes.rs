use sparsecode_formats::NumberType;
use sparsecode_trainer::data::Decimal;
use sparsecode_trainer::data::picture::Pixels;
use sparsecode_trainer::data::{Hints, Recording};

use super::{column, deviation, load, probes, read, refused, wave};

fn close(values: &[f32], expected: &[f32], within: f32) {
    assert_eq!(values.len(), expected.len());
    for (value, expected) in values.iter().zip(expected) {
        assert!((value - expected).abs() <= within, "{value} {expected}");
    }
}

#[test]
fn tables() {
    let Some(folder) = probes() else { return };
    let path = |name: &str| folder.join(name);
    let none = Hints::default();
    let comma = path("decimal-comma.csv");
    let (error, usage) = refused(&comma, &none);
    assert!(
        usage && error.contains("decimal comma") && error.contains("data.decimal=comma"),
        "{error}"
    );
    let told = Hints {
        decimal: Some(Decimal::Comma),
        ..Hints::default()
    };
    close(&read(&comma, &told), &wave(1500), 1e-3);
    let both = path("decimal-comma-semicolon.csv");
    close(&read(&both, &column("1")), &wave(1500), 1e-3);
    let (error, usage) = refused(&both, &none);
    assert!(
        usage && error.contains("0 (rises evenly by 0.002: looks like time)"),
        "{error}"
    );
    let index = path("index-column.csv");
    let (error, usage) = refused(&index, &none);
    assert!(
        usage && error.contains("looks like an index") && error.contains("data.column=1"),
        "{error}"
    );
    close(&read(&index, &column("1")), &wave(1500), 1e-3);
    // 0 is the position of the index and the name of the other column.
    assert!(
        refused(&index, &column("0"))
            .0
            .contains("the name of another")
    );
    close(&read(&path("header-is-zero.csv"), &none), &wave(1500), 1e-3);
    // A table is written back as it was but for what is replaced.
    let clean = tempfile::tempdir().unwrap();
    for name in [
        "decimal-comma-semicolon.csv",
        "index-column.csv",
        "header-is-zero.csv",
    ] {
        let recording = Recording::read(&path(name), &none).unwrap();
        recording.write(&clean.path().join(name), &[]).unwrap();
        let bytes = |path| std::fs::read(path).unwrap();
        assert_eq!(bytes(clean.path().join(name)), bytes(path(name)));
    }
}

#[test]
fn sound() {
    let Some(folder) = probes() else { return };
    let none = Hints::default();
    let open = |name: &str| Recording::read(&folder.join(name), &none).unwrap();
    let plain = open("plain-500hz.wav");
    assert_eq!(plain.sample_rate, Some(500.0));
    assert_eq!(open("plain-250hz.wav").sample_rate, Some(250.0));
    let plain = &plain.channels[0].values;
    assert_eq!(plain.len(), 1500);
    for (name, number_type) in [
        ("odd-list-chunk.wav", NumberType::I16),
        ("streamed-length.wav", NumberType::I16),
        ("float64.wav", NumberType::F64),
        ("left-justified-24-in-32.wav", NumberType::I24),
    ] {
        let recording = open(name);
        assert_eq!(recording.number_type, number_type, "{name}");
        close(&recording.channels[0].values, plain, 1.0 / 32_768.0);
        assert!(
            (deviation(&recording.channels[0].values) - 0.180).abs() < 5e-4,
            "{name}"
        );
    }
}

#[test]
fn arrays() {
    let Some(folder) = probes() else { return };
    let table = "source = \"signal\"";
    let error = load(table, Some(&folder.join("channels-by-samples.npy"))).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("transposed") && error.contains("data.column"),
        "{error}"
    );
    let splits = load("source = \"npy\"", Some(&folder.join("fortran.npy"))).unwrap();
    assert_eq!((splits.train.len(), splits.train.dim), (40, 64));
    let splits = load(
        "source = \"npy\"",
        Some(&folder.join("patches-0-to-255.npy")),
    )
    .unwrap();
    let [low, high] = splits.input.range.unwrap();
    assert!(low >= 0.0 && high > 200.0 && high <= 255.0, "{low} {high}");
}

#[test]
fn pictures() {
    let Some(folder) = probes() else { return };
    let green = Pixels::read(&folder.join("green.png")).unwrap().grey();
    let mean = green.iter().sum::<f32>() / green.len() as f32 * 255.0;
    // 129.8, rounded to a level as training always did; Rec. 709 would be 151.6.
    assert!((mean - 129.8).abs() < 0.5, "{mean}");
    let table =
        "source = \"images\"\npatch = 8\nwindow = 5\ntrain = 300\nvalidation = 100\ntest = 100";
    let splits = load(table, Some(&folder.join("thermal16"))).unwrap();
    assert_eq!(splits.input.number_type, Some(NumberType::U16));
    let frame = Pixels::read(&folder.join("thermal16/frame0.png")).unwrap();
    let mut levels: Vec<u32> = frame
        .grey()
        .iter()
        .map(|v| (v * 65_535.0).round() as u32)
        .collect();
    levels.sort_unstable();
    levels.dedup();
    assert!(
        levels.len() > 256 && levels[0] >= 7000,
        "{} levels",
        levels.len()
    );
    let place = tempfile::tempdir().unwrap();
    let clean = place.path().join("clean.png");
    frame.write(&clean, &frame.channels).unwrap();
    assert_eq!(Pixels::read(&clean).unwrap(), frame);
}
