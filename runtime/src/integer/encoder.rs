//! LISTA in integers.

use sparsecode_formats::{IntegerEncoder, LANES, Rescales};

use super::code::{List, cut};
use super::workspace::Scratch;
use crate::kernels::integer::{self as kernels, Entry, High, Threshold};

/// Writes the code of `levels`, cut to `limit`. All slices have the dimensions of the encoder.
#[inline(never)]
pub(crate) fn encode(
    encoder: &IntegerEncoder<'_>,
    limit: i16,
    levels: &[i16],
    code: &mut List<'_>,
    scratch: &mut Scratch<'_>,
) {
    kernels::dot_rows(&encoder.input, levels, scratch.sums);
    infer(encoder, limit, code, scratch);
}

/// The rest, after `U n`.
pub(crate) fn infer(
    encoder: &IntegerEncoder<'_>,
    limit: i16,
    code: &mut List<'_>,
    scratch: &mut Scratch<'_>,
) {
    let Scratch {
        sums,
        drive,
        entries,
        ..
    } = scratch;
    kernels::rescale(&encoder.input_rescale, encoder.bias, sums, drive);

    // In turn from one list to the other, such that the last is the code.
    let (mut list, mut other) = (&mut *code.entries, &mut **entries);
    if !encoder.iterations.is_multiple_of(2) {
        core::mem::swap(&mut list, &mut other);
    }
    let threshold = Threshold::new(encoder.drive_fraction);
    let mut active = first(drive, threshold, list);
    cut(list, active, limit);
    for _ in 0..encoder.iterations {
        let from = list.get(..usize::from(active)).unwrap_or(&[]);
        active = next(encoder, from, drive, threshold, other);
        cut(other, active, limit);
        core::mem::swap(&mut list, &mut other);
    }
    *code.active = active;
}

/// The first code, of `u`: how many components are on the list.
#[inline(always)]
fn first(drive: &[i32], threshold: Threshold, list: &mut [Entry]) -> u16 {
    if let Some(active) = kernels::list_levels(drive, threshold, list) {
        return active;
    }
    let mut active = 0;
    let mut code = List {
        entries: list,
        active: &mut active,
    };
    for (index, &u) in drive.iter().enumerate() {
        if let Some(level) = threshold.level(u) {
            code.push(index, level);
        }
    }
    active
}

/// One iteration: the next code, of `u + S z`.
#[inline(never)]
fn next(
    encoder: &IntegerEncoder<'_>,
    code: &[Entry],
    drive: &[i32],
    threshold: Threshold,
    list: &mut [Entry],
) -> u16 {
    if let Some(active) = kernels::list_next_levels(
        &encoder.recurrent,
        code,
        &encoder.recurrent_rescale,
        drive,
        threshold,
        list,
    ) {
        return active;
    }
    let mut active = 0;
    let mut next = List {
        entries: list,
        active: &mut active,
    };
    let Rescales { multipliers, shift } = encoder.recurrent_rescale;
    let high = High::new(shift);
    let (eights, rest) = drive.as_chunks::<LANES>();
    let (multipliers, multipliers_rest) = multipliers.as_chunks::<LANES>();
    let mut lines = multipliers.iter().zip(eights);
    // Moved, so that it is loaded once for eight.
    kernels::add_rows(&encoder.recurrent, code, &mut move |block, sums| {
        let first = block.wrapping_mul(LANES);
        let mut output = |lane: usize, sum: i32, multiplier: i32, u: i32| {
            if let Some(level) = threshold.level(u.wrapping_add(high.apply(sum, multiplier))) {
                next.push(first.wrapping_add(lane), level);
            }
        };
        if let Some((multipliers, drive)) = lines.next() {
            for (lane, ((sum, multiplier), u)) in
                sums.iter().zip(multipliers).zip(drive).enumerate()
            {
                output(lane, *sum, *multiplier, *u);
            }
        } else {
            for (lane, ((sum, multiplier), u)) in
                sums.iter().zip(multipliers_rest).zip(rest).enumerate()
            {
                output(lane, *sum, *multiplier, *u);
            }
        }
    });
    active
}
