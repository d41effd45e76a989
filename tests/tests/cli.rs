//! The program as a person uses it: commands, exit codes, messages, files.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use candle_core::Device;
use sparsecode_formats::{AlignedBytes, Contrast, ModelFile};
use sparsecode_tests::golden::{Tensors, read_tensors, write_tensors};
use sparsecode_tests::papers::flat;
use sparsecode_tests::{max_difference, program, runs, shared};
use sparsecode_trainer::config::Config;
use sparsecode_trainer::data::npy::{read_npy_f32, write_npy_f32};
use sparsecode_trainer::data::{dead_leaves_image, ecg_signal};
use sparsecode_trainer::export::{HostModel, TrainedRun};
use sparsecode_trainer::train::{Checkpoint, RunFolder, Weights};
use tempfile::TempDir;

const COMMANDS: [&[&str]; 13] = [
    &[],
    &["quickstart"],
    &["train"],
    &["evaluate"],
    &["features"],
    &["export"],
    &["import"],
    &["inspect"],
    &["encode"],
    &["decode"],
    &["denoise"],
    &["data"],
    &["data", "fetch"],
];

/// The program, away from the environment of whoever runs the tests.
fn sparsecode() -> Command {
    let mut command = Command::new(program());
    command.env_remove("SPARSECODE_DATA").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    sparsecode().args(arguments).output().expect("it starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command that must succeed; returns what it prints.
fn done(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{arguments:?}: {}",
        stderr(&output)
    );
    stdout(&output)
}

fn json(arguments: &[&str]) -> serde_json::Value {
    let text = done(arguments);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
}

/// Runs a command that must fail with this exit status and a message that holds all `words`; it must not be a panic.
fn refused(status: i32, arguments: &[&str], words: &[&str]) {
    let output = run(arguments);
    let message = stderr(&output);
    assert_eq!(
        output.status.code(),
        Some(status),
        "{arguments:?}: {message}"
    );
    for word in words {
        assert!(
            message.contains(word),
            "{arguments:?}: '{word}' is not in: {message}"
        );
    }
    assert!(!message.contains("panicked"), "{arguments:?}: {message}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the tests is UTF-8")
}

/// The flags of a run that takes a second.
fn tiny(preset: &str, out: &Path, epochs: u32) -> Vec<String> {
    let mut arguments: Vec<String> = ["train", "--preset", preset, "--out", text(out), "--epochs"]
        .map(str::to_owned)
        .into();
    arguments.push(epochs.to_string());
    for setting in [
        "data.train=500",
        "data.validation=100",
        "data.test=100",
        "batch_size=50",
        "inference.max_iterations=30",
    ] {
        arguments.extend(["--set".to_owned(), setting.to_owned()]);
    }
    arguments
}

fn train(preset: &str, out: &Path, epochs: u32, more: &[&str]) -> Output {
    sparsecode()
        .args(tiny(preset, out, epochs))
        .args(more)
        .output()
        .expect("it starts")
}

/// A run of each kind that several tests read, and an i8 and an f32 file of each.
struct Runs {
    folder: TempDir,
}

impl Runs {
    fn get() -> &'static Self {
        static RUNS: OnceLock<Runs> = OnceLock::new();
        RUNS.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            for (preset, name) in [
                ("dead-leaves/vdl", "image"),
                ("dead-leaves/sdl-nl", "image-nl"),
                ("ecg/vdl", "signal"),
                ("dead-leaves/do", "do"),
            ] {
                let out = folder.path().join(name);
                let output = train(preset, &out, 1, &["--quiet"]);
                assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
                for weights in ["f32", "i8"] {
                    let file = folder.path().join(format!("{name}-{weights}.safetensors"));
                    done(&[
                        "export",
                        text(&out),
                        "--weights",
                        weights,
                        "--output",
                        text(&file),
                    ]);
                }
            }
            Runs { folder }
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

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

#[test]
fn a_run_is_trained_and_continued() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let output = train("dead-leaves/vdl", &out, 2, &["--lambda", "0.015", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let last: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(last["epoch"], 2);

    let files = RunFolder::new(&out);
    let records = |epochs: u64| {
        let text = std::fs::read_to_string(files.metrics()).unwrap();
        let records: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect();
        let numbers: Vec<u64> = records
            .iter()
            .map(|r| r["epoch"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (1..=epochs).collect::<Vec<_>>());
        for record in &records {
            let sparsity = record["validation"]["sparsity"].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&sparsity), "{record}");
            assert!(record["train"]["psnr"].as_f64().unwrap() > 0.0, "{record}");
        }
    };
    records(2);
    let has_events = std::fs::read_dir(&out).unwrap().any(|f| {
        f.unwrap()
            .file_name()
            .to_string_lossy()
            .contains("tfevents")
    });
    assert!(has_events, "no TensorBoard events");
    // Resolved: every key is there, with what was asked for.
    let config = Config::read(&files.config()).unwrap();
    assert_eq!((config.inference.lambda, config.epochs), (0.015, 2));
    assert_eq!((config.batch_size, config.seed), (50, 31));

    let again = train("dead-leaves/vdl", &out, 2, &[]);
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("--resume"), "{}", stderr(&again));

    done(&[
        "train",
        "--resume",
        "--out",
        text(&out),
        "--epochs",
        "3",
        "--quiet",
    ]);
    records(3);

    let straight = folder.path().join("straight");
    let output = train("dead-leaves/vdl", &straight, 3, &["--lambda", "0.015"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    same_state(&out, &straight);

    // Another configuration is not the same run.
    let other = sparsecode()
        .args([
            "train",
            "--resume",
            "--epochs",
            "4",
            "--lambda",
            "0.5",
            "--out",
            text(&out),
        ])
        .output()
        .unwrap();
    assert_ne!(other.status.code(), Some(0));
    assert!(
        stderr(&other).contains("configuration"),
        "{}",
        stderr(&other)
    );
}

fn tensors(path: &Path) -> Tensors {
    read_tensors(path).unwrap()
}

/// Parameters and optimiser state are the same bits; the metadata holds wall times, and is compared without them.
fn same_state(a: &Path, b: &Path) {
    let (a, b) = (RunFolder::new(a), RunFolder::new(b));
    assert!(
        std::fs::read(a.best()).unwrap() == std::fs::read(b.best()).unwrap(),
        "best.safetensors differs"
    );
    let (ours, theirs) = (tensors(&a.checkpoint()), tensors(&b.checkpoint()));
    assert!(ours.keys().eq(theirs.keys()));
    for (name, (_, values)) in &ours {
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(values) == bits(&theirs[name].1), "{name} differs");
    }
    let position = |folder: &RunFolder| {
        let checkpoint = Checkpoint::read(&folder.checkpoint(), &Device::Cpu).unwrap();
        (checkpoint.position().epoch(), checkpoint.position().best())
    };
    assert_eq!(position(&a), position(&b));
}

/// Starts a run long enough to be interrupted.
fn start(out: &Path, epochs: u32, more: &[&str]) -> Child {
    sparsecode()
        .args(tiny("dead-leaves/vdl", out, epochs))
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

fn wait_for(path: &Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{} does not appear",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_resume_ends_where_an_uninterrupted_run_does() {
    const EPOCHS: u32 = 12;
    let folder = tempfile::tempdir().unwrap();
    let (out, straight) = (folder.path().join("run"), folder.path().join("straight"));
    let mut child = start(&out, EPOCHS, &[]);
    wait_for(&RunFolder::new(&out).metrics());
    wait_for(&RunFolder::new(&out).checkpoint());
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupt.success());
    let mut message = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut message).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{message}");
    let checkpoint = Checkpoint::read(&RunFolder::new(&out).checkpoint(), &Device::Cpu).unwrap();
    assert!(
        checkpoint.position().epoch() < EPOCHS,
        "the run was over before it was interrupted"
    );
    assert!(message.contains("--resume"), "{message}");

    let output = train("dead-leaves/vdl", &out, EPOCHS, &["--resume"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = train("dead-leaves/vdl", &straight, EPOCHS, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    same_state(&out, &straight);
    let epochs = std::fs::read_to_string(RunFolder::new(&out).metrics())
        .unwrap()
        .lines()
        .count();
    assert_eq!(epochs, EPOCHS as usize);
}

#[test]
fn a_kill_leaves_whole_files() {
    for delay in [0, 20, 45, 80, 130] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let mut child = start(&out, 100, &["--quiet"]);
        let files = RunFolder::new(&out);
        wait_for(&files.config());
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        if files.checkpoint().exists() {
            Checkpoint::read(&files.checkpoint(), &Device::Cpu).unwrap();
        }
        if files.best().exists() {
            Weights::read(&files.best(), &Device::Cpu).unwrap();
        }
        Config::read(&files.config()).unwrap();
        // What was saved goes on.
        if let Ok(checkpoint) = Checkpoint::read(&files.checkpoint(), &Device::Cpu) {
            let epochs = checkpoint.position().epoch() + 1;
            let output = train("dead-leaves/vdl", &out, epochs, &["--resume"]);
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        }
    }
}

#[test]
fn runs_are_measured() {
    let runs = Runs::get();
    let results = json(&[
        "evaluate",
        text(&runs.path("image")),
        "--noise",
        "0.5,1.0",
        "--fista",
        "--json",
    ]);
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), 6);
    for result in results {
        assert_eq!(result["samples"], 100);
        let sparsity = result["sparsity"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&sparsity), "{result}");
        let psnr = result["psnr"].as_f64().unwrap();
        assert!((0.0..60.0).contains(&psnr), "{result}");
        assert!(result["dead_atoms"].as_u64().unwrap() <= 128, "{result}");
        assert!(result["energy"].as_f64().unwrap() > 0.0, "{result}");
    }
    let input = |i: usize| results[i]["psnr_input"].as_f64();
    assert_eq!(input(0), None);
    // Twice the noise is 6.02 dB.
    let step = input(1).unwrap() - input(2).unwrap();
    assert!(
        (step - 6.02).abs() < 0.3,
        "{step} dB between the noise levels"
    );
    let codes: Vec<&str> = results
        .iter()
        .map(|r| r["codes"].as_str().unwrap())
        .collect();
    assert_eq!(
        codes,
        ["encoder", "encoder", "encoder", "fista", "fista", "fista"]
    );
    // After one epoch the encoder only approximates what FISTA finds.
    assert!(results[3]["psnr"].as_f64() > results[0]["psnr"].as_f64());
    let table = done(&["evaluate", text(&runs.path("do"))]);
    assert!(table.contains("FISTA") && table.contains("dB"), "{table}");
}

