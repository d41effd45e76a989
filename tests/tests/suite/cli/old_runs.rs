//! Runs of versions that did not remember where their data were: their files have a hash of the
//! whole configuration, place included, and no text of it.

use serde_json::Value;

use super::*;

/// Rewrites the JSON document that a file of a run has for metadata.
fn rewrite(path: &Path, change: impl FnOnce(&mut Value)) {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (header, tensors) = bytes[8..].split_at(length);
    let mut header: Value = serde_json::from_slice(header).unwrap();
    let document = &mut header["__metadata__"]["sparsecode"];
    let mut state: Value = serde_json::from_str(document.as_str().unwrap()).unwrap();
    change(&mut state);
    *document = state.to_string().into();
    let mut header = header.to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(path, [&length, header.as_bytes(), tensors].concat()).unwrap();
}

/// Makes a run one of an old version, whose `config.toml` names `place` for its data.
fn age(run: &Path, place: &str) -> Config {
    let files = RunFolder::new(run);
    let own = Config::read(&files.config()).unwrap();
    let setting = [format!("data.path={place}")];
    let config = own.with_overrides(None, &setting).unwrap();
    std::fs::write(files.config(), config.to_toml()).unwrap();
    let forget = |state: &mut Value, hash: String| {
        assert!(state["configuration"].is_string(), "{state}");
        state.as_object_mut().unwrap().remove("configuration");
        state["config_hash"] = hash.into();
    };
    rewrite(&files.best(), |state| forget(state, config.hash()));
    let whole = Config {
        epochs: 1,
        patience: 0,
        ..config.clone()
    };
    rewrite(&files.checkpoint(), |state| forget(state, whole.hash()));
    config
}

#[test]
fn old_runs_are_used_and_continued() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let wave: Vec<f32> = (0..3000).map(|t| (t as f32 * 0.4).sin()).collect();
    write_npy_f32(&path("own.npy"), &[wave.len()], &wave).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = sparsecode();
        let output = command.current_dir(folder.path()).args(arguments).output();
        output.unwrap()
    };
    let succeeds = |arguments: &[&str]| {
        let output = command(arguments);
        let status = output.status.code();
        assert_eq!(status, Some(0), "{arguments:?}: {}", stderr(&output));
    };
    let small = [
        "--epochs",
        "1",
        "--set",
        "batch_size=50",
        "--quiet",
        "--out",
        "run",
    ];
    succeeds(
        &[
            &["train", "--preset", "ecg/vdl", "--data", "own.npy"],
            &small[..],
        ]
        .concat(),
    );
    let run = path("run");
    let config = age(&run, "own.npy");
    let file = RunFolder::new(&run).config();

    succeeds(&["evaluate", "run"]);
    let export = ["export", "run", "--output", "m.safetensors"];
    succeeds(&export);
    // What is harmless today was in the hash; the checkpoint, which does not count the length,
    // tells.
    let longer = config.to_toml().replace("epochs = 1\n", "epochs = 9\n");
    std::fs::write(&file, &longer).unwrap();
    succeeds(&["evaluate", "run"]);
    let other = config.to_toml().replace("lambda = 0.01", "lambda = 0.05");
    assert_ne!(other, config.to_toml());
    std::fs::write(&file, other).unwrap();
    let output = command(&["evaluate", "run"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains("config.toml is not what the model was trained with"),
        "{said}"
    );

    // It goes on, and is one of today from then on.
    std::fs::write(&file, config.to_toml()).unwrap();
    succeeds(&[
        "train", "--resume", "--out", "run", "--epochs", "2", "--quiet",
    ]);
    let place = Config::read(&file).unwrap().data.place().unwrap();
    assert!(place.iter().all(Path::is_absolute), "{place:?}");
    succeeds(&["evaluate", "run"]);
    succeeds(&[
        "train", "--resume", "--out", "run", "--epochs", "3", "--quiet",
    ]);
}
