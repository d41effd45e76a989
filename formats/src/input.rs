//! What raw samples looked like in training.

use core::fmt;
use core::str::FromStr;

use crate::decimal::{integer, real};
use crate::error::{ReadError, SpecError};
use crate::format::{FORMAT_VERSION, INTEGER_FORMAT_VERSION};
use crate::header::{Header, INPUT};

/// What is known of the raw samples that a model was trained on. A program that is given other
/// samples compares them with it.
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
    /// Smallest and largest raw value of the training samples, in raw units; finite, the smaller
    /// one first.
    pub range: Option<[f32; 2]>,
    /// Samples per second of a signal; finite and above 0.
    pub sample_rate: Option<f32>,
    /// The number type that the training data were stored in, before they were scaled to raw units.
    pub number_type: Option<NumberType>,
}

impl InputFacts {
    /// Reads what a model file of either version says of its input. For hosts: no other reader
    /// looks at these keys, so that a device pays nothing for them.
    ///
    /// Reads the header alone, and takes `file` at any address. Never panics, never allocates.
    ///
    /// ```
    /// # #[cfg(feature = "std")] {
    /// # use sparsecode_formats::*;
    /// # let mut model = example(Preprocessing::IDENTITY);
    /// # model.spec.input = InputFacts { sample_rate: Some(500.0), ..InputFacts::default() };
    /// # let bytes = write(&model, WeightType::F32).unwrap();
    /// let facts = InputFacts::read(&bytes).unwrap();
    /// assert_eq!((facts.sample_rate, facts.range), (Some(500.0), None));
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What is no header of a model file; the first key that holds no such value; one of `raw_min`
    /// and `raw_max` without the other.
    pub fn read(file: &[u8]) -> Result<Self, ReadError> {
        let mut header = Header::empty(&INPUT);
        header.read(file)?;
        header.value("format", "sparsecode", |text| {
            (text == "sparsecode").then_some(())
        })?;
        let version = header.value("version", "an integer", integer)?;
        if !(FORMAT_VERSION..=INTEGER_FORMAT_VERSION).contains(&version) {
            return Err(ReadError::UnsupportedVersion { found: version });
        }
        let number = |key| header.optional(key, "a finite decimal number", real);
        let range = match (number("raw_min")?, number("raw_max")?) {
            (None, None) => None,
            (Some(least), Some(most)) => Some([least, most]),
            (None, Some(_)) => return Err(ReadError::MissingMetadata { key: "raw_min" }),
            (Some(_), None) => return Err(ReadError::MissingMetadata { key: "raw_max" }),
        };
        let number_type = header.optional("number_type", NumberType::NAMES, |text| {
            text.parse::<NumberType>().ok()
        })?;
        let facts = Self {
            range,
            sample_rate: number("sample_rate")?,
            number_type,
        };
        facts.check()?;
        Ok(facts)
    }

    /// Checks the ranges that the fields' documentation states.
    ///
    /// # Errors
    ///
    /// The first field that is out of range, by its name in the metadata: `raw_min`, `raw_max` or
    /// `sample_rate`.
    pub fn check(&self) -> Result<(), SpecError> {
        let test = |good: bool, field, expected| {
            if good {
                Ok(())
            } else {
                Err(SpecError { field, expected })
            }
        };
        if let Some([least, most]) = self.range {
            test(least.is_finite(), "raw_min", "a finite number")?;
            test(
                most.is_finite() && most >= least,
                "raw_max",
                "a finite number, raw_min or more",
            )?;
        }
        test(
            self.sample_rate
                .is_none_or(|rate| rate.is_finite() && rate > 0.0),
            "sample_rate",
            "a finite number above 0",
        )
    }
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
    const NAMES: &str = "one of u8, u16, u32, u64, i8, i16, i24, i32, i64, f16, f32, f64, text";

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
            expected: Self::NAMES,
        })
    }
}
