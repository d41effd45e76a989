//! How many bits samples and codes have.

use core::fmt;
use core::str::FromStr;

use crate::error::SpecError;

/// How many bits the levels of samples and codes have. They are handed over as `i16` either way.
///
/// ```
/// use sparsecode_formats::Activations;
///
/// assert_eq!("i8".parse(), Ok(Activations::I8));
/// assert_eq!((Activations::I8.code_limit(), Activations::I16.code_limit()), (127, 32767));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Activations {
    /// 16: samples within ±32767, codes 0 to 32767, or ±32767 if they are signed.
    #[default]
    I16,
    /// 8: samples within ±127 or, as pixels are, 0 to 255; codes 0 to 127, or ±127.
    I8,
}

impl Activations {
    /// Both, wider first.
    pub const ALL: [Self; 2] = [Self::I16, Self::I8];

    /// The text name: `"i16"` or `"i8"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::I16 => "i16",
            Self::I8 => "i8",
        }
    }

    /// The largest magnitude of the level of a code component.
    #[must_use]
    pub const fn code_limit(self) -> i16 {
        match self {
            Self::I16 => i16::MAX,
            Self::I8 => i8::MAX as i16,
        }
    }

    /// Bits of which refinement keeps track beyond those of a level, and that rounding takes off at
    /// its end: 0, with 8-bit codes 8. A step of FISTA is often less than half a level of 8 bits,
    /// and would be lost.
    #[must_use]
    pub const fn fine_bits(self) -> u32 {
        match self {
            Self::I16 => 0,
            Self::I8 => 8,
        }
    }

    /// Whether a sample may have these levels and all between: the first is not above 0, the second
    /// not below.
    #[must_use]
    pub const fn hold(self, (least, most): (i16, i16)) -> bool {
        match self {
            Self::I16 => least >= -i16::MAX,
            Self::I8 => least >= -127 && most <= 127 || least >= 0 && most <= 255,
        }
    }

    /// The largest multiplier of an atom: its product with the largest level has 30 bits.
    pub(crate) const fn most_contribution(self) -> i32 {
        match self {
            Self::I16 => i16::MAX as i32,
            Self::I8 => (1 << 23) - 1,
        }
    }
}

impl fmt::Display for Activations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Activations {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let known = Self::ALL
            .into_iter()
            .find(|activations| activations.name() == text);
        known.ok_or(SpecError {
            field: "activations",
            expected: "one of i16, i8",
        })
    }
}
