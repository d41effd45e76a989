//! What does not fit a model is refused, or let through with a flag and a warning: units, rates,
//! number types.

use super::*;

/// An array of this number type, from the bytes of its values.
pub(super) fn save_npy(path: &Path, descr: &str, shape: &str, values: &[u8]) {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    let parts = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), values];
    std::fs::write(path, parts.concat()).unwrap();
}

/// A wave file of 16-bit samples, channels interleaved.
pub(super) fn save_wav(path: &Path, rate: u32, channels: u16, values: &[i16]) {
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    bytes.extend(1u16.to_le_bytes());
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * 2 * u32::from(channels)).to_le_bytes());
    bytes.extend((2 * channels).to_le_bytes());
    bytes.extend(16u16.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    std::fs::write(path, bytes).unwrap();
}

/// `sin(2π·5·t) + 0.3 sin(2π·40·t)` at this rate, as the 16-bit samples of a sound.
pub(super) fn tones(rate: f64, count: usize) -> Vec<i16> {
    let wave = |i: usize, hz: f64| (std::f64::consts::TAU * hz * i as f64 / rate).sin();
    (0..count)
        .map(|i| (8000.0 * (wave(i, 5.0) + 0.3 * wave(i, 40.0))) as i16)
        .collect()
}

/// A short run on somebody's file, and its f32 file.
pub(super) fn model_of(folder: &Path, source: &str, data: &Path, more: &[&str]) -> PathBuf {
    let (run, file) = (folder.join("run"), folder.join("model.safetensors"));
    let path = format!("data.path={}", text(data));
    let source = format!("data.source={source}");
    let fixed = [
        "train",
        "--preset",
        "ecg/vdl",
        "--out",
        text(&run),
        "--quiet",
        "--set",
        &source,
        "--set",
        &path,
        "--set",
        "batch_size=20",
        "--set",
        "inference.max_iterations=30",
    ];
    done(&[&fixed, more].concat());
    done(&[
        "export",
        text(&run),
        "--weights",
        "f32",
        "--output",
        text(&file),
    ]);
    file
}

#[test]
fn a_model_file_knows_its_input_and_refuses_another_rate() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let samples = tones(500.0, 1500);
    save_wav(&path("a.wav"), 500, 1, &samples);
    save_wav(&path("b.wav"), 250, 1, &tones(250.0, 750));
    let model = model_of(folder.path(), "signal", &path("a.wav"), &["--epochs", "1"]);
    let integer = path("integer.safetensors");
    let run = path("run");
    done(&[
        "export",
        text(&run),
        "--activations",
        "i16",
        "--output",
        text(&integer),
    ]);
    // The training part is the first 60 %.
    let unit = |level: &i16| f64::from(*level) / 32768.0;
    let ends = [
        samples[..900].iter().map(unit).fold(0.0, f64::min),
        samples[..900].iter().map(unit).fold(0.0, f64::max),
    ];
    for file in [&model, &integer] {
        let report = json(&["inspect", text(file), "--json"]);
        let input = &report["input"];
        assert_eq!(input["sample_rate"], 500.0, "{report}");
        assert_eq!(input["number_type"], "i16", "{report}");
        for (key, end) in ["raw_min", "raw_max"].into_iter().zip(ends) {
            assert!(
                (input[key].as_f64().unwrap() - end).abs() < 1e-6,
                "{report}"
            );
        }
        let table = done(&["inspect", text(file)]);
        assert!(table.contains("500 Hz") && table.contains("i16"), "{table}");

        let output = path("out.wav");
        let denoise = |input: &str, more: &[&str]| {
            let input = path(input);
            let fixed = [
                "denoise",
                text(file),
                "--input",
                text(&input),
                "--output",
                text(&output),
            ];
            super::run(&[&fixed, more].concat())
        };
        let refusal = denoise("b.wav", &[]);
        assert_eq!(refusal.status.code(), Some(1), "{}", stderr(&refusal));
        for word in ["b.wav", "250", "500", "--allow-mismatch"] {
            assert!(stderr(&refusal).contains(word), "{}", stderr(&refusal));
        }
        assert!(!output.exists());
        let let_through = denoise("b.wav", &["--allow-mismatch"]);
        assert_eq!(
            let_through.status.code(),
            Some(0),
            "{}",
            stderr(&let_through)
        );
        assert!(
            stderr(&let_through).contains("warning: "),
            "{}",
            stderr(&let_through)
        );
        let own = denoise("a.wav", &[]);
        assert_eq!(own.status.code(), Some(0), "{}", stderr(&own));
        assert!(!stderr(&own).contains("warning"), "{}", stderr(&own));
        std::fs::remove_file(&output).unwrap();
        let input = path("b.wav");
        let evaluate = ["evaluate", text(file), "--data", text(&input)];
        refused(1, &evaluate, &["250", "500", "--allow-mismatch"]);
    }
}

