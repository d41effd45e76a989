//! The bounded step: that the bound of the energy's curvature is one, and what a run makes of it.

use std::sync::atomic::AtomicBool;

use candle_core::{DType, Tensor};
use rand::Rng;
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::lista::inference::{
    CpuEngine, Energy, Engine, InferenceConfig, PlainFista, StepRule,
};
use sparsecode_trainer::run::{EpochRecord, LogError, Observer, RunFolder, TrainError, Trainer};

use crate::reference::{Decoder, Matrix, Problem, inference_config, rng};

/// The bound of the whole curvature for this decoder and `batch` samples: 1 over the step, if a
/// step of 1e9 is wanted.
fn curvature(
    decoder: &Decoder,
    dtype: DType,
    input_dim: usize,
    encoder_codes: Option<&Matrix>,
    batch: usize,
    config: &InferenceConfig,
) -> f64 {
    let config = InferenceConfig {
        step_size: 1e9,
        step_rule: StepRule::Bounded,
        ..config.clone()
    };
    let inputs = Matrix::from_fn(batch, input_dim, |_, _| 0.0).tensor(dtype);
    let codes = encoder_codes.map(|codes| codes.tensor(dtype));
    let decoder = decoder.tensors(dtype);
    let energy = Energy::new(&decoder, &inputs, codes.as_ref(), &config);
    1.0 / energy.step_size().unwrap()
}

fn reconstruction_alone() -> InferenceConfig {
    InferenceConfig {
        variance_weight: 0.0,
        encoder_weight: 0.0,
        ..inference_config()
    }
}

/// ‖A‖² by power iteration, from below.
fn squared_norm(a: &Matrix) -> f64 {
    let mut x: Vec<f64> = (0..a.columns).map(|j| 1.0 + (j as f64).sin()).collect();
    let mut value = 0.0;
    for _ in 0..2000 {
        let norm = x.iter().map(|v| v * v).sum::<f64>().sqrt();
        x.iter_mut().for_each(|v| *v /= norm);
        let y: Vec<f64> = (0..a.rows)
            .map(|i| a.row(i).iter().zip(&x).map(|(a, x)| a * x).sum())
            .collect();
        value = y.iter().map(|v| v * v).sum::<f64>();
        for (j, x) in x.iter_mut().enumerate() {
            *x = (0..a.rows).map(|i| a.at(i, j) * y[i]).sum();
        }
    }
    value
}

/// Dictionaries of every kind of spectrum: noise, wide and tall, one direction, all directions
/// alike, one atom, tiny and huge numbers.
#[test]
fn the_bound_is_above_the_norm_and_close_to_it() {
    let mut rng = rng(51);
    let noise = |rows, columns, rng: &mut _| Matrix::random(rng, rows, columns, [-1.0, 1.0]);
    let mut dictionaries = vec![
        noise(64, 128, &mut rng),
        noise(130, 40, &mut rng),
        noise(5, 200, &mut rng),
        Matrix::random(&mut rng, 64, 128, [0.0, 1.0]),
        Matrix::from_fn(32, 48, |i, j| (i as f64 + 1.0) * (j as f64 - 20.0)),
        Matrix::from_fn(64, 64, |i, j| if i == j { 0.5 } else { 0.0 }),
        noise(16, 1, &mut rng),
        noise(1, 16, &mut rng),
    ];
    for factor in [1e-12, 1e9] {
        let scaled = noise(24, 30, &mut rng);
        let values = scaled.values.iter().map(|v| v * factor).collect();
        dictionaries.push(Matrix { values, ..scaled });
    }
    for dictionary in dictionaries {
        let (d, l) = (dictionary.rows, dictionary.columns);
        let decoder = Decoder::Linear(dictionary.clone());
        for dtype in [DType::F32, DType::F64] {
            // The decoder as it is in that precision.
            let stored = Matrix::from_tensor(&dictionary.tensor(dtype));
            let value = 2.0 / d as f64 * squared_norm(&stored);
            let bound = curvature(&decoder, dtype, d, None, 3, &reconstruction_alone());
            // A norm so small that the step of 1e9 is safe is not looked at further.
            let value = value.max(1e-9);
            assert!(bound >= value * (1.0 - 1e-9), "{d} {l}: {bound} {value}");
            assert!(bound <= value * 1.08, "{d} {l}: {bound} {value}");
        }
    }
}

