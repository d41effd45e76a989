//! Products with dense vectors, with dot products of 8-bit numbers where the processor has them.

#![allow(unsafe_code)]

use core::arch::aarch64::*;
use core::arch::asm;

use sparsecode_formats::{Blocks, LANES};

use super::lanes::load_levels;
use crate::kernels::integer::portable;
use crate::kernels::level::{dotprod, neon};

/// Blocks of a matrix that are multiplied before their sums leave the registers: those of 1024
/// columns.
const SLAB: usize = 128;

/// Adjacent blocks of a matrix, each of `rows` eights, and an eight of inputs for each.
struct Slab<'s> {
    blocks: &'s [i8],
    rows: usize,
    x: &'s [[i16; LANES]],
    /// The blocks whose inputs are not all 0.
    busy: [u8; SLAB],
    count: usize,
    /// How many digits inputs have to base 256, each from -128 to 127.
    digits: usize,
}

impl<'s> Slab<'s> {
    /// `x` of at most [`SLAB`] eights.
    fn new(blocks: &'s [i8], rows: usize, x: &'s [[i16; LANES]]) -> Self {
        let mut slab = Self {
            blocks,
            rows,
            x,
            busy: [0; SLAB],
            count: 0,
            digits: 1,
        };
        let (mut least, mut most) = (0, 0);
        for (index, eight) in (0..).zip(x) {
            let low = eight.iter().fold(0, |low, value| low.min(*value));
            let high = eight.iter().fold(0, |high, value| high.max(*value));
            (least, most) = (low.min(least), high.max(most));
            if (low, high) != (0, 0)
                && let Some(place) = slab.busy.get_mut(slab.count)
            {
                *place = index;
                slab.count = slab.count.wrapping_add(1);
            }
        }
        if least < -128 || most > 127 {
            slab.digits = if most > 127 * 256 + 127 { 3 } else { 2 };
        }
        slab
    }

    /// The inputs of each busy block, and the weights of `2·N` rows from `row` on.
    #[inline(always)]
    fn terms<const N: usize>(
        &self,
        row: usize,
    ) -> impl Iterator<Item = (&'s [i16; LANES], &'s [[i8; 2 * LANES]; N])> {
        let busy = self.busy.get(..self.count).unwrap_or_default();
        busy.iter().filter_map(move |&block| {
            let block = usize::from(block);
            let first = block
                .wrapping_mul(self.rows)
                .wrapping_add(row)
                .wrapping_mul(LANES);
            let weights = self.blocks.get(first..)?.as_chunks().0.first_chunk()?;
            Some((self.x.get(block)?, weights))
        })
    }

    /// Adds the products of `2·N` rows from `row` on to their sums.
    #[target_feature(enable = "neon")]
    fn add_neon<const N: usize>(&self, row: usize, sums: &mut [i32]) {
        // Four sums for each of two rows.
        let mut totals = [[vdupq_n_s32(0); 2]; N];
        for (x, weights) in self.terms::<N>(row) {
            let x = load_levels(x);
            for ([even, odd], weights) in totals.iter_mut().zip(weights) {
                let weights = load_weights(weights);
                let (first, second) = (vmovl_s8(vget_low_s8(weights)), vmovl_high_s8(weights));
                *even = vmlal_high_s16(
                    vmlal_s16(*even, vget_low_s16(first), vget_low_s16(x)),
                    first,
                    x,
                );
                *odd = vmlal_high_s16(
                    vmlal_s16(*odd, vget_low_s16(second), vget_low_s16(x)),
                    second,
                    x,
                );
            }
        }
        add_totals(totals.map(|[even, odd]| vpaddq_s32(even, odd)), sums);
    }

