//! Products with dense vectors. Four rows at a time hide the latency of an addition.

#![allow(unsafe_code)]

use core::arch::aarch64::*;

use super::lanes::{Eight, LANES};
use crate::kernels::float::portable;
use crate::kernels::level::neon;

/// Rows at a time.
const ROWS: usize = 4;

/// See [`portable::dot_rows`]. `false` if nothing was done.
#[inline]
pub(crate) fn dot_rows<W: Eight>(
    weights: &[W],
    columns: usize,
    x: &[f32],
    each: &mut impl FnMut(usize, &[f32]),
) -> bool {
    if !neon() || columns == 0 {
        return false;
    }
    let mut index = 0_usize;
    let x = x.get(..columns).unwrap_or(x);
    let groups = weights.chunks_exact(columns.saturating_mul(ROWS));
    let rest = groups.remainder();
    for rows in groups {
        let rows = core::array::from_fn(|row| {
            let row = portable::row(rows, columns, row);
            row.get(..x.len()).unwrap_or(row)
        });
        // SAFETY: the target has NEON.
        each(index, &unsafe { dot_four(rows, x) });
        index = index.wrapping_add(ROWS);
    }
    for row in rest.chunks_exact(columns) {
        each(index, &[portable::dot(row, x)]);
        index = index.wrapping_add(1);
    }
    true
}

/// The products of four rows as long as `x`, in the order of [`portable::dot`].
#[inline]
#[target_feature(enable = "neon")]
fn dot_four<W: Eight>(rows: [&[W]; ROWS], x: &[f32]) -> [f32; ROWS] {
    let mut sums = [[vdupq_n_f32(0.0); 2]; ROWS];
    let mut add = |rows: [&[W; LANES]; ROWS], x: &[f32; LANES]| {
        // SAFETY: the target has NEON.
        let [x_low, x_high] = unsafe { f32::load(x) };
        for ([low, high], row) in sums.iter_mut().zip(rows) {
            // SAFETY: as above.
            let [weights_low, weights_high] = unsafe { W::load(row) };
            *low = vaddq_f32(*low, vmulq_f32(weights_low, x_low));
            *high = vaddq_f32(*high, vmulq_f32(weights_high, x_high));
        }
    };
    let [(a, a_rest), (b, b_rest), (c, c_rest), (d, d_rest)] = rows.map(<[W]>::as_chunks);
    let (eights, x_rest) = x.as_chunks();
    for ((((a, b), c), d), x) in a.iter().zip(b).zip(c).zip(d).zip(eights) {
        add([a, b, c, d], x);
    }
    if !x_rest.is_empty() {
        // Zeros, whose products leave a sum as it is: none is ever -0.
        let rows = [a_rest, b_rest, c_rest, d_rest].map(filled_up);
        add(rows.each_ref(), &filled_up(x_rest));
    }
    // `s0+s4` to `s3+s7` of a row.
    let [a, b, c, d] = sums.map(|[low, high]| vaddq_f32(low, high));
    // `t0+t2` and `t1+t3` of two rows.
    let halves = |x: float32x4_t, y: float32x4_t| {
        let (x, y) = (vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y));
        vaddq_f32(
            vreinterpretq_f32_f64(vzip1q_f64(x, y)),
            vreinterpretq_f32_f64(vzip2q_f64(x, y)),
        )
    };
    let mut products = [0.0; ROWS];
    // SAFETY: four numbers.
    unsafe {
        vst1q_f32(
            products.as_mut_ptr(),
            vpaddq_f32(halves(a, b), halves(c, d)),
        )
    };
    products
}

/// Fewer than eight elements, and zeros.
#[inline(always)]
fn filled_up<T: Copy + Default>(rest: &[T]) -> [T; LANES] {
    let mut eight = [T::default(); LANES];
    for (to, from) in eight.iter_mut().zip(rest) {
        *to = *from;
    }
    eight
}
