//! Products of dense matrices, by `gemm`.

use std::mem::MaybeUninit;
use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Error, Layout, Result, Shape, Tensor};
use gemm::Parallelism;

use super::host::{is_host, slice, threads_for};
use super::team::{UNIT, divide, row_parts};
use super::uninit::written;

/// Operations of a product below which one thread does it alone: some ten microseconds.
const PARALLEL_FROM: usize = 1 << 21;

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

    /// A matrix as candle lays it out from the beginning of `data`.
    fn of(data: &'a [f32], layout: &Layout) -> Result<Self> {
        let (rows, columns) = layout.shape().dims2()?;
        Ok(Self {
            data: &data[layout.start_offset().min(data.len())..],
            rows,
            columns,
            row_stride: layout.stride()[0],
            column_stride: layout.stride()[1],
        })
    }

    /// These columns alone.
    pub(crate) fn columns(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.columns);
        Self {
            data: &self.data[(range.start * self.column_stride).min(self.data.len())..],
            columns: range.len(),
            ..self
        }
    }

    /// These rows alone.
    pub(crate) fn rows(self, range: Range<usize>) -> Self {
        self.t().columns(range).t()
    }

    /// Elements from the first to the last, the gaps between rows included.
    fn span(&self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1
    }
}

/// `left · right`, of two tensors with two dimensions. On f32 in main memory each thread does its
/// rows by itself: gemm's own division among threads gains little on products as small as those of
/// a training step.
pub(crate) fn product(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    if !is_host(left) || !is_host(right) {
        return left.matmul(right);
    }
    left.apply_op2_no_bwd(right, &Product)
}

struct Product;

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(
        &self,
        left: &CpuStorage,
        left_layout: &Layout,
        right: &CpuStorage,
        right_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(left), CpuStorage::F32(right)) = (left, right) else {
            return Err(Error::Msg("product: takes f32 tensors".into()));
        };
        let left = Matrix::of(left, left_layout)?;
        let right = Matrix::of(right, right_layout)?;
        if left.columns != right.rows {
            return Err(Error::Msg(format!(
                "product of {:?} and {:?}",
                left_layout.dims(),
                right_layout.dims()
            )));
        }
        let (rows, columns) = (left.rows, right.columns);
        let threads = match 2 * rows * left.columns * columns {
            0..PARALLEL_FROM => 1,
            _ => rayon::current_num_threads(),
        };
        // SAFETY: the parts are all of `out`, and each is written wholly.
        #[allow(unsafe_code)]
        let out = unsafe {
            written(rows * columns, |out| {
                divide(row_parts(out, columns, threads, UNIT), |(part, out)| {
                    matmul_into(out, left.rows(part), right);
                });
            })
        };
        Ok((CpuStorage::F32(out), Shape::from((rows, columns))))
    }
}

/// `out ← scale · left · right`, or `out ← out + scale · left · right`. Rows of `out` (`left.rows ×
/// right.columns`) are `stride` apart.
pub(crate) fn matmul(
    out: &mut [f32],
    stride: usize,
    accumulate: bool,
    scale: f32,
    left: Matrix<'_>,
    right: Matrix<'_>,
) {
    let (m, n) = (left.rows, right.columns);
    assert!(stride >= n, "rows of the result overlap");
    assert!(
        m == 0 || n == 0 || out.len() > (m - 1) * stride + n - 1,
        "result"
    );
    // SAFETY: the asserts keep m×n numbers at `stride` inside `out`, without overlap.
    #[allow(unsafe_code)]
    unsafe {
        multiply(out.as_mut_ptr(), stride, accumulate, scale, left, right);
    }
}

/// `out ← left · right`, row after row; writes all of `out`.
fn matmul_into(out: &mut [MaybeUninit<f32>], left: Matrix<'_>, right: Matrix<'_>) {
    let n = right.columns;
    assert_eq!(out.len(), left.rows * n, "result");
    // SAFETY: `out` has exactly the m×n numbers; without `accumulate` they are written and not
    // read.
    #[allow(unsafe_code)]
    unsafe {
        multiply(out.as_mut_ptr().cast(), n, false, 1.0, left, right);
    }
}

/// Calls gemm.
///
/// # Safety
///
/// `out` must be valid for writes of `left.rows` rows of `right.columns` numbers that are `stride`
/// apart and do not overlap each other or an operand; with `accumulate` also for reads.
#[allow(unsafe_code)]
unsafe fn multiply(
    out: *mut f32,
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
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: the asserts above keep every element that gemm reads (left m×k, right k×n, at their
    // strides) inside the slices; the caller answers for `out`. Strides fit isize because the
    // slices do.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
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

/// A matrix's transpose, its rows one after the other.
pub(crate) fn turned(matrix: &Tensor) -> Result<Tensor> {
    if !is_host(matrix) {
        return matrix.t()?.contiguous();
    }
    matrix.contiguous()?.apply_op1_no_bwd(&Turned)
}

struct Turned;

impl CustomOp1 for Turned {
    fn name(&self) -> &'static str {
        "turned"
    }

    fn cpu_fwd(&self, matrix: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, columns) = layout.shape().dims2()?;
        let matrix = Matrix::new(slice(matrix, layout)?, rows, columns, columns);
        let mut out = vec![0.0; rows * columns];
        let threads = threads_for(rows * columns);
        divide(row_parts(&mut out, rows, threads, UNIT), |(part, out)| {
            transpose(matrix.columns(part), out);
        });
        Ok((CpuStorage::F32(out), Shape::from((columns, rows))))
    }
}

