//! The families of models, and which one a preset or a run is of.

use crate::denoising::Denoise;
use crate::run::{RunFolder, Settings as _, family_named};
use crate::variational::Variational;

/// The families of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FamilyName {
    /// Sparse autoencoders of the first paper.
    Lista,
    /// What denoises.
    Denoise,
    /// Variational sparse coding.
    Variational,
}

impl FamilyName {
    /// The family of a preset, by its name.
    pub(super) fn of_preset(preset: &str) -> Self {
        match preset {
            preset if preset.starts_with("variational/") => Self::Variational,
            preset if preset.ends_with("/denoise") => Self::Denoise,
            _ => Self::Lista,
        }
    }

    /// By the name in a file; files of the first family may have none.
    pub(super) fn of_name(name: Option<&str>) -> Self {
        match name {
            Some(Denoise::NAME) => Self::Denoise,
            Some(Variational::NAME) => Self::Variational,
            _ => Self::Lista,
        }
    }

    /// The family of a run.
    pub(super) fn of_run(folder: &RunFolder) -> Option<Self> {
        let name = family_named(&folder.config()).ok()?;
        Some(Self::of_name(name.as_deref()))
    }
}

/// An expression for a family that is known by its name: `with_family!(name, F => work::<F>())`.
macro_rules! with_family {
    ($name:expr, $family:ident => $work:expr) => {
        match $name {
            $crate::cli::family::FamilyName::Lista => {
                type $family = $crate::lista::Lista;
                $work
            }
            $crate::cli::family::FamilyName::Denoise => {
                type $family = $crate::denoising::Denoise;
                $work
            }
            $crate::cli::family::FamilyName::Variational => {
                type $family = $crate::variational::Variational;
                $work
            }
        }
    };
}
pub(super) use with_family;
