//! Convolutional encoders and generators: learning, interruptions, settings, and the program.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use flate2::Compression;
use flate2::write::GzEncoder;
use sparsecode_trainer::data::{DataFacts, Samples};
use sparsecode_trainer::run::{
    Ending, Epoch, Family as _, Figures, Learner as _, RunFolder, Session, Settings as _,
};
use sparsecode_trainer::variational::{Variational, VariationalConfig};

use crate::stopping::StopAfter;

/// Bright squares in one of 16 places.
fn picture(number: usize) -> impl Iterator<Item = u8> {
    let (top, left) = (number % 4 * 6 + 1, number / 4 % 4 * 6 + 1);
    (0..28 * 28).map(move |n| {
        let (row, column) = (n / 28, n % 28);
        let is_inside = (top..top + 8).contains(&row) && (left..left + 8).contains(&column);
        if is_inside { 230 } else { 10 }
    })
}

/// The four idx files: pictures for 44 training samples, 4 of validation and 8 of test.
fn pictures(folder: &Path) {
    let write = |name: &str, sizes: &[u32], bytes: &[u8]| {
        let mut file = vec![0, 0, 8, sizes.len() as u8];
        file.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        file.extend(bytes);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&file).unwrap();
        let path = folder.join(format!("{name}-ubyte.gz"));
        std::fs::write(path, encoder.finish().unwrap()).unwrap();
    };
    for (name, count) in [("train", 48), ("t10k", 8)] {
        let pixels: Vec<u8> = (0..count).flat_map(picture).collect();
        let sizes = [count as u32, 28, 28];
        write(&format!("{name}-images-idx3"), &sizes, &pixels);
        let labels = format!("{name}-labels-idx1");
        write(&labels, &sizes[..1], &vec![0; count]);
    }
}

const SMALL: [&str; 4] = [
    "batch_size=11",
    "objective.samples=2",
    "model.code_dim=8",
    "epochs=1",
];

fn config(preset: &str, folder: &Path, more: &[&str]) -> VariationalConfig {
    let folder = format!("data.folder={:?}", folder.display().to_string());
    let settings = SMALL
        .iter()
        .chain(more)
        .map(|setting| (*setting).to_owned());
    let settings: Vec<String> = settings.chain([folder]).collect();
    let preset = Variational::preset(preset).unwrap();
    preset.with_overrides(None, &settings).unwrap()
}

/// Figures on the training samples at the beginning and at the end.
fn learned(config: &VariationalConfig) -> [Figures; 2] {
    let splits = config.data.load(None, config.seed).unwrap();
    let facts = DataFacts::of(&splits);
    let mut learner = Variational::learner(config, &facts, &Device::Cpu).unwrap();
    let train = Samples::new(splits.train).unwrap();
    learner.begin(&train, &train).unwrap();
    let before = learner.measure(&train, None).unwrap();
    let order: Vec<u32> = (0..train.len() as u32).collect();
    for index in 0..config.epochs {
        let epoch = Epoch {
            set: &train,
            index,
            order: &order,
            batch_size: config.batch_size,
            batches: train.len() / config.batch_size,
        };
        for place in 0..epoch.batches {
            let made = epoch.step(&mut learner, place).unwrap();
            assert!(made.divergence.is_none(), "{:?}", made.divergence);
        }
    }
    [before, learner.measure(&train, None).unwrap()]
}

#[test]
fn learning_reduces_the_loss_and_beats_no_code() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path());
    let more = [
        "epochs=16",
        "optimizer.learning_rate=0.01",
        "objective.kl_weight=0.0001",
    ];
    let config = config("variational/conv-gaussian", folder.path(), &more);
    let [before, after] = learned(&config);
    let figure = |figures: &Figures, name: &str| figures.get(name).unwrap();
    let (begin, end) = (figure(&before, "mse"), figure(&after, "mse"));
    assert!(end < 0.5 * begin, "{begin} {end}");
    for name in ["mse", "mse_code"] {
        let (found, zero) = (figure(&after, name), figure(&after, "mse_zero"));
        assert!(found < 0.7 * zero, "{name}: {found} {zero}");
    }
    assert_eq!(figure(&after, "steps_left"), 0.0);
    assert_eq!(figure(&after, "active"), 1.0);
}

