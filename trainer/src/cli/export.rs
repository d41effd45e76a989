use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use sparsecode_formats::{AlignedBytes, TensorReport};

use super::{DataFlags, Weights, check_extension, print_json};
use crate::data::Dataset;
use crate::evaluate::deployed::{Deployed, measure};
use crate::evaluate::{self, CodeSource, Samples};
use crate::export::{HostModel, TrainedRun};
use crate::inference::CpuEngine;
use crate::report::table::{Table, bytes, decibels, percent};
use crate::storage::write_atomic;
use crate::train::RunFolder;

/// The most samples that the report measures on.
const SAMPLES: usize = 1000;

/// Write a run's best model as the file that the device runs
///
/// Prints what the chosen weights cost: bytes, error of each tensor, and PSNR and sparsity on the validation set of the file run by
/// the device's code, beside the run's own. The same run gives the same bytes.
#[derive(Args)]
#[command(
    after_help = "Example:\n  sparsecode export runs/vdl --weights i8 --output model.safetensors"
)]
pub(super) struct Arguments {
    /// Folder of the run
    run: PathBuf,
    /// Number type of the weights
    #[arg(long, value_enum, default_value = "i8")]
    weights: Weights,
    /// Model file to write
    #[arg(long, value_name = "FILE.safetensors")]
    output: PathBuf,
    #[command(flatten)]
    data: DataFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    output: PathBuf,
    weights: String,
    bytes: usize,
    step_size: f32,
    tensors: Vec<TensorCost>,
    /// The run on its validation set; null without the data.
    run: Option<Figures>,
    /// The file on the same samples.
    file: Option<Figures>,
}

#[derive(Serialize)]
struct TensorCost {
    tensor: &'static str,
    shape: [usize; 2],
    max_error: f64,
    rms_error: f64,
    sqnr_db: f64,
}

#[derive(Serialize)]
struct Figures {
    samples: usize,
    psnr: f64,
    sparsity: f64,
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

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    check_extension(&arguments.output, &["safetensors"])?;
    let trained = TrainedRun::open(&RunFolder::new(&arguments.run), &candle_core::Device::Cpu)?;
    let written = trained.export(arguments.weights.into())?;
    write_atomic(&arguments.output, &written.bytes)?;

    let measured = match arguments.data.load_for(&trained) {
        Ok(splits) => Some(compare(&trained, &written.bytes, head(splits.validation))?),
        Err(error) => {
            eprintln!("note: PSNR and sparsity are not measured: {error:#}");
            None
        }
    };
    let (run, file) = measured.unzip();
    let report = Report {
        output: arguments.output.clone(),
        weights: sparsecode_formats::WeightType::from(arguments.weights).to_string(),
        bytes: written.bytes.len(),
        step_size: written.step_size,
        tensors: written.matrices.iter().map(TensorCost::from).collect(),
        run,
        file,
    };
    if arguments.json {
        return print_json(&report);
    }
    print(&report);
    Ok(())
}

/// At most the first [`SAMPLES`] of a set.
fn head(mut dataset: Dataset) -> Dataset {
    dataset.samples.truncate(SAMPLES * dataset.dim);
    dataset
}

/// The run and its file on the same samples, with the codes that each finds by itself.
fn compare(
    trained: &TrainedRun,
    bytes: &[u8],
    validation: Dataset,
) -> anyhow::Result<(Figures, Figures)> {
    let peak = f64::from(trained.facts.peak);
    let aligned = AlignedBytes::from_slice(bytes);
    let mut host = HostModel::new(&aligned, "the exported file")?;
    let Deployed {
        samples,
        psnr,
        sparsity,
        ..
    } = measure(&mut host, &validation.samples, &validation, peak, None)?;
    let file = Figures {
        samples,
        psnr,
        sparsity,
    };
    let set = Samples::new(validation, &candle_core::Device::Cpu)?;
    let (model, config) = (&trained.model, &trained.config);
    let run = evaluate::evaluate(
        model,
        &set,
        config,
        peak,
        &CpuEngine::default(),
        CodeSource::Encoder,
        None,
    )?;
    Ok((
        Figures {
            samples: run.samples,
            psnr: run.psnr,
            sparsity: run.sparsity,
        },
        file,
    ))
}

fn print(report: &Report) {
    println!(
        "{}: {}, weights {}",
        report.output.display(),
        bytes(report.bytes as u64),
        report.weights
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
            .row(row(&format!("file ({})", report.weights), file));
        print!("{table}");
    }
}
