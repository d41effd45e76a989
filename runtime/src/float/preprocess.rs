//! From raw samples to what the model was trained on, and back.

use sparsecode_formats::{Contrast, ModelFile};

use crate::kernels::float::portable;

/// What [`preprocess`](crate::Model::preprocess) did to one patch, which
/// [`restore`](crate::Model::restore) undoes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[must_use = "restoring the patch needs it"]
pub enum Normalisation {
    /// The patch became `((x − a)/b − mean)/deviation`, with the model's own `a` and `b` and these
    /// two of the patch.
    Patch {
        /// Mean of the patch after the model's normalisation; 0 where the model leaves it in.
        mean: f32,
        /// What the patch was divided by, greater than 0; 1 where the model does not divide.
        deviation: f32,
    },
    /// Nothing was done: local contrast normalisation needs the surroundings of a patch, so the
    /// caller does it on the whole image, keeps the local means and deviations, and undoes it; or
    /// leaves all of that to a [`ContrastFrameStream`](crate::stream::ContrastFrameStream).
    External,
}

/// What is taken off each number of a patch beside the mean of all.
fn input_mean<'a>(file: &ModelFile<'a>) -> &'a [f32] {
    #[cfg(feature = "variational")]
    if let Some(mean) = file.variational.as_ref().and_then(|model| model.input_mean) {
        return mean;
    }
    let _ = file;
    &[]
}

/// Normalises `patch` in place: the affine map of the whole data set, then the patch's own
/// contrast.
pub(crate) fn apply(file: &ModelFile<'_>, patch: &mut [f32]) -> Normalisation {
    let preprocessing = &file.spec.preprocessing;
    for (value, mean) in patch.iter_mut().zip(input_mean(file)) {
        *value -= mean;
    }
    if let Contrast::Local { .. } = preprocessing.contrast {
        return Normalisation::External;
    }
    for value in patch.iter_mut() {
        *value = (*value - preprocessing.mean) / preprocessing.deviation;
    }
    let count = patch.len().max(1) as f32;
    let mean = match preprocessing.contrast {
        Contrast::RemoveMean | Contrast::Standardize { .. } => portable::sum(patch) / count,
        _ => 0.0,
    };
    for value in patch.iter_mut() {
        *value -= mean;
    }
    let deviation = match preprocessing.contrast {
        Contrast::Standardize { floor } => {
            let deviation = libm::sqrtf(portable::sum_of_squares(patch) / count);
            // `max` prefers the floor over NaN.
            deviation.max(floor).max(f32::MIN_POSITIVE)
        }
        _ => 1.0,
    };
    for value in patch.iter_mut() {
        *value /= deviation;
    }
    Normalisation::Patch { mean, deviation }
}

/// Undoes [`apply`].
pub(crate) fn restore(file: &ModelFile<'_>, patch: &mut [f32], normalisation: Normalisation) {
    let preprocessing = &file.spec.preprocessing;
    if let Normalisation::Patch { mean, deviation } = normalisation {
        for value in patch.iter_mut() {
            let normalised = *value * deviation + mean;
            *value = normalised * preprocessing.deviation + preprocessing.mean;
        }
    }
    for (value, mean) in patch.iter_mut().zip(input_mean(file)) {
        *value += mean;
    }
}
