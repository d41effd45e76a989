//! What is asked of a model's parts before they are written, and what the metadata says of them.

use std::borrow::ToOwned;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::error::WriteError;
use crate::error::SpecError;
use crate::header::{DRIFT, HOP};
use crate::owned::{
    OwnedGram, OwnedModel, OwnedPosterior, OwnedThreshold, OwnedVariational, OwnedVariationalBody,
};
use crate::posterior::{PosteriorBase, THRESHOLD};
use crate::preprocessing::Contrast;
use crate::spec::{ModelSpec, Variant};
use crate::widths::EncoderWidths;

pub(super) fn check_gram(gram: &OwnedGram, spec: &ModelSpec<'_>) -> Result<(), WriteError> {
    let test = |good: bool, field, expected| match good {
        true => Ok(()),
        false => Err(SpecError { field, expected }),
    };
    let (shape, odd) = (spec.input_shape, |length: u16| length % 2 == 1);
    test(
        gram.thresholds.len() == gram.steps.len() * spec.code_dim(),
        "encoder.thresholds",
        "a threshold for each component and iteration",
    )?;
    test(
        gram.noise_level.is_finite() && gram.noise_level > 0.0,
        "noise_level",
        "a finite number above 0",
    )?;
    test((1..=shape.longest_hop()).contains(&gram.hop), "hop", HOP)?;
    test(
        gram.drift
            .is_none_or(|length| shape.is_window() && (3..=4095).contains(&length) && odd(length)),
        "drift",
        DRIFT,
    )?;
    test(
        gram.guard.is_finite() && gram.guard >= 0.0,
        "guard",
        "a finite number, 0 or more",
    )?;
    test(
        gram.window_weights.len() == shape.overlap_weights(),
        "window.weights",
        "a number for each sample of a window, or for each row and each column of a patch",
    )?;
    test(
        gram.window_weights
            .iter()
            .all(|weight| (1e-6..=1e6).contains(weight)),
        "window.weights",
        "numbers of 1e-6 to 1e6",
    )?;
    Ok(())
}

/// What the metadata says of a model that denoises.
pub(crate) fn stream_entries(gram: Option<&OwnedGram>) -> Vec<(&'static str, String)> {
    let Some(gram) = gram else {
        return Vec::new();
    };
    let mut entries = vec![("hop", gram.hop.to_string())];
    entries.extend(gram.drift.map(|length| ("drift", length.to_string())));
    if !gram.is_white {
        entries.push(("noise", "recorded".to_owned()));
    }
    entries
}

/// How wide the trunk's layers are; `None` without a trunk.
pub(super) fn widths(
    encoder: Option<&OwnedVariational>,
) -> Result<Option<EncoderWidths>, WriteError> {
    let Some(OwnedVariational {
        body: OwnedVariationalBody::Dense { trunk, .. },
        ..
    }) = encoder
    else {
        return Ok(None);
    };
    let widths: Option<Vec<u16>> = trunk
        .iter()
        .map(|layer| u16::try_from(layer.bias.len()).ok())
        .collect();
    let widths = widths.and_then(|widths| EncoderWidths::new(&widths));
    widths.map(Some).ok_or(WriteError::Layout {
        field: "encoder_widths",
        expected: "1 to 4 layers of 1 to 65535 outputs",
    })
}

/// Whether there is such an encoder exactly if the specification says so, and its numbers are in
/// their ranges.
pub(super) fn check_variational(
    model: &OwnedModel,
    spec: &ModelSpec<'_>,
) -> Result<(), WriteError> {
    let test = |good: bool, field, expected| match good {
        true => Ok(()),
        false => Err(WriteError::Spec(SpecError { field, expected })),
    };
    let is_variational = spec.variant == Variant::Variational;
    test(
        model.variational.is_some() == is_variational,
        "variant",
        "variational exactly if there is such an encoder",
    )?;
    let Some(encoder) = &model.variational else {
        return Ok(());
    };
    test(
        model.encoder.is_none(),
        "encoder.input",
        "no encoder beside that of a variational model",
    )?;
    test(
        encoder.gain.is_finite() && encoder.gain > 0.0,
        "code_gain",
        "a finite number above 0",
    )?;
    if let OwnedVariationalBody::Lista { shrinkage, .. } = &encoder.body {
        test(
            shrinkage.iter().all(|threshold| *threshold >= 0.0),
            "encoder.shrinkage",
            "numbers of 0 or more",
        )?;
    }
    if let Some(posterior) = &encoder.posterior {
        let is_good = match posterior.threshold {
            OwnedThreshold::None => true,
            OwnedThreshold::Fixed(level) => level.is_finite() && level > 0.0,
            OwnedThreshold::Learned { .. } => posterior.base == PosteriorBase::Laplacian,
        };
        test(is_good, THRESHOLD.field, THRESHOLD.expected)?;
        test(
            posterior.scale.is_none() == encoder.scale.is_some(),
            "encoder.scale",
            "a head of the posterior exactly if none selects components",
        )?;
    }
    if encoder.input_mean.is_some() {
        let preprocessing = &spec.preprocessing;
        test(
            preprocessing.mean == 0.0,
            "mean",
            "0 beside the tensor input.mean",
        )?;
        test(
            preprocessing.contrast == Contrast::None,
            "contrast",
            "none beside the tensor input.mean",
        )?;
    }
    Ok(())
}

/// What the metadata says of what samples are drawn from.
pub(super) fn posterior_entries(encoder: Option<&OwnedVariational>) -> Vec<(&'static str, String)> {
    let posterior = encoder.and_then(|encoder| encoder.posterior.as_ref());
    let Some(OwnedPosterior {
        base, threshold, ..
    }) = posterior
    else {
        return Vec::new();
    };
    let threshold = match threshold {
        OwnedThreshold::None => "none".to_owned(),
        OwnedThreshold::Fixed(level) => level.to_string(),
        OwnedThreshold::Learned { .. } => "learned".to_owned(),
    };
    vec![
        ("posterior", base.to_string()),
        (THRESHOLD.field, threshold),
    ]
}

/// What the metadata says of how components are selected.
pub(crate) fn selection(encoder: Option<&OwnedVariational>) -> Vec<(&'static str, String)> {
    let Some(encoder) = encoder else {
        return Vec::new();
    };
    let selection = match encoder.scale {
        Some(_) => "scale",
        None => "shift",
    };
    vec![
        ("code_gain", encoder.gain.to_string()),
        ("selection", selection.to_owned()),
    ]
}