/// `f(y) ≤ f(x) + ∇f(x)ᵀ(y − x) + L/2 ‖y − x‖²`, in f64 and plain loops: near and far, across the
/// hinge's threshold and through components that are constant over the batch; and not for much less
/// than L.
#[test]
fn the_energy_curves_no_more_than_the_bound() {
    const BATCH: usize = 6;
    let (d, l) = (5, 4);
    let mut rng = rng(52);
    let inputs = Matrix::random(&mut rng, BATCH, d, [-1.0, 1.0]);
    let encoder_codes = Matrix::random(&mut rng, BATCH, l, [0.0, 1.0]);
    let dictionaries = [
        Matrix::random(&mut rng, d, l, [-0.6, 0.6]),
        Matrix::from_fn(d, l, |_, _| 0.0),
    ];
    for dictionary in dictionaries {
        let is_zero = dictionary.values.iter().all(|v| *v == 0.0);
        let decoder = Decoder::Linear(dictionary);
        for (variance_weight, encoder_weight) in [(0.0, 0.0), (4.0, 0.0), (0.0, 3.0), (4.0, 3.0)] {
            let config = InferenceConfig {
                variance_weight,
                encoder_weight,
                ..inference_config()
            };
            let codes = (encoder_weight > 0.0).then_some(&encoder_codes);
            let problem = Problem {
                decoder: &decoder,
                inputs: &inputs,
                encoder_codes: codes,
                config: &config,
            };
            let bound = curvature(&decoder, DType::F64, d, codes, BATCH, &config);
            let (mut largest, mut crossed) = (0.0f64, 0);
            for trial in 0..3000 {
                let reach = [1e-2, 0.3, 2.0][trial % 3];
                let mut x = Matrix::random(&mut rng, BATCH, l, [-reach, reach]);
                if trial % 5 == 0 {
                    // A component that has no deviation.
                    (0..BATCH).for_each(|i| x.values[i * l] = 0.25);
                }
                let apart = [1e-2, 0.3, 3.0][trial / 3 % 3];
                let mut y = x.clone();
                if trial % 2 == 0 {
                    // Away from the mean or towards it, where the hinge curves most.
                    let factor = 1.0 + rng.random_range(-apart..apart);
                    y.values.iter_mut().for_each(|v| *v *= factor);
                } else {
                    y.values
                        .iter_mut()
                        .for_each(|v| *v += rng.random_range(-apart..apart));
                }
                let gradient = problem.gradient(&x);
                let (mut slope, mut distance) = (0.0, 0.0);
                for ((x, y), g) in x.values.iter().zip(&y.values).zip(&gradient.values) {
                    slope += g * (y - x);
                    distance += (y - x).powi(2);
                }
                let (at_x, at_y) = (problem.energy(&x), problem.energy(&y));
                crossed += usize::from((at_x[1] == 0.0) != (at_y[1] == 0.0));
                let rise = problem.smooth(&y) - problem.smooth(&x) - slope;
                let limit = bound / 2.0 * distance;
                assert!(
                    rise <= limit * (1.0 + 1e-9) + 1e-11,
                    "{rise} > {limit}, β {variance_weight}, γ {encoder_weight}"
                );
                largest = largest.max(2.0 * rise / distance);
            }
            assert!(variance_weight == 0.0 || crossed > 50, "{crossed}");
            if is_zero && variance_weight + encoder_weight > 0.0 {
                // Without a decoder the rest is exact.
                assert!(largest > 0.99 * bound, "{largest} of {bound}");
            }
        }
    }
}

/// The same for a one-hidden decoder, as long as no hidden unit goes on or off.
#[test]
fn a_piece_of_a_hidden_decoder_curves_no_more_than_the_bound() {
    let (d, l, m, batch) = (5, 4, 7, 3);
    let mut rng = rng(53);
    let decoder = Decoder::OneHidden {
        hidden: Matrix::random(&mut rng, m, l, [-0.6, 0.6]),
        bias: (0..m)
            .map(|j| if j % 2 == 0 { 50.0 } else { -50.0 })
            .collect(),
        output: Matrix::random(&mut rng, d, m, [-0.5, 0.5]),
    };
    let config = reconstruction_alone();
    let inputs = Matrix::random(&mut rng, batch, d, [-1.0, 1.0]);
    let problem = Problem {
        decoder: &decoder,
        inputs: &inputs,
        encoder_codes: None,
        config: &config,
    };
    let bound = curvature(&decoder, DType::F64, d, None, batch, &config);
    let Decoder::OneHidden { hidden, output, .. } = &decoder else {
        unreachable!()
    };
    let value = 2.0 / d as f64 * squared_norm(hidden) * squared_norm(output);
    assert!(bound >= value * (1.0 - 1e-9) && bound < 1.1 * value);
    for _ in 0..300 {
        let x = Matrix::random(&mut rng, batch, l, [-2.0, 2.0]);
        let y = Matrix::random(&mut rng, batch, l, [-2.0, 2.0]);
        let gradient = problem.gradient(&x);
        let difference = |i: usize| y.values[i] - x.values[i];
        let slope: f64 = (0..batch * l)
            .map(|i| gradient.values[i] * difference(i))
            .sum();
        let distance: f64 = (0..batch * l).map(|i| difference(i).powi(2)).sum();
        let rise = problem.smooth(&y) - problem.smooth(&x) - slope;
        assert!(rise <= bound / 2.0 * distance * (1.0 + 1e-9) + 1e-9);
    }
}

