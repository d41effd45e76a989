//! `train --task denoise`, and what its models are used for.

use super::*;

/// A run of some seconds on generated beats.
struct Denoiser {
    folder: TempDir,
}

const SETTINGS: [&str; 8] = [
    "data.train=960",
    "data.validation=40",
    "data.test=40",
    "data.window=112",
    "data.hop=32",
    "model.window=32",
    "model.hop=8",
    "batch_size=16",
];

fn train_denoiser(out: &Path, more: &[&str]) -> Output {
    let mut command = sparsecode();
    command.args(["train", "--preset", "ecg/denoise", "--out", text(out)]);
    for setting in SETTINGS {
        command.args(["--set", setting]);
    }
    command.args(["--code-dim", "24", "--quiet"]).args(more);
    command.output().expect("it starts")
}

impl Denoiser {
    fn get() -> &'static Self {
        static DENOISER: OnceLock<Denoiser> = OnceLock::new();
        DENOISER.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let run = folder.path().join("run");
            let output = train_denoiser(&run, &["--epochs", "6"]);
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            assert!(stdout(&output).contains("dB of the validation noise removed"));
            // Beats that the run never saw.
            let signal = ecg_signal(4000, 99);
            let stronger: Vec<f32> = signal.iter().map(|x| 1.4 * x).collect();
            for (name, values) in [("ecg.npy", signal), ("stronger.npy", stronger)] {
                write_npy_f32(&folder.path().join(name), &[4000], &values).unwrap();
            }
            Self { folder }
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn export(&self, name: &str, more: &[&str]) -> PathBuf {
        let (run, file) = (self.path("run"), self.path(name));
        done(&[&["export", text(&run), "--output", text(&file)], more].concat());
        file
    }

    /// dB gained at 0 and 10 dB.
    fn gains(&self, file: &Path) -> [f64; 2] {
        self.gains_on(file, "ecg.npy")
    }

    fn gains_on(&self, file: &Path, signal: &str) -> [f64; 2] {
        let data = self.path(signal);
        let rows = json(&[
            "evaluate",
            text(file),
            "--task",
            "denoise",
            "--data",
            text(&data),
            "--snr",
            "0,10",
            "--json",
        ]);
        [0.0, 10.0].map(|snr| {
            let rows = rows.as_array().unwrap().iter();
            let mean = rows.filter(|row| row["recording"].is_null());
            let row = mean.clone().find(|row| row["input"] == snr).unwrap();
            row["gain"].as_f64().unwrap()
        })
    }
}

#[test]
fn noise_is_removed_in_floats_and_integers_alike() {
    let denoiser = Denoiser::get();
    let floats = denoiser.export("f32.safetensors", &["--weights", "f32"]);
    let bytes = denoiser.export("i8.safetensors", &[]);
    let stored = denoiser.export("stored.safetensors", &["--activations", "i16"]);
    let built = ["--activations", "i16", "--gram", "built"];
    let built = denoiser.export("built.safetensors", &built);
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    // 24 · 24 numbers of 16 bits, less what the header says of them.
    assert!(size(&stored) > size(&built) + 900);
    let expected = denoiser.gains(&floats);
    assert!(expected[0] > 5.0 && expected[1] > 2.0, "{expected:?}");
    for file in [&bytes, &stored] {
        let found = denoiser.gains(file);
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 0.1, "{file:?}: {found:?} {expected:?}");
        }
    }
    // Where the matrix is changes no bit.
    assert_eq!(denoiser.gains(&stored), denoiser.gains(&built));
}

/// Codes of beats that are stronger than those of the calibration are not cut.
#[test]
fn ranges_of_integers_have_headroom() {
    let denoiser = Denoiser::get();
    let floats = denoiser.export("room-f32.safetensors", &["--weights", "f32"]);
    let integers = denoiser.export("room-i16.safetensors", &["--activations", "i16"]);
    let [expected, found] = [floats, integers].map(|file| denoiser.gains_on(&file, "stronger.npy"));
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 0.1, "{found:?} {expected:?}");
    }
}

