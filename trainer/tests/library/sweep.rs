//! Runs of a sweep in threads of one process: the same as in processes, and each on its own when
//! one fails.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use candle_core::{Result, Tensor};
use sparsecode_trainer::data::Named;
use sparsecode_trainer::lista::inference::{CpuEngine, Energy, Engine, Inference};
use sparsecode_trainer::lista::{Backend, Lista};
use sparsecode_trainer::report::progress::ProgressMode;
use sparsecode_trainer::sweep::supervise::{Supervisor, Tally};
use sparsecode_trainer::sweep::workers::Workers;
use sparsecode_trainer::sweep::{Grid, Outcome, Plan, Status, SweepFolder};
use tempfile::TempDir;

/// Runs of a few batches, with both decoders.
const GRID: &str = r#"
preset = ["ecg/vdl", "ecg/sdl-nl"]
seed = [1, 2]
epochs = 3
batch_size = 25
noise = [1.0]
data.train = 200
data.validation = 50
data.test = 50
model.code_dim = 32
inference.max_iterations = 20
"#;

/// A plan, and a folder for each way to work through it.
struct Sweep {
    plan: Plan<Lista>,
    folder: TempDir,
}

impl Sweep {
    fn of(grid: &str) -> Self {
        let plan = Grid::parse(grid, "grid.toml").unwrap().plan().unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { plan, folder }
    }

    fn folder(&self, name: &str) -> SweepFolder {
        SweepFolder::new(self.folder.path().join(name))
    }

    /// Works through it, two runs at a time with a thread each.
    fn run(&self, name: &str, workers: Workers<'_, Lista>, stop: &AtomicBool) -> Tally {
        let supervisor = Supervisor {
            plan: &self.plan,
            folder: &self.folder(name),
            data: &Named::default(),
            workers,
            jobs: 2,
            threads: 1,
            retry_failed: false,
            mode: ProgressMode::Quiet,
        };
        supervisor.run(stop).unwrap()
    }

