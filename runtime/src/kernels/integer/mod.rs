//! Products of integer matrices in blocks of eight columns, exact in 32 bits.
//!
//! Sums wrap, so that their order does not matter: every implementation gives the bits of
//! [`portable`]. That they never have to wrap is proved when a file is written
//! ([`IntegerFile::prove`](sparsecode_formats::IntegerFile::prove)).
//!
//! As in [`kernels`](super), nothing here is generic or inlined.

#[cfg(sparsecode_neon)]
mod aarch64;
#[cfg(sparsecode_dsp)]
mod cortex_m;
#[cfg(sparsecode_v6m)]
mod cortex_m0;
mod entry;
#[cfg(sparsecode_mve)]
mod helium;
#[cfg(feature = "denoise")]
mod learned_step;
pub(crate) mod portable;
mod rounding;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(sparsecode_dsp)]
use cortex_m as device;
#[cfg(sparsecode_v6m)]
use cortex_m0 as device;
#[cfg(sparsecode_mve)]
use helium as device;

#[cfg(sparsecode_neon)]
use aarch64 as host;
#[cfg(target_arch = "x86_64")]
use x86 as host;

use sparsecode_formats::{Blocks, LANES, Packed, Rescale, Rescales, WeightBlocks};

pub(crate) use entry::Entry;
#[cfg(feature = "denoise")]
pub(crate) use learned_step::LearnedStep;
pub(crate) use rounding::{GradientStep, High, Threshold, saturate};

/// Raises levels to `least`, and cuts them to `most`.
#[inline(never)]
pub(crate) fn clamp(levels: &mut [i16], least: i16, most: i16) {
    #[cfg(any(sparsecode_dsp, sparsecode_mve))]
    device::clamp(levels, least, most);
    #[cfg(not(any(sparsecode_dsp, sparsecode_mve)))]
    portable::clamp(levels, least, most);
}

/// `sums += weights·values`, as many as all three have.
#[inline(never)]
pub(crate) fn add_weighted(sums: &mut [i32], weights: &[i32], values: &[i16]) {
    #[cfg(sparsecode_dsp)]
    device::add_weighted(sums, weights, values);
    #[cfg(not(sparsecode_dsp))]
    portable::add_weighted(sums, weights, values);
}

/// `to = from`, as many as both have.
#[inline(never)]
pub(crate) fn copy(to: &mut [i16], from: &[i16]) {
    #[cfg(sparsecode_dsp)]
    device::copy(to, from);
    #[cfg(not(sparsecode_dsp))]
    portable::copy(to, from);
}

/// `sums = 0`
#[inline(always)]
pub(crate) fn clear(sums: &mut [i32]) {
    // Elsewhere a call of the library, which is slow where no loads of many registers are.
    #[cfg(any(sparsecode_dsp, sparsecode_mve))]
    device::clear(sums);
    #[cfg(not(any(sparsecode_dsp, sparsecode_mve)))]
    sums.fill(0);
}

/// `levels = 0`
#[inline(always)]
pub(crate) fn clear_levels(levels: &mut [i16]) {
    #[cfg(sparsecode_dsp)]
    device::clear_levels(levels);
    #[cfg(not(sparsecode_dsp))]
    levels.fill(0);
}

/// `sums[k] = row_k · x` for a vector as long as a row. Blocks whose eight inputs are 0 are not
/// read.
///
/// Cost: `8 · rows` multiply-adds for each other block.
#[inline(never)]
pub(crate) fn dot_rows(matrix: &WeightBlocks<'_>, x: &[i16], sums: &mut [i32]) {
    clear(sums);
    #[cfg(target_arch = "x86_64")]
    if let WeightBlocks::I8(matrix) = matrix
        && x86::dot_rows(matrix, x, sums)
    {
        return;
    }
    let mut last = [0_i16; LANES];
    let (eights, rest) = x.as_chunks::<LANES>();
    for (value, from) in last.iter_mut().zip(rest) {
        *value = *from;
    }
    let last = (!rest.is_empty()).then_some(&last);
    match matrix {
        WeightBlocks::I8(matrix) => {
            #[cfg(sparsecode_neon)]
            if host::dot_rows(matrix, eights, last, sums) {
                return;
            }
            #[cfg(any(sparsecode_dsp, sparsecode_mve, sparsecode_v6m))]
            if device::dot_rows(matrix, eights, last, sums) {
                return;
            }
            dot_blocks(matrix, eights.iter().chain(last), sums);
        }
        WeightBlocks::I4(matrix) => {
            #[cfg(sparsecode_dsp)]
            if device::dot_narrow_rows(matrix, eights, last, sums) {
                return;
            }
            dot_blocks(matrix, eights.iter().chain(last), sums);
        }
    }
}

