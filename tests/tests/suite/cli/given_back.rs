//! `denoise` gives back what it was given: number type, other columns, channels, and never over the
//! input.

use super::units::{save_npy, save_wav, tones};
use super::*;

/// `denoise` with the runs' model of this name.
fn denoise(model: &str, input: &Path, output: &Path, more: &[&str]) -> Output {
    let model = Runs::get().path(model);
    let fixed = [
        "denoise",
        text(&model),
        "--input",
        text(input),
        "--output",
        text(output),
    ];
    super::run(&[&fixed, more].concat())
}

fn succeeded(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    stdout(output)
}

#[test]
fn a_table_keeps_everything_else() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let signal = ecg_signal(500, 9);
    let mut table = String::from("# from the ward\r\nt;lead I;remark;lead II\r\n");
    for (i, x) in signal.iter().enumerate() {
        let comma = |x: f64| format!("{x:.4}").replace('.', ",");
        let (x, other) = (comma(f64::from(*x)), comma(0.5 * f64::from(*x)));
        table += &format!("{};{x};\"a;{i}\";{other}\r\n", comma(i as f64 / 360.0));
    }
    std::fs::write(path("in.csv"), &table).unwrap();
    let refusal = denoise(
        "signal-i8.safetensors",
        &path("in.csv"),
        &path("out.csv"),
        &[],
    );
    assert_eq!(refusal.status.code(), Some(2), "{}", stderr(&refusal));
    for word in ["in.csv", "lead I", "lead II", "looks like time", "--column"] {
        assert!(
            stderr(&refusal).contains(word),
            "'{word}': {}",
            stderr(&refusal)
        );
    }
    let fields = |name: &str| -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(path(name)).unwrap();
        assert!(
            text.ends_with("\r\n") && text.starts_with("# from the ward\r\n"),
            "{text:.60}"
        );
        let lines = text.lines().skip(1);
        lines
            .map(|line| {
                // The semicolon in quotes is none.
                let line = line.replace("a;", "a ");
                line.split(';').map(str::to_owned).collect()
            })
            .collect()
    };
    let before = fields("in.csv");
    for (column, changed) in [
        ("lead I", &[1][..]),
        ("3", &[3]),
        ("lead I,lead II", &[1, 3]),
        ("all", &[1, 3]),
    ] {
        let more = ["--column", column];
        let said = denoise(
            "signal-i8.safetensors",
            &path("in.csv"),
            &path("out.csv"),
            &more,
        );
        succeeded(&said);
        assert!(stderr(&said).contains("500 samples"), "{}", stderr(&said));
        let after = fields("out.csv");
        assert_eq!((after.len(), &after[0]), (501, &before[0]));
        for (old, new) in before.iter().zip(&after).skip(1) {
            for at in [0, 2] {
                assert_eq!(old[at], new[at], "{column}");
            }
            for at in [1, 3].iter().filter(|at| !changed.contains(at)) {
                assert_eq!(old[*at], new[*at], "{column}");
            }
            for at in changed {
                let number = new[*at].replace(',', ".").parse::<f32>();
                assert!(
                    number.is_ok() && !new[*at].contains('.'),
                    "{column}: {new:?}"
                );
            }
        }
        for at in changed {
            assert!(
                before
                    .iter()
                    .zip(&after)
                    .any(|(old, new)| old[*at] != new[*at])
            );
        }
    }
    // Each column alone gives what both together give.
    let one = ["--column", "lead II"];
    denoise(
        "signal-i8.safetensors",
        &path("in.csv"),
        &path("one.csv"),
        &one,
    );
    let column = |rows: Vec<Vec<String>>| rows.into_iter().map(|row| row[3].clone());
    assert!(column(fields("one.csv")).eq(column(fields("out.csv"))));
    let none = ["--column", "lead III"];
    let refusal = denoise(
        "signal-i8.safetensors",
        &path("in.csv"),
        &path("x.csv"),
        &none,
    );
    assert_eq!(refusal.status.code(), Some(2), "{}", stderr(&refusal));
    assert!(!path("x.csv").exists());
}

