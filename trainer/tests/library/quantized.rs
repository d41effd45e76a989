//! Training at the weights of an export.

use candle_core::{Device, Tensor};
use sparsecode_formats::{AlignedBytes, IntegerFile};
use sparsecode_trainer::deploy::{Calibration, TrainedRun};
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::lista::Stepper;
use sparsecode_trainer::lista::inference::PlainFista;
use sparsecode_trainer::lista::model::{Autoencoder, Decoder, QuantizeAware};
use sparsecode_trainer::run::{RunFolder, Silent, Trainer};
use std::sync::atomic::AtomicBool;

fn config(preset: &str, settings: &[&str]) -> Config {
    let mut all = vec![
        "epochs=2",
        "batch_size=50",
        "data.train=300",
        "data.validation=100",
        "data.test=50",
        "model.code_dim=24",
    ];
    if preset.ends_with("-nl") {
        all.push("model.hidden_dim=20");
    }
    all.extend(settings);
    let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
    Config::preset(preset)
        .and_then(|preset| preset.with_overrides(None, &all))
        .unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The rounded model is the one in the exported file, number by number.
#[test]
fn rounded_weights_are_those_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(folder.path());
    let config = config("dead-leaves/vdl", &["optimizer.quantize_aware=i8"]);
    assert_eq!(
        config.family.optimizer.quantize_aware,
        Some(QuantizeAware::I8)
    );
    assert!(config.to_toml().contains("quantize_aware = \"i8\""));
    let splits = config.data.load(None, config.seed).unwrap();
    let samples = splits.validation.clone();
    std::fs::create_dir_all(folder.path()).unwrap();
    std::fs::write(folder.config(), config.to_toml()).unwrap();
    let mut trainer = Trainer::new(config, splits, &PlainFista).unwrap();
    trainer
        .run(&folder, &mut Silent, &AtomicBool::new(false))
        .unwrap();
    let run = TrainedRun::open(&folder).unwrap();
    let (written, _) = run
        .export_integer(&samples, Calibration::Max, None)
        .unwrap();
    let bytes = AlignedBytes::from_slice(&written.bytes);
    let file = IntegerFile::read(&bytes).unwrap();

    let rounded = run.model.quantized(QuantizeAware::I8).unwrap();
    let (encoder, exact) = (rounded.encoder.unwrap(), run.model.encoder.unwrap());
    let (d, l) = (64, 24);
    let stored = file.encoder.unwrap();
    // Levels in proportion to the weights of their row.
    let check =
        |weights: &[f32], exact: &[f32], cols: usize, level: &dyn Fn(usize, usize) -> f32| {
            assert_ne!(weights, exact);
            for (row, line) in weights.chunks(cols).enumerate() {
                let largest = exact[row * cols..][..cols]
                    .iter()
                    .fold(0.0_f32, |a, b| a.max(b.abs()));
                for (col, weight) in line.iter().enumerate() {
                    let expected = level(row, col) * largest / 127.0;
                    assert!((weight - expected).abs() < 1e-6 * largest, "{row} {col}");
                }
            }
        };
    check(
        &values(&encoder.input),
        &values(&exact.input),
        d,
        &|row, col| f32::from(stored.input.get(row, col).unwrap()),
    );
    check(
        &values(&encoder.recurrent),
        &values(&exact.recurrent),
        l,
        &|row, col| f32::from(stored.recurrent.get(col, row).unwrap()),
    );
    let (Decoder::Linear { dictionary }, Decoder::Linear { dictionary: exact }) =
        (&rounded.decoder, &run.model.decoder)
    else {
        unreachable!()
    };
    let atoms = |matrix: &Tensor| values(&matrix.t().unwrap().contiguous().unwrap());
    check(&atoms(dictionary), &atoms(exact), d, &|row, col| {
        f32::from(file.decoder.dictionary.get(row, col).unwrap())
    });
}

/// A step moves the weights by what it would move the rounded ones.
#[test]
fn gradients_are_those_at_the_rounded_weights() {
    for preset in ["dead-leaves/vdl", "dead-leaves/wdl-nl", "dead-leaves/do"] {
        let decay = [
            "optimizer.decoder_weight_decay=0",
            "optimizer.encoder_bias_weight_decay=0",
        ];
        let decay = [&decay[..], &["optimizer.hidden_bias_weight_decay=0"]].concat();
        let plain = config(preset, &decay);
        let aware = config(
            preset,
            &[&decay[..], &["optimizer.quantize_aware=i8"]].concat(),
        );
        let splits = plain.data.load(None, plain.seed).unwrap();
        let inputs = Tensor::from_slice(&splits.train.samples[..50 * 64], (50, 64), &Device::Cpu);
        let inputs = inputs.unwrap();
        let start = Autoencoder::init(
            &plain.family.model,
            64,
            plain.has_encoder(),
            3,
            candle_core::DType::F32,
            &Device::Cpu,
        )
        .unwrap();
        let mut learner = Stepper::new(start, &aware).unwrap();
        let before = learner.model.clone();
        let rounded = before.quantized(QuantizeAware::I8).unwrap();
        let mut other = Stepper::new(rounded.clone(), &plain).unwrap();
        // `new` may have normalised the columns of the rounded model again.
        other.model = rounded.clone();
        let energy = learner
            .step(&inputs, 0, &aware, &PlainFista)
            .unwrap()
            .energy;
        let expected = other.step(&inputs, 0, &plain, &PlainFista).unwrap().energy;
        assert_eq!(energy.total(), expected.total(), "{preset}");
        if preset.ends_with("do") {
            // Columns are normalised after the step, which is not the same for both.
            continue;
        }
        let moves = |after: &Autoencoder, before: &Autoencoder| -> Vec<f32> {
            let pairs = after.parameters().into_iter().zip(before.parameters());
            pairs
                .flat_map(|((_, after), (_, before))| values(&(after - before).unwrap()))
                .collect()
        };
        let (found, wanted) = (
            moves(&learner.model, &before),
            moves(&other.model, &rounded),
        );
        assert!(wanted.iter().any(|x| x.abs() > 1e-5));
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!(
                (found - wanted).abs() < 1e-6,
                "{preset}: {found} for {wanted}"
            );
        }
    }
}

#[test]
fn a_run_starts_from_anothers_weights() {
    let plain = config("dead-leaves/vdl", &[]);
    let splits = plain.data.load(None, plain.seed).unwrap();
    let engine = PlainFista;
    let mut trainer = Trainer::new(plain.clone(), splits.clone(), &engine).unwrap();
    let other = Autoencoder::init(
        &plain.family.model,
        64,
        true,
        99,
        candle_core::DType::F32,
        &Device::Cpu,
    )
    .unwrap();
    trainer.start_from(&other.tensors()).unwrap();
    for ((name, a), (_, b)) in trainer.model().parameters().iter().zip(other.parameters()) {
        assert_eq!(values(a), values(b), "{name}");
    }
    let wider = config("dead-leaves/vdl", &["model.code_dim=25"]);
    let mut trainer = Trainer::new(wider, splits, &engine).unwrap();
    let error = trainer
        .start_from(&other.tensors())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("encoder.input") && error.contains("the run to start from"),
        "{error}"
    );
}
