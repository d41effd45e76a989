//! Variational runs as model files: the runtime gives the trainer's deterministic codes.

use std::sync::atomic::AtomicBool;

use candle_core::Device;
use sparsecode_formats::{Activations, AlignedBytes, WeightType};
use sparsecode_runtime::CodeBuffer as _;
use sparsecode_trainer::data::{Dataset, Samples, Splits};
use sparsecode_trainer::deploy::{Calibration, HostModel, VariationalRun};
use sparsecode_trainer::run::{RunFolder, Session, Settings as _, Silent};
use sparsecode_trainer::variational::{Rule, Variational, VariationalConfig};

/// A run of sums of a dictionary's atoms, each place of which is normalised by itself.
fn trained(settings: &[&str], folder: &RunFolder) -> (VariationalConfig, Splits) {
    let mut all = vec![
        "data.source=dictionary",
        "data.input_dim=24",
        "data.atoms=16",
        "data.train=2000",
        "data.validation=300",
        "data.test=300",
        "model.code_dim=16",
        "model.widths=[48, 24]",
        "objective.kl_weight=0.04",
        "objective.samples=10",
        "epochs=20",
        "batch_size=50",
    ];
    all.extend(settings);
    let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
    let preset = Variational::preset("variational/laplacian-fixed").unwrap();
    let config = preset.with_overrides(None, &all).unwrap();
    let session = Session {
        folder,
        config: &config,
        backend: &Device::Cpu,
        resume: false,
        start: None,
    };
    let splits = config.data.load(None, config.seed).unwrap();
    let stop = AtomicBool::new(false);
    session.run(splits, &mut Silent, &stop).unwrap();
    let splits = config.data.load(None, config.seed).unwrap();
    (config, splits)
}

/// Codes and answers of a file on raw samples.
struct Answered {
    codes: Vec<Vec<f32>>,
    error: f64,
}

fn answered(bytes: &[u8], set: &Dataset, refinement: Option<u32>) -> Answered {
    let bytes = AlignedBytes::from_slice(bytes);
    let mut host = HostModel::new(&bytes, "the file").unwrap();
    let refine = refinement.map(|iterations| host.refinement(iterations));
    let (mut codes, mut sum) = (Vec::new(), 0.0);
    for (index, sample) in set.samples.chunks_exact(set.dim).enumerate() {
        let mut raw = sample.to_vec();
        set.restore.restore(index, &mut raw);
        let clean = raw.clone();
        host.denoise(&mut raw, refine.as_ref()).unwrap();
        let pairs = raw.iter().zip(&clean);
        sum += pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        let mut code = vec![0.0; 16];
        for (unit, value) in host.code().iter() {
            code[usize::from(unit)] = value;
        }
        codes.push(code);
    }
    Answered {
        codes,
        error: sum / set.samples.len() as f64,
    }
}

#[test]
fn files_give_the_trainers_codes() {
    for encoder in ["mlp", "lista"] {
        let folder = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(folder.path());
        let kind = format!("model.encoder={encoder}");
        let (config, splits) = trained(&[&kind], &folder);
        let run = VariationalRun::open(&folder).unwrap();
        let train = Samples::new(splits.train).unwrap();
        let (written, code) = run.export(&train, WeightType::F32).unwrap();
        assert!(matches!(code.rule.rule, Rule::Shift(_)), "{code:?}");
        assert!(code.error < 0.7 && code.active < 0.5, "{encoder}: {code:?}");

        let learner = run.learner(&train).unwrap();
        let test = &splits.test;
        let inputs = Samples::new(test.clone()).unwrap().inputs;
        let heads = learner.encoder().unwrap().forward(&inputs).unwrap().heads;
        let posterior = config.family.posterior();
        let whole = answered(&written.bytes, test, None);
        let mut active = 0;
        for (found, heads) in whole.codes.iter().zip(heads.chunks_exact(16)) {
            let mut expected = vec![0.0; 16];
            for (unit, value) in code.rule.code(&posterior, heads) {
                expected[unit] = value;
                active += 1;
            }
            for (found, expected) in found.iter().zip(expected) {
                let apart = (f64::from(*found) - expected).abs();
                assert!(apart < 1e-4, "{encoder}: {found} {expected}");
            }
        }
        assert!(active > 300, "{encoder}: {active}");

        // Fewer bits cost a tenth of a decibel, and refinement brings something.
        let decibels = |error: f64| 10.0 * (error / whole.error).log10();
        for weights in [WeightType::I16, WeightType::I8] {
            let (written, _) = run.export(&train, weights).unwrap();
            let cost = decibels(answered(&written.bytes, test, None).error);
            assert!(cost.abs() < 0.1, "{encoder} {weights}: {cost} dB");
        }
        let kinds = (WeightType::I8, Activations::I16);
        let (integers, ..) = run
            .export_integer(&train, Calibration::Max, None, kinds)
            .unwrap();
        let cost = decibels(answered(&integers.bytes, test, None).error);
        assert!(cost.abs() < 0.1, "{encoder}, integers: {cost} dB");
        for bytes in [&written.bytes, &integers.bytes] {
            let gain = decibels(answered(bytes, test, Some(100)).error);
            assert!(gain < -1.0, "{encoder}: refinement changes {gain} dB");
        }
    }
}

/// What has no encoder is not exported, and the reason says what would be.
#[test]
fn codes_by_fista_are_not_exported() {
    let folder = tempfile::tempdir().unwrap();
    let folder = RunFolder::new(folder.path());
    let (_, splits) = trained(&["model.encoder=none", "epochs=1"], &folder);
    let run = VariationalRun::open(&folder).unwrap();
    let train = Samples::new(splits.train).unwrap();
    let error = run.export(&train, WeightType::F32).unwrap_err().to_string();
    assert!(error.contains("no encoder to export"), "{error}");
}
