//! Passes over whole tensors: fused where several tensor operations would each go through memory.
//!
//! On f32 in main memory they run on the calling thread, or on rayon's, as the products do, where
//! there is enough to do. Candle's own element by element operations keep a second pool of threads,
//! which spin for about a millisecond after each and take the cores from the products. For other
//! types and devices the same is done by tensor operations: that is the definition.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Error, Layout, Result, Shape, Tensor};

use super::host::{is_host, slice, threads_for};
use super::matmul::product;
use super::team::{UNIT, divide, row_parts};
use super::wide::widest;

/// Numbers that are summed in f32.
const CHUNK: usize = 1 << 15;

/// Fills `out` part by part, of whole rows: `work` gets where a part begins, and the part.
fn fill(out: &mut [f32], row: usize, work: impl Fn(usize, &mut [f32]) + Send + Sync) {
    let threads = threads_for(out.len());
    divide(row_parts(out, row, threads, UNIT), |(rows, out)| {
        widest(
            #[inline(always)]
            || work(rows.start * row, out),
        );
    });
}

/// `a − b`, element by element.
pub(crate) fn difference(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !is_host(a) || a.shape() != b.shape() {
        return a - b;
    }
    map2("difference", a, b, |a, b| a - b)
}

/// `x` where `gate > 0`, else 0: the gradient through a ReLU whose output is `gate`, 0 at 0
/// (candle's own passes it there).
pub(crate) fn where_positive(x: &Tensor, gate: &Tensor) -> Result<Tensor> {
    if !is_host(x) || x.shape() != gate.shape() {
        return x * gate.gt(0.0)?.to_dtype(gate.dtype())?;
    }
    map2(
        "where_positive",
        x,
        gate,
        |x, gate| if gate > 0.0 { x } else { 0.0 },
    )
}

/// `a + b`, element by element; `b` may be one row, added to each of `a`.
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !is_host(a) || !fits(a, b) {
        return a.broadcast_add(b);
    }
    map2("sum", a, b, |a, b| a + b)
}

/// `relu(a + b)`, with `b` as for [`sum`]. NaN stays NaN.
pub(crate) fn rectified(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !is_host(a) || !fits(a, b) {
        return a.broadcast_add(b)?.relu();
    }
    map2("rectified", a, b, |a, b| positive_part(a + b))
}

