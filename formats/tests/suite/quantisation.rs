//! Properties of the quantiser, and the norm bound against an independent eigenvalue solver.

use crate::common::Numbers;
use proptest::prelude::*;
use sparsecode_formats::quant::{
    QuantError, dequantize, lipschitz_bound, quantize, squared_norm_bound,
};
use sparsecode_formats::{Decoder, MatrixRef, ScaleAxis, WeightType, Weights};

/// Levels and scales of a quantised matrix.
fn parts(matrix: &MatrixRef<'_>) -> (Vec<i32>, Vec<f32>) {
    match matrix.weights {
        Weights::I8 { values, scale } => {
            (values.iter().map(|&v| v.into()).collect(), scale.to_vec())
        }
        Weights::I16 { values, scale } => {
            (values.iter().map(|&v| v.into()).collect(), scale.to_vec())
        }
        Weights::F32(_) => panic!("not quantised"),
    }
}

/// A matrix whose numbers span many magnitudes, a type and an axis.
fn matrices() -> impl Strategy<Value = (Vec<f32>, usize, usize, ScaleAxis, WeightType)> {
    let number = (-1.0f32..1.0, -44i32..38)
        .prop_map(|(mantissa, exponent)| (f64::from(mantissa) * 10f64.powi(exponent)) as f32);
    let number = prop_oneof![8 => -1.0f32..1.0, 2 => number, 1 => Just(0.0), 1 => Just(f32::MAX)];
    let shape = (1usize..9, 1usize..9, any::<bool>(), any::<bool>());
    shape.prop_flat_map(move |(rows, cols, row, wide)| {
        let axis = if row {
            ScaleAxis::Row
        } else {
            ScaleAxis::Column
        };
        let weights = if wide {
            WeightType::I16
        } else {
            WeightType::I8
        };
        let values = prop::collection::vec(number.clone(), rows * cols);
        values.prop_map(move |values| (values, rows, cols, axis, weights))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn error_is_at_most_half_a_step((values, rows, cols, axis, weights) in matrices()) {
        let (matrix, report) = quantize(&values, rows, cols, axis, weights).unwrap();
        let (levels, scale) = parts(&matrix.as_ref());
        let limit = i32::from(weights.max_level().unwrap());
        let mut largest = 0.0f64;
        for (index, (&value, &level)) in values.iter().zip(&levels).enumerate() {
            let scale = f64::from(scale[if axis == ScaleAxis::Row { index / cols } else { index % cols }]);
            let error = (f64::from(value) - f64::from(level) * scale).abs();
            prop_assert!(level.abs() <= limit);
            // What f32 adds: the scale is rounded, which counts `limit` times in the largest
            // weight.
            prop_assert!(error <= scale * (0.5 + 1e-9), "{value} {level} {scale}");
            largest = largest.max(error);
        }
        prop_assert!(dequantize(&matrix.as_ref()).iter().all(|weight| weight.is_finite()));
        let slack = 1e-6 * f64::from(values.iter().fold(0.0f32, |most, v| most.max(v.abs())));
        prop_assert!((report.max_abs_error - largest).abs() <= slack);
        prop_assert!(report.rms_error <= report.max_abs_error * (1.0 + 1e-12));
    }

    #[test]
    fn negation_negates((values, rows, cols, axis, weights) in matrices()) {
        let negated: Vec<f32> = values.iter().map(|value| -value).collect();
        let (plus, minus) = (
            quantize(&values, rows, cols, axis, weights).unwrap().0,
            quantize(&negated, rows, cols, axis, weights).unwrap().0,
        );
        let ((plus, scale), (minus, other)) = (parts(&plus.as_ref()), parts(&minus.as_ref()));
        prop_assert_eq!(scale, other);
        prop_assert!(plus.iter().zip(&minus).all(|(a, b)| *a == -b));
    }

    #[test]
    fn channels_do_not_mix((values, rows, cols, axis, weights) in matrices(), shift in 1usize..8) {
        // Rotating the channels rotates levels and scales, nothing else.
        let source = |row: usize, col: usize| match axis {
            ScaleAxis::Row => (row + shift) % rows * cols + col,
            ScaleAxis::Column => row * cols + (col + shift) % cols,
        };
        let order: Vec<usize> = (0..rows * cols).map(|index| source(index / cols, index % cols)).collect();
        let rotated: Vec<f32> = order.iter().map(|&index| values[index]).collect();
        let (levels, mut scale) = parts(&quantize(&values, rows, cols, axis, weights).unwrap().0.as_ref());
        let (found, found_scale) = parts(&quantize(&rotated, rows, cols, axis, weights).unwrap().0.as_ref());
        let channels = scale.len();
        scale.rotate_left(shift % channels);
        prop_assert_eq!(found_scale, scale);
        prop_assert_eq!(found, order.iter().map(|&index| levels[index]).collect::<Vec<_>>());
    }

    #[test]
    fn norm_bound_is_above_and_close(seed: u64, rows in 1usize..14, cols in 1usize..14, tilt in 0.0f32..2.0) {
        let mut numbers = Numbers(seed);
        let values: Vec<f32> = numbers.take(rows * cols).iter().map(|x| x + tilt).collect();
        let matrix = MatrixRef::from_f32(rows, cols, &values).unwrap();
        let exact = jacobi_squared_norm(&values, rows, cols);
        let bound = squared_norm_bound(&matrix);
        prop_assert!(bound >= exact * (1.0 - 1e-13), "{bound} < {exact}");
        prop_assert!(bound <= exact * 1.01, "{bound} is not near {exact}");
    }
}

/// ‖A‖² as the largest eigenvalue of AᵀA, by cyclic Jacobi rotations (Golub & Van Loan, section
/// 8.5).
fn jacobi_squared_norm(values: &[f32], rows: usize, cols: usize) -> f64 {
    let entry = |row: usize, col: usize| f64::from(values[row * cols + col]);
    let mut a: Vec<Vec<f64>> = (0..cols)
        .map(|i| {
            (0..cols)
                .map(|j| (0..rows).map(|k| entry(k, i) * entry(k, j)).sum())
                .collect()
        })
        .collect();
    for _ in 0..60 {
        for p in 0..cols {
            for q in p + 1..cols {
                if a[p][q] == 0.0 {
                    continue;
                }
                let tau = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = if tau == 0.0 {
                    1.0
                } else {
                    tau.signum() / (tau.abs() + (1.0 + tau * tau).sqrt())
                };
                let c = 1.0 / (1.0 + t * t).sqrt();
                let s = t * c;
                for row in &mut a {
                    let (x, y) = (row[p], row[q]);
                    (row[p], row[q]) = (c * x - s * y, s * x + c * y);
                }
                let (above, below) = a.split_at_mut(q);
                for (x, y) in above[p].iter_mut().zip(&mut below[0]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
            }
        }
    }
    (0..cols).map(|i| a[i][i]).fold(0.0, f64::max)
}

#[test]
fn the_bound_of_a_decoder() {
    let mut numbers = Numbers(5);
    let (d, l, m) = (12, 5, 7);
    let (hidden, output) = (numbers.take(l * m), numbers.take(m * d));
    let exact =
        2.0 / d as f64 * jacobi_squared_norm(&hidden, l, m) * jacobi_squared_norm(&output, m, d);
    let stored = |values, rows, cols| {
        quantize(values, rows, cols, ScaleAxis::Column, WeightType::I16)
            .unwrap()
            .0
    };
    let (hidden, output) = (stored(&hidden, l, m), stored(&output, m, d));
    let bound = lipschitz_bound(&Decoder::OneHidden {
        hidden: hidden.as_ref(),
        hidden_bias: &[0.0; 7],
        output: output.as_ref(),
    });
    assert!((bound / exact - 1.0).abs() < 0.01, "{bound} {exact}");
    let zeros = [0.0; 6];
    let dictionary = MatrixRef::from_f32(2, 3, &zeros).unwrap();
    assert_eq!(lipschitz_bound(&Decoder::Linear { dictionary }), 0.0);
}

#[test]
fn the_bound_is_near_for_a_real_size() {
    // Gaussian-like 128 × 784: the largest singular value is near √784 + √128 standard deviations.
    let mut numbers = Numbers(9);
    let values: Vec<f32> = (0..128 * 784)
        .map(|_| numbers.take(12).iter().sum::<f32>() * 0.5)
        .collect();
    let bound = squared_norm_bound(&MatrixRef::from_f32(128, 784, &values).unwrap());
    let asymptotic = (784f64.sqrt() + 128f64.sqrt()).powi(2);
    assert!(
        (bound / asymptotic - 1.0).abs() < 0.05,
        "{bound} {asymptotic}"
    );
}

#[test]
fn quantiser_refuses() {
    let length = QuantError::Length {
        expected: 4,
        found: 3,
    };
    assert_eq!(
        quantize(&[0.0; 3], 2, 2, ScaleAxis::Row, WeightType::I8).unwrap_err(),
        length
    );
    let bad = [0.0, f32::INFINITY];
    let wanted = QuantError::NonFinite { index: 1 };
    assert_eq!(
        quantize(&bad, 1, 2, ScaleAxis::Row, WeightType::F32).unwrap_err(),
        wanted
    );
}

#[test]
fn channels_of_zeros_have_scale_one() {
    let (matrix, report) = quantize(
        &[0.0, 1.0, 0.0, 2.0],
        2,
        2,
        ScaleAxis::Column,
        WeightType::I16,
    )
    .unwrap();
    assert_eq!(matrix.as_ref().scale(), [1.0, 2.0 / 32767.0]);
    assert!(report.sqnr_db > 90.0);
}