#[test]
fn sound_keeps_its_bits_and_channels() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let left = tones(500.0, 600);
    let interleaved: Vec<i16> = left.iter().flat_map(|x| [*x, x / 2]).collect();
    save_wav(&path("in.wav"), 500, 2, &interleaved);
    let any = ["--allow-mismatch"];
    let refusal = denoise(
        "signal-i8.safetensors",
        &path("in.wav"),
        &path("out.wav"),
        &any,
    );
    assert_eq!(refusal.status.code(), Some(2), "{}", stderr(&refusal));
    assert!(
        stderr(&refusal).contains("2 channels"),
        "{}",
        stderr(&refusal)
    );
    let read = |name: &str| {
        let mut reader = hound::WavReader::open(path(name)).unwrap();
        let spec = reader.spec();
        let samples: Vec<i16> = reader.samples::<i16>().map(Result::unwrap).collect();
        (spec, samples)
    };
    let (before, samples) = read("in.wav");
    for (column, changed) in [("all", [true, true]), ("1", [false, true])] {
        let more = ["--column", column, "--allow-mismatch"];
        let said = denoise(
            "signal-i8.safetensors",
            &path("in.wav"),
            &path("out.wav"),
            &more,
        );
        succeeded(&said);
        let (spec, clean) = read("out.wav");
        assert_eq!((spec, clean.len()), (before, samples.len()));
        for (channel, changed) in changed.into_iter().enumerate() {
            let of = |all: &[i16]| {
                all.iter()
                    .skip(channel)
                    .step_by(2)
                    .copied()
                    .collect::<Vec<_>>()
            };
            assert_eq!(of(&clean) != of(&samples), changed, "{column}");
        }
    }
}

#[test]
fn pictures_keep_depth_colours_and_opacity() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let planes: Vec<Vec<f32>> = (0..3).map(|seed| dead_leaves_image(24, 20, seed)).collect();
    let deep = |x: f32| (x * 65535.0).round() as u16;
    let colour = image::ImageBuffer::from_fn(24, 20, |x, y| {
        let at = (24 * y + x) as usize;
        image::Rgba([
            deep(planes[0][at]),
            deep(planes[1][at]),
            deep(planes[2][at]),
            (40 * at) as u16,
        ])
    });
    colour.save(path("deep.png")).unwrap();
    let grey = image::ImageBuffer::from_fn(24, 20, |x, y| {
        image::Luma([deep(planes[0][(24 * y + x) as usize])])
    });
    grey.save(path("grey.png")).unwrap();
    let model = "image-f32.safetensors";
    succeeded(&denoise(model, &path("deep.png"), &path("out.png"), &[]));
    let image::DynamicImage::ImageRgba16(clean) = image::open(path("out.png")).unwrap() else {
        panic!("not 16 bits with opacity");
    };
    let alpha = |picture: &image::ImageBuffer<image::Rgba<u16>, Vec<u16>>| -> Vec<u16> {
        picture.pixels().map(|pixel| pixel.0[3]).collect()
    };
    assert_eq!(alpha(&clean), alpha(&colour));
    // The red channel comes out as it does alone.
    succeeded(&denoise(model, &path("grey.png"), &path("red.png"), &[]));
    let image::DynamicImage::ImageLuma16(red) = image::open(path("red.png")).unwrap() else {
        panic!("not 16 bits");
    };
    let reds = clean.pixels().map(|pixel| pixel.0[0]);
    assert!(reds.eq(red.pixels().map(|pixel| pixel.0[0])));
    assert!(
        red.pixels().any(|pixel| pixel.0[0] % 257 != 0),
        "eight bits only"
    );

    // An array of two axes is a picture only if somebody says so.
    write_npy_f32(&path("picture.npy"), &[20, 24], &planes[0]).unwrap();
    let refusal = denoise(model, &path("picture.npy"), &path("out.npy"), &[]);
    assert_eq!(refusal.status.code(), Some(2), "{}", stderr(&refusal));
    assert!(
        stderr(&refusal).contains("--as picture"),
        "{}",
        stderr(&refusal)
    );
    succeeded(&denoise(
        model,
        &path("picture.npy"),
        &path("out.npy"),
        &["--as", "picture"],
    ));
    let (shape, clean) = read_npy_f32(&path("out.npy")).unwrap();
    assert_eq!(shape, [20, 24]);
    let fractions: Vec<f32> = red
        .pixels()
        .map(|pixel| f32::from(pixel.0[0]) / 65535.0)
        .collect();
    let cut: Vec<f32> = clean.iter().map(|x| x.clamp(0.0, 1.0)).collect();
    assert!(max_difference(&cut, &fractions) < 1e-4);
    let misplaced = ["--as", "picture"];
    let refusal = denoise(model, &path("grey.png"), &path("x.png"), &misplaced);
    assert_eq!(refusal.status.code(), Some(2), "{}", stderr(&refusal));
}

