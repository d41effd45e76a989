//! How long to train, and what the log of a run says at its end: enough steps, and whether FISTA's
//! step was held.

use std::path::Path;

use serde_json::Value;

/// Steps after which training on a recording of one's own gains little more: VDL on an ECG and on a
/// bearing came within 1 % of the lowest validation energy, which took up to 2200 steps, where 256
/// and 288 steps were 12 % above it (`docs/decisions.md`).
pub const ENOUGH_STEPS: usize = 1500;

/// The epochs in which so many samples make [`ENOUGH_STEPS`] steps with batches of `batch_size`; at
/// least `least`.
///
/// ```
/// use sparsecode_trainer::lista::remarks::{ENOUGH_STEPS, enough_epochs};
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
/// A fall of the best validation energy in the last fifth of a run by more than this share says
/// that the run was short.
const STILL_FALLING: f64 = 0.04;
/// Steps below which a run is short, whatever its energy does.
const FEW_STEPS: usize = 500;

/// What to say of a run whose best model is plainly undertrained, and what helps; `None` of one
/// that is not. `records` are the lines of the `metrics.jsonl` in the folder `run`, `batches` the
/// steps of an epoch.
pub fn undertrained(records: &[Value], batches: usize, run: &Path) -> Option<String> {
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
            "the validation energy was still falling, by {:.0} % in the last {}",
            100.0 * fall,
            match epochs.div_ceil(LATE) {
                1 => "epoch".to_owned(),
                late => format!("{late} epochs"),
            }
        )
    } else if is_best && steps < FEW_STEPS {
        format!("it took {steps} steps only, and its last epoch is its best")
    } else {
        return early_best(&energies, batches);
    };
    let more = (2 * epochs).max(ENOUGH_STEPS.div_ceil(batches.max(1)));
    Some(format!(
        "this run is short: {why}; `sparsecode train --resume --out {} --epochs {more}` goes on",
        run.display()
    ))
}

/// What to say of a run whose validation energy rose for most of its length, so that the model that
/// was kept has hardly been trained.
fn early_best(energies: &[f64], batches: usize) -> Option<String> {
    let (first, _) = energies
        .iter()
        .enumerate()
        .min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let (best, epochs) = (first + 1, energies.len());
    let is_early = best * batches < FEW_STEPS && 2 * best <= epochs;
    is_early.then(|| {
        format!(
            "the best model is of epoch {best} of {epochs}, after {} steps: the validation energy rose from there. \
             The samples are few for this preset; more recordings, a smaller data.hop, or a preset without \
             the variance hinge, such as sdl, may do better",
            best * batches
        )
    })
}

/// What to say of a run whose step was held below `wanted`; `None` if it never was.
pub fn held(records: &[Value], wanted: f64) -> Option<String> {
    let held: Vec<f64> = records
        .iter()
        .filter_map(|record| {
            // Logs of older versions have the step beside the figures of training.
            let step = record["train"]["held_step_size"].as_f64();
            step.or_else(|| record["held_step_size"].as_f64())
        })
        .collect();
    let smallest = held.iter().copied().reduce(f64::min)?;
    Some(format!(
        "FISTA's step was held at {smallest:.2e} instead of {wanted} in {} of {} epochs: the dictionary's norm grew",
        held.len(),
        records.len()
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log(energies: impl IntoIterator<Item = f64>) -> Vec<Value> {
        let record = |energy| json!({"validation": {"energy": energy}});
        energies.into_iter().map(record).collect()
    }

    /// Energies of VDL on an ECG and on a bearing, epochs 8 to 16 as they were, and of the whole
    /// ECG run.
    #[test]
    fn short_runs_are_told_from_whole_ones() {
        let run = Path::new("runs/one");
        let short = log((0..16).map(|epoch| 180.0 * 0.97f64.powi(epoch)));
        let words = undertrained(&short, 16, run).unwrap();
        assert!(
            words.contains("--resume --out runs/one --epochs 94"),
            "{words}"
        );
        assert!(words.contains("falling, by 11 %"), "{words}");
        let flat = || (0..100).map(|epoch| 99.0 + 90.0 * 0.9f64.powi(epoch));
        assert_eq!(undertrained(&log(flat()), 16, run), None);
        // Few steps, and nothing says that they were enough, but for a best epoch that was not the
        // last.
        let words = undertrained(&log(flat().skip(70).take(10)), 16, run).unwrap();
        assert!(words.contains("160 steps"), "{words}");
        let passed = flat().skip(70).take(10).chain([120.0]);
        assert_eq!(undertrained(&log(passed), 16, run), None);
        // Few windows: the energy falls for 20 steps and rises for 480.
        let few = log((0..500).map(|epoch| 60.0 + f64::from((epoch - 19i32).abs())));
        let words = undertrained(&few, 1, run).unwrap();
        assert!(words.contains("epoch 20 of 500, after 20 steps"), "{words}");
        assert_eq!(undertrained(&few, 100, run), None);
        // One epoch alone compares with nothing.
        assert!(
            undertrained(&log([5.0]), 16, run)
                .unwrap()
                .contains("16 steps")
        );
        assert_eq!(undertrained(&log([5.0]), 1000, run), None);
        assert_eq!(undertrained(&[], 16, run), None);
    }

    #[test]
    fn what_was_held_is_counted() {
        assert_eq!(held(&log([1.0, 2.0]), 0.5), None);
        let mut records = log([1.0, 2.0, 3.0]);
        records[1]["train"] = json!({"held_step_size": 0.25});
        records[2]["held_step_size"] = json!(0.125);
        let words = held(&records, 0.5).unwrap();
        assert!(
            words.contains("1.25e-1 instead of 0.5 in 2 of 3 epochs"),
            "{words}"
        );
    }

    #[test]
    fn little_data_take_more_epochs() {
        assert_eq!(enough_epochs(4047, 250, 16), 94);
        assert_eq!(enough_epochs(250, 250, 16), 1500);
        assert_eq!(enough_epochs(20_000, 250, 16), 19);
        assert_eq!(enough_epochs(200_000, 250, 16), 16);
        // Fewer than a batch: training says so.
        assert_eq!(enough_epochs(10, 250, 16), 1500);
    }
}
