//! What is done with a model file: `encode`, `decode`, `denoise`.

use super::*;

/// Raw samples: a few patches of a generated picture, in [0, 1].
fn raw_patches(count: usize) -> Vec<f32> {
    let picture = dead_leaves_image(64, 64, 5);
    (0..count)
        .flat_map(|i| {
            let picture = &picture;
            let (top, left) = (8 * (i / 8), 8 * (i % 8));
            (0..64).map(move |p| picture[(top + p / 8) * 64 + left + p % 8])
        })
        .collect()
}

#[test]
fn arrays_are_encoded_decoded_and_denoised() {
    let runs = Runs::get();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let raw = raw_patches(10);
    write_npy_f32(&path("x.npy"), &[10, 64], &raw).unwrap();
    write_npy_f32(&path("images.npy"), &[10, 8, 8], &raw).unwrap();
    for name in ["image", "image-nl", "do"] {
        let model = runs.path(&format!("{name}-f32.safetensors"));
        let convert = |command: &str, input: &str, output: &str, more: &[&str]| {
            let (input, output) = (path(input), path(output));
            let fixed = [
                command,
                text(&model),
                "--input",
                text(&input),
                "--output",
                text(&output),
            ];
            done(&[&fixed, more].concat());
            read_npy_f32(&output).unwrap()
        };
        let (shape, codes) = convert("encode", "x.npy", "z.npy", &[]);
        assert_eq!(shape, [10, 128], "{name}");
        assert_eq!(
            convert("encode", "images.npy", "z2.npy", &[]).1,
            codes,
            "{name}"
        );

        // By hand: the recorded preprocessing, then the trainer's encoder.
        let trained = TrainedRun::open(&RunFolder::new(runs.path(name))).unwrap();
        let facts = &trained.facts;
        assert_eq!(facts.contrast, Contrast::None.to_string());
        let prepared: Vec<f32> = raw
            .iter()
            .map(|x| (x - facts.mean) / facts.deviation)
            .collect();
        if let Some(encoder) = &trained.model.encoder {
            let inputs = candle_core::Tensor::from_vec(prepared, (10, 64), &Device::Cpu).unwrap();
            let by_hand = flat(&encoder.forward(&inputs).unwrap());
            let difference = max_difference(&by_hand, &codes);
            assert!(difference < 1e-5, "{name}: codes differ by {difference}");
        }

        let (shape, decoded) = convert("decode", "z.npy", "y.npy", &[]);
        assert_eq!(shape, [10, 64], "{name}");
        let (shape, denoised) = convert("denoise", "images.npy", "clean.npy", &[]);
        assert_eq!(shape, [10, 8, 8], "{name}");
        let difference = max_difference(&decoded, &denoised);
        assert!(
            difference < 1e-5,
            "{name}: encode and decode, or denoise: {difference}"
        );

        // Refined codes have no larger energy: closer, or sparser.
        let (_, refined) = convert("encode", "x.npy", "r.npy", &["--refine", "100"]);
        let (_, better) = convert("decode", "r.npy", "yr.npy", &[]);
        let bytes = AlignedBytes::read(&model).unwrap();
        let lambda = HostModel::new(&bytes, name).unwrap().spec().lambda;
        let energy = |codes: &[f32], y: &[f32]| {
            let scale = facts.deviation * facts.deviation * 64.0;
            let error: f32 = raw.iter().zip(y).map(|(a, b)| (a - b).powi(2)).sum();
            error / scale + lambda * codes.iter().sum::<f32>()
        };
        let (before, after) = (energy(&codes, &decoded), energy(&refined, &better));
        assert!(
            after <= before * 1.001,
            "{name}: energy {before} before, {after} after"
        );
    }
}

fn save_png(path: &Path, width: usize, height: usize, values: &[f32]) {
    let bytes = values
        .iter()
        .map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8);
    image::GrayImage::from_raw(width as u32, height as u32, bytes.collect())
        .unwrap()
        .save(path)
        .unwrap();
}

