//! Integer kernels for AArch64: dense products with dot products of 8-bit numbers where the processor has them, everything else with
//! NEON, which all have.
//!
//! Where a drive becomes a level, eight components are passed over at once unless one of them is active.

#![allow(unsafe_code)]

use core::arch::aarch64::*;
use core::arch::asm;

use sparsecode_formats::{Blocks, LANES, Packed, Rescale, Rescales};

use super::{Entry, GradientStep, High, Threshold, lie_within, portable};
use crate::kernels::aarch64::{dotprod, neon};

/// Eight numbers of 32 bits.
type Eight = [int32x4_t; 2];

/// Blocks of a matrix that are multiplied before their sums leave the registers: those of 1024 columns.
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

    /// The same, digit by digit of the inputs, from the highest. Sums wrap, and so do their multiples.
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
fn load_levels(eight: &[i16; LANES]) -> int16x8_t {
    // SAFETY: eight numbers of 16 bits.
    unsafe { vld1q_s16(eight.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn load_weights(two_rows: &[i8; 2 * LANES]) -> int8x16_t {
    // SAFETY: sixteen numbers of 8 bits.
    unsafe { vld1q_s8(two_rows.as_ptr()) }
}

/// See [`dot_rows`](super::dot_rows): adds to the sums. A vector in eights, of which the last may be apart. `false` if nothing was done.
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

/// Rows of eight numbers as the sparse products read them.
trait Row: Packed {
    /// Eight numbers.
    ///
    /// # Safety
    ///
    /// The processor has NEON, and there are eight numbers.
    unsafe fn load(row: *const Self) -> int16x8_t;
}

impl Row for i8 {
    #[inline(always)]
    unsafe fn load(row: *const Self) -> int16x8_t {
        // SAFETY: what is asked of the caller.
        unsafe { vmovl_s8(vld1_s8(row)) }
    }
}

impl Row for i16 {
    #[inline(always)]
    unsafe fn load(row: *const Self) -> int16x8_t {
        // SAFETY: what is asked of the caller.
        unsafe { vld1q_s16(row) }
    }
}

/// `Σ_k value_k · row_k` of `N` adjacent blocks.
///
/// # Safety
///
/// `block`: the first of `N` blocks, `stride` numbers from one to the next, that hold the rows of all entries.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add_blocks<T: Row, const N: usize>(
    block: *const T,
    stride: usize,
    entries: &[Entry],
) -> [Eight; N] {
    let mut sums = [[vdupq_n_s32(0); 2]; N];
    for entry in entries {
        let value = vdupq_n_s16(entry.value());
        // SAFETY: the rows of all entries lie within each of the blocks.
        unsafe {
            let mut row = block.byte_add(entry.offset());
            for [low, high] in &mut sums {
                let weights = T::load(row);
                *low = vmlal_s16(*low, vget_low_s16(weights), vget_low_s16(value));
                *high = vmlal_high_s16(*high, weights, value);
                row = row.wrapping_add(stride);
            }
        }
    }
    sums
}

/// Calls `each(b, Σ_k value_k · row_k of block b)` for all blocks, which are read eight at a time and then one by one. `false`, and nothing
/// is done, if entries do not lie within the matrix.
#[inline(always)]
fn for_blocks<T: Row>(
    matrix: &Blocks<'_, T>,
    entries: &[Entry],
    mut each: impl FnMut(usize, Eight),
) -> bool {
    if !(neon() && lie_within(entries, matrix)) {
        return false;
    }
    let stride = matrix.rows().wrapping_mul(LANES);
    let mut block = matrix.values().as_ptr();
    let mut first = 0_usize;
    while first.wrapping_add(8) <= matrix.count() {
        // SAFETY: the target has NEON; the entries were held to the matrix.
        let eight = unsafe { add_blocks::<T, 8>(block, stride, entries) };
        for (lane, sums) in eight.into_iter().enumerate() {
            each(first.wrapping_add(lane), sums);
        }
        block = block.wrapping_add(stride.wrapping_mul(8));
        first = first.wrapping_add(8);
    }
    while first < matrix.count() {
        // SAFETY: as above.
        let [sums] = unsafe { add_blocks::<T, 1>(block, stride, entries) };
        each(first, sums);
        block = block.wrapping_add(stride);
        first = first.wrapping_add(1);
    }
    true
}

#[inline]
#[target_feature(enable = "neon")]
fn to_array([low, high]: Eight) -> [i32; LANES] {
    let mut array = [0; LANES];
    // SAFETY: eight numbers of 32 bits.
    unsafe {
        vst1q_s32(array.as_mut_ptr(), low);
        vst1q_s32(array.as_mut_ptr().add(4), high);
    }
    array
}

#[inline]
#[target_feature(enable = "neon")]
fn from_array(array: &[i32; LANES]) -> Eight {
    // SAFETY: eight numbers of 32 bits.
    unsafe { [vld1q_s32(array.as_ptr()), vld1q_s32(array.as_ptr().add(4))] }
}

/// Eight numbers from `first` on; those beyond the last are `beyond`.
#[inline]
#[target_feature(enable = "neon")]
fn load(values: &[i32], first: usize, beyond: i32) -> Eight {
    let values = values.get(first..).unwrap_or_default();
    if let Some(eight) = values.first_chunk() {
        return from_array(eight);
    }
    let mut eight = [beyond; LANES];
    for (to, from) in eight.iter_mut().zip(values) {
        *to = *from;
    }
    from_array(&eight)
}

/// The lanes that are set, ascending.
#[inline]
#[target_feature(enable = "neon")]
fn lanes([low, high]: [uint32x4_t; 2]) -> impl Iterator<Item = usize> {
    let halves = vcombine_u16(vmovn_u32(low), vmovn_u32(high));
    // A byte for each, of which one bit is left.
    let bytes = vget_lane_u64::<0>(vreinterpret_u64_u8(vmovn_u16(halves)));
    let mut bits = bytes & 0x0101_0101_0101_0101;
    core::iter::from_fn(move || {
        let lane = (bits.trailing_zeros() / 8) as usize;
        bits &= bits.wrapping_sub(1);
        (lane < LANES).then_some(lane)
    })
}

/// [`High`] for eight sums.
#[inline]
#[target_feature(enable = "neon")]
fn rescale_eight(sums: Eight, multipliers: Eight, high: High) -> Eight {
    // The product doubled, of which the upper half is left, so that there is one bit more to round off.
    let down = vdupq_n_s32(high.shift.wrapping_add(1).cast_signed().wrapping_neg());
    let one = |sums, multipliers| vrshlq_s32(vqdmulhq_s32(sums, multipliers), down);
    [one(sums[0], multipliers[0]), one(sums[1], multipliers[1])]
}

#[inline]
#[target_feature(enable = "neon")]
fn add([x_low, x_high]: Eight, [y_low, y_high]: Eight) -> Eight {
    [vaddq_s32(x_low, y_low), vaddq_s32(x_high, y_high)]
}

/// See [`add_rows`](super::add_rows). `false` if nothing was done.
pub(crate) fn add_rows(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    each: &mut dyn FnMut(usize, &[i32; LANES]),
) -> bool {
    for_blocks(matrix, entries, |index, sums| {
        // SAFETY: the target has NEON.
        each(index, &unsafe { to_array(sums) });
    })
}

/// See [`add_wide_rows`](super::add_wide_rows). `false` if nothing was done.
pub(crate) fn add_wide_rows(matrix: &Blocks<'_, i16>, entries: &[Entry], sums: &mut [i32]) -> bool {
    let mut eights = sums.chunks_mut(LANES);
    for_blocks(matrix, entries, |_, more| {
        let eight = eights.next().unwrap_or_default();
        if let Some(eight) = eight.first_chunk_mut() {
            // SAFETY: the target has NEON.
            *eight = unsafe { to_array(add(from_array(eight), more)) };
        } else {
            // SAFETY: as above.
            for (sum, more) in eight.iter_mut().zip(unsafe { to_array(more) }) {
                *sum = sum.wrapping_add(more);
            }
        }
    })
}

/// A list of levels that are not 0, and how long it is.
struct Levels<'l> {
    list: &'l mut [Entry],
    count: usize,
    threshold: Threshold,
}

impl Levels<'_> {
    /// Appends the levels of the eight drives from `first` on.
    #[inline]
    #[target_feature(enable = "neon")]
    fn push_eight(&mut self, first: usize, drive: Eight) {
        let least = vdupq_n_s32(self.threshold.least());
        let active = drive.map(|drive| vcgeq_s32(drive, least));
        for lane in lanes(active) {
            if let Some(drive) = to_array(drive).get(lane)
                && let Some(level) = self.threshold.level(*drive)
                && let Some(entry) = self.list.get_mut(self.count)
            {
                *entry = Entry::new::<i8>(first.wrapping_add(lane), level);
                self.count = self.count.wrapping_add(1);
            }
        }
    }
}

