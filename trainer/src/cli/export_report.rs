//! What `export` says of the file that it wrote.

use std::path::PathBuf;

use serde::Serialize;
use sparsecode_formats::{ActivationRanges, IntegerReport, TensorReport};

use crate::data::Dataset;
use crate::deploy::Calibration;
use crate::report::table::{Table, bytes, decibels, percent};

/// The most samples that a report measures on.
const SAMPLES: usize = 1000;

/// At most the first [`SAMPLES`] of a set.
pub(super) fn head(mut dataset: Dataset) -> Dataset {
    dataset.samples.truncate(SAMPLES * dataset.dim);
    dataset
}

/// What integer activations stand for.
#[derive(Serialize)]
pub(super) struct Ranges {
    calibration: Calibration,
    /// Raw units of one input level; where local contrast is normalised, units of samples so
    /// normalised.
    input_scale: f32,
    input_min: i16,
    input_max: i16,
    /// The largest level of a code component.
    code_max: i16,
    /// Code units of one level.
    code_scale: f32,
    drive_fraction: u8,
    gram_fraction: u8,
}

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) output: PathBuf,
    pub(super) weights: String,
    pub(super) activations: &'static str,
    /// Null for f32 activations.
    pub(super) ranges: Option<Ranges>,
    pub(super) bytes: usize,
    pub(super) step_size: f32,
    pub(super) tensors: Vec<TensorCost>,
    /// The run on its validation set; null without the data.
    pub(super) run: Option<Figures>,
    /// The file on the same samples.
    pub(super) file: Option<Figures>,
    /// Of variational models: the rule of the deterministic code that the file holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deterministic: Option<DeterministicCode>,
    #[serde(skip)]
    pub(super) is_local: bool,
}

/// The deterministic code of a file, and what it came to where it was calibrated.
#[derive(Serialize)]
pub(super) struct DeterministicCode {
    /// `all`, `shift` or `activity`.
    pub(super) rule: &'static str,
    /// What |shift| or the probability to be active exceeds; null where all components are kept.
    pub(super) limit: Option<f64>,
    pub(super) gain: f64,
    /// The share of the components that are kept.
    pub(super) active: f64,
    /// Mean square error of a number, in preprocessed units.
    pub(super) mse: f64,
    /// The training samples that it was calibrated on.
    pub(super) calibrated_on: String,
}

#[derive(Serialize)]
pub(super) struct TensorCost {
    tensor: &'static str,
    shape: [usize; 2],
    max_error: f64,
    rms_error: f64,
    sqnr_db: f64,
}

#[derive(Serialize)]
pub(super) struct Figures {
    pub(super) samples: usize,
    pub(super) psnr: f64,
    pub(super) sparsity: f64,
}

impl From<&TensorReport> for TensorCost {
    fn from(report: &TensorReport) -> Self {
        let cost = &report.quantization;
        Self {
            tensor: report.tensor,
            shape: report.shape,
            max_error: cost.max_abs_error,
            rms_error: cost.rms_error,
            sqnr_db: cost.sqnr_db,
        }
    }
}

/// What the levels of an integer file stand for.
pub(super) fn ranges(
    calibration: Calibration,
    ranges: &ActivationRanges,
    activations: sparsecode_formats::Activations,
    report: &IntegerReport,
) -> Ranges {
    Ranges {
        calibration,
        input_scale: ranges.input_scale,
        input_min: ranges.input_min,
        input_max: ranges.input_max,
        code_max: activations.code_limit(),
        code_scale: report.code_scale,
        drive_fraction: report.drive_fraction,
        gram_fraction: report.gram_fraction,
    }
}

pub(super) fn print(report: &Report) {
    println!(
        "{}: {}, weights {}, activations {}",
        report.output.display(),
        bytes(report.bytes as u64),
        report.weights,
        report.activations
    );
    let mut tensors = Table::new([
        "tensor",
        "rows",
        "columns",
        "largest error",
        "rms error",
        "SQNR",
    ]);
    for tensor in &report.tensors {
        tensors.push([
            tensor.tensor.to_owned(),
            tensor.shape[0].to_string(),
            tensor.shape[1].to_string(),
            format!("{:.2e}", tensor.max_error),
            format!("{:.2e}", tensor.rms_error),
            decibels(tensor.sqnr_db),
        ]);
    }
    print!("{tensors}");
    if let Some(ranges) = &report.ranges {
        println!();
        println!(
            "input levels {} to {}, {} {} each; code levels 0 to {}, {} each",
            ranges.input_min,
            ranges.input_max,
            ranges.input_scale,
            match report.is_local {
                true => "units of samples with normalised contrast",
                false => "of the data's unit",
            },
            ranges.code_max,
            ranges.code_scale
        );
        println!("no 32-bit sum can overflow: proved from the weights and these ranges");
    }
    if let (Some(run), Some(file)) = (&report.run, &report.file) {
        println!();
        let row = |name: &str, figures: &Figures| {
            [
                name.to_owned(),
                decibels(figures.psnr),
                percent(figures.sparsity),
                figures.samples.to_string(),
            ]
        };
        let table = Table::new(["model", "PSNR", "zeros", "samples"])
            .row(row("run (f32)", run))
            .row(row(
                &format!("file ({}, {})", report.weights, report.activations),
                file,
            ));
        print!("{table}");
    }
}
