//! Runs on data each place of which has its own mean and deviation.

use std::sync::atomic::AtomicBool;

use sparsecode_formats::WeightType;
use sparsecode_trainer::data::DataFacts;
use sparsecode_trainer::deploy::{Calibration, TrainedRun};
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::lista::inference::PlainFista;
use sparsecode_trainer::run::{RunFolder, Silent, Trainer};

/// A run keeps the statistics, and a file that cannot hold them is not written.
#[test]
fn a_run_keeps_them_and_its_export_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(folder.path());
    let settings = [
        "epochs=1",
        "batch_size=50",
        "model.code_dim=24",
        "data.source=dictionary",
        "data.input_dim=12",
        "data.train=300",
        "data.validation=100",
        "data.test=50",
    ];
    let settings = settings.map(str::to_owned);
    let config = Config::preset("dead-leaves/sdl")
        .and_then(|preset| preset.with_overrides(None, &settings))
        .unwrap();
    let splits = config.data.load(None, config.seed).unwrap();
    let facts = DataFacts::of(&splits);
    let samples = splits.validation.clone();
    std::fs::create_dir_all(folder.path()).unwrap();
    std::fs::write(folder.config(), config.to_toml()).unwrap();
    let mut trainer = Trainer::new(config, splits, &PlainFista).unwrap();
    trainer
        .run(&folder, &mut Silent, &AtomicBool::new(false))
        .unwrap();

    let run = TrainedRun::open(&folder).unwrap();
    assert_eq!(run.facts, facts);
    assert_eq!(run.facts.per_pixel.as_ref().unwrap().mean.len(), 12);
    let refused = [
        run.export(WeightType::F32).err(),
        run.export_integer(&samples, Calibration::Max, None).err(),
    ];
    for error in refused {
        let error = error.unwrap().to_string();
        assert!(error.contains("their own for each"), "{error}");
    }
}
