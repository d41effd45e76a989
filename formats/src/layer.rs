//! Dense layers over the bytes of a file.

use crate::matrix::MatrixRef;

/// A dense layer: `x ↦ W x + b`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Layer<'a> {
    /// W \[outputs, inputs\]: a row per output, scales per row.
    pub weights: MatrixRef<'a>,
    /// b \[outputs\].
    pub bias: &'a [f32],
}