/// Where integers saturate is counted and said; floats have no end.
#[test]
fn saturation_is_counted() {
    let denoiser = Denoiser::get();
    let signal = ecg_signal(4000, 99);
    let loud: Vec<f32> = signal.iter().map(|x| 40.0 * x).collect();
    let input = denoiser.path("loud.npy");
    write_npy_f32(&input, &[4000], &loud).unwrap();
    let floats = denoiser.export("loud-f32.safetensors", &["--weights", "f32"]);
    let integers = denoiser.export("loud-i16.safetensors", &["--activations", "i16"]);
    let output = denoiser.path("loud-clean.npy");
    let denoise = |file: &Path, input: &Path| {
        let (file, input, output) = (text(file), text(input), text(&output));
        let arguments = ["denoise", file, "--input", input, "--output", output];
        let more = |flags: &[&str]| done(&[&arguments, flags].concat());
        let report: serde_json::Value =
            serde_json::from_str(&more(&["--overwrite", "--allow-mismatch", "--json"])).unwrap();
        let counts = ["windows", "saturated"].map(|name| report[name].as_u64().unwrap());
        (counts, more(&["--overwrite", "--allow-mismatch"]))
    };
    let (quiet, loud) = (denoise(&integers, &denoiser.path("ecg.npy")), input);
    assert_eq!(quiet.0[1], 0, "{}", quiet.1);
    assert!(!quiet.1.contains("range"), "{}", quiet.1);
    let ([windows, saturated], said) = denoise(&integers, &loud);
    // A window every 8 samples, and one at the end.
    assert!((490..=500).contains(&windows), "{windows}");
    assert!(saturated > 50 && saturated <= windows, "{saturated}");
    let sentence = format!("{saturated} of {windows} windows reached the end of the file's range");
    assert!(said.contains(&sentence), "{said}");
    assert_eq!(denoise(&floats, &loud).0, [windows, 0]);
    let rows = json(&[
        "evaluate",
        text(&integers),
        "--task",
        "denoise",
        "--data",
        text(&loud),
        "--snr",
        "10",
        "--allow-mismatch",
        "--json",
    ]);
    assert!(rows[0]["saturated"].as_f64().unwrap() > 0.1, "{rows}");
}

/// Input that is far cleaner than trained passes: it never gets worse.
#[test]
fn clean_input_passes() {
    let denoiser = Denoiser::get();
    let file = denoiser.export("guarded.safetensors", &["--activations", "i16"]);
    let data = denoiser.path("ecg.npy");
    let rows = json(&[
        "evaluate",
        text(&file),
        "--task",
        "denoise",
        "--data",
        text(&data),
        "--snr",
        "30,50",
        "--json",
    ]);
    for row in rows.as_array().unwrap() {
        assert!(row["gain"].as_f64().unwrap() > -0.05, "{row}");
    }
}

