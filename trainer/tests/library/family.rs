//! A second family, of a few lines: what a run is knows nothing of the first.
//!
//! Principal components by gradient. It asks of a run what the first family does not: a rate that
//! changes with every step, a buffer beside the parameters, an epoch that ends with the samples
//! that are left over, draws that follow from the step.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device, Tensor};
use rand_distr::{Distribution, StandardNormal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sparsecode_trainer::data::{
    DataConfig, DataFacts, GeneratedSignalConfig, Named, Samples, Splits,
};
use sparsecode_trainer::lista::Lista;
use sparsecode_trainer::report::metrics;
use sparsecode_trainer::report::progress::ProgressMode;
use sparsecode_trainer::rng::{Stream, generator};
use sparsecode_trainer::run::{
    At, Batch, Checkpoint, Column, Config, ConfigError, Ending, EpochRecord, Family, Figures,
    Learner, LogError, Observer, RunFolder, Session, Settings, Share, Silent, State, StateError,
    StepError, StepFigures, Tensors, Trainer, Unit, Weights, in_range,
};
use sparsecode_trainer::sweep::collect::Collected;
use sparsecode_trainer::sweep::supervise::Supervisor;
use sparsecode_trainer::sweep::workers::Workers;
use sparsecode_trainer::sweep::{Grid, Plan, SweepFolder};

use crate::stopping::StopAfter;

/// The settings: how many components, and the largest rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pca {
    components: usize,
    rate: f64,
    /// Whether its epochs are faster than files are written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    fast: bool,
}

impl Settings for Pca {
    const NAME: &'static str = "pca";
    const KEYS: &'static [&'static str] = &["components", "rate", "fast"];
    const SHOWN_SETTINGS: &'static [(&'static str, &'static str)] = &[("components", "k")];

    fn preset(name: &str) -> Result<Config<Self>, ConfigError> {
        if name != "ecg/pca" {
            return Err(ConfigError::UnknownPreset {
                name: name.to_owned(),
                guess: String::new(),
                form: "there is ecg/pca".to_owned(),
            });
        }
        let sizes = GeneratedSignalConfig {
            train: 90,
            validation: 40,
            test: 40,
            ..Default::default()
        };
        Ok(Config {
            family: Self {
                components: 4,
                rate: 0.01,
                fast: false,
            },
            seed: 7,
            epochs: 3,
            batch_size: 25,
            patience: 0,
            data: DataConfig::Ecg(sizes),
        })
    }

    fn presets() -> Vec<String> {
        vec!["ecg/pca".to_owned()]
    }

    fn validate(config: &Config<Self>) -> Result<(), ConfigError> {
        let components = config.family.components;
        in_range(components > 0, "components", components, "at least 1")
    }

    fn model_name(&self) -> &'static str {
        "pca"
    }
}

const RESIDUAL: Column = Column {
    figure: "residual",
    heading: "residual",
    unit: Unit::Number(4),
};

impl Family for Pca {
    const OBJECTIVE: &'static str = "residual";
    const TRAIN_COLUMNS: &'static [Column] = &[RESIDUAL];
    const VALIDATION_COLUMNS: &'static [Column] = &[RESIDUAL];
    const CLEAN_COLUMNS: &'static [Column] = &[RESIDUAL];
    const NOISY_COLUMNS: &'static [Column] = &[RESIDUAL];
    const LEGEND: &'static str = "residual: mean square that the components leave";

    type Backend = Device;
    type Learner<'a> = Components;

    fn learner(
        config: &Config<Self>,
        facts: &DataFacts,
        device: &Device,
    ) -> candle_core::Result<Components> {
        let (shape, _) = facts.parse().map_err(candle_core::Error::wrap)?;
        let shape = (shape.input_dim(), config.family.components);
        let mut rng = generator(config.seed, Stream::Weights);
        let draws: Vec<f32> = (0..shape.0 * shape.1)
            .map(|_| StandardNormal.sample(&mut rng))
            .collect();
        let weights = (Tensor::from_vec(draws, shape, device)? * 0.1)?;
        Ok(Components {
            config: config.clone(),
            momentum: weights.zeros_like()?,
            mean: Tensor::zeros((1, shape.0), DType::F32, device)?,
            weights,
            steps: 0,
        })
    }
}

struct Components {
    config: Config<Pca>,
    /// `input_dim × components`.
    weights: Tensor,
    momentum: Tensor,
    /// The running mean, `1 × input_dim`: a buffer.
    mean: Tensor,
    steps: u64,
}

