//! `sweep slurm` on a real Slurm: that of `.ci/slurm start`, and no other, which would be
//! somebody's cluster.

use super::sweep::{Sweep, processes_of, signal, succeeded, wait_until_gone};
use super::training::wait_for;
use super::*;

const LIMIT: Duration = Duration::from_secs(120);

/// Whether the Slurm of these tests answers; says so if not. Where all tests must run (`CI=true`),
/// its absence is an error.
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

/// Where the queue does not take the task again, the log says so, and no exit status says that all
/// is well.
#[test]
fn a_requeue_that_fails_is_told() {
    use std::os::unix::fs::PermissionsExt;

    let sweep = Sweep::plan("preset = \"ecg/vdl\"\n", "[[grid]]\nepochs = 5000\n");
    let (plan, out) = (sweep.path("plan.jsonl"), sweep.path("out"));
    let script = sweep.path("sweep.sbatch");
    succeeded(&run(&[
        "sweep",
        "slurm",
        text(&plan),
        "--out",
        text(&out),
        "--script",
        text(&script),
    ]));
    let tools = sweep.path("bin");
    std::fs::create_dir(&tools).unwrap();
    let tool = |name: &str, body: &str| {
        let file = tools.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    for (scontrol, words) in [
        // None at all.
        (
            "",
            [
                "queueing 70_0 again",
                "scontrol requeue 70_0 failed (status 127)",
            ],
        ),
        (
            "exit 3",
            [
                "queueing 70_0 again",
                "scontrol requeue 70_0 failed (status 3)",
            ],
        ),
        (
            "echo \"asked: $*\"",
            ["queueing 70_0 again", "asked: requeue 70_0"],
        ),
    ] {
        if !scontrol.is_empty() {
            tool("scontrol", scontrol);
            tool("sleep", "exit 0");
        }
        let child = Command::new("/bin/bash")
            .arg(&script)
            .env("PATH", &tools)
            .env("SLURM_ARRAY_JOB_ID", "70")
            .env("SLURM_ARRAY_TASK_ID", "0")
            // Of the last task of an array, the array's.
            .env("SLURM_JOB_ID", "70")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while processes_of(&out).is_empty() {
            assert!(started.elapsed() < LIMIT, "no trainer starts");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(signal("-USR1", child.id()));
        let output = child.wait_with_output().unwrap();
        let told = stdout(&output) + &stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        for words in words {
            assert!(told.contains(words), "'{words}' is not in: {told}");
        }
        assert_eq!(
            told.contains("submit the script"),
            words[1].contains("failed"),
            "{told}"
        );
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
        let checkpoint =
            Checkpoint::read::<sparsecode_trainer::lista::Lista>(&files[index].checkpoint())
                .unwrap();
        checkpoint.position().epoch()
    };
    let log = |index: usize| {
        let log = out.join("slurm").join(format!("{job}_{index}.log"));
        std::fs::read_to_string(log).unwrap_or_default()
    };

    let warn = |index: usize| {
        wait_for(&files[index].checkpoint());
        let mut warn = Command::new("scancel");
        warn.args(["--signal=USR1", "--batch", &task(index)]);
        let mut warning = warn.stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        while !log(index).contains("again") {
            assert!(
                started.elapsed() < LIMIT,
                "task {index} does not stop: {}",
                log(index)
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        // It asks again and again, as the task, queued again, cannot take signals for now.
        warning.kill().unwrap();
        warning.wait().unwrap();
    };
    // One is warned as before its time limit: it saves, and queues itself again.
    warn(0);
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

    // The last task has the array's own job id: it queues itself again, and not the others, which
    // are done by then or are not.
    warn(3);
    for index in 0..4 {
        wait_for_state(&task(index), "COMPLETED", |(state, _)| state == "COMPLETED");
    }
    for index in 0..4 {
        assert_eq!(state(&task(index)).1, 1, "task {index}: {}", log(index));
    }
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
