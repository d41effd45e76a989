//! Measures on data whose figures are known beforehand.

use candle_core::{DType, Device, Tensor};
use sparsecode_trainer::data::Restore;
use sparsecode_trainer::data::Samples;
use sparsecode_trainer::lista::Config;
use sparsecode_trainer::lista::evaluate::{CodeSource, Evaluation, evaluate, psnr};
use sparsecode_trainer::lista::features::{atoms, encoder_rows, largest_codes};
use sparsecode_trainer::lista::inference::PlainFista;
use sparsecode_trainer::lista::model::Autoencoder;

use crate::reference::{Decoder, Encoder, Matrix, Problem, rng};

const DIM: usize = 4;

fn config(variant: &str, settings: &[&str]) -> Config {
    let mut all = vec!["model.code_dim=4", "batch_size=2", "inference.lambda=0.125"];
    all.extend(settings);
    let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
    Config::preset(&format!("dead-leaves/{variant}"))
        .and_then(|preset| preset.with_overrides(None, &all))
        .unwrap()
}

fn diagonal(values: [f64; DIM]) -> Matrix {
    Matrix::from_fn(DIM, DIM, |i, j| if i == j { values[i] } else { 0.0 })
}

/// z = relu(y), ŷ = `scales` · z.
fn identity(scales: [f64; DIM]) -> Autoencoder {
    let encoder = Encoder {
        input: diagonal([1.0; DIM]),
        bias: vec![0.0; DIM],
        recurrent: diagonal([0.0; DIM]),
        iterations: 3,
    };
    Autoencoder {
        encoder: Some(encoder.tensors(DType::F32)),
        decoder: Decoder::Linear(diagonal(scales)).tensors(DType::F32),
    }
}

fn samples(rows: &[[f32; DIM]], restore: Restore) -> Samples {
    Samples {
        inputs: Tensor::from_vec(rows.concat(), (rows.len(), DIM), &Device::Cpu).unwrap(),
        restore,
    }
}

fn global(scale: f32) -> Restore {
    Restore::Global { scale, offset: 5.0 }
}

fn measure(model: &Autoencoder, samples: &Samples, config: &Config, peak: f64) -> Evaluation {
    evaluate(
        model,
        samples,
        config,
        peak,
        &PlainFista,
        CodeSource::Encoder,
        None,
    )
    .unwrap()
}

fn close(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 1e-6,
        "{found}, expected {expected}"
    );
}

#[test]
fn psnr_is_the_formula_in_raw_units() {
    let restore = global(0.5);
    // MSE = (2² + 0 + 0 + 2²)/4 · 0.5² = 0.5.
    let found = psnr(
        &[2.0, 1.0, 1.0, -2.0],
        &[0.0, 1.0, 1.0, 0.0],
        &restore,
        0,
        1.0,
    );
    close(found, 10.0 * (1.0f64 / 0.5).log10());
    let found = psnr(
        &[2.0, 1.0, 1.0, -2.0],
        &[0.0, 1.0, 1.0, 0.0],
        &restore,
        0,
        3.0,
    );
    close(found, 10.0 * (9.0f64 / 0.5).log10());
    assert_eq!(psnr(&[1.0; 4], &[1.0; 4], &restore, 0, 3.0), 40.0);
    // No clamping: an estimate far outside the range counts as it is.
    assert!(psnr(&[100.0; 4], &[0.0; 4], &restore, 0, 1.0) < -30.0);
}

#[test]
fn figures_of_a_known_model() {
    // The third sample is an incomplete batch. Component 3 is never used, component 2 once and by a
    // tiny value, which is not a zero.
    let rows = [
        [1.0, 0.0, 0.0, 0.0],
        [2.0, 4.0, 1e-30, 0.0],
        [1.0, 1.0, 0.0, 0.0],
    ];
    let config = config("wdl", &[]);
    let exact = measure(
        &identity([1.0; DIM]),
        &samples(&rows, global(0.5)),
        &config,
        1.0,
    );
    assert_eq!(exact.samples, 3);
    assert_eq!(exact.psnr, 40.0);
    assert_eq!((exact.noise, exact.psnr_input), (None, None));
    close(exact.sparsity, 6.0 / 12.0);
    close(exact.code_l1, (1.0 + 6.0 + 2.0) / 3.0);
    assert_eq!(exact.dead_atoms, 1);
    // λ‖z‖₁ alone: the mean over samples, times the batch size.
    close(exact.energy, 0.125 * 9.0 / 3.0 * 2.0);

    // Half of the first pixel, three quarters of the second.
    let model = identity([0.5, 0.75, 1.0, 1.0]);
    let found = measure(&model, &samples(&rows, global(0.5)), &config, 2.0);
    let errors = [0.25, 1.0 + 1.0, 0.25 + 0.0625];
    let decibels = errors.map(|sum: f64| 10.0 * (4.0 / (sum / 4.0 * 0.25)).log10());
    close(found.psnr, decibels.iter().sum::<f64>() / 3.0);
    let reconstruction = errors.iter().sum::<f64>() / 4.0;
    close(found.energy, (reconstruction + 0.125 * 9.0) / 3.0 * 2.0);
}

