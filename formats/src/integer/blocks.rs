//! Matrices in blocks of eight columns.

use core::fmt;

/// Columns of a block.
pub const LANES: usize = 8;

/// Eight adjacent 4-bit numbers of a row, each 8 too large: byte i holds number i in its lower half
/// and number i + 4 in its upper half.
///
/// A number q, −7 to 7, is the level 16·q of 8 bits, so that what holds for 8-bit weights holds for
/// these. Without a sign they need no extension: a mask makes two factors of a multiplication, and
/// what is too much in a sum is 128 times the sum of the inputs.
pub type Nibbles = [u8; 4];

/// How numbers of a matrix in blocks are stored: `i8` and `i16` one by one, 4-bit ones as
/// [`Nibbles`].
pub trait Packed: Copy {
    /// Eight adjacent numbers of a row.
    type Eight: Copy;

    /// What is stored for each row of a block.
    const PER_EIGHT: usize = size_of::<Self::Eight>() / size_of::<Self>();

    /// The rows of a block.
    fn eights(stored: &[Self]) -> &[Self::Eight];

    /// The level of one of eight numbers; 0 beyond the last.
    fn level(eight: &Self::Eight, lane: usize) -> i16;

    /// The levels of eight numbers.
    #[inline(always)]
    fn levels(eight: &Self::Eight) -> [i16; LANES] {
        core::array::from_fn(|lane| Self::level(eight, lane))
    }
}

impl Packed for i8 {
    type Eight = [Self; LANES];

    #[inline(always)]
    fn eights(stored: &[Self]) -> &[Self::Eight] {
        stored.as_chunks().0
    }

    #[inline(always)]
    fn level(eight: &Self::Eight, lane: usize) -> i16 {
        eight.get(lane).copied().map_or(0, i16::from)
    }
}

impl Packed for i16 {
    type Eight = [Self; LANES];

    #[inline(always)]
    fn eights(stored: &[Self]) -> &[Self::Eight] {
        stored.as_chunks().0
    }

    #[inline(always)]
    fn level(eight: &Self::Eight, lane: usize) -> i16 {
        eight.get(lane).copied().unwrap_or(0)
    }
}

impl Packed for Nibbles {
    type Eight = Self;

    #[inline(always)]
    fn eights(stored: &[Self]) -> &[Self::Eight] {
        stored
    }

    #[inline(always)]
    fn level(eight: &Self::Eight, lane: usize) -> i16 {
        let upper = |byte: u8| i16::from(byte & 0xf0) - 128;
        match (eight.get(lane), eight.get(lane.wrapping_sub(4))) {
            (Some(byte), _) => upper(byte << 4),
            (None, Some(byte)) => upper(*byte),
            (None, None) => 0,
        }
    }
}

/// A matrix whose columns are stored eight by eight: block 0 holds the first eight numbers of every
/// row, row after row, block 1 the next eight, and so on. Columns beyond the last are 0.
///
/// Two products read it from front to back with eight sums or eight inputs in registers. With a
/// dense or partly zero vector as long as a row, blocks whose inputs are all 0 are passed over;
/// with a sparse vector as long as a column, eight outputs at a time take eight adjacent numbers
/// from each row that counts.
///
/// ```
/// use sparsecode_formats::Blocks;
///
/// // Two rows of nine: 1 … 9 and 11 … 19.
/// let mut values = [0_i8; 32];
/// for (row, first) in [1, 11].into_iter().enumerate() {
///     for column in 0..9 {
///         values[(column / 8 * 2 + row) * 8 + column % 8] = first + column as i8;
///     }
/// }
/// let matrix = Blocks::new(2, 9, &values).unwrap();
/// assert_eq!(matrix.get(1, 8), Some(19));
/// assert_eq!(matrix.block(1), [9, 0, 0, 0, 0, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0]);
/// ```
#[derive(Clone, Copy, PartialEq)]
pub struct Blocks<'a, T> {
    rows: usize,
    cols: usize,
    values: &'a [T],
}

impl<'a, T: Packed> Blocks<'a, T> {
    /// A matrix over a caller's numbers; `None` if there are not `rows · 8 · ⌈cols / 8⌉` of them.
    #[must_use]
    pub fn new(rows: usize, cols: usize, values: &'a [T]) -> Option<Self> {
        let expected = Self::stored_rows(rows, cols)?.checked_mul(T::PER_EIGHT)?;
        (values.len() == expected).then_some(Self { rows, cols, values })
    }

    /// Eights of numbers in the whole matrix, `rows · ⌈cols / 8⌉`; `None` if that overflows.
    pub(crate) fn stored_rows(rows: usize, cols: usize) -> Option<usize> {
        rows.checked_mul(cols.div_ceil(LANES))
    }

