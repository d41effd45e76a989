//! Slice kernels in plain Rust, the same on every target.
//!
//! Weights are `f32`, `i16` or `i8` and are converted one by one; all sums are in `f32`, without fused multiply-add.
//! The order of every sum is fixed and part of the documented arithmetic, so that a host and a microcontroller give
//! the same bits for the same file.
//!
//! Errors, in the usual model of rounding with `u = 2⁻²⁴` (Higham, *Accuracy and Stability of Numerical Algorithms*,
//! §4.2) and to first order in `u`:
//!
//! - [`dot`] of `n` elements: at most `(n/8 + 4)·u·Σ|w·x|`;
//! - [`add_rows`] of `n` rows: at most `(n + 1)·u·Σ|w·v|` for each element.
//!
//! No kernel can panic: where lengths differ, the shortest one counts.

/// Independent partial sums of a reduction: one 256-bit register on a host, eight chains on a microcontroller.
const LANES: usize = 8;

/// A stored weight.
pub(crate) trait Weight: Copy {
    /// The stored number, without its scale. Exact for all three types.
    fn to_f32(self) -> f32;
}

impl Weight for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Weight for i16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
}

impl Weight for i8 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
}

/// `Σ row[i]·x[i]`: element `i` goes to partial sum `i mod 8`, in ascending order; the eight are then added as
/// `((s0+s4) + (s2+s6)) + ((s1+s5) + (s3+s7))`.
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
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += value;
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

