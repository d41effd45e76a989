//! Posteriors, divergences and draws of variational sparse coding, beside closed forms.

use std::sync::atomic::AtomicBool;

use candle_core::Device;
use rand::Rng;
use rand_distr::{Distribution, Gamma, StandardNormal};
use sparsecode_formats::CodeSign;
use sparsecode_trainer::data::{
    DataFacts, Dataset, InputShape, Preprocessing, Restore, Samples, Splits,
};
use sparsecode_trainer::rng::{Stream, generator};
use sparsecode_trainer::run::{
    Ending, Epoch, Figures, Learner as _, RunFolder, Session, Settings as _,
};
use sparsecode_trainer::variational::{
    Base, Dictionary, Draw, Estimator, GateOdds, Given, Heads, Objective, Posterior, Relaxation,
    Sampler as _, ScheduleConfig, Seeded, Select, ShiftGradient, Sparsity, Variational,
    VariationalConfig, VariationalLearner, Warmth, fista_of_activity, gamma_divergence,
    implicit_shape_gradient, metrics, trigamma,
};

use statrs::function::gamma::{digamma, ln_gamma};

use crate::stopping::StopAfter;

const WARM: Warmth = Warmth {
    noise: 1.0,
    temperature: 0.5,
};

fn posterior(base: Base, sparsity: Sparsity) -> Posterior {
    Posterior {
        base,
        sparsity,
        spread: 0.1,
        estimator: Estimator::Straight,
        shift_gradient: ShiftGradient::Single,
    }
}

fn heads(shift: f64, scale: f64) -> Heads<f64> {
    Heads {
        shift,
        scale,
        ..Heads::default()
    }
}

/// Samples of given random numbers.
fn given<'a, D: Fn(usize, usize, usize) -> Draw + Sync>(
    objective: &Objective,
    heads: &'a [Heads<f64>],
    code_dim: usize,
    warmth: Warmth,
    draw: D,
) -> Given<'a, D> {
    Given {
        posterior: objective.posterior,
        heads,
        code_dim,
        warmth,
        draw,
    }
}

const LEARNED: Sparsity = Sparsity::Learned {
    mean: 0.25,
    weight: 0.1,
};

const GATE: Sparsity = Sparsity::Gate {
    open: 0.1,
    relaxation: Relaxation::Straight,
    odds: GateOdds::Log,
};

#[test]
fn divergences_are_those_of_the_closed_forms() {
    for (base, shift, spread, expected) in [
        (Base::Gaussian, 0.0, 1.0, 3.348_707),
        (Base::Gaussian, 0.3, 0.05, 0.546_574),
        (Base::Gaussian, -0.2, 0.1, 0.2),
        (Base::Gaussian, 0.0, 0.1, 0.0),
        (Base::Laplacian, 0.0, 1.0, 6.697_415),
        (Base::Laplacian, 0.3, 0.05, 2.694_387),
        (Base::Laplacian, -0.2, 0.1, 1.135_335),
        (Base::Laplacian, 0.0, 0.1, 0.0),
        (Base::Laplacian, 1.5, 0.4, 12.707_777),
    ] {
        let posterior = posterior(base, Sparsity::Dense);
        let found = posterior.divergence(&heads(shift, f64::ln(spread))).0;
        assert!(
            (found - expected).abs() < 1e-6,
            "{base:?} {shift} {spread}: {found}"
        );
    }
    for (shape, rate, mean, expected) in [
        (1.0, 1.0, 0.52, 1.359_193),
        (1.0, 1.0, 0.25, 5.392_859),
        (0.5, 2.0, 0.25, 2.154_279),
        (10.0, 20.0, 0.25, 1.186_065),
        (3.0, 12.0, 0.25, 0.0),
    ] {
        let found = gamma_divergence([shape, rate], [3.0, 3.0 / mean])[0];
        assert!((found - expected).abs() < 1e-6, "{shape} {rate}: {found}");
    }
}

/// Of the posterior after its threshold, which is what samples have.
#[test]
fn exact_divergences_are_far_below_those_of_the_noise() {
    let fixed = posterior(Base::Laplacian, Sparsity::Fixed { threshold: 0.25 });
    for (shift, scale, noise, exact) in [
        (0.3, 0.1, 2.0498, 0.1683),
        (0.3, 0.03, 3.2040, 0.0848),
        (1.0, 0.4, 7.942, 4.938),
        (0.0, 1.0, 6.697, 6.653),
    ] {
        let heads = heads(shift, f64::ln(scale));
        let found = fixed.divergence(&heads).0;
        assert!((found - noise).abs() < 6e-4, "{shift} {scale}: {found}");
        let found = fixed.exact_divergence(&heads).unwrap();
        assert!((found - exact).abs() < 6e-4, "{shift} {scale}: {found}");
    }
    let gaussian = posterior(Base::Gaussian, Sparsity::Fixed { threshold: 0.52 });
    assert_eq!(gaussian.exact_divergence(&heads(0.3, -2.0)), None);
}

