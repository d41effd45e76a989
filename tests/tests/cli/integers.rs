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
}
