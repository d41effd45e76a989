//! Products with dense vectors.

use sparsecode_formats::{LANES, Packed};

/// `sums[k] += row_k · x` for the rows of a block.
#[inline]
pub(crate) fn dot_block<T: Packed>(block: &[T], x: &[i16; LANES], sums: &mut [i32]) {
    for (row, sum) in T::eights(block).iter().zip(sums) {
        for (weight, x) in T::levels(row).iter().zip(x) {
            *sum = sum.wrapping_add(i32::from(*weight).wrapping_mul(i32::from(*x)));
        }
    }
}