/// See [`list_levels`](super::list_levels).
pub(crate) fn list_levels(drive: &[i32], threshold: Threshold, list: &mut [Entry]) -> Option<u16> {
    let mut levels = Levels {
        list,
        count: 0,
        threshold,
    };
    for first in (0..drive.len()).step_by(LANES) {
        // SAFETY: the target has NEON.
        unsafe { levels.push_eight(first, load(drive, first, i32::MIN)) };
    }
    neon().then_some(levels.count as u16)
}

/// See [`list_next_levels`](super::list_next_levels).
pub(crate) fn list_next_levels(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: &Rescales<'_>,
    drive: &[i32],
    threshold: Threshold,
    list: &mut [Entry],
) -> Option<u16> {
    let mut levels = Levels {
        list,
        count: 0,
        threshold,
    };
    let high = High::new(by.shift);
    let done = for_blocks(matrix, entries, |index, sums| {
        let first = index.wrapping_mul(LANES);
        // SAFETY: the target has NEON.
        unsafe {
            let rescaled = rescale_eight(sums, load(by.multipliers, first, 0), high);
            levels.push_eight(first, add(load(drive, first, i32::MIN), rescaled));
        }
    });
    done.then_some(levels.count as u16)
}

/// See [`add_rescaled_rows`](super::add_rescaled_rows).
pub(crate) fn add_rescaled_rows(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: Rescale,
    offset: i16,
    output: &mut [i16],
) -> bool {
    let high = High::new(by.shift);
    let mut eights = output.chunks_mut(LANES);
    for_blocks(matrix, entries, |_, sums| {
        // SAFETY: the target has NEON.
        let levels = unsafe {
            let multiplier = [vdupq_n_s32(by.multiplier); 2];
            let offset = [vdupq_n_s32(offset.into()); 2];
            let [low, high] = add(rescale_eight(sums, multiplier, high), offset);
            let mut levels = [0; LANES];
            vst1q_s16(levels.as_mut_ptr(), vqmovn_high_s32(vqmovn_s32(low), high));
            levels
        };
        let eight = eights.next().unwrap_or_default();
        if let Some(eight) = eight.first_chunk_mut() {
            *eight = levels;
        } else {
            for (to, level) in eight.iter_mut().zip(levels) {
                *to = level;
            }
        }
    })
}

