//! Samples of variational models in `f32` against the posterior's formulas in `f64`, drawn from the
//! trainer's generator.
#![cfg(feature = "std")]

mod common;

use common::variational::{affine, features, product, wide};
use common::{Random, assert_close, file};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use sparsecode_formats::{
    AlignedBytes, Decoder, ModelFile, OwnedModel, PosteriorBase, PosteriorThreshold, WeightType,
    example_posterior, example_variational,
};
use sparsecode_runtime::{
    BestOf, CodeBuffer as _, Model, ModelView, SampleError, Samples, SparseCode, SparseCodeBuf,
    Workspace, WorkspaceBuf,
};

const TRUNKS: [&[u16]; 3] = [&[], &[31], &[40, 9]];

/// Base, level of the threshold, and whether thresholds are learned.
const POSTERIORS: [(PosteriorBase, Option<f32>, bool); 5] = [
    (PosteriorBase::Laplacian, Some(1.0), false),
    (PosteriorBase::Laplacian, Some(1.0), true),
    (PosteriorBase::Laplacian, None, false),
    (PosteriorBase::Gaussian, Some(1.2), false),
    (PosteriorBase::Gaussian, None, false),
];

/// Every posterior behind every body, selecting by the shift and by the scale.
fn models() -> Vec<OwnedModel> {
    let mut models = Vec::new();
    for trunk in TRUNKS {
        for by_scale in [false, true] {
            for (base, level, is_learned) in POSTERIORS {
                let model = example_variational(24, 33, trunk, by_scale);
                models.push(example_posterior(model, base, level, is_learned));
            }
        }
    }
    models
}

/// The magnitude of a normal number that the share `u` exceeds, found by halves.
fn normal(u: f64) -> f64 {
    let (mut low, mut high) = (0.0, 10.0);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        match libm::erfc(middle / std::f64::consts::SQRT_2) > u {
            true => low = middle,
            false => high = middle,
        }
    }
    low
}

/// Sample `number` of an input as the posterior defines it; `None` for components that rounding
/// decides.
fn sample(file: &ModelFile<'_>, input: &[f32], samples: &Samples, number: u32) -> Vec<Option<f64>> {
    let posterior = file.variational.unwrap().posterior.unwrap();
    let (features, shift) = features(file, &wide(input));
    let mut key = [0; 32];
    key[..8].copy_from_slice(&samples.seed.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(samples.input);
    rng.set_word_pos(u128::from(number) << 16);
    let scales = affine(&posterior.scale, &features);
    let (learned, level) = match posterior.threshold {
        PosteriorThreshold::None => (None, 0.0),
        PosteriorThreshold::Fixed(level) => (None, f64::from(level)),
        PosteriorThreshold::Learned { shape, rate } => {
            let heads = [&shape, &rate].map(|head| affine(head, &features));
            (Some(heads), 0.0)
        }
    };
    let units = shift.iter().zip(scales).enumerate();
    units
        .map(|(k, (shift, scale))| {
            let word = rng.next_u32();
            let u = (f64::from(word >> 2) + 0.5) / f64::from(1 << 30);
            let beyond = match (posterior.base, &learned) {
                (PosteriorBase::Gaussian, _) => (0.5 * scale).exp() * normal(u) - level,
                (PosteriorBase::Laplacian, None) => -scale.exp() * u.ln() - level,
                (PosteriorBase::Laplacian, Some([shapes, rates])) => {
                    let (alpha, beta, b) = (shapes[k].exp(), rates[k].exp(), scale.exp());
                    let p = (beta / (beta + 1.0 / b)).powf(alpha);
                    -b * (u / p).ln()
                }
            };
            if beyond.abs() < 1e-4 && level > 0.0 {
                return None;
            }
            let side = if word & 1 == 0 { 1.0 } else { -1.0 };
            Some(if beyond > 0.0 {
                shift + side * beyond
            } else {
                0.0
            })
        })
        .collect()
}

fn error(file: &ModelFile<'_>, input: &[f32], code: &[f64]) -> f64 {
    let Decoder::Linear { dictionary } = file.decoder else {
        panic!("linear")
    };
    let answer = product(&dictionary, code, true);
    let squares = answer
        .iter()
        .zip(input)
        .map(|(a, x)| (a - f64::from(*x)).powi(2));
    squares.sum::<f64>() / input.len() as f64
}

/// A view with memory for it.
struct Drawn<'a> {
    view: ModelView<'a>,
    code: SparseCodeBuf,
    workspace: WorkspaceBuf,
}