#[test]
fn arrays_keep_their_number_type_and_byte_order() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let signal = ecg_signal(500, 9);
    let model = "signal-f32.safetensors";
    write_npy_f32(&path("f4.npy"), &[500], &signal).unwrap();
    succeeded(&denoise(model, &path("f4.npy"), &path("f4-out.npy"), &[]));
    let (_, expected) = read_npy_f32(&path("f4-out.npy")).unwrap();
    let double: Vec<u8> = signal
        .iter()
        .flat_map(|x| f64::from(*x).to_le_bytes())
        .collect();
    let big: Vec<u8> = signal.iter().flat_map(|x| x.to_be_bytes()).collect();
    for (name, descr, bytes) in [("f8.npy", "<f8", double), ("big.npy", ">f4", big)] {
        save_npy(&path(name), descr, "(500,)", &bytes);
        succeeded(&denoise(model, &path(name), &path("out.npy"), &[]));
        let written = std::fs::read(path("out.npy")).unwrap();
        assert!(String::from_utf8_lossy(&written[..64]).contains(&format!("'{descr}'")));
        let (_, clean) = read_npy_f32(&path("out.npy")).unwrap();
        assert_eq!(clean, expected, "{name}");
    }
}

#[test]
fn the_input_is_never_overwritten_unless_told() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let signal = ecg_signal(500, 9);
    write_npy_f32(&path("in.npy"), &[500], &signal).unwrap();
    let before = std::fs::read(path("in.npy")).unwrap();
    let mut names = vec![path("in.npy"), folder.path().join("./in.npy")];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(path("in.npy"), path("soft.npy")).unwrap();
        std::fs::hard_link(path("in.npy"), path("hard.npy")).unwrap();
        names.extend([path("soft.npy"), path("hard.npy")]);
    }
    for name in &names {
        let refusal = denoise("signal-f32.safetensors", &path("in.npy"), name, &[]);
        assert_eq!(
            refusal.status.code(),
            Some(2),
            "{}: {}",
            name.display(),
            stderr(&refusal)
        );
        assert!(
            stderr(&refusal).contains("--overwrite"),
            "{}",
            stderr(&refusal)
        );
        assert_eq!(std::fs::read(path("in.npy")).unwrap(), before);
    }
    let told = denoise(
        "signal-f32.safetensors",
        &path("in.npy"),
        &path("in.npy"),
        &["--overwrite"],
    );
    succeeded(&told);
    assert_ne!(std::fs::read(path("in.npy")).unwrap(), before);

    let model = Runs::get().path("image-f32.safetensors");
    write_npy_f32(&path("x.npy"), &[4, 64], &[0.5; 256]).unwrap();
    write_npy_f32(&path("z.npy"), &[2, 128], &[0.5; 256]).unwrap();
    for (command, input) in [("encode", "x.npy"), ("decode", "z.npy")] {
        let input = path(input);
        let fixed = [
            command,
            text(&model),
            "--input",
            text(&input),
            "--output",
            text(&input),
        ];
        let before = std::fs::read(&input).unwrap();
        refused(2, &fixed, &["--overwrite"]);
        assert_eq!(std::fs::read(&input).unwrap(), before);
        done(&[&fixed[..], &["--overwrite"]].concat());
        assert_ne!(std::fs::read(&input).unwrap(), before);
    }
}

