//! An encoder learnt for a decoder that stays.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Tensor};
use sparsecode_trainer::data::Samples;
use sparsecode_trainer::data::Splits;
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::lista::Lista;
use sparsecode_trainer::lista::evaluate::{CodeSource, codes_of};
use sparsecode_trainer::lista::inference::{CpuEngine, PlainFista};
use sparsecode_trainer::lista::model::{Autoencoder, Encoder};
use sparsecode_trainer::run::{
    Checkpoint, Ending, EpochRecord, LogError, Observer, RunFolder, Trainer,
};

/// SDL, whose columns are rescaled where the decoder learns; so does an unfrozen twin.
fn config(variant: &str, is_frozen: bool) -> Config {
    let mut settings = vec![
        format!("optimizer.frozen_decoder={is_frozen}"),
        "data.train=300".to_owned(),
        "data.validation=60".to_owned(),
        "data.test=10".to_owned(),
        "batch_size=50".to_owned(),
        "model.code_dim=32".to_owned(),
        "inference.max_iterations=100".to_owned(),
        "epochs=8".to_owned(),
    ];
    if variant.ends_with("-nl") {
        settings.push("model.hidden_dim=40".to_owned());
    }
    Config::preset(&format!("ecg/{variant}"))
        .and_then(|preset| preset.with_overrides(None, &settings))
        .unwrap()
}

/// A decoder without an encoder, atoms of other norms than 1.
fn dictionary(config: &Config) -> Autoencoder {
    let cpu = Device::Cpu;
    Autoencoder::init(&config.family.model, 64, false, 7, DType::F32, &cpu).unwrap()
}

fn splits(config: &Config) -> Splits {
    config.data.load(None, config.seed).unwrap()
}

fn bits(model: &Autoencoder, part: &str) -> Vec<u32> {
    let parameters = model.parameters();
    let parts = parameters.iter().filter(|(name, _)| name.starts_with(part));
    parts
        .flat_map(|(_, tensor)| -> Vec<f32> { tensor.flatten_all().unwrap().to_vec1().unwrap() })
        .map(f32::to_bits)
        .collect()
}

/// Raises the flag after so many batches.
struct Stopper<'a> {
    left: usize,
    stop: &'a AtomicBool,
    /// (1/l)‖E(y) − z*‖², mean over each epoch.
    losses: Vec<f64>,
}

impl Observer for Stopper<'_> {
    fn batch(&mut self, _: u32, _: usize, _: usize) {
        self.left -= 1;
        if self.left == 0 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn epoch(&mut self, record: &EpochRecord) -> Result<(), LogError> {
        self.losses.push(record.train["encoder_loss"]);
        Ok(())
    }
}

/// Trains for so many batches at most; how it ended, and the encoder's loss in each epoch.
fn run(trainer: &mut Trainer<'_, Lista>, folder: &Path, batches: usize) -> (Ending, Vec<f64>) {
    let stop = AtomicBool::new(false);
    let mut stopper = Stopper {
        left: batches,
        stop: &stop,
        losses: Vec::new(),
    };
    let ending = trainer.run(&RunFolder::new(folder), &mut stopper, &stop);
    (ending.unwrap(), stopper.losses)
}

/// Mean squared distance of the encoder's codes from FISTA's, which start at 0.
fn distance(model: &Autoencoder, config: &Config, inputs: &Tensor) -> f32 {
    let alone = Autoencoder {
        encoder: None,
        decoder: model.decoder.clone(),
    };
    let codes = |model, source| codes_of(model, inputs, config, &PlainFista, source).unwrap();
    let ours = codes(model, CodeSource::Encoder);
    let theirs = codes(&alone, CodeSource::Fista);
    let apart = (ours - theirs).unwrap().sqr().unwrap().mean_all().unwrap();
    apart.to_scalar().unwrap()
}