#[test]
fn features_are_pictures() {
    let runs = Runs::get();
    let folder = tempfile::tempdir().unwrap();
    for (run, of, columns) in [
        ("image", "decoder", 16),
        ("image", "encoder", 8),
        ("image-nl", "decoder", 16),
        ("signal", "decoder", 16),
    ] {
        let file = folder.path().join(format!("{run}-{of}.png"));
        let columns_text = columns.to_string();
        done(&[
            "features",
            text(&runs.path(run)),
            "--of",
            of,
            "--columns",
            &columns_text,
            "--output",
            text(&file),
        ]);
        let picture = image::open(&file).unwrap().to_luma8();
        if run != "signal" {
            // 8×8 tiles at one whole magnification, and gaps.
            let rows = 128 / columns;
            let (width, height) = (picture.width(), picture.height());
            assert!(
                width >= 8 * columns && height >= 8 * rows,
                "{run} {of}: {width}x{height}"
            );
            let aspect = f64::from(width) / f64::from(height);
            let expected = f64::from(columns) / f64::from(rows);
            assert!(
                (aspect / expected - 1.0).abs() < 0.1,
                "{run} {of}: {width}x{height}"
            );
        }
        let (low, high) = picture.pixels().fold((255, 0), |(low, high), p| {
            (p.0[0].min(low), p.0[0].max(high))
        });
        assert!(high - low > 100, "{run} {of}: levels {low} to {high}");
    }
}

