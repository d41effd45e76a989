//! The part of models that denoise.

use std::borrow::ToOwned;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::WriteError;
use crate::error::SpecError;
use crate::header::{DRIFT, HOP};
use crate::owned::OwnedGram;
use crate::spec::ModelSpec;

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