#[inline(always)]
fn dot_blocks<'x, T: Packed>(
    matrix: &Blocks<'_, T>,
    eights: impl Iterator<Item = &'x [i16; LANES]>,
    sums: &mut [i32],
) {
    for (block, x) in matrix.blocks().zip(eights) {
        if x.iter().fold(0, |any, value| any | value) != 0 {
            portable::dot_block(block, x, sums);
        }
    }
}

/// [`dot_rows`] for each of several vectors, one after the other in `patches`; `sums` holds as many
/// numbers for each as there are rows.
#[cfg(feature = "std")]
#[inline(never)]
pub(crate) fn dot_rows_of_each(matrix: &WeightBlocks<'_>, patches: &[i16], sums: &mut [i32]) {
    #[cfg(target_arch = "x86_64")]
    if let WeightBlocks::I8(matrix) = matrix {
        sums.fill(0);
        if x86::dot_rows_of_each(matrix, patches, sums) {
            return;
        }
    }
    let sums = sums.chunks_exact_mut(matrix.rows().max(1));
    for (x, sums) in patches.chunks_exact(matrix.cols().max(1)).zip(sums) {
        dot_rows(matrix, x, sums);
    }
}

/// Calls `each(b, Σ_k value_k · row_k of block b)` for every block, in ascending order.
///
/// Cost: `8 · entries` multiply-adds a block.
#[inline(never)]
pub(crate) fn add_rows(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    each: &mut dyn FnMut(usize, &[i32; LANES]),
) {
    #[cfg(any(sparsecode_dsp, sparsecode_mve))]
    if device::add_rows(matrix, entries, each) {
        return;
    }
    #[cfg(sparsecode_host)]
    if host::add_rows(matrix, entries, each) {
        return;
    }
    let mut sums = [0; LANES];
    for (index, block) in matrix.blocks().enumerate() {
        portable::add_rows(block, entries, &mut sums);
        each(index, &sums);
    }
}

/// [`add_rows`] for weights of any kind. The entries are those for rows of 8-bit numbers.
#[inline(never)]
pub(crate) fn add_weight_rows(
    matrix: &WeightBlocks<'_>,
    entries: &[Entry],
    each: &mut dyn FnMut(usize, &[i32; LANES]),
) {
    match matrix {
        WeightBlocks::I8(matrix) => add_rows(matrix, entries, each),
        WeightBlocks::I4(matrix) => {
            #[cfg(sparsecode_dsp)]
            if device::add_narrow_rows(matrix, entries, each) {
                return;
            }
            let mut sums = [0; LANES];
            for (index, block) in matrix.blocks().enumerate() {
                portable::add_narrow_rows(block, entries, &mut sums);
                each(index, &sums);
            }
        }
    }
}

/// `sums += Σ_k value_k · row_k`.
///
/// Cost: `entries · cols` multiply-adds.
#[inline(never)]
pub(crate) fn add_wide_rows(matrix: &Blocks<'_, i16>, entries: &[Entry], sums: &mut [i32]) {
    #[cfg(any(sparsecode_dsp, sparsecode_mve, sparsecode_v6m))]
    if device::add_wide_rows(matrix, entries, sums) {
        return;
    }
    #[cfg(sparsecode_host)]
    if host::add_wide_rows(matrix, entries, sums) {
        return;
    }
    let mut more = [0; LANES];
    for (block, sums) in matrix.blocks().zip(sums.chunks_mut(LANES)) {
        portable::add_wide_rows(block, entries, &mut more);
        for (sum, more) in sums.iter_mut().zip(more) {
            *sum = sum.wrapping_add(more);
        }
    }
}

