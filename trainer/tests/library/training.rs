//! Whole runs on little generated data: every variant, collapse, resuming, early stopping and what
//! goes wrong.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Tensor};
use sparsecode_trainer::data::DataFacts;
use sparsecode_trainer::data::Samples;
use sparsecode_trainer::data::{Dataset, Splits};
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::lista::Stepper;
use sparsecode_trainer::lista::evaluate::{self, CodeSource};
use sparsecode_trainer::lista::inference::{CpuEngine, PlainFista};
use sparsecode_trainer::lista::model::{Autoencoder, Decoder};
use sparsecode_trainer::lista::{Backend, Lista, PlainBackend, autoencoder_of};
use sparsecode_trainer::run::{
    Checkpoint, Ending, EpochRecord, LogError, Observer, RunFolder, Silent, StepError, TrainError,
    Trainer, Weights,
};

const CPU: Device = Device::Cpu;
const BATCHES: usize = 6;

/// A variant on 300 dead-leaves patches of 8×8, with 32 atoms.
fn small(variant: &str, settings: &[&str]) -> Config {
    let mut all = vec![
        "data.train=300",
        "data.validation=70",
        "data.test=10",
        "batch_size=50",
        "model.code_dim=32",
        "inference.max_iterations=40",
        "epochs=3",
    ];
    if variant.ends_with("-nl") {
        all.push("model.hidden_dim=48");
    }
    all.extend(settings);
    let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
    Config::preset(&format!("dead-leaves/{variant}"))
        .and_then(|preset| preset.with_overrides(None, &all))
        .unwrap()
}

fn load(config: &Config) -> Splits {
    config.data.load(None, config.seed).unwrap()
}

/// With the engine that `train` uses, on two threads of its own: other tests may be at work on the
/// shared ones.
fn trainer(config: &Config) -> Trainer<'static, Lista> {
    let engine = Box::leak(Box::new(CpuEngine::new(2)));
    Trainer::new(config.clone(), load(config), engine).unwrap()
}

/// Keeps the records; raises the stop flag after some batches.
#[derive(Default)]
struct Recorder {
    records: Vec<EpochRecord>,
    batches: usize,
    stop_after: Option<usize>,
    stop: AtomicBool,
}

/// The observer that a run borrows while the flag is borrowed too.
struct Borrowed<'a> {
    records: &'a mut Vec<EpochRecord>,
    batches: &'a mut usize,
    stop_after: Option<usize>,
    stop: &'a AtomicBool,
}

