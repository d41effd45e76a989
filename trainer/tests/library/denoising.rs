//! The family that denoises, as a run: what is interrupted ends as if it had not been.

use std::sync::atomic::AtomicBool;

use candle_core::Device;
use sparsecode_formats::quant::lipschitz_bound;
use sparsecode_formats::{Decoder, MatrixRef};
use sparsecode_trainer::data::{Samples, Splits};
use sparsecode_trainer::denoising::{Denoise, DenoiseConfig, DenoiseLearner, QuantizeAware};
use sparsecode_trainer::deploy::DenoiserRun;
use sparsecode_trainer::run::{
    Ending, Learner as _, RunFolder, Session, Settings, Silent, Weights,
};

use crate::stopping::StopAfter;

fn small() -> DenoiseConfig {
    let settings = [
        "data.train=200",
        "data.validation=30",
        "data.test=30",
        "data.window=112",
        "data.hop=32",
        "model.window=32",
        "model.hop=8",
        "model.code_dim=20",
        "epochs=3",
    ];
    let settings = settings.map(str::to_owned);
    Denoise::preset("ecg/denoise")
        .unwrap()
        .with_overrides(None, &settings)
        .unwrap()
}

fn splits(config: &DenoiseConfig) -> Splits {
    config.data.load(None, config.seed).unwrap()
}

fn train(config: &DenoiseConfig, folder: &RunFolder, stop_after: usize) -> Ending {
    let stop = AtomicBool::new(false);
    let session = Session {
        folder,
        config,
        backend: &Device::Cpu,
        resume: folder.checkpoint().exists(),
        start: None,
    };
    let mut observer = StopAfter {
        left: stop_after,
        stop: &stop,
    };
    let trained = session.run(splits(config), &mut observer, &stop);
    trained.unwrap().ending
}

#[test]
fn an_interrupted_run_ends_where_an_uninterrupted_one_ends() {
    for dictionary_steps in [0, 3] {
        let mut config = small();
        config.family.optimizer.dictionary_steps = dictionary_steps;
        let folder = tempfile::tempdir().unwrap();
        let [whole, parts] =
            ["whole", "parts"].map(|name| RunFolder::new(folder.path().join(name)));
        assert_eq!(train(&config, &whole, usize::MAX), Ending::Finished);
        for stop_after in [5, 9, 1] {
            assert_eq!(train(&config, &parts, stop_after), Ending::Interrupted);
        }
        assert_eq!(train(&config, &parts, usize::MAX), Ending::Finished);
        let bytes = |folder: &RunFolder| std::fs::read(folder.best()).unwrap();
        assert_eq!(bytes(&whole), bytes(&parts));
    }
}

/// The last epoch removes more noise than the first, and each gain is positive.
#[test]
fn it_learns() {
    let config = small();
    let folder = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(folder.path());
    let stop = AtomicBool::new(false);
    let session = Session {
        folder: &folder,
        config: &config,
        backend: &Device::Cpu,
        resume: false,
        start: None,
    };
    session.run(splits(&config), &mut Silent, &stop).unwrap();
    let records = sparsecode_trainer::report::metrics::read(folder.metrics()).unwrap();
    let gain = |epoch: usize, name: &str| records[epoch]["validation"][name].as_f64().unwrap();
    assert!(gain(2, "gain") > gain(0, "gain"), "{records:?}");
    for name in ["gain_lowest", "gain_middle", "gain_highest"] {
        assert!(gain(2, name) > 0.0, "{name}: {}", gain(2, name));
    }
    assert!((gain(2, "gain") + gain(2, "remaining_noise")).abs() < 1e-9);
}

/// From another run of the family, and from the dictionary of one that reconstructs. Steps of the
/// encoder stay where files for integers hold them, however wild the learning: above 0, and below
/// 32 times the safe one.
#[test]
fn steps_stay_within_what_files_hold() {
    let mut at_bounds = [false; 2];
    for learning_rate in [0.1, 0.5] {
        let mut config = small();
        config.family.optimizer.learning_rate = learning_rate;
        config.epochs = 1;
        let folder = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(folder.path());
        train(&config, &folder, usize::MAX);
        let weights = Weights::read(&folder.best()).unwrap();
        let tensors = weights.tensors();
        let log_weights: Vec<f32> = tensors["window.log_weights"].to_vec1().unwrap();
        let limits = 1e-6_f32.ln()..=1e6_f32.ln();
        assert!(
            log_weights.iter().all(|u| limits.contains(u)),
            "{log_weights:?}"
        );
        let steps: Vec<f32> = tensors["encoder.steps"].to_vec1().unwrap();
        let atoms = tensors["decoder.dictionary"].t().unwrap();
        let (count, samples) = atoms.dims2().unwrap();
        let atoms: Vec<f32> = atoms
            .contiguous()
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();
        let dictionary = MatrixRef::from_f32(count, samples, &atoms).unwrap();
        let bound = lipschitz_bound(&Decoder::Linear { dictionary }) * samples as f64 / 2.0;
        for step in steps {
            let times = f64::from(step) * bound;
            assert!(step >= 1e-4 && times < 32.0, "{step}: {times} times");
            at_bounds[0] |= step == 1e-4;
            at_bounds[1] |= times > 27.9;
        }
    }
    assert_eq!(at_bounds, [true; 2], "both bounds were needed");
}

