//! Variational models by the program: sweeps, pictures of atoms, weights from elsewhere, bad input.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use sparsecode_trainer::data::npy::write_npy_f32;
use sparsecode_trainer::data::{Dataset, Restore, Samples};
use sparsecode_trainer::deploy::VariationalRun;
use sparsecode_trainer::report::image::{GalleryOptions, Scaling, gallery};
use sparsecode_trainer::run::{RunFolder, Settings as _, Weights};
use sparsecode_trainer::variational::{Encoder, Head, Variational};
use tempfile::TempDir;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sparsecode"));
    command.env_remove("SPARSECODE_DATA").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command that must succeed prints.
fn done(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail with this status and a message that has these words.
fn refused(status: i32, arguments: &[&str], words: &[&str]) {
    let output = run(arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
    for word in words {
        let is_said = said.contains(word);
        assert!(is_said, "{arguments:?}: '{word}' is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Runs of a few batches of 4 × 4 pixels.
const GRID: &str = "\
preset = [\"variational/laplacian-learned\", \"variational/spike-and-slab\", \"variational/fista\"]
seed = [1, 2]
epochs = 6
batch_size = 50
noise = [0.5]
data.train = 600
data.validation = 100
data.test = 100
data.height = 4
data.width = 4
model.code_dim = 12
model.widths = [[16, 14]]
objective.samples = 4
";

/// The plan of a grid, in a folder of its own.
struct Sweep {
    folder: TempDir,
    ids: Vec<String>,
}

impl Sweep {
    fn plan(grid: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [file, plan] = ["grid.toml", "plan.jsonl"].map(|name| folder.path().join(name));
        std::fs::write(&file, grid).unwrap();
        done(&["sweep", "plan", text(&file), "--output", text(&plan)]);
        let lines = std::fs::read_to_string(&plan).unwrap();
        let ids = lines.lines().map(|line| {
            let id = &json(line)["id"];
            id.as_str().unwrap().to_owned()
        });
        let ids = ids.collect();
        Self { folder, ids }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, out: &str) -> Command {
        let mut command = program();
        command.args(["sweep", "run"]).arg(self.path("plan.jsonl"));
        command.arg("--out").arg(self.path(out));
        command.args(["--jobs", "1", "--threads", "1"]);
        command
    }

    fn run(&self, out: &str) {
        let output = self.command(out).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }

    fn run_folder(&self, out: &str, run: usize) -> RunFolder {
        RunFolder::new(self.path(out).join(&self.ids[run]))
    }

    fn is_finished(&self, out: &str, run: usize) -> bool {
        let folder = self.run_folder(out, run);
        folder.path().join("result.json").exists()
    }

    fn table(&self, out: &str) -> serde_json::Value {
        let (plan, out) = (self.path("plan.jsonl"), self.path(out));
        let (plan, out) = (text(&plan), text(&out));
        let more = ["--out", out, "--format", "json"];
        json(&done(&[&["sweep", "collect", plan][..], &more].concat()))
    }
}

#[test]
fn a_sweep_that_is_killed_ends_as_one_that_is_not() {
    let sweep = Sweep::plan(GRID);
    assert_eq!(sweep.ids.len(), 6);
    sweep.run("whole");

    let mut killed = sweep.command("killed");
    killed.stdout(Stdio::null()).stderr(Stdio::null());
    let mut killed = killed.spawn().unwrap();
    // In the midst of the first run, or about.
    let log = sweep.run_folder("killed", 0).metrics();
    let began = Instant::now();
    while std::fs::read_to_string(&log).map_or(0, |log| log.lines().count()) < 2 {
        assert!(began.elapsed() < Duration::from_secs(120), "no epoch ended");
        std::thread::sleep(Duration::from_millis(2));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!sweep.is_finished("killed", 5));
    sweep.run("killed");
    assert_eq!(sweep.table("whole"), sweep.table("killed"));
    for run in 0..sweep.ids.len() {
        let best = |out| std::fs::read(sweep.run_folder(out, run).best()).unwrap();
        assert!(best("whole") == best("killed"), "run {run}");
        let log = std::fs::read_to_string(sweep.run_folder("killed", run).metrics()).unwrap();
        assert_eq!(log.lines().count(), 6, "run {run}");
    }

    // The figures are those that `evaluate` prints: with codes of the encoder, not of FISTA.
    let table = sweep.table("whole");
    for place in 0..3 {
        let row = &table["runs"][place];
        assert_eq!(row["status"], "finished");
        let folder = sweep.run_folder("whole", place);
        let run = text(folder.path());
        let found = json(&done(&["evaluate", run, "--noise", "0.5", "--json"]));
        let by_fista = place == 2;
        for figure in ["loss", "mse", "mse_one", "mse_code", "active"] {
            let is_there = !(by_fista && figure == "mse_one");
            assert_eq!(row["test"][figure].is_number(), is_there, "{figure}");
            assert_eq!(row["test"][figure], found[0][figure], "{place} {figure}");
            let noisy = &row["denoising"][0][figure];
            assert_eq!(*noisy, found[1][figure], "{place} {figure}");
        }
    }
}

#[test]
fn a_grid_is_of_one_family() {
    let sweep = Sweep::plan("preset = \"ecg/denoise\"\nseed = [1, 2]\nepochs = 1\n");
    let plan = std::fs::read_to_string(sweep.path("plan.jsonl")).unwrap();
    assert_eq!(plan.matches("\"family\":\"denoise\"").count(), 2, "{plan}");
    let out = sweep.path("out");
    let slurm = ["sweep", "slurm", text(&sweep.path("plan.jsonl")), "--out"].map(str::to_owned);
    let slurm: Vec<&str> = slurm.iter().map(String::as_str).collect();
    let script = done(&[&slurm[..], &[text(&out)]].concat());
    assert!(script.contains("--array=0-1"), "{script}");

    let grid = sweep.path("mixed.toml");
    let presets = "preset = [\"variational/laplacian\", \"mnist/vdl\"]\n";
    std::fs::write(&grid, presets).unwrap();
    let words = [
        "mixed.toml",
        "variational/laplacian",
        "mnist/vdl",
        "a grid for each",
    ];
    refused(2, &["sweep", "plan", text(&grid)], &words);
    // A plan that was joined from two.
    let other = Sweep::plan(GRID);
    let lines = std::fs::read_to_string(other.path("plan.jsonl")).unwrap();
    let joined = sweep.path("joined.jsonl");
    std::fs::write(&joined, lines + &plan).unwrap();
    let arguments = ["sweep", "run", text(&joined), "--out", text(&out)];
    refused(1, &arguments, &["joined.jsonl:7", "not a run", "family"]);
}

#[test]
fn a_sweep_of_models_that_denoise_is_run_and_collected() {
    let grid = "\
preset = \"ecg/denoise\"
epochs = [1, 2]
batch_size = 16
noise = []
data.train = 96
data.validation = 40
data.test = 40
data.window = 112
data.hop = 32
model.window = 32
model.hop = 8
model.code_dim = 24
";
    let sweep = Sweep::plan(grid);
    sweep.run("out");
    let table = sweep.table("out");
    for (place, row) in table["runs"].as_array().unwrap().iter().enumerate() {
        assert_eq!(row["status"], "finished", "{place}");
        assert!(row["test"]["remaining_noise"].is_number(), "{row}");
    }
}

/// A run of a preset that takes a second.
fn trained(preset: &str, out: &Path) {
    let mut command = program();
    command.args(["train", "--preset", preset, "--quiet", "--epochs", "2"]);
    command.arg("--out").arg(out);
    for setting in GRID.lines().filter(|line| line.starts_with("data.")) {
        command.arg("--set").arg(setting.replace(" = ", "="));
    }
    for setting in [
        "model.code_dim=12",
        "model.widths=[14, 16]",
        "batch_size=50",
    ] {
        command.args(["--set", setting]);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn atoms_and_first_weights_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let [out, picture] = ["run", "atoms.png"].map(|name| folder.path().join(name));
    trained("variational/laplacian-fixed", &out);
    let draw = |more: &[&str]| {
        let arguments = ["features", text(&out), "--output", text(&picture)];
        let said = done(&[&arguments[..], more].concat());
        let drawn = image::open(&picture).unwrap().into_luma8();
        (said, drawn.into_raw())
    };
    let weights = Weights::read(&RunFolder::new(&out).best()).unwrap();
    let values = |name: &str| -> Vec<f32> {
        let tensor = &weights.tensors()[name];
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    };
    let expected = |rows: &[f32], scaling, columns| {
        let options = GalleryOptions { scaling, columns };
        let path = folder.path().join("expected.png");
        let drawn = gallery(rows, rows.len() / 16, 4, 4, &options).unwrap();
        drawn.save(&path).unwrap();
        image::open(&path).unwrap().into_luma8().into_raw()
    };
    // Atoms are columns.
    let dictionary = values("decoder.dictionary");
    let atoms: Vec<f32> = (0..12 * 16)
        .map(|place| dictionary[place % 16 * 12 + place / 16])
        .collect();
    let (said, drawn) = draw(&[]);
    assert!(said.contains("12 tiles of 4x4"), "{said}");
    assert!(drawn == expected(&atoms, Scaling::Each, None));
    let (_, drawn) = draw(&["--joint", "--columns", "3"]);
    assert!(drawn == expected(&atoms, Scaling::Joint, Some(3)));
    let (said, drawn) = draw(&["--of", "encoder"]);
    assert!(said.contains("14 tiles of 4x4"), "{said}");
    let rows = values("encoder.trunk.0.weight");
    assert!(drawn == expected(&rows, Scaling::Each, None));

    let none = folder.path().join("fista");
    trained("variational/fista", &none);
    let arguments = ["features", text(&none), "--output", text(&picture)];
    assert!(done(&arguments).contains("12 tiles"));
    let of_encoder = [&arguments[..], &["--of", "encoder"]].concat();
    refused(2, &of_encoder, &["--of encoder", "fista"]);
}

/// Figures of codes are those of the library, on the samples of the run.
#[test]
fn codes_are_measured_beside_the_prior_and_fista() {
    let folder = tempfile::tempdir().unwrap();
    let [learned, fista, other] =
        ["learned", "fista", "lista"].map(|name| folder.path().join(name));
    trained("variational/laplacian-learned", &learned);
    trained("variational/fista", &fista);
    let evaluated = |out: &Path, more: &[&str]| {
        let arguments = ["evaluate", text(out), "--json"];
        json(&done(&[&arguments[..], more].concat()))
    };
    let more = ["--codes", "--gradient-passes", "3"];
    let row = &evaluated(&learned, &more)[0];
    let figure = |row: &serde_json::Value, name: &str| row[name].as_f64().unwrap();
    let (codes, gradients) = (&row["codes"], &row["gradients"]);
    assert_eq!(codes["inputs"], 100);
    assert!(figure(codes, "l1") > 0.0);
    for share in [
        "posterior_collapse",
        "coefficient_collapse",
        "support_similarity",
    ] {
        assert!((0.0..=1.0).contains(&figure(codes, share)), "{codes}");
    }
    // Of 100 samples all may differ, and with 12 components as good as all do.
    let most = 12.0 * 23_f64.log2() - 100_f64.log2();
    for bits in ["multi_information", "multi_information_of_prior"] {
        assert!(
            figure(codes, bits) > 0.0 && figure(codes, bits) < most,
            "{codes}"
        );
    }
    assert_eq!(gradients["passes"], 3);
    assert!(figure(gradients, "dictionary") > 0.0 && figure(gradients, "encoder") > 0.0);
    let row = &evaluated(&fista, &more)[0];
    assert!(row["codes"]["posterior_collapse"].is_null() && row["gradients"].is_null());
    // Its tau is above what 16 pixels correlate with an atom.
    assert_eq!(figure(&row["codes"], "coefficient_collapse"), 1.0);

    let rows = evaluated(&learned, &["--l0", "1,3"]);
    for (row, l0) in rows.as_array().unwrap().iter().zip([1.0, 3.0]) {
        let (encoder, fista) = (&row["encoder"], &row["fista"]);
        assert!((figure(encoder, "l0") / l0 - 1.0).abs() < 0.35, "{row}");
        assert!((figure(fista, "l0") / l0 - 1.0).abs() < 0.011, "{row}");
        assert!(figure(fista, "mse") < figure(encoder, "mse"), "{row}");
    }
    let mse = |place: usize| figure(&rows[place]["fista"], "mse");
    assert!(mse(1) < mse(0));
    assert!(evaluated(&fista, &["--l0", "2"])[0]["encoder"].is_null());
    let said = done(&["evaluate", text(&learned), "--l0", "2"]);
    assert!(said.contains("a code of zeros has"), "{said}");

    // Of the first family the same command.
    let sizes = GRID.lines().filter(|line| line.starts_with("data."));
    let mut command = program();
    command.args([
        "train",
        "--quiet",
        "--epochs",
        "2",
        "--set",
        "model.code_dim=12",
    ]);
    command.args([
        "--preset",
        "dead-leaves/vdl",
        "--set",
        "batch_size=50",
        "--out",
    ]);
    command.arg(&other);
    for setting in sizes {
        command.arg("--set").arg(setting.replace(" = ", "="));
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let row = &evaluated(&other, &["--l0", "2"])[0];
    assert!(
        (figure(&row["fista"], "l0") / 2.0 - 1.0).abs() < 0.011,
        "{row}"
    );
    assert!(
        figure(&row["fista"], "mse") < figure(&row["encoder"], "mse"),
        "{row}"
    );

    for (out, flags, words) in [
        (&learned, &["--l0", "0"][..], ["--l0 0", "above 0"]),
        (&learned, &["--l0", "13"], ["--l0 13", "12 components"]),
        (&learned, &["--l0", "2", "--codes"], ["--l0", "--codes"]),
        (
            &other,
            &["--codes"],
            ["--codes", "only for variational runs"],
        ),
        (
            &learned,
            &["--gradient-passes", "3"],
            ["--codes", "required"],
        ),
    ] {
        let arguments = [&["evaluate", text(out)], flags].concat();
        refused(2, &arguments, &words);
    }
}

/// Numbers that nobody chose.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let number = |i: usize| ((i * 37 + seed * 61) % 101) as f32 / 100.0 - 0.5;
    (0..count).map(number).collect()
}

/// Tensors by name, as the released code names them: 8 inputs, layers of 10 and 5, 6 atoms.
type State = HashMap<String, Tensor>;

const INPUTS: usize = 8;
const ATOMS: usize = 6;
const WIDTHS: [usize; 3] = [INPUTS, 10, 5];

fn state(heads: &[&str]) -> State {
    let mut state = State::new();
    let mut layer = |name: &str, outputs: usize, inputs: usize| {
        let seed = state.len();
        for (part, shape) in [("weight", vec![outputs, inputs]), ("bias", vec![outputs])] {
            let values = numbers(shape.iter().product(), seed + shape.len());
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            state.insert(format!("{name}.{part}"), tensor);
        }
    };
    layer("enc.enc.0", WIDTHS[1], WIDTHS[0]);
    layer("enc.enc.2", WIDTHS[2], WIDTHS[1]);
    for head in heads {
        layer(head, ATOMS, WIDTHS[2]);
    }
    let phi = Tensor::from_vec(numbers(INPUTS * ATOMS, 9), (INPUTS, ATOMS), &Device::Cpu);
    state.insert("phi".to_owned(), phi.unwrap());
    state
}

/// y = W x + b in plain loops, by the names of the released code.
fn affine(state: &State, layer: &str, x: &[f64]) -> Vec<f64> {
    let weight: Vec<Vec<f32>> = state[&format!("{layer}.weight")].to_vec2().unwrap();
    let bias: Vec<f32> = state[&format!("{layer}.bias")].to_vec1().unwrap();
    let rows = weight.iter().zip(bias);
    let sums = rows.map(|(row, bias)| {
        let products = row.iter().zip(x).map(|(w, x)| f64::from(*w) * x);
        f64::from(bias) + products.sum::<f64>()
    });
    sums.collect()
}

const LEARNED: [(Head, &str); 4] = [
    (Head::Shift, "shift"),
    (Head::Scale, "scale"),
    (Head::Shape, "lambda_prior_alpha"),
    (Head::Rate, "lambda_prior_beta"),
];

#[test]
fn imported_weights_answer_as_the_released_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let state = state(&LEARNED.map(|(_, name)| name));
    candle_core::safetensors::save(&state, path("state.safetensors")).unwrap();
    let file = path("state.safetensors");
    let out = path("run");
    let stated = ["--input-shape", "2x4", "--mean", "0.25", "--deviation", "2"];
    let said = done(
        &[
            &["import", text(&file), "--output", text(&out)][..],
            &["--preset", "variational/laplacian-learned/paper"],
            &stated,
        ]
        .concat(),
    );
    assert!(
        said.contains("8 inputs, 6 atoms, layers of 10, 5"),
        "{said}"
    );

    let run = VariationalRun::open(&RunFolder::new(&out)).unwrap();
    assert_eq!(
        (run.epoch, run.facts.mean, run.facts.deviation),
        (0, 0.25, 2.0)
    );
    assert_eq!(run.config.family.model.widths, [10, 5]);
    let count = 120;
    let inputs = numbers(count * INPUTS, 4);
    let samples = Samples::new(Dataset {
        samples: inputs.clone(),
        dim: INPUTS,
        restore: Restore::Global {
            scale: 1.0,
            offset: 0.0,
        },
        labels: None,
    });
    let samples = samples.unwrap();
    let learner = run.learner(&samples).unwrap();
    let Some(Encoder::Mlp(encoder)) = learner.encoder() else {
        panic!("no dense encoder");
    };
    let encoded = encoder.forward(&samples.inputs).unwrap();
    for (x, found) in inputs.chunks(INPUTS).zip(encoded.heads.chunks(ATOMS)) {
        let mut feature: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        for layer in ["enc.enc.0", "enc.enc.2"] {
            feature = affine(&state, layer, &feature);
            feature.iter_mut().for_each(|value| *value = value.max(0.0));
        }
        for (head, name) in LEARNED {
            let expected = affine(&state, name, &feature);
            for (unit, expected) in found.iter().zip(expected) {
                let found = head.of(unit);
                assert!(
                    (found - expected).abs() < 1e-5,
                    "{name}: {found} {expected}"
                );
            }
        }
    }
    let phi: Vec<Vec<f32>> = state["phi"].to_vec2().unwrap();
    for (place, value) in learner.dictionary().atoms().iter().enumerate() {
        assert_eq!(*value, f64::from(phi[place % INPUTS][place / INPUTS]));
    }

    // With data it is a run as any other.
    write_npy_f32(
        &path("x.npy"),
        &[count * 4, 2, 4],
        &numbers(count * 4 * INPUTS, 5),
    )
    .unwrap();
    let data = path("x.npy");
    let found = json(&done(&[
        "evaluate",
        text(&out),
        "--data",
        text(&data),
        "--json",
    ]));
    assert!(found[0]["mse_code"].is_number(), "{found}");
    let model = path("model.safetensors");
    let arguments = [
        "export",
        text(&out),
        "--data",
        text(&data),
        "--output",
        text(&model),
    ];
    assert!(done(&arguments).contains("deterministic code"));
}

#[test]
fn weights_that_do_not_fit_are_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let of = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    let fixed = ["shift", "scale"];
    let learned = LEARNED.map(|(_, name)| name);
    let changed = |name: &str, tensor: Option<Tensor>, heads: &[&str]| {
        let mut state = state(heads);
        state.remove(name);
        state.extend(tensor.map(|tensor| (name.to_owned(), tensor)));
        state
    };
    let infinite = Tensor::full(f32::INFINITY, 6, &Device::Cpu).unwrap();
    let cases = [
        (
            state(&learned),
            "laplacian-fixed",
            ["lambda_prior_alpha.bias", "laplacian-learned"],
        ),
        (
            state(&fixed),
            "laplacian-learned",
            ["lambda_prior_alpha.weight", "laplacian-fixed"],
        ),
        (
            state(&fixed),
            "spike-and-slab",
            ["'spike.weight' is missing", "choose another"],
        ),
        (
            state(&["shift", "scale", "spike"]),
            "gaussian",
            ["unexpected tensor 'spike.bias'", "spike-and-slab"],
        ),
        (
            changed("phi", None, &fixed),
            "laplacian",
            ["'phi' is missing", "train_savefile.npz"],
        ),
        (
            changed("phi", Some(of(&[3, 8, 6])), &fixed),
            "laplacian",
            ["[3, 8, 6], expected a matrix", "the last one"],
        ),
        (
            changed("phi", Some(of(&[9, 6])), &fixed),
            "laplacian",
            [
                "'enc.enc.0.weight' has shape [10, 8], expected [10, 9]",
                "of one run",
            ],
        ),
        (
            changed("shift.weight", Some(of(&[7, 5])), &fixed),
            "laplacian",
            [
                "'shift.weight' has shape [7, 5], expected [6, 5]",
                "of one run",
            ],
        ),
        (
            changed("enc.enc.2.bias", None, &fixed),
            "laplacian",
            ["'enc.enc.2.bias' is missing", "state dictionary"],
        ),
        (
            changed("enc.enc.1.running_mean", Some(of(&[6])), &fixed),
            "laplacian",
            ["'enc.enc.1.running_mean'", "not convolutions"],
        ),
        (
            changed("pseudo_inputs", Some(of(&[6])), &fixed),
            "laplacian",
            ["'pseudo_inputs'", "take it out"],
        ),
        (
            changed("scale.bias", Some(infinite), &fixed),
            "laplacian",
            ["'scale.bias'", "not finite"],
        ),
    ];
    for (state, preset, words) in cases {
        let file = path("state.safetensors");
        candle_core::safetensors::save(&state, &file).unwrap();
        let (preset, out) = (format!("variational/{preset}/paper"), path("run"));
        let arguments = [
            "import",
            text(&file),
            "--preset",
            &preset,
            "--output",
            text(&out),
        ];
        refused(1, &arguments, &words);
        assert!(!out.exists());
    }
    // Sizes of the preset's data are not those of the weights.
    let file = path("state.safetensors");
    candle_core::safetensors::save(&state(&fixed), &file).unwrap();
    let out = path("run");
    let arguments = ["import", text(&file), "--output", text(&out), "--preset"];
    let arguments = [&arguments[..], &["variational/laplacian"]].concat();
    refused(2, &arguments, &["64 numbers", "take 8", "--input-shape"]);
    let lista = ["--set", "model.encoder=lista"];
    refused(
        1,
        &[&arguments[..], &lista].concat(),
        &["dense layers", "leave model.encoder out"],
    );
}

#[test]
fn bad_input_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let out = path("out");
    let refuse = |status, preset: &str, more: &[&str], words: &[&str]| {
        let arguments = [
            "train",
            "--preset",
            preset,
            "--epochs",
            "1",
            "--out",
            text(&out),
        ];
        refused(status, &[&arguments[..], more].concat(), words);
        assert!(!RunFolder::new(&out).best().exists());
    };
    for (preset, setting, words) in [
        (
            "laplacian-fixed",
            "objective.samples=0",
            ["objective.samples is 0", "1 to 1000"],
        ),
        (
            "laplacian-fixed",
            "model.widths=[64, 0]",
            ["model.widths is [64, 0]", "1 to 65535"],
        ),
        (
            "laplacian-fixed",
            "model.widths=64",
            ["model.widths", "sequence"],
        ),
        (
            "laplacian-learned",
            "posterior.threshold_level=0",
            ["posterior.threshold_level is 0", "positive"],
        ),
        (
            "gaussian-learned",
            "posterior.threshold_level=nan",
            ["posterior.threshold_level is NaN", "positive"],
        ),
        (
            "gaussian-learned",
            "posterior.threshold_weight=0",
            ["posterior.threshold_weight is 0", "need their prior"],
        ),
        (
            "laplacian",
            "model.code_dim=0",
            ["model.code_dim is 0", "1 to 4095"],
        ),
    ] {
        let preset = format!("variational/{preset}");
        refuse(2, &preset, &["--set", setting], &words);
    }
    let misspelt = [
        "did you mean variational/conv-gaussian?",
        "/paper behind its name",
    ];
    refuse(2, "variational/conv-gaussin", &[], &misspelt);
    refuse(2, "variational/zebra", &[], &["variational/fista, "]);
    // Without learned thresholds their weight says nothing.
    let preset = Variational::preset("variational/laplacian-fixed").unwrap();
    let weightless = ["posterior.threshold_weight=0".to_owned()];
    preset.with_overrides(None, &weightless).unwrap();

    let mut values = numbers(300 * 16, 1);
    values[7 * 16 + 3] = f32::NAN;
    let broken = path("broken.npy");
    write_npy_f32(&broken, &[300, 4, 4], &values).unwrap();
    let on_rows = ["--set", "data.source=npy", "--data", text(&broken)];
    let words = ["broken.npy", "row 7"];
    refuse(1, "variational/laplacian-fixed", &on_rows, &words);

    // Data of other sizes than a run's.
    let run = path("run");
    trained("variational/laplacian-fixed", &run);
    let wide = path("wide.npy");
    write_npy_f32(&wide, &[300, 3, 3], &numbers(300 * 9, 1)).unwrap();
    let arguments = ["evaluate", text(&run), "--data", text(&wide)];
    refused(2, &arguments, &["samples are 3x3, but the model takes 4x4"]);
    let arguments = [
        "export",
        text(&run),
        "--data",
        text(&wide),
        "--output",
        "x.safetensors",
    ];
    refused(2, &arguments, &["samples are 3x3, but the model takes 4x4"]);
}