/// `max(x, 0)`, but NaN stays NaN, so that the step's guards see it.
#[inline(always)]
pub(crate) fn positive_part(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// Whether `b` has the shape of `a`, or of a row of it.
fn fits(a: &Tensor, b: &Tensor) -> bool {
    a.shape() == b.shape() || a.dims().last() == Some(&b.elem_count())
}

/// `factor · x`.
pub(crate) fn scaled(x: &Tensor, factor: f64) -> Result<Tensor> {
    if !is_host(x) {
        return x * factor;
    }
    x.contiguous()?.apply_op1_no_bwd(&Scaled(factor as f32))
}

/// Columns of a matrix divided by their ℓ2 norms; a zero column stays.
pub(crate) fn unit_columns(matrix: &Tensor) -> Result<Tensor> {
    if !is_host(matrix) {
        let norms = column_norms(matrix)?;
        let safe = norms.eq(0.0)?.where_cond(&norms.ones_like()?, &norms)?;
        return matrix.broadcast_div(&safe);
    }
    matrix.contiguous()?.apply_op1_no_bwd(&UnitColumns)
}

/// The ℓ2 norms of a matrix's columns, `1 × columns`.
pub(crate) fn column_norms(matrix: &Tensor) -> Result<Tensor> {
    column_sums(&matrix.sqr()?)?.sqrt()
}

/// The sum over the rows of a matrix, as a product with ones: faster than candle's strided
/// reduction, and as exact.
pub(crate) fn column_sums(x: &Tensor) -> Result<Tensor> {
    product(&Tensor::ones((1, x.dim(0)?), x.dtype(), x.device())?, x)
}

/// Σ x² over all elements.
pub(crate) fn sum_of_squares(x: &Tensor) -> Result<f64> {
    if !is_host(x) {
        return x.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar();
    }
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else {
        return Err(Error::Msg("a tensor in main memory that is not".into()));
    };
    let x = slice(storage, layout)?;
    // In parts of the same size, added in their order, whoever computes them.
    let chunks = x.len().div_ceil(CHUNK);
    let mut sums = vec![0.0; chunks];
    let threads = threads_for(x.len());
    divide(row_parts(&mut sums, 1, threads, 1), |(part, sums)| {
        let chunks = x.chunks(CHUNK).skip(part.start);
        for (sum, chunk) in sums.iter_mut().zip(chunks) {
            *sum = widest(
                #[inline(always)]
                || squares(chunk),
            );
        }
    });
    Ok(sums.iter().sum())
}

#[inline(always)]
fn squares(values: &[f32]) -> f64 {
    let (rows, rest) = values.as_chunks::<16>();
    let mut lanes = [0.0f32; 16];
    for row in rows {
        for (lane, value) in lanes.iter_mut().zip(row) {
            *lane += value * value;
        }
    }
    let rest: f64 = rest.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    rest + lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>()
}

/// `f` of two tensors of the same shape, or of each row of a matrix and one row.
fn map2(
    name: &'static str,
    a: &Tensor,
    b: &Tensor,
    f: impl Fn(f32, f32) -> f32 + Send + Sync,
) -> Result<Tensor> {
    a.contiguous()?
        .apply_op2_no_bwd(&b.contiguous()?, &Map2 { name, f })
}

struct Map2<F> {
    name: &'static str,
    f: F,
}

impl<F: Fn(f32, f32) -> f32 + Send + Sync> CustomOp2 for Map2<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (a, b) = (slice(a, a_layout)?, slice(b, b_layout)?);
        let mut out = vec![0.0; a.len()];
        if b.is_empty() || a.is_empty() {
            return Ok((CpuStorage::F32(out), a_layout.shape().clone()));
        }
        let is_row = b.len() < a.len();
        let row = if is_row { b.len() } else { 1 };
        fill(
            &mut out,
            row,
            #[inline(always)]
            |first, out| {
                let a = &a[first..][..out.len()];
                if is_row {
                    for (out, a) in out.chunks_mut(b.len()).zip(a.chunks(b.len())) {
                        apply(&self.f, a, b, out);
                    }
                } else {
                    apply(&self.f, a, &b[first..][..out.len()], out);
                }
            },
        );
        Ok((CpuStorage::F32(out), a_layout.shape().clone()))
    }
}

#[inline(always)]
fn apply(f: impl Fn(f32, f32) -> f32, a: &[f32], b: &[f32], out: &mut [f32]) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = f(a, b);
    }
}

struct Scaled(f32);

impl CustomOp1 for Scaled {
    fn name(&self) -> &'static str {
        "scaled"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut out = vec![0.0; x.len()];
        fill(
            &mut out,
            1,
            #[inline(always)]
            |first, out| {
                for (out, x) in out.iter_mut().zip(&x[first..]) {
                    *out = self.0 * x;
                }
            },
        );
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

struct UnitColumns;

impl CustomOp1 for UnitColumns {
    fn name(&self) -> &'static str {
        "unit_columns"
    }

    fn cpu_fwd(&self, matrix: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, columns) = layout.shape().dims2()?;
        let matrix = slice(matrix, layout)?;
        let mut scales = vec![0.0f32; columns];
        let mut out = vec![0.0; matrix.len()];
        if columns == 0 {
            return Ok((CpuStorage::F32(out), layout.shape().clone()));
        }
        widest(
            #[inline(always)]
            || {
                for row in matrix.chunks_exact(columns) {
                    for (sum, value) in scales.iter_mut().zip(row) {
                        *sum += value * value;
                    }
                }
            },
        );
        for scale in &mut scales {
            *scale = if *scale == 0.0 { 1.0 } else { scale.sqrt() };
        }
        fill(
            &mut out,
            columns,
            #[inline(always)]
            |first, out| {
                let rows = matrix[first..].chunks_exact(columns);
                for (out, row) in out.chunks_exact_mut(columns).zip(rows) {
                    for ((out, value), scale) in out.iter_mut().zip(row).zip(&scales) {
                        *out = value / scale;
                    }
                }
            },
        );
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Numbers of both signs and zeros; more than one chunk where it matters.
    fn matrix(rows: usize, columns: usize, phase: f32) -> Tensor {
        let values = (0..rows * columns).map(|i| match i % 7 {
            0 => 0.0,
            _ => (i as f32 * 0.37 + phase).sin(),
        });
        Tensor::from_iter(values, &Device::Cpu)
            .unwrap()
            .reshape((rows, columns))
            .unwrap()
    }