impl Components {
    /// The mean square of what the components leave of `inputs`, of each number.
    fn residual(&self, inputs: &Tensor, targets: &Tensor) -> candle_core::Result<(Tensor, f64)> {
        let codes = inputs.broadcast_sub(&self.mean)?.matmul(&self.weights)?;
        let rebuilt = codes
            .matmul(&self.weights.t()?)?
            .broadcast_add(&self.mean)?;
        let error = (rebuilt - targets)?;
        let residual = error.sqr()?.mean_all()?.to_scalar::<f32>()?;
        Ok((error, f64::from(residual)))
    }
}

impl Learner for Components {
    fn keeps_incomplete_batch(&self) -> bool {
        true
    }

    fn step(&mut self, batch: &Batch<'_>, _: &Samples, at: At) -> Result<StepFigures, StepError> {
        let count = batch.inputs.dim(0)? as f64;
        // A little noise on the inputs, which the step decides.
        let mut rng = generator(self.config.seed ^ at.step, Stream::Noise { purpose: 1 });
        let draws: Vec<f32> = (0..batch.inputs.elem_count())
            .map(|_| StandardNormal.sample(&mut rng))
            .collect();
        let noise = Tensor::from_vec(draws, batch.inputs.shape(), batch.inputs.device())?;
        let inputs = (&batch.inputs + (noise * 0.01)?)?;
        let batch_mean = batch.inputs.mean_keepdim(0)?;
        self.mean = ((&self.mean * 0.9)? + (batch_mean * 0.1)?)?;
        let (error, residual) = self.residual(&inputs, &batch.targets)?;
        let centred = inputs.broadcast_sub(&self.mean)?;
        let first = centred.t()?.matmul(&error.matmul(&self.weights)?)?;
        let second = error.t()?.matmul(&centred.matmul(&self.weights)?)?;
        let gradient = ((first + second)? * (2.0 / count))?;
        // Up and down again within an epoch.
        let phase = 1.0 + at.batch as f64;
        let rate = self.config.family.rate / phase;
        self.momentum = ((&self.momentum * 0.9)? + gradient)?;
        self.weights = (&self.weights - (&self.momentum * rate)?)?;
        self.steps += 1;
        Ok(vec![
            (
                "residual",
                Share::Mean {
                    sum: residual * count,
                    weight: count,
                },
            ),
            ("lowest_rate", Share::Smallest(rate)),
        ])
    }

    fn measure(&self, set: &Samples, noise: Option<f64>) -> candle_core::Result<Figures> {
        let inputs = match noise {
            Some(noise) => (&set.inputs + noise)?,
            None => set.inputs.clone(),
        };
        let (_, residual) = self.residual(&inputs, &set.inputs)?;
        Ok(Figures::from([("residual", residual)]))
    }

    fn figures(&self, _: u32) -> candle_core::Result<Figures> {
        let norm = self.weights.sqr()?.sum_all()?.to_scalar::<f32>()?;
        Ok(Figures::from([("norm", f64::from(norm.sqrt()))]))
    }

    fn model(&self) -> Tensors {
        let tensors = [("weights", &self.weights), ("mean", &self.mean)];
        tensors.map(|(name, t)| (name.to_owned(), t.clone())).into()
    }

    fn set_model(&mut self, model: &Tensors) -> Result<(), StateError> {
        for (name, tensor) in [("weights", &mut self.weights), ("mean", &mut self.mean)] {
            *tensor = sparsecode_trainer::run::tensor(model, name, tensor.dims())?.clone();
        }
        Ok(())
    }

    fn is_faster_than_files(&self) -> bool {
        self.config.family.fast
    }

    fn state(&self) -> candle_core::Result<State> {
        let mut tensors = self.model();
        tensors.insert("momentum".to_owned(), self.momentum.clone());
        Ok(State {
            tensors,
            counts: [("steps".to_owned(), self.steps)].into(),
        })
    }

    fn restore(&mut self, state: &State) -> Result<(), StateError> {
        self.set_model(&state.tensors)?;
        self.momentum = state.tensor("momentum", self.momentum.dims())?.clone();
        self.steps = state.count("steps")?;
        Ok(())
    }
}

fn splits(config: &Config<Pca>) -> Splits {
    config.data.load(None, config.seed).unwrap()
}

fn train(config: &Config<Pca>, folder: &RunFolder, stop_after: usize) -> Ending {
    let stop = AtomicBool::new(false);
    let session = Session {
        folder,
        config,
        backend: &Device::Cpu,
        resume: folder.checkpoint().exists(),
        start: None,
    };
    let mut observer = StopAfter {
        left: stop_after,
        stop: &stop,
    };
    session
        .run(splits(config), &mut observer, &stop)
        .unwrap()
        .ending
}

