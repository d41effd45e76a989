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

/// A program for NVIDIA GPUs, where there is not even their driver.
#[cfg(feature = "cuda")]
#[test]
fn without_a_driver_it_says_so_or_uses_the_processor() {
    use sparsecode_trainer::cuda::{CudaEngine, GpuError};

    // With a driver but no GPU, the reason is an error of the driver's.
    let is_absent = |error: GpuError| match error {
        GpuError::Absent(reason) => !reason.starts_with("CUDA_ERROR"),
        _ => false,
    };
    if !CudaEngine::open(0).is_err_and(is_absent) {
        skipped("what is said without an NVIDIA driver: here is one");
        return;
    }
    let sweep = sweep::Sweep::plan("preset = \"ecg/sdl\"\n", "");
    let (plan, out) = (sweep.path("plan.jsonl"), sweep.path("out"));
    let told = |output: &Output, status: i32| {
        let message = stderr(output);
        assert_eq!(output.status.code(), Some(status), "{message}");
        // What is missing, and the remedies, each once.
        for words in ["libcuda.so.1", "nvidia-smi", "--device cpu"] {
            assert_eq!(message.matches(words).count(), 1, "{words}: {message}");
        }
        message
    };
    let cuda = ["--device", "cuda"];
    let message = told(&train("ecg/vdl", &out, 1, &cuda), 1);
    assert!(message.starts_with("error: --device cuda: "), "{message}");
    let command = ["sweep", "run", text(&plan), "--out", text(&out)];
    assert_eq!(told(&run(&[&command[..], &cuda].concat()), 1), message);
    assert!(!out.exists());

    let auto = train("ecg/vdl", &out, 1, &["--device", "auto", "--quiet"]);
    let note = told(&auto, 0);
    assert!(note.contains("note: using the processor: "), "{note}");
    TrainedRun::open(&RunFolder::new(&out)).unwrap();
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