#[test]
fn its_files_are_model_files() {
    let denoiser = Denoiser::get();
    let file = denoiser.export("plain.safetensors", &[]);
    let (input, output) = (denoiser.path("ecg.npy"), denoiser.path("clean.npy"));
    let shown = done(&["inspect", text(&file)]);
    assert!(shown.contains("3 steps on the Gram matrix"), "{shown}");
    let built = ["--activations", "i16", "--gram", "built"];
    let built = denoiser.export("shown.safetensors", &built);
    let told = json(&["inspect", text(&built), "--json"]);
    assert_eq!(told["denoising"]["gram"], "built");
    assert_eq!(told["denoising"]["hop"], 8);
    assert_eq!(told["ram"]["gram"], 2 * 24 * 24);
    assert_eq!(told["multiply_adds"]["encode_first_layer"], 32 * 24);
    let (file, input, output) = (text(&file), text(&input), text(&output));
    done(&["denoise", file, "--input", input, "--output", output]);
    let (shape, clean) = read_npy_f32(Path::new(output)).unwrap();
    assert_eq!(shape, [4000]);
    assert!(clean.iter().all(|x| x.is_finite()));
    // A run goes on where it was, to the same end.
    let run = denoiser.path("run");
    let again = train_denoiser(&run, &["--epochs", "6", "--resume"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let shown = done(&["config", "--preset", "ecg/denoise"]);
    assert!(
        shown.contains("family = \"denoise\"") || shown.contains("[noise]"),
        "{shown}"
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let denoiser = Denoiser::get();
    let (run, out) = (denoiser.path("run"), denoiser.path("x.safetensors"));
    let (run, out) = (text(&run), text(&out));
    let export = |more: &[&str], words: &[&str]| {
        refused(
            2,
            &[&["export", run, "--output", out], more].concat(),
            words,
        );
    };
    export(&["--activations", "i8"], &["--activations i8", "i16"]);
    export(&["--gram", "built"], &["--gram", "--activations i16"]);
    let model = Runs::get().path("signal-i8.safetensors");
    let (model, data) = (text(&model), denoiser.path("ecg.npy"));
    let task = ["--task", "denoise", "--data", text(&data)];
    let on_model = [&["evaluate", model], &task[..]].concat();
    refused(2, &on_model, &["reconstructs", "--task denoise"]);
    let on_run = [&["evaluate", run], &task[..]].concat();
    refused(2, &on_run, &["sparsecode export"]);
    let without_task = ["evaluate", model, "--data", text(&data), "--estimate"];
    refused(2, &without_task, &["--estimate", "--task denoise"]);

    // Flags and files that mean nothing for a model that denoises signals.
    let good = denoiser.export("refusing.safetensors", &["--activations", "i16"]);
    let good = text(&good);
    let on_good = |more: &[&str], words: &[&str]| {
        let evaluate = [&["evaluate", good], &task[..], more].concat();
        refused(2, &evaluate, words);
    };
    on_good(&["--hop", "4"], &["--hop", "leave --hop out"]);
    on_good(&["--refine", "5"], &["--refine"]);
    on_good(&["--windows", "w.csv"], &["--windows"]);
    on_good(&["--sigmas", "15"], &["--sigmas"]);
    let write = |name: &str, values: &[f32]| {
        let path = denoiser.path(name);
        write_npy_f32(&path, &[values.len()], values).unwrap();
        path
    };
    let [short, flat] = [
        write("short.npy", &ecg_signal(300, 9)),
        write("flat.npy", &[0.25; 4000]),
    ];
    for (path, words) in [(&short, "300 samples"), (&flat, "the same number")] {
        let data = ["evaluate", good, "--task", "denoise", "--data", text(path)];
        refused(2, &data, &[words]);
    }
    let out = denoiser.path("refused.npy");
    let denoise = [
        "denoise",
        good,
        "--input",
        text(&data),
        "--output",
        text(&out),
    ];
    for (more, words) in [
        (["--hop", "33"], ["--hop 33", "1 to 32"]),
        (["--hop", "1"], ["--hop 1", "larger"]),
        (["--noise-level", "500"], ["--noise-level 500", "range"]),
    ] {
        refused(2, &[&denoise[..], &more].concat(), &words);
    }
    assert!(!out.exists());

    let other = denoiser.path("other");
    let start = ["train", "--out", text(&other), "--preset"];
    let train = |more: &[&str], words: &[&str]| {
        refused(2, &[&start, more].concat(), words);
    };
    train(
        &["ecg/vdl", "--task", "denoise"],
        &["--task denoise", "ecg/denoise"],
    );
    train(
        &["ecg/denoise", "--task", "reconstruct"],
        &["--task reconstruct"],
    );
    train(
        &["ecg/denoise", "--set", "data.window=100"],
        &["data.window", "model.hop"],
    );
    train(
        &["ecg/denoise", "--set", "noise.white=0.5"],
        &["noise.white", "noise.recordings"],
    );
    train(
        &["ecg/denoise", "--set", "noise.highest=-5"],
        &["noise.highest"],
    );
    train(
        &["ecg/denoise", "--hidden-dim", "9"],
        &["--hidden-dim", "leave it out"],
    );
    train(
        &["ecg/denoise", "--lambda", "0.1"],
        &["--lambda", "leave it out"],
    );
    train(&["ecg/denois"], &["ecg/denois"]);
    assert!(
        !other.exists(),
        "nothing is written where nothing was trained"
    );
}

/// A model for recorded noise has to be told how loud the noise is.
#[test]
fn recorded_noise_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let hum: Vec<f32> = (0..6000)
        .map(|time| (time as f32 * 0.9).sin() + 0.3 * (time as f32 * 0.37).cos())
        .collect();
    write_npy_f32(&path("hum.npy"), &[6000], &hum).unwrap();
    write_npy_f32(&path("ecg.npy"), &[4000], &ecg_signal(4000, 99)).unwrap();
    let noise = format!("noise.recordings=[\"{}\"]", text(&path("hum.npy")));
    let run = path("run");
    let trained = train_denoiser(
        &run,
        &[
            "--epochs",
            "1",
            "--set",
            &noise,
            "--set",
            "noise.white=0.0",
            "--set",
            "data.train=32",
        ],
    );
    assert_eq!(trained.status.code(), Some(0), "{}", stderr(&trained));
    let (file, input, output) = (path("m.safetensors"), path("ecg.npy"), path("o.npy"));
    let (file, input, output) = (text(&file), text(&input), text(&output));
    done(&[
        "export",
        text(&run),
        "--activations",
        "i16",
        "--output",
        file,
    ]);
    let denoise = ["denoise", file, "--input", input, "--output", output];
    refused(2, &denoise, &["--noise-level", "recorded noise"]);
    done(&[&denoise[..], &["--noise-level", "0.2"]].concat());
    let evaluate = ["evaluate", file, "--task", "denoise", "--data", input];
    refused(
        2,
        &[&evaluate[..], &["--estimate"]].concat(),
        &["--estimate"],
    );
    let shown = json(&["inspect", file, "--json"]);
    assert_eq!(shown["denoising"]["noise"], "recorded", "{shown}");
}