#[test]
fn errors_are_restored_by_sample_and_by_pixel() {
    let rows = [[1.0; DIM], [2.0; DIM], [3.0; DIM]];
    let config = config("wdl", &[]);
    let model = identity([0.5; DIM]);
    let per_sample = Restore::PerSample {
        scale: vec![1.0, 2.0, 4.0],
        offset: vec![0.0, 7.0, -3.0],
    };
    let found = measure(&model, &samples(&rows, per_sample), &config, 1.0);
    let expected = [0.5f64, 2.0, 6.0].map(|error| -20.0 * error.log10());
    close(found.psnr, expected.iter().sum::<f64>() / 3.0);

    let scale: Vec<f32> = (1..=12u8).map(f32::from).collect();
    let per_pixel = Restore::PerPixel {
        dim: DIM,
        scale: scale.clone(),
        offset: vec![1.0; 12],
    };
    let found = measure(&model, &samples(&rows, per_pixel), &config, 1.0);
    let decibels = (0..3).map(|i| {
        let half = 0.5 * (i + 1) as f64;
        let squares = scale[4 * i..][..4]
            .iter()
            .map(|&s| (f64::from(s) * half).powi(2));
        -10.0 * (squares.sum::<f64>() / 4.0).log10()
    });
    close(found.psnr, decibels.sum::<f64>() / 3.0);
}

/// The hinge is part of the energy: deviations below T cost β(T − sd)² in every batch.
#[test]
fn energy_has_the_hinge() {
    let rows = [[1.0, 0.0, 0.0, 0.3], [2.0, 0.0, 0.0, 0.1]];
    let config = config("vdl", &[]);
    let found = measure(
        &identity([1.0; DIM]),
        &samples(&rows, global(1.0)),
        &config,
        1.0,
    );
    let decoder = Decoder::Linear(diagonal([1.0; DIM]));
    let inputs = Matrix::from_fn(2, DIM, |i, j| f64::from(rows[i][j]));
    let problem = Problem {
        decoder: &decoder,
        inputs: &inputs,
        encoder_codes: None,
        config: &config.family.inference,
    };
    let expected = problem.energy(&inputs);
    assert!(expected[1] > 5.0);
    close(found.energy, expected.iter().sum());
}

/// FISTA as a source of codes minimises reconstruction and ℓ1 alone. DO has no other codes.
#[test]
fn codes_of_fista_leave_the_training_terms_out() {
    let settings = ["inference.max_iterations=500", "inference.tolerance=0"];
    let rows = [[1.0, 0.2, 0.0, 0.0], [2.0, 4.0, 0.0, 0.0]];
    let data = samples(&rows, global(1.0));
    let with_encoder = identity([1.0; DIM]);
    let without = Autoencoder {
        encoder: None,
        ..with_encoder.clone()
    };
    // z = (y − λd/2)_+ = (y − 0.25)_+ for W = 1.
    let l1 = (0.75 + 1.75 + 3.75) / 2.0;
    for (variant, model, source) in [
        ("vdl", &with_encoder, CodeSource::Fista),
        ("do", &without, CodeSource::Fista),
        ("do", &without, CodeSource::Encoder),
    ] {
        let config = config(variant, &settings);
        let found = evaluate(model, &data, &config, 1.0, &PlainFista, source, None).unwrap();
        assert!(
            (found.code_l1 - l1).abs() < 1e-4,
            "{variant} {source:?}: {}",
            found.code_l1
        );
        close(found.sparsity, 5.0 / 8.0);
        // What is reported is where the codes came from.
        assert_eq!(found.codes, CodeSource::Fista, "{variant} {source:?}");
    }
    let found = measure(&with_encoder, &data, &config("vdl", &settings), 1.0);
    assert_eq!(found.codes, CodeSource::Encoder);
    close(found.code_l1, 7.2 / 2.0);
}