/// What training knows of is what an export writes: validated as exported, a network loses nothing
/// more.
#[test]
fn rounded_weights_are_trained_for() {
    let levels = |dictionary: &candle_core::Tensor| -> Vec<usize> {
        let columns = dictionary.t().unwrap().to_vec2::<f32>().unwrap();
        let distinct = |column: Vec<f32>| {
            let mut levels: Vec<u32> = column.iter().map(|x| x.to_bits()).collect();
            levels.sort_unstable();
            levels.dedup();
            levels.len()
        };
        columns.into_iter().map(distinct).collect()
    };
    let gains = [None, Some(QuantizeAware::I8), Some(QuantizeAware::I4)].map(|weights| {
        let mut config = small();
        config.family.optimizer.quantize_aware = weights;
        let folder = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(folder.path());
        assert_eq!(train(&config, &folder, usize::MAX), Ending::Finished);
        let run = DenoiserRun::open(&folder).unwrap();
        let mut learner = DenoiseLearner::new(&config, &run.facts, &Device::Cpu).unwrap();
        learner.set_model(&run.tensors).unwrap();
        // The weights that are kept are not rounded.
        let kept = levels(&learner.denoiser().network.dictionary);
        assert!(kept.iter().all(|count| *count > 20), "{kept:?}");
        let validation = splits(&config).validation;
        let samples = Samples::new(validation).unwrap();
        let as_validated = learner.measure(&samples, None).unwrap();
        let as_validated = as_validated.get("gain").unwrap();
        if let Some(weights) = weights {
            let rounded = learner.denoiser().quantized(weights).unwrap();
            let found = levels(&rounded.network.dictionary);
            let most = if weights == QuantizeAware::I4 {
                15
            } else {
                255
            };
            assert!(found.iter().all(|count| *count <= most), "{found:?}");
            let tensors = rounded.parameters().into_iter();
            let tensors = tensors.map(|(name, tensor)| (name.to_owned(), tensor.clone()));
            // Rounding what is rounded changes nothing.
            learner.set_model(&tensors.collect()).unwrap();
            let again = learner.measure(&samples, None).unwrap();
            assert!((again.get("gain").unwrap() - as_validated).abs() < 1e-3);
        }
        as_validated
    });
    assert!(gains[0] != gains[1] && gains[1] != gains[2], "{gains:?}");
    assert!(gains[2] > gains[0] - 1.0, "{gains:?}");
}

#[test]
fn it_starts_from_what_was_learned_before() {
    let config = small();
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| RunFolder::new(folder.path().join(name)));
    train(&config, &first, usize::MAX);
    let start = Weights::read(&first.best()).unwrap();
    let stop = AtomicBool::new(false);
    let mut dictionary = start.tensors().clone();
    dictionary.retain(|name, _| name == "decoder.dictionary");
    for (start, is_better) in [(start.tensors(), true), (&dictionary, false)] {
        let session = Session {
            folder: &second,
            config: &config,
            backend: &Device::Cpu,
            resume: false,
            start: Some(start),
        };
        session.run(splits(&config), &mut Silent, &stop).unwrap();
        let gain = |folder: &RunFolder, epoch: usize| {
            let records = sparsecode_trainer::report::metrics::read(folder.metrics()).unwrap();
            records[epoch]["validation"]["gain"].as_f64().unwrap()
        };
        let (fresh, on) = (gain(&first, 0), gain(&second, 0));
        assert!(!is_better || on > fresh, "{on} {fresh}");
    }
}

/// A file of noise that is missing, short or constant is named.
#[test]
fn noise_that_cannot_be_used_is_named() {
    use sparsecode_trainer::data::npy::write_npy_f32;
    use sparsecode_trainer::denoising::{Noise, Part};

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let noise: Vec<f32> = (0..1000).map(|n| ((n * n) % 31) as f32).collect();
    write_npy_f32(&path("good.npy"), &[1000], &noise).unwrap();
    write_npy_f32(&path("short.npy"), &[100], &noise[..100]).unwrap();
    write_npy_f32(&path("silent.npy"), &[1000], &[2.0; 1000]).unwrap();
    let noise_of = |name: &str, part: Part| {
        let mut config = small().family.noise;
        config.white = 0.0;
        config.recordings = Some(name.into());
        config
            .place(Some(folder.path()))
            .map_err(|e| e.to_string())?;
        Noise::of(&config, None, None, 112, part).map_err(|e| e.to_string())
    };
    for (name, words) in [
        ("none.npy", "no such recording"),
        ("short.npy", "shorter than a stretch"),
        ("silent.npy", "constant"),
    ] {
        let error = noise_of(name, Part::Training).unwrap_err();
        assert!(error.contains(words) && error.contains(name), "{error}");
    }
    // Of deviation 1 in the long run, from either part.
    for part in [Part::Training, Part::Test] {
        let noise = noise_of("good.npy", part).unwrap();
        let mut rng = sparsecode_trainer::rng::generator(
            1,
            sparsecode_trainer::rng::Stream::Noise { purpose: 9 },
        );
        let mut values = vec![0.0; 5000];
        noise.add_steadily(&mut rng, 2.0, &mut values);
        let power = values.iter().map(|x| x * x).sum::<f32>() / 5000.0;
        assert!((power - 4.0).abs() < 1e-2, "{power}");
        let mut power = 0.0;
        for _ in 0..400 {
            let mut values = vec![0.0; 112];
            noise.add(&mut rng, 2.0, &mut values);
            power += values.iter().map(|x| x * x).sum::<f32>() / (112.0 * 400.0);
        }
        assert!((power - 4.0).abs() < 0.4, "{power}");
    }
}