    fn double(x: &Tensor) -> Tensor {
        x.to_dtype(DType::F64).unwrap()
    }

    fn assert_close(fused: &Tensor, plain: &Tensor) {
        assert_eq!(fused.dtype(), DType::F32);
        assert_eq!(fused.shape(), plain.shape());
        let difference = (double(fused) - plain).unwrap().abs().unwrap();
        let largest: f64 = difference.max_all().unwrap().to_scalar().unwrap();
        assert!(largest < 1e-6, "{largest}");
    }

    /// Each fused pass beside its definition, in f64, by several threads where there is enough to
    /// do.
    #[test]
    fn fused_passes_are_the_tensor_operations() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
        pool.unwrap().install(compare_fused_passes);
    }

    fn compare_fused_passes() {
        for (rows, columns) in [(1, 1), (3, 5), (250, 131), (700, 1000)] {
            let (a, b) = (matrix(rows, columns, 0.0), matrix(rows, columns, 1.0));
            let (a64, b64) = (double(&a), double(&b));
            let bias = b.get(0).unwrap();
            assert_close(
                &difference(&a, &b).unwrap(),
                &difference(&a64, &b64).unwrap(),
            );
            assert_close(
                &where_positive(&a, &b).unwrap(),
                &where_positive(&a64, &b64).unwrap(),
            );
            for (b, b64) in [(&bias, &double(&bias)), (&b, &b64)] {
                assert_close(&rectified(&a, b).unwrap(), &rectified(&a64, b64).unwrap());
                assert_close(&sum(&a, b).unwrap(), &sum(&a64, b64).unwrap());
            }
            assert_close(&scaled(&a, 0.3).unwrap(), &scaled(&a64, 0.3).unwrap());
            assert_close(&unit_columns(&a).unwrap(), &unit_columns(&a64).unwrap());
            let (fused, plain) = (sum_of_squares(&a).unwrap(), sum_of_squares(&a64).unwrap());
            assert!((fused - plain).abs() <= 1e-5 * plain, "{fused} {plain}");
        }
    }

    /// Views with an offset, and transposed ones, are taken as what they show.
    #[test]
    fn views_are_read_where_they_lie() {
        let whole = matrix(9, 6, 0.5);
        let part = whole.narrow(0, 2, 4).unwrap();
        let turned = whole.t().unwrap();
        for view in [&part, &turned] {
            let plain = scaled(&double(view), 2.0).unwrap();
            assert_close(&scaled(view, 2.0).unwrap(), &plain);
            let (fused, plain) = (
                sum_of_squares(view).unwrap(),
                sum_of_squares(&double(view)).unwrap(),
            );
            assert!((fused - plain).abs() < 1e-5 * plain);
        }
        let plain = unit_columns(&double(&turned)).unwrap();
        assert_close(&unit_columns(&turned).unwrap(), &plain);
    }

    #[test]
    fn gates_and_zero_columns_are_exact() {
        let gate = Tensor::new(&[[0f32, -1., 2., f32::MIN_POSITIVE]], &Device::Cpu).unwrap();
        let x = Tensor::new(&[[5f32, 6., 7., 8.]], &Device::Cpu).unwrap();
        let gated = where_positive(&x, &gate).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(gated, [[0.0, 0.0, 7.0, 8.0]]);
        let matrix = Tensor::new(&[[0f32, 3.], [0., 4.]], &Device::Cpu).unwrap();
        let unit = unit_columns(&matrix).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(unit, [[0.0, 0.6], [0.0, 0.8]]);
    }

    #[test]
    fn nan_is_not_hidden() {
        let x = Tensor::new(&[[f32::NAN, 1.0]], &Device::Cpu).unwrap();
        assert!(sum_of_squares(&x).unwrap().is_nan());
        let zero = x.zeros_like().unwrap();
        let difference = difference(&x, &zero).unwrap().to_vec2::<f32>().unwrap();
        assert!(difference[0][0].is_nan());
        let rectified = rectified(&x, &zero).unwrap().to_vec2::<f32>().unwrap();
        assert!(rectified[0][0].is_nan() && rectified[0][1] == 1.0);
    }
}
