//! Dimensions and levels.

use super::activations::Activations;
use super::contrast::IntegerContrast;
use crate::spec::{InputShape, Variant};
use crate::widths::EncoderWidths;

/// Dimensions and levels: what a device needs of the metadata. Integers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct IntegerSpec {
    /// How it was trained.
    pub variant: Variant,
    /// The shape of a sample; its size is d.
    pub input_shape: InputShape,
    /// l, at least 1.
    pub code_dim: u16,
    /// Widths of a dense encoder's trunk; `None` without one.
    pub encoder_widths: Option<EncoderWidths>,
    /// The smallest raw level; smaller ones are raised to it. Not above 0.
    pub input_min: i16,
    /// The largest raw level; larger ones are cut to it. Above 0.
    pub input_max: i16,
    /// What is done to the raw levels of a patch.
    pub contrast: IntegerContrast,
    /// How large the levels of samples and codes may be.
    pub activations: Activations,
}

impl IntegerSpec {
    /// d, the numbers in a sample.
    #[must_use]
    pub const fn input_dim(&self) -> usize {
        self.input_shape.input_dim()
    }

    /// l, the components of a code.
    #[must_use]
    pub const fn code_dim(&self) -> usize {
        self.code_dim as usize
    }

    /// Hidden numbers that a workspace has room for: the outputs of the widest layer of a dense
    /// encoder's trunk; 0 without one.
    #[must_use]
    pub fn hidden_units(&self) -> usize {
        match self.encoder_widths {
            Some(widths) => widths.widest(),
            None => 0,
        }
    }

    /// Smallest and largest level that the products take, after the patch's contrast.
    #[must_use]
    pub const fn level_range(&self) -> (i16, i16) {
        match self.contrast {
            IntegerContrast::None | IntegerContrast::External => (self.input_min, self.input_max),
            IntegerContrast::RemoveMean | IntegerContrast::InputMean => {
                // The mean lies between the two; what is further from it is cut.
                let span = self.input_max.saturating_sub(self.input_min);
                (-span, span)
            }
            IntegerContrast::Standardize { .. } => (-i16::MAX, i16::MAX),
        }
    }
}