/// See [`gradient_steps`](super::gradient_steps).
#[inline(always)]
pub(crate) fn gradient_steps(
    step: GradientStep,
    least: i32,
    code: &mut [i16],
    terms: (&[i32], &[i32]),
    previous: &mut [i32],
    each: &mut impl FnMut(usize, i32, &mut i16),
) -> bool {
    if neon() {
        // SAFETY: the target has NEON.
        unsafe { gradient_steps_neon(step, least, code, terms, previous, each) };
    }
    neon()
}

#[target_feature(enable = "neon")]
fn gradient_steps_neon(
    step: GradientStep,
    least: i32,
    code: &mut [i16],
    (product, correlation): (&[i32], &[i32]),
    previous: &mut [i32],
    each: &mut impl FnMut(usize, i32, &mut i16),
) {
    let (codes, code_rest) = code.as_chunks_mut::<LANES>();
    let (products, product_rest) = product.as_chunks::<LANES>();
    let (correlations, correlation_rest) = correlation.as_chunks::<LANES>();
    let (befores, before_rest) = previous.as_chunks_mut::<LANES>();
    let point = vdupq_n_s32(step.point.cast_signed());
    let finer = vdupq_n_s32(step.finer.cast_signed().wrapping_neg());
    let momentum = vdupq_n_s32(step.momentum);
    let lowest = vdupq_n_s32(least);
    // The next step, the gradient step, and whether neither is 0 that stays 0.
    let four = |level: int32x4_t, product, correlation, before| {
        let gradient_step = vqsubq_s32(
            vaddq_s32(vshlq_s32(level, point), correlation),
            vshlq_s32(product, finer),
        );
        let change = vqsubq_s32(gradient_step, before);
        // The product doubled, of which the upper half is left, without its lowest bit.
        let extra = vbicq_s32(vqdmulhq_s32(change, momentum), vdupq_n_s32(1));
        let next = vqaddq_s32(gradient_step, extra);
        let busy = vorrq_u32(vtstq_s32(level, level), vcgeq_s32(next, lowest));
        (next, gradient_step, busy)
    };
    let mut first = 0_usize;
    let eights = codes
        .iter_mut()
        .zip(products)
        .zip(correlations)
        .zip(befores);
    for (((code, product), correlation), before) in eights {
        let levels = load_levels(code);
        let ([p_low, p_high], [c_low, c_high]) = (from_array(product), from_array(correlation));
        let [b_low, b_high] = from_array(before);
        let low = four(vmovl_s16(vget_low_s16(levels)), p_low, c_low, b_low);
        let high = four(vmovl_high_s16(levels), p_high, c_high, b_high);
        *before = to_array([low.1, high.1]);
        for lane in lanes([low.2, high.2]) {
            if let (Some(next), Some(z)) = (to_array([low.0, high.0]).get(lane), code.get_mut(lane))
            {
                each(first.wrapping_add(lane), *next, z);
            }
        }
        first = first.wrapping_add(LANES);
    }
    let terms = product_rest.iter().zip(correlation_rest);
    let state = code_rest.iter_mut().zip(before_rest);
    for (index, ((product, correlation), (z, before))) in (first..).zip(terms.zip(state)) {
        let code = i32::from(*z);
        let next = step.apply(code, *product, *correlation, before);
        if code != 0 || next >= least {
            each(index, next, z);
        }
    }
}
