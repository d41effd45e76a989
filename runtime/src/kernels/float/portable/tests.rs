//! Errors of the portable kernels beside sums in `f64`, and their order.

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
        prop_assert!((f64::from(sum_of_magnitudes(&values)) - size).abs() <= bound);
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
