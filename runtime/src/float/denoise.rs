//! A raw patch in, a clean patch out.

use sparsecode_formats::ModelFile;

use super::code::{self, CodeBuffer};
use super::preprocess::{self, Normalisation};
use super::refine::{self, Refine, Refinement, Start};
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

/// The model's own inference: LISTA, or, without an encoder, FISTA with [`Refine::for_inference`].
pub(crate) fn encode<C: CodeBuffer>(
    file: &ModelFile<'_>,
    input: &[f32],
    code: &mut C,
    scratch: &mut Scratch<'_>,
) {
    match &file.encoder {
        Some(weights) => {
            let iterations = file.spec.lista_iterations.unwrap_or(0);
            encoder::encode(weights, iterations, input, code, scratch);
        }
        None => {
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

/// Denoises `patch` in place. All slices have the dimensions of the model.
pub(crate) fn denoise<C: CodeBuffer>(
    file: &ModelFile<'_>,
    patch: &mut [f32],
    settings: Option<&Refine>,
    code: &mut C,
    scratch: &mut Scratch<'_>,
    deadline: &mut dyn FnMut() -> bool,
) -> Denoised {
    let normalisation = preprocess::apply(&file.spec.preprocessing, patch);
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
    decoder::decode(
        &file.decoder,
        &mut code::entries(code),
        scratch.hidden,
        patch,
    );
    preprocess::restore(&file.spec.preprocessing, patch, normalisation);
    Denoised {
        active: code.active(),
        refinement,
        normalisation,
    }
}
