//! What raw samples looked like in training.

use core::fmt;
use core::str::FromStr;

use crate::error::SpecError;

/// What is known of the raw samples that a model was trained on. A program that is given other samples compares them with it.
///
/// Every field is optional: files written by earlier versions state none.
///
/// ```
/// use sparsecode_formats::{InputFacts, NumberType};
///
/// let digits = InputFacts { range: Some([0.0, 1.0]), number_type: Some(NumberType::U8), ..InputFacts::default() };
/// assert_eq!(digits.sample_rate, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InputFacts {
    /// Smallest and largest raw value of the training samples, in raw units; finite, the smaller one first.
    pub range: Option<[f32; 2]>,
    /// Samples per second of a signal; finite and above 0.
    pub sample_rate: Option<f32>,
    /// The number type that the training data were stored in, before they were scaled to raw units.
    pub number_type: Option<NumberType>,
}

/// The number type of stored samples.
///
/// ```
/// use sparsecode_formats::NumberType;
///
/// assert_eq!("i16".parse(), Ok(NumberType::I16));
/// assert!(NumberType::U8.is_integer() && !NumberType::F32.is_integer());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NumberType {
    /// Unsigned, 8 bits: pictures, 8-bit sound.
    U8,
    /// Unsigned, 16 bits: thermal and medical pictures.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits: sound, ADC readings.
    I16,
    /// Signed, 24 bits: sound.
    I24,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
    /// Floating point, 16 bits.
    F16,
    /// Floating point, 32 bits.
    F32,
    /// Floating point, 64 bits.
    F64,
    /// Decimal text, as in a `.csv`.
    Text,
}

impl NumberType {
    /// Every type.
    pub const ALL: [Self; 13] = [
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::I8,
        Self::I16,
        Self::I24,
        Self::I32,
        Self::I64,
        Self::F16,
        Self::F32,
        Self::F64,
        Self::Text,
    ];

    /// The text name: `"u8"` to `"f64"`, or `"text"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I24 => "i24",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Text => "text",
        }
    }

    /// Whether the numbers are integers by their type. Text is not: it may hold either.
    #[must_use]
    pub const fn is_integer(self) -> bool {
        !matches!(self, Self::F16 | Self::F32 | Self::F64 | Self::Text)
    }
}

impl fmt::Display for NumberType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for NumberType {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let known = Self::ALL.into_iter().find(|number| number.name() == text);
        known.ok_or(SpecError {
            field: "number_type",
            expected: "one of u8, u16, u32, u64, i8, i16, i24, i32, i64, f16, f32, f64, text",
        })
    }
}
