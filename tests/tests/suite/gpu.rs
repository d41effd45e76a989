//! A GPU, where there is one, against the definition and the processor. `cargo xtask gpu` does the
//! same and more.

use sparsecode_tests::gpu;
use sparsecode_tests::kernels::{
    Problem, SIZES, VARIANTS, compare, distance, short_run, train, values,
};
use sparsecode_trainer::lista::Backend;
use sparsecode_trainer::lista::inference::CpuEngine;
use sparsecode_trainer::run::RunFolder;

#[test]
fn codes_are_the_references() {
    let Some(gpu) = gpu() else {
        return;
    };
    for (n, d, l, m, preset) in SIZES {
        let problem = Problem::new(n, d, l, m, preset);
        let ours = problem.infer(gpu.as_ref()).unwrap();
        let theirs = problem.reference().unwrap();
        let apart = distance(&values(&ours.codes), &values(&theirs.codes));
        assert!(apart < 1e-4, "{preset} {n} {d} {l} {m}: {apart}");
    }
}

#[test]
fn whole_runs_are_the_processors() {
    let Some(gpu) = gpu() else {
        return;
    };
    for preset in VARIANTS {
        let config = short_run(preset, &[]);
        let run = |engine: &(dyn Backend + 'static)| {
            let folder = tempfile::tempdir().unwrap();
            train(engine, &config, &RunFolder::new(folder.path()), None).unwrap()
        };
        let ours = run(gpu.as_ref());
        let apart = compare(&ours, &run(&CpuEngine::new(1)));
        assert!(apart.parameters < 1e-4, "{preset}: {apart:?}");
        assert!(apart.figures < 1e-4, "{preset}: {apart:?}");
        assert_eq!(ours.parameters, run(gpu.as_ref()).parameters, "{preset}");
    }
}