#[test]
fn files_are_exported_and_inspected() {
    let runs = Runs::get();
    let folder = tempfile::tempdir().unwrap();
    let mut sizes = Vec::new();
    for weights in ["f32", "i16", "i8"] {
        let [first, second] =
            ["a", "b"].map(|name| folder.path().join(format!("{name}.safetensors")));
        for file in [&first, &second] {
            let report = json(&[
                "export",
                text(&runs.path("image")),
                "--weights",
                weights,
                "--output",
                text(file),
                "--json",
            ]);
            let bytes = std::fs::metadata(file).unwrap().len();
            assert_eq!(report["bytes"], bytes, "{report}");
            assert_eq!(report["weights"], weights);
            let figure = |who: &str| report[who]["psnr"].as_f64().unwrap();
            assert!((figure("run") - figure("file")).abs() < 0.2, "{report}");
            assert_eq!(report["tensors"].as_array().unwrap().len(), 3);
        }
        let bytes = std::fs::read(&first).unwrap();
        assert!(
            bytes == std::fs::read(&second).unwrap(),
            "{weights}: other bytes"
        );
        sizes.push(bytes.len());

        let report = json(&["inspect", text(&first), "--json"]);
        assert_eq!(report["flash_bytes"], bytes.len());
        assert_eq!(
            report["ram"]["total"],
            sparsecode_runtime::ram_bytes(64, 128, 0)
        );
        assert_eq!(
            (&report["model"], &report["weights"]),
            (&"vdl".into(), &weights.into())
        );
        assert_eq!(
            (&report["input_dim"], &report["code_dim"]),
            (&64.into(), &128.into())
        );
        assert_eq!(report["checksum"], "ok");
        let aligned = AlignedBytes::from_slice(&bytes);
        let spec = ModelFile::read(&aligned).unwrap().spec;
        assert_eq!(report["step_size"].as_f64().unwrap() as f32, spec.step_size);
        assert_eq!(report["provenance"]["seed"], 31);
    }
    assert!(sizes[0] > sizes[1] && sizes[1] > sizes[2], "{sizes:?}");
    let table = done(&["inspect", text(&runs.path("image-nl-i8.safetensors"))]);
    assert!(
        table.contains("sdl-nl") && table.contains("hidden units"),
        "{table}"
    );
}

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
        let trained = TrainedRun::open(&RunFolder::new(runs.path(name)), &Device::Cpu).unwrap();
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
        let lambda = HostModel::new(&bytes, name).unwrap().view().spec().lambda;
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
    bytes.extend(250u32.to_le_bytes());
    bytes.extend(500u32.to_le_bytes());
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

