//! How it is used wrongly, and what it then says.

use super::*;

#[test]
fn every_command_explains_itself() {
    for command in COMMANDS {
        let help = done(&[command, &["--help"]].concat());
        assert!(
            help.contains("Example"),
            "{command:?}: no example in {help}"
        );
        assert!(help.contains("Usage"), "{command:?}: {help}");
    }
    assert!(done(&["--version"]).starts_with("sparsecode "));
}

#[test]
fn what_is_used_wrongly_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(folder.path());
    refused(
        2,
        &["train", "--preset", "mnist/nonsense"],
        &["mnist/nonsense", "mnist/vdl"],
    );
    refused(
        2,
        &["train", "--preset", "ecg/vdl", "--wrong", "1"],
        &["--wrong"],
    );
    refused(2, &["train"], &["--preset"]);
    refused(2, &["nonsense"], &["nonsense"]);
    let set = |setting, words: &[&str]| {
        refused(
            2,
            &[
                "train", "--preset", "ecg/vdl", "--out", out, "--set", setting,
            ],
            words,
        );
    };
    set("inference.lamda=0.1", &["lamda"]);
    set("inference.lambda=-1", &["inference.lambda", "-1"]);
    set("inference.lambda=many", &["lambda"]);
    set("epochs=0", &["epochs"]);
    set("no-value", &["no-value", "table.key=value"]);
    refused(
        2,
        &["train", "--preset", "ecg/vdl", "--out", out, "--resume"],
        &["--resume", out],
    );
    if !cfg!(feature = "cuda") {
        refused(
            2,
            &[
                "train", "--preset", "ecg/vdl", "--out", out, "--device", "cuda",
            ],
            &["--device cuda", "--features cuda"],
        );
    }
    // The tests are not built with candle's CUDA.
    let command = ["train", "--preset", "ecg/vdl", "--out", out];
    refused(
        2,
        &[&command[..], &["--engine", "plain", "--device", "cuda"]].concat(),
        &["--engine plain", "--features candle-cuda", "--device cpu"],
    );
    refused(
        2,
        &["export", out, "--output", "model.bin"],
        &["model.bin", ".safetensors"],
    );
    refused(2, &["evaluate", out, "--noise", "-1"], &["-1"]);
    let file = Runs::get().path("do");
    refused(
        2,
        &[
            "features",
            text(&file),
            "--of",
            "encoder",
            "--output",
            "x.png",
        ],
        &["--of encoder", "do"],
    );
}

/// Names that are nearly right are asked for; numbers out of range are told their range, by the
/// command and not by its parser.
#[test]
fn what_was_meant_is_guessed_aloud() {
    for (preset, guess) in [
        (
            "vdl",
            "did you mean mnist/vdl, patches/vdl, dead-leaves/vdl, vibration/vdl or ecg/vdl?",
        ),
        ("vdl-nl", "did you mean mnist/vdl-nl, "),
        (
            "mnist",
            "did you mean mnist/sdl, mnist/vdl, mnist/wdl, mnist/do or mnist/none?",
        ),
        ("mnist/vld", "did you mean mnist/vdl?"),
        ("ECG/VDL", "did you mean ecg/vdl?"),
        ("vibration-sdl", "did you mean vibration/sdl?"),
    ] {
        refused(
            2,
            &["train", "--preset", preset],
            &[preset, guess, "DATA/MODEL"],
        );
    }
    let message = stderr(&run(&["train", "--preset", "bearings/lista"]));
    assert!(!message.contains("did you mean"), "{message}");
    assert!(message.len() < 300, "{message}");

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("never");
    for (flag, value, words) in [
        ("--lambda", "-1", ["inference.lambda is -1", "not negative"]),
        ("--lambda", "nan", ["inference.lambda is NaN", "finite"]),
        ("--lambda", "inf", ["inference.lambda is inf", "finite"]),
        (
            "--step-size",
            "-0.5",
            ["inference.step_size is -0.5", "positive"],
        ),
        (
            "--set",
            "inference.lambda=NaN",
            ["inference.lambda is NaN", "finite"],
        ),
        ("--epochs", "-1", ["'-1'", "--epochs"]),
    ] {
        let command = [
            "train",
            "--preset",
            "ecg/vdl",
            "--out",
            text(&out),
            flag,
            value,
        ];
        refused(2, &command, &words);
        let message = stderr(&run(&command));
        assert!(
            !message.contains("tip:") && !message.contains("unexpected"),
            "{message}"
        );
    }
    // The order of settings does not matter, and none is lost.
    let npy = folder.path().join("d2.npy");
    let setting = format!("data.path={}", text(&npy));
    let twice = ["data.source=signal", &setting, "data.source=npy"];
    let mut command = vec!["train", "--preset", "ecg/vdl", "--out", text(&out)];
    for setting in twice {
        command.extend(["--set", setting]);
    }
    refused(1, &command, &["d2.npy", "does not exist"]);
    assert!(!out.exists());
}