impl Observer for Borrowed<'_> {
    fn batch(&mut self, epoch: u32, done: usize, all: usize) {
        *self.batches += 1;
        assert!(epoch >= 1 && (1..=all).contains(&done));
        if Some(*self.batches) == self.stop_after {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<(), LogError> {
        self.records.push(record.clone());
        Ok(())
    }
}

impl Recorder {
    fn run(
        &mut self,
        trainer: &mut Trainer<'_, Lista>,
        folder: &Path,
    ) -> Result<Ending, TrainError> {
        let mut observer = Borrowed {
            records: &mut self.records,
            batches: &mut self.batches,
            stop_after: self.stop_after,
            stop: &self.stop,
        };
        trainer.run(&RunFolder::new(folder), &mut observer, &self.stop)
    }
}

/// A whole run in a folder of its own.
fn train(config: &Config) -> (Autoencoder, Vec<EpochRecord>) {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = trainer(config);
    let mut recorder = Recorder::default();
    let ending = recorder.run(&mut trainer, folder.path()).unwrap();
    assert_eq!(ending, Ending::Finished);
    assert_eq!(recorder.batches, BATCHES * config.epochs as usize);
    (trainer.model().clone(), recorder.records)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// All parameters, as bits.
fn bits(model: &Autoencoder) -> Vec<(&'static str, Vec<u32>)> {
    let bits = |tensor: &Tensor| values(tensor).iter().map(|v| v.to_bits()).collect();
    model
        .parameters()
        .iter()
        .map(|(name, tensor)| (*name, bits(tensor)))
        .collect()
}

fn column_norms(matrix: &Tensor) -> Vec<f64> {
    let (rows, columns) = matrix.dims2().unwrap();
    let values = values(matrix);
    let column = |j: usize| (0..rows).map(move |i| i * columns + j);
    (0..columns)
        .map(|j| {
            column(j)
                .map(|k| f64::from(values[k]).powi(2))
                .sum::<f64>()
                .sqrt()
        })
        .collect()
}

/// W, or W1 and W2.
fn matrices(decoder: &Decoder) -> Vec<&Tensor> {
    match decoder {
        Decoder::Linear { dictionary } => vec![dictionary],
        Decoder::OneHidden { hidden, output, .. } => vec![hidden, output],
    }
}

/// A record as it is logged, less what a clock decides.
fn figures(record: &EpochRecord) -> serde_json::Value {
    let mut value = serde_json::to_value(record).unwrap();
    assert!(value.as_object_mut().unwrap().remove("seconds").is_some());
    value
}

#[test]
fn every_variant_trains() {
    for family in ["sdl", "vdl", "wdl", "do", "none"] {
        for suffix in ["", "-nl"] {
            let name = format!("{family}{suffix}");
            let config = small(&name, &[]);
            assert_eq!(config.model_name(), name);
            let (model, records) = train(&config);
            let (first, last) = (&records[0], &records[2]);
            assert!(
                last.train["energy"] < first.train["energy"],
                "{name}: {records:?}"
            );
            assert!(
                last.validation["energy"] < first.validation["energy"],
                "{name}: {records:?}"
            );
            assert!(
                last.validation["psnr"] > first.validation["psnr"],
                "{name}: {records:?}"
            );
            for record in &records {
                assert_eq!(record.validation["samples"], 70.0);
                for figure in [
                    record.train["psnr"],
                    record.train["sparsity"],
                    record.validation["energy"],
                ] {
                    assert!(figure.is_finite(), "{name}: {record:?}");
                }
                assert!((0.0..=1.0).contains(&record.train["sparsity"]));
                assert!(record.train["fista_steps"] <= record.train["fista_iterations"]);
            }
            for (parameter, tensor) in model.parameters() {
                let values = values(tensor);
                assert!(values.iter().all(|v| v.is_finite()), "{name}: {parameter}");
                assert!(
                    values.iter().any(|&v| v != 0.0),
                    "{name}: {parameter} has not moved"
                );
            }
            assert_eq!(model.encoder.is_some(), family != "do");
            let unit = matrices(&model.decoder)
                .into_iter()
                .flat_map(column_norms)
                .all(|norm| (norm - 1.0).abs() < 1e-5);
            assert_eq!(unit, matches!(family, "sdl" | "do"), "{name}");
        }
    }
}

fn learner(config: &Config) -> (Stepper, Tensor) {
    let splits = load(config);
    let dim = splits.train.dim;
    let batch = splits.train.samples[..config.batch_size * dim].to_vec();
    let inputs = Tensor::from_vec(batch, (config.batch_size, dim), &CPU).unwrap();
    let model = Autoencoder::init(
        &config.family.model,
        dim,
        config.has_encoder(),
        config.seed,
        DType::F32,
        &CPU,
    );
    let mut model = model.unwrap();
    if let Decoder::OneHidden { hidden_bias, .. } = &mut model.decoder {
        *hidden_bias = (hidden_bias.ones_like().unwrap() * 0.75).unwrap();
    }
    (Stepper::new(model, config).unwrap(), inputs)
}

fn hidden_bias(decoder: &Decoder) -> Vec<f32> {
    match decoder {
        Decoder::Linear { .. } => Vec::new(),
        Decoder::OneHidden { hidden_bias, .. } => values(hidden_bias),
    }
}

/// Columns have norm 1 from the start and after every step; b1 has its own way.
#[test]
fn normalisation_leaves_the_hidden_bias_alone() {
    for variant in ["sdl", "sdl-nl", "do", "do-nl"] {
        let still = small(variant, &["optimizer.decoder_learning_rate=0"]);
        let moving = small(variant, &["optimizer.decoder_learning_rate=0.05"]);
        for config in [still, moving] {
            let (mut learner, inputs) = learner(&config);
            let unit = |learner: &Stepper| {
                for matrix in matrices(&learner.model.decoder) {
                    for norm in column_norms(matrix) {
                        assert!((norm - 1.0).abs() < 1e-5, "{variant}: {norm}");
                    }
                }
            };
            unit(&learner);
            let bias = hidden_bias(&learner.model.decoder);
            assert!(bias.iter().all(|&b| b == 0.75));
            learner.step(&inputs, 0, &config, &PlainFista).unwrap();
            unit(&learner);
            let rate = config.family.optimizer.decoder_learning_rate as f32;
            for b in hidden_bias(&learner.model.decoder) {
                // Adam's first step is the rate, whatever the gradient.
                let expected = b == 0.75 || ((b - 0.75).abs() - rate).abs() < 1e-3;
                assert!(expected, "{variant}: {b}");
            }
        }
    }
}

/// The epoch of a step decides the decoder's rate alone: halved after every 30 epochs.
#[test]
fn decoder_rate_is_halved_every_thirty_epochs() {
    let config = small("vdl-nl", &[]);
    let step = |epoch| {
        let (mut learner, inputs) = learner(&config);
        let before = values(matrices(&learner.model.decoder)[1]);
        let encoder = learner.model.encoder.clone().unwrap();
        learner.step(&inputs, epoch, &config, &PlainFista).unwrap();
        let moved = |before: &[f32], after: &[f32]| {
            before
                .iter()
                .zip(after)
                .map(|(a, b)| f64::from((a - b).abs()))
                .fold(0.0, f64::max)
        };
        let after = learner.model.encoder.as_ref().unwrap();
        (
            moved(&before, &values(matrices(&learner.model.decoder)[1])),
            moved(&values(&encoder.input), &values(&after.input)),
        )
    };
    let (first, last, halved, quartered) = (step(0), step(29), step(30), step(60));
    let rate = config.family.optimizer.decoder_learning_rate;
    for (found, expected) in [(first, 1.0), (last, 1.0), (halved, 0.5), (quartered, 0.25)] {
        assert!(
            (found.0 / (rate * expected) - 1.0).abs() < 1e-2,
            "{found:?}"
        );
        assert_eq!(found.1, first.1);
    }
}

#[test]
fn weight_decay_shrinks_the_decoder() {
    for suffix in ["", "-nl"] {
        let wdl = small(&format!("wdl{suffix}"), &[]);
        let plain = small(&format!("none{suffix}"), &[]);
        assert_eq!(wdl.family.optimizer.decoder_weight_decay, 5e-4);
        assert_eq!(plain.family.optimizer.decoder_weight_decay, 0.0);
        assert_eq!(wdl.family.inference, plain.family.inference);
        let ((decayed, _), (free, _)) = (train(&wdl), train(&plain));
        assert_ne!(bits(&decayed), bits(&free));
        let strong = small(
            &format!("wdl{suffix}"),
            &["optimizer.decoder_weight_decay=1"],
        );
        let (strong, _) = train(&strong);
        let mean = |matrix: &Tensor| {
            let norms = column_norms(matrix);
            norms.iter().sum::<f64>() / norms.len() as f64
        };
        for (strong, free) in matrices(&strong.decoder)
            .iter()
            .zip(matrices(&free.decoder))
        {
            assert!(
                mean(strong) < 0.99 * mean(free),
                "{} {}",
                mean(strong),
                mean(free)
            );
        }
    }
}

/// Without regularisation codes shrink and the decoder grows, which lowers the energy for nothing;
/// the hinge prevents it.
#[test]
fn the_ablation_collapses_and_the_hinge_prevents_it() {
    let run = |variant| {
        let settings = [
            "epochs=25",
            "inference.lambda=0.2",
            "inference.step_size=0.002",
            "inference.max_iterations=60",
            "inference.encoder_weight=1",
            "optimizer.decoder_learning_rate=0.2",
            "optimizer.encoder_learning_rate=0.001",
        ];
        train(&small(variant, &settings)).1
    };
    let (free, hinged) = (run("none"), run("vdl"));
    let l1 = |records: &[EpochRecord]| {
        records
            .iter()
            .map(|r| r.train["code_l1"])
            .collect::<Vec<_>>()
    };
    let norm = |records: &[EpochRecord]| {
        records
            .iter()
            .map(|r| r.learner["decoder_norm"])
            .collect::<Vec<_>>()
    };
    let (free_l1, free_norm) = (l1(&free), norm(&free));
    let (hinged_l1, hinged_norm) = (l1(&hinged), norm(&hinged));
    assert!(free_l1[24] < 0.2 * free_l1[0], "{free_l1:?}");
    assert!(
        free_l1[24] < free_l1[12] && free_l1[12] < free_l1[6],
        "{free_l1:?}"
    );
    assert!(free_norm[24] > 3.0 * free_norm[0], "{free_norm:?}");
    assert!(free_norm.is_sorted(), "{free_norm:?}");
    assert!(hinged_l1[24] > 0.5 * hinged_l1[0], "{hinged_l1:?}");
    assert!(
        hinged_l1[24] > 4.0 * free_l1[24],
        "{hinged_l1:?} {free_l1:?}"
    );
    assert!(
        hinged_norm[24] < 0.5 * free_norm[24],
        "{hinged_norm:?} {free_norm:?}"
    );
}

#[test]
fn the_seed_decides_every_bit() {
    for variant in ["vdl", "do-nl"] {
        let config = small(variant, &["epochs=1"]);
        let (one, records) = train(&config);
        let (other, other_records) = train(&config);
        assert_eq!(bits(&one), bits(&other));
        assert_eq!(figures(&records[0]), figures(&other_records[0]));
        // Another seed for weights and order alone: the data stay.
        let another = Config {
            seed: config.seed + 1,
            ..config.clone()
        };
        let mut trainer = Trainer::new(another, load(&config), &PlainFista).unwrap();
        let folder = tempfile::tempdir().unwrap();
        Recorder::default()
            .run(&mut trainer, folder.path())
            .unwrap();
        assert_ne!(bits(&one), bits(trainer.model()));
    }
}

/// Stopped after any batch and resumed from the file, a run ends with the same files, bit for bit,
/// and the same figures. Several runs at once, each of whose steps is a job of rayon's that may be
/// taken up while another waits for its crew: with one engine, and with one for each.
#[test]
fn several_runs_may_go_on_at_once() {
    // Long enough to meet in the middle of steps.
    let config = small("vdl", &["epochs=20"]);
    let (alone, _) = train(&config);
    let engines: Vec<_> = (0..3).map(|_| CpuEngine::new(2)).collect();
    for engines in [[&engines[0]; 3], [&engines[0], &engines[1], &engines[2]]] {
        run_together(&config, engines, &alone);
    }
}

fn run_together(config: &Config, engines: [&CpuEngine; 3], alone: &Autoencoder) {
    std::thread::scope(|scope| {
        let runs: Vec<_> = engines
            .into_iter()
            .map(|engine| {
                scope.spawn(move || {
                    let folder = tempfile::tempdir().unwrap();
                    let mut trainer = Trainer::new(config.clone(), load(config), engine).unwrap();
                    let mut recorder = Recorder::default();
                    recorder.run(&mut trainer, folder.path()).unwrap();
                    bits(trainer.model())
                })
            })
            .collect();
        for run in runs {
            assert_eq!(run.join().unwrap(), bits(alone));
        }
    });
}

#[test]
fn a_resumed_run_ends_where_an_uninterrupted_one_ends() {
    for (variant, stops) in [
        ("vdl", vec![1, 8, 12, 17]),
        ("sdl-nl", vec![8]),
        ("do", vec![10]),
    ] {
        let config = small(variant, &[]);
        let whole_folder = tempfile::tempdir().unwrap();
        let mut whole = trainer(&config);
        let mut whole_recorder = Recorder::default();
        whole_recorder.run(&mut whole, whole_folder.path()).unwrap();
        let expected: Vec<_> = whole_recorder.records.iter().map(figures).collect();
        for stop_after in stops {
            let folder = tempfile::tempdir().unwrap();
            let files = RunFolder::new(folder.path());
            let mut first = trainer(&config);
            let mut recorder = Recorder {
                stop_after: Some(stop_after),
                ..Recorder::default()
            };
            let ending = recorder.run(&mut first, folder.path()).unwrap();
            assert_eq!(ending, Ending::Interrupted);
            assert_eq!(recorder.batches, stop_after);
            drop(first);

            let mut second = trainer(&config);
            second
                .restore(&Checkpoint::read::<Lista>(&files.checkpoint()).unwrap())
                .unwrap();
            assert_eq!(second.batches_done(), stop_after);
            let mut rest = Recorder::default();
            assert_eq!(
                rest.run(&mut second, folder.path()).unwrap(),
                Ending::Finished
            );
            assert_eq!(rest.batches, 3 * BATCHES - stop_after);
            recorder.records.append(&mut rest.records);
            let found: Vec<_> = recorder.records.iter().map(figures).collect();
            assert_eq!(found, expected, "{variant} stopped after {stop_after}");
            assert_eq!(bits(second.model()), bits(whole.model()));
            let whole_files = RunFolder::new(whole_folder.path());
            for (a, b) in [
                (files.checkpoint(), whole_files.checkpoint()),
                (files.best(), whole_files.best()),
            ] {
                assert!(
                    std::fs::read(&a).unwrap() == std::fs::read(&b).unwrap(),
                    "{}",
                    a.display()
                );
            }
        }
    }
}

/// A finished run given more epochs is the longer run; a finished one resumed as it is does
/// nothing.
#[test]
fn more_epochs_continue_the_same_run() {
    let (short, long) = (small("sdl", &["epochs=1"]), small("sdl", &["epochs=2"]));
    let folder = tempfile::tempdir().unwrap();
    Recorder::default()
        .run(&mut trainer(&short), folder.path())
        .unwrap();
    let checkpoint =
        Checkpoint::read::<Lista>(&RunFolder::new(folder.path()).checkpoint()).unwrap();
    let mut same = trainer(&short);
    same.restore(&checkpoint).unwrap();
    let mut recorder = Recorder::default();
    assert_eq!(
        recorder.run(&mut same, folder.path()).unwrap(),
        Ending::Finished
    );
    assert_eq!(recorder.batches, 0);
    let mut longer = trainer(&long);
    longer.restore(&checkpoint).unwrap();
    recorder.run(&mut longer, folder.path()).unwrap();
    assert_eq!(recorder.batches, BATCHES);
    assert_eq!(bits(longer.model()), bits(&train(&long).0));
}

/// A checkpoint of one batch, and the file's bytes.
fn checkpoint_file(folder: &Path, config: &Config) -> Vec<u8> {
    let mut recorder = Recorder {
        stop_after: Some(1),
        ..Recorder::default()
    };
    recorder.run(&mut trainer(config), folder).unwrap();
    std::fs::read(RunFolder::new(folder).checkpoint()).unwrap()
}

#[test]
fn another_configuration_or_other_data_are_refused() {
    let config = small("vdl", &[]);
    let folder = tempfile::tempdir().unwrap();
    checkpoint_file(folder.path(), &config);
    let path = RunFolder::new(folder.path()).checkpoint();
    let checkpoint = Checkpoint::read::<Lista>(&path).unwrap();
    for change in [
        "inference.lambda=0.011",
        "seed=32",
        "model.code_dim=31",
        "batch_size=49",
    ] {
        let mut other = trainer(&small("vdl", &[change]));
        let error = other.restore(&checkpoint).unwrap_err().to_string();
        assert!(
            error.contains("config_hash") && error.contains("another configuration"),
            "{error}"
        );
    }
    let mut other = trainer(&small("wdl", &[]));
    assert!(other.restore(&checkpoint).is_err());
    let other_data = load(&small("vdl", &["seed=32"]));
    let (ours, theirs) = (load(&config).description, other_data.description.clone());
    assert_ne!(ours, theirs);
    let mut other = Trainer::new(config.clone(), other_data, &PlainFista).unwrap();
    let error = other.restore(&checkpoint).unwrap_err().to_string();
    assert!(error.contains(&ours) && error.contains(&theirs), "{error}");

    // The same description, one sample changed: a file that was replaced.
    let mut replaced = load(&config);
    replaced.train.samples[17] += 0.5;
    let mut other = Trainer::new(config, replaced, &PlainFista).unwrap();
    let error = other.restore(&checkpoint).unwrap_err().to_string();
    assert!(error.contains("samples"), "{error}");
}

/// Replaces text of the same length in a file's header.
fn patched(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes());
    let at = at.unwrap_or_else(|| panic!("no {from} in the header"));
    let mut bytes = bytes.to_vec();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    bytes
}

#[test]
fn damaged_checkpoints_are_refused_by_name() {
    let config = small("vdl", &["model.code_dim=8"]);
    let folder = tempfile::tempdir().unwrap();
    let bytes = checkpoint_file(folder.path(), &config);
    let path = folder.path().join("damaged.safetensors");
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Checkpoint::read::<Lista>(&path)
    };
    let refusal = |bytes: &[u8]| match read(bytes) {
        Ok(_) => panic!("read a damaged file"),
        Err(error) => error.to_string(),
    };
    assert!(read(&bytes).is_ok());
    for length in [0, 4, 8, 9, 100, bytes.len() / 2, bytes.len() - 1] {
        let error = refusal(&bytes[..length]);
        assert!(error.contains("damaged.safetensors"), "{length}: {error}");
        assert!(
            error.contains("not a safetensors file"),
            "{length}: {error}"
        );
    }
    let mut huge = bytes.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(refusal(&huge).contains("damaged.safetensors"));

    for version in [0, 9] {
        let found = format!("\\\"version\\\":{version}");
        let error = refusal(&patched(&bytes, "\\\"version\\\":2", &found));
        assert!(error.contains(&format!("version: {version}")), "{error}");
    }
    let error = refusal(&patched(&bytes, "\"sparsecode\"", "\"sqarsecode\""));
    assert!(error.contains("sparsecode: missing"), "{error}");
    let error = refusal(&patched(&bytes, "config_hash", "config_hush"));
    assert!(error.contains("config_hash"), "{error}");
    let error = refusal(&patched(&bytes, "\"F32\"", "\"I32\""));
    assert!(error.contains("dtype I32, expected F32"), "{error}");

    let mut not_finite = bytes.clone();
    let end = not_finite.len();
    not_finite[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = refusal(&not_finite);
    assert!(
        error.contains("encoder.") && error.contains("not finite"),
        "{error}"
    );

    for name in ["decoder.dictionary", "adam.second.encoder.bias"] {
        let renamed = name.replace("co", "oc");
        let quoted = |name: &str| format!("\"{name}\"");
        let checkpoint = read(&patched(&bytes, &quoted(name), &quoted(&renamed))).unwrap();
        let error = trainer(&config)
            .restore(&checkpoint)
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("{name}: missing")), "{error}");
    }

    // No single changed byte of the header makes it panic.
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize + 8;
    for at in (0..header).step_by(5) {
        for value in [0, b'"', b'9', 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            if let Err(error) = read(&damaged) {
                assert!(error.to_string().contains("damaged.safetensors"), "{error}");
            }
        }
    }

    let missing = folder.path().join("absent.safetensors");
    let error = Checkpoint::read::<Lista>(&missing)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("absent.safetensors"), "{error}");
}