#[test]
fn torch_weights_are_imported() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let matrix = |rows: usize, columns: usize, step: usize| {
        let values = (0..rows * columns).map(|i| ((i * step) % 97) as f32 / 97.0 - 0.5);
        (vec![rows, columns], values.collect::<Vec<f32>>())
    };
    let vector = |length: usize| (vec![length], vec![0.125; length]);
    let (d, l, m) = (784, 20, 30);
    let encoder = [
        ("encoder.W.weight", matrix(l, d, 7)),
        ("encoder.W.bias", vector(l)),
        ("encoder.S.weight", matrix(l, l, 11)),
    ];
    let linear = [("decoder.decoder.weight", matrix(d, l, 13))];
    let hidden = [
        ("decoder.layer1.weight", matrix(m, l, 17)),
        ("decoder.layer1.bias", vector(m)),
        ("decoder.layer2.weight", matrix(d, m, 19)),
    ];
    type Part = (&'static str, (Vec<usize>, Vec<f32>));
    let make = |parts: &[Part]| -> Tensors {
        let named = |(name, tensor): &(&str, _)| ((*name).to_owned(), Clone::clone(tensor));
        encoder.iter().chain(parts).map(named).collect()
    };
    let file = path("torch.safetensors");
    for (preset, tensors) in [
        ("mnist/vdl", make(&linear)),
        ("mnist/vdl-nl", make(&hidden)),
    ] {
        write_tensors(&file, &tensors).unwrap();
        let out = path(&preset.replace('/', "-"));
        let said = done(&[
            "import",
            text(&file),
            "--preset",
            preset,
            "--output",
            text(&out),
        ]);
        assert!(said.contains("20 code components"), "{said}");
        let run = TrainedRun::open(&RunFolder::new(&out), &Device::Cpu).unwrap();
        for (ours, theirs) in [
            ("encoder.input", "encoder.W.weight"),
            ("encoder.bias", "encoder.W.bias"),
            ("encoder.recurrent", "encoder.S.weight"),
            ("decoder.dictionary", "decoder.decoder.weight"),
            ("decoder.hidden", "decoder.layer1.weight"),
            ("decoder.hidden_bias", "decoder.layer1.bias"),
            ("decoder.output", "decoder.layer2.weight"),
        ] {
            let found = run
                .model
                .parameters()
                .into_iter()
                .find(|(name, _)| *name == ours);
            let given = tensors.get(theirs);
            assert_eq!(found.is_some(), given.is_some(), "{ours}");
            if let (Some((_, found)), Some((_, given))) = (found, given) {
                assert_eq!(&flat(found), given, "{ours}");
            }
        }
        let model = path("imported.safetensors");
        done(&[
            "export",
            text(&out),
            "--weights",
            "i8",
            "--output",
            text(&model),
        ]);
        assert_eq!(json(&["inspect", text(&model), "--json"])["code_dim"], 20);
        refused(
            2,
            &[
                "import",
                text(&file),
                "--preset",
                preset,
                "--output",
                text(&out),
            ],
            &["already holds a run"],
        );
    }

    let out = path("never");
    let refusal = |status: i32, preset: &str, tensors: &Tensors, words: &[&str]| {
        write_tensors(&file, tensors).unwrap();
        refused(
            status,
            &[
                "import",
                text(&file),
                "--preset",
                preset,
                "--output",
                text(&out),
            ],
            words,
        );
        assert!(!out.exists());
    };
    let good = make(&linear);
    for name in good.keys() {
        let mut fewer = good.clone();
        fewer.remove(name);
        let missing = if name == "decoder.decoder.weight" {
            "decoder.layer1.weight"
        } else {
            name
        };
        refusal(
            1,
            "mnist/vdl",
            &fewer,
            &["torch.safetensors", missing, "missing"],
        );
        let mut wrong = good.clone();
        wrong.insert(name.clone(), matrix(3, 5, 1));
        refusal(1, "mnist/vdl", &wrong, &["torch.safetensors", "shape"]);
    }
    let mut extra = good.clone();
    extra.insert("fc.weight".to_owned(), vector(3));
    refusal(1, "mnist/vdl", &extra, &["fc.weight"]);
    let mut broken = good.clone();
    broken.get_mut("encoder.W.bias").unwrap().1[3] = f32::INFINITY;
    refusal(1, "mnist/vdl", &broken, &["encoder.W.bias", "finite"]);
    refusal(
        2,
        "mnist/vdl-nl",
        &good,
        &["--preset mnist/vdl-nl", "linear"],
    );
    refusal(1, "mnist/do", &good, &["encoder.W.weight"]);
    let both: Tensors = make(&linear).into_iter().chain(make(&hidden)).collect();
    refusal(1, "mnist/vdl", &both, &["decoder.layer"]);
    let empty: Tensors = [
        ("encoder.W.weight", matrix(0, d, 1)),
        ("encoder.W.bias", vector(0)),
        ("encoder.S.weight", matrix(0, 0, 1)),
        ("decoder.decoder.weight", matrix(d, 0, 1)),
    ]
    .into_iter()
    .map(|(name, tensor)| (name.to_owned(), tensor))
    .collect();
    write_tensors(&file, &empty).unwrap();
    let output = run(&[
        "import",
        text(&file),
        "--preset",
        "mnist/vdl",
        "--output",
        text(&out),
    ]);
    assert_ne!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("code_dim"), "{}", stderr(&output));
    assert!(!out.exists());
}

