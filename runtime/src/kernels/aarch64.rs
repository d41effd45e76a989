//! Float kernels for AArch64 with NEON, and what the processor has.
//!
//! Every sum is added up in the order of [`portable`]: its eight partial sums are the lanes of two registers, products and sums are
//! rounded one by one. Four rows at a time hide the latency of an addition.
//!
//! What is not here, the compiler vectorises as well from the portable kernels: NEON belongs to every processor of the target.

#![allow(unsafe_code)]

use core::arch::aarch64::*;

use super::level::{BASELINE, level};
use super::portable::{self, Weight};

const NEON: u8 = 2;
const DOTPROD: u8 = 3;

/// Without `std` the processor is not asked: what the compiler was told it has, counts.
pub(super) fn detect() -> u8 {
    #[cfg(any(feature = "std", test))]
    let dotprod = std::arch::is_aarch64_feature_detected!("dotprod");
    #[cfg(not(any(feature = "std", test)))]
    let dotprod = cfg!(target_feature = "dotprod");
    if dotprod { DOTPROD } else { NEON }
}

/// Whether to use NEON: always, but for tests that compare with the portable kernels.
#[inline(always)]
pub(super) fn neon() -> bool {
    !cfg!(test) || level() > BASELINE
}

/// Whether the processor has dot products of 8-bit numbers.
#[inline(always)]
pub(super) fn dotprod() -> bool {
    level() >= DOTPROD
}

/// Partial sums of a row.
const LANES: usize = 8;
/// Rows at a time.
const ROWS: usize = 4;

/// Weights that can be read eight at a time.
pub(crate) trait Eight: Weight + Default {
    /// Eight weights, without their scale.
    ///
    /// # Safety
    ///
    /// The processor has NEON.
    unsafe fn load(weights: &[Self; LANES]) -> [float32x4_t; 2];
}

impl Eight for f32 {
    #[inline(always)]
    unsafe fn load(weights: &[Self; LANES]) -> [float32x4_t; 2] {
        let weights = weights.as_ptr();
        // SAFETY: eight numbers of 32 bits.
        unsafe { [vld1q_f32(weights), vld1q_f32(weights.add(4))] }
    }
}

impl Eight for i16 {
    #[inline(always)]
    unsafe fn load(weights: &[Self; LANES]) -> [float32x4_t; 2] {
        // SAFETY: eight numbers of 16 bits.
        unsafe { convert(vld1q_s16(weights.as_ptr())) }
    }
}

impl Eight for i8 {
    #[inline(always)]
    unsafe fn load(weights: &[Self; LANES]) -> [float32x4_t; 2] {
        // SAFETY: eight numbers of 8 bits.
        unsafe { convert(vmovl_s8(vld1_s8(weights.as_ptr()))) }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn convert(eight: int16x8_t) -> [float32x4_t; 2] {
    [
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(eight))),
        vcvtq_f32_s32(vmovl_high_s16(eight)),
    ]
}

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

/// See [`portable::multiply_symmetric`], with as many sums at a time as half of the registers hold. `false` if nothing was done.
#[inline]
pub(crate) fn multiply_symmetric(
    matrix: &[f32],
    x: &[f32],
    support: &[u16],
    product: &mut [f32],
) -> bool {
    if neon() {
        portable::multiply_symmetric_tiled::<64>(matrix, x, support, product);
    }
    neon()
}

#[cfg(test)]
mod tests {
    /// So that tests of every implementation are known to be that.
    #[test]
    fn dot_products_are_found_where_they_are() {
        // Set by `cargo xtask aarch64`, which knows the processor.
        if let Ok(expected) = std::env::var("SPARSECODE_DOTPROD") {
            assert_eq!(expected, if super::dotprod() { "true" } else { "false" });
        }
    }
}