#[test]
fn special_functions_have_their_values() {
    for (x, expected) in [
        (0.001, 1_000_001.642_533_195_9),
        (0.1, 101.433_299_150_8),
        (0.5, 4.934_802_200_5),
        (1.0, 1.644_934_066_8),
        (3.0, 0.394_934_066_8),
        (10.0, 0.105_166_335_7),
        (100.0, 0.010_050_166_7),
    ] {
        let found = trigamma(x);
        assert!((found / expected - 1.0).abs() < 1e-8, "{x}: {found}");
    }
    for (x, logarithm, slope) in [
        (0.001, 6.907_178_885_4, -1_000.575_571_931_8),
        (0.1, 2.252_712_651_7, -10.423_754_940_4),
        (0.5, 0.572_364_942_9, -1.963_510_026_0),
        (1.0, 0.0, -0.577_215_664_9),
        (3.0, std::f64::consts::LN_2, 0.922_784_335_1),
        (10.0, 12.801_827_480_1, 2.251_752_589_1),
        (100.0, 359.134_205_369_6, 4.600_161_852_7),
    ] {
        let found = ln_gamma(x);
        assert!((found - logarithm).abs() < 1e-9, "lnΓ({x}): {found}");
        let found = digamma(x);
        assert!((found - slope).abs() < 1e-9, "ψ({x}): {found}");
    }
    for (shape, draw, expected) in [
        (0.1, 0.001, 0.064_907),
        (0.5, 0.2, 0.794_051),
        (1.0, 0.5, 0.806_979),
        (1.0, 1.0, 1.173_563),
        (1.0, 2.0, 1.631_692),
        (3.0, 1.0, 0.578_773),
        (3.0, 3.0, 1.057_027),
        (3.0, 6.0, 1.464_980),
        (10.0, 8.0, 0.907_548),
        (10.0, 12.0, 1.112_329),
    ] {
        let found = implicit_shape_gradient(shape, draw);
        assert!((found - expected).abs() < 1e-6, "{shape} {draw}: {found}");
    }
}

/// The draw's mean is the shape, so that it moves with the shape by 1 on the average.
#[test]
fn draws_move_with_their_shape_as_their_mean_does() {
    let mut rng = generator(3, Stream::Weights);
    for shape in [0.3, 1.0, 4.0] {
        let gamma = Gamma::new(shape, 1.0).unwrap();
        let count = 100_000;
        let moved = (0..count).map(|_| implicit_shape_gradient(shape, gamma.sample(&mut rng)));
        let mean = moved.sum::<f64>() / f64::from(count);
        assert!((mean - 1.0).abs() < 0.02, "{shape}: {mean}");
    }
}

/// Of what a unit's value is where its draws are random.
fn sampled(posterior: &Posterior, heads: &Heads<f64>, count: usize) -> Vec<f64> {
    let mut rng = generator(5, Stream::Weights);
    let gamma = Gamma::new(Posterior::threshold_shape(heads), 1.0).unwrap();
    (0..count)
        .map(|_| {
            let draw = Draw {
                noise: match posterior.base {
                    Base::Gaussian => StandardNormal.sample(&mut rng),
                    Base::Laplacian => rng.random_range(-0.5..0.5),
                },
                gate: rng.random(),
                gamma: gamma.sample(&mut rng),
                gamma_by_shape: None,
            };
            posterior.sample(heads, &draw, WARM).value
        })
        .collect()
}

