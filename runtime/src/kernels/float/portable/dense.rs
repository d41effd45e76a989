//! Sums over all elements.

use super::weights::{LANES, Weight};

/// `Σ row[i]·x[i]`: element `i` goes to partial sum `i mod 8`, in ascending order; the eight are
/// then added as `((s0+s4) + (s2+s6)) + ((s1+s5) + (s3+s7))`.
///
/// Cost: `n` multiply-adds.
#[inline(always)]
pub(crate) fn dot<W: Weight>(row: &[W], x: &[f32]) -> f32 {
    let length = row.len().min(x.len());
    let (Some(row), Some(x)) = (row.get(..length), x.get(..length)) else {
        return 0.0;
    };
    let (row_chunks, row_rest) = row.as_chunks::<LANES>();
    let (x_chunks, x_rest) = x.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (row, x) in row_chunks.iter().zip(x_chunks) {
        for ((sum, weight), x) in sums.iter_mut().zip(row).zip(x) {
            *sum += weight.to_f32() * x;
        }
    }
    for ((sum, weight), x) in sums.iter_mut().zip(row_rest).zip(x_rest) {
        *sum += weight.to_f32() * x;
    }
    tree(sums)
}

/// `Σ values[i]`, in the order of [`dot`]. Cost: `n` additions.
#[inline]
pub(crate) fn sum(values: &[f32]) -> f32 {
    sum_of(values, |value| value)
}

/// `Σ |values[i]|`, in the order of [`dot`]. Cost: `n` additions.
#[inline]
pub(crate) fn sum_of_magnitudes(values: &[f32]) -> f32 {
    sum_of(values, f32::abs)
}

#[inline(always)]
fn sum_of(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += term(*value);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += term(*value);
    }
    tree(sums)
}

/// `Σ values[i]²`, in the order of [`dot`]. Cost: `n` multiply-adds.
#[inline]
pub(crate) fn sum_of_squares(values: &[f32]) -> f32 {
    dot(values, values)
}

#[inline(always)]
fn tree([s0, s1, s2, s3, s4, s5, s6, s7]: [f32; LANES]) -> f32 {
    ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
}

/// Calls `each(i, row_i · x)` for every row of a row-major matrix, in ascending order.
///
/// Cost: `rows · columns` multiply-adds.
#[inline]
pub(crate) fn dot_rows<W: Weight>(
    mut weights: &[W],
    columns: usize,
    x: &[f32],
    mut each: impl FnMut(usize, f32),
) {
    let mut index = 0_usize;
    // An empty row would never use up the weights.
    while columns > 0
        && let Some((row, rest)) = weights.split_at_checked(columns)
    {
        each(index, dot(row, x));
        weights = rest;
        index = index.wrapping_add(1);
    }
}