fn failure(config: &Config, splits: Splits) -> TrainError {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = match Trainer::new(config.clone(), splits, &PlainFista) {
        Ok(trainer) => trainer,
        Err(error) => return error,
    };
    let result = Recorder::default().run(&mut trainer, folder.path());
    result.expect_err("the run should have failed")
}

/// The plain engine's device is a parameter; in main memory its runs have the bits of
/// [`PlainFista`].
#[test]
fn the_plain_engine_trains_on_the_device_that_it_is_given() {
    for variant in ["vdl", "sdl-nl", "do"] {
        let config = small(variant, &[]);
        let trained = |backend: &(dyn Backend + 'static)| {
            let folder = RunFolder::new(tempfile::tempdir().unwrap().path());
            let mut trainer =
                Trainer::<Lista>::new(config.clone(), load(&config), backend).unwrap();
            let stop = AtomicBool::new(false);
            trainer.run(&folder, &mut Silent, &stop).unwrap();
            bits(trainer.model())
        };
        let plain = PlainBackend::new(Device::Cpu);
        assert!(trained(&plain) == trained(&PlainFista), "{variant}");
    }
}

#[test]
fn divergence_is_named() {
    for variant in ["vdl", "sdl-nl", "do"] {
        for step_size in ["1e4", "100"] {
            let step_size = format!("inference.step_size={step_size}");
            let config = small(variant, &[&step_size, "inference.step_rule=fixed"]);
            let error = failure(&config, load(&config));
            let message = error.to_string();
            let TrainError::Diverged {
                model: name,
                epoch,
                batch,
                divergence,
            } = error
            else {
                panic!("{message}");
            };
            assert_eq!((name, epoch), (variant, 1));
            assert!((1..=BATCHES).contains(&batch));
            let tensor = divergence.tensor;
            assert!(
                tensor.contains("codes") || tensor.contains("reconstruction"),
                "{message}"
            );
            for part in [
                variant,
                "epoch 1",
                &format!("batch {batch}"),
                &tensor,
                "step_size",
            ] {
                assert!(message.contains(part), "{message}");
            }
        }
    }
}

