//! The GPU's kernels, compiled for the host, against the reference: codes, whole runs, and that
//! their bits depend on nothing else.

use std::process::Command;
use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor};
use sparsecode_tests::emulator::{self, Emulator, Order, compiled};
use sparsecode_tests::kernels::{
    Problem, SIZES, Trained, VARIANTS, compare, distance, short_run, train, train_on, uniform,
    values,
};
use sparsecode_trainer::data::{Dataset, Named, Restore};
use sparsecode_trainer::lista::Backend;
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::lista::Lista;
use sparsecode_trainer::lista::cuda::CudaEngine;
use sparsecode_trainer::lista::inference::{CpuEngine, Stopping};
use sparsecode_trainer::report::progress::ProgressMode;
use sparsecode_trainer::run::{Checkpoint, Ending, RunFolder, TrainError};
use sparsecode_trainer::sweep::supervise::Supervisor;
use sparsecode_trainer::sweep::workers::Workers;
use sparsecode_trainer::sweep::{Grid, Outcome, SweepFolder};

fn emulated() -> CudaEngine {
    Emulator::new(Order::Forward).engine()
}

/// The emulation itself: barriers, warps, the team's memory, and that it finds races, overflows and
/// deadlocks.
#[test]
fn the_emulated_device_keeps_its_promises() {
    if emulator::is_missing() {
        return;
    }
    let output = Command::new(compiled("selftest.cpp")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn codes_are_the_references() {
    if emulator::is_missing() {
        return;
    }
    let mut ended_early = 0;
    for (n, d, l, m, preset) in SIZES {
        for stopping in [Stopping::Sliding, Stopping::Freeze] {
            let mut problem = Problem::new(n, d, l, m, preset);
            problem.config.stopping = stopping;
            problem.config.tolerance = 0.03;
            let (ours, theirs) = (
                problem.infer(&emulated()).unwrap(),
                problem.reference().unwrap(),
            );
            let label = format!("{preset} {n} {d} {l} {m}, {stopping:?}");
            let apart = distance(&values(&ours.codes), &values(&theirs.codes));
            assert!(apart < 1e-4, "{label}: {apart}");
            assert_eq!(ours.iterations, theirs.iterations, "{label}");
            assert_eq!(ours.steps, theirs.steps, "{label}");
            ended_early += usize::from(ours.iterations < problem.config.max_iterations);
        }
    }
    assert!(
        ended_early >= 4,
        "{ended_early} loops ended before their last iteration"
    );
}

/// A component that is the same in every sample has no deviation, and no gradient from the hinge:
/// not one from rounding either.
#[test]
fn constant_components_are_left_alone() {
    if emulator::is_missing() {
        return;
    }
    let mut problem = Problem::new(40, 12, 20, 0, "mnist/vdl");
    problem.start = Tensor::full(0.3f32, (40, 20), &Device::Cpu).unwrap();
    problem.encoder_codes = problem.start.clone();
    let one = uniform(&[1, 12], -1.0, 1.0, 9);
    problem.inputs = one.broadcast_as((40, 12)).unwrap().contiguous().unwrap();
    let (ours, theirs) = (
        problem.infer(&emulated()).unwrap(),
        problem.reference().unwrap(),
    );
    let apart = distance(&values(&ours.codes), &values(&theirs.codes));
    assert!(apart < 1e-5, "{apart}");
}

/// What leaves the floats ends the loop, with codes from which the caller can tell.
#[test]
fn an_overflow_ends_the_loop() {
    if emulator::is_missing() {
        return;
    }
    for m in [0, 16] {
        let mut problem = Problem::new(20, 30, 24, m, "mnist/sdl");
        problem.config.step_size = 1e20;
        let ours = problem.infer(&emulated()).unwrap();
        assert!(ours.iterations < problem.config.max_iterations, "m = {m}");
        let codes = values(&ours.codes);
        assert!(codes.iter().any(|&z| z.is_nan() || z > 1e15), "m = {m}");
    }
}

/// Devices on which everything is to come to the same bits: threads in other orders, other numbers
/// of blocks, without clusters, and without room for the Gram matrix, or for a block's state, in
/// shared memory. A barrier that is missing makes a difference in some.
fn other_devices() -> Vec<(&'static str, Emulator)> {
    let new = Emulator::new;
    vec![
        ("reverse", new(Order::Reverse)),
        ("random", new(Order::Random(1))),
        ("random again", new(Order::Random(2))),
        ("one block", new(Order::Random(3)).grid(1)),
        ("three blocks", new(Order::Random(4)).grid(3)),
        ("a grid", new(Order::Reverse).grid(13)),
        (
            "less shared memory",
            new(Order::Random(5)).shared_bytes(90 * 1024),
        ),
        (
            "little shared memory",
            new(Order::Random(6)).shared_bytes(40 * 1024),
        ),
        ("more blocks than tiles", new(Order::Random(7)).grid(40)),
    ]
}

#[test]
fn bits_of_codes_depend_on_nothing_else() {
    if emulator::is_missing() {
        return;
    }
    for (n, d, l, m, preset) in [
        (70, 90, 130, 0, "mnist/vdl"),
        (37, 65, 24, 130, "mnist/vdl-nl"),
    ] {
        let mut problem = Problem::new(n, d, l, m, preset);
        problem.config.max_iterations = 12;
        problem.config.tolerance = 0.05;
        let expected = problem.infer(&emulated()).unwrap();
        for (label, device) in other_devices() {
            let ours = problem.infer(&device.engine()).unwrap();
            assert_eq!(
                values(&ours.codes),
                values(&expected.codes),
                "{preset}, {label}"
            );
            assert_eq!(ours.steps, expected.steps, "{preset}, {label}");
            assert_eq!(ours.iterations, expected.iterations, "{preset}, {label}");
        }
    }
}

/// A short run in a folder of its own.
fn run(engine: &(dyn Backend + 'static), config: &Config) -> Trained {
    let folder = tempfile::tempdir().unwrap();
    train(engine, config, &RunFolder::new(folder.path()), None).unwrap()
}

#[test]
fn whole_runs_are_the_processors() {
    if emulator::is_missing() {
        return;
    }
    for preset in VARIANTS {
        let config = short_run(preset, &[]);
        let (ours, theirs) = (run(&emulated(), &config), run(&CpuEngine::new(1), &config));
        let apart = compare(&ours, &theirs);
        assert!(apart.parameters < 1e-4, "{preset}: {apart:?}");
        assert!(apart.figures < 1e-4, "{preset}: {apart:?}");
        assert_eq!(ours.epochs.len(), 2);
    }
}

/// Other settings: weight decay, no recurrent iteration, frozen stopping, the decoder's rate
/// halved, weights that are rounded.
#[test]
fn whole_runs_with_other_settings_are_the_processors() {
    if emulator::is_missing() {
        return;
    }
    let others: [(&str, &[&str]); 7] = [
        // Steps on the processor, codes from the device.
        (
            "dead-leaves/vdl",
            &["optimizer.quantize_aware=\"i8\"", "epochs=1"],
        ),
        (
            "dead-leaves/vdl",
            &[
                "inference.step_rule=bounded",
                "inference.step_size=50",
                "epochs=1",
            ],
        ),
        (
            "dead-leaves/vdl",
            &[
                "optimizer.encoder_bias_weight_decay=0.5",
                "optimizer.decoder_weight_decay=0.1",
            ],
        ),
        (
            "dead-leaves/vdl-nl",
            &[
                "optimizer.hidden_bias_weight_decay=0.5",
                "inference.stopping=\"freeze\"",
            ],
        ),
        (
            "dead-leaves/sdl",
            &[
                "model.lista_iterations=0",
                "optimizer.halve_decoder_rate_every=1",
            ],
        ),
        (
            "dead-leaves/do",
            &["inference.initial_code=0.02", "inference.tolerance=0.05"],
        ),
        (
            "dead-leaves/sdl",
            &["batch_size=130", "inference.tolerance=0.05"],
        ),
    ];
    for (preset, settings) in others {
        let config = short_run(preset, settings);
        let (ours, theirs) = (run(&emulated(), &config), run(&CpuEngine::new(1), &config));
        let apart = compare(&ours, &theirs);
        assert!(
            apart.parameters < 1e-4 && apart.figures < 1e-4,
            "{preset} {settings:?}: {apart:?}"
        );
        // A step of 50 is held, on the device as on the processor.
        let is_held = settings.contains(&"inference.step_size=50");
        for trained in [&ours, &theirs] {
            assert_eq!(
                trained.epochs[0].train.get("held_step_size").is_some(),
                is_held
            );
        }
    }
}

/// Data whose samples, or whose values, have each a way of their own back to raw units.
#[test]
fn errors_are_measured_in_raw_units() {
    if emulator::is_missing() {
        return;
    }
    let config = short_run("dead-leaves/sdl", &["epochs=1"]);
    let scales = |count: usize| -> Vec<f32> { (0..count).map(|i| 0.1 + (i % 7) as f32).collect() };
    let per_sample = |set: &Dataset| Restore::PerSample {
        scale: scales(set.len()),
        offset: vec![0.0; set.len()],
    };
    let per_pixel = |set: &Dataset| Restore::PerPixel {
        dim: set.dim,
        scale: scales(set.samples.len()),
        offset: vec![0.0; set.samples.len()],
    };
    for restore in [&per_sample as &dyn Fn(&Dataset) -> Restore, &per_pixel] {
        let mut splits = config.data.load(None, config.seed).unwrap();
        splits.train.restore = restore(&splits.train);
        splits.validation.restore = restore(&splits.validation);
        splits.peak = 3.0;
        let run = |engine: &(dyn Backend + 'static)| {
            let folder = tempfile::tempdir().unwrap();
            let folder = RunFolder::new(folder.path());
            train_on(engine, &config, splits.clone(), &folder, None).unwrap()
        };
        let apart = compare(&run(&emulated()), &run(&CpuEngine::new(1)));
        assert!(apart.figures < 1e-4, "{apart:?}");
    }
}

#[test]
fn bits_of_whole_runs_depend_on_nothing_else() {
    if emulator::is_missing() {
        return;
    }
    for preset in ["dead-leaves/vdl", "dead-leaves/sdl-nl"] {
        let config = short_run(preset, &["epochs=1", "inference.max_iterations=8"]);
        let expected = run(&emulated(), &config);
        // Each takes seconds; all of them are tried on codes above.
        let some = ["random", "one block", "a grid", "little shared memory"];
        for (label, device) in other_devices() {
            if !some.contains(&label) {
                continue;
            }
            let ours = run(&device.engine(), &config);
            assert_eq!(ours.parameters, expected.parameters, "{preset}, {label}");
            assert_eq!(compare(&ours, &expected).figures, 0.0, "{preset}, {label}");
        }
    }
}

/// A run that is stopped in the middle of an epoch, and resumed, comes to the same bytes.
#[test]
fn a_resumed_run_ends_the_same() {
    if emulator::is_missing() {
        return;
    }
    let config = short_run("dead-leaves/vdl", &["data.train=200"]);
    let whole = run(&emulated(), &config);
    let folder = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(folder.path());
    let first = train(&emulated(), &config, &folder, Some((1, 1))).unwrap();
    assert_eq!(first.ending, Ending::Interrupted);
    assert!(first.epochs.is_empty());
    let rest = train(&emulated(), &config, &folder, None).unwrap();
    assert_eq!(rest.ending, Ending::Finished);
    assert_eq!(rest.parameters, whole.parameters);
    assert_eq!(compare(&rest, &whole).figures, 0.0);
    // And the processor can go on from there.
    let folder = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(folder.path());
    train(&emulated(), &config, &folder, Some((1, 1))).unwrap();
    let rest = train(&CpuEngine::new(1), &config, &folder, None).unwrap();
    assert!(compare(&rest, &whole).parameters < 1e-4);
}

/// Not every epoch has a checkpoint, but the last has; also where the run ends early.
#[test]
fn the_last_epoch_is_saved() {
    if emulator::is_missing() {
        return;
    }
    let quick = ["data.train=50", "inference.max_iterations=2"];
    // Nothing is learnt.
    let still = [
        "patience=1",
        "optimizer.encoder_learning_rate=1e-30",
        "optimizer.decoder_learning_rate=1e-30",
        "epochs=6",
    ];
    for (more, ending) in [(&[][..], Ending::Finished), (&still, Ending::StoppedEarly)] {
        let settings = [&quick, more].concat();
        let config = short_run("dead-leaves/sdl", &settings);
        let folder = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(folder.path());
        let trained = train(&emulated(), &config, &folder, None).unwrap();
        assert_eq!(trained.ending, ending);
        let last = trained.epochs.last().unwrap().epoch;
        let checkpoint = Checkpoint::read::<Lista>(&folder.checkpoint()).unwrap();
        assert_eq!(checkpoint.position().epoch(), last, "{ending:?}");
    }
}

/// Runs of a sweep side by side, in threads of one process, come to what each comes to alone.
#[test]
fn a_sweep_packs_its_runs() {
    if emulator::is_missing() {
        return;
    }
    let grid = r#"
        preset = ["ecg/vdl", "ecg/sdl-nl"]
        seed = [1, 2]
        epochs = 1
        batch_size = 25
        noise = [1.0]
        data.train = 75
        data.validation = 30
        data.test = 30
        model.code_dim = 20
        inference.max_iterations = 10
        inference.step_rule = "fixed"
    "#;
    let plan = Grid::parse(grid, "grid.toml")
        .unwrap()
        .plan::<Lista>()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let results = |name: &str, jobs: usize| -> Vec<(Outcome, Vec<u8>)> {
        let folder = SweepFolder::new(folder.path().join(name));
        let engine = emulated().shared_by(jobs).unwrap();
        let supervisor = Supervisor {
            plan: &plan,
            folder: &folder,
            data: &Named::default(),
            workers: Workers::Threads(engine.as_ref()),
            jobs,
            threads: 1,
            retry_failed: false,
            mode: ProgressMode::Quiet,
        };
        let tally = supervisor.run(&AtomicBool::new(false)).unwrap();
        assert_eq!((tally.finished, tally.left), (4, 0), "{:?}", tally.failed);
        let of = |entry| {
            let run = folder.run(entry);
            let outcome = Outcome {
                seconds: 0.0,
                ..run.outcome().unwrap()
            };
            (outcome, std::fs::read(run.files.best()).unwrap())
        };
        plan.entries().iter().map(of).collect()
    };
    assert!(results("alone", 1) == results("together", 4));
}

/// What diverges is found on the device, in the same batch and the same place as on the processor.
#[test]
fn divergence_is_told_alike() {
    if emulator::is_missing() {
        return;
    }
    for (preset, settings) in [
        ("dead-leaves/sdl", ["inference.step_size=500", "seed=1"]),
        ("dead-leaves/sdl", ["inference.step_size=1e25", "seed=1"]),
        ("dead-leaves/vdl-nl", ["inference.step_size=3000", "seed=1"]),
        (
            "dead-leaves/sdl",
            ["optimizer.encoder_learning_rate=1e25", "seed=1"],
        ),
    ] {
        let config = short_run(preset, &settings);
        let told = |engine: &(dyn Backend + 'static)| {
            let folder = tempfile::tempdir().unwrap();
            match train(engine, &config, &RunFolder::new(folder.path()), None) {
                Err(TrainError::Diverged {
                    epoch,
                    batch,
                    divergence,
                    ..
                }) => (epoch, batch, divergence.tensor),
                Err(error) => panic!("{preset} {settings:?}: {error}"),
                Ok(trained) => panic!("{preset} {settings:?}: {:?}", trained.ending),
            }
        };
        assert_eq!(told(&emulated()), told(&CpuEngine::new(1)), "{settings:?}");
    }
}

/// Numbers so large that figures, which are summed in 64 bits, are finite and gradients are not.
#[test]
fn gradients_are_looked_at() {
    if emulator::is_missing() {
        return;
    }
    let config = short_run("dead-leaves/sdl", &[]);
    let mut splits = config.data.load(None, config.seed).unwrap();
    splits.train.samples.iter_mut().for_each(|y| *y *= 1e20);
    let folder = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(folder.path());
    match train_on(&emulated(), &config, splits, &folder, None) {
        Err(TrainError::Diverged { divergence, .. }) => {
            assert_eq!(divergence.tensor, "the gradient of decoder.dictionary");
        }
        Err(error) => panic!("{error}"),
        Ok(trained) => panic!("{:?}", trained.ending),
    }
}

/// A run for which there is no memory fails before its first step, and says what helps.
#[test]
fn a_run_too_large_says_so() {
    if emulator::is_missing() {
        return;
    }
    let engine = Emulator::new(Order::Forward).memory(1 << 18).engine();
    let folder = tempfile::tempdir().unwrap();
    let config = short_run("dead-leaves/vdl", &[]);
    let trained = train(&engine, &config, &RunFolder::new(folder.path()), None);
    let said = trained
        .map(|trained| trained.ending)
        .unwrap_err()
        .to_string();
    assert!(said.contains("out of memory on the GPU"), "{said}");
    assert!(said.contains("0 MiB are free; fewer --jobs"), "{said}");
}

/// Codes too long for any block, and shapes that do not fit, are refused in words.
#[test]
fn what_does_not_fit_is_refused() {
    let engine = Emulator::new(Order::Forward)
        .shared_bytes(20 * 1024)
        .engine();
    let problem = Problem::new(40, 12, 200, 0, "mnist/sdl");
    let said = problem.infer(&engine).unwrap_err().to_string();
    assert!(
        said.contains("shared memory") && said.contains("model.code_dim"),
        "{said}"
    );

    let mut problem = Problem::new(40, 12, 20, 0, "mnist/sdl");
    problem.start = uniform(&[39, 20], 0.0, 1.0, 1);
    let said = problem.infer(&emulated()).unwrap_err().to_string();
    assert!(said.contains("the start"), "{said}");
    let mut problem = Problem::new(40, 12, 20, 0, "mnist/sdl");
    problem.inputs = uniform(&[40, 13], 0.0, 1.0, 1);
    let said = problem.infer(&emulated()).unwrap_err().to_string();
    assert!(said.contains("decoder.dictionary"), "{said}");
}

/// Without a C++ compiler the tests above are skipped, and say what is missing.
#[test]
fn a_missing_compiler_is_named() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cuda_kernels::codes_are_the_references"])
        .env("CXX", "no-such-compiler")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("no-such-compiler not found: apt install g++"),
        "{said}"
    );
}