/// `sums += value · row k`.
///
/// Cost: `cols` multiply-adds.
#[inline(never)]
pub(crate) fn add_wide_row(matrix: &Blocks<'_, i16>, k: usize, value: i16, sums: &mut [i32]) {
    #[cfg(any(sparsecode_dsp, sparsecode_mve))]
    if device::add_wide_row(matrix, k, value, sums) {
        return;
    }
    let mut rows = matrix
        .blocks()
        .filter_map(|block| block.as_chunks::<LANES>().0.get(k));
    // Of known length but for the last, which the compiler makes vectors of.
    let (eights, rest) = sums.as_chunks_mut::<LANES>();
    for (eight, row) in eights.iter_mut().zip(rows.by_ref()) {
        portable::add_row(row, value, eight);
    }
    for row in rows.take(1) {
        portable::add_row(row, value, rest);
    }
}

/// `output = rescale(sums) + bias`: within ±2³⁰.
#[inline(never)]
pub(crate) fn rescale(by: &Rescales<'_>, bias: &[i32], sums: &[i32], output: &mut [i32]) {
    #[cfg(sparsecode_mve)]
    if device::rescale(by, bias, sums, output) {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if x86::rescale(by, bias, sums, output) {
        return;
    }
    #[cfg(sparsecode_dsp)]
    if device::rescale(by, bias, sums, output) {
        return;
    }
    if !portable::rescale_in_words(by, bias, sums, output) {
        portable::rescale(by, bias, sums, output);
    }
}

// What follows is the whole of a loop that callers write out, for processors that do more than one
// component at a time. `None`, or `false`, where there is nothing faster than the caller's loop;
// then nothing was done.

/// Fills `list` with the levels of `drive` that are not 0, for a matrix of 8-bit numbers, and says
/// how many there are.
#[inline(always)]
pub(crate) fn list_levels(drive: &[i32], threshold: Threshold, list: &mut [Entry]) -> Option<u16> {
    #[cfg(sparsecode_mve)]
    return device::list_levels(drive, threshold, list);
    #[cfg(sparsecode_host)]
    return host::list_levels(drive, threshold, list);
    #[cfg(not(any(sparsecode_mve, sparsecode_host)))]
    {
        let _ = (drive, threshold, list);
        None
    }
}

/// The same for `drive + rescale(Σ_k value_k · row_k)`; the shift is at least 33.
#[inline(always)]
pub(crate) fn list_next_levels(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: &Rescales<'_>,
    drive: &[i32],
    threshold: Threshold,
    list: &mut [Entry],
) -> Option<u16> {
    #[cfg(sparsecode_mve)]
    return device::list_next_levels(matrix, entries, by, drive, threshold, list);
    #[cfg(sparsecode_host)]
    return host::list_next_levels(matrix, entries, by, drive, threshold, list);
    #[cfg(not(any(sparsecode_mve, sparsecode_host)))]
    {
        let _ = (matrix, entries, by, drive, threshold, list);
        None
    }
}

/// `output = saturate(rescale(Σ_k value_k · row_k) + offset)`; the shift is at least 33.
#[inline(always)]
pub(crate) fn add_rescaled_rows(
    matrix: &WeightBlocks<'_>,
    entries: &[Entry],
    by: Rescale,
    offset: i16,
    output: &mut [i16],
) -> bool {
    #[cfg(any(sparsecode_mve, sparsecode_host))]
    if let WeightBlocks::I8(matrix) = matrix {
        #[cfg(sparsecode_mve)]
        return device::add_rescaled_rows(matrix, entries, by, offset, output);
        #[cfg(sparsecode_host)]
        return host::add_rescaled_rows(matrix, entries, by, offset, output);
    }
    let _ = (matrix, entries, by, offset, output);
    false
}

/// Takes the step of every component, and calls `each(k, step, z_k)` for those that are not 0 or
/// whose step is not below `least`, which is above 0, in ascending order.
#[cfg(any(sparsecode_host, test))]
#[inline(always)]
pub(crate) fn gradient_steps(
    step: GradientStep,
    least: i32,
    code: &mut [i16],
    (product, correlation): (&[i32], &[i32]),
    previous: &mut [i32],
    each: &mut impl FnMut(usize, i32, &mut i16),
) -> bool {
    #[cfg(sparsecode_host)]
    return host::gradient_steps(step, least, code, (product, correlation), previous, each);
    #[cfg(not(sparsecode_host))]
    {
        let _ = (step, least, code, product, correlation, previous, each);
        false
    }
}