#[test]
fn data_that_are_not_finite_are_named() {
    let config = small("wdl", &[]);
    for value in [f32::NAN, f32::INFINITY] {
        let mut splits = load(&config);
        splits.train.samples[1234] = value;
        let error = failure(&config, splits);
        let message = error.to_string();
        assert!(
            matches!(&error, TrainError::Diverged { model: "wdl", epoch: 1, divergence, .. }
                if divergence.tensor == "inputs"),
            "{message}"
        );
        assert!(message.contains("check the data"), "{message}");

        let mut splits = load(&config);
        splits.validation.samples[5] = value;
        let error = failure(&config, splits);
        let message = error.to_string();
        assert!(
            matches!(&error, TrainError::Diverged { model: "wdl", epoch: 1, divergence, .. }
                if divergence.tensor.contains("validation")),
            "{message}"
        );
    }
}

/// A step that fails leaves the model as it was.
#[test]
fn a_diverged_step_changes_nothing() {
    let config = small(
        "vdl",
        &["inference.step_size=1e4", "inference.step_rule=fixed"],
    );
    let (mut learner, inputs) = learner(&config);
    let before = bits(&learner.model);
    let result = learner.step(&inputs, 0, &config, &PlainFista);
    assert!(matches!(result, Err(StepError::Diverged(_))));
    assert_eq!(bits(&learner.model), before);
}