#[test]
fn pixels_of_255_are_refused_or_scaled() {
    let runs = Runs::get();
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let picture = dead_leaves_image(64, 64, 5);
    let levels: Vec<u8> = picture.iter().map(|x| (x * 255.0).round() as u8).collect();
    let unit: Vec<f32> = levels.iter().map(|x| f32::from(*x) / 255.0).collect();
    save_npy(&path("u8.npy"), "|u1", "(64, 64)", &levels);
    write_npy_f32(&path("unit.npy"), &[64, 64], &unit).unwrap();
    let model = runs.path("image-f32.safetensors");
    let command = |command: &str, input: &str, output: &str, more: &[&str]| {
        let (input, output) = (path(input), path(output));
        let fixed = [
            command,
            text(&model),
            "--input",
            text(&input),
            "--output",
            text(&output),
        ];
        super::run(&[&fixed, more].concat())
    };
    for name in ["encode", "denoise"] {
        let refusal = command(name, "u8.npy", "out.npy", &[]);
        let message = stderr(&refusal);
        assert_eq!(refusal.status.code(), Some(1), "{message}");
        for word in [
            "u8.npy",
            " to 255",
            "--input-range 0,255",
            "--allow-mismatch",
        ] {
            assert!(
                message.contains(word),
                "{name}: '{word}' is not in: {message}"
            );
        }
        assert!(!path("out.npy").exists());
        let range = ["--input-range", "0,255"];
        for (input, output, more) in [
            ("u8.npy", "scaled.npy", &range[..]),
            ("unit.npy", "plain.npy", &[]),
            ("u8.npy", "as-is.npy", &["--allow-mismatch"]),
        ] {
            let output = command(name, input, output, more);
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            let warned = stderr(&output).contains("warning: ");
            assert_eq!(warned, more == ["--allow-mismatch"], "{}", stderr(&output));
        }
        let read = |name: &str| read_npy_f32(&path(name)).unwrap().1;
        let (scaled, plain) = (read("scaled.npy"), read("plain.npy"));
        if name == "encode" {
            assert!(max_difference(&scaled, &plain) < 1e-3);
            let largest = |codes: &[f32]| codes.iter().copied().fold(0.0, f32::max);
            assert!(largest(&read("as-is.npy")) > 20.0 * largest(&plain));
        } else {
            // Back in the input's unit and number type.
            let bytes = std::fs::read(path("scaled.npy")).unwrap();
            let whole: Vec<f32> = plain
                .iter()
                .map(|x| (x * 255.0).clamp(0.0, 255.0).round())
                .collect();
            assert!(String::from_utf8_lossy(&bytes[..64]).contains("'|u1'"));
            assert!(max_difference(&scaled, &whole) <= 1.0);
        }
    }
    let bad = ["--input-range", "255,0"];
    assert_eq!(
        command("encode", "u8.npy", "x.npy", &bad).status.code(),
        Some(2)
    );
    let both = ["--input-range", "0,255", "--input-unit", "raw"];
    assert_eq!(
        command("encode", "u8.npy", "x.npy", &both).status.code(),
        Some(2)
    );
}

