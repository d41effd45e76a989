//! One channel of a recording, and what a person says of a file.

use super::dialect::Decimal;
use super::look::{Column, Look};

/// What a person says about a file that the file does not say itself.
///
/// ```
/// use sparsecode_trainer::data::{Column, Decimal, Hints};
///
/// let hints = Hints { column: Some(Column::from("accel")), decimal: Some(Decimal::Comma), ..Hints::default() };
/// assert_eq!(hints.header, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hints {
    /// The column of a table, or the channel of a `.wav` or of an array N×channels.
    pub column: Option<Column>,
    /// The decimal sign of a table; found from its lines by default.
    pub decimal: Option<Decimal>,
    /// Whether the first line of a table holds names; found from its lines by default.
    pub header: Option<bool>,
}

/// One column of a table, or one channel of sound or of an array.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Its name in the first line of a table.
    pub name: Option<String>,
    /// One value a sample, in the file's unit; integers of a `.wav` are scaled to ±1. What is
    /// missing is NaN. Empty where `look` is [`Look::Text`] or [`Look::Stamps`].
    pub values: Vec<f32>,
    /// What the values look like.
    pub look: Look,
    /// The first place without a number, in words, and what stands there.
    pub(super) gap: Option<String>,
}