#[test]
fn stops_early_when_validation_stops_improving() {
    let settings = [
        "epochs=6",
        "patience=2",
        "optimizer.decoder_learning_rate=0",
        "optimizer.encoder_learning_rate=0",
    ];
    let config = small("vdl", &settings);
    let folder = tempfile::tempdir().unwrap();
    let mut run = trainer(&config);
    let mut recorder = Recorder::default();
    assert_eq!(
        recorder.run(&mut run, folder.path()).unwrap(),
        Ending::StoppedEarly
    );
    assert_eq!(recorder.records.len(), 3);
    assert_eq!(run.position().epoch(), 3);
    assert_eq!(run.position().best().unwrap().epoch, 1);
    let best: Vec<bool> = recorder.records.iter().map(|record| record.best).collect();
    assert_eq!(best, [true, false, false]);

    let checkpoint =
        Checkpoint::read::<Lista>(&RunFolder::new(folder.path()).checkpoint()).unwrap();
    let mut again = trainer(&config);
    again.restore(&checkpoint).unwrap();
    let mut recorder = Recorder::default();
    assert_eq!(
        recorder.run(&mut again, folder.path()).unwrap(),
        Ending::StoppedEarly
    );
    assert_eq!(recorder.batches, 0);

    let patient = Config {
        patience: 0,
        ..config
    };
    assert_eq!(train(&patient).1.len(), 6);
}