/// Of posteriors of each kind: what is interrupted ends as if it had not been.
#[test]
fn an_interrupted_run_ends_where_an_uninterrupted_one_ends() {
    let data = tempfile::tempdir().unwrap();
    pictures(data.path());
    for preset in [
        "variational/conv-gaussian-fixed",
        "variational/conv-laplacian-learned/paper",
        "variational/conv-spike-and-slab",
    ] {
        let config = config(preset, data.path(), &["epochs=2"]);
        let folder = tempfile::tempdir().unwrap();
        let [whole, parts] =
            ["whole", "parts"].map(|name| RunFolder::new(folder.path().join(name)));
        let train = |folder: &RunFolder, stop_after: usize| {
            let stop = AtomicBool::new(false);
            let session = Session {
                folder,
                config: &config,
                backend: &Device::Cpu,
                resume: folder.checkpoint().exists(),
                start: None,
            };
            let mut observer = StopAfter {
                left: stop_after,
                stop: &stop,
            };
            let splits = config.data.load(None, config.seed).unwrap();
            session.run(splits, &mut observer, &stop).unwrap().ending
        };
        assert_eq!(train(&whole, usize::MAX), Ending::Finished, "{preset}");
        assert_eq!(train(&parts, 5), Ending::Interrupted, "{preset}");
        assert_eq!(train(&parts, usize::MAX), Ending::Finished, "{preset}");
        let bytes = |folder: &RunFolder| std::fs::read(folder.best()).unwrap();
        assert!(bytes(&whole) == bytes(&parts), "{preset}: the files differ");
    }
}

#[test]
fn settings_without_a_meaning_are_refused() {
    for (setting, words) in [
        ("model.widths=[32]", ["model.widths", "model.encoder=mlp"]),
        ("objective.select=average", ["objective.select", "best"]),
        ("batch_size=1", ["batch_size", "2 or more"]),
        (
            "optimizer.dictionary_rate=0.3",
            ["optimizer.dictionary_rate", "no dictionary"],
        ),
        (
            "inference.sparsity=3",
            ["inference.sparsity", "no dictionary"],
        ),
        ("model.encoder=mlp", ["model.widths", "1 to 4 layers"]),
    ] {
        let preset = Variational::preset("variational/conv-laplacian").unwrap();
        let error = preset
            .with_overrides(None, &[setting.to_owned()])
            .unwrap_err()
            .to_string();
        for word in words {
            assert!(error.contains(word), "{setting}: {error}");
        }
    }
    let preset = Variational::preset("variational/gaussian").unwrap();
    let error = preset.with_overrides(None, &["model.encoder=conv".to_owned()]);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("variational/conv-"), "{error}");
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sparsecode"));
    command.env_remove("SPARSECODE_DATA").stdin(Stdio::null());
    command.args(arguments).output().unwrap()
}

/// Runs a command that ends with this status and says these words.
fn says(status: i32, arguments: &[&str], words: &[&str]) {
    let output = run(arguments);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
    for word in words {
        let is_said = said.contains(word);
        assert!(is_said, "{arguments:?}: '{word}' is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
}

/// A run by the program, and what each command makes of it.
#[test]
fn commands_take_runs_or_say_why_not() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path());
    let data = folder.path().to_str().unwrap();
    let out = folder.path().join("run");
    let out = out.to_str().unwrap();
    let settings = SMALL.iter().flat_map(|setting| ["--set", setting]);
    let preset = ["train", "--preset", "variational/conv-gaussian-fixed"];
    let train: Vec<&str> = preset.into_iter().chain(settings).collect();
    says(
        0,
        &[&train[..], &["--data", data, "--out", out]].concat(),
        &["zero"],
    );
    says(0, &["evaluate", out], &["conv-gaussian-fixed", "code"]);
    let file = folder.path().join("model.safetensors");
    let file = file.to_str().unwrap();
    let words = [
        "dense layers",
        "sparsecode features",
        "variational/gaussian-fixed",
    ];
    says(1, &["export", out, "--output", file], &words);
    assert!(!Path::new(file).exists());
    let tiles = folder.path().join("units.png");
    let tiles = tiles.to_str().unwrap();
    says(
        0,
        &["features", out, "--output", tiles],
        &["8 tiles of 28x28"],
    );
    for flag in [&["--l0", "2"][..], &["--codes"]] {
        let evaluate = [&["evaluate", out][..], flag].concat();
        says(2, &evaluate, &[flag[0], "convolutions"]);
    }
    let encoder = ["features", out, "--of", "encoder", "--output", tiles];
    says(2, &encoder, &["4x4", "--of"]);

    // No data, data of another shape, and data that are normalised.
    let other = folder.path().join("other");
    let other = [&train[..], &["--out", other.to_str().unwrap()]].concat();
    says(2, &other, &["idx files", "--data"]);
    let generated = ["--set", "data.source=dead-leaves", "--set", "data.train=50"];
    let generated = [&other[..], &generated].concat();
    let side = |side: &'static str| {
        let both = [["--set", "data.height=28"], ["--set", side]];
        [&generated[..], &both.concat()].concat()
    };
    says(
        1,
        &side("data.width=20"),
        &["28×28", "data.source=pictures", "28x20"],
    );
    says(
        1,
        &side("data.width=28"),
        &["from 0 to 1", "data.source=idx"],
    );
}
