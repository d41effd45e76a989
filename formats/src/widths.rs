//! How wide the layers of a dense encoder are.

use core::fmt;
use core::str::FromStr;

use crate::decimal::{integer, split_once};
use crate::error::SpecError;

/// Outputs of the layers of a dense encoder's trunk, from the first: 1 to 4 of them, each 1 to
/// 65535.
///
/// As text `128,64`, the value of the metadata key `encoder_widths`.
///
/// ```
/// use sparsecode_formats::EncoderWidths;
///
/// # #[cfg(feature = "variational")] {
/// let widths: EncoderWidths = "128,64".parse()?;
/// assert!(widths.iter().eq([128, 64]));
/// assert_eq!((widths.last(), widths.widest(), widths.widest_pair()), (64, 128, 192));
/// assert_eq!(EncoderWidths::new(&[128, 64]), Some(widths));
/// assert!("128,0".parse::<EncoderWidths>().is_err());
/// # }
/// # Ok::<(), sparsecode_formats::SpecError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EncoderWidths {
    widths: Widths,
}

/// 0 beyond the last.
#[cfg(feature = "variational")]
type Widths = [u16; EncoderWidths::MOST];

/// Without the feature `variational` there are none, and an option of them takes no room.
#[cfg(not(feature = "variational"))]
type Widths = core::convert::Infallible;

impl EncoderWidths {
    /// The most layers.
    pub const MOST: usize = 4;

    /// Widths of so many layers; `None` unless there are 1 to 4, each above 0.
    #[must_use]
    pub fn new(widths: &[u16]) -> Option<Self> {
        let mut found = [0; Self::MOST];
        let to = found.get_mut(..widths.len())?;
        to.copy_from_slice(widths);
        Self::of(found).filter(|_| !widths.is_empty() && !widths.contains(&0))
    }

    #[cfg(feature = "variational")]
    fn of(widths: [u16; Self::MOST]) -> Option<Self> {
        Some(Self { widths })
    }

    #[cfg(not(feature = "variational"))]
    fn of(_: [u16; Self::MOST]) -> Option<Self> {
        None
    }

    #[cfg(feature = "variational")]
    fn widths(self) -> [u16; Self::MOST] {
        self.widths
    }

    #[cfg(not(feature = "variational"))]
    fn widths(self) -> [u16; Self::MOST] {
        match self.widths {}
    }

    /// The widths, from the first layer.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let layers = self.widths().into_iter().take_while(|width| *width > 0);
        layers.map(usize::from)
    }

    /// Outputs of the last layer: what the heads take.
    #[must_use]
    pub fn last(&self) -> usize {
        self.iter().last().unwrap_or(0)
    }

    /// Outputs of the widest layer.
    #[must_use]
    pub fn widest(&self) -> usize {
        self.iter().max().unwrap_or(0)
    }

    /// The most outputs that a layer and the one before it have together.
    #[must_use]
    pub fn widest_pair(&self) -> usize {
        let before = core::iter::once(0).chain(self.iter());
        let pairs = before.zip(self.iter());
        pairs
            .map(|(from, to)| from.saturating_add(to))
            .max()
            .unwrap_or(0)
    }

    const ERROR: SpecError = SpecError {
        field: "encoder_widths",
        expected: "1 to 4 integers of 1 to 65535, with commas between them",
    };
}

impl fmt::Display for EncoderWidths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (layer, width) in self.iter().enumerate() {
            let comma = if layer == 0 { "" } else { "," };
            write!(f, "{comma}{width}")?;
        }
        Ok(())
    }
}

impl FromStr for EncoderWidths {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (mut widths, mut rest) = ([0; Self::MOST], Some(text));
        for width in &mut widths {
            let Some(text) = rest else { break };
            let (first, others) = match split_once(text, b',') {
                Some((first, others)) => (first, Some(others)),
                None => (text, None),
            };
            let found = integer::<u16>(first).filter(|found| *found > 0);
            (*width, rest) = (found.ok_or(Self::ERROR)?, others);
        }
        match rest {
            None => Self::of(widths).ok_or(Self::ERROR),
            Some(_) => Err(Self::ERROR),
        }
    }
}