#[test]
fn a_reference_tells_what_was_gained() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let clean = ecg_signal(640, 9);
    let noisy: Vec<f32> = clean
        .iter()
        .enumerate()
        .map(|(i, x)| x + 0.1 * ((i * 7919 % 101) as f32 / 50.0 - 1.0))
        .collect();
    write_npy_f32(&path("noisy.npy"), &[640], &noisy).unwrap();
    // The same in another format.
    let lines: String = clean.iter().map(|x| format!("{x}\n")).collect();
    std::fs::write(path("clean.csv"), lines).unwrap();
    let (model, reference) = ("signal-f32.safetensors", path("clean.csv"));
    let more = ["--refine", "50", "--reference", text(&reference), "--json"];
    let said = denoise(model, &path("noisy.npy"), &path("out.npy"), &more);
    let report: serde_json::Value = serde_json::from_str(&succeeded(&said)).unwrap();
    let (_, out) = read_npy_f32(&path("out.npy")).unwrap();
    let mse = |values: &[f32]| {
        let errors = values.iter().zip(&clean);
        errors.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / 640.0
    };
    let mean = clean.iter().map(|x| f64::from(*x)).sum::<f64>() / 640.0;
    let variance = clean
        .iter()
        .map(|x| (f64::from(*x) - mean).powi(2))
        .sum::<f64>()
        / 640.0;
    let peak = {
        let bytes = AlignedBytes::read(Runs::get().path(model)).unwrap();
        f64::from(HostModel::new(&bytes, "model").unwrap().spec().peak)
    };
    let decibels = |ratio: f64| 10.0 * ratio.log10();
    let gain = &report["parts"][0]["gain"];
    for (key, expected) in [
        ("psnr_before", decibels(peak * peak / mse(&noisy))),
        ("psnr_after", decibels(peak * peak / mse(&out))),
        ("snr_before", decibels(variance / mse(&noisy))),
        ("snr_after", decibels(variance / mse(&out))),
        ("gain", decibels(mse(&noisy) / mse(&out))),
    ] {
        let found = gain[key].as_f64().unwrap();
        assert!(
            (found - expected).abs() < 1e-3,
            "{key}: {found}, {expected}"
        );
    }
    let table = denoise(model, &path("noisy.npy"), &path("out.npy"), &more[..4]);
    assert!(
        succeeded(&table).contains("SNR after"),
        "{}",
        stdout(&table)
    );
    write_npy_f32(&path("short.npy"), &[600], &clean[..600]).unwrap();
    let short = path("short.npy");
    let refusal = denoise(
        model,
        &path("noisy.npy"),
        &path("x.npy"),
        &["--reference", text(&short)],
    );
    assert_eq!(refusal.status.code(), Some(2), "{}", stderr(&refusal));
    for word in ["600", "640"] {
        assert!(stderr(&refusal).contains(word), "{}", stderr(&refusal));
    }
    assert!(!path("x.npy").exists());
}

