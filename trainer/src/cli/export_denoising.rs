//! `export` of a run that denoises.

use std::path::Path;

use sparsecode_formats::{Activations, GramStorage, WeightType};

use super::common::{print_json, usage};
use super::data_flags::DataFlags;
use super::export_report::{self, Report, TensorCost};
use crate::deploy::{Calibration, DenoiserRun};
use crate::run::RunFolder;
use crate::storage::write_atomic;

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub(super) weights: WeightType,
    /// `None` for f32.
    pub(super) integers: Option<Activations>,
    pub(super) gram: Option<GramStorage>,
    pub(super) calibration: Option<Calibration>,
    pub(super) input_scale: Option<f32>,
    pub(super) data: &'a DataFlags,
    pub(super) output: &'a Path,
    pub(super) json: bool,
}

/// Writes the file of the run in `folder`.
pub(super) fn run(folder: &RunFolder, wanted: &Wanted<'_>) -> anyhow::Result<()> {
    let run = DenoiserRun::open(folder)?;
    let &Wanted {
        weights, integers, ..
    } = wanted;
    if integers == Some(Activations::I8) {
        return Err(usage(
            "--activations i8: a model that denoises takes f32 or i16; choose --activations i16",
        ));
    }
    if integers.is_none() && wanted.gram.is_some() {
        return Err(usage(
            "--gram: only for --activations i16; a file for f32 stores no Gram matrix",
        ));
    }
    let (bytes, step_size, matrices, ranges) = match integers {
        None => {
            let written = run.export(weights)?;
            (written.bytes, written.step_size, written.matrices, None)
        }
        Some(activations) => {
            let data = wanted.data.place(&run.config.data)?;
            let splits = data.load(None, run.config.seed)?;
            let calibration = wanted.calibration.unwrap_or_default();
            let storage = wanted.gram.unwrap_or_default();
            let (written, ranges) = run.export_integer(
                &splits.validation,
                calibration,
                wanted.input_scale,
                weights,
                storage,
            )?;
            let report = written.report;
            let ranges = export_report::ranges(calibration, &ranges, activations, &report);
            let (step_size, matrices) = (report.step_size, report.matrices);
            (written.bytes, step_size, matrices, Some(ranges))
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
        deterministic: None,
        is_local: false,
    };
    if wanted.json {
        return print_json(&report);
    }
    export_report::print(&report);
    println!();
    println!(
        "sparsecode evaluate {} --task denoise --data PATH measures what the file takes off noise",
        wanted.output.display()
    );
    Ok(())
}
