//! The Gram matrix of a dictionary of integers, built where no file stores it.

use super::blocks::{Blocks, LANES, Packed, WeightBlocks};
use super::rescale::Rescale;

/// Fractional bits that the product of two factors has more than the matrix.
const FINER: u32 = 32;

/// The largest factor of an atom.
pub(super) const MOST: i64 = 65_535;

/// What an atom's levels count in the matrix, from what they count in a correlation.
pub(super) fn factor(multiplier: i32, by: Rescale) -> i64 {
    let product = i64::from(multiplier).wrapping_mul(i64::from(by.multiplier));
    let half = 1_i64 << (u32::from(by.shift).wrapping_sub(1) & 63);
    (product.saturating_add(half) >> (u32::from(by.shift) & 63)).clamp(0, MOST)
}

/// Builds `Ĝ_ij = round(f_i f_j Σ q_i q_j / 2³²)`, cut to ±32767, with `f` the [`factor`]s of the
/// rows of `dictionary` and `q` their levels, in the order of [`Blocks`].
///
/// Exact in 64 bits: a sum of at most 2¹⁶ products of levels of 8 bits has 30 bits and a sign, each
/// factor 16.
pub(super) fn build(
    dictionary: &WeightBlocks<'_>,
    multipliers: &[i32],
    by: Rescale,
    memory: &mut [i16],
) {
    match dictionary {
        WeightBlocks::I8(matrix) => build_of(matrix, multipliers, by, memory),
        WeightBlocks::I4(matrix) => build_of(matrix, multipliers, by, memory),
    }
}

fn build_of<T: Packed>(
    dictionary: &Blocks<'_, T>,
    multipliers: &[i32],
    by: Rescale,
    memory: &mut [i16],
) {
    memory.fill(0);
    let rows = dictionary.rows();
    let place = |row: usize, col: usize| {
        let block = (col / LANES).wrapping_mul(rows).wrapping_add(row);
        block.wrapping_mul(LANES).wrapping_add(col % LANES)
    };
    for (i, &own) in multipliers.iter().enumerate() {
        let own = factor(own, by);
        for (j, &other) in multipliers.iter().enumerate().take(i.wrapping_add(1)) {
            let mut sum = 0_i32;
            for (a, b) in dictionary.row(i).zip(dictionary.row(j)) {
                for (a, b) in a.iter().zip(&b) {
                    sum = sum.wrapping_add(i32::from(*a).wrapping_mul(i32::from(*b)));
                }
            }
            let scaled = own.wrapping_mul(factor(other, by));
            let level = level(sum, scaled);
            for index in [place(i, j), place(j, i)] {
                if let Some(to) = memory.get_mut(index) {
                    *to = level;
                }
            }
        }
    }
}

/// `round(sum · scaled / 2³²)`, cut to ±32767, for a `scaled` of 32 bits without a sign.
fn level(sum: i32, scaled: i64) -> i16 {
    let product = i64::from(sum).wrapping_mul(scaled);
    let rounded = product.wrapping_add(1 << (FINER - 1)) >> FINER;
    rounded.clamp(-i64::from(i16::MAX), i64::from(i16::MAX)) as i16
}

/// What [`build`] makes of rows of so many `levels`, row by row.
#[cfg(feature = "std")]
pub(super) fn built(levels: &[i8], cols: usize, factors: &[i64]) -> std::vec::Vec<i16> {
    let rows = || levels.chunks(cols.max(1));
    let mut matrix = std::vec::Vec::with_capacity(factors.len() * factors.len());
    for (a, own) in rows().zip(factors) {
        for (b, other) in rows().zip(factors) {
            let products = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b));
            matrix.push(level(products.sum(), own * other));
        }
    }
    matrix
}