/// The weights kept are those of the epoch with the lowest validation energy, and evaluate to it.
#[test]
fn best_weights_are_those_of_the_lowest_energy() {
    let config = small("sdl", &["epochs=6", "optimizer.encoder_learning_rate=0.1"]);
    let folder = tempfile::tempdir().unwrap();
    let files = RunFolder::new(folder.path());
    let mut run = trainer(&config);
    let mut recorder = Recorder::default();
    recorder.run(&mut run, folder.path()).unwrap();
    let energies: Vec<f64> = recorder
        .records
        .iter()
        .map(|r| r.validation["energy"])
        .collect();
    let lowest = (0..6)
        .min_by(|&a, &b| energies[a].total_cmp(&energies[b]))
        .unwrap();
    assert!(
        lowest != 0 && lowest != 5,
        "the case shows nothing: {energies:?}"
    );
    let best = Weights::read(&files.best()).unwrap();
    assert_eq!(best.epoch() as usize, lowest + 1);
    let splits = load(&config);
    assert_eq!(*best.data(), DataFacts::of(&splits));
    let position = run.position().best().unwrap();
    assert_eq!(
        (position.epoch as usize, position.objective),
        (lowest + 1, energies[lowest])
    );

    let model = autoencoder_of(&best, &config).unwrap();
    assert_ne!(bits(&model), bits(run.model()));
    let peak = f64::from(splits.peak);
    let samples = Samples::new(splits.validation).unwrap();
    let evaluation = evaluate::evaluate(
        &model,
        &samples,
        &config,
        peak,
        &PlainFista,
        CodeSource::Encoder,
        None,
    );
    assert_eq!(evaluation.unwrap().energy, energies[lowest]);
    // Weights of another size are refused by the name of the tensor.
    let other = small("sdl", &["model.code_dim=16"]);
    let error = autoencoder_of(&best, &other).unwrap_err().to_string();
    assert!(
        error.contains("encoder.input") && error.contains("32"),
        "{error}"
    );
}