#[test]
fn as_many_units_are_active_as_the_formula_says() {
    let count = 200_000;
    let fixed = |threshold| Sparsity::Fixed { threshold };
    let cases = [
        (Base::Laplacian, fixed(0.25), 0.1_f64.ln(), 0.082_085),
        (Base::Laplacian, fixed(0.25), 0.2_f64.ln(), 0.286_505),
        (Base::Laplacian, fixed(0.1), 0.5_f64.ln(), 0.818_731),
        (Base::Gaussian, fixed(0.52), 0.1_f64.ln(), 0.100_097),
        (Base::Gaussian, fixed(0.3), 0.05_f64.ln(), 0.179_712),
    ];
    for (base, sparsity, scale, expected) in cases {
        let posterior = posterior(base, sparsity);
        for shift in [0.0, 10.0] {
            let heads = heads(shift, scale);
            assert!((posterior.activity(&heads) - expected).abs() < 1e-6);
            let values = sampled(&posterior, &heads, count);
            let active = values.iter().filter(|z| **z != 0.0).count() as f64 / count as f64;
            let allowed = 3.5 * (expected * (1.0 - expected) / count as f64).sqrt();
            assert!(
                (active - expected).abs() < allowed,
                "{base:?} {shift}: {active}"
            );
        }
    }
    // What is beyond the threshold is Laplacian again: E|t| = b.
    let laplacian = posterior(Base::Laplacian, fixed(0.25));
    let values = sampled(&laplacian, &heads(0.0, 0.2_f64.ln()), count);
    let mut beyond: Vec<f64> = values
        .into_iter()
        .filter(|z| *z != 0.0)
        .map(f64::abs)
        .collect();
    let mean = beyond.iter().sum::<f64>() / beyond.len() as f64;
    assert!((mean - 0.2).abs() < 0.004, "{mean}");
    // Its distribution, too: Kolmogorov's and Smirnov's distance, at 1 %.
    beyond.sort_by(f64::total_cmp);
    let all = beyond.len() as f64;
    let distance = beyond.iter().enumerate().map(|(place, t)| {
        let expected = 1.0 - (-t / 0.2).exp();
        let place = place as f64;
        (expected - place / all).max((place + 1.0) / all - expected)
    });
    let distance = distance.fold(0.0, f64::max);
    assert!(distance < 1.63 / all.sqrt(), "{distance}");
    let gaussian = posterior(Base::Gaussian, fixed(0.52));
    let values = sampled(&gaussian, &heads(0.0, 0.1_f64.ln()), count);
    let square = values.iter().map(|z| z * z).sum::<f64>() / count as f64;
    assert!((square - 0.003_130_8).abs() < 3e-4, "{square}");

    let learned = posterior(Base::Laplacian, LEARNED);
    let prior = Heads {
        shape: 3.0_f64.ln(),
        rate: 12.0_f64.ln(),
        ..heads(0.0, 0.1_f64.ln())
    };
    assert!((learned.activity(&prior) - 0.162_284).abs() < 1e-6);
    for (shape, rate, scale) in [(3.0, 12.0, 0.1), (0.7, 2.0, 0.3), (8.0, 40.0, 0.05)] {
        let heads = Heads {
            shape: f64::ln(shape),
            rate: f64::ln(rate),
            ..heads(0.4, f64::ln(scale))
        };
        let values = sampled(&learned, &heads, count);
        let active = values.iter().filter(|z| **z != 0.0).count() as f64 / count as f64;
        assert!(
            (active - learned.activity(&heads)).abs() < 0.004,
            "{shape}: {active}"
        );
    }

    let gate = posterior(Base::Gaussian, GATE);
    for (open, expected) in [
        (0.05, 0.047_619),
        (0.1, 0.090_909),
        (0.5, 1.0 / 3.0),
        (1.0, 0.5),
    ] {
        let heads = Heads {
            spike: f64::ln(open),
            ..heads(1.0, -2.0)
        };
        assert!((gate.activity(&heads) - expected).abs() < 1e-5, "{open}");
        let values = sampled(&gate, &heads, count);
        let active = values.iter().filter(|z| **z != 0.0).count() as f64 / count as f64;
        assert!((active - expected).abs() < 0.004, "{open}: {active}");
    }
}

#[test]
fn thresholds_at_their_ends() {
    for base in [Base::Gaussian, Base::Laplacian] {
        for noise in [-0.5, -0.2, 0.0, 0.3, 0.5 - 2.0_f64.powi(-24)] {
            let draw = Draw {
                noise,
                ..Draw::default()
            };
            let (heads, dense) = (heads(0.7, -1.0), posterior(base, Sparsity::Dense));
            let free = dense.sample(&heads, &draw, WARM);
            let at = |threshold: f64| {
                let posterior = posterior(base, Sparsity::Fixed { threshold });
                posterior.sample(&heads, &draw, WARM)
            };
            assert!(free.value.is_finite());
            if noise != 0.0 {
                assert_eq!(
                    at(0.0).value,
                    free.value,
                    "a threshold of 0 changes nothing"
                );
            }
            assert_eq!(at(1e9).value, 0.0);
            let own = free.noise.abs();
            assert_eq!(at(own).value, 0.0, "noise at the threshold is below it");
            assert_eq!(at(-0.3), at(0.3), "the sign of a threshold means nothing");
        }
    }
}