/// A run where a model file is meant, a file where a run is meant: what it is, and what to type.
#[test]
fn runs_and_model_files_are_told_apart() {
    let runs = Runs::get();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_npy_f32(&path("x.npy"), &[1, 64], &[0.5; 64]).unwrap();
    let (input, output) = (path("x.npy"), path("y.npy"));
    let files = ["--input", text(&input), "--output", text(&output)];
    let run = runs.path("image");
    let export = format!("sparsecode export {} --output", run.display());
    for name in ["best.safetensors", "checkpoint.safetensors"] {
        let file = run.join(name);
        for command in ["encode", "decode", "denoise"] {
            let command = [&[command, text(&file)], &files[..]].concat();
            refused(1, &command, &[name, "weights of a run", &export]);
        }
        refused(
            1,
            &["inspect", text(&file)],
            &[name, "weights of a run", &export],
        );
    }
    refused(1, &["inspect", text(&run)], &["folder of a run", &export]);
    refused(
        1,
        &["inspect", text(folder.path())],
        &["is a folder", "model file"],
    );

    let model = runs.path("image-i8.safetensors");
    refused(
        2,
        &["export", text(&model), "--output", "m.safetensors"],
        &["is a file", "sparsecode train"],
    );
    refused(
        2,
        &["features", text(&model), "--output", "f.png"],
        &["is a file"],
    );
    let best = run.join("best.safetensors");
    refused(
        2,
        &["evaluate", text(&best)],
        &["a file of a run", text(&run)],
    );
    let out = path("never");
    let from = ["train", "--out", text(&out), "--from"];
    refused(2, &[&from[..], &[text(&model)]].concat(), &["is a file"]);
    refused(
        1,
        &[&from[..], &["nope"]].concat(),
        &["nope", "no such folder"],
    );
    refused(
        2,
        &["train", "--resume", "--out", text(&out)],
        &["holds no checkpoint"],
    );
    // The runs that are there are named.
    let missing = run.with_file_name("nope");
    refused(
        1,
        &["evaluate", text(&missing)],
        &["nope", "no such folder", text(&run)],
    );
    let above = run.parent().unwrap();
    refused(1, &["evaluate", text(above)], &["holds no run", text(&run)]);
}

#[test]
fn missing_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not-there");
    let missing = text(&path);
    let model = Runs::get().path("image-i8.safetensors");
    let model = text(&model);
    let out = folder.path().join("out.npy");
    let out = text(&out);
    for arguments in [
        &["evaluate", missing][..],
        &["export", missing, "--output", "m.safetensors"],
        &["features", missing, "--output", "f.png"],
        &["inspect", missing],
        &["encode", missing, "--input", "x.npy", "--output", out],
        &["import", missing, "--preset", "mnist/vdl", "--output", out],
        &[
            "train",
            "--preset",
            "mnist/vdl",
            "--data",
            missing,
            "--out",
            out,
        ],
    ] {
        refused(1, arguments, &["not-there"]);
    }
    for (command, extension) in [("encode", "npy"), ("decode", "npy"), ("denoise", "png")] {
        let input = format!("{missing}.{extension}");
        let output = format!("{missing}-out.{extension}");
        refused(
            1,
            &[command, model, "--input", &input, "--output", &output],
            &["not-there"],
        );
    }
    refused(
        1,
        &["train", "--preset", "mnist/vdl", "--config", missing],
        &["not-there"],
    );
}