    fn in_threads(&self, name: &str, engine: &(dyn Backend + 'static)) -> Tally {
        self.run(name, Workers::Threads(engine), &AtomicBool::new(false))
    }

    fn in_processes(&self, name: &str) -> Tally {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_sparsecode"));
        self.run(name, Workers::Processes(program), &AtomicBool::new(false))
    }

    fn statuses(&self, name: &str) -> Vec<Status> {
        let entries = self.plan.entries().iter();
        let folder = self.folder(name);
        entries.map(|entry| folder.run(entry).status()).collect()
    }

    /// What the finished runs came to, but for the time they took, and their best models' bytes.
    fn results(&self, name: &str) -> Vec<Option<(Outcome, Vec<u8>)>> {
        let folder = self.folder(name);
        let entries = self.plan.entries().iter();
        let results = entries.map(|entry| {
            let run = folder.run(entry);
            let best = std::fs::read(run.files.best()).ok()?;
            let outcome = Outcome {
                seconds: 0.0,
                ..run.outcome()?
            };
            Some((outcome, best))
        });
        results.collect()
    }
}

fn finished(runs: usize) -> Tally {
    Tally {
        finished: runs,
        ..Tally::default()
    }
}

/// What an engine of a test may refer to: a backend lives as long as the program.
fn leaked<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// The processor's engine on the caller's thread, with something else before each batch.
struct Disturbed<F> {
    engine: CpuEngine,
    before: F,
}

impl<F: Fn(&Energy<'_>) + Send + Sync> Disturbed<F> {
    fn new(before: F) -> Self {
        Self {
            engine: CpuEngine::new(1),
            before,
        }
    }
}

impl<F: Fn(&Energy<'_>) + Send + Sync> Backend for Disturbed<F> {}

impl<F: Fn(&Energy<'_>) + Send + Sync> Engine for Disturbed<F> {
    fn infer(&self, energy: &Energy<'_>, start: &Tensor) -> Result<Inference> {
        (self.before)(energy);
        self.engine.infer(energy, start)
    }
}

/// Where `name` in `a` and in `b` came to the same.
fn same(sweep: &Sweep, a: &str, b: &str) {
    let [a, b] = [a, b].map(|name| sweep.results(name));
    for (index, (a, b)) in a.iter().zip(&b).enumerate() {
        let ((a, best_a), (b, best_b)) = (a.as_ref().unwrap(), b.as_ref().unwrap());
        assert_eq!(a, b, "run {index}");
        assert!(best_a == best_b, "run {index}: best.safetensors differs");
    }
}

#[test]
fn threads_do_what_processes_do() {
    let sweep = Sweep::of(GRID);
    assert_eq!(sweep.in_processes("processes"), finished(4));
    assert_eq!(sweep.in_threads("threads", &CpuEngine::new(1)), finished(4));
    same(&sweep, "processes", "threads");
}

#[test]
fn as_many_runs_are_at_work_as_there_are_jobs() {
    let sweep = Sweep::of(GRID);
    let (met, both) = leaked((Mutex::new(HashSet::<ThreadId>::new()), Condvar::new()));
    let (inside, most) = leaked((AtomicUsize::new(0), AtomicUsize::new(0)));
    let engine = Disturbed::new(move |_: &Energy<'_>| {
        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let mut threads = met.lock().unwrap();
        threads.insert(std::thread::current().id());
        both.notify_all();
        // The first two wait for each other.
        let patience = Duration::from_secs(60);
        let alone = |threads: &mut HashSet<ThreadId>| threads.len() < 2;
        let (threads, _) = both.wait_timeout_while(threads, patience, alone).unwrap();
        assert!(threads.len() >= 2, "nobody came");
        drop(threads);
        inside.fetch_sub(1, Ordering::SeqCst);
    });
    assert_eq!(sweep.in_threads("out", &engine), finished(4));
    assert_eq!(most.load(Ordering::SeqCst), 2);
    assert_eq!(met.lock().unwrap().len(), 4, "a thread a run");
}

#[test]
fn a_run_that_diverges_does_not_stop_the_others() {
    let sweep = Sweep::of(&format!(
        "{GRID}\n[[grid]]\noptimizer.decoder_learning_rate = [0.001, 1e30]\n"
    ));
    let tally = sweep.in_threads("out", &CpuEngine::new(1));
    assert_eq!((tally.finished, tally.left), (4, 0));
    assert_eq!(tally.failed.len(), 4);
    for (index, status) in sweep.statuses("out").into_iter().enumerate() {
        match (tally.failed.get(&index), status) {
            (Some(message), Status::Failed(failure)) => {
                assert!(message.contains("diverged"), "{message}");
                assert!(failure.repeats && failure.message == *message);
            }
            (None, Status::Finished(_)) => {}
            other => panic!("run {index}: {other:?}"),
        }
    }
    // Not tried again.
    assert_eq!(sweep.in_threads("out", &CpuEngine::new(1)), tally);
    assert_eq!(sweep.in_processes("out"), tally);
}

#[test]
fn a_run_that_panics_has_failed_and_leaves_the_others() {
    let sweep = Sweep::of(&format!("{GRID}\ninference.lambda = [0.01, 0.02]\n"));
    let broken = Disturbed::new(|energy: &Energy<'_>| {
        assert!(energy.config().lambda < 0.02, "the {} broke", "engine");
    });
    let tally = sweep.in_threads("out", &broken);
    assert_eq!((tally.finished, tally.failed.len(), tally.left), (4, 4, 0));
    for (entry, status) in sweep.plan.entries().iter().zip(sweep.statuses("out")) {
        match status {
            Status::Finished(_) => assert_eq!(entry.config.family.inference.lambda, 0.01),
            Status::Failed(failure) => {
                assert_eq!(entry.config.family.inference.lambda, 0.02);
                assert_eq!(failure.message, "the run panicked: the engine broke");
                assert_eq!(tally.failed[&entry.index], failure.message);
                assert!(!failure.repeats, "the run is not at fault");
            }
            other => panic!("run {}: {other:?}", entry.index),
        }
    }
    // So the next sitting does them, from where they are.
    assert_eq!(sweep.in_threads("out", &CpuEngine::new(1)), finished(8));
    assert_eq!(
        sweep.in_threads("straight", &CpuEngine::new(1)),
        finished(8)
    );
    same(&sweep, "out", "straight");
}

#[test]
fn a_stop_saves_and_the_next_sitting_ends_where_an_undisturbed_one_does() {
    let sweep = Sweep::of(GRID);
    let epochs = |folder: &Path| {
        let log = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap_or_default();
        log.lines().count()
    };
    let (stop, batches) = leaked((AtomicBool::new(false), AtomicUsize::new(0)));
    // Within the second epoch of the first two runs, or about: 8 batches an epoch.
    let stopper = Disturbed::new(move |_: &Energy<'_>| {
        if batches.fetch_add(1, Ordering::SeqCst) >= 24 {
            stop.store(true, Ordering::SeqCst);
            // Time for the supervisor to hear of it, which looks now and then.
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let tally = sweep.run("out", Workers::Threads(&stopper as &dyn Backend), stop);
    assert!(tally.failed.is_empty() && tally.left > 0, "{tally:?}");
    assert_eq!(tally.finished + tally.left, 4);
    let interrupted: Vec<usize> = sweep
        .plan
        .entries()
        .iter()
        .map(|entry| epochs(sweep.folder("out").run(entry).files.path()))
        .filter(|epochs| (1..3).contains(epochs))
        .collect();
    assert!(!interrupted.is_empty(), "nothing was stopped in its midst");

    // What threads began, processes may end, and the other way round.
    assert_eq!(sweep.in_threads("out", &CpuEngine::new(1)), finished(4));
    assert_eq!(sweep.in_processes("straight"), finished(4));
    same(&sweep, "out", "straight");
}