/// Noise of deviation σ in preprocessed units is one of σ·scale in raw ones. The mean of a
/// logarithm lies below the logarithm of the mean: by ψ(d/2) − ln(d/2) for a mean of d squares,
/// about −1/d − 1/(3d²).
#[test]
fn noise_has_the_psnr_of_theory() {
    let (count, dim) = (500, 64);
    let settings = ["model.code_dim=64", "batch_size=64"];
    let config = config("wdl", &settings);
    let wide = |value: f64| Matrix::from_fn(dim, dim, |i, j| if i == j { value } else { 0.0 });
    let encoder = Encoder {
        input: wide(1.0),
        bias: vec![0.0; dim],
        recurrent: wide(0.0),
        iterations: 0,
    };
    let model = Autoencoder {
        encoder: Some(encoder.tensors(DType::F32)),
        decoder: Decoder::Linear(wide(1.0)).tensors(DType::F32),
    };
    let data = Samples {
        inputs: Matrix::random(&mut rng(50), count, dim, [-1.0, 1.0]).tensor(DType::F32),
        restore: global(0.3),
    };
    let run = |sigma| {
        evaluate(
            &model,
            &data,
            &config,
            2.0,
            &PlainFista,
            CodeSource::Encoder,
            Some(sigma),
        )
        .unwrap()
    };
    for sigma in [0.1, 1.0, 1.5] {
        let found = run(sigma);
        assert_eq!(found.noise, Some(sigma));
        let d = dim as f64;
        let bias = (1.0 / d + 1.0 / (3.0 * d * d)) * 10.0 / std::f64::consts::LN_10;
        let theory = 10.0 * (4.0 / (sigma * 0.3f64).powi(2)).log10() + bias;
        // One sample's PSNR has a deviation of 10/ln 10 · √(2/d).
        let error = 10.0 / std::f64::consts::LN_10 * (2.0 / d / count as f64).sqrt();
        let input = found.psnr_input.unwrap();
        assert!(
            (input - theory).abs() < 4.0 * error,
            "{sigma}: {input}, theory {theory} ± {error}"
        );
        // PSNR is against the clean samples: relu cuts half of every sample off, noise or not.
        assert!(found.psnr < run(0.0).psnr, "{found:?}");
    }
    // The draws are the same, scaled: twice the noise is 6.02 dB less, sample by sample.
    assert_eq!(run(1.0), run(1.0));
    let input = |sigma| run(sigma).psnr_input.unwrap();
    let step = input(0.5) - input(1.0);
    assert!((step - 20.0 * 2f64.log10()).abs() < 1e-4, "{step} dB");
}

#[test]
fn features_are_what_one_atom_adds() {
    let (d, l, m) = (5, 3, 7);
    let mut rng = rng(51);
    let encoder = Encoder::random(&mut rng, d, l);
    let rows = Matrix::random(&mut rng, 10, d, [-1.0, 1.0]);
    let expected = encoder.forward(&rows);
    let config = config("wdl", &["model.code_dim=3", "batch_size=4"]);
    for decoder in [
        Decoder::linear(&mut rng, d, l),
        Decoder::one_hidden(&mut rng, d, l, m),
    ] {
        let model = Autoencoder {
            encoder: Some(encoder.tensors(DType::F32)),
            decoder: decoder.tensors(DType::F32),
        };
        let data = Samples {
            inputs: rows.tensor(DType::F32),
            restore: global(1.0),
        };
        let largest = largest_codes(&model, &data, &config, &PlainFista).unwrap();
        for (j, &found) in largest.iter().enumerate() {
            let maximum = (0..10).map(|i| expected.at(i, j)).fold(0.0, f64::max);
            assert!((f64::from(found) - maximum).abs() < 1e-5);
        }
        // The last atom is never used, and shown at 1.
        let amplitudes = [1.5f32, 0.25, 0.0];
        let found = atoms(&model, &amplitudes).unwrap();
        let zero = decoder.reconstruct(&[0.0; 3]);
        for i in 0..l {
            let mut code = [0.0; 3];
            code[i] = match &decoder {
                Decoder::Linear(_) => 1.0,
                Decoder::OneHidden { .. } => [1.5, 0.25, 1.0][i],
            };
            for (k, value) in decoder.reconstruct(&code).iter().enumerate() {
                let found = f64::from(found[i * d + k]);
                assert!(
                    (found - (value - zero[k])).abs() < 1e-6,
                    "atom {i}, pixel {k}"
                );
            }
        }
        let rows = encoder_rows(&model).unwrap().unwrap();
        for (found, expected) in rows.iter().zip(&encoder.input.values) {
            assert!((f64::from(*found) - expected).abs() < 1e-6);
        }
        let without = Autoencoder {
            encoder: None,
            ..model
        };
        assert!(encoder_rows(&without).unwrap().is_none());
    }
}