impl<'a> Drawn<'a> {
    fn new(bytes: &'a AlignedBytes) -> Self {
        let view = ModelView::load(bytes).unwrap();
        Self {
            view,
            code: SparseCodeBuf::new(view.spec().code_dim),
            workspace: WorkspaceBuf::for_model(view.spec()),
        }
    }

    fn best(&mut self, input: &[f32], samples: &Samples) -> BestOf {
        let best = self
            .view
            .encode_best_of(input, &mut self.code, samples, &mut self.workspace);
        best.unwrap()
    }

    fn dense(&self) -> Vec<f32> {
        let mut dense = vec![0.0; self.view.spec().code_dim()];
        self.code.to_dense(&mut dense);
        dense
    }
}

const COUNT: u32 = 12;

#[test]
fn samples_are_those_of_the_formulas_and_the_best_is_that_of_all() {
    let mut random = Random(17);
    let (mut active, mut units) = (0, 0);
    for (index, model) in models().iter().enumerate() {
        let weights = WeightType::FLOAT[index % 3];
        let bytes = file(model, weights);
        let mut drawn = Drawn::new(&bytes);
        let input = random.vector(24, 1.0);
        let samples = Samples {
            input: index as u64,
            ..Samples::new(5, COUNT)
        };
        let file = *drawn.view.file();
        let mut errors = Vec::new();
        for first in 0..COUNT {
            let one = drawn.best(
                &input,
                &Samples {
                    first,
                    count: 1,
                    ..samples
                },
            );
            let expected = sample(&file, &input, &samples, first);
            let found = drawn.dense();
            let pairs = found.iter().zip(&expected);
            let expected: Vec<f64> = pairs
                .map(|(found, expected)| expected.unwrap_or((*found).into()))
                .collect();
            assert_close(&found, &expected, 3e-5);
            active += drawn.code.active();
            units += found.len();
            let expected = error(&file, &input, &expected);
            assert!(
                (f64::from(one.error) - expected).abs() < 1e-4 * expected,
                "{one:?} {expected}"
            );
            assert_eq!(one.sample, first);
            errors.push((one.error, found));
        }
        let least = errors
            .iter()
            .map(|(error, _)| *error)
            .fold(f32::INFINITY, f32::min);
        let place = errors
            .iter()
            .position(|(error, _)| *error == least)
            .unwrap();
        let best = drawn.best(&input, &samples);
        assert_eq!(
            best,
            BestOf {
                sample: place as u32,
                error: least
            }
        );
        assert_eq!(drawn.dense(), errors[place].1);
        let reference: Vec<f64> = (0..COUNT)
            .map(|number| {
                let code = sample(&file, &input, &samples, number);
                let code: Vec<f64> = code.iter().map(|z| z.unwrap_or(0.0)).collect();
                error(&file, &input, &code)
            })
            .collect();
        assert!(
            reference
                .iter()
                .all(|other| *other > 0.99 * f64::from(least)),
            "{reference:?}"
        );
    }
    // Neither all nor none.
    assert!(
        (units / 5..units * 3 / 4).contains(&active),
        "{active} {units}"
    );
}

#[test]
fn more_samples_are_never_worse_and_go_on_where_fewer_ended() {
    for model in models() {
        let bytes = file(&model, WeightType::I8);
        let mut drawn = Drawn::new(&bytes);
        let input = Random(3).vector(24, 1.0);
        let mut before = BestOf {
            sample: 0,
            error: f32::INFINITY,
        };
        for count in 1..40 {
            let best = drawn.best(&input, &Samples::new(9, count));
            assert!(best.error <= before.error, "{count}");
            let last = drawn.best(
                &input,
                &Samples {
                    first: count - 1,
                    ..Samples::new(9, 1)
                },
            );
            // Of equal ones the first.
            let expected = if last.error < before.error {
                last
            } else {
                before
            };
            assert_eq!(best, expected);
            before = best;
        }
    }
}

