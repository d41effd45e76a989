//! Variational runs as model files: the runtime gives the trainer's deterministic codes.

use std::sync::atomic::AtomicBool;

use candle_core::Device;
use rand::{RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sparsecode_formats::{Activations, AlignedBytes, WeightType};
use sparsecode_runtime::{CodeBuffer as _, ModelView, SparseCodeBuf, WorkspaceBuf};
use sparsecode_trainer::data::{Dataset, Samples, Splits};
use sparsecode_trainer::deploy::{Calibration, HostModel, VariationalRun};
use sparsecode_trainer::run::{RunFolder, Session, Settings as _, Silent};
use sparsecode_trainer::variational::{Draw, Rule, Variational, VariationalConfig, Warmth};

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

/// Numbers of a sample's components, as the model file says, for the trainer's own posterior.
fn draws(seed: u64, input: u64, sample: u32, count: usize) -> Vec<Draw> {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(input);
    rng.set_word_pos(u128::from(sample) << 16);
    let draw = |word: u32| {
        let share = (f64::from(word >> 2) + 0.5) / f64::from(1 << 30);
        let side = if word & 1 == 0 { 0.5 } else { -0.5 };
        Draw {
            noise: side * (1.0 - share),
            ..Draw::default()
        }
    };
    (0..count).map(|_| draw(rng.next_u32())).collect()
}

/// The best of J samples on a device is the best of those that the trainer makes of the same random
/// numbers, by its own posterior and dictionary.
#[test]
fn the_best_sample_is_that_of_the_trainer() {
    const COUNT: u32 = 10;
    for encoder in ["mlp", "lista"] {
        let folder = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(folder.path());
        let kind = format!("model.encoder={encoder}");
        let (config, splits) = trained(&[&kind], &folder);
        let run = VariationalRun::open(&folder).unwrap();
        let train = Samples::new(splits.train).unwrap();
        let (written, code) = run.export_with_posterior(&train, WeightType::F32).unwrap();
        let bytes = AlignedBytes::from_slice(&written.bytes);
        let view = ModelView::load(&bytes).unwrap();
        let learner = run.learner(&train).unwrap();
        let test = &splits.test;
        let inputs = Samples::new(test.clone()).unwrap().inputs;
        let heads = learner.encoder().unwrap().forward(&inputs).unwrap().heads;
        let posterior = config.family.posterior();
        let warmth = Warmth {
            noise: 1.0,
            temperature: 1.0,
        };
        let mut found = SparseCodeBuf::new(16);
        let mut workspace = WorkspaceBuf::for_model(view.spec());
        let (mut same, mut sums) = (0, [0.0; 2]);
        let samples = test.samples.chunks_exact(test.dim);
        for (index, (sample, heads)) in samples.zip(heads.chunks_exact(16)).enumerate() {
            let mut raw = sample.to_vec();
            test.restore.restore(index, &mut raw);
            let errors = (0..COUNT).map(|number| {
                let draws = draws(7, index as u64, number, 16);
                let units = heads.iter().zip(&draws).enumerate();
                let code = units.map(|(unit, (heads, draw))| {
                    (unit, posterior.sample(heads, draw, warmth).value)
                });
                let code: Vec<(usize, f64)> = code.filter(|(_, value)| *value != 0.0).collect();
                let answer = learner.dictionary().answer(&code);
                let mut answer: Vec<f32> = answer.iter().map(|a| *a as f32).collect();
                test.restore.restore(index, &mut answer);
                let pairs = answer.iter().zip(&raw);
                pairs.map(|(a, x)| f64::from(a - x).powi(2)).sum::<f64>()
            });
            let errors: Vec<f64> = errors.collect();
            let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
            let mut patch = raw.clone();
            let _normalisation = view.preprocess(&mut patch).unwrap();
            let drawn = sparsecode_runtime::Samples {
                input: index as u64,
                ..sparsecode_runtime::Samples::new(7, COUNT)
            };
            let best = view
                .encode_best_of(&patch, &mut found, &drawn, &mut workspace)
                .unwrap();
            let chosen = errors[best.sample as usize];
            assert!(
                chosen <= least * 1.001,
                "{encoder} {index}: {best:?} {errors:?}"
            );
            same += u32::from(chosen == least);
            sums[0] += f64::from(best.error);
            let one = sparsecode_runtime::Samples { count: 1, ..drawn };
            let first = view.encode_best_of(&patch, &mut found, &one, &mut workspace);
            sums[1] += f64::from(first.unwrap().error);
        }
        assert!(same >= 298, "{encoder}: {same} of 300");
        let gain = 10.0 * (sums[1] / sums[0]).log10();
        println!("{encoder}: best of {COUNT} {gain:.2} dB above one sample, {code:?}");
        assert!(gain > 1.0, "{encoder}: {gain} dB");
    }
}

/// Learned thresholds of Laplacian noise have their heads in the file; what has no closed form is
/// refused, and the reason says what would do.
#[test]
fn posteriors_without_a_closed_form_are_refused() {
    for (settings, remedy) in [
        (&["posterior.threshold=learned"][..], None),
        (&["posterior.threshold=none"], None),
        (&["posterior.base=gaussian"], None),
        (
            &["posterior.base=gaussian", "posterior.threshold=learned"],
            Some("posterior.threshold=fixed"),
        ),
        (
            &["posterior.base=gaussian", "posterior.threshold=gate"],
            Some("variational/laplacian-fixed"),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(folder.path());
        let (_, splits) = trained(&[settings, &["epochs=1"]].concat(), &folder);
        let run = VariationalRun::open(&folder).unwrap();
        let train = Samples::new(splits.train).unwrap();
        let written = run.export_with_posterior(&train, WeightType::I8);
        match (written, remedy) {
            (Ok((written, _)), None) => {
                let bytes = AlignedBytes::from_slice(&written.bytes);
                let view = ModelView::load(&bytes).unwrap();
                let mut code = SparseCodeBuf::new(16);
                let mut workspace = WorkspaceBuf::for_model(view.spec());
                let samples = sparsecode_runtime::Samples::new(1, 3);
                let best = view.encode_best_of(&[0.5; 24], &mut code, &samples, &mut workspace);
                assert!(best.unwrap().error.is_finite(), "{settings:?}");
            }
            (Err(error), Some(remedy)) => {
                assert!(error.to_string().contains(remedy), "{error}");
            }
            (other, _) => panic!("{settings:?}: {:?}", other.err()),
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
