//! `export --activations i16`, and what is done with its file.

use super::*;
use serde_json::Value;

#[test]
fn integer_models_are_exported_inspected_and_run() {
    let runs = Runs::get();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (run, model) = (runs.path("image"), path("integer.safetensors"));
    let export = |more: &[&str]| {
        let fixed = [
            "export",
            text(&run),
            "--activations",
            "i16",
            "--output",
            text(&model),
        ];
        let output = done(&[&fixed, more, &["--json"]].concat());
        let report: Value = serde_json::from_str(&output).unwrap();
        report
    };
    let report = export(&[]);
    assert_eq!(report["activations"], "i16");
    assert_eq!(report["ranges"]["calibration"], "max");
    let difference =
        report["run"]["psnr"].as_f64().unwrap() - report["file"]["psnr"].as_f64().unwrap();
    assert!(difference.abs() < 0.2, "{report}");
    let bytes = std::fs::read(&model).unwrap();
    export(&[]);
    assert_eq!(bytes, std::fs::read(&model).unwrap(), "the same bytes");

    let report = export(&["--input-scale", "0.01", "--calibration", "mse"]);
    let scale = report["ranges"]["input_scale"].as_f64().unwrap();
    assert!((scale - 0.01).abs() < 1e-6, "{report}");
    assert_eq!(report["ranges"]["calibration"], "mse");

    export(&[]);
    let inspected: Value =
        serde_json::from_str(&done(&["inspect", text(&model), "--json"])).unwrap();
    assert_eq!(inspected["format_version"], 2);
    assert_eq!(inspected["activations"], "i16");
    assert_eq!(inspected["flash_bytes"], bytes.len());
    assert!(
        done(&["inspect", text(&model)]).contains("cannot overflow"),
        "{inspected}"
    );

    // The same pictures by integers and by floats.
    let picture = dead_leaves_image(64, 64, 5);
    let raw: Vec<f32> = picture[..640].to_vec();
    write_npy_f32(&path("x.npy"), &[10, 64], &raw).unwrap();
    let float = runs.path("image-f32.safetensors");
    let mut results = Vec::new();
    for (file, name) in [(&model, "integer"), (&float, "float")] {
        let mut outputs = Vec::new();
        for (command, input, more) in [
            ("encode", "x.npy", &[][..]),
            ("decode", "encode", &[]),
            ("denoise", "x.npy", &["--refine", "50"]),
        ] {
            let input = if input == "x.npy" {
                path(input)
            } else {
                path(&format!("{name}-{input}.npy"))
            };
            let output = path(&format!("{name}-{command}.npy"));
            let fixed = [
                command,
                text(file),
                "--input",
                text(&input),
                "--output",
                text(&output),
            ];
            done(&[&fixed, more].concat());
            outputs.push(read_npy_f32(&output).unwrap().1);
        }
        results.push(outputs);
    }
    for (command, (integer, float)) in results[0].iter().zip(&results[1]).enumerate() {
        let largest = float.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        let difference = max_difference(integer, float);
        assert!(difference > 0.0, "{command}: the same arithmetic");
        assert!(
            difference < 0.05 * largest,
            "{command}: {difference} of {largest}"
        );
    }
}

/// Four-bit weights, and activations of eight bits.
#[test]
fn fewer_bits_are_exported_inspected_and_run() {
    let runs = Runs::get();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let run = runs.path("image");
    let export = |name: &str, more: &[&str]| {
        let model = path(&format!("{name}.safetensors"));
        let fixed = ["export", text(&run), "--output", text(&model), "--json"];
        let report: Value = serde_json::from_str(&done(&[&fixed, more].concat())).unwrap();
        let difference =
            report["run"]["psnr"].as_f64().unwrap() - report["file"]["psnr"].as_f64().unwrap();
        assert!(difference < 1.5, "{report}");
        report
    };
    let whole = export("whole", &["--activations", "i16"]);
    let narrow = export("narrow", &["--activations", "i16", "--weights", "i4"]);
    let short = export("short", &["--activations", "i8"]);
    let bytes = |report: &Value| report["bytes"].as_u64().unwrap();
    // Half of U and of the dictionary.
    let rows = |report: &Value| report["tensors"][0]["shape"][0].as_u64().unwrap();
    let saved = bytes(&whole) - bytes(&narrow);
    assert!((saved / 64).abs_diff(rows(&whole)) <= 1, "{narrow}");
    assert_eq!(narrow["weights"], "i4");
    assert_eq!(
        (&short["activations"], &short["ranges"]["code_max"]),
        (&"i8".into(), &127.into())
    );

    let raw: Vec<f32> = dead_leaves_image(64, 64, 5)[..640].to_vec();
    write_npy_f32(&path("x.npy"), &[10, 64], &raw).unwrap();
    for (name, weights, activations, levels) in [
        ("narrow", "i4", "i16", "0 to 32767"),
        ("short", "i8", "i8", "0 to 127"),
    ] {
        let model = path(&format!("{name}.safetensors"));
        let table = done(&["inspect", text(&model)]);
        for word in [
            &format!("{weights}, {activations}"),
            levels,
            "cannot overflow",
        ] {
            assert!(table.contains(word), "{table}");
        }
        let (input, output) = (path("x.npy"), path(&format!("{name}.npy")));
        let mut denoise = ["denoise", text(&model), "--input", text(&input)].to_vec();
        denoise.extend(["--output", text(&output), "--refine", "20"]);
        done(&denoise);
        let found = read_npy_f32(&output).unwrap().1;
        assert!(max_difference(&found, &raw) < 0.6, "{name}");
    }
}

