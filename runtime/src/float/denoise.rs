//! A raw patch in, a clean patch out.

#[cfg(feature = "denoise")]
use sparsecode_formats::Contrast;
use sparsecode_formats::ModelFile;

use super::code::{self, CodeBuffer};
#[cfg(feature = "denoise")]
use super::gram_encoder;
use super::preprocess::{self, Normalisation};
use super::refine::{self, Refine, Refinement, Start};
#[cfg(feature = "variational")]
use super::variational_encoder;
use super::workspace::Scratch;
use super::{decoder, encoder};

/// What [`denoise`](crate::Model::denoise) did to a patch.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Denoised {
    /// Number of active components of the code.
    pub active: usize,
    /// How the refinement went; `None` if none was asked for.
    pub refinement: Option<Refinement>,
    /// The normalisation that was applied and undone.
    pub normalisation: Normalisation,
}

/// The model's own inference: LISTA, steps on the Gram matrix, a variational encoder, or, without
/// an encoder, FISTA with [`Refine::for_inference`].
pub(crate) fn encode<C: CodeBuffer>(
    file: &ModelFile<'_>,
    input: &[f32],
    code: &mut C,
    scratch: &mut Scratch<'_>,
) {
    let iterations = file.spec.lista_iterations.unwrap_or(0);
    #[cfg(feature = "variational")]
    if let Some(weights) = &file.variational {
        variational_encoder::encode(weights, iterations, input, code, scratch);
        return;
    }
    match (&file.encoder, &file.gram) {
        (Some(weights), _) => {
            encoder::encode(weights, iterations, input, code, scratch);
        }
        #[cfg(feature = "denoise")]
        (None, Some(weights)) => {
            gram_encoder::encode(&file.decoder, weights, input, code, scratch);
        }
        (None, _) => {
            let settings = Refine::for_inference(&file.spec);
            let codes = file.spec.codes;
            refine::refine(
                &file.decoder,
                codes,
                input,
                code,
                &settings,
                scratch,
                &mut || false,
            );
        }
    }
}

#[cfg(feature = "denoise")]
/// A file with another level of noise, in raw units.
pub(crate) fn at_noise_level<'a>(mut file: ModelFile<'a>, sigma: f32) -> ModelFile<'a> {
    let unit = noise_unit(&file);
    if let Some(gram) = &mut file.gram {
        gram.noise_level = sigma / unit;
    }
    file
}

/// What a level of noise of 1 is in raw units.
#[cfg(feature = "denoise")]
pub(crate) fn noise_unit(file: &ModelFile<'_>) -> f32 {
    match file.spec.preprocessing.contrast {
        Contrast::Local { .. } => 1.0,
        _ => file.spec.preprocessing.deviation,
    }
}

/// The reconstruction of a code, with the gain of a model that denoises.
pub(crate) fn decode<C: CodeBuffer>(
    file: &ModelFile<'_>,
    code: &C,
    hidden: &mut [f32],
    output: &mut [f32],
) {
    let entries = &mut code::entries(code);
    match &file.gram {
        #[cfg(feature = "denoise")]
        Some(gram) => {
            let gain = |index: usize| gram.gain.get(index).copied().unwrap_or(0.0);
            let weighted = &mut entries.map(|(index, value)| (index, value * gain(index)));
            decoder::decode(&file.decoder, weighted, hidden, output);
        }
        _ => decoder::decode(&file.decoder, entries, hidden, output),
    }
}

/// Denoises `patch` in place. All slices have the dimensions of the model.
pub(crate) fn denoise<C: CodeBuffer>(
    file: &ModelFile<'_>,
    patch: &mut [f32],
    settings: Option<&Refine>,
    code: &mut C,
    scratch: &mut Scratch<'_>,
    deadline: &mut dyn FnMut() -> bool,
) -> Denoised {
    let normalisation = preprocess::apply(file, patch);
    if settings.is_none_or(|settings| settings.start == Start::Code) {
        encode(file, patch, code, scratch);
    }
    let refinement = settings.map(|settings| {
        refine::refine(
            &file.decoder,
            file.spec.codes,
            patch,
            code,
            settings,
            scratch,
            deadline,
        )
    });
    decode(file, code, scratch.hidden, patch);
    preprocess::restore(file, patch, normalisation);
    Denoised {
        active: code.active(),
        refinement,
        normalisation,
    }
}
