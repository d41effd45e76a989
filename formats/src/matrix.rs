//! Matrices as they lie in a file.

use core::fmt;

use crate::spec::WeightType;

/// The numbers of a matrix, row by row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weights<'a> {
    /// The weights themselves.
    F32(&'a [f32]),
    /// 16-bit levels; `weight = value · scale` of its channel.
    I16 {
        /// `rows · cols` levels of ±32767.
        values: &'a [i16],
        /// One scale per channel, above 0.
        scale: &'a [f32],
    },
    /// 8-bit levels; `weight = value · scale` of its channel.
    I8 {
        /// `rows · cols` levels of ±127.
        values: &'a [i8],
        /// One scale per channel, above 0.
        scale: &'a [f32],
    },
}

/// Which line of a stored matrix shares a scale: that of one output of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ScaleAxis {
    /// One scale per row: a row is an output (`encoder.input`).
    Row,
    /// One scale per column: a column is an output (every other matrix).
    Column,
}

/// A matrix in a model file, row-major, in the stored orientation.
///
/// In what [`ModelFile::read`](crate::ModelFile::read) returns the lengths agree: `rows · cols`
/// values, and `rows` or
/// `cols` scales after `scale_axis`. `scale_axis` says nothing for `f32` weights.
#[derive(Clone, Copy, PartialEq)]
pub struct MatrixRef<'a> {
    /// Rows of the stored matrix.
    pub rows: usize,
    /// Columns of the stored matrix, the length of a contiguous row.
    pub cols: usize,
    /// The numbers.
    pub weights: Weights<'a>,
    /// What a scale belongs to.
    pub scale_axis: ScaleAxis,
}

impl<'a> MatrixRef<'a> {
    /// A matrix of `f32` over a caller's numbers; `None` if there are not `rows · cols` of them.
    ///
    /// ```
    /// use sparsecode_formats::MatrixRef;
    ///
    /// let matrix = MatrixRef::from_f32(2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    /// assert_eq!(matrix.weight(1, 0), Some(4.0));
    /// assert!(MatrixRef::from_f32(2, 2, &[1.0]).is_none());
    /// ```
    #[must_use]
    pub fn from_f32(rows: usize, cols: usize, values: &'a [f32]) -> Option<Self> {
        (rows.checked_mul(cols)? == values.len()).then_some(Self {
            rows,
            cols,
            weights: Weights::F32(values),
            scale_axis: ScaleAxis::Column,
        })
    }

    /// The number type.
    #[must_use]
    pub const fn weight_type(&self) -> WeightType {
        match self.weights {
            Weights::F32(_) => WeightType::F32,
            Weights::I16 { .. } => WeightType::I16,
            Weights::I8 { .. } => WeightType::I8,
        }
    }

    /// The scales, one per channel; empty for `f32`.
    #[must_use]
    pub const fn scale(&self) -> &'a [f32] {
        match self.weights {
            Weights::F32(_) => &[],
            Weights::I16 { scale, .. } | Weights::I8 { scale, .. } => scale,
        }
    }

    /// One weight, scale applied (`level as f32 * scale`); `None` outside the matrix.
    #[must_use]
    pub fn weight(&self, row: usize, col: usize) -> Option<f32> {
        if row >= self.rows || col >= self.cols {
            return None;
        }
        let index = row.checked_mul(self.cols)?.checked_add(col)?;
        let channel = match self.scale_axis {
            ScaleAxis::Row => row,
            ScaleAxis::Column => col,
        };
        match self.weights {
            Weights::F32(values) => values.get(index).copied(),
            Weights::I16 { values, scale } => {
                Some(f32::from(*values.get(index)?) * scale.get(channel)?)
            }
            Weights::I8 { values, scale } => {
                Some(f32::from(*values.get(index)?) * scale.get(channel)?)
            }
        }
    }

    /// Bytes of flash: values and scales.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        match self.weights {
            Weights::F32(values) => size_of_val(values),
            Weights::I16 { values, scale } => size_of_val(values) + size_of_val(scale),
            Weights::I8 { values, scale } => size_of_val(values) + size_of_val(scale),
        }
    }
}

impl fmt::Debug for MatrixRef<'_> {
    // Without the numbers, of which there may be a million.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MatrixRef({}x{} {})",
            self.rows,
            self.cols,
            self.weight_type()
        )
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for MatrixRef<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(
            f,
            "{=usize}x{=usize} {=str}",
            self.rows,
            self.cols,
            self.weight_type().name()
        );
    }
}
