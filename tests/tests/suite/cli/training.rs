//! `train`: runs, resume, interruptions.

use sparsecode_trainer::lista::Lista;
use sparsecode_trainer::lista::inference::CpuEngine;

use super::*;

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
    assert_eq!((config.family.inference.lambda, config.epochs), (0.015, 2));
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

/// Parameters and optimiser state are the same bits; the metadata holds wall times, and is compared
/// without them.
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
        let checkpoint = Checkpoint::read::<Lista>(&folder.checkpoint()).unwrap();
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

pub(super) fn wait_for(path: &Path) {
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
    // So that nothing which `&&` puts behind it takes half a model for a whole one.
    assert_eq!(child.wait().unwrap().code(), Some(130), "{message}");
    let checkpoint = Checkpoint::read::<Lista>(&RunFolder::new(&out).checkpoint()).unwrap();
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

/// TERM is Ctrl-C of a batch system; a run that it ends in its first epoch has no model yet, and
/// every command says so.
#[cfg(unix)]
#[test]
fn a_first_epoch_that_is_interrupted_leaves_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let long = [
        "--set",
        "data.train=200000",
        "--set",
        "data.hop=1",
        "--quiet",
    ];
    let mut child = sparsecode()
        .args(["train", "--preset", "ecg/vdl", "--out", text(&out)])
        .args(long)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Written when training begins.
    wait_for(&RunFolder::new(&out).metrics());
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    let mut message = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut message).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{message}");
    assert!(!RunFolder::new(&out).best().exists(), "an epoch was done");
    let (file, picture) = (
        folder.path().join("m.safetensors"),
        folder.path().join("f.png"),
    );
    for command in [
        &["evaluate", text(&out)][..],
        &["export", text(&out), "--output", text(&file)],
        &["features", text(&out), "--output", text(&picture)],
    ] {
        refused(1, command, &["no model yet", "--resume", text(&out)]);
    }
}

#[test]
fn a_kill_leaves_whole_files() {
    for delay in [0, 20, 45, 80, 130] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let mut child = start(&out, 100, &["--quiet"]);
        let files = RunFolder::new(&out);
        // At first any moment, later one at which there is something to be torn.
        let begun = if delay < 45 {
            files.config()
        } else {
            files.checkpoint()
        };
        wait_for(&begun);
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        if delay >= 45 || files.checkpoint().exists() {
            Checkpoint::read::<Lista>(&files.checkpoint()).unwrap();
        }
        if files.best().exists() {
            Weights::read(&files.best()).unwrap();
        }
        Config::read(&files.config()).unwrap();
        // What was saved goes on.
        if let Ok(checkpoint) = Checkpoint::read::<Lista>(&files.checkpoint()) {
            let epochs = checkpoint.position().epoch() + 1;
            let output = train("dead-leaves/vdl", &out, epochs, &["--resume"]);
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        }
    }
}

#[test]
fn few_steps_are_what_the_library_trains() {
    // The program and the library make the same run of the same configuration.
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("library"), folder.path().join("program"));
    runs::train_with(&CpuEngine::default(), "ecg/vdl", &[], &ours).unwrap();
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