/// Engines take the same step, and say which.
#[test]
fn engines_take_the_step_that_they_tell() {
    let mut rng = rng(54);
    let decoder = Decoder::Linear(Matrix::random(&mut rng, 10, 7, [-3.0, 3.0])).tensors(DType::F32);
    let inputs = Matrix::random(&mut rng, 12, 10, [-1.0, 1.0]).tensor(DType::F32);
    let start = Tensor::zeros((12, 7), DType::F32, inputs.device()).unwrap();
    let config = InferenceConfig {
        step_size: 0.5,
        step_rule: StepRule::Bounded,
        max_iterations: 200,
        ..inference_config()
    };
    let energy = Energy::new(&decoder, &inputs, None, &config);
    let step_size = energy.step_size().unwrap();
    assert!(step_size < 0.4, "{step_size}");
    // The same as a configuration that asks for this step.
    let asked = InferenceConfig {
        step_size,
        step_rule: StepRule::Fixed,
        ..config.clone()
    };
    let asked = Energy::new(&decoder, &inputs, None, &asked);
    let bits = |codes: &Tensor| -> Vec<u32> {
        let values: Vec<f32> = codes.flatten_all().unwrap().to_vec1().unwrap();
        values.iter().map(|v| v.to_bits()).collect()
    };
    let engines: [&dyn Engine; 2] = [&PlainFista, &CpuEngine::new(2)];
    for engine in engines {
        let found = engine.infer(&energy, &start).unwrap();
        assert_eq!(found.step_size, step_size);
        let expected = engine.infer(&asked, &start).unwrap();
        assert_eq!(bits(&found.codes), bits(&expected.codes));
        let value = energy.value(&found.codes).unwrap().total();
        assert!(value < energy.value(&start).unwrap().total(), "{value}");
    }
}

/// A run on few ECG windows whose dictionary grows fast, so that a step of 0.5 is soon too large.
fn growing(variant: &str, rule: &str) -> Config {
    let settings = [
        "data.train=200",
        "data.validation=50",
        "data.test=10",
        "batch_size=50",
        "model.code_dim=32",
        "inference.max_iterations=100",
        "optimizer.decoder_learning_rate=0.15",
        "epochs=5",
        &format!("inference.step_rule={rule}"),
    ]
    .map(str::to_owned);
    let mut settings = settings.to_vec();
    if variant.ends_with("-nl") {
        settings.push("model.hidden_dim=48".to_owned());
    }
    Config::preset(&format!("ecg/{variant}"))
        .and_then(|preset| preset.with_overrides(None, &settings))
        .unwrap()
}

#[derive(Default)]
struct Records(Vec<EpochRecord>);

impl Observer for Records {
    fn batch(&mut self, _: u32, _: usize, _: usize) {}
    fn epoch(&mut self, record: &EpochRecord) -> Result<(), LogError> {
        self.0.push(record.clone());
        Ok(())
    }
}

fn run(config: &Config) -> Result<Vec<EpochRecord>, TrainError> {
    let folder = tempfile::tempdir().unwrap();
    let engine = CpuEngine::new(1);
    let splits = config.data.load(None, config.seed).unwrap();
    let mut trainer = Trainer::new(config.clone(), splits, &engine)?;
    let mut records = Records::default();
    let stop = AtomicBool::new(false);
    trainer.run(&RunFolder::new(folder.path()), &mut records, &stop)?;
    Ok(records.0)
}

/// What diverges with the fixed step trains with the bounded one, which says when it acted.
#[test]
fn a_growing_dictionary_does_not_diverge() {
    for variant in ["vdl", "vdl-nl"] {
        let error = run(&growing(variant, "fixed")).unwrap_err();
        assert!(
            matches!(error, TrainError::Diverged { .. }),
            "{variant}: {error}"
        );
        assert!(error.to_string().contains("step_rule=bounded"), "{error}");
        let records = run(&growing(variant, "bounded")).unwrap();
        assert_eq!(records.len(), 5);
        assert!(records.iter().all(|r| r.validation["energy"].is_finite()));
        let held: Vec<f64> = records
            .iter()
            .filter_map(|r| r.train.get("held_step_size"))
            .collect();
        assert!(!held.is_empty());
        assert!(
            held.iter().all(|step| (1e-6..0.5).contains(step)),
            "{held:?}"
        );
    }
}

/// Where η is safe, both rules give the same run, bit for bit, and nothing is told.
#[test]
fn a_safe_step_is_left_alone() {
    let gentle = |rule: &str| {
        let settings = ["optimizer.decoder_learning_rate=0.001", "epochs=2"].map(str::to_owned);
        growing("vdl", rule)
            .with_overrides(None, &settings)
            .unwrap()
    };
    let (fixed, bounded) = (
        run(&gentle("fixed")).unwrap(),
        run(&gentle("bounded")).unwrap(),
    );
    for (fixed, bounded) in fixed.iter().zip(&bounded) {
        assert_eq!(fixed.train.get("held_step_size"), None);
        assert_eq!(bounded.train.get("held_step_size"), None);
        assert_eq!(fixed.validation, bounded.validation);
        let text = serde_json::to_string(bounded).unwrap();
        assert!(!text.contains("held_step_size"), "{text}");
    }
}
