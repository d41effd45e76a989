//! Sums over the rows of active components.

use super::weights::{Weight, row};

/// `sum[j] += Σ_k value_k · weights[k][j]` over the entries `(k, value_k)`, in the order in which
/// they come.
///
/// Four rows are added at a time, which saves loads and stores of the sums and leaves the order of
/// each as it is.
///
/// Cost: `entries · columns` multiply-adds: rows without an entry are never read.
#[inline(always)]
pub(crate) fn add_rows<W: Weight>(
    weights: &[W],
    columns: usize,
    mut entries: impl Iterator<Item = (usize, f32)>,
    sum: &mut [f32],
) {
    loop {
        let (Some(a), b, c, d) = (
            entries.next(),
            entries.next(),
            entries.next(),
            entries.next(),
        ) else {
            return;
        };
        if let (Some(b), Some(c), Some(d)) = (b, c, d) {
            let rows = [a, b, c, d].map(|(index, _)| row(weights, columns, index));
            add_four(rows, [a.1, b.1, c.1, d.1], sum);
        } else {
            for (index, value) in [Some(a), b, c].into_iter().flatten() {
                add_row(row(weights, columns, index), value, sum);
            }
            return;
        }
    }
}

/// `sum[j] += value · row[j]`. Cost: one multiply-add an element.
#[inline(always)]
pub(crate) fn add_row<W: Weight>(row: &[W], value: f32, sum: &mut [f32]) {
    for (sum, weight) in sum.iter_mut().zip(row) {
        *sum += value * weight.to_f32();
    }
}

/// Sums of [`multiply_symmetric`] that are kept in registers: half of a Cortex-M4F's.
const TILE: usize = 16;

/// `product = M x` for a symmetric `M` as wide as `product` and the components of `x` that
/// `support` names, ascending: sixteen sums at a time run over the support, so that none is loaded
/// or stored in between.
///
/// Cost: `support · width` multiply-adds.
#[inline]
pub(crate) fn multiply_symmetric(matrix: &[f32], x: &[f32], support: &[u16], product: &mut [f32]) {
    multiply_symmetric_tiled::<TILE>(matrix, x, support, product);
}

/// The same with as many sums at a time as there are registers for; their number does not change
/// the order of any.
#[inline(always)]
pub(crate) fn multiply_symmetric_tiled<const TILE: usize>(
    matrix: &[f32],
    x: &[f32],
    support: &[u16],
    product: &mut [f32],
) {
    let width = product.len();
    let entries = || {
        support.iter().filter_map(|&k| {
            let k = usize::from(k);
            Some((row(matrix, width, k), *x.get(k)?))
        })
    };
    let mut first = 0_usize;
    let (tiles, rest) = product.as_chunks_mut::<TILE>();
    for product in tiles {
        let mut sums = [0.0_f32; TILE];
        for (row, value) in entries() {
            if let Some(row) = row.get(first..).and_then(<[f32]>::first_chunk::<TILE>) {
                for (sum, weight) in sums.iter_mut().zip(row) {
                    *sum += value * weight;
                }
            }
        }
        *product = sums;
        first = first.wrapping_add(TILE);
    }
    rest.fill(0.0);
    for (row, value) in entries() {
        add_row(row.get(first..).unwrap_or_default(), value, rest);
    }
}

#[inline(always)]
fn add_four<W: Weight>([a, b, c, d]: [&[W]; 4], values: [f32; 4], sum: &mut [f32]) {
    for ((((sum, a), b), c), d) in sum.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        let mut total = *sum;
        total += values[0] * a.to_f32();
        total += values[1] * b.to_f32();
        total += values[2] * c.to_f32();
        total += values[3] * d.to_f32();
        *sum = total;
    }
}
