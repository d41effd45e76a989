//! A run of a version that knew one family alone, which was interrupted within an epoch:
//! `trainer/tests/data/version1`.
//!
//! `next_epoch.json` is what that version itself reported of the rest of the epoch.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde_json::Value;
use sparsecode_trainer::deploy::TrainedRun;
use sparsecode_trainer::lista::inference::CpuEngine;
use sparsecode_trainer::lista::{Config, Lista};
use sparsecode_trainer::run::{Checkpoint, Ending, Figures, RunFolder, Session, Silent};

#[test]
fn a_run_of_an_older_version_is_opened_and_goes_on() {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/version1");
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.toml", "checkpoint.safetensors", "best.safetensors"] {
        std::fs::copy(stored.join(name), folder.path().join(name)).unwrap();
    }
    let folder = RunFolder::new(folder.path());
    let best = TrainedRun::open(&folder).unwrap();
    let checkpoint = Checkpoint::read::<Lista>(&folder.checkpoint()).unwrap();
    let position = checkpoint.position();
    assert_eq!(position.best().unwrap().epoch, best.epoch);
    let text = std::fs::read_to_string(stored.join("next_epoch.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let epochs = position.epoch() + 1;
    assert_eq!(expected["epoch"], epochs);

    let config = Config {
        epochs,
        ..Config::read(&folder.config()).unwrap()
    };
    let session = Session {
        folder: &folder,
        config: &config,
        backend: &CpuEngine::new(1),
        resume: true,
        start: None,
    };
    let splits = config.data.load(None, config.seed).unwrap();
    let stop = AtomicBool::new(false);
    let trained = session.run(splits, &mut Silent, &stop).unwrap();
    assert_eq!(trained.ending, Ending::Finished);
    let record = trained.last.unwrap();
    // Another processor has other vectors, and sums in another order.
    let close = |figures: &Figures, expected: &Value| {
        let mut compared = 0;
        for (name, value) in figures.iter() {
            let Some(expected) = expected[name].as_f64() else {
                continue;
            };
            let distance = (value - expected).abs();
            assert!(
                distance <= 1e-3 * expected.abs(),
                "{name}: {value}, {expected}"
            );
            compared += 1;
        }
        compared
    };
    assert_eq!(close(&record.train, &expected["train"]), 7);
    assert_eq!(close(&record.validation, &expected["validation"]), 6);
    assert_eq!(close(&record.learner, &expected), 2);
    let held = expected["held_step_size"].as_f64().unwrap();
    assert!((record.train["held_step_size"] - held).abs() < 1e-3 * held);
}
