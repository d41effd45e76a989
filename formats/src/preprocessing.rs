//! From raw samples to what a model was trained on, as the metadata says it.

use core::fmt;
use core::str::FromStr;

use crate::decimal::{integer, real, split_once};
use crate::error::SpecError;

/// What is done to each patch after the affine normalisation of [`Preprocessing`].
///
/// As text `none`, `remove-mean`, `standardize:FLOOR` or `local:WINDOW:SIGMA:FLOOR`.
///
/// ```
/// use sparsecode_formats::Contrast;
///
/// let local: Contrast = "local:13:5:0.001".parse()?;
/// assert_eq!(local, Contrast::Local { window: 13, sigma: 5.0, floor: 0.001 });
/// assert_eq!(Contrast::Standardize { floor: 0.1 }.to_string(), "standardize:0.1");
/// assert!("standardize:0".parse::<Contrast>().is_err());
/// # Ok::<(), sparsecode_formats::SpecError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Contrast {
    /// Nothing.
    None,
    /// Subtract the patch's mean.
    RemoveMean,
    /// Subtract the patch's mean and divide by `max(population standard deviation, floor)`.
    Standardize {
        /// Smallest divisor, in the unit of the affinely normalised sample; finite and above 0.
        floor: f32,
    },
    /// Local contrast normalisation of a whole image with a Gaussian window: a patch is cut out
    /// *afterwards*, so a patch handed to the runtime is already normalised.
    Local {
        /// Side of the square Gaussian window, in pixels; odd.
        window: u16,
        /// Standard deviation of the Gaussian, in pixels; finite and above 0.
        sigma: f32,
        /// Smallest local deviation, in the unit of the affinely normalised image; finite and above
        /// 0.
        floor: f32,
    },
}

impl Contrast {
    pub(crate) fn check(self) -> Result<(), SpecError> {
        let positive = |x: f32| x.is_finite() && x > 0.0;
        let good = match self {
            Self::None | Self::RemoveMean => true,
            Self::Standardize { floor } => positive(floor),
            Self::Local {
                window,
                sigma,
                floor,
            } => window % 2 == 1 && positive(sigma) && positive(floor),
        };
        if good { Ok(()) } else { Err(Self::ERROR) }
    }

    /// What the text says, in range or not.
    fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => return Some(Self::None),
            "remove-mean" => return Some(Self::RemoveMean),
            _ => {}
        }
        match split_once(text, b':')? {
            ("standardize", floor) => Some(Self::Standardize {
                floor: real(floor)?,
            }),
            ("local", values) => {
                let (window, values) = split_once(values, b':')?;
                let (sigma, floor) = split_once(values, b':')?;
                Some(Self::Local {
                    window: integer(window)?,
                    sigma: real(sigma)?,
                    floor: real(floor)?,
                })
            }
            _ => None,
        }
    }

    const ERROR: SpecError = SpecError {
        field: "contrast",
        expected: "none, remove-mean, standardize:FLOOR or local:WINDOW:SIGMA:FLOOR, with an odd window, sigma and floor above 0",
    };
}

impl fmt::Display for Contrast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::RemoveMean => f.write_str("remove-mean"),
            Self::Standardize { floor } => write!(f, "standardize:{floor}"),
            Self::Local {
                window,
                sigma,
                floor,
            } => write!(f, "local:{window}:{sigma}:{floor}"),
        }
    }
}

impl FromStr for Contrast {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let contrast = Self::parse(text).ok_or(Self::ERROR)?;
        contrast.check().map(|()| contrast)
    }
}

/// From raw samples to what the model was trained on: `y = (x − mean) / deviation`, then
/// `contrast`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Preprocessing {
    /// Subtracted from every raw sample; in raw units, finite.
    pub mean: f32,
    /// Every sample is divided by it; in raw units, finite and above 0.
    pub deviation: f32,
    /// What follows, patch by patch.
    pub contrast: Contrast,
}

impl Preprocessing {
    /// Samples are used as they are.
    pub const IDENTITY: Self = Self {
        mean: 0.0,
        deviation: 1.0,
        contrast: Contrast::None,
    };
}
