//! The model of the documentation's examples.

use std::vec;
use std::vec::Vec;

use crate::input::InputFacts;
use crate::owned::{OwnedDecoder, OwnedEncoder, OwnedGram, OwnedModel, OwnedProvenance, OwnedSpec};
use crate::preprocessing::Preprocessing;
use crate::spec::{CodeSign, InputShape, Variant};

/// Windows of 8 samples, 4 atoms of two adjacent samples each. U is Wᵀ, as before training.
#[must_use]
pub fn example(preprocessing: Preprocessing) -> OwnedModel {
    let atoms: Vec<f32> = (0..32)
        .map(|i| if i / 8 == i % 8 / 2 { 0.7 } else { 0.0 })
        .collect();
    OwnedModel {
        spec: OwnedSpec {
            variant: Variant::Sdl,
            input_shape: InputShape::window(8),
            code_dim: 4,
            hidden_dim: 0,
            lista_iterations: Some(1),
            codes: CodeSign::NonNegative,
            lambda: 0.01,
            preprocessing,
            peak: 1.0,
            input: InputFacts::default(),
            provenance: OwnedProvenance::default(),
        },
        encoder: Some(OwnedEncoder {
            input: atoms.clone(),
            bias: vec![0.0; 4],
            recurrent: vec![0.0; 16],
        }),
        gram: None,
        variational: None,
        decoder: OwnedDecoder::Linear { dictionary: atoms },
    }
}

/// A model without an encoder: only the dictionary Wᵀ \[l, d\], with whole rows of the shape's d.
#[must_use]
pub fn example_decoder(
    input_shape: InputShape,
    preprocessing: Preprocessing,
    dictionary: Vec<f32>,
) -> OwnedModel {
    let mut model = example(preprocessing);
    model.spec.variant = Variant::Do;
    model.spec.input_shape = input_shape;
    // A dictionary that is not such a matrix is refused when it is written.
    model.spec.code_dim = (dictionary.len() / input_shape.input_dim().max(1)) as u16;
    model.spec.lista_iterations = None;
    model.encoder = None;
    model.decoder = OwnedDecoder::Linear { dictionary };
    model
}

/// A model that denoises: `code_dim` cosines of norm 1, half of them the opposites of the others,
/// over windows of `window` samples, with thresholds, steps and gains as after training.
#[must_use]
pub fn example_denoiser(window: u16, code_dim: u16, iterations: u8) -> OwnedModel {
    let (d, l) = (usize::from(window), usize::from(code_dim));
    let mut dictionary = Vec::with_capacity(d * l);
    for atom in 0..l {
        let sign = if atom % 2 == 0 { 1.0 } else { -1.0 };
        let wave = |sample: usize| {
            let phase = (sample as f32 + 0.5) * (atom / 2) as f32 / d as f32;
            (phase * core::f32::consts::PI).cos()
        };
        let norm = (0..d).map(|sample| wave(sample).powi(2)).sum::<f32>();
        let scale = sign / norm.sqrt().max(f32::MIN_POSITIVE);
        dictionary.extend((0..d).map(|sample| scale * wave(sample)));
    }
    let mut model = example_decoder(
        InputShape::window(window),
        Preprocessing::IDENTITY,
        dictionary,
    );
    model.spec.variant = Variant::Denoise;
    let steps = usize::from(iterations);
    // From 0.3 to 1.1, as different as those of a trained model.
    let uneven = |index: usize| 0.3 + 0.1 * ((index * 7) % 9) as f32;
    model.gram = Some(OwnedGram {
        steps: (0..steps)
            .map(|step| 0.35 - 0.05 * (step % 3) as f32)
            .collect(),
        thresholds: (0..steps * l).map(uneven).collect(),
        gain: (0..l).map(|index| 0.7 + uneven(index)).collect(),
        noise_level: 0.2,
        window_weights: (0..d).map(|index| 0.5 + uneven(index)).collect(),
        hop: (window / 4).max(1),
        drift: None,
        is_white: true,
        guard: 1.3,
    });
    model
}
