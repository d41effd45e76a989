//! Where data are: what `--data` names is used or refused, and a run remembers the place.

use super::*;

/// A recording of the shape that its `kind` gives it, as loud as `gain`.
fn recording(kind: f32, gain: f32) -> Vec<f32> {
    let wave = |t: usize| (t as f32 * 0.37 * kind).sin() + 0.3 * (t as f32 * 1.31).sin();
    (0..4000).map(|t| gain * wave(t)).collect()
}

fn save(path: &Path, values: &[f32]) {
    write_npy_f32(path, &[values.len()], values).unwrap();
}

const SMALL: [&str; 8] = [
    "--epochs",
    "1",
    "--quiet",
    "--set",
    "batch_size=50",
    "--set",
    "inference.max_iterations=20",
    "--json",
];

/// A folder with recordings, in which commands run.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        save(&folder.path().join("healthy.npy"), &recording(1.0, 1.0));
        save(&folder.path().join("faulty.npy"), &recording(2.1, 3.0));
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a command in `folder` of this desk.
    fn run_in(&self, folder: &str, arguments: &[&str]) -> Output {
        let mut command = sparsecode();
        command.current_dir(self.path(folder)).args(arguments);
        command.output().unwrap()
    }

    fn done_in(&self, folder: &str, arguments: &[&str]) -> (String, String) {
        let output = self.run_in(folder, arguments);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}");
        (stdout(&output), told)
    }

    /// Runs a command that must be refused; returns what it says.
    fn refused_in(&self, folder: &str, status: i32, arguments: &[&str], words: &[&str]) {
        let output = self.run_in(folder, arguments);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {told}");
        for word in words {
            assert!(
                told.contains(word),
                "{arguments:?}: '{word}' is not in: {told}"
            );
        }
    }

    fn train(&self, arguments: &[&str]) -> String {
        self.done_in(".", &[&["train"], arguments, &SMALL].concat())
            .1
    }

    fn config(&self, run: &str) -> Config {
        Config::read(&RunFolder::new(self.path(run)).config()).unwrap()
    }

    fn figures(&self, arguments: &[&str]) -> serde_json::Value {
        let arguments = [&["evaluate"], arguments, &["--json"]].concat();
        serde_json::from_str(&self.done_in(".", &arguments).0).unwrap()
    }
}

/// The first command of anyone with a recording: the preset's model learns from it.
#[test]
fn a_generated_preset_learns_from_the_recording_that_is_named() {
    let desk = Desk::new();
    let told = desk.train(&[
        "--preset",
        "vibration/vdl",
        "--data",
        "healthy.npy",
        "--out",
        "r",
    ]);
    assert!(
        told.contains("healthy.npy") && told.contains("data.source=signal"),
        "{told}"
    );
    // As with the same in full.
    let path = desk.path("healthy.npy");
    let setting = format!("data.path={}", text(&path));
    let full = [
        "--set",
        "data.source=signal",
        "--set",
        &setting,
        "--out",
        "full",
    ];
    desk.train(&[&["--preset", "vibration/vdl"], &full[..]].concat());
    assert_eq!(desk.config("r"), desk.config("full"));
    let weights = |run: &str| std::fs::read(RunFolder::new(desk.path(run)).best()).unwrap();
    assert!(weights("r") == weights("full"));
    // Keys of the preset and of the source that takes its place.
    let more = [
        "--set",
        "data.window=32",
        "--set",
        "data.column=0",
        "--out",
        "w",
    ];
    desk.train(&[&["--preset", "ecg/vdl", "--data", "healthy.npy"], &more[..]].concat());
    let config = desk.config("w").to_toml();
    assert!(
        config.contains("window = 32") && config.contains("hop = 16"),
        "{config}"
    );
    // Rows of an array in place of dead leaves.
    let rows: Vec<f32> = recording(1.0, 1.0)[..64 * 60].to_vec();
    write_npy_f32(&desk.path("rows.npy"), &[60, 8, 8], &rows).unwrap();
    let rows = ["--data", "rows.npy", "--set", "batch_size=20", "--out", "p"];
    let small = [
        "--epochs",
        "1",
        "--quiet",
        "--set",
        "inference.max_iterations=5",
    ];
    let command = [
        &["train", "--preset", "dead-leaves/vdl-nl"],
        &rows[..],
        &small,
    ]
    .concat();
    desk.done_in(".", &command);
    assert_eq!(desk.config("p").data.source(), "npy");

    let refuse = |arguments: &[&str], words: &[&str]| {
        desk.refused_in(
            ".",
            2,
            &[&["train", "--out", "never"], arguments].concat(),
            words,
        );
        assert!(!desk.path("never").exists());
    };
    std::fs::write(desk.path("my.wav"), "").unwrap();
    refuse(
        &["--preset", "dead-leaves/vdl", "--data", "my.wav"],
        &["my.wav", "ecg/vdl"],
    );
    refuse(
        &[
            "--preset",
            "ecg/vdl",
            "--data",
            "my.wav",
            "--set",
            "data.source=vibration",
        ],
        &["my.wav", "vibration", "data.source=signal"],
    );
    refuse(
        &["--preset", "mnist/vdl", "--data", "rows.npy"],
        &["rows.npy", "data.source=npy"],
    );
    refuse(
        &["--preset", "patches/vdl", "--data", "my.wav"],
        &["my.wav", "folder"],
    );
    // A variable that is always set does not replace what a preset generates.
    let mut command = sparsecode();
    command.args(["train", "--preset", "ecg/vdl", "--epochs", "1"]);
    command.args([
        "--set",
        "data.train=100",
        "--set",
        "batch_size=50",
        "--quiet",
        "--out",
    ]);
    command
        .arg(desk.path("g"))
        .env("SPARSECODE_DATA", desk.path("healthy.npy"));
    assert!(command.output().unwrap().status.success());
    assert_eq!(desk.config("g").data.source(), "ecg");
}

