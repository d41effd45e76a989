//! `export` and `evaluate` of a run of the variational family.

use std::path::Path;

use sparsecode_formats::{Activations, WeightType};

use super::common::{print_json, usage};
use super::data_flags::{DataFlags, OtherData};
use super::export_report::{self, Report, TensorCost};
use crate::data::{DataConfig, Dataset, ImagesConfig, PatchContrast, Samples, Splits};
use crate::deploy::{Calibration, Deterministic, VariationalRun};
use crate::report::table::{Table, percent};
use crate::run::{Family, RunFolder};
use crate::storage::write_atomic;
use crate::variational::{Rule, Variational};

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub(super) weights: WeightType,
    /// `None` for f32.
    pub(super) integers: Option<Activations>,
    pub(super) calibration: Option<Calibration>,
    pub(super) input_scale: Option<f32>,
    pub(super) data: &'a DataFlags,
    pub(super) output: &'a Path,
    pub(super) json: bool,
}

/// Writes the file of the run in `folder`.
pub(super) fn export(folder: &RunFolder, wanted: &Wanted<'_>) -> anyhow::Result<()> {
    let run = VariationalRun::open(folder)?;
    let train = wanted.data.load_for(&run, &OtherData::default())?.train;
    let train = Samples::new(train)?;
    let (weights, integers) = (wanted.weights, wanted.integers);
    let (bytes, step_size, matrices, ranges, code) = match integers {
        None => {
            let (written, code) = run.export(&train, weights)?;
            let (step_size, matrices) = (written.step_size, written.matrices);
            (written.bytes, step_size, matrices, None, code)
        }
        Some(activations) => {
            let calibration = wanted.calibration.unwrap_or_default();
            let kinds = (weights, activations);
            let (written, ranges, code) =
                run.export_integer(&train, calibration, wanted.input_scale, kinds)?;
            let report = written.report;
            let ranges = export_report::ranges(calibration, &ranges, activations, &report);
            let (step_size, matrices) = (report.step_size, report.matrices);
            (written.bytes, step_size, matrices, Some(ranges), code)
        }
    };
    write_atomic(wanted.output, &bytes)?;
    let report = Report {
        output: wanted.output.to_path_buf(),
        weights: weights.to_string(),
        activations: integers.map_or("f32", Activations::name),
        ranges,
        bytes: bytes.len(),
        step_size,
        tensors: matrices.iter().map(TensorCost::from).collect(),
        run: None,
        file: None,
        is_local: false,
    };
    if wanted.json {
        return print_json(&report);
    }
    export_report::print(&report);
    println!("\n{}", words(&code));
    if let DataConfig::Images(ImagesConfig {
        contrast: PatchContrast::Whiten,
        cutoff,
        ..
    }) = &run.config.data
    {
        println!(
            "the file takes patches of whitened pictures (cut-off {cutoff} cycles per pixel): \
             neither device nor host whitens them"
        );
    }
    Ok(())
}

fn words(code: &Deterministic) -> String {
    let rule = match code.rule.rule {
        Rule::Shift(limit) if limit < 0.0 => "of all units".to_owned(),
        Rule::Shift(limit) => format!("whose shift exceeds {limit:.4}"),
        Rule::Activity(limit) => format!("that are active with a probability above {limit:.4}"),
    };
    let mut text = format!(
        "deterministic code: components {rule}, times {:.4}; on training samples {} of them, mean \
         square error {:.4}",
        code.rule.gain,
        percent(code.active),
        code.error
    );
    if let Some((other, error)) = code.other {
        let by = match other {
            Rule::Shift(_) => "by the shift",
            Rule::Activity(_) => "by the probability",
        };
        let why = match error < code.error {
            true => ", but more than one head decides it, and no file holds that",
            false => "",
        };
        text += &format!(" ({by} {error:.4}{why})");
    }
    text
}

/// Prints the figures of a part of the data, clean and with noise.
pub(super) fn evaluate(
    folder: &RunFolder,
    data: &DataFlags,
    noise: &[f64],
    part: impl Fn(&Splits) -> Dataset,
    is_json: bool,
) -> anyhow::Result<()> {
    let run = VariationalRun::open(folder)?;
    let splits = data.load_for(&run, &OtherData::default())?;
    let (train, test) = (
        Samples::new(splits.train.clone())?,
        Samples::new(part(&splits))?,
    );
    let mut all = vec![(None, run.measure(&train, &test, None)?)];
    for sigma in noise {
        all.push((Some(*sigma), run.measure(&train, &test, Some(*sigma))?));
    }
    if is_json {
        let rows = all.iter().map(|(noise, figures)| {
            let mut row = serde_json::to_value(figures)?;
            row["noise"] = serde_json::to_value(noise)?;
            Ok(row)
        });
        return print_json(&rows.collect::<anyhow::Result<Vec<_>>>()?);
    }
    let columns = Variational::CLEAN_COLUMNS;
    let heads = columns.iter().map(|column| column.heading.to_owned());
    let mut table = Table::new(std::iter::once("noise".to_owned()).chain(heads));
    for (noise, figures) in &all {
        let first = noise.map_or_else(|| "0".to_owned(), |sigma| format!("{sigma}"));
        let cells = columns.iter().map(|column| {
            let is_noisy = Variational::NOISY_COLUMNS.contains(column);
            let value = figures.get(column.figure);
            let value = value.filter(|_| noise.is_none() || is_noisy);
            value.map_or_else(String::new, |value| column.unit.text(value))
        });
        table.push(std::iter::once(first).chain(cells));
    }
    println!(
        "{} of epoch {} on {} samples of {}",
        run.config.model_name(),
        run.epoch,
        test.len(),
        splits.description
    );
    print!("{table}");
    println!("{}", Variational::LEGEND);
    Ok(())
}

/// Refuses what a variational run cannot do.
pub(super) fn refuse(flags: &[(&str, bool)]) -> anyhow::Result<()> {
    match flags.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(usage(format!(
            "{flag}: not for variational models; leave it out"
        ))),
        None => Ok(()),
    }
}