#[test]
fn the_decoder_stays_and_the_encoder_learns() {
    let engine = CpuEngine::new(1);
    for variant in ["sdl", "vdl", "sdl-nl"] {
        let config = config(variant, true);
        let given = dictionary(&config);
        let folder = tempfile::tempdir().unwrap();
        let splits = splits(&config);
        let validation = Samples::new(splits.validation.clone()).unwrap();
        let mut trainer = Trainer::new(config.clone(), splits.clone(), &engine).unwrap();
        trainer.start_from(&given.tensors()).unwrap();
        let before = trainer.model().clone();
        let (ending, losses) = run(&mut trainer, folder.path(), usize::MAX);
        assert_eq!(ending, Ending::Finished);
        let after = trainer.model();
        assert_eq!(bits(after, "decoder"), bits(&given, "decoder"), "{variant}");
        assert_ne!(bits(after, "encoder"), bits(&before, "encoder"));
        assert!(losses[7] < 0.7 * losses[0], "{variant}: {losses:?}");
        if variant == "sdl" {
            let distances =
                [&before, after].map(|model| distance(model, &config, &validation.inputs));
            assert!(
                distances[1] < 0.7 * distances[0],
                "{variant}: {distances:?}"
            );
        }
        // The same run with a decoder that learns moves it.
        let unfrozen = self::config(variant, false);
        let elsewhere = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(unfrozen, splits, &engine).unwrap();
        trainer.start_from(&given.tensors()).unwrap();
        run(&mut trainer, elsewhere.path(), 1);
        assert_ne!(bits(trainer.model(), "decoder"), bits(&given, "decoder"));
    }
}

/// Interrupted within an epoch and continued without the dictionary at hand, it ends at the same
/// bits.
#[test]
fn a_frozen_run_resumes_to_the_same_bits() {
    let engine = CpuEngine::new(1);
    let config = config("sdl", true);
    let given = dictionary(&config);
    let begin = || {
        let mut trainer = Trainer::new(config.clone(), splits(&config), &engine).unwrap();
        trainer.start_from(&given.tensors()).unwrap();
        trainer
    };
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut whole = begin();
    run(&mut whole, folders[0].path(), usize::MAX);
    assert_eq!(
        run(&mut begin(), folders[1].path(), 9).0,
        Ending::Interrupted
    );
    let mut resumed = Trainer::new(config.clone(), splits(&config), &engine).unwrap();
    let checkpoint = RunFolder::new(folders[1].path()).checkpoint();
    resumed
        .restore(&Checkpoint::read::<Lista>(&checkpoint).unwrap())
        .unwrap();
    assert_eq!(
        run(&mut resumed, folders[1].path(), usize::MAX).0,
        Ending::Finished
    );
    for part in ["encoder", "decoder"] {
        assert_eq!(
            bits(resumed.model(), part),
            bits(whole.model(), part),
            "{part}"
        );
    }
    // Files of the papers' length: no moments of what does not learn.
    let bytes = std::fs::read(checkpoint).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("adam.first.encoder.input") && !text.contains("adam.first.decoder"));
}

/// A fresh encoder for a dictionary is ISTA from 0, `L + 1` steps of it.
#[test]
fn an_unrolled_encoder_is_ista() {
    let dictionary = Tensor::new(
        &[
            [1.0f64, 0.2, -0.3],
            [0.1, 0.8, 0.4],
            [-0.5, 0.3, 0.9],
            [0.2, 0.1, 0.7],
        ],
        &Device::Cpu,
    )
    .unwrap();
    let inputs = Tensor::new(
        &[[1.0f64, -0.4, 0.6, 0.2], [0.1, 2.0, -1.0, 0.5]],
        &Device::Cpu,
    )
    .unwrap();
    let (lambda, step, d) = (0.05, 0.7, 4.0);
    let encoder = Encoder::unrolled(&dictionary, lambda, step, 3).unwrap();
    let codes: Vec<Vec<f64>> = encoder.forward(&inputs).unwrap().to_vec2().unwrap();
    let (w, y): (Vec<Vec<f64>>, Vec<Vec<f64>>) =
        (dictionary.to_vec2().unwrap(), inputs.to_vec2().unwrap());
    for (codes, y) in codes.iter().zip(&y) {
        let mut z = [0.0f64; 3];
        for _ in 0..4 {
            let error: Vec<f64> = (0..4)
                .map(|i| (0..3).map(|j| w[i][j] * z[j]).sum::<f64>() - y[i])
                .collect();
            let mut next = z;
            for (j, next) in next.iter_mut().enumerate() {
                let gradient: f64 = (0..4).map(|i| 2.0 / d * w[i][j] * error[i]).sum();
                *next = (z[j] - step * gradient - step * lambda).max(0.0);
            }
            z = next;
        }
        assert!(z.iter().any(|z| *z > 0.0));
        for (found, expected) in codes.iter().zip(z) {
            assert!((found - expected).abs() < 1e-7, "{codes:?} {z:?}");
        }
    }
}

#[test]
fn there_must_be_an_encoder_to_learn() {
    let settings = ["optimizer.frozen_decoder=true".to_owned()];
    let error = Config::preset("ecg/do")
        .unwrap()
        .with_overrides(None, &settings)
        .unwrap_err()
        .to_string();
    assert!(error.contains("optimizer.frozen_decoder"), "{error}");
}