/// What a converter gives is what a model in integers takes, and gives back.
#[test]
fn levels_of_a_converter_stay_levels() {
    let runs = Runs::get();
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let file = path("integer.safetensors");
    let run = runs.path("signal");
    done(&[
        "export",
        text(&run),
        "--activations",
        "i16",
        "--output",
        text(&file),
    ]);
    let bytes = AlignedBytes::read(&file).unwrap();
    let mut host = HostModel::new(&bytes, "integer").unwrap();
    let (scale, _) = host.integer().unwrap().scales().unwrap();
    let (dim, signal) = (host.spec().input_dim(), ecg_signal(500, 9));
    let levels: Vec<i16> = signal[..2 * dim]
        .iter()
        .map(|x| (x / scale).round() as i16)
        .collect();
    let stored: Vec<u8> = levels.iter().flat_map(|x| x.to_le_bytes()).collect();
    let shape = format!("(2, {dim})");
    save_npy(&path("adc.npy"), "<i2", &shape, &stored);
    let mut raw: Vec<f32> = levels.iter().map(|x| f32::from(*x) * scale).collect();
    write_npy_f32(&path("raw.npy"), &[2, dim], &raw).unwrap();
    for sample in raw.chunks_exact_mut(dim) {
        host.denoise(sample, None).unwrap();
    }
    let expected: Vec<f32> = raw.iter().map(|x| (x / scale).round()).collect();
    let command = |command: &str, input: &str, output: &str, more: &[&str]| {
        let (input, output) = (path(input), path(output));
        let fixed = [
            command,
            text(&file),
            "--input",
            text(&input),
            "--output",
            text(&output),
        ];
        super::run(&[&fixed, more].concat())
    };
    for more in [&[][..], &["--input-unit", "levels"]] {
        let output = command("denoise", "adc.npy", "clean.npy", more);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("levels of the device"),
            "{}",
            stderr(&output)
        );
        let (_, clean) = read_npy_f32(&path("clean.npy")).unwrap();
        assert_eq!(clean, expected);
    }
    // The same codes from levels as from raw units.
    for input in ["adc.npy", "raw.npy"] {
        let output = command("encode", input, &format!("code-{input}"), &[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let read = |name: &str| read_npy_f32(&path(name)).unwrap().1;
    assert_eq!(read("code-adc.npy"), read("code-raw.npy"));
    // Raw on demand, with a warning: they are far from the model's.
    let forced = command("denoise", "adc.npy", "forced.npy", &["--input-unit", "raw"]);
    assert!(stderr(&forced).contains("warning: "), "{}", stderr(&forced));
    // A model in f32 has no levels.
    let float = runs.path("signal-f32.safetensors");
    let (input, output) = (path("adc.npy"), path("x.npy"));
    let fixed = [
        "denoise",
        text(&float),
        "--input",
        text(&input),
        "--output",
        text(&output),
    ];
    refused(1, &fixed, &["adc.npy", "--input-range"]);
    refused(
        2,
        &[&fixed[..], &["--input-unit", "levels"]].concat(),
        &["in integers"],
    );
}

/// A picture's black and white are those of patches of 0 to 255, too.
#[test]
fn a_picture_enters_in_the_unit_of_the_patches() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let pictures: Vec<Vec<f32>> = (0..8).map(|seed| dead_leaves_image(64, 64, seed)).collect();
    let patches: Vec<f32> = pictures
        .iter()
        .flat_map(|picture| {
            (0..64 * 64).map(move |i| {
                let (patch, pixel) = (i / 64, i % 64);
                let (top, left) = (patch / 8 * 8 + pixel / 8, patch % 8 * 8 + pixel % 8);
                (255.0 * picture[top * 64 + left]).round()
            })
        })
        .collect();
    write_npy_f32(&path("patches.npy"), &[512, 8, 8], &patches).unwrap();
    let model = model_of(
        folder.path(),
        "npy",
        &path("patches.npy"),
        &["--epochs", "1"],
    );
    let report = json(&["inspect", text(&model), "--json"]);
    assert!(
        report["input"]["raw_max"].as_f64().unwrap() > 200.0,
        "{report}"
    );
    let picture = dead_leaves_image(40, 30, 99);
    let bytes: Vec<u8> = picture.iter().map(|x| (x * 255.0).round() as u8).collect();
    image::GrayImage::from_raw(40, 30, bytes.clone())
        .unwrap()
        .save(path("in.png"))
        .unwrap();
    let (input, output) = (path("in.png"), path("out.png"));
    let arguments = [
        "denoise",
        text(&model),
        "--input",
        text(&input),
        "--output",
        text(&output),
        "--refine",
        "100",
    ];
    let denoised = super::run(&arguments);
    assert_eq!(denoised.status.code(), Some(0), "{}", stderr(&denoised));
    assert!(
        stderr(&denoised).contains("0 to 255"),
        "{}",
        stderr(&denoised)
    );
    let clean = image::open(&output).unwrap().to_luma8().into_raw();
    // White is not all that comes out: the picture is still there.
    let centred = |values: &[u8]| -> Vec<f64> {
        let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / 1200.0;
        values.iter().map(|x| f64::from(*x) - mean).collect()
    };
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (before, after) = (centred(&bytes), centred(&clean));
    let norms = product(&before, &before) * product(&after, &after);
    let correlation = product(&before, &after) / norms.sqrt();
    assert!(correlation > 0.8, "{correlation}");
}
