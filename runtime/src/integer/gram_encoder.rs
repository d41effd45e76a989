//! Steps on the Gram matrix, learned: the encoder of models that denoise, in integers.
//!
//! The arithmetic is that of refinement without its momentum: correlations in points, a Gram matrix
//! that meets sparse codes only, levels of 16 bits in between.

use sparsecode_formats::{IntegerFile, IntegerGram, LANES};

use super::code::List;
use super::workspace::Scratch;
use crate::kernels::integer::{self as kernels, LearnedStep};

/// Writes the code of `levels`. All slices have the dimensions of the model.
#[inline(never)]
pub(crate) fn encode(
    file: &IntegerFile<'_>,
    gram: &IntegerGram<'_>,
    levels: &[i16],
    code: &mut List<'_>,
    scratch: &mut Scratch<'_>,
) {
    let refiner = &file.refiner;
    let Scratch {
        sums: product,
        drive: correlation,
        entries,
        levels: iterate,
        ..
    } = scratch;
    kernels::dot_rows(&file.decoder.dictionary, levels, product);
    kernels::rescale(&refiner.correlation, refiner.bias, product, correlation);
    kernels::clear_levels(iterate);
    let learned = LearnedStep {
        finer: refiner.gram_fraction.wrapping_sub(refiner.point_fraction),
        threshold_shift: gram.threshold_shift,
        noise_level: gram.noise_level,
        halves: refiner.point_fraction.wrapping_sub(1),
        step: 0,
    };
    let mut thresholds = gram.thresholds;
    let mut active = 0_usize;
    for &step in gram.steps {
        let (own, rest) = thresholds
            .split_at_checked(correlation.len().next_multiple_of(LANES))
            .unwrap_or((thresholds, &[]));
        thresholds = rest;
        kernels::clear(product);
        if let listed @ [_, ..] = entries.get(..active).unwrap_or(&[]) {
            kernels::add_wide_rows(&refiner.gram, listed, product);
        }
        let learned = LearnedStep { step, ..learned };
        active = learned.take(product, correlation, own, iterate, entries);
    }
    code.set(entries.get(..active).unwrap_or(&[]));
}
