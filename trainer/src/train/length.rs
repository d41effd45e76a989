//! How long to train, and what the log of a run says at its end: enough steps, and whether FISTA's step was held.

use serde_json::Value;

/// Steps after which training on a recording of one's own gains little more; see `docs/method.md`.
pub const ENOUGH_STEPS: usize = 2000;

/// The epochs in which so many samples make [`ENOUGH_STEPS`] steps with batches of `batch_size`; at least `least`.
///
/// ```
/// use sparsecode_trainer::train::length::{ENOUGH_STEPS, enough_epochs};
///
/// // 12 batches an epoch.
/// assert_eq!(enough_epochs(3047, 250, 16) as usize, ENOUGH_STEPS.div_ceil(12));
/// assert_eq!(enough_epochs(1_000_000, 250, 16), 16);
/// ```
pub fn enough_epochs(samples: usize, batch_size: usize, least: u32) -> u32 {
    let batches = (samples / batch_size.max(1)).max(1);
    let epochs = u32::try_from(ENOUGH_STEPS.div_ceil(batches)).unwrap_or(u32::MAX);
    epochs.max(least)
}

/// The share of a run over which its validation energy is compared: the last fifth.
const LATE: usize = 5;
/// A fall of the best validation energy in the last fifth of a run by more than this share says that the run was short.
const STILL_FALLING: f64 = 0.05;
/// Steps below which a run is short, whatever its energy does.
const FEW_STEPS: usize = 500;

/// What to say of a run that is plainly undertrained, and what helps; `None` of one that is not. `records` are the lines of its
/// `metrics.jsonl`, `batches` the steps of an epoch.
pub fn undertrained(records: &[Value], batches: usize) -> Option<String> {
    let energies: Vec<f64> = records
        .iter()
        .filter_map(|record| record["validation"]["energy"].as_f64())
        .collect();
    let epochs = energies.len();
    let lowest = |energies: &[f64]| energies.iter().copied().fold(f64::INFINITY, f64::min);
    let (&last, before) = energies.split_last()?;
    let is_best = last < lowest(before);
    let early = lowest(&energies[..epochs - epochs.div_ceil(LATE)]);
    let fall = (early - last) / early;
    let steps = epochs * batches;
    let why = if is_best && early.is_finite() && fall > STILL_FALLING {
        format!(
            "the validation energy was still falling, by {:.0} % in the last {} epochs",
            100.0 * fall,
            epochs.div_ceil(LATE)
        )
    } else if is_best && steps < FEW_STEPS {
        format!("it took {steps} steps only, and its last epoch is its best")
    } else {
        return None;
    };
    let more = (2 * epochs).max(ENOUGH_STEPS.div_ceil(batches.max(1)));
    Some(format!(
        "this run is short: {why}; the same command with --resume --epochs {more} goes on"
    ))
}

/// What to say of a run whose step was held below `wanted`; `None` if it never was.
pub fn held(records: &[Value], wanted: f64) -> Option<String> {
    let held: Vec<f64> = records
        .iter()
        .filter_map(|record| record["held_step_size"].as_f64())
        .collect();
    let smallest = held.iter().copied().reduce(f64::min)?;
    Some(format!(
        "FISTA's step was held at {smallest:.2e} instead of {wanted} in {} of {} epochs: the dictionary's norm grew",
        held.len(),
        records.len()
    ))
}
