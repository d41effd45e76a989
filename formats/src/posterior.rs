//! What samples of codes are drawn from: the posterior of a variational model.

use core::fmt;
use core::str::FromStr;

use crate::decimal::real;
use crate::error::SpecError;
use crate::layer::Layer;

/// What the noise of a sample is made of. The text name is the value of the metadata key
/// `posterior`.
///
/// ```
/// use sparsecode_formats::PosteriorBase;
///
/// assert_eq!("laplacian".parse(), Ok(PosteriorBase::Laplacian));
/// assert_eq!(PosteriorBase::Gaussian.name(), "gaussian");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PosteriorBase {
    /// Normal noise. The scale head is the logarithm of its variance.
    Gaussian,
    /// Laplacian noise. The scale head is the logarithm of its scale.
    Laplacian,
}

impl PosteriorBase {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Gaussian, Self::Laplacian];

    /// The text name: `"gaussian"` or `"laplacian"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gaussian => "gaussian",
            Self::Laplacian => "laplacian",
        }
    }
}

impl fmt::Display for PosteriorBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for PosteriorBase {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let known = Self::ALL.into_iter().find(|base| base.name() == text);
        known.ok_or(SpecError {
            field: "posterior",
            expected: "gaussian or laplacian",
        })
    }
}

/// What is expected of the metadata key `posterior_threshold`.
pub(crate) const THRESHOLD: SpecError = SpecError {
    field: "posterior_threshold",
    expected: "none, a finite number above 0, or, for the posterior laplacian, learned",
};

/// The value of the metadata key `posterior_threshold`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ThresholdText {
    None,
    Fixed(f32),
    Learned,
}

impl ThresholdText {
    pub(crate) fn parse(text: &str, base: PosteriorBase) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "learned" => (base == PosteriorBase::Laplacian).then_some(Self::Learned),
            _ => real(text).filter(|level| *level > 0.0).map(Self::Fixed),
        }
    }
}

/// The threshold of a posterior's noise.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[allow(clippy::large_enum_variant, reason = "there is no allocator")]
pub enum PosteriorThreshold<'a> {
    /// There is none: every component of a sample is active.
    None,
    /// λ, the same for every component; finite and above 0.
    Fixed(f32),
    /// λ ~ Gamma(α, β) with a shape and a rate for each component and input. Of Laplacian noise
    /// alone.
    Learned {
        /// `encoder.shape`: the head \[l, w\] that gives ln α.
        shape: Layer<'a>,
        /// `encoder.rate`: the head \[l, w\] that gives ln β.
        rate: Layer<'a>,
    },
}

/// What samples of codes are drawn from. With noise e of the base, a component is `z = μ +
/// sign(e)(|e| − λ)` where |e| exceeds λ, and 0 elsewhere (Fallah & Rozell 2022).
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Posterior<'a> {
    /// What the noise is made of.
    pub base: PosteriorBase,
    /// λ.
    pub threshold: PosteriorThreshold<'a>,
    /// `encoder.scale`: the head \[l, w\] that gives the logarithm of the noise's scale or
    /// variance. Where the scale selects components, the head of
    /// [`Variational::scale`](crate::Variational::scale).
    pub scale: Layer<'a>,
}
