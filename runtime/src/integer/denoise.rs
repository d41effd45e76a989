//! A raw patch in, a clean patch out. All slices have the dimensions of the model.

use sparsecode_formats::IntegerFile;

use super::code::List;
#[cfg(feature = "denoise")]
use super::gram_encoder;
use super::preprocess;
use super::refine::{self, IntegerRefine, IntegerRefinement};
#[cfg(feature = "variational")]
use super::variational_encoder;
use super::workspace::Scratch;
use super::{decoder, encoder};
use crate::kernels::integer::Entry;

/// The model's own inference: LISTA, steps on the Gram matrix, a variational encoder, or, without
/// an encoder, refinement with [`IntegerRefine::for_inference`].
pub(crate) fn encode(
    file: &IntegerFile<'_>,
    patch: &[i16],
    code: &mut List<'_>,
    scratch: &mut Scratch<'_>,
) {
    #[cfg(feature = "variational")]
    if let Some(weights) = &file.variational {
        variational_encoder::encode(weights, patch, code, scratch);
        return;
    }
    match (&file.encoder, &file.gram) {
        (Some(weights), _) => {
            let limit = file.spec.activations.code_limit();
            encoder::encode(weights, limit, patch, code, scratch);
        }
        #[cfg(feature = "denoise")]
        (None, Some(weights)) => gram_encoder::encode(file, weights, patch, code, scratch),
        (None, _) => {
            let settings = IntegerRefine::for_inference(file);
            refine::refine(file, patch, code, &settings, scratch, &mut || false);
        }
    }
}

/// The reconstruction of a code, up to the patch's own contrast.
pub(crate) fn decode(
    file: &IntegerFile<'_>,
    code: &[Entry],
    patch: &mut [i16],
    scratch: &mut Scratch<'_>,
) {
    let limit = file.spec.activations.code_limit();
    decoder::decode(&file.decoder, limit, code, scratch.entries, patch);
}

/// Denoises `patch` in place.
pub(crate) fn denoise(
    file: &IntegerFile<'_>,
    patch: &mut [i16],
    settings: Option<&IntegerRefine>,
    code: &mut List<'_>,
    scratch: &mut Scratch<'_>,
    deadline: &mut dyn FnMut() -> bool,
) -> Option<IntegerRefinement> {
    let normalisation = preprocess::apply(file, patch);
    if settings.is_none_or(|settings| !settings.from_zero) {
        encode(file, patch, code, scratch);
    }
    let refinement =
        settings.map(|settings| refine::refine(file, patch, code, settings, scratch, deadline));
    decode(file, code.entries(), patch, scratch);
    preprocess::restore(file, patch, normalisation);
    refinement
}