#[test]
fn unusable_runs_are_refused_at_the_start() {
    let config = small("vdl", &["batch_size=301"]);
    let error = failure(&config, load(&config)).to_string();
    assert!(
        error.contains("300 samples") && error.contains("batch_size = 301"),
        "{error}"
    );

    let config = small("vdl", &[]);
    let mut splits = load(&config);
    splits.validation = Dataset {
        samples: Vec::new(),
        ..splits.validation
    };
    let error = failure(&config, splits);
    assert!(matches!(error, TrainError::NoValidation), "{error}");

    // A configuration made by hand is checked like one that was read.
    for (field, config) in [
        (
            "batch_size",
            Config {
                batch_size: 0,
                ..config.clone()
            },
        ),
        (
            "epochs",
            Config {
                epochs: 0,
                ..config.clone()
            },
        ),
        (
            "seed",
            Config {
                seed: u64::MAX,
                ..config.clone()
            },
        ),
    ] {
        let error = failure(&config, load(&small("vdl", &[])));
        assert!(matches!(error, TrainError::Config(_)), "{error}");
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[test]
fn a_log_that_cannot_be_written_stops_the_run() {
    struct Broken;
    impl Observer for Broken {
        fn batch(&mut self, _: u32, _: usize, _: usize) {}
        fn epoch(&mut self, _: &EpochRecord) -> Result<(), LogError> {
            Err("disc full".into())
        }
    }
    let config = small("vdl", &["epochs=2"]);
    let folder = tempfile::tempdir().unwrap();
    let files = RunFolder::new(folder.path());
    let stop = AtomicBool::new(false);
    let error = trainer(&config)
        .run(&files, &mut Broken, &stop)
        .unwrap_err();
    assert!(error.to_string().contains("disc full"), "{error}");
    // The epoch itself is safe.
    let mut rest = trainer(&config);
    rest.restore(&Checkpoint::read::<Lista>(&files.checkpoint()).unwrap())
        .unwrap();
    assert_eq!(rest.position().epoch(), 1);
    assert_eq!(
        rest.run(&files, &mut Silent, &stop).unwrap(),
        Ending::Finished
    );
    assert_eq!(bits(rest.model()), bits(&train(&config).0));
}