#[test]
fn the_quickstart_goes_all_the_way() {
    for (signal, sizes) in [
        (&[][..], (64, 128)),
        (&["--signal", "ecg"], (64, 128)),
        (&["--signal", "vibration"], (64, 128)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("quick");
        let fixed = [
            "quickstart",
            "--epochs",
            "1",
            "--json",
            "--quiet",
            "--output",
            text(&out),
        ];
        let small = [
            "--set",
            "data.train=2000",
            "--set",
            "data.test=200",
            "--set",
            "data.validation=200",
        ];
        let report = json(&[&fixed[..], &small, signal].concat());
        let what = format!("{signal:?}: {report}");
        let noisy = report["psnr_noisy"].as_f64().unwrap();
        assert!((0.0..60.0).contains(&noisy), "{what}");
        let rows = report["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 2, "{what}");
        for row in rows {
            assert!(
                (0.0..60.0).contains(&row["psnr"].as_f64().unwrap()),
                "{what}"
            );
            assert!(
                (0.0..=1.0).contains(&row["sparsity"].as_f64().unwrap()),
                "{what}"
            );
            assert!(row["seconds_per_patch"].as_f64().unwrap() > 0.0, "{what}");
        }
        let model = std::fs::metadata(report["model_file"].as_str().unwrap()).unwrap();
        assert_eq!(report["model_bytes"], model.len(), "{what}");
        assert_eq!(
            report["ram_bytes"],
            sparsecode_runtime::ram_bytes(sizes.0, sizes.1, 0),
            "{what}"
        );
        let pictures = report["pictures"].as_array().unwrap();
        assert!(pictures.len() >= 2, "{what}");
        for picture in pictures {
            let picture = image::open(picture.as_str().unwrap()).unwrap();
            assert!(picture.width() > 100 && picture.height() > 50, "{what}");
        }
    }
}

/// Answers requests for the files of a folder, or for anything with the same bytes, until the test program ends.
fn serve(answer: impl Fn(&str) -> Option<Vec<u8>> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let name = request.split(' ').nth(1).unwrap().trim_start_matches('/');
            let (status, body) = match answer(name) {
                Some(body) => ("200 OK", body),
                None => ("404 Not Found", Vec::new()),
            };
            // The client may have gone already.
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&body);
        }
    });
    url
}