/// Row `index` of a row-major matrix; empty if there is no such row.
#[inline(always)]
pub(crate) fn row<W>(weights: &[W], columns: usize, index: usize) -> &[W] {
    // The product cannot wrap for a row that exists, and any other range is caught by `get`.
    let start = index.wrapping_mul(columns);
    weights
        .get(start..start.wrapping_add(columns))
        .unwrap_or(&[])
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

/// `sum[j] += Σ_k value_k · weights[k][j]` over the entries `(k, value_k)`, in the order in which they come.
///
/// Four rows are added at a time, which saves loads and stores of the sums and leaves the order of each as it is.
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

/// `product = M x` for a symmetric `M` as wide as `product` and the components of `x` that `support` names, ascending: sixteen
/// sums at a time run over the support, so that none is loaded or stored in between.
///
/// Cost: `support · width` multiply-adds.
#[inline]
pub(crate) fn multiply_symmetric(matrix: &[f32], x: &[f32], support: &[u16], product: &mut [f32]) {
    multiply_symmetric_tiled::<TILE>(matrix, x, support, product);
}

/// The same with as many sums at a time as there are registers for; their number does not change the order of any.
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

/// [`row`], to be written.
#[inline]
pub(crate) fn row_mut<W>(weights: &mut [W], columns: usize, index: usize) -> &mut [W] {
    let start = index.wrapping_mul(columns);
    weights
        .get_mut(start..start.wrapping_add(columns))
        .unwrap_or_default()
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

/// `values[i] *= factors[i]`.
#[inline]
pub(crate) fn multiply(values: &mut [f32], factors: &[f32]) {
    for (value, factor) in values.iter_mut().zip(factors) {
        *value *= factor;
    }
}

/// `max(value, 0)`. NaN becomes 0, so that a code never contains one.
#[inline(always)]
pub(crate) fn relu(value: f32) -> f32 {
    if value > 0.0 { value } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Unit roundoff of `f32`.
    const U: f64 = 1.0 / 16_777_216.0;

    fn dot_f64<W: Weight>(row: &[W], x: &[f32]) -> (f64, f64) {
        row.iter().zip(x).fold((0.0, 0.0), |(sum, size), (w, x)| {
            let term = f64::from(w.to_f32()) * f64::from(*x);
            (sum + term, size + term.abs())
        })
    }

    fn check_dot<W: Weight>(row: &[W], x: &[f32]) -> Result<(), TestCaseError> {
        let (expected, size) = dot_f64(row, x);
        let bound = (row.len() as f64 / 8.0 + 4.0) * U * size * 1.001;
        let found = f64::from(dot(row, x));
        prop_assert!(
            (found - expected).abs() <= bound,
            "{found} is not within {bound:e} of {expected}"
        );
        Ok(())
    }

    fn check_add_rows<W: Weight>(
        weights: &[W],
        columns: usize,
        entries: &[(usize, f32)],
    ) -> Result<(), TestCaseError> {
        let mut sum = std::vec![0.0_f32; columns];
        add_rows(weights, columns, entries.iter().copied(), &mut sum);
        for (column, found) in sum.iter().enumerate() {
            let terms = entries
                .iter()
                .map(|&(k, v)| f64::from(v) * f64::from(weights[k * columns + column].to_f32()));
            let expected: f64 = terms.clone().sum();
            let size: f64 = terms.map(f64::abs).sum();
            let bound = (entries.len() as f64 + 1.0) * U * size * 1.001;
            prop_assert!((f64::from(*found) - expected).abs() <= bound);
        }
        Ok(())
    }

    /// A matrix of up to 12 × 40 and a strictly ascending selection of its rows.
    fn matrix<W: core::fmt::Debug>(
        weight: impl Strategy<Value = W> + Clone,
    ) -> impl Strategy<Value = (Vec<W>, usize, Vec<(usize, f32)>)> {
        (1..12_usize, 1..40_usize).prop_flat_map(move |(rows, columns)| {
            (
                prop::collection::vec(weight.clone(), rows * columns),
                Just(columns),
                prop::collection::vec((any::<bool>(), -4.0_f32..4.0), rows).prop_map(|values| {
                    values
                        .into_iter()
                        .enumerate()
                        .filter_map(|(k, (on, v))| on.then_some((k, v)))
                        .collect()
                }),
            )
        })
    }

    proptest! {
        #[test]
        fn dot_meets_its_bound(
            pairs in prop::collection::vec((-1.0_f32..1.0, any::<i16>(), any::<i8>(), -3.0_f32..3.0), 0..300),
        ) {
            let x: Vec<f32> = pairs.iter().map(|p| p.3).collect();
            check_dot(&pairs.iter().map(|p| p.0).collect::<Vec<_>>(), &x)?;
            check_dot(&pairs.iter().map(|p| p.1).collect::<Vec<_>>(), &x)?;
            check_dot(&pairs.iter().map(|p| p.2).collect::<Vec<_>>(), &x)?;
        }

        #[test]
        fn sums_meet_their_bounds(values in prop::collection::vec(-9.0_f32..9.0, 0..300)) {
            let exact: f64 = values.iter().map(|v| f64::from(*v)).sum();
            let size: f64 = values.iter().map(|v| f64::from(v.abs())).sum();
            let bound = (values.len() as f64 / 8.0 + 4.0) * U * size * 1.001;
            prop_assert!((f64::from(sum(&values)) - exact).abs() <= bound);
            let (squares, size) = dot_f64(&values, &values);
            let bound = (values.len() as f64 / 8.0 + 4.0) * U * size * 1.001;
            prop_assert!((f64::from(sum_of_squares(&values)) - squares).abs() <= bound);
        }

        #[test]
        fn add_rows_meets_its_bound_f32((weights, columns, entries) in matrix(-1.0_f32..1.0)) {
            check_add_rows(&weights, columns, &entries)?;
        }

        #[test]
        fn add_rows_meets_its_bound_i16((weights, columns, entries) in matrix(any::<i16>())) {
            check_add_rows(&weights, columns, &entries)?;
        }

        #[test]
        fn add_rows_meets_its_bound_i8((weights, columns, entries) in matrix(any::<i8>())) {
            check_add_rows(&weights, columns, &entries)?;
        }

        #[test]
        fn four_rows_at_a_time_keep_the_order((weights, columns, entries) in matrix(any::<i8>())) {
            let mut together = std::vec![0.0_f32; columns];
            add_rows(&weights, columns, entries.iter().copied(), &mut together);
            let mut one_by_one = std::vec![0.0_f32; columns];
            for &(k, value) in &entries {
                add_row(row(&weights, columns, k), value, &mut one_by_one);
            }
            prop_assert_eq!(together, one_by_one);
        }

        #[test]
        fn dot_rows_visits_each_row_once((weights, columns, _) in matrix(-1.0_f32..1.0)) {
            let x: Vec<f32> = (0..columns).map(|j| j as f32 - 3.5).collect();
            let mut found = Vec::new();
            dot_rows(&weights, columns, &x, |index, value| found.push((index, value)));
            let expected: Vec<_> = weights.chunks(columns).map(|row| dot(row, &x)).enumerate().collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_order_of_a_dot_product_is_the_documented_one() {
        // Large terms that cancel only if they meet in the same partial sum.
        let mut row = [0.0_f32; 17];
        row[1] = 1e8;
        row[9] = -1e8;
        row[16] = 1.0;
        assert_eq!(dot(&row, &[1.0; 17]), 1.0);
        // 1e8 + 1 loses the 1; lane 1 and lane 0 meet last, so the 1 is gone before -1e8 arrives.
        let mut row = [0.0_f32; 8];
        row[0] = 1e8;
        row[4] = 1.0;
        row[1] = -1e8;
        assert_eq!(dot(&row, &[1.0; 8]), 0.0);
    }

    #[test]
    fn unequal_lengths_do_not_panic() {
        assert_eq!(dot(&[1.0_f32, 2.0, 3.0], &[1.0]), 1.0);
        assert_eq!(row(&[1_i8, 2, 3], 2, 1), &[] as &[i8]);
        assert_eq!(row(&[1_i8, 2, 3], 2, usize::MAX), &[] as &[i8]);
        dot_rows(&[1_i8, 2], 0, &[], |_, _| {
            panic!("a matrix without columns has no rows")
        });
    }

    #[test]
    fn relu_of_nan_is_zero() {
        assert_eq!(relu(f32::NAN), 0.0);
        assert_eq!(relu(-1.0), 0.0);
        assert_eq!(relu(2.5), 2.5);
    }
}