    /// Rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Columns, without those that fill up the last block.
    #[must_use]
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// Blocks: `⌈cols / 8⌉`.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.cols.div_ceil(LANES)
    }

    /// Every number as it is stored.
    #[must_use]
    pub const fn values(&self) -> &'a [T] {
        self.values
    }

    /// Block `index`: eight columns of every row. Empty if there is no such block.
    #[must_use]
    #[inline]
    pub fn block(&self, index: usize) -> &'a [T] {
        // Cannot wrap for a block that exists; any other range is caught by `get`.
        let length = self.rows.wrapping_mul(T::PER_EIGHT);
        let start = index.wrapping_mul(length);
        self.values
            .get(start..start.wrapping_add(length))
            .unwrap_or(&[])
    }

    /// All blocks, in order.
    #[inline]
    pub fn blocks(&self) -> impl Iterator<Item = &'a [T]> + use<'a, T> {
        // Not `chunks_exact`: its check of the length stays in programs that link the precompiled
        // `core`. A matrix without rows has no numbers, and with a length of 1 no blocks.
        let length = self.rows.wrapping_mul(T::PER_EIGHT).max(1);
        let mut rest = self.values;
        core::iter::from_fn(move || {
            let (block, after) = rest.split_at_checked(length)?;
            rest = after;
            Some(block)
        })
    }

    /// One level; `None` outside the matrix.
    #[must_use]
    pub fn get(&self, row: usize, col: usize) -> Option<i16> {
        if row >= self.rows || col >= self.cols {
            return None;
        }
        let eight = T::eights(self.block(col / LANES)).get(row)?;
        Some(T::level(eight, col % LANES))
    }

    /// Row `row` of every block, as levels; nothing outside the matrix.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = [i16; LANES]> + use<'a, T> {
        let blocks = self.blocks();
        blocks.filter_map(move |block| T::eights(block).get(row).map(T::levels))
    }
}

/// The weights of a product with samples: U or Wᵀ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WeightBlocks<'a> {
    /// 8 bits each.
    I8(Blocks<'a, i8>),
    /// 4 bits each.
    I4(Blocks<'a, Nibbles>),
}

impl<'a> WeightBlocks<'a> {
    /// Rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        match self {
            Self::I8(matrix) => matrix.rows,
            Self::I4(matrix) => matrix.rows,
        }
    }

    /// Columns, without those that fill up the last block.
    #[must_use]
    pub const fn cols(&self) -> usize {
        match self {
            Self::I8(matrix) => matrix.cols,
            Self::I4(matrix) => matrix.cols,
        }
    }

    /// One level, within ±127; `None` outside the matrix.
    #[must_use]
    pub fn get(&self, row: usize, col: usize) -> Option<i16> {
        match self {
            Self::I8(matrix) => matrix.get(row, col),
            Self::I4(matrix) => matrix.get(row, col),
        }
    }
}

impl<T: Packed> fmt::Debug for Blocks<'_, T> {
    // Without the numbers, of which there may be a million.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blocks({}x{})", self.rows, self.cols)
    }
}

/// Eight 4-bit levels, which are multiples of 16, as they are stored.
#[cfg(feature = "std")]
pub(crate) fn nibbles(levels: &[i8; LANES]) -> Nibbles {
    let [a, b, c, d, e, f, g, h] = levels.map(|level| (level / 16 + 8) as u8);
    [a | e << 4, b | f << 4, c | g << 4, d | h << 4]
}

/// Lays a row-major matrix out in blocks.
#[cfg(feature = "std")]
pub(crate) fn arrange<T: Copy + Default>(
    rows: usize,
    cols: usize,
    values: &[T],
) -> std::vec::Vec<T> {
    let mut stored = std::vec::Vec::with_capacity(rows * cols.next_multiple_of(LANES));
    for first in (0..cols).step_by(LANES) {
        for row in 0..rows {
            stored.extend((first..first + LANES).map(|col| {
                let value = values.get(row * cols + col).filter(|_| col < cols);
                value.copied().unwrap_or_default()
            }));
        }
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arranged_numbers_are_found_again() {
        for (rows, cols) in [(1, 1), (3, 8), (2, 9), (5, 23), (4, 16)] {
            let values: std::vec::Vec<i16> = (0..(rows * cols) as i16).collect();
            let stored = arrange(rows, cols, &values);
            let matrix = Blocks::new(rows, cols, &stored).unwrap();
            for row in 0..rows {
                for col in 0..cols {
                    assert_eq!(matrix.get(row, col), values.get(row * cols + col).copied());
                }
            }
            let one_by_one: std::vec::Vec<_> =
                (0..matrix.count()).map(|b| matrix.block(b)).collect();
            assert!(matrix.blocks().eq(one_by_one));
            assert_eq!(matrix.get(rows, 0), None);
            assert_eq!(matrix.get(0, cols), None);
            assert_eq!(matrix.block(matrix.count()), &[] as &[i16]);
            assert_eq!(matrix.block(usize::MAX), &[] as &[i16]);
        }
        assert!(Blocks::<i8>::new(usize::MAX, 9, &[]).is_none());
        assert!(Blocks::<i8>::new(1, 1, &[0; 7]).is_none());
    }
}
