//! `sparsecode config`: the keys explained, and configurations to start from.

use super::*;

#[test]
fn keys_are_found_by_name_table_and_part() {
    let all = done(&["config"]);
    for key in [
        "batch_size",
        "inference.lambda",
        "data.source",
        "data.window",
    ] {
        assert!(
            all.lines().any(|line| line.starts_with(key)),
            "{key}: {all}"
        );
    }
    let one = done(&["config", "inference.lambda"]);
    assert!(one.starts_with("inference.lambda\n"), "{one}");
    assert!(one.contains("number, ≥ 0"), "{one}");
    assert_eq!(one.lines().filter(|line| !line.starts_with(' ')).count(), 1);
    let data = done(&["config", "data.hop"]);
    for source in ["signal", "ecg", "vibration"] {
        assert!(
            data.contains(&format!("data.source = \"{source}\"")),
            "{data}"
        );
    }
    refused(
        2,
        &["config", "inference.lamda"],
        &["inference.lamda", "sparsecode config"],
    );
    refused(
        2,
        &["config", "--preset", "mnist/nonsense"],
        &["mnist/nonsense"],
    );
    refused(2, &["config", "--set", "epochs=3"], &["--preset"]);
}

#[test]
fn the_schema_knows_every_key() {
    let schema: serde_json::Value = serde_json::from_str(&done(&["config", "--json"])).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    let config = Config::preset("ecg/vdl").unwrap().to_table();
    assert!(config.keys().all(|key| properties.contains_key(key)));
}

/// A file that `config` writes is the configuration that `train` would have used.
#[test]
fn a_printed_configuration_trains_the_same_run() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("mine.toml"), folder.path().join("run"));
    let small = ["--set", "data.train=500", "--set", "epochs=1"];
    let printed = done(&[&["config", "--preset", "ecg/sdl"][..], &small].concat());
    std::fs::write(&file, &printed).unwrap();
    done(&[
        "train",
        "--config",
        text(&file),
        "--out",
        text(&out),
        "--quiet",
    ]);
    let ran = Config::read(&RunFolder::new(&out).config()).unwrap();
    let settings: Vec<String> = small
        .iter()
        .skip(1)
        .step_by(2)
        .map(|s| s.to_string())
        .collect();
    let expected = Config::preset("ecg/sdl").unwrap();
    assert_eq!(ran, expected.with_overrides(None, &settings).unwrap());
    let json = ["config", "--preset", "ecg/sdl", "--json"];
    let json: Config = serde_json::from_str(&done(&[&json[..], &small].concat())).unwrap();
    assert_eq!(json, ran);
}
