//! LISTA in integers.

use sparsecode_formats::{IntegerEncoder, LANES, Rescales};

use super::code::List;
use super::workspace::Scratch;
use crate::kernels::integer::{self as kernels, Entry, High, Threshold};

/// Writes the code of `levels`, cut to `limit`. All slices have the dimensions of the encoder.
#[inline(never)]
pub(crate) fn encode(
    encoder: &IntegerEncoder<'_>,
    limit: i16,
    levels: &[i16],
    code: &mut List<'_>,
    scratch: Scratch<'_>,
) {
    let Scratch {
        sums,
        drive,
        entries,
        ..
    } = scratch;
    kernels::dot_rows(&encoder.input, levels, sums);
    kernels::rescale(&encoder.input_rescale, encoder.bias, sums, drive);

    let threshold = Threshold::new(encoder.drive_fraction);
    if let Some(active) = kernels::list_levels(drive, threshold, code.entries) {
        *code.active = active;
    } else {
        code.clear();
        for (index, &u) in drive.iter().enumerate() {
            if let Some(level) = threshold.level(u) {
                code.push(index, level);
            }
        }
    }
    code.cut(limit);
    for _ in 0..encoder.iterations {
        let mut active = 0;
        let mut next = List {
            entries,
            active: &mut active,
        };
        recur(encoder, code.entries(), drive, threshold, &mut next);
        next.cut(limit);
        code.copy_from(next.entries());
    }
}

/// One iteration: the next code of `u + S z`.
#[inline(never)]
fn recur(
    encoder: &IntegerEncoder<'_>,
    code: &[Entry],
    drive: &[i32],
    threshold: Threshold,
    next: &mut List<'_>,
) {
    if let Some(active) = kernels::list_next_levels(
        &encoder.recurrent,
        code,
        &encoder.recurrent_rescale,
        drive,
        threshold,
        next.entries,
    ) {
        *next.active = active;
        return;
    }
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
}