/// A `.pgm` is what every program reads as one.
#[test]
fn a_pgm_is_grey() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let picture = dead_leaves_image(24, 20, 1);
    let at = |x: u32, y: u32| picture[(24 * y + x) as usize];
    let eight = |x, y| (255.0 * at(x, y)).round() as u8;
    let sixteen = |x, y| (65535.0 * at(x, y)).round() as u16;
    image::ImageBuffer::from_fn(24, 20, |x, y| image::Luma([eight(x, y)]))
        .save(path("8.png"))
        .unwrap();
    image::ImageBuffer::from_fn(24, 20, |x, y| image::Luma([sixteen(x, y)]))
        .save(path("16.png"))
        .unwrap();
    image::ImageBuffer::from_fn(24, 20, |x, y| image::Rgb([eight(x, y), 0, 9]))
        .save(path("colour.png"))
        .unwrap();
    image::ImageBuffer::from_fn(24, 20, |x, y| image::LumaA([eight(x, y), 9]))
        .save(path("opacity.png"))
        .unwrap();
    let model = "image-f32.safetensors";
    for (input, head) in [
        ("8.png", "P5\n24 20\n255\n"),
        ("16.png", "P5\n24 20\n65535\n"),
    ] {
        succeeded(&denoise(model, &path(input), &path("out.pgm"), &[]));
        succeeded(&denoise(model, &path(input), &path("out.png"), &[]));
        let bytes = std::fs::read(path("out.pgm")).unwrap();
        assert!(bytes.starts_with(head.as_bytes()), "{input}");
        let [pgm, png] = ["out.pgm", "out.png"].map(|name| image::open(path(name)).unwrap());
        assert_eq!(pgm, png, "{input}");
    }
    std::fs::remove_file(path("out.pgm")).unwrap();
    for (input, word) in [("colour.png", "colours"), ("opacity.png", "opacity")] {
        let refusal = denoise(model, &path(input), &path("out.pgm"), &[]);
        assert_eq!(refusal.status.code(), Some(1), "{}", stderr(&refusal));
        for word in ["out.pgm", word, ".png"] {
            assert!(stderr(&refusal).contains(word), "{}", stderr(&refusal));
        }
        assert!(!path("out.pgm").exists());
    }
}

#[test]
fn rows_as_wide_as_a_sample_may_be_a_picture_and_that_is_said() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_npy_f32(&path("in.npy"), &[48, 64], &dead_leaves_image(64, 48, 1)).unwrap();
    for (more, is_told) in [
        (&[][..], true),
        (&["--as", "samples"], false),
        (&["--as", "picture"], false),
    ] {
        let output = denoise(
            "image-f32.safetensors",
            &path("in.npy"),
            &path("out.npy"),
            more,
        );
        succeeded(&output);
        let told = stderr(&output);
        assert_eq!(told.contains("--as picture"), is_told, "{told}");
        assert_eq!(
            told.contains("64x48"),
            more != ["--as", "samples"],
            "{told}"
        );
    }
}

/// The advice is on flags that the command has.
#[test]
fn advice_on_a_table_names_flags() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let rows = |row: &dyn Fn(usize) -> String| (0..300).map(row).collect::<String>();
    let wave = |i: usize| (0.1 * i as f32).sin();
    for (name, table, flag) in [
        (
            "two-ways.csv",
            rows(&|i| format!("{},{}\n", i % 7, 10 + i % 9)),
            "--decimal comma",
        ),
        (
            "comma.csv",
            rows(&|i| format!("{i};{:.3}\n", wave(i)).replace('.', ",")),
            "--column 1",
        ),
        ("one.csv", rows(&|i| format!("{i}\n")), "--column 0"),
    ] {
        std::fs::write(path(name), table).unwrap();
        let refusal = denoise("signal-i8.safetensors", &path(name), &path("out.csv"), &[]);
        let told = stderr(&refusal);
        assert_eq!(refusal.status.code(), Some(2), "{told}");
        assert!(told.contains(flag) && told.contains(name), "{flag}: {told}");
        assert!(!told.contains("data.") && !told.contains("--set"), "{told}");
    }
}
