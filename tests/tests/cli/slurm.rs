//! `sweep slurm` on a real Slurm: that of `.ci/slurm start`, and no other, which would be somebody's cluster.

use super::sweep::{Sweep, processes_of, signal, succeeded, wait_until_gone};
use super::training::wait_for;
use super::*;

const LIMIT: Duration = Duration::from_secs(120);

/// Whether the Slurm of these tests answers; says so if not. Where all tests must run (`CI=true`), its absence is an error.
fn slurm_answers() -> bool {
    let config = Command::new("scontrol").args(["show", "config"]).output();
    let name = |line: &str| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "ClusterName").then(|| value.trim() == "sparsecode")
    };
    let found = config
        .is_ok_and(|c| c.status.success() && stdout(&c).lines().any(|l| name(l) == Some(true)));
    let how = ".ci/slurm start DIR, then SLURM_CONF=DIR/slurm.conf";
    if !found {
        assert!(
            std::env::var_os("CI").is_none(),
            "no Slurm of the tests answers: {how}"
        );
        skipped(&format!("no Slurm of the tests answers ({how})"));
    }
    found
}

/// Runs one of Slurm's commands, which must succeed.
fn slurm(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        stderr(&output)
    );
    stdout(&output).trim().to_owned()
}

/// The state of an array's task, as `RUNNING`, and how often it was requeued.
fn state(task: &str) -> (String, u32) {
    let text = slurm("scontrol", &["--oneliner", "show", "job", task]);
    let value = |key: &str| {
        let words = text.split_whitespace();
        words
            .filter_map(|word| word.split_once('='))
            .find(|(name, _)| *name == key)
            .unwrap()
            .1
    };
    (
        value("JobState").to_owned(),
        value("Restarts").parse().unwrap(),
    )
}

fn wait_for_state(task: &str, what: &str, reached: impl Fn(&(String, u32)) -> bool) {
    let started = Instant::now();
    loop {
        let state = state(task);
        if reached(&state) {
            return;
        }
        assert!(
            started.elapsed() < LIMIT,
            "{task} is not {what}, but {state:?}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn an_array_survives_requeues_and_a_kill_in_mid_epoch() {
    if !slurm_answers() {
        return;
    }
    // A run of a few seconds; an epoch is long enough to be met in its midst.
    let sweep = Sweep::plan(
        "preset = \"ecg/vdl\"\nseed = [1, 2, 3, 4]\n",
        "[[grid]]\ndata.train = 16000\n",
    );
    let flags = ["--jobs", "1", "--threads", "1", "--quiet"];
    succeeded(&sweep.run("straight", &flags));

    let (plan, out) = (sweep.path("plan.jsonl"), sweep.path("out"));
    let script = sweep.path("sweep.sbatch");
    let written = run(&[
        "sweep",
        "slurm",
        text(&plan),
        "--out",
        text(&out),
        "--script",
        text(&script),
        "--time",
        "10",
        "--at-a-time",
        "3",
    ]);
    succeeded(&written);
    let job = slurm("sbatch", &["--parsable", text(&script)]);
    let task = |index: usize| format!("{job}_{index}");
    let files: Vec<RunFolder> = sweep
        .ids()
        .iter()
        .map(|id| sweep.run_folder("out", id))
        .collect();
    let epochs = |index: usize| {
        let checkpoint = Checkpoint::read(&files[index].checkpoint()).unwrap();
        checkpoint.position().epoch()
    };
    let log = |index: usize| {
        let log = out.join("slurm").join(format!("{job}_{index}.log"));
        std::fs::read_to_string(log).unwrap_or_default()
    };

    // One is warned as before its time limit: it saves, and queues itself again.
    wait_for(&files[0].checkpoint());
    let mut warn = Command::new("scancel");
    warn.args(["--signal=USR1", "--batch", &task(0)]);
    let mut warning = warn.stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !log(0).contains("queued again") {
        assert!(
            started.elapsed() < LIMIT,
            "task 0 does not stop: {}",
            log(0)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    // It asks again and again, as the task, queued again, cannot take signals for now.
    warning.kill().unwrap();
    warning.wait().unwrap();
    let begun = sweep.log("out", 0);
    // One loses its trainer without warning, and is queued again by whoever runs the cluster.
    wait_for(&files[1].checkpoint());
    let is_second = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("--index\x001\x00")
    };
    let trainer = processes_of(&out)
        .into_iter()
        .find(is_second)
        .expect("the trainer of task 1");
    assert!(signal("-KILL", trainer));
    wait_for_state(&task(1), "FAILED", |(state, _)| state == "FAILED");
    assert!(
        !files[1].path().join("result.json").exists(),
        "it was over before it was killed"
    );
    assert!(epochs(1) < 8);
    slurm("scontrol", &["requeue", &task(1)]);
    // One is preempted: Slurm itself queues it again.
    wait_for(&files[2].checkpoint());
    slurm("scontrol", &["requeue", &task(2)]);

    for index in 0..4 {
        wait_for_state(&task(index), "COMPLETED", |(state, _)| state == "COMPLETED");
    }
    for index in 0..3 {
        assert_eq!(state(&task(index)).1, 1, "task {index}: {}", log(index));
    }
    assert_eq!(state(&task(3)).1, 0);
    wait_until_gone(&out);
    // Gone on with, not begun again: the log has wall times that no second run would have.
    assert!(!begun.is_empty() && sweep.log("out", 0).starts_with(&begun));
    sweep.is_whole("out");
    assert_eq!(sweep.tables("out"), sweep.tables("straight"));
    sweep.same_models("out", "straight");

    // The same script again does nothing again; and by chunks, every run is in a task.
    let chunks = run(&[
        "sweep",
        "slurm",
        text(&plan),
        "--out",
        text(&sweep.path("chunks")),
        "--script",
        text(&script),
        "--chunk",
        "3",
    ]);
    succeeded(&chunks);
    // What is finished is there already for the first two.
    for id in &sweep.ids()[..2] {
        let (from, to) = (sweep.run_folder("out", id), sweep.run_folder("chunks", id));
        std::fs::create_dir_all(to.path()).unwrap();
        for file in std::fs::read_dir(from.path()).unwrap().flatten() {
            std::fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
        }
    }
    let job = slurm("sbatch", &["--parsable", "--wait", text(&script)]);
    assert!(!job.is_empty());
    sweep.is_whole("chunks");
    assert_eq!(sweep.tables("chunks"), sweep.tables("straight"));
}
