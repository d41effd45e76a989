//! Products with codes.

#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::lanes::{WIDE, below};
use crate::kernels::float::portable::{self, Weight};
use crate::kernels::level::{Avx2, Avx512Vnni};

/// Weights whose products with a code may have a kernel of their own.
pub(crate) trait SparseWeight: Weight {
    /// [`add_code`], if it is there.
    #[inline(always)]
    fn add_code(_: &[Self], _: usize, _: (&[u16], &[f32]), _: &[f32], _: &mut [f32]) -> bool {
        false
    }
}

impl SparseWeight for f32 {
    #[inline(always)]
    fn add_code(
        weights: &[Self],
        columns: usize,
        code: (&[u16], &[f32]),
        drive: &[f32],
        output: &mut [f32],
    ) -> bool {
        // SAFETY: the token.
        Avx512Vnni::new().is_some()
            && unsafe { add_code_wide(weights, columns, code, drive, output) }
    }
}

impl SparseWeight for i16 {}

impl SparseWeight for i8 {}

/// Compiles a portable kernel for AVX2 as well: one pass over independent sums, which the compiler
/// vectorises in their order.
macro_rules! vectorised {
    ($(#[$documentation:meta])* $name:ident, $inner:ident, ($($argument:ident: $type:ty),*), $body:expr $(, $weight:ident)?) => {
        $(#[$documentation])*
        #[inline]
        pub(crate) fn $name$(<$weight: Weight>)?($($argument: $type),*) -> bool {
            #[target_feature(enable = "avx2")]
            fn $inner$(<$weight: Weight>)?($($argument: $type),*) {
                $body
            }
            if Avx2::new().is_none() {
                return false;
            }
            // SAFETY: the token.
            unsafe { $inner($($argument),*) };
            true
        }
    };
}

vectorised!(
    /// See [`portable::add_rows`]. `false` if nothing was done.
    add_rows, inner,
    (weights: &[W], columns: usize, entries: &mut dyn Iterator<Item = (usize, f32)>, sum: &mut [f32]),
    portable::add_rows(weights, columns, entries, sum),
    W
);
vectorised!(
    /// See [`portable::add_row`]. `false` if nothing was done.
    add_row, inner,
    (row: &[f32], value: f32, sum: &mut [f32]),
    portable::add_row(row, value, sum)
);
vectorised!(
    /// See [`portable::multiply_symmetric`]. `false` if nothing was done.
    multiply_symmetric, inner,
    (matrix: &[f32], x: &[f32], support: &[u16], product: &mut [f32]),
    portable::multiply_symmetric_tiled::<64>(matrix, x, support, product)
);

/// See [`add_code`](crate::kernels::float::add_code). `false` if nothing was done.
pub(crate) fn add_code<W: SparseWeight>(
    weights: &[W],
    columns: usize,
    code: (&[u16], &[f32]),
    drive: &[f32],
    output: &mut [f32],
) -> bool {
    W::add_code(weights, columns, code, drive, output)
}

/// Columns whose sums are kept in registers.
const TILE: usize = 128;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_code_wide(
    weights: &[f32],
    columns: usize,
    code: (&[u16], &[f32]),
    drive: &[f32],
    output: &mut [f32],
) -> bool {
    let count = columns.min(drive.len()).min(output.len());
    let shape = (weights.len().checked_div(columns).unwrap_or(0), columns);
    let mut first = 0_usize;
    while first < count {
        let used = count.wrapping_sub(first).min(TILE);
        // SAFETY: as many columns of the rows, of the drive and of the output.
        unsafe {
            let weights = weights.as_ptr().wrapping_add(first);
            let (drive, output) = (drive.as_ptr().add(first), output.as_mut_ptr().add(first));
            if used == TILE {
                add_tile::<{ TILE / WIDE }>(weights, shape, code, drive, output, __mmask16::MAX);
            } else {
                for lane in (0..used).step_by(WIDE) {
                    let mask = below(used.wrapping_sub(lane).min(WIDE)) as __mmask16;
                    let (drive, output) = (drive.add(lane), output.add(lane));
                    add_tile::<1>(weights.wrapping_add(lane), shape, code, drive, output, mask);
                }
            }
        }
        first = first.wrapping_add(TILE);
    }
    true
}

/// `output = drive + Σ value · row` for `N` registers of columns, of which the mask says what is
/// there.
///
/// # Safety
///
/// The processor has AVX-512. `weights`: as many numbers in each of the rows, `columns` from one to
/// the next; as many in `drive` and `output`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn add_tile<const N: usize>(
    weights: *const f32,
    (rows, columns): (usize, usize),
    (indices, values): (&[u16], &[f32]),
    drive: *const f32,
    output: *mut f32,
    mask: __mmask16,
) {
    let mut sums = [_mm512_setzero_ps(); N];
    for (&k, &value) in indices.iter().zip(values) {
        let k = usize::from(k);
        if k >= rows {
            continue;
        }
        let value = _mm512_set1_ps(value);
        let row = weights.wrapping_add(k.wrapping_mul(columns));
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: what is asked of the caller.
            let row = unsafe { _mm512_maskz_loadu_ps(mask, row.add(i.wrapping_mul(WIDE))) };
            *sum = _mm512_add_ps(*sum, _mm512_mul_ps(value, row));
        }
    }
    for (i, sum) in sums.into_iter().enumerate() {
        // SAFETY: what is asked of the caller.
        unsafe {
            let drive = _mm512_maskz_loadu_ps(mask, drive.add(i.wrapping_mul(WIDE)));
            let sum = _mm512_add_ps(sum, drive);
            _mm512_mask_storeu_ps(output.add(i.wrapping_mul(WIDE)), mask, sum);
        }
    }
}