/// Healthy and faulty recordings do not look the same, and are taken in the units of the model.
#[test]
fn another_recording_is_measured_when_it_is_named() {
    let desk = Desk::new();
    let preset = ["--preset", "vibration/sdl", "--data", "healthy.npy"];
    desk.train(&[&preset[..], &["--out", "r"]].concat());
    let own = desk.figures(&["r"]);
    assert_eq!(desk.figures(&["r", "--data", "healthy.npy"]), own);
    let output = desk.run_in(".", &["evaluate", "r", "--data", "faulty.npy", "--json"]);
    let told = stderr(&output);
    for words in ["read ", "faulty.npy", "not the samples"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let other: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    // Three times as loud, in the model's units: nine times the energy of the input, at least a
    // good part of which is missed.
    let energy = |of: &serde_json::Value| of[0]["energy"].as_f64().unwrap();
    assert!(energy(&other) > 3.0 * energy(&own), "{own} {other}");
    // The line above the table says what was measured.
    let (table, _) = desk.done_in(".", &["evaluate", "r", "--data", "faulty.npy"]);
    assert!(table.contains("faulty.npy"), "{table}");
    // The same for a run on generated data.
    let generated = Runs::get().path("signal");
    let figures = |data: &[&str]| desk.figures(&[&[text(&generated)], data].concat());
    assert_ne!(figures(&["--data", "faulty.npy"]), figures(&[]));
    // Data of another kind are refused, not ignored.
    let image = Runs::get().path("image");
    desk.refused_in(
        ".",
        1,
        &["evaluate", "r", "--data", "nope.npy"],
        &["--data nope.npy"],
    );
    let signal = ["evaluate", text(&image), "--data", "healthy.npy"];
    assert_ne!(desk.run_in(".", &signal).status.code(), Some(0));
    // `export` measures and calibrates on them, or is refused; it does not go on without.
    let export = |data: &str| {
        let named = [
            "--data",
            data,
            "--output",
            "m.safetensors",
            "--activations",
            "i16",
        ];
        desk.run_in(".", &[&["export", "r"], &named[..]].concat())
    };
    assert_eq!(export("faulty.npy").status.code(), Some(0));
    let float = [
        "export",
        "r",
        "--data",
        "nope.npy",
        "--output",
        "n.safetensors",
    ];
    desk.refused_in(".", 1, &float, &["nope.npy"]);
    assert!(!desk.path("n.safetensors").exists());
    // What is not needed is not read, and that is said.
    let features = ["features", "r", "--output", "f.png", "--data", "faulty.npy"];
    let (_, told) = desk.done_in(".", &features);
    assert!(told.contains("faulty.npy is not read"), "{told}");
}

/// From any working directory, without a word; if the data have moved, the error says from where
/// and what to do.
#[test]
fn a_run_remembers_where_its_data_were() {
    let desk = Desk::new();
    for folder in ["elsewhere", "moved"] {
        std::fs::create_dir(desk.path(folder)).unwrap();
    }
    // Named by the flag, by a setting, and by the environment.
    desk.train(&["--preset", "ecg/vdl", "--data", "healthy.npy", "--out", "a"]);
    let source = [
        "--set",
        "data.source=signal",
        "--set",
        "data.path=healthy.npy",
    ];
    desk.train(&[&["--preset", "ecg/vdl", "--out", "b"], &source[..]].concat());
    let mut command = sparsecode();
    command
        .current_dir(desk.path("."))
        .args(["train", "--preset", "ecg/vdl", "--out", "c"]);
    command.args(["--set", "data.source=signal"]).args(SMALL);
    assert!(
        command
            .env("SPARSECODE_DATA", "healthy.npy")
            .output()
            .unwrap()
            .status
            .success()
    );
    let own = desk.path("healthy.npy");
    for run in ["a", "b", "c"] {
        let place = desk.config(run).data.place().unwrap();
        assert_eq!(place.iter().collect::<Vec<_>>(), [own.as_path()], "{run}");
        let run = format!("../{run}");
        for command in [
            &["evaluate", &run][..],
            &[
                "export",
                &run,
                "--activations",
                "i16",
                "--output",
                "m.safetensors",
            ],
            &[
                "train", "--resume", "--out", &run, "--epochs", "2", "--quiet",
            ],
        ] {
            desk.done_in("elsewhere", command);
        }
    }
    std::fs::rename(&own, desk.path("moved/healthy.npy")).unwrap();
    for command in [
        &["evaluate", "a"][..],
        &[
            "export",
            "a",
            "--activations",
            "i16",
            "--output",
            "m.safetensors",
        ],
        &["train", "--resume", "--out", "a", "--epochs", "3"],
    ] {
        desk.refused_in(".", 1, command, &[text(&own), "does not exist", "--data"]);
    }
    // Without samples a file in f32 is written all the same, and that is said.
    let (_, told) = desk.done_in(".", &["export", "a", "--output", "f.safetensors"]);
    assert!(
        told.contains("not measured") && told.contains(text(&own)),
        "{told}"
    );
    // Named again, by the file or its folder, everything goes on, and is remembered.
    desk.done_in(".", &["evaluate", "a", "--data", "moved"]);
    let resume = [
        "train", "--resume", "--out", "a", "--epochs", "3", "--quiet",
    ];
    desk.done_in(
        ".",
        &[&resume[..], &["--data", "moved/healthy.npy"]].concat(),
    );
    desk.done_in("elsewhere", &["evaluate", "../a"]);
}

/// Samples and preprocessing decide, not what a folder is called; other samples are no
/// continuation.
#[test]
fn a_run_goes_on_where_its_data_are_now() {
    let desk = Desk::new();
    let begin = ["--preset", "ecg/vdl", "--data", "healthy.npy", "--out"];
    desk.train(&[&begin[..], &["r"]].concat());
    desk.train(&[&begin[..], &["s"]].concat());
    let resume = ["train", "--resume", "--epochs", "2", "--quiet", "--out"];
    desk.done_in(".", &[&resume[..], &["s"]].concat());
    std::fs::rename(desk.path("healthy.npy"), desk.path("renamed.npy")).unwrap();
    let resume = ["train", "--resume", "--out", "r", "--epochs", "2", "--data"];
    desk.done_in(".", &[&resume[..], &["renamed.npy"]].concat());
    let weights = |run: &str| std::fs::read(RunFolder::new(desk.path(run)).best()).unwrap();
    assert!(
        weights("r") == weights("s"),
        "not where an uninterrupted run ends"
    );
    let resume = ["train", "--resume", "--out", "r", "--epochs", "3", "--data"];
    let other = [&resume[..], &["faulty.npy"]].concat();
    desk.refused_in(".", 1, &other, &["healthy.npy", "faulty.npy", "--data"]);
    // Generated data cannot be replaced on the way.
    desk.train(&[
        "--preset",
        "ecg/vdl",
        "--out",
        "g",
        "--set",
        "data.train=200",
    ]);
    let resume = ["train", "--resume", "--out", "g", "--data", "faulty.npy"];
    desk.refused_in(".", 2, &resume, &["--data faulty.npy", "generated ecg"]);
}

/// Runs of a plan keep what their names say; data that nobody reads are refused.
#[test]
fn a_plan_takes_the_data_that_it_can_use() {
    let desk = Desk::new();
    let plan = |grid: &str| {
        let settings = "epochs = 1\nbatch_size = 50\nnoise = []\ninference.max_iterations = 5\n";
        std::fs::write(desk.path("grid.toml"), format!("{grid}\n{settings}")).unwrap();
        desk.done_in(
            ".",
            &["sweep", "plan", "grid.toml", "--output", "plan.jsonl"],
        );
    };
    let run = |out: &str, data: &str| {
        let command = [
            "sweep",
            "run",
            "plan.jsonl",
            "--quiet",
            "--out",
            out,
            "--data",
            data,
        ];
        desk.run_in(".", &command)
    };
    plan("preset = \"ecg/vdl\"\ndata.train = 200");
    let output = run("generated", "healthy.npy");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("--data healthy.npy"),
        "{}",
        stderr(&output)
    );
    // A file of its own for each run: a flag would give all the same.
    plan("preset = \"ecg/vdl\"\ndata.source = \"signal\"\ndata.path = \"healthy.npy\"");
    let output = run("fixed", "faulty.npy");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("the plan names"),
        "{}",
        stderr(&output)
    );
    std::fs::create_dir(desk.path("moved")).unwrap();
    std::fs::rename(desk.path("healthy.npy"), desk.path("moved/healthy.npy")).unwrap();
    let output = run("moved-runs", "moved");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    // Nothing named in the plan, all of it by the flag; and the run remembers.
    plan("preset = \"ecg/vdl\"\ndata.source = \"signal\"");
    let output = run("named", "faulty.npy");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let runs: Vec<PathBuf> = std::fs::read_dir(desk.path("named"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(runs.len(), 1);
    desk.done_in("moved", &["evaluate", text(&runs[0])]);
}

/// The weights are of the configuration that they were trained with.
#[test]
fn an_edited_configuration_is_not_another_model() {
    let desk = Desk::new();
    desk.train(&["--preset", "ecg/vdl", "--data", "healthy.npy", "--out", "r"]);
    let file = RunFolder::new(desk.path("r")).config();
    let original = std::fs::read_to_string(&file).unwrap();
    let edit = |from: &str, to: &str| {
        assert!(original.contains(from), "{original}");
        std::fs::write(&file, original.replace(from, to)).unwrap();
    };
    let commands: [&[&str]; 3] = [
        &["evaluate", "r"],
        &["export", "r", "--output", "m.safetensors"],
        &["features", "r", "--output", "f.png"],
    ];
    for (from, to, words) in [
        (
            "lambda = 0.01",
            "lambda = 0.05",
            "inference.lambda is 0.05 in config.toml, 0.01 in the trained model",
        ),
        (
            "lista_iterations = 3",
            "lista_iterations = 2",
            "model.lista_iterations is 2 in config.toml, 3 in the trained model",
        ),
        (
            "variant = \"vdl\"",
            "variant = \"sdl\"",
            "variant is \"sdl\"",
        ),
        ("hop = 16", "hop = 8", "data.hop is 8"),
    ] {
        edit(from, to);
        for command in commands {
            desk.refused_in(".", 1, command, &[words, "put it back"]);
        }
    }
    assert!(!desk.path("m.safetensors").exists());
    // Length and place change nothing.
    let moved = desk.path("copy.npy");
    std::fs::copy(desk.path("healthy.npy"), &moved).unwrap();
    for (from, to) in [
        ("epochs = 1\n", "epochs = 7\n"),
        ("patience = 0", "patience = 3"),
        (text(&desk.path("healthy.npy")), text(&moved)),
    ] {
        edit(from, to);
        for command in commands {
            desk.done_in(".", command);
        }
    }
    // `--resume` says the same of another request.
    std::fs::write(&file, &original).unwrap();
    let other = [
        "train", "--resume", "--out", "r", "--epochs", "2", "--lambda", "0.5",
    ];
    let words = "inference.lambda is 0.5 in this command, 0.01 in the run";
    desk.refused_in(".", 1, &other, &[words]);
}

/// A file without a word on its data is laid over nothing.
#[test]
fn a_file_alone_names_its_data() {
    let desk = Desk::new();
    std::fs::write(desk.path("no-data.toml"), "epochs = 3\n").unwrap();
    let command = ["train", "--config", "no-data.toml", "--out", "never"];
    desk.refused_in(
        ".",
        2,
        &command,
        &["no-data.toml", "--preset", "data.source"],
    );
    let own = "[data]\nsource = \"signal\"\npath = \"healthy.npy\"\n";
    std::fs::write(desk.path("own.toml"), own).unwrap();
    let told = desk.train(&["--config", "own.toml", "--out", "own"]);
    assert!(told.contains("dead-leaves/vdl"), "{told}");
    assert_eq!(desk.config("own").data.source(), "signal");
    // A run's own has all keys, and needs no word.
    let told = desk.train(&["--config", "own/config.toml", "--out", "again"]);
    assert!(!told.contains("dead-leaves"), "{told}");
    assert_eq!(desk.config("again"), desk.config("own"));
}

/// A run takes other data as it took its own, or says what is different; no flag is passed over.
#[test]
fn a_run_reads_other_files_as_it_is_told() {
    let desk = Desk::new();
    let unit =
        |values: Vec<i16>| -> Vec<f32> { values.iter().map(|x| f32::from(*x) / 32768.0).collect() };
    let samples = units::tones(500.0, 2000);
    units::save_wav(&desk.path("a.wav"), 500, 1, &samples);
    units::save_wav(&desk.path("b.wav"), 250, 1, &units::tones(250.0, 2000));
    let samples = unit(samples);
    let table = |sign: &str| -> String {
        let rows = samples.iter().enumerate();
        let rows = rows.map(|(i, x)| {
            let other = 0.5 * x + 0.1 * ((i * i) as f32).sin();
            format!("{x:.5};{other:.5}\n").replace('.', sign)
        });
        rows.collect()
    };
    std::fs::write(desk.path("two.csv"), format!("one;two\n{}", table("."))).unwrap();
    std::fs::write(desk.path("comma.csv"), table(",")).unwrap();
    let loud: Vec<f32> = samples.iter().map(|x| 1000.0 * x).collect();
    save(&desk.path("loud.npy"), &loud);
    desk.train(&["--preset", "ecg/vdl", "--data", "a.wav", "--out", "r"]);

    // A run on one channel is measured on a column of a table.
    let two = ["evaluate", "r", "--data", "two.csv"];
    let output = desk.run_in(".", &two);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("--column one") && !told.contains("data.column"),
        "{told}"
    );
    let of = |column: &str| desk.figures(&["r", "--data", "two.csv", "--column", column]);
    assert_ne!(of("one"), of("two"));
    let hints = [
        "r",
        "--data",
        "comma.csv",
        "--column",
        "0",
        "--decimal",
        "comma",
        "--header",
        "false",
    ];
    assert_eq!(desk.figures(&hints), of("one"));
    desk.refused_in(
        ".",
        1,
        &[
            "evaluate",
            "r",
            "--data",
            "comma.csv",
            "--column",
            "0",
            "--decimal",
            "point",
        ],
        &["comma.csv"],
    );
    // So is one on generated data, if a recording is named.
    let generated = Runs::get().path("signal");
    let generated = ["evaluate", text(&generated), "--column", "one"];
    desk.refused_in(".", 2, &generated, &["--column", "--data FILE"]);
    desk.done_in(".", &[&generated[..], &["--data", "two.csv"]].concat());
    let image = Runs::get().path("image");
    let image = ["evaluate", text(&image), "--header", "true"];
    desk.refused_in(".", 2, &image, &["--header", "no signal"]);

    // Flags of model files.
    for (flag, value) in [
        ("--hop", "8"),
        ("--as", "signal"),
        ("--input-range", "0,1"),
        ("--input-unit", "raw"),
        ("--sigma", "0.1"),
        ("--windows", "w.csv"),
    ] {
        let arguments = ["evaluate", "r", flag, value];
        desk.refused_in(".", 2, &arguments, &[flag, "model file"]);
    }

    // Another rate, another unit.
    for (data, words) in [("b.wav", ["250", "500"]), ("loud.npy", ["-3", "-0.3"])] {
        let arguments = ["evaluate", "r", "--data", data];
        let words = [&words[..], &[data, "--allow-mismatch"]].concat();
        desk.refused_in(".", 1, &arguments, &words);
        let let_through = [&arguments[..], &["--allow-mismatch"]].concat();
        let (_, told) = desk.done_in(".", &let_through);
        assert!(told.contains("warning: "), "{told}");
        let export = ["export", "r", "--output", "m.safetensors", "--data", data];
        desk.refused_in(".", 1, &export, &words[..3]);
        assert!(!desk.path("m.safetensors").exists());
    }
    let (_, told) = desk.done_in(".", &["evaluate", "r", "--data", "a.wav"]);
    assert!(!told.contains("warning"), "{told}");
}