/// The log without the time that epochs took.
fn log(folder: &RunFolder) -> Vec<serde_json::Value> {
    let mut records = metrics::read(folder.metrics()).unwrap();
    for record in &mut records {
        record.as_object_mut().unwrap().remove("seconds").unwrap();
    }
    records
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Batches of an epoch: three of 25 samples, and one of the 15 that are left.
const BATCHES: usize = 4;

#[test]
fn an_interrupted_run_ends_where_an_uninterrupted_one_ends() {
    let config = Pca::preset("ecg/pca").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let (whole, parts) = (RunFolder::new(whole), RunFolder::new(parts));
    assert_eq!(train(&config, &whole, usize::MAX), Ending::Finished);
    // Within an epoch, at the end of one, and again within one.
    for stop_after in [2, 2, 5] {
        assert_eq!(train(&config, &parts, stop_after), Ending::Interrupted);
    }
    assert_eq!(train(&config, &parts, usize::MAX), Ending::Finished);
    assert_eq!(log(&whole), log(&parts));
    assert_eq!(log(&whole).len(), 3);
    assert_eq!(bytes(&whole.best()), bytes(&parts.best()));
    let checkpoint = |folder: &RunFolder| {
        let read = Checkpoint::read::<Pca>(&folder.checkpoint()).unwrap();
        let state = read.learner();
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let tensors = state.tensors.iter();
        let tensors: Vec<_> = tensors.map(|(n, t)| (n.clone(), values(t))).collect();
        (tensors, state.counts)
    };
    let (tensors, counts) = checkpoint(&whole);
    assert_eq!((tensors.clone(), counts.clone()), checkpoint(&parts));
    assert_eq!(counts["steps"], (3 * BATCHES) as u64);
    assert_eq!(tensors.len(), 3);

    // The figures of the family stand in the log as they come, and in the dashboard.
    let records = log(&whole);
    for record in &records {
        assert!(record["train"]["residual"].as_f64().unwrap() > 0.0);
        assert_eq!(record["train"]["lowest_rate"].as_f64(), Some(0.01 / 4.0));
        assert!(record["norm"].as_f64().unwrap() > 0.0);
    }
    let residual = |record: &serde_json::Value| record["validation"]["residual"].as_f64().unwrap();
    assert!(residual(&records[2]) < residual(&records[0]));
    let events = std::fs::read_dir(whole.path()).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name()?.to_str()?.to_owned();
        name.contains("tfevents").then_some(path)
    });
    let events = String::from_utf8_lossy(&bytes(&events.unwrap())).into_owned();
    assert!(events.contains("validation/residual") && events.contains("norm"));

    // The best model measures as the log says, and in a learner of its own.
    let weights = Weights::read(&whole.best()).unwrap();
    let mut best = Pca::learner(&config, weights.data(), &Device::Cpu).unwrap();
    best.set_model(weights.tensors()).unwrap();
    let validation = Samples::new(splits(&config).validation).unwrap();
    let measured = best.measure(&validation, None).unwrap()["residual"];
    let lowest = records.iter().map(residual).fold(f64::INFINITY, f64::min);
    assert_eq!(measured, lowest);
}

/// Looks at the run's files after every epoch; the log breaks down in the third.
struct Watched<'a> {
    folder: &'a RunFolder,
    written: Vec<(bool, bool)>,
}

