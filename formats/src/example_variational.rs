//! Variational models of the tests, made up.

// Host code: indices come from shapes that are made here.
#![allow(clippy::indexing_slicing)]

use std::vec;
use std::vec::Vec;

use crate::example::example_decoder;
use crate::owned::{
    OwnedEncoder, OwnedLayer, OwnedModel, OwnedPosterior, OwnedThreshold, OwnedVariational,
    OwnedVariationalBody,
};
use crate::posterior::PosteriorBase;
use crate::preprocessing::Preprocessing;
use crate::spec::{CodeSign, InputShape, Variant};

/// Reproducible numbers in ±1.
struct Numbers(u32);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    fn take(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| scale * self.next()).collect()
    }

    /// A layer whose outputs are about as large as its inputs.
    fn layer(&mut self, outputs: usize, inputs: usize) -> OwnedLayer {
        OwnedLayer {
            weights: self.take(outputs * inputs, (6.0 / inputs as f32).sqrt()),
            bias: self.take(outputs, 0.1),
        }
    }
}

fn affine(weights: &[f32], bias: &[f32], x: &[f32]) -> Vec<f32> {
    let rows = weights.chunks(x.len()).zip(bias);
    rows.map(|(row, bias)| bias + dot(row, x)).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What four of five of these numbers are not above.
fn most(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values[values.len() * 4 / 5]
}

/// A variational model of windows of `window` samples in ±1 with `code_dim` atoms of norm 1. Its
/// trunk has these `widths`; without any its body is LISTA with 3 iterations. A fifth of its
/// components is selected on samples such as these, by the scale or by the shift.
#[must_use]
pub fn example_variational(
    window: u16,
    code_dim: u16,
    widths: &[u16],
    by_scale: bool,
) -> OwnedModel {
    let (d, l) = (usize::from(window), usize::from(code_dim));
    let mut numbers = Numbers(31);
    let mut atoms = numbers.take(l * d, 1.0);
    for atom in atoms.chunks_mut(d) {
        let norm = dot(atom, atom).sqrt().max(f32::MIN_POSITIVE);
        atom.iter_mut().for_each(|weight| *weight /= norm);
    }
    let samples: Vec<Vec<f32>> = (0..32).map(|_| numbers.take(d, 1.0)).collect();
    let (body, features, shifts) = match widths {
        [] => lista(&mut numbers, &atoms, &samples),
        _ => dense(&mut numbers, widths, l, samples),
    };
    let scale = by_scale.then(|| numbers.layer(l, features[0].len()));
    let decides: Vec<Vec<f32>> = match &scale {
        Some(head) => features
            .iter()
            .map(|x| affine(&head.weights, &head.bias, x))
            .collect(),
        None => shifts
            .iter()
            .map(|shift| shift.iter().map(|x| x.abs()).collect())
            .collect(),
    };
    let thresholds = (0..l).map(|k| most(decides.iter().map(|x| x[k]).collect()));
    let encoder = OwnedVariational {
        body,
        scale,
        thresholds: thresholds.collect(),
        gain: 0.7,
        input_mean: None,
        posterior: None,
    };
    let shape = InputShape::window(window);
    let mut model = example_decoder(shape, Preprocessing::IDENTITY, atoms);
    model.spec.variant = Variant::Variational;
    model.spec.codes = CodeSign::Signed;
    model.spec.lista_iterations = widths.is_empty().then_some(3);
    model.variational = Some(encoder);
    model
}

/// The same model with a posterior to draw samples from. Its threshold is `level`, or there is
/// none, or it is learned, with a mean near `level`. A component is active with a probability of
/// about `exp(−2·level)`, 2 % to 50 % where `level` is 1.
///
/// # Panics
///
/// If the model is not variational.
#[must_use]
#[allow(clippy::expect_used, reason = "models of the tests")]
pub fn example_posterior(
    mut model: OwnedModel,
    base: PosteriorBase,
    level: Option<f32>,
    is_learned: bool,
) -> OwnedModel {
    let mut numbers = Numbers(47);
    let encoder = model.variational.as_mut().expect("a variational model");
    let codes = encoder.thresholds.len();
    let width = match &encoder.body {
        OwnedVariationalBody::Dense { trunk, .. } => {
            trunk.last().map_or(0, |layer| layer.bias.len())
        }
        OwnedVariationalBody::Lista { .. } => codes,
    };
    let mut head = |mean: f32| OwnedLayer {
        weights: numbers.take(codes * width, (0.4 / width as f32).sqrt()),
        bias: numbers.take(codes, 0.2).iter().map(|x| mean + x).collect(),
    };
    // The logarithm of a variance, or of a scale.
    let logarithm = match base {
        PosteriorBase::Gaussian => -1.0,
        PosteriorBase::Laplacian => -0.7,
    };
    let scale = head(logarithm);
    let threshold = match (level, is_learned) {
        (None, _) => OwnedThreshold::None,
        (Some(level), false) => OwnedThreshold::Fixed(level),
        (Some(level), true) => OwnedThreshold::Learned {
            shape: head(3.0_f32.ln()),
            rate: head((3.0 / level).ln()),
        },
    };
    encoder.posterior = Some(OwnedPosterior {
        base,
        threshold,
        scale: encoder.scale.is_none().then_some(scale),
    });
    model
}

/// What a body is, what a scale head takes, and the shifts.
type Body = (OwnedVariationalBody, Vec<Vec<f32>>, Vec<Vec<f32>>);

fn dense(numbers: &mut Numbers, widths: &[u16], codes: usize, samples: Vec<Vec<f32>>) -> Body {
    let (mut trunk, mut trunk_max, mut features) = (Vec::new(), Vec::new(), samples);
    for &width in widths {
        let layer = numbers.layer(width.into(), features[0].len());
        let mut largest = 0.0_f32;
        for x in &mut features {
            *x = affine(&layer.weights, &layer.bias, x);
            for unit in x {
                *unit = unit.max(0.0);
                largest = largest.max(*unit);
            }
        }
        trunk.push(layer);
        trunk_max.push(largest);
    }
    let shift = numbers.layer(codes, features[0].len());
    let shifts = features
        .iter()
        .map(|x| affine(&shift.weights, &shift.bias, x))
        .collect();
    let body = OwnedVariationalBody::Dense {
        trunk,
        trunk_max,
        shift,
    };
    (body, features, shifts)
}

/// Steps of ISTA with a step of 1/4: U is the step's share of Wᵀ, S what it leaves of a code. θ
/// makes some of the components 0 in between.
fn lista(numbers: &mut Numbers, atoms: &[f32], samples: &[Vec<f32>]) -> Body {
    let d = samples[0].len();
    let rows: Vec<&[f32]> = atoms.chunks(d).collect();
    let l = rows.len();
    let mut recurrent = vec![0.0; l * l];
    for (i, a) in rows.iter().enumerate() {
        for (j, b) in rows.iter().enumerate() {
            recurrent[i * l + j] = f32::from(u8::from(i == j)) - 0.25 * dot(a, b);
        }
    }
    let encoder = OwnedEncoder {
        input: atoms.iter().map(|weight| 0.25 * weight).collect(),
        bias: numbers.take(l, 0.01),
        recurrent,
    };
    let shrinkage: Vec<f32> = numbers.take(l, 0.03).iter().map(|x| 0.09 + x).collect();
    let shrink = |v: &[f32]| -> Vec<f32> {
        let pairs = v.iter().zip(&shrinkage);
        pairs
            .map(|(v, t)| (v.abs() - t).max(0.0) * v.signum())
            .collect()
    };
    let shift = |y: &Vec<f32>| {
        let drive = affine(&encoder.input, &encoder.bias, y);
        // S is symmetric.
        (0..3).fold(shrink(&drive), |z, _| {
            shrink(&affine(&encoder.recurrent, &drive, &z))
        })
    };
    let shifts: Vec<Vec<f32>> = samples.iter().map(shift).collect();
    let magnitudes = shifts
        .iter()
        .map(|shift| shift.iter().map(|x| x.abs()).collect())
        .collect();
    let body = OwnedVariationalBody::Lista { encoder, shrinkage };
    (body, magnitudes, shifts)
}