/// Every posterior's gradients for its heads, with frozen draws: dense ones against differences of
/// the whole loss, and those through a threshold or a gate as the table of the method says.
#[test]
fn gradients_are_those_of_differences_where_there_are_some() {
    let dictionary = Dictionary::new(vec![0.6, -0.2, 0.5, 0.3, 0.9, -0.4], 2);
    let inputs = [0.8_f32, -0.5, 0.1, 0.4];
    let mut rng = generator(9, Stream::Weights);
    let all: Vec<Heads<f64>> = (0..6)
        .map(|_| Heads {
            shift: rng.random_range(-1.0..1.0),
            scale: rng.random_range(-2.0..0.0),
            spike: rng.random_range(-2.0..-0.5),
            shape: rng.random_range(0.5..1.5),
            rate: rng.random_range(1.0..2.0),
        })
        .collect();
    let noise: Vec<Draw> = (0..24)
        .map(|_| Draw {
            noise: rng.random_range(-0.49..0.49),
            gate: rng.random_range(0.1..0.9),
            gamma: rng.random_range(0.5..4.0),
            gamma_by_shape: None,
        })
        .collect();
    let draw = |input: usize, sample: usize, unit: usize| noise[(input * 4 + sample) * 3 + unit];
    let soft = Sparsity::Gate {
        open: 0.1,
        relaxation: Relaxation::Soft,
        odds: GateOdds::Log,
    };
    let warmth = Warmth {
        noise: 0.6,
        temperature: 0.7,
    };
    for (base, sparsity) in [
        (Base::Gaussian, Sparsity::Dense),
        (Base::Laplacian, Sparsity::Dense),
        (Base::Gaussian, soft),
    ] {
        for select in [Select::Best, Select::Average, Select::Iwae] {
            let objective = Objective {
                posterior: posterior(base, sparsity),
                samples: 4,
                select,
                kl_weight: 0.3,
            };
            let outcome = objective.evaluate(
                &inputs,
                &all,
                &dictionary,
                &given(&objective, &all, 3, warmth, draw),
            );
            let by_code = objective.code_gradients(&outcome, &dictionary, 2);
            let found = objective.head_gradients(&outcome, &by_code, &all, warmth);
            let step = 1e-6;
            for (place, found) in found.iter().enumerate() {
                let moved = |of: fn(&mut Heads<f64>) -> &mut f64, by: f64| {
                    let mut heads = all.clone();
                    *of(&mut heads[place]) += by;
                    objective
                        .evaluate(
                            &inputs,
                            &heads,
                            &dictionary,
                            &given(&objective, &heads, 3, warmth, draw),
                        )
                        .loss
                };
                let slope = |of| (moved(of, step) - moved(of, -step)) / (2.0 * step);
                for (name, found, expected) in [
                    ("shift", found.shift, slope(|h| &mut h.shift)),
                    ("scale", found.scale, slope(|h| &mut h.scale)),
                    ("spike", found.spike, slope(|h| &mut h.spike)),
                ] {
                    let apart = (found - expected).abs();
                    assert!(
                        apart < 1e-7 + 1e-5 * expected.abs(),
                        "{base:?} {sparsity:?} {select:?} {name} {place}: {found} {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn straight_through_gradients_are_those_of_the_table() {
    let (upstream, all) = (0.7, heads(0.4, -1.2));
    let learned = Heads {
        shape: 1.1,
        rate: 2.0,
        ..all
    };
    for base in [Base::Gaussian, Base::Laplacian] {
        for noise in [0.05, 0.45, -0.45] {
            let draw = Draw {
                noise: match base {
                    Base::Gaussian => 6.0 * noise,
                    Base::Laplacian => noise,
                },
                gamma: 2.0,
                ..Draw::default()
            };
            for (shift_gradient, times) in
                [(ShiftGradient::Single, 0.0), (ShiftGradient::Double, 1.0)]
            {
                let mut posterior = posterior(base, LEARNED);
                posterior.shift_gradient = shift_gradient;
                let unit = posterior.sample(&learned, &draw, WARM);
                assert_eq!(unit.is_active, noise.abs() > 0.1, "{base:?} {noise}");
                let active = f64::from(u8::from(unit.is_active));
                let found = posterior.gradient(&learned, &draw, &unit, WARM, upstream);
                assert_eq!(found.shift, upstream * (1.0 + times * active));
                let by_scale = match base {
                    Base::Gaussian => 0.5 * unit.noise,
                    Base::Laplacian => unit.noise,
                };
                assert!((found.scale - upstream * by_scale).abs() < 1e-15);
                // λ = g/β, and the active set stays: a difference is the derivative.
                let value = |rate: f64| {
                    let heads = Heads { rate, ..learned };
                    posterior.sample(&heads, &draw, WARM).value
                };
                let slope = (value(2.0 + 1e-6) - value(2.0 - 1e-6)) / 2e-6;
                assert!((found.rate - upstream * slope).abs() < 1e-8);
                posterior.estimator = Estimator::Subgradient;
                let found = posterior.gradient(&learned, &draw, &unit, WARM, upstream);
                assert_eq!(found.shift, upstream * active);
            }
        }
    }
}

/// The divergences' derivatives, of every posterior and head.
#[test]
fn derivatives_of_divergences_are_those_of_differences() {
    let at = Heads {
        shift: -0.3,
        scale: -1.7,
        spike: -0.9,
        shape: 0.8,
        rate: 2.2,
    };
    for (base, sparsity) in [
        (Base::Gaussian, LEARNED),
        (Base::Laplacian, LEARNED),
        (Base::Gaussian, GATE),
    ] {
        let posterior = posterior(base, sparsity);
        let (_, found) = posterior.divergence(&at);
        let moved = |of: fn(&mut Heads<f64>) -> &mut f64, by: f64| {
            let mut heads = at;
            *of(&mut heads) += by;
            posterior.divergence(&heads).0
        };
        let slope = |of| (moved(of, 1e-6) - moved(of, -1e-6)) / 2e-6;
        for (found, expected) in [
            (found.shift, slope(|h| &mut h.shift)),
            (found.scale, slope(|h| &mut h.scale)),
            (found.spike, slope(|h| &mut h.spike)),
            (found.shape, slope(|h| &mut h.shape)),
            (found.rate, slope(|h| &mut h.rate)),
        ] {
            assert!(
                (found - expected).abs() < 1e-7 * expected.abs().max(1.0),
                "{found} {expected}"
            );
        }
    }
    // Beyond the clip nothing moves.
    let clipped = Heads { rate: 20.0, ..at };
    assert_eq!(
        posterior(Base::Gaussian, LEARNED)
            .divergence(&clipped)
            .1
            .rate,
        0.0
    );
}

/// With one sample all ways of choosing are one.
#[test]
fn one_sample_is_the_best_and_the_average() {
    let dictionary = Dictionary::new(vec![1.0, 0.0, 0.0, 1.0], 2);
    let all = vec![heads(0.3, -1.0); 4];
    let draw = |input: usize, sample: usize, unit: usize| Draw {
        noise: 0.1 * (input + sample + unit) as f64 - 0.2,
        ..Draw::default()
    };
    let outcomes = [Select::Best, Select::Average, Select::Iwae].map(|select| {
        let objective = Objective {
            posterior: posterior(Base::Laplacian, Sparsity::Fixed { threshold: 0.05 }),
            samples: 1,
            select,
            kl_weight: 0.01,
        };
        let inputs = [1.0, 0.5, -0.2, 0.1];
        let outcome = objective.evaluate(
            &inputs,
            &all,
            &dictionary,
            &given(&objective, &all, 2, WARM, draw),
        );
        let gradients = objective.code_gradients(&outcome, &dictionary, 2);
        (outcome.loss, gradients)
    });
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[0], outcomes[2]);
}

/// `−∇` of half the mean square error and φ‖A‖², for whatever samples count.
#[test]
fn the_dictionary_steps_down_its_objective() {
    let atoms = vec![0.6, -0.2, 0.5, 0.3, 0.9, -0.4];
    let all = vec![heads(0.5, -1.0); 6];
    let draw = |_: usize, sample: usize, unit: usize| Draw {
        noise: 0.3 - 0.1 * (sample + unit) as f64,
        ..Draw::default()
    };
    let objective = Objective {
        posterior: posterior(Base::Gaussian, Sparsity::Dense),
        samples: 2,
        select: Select::Average,
        kl_weight: 0.0,
    };
    let (inputs, decay, rate) = ([0.8_f32, -0.5, 0.1, 0.4], 0.02, 1e-3);
    let value = |atoms: &[f64]| {
        let dictionary = Dictionary::new(atoms.to_vec(), 2);
        let outcome = objective.evaluate(
            &inputs,
            &all,
            &dictionary,
            &given(&objective, &all, 3, WARM, draw),
        );
        // The mean over the two pixels is half their sum.
        outcome.loss + decay * atoms.iter().map(|a| a * a).sum::<f64>()
    };
    let mut dictionary = Dictionary::new(atoms.clone(), 2);
    let outcome = objective.evaluate(
        &inputs,
        &all,
        &dictionary,
        &given(&objective, &all, 3, WARM, draw),
    );
    dictionary.step(&outcome, 2, rate, decay);
    for place in 0..atoms.len() {
        let moved = |by: f64| {
            let mut atoms = atoms.clone();
            atoms[place] += by;
            value(&atoms)
        };
        let slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        let step = (dictionary.atoms()[place] - atoms[place]) / rate;
        assert!((step + slope).abs() < 1e-6, "{place}: {step} {slope}");
    }
}

/// Samples of a known dictionary: `count` sparse sums of its atoms, with noise, of deviation 1 in
/// the mean.
fn sparse_sums(pixels: usize, atoms: usize, count: usize, seed: u64) -> (Vec<f32>, Vec<f64>) {
    let mut of_atoms = generator(seed, Stream::Weights);
    let mut rng = generator(seed, Stream::TrainData);
    let mut truth = Vec::new();
    for _ in 0..atoms {
        let atom: Vec<f64> = (0..pixels)
            .map(|_| StandardNormal.sample(&mut of_atoms))
            .collect();
        let norm = atom.iter().map(|a| a * a).sum::<f64>().sqrt();
        truth.extend(atom.iter().map(|a| a / norm));
    }
    let mut values: Vec<f64> = Vec::with_capacity(count * pixels);
    for _ in 0..count {
        let mut row: Vec<f64> = (0..pixels)
            .map(|_| StandardNormal.sample(&mut rng))
            .map(|noise: f64| 0.05 * noise)
            .collect();
        for atom in truth.chunks_exact(pixels) {
            if rng.random::<f64>() < 0.12 {
                let u = rng.random::<f64>() - 0.5;
                let value = -u.signum() * (1.0 - 2.0 * u.abs()).max(1e-9).ln();
                row.iter_mut().zip(atom).for_each(|(x, a)| *x += value * a);
            }
        }
        values.extend(row);
    }
    let deviation = (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt();
    (
        values.into_iter().map(|x| (x / deviation) as f32).collect(),
        truth,
    )
}

fn dataset(samples: Vec<f32>, dim: usize) -> Dataset {
    Dataset {
        samples,
        dim,
        restore: Restore::Global {
            scale: 1.0,
            offset: 0.0,
        },
        labels: None,
    }
}

fn splits(pixels: usize, atoms: usize, count: usize) -> (Splits, Vec<f64>) {
    let (values, truth) = sparse_sums(pixels, atoms, count + 600, 4);
    let part = |rows: std::ops::Range<usize>| {
        dataset(
            values[rows.start * pixels..rows.end * pixels].to_vec(),
            pixels,
        )
    };
    let splits = Splits {
        train: part(0..count),
        validation: part(count..count + 300),
        test: part(count + 300..count + 600),
        shape: InputShape::window(pixels as u16),
        preprocessing: Preprocessing::IDENTITY,
        peak: 1.0,
        input: Default::default(),
        description: "sparse sums".to_owned(),
        read: String::new(),
        notes: Vec::new(),
    };
    (splits, truth)
}

fn config(preset: &str, settings: &[&str]) -> VariationalConfig {
    let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
    let preset = Variational::preset(preset).unwrap();
    preset.with_overrides(None, &settings).unwrap()
}

const SMALL: [&str; 8] = [
    "optimizer.dictionary_rate=0.2",
    "objective.kl_weight=0.04",
    "model.code_dim=16",
    "model.widths=[32, 32]",
    "batch_size=50",
    "schedule.noise_from=0.01",
    "schedule.noise_until=0.04",
    "objective.samples=10",
];

/// What a run of so many epochs ends with.
struct Learned {
    learner: VariationalLearner,
    /// Validation figures.
    figures: Figures,
    /// The share of the true atoms that it found.
    found: f64,
}

fn learned(preset: &str, more: &[&str], splits: &Splits, truth: &[f64]) -> Learned {
    let config = config(preset, &[&SMALL[..], more].concat());
    let facts = DataFacts::of(splits);
    let mut learner = VariationalLearner::new(&config, &facts, &Device::Cpu).unwrap();
    let train = Samples::new(splits.train.clone()).unwrap();
    let validation = Samples::new(splits.validation.clone()).unwrap();
    learner.begin(&train, &validation).unwrap();
    let batches = train.len() / config.batch_size;
    let order: Vec<u32> = (0..train.len() as u32).collect();
    for index in 0..config.epochs {
        let epoch = Epoch {
            set: &train,
            index,
            order: &order,
            batch_size: config.batch_size,
            batches,
        };
        for place in 0..batches {
            let made = epoch.step(&mut learner, place).unwrap();
            let at = index as usize * batches + place;
            let divergence = made.divergence;
            assert!(
                divergence.is_none(),
                "{preset} {more:?} {at}: {divergence:?}"
            );
        }
    }
    let figures = learner.measure(&validation, None).unwrap();
    let width = splits.train.dim;
    let rows = |values| metrics::Rows { values, width };
    let found = metrics::recovery(rows(learner.dictionary().atoms()), rows(truth));
    Learned {
        learner,
        figures,
        found,
    }
}

/// The orderings of the paper's experiment, on a small one: thresholds with the best of several
/// samples find the atoms; dense posteriors reconstruct better and find none; one sample and the
/// average find none. The deterministic code is better than the best sample, and FISTA on the same
/// atoms better than either. No component collapses, and repeated inferences hardly agree.
#[test]
fn thresholds_and_the_best_of_several_samples_find_the_atoms() {
    let (splits, truth) = splits(16, 16, 2000);
    let learn = |preset: &str, more: &[&str]| {
        let more = [&["epochs=40"], more].concat();
        learned(preset, &more, &splits, &truth)
    };
    let fixed = "variational/laplacian-fixed";
    let (sparse, dense) = (learn(fixed, &[]), learn("variational/laplacian", &[]));
    let few = learn(fixed, &["objective.samples=1"]).found;
    let average = learn(fixed, &["objective.select=average"]).found;
    let (found, none) = (sparse.found, dense.found);
    assert!(
        found > 0.3 && none < 0.15 && few < 0.15 && average < 0.15,
        "{found} {none} {few} {average}"
    );
    let figure = |of: &Learned, name: &str| of.figures.get(name).unwrap();
    assert!(figure(&sparse, "mse") < 0.75 * figure(&sparse, "mse_zero"));
    assert!(figure(&sparse, "mse") < figure(&sparse, "mse_one"));
    assert!(figure(&sparse, "mse_code") < figure(&sparse, "mse"));
    assert!(figure(&dense, "mse_one") < figure(&sparse, "mse_one"));
    assert!(figure(&sparse, "active") < 0.5 && figure(&dense, "active") == 1.0);

    let active = figure(&sparse, "active_code");
    let (inputs, dictionary) = (&splits.validation.samples, sparse.learner.dictionary());
    let (_, by_fista) = fista_of_activity(dictionary, inputs, CodeSign::Signed, active);
    assert!((by_fista.active - active).abs() < 0.01 * active);
    let error = figure(&sparse, "mse_code");
    assert!(by_fista.error < 0.75 * error, "{by_fista:?} {error}");

    let validation = Samples::new(splits.validation.clone()).unwrap();
    let codes = sparse.learner.code_statistics(&validation).unwrap();
    assert_eq!(codes.posterior_collapse, Some(0.0));
    let similarity = codes.support_similarity.unwrap();
    assert!(similarity < 0.5, "{similarity}");
    // What codes share is little beside what their sparsity says.
    let prior = codes.multi_information_of_prior.unwrap();
    let ratio = codes.multi_information / prior;
    assert!((0.3..3.0).contains(&ratio), "{ratio}");
}

/// Of every posterior with a dictionary: what is interrupted ends as if it had not been.
#[test]
fn an_interrupted_run_ends_where_an_uninterrupted_one_ends() {
    let presets = Variational::presets().into_iter();
    for name in presets.filter(|name| !name.contains("/conv-")) {
        let more = [
            "epochs=2",
            "data.train=300",
            "data.validation=60",
            "data.test=60",
        ];
        let config = config(&name, &[&SMALL[..], &more].concat());
        let folder = tempfile::tempdir().unwrap();
        let [whole, parts] =
            ["whole", "parts"].map(|name| RunFolder::new(folder.path().join(name)));
        assert_eq!(
            train(&config, &whole, usize::MAX),
            Ending::Finished,
            "{name}"
        );
        for stop_after in [4, 3] {
            assert_eq!(
                train(&config, &parts, stop_after),
                Ending::Interrupted,
                "{name}"
            );
        }
        assert_eq!(
            train(&config, &parts, usize::MAX),
            Ending::Finished,
            "{name}"
        );
        let bytes = |folder: &RunFolder| std::fs::read(folder.best()).unwrap();
        assert!(bytes(&whole) == bytes(&parts), "{name}: the files differ");
    }
}

fn train(config: &VariationalConfig, folder: &RunFolder, stop_after: usize) -> Ending {
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
    let splits = config.data.load(None, config.seed).unwrap();
    session.run(splits, &mut observer, &stop).unwrap().ending
}

#[test]
fn settings_out_of_range_are_named() {
    for (setting, key) in [
        ("objective.samples=0", "objective.samples"),
        ("posterior.threshold_level=0", "posterior.threshold_level"),
        ("posterior.open=1", "posterior.open"),
        ("model.code_dim=0", "model.code_dim"),
        ("model.widths=[0]", "model.widths"),
        ("schedule.noise=2", "schedule.noise"),
        (
            "optimizer.dictionary_decay=1.5",
            "optimizer.dictionary_decay",
        ),
    ] {
        let preset = Variational::preset("variational/gaussian").unwrap();
        let error = preset
            .with_overrides(None, &[setting.to_owned()])
            .unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
    let error = Variational::preset("variational/laplace")
        .unwrap_err()
        .to_string();
    assert!(error.contains("variational/laplacian-learned"), "{error}");
}

/// κ and T as the release has them.
#[test]
fn the_schedule_warms_up() {
    let schedule = ScheduleConfig {
        noise: 0.1,
        noise_from: 0.006_25,
        noise_until: 0.025,
        cooling: 0.9995,
        coolest: 0.5,
    };
    let at = |step| schedule.at(step, 240_000);
    assert_eq!(at(1500).noise, 0.1);
    assert!((at(1501).noise - 0.1002).abs() < 1e-12);
    assert_eq!(at(6000).noise, 1.0);
    assert_eq!(at(0).temperature, 1.0);
    assert!(at(1386).temperature == 0.5 && at(1385).temperature > 0.5);
}

/// Seeded samples have the distribution that the posterior's own formulas give random numbers, for
/// every posterior: means, squares, activity, and how they move with the heads.
#[test]
fn seeded_samples_have_the_posteriors_distribution() {
    let fixed = Sparsity::Fixed { threshold: 0.25 };
    let heads = Heads {
        shift: 0.4,
        scale: -1.2,
        spike: -0.7,
        shape: 0.6,
        rate: 1.5,
    };
    let (samples, count) = (1000, 100);
    for base in [Base::Gaussian, Base::Laplacian] {
        for sparsity in [Sparsity::Dense, fixed, LEARNED, GATE] {
            let posterior = posterior(base, sparsity);
            for noise in [0.5, 1.0] {
                let warmth = Warmth { noise, ..WARM };
                let all = vec![heads; count];
                let rng = generator(8, Stream::Noise { purpose: 7 });
                let sampler = Seeded::new(posterior, &all, [1, samples], warmth, rng, 3);
                let mut found = [0.0; 6];
                let mut expected = [0.0; 6];
                let mut given = generator(9, Stream::Weights);
                let gamma = Gamma::new(Posterior::threshold_shape(&heads), 1.0).unwrap();
                let mut code = Vec::new();
                for input in 0..count {
                    for sample in 0..samples {
                        let (units, draws) = sampler.units(input, sample);
                        sampler.code(input, sample, &mut code);
                        let value = code.first().map_or(0.0, |(_, value)| *value);
                        assert_eq!(value, units[0].value, "{base:?} {sparsity:?}");
                        let draw = Draw {
                            noise: match base {
                                _ if sparsity == GATE => StandardNormal.sample(&mut given),
                                Base::Gaussian => StandardNormal.sample(&mut given),
                                Base::Laplacian => given.random_range(-0.5..0.5),
                            },
                            gate: given.random(),
                            gamma: gamma.sample(&mut given),
                            gamma_by_shape: None,
                        };
                        let unit = posterior.sample(&heads, &draw, warmth);
                        let pairs = [
                            (&mut found, &units[0], &draws[0]),
                            (&mut expected, &unit, &draw),
                        ];
                        for (sums, unit, draw) in pairs {
                            // What a loss with the gradient z hands back.
                            let back = posterior.gradient(&heads, draw, unit, warmth, unit.value);
                            let values = [
                                unit.value,
                                unit.value * unit.value,
                                f64::from(u8::from(unit.is_active)),
                                unit.noise.abs(),
                                back.scale,
                                back.shape + back.rate + back.spike,
                            ];
                            sums.iter_mut()
                                .zip(values)
                                .for_each(|(sum, value)| *sum += value);
                        }
                    }
                }
                let total = (samples * count) as f64;
                for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
                    let apart = (found - expected).abs() / total;
                    assert!(
                        apart < 0.006,
                        "{base:?} {sparsity:?}, κ = {noise}, {place}: {} {}",
                        found / total,
                        expected / total
                    );
                }
            }
        }
    }
}

/// Draws of small shapes are as small as numbers get: `∂g/∂α → g (ψ(α) + 1/α − ln g)/α`.
#[test]
fn the_smallest_draws_have_a_gradient() {
    for shape in [1e-6, 0.005, 0.01, 0.02] {
        for draw in [5e-324, 1e-320, 1e-306, 1e-200] {
            let found = implicit_shape_gradient(shape, draw);
            let expected = draw / shape * (digamma(shape) + 1.0 / shape - draw.ln());
            // Of subnormal numbers few bits are left.
            let allowed = 1e-9 * expected.abs() + 1e5 * f64::from_bits(1) / shape;
            assert!(
                (found - expected).abs() <= allowed,
                "{shape} {draw}: {found} {expected}"
            );
        }
    }
}

/// Dense samples are compared in single precision first, whose rounding must not tell apart those
/// that are alike.
#[test]
fn of_samples_that_are_alike_the_first_counts() {
    let mut rng = generator(9, Stream::Noise { purpose: 3 });
    let (dim, count) = (37, 40);
    let mut numbers = |count: usize| -> Vec<f64> {
        (0..count)
            .map(|_| StandardNormal.sample(&mut rng))
            .collect()
    };
    let dictionary = Dictionary::new(numbers(4 * dim), dim);
    let inputs: Vec<f32> = numbers(count * dim).iter().map(|x| *x as f32).collect();
    let all = vec![heads(0.1, -1.0); 4 * count];
    // Of 6 samples, each of the first half comes again in the second one.
    let draw = |_: usize, sample: usize, unit: usize| Draw {
        noise: [0.5, -0.7, 0.2, -0.1][(sample % 3 + unit) % 4],
        ..Draw::default()
    };
    let objective = Objective {
        posterior: posterior(Base::Gaussian, Sparsity::Dense),
        samples: 6,
        select: Select::Best,
        kl_weight: 0.01,
    };
    let sampler = given(&objective, &all, 4, WARM, draw);
    let outcome = objective.evaluate(&inputs, &all, &dictionary, &sampler);
    let mut chosen = [0; 6];
    for counted in &outcome.counted {
        chosen[counted.sample] += 1;
    }
    assert_eq!(chosen[..3].iter().sum::<usize>(), count, "{chosen:?}");
    assert!(chosen[..3].iter().all(|times| *times > 0), "{chosen:?}");
}