#[test]
fn mnist_is_fetched_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(folder.path());
    let garbage = serve(|_| Some(b"not what was published".to_vec()));
    let fetch = ["data", "fetch", "mnist", "--output", out, "--mirror"];
    refused(
        1,
        &[&fetch[..], &[&garbage]].concat(),
        &["train-images-idx3-ubyte.gz", "--mirror"],
    );
    let nothing = serve(|_| None);
    refused(
        1,
        &[&fetch[..], &[&nothing]].concat(),
        &["train-images-idx3-ubyte.gz", "404"],
    );
    let files = |folder: &Path| std::fs::read_dir(folder).map_or(0, Iterator::count);
    assert_eq!(files(&folder.path().join("mnist")), 0, "something was kept");

    let Some(real) = shared("data/mnist") else {
        return;
    };
    let swapped = real.clone();
    // Real files under each other's names unpack, but to another content.
    let wrong = serve(move |_| std::fs::read(swapped.join("t10k-labels-idx1-ubyte.gz")).ok());
    refused(
        1,
        &[&fetch[..], &[&wrong]].concat(),
        &["train-images-idx3-ubyte.gz", "instead of"],
    );
    let mirror = serve(move |name| std::fs::read(real.join(name)).ok());
    let said = done(&[&fetch[..], &[&mirror]].concat());
    assert!(said.contains("complete"), "{said}");
    assert_eq!(files(&folder.path().join("mnist")), 4);
    // Again without a server: all is there.
    done(&[&fetch[..], &["http://127.0.0.1:9"]].concat());
    let run = folder.path().join("run");
    let sets = [
        "--set",
        "data.train=250",
        "--set",
        "data.validation=50",
        "--set",
        "inference.max_iterations=3",
    ];
    let fixed = [
        "train",
        "--preset",
        "mnist/vdl",
        "--epochs",
        "1",
        "--quiet",
        "--data",
        out,
        "--out",
        text(&run),
    ];
    done(&[&fixed[..], &sets].concat());
}

#[test]
fn few_steps_are_what_the_library_trains() {
    // The program and the library make the same run of the same configuration.
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("library"), folder.path().join("program"));
    runs::train("ecg/vdl", &[], &ours, &Device::Cpu).unwrap();
    let mut arguments = vec![
        "train",
        "--quiet",
        "--preset",
        "ecg/vdl",
        "--out",
        text(&theirs),
    ];
    for setting in &runs::FEW_STEPS {
        arguments.extend(["--set", setting]);
    }
    done(&arguments);
    same_state(&ours, &theirs);
}