#[test]
fn integers_that_cannot_be_are_refused() {
    let runs = Runs::get();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.safetensors");
    let refuse = |run_name: &str, more: &[&str], status: i32, word: &str| {
        let run_path = runs.path(run_name);
        let fixed = ["export", text(&run_path), "--output", text(&output)];
        let found = run(&[&fixed, more].concat());
        assert_eq!(found.status.code(), Some(status), "{found:?}");
        let message = String::from_utf8(found.stderr).unwrap();
        assert!(message.contains(word), "{message}");
        assert!(!output.exists());
    };
    let integers = ["--activations", "i16"];
    refuse(
        "image",
        &[&integers[..], &["--weights", "f32"]].concat(),
        2,
        "--weights",
    );
    refuse("image", &["--input-scale", "0.1"], 2, "--input-scale");
    refuse(
        "image",
        &[&integers[..], &["--input-scale", "0"]].concat(),
        2,
        "--input-scale",
    );
    refuse("image-nl", &integers, 1, "hidden_dim");
    refuse("image", &["--weights", "i4"], 2, "--weights");
    let fine = ["--activations", "i8", "--input-scale", "0.001"];
    refuse("image", &fine, 1, "larger one");
}

/// Of a model that takes samples with normalised contrast, a level is a unit of those; nobody's
/// pixels have it.
#[test]
fn levels_of_normalised_contrast_are_named_rightly() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("pictures")).unwrap();
    for index in 0..4 {
        let levels = dead_leaves_image(64, 64, index).into_iter();
        let bytes = levels.map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8);
        let picture = image::GrayImage::from_raw(64, 64, bytes.collect()).unwrap();
        picture
            .save(path("pictures").join(format!("{index}.png")))
            .unwrap();
    }
    let (pictures, run, model) = (path("pictures"), path("run"), path("m.safetensors"));
    let mut train = vec![
        "train",
        "--preset",
        "patches/vdl",
        "--data",
        text(&pictures),
    ];
    train.extend(["--epochs", "1", "--quiet", "--out", text(&run)]);
    for setting in [
        "data.patch=8",
        "data.window=5",
        "data.train=500",
        "data.validation=100",
        "data.test=100",
        "batch_size=50",
        "inference.max_iterations=10",
    ] {
        train.extend(["--set", setting]);
    }
    done(&train);
    let export = [
        "export",
        text(&run),
        "--activations",
        "i16",
        "--output",
        text(&model),
    ];
    let output = run_all(&export);
    assert!(
        stdout(&output).contains("units of samples with normalised contrast"),
        "{output:?}"
    );
    assert!(
        stderr(&output).contains("a device normalises local contrast in f32"),
        "{output:?}"
    );
    let inspected = done(&["inspect", text(&model)]);
    assert!(
        inspected.contains("units of samples with normalised contrast"),
        "{inspected}"
    );
    assert!(!inspected.contains("raw units each"), "{inspected}");
    let raw = Runs::get().path("image");
    let output = run_all(&[
        "export",
        text(&raw),
        "--activations",
        "i16",
        "--output",
        text(&model),
    ]);
    assert!(stdout(&output).contains("of the data's unit"), "{output:?}");
    assert!(!stderr(&output).contains("local contrast"), "{output:?}");
}

/// Runs a command that must succeed; returns both of its outputs.
fn run_all(arguments: &[&str]) -> Output {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    output
}