/// `out ← matrixᵀ`, its rows one after the other.
fn transpose(matrix: Matrix<'_>, out: &mut [f32]) {
    /// Few enough rows for the first-level cache to hold a line of each, also where they lie a
    /// power of two apart.
    const ROWS: usize = 8;
    const COLUMNS: usize = 64;
    let (rows, columns) = (matrix.rows, matrix.columns);
    assert_eq!(out.len(), rows * columns, "result");
    assert_eq!(matrix.column_stride, 1, "a matrix by rows");
    for first_column in (0..columns).step_by(COLUMNS) {
        let block = first_column..columns.min(first_column + COLUMNS);
        for first_row in (0..rows).step_by(ROWS) {
            let lines: [&[f32]; ROWS] = std::array::from_fn(|row| {
                let from = (first_row + row).min(rows - 1) * matrix.row_stride;
                &matrix.data[from..][block.clone()]
            });
            let height = ROWS.min(rows - first_row);
            for (column, out) in out[block.start * rows..block.end * rows]
                .chunks_exact_mut(rows)
                .enumerate()
            {
                let values = lines.map(|line| line[column]);
                match out[first_row..].first_chunk_mut::<ROWS>() {
                    Some(out) => *out = values,
                    None => out[first_row..].copy_from_slice(&values[..height]),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Stream, generator};
    use candle_core::{DType, Device};
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

    /// By one thread and by several, of matrices as they lie, turned views and parts, beside
    /// candle's own in f64.
    #[test]
    fn products_of_tensors_are_candles() {
        let tensor = |rows: usize, columns: usize| {
            let values = (0..rows * columns).map(|i| (i as f32 * 0.37 + rows as f32).sin());
            Tensor::from_iter(values, &Device::Cpu)
                .and_then(|x| x.reshape((rows, columns)))
                .unwrap()
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(3)
            .build()
            .unwrap();
        for (m, k, n) in [
            (5, 7, 3),
            (1, 300, 400),
            (250, 131, 70),
            (20, 700, 300),
            (4, 0, 3),
        ] {
            let pairs = [
                (tensor(m, k), tensor(k, n)),
                (tensor(k, m).t().unwrap(), tensor(n, k).t().unwrap()),
                (
                    tensor(m + 3, k).narrow(0, 2, m).unwrap(),
                    tensor(k, n + 2).narrow(1, 1, n).unwrap(),
                ),
            ];
            for (left, right) in pairs {
                let found = pool.install(|| product(&left, &right)).unwrap();
                assert_eq!(found.dims(), [m, n]);
                let [left, right, found] =
                    [left, right, found].map(|x| x.to_dtype(DType::F64).unwrap());
                if k == 0 {
                    assert_eq!(found.to_vec2::<f64>().unwrap(), vec![vec![0.0; n]; m]);
                    continue;
                }
                let expected = left.matmul(&right.contiguous().unwrap()).unwrap();
                let difference = (found - expected).unwrap().abs().unwrap();
                let largest: f64 = difference.max_all().unwrap().to_scalar().unwrap();
                assert!(largest < 1e-6 + 3e-7 * k as f64, "{m}×{k}×{n}: {largest:e}");
            }
        }
        let error = product(&tensor(2, 3), &tensor(2, 3)).unwrap_err();
        assert!(error.to_string().contains("[2, 3]"), "{error}");
    }

    #[test]
    fn a_turned_matrix_is_the_transposed_one() {
        for (rows, columns) in [(1, 5), (7, 3), (70, 1100), (300, 259)] {
            let values = (0..rows * columns).map(|i| i as f32);
            let matrix = Tensor::from_iter(values, &Device::Cpu)
                .and_then(|x| x.reshape((rows, columns)))
                .unwrap();
            for view in [matrix.clone(), matrix.t().unwrap()] {
                let turned = turned(&view).unwrap();
                assert!(turned.is_contiguous());
                assert_eq!(
                    turned.to_vec2::<f32>().unwrap(),
                    view.t().unwrap().to_vec2::<f32>().unwrap()
                );
            }
        }
    }

    #[test]
    fn a_transpose_has_rows_for_columns() {
        let (rows, columns, stride) = (45, 70, 73);
        let values: Vec<f32> = (0..rows * stride).map(|i| i as f32).collect();
        let mut out = vec![f32::NAN; rows * 40];
        transpose(
            Matrix::new(&values, rows, columns, stride).columns(20..60),
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
