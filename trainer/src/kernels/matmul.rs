//! Products of dense matrices that lie in slices, on the calling thread.

use gemm::Parallelism;

/// A matrix in a slice: element (i, j) at `i · row_stride + j · column_stride`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows × columns` with rows that are `row_stride` apart.
    pub(crate) fn new(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self {
            data,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
    }

    /// The transpose; nothing moves.
    pub(crate) fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// Columns `first..first + count`.
    pub(crate) fn columns(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.columns);
        Self {
            data: &self.data[(first * self.column_stride).min(self.data.len())..],
            columns: count,
            ..self
        }
    }

    /// Elements from the first to the last, the gaps between rows included.
    fn span(&self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1
    }
}

/// `out ← scale · left · right`, or `out ← out + scale · left · right`. Rows of `out` (`left.rows × right.columns`) are `stride`
/// apart.
pub(crate) fn matmul(
    out: &mut [f32],
    stride: usize,
    accumulate: bool,
    scale: f32,
    left: Matrix<'_>,
    right: Matrix<'_>,
) {
    let (m, k, n) = (left.rows, left.columns, right.columns);
    assert_eq!(right.rows, k, "inner dimensions");
    assert!(left.data.len() >= left.span(), "left matrix");
    assert!(right.data.len() >= right.span(), "right matrix");
    assert!(stride >= n, "rows of the result overlap");
    if m == 0 || n == 0 {
        return;
    }
    assert!(out.len() > (m - 1) * stride + n - 1, "result");
    // SAFETY: the asserts above keep every element that gemm reads (left m×k, right k×n, at their strides) and writes
    // (m×n at `stride`, without overlap) inside the three slices; `out` is borrowed mutably, so it overlaps neither operand.
    // Strides fit isize because the slices do.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            accumulate,
            left.data.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// `out ← matrixᵀ`, its rows one after the other.
pub(crate) fn transpose(matrix: Matrix<'_>, out: &mut [f32]) {
    /// Rows and columns of a square that fits the first-level cache both ways.
    const SIDE: usize = 32;
    let (rows, columns) = (matrix.rows, matrix.columns);
    assert_eq!(out.len(), rows * columns, "result");
    for first_row in (0..rows).step_by(SIDE) {
        for first_column in (0..columns).step_by(SIDE) {
            for column in first_column..columns.min(first_column + SIDE) {
                for row in first_row..rows.min(first_row + SIDE) {
                    out[column * rows + row] =
                        matrix.data[row * matrix.row_stride + column * matrix.column_stride];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Stream, generator};
    use rand::Rng;

    /// The safe twin: three loops, in f64.
    fn plain(out: &mut [f32], stride: usize, base: f32, scale: f32, a: Matrix<'_>, b: Matrix<'_>) {
        for i in 0..a.rows {
            for j in 0..b.columns {
                let sum: f64 = (0..a.columns)
                    .map(|k| {
                        let left = a.data[i * a.row_stride + k * a.column_stride];
                        let right = b.data[k * b.row_stride + j * b.column_stride];
                        f64::from(left) * f64::from(right)
                    })
                    .sum();
                let out = &mut out[i * stride + j];
                *out = base * *out + (f64::from(scale) * sum) as f32;
            }
        }
    }

    #[test]
    fn products_are_those_of_three_loops() {
        let mut rng = generator(5, Stream::Weights);
        for (m, k, n) in [
            (1, 1, 1),
            (3, 5, 7),
            (16, 33, 20),
            (125, 40, 65),
            (2, 0, 3),
            (0, 4, 4),
        ] {
            for (left_transposed, right_transposed) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                for accumulate in [false, true] {
                    let gap = 3;
                    let stored = |rows: usize, columns: usize, t: bool| {
                        if t { (columns, rows) } else { (rows, columns) }
                    };
                    let mut matrix = |rows: usize, columns: usize| -> Vec<f32> {
                        (0..rows * (columns + gap))
                            .map(|_| rng.random_range(-1.0..1.0))
                            .collect()
                    };
                    let (lr, lc) = stored(m, k, left_transposed);
                    let (rr, rc) = stored(k, n, right_transposed);
                    let (left, right) = (matrix(lr, lc), matrix(rr, rc));
                    let out = matrix(m, n);
                    let view = |data, rows, columns, t: bool| {
                        let matrix = Matrix::new(data, rows, columns, columns + gap);
                        if t { matrix.t() } else { matrix }
                    };
                    let a = view(&left, lr, lc, left_transposed);
                    let b = view(&right, rr, rc, right_transposed);
                    let (mut found, mut expected) = (out.clone(), out.clone());
                    matmul(&mut found, n + gap, accumulate, 0.5, a, b);
                    let base = if accumulate { 1.0 } else { 0.0 };
                    plain(&mut expected, n + gap, base, 0.5, a, b);
                    for (found, expected) in found.iter().zip(&expected) {
                        assert!(
                            (found - expected).abs() < 1e-5,
                            "{m}×{k}×{n}: {found} {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_transpose_has_rows_for_columns() {
        let (rows, columns, stride) = (45, 70, 73);
        let values: Vec<f32> = (0..rows * stride).map(|i| i as f32).collect();
        let mut out = vec![f32::NAN; rows * 40];
        transpose(
            Matrix::new(&values, rows, columns, stride).columns(20, 40),
            &mut out,
        );
        for column in 0..40 {
            for row in 0..rows {
                assert_eq!(out[column * rows + row], values[row * stride + 20 + column]);
            }
        }
    }

    #[test]
    #[should_panic(expected = "right matrix")]
    fn a_slice_that_is_too_short_is_refused() {
        let mut out = [0.0; 4];
        matmul(
            &mut out,
            2,
            false,
            1.0,
            Matrix::new(&[0.0; 4], 2, 2, 2),
            Matrix::new(&[0.0; 3], 2, 2, 2),
        );
    }

    #[test]
    #[should_panic(expected = "result")]
    fn a_result_that_is_too_short_is_refused() {
        let mut out = [0.0; 3];
        let a = [0.0; 4];
        matmul(
            &mut out,
            2,
            false,
            1.0,
            Matrix::new(&a, 2, 2, 2),
            Matrix::new(&a, 2, 2, 2),
        );
    }
}