    /// The same, digit by digit of the inputs, from the highest. Sums wrap, and so do their
    /// multiples.
    #[target_feature(enable = "neon,dotprod")]
    fn add_dotprod<const N: usize>(&self, row: usize, sums: &mut [i32]) {
        // Two sums for each of two rows.
        let mut totals = [vdupq_n_s32(0); N];
        for place in (0..self.digits).rev() {
            for total in &mut totals {
                *total = vshlq_n_s32::<8>(*total);
            }
            let down = |places| vdupq_n_s16(if place < places { 0 } else { -8 });
            let (first, second) = (down(1), down(2));
            for (x, weights) in self.terms::<N>(row) {
                // To the nearest: what is cut off lies within -128 … 127.
                let rest = vrshlq_s16(vrshlq_s16(load_levels(x), first), second);
                let digits = vmovn_s16(rest);
                if vget_lane_u64::<0>(vreinterpret_u64_s8(digits)) == 0 {
                    continue;
                }
                let digits = vcombine_s8(digits, digits);
                for (total, weights) in totals.iter_mut().zip(weights) {
                    *total = dot(*total, load_weights(weights), digits);
                }
            }
        }
        add_totals(totals, sums);
    }
}

/// Adds two totals of each row to its sum.
#[inline]
#[target_feature(enable = "neon")]
fn add_totals<const N: usize>(totals: [int32x4_t; N], sums: &mut [i32]) {
    let fours = sums.as_chunks_mut::<4>().0.iter_mut();
    for ([a, b], sums) in totals.as_chunks().0.iter().zip(fours) {
        // SAFETY: four numbers of 32 bits.
        unsafe {
            let sum = vaddq_s32(vld1q_s32(sums.as_ptr()), vpaddq_s32(*a, *b));
            vst1q_s32(sums.as_mut_ptr(), sum);
        }
    }
}

/// Adds four products to each of four sums.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(mut sums: int32x4_t, weights: int8x16_t, digits: int8x16_t) -> int32x4_t {
    // SAFETY: registers only. The compiler's own function for it is not stable.
    unsafe {
        asm!(
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sums,
            in(vreg) weights,
            in(vreg) digits,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

#[inline]
#[target_feature(enable = "neon")]
fn load_weights(two_rows: &[i8; 2 * LANES]) -> int8x16_t {
    // SAFETY: sixteen numbers of 8 bits.
    unsafe { vld1q_s8(two_rows.as_ptr()) }
}

/// See [`dot_rows`](crate::kernels::integer::dot_rows): adds to the sums. A vector in eights, of
/// which the last may be apart. `false` if nothing was done.
pub(crate) fn dot_rows(
    matrix: &Blocks<'_, i8>,
    eights: &[[i16; LANES]],
    last: Option<&[i16; LANES]>,
    sums: &mut [i32],
) -> bool {
    if !neon() {
        return false;
    }
    let rows = matrix.rows();
    let length = rows.wrapping_mul(LANES);
    let mut values = matrix.values();
    let slabs = eights.chunks(SLAB).chain(last.map(core::slice::from_ref));
    for x in slabs {
        let Some((blocks, rest)) = values.split_at_checked(x.len().wrapping_mul(length)) else {
            break;
        };
        values = rest;
        let slab = Slab::new(blocks, rows, x);
        let mut row = 0_usize;
        // As many rows as there are registers for their sums, then fewer.
        let mut pass = |rows_at_a_time: usize, add: &dyn Fn(usize, &mut [i32])| {
            let end = sums.len().min(rows);
            while let Some(sums) = sums
                .get_mut(row..end)
                .and_then(|sums| sums.get_mut(..rows_at_a_time))
            {
                add(row, sums);
                row = row.wrapping_add(rows_at_a_time);
            }
        };
        // SAFETY: the processor has what each of them asks for.
        unsafe {
            if dotprod() {
                pass(32, &|row, sums| slab.add_dotprod::<16>(row, sums));
                pass(4, &|row, sums| slab.add_dotprod::<2>(row, sums));
            } else {
                pass(16, &|row, sums| slab.add_neon::<8>(row, sums));
                pass(4, &|row, sums| slab.add_neon::<2>(row, sums));
            }
        }
        let sums = sums.get_mut(row..).unwrap_or_default();
        if !sums.is_empty() {
            for (block, x) in blocks.chunks_exact(length.max(1)).zip(x) {
                let rows = block.get(row.wrapping_mul(LANES)..).unwrap_or(&[]);
                portable::dot_block(rows, x, sums);
            }
        }
    }
    true
}