/// A wave file of 16-bit samples in one channel.
fn save_wav(path: &Path, values: &[f32]) {
    let data: Vec<u8> = values
        .iter()
        .flat_map(|v| ((v.clamp(-1.0, 1.0) * 32767.0) as i16).to_le_bytes())
        .collect();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    for half in [1u16, 1] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(360u32.to_le_bytes());
    bytes.extend(720u32.to_le_bytes());
    for half in [2u16, 16] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn pictures_and_signals_are_denoised() {
    let runs = Runs::get();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let denoise = |model: &str, input: &str, output: &str, more: &[&str]| {
        let model = runs.path(model);
        let (input, output) = (path(input), path(output));
        let fixed = [
            "denoise",
            text(&model),
            "--input",
            text(&input),
            "--output",
            text(&output),
        ];
        done(&[&fixed, more].concat());
        output
    };
    save_png(&path("noisy.png"), 37, 29, &dead_leaves_image(37, 29, 8));
    let refine = ["--refine", "20", "--sigma", "0.1", "--hop", "3"];
    for more in [&[][..], &refine] {
        let clean = denoise("image-i8.safetensors", "noisy.png", "clean.png", more);
        let clean = image::open(clean).unwrap().to_luma8();
        assert_eq!((clean.width(), clean.height()), (37, 29));
        assert!(clean.pixels().any(|p| p.0[0] != clean.get_pixel(0, 0).0[0]));
    }

    let signal = ecg_signal(500, 9);
    let lines: String = signal.iter().map(|v| format!("{v}\n")).collect();
    std::fs::write(path("s.csv"), lines).unwrap();
    write_npy_f32(&path("s.npy"), &[500], &signal).unwrap();
    let largest = signal.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let unit: Vec<f32> = signal.iter().map(|v| v / largest).collect();
    save_wav(&path("s.wav"), &unit);
    let model = "signal-i8.safetensors";
    let read = |path: &Path| read_npy_f32(path).unwrap();
    let (shape, from_npy) = read(&denoise(model, "s.npy", "n.npy", &[]));
    assert_eq!(shape, [500]);
    let (_, from_csv) = read(&denoise(model, "s.csv", "c.npy", &[]));
    assert!(max_difference(&from_npy, &from_csv) < 1e-5);
    let (_, from_wav) = read(&denoise(model, "s.wav", "w.npy", &[]));
    assert_eq!(from_wav.len(), 500);
    // A wave file comes back as one, and is read again; without a sample rate none can be written.
    denoise(model, "s.wav", "again.wav", &[]);
    let (_, again) = read(&denoise(model, "again.wav", "again.npy", &[]));
    assert_eq!(again.len(), 500);
    let (file, input, output) = (runs.path(model), path("s.npy"), path("no-rate.wav"));
    let files = ["--input", text(&input), "--output", text(&output)];
    refused(
        2,
        &[&["denoise", text(&file)], &files[..]].concat(),
        &["sample rate"],
    );
    let to_csv = std::fs::read_to_string(denoise(model, "s.npy", "n.csv", &[])).unwrap();
    let to_csv: Vec<f32> = to_csv.lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(to_csv, from_npy);

    let refusal = |model: &str, input: &str, output: &str, words: &[&str]| {
        let (model, input, output) = (runs.path(model), path(input), path(output));
        let input = text(&input);
        refused(
            1,
            &[
                "denoise",
                text(&model),
                "--input",
                input,
                "--output",
                text(&output),
            ],
            words,
        );
        assert!(!output.exists());
    };
    refusal(model, "noisy.png", "x.png", &["noisy.png", "windows"]);
    refusal("image-i8.safetensors", "s.csv", "x.npy", &["s.csv", "8x8"]);
    save_png(&path("small.png"), 5, 5, &[0.5; 25]);
    refusal(
        "image-i8.safetensors",
        "small.png",
        "x.png",
        &["small.png", "5x5", "8x8"],
    );
    write_npy_f32(&path("short.npy"), &[10], &[0.0; 10]).unwrap();
    refusal(model, "short.npy", "x.npy", &["short.npy", "64"]);
    std::fs::write(path("bad.csv"), "1.0\nx\n2.0\n").unwrap();
    refusal(model, "bad.csv", "x.npy", &["bad.csv"]);
    std::fs::write(path("bad.png"), b"not a picture").unwrap();
    refusal("image-i8.safetensors", "bad.png", "x.png", &["bad.png"]);
    let mut broken = signal.clone();
    broken[77] = f32::NAN;
    write_npy_f32(&path("nan.npy"), &[500], &broken).unwrap();
    refusal(model, "nan.npy", "x.npy", &["nan.npy", "sample 77"]);
}

#[test]
fn wrong_arrays_and_files_are_named() {
    let runs = Runs::get();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let model = runs.path("image-i8.safetensors");
    let refusal = |command: &str, model: &Path, input: &str, words: &[&str]| {
        let (input, output) = (path(input), path("out.npy"));
        refused(
            1,
            &[
                command,
                text(model),
                "--input",
                text(&input),
                "--output",
                text(&output),
            ],
            words,
        );
        assert!(!output.exists(), "{command} wrote something");
    };
    write_npy_f32(&path("wide.npy"), &[2, 65], &[0.0; 130]).unwrap();
    write_npy_f32(&path("flat.npy"), &[64], &[0.0; 64]).unwrap();
    let mut values = [0.1; 128];
    values[70] = f32::NAN;
    write_npy_f32(&path("nan.npy"), &[2, 64], &values).unwrap();
    let whole = {
        write_npy_f32(&path("x.npy"), &[2, 64], &[0.1; 128]).unwrap();
        std::fs::read(path("x.npy")).unwrap()
    };
    std::fs::write(path("cut.npy"), &whole[..whole.len() - 5]).unwrap();
    for command in ["encode", "denoise"] {
        refusal(command, &model, "wide.npy", &["wide.npy", "64"]);
        refusal(command, &model, "nan.npy", &["nan.npy", "row 1"]);
        refusal(command, &model, "cut.npy", &["cut.npy"]);
    }
    refusal("encode", &model, "flat.npy", &["flat.npy", "[64]"]);
    refusal("decode", &model, "x.npy", &["x.npy", "128"]);
    let mut code = [0.0; 256];
    code[200] = -1.0;
    write_npy_f32(&path("negative.npy"), &[2, 128], &code).unwrap();
    refusal("decode", &model, "negative.npy", &["row 1", "negative.npy"]);

    let bytes = std::fs::read(&model).unwrap();
    let damaged = path("damaged.safetensors");
    for (length, word) in [
        (0, "header"),
        (7, "header"),
        (100, "header"),
        (bytes.len() - 1, ""),
    ] {
        std::fs::write(&damaged, &bytes[..length]).unwrap();
        refusal("encode", &damaged, "x.npy", &["damaged.safetensors", word]);
        refused(
            1,
            &["inspect", text(&damaged)],
            &["damaged.safetensors", word],
        );
    }
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    std::fs::write(&damaged, &flipped).unwrap();
    refused(1, &["inspect", text(&damaged)], &["checksum"]);

    // Files of a run.
    let copy = path("run");
    std::fs::create_dir(&copy).unwrap();
    let (from, to) = (RunFolder::new(runs.path("image")), RunFolder::new(&copy));
    std::fs::copy(from.config(), to.config()).unwrap();
    let best = std::fs::read(from.best()).unwrap();
    std::fs::write(to.best(), &best[..best.len() / 2]).unwrap();
    refused(1, &["evaluate", text(&copy)], &["best.safetensors"]);
    let export = path("m.safetensors");
    refused(
        1,
        &["export", text(&copy), "--output", text(&export)],
        &["best.safetensors"],
    );
}

/// Crops with their surroundings are normalised as the model's patches were, checked against the
/// formula in f64.
#[test]
fn local_contrast_needs_the_surroundings() {
    const WINDOW: usize = 5;
    const PATCH: usize = 8;
    const CROP: usize = PATCH + 2 * (WINDOW - 1);
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let images = path("images");
    std::fs::create_dir(&images).unwrap();
    for seed in 0..12 {
        let picture = dead_leaves_image(256, 256, seed);
        save_png(&images.join(format!("{seed}.png")), 256, 256, &picture);
    }
    let (run, file) = (path("run"), path("model.safetensors"));
    let more = [
        "--set",
        "data.patch=8",
        "--set",
        "data.window=5",
        "--set",
        "model.code_dim=24",
        "--data",
        text(&images),
    ];
    assert!(train("patches/vdl", &run, 1, &more).status.success());
    done(&[
        "export",
        text(&run),
        "--output",
        text(&file),
        "--weights",
        "f32",
        "--data",
        text(&images),
    ]);

    let picture = dead_leaves_image(64, 64, 77);
    let crop = |top: usize, left: usize| -> Vec<f32> {
        (0..CROP * CROP)
            .map(|p| picture[(top + p / CROP) * 64 + left + p % CROP])
            .collect()
    };
    let crops = [crop(0, 0), crop(9, 30), crop(40, 17)];
    let (input, output) = (path("x.npy"), path("z.npy"));
    write_npy_f32(&input, &[3, CROP, CROP], &crops.concat()).unwrap();
    let report = json(&[
        "encode",
        text(&file),
        "--input",
        text(&input),
        "--output",
        text(&output),
        "--json",
    ]);
    assert_eq!(report["samples"], 3);
    let (_, codes) = read_npy_f32(&output).unwrap();

    let bytes = AlignedBytes::read(&file).unwrap();
    let mut host = HostModel::new(&bytes, "model").unwrap();
    let preprocessing = host.spec().preprocessing;
    let Contrast::Local { sigma, floor, .. } = preprocessing.contrast else {
        panic!("{preprocessing:?}");
    };
    let weight = |i: usize, j: usize| {
        let square = |x: usize| (x as f64 - (WINDOW / 2) as f64).powi(2);
        (-(square(i) + square(j)) / (2.0 * f64::from(sigma).powi(2))).exp()
    };
    let total: f64 = (0..WINDOW * WINDOW)
        .map(|k| weight(k / WINDOW, k % WINDOW))
        .sum();
    let blur = |image: &[f64], side: usize| -> Vec<f64> {
        let out = side - WINDOW + 1;
        let at = |p: usize| {
            let taps = (0..WINDOW * WINDOW).map(|k| {
                weight(k / WINDOW, k % WINDOW) / total
                    * image[(p / out + k / WINDOW) * side + p % out + k % WINDOW]
            });
            taps.sum::<f64>()
        };
        (0..out * out).map(at).collect()
    };
    let inner = |image: &[f64], side: usize| -> Vec<f64> {
        let (out, border) = (side - WINDOW + 1, WINDOW / 2);
        (0..out * out)
            .map(|p| image[(p / out + border) * side + p % out + border])
            .collect()
    };
    for (crop, code) in crops.iter().zip(codes.chunks_exact(24)) {
        let scaled: Vec<f64> = crop
            .iter()
            .map(|&x| f64::from((x - preprocessing.mean) / preprocessing.deviation))
            .collect();
        let mean = blur(&scaled, CROP);
        let centred: Vec<f64> = inner(&scaled, CROP)
            .iter()
            .zip(&mean)
            .map(|(x, m)| x - m)
            .collect();
        let side = CROP - WINDOW + 1;
        let squares: Vec<f64> = centred.iter().map(|x| x * x).collect();
        let deviation = blur(&squares, side);
        let patch: Vec<f32> = inner(&centred, side)
            .iter()
            .zip(&deviation)
            .map(|(x, v)| (x / v.sqrt().max(f64::from(floor))) as f32)
            .collect();
        let mut expected = vec![0.0; 24];
        sparsecode_runtime::CodeBuffer::to_dense(host.encode(&patch, None).unwrap(), &mut expected);
        assert!(
            max_difference(code, &expected) < 1e-4,
            "{code:?}\n{expected:?}"
        );
    }

    // A patch without its surroundings is not enough, neither to encode nor to denoise.
    write_npy_f32(&input, &[3, PATCH, PATCH], &[0.5; 3 * PATCH * PATCH]).unwrap();
    refused(
        1,
        &[
            "encode",
            text(&file),
            "--input",
            text(&input),
            "--output",
            text(&output),
        ],
        &["16x16", "x.npy"],
    );
    refused(
        2,
        &[
            "denoise",
            text(&file),
            "--input",
            text(&input),
            "--output",
            text(&output),
        ],
        &["whole image"],
    );
}