#[test]
fn seeds_inputs_and_numbers_have_noise_of_their_own() {
    let model = example_variational(24, 33, &[31], false);
    let model = example_posterior(model, PosteriorBase::Laplacian, Some(1.0), false);
    let bytes = file(&model, WeightType::F32);
    let mut drawn = Drawn::new(&bytes);
    let input = Random(3).vector(24, 1.0);
    let base = Samples::new(9, 1);
    let all = [
        base,
        Samples { seed: 10, ..base },
        Samples {
            seed: 9 << 32,
            ..base
        },
        Samples { input: 1, ..base },
        Samples {
            input: 1 << 32,
            ..base
        },
        Samples { first: 1, ..base },
        Samples {
            first: u32::MAX,
            ..base
        },
    ];
    let codes: Vec<Vec<f32>> = all
        .iter()
        .map(|samples| {
            drawn.best(&input, samples);
            drawn.dense()
        })
        .collect();
    for (index, code) in codes.iter().enumerate() {
        assert!(codes[..index].iter().all(|other| other != code), "{index}");
        drawn.best(&input, &all[index]);
        assert_eq!(drawn.dense(), *code);
    }
    // Behind the last number comes the first.
    let wrapped = drawn.best(
        &input,
        &Samples {
            first: u32::MAX,
            count: 40,
            ..base
        },
    );
    let least = (0..39)
        .map(|first| drawn.best(&input, &Samples { first, ..base }).error)
        .fold(f32::INFINITY, f32::min);
    assert!(wrapped.error <= least && wrapped.sample < 39 || wrapped.sample == u32::MAX);
}

/// Of a size that the compiler knows and of one that the file says.
#[test]
fn types_and_views_draw_the_same_bits() {
    fn each<const HIDDEN: usize>(bytes: &AlignedBytes) {
        let model = Model::<24, 33, HIDDEN>::load(bytes).unwrap();
        let mut drawn = Drawn::new(bytes);
        // Nothing is kept in either from one call to the next.
        let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
        for number in 0..5 {
            let input = Random(number).vector(24, 1.0);
            let samples = Samples {
                input: number,
                ..Samples::new(1, 6)
            };
            let expected = drawn.best(&input, &samples);
            let input = input.as_chunks::<24>().0[0];
            let found = model.encode_best_of(&input, &mut code, &samples, &mut workspace);
            assert_eq!(found, Ok(expected));
            assert!(code.iter().eq(drawn.code.iter()));
        }
    }
    let (base, level, is_learned) = POSTERIORS[1];
    for trunk in TRUNKS {
        let model = example_variational(24, 33, trunk, true);
        let bytes = file(
            &example_posterior(model, base, level, is_learned),
            WeightType::I8,
        );
        match trunk {
            [] => each::<0>(&bytes),
            [31] => each::<31>(&bytes),
            _ => each::<49>(&bytes),
        }
    }
}

#[test]
fn what_cannot_be_drawn_is_refused_by_name() {
    let without = example_variational(24, 33, &[31], true);
    let (base, level, is_learned) = POSTERIORS[0];
    let with = example_posterior(without.clone(), base, level, is_learned);
    let input = [0.5; 24];
    for (model, samples, expected, word) in [
        (
            &without,
            Samples::new(1, 4),
            SampleError::Posterior,
            "--posterior",
        ),
        (
            &with,
            Samples::new(1, 0),
            SampleError::Count,
            "at least one",
        ),
    ] {
        let bytes = file(model, WeightType::F32);
        let mut drawn = Drawn::new(&bytes);
        drawn.code.push(3, 0.25).unwrap();
        let view = drawn.view;
        let found = view.encode_best_of(&input, &mut drawn.code, &samples, &mut drawn.workspace);
        assert_eq!(found, Err(expected));
        assert!(expected.to_string().contains(word), "{expected}");
        assert!(drawn.code.iter().eq([(3, 0.25)]));
    }
    let bytes = file(&with, WeightType::F32);
    let mut drawn = Drawn::new(&bytes);
    let (view, samples) = (drawn.view, Samples::new(1, 4));
    let short = view.encode_best_of(&input[1..], &mut drawn.code, &samples, &mut drawn.workspace);
    assert!(matches!(short, Err(SampleError::Dimension(error)) if error.field == "input"));
    let reconstructs = sparsecode_formats::example(sparsecode_formats::Preprocessing::IDENTITY);
    let bytes = file(&reconstructs, WeightType::F32);
    let mut drawn = Drawn::new(&bytes);
    let view = drawn.view;
    let found = view.encode_best_of(&[0.5; 8], &mut drawn.code, &samples, &mut drawn.workspace);
    assert_eq!(found, Err(SampleError::Posterior));
}

/// A sample that is no number gives a code without one.
#[test]
fn nan_enters_no_code() {
    for model in models() {
        let bytes = file(&model, WeightType::F32);
        let mut drawn = Drawn::new(&bytes);
        let mut input = [0.5; 24];
        input[7] = f32::NAN;
        let best = drawn.best(&input, &Samples::new(1, 5));
        assert!(best.error.is_nan() && best.sample == 0);
        assert!(drawn.code.values().iter().all(|z| !z.is_nan()));
    }
}