impl Observer for Watched<'_> {
    fn batch(&mut self, _: u32, _: usize, _: usize) {}

    fn epoch(&mut self, record: &EpochRecord) -> Result<(), LogError> {
        let exists = |path: std::path::PathBuf| path.exists();
        let files = (self.folder.best(), self.folder.checkpoint());
        self.written.push((exists(files.0), exists(files.1)));
        match record.epoch {
            3 => Err("the disk is full".into()),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_run_faster_than_its_files_writes_both_or_none() {
    for (fast, expected) in [
        (true, [(false, false); 3]),
        (false, [(false, false), (true, true), (true, true)]),
    ] {
        let mut config = Pca::preset("ecg/pca").unwrap();
        config.family.fast = fast;
        config.epochs = 9;
        let folder = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(folder.path());
        let mut trainer =
            Trainer::<Pca>::new(config.clone(), splits(&config), &Device::Cpu).unwrap();
        let mut watched = Watched {
            folder: &folder,
            written: Vec::new(),
        };
        let stop = AtomicBool::new(false);
        let error = trainer.run(&folder, &mut watched, &stop).unwrap_err();
        assert!(error.to_string().contains("the disk is full"), "{error}");
        assert_eq!(watched.written, expected, "fast: {fast}");
        // What broke down was the log; nothing that was learned is lost, and the files are of one
        // epoch.
        let checkpoint = Checkpoint::read::<Pca>(&folder.checkpoint()).unwrap();
        let best = Weights::read(&folder.best()).unwrap();
        assert_eq!(checkpoint.position().epoch(), 3);
        assert_eq!(checkpoint.position().best().unwrap().epoch, best.epoch());
    }
}

#[test]
fn the_configuration_names_its_family() {
    let config = Pca::preset("ecg/pca").unwrap();
    let text = config.to_toml();
    assert!(text.starts_with("family = \"pca\"\n"), "{text}");
    assert_eq!(toml::from_str::<Config<Pca>>(&text).unwrap(), config);
    let other = toml::from_str::<Config<Lista>>(&text).unwrap_err();
    assert!(other.to_string().contains("\"pca\""), "{other}");
    let nameless = text.replace("family = \"pca\"\n", "");
    let error = toml::from_str::<Config<Pca>>(&nameless).unwrap_err();
    assert!(error.to_string().contains("family = \"pca\""), "{error}");
    // The first family is not named, as when it was the only one, and may be.
    let first = Lista::preset("mnist/vdl").unwrap();
    assert!(!first.to_toml().contains("family"));
    let named = format!("family = \"lista\"\n{}", first.to_toml());
    assert_eq!(toml::from_str::<Config<Lista>>(&named).unwrap(), first);
    // Keys are the family's own.
    let unknown = format!("variant = \"sdl\"\n{text}");
    let error = toml::from_str::<Config<Pca>>(&unknown)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`variant`") && error.contains("`components`") && error.contains("`seed`"),
        "{error}"
    );
}

#[test]
fn a_sweep_collects_what_the_family_measures() {
    let grid = "preset = \"ecg/pca\"\nseed = [1, 2]\ncomponents = [2, 6]\nnoise = [0.5]";
    let plan: Plan<Pca> = Grid::parse(grid, "grid.toml").unwrap().plan().unwrap();
    let lines = plan.to_lines();
    assert!(lines.contains("\"family\":\"pca\""), "{lines}");
    assert_eq!(Plan::parse(&lines, "plan").unwrap(), plan);
    let folder = tempfile::tempdir().unwrap();
    let folder = SweepFolder::new(folder.path().join("sweep"));
    let supervisor = Supervisor {
        plan: &plan,
        folder: &folder,
        data: &Named::default(),
        workers: Workers::Threads(&Device::Cpu),
        jobs: 2,
        threads: 1,
        retry_failed: false,
        mode: ProgressMode::Quiet,
    };
    let tally = supervisor.run(&AtomicBool::new(false)).unwrap();
    assert_eq!((tally.finished, tally.failed.len()), (4, 0), "{tally:?}");

    let collected = Collected::of(&plan, &folder);
    assert_eq!(collected.settings, ["components", "seed"]);
    let csv = collected.to_csv(false);
    let header = csv.lines().next().unwrap();
    for column in ["validation_residual", "test_residual", "noise_0.5_residual"] {
        assert!(header.split(',').any(|name| name == column), "{header}");
    }
    assert_eq!(csv.lines().count(), 5);
    let json: serde_json::Value = serde_json::from_str(&collected.to_json(false)).unwrap();
    let residual = |k: usize| {
        let groups = json["summary"].as_array().unwrap();
        let group = groups.iter().find(|g| g["settings"]["components"] == k);
        let group = group.unwrap();
        assert_eq!(group["finished"], 2);
        group["residual"]["mean"].as_f64().unwrap()
    };
    assert!(residual(6) < residual(2), "more components leave less");
    let table = collected.to_markdown(false);
    assert!(table.contains("| k |") || table.contains(" k "), "{table}");
    // What a run alone comes to, in a folder of its own.
    let entry = &plan.entries()[0];
    let alone = tempfile::tempdir().unwrap();
    let alone = RunFolder::new(alone.path());
    let session = Session {
        folder: &alone,
        config: &entry.config,
        backend: &Device::Cpu,
        resume: false,
        start: None,
    };
    let stop = AtomicBool::new(false);
    session
        .run(splits(&entry.config), &mut Silent, &stop)
        .unwrap();
    assert_eq!(bytes(&alone.best()), bytes(&folder.run(entry).files.best()));
}
