//! `sweep`: plan, run, collect; what is interrupted, killed, done by two at once.

use super::training::wait_for;
use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Runs of about a fifth of a second.
const SETTINGS: &str = r#"
epochs = 8
batch_size = 25
noise = [1.0]
[data]
train = 1000
validation = 50
test = 50
[model]
code_dim = 64
[inference]
max_iterations = 20
"#;

/// A sweep in a folder of its own.
pub(super) struct Sweep {
    folder: TempDir,
}

impl Sweep {
    /// Plans a grid: keys that go above those of [`SETTINGS`], and blocks that go below.
    pub(super) fn plan(keys: &str, blocks: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sweep = Self { folder };
        std::fs::create_dir(sweep.path("")).unwrap();
        std::fs::write(sweep.path("grid.toml"), format!("{keys}{SETTINGS}{blocks}")).unwrap();
        let (grid, plan) = (sweep.path("grid.toml"), sweep.path("plan.jsonl"));
        done(&["sweep", "plan", text(&grid), "--output", text(&plan)]);
        sweep
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        // A name that has to be quoted wherever a shell reads it.
        self.folder.path().join("it's a sweep").join(name)
    }

    pub(super) fn entries(&self) -> Vec<serde_json::Value> {
        let plan = std::fs::read_to_string(self.path("plan.jsonl")).unwrap();
        plan.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        let ids = self.entries();
        ids.iter()
            .map(|entry| entry["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The log of a run as it is now.
    pub(super) fn log(&self, out: &str, index: usize) -> String {
        std::fs::read_to_string(self.run_folder(out, &self.ids()[index]).metrics()).unwrap()
    }

    pub(super) fn run_folder(&self, out: &str, id: &str) -> RunFolder {
        RunFolder::new(self.path(out).join(id))
    }

    fn command(&self, out: &str, more: &[&str]) -> Command {
        let mut command = sparsecode();
        command.args(["sweep", "run"]).arg(self.path("plan.jsonl"));
        command.arg("--out").arg(self.path(out)).args(more);
        command
    }

    pub(super) fn run(&self, out: &str, more: &[&str]) -> Output {
        self.command(out, more).output().unwrap()
    }

    fn start(&self, out: &str, more: &[&str]) -> Child {
        let mut command = self.command(out, more);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn collect(&self, out: &str, format: &str) -> Output {
        let (plan, out) = (self.path("plan.jsonl"), self.path(out));
        run(&[
            "sweep",
            "collect",
            text(&plan),
            "--out",
            text(&out),
            "--format",
            format,
        ])
    }

    /// The table in every form, of a sweep that must be complete.
    pub(super) fn tables(&self, out: &str) -> [String; 3] {
        ["csv", "json", "md"].map(|format| {
            let output = self.collect(out, format);
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            stdout(&output)
        })
    }

    /// Every run is there once: each epoch once in its log, nothing failed, nothing half written.
    pub(super) fn is_whole(&self, out: &str) {
        for entry in self.entries() {
            let files = self.run_folder(out, entry["id"].as_str().unwrap());
            let epochs = entry["config"]["epochs"].as_u64().unwrap();
            let log = std::fs::read_to_string(files.metrics()).unwrap();
            let found: Vec<u64> = log
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
                .map(|record| record["epoch"].as_u64().unwrap())
                .collect();
            assert_eq!(found, (1..=epochs).collect::<Vec<_>>(), "{}", entry["id"]);
            assert!(!files.path().join("failed.json").exists());
            let names = std::fs::read_dir(files.path()).unwrap().flatten();
            let names = names.map(|file| file.file_name().into_string().unwrap());
            let left: Vec<String> = names.filter(|name| name.ends_with(".tmp")).collect();
            assert!(left.is_empty(), "{}: {left:?}", entry["id"]);
        }
        let names = std::fs::read_dir(self.path(out)).unwrap().flatten();
        let runs = names.filter(|name| name.file_name() != "slurm");
        assert_eq!(runs.count(), self.ids().len());
    }

    /// The best models of two sweeps of this plan are the same bytes.
    pub(super) fn same_models(&self, a: &str, b: &str) {
        for id in self.ids() {
            let [a, b] = [a, b].map(|out| std::fs::read(self.run_folder(out, &id).best()).unwrap());
            assert!(a == b, "{id}: best.safetensors differs");
        }
    }
}

pub(super) fn succeeded(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
}

pub(super) fn failed_with(status: i32, output: &Output, words: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(status), "{message}");
    for word in words {
        assert!(message.contains(word), "'{word}' is not in: {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
}

/// Processes whose command line names this folder.
#[cfg(target_os = "linux")]
pub(super) fn processes_of(folder: &Path) -> Vec<u32> {
    let own = std::process::id();
    let is_of = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text(folder))
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != own && is_of(pid)).collect()
}

#[cfg(unix)]
pub(super) fn signal(name: &str, pid: u32) -> bool {
    let mut kill = Command::new("kill");
    let kill = kill.args([name, &pid.to_string()]).stderr(Stdio::null());
    kill.status().unwrap().success()
}

#[cfg(target_os = "linux")]
pub(super) fn wait_until_gone(folder: &Path) {
    let started = Instant::now();
    loop {
        let left = processes_of(folder);
        if left.is_empty() {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "left behind: {left:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_plan_is_run_and_collected() {
    let keys = "seed = [1, 2]\n";
    let blocks = "[[grid]]\npreset = \"ecg/sdl\"\ninference.lambda = [0.005, 0.01]\n[[grid]]\npreset = \"ecg/do\"\n";
    let sweep = Sweep::plan(keys, blocks);
    let entries = sweep.entries();
    assert_eq!(entries.len(), 6);
    let seeds: Vec<_> = entries
        .iter()
        .map(|e| e["config"]["seed"].as_u64().unwrap())
        .collect();
    assert_eq!(seeds, [1, 1, 1, 2, 2, 2]);

    let nothing = sweep.collect("out", "md");
    failed_with(1, &nothing, &["missing", "6 of 6"]);
    let table = stdout(&nothing);
    assert!(
        sweep
            .ids()
            .iter()
            .all(|id| table.matches(id.as_str()).count() == 2),
        "{table}"
    );

    let output = sweep.run("out", &["--jobs", "2", "--threads", "1"]);
    succeeded(&output);
    assert!(stdout(&output).contains("6 of 6"), "{}", stdout(&output));
    assert!(stderr(&output).contains("epochs"), "{}", stderr(&output));
    sweep.is_whole("out");
    let tables = sweep.tables("out");
    let [csv, json_text, markdown] = &tables;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 7);
    assert!(
        lines[0].starts_with("index,id,data,model,inference.lambda,seed,status,"),
        "{}",
        lines[0]
    );
    assert!(lines[0].contains("noise_1_psnr_input"), "{}", lines[0]);
    for (line, id) in lines[1..].iter().zip(sweep.ids()) {
        assert!(line.contains(&id) && line.contains("finished"), "{line}");
    }
    assert!(
        markdown.contains("±") && markdown.contains("6 of 6"),
        "{markdown}"
    );

    // The figures are those that `evaluate` prints.
    let document: serde_json::Value = serde_json::from_str(json_text).unwrap();
    assert_eq!(document["summary"].as_array().unwrap().len(), 3);
    for place in [0, 2] {
        let run = &document["runs"][place];
        let folder = sweep.run_folder("out", run["id"].as_str().unwrap());
        let results = json(&["evaluate", text(folder.path()), "--noise", "1.0", "--json"]);
        for figure in ["psnr", "sparsity", "energy", "dead_atoms"] {
            assert_eq!(run["test"][figure], results[0][figure], "{figure}");
        }
        for figure in ["psnr", "psnr_input", "sparsity"] {
            assert_eq!(run["denoising"][0][figure], results[1][figure], "{figure}");
        }
    }
    let mean = |seed: [usize; 2]| {
        let psnr = |i: usize| document["runs"][i]["test"]["psnr"].as_f64().unwrap();
        (psnr(seed[0]) + psnr(seed[1])) / 2.0
    };
    let summary = document["summary"][1]["psnr"]["mean"].as_f64().unwrap();
    assert!((summary - mean([1, 4])).abs() < 1e-9);

    // Again: nothing is done again.
    let results = |sweep: &Sweep| -> Vec<Vec<u8>> {
        let read = |id| std::fs::read(sweep.path("out").join(id).join("result.json")).unwrap();
        sweep.ids().iter().map(read).collect()
    };
    let before = results(&sweep);
    succeeded(&sweep.run("out", &["--quiet"]));
    assert!(before == results(&sweep), "a finished run was done again");
    assert_eq!(sweep.tables("out"), tables);

    // One run by its index, or handed over as HyperQueue does, is the same run.
    let plan = sweep.path("plan.jsonl");
    for (index, entry) in entries.iter().enumerate() {
        let mut command = sweep.command("single", &["--index", &index.to_string(), "--quiet"]);
        if index % 2 == 1 {
            command = sparsecode();
            command
                .args(["sweep", "run", "--entry", "--quiet", "--out"])
                .arg(sweep.path("single"));
            command.env("HQ_ENTRY", entry.to_string());
        }
        succeeded(&command.output().unwrap());
    }
    assert_eq!(sweep.tables("single"), tables);
    sweep.same_models("out", "single");
    // The plan as an array is the same plan.
    let (grid, array) = (sweep.path("grid.toml"), sweep.path("plan.json"));
    let format = ["--format", "json", "--output", text(&array)];
    done(&[&["sweep", "plan", text(&grid)][..], &format].concat());
    let out = sweep.path("out");
    let from_array = done(&[
        "sweep",
        "collect",
        text(&array),
        "--out",
        text(&out),
        "--format",
        "csv",
    ]);
    assert_eq!(&from_array, csv);
    // Files are named by their extension.
    let file = sweep.path("table.json");
    done(&[
        "sweep",
        "collect",
        text(&plan),
        "--out",
        text(&out),
        "--output",
        text(&file),
    ]);
    assert_eq!(&std::fs::read_to_string(&file).unwrap(), json_text);
}

#[test]
fn the_example_grids_are_the_papers() {
    for (name, runs, first) in [
        ("mnist", 180, "31"),
        ("mnist-table1", 10, "31"),
        ("patches", 155, "31"),
    ] {
        let grid = sparsecode_tests::workspace().join(format!("examples/grids/{name}.toml"));
        let plan = done(&["sweep", "plan", text(&grid)]);
        assert_eq!(plan.lines().count(), runs, "{name}");
        // A fifth of it is the whole grid.
        let seed = format!("\"seed\":{first},");
        assert!(
            plan.lines().take(runs / 5).all(|line| line.contains(&seed)),
            "{name}"
        );
    }
}

#[test]
fn what_fails_is_listed_and_does_not_stop_the_others() {
    // The second diverges; the third has fewer samples than a batch.
    let blocks =
        "[[grid]]\noptimizer.decoder_learning_rate = [0.001, 1e30]\n[[grid]]\ndata.train = 10\n";
    let sweep = Sweep::plan("preset = \"ecg/vdl\"\n", blocks);
    let ids = sweep.ids();
    let listed = |output: &Output| {
        failed_with(
            1,
            output,
            &["diverged", "batch_size", &ids[1], &ids[2], "1 of 3"],
        );
    };
    listed(&sweep.run("out", &["--jobs", "1"]));
    let attempt = |id: &str| {
        let text = std::fs::read_to_string(sweep.path("out").join(id).join("failed.json")).unwrap();
        let failure: serde_json::Value = serde_json::from_str(&text).unwrap();
        failure["attempt"].as_u64().unwrap()
    };
    // Not tried again, unless asked for.
    listed(&sweep.run("out", &[]));
    assert_eq!((attempt(&ids[1]), attempt(&ids[2])), (1, 1));
    listed(&sweep.run("out", &["--retry-failed"]));
    assert_eq!((attempt(&ids[1]), attempt(&ids[2])), (2, 2));
    failed_with(
        1,
        &sweep.run("out", &["--index", "1"]),
        &["diverged", "--retry-failed"],
    );

    for format in ["csv", "json", "md"] {
        let output = sweep.collect("out", format);
        failed_with(1, &output, &["failed", "diverged", &ids[1], &ids[2]]);
        let table = stdout(&output);
        assert!(
            table.contains("diverged") && ids.iter().all(|id| table.contains(id)),
            "{table}"
        );
    }
}

#[test]
fn causes_outside_a_run_are_told_and_tried_again() {
    let sweep = Sweep::plan("preset = \"mnist/sdl\"\n", "");
    let nowhere = sweep.path("nowhere");
    let output = sweep.run("out", &["--data", text(&nowhere)]);
    failed_with(1, &output, &["nowhere"]);
    failed_with(1, &sweep.collect("out", "md"), &["failed", "nowhere"]);
    // By itself: the run is not at fault.
    let elsewhere = sweep.path("elsewhere");
    failed_with(
        1,
        &sweep.run("out", &["--data", text(&elsewhere)]),
        &["elsewhere"],
    );

    let file = sweep.path("plan.jsonl");
    let plan = text(&file);
    let below = sweep.path("plan.jsonl/below");
    refused(
        1,
        &["sweep", "run", plan, "--out", text(&below)],
        &["below", "choose another name"],
    );
    refused(
        1,
        &["sweep", "run", plan, "--out", text(&below), "--index", "0"],
        &["below"],
    );
}

#[test]
fn plans_and_grids_that_are_wrong_are_refused() {
    let sweep = Sweep::plan("preset = \"ecg/sdl\"\nseed = [1, 2, 3]\n", "");
    let (grid, plan, out) = (
        sweep.path("grid.toml"),
        sweep.path("plan.jsonl"),
        sweep.path("out"),
    );
    let (plan, out) = (text(&plan), text(&out));
    std::fs::write(&grid, "preset = \"ecg/sdl\"\ninference.lamda = [1]").unwrap();
    refused(
        2,
        &["sweep", "plan", text(&grid)],
        &["inference.lamda", "lambda"],
    );
    refused(1, &["sweep", "plan", "not-there.toml"], &["not-there.toml"]);
    refused(
        1,
        &["sweep", "run", "not-there", "--out", out],
        &["not-there"],
    );
    refused(
        2,
        &["sweep", "run", plan, "--out", out, "--index", "3"],
        &["--index 3", "0 to 2"],
    );
    refused(
        2,
        &["sweep", "run", plan, "--out", out, "--jobs", "0"],
        &["--jobs"],
    );
    for threads in ["0", "100000"] {
        refused(
            2,
            &["sweep", "run", plan, "--out", out, "--threads", threads],
            &["--threads"],
        );
    }
    if !cfg!(feature = "cuda") {
        refused(
            2,
            &["sweep", "run", plan, "--out", out, "--device", "cuda"],
            &["--device cuda", "--features cuda"],
        );
    }
    refused(2, &["sweep", "run", "--out", out], &["PLAN"]);
    refused(2, &["sweep", "run", "--entry", "--out", out], &["HQ_ENTRY"]);
    let slurm = |more: &[&str], words: &[&str]| {
        refused(
            2,
            &[&["sweep", "slurm", plan, "--out", out], more].concat(),
            words,
        );
    };
    slurm(&["--max-array-size", "2"], &["3 tasks", "--chunk 2"]);
    slurm(&["--chunk", "0"], &["--chunk"]);

    let planned = std::fs::read_to_string(plan).unwrap();
    std::fs::write(plan, planned.replacen("\"epochs\":8", "\"epochs\":9", 1)).unwrap();
    let edited: [&[&str]; 4] = [
        &["sweep", "run", plan, "--out", out],
        &["sweep", "run", plan, "--out", out, "--index", "1"],
        &["sweep", "slurm", plan, "--out", out],
        &["sweep", "collect", plan, "--out", out],
    ];
    for command in edited {
        refused(1, command, &["plan.jsonl:1", "hash"]);
    }
    // Another noise level; and a plan cut at the end of a line.
    std::fs::write(plan, planned.replacen("[1.0]", "[2.0]", 1)).unwrap();
    for command in edited {
        refused(1, command, &["plan.jsonl:1", "noise"]);
    }
    let cut = planned.lines().next().unwrap();
    std::fs::write(plan, format!("{cut}\n")).unwrap();
    for command in edited {
        refused(1, command, &["plan.jsonl", "1 of 3 runs"]);
    }
    assert!(!Path::new(out).exists(), "something was begun");
}

#[cfg(target_os = "linux")]
#[test]
fn two_runners_share_a_plan() {
    let sweep = Sweep::plan(
        "preset = [\"ecg/sdl\", \"ecg/vdl\"]\nseed = [1, 2, 3, 4]\n",
        "",
    );
    succeeded(&sweep.run("straight", &["--jobs", "1", "--threads", "1"]));
    let runners = [0, 1].map(|_| sweep.start("out", &["--jobs", "2", "--threads", "1"]));
    // And someone who looks all the while.
    let mut looks = 0;
    while !processes_of(&sweep.path("out")).is_empty() && looks < 20 {
        sweep.collect("out", "csv");
        looks += 1;
    }
    for runner in runners {
        succeeded(&runner.wait_with_output().unwrap());
    }
    sweep.is_whole("out");
    assert_eq!(sweep.tables("out"), sweep.tables("straight"));
    sweep.same_models("out", "straight");
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_that_is_held_is_left_to_its_holder() {
    let sweep = Sweep::plan("preset = \"ecg/sdl\"\n", "[[grid]]\nepochs = 2000\n");
    let id = &sweep.ids()[0];
    let mut holder = sweep.start("out", &["--index", "0"]);
    wait_for(&sweep.run_folder("out", id).checkpoint());
    failed_with(
        75,
        &sweep.run("out", &["--index", "0", "--wait", "2"]),
        &["another process", "waiting up to 2 s"],
    );
    // One that waits goes when it is asked to.
    let waits = sweep.start("out", &["--index", "0"]);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(signal("-TERM", waits.id()));
    failed_with(
        130,
        &waits.wait_with_output().unwrap(),
        &["60 s", "stopped"],
    );
    failed_with(1, &sweep.collect("out", "md"), &["running"]);
    // A runner waits for it, and takes it up when it is let go: here by kill -9, which leaves no
    // time to clean up.
    let mut runner = sweep.start("out", &["--jobs", "1"]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(runner.try_wait().unwrap(), None);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let started = Instant::now();
    while processes_of(&sweep.path("out")).len() < 2 {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "nobody took it up"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    // Its worker notices that it is gone, long before the run is over.
    runner.kill().unwrap();
    runner.wait().unwrap();
    wait_until_gone(&sweep.path("out"));
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_saves_and_the_same_command_ends_where_an_undisturbed_one_does() {
    let sweep = Sweep::plan("preset = \"ecg/vdl\"\nseed = [1, 2, 3]\n", "");
    succeeded(&sweep.run("straight", &["--jobs", "1", "--threads", "1"]));
    let child = sweep.start("out", &["--jobs", "2", "--threads", "1"]);
    wait_for(&sweep.run_folder("out", &sweep.ids()[0]).checkpoint());
    assert!(signal("-INT", child.id()));
    let output = child.wait_with_output().unwrap();
    failed_with(130, &output, &["stopped", "left", "goes on"]);
    assert_eq!(processes_of(&sweep.path("out")), [0; 0]);
    failed_with(
        1,
        &sweep.collect("out", "md"),
        &["unfinished", "of 8 epochs"],
    );
    let begun = sweep.log("out", 0);
    succeeded(&sweep.run("out", &["--jobs", "1", "--threads", "1"]));
    // Gone on with, not begun again: the log has wall times that no second run would have.
    assert!(!begun.is_empty() && sweep.log("out", 0).starts_with(&begun));
    sweep.is_whole("out");
    assert_eq!(sweep.tables("out"), sweep.tables("straight"));
    sweep.same_models("out", "straight");
}

/// Slurm's TERM reaches every process of a task, and the script passes on its own: two at once save
/// the state, as one does.
#[cfg(target_os = "linux")]
#[test]
fn terms_that_come_twice_save_the_state() {
    use std::os::unix::process::CommandExt;
    // An epoch of two batches, so long that it is met in its midst.
    let sweep = Sweep::plan(
        "preset = \"ecg/vdl\"\n",
        "[[grid]]\nbatch_size = 8000\ndata.train = 16000\n",
    );
    let config = |out: &str| sweep.run_folder(out, &sweep.ids()[0]).config();
    let saved = |out: &str| {
        let checkpoint = sweep.run_folder(out, &sweep.ids()[0]).checkpoint();
        let checkpoint = Checkpoint::read::<sparsecode_trainer::lista::Lista>(&checkpoint).unwrap();
        assert!(checkpoint.position().epoch() < 8, "it was over before");
    };

    let child = sweep.start("direct", &["--index", "0", "--quiet"]);
    wait_for(&config("direct"));
    assert!(signal("-TERM", child.id()) && signal("-TERM", child.id()));
    let output = child.wait_with_output().unwrap();
    failed_with(130, &output, &["stopped", "goes on"]);
    saved("direct");

    let (plan, out) = (sweep.path("plan.jsonl"), sweep.path("group"));
    let script = sweep.path("sweep.sbatch");
    let (out, file) = (text(&out), text(&script));
    let written = run(&[
        "sweep",
        "slurm",
        text(&plan),
        "--out",
        out,
        "--script",
        file,
    ]);
    succeeded(&written);
    let mut bash = Command::new("bash");
    let bash = bash.arg(&script).env("SLURM_ARRAY_TASK_ID", "0");
    let mut task = bash.stderr(Stdio::null()).process_group(0).spawn().unwrap();
    wait_for(&config("group"));
    let mut kill = Command::new("kill");
    let group = format!("-{}", task.id());
    assert!(
        kill.args(["-TERM", "--", &group])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(task.wait().unwrap().code(), Some(1));
    saved("group");
}

#[test]
fn a_run_whose_folder_cannot_be_used_does_not_stop_the_others() {
    let sweep = Sweep::plan("preset = \"ecg/sdl\"\nseed = [1, 2, 3]\n", "");
    let ids = sweep.ids();
    std::fs::create_dir(sweep.path("out")).unwrap();
    std::fs::write(sweep.path("out").join(&ids[0]), "in the way").unwrap();
    let output = sweep.run("out", &["--jobs", "1", "--quiet"]);
    let words = ["2 of 3", "1 failed", &ids[0], "choose another name"];
    failed_with(1, &output, &words);
    let output = sweep.collect("out", "csv");
    failed_with(1, &output, &["1 of 3", "failed: ", "is a file"]);
    let table = stdout(&output);
    let finished = table.lines().filter(|line| line.contains("finished"));
    assert_eq!(finished.count(), 2, "{table}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_an_error() {
    let sweep = Sweep::plan("preset = \"ecg/sdl\"\n", "");
    let (grid, plan) = (sweep.path("grid.toml"), sweep.path("plan.jsonl"));
    let (grid, plan, out) = (text(&grid), text(&plan), sweep.path("out"));
    let commands: [&[&str]; 3] = [
        &["sweep", "plan", grid],
        &["sweep", "slurm", plan, "--out", text(&out)],
        &["sweep", "collect", plan, "--out", text(&out)],
    ];
    for command in commands {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let output = sparsecode().args(command).stdout(full.unwrap()).output();
        let full = &output.unwrap();
        failed_with(1, full, &["standard output", "make room"]);
        // Said once.
        let message = stderr(full);
        assert_eq!(message.matches("No space left").count(), 1, "{message}");
        // A pipe that nobody reads any more.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = sparsecode().args(command).stdout(writer).output();
        failed_with(1, &output.unwrap(), &["standard output", "has ended"]);
    }
}

#[test]
fn what_a_kill_left_half_written_is_removed() {
    let sweep = Sweep::plan("preset = \"ecg/sdl\"\n", "");
    let folder = sweep.path("out").join(&sweep.ids()[0]);
    std::fs::create_dir_all(&folder).unwrap();
    let left = [
        ".checkpoint.safetensors.a1B2c3.tmp",
        ".best.safetensors.Zz9.tmp",
        ".result.json.x.tmp",
    ];
    // Somebody else's may be in use.
    let foreign = ".model.safetensors.a1B2c3.tmp";
    for name in left.iter().chain([&foreign]) {
        std::fs::write(folder.join(name), "half").unwrap();
    }
    succeeded(&sweep.run("out", &["--index", "0", "--quiet"]));
    assert!(left.iter().all(|name| !folder.join(name).exists()));
    std::fs::remove_file(folder.join(foreign)).unwrap();
    sweep.is_whole("out");
}

#[test]
fn slurm_options_that_contradict_are_refused() {
    let sweep = Sweep::plan("preset = \"ecg/sdl\"\nseed = [1, 2, 3]\n", "");
    let (plan, out) = (sweep.path("plan.jsonl"), sweep.path("out"));
    let with = |more: &[&str]| {
        run(&[&["sweep", "slurm", text(&plan), "--out", text(&out)], more].concat())
    };
    let says = |more: &[&str], words: &str| {
        let output = with(more);
        succeeded(&output);
        assert!(
            stdout(&output).contains(words),
            "{words}: {}",
            stdout(&output)
        );
    };
    says(&["--gpus", "2"], "--device cuda");
    says(&["--gpus", "2", "--device", "auto"], "--device auto");
    says(&[], "--device cpu");
    says(&["--chunk", "18446744073709551615"], "* 3))");
    failed_with(
        2,
        &with(&["--gpus", "1", "--device", "cpu"]),
        &["--gpus", "--device"],
    );
    for warning in ["0", "65536"] {
        failed_with(
            2,
            &with(&["--warning", warning]),
            &["--warning", "1 to 65535"],
        );
    }
}

/// The bytes of all results that are there.
#[cfg(target_os = "linux")]
fn results(sweep: &Sweep, out: &str) -> std::collections::BTreeMap<String, Vec<u8>> {
    let read = |id: String| {
        Some((
            id.clone(),
            std::fs::read(sweep.path(out).join(id).join("result.json")).ok()?,
        ))
    };
    sweep.ids().into_iter().filter_map(read).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn kill_9_of_the_runner_loses_nothing_and_does_nothing_twice() {
    let sweep = Sweep::plan(
        "preset = [\"ecg/vdl\", \"dead-leaves/sdl\"]\nseed = [1, 2, 3, 4]\n",
        "[[grid]]\ninference.lambda = [0.005, 0.01, 0.02]\ndata.train = 2000\n",
    );
    assert_eq!(sweep.ids().len(), 24);
    let flags = ["--jobs", "2", "--threads", "1"];
    let began = Instant::now();
    succeeded(&sweep.run("straight", &flags));
    let undisturbed = began.elapsed();

    // SPARSECODE_KILL_SEED repeats what failed, as far as a machine's load can be repeated.
    let seed = std::env::var("SPARSECODE_KILL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| began.elapsed().as_nanos() as u64);
    eprintln!("kill -9 at random moments: SPARSECODE_KILL_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let out = sweep.path("out");
    let mut kills_amid = 0;
    for round in 0..6 {
        let before = results(&sweep, "out");
        let mut runner = sweep.start("out", &flags);
        std::thread::sleep(undisturbed.mul_f64(rng.random_range(0.02..0.25)));
        runner.kill().unwrap();
        runner.wait().unwrap();
        match round % 3 {
            // The next runner comes while the workers of this one are still saving.
            0 => {}
            // The workers notice, save and go.
            1 => wait_until_gone(&out),
            // The machine goes down: workers are killed too.
            _ => {
                for pid in processes_of(&out) {
                    signal("-KILL", pid);
                }
                wait_until_gone(&out);
            }
        }
        let now = results(&sweep, "out");
        for (id, result) in &before {
            assert!(now.get(id) == Some(result), "{id} was done again");
        }
        if now.len() < 24 {
            kills_amid += 1;
        }
    }
    assert!(kills_amid >= 2, "the sweep was over before it was killed");
    let before = results(&sweep, "out");
    succeeded(&sweep.run("out", &flags));
    wait_until_gone(&out);
    let now = results(&sweep, "out");
    assert_eq!(now.len(), 24);
    assert!(
        before.iter().all(|(id, result)| &now[id] == result),
        "a finished run was done again"
    );
    sweep.is_whole("out");
    sweep.is_whole("straight");
    assert_eq!(sweep.tables("out"), sweep.tables("straight"));
    sweep.same_models("out", "straight");
}
