//! The encoder of variational models in integers: a shift for each component, and a rule that
//! selects some. [`float`](crate::float) says what is computed.

use sparsecode_formats::{
    IntegerEncoder, IntegerLayer, IntegerVariational, IntegerVariationalBody, LANES, Rescales,
};

use super::code::List;
use super::workspace::Scratch;
use crate::kernels::integer::{self as kernels, Entry, High, Threshold};

/// Writes the code of `levels`. All slices have the dimensions of the model.
#[inline(never)]
pub(crate) fn encode(
    encoder: &IntegerVariational<'_>,
    levels: &[i16],
    code: &mut List<'_>,
    scratch: &mut Scratch<'_>,
) {
    match &encoder.body {
        IntegerVariationalBody::Dense {
            trunk,
            shift,
            drive_fraction,
        } => {
            let threshold = Threshold::new(*drive_fraction);
            select_of_dense(encoder, trunk, shift, threshold, levels, code, scratch);
        }
        IntegerVariationalBody::Lista {
            encoder: lista,
            shrinkage,
        } => {
            infer(lista, shrinkage, levels, code, scratch);
            select_of_code(encoder, code, scratch);
        }
    }
}

/// The trunk, the heads, and the selected components of the shift.
#[inline(never)]
fn select_of_dense(
    encoder: &IntegerVariational<'_>,
    trunk: &[Option<IntegerLayer<'_>>],
    head: &IntegerLayer<'_>,
    threshold: Threshold,
    levels: &[i16],
    code: &mut List<'_>,
    scratch: &mut Scratch<'_>,
) {
    let Scratch {
        sums,
        drive: shift,
        previous: scale,
        hidden_sums,
        hidden,
        ..
    } = scratch;
    let mut width = None;
    for layer in trunk.iter().flatten() {
        let from = match width {
            None => levels,
            Some(width) => hidden.get(..width).unwrap_or(&[]),
        };
        let outputs = layer.bias.len();
        let sums = hidden_sums.get_mut(..outputs).unwrap_or_default();
        kernels::dot_rows(&layer.weights, from, sums);
        // The inputs are not needed any more.
        relu(layer, threshold, sums, hidden);
        width = Some(outputs);
    }
    let features = match width {
        None => levels,
        Some(width) => hidden.get(..width).unwrap_or(&[]),
    };
    drives(head, features, sums, shift);
    let decides = match &encoder.scale {
        Some(head) => {
            drives(head, features, sums, scale);
            Some(&*scale)
        }
        None => None,
    };
    code.clear();
    let mut push = |index: usize, shift: i32| {
        if let Some(level) = threshold.level(shift.wrapping_abs()) {
            code.push(index, with_sign(level, shift));
        }
    };
    match decides {
        Some(scale) => {
            let pairs = shift.iter().zip(scale.iter()).zip(encoder.thresholds);
            for (index, ((shift, scale), threshold)) in pairs.enumerate() {
                if scale > threshold {
                    push(index, *shift);
                }
            }
        }
        None => {
            for (index, (shift, threshold)) in shift.iter().zip(encoder.thresholds).enumerate() {
                // Within ±2³⁰.
                if shift.wrapping_abs() > *threshold {
                    push(index, *shift);
                }
            }
        }
    }
}

/// The components of a shift that are selected.
#[inline(never)]
fn select_of_code(
    encoder: &IntegerVariational<'_>,
    code: &mut List<'_>,
    scratch: &mut Scratch<'_>,
) {
    let Scratch {
        sums,
        drive: scale,
        levels: magnitudes,
        ..
    } = scratch;
    let is_by_scale = if let Some(head) = &encoder.scale {
        kernels::clear_levels(magnitudes);
        for entry in code.entries() {
            if let Some(to) = magnitudes.get_mut(entry.index::<i8>()) {
                *to = entry.value().wrapping_abs();
            }
        }
        drives(head, magnitudes, sums, scale);
        true
    } else {
        false
    };
    let active = usize::from(*code.active);
    code.clear();
    for from in 0..active {
        let Some(&entry) = code.entries.get(from) else {
            break;
        };
        let (index, level) = (entry.index::<i8>(), entry.value());
        let decides = match is_by_scale {
            true => scale.get(index).copied().unwrap_or(0),
            false => i32::from(level.wrapping_abs()),
        };
        let threshold = encoder.thresholds.get(index).copied();
        if threshold.is_some_and(|threshold| decides > threshold) {
            // Not behind the one that was read.
            code.push(index, level);
        }
    }
}

/// LISTA with signed shrinkage.
fn infer(
    encoder: &IntegerEncoder<'_>,
    shrinkage: &[i32],
    levels: &[i16],
    code: &mut List<'_>,
    scratch: &mut Scratch<'_>,
) {
    let Scratch {
        sums,
        drive,
        entries,
        ..
    } = scratch;
    kernels::dot_rows(&encoder.input, levels, sums);
    kernels::rescale(&encoder.input_rescale, encoder.bias, sums, drive);

    // In turn from one list to the other, such that the last is the code.
    let (mut list, mut other) = (&mut *code.entries, &mut **entries);
    if !encoder.iterations.is_multiple_of(2) {
        core::mem::swap(&mut list, &mut other);
    }
    let threshold = Threshold::new(encoder.drive_fraction);
    let mut active = 0;
    let mut first = List {
        entries: list,
        active: &mut active,
    };
    for (index, (&u, &shrinkage)) in drive.iter().zip(shrinkage).enumerate() {
        push_shrunken(&mut first, index, u, shrinkage, threshold);
    }
    for _ in 0..encoder.iterations {
        let from = list.get(..usize::from(active)).unwrap_or(&[]);
        active = next(encoder, shrinkage, from, drive, threshold, other);
        core::mem::swap(&mut list, &mut other);
    }
    *code.active = active;
}

/// One iteration: the next code, of `u + S z`.
#[inline(never)]
fn next(
    encoder: &IntegerEncoder<'_>,
    shrinkage: &[i32],
    code: &[Entry],
    drive: &[i32],
    threshold: Threshold,
    list: &mut [Entry],
) -> u16 {
    let mut active = 0;
    let mut next = List {
        entries: list,
        active: &mut active,
    };
    let Rescales { multipliers, shift } = encoder.recurrent_rescale;
    let high = High::new(shift);
    let parts = drive.chunks(LANES).zip(multipliers.chunks(LANES));
    let mut lines = parts.zip(shrinkage.chunks(LANES));
    // Moved, so that it is loaded once for eight.
    kernels::add_rows(&encoder.recurrent, code, &mut move |block, sums| {
        let first = block.wrapping_mul(LANES);
        let Some(((drive, multipliers), shrinkage)) = lines.next() else {
            return;
        };
        let lanes = sums.iter().zip(multipliers).zip(drive).zip(shrinkage);
        for (lane, (((sum, multiplier), u), shrinkage)) in lanes.enumerate() {
            // Three numbers within ±2²⁹.
            let v = u.wrapping_add(high.apply(*sum, *multiplier));
            push_shrunken(
                &mut next,
                first.wrapping_add(lane),
                v,
                *shrinkage,
                threshold,
            );
        }
    });
    active
}

/// Appends the level of `sign(v)·max(|v| − shrinkage, 0)`, unless it is 0.
#[inline(always)]
fn push_shrunken(list: &mut List<'_>, index: usize, v: i32, shrinkage: i32, threshold: Threshold) {
    if let Some(level) = threshold.level(v.wrapping_abs().wrapping_sub(shrinkage)) {
        list.push(index, with_sign(level, v));
    }
}

/// `level`, or its opposite where `of` is negative.
#[inline(always)]
const fn with_sign(level: i16, of: i32) -> i16 {
    let mask = (of >> 31) as i16;
    (level ^ mask).wrapping_sub(mask)
}

/// `output = rescale(W x) + b`
fn drives(layer: &IntegerLayer<'_>, x: &[i16], sums: &mut [i32], output: &mut [i32]) {
    kernels::dot_rows(&layer.weights, x, sums);
    kernels::rescale(&layer.rescale, layer.bias, sums, output);
}

/// Components that are rescaled at a time.
const PART: usize = 4 * LANES;

/// `to = level(rescale(sums) + b)`
fn relu(layer: &IntegerLayer<'_>, threshold: Threshold, sums: &[i32], to: &mut [i16]) {
    let Rescales { multipliers, shift } = layer.rescale;
    let parts = sums.chunks(PART).zip(multipliers.chunks(PART));
    let parts = parts.zip(layer.bias.chunks(PART)).zip(to.chunks_mut(PART));
    for (((sums, multipliers), bias), to) in parts {
        let mut drives = [0; PART];
        kernels::rescale(&Rescales { multipliers, shift }, bias, sums, &mut drives);
        for ((level, drive), _) in to.iter_mut().zip(drives).zip(sums) {
            *level = threshold.level(drive).unwrap_or(0);
        }
    }
}
