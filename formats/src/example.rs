//! The model of the documentation's examples.

use std::vec;
use std::vec::Vec;

use crate::input::InputFacts;
use crate::owned::{OwnedDecoder, OwnedEncoder, OwnedModel, OwnedProvenance, OwnedSpec};
use crate::spec::{CodeSign, InputShape, Preprocessing, Variant};

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
