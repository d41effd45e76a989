use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sparsecode_formats::{AlignedBytes, Contrast, GramStorage, TensorReport, WeightType};

use super::common::{check_extension, print_json, usage};
use super::data_flags::{DataFlags, OtherData};
use super::export_report::{Figures, Ranges, Report, TensorCost, head};
use super::family::FamilyName;
use super::{export_denoising, export_report, variational};
use crate::data::Dataset;
use crate::data::Samples;
use crate::deploy::measure::{Deployed, measure};
use crate::deploy::{Calibration, HostModel, TrainedRun};
use crate::lista::evaluate::{self, CodeSource};
use crate::lista::inference::CpuEngine;
use crate::storage::write_atomic;

/// Write a run's best model as the file that the device runs
///
/// Prints what the chosen weights cost: bytes and the error of each tensor, and PSNR and sparsity
/// on the validation set beside those of the run. The device's code runs the file for these
/// figures. The same run gives the same bytes.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  sparsecode export runs/vdl --weights i8 --output model.safetensors\n  sparsecode export runs/vdl --activations i16 --input-scale 0.00392157 --output integer.safetensors\n  sparsecode export runs/denoiser --activations i16 --gram built --output denoiser.safetensors\n  sparsecode export runs/vdl --activations i16 --weights i4 --output small.safetensors"
)]
pub(super) struct Arguments {
    /// Folder of the run
    run: PathBuf,
    /// Number type of the weights; i4 is for integers only
    #[arg(long, value_enum, default_value = "i8")]
    weights: Weights,
    /// Arithmetic of the device: f32, or i16 or i8 for integers only (with --weights i8 or i4)
    #[arg(long, value_enum, default_value = "f32")]
    activations: Activations,
    /// How to choose the range of integer activations from the validation set [default: max]
    #[arg(long, value_enum)]
    calibration: Option<CalibrationFlag>,
    /// Where the Gram matrix of a model that denoises is, with --activations i16 [default: stored]
    #[arg(long, value_enum)]
    gram: Option<GramFlag>,
    /// Size of one level of the sensor's integers in the data's unit, such as 0.00392157 (1/255)
    /// for 8-bit pixels in [0, 1] [default: found from the data]
    #[arg(long, value_name = "UNITS")]
    input_scale: Option<f32>,
    /// Keep what codes are drawn from, of a variational model in f32, so that a device can take the
    /// best of several samples (encode_best_of)
    #[arg(long)]
    posterior: bool,
    /// Model file to write
    #[arg(long, value_name = "FILE.safetensors")]
    output: PathBuf,
    #[command(flatten)]
    data: DataFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Where a Gram matrix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GramFlag {
    /// In the file.
    Stored,
    /// In memory of the device, built when it starts.
    Built,
}

/// Number type of exported weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Weights {
    /// 32-bit floats.
    F32,
    /// 16-bit integers with a scale for each output channel.
    I16,
    /// 8-bit integers with a scale for each output channel.
    I8,
    /// 4-bit integers for the encoder's first layer and the dictionary, 8-bit ones for the rest.
    I4,
}

impl From<Weights> for WeightType {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::F32 => Self::F32,
            Weights::I16 => Self::I16,
            Weights::I8 => Self::I8,
            Weights::I4 => Self::I4,
        }
    }
}

impl From<GramFlag> for GramStorage {
    fn from(flag: GramFlag) -> Self {
        match flag {
            GramFlag::Stored => Self::Stored,
            GramFlag::Built => Self::Built,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Activations {
    /// 32-bit floats.
    F32,
    /// 16-bit integers, 32-bit sums that cannot overflow.
    I16,
    /// The same with codes and samples of 8 bits: half as much to send or store, in the same time.
    I8,
}

impl Activations {
    /// None for f32.
    fn integers(self) -> Option<sparsecode_formats::Activations> {
        match self {
            Self::F32 => None,
            Self::I16 => Some(sparsecode_formats::Activations::I16),
            Self::I8 => Some(sparsecode_formats::Activations::I8),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CalibrationFlag {
    /// The largest value that occurs, and a quarter more.
    Max,
    /// A value that 99.99 % of the values do not exceed.
    Percentile,
    /// The range with the least squared error.
    Mse,
}

impl From<CalibrationFlag> for Calibration {
    fn from(flag: CalibrationFlag) -> Self {
        match flag {
            CalibrationFlag::Max => Self::Max,
            CalibrationFlag::Percentile => Self::Percentile,
            CalibrationFlag::Mse => Self::Mse,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    check_extension(&arguments.output, &["safetensors"])?;
    let integer = arguments.activations.integers();
    let weights = WeightType::from(arguments.weights);
    match (integer, weights) {
        (Some(_), WeightType::F32 | WeightType::I16) => {
            return Err(usage(
                "--weights: activations i16 and i8 need weights i8 or i4",
            ));
        }
        (None, WeightType::I4) => {
            return Err(usage("--weights: i4 needs activations i16 or i8"));
        }
        _ => {}
    }
    if integer.is_none() && arguments.input_scale.is_some() {
        return Err(usage("--input-scale: only for --activations i16 and i8"));
    }
    if integer.is_some() && arguments.posterior {
        return Err(usage(
            "--posterior: samples are drawn in f32; leave out --activations",
        ));
    }
    if integer.is_none() && arguments.calibration.is_some() {
        return Err(usage("--calibration: only for --activations i16 and i8"));
    }
    if arguments
        .input_scale
        .is_some_and(|scale| !(scale.is_normal() && scale > 0.0))
    {
        return Err(usage("--input-scale: expected a number above 0"));
    }
    let folder = super::run::checked(&arguments.run)?;
    let family = FamilyName::of_run(&folder);
    if family == Some(FamilyName::Variational) {
        variational::refuse(&[("--gram", arguments.gram.is_some())])?;
        let wanted = variational::Wanted {
            weights,
            integers: integer,
            calibration: arguments.calibration.map(Into::into),
            input_scale: arguments.input_scale,
            with_posterior: arguments.posterior,
            data: &arguments.data,
            output: &arguments.output,
            json: arguments.json,
        };
        return variational::export(&folder, &wanted);
    }
    if arguments.posterior {
        return Err(usage("--posterior: only for variational models"));
    }
    if family == Some(FamilyName::Denoise) {
        return export_denoising::run(
            &folder,
            &export_denoising::Wanted {
                weights: arguments.weights.into(),
                integers: arguments.activations.integers(),
                gram: arguments.gram.map(Into::into),
                calibration: arguments.calibration.map(Into::into),
                input_scale: arguments.input_scale,
                data: &arguments.data,
                output: &arguments.output,
                json: arguments.json,
            },
        );
    }
    if arguments.gram.is_some() {
        return Err(usage(
            "--gram: only for models that denoise; the files of others store what they need",
        ));
    }
    let trained = super::run::open(&arguments.run)?;
    let samples = match arguments.data.load_for(&trained, &OtherData::default()) {
        // What a person names is used, or refused.
        Err(error) if arguments.data.data.is_some() => return Err(error),
        samples => samples.map(|splits| head(splits.validation)),
    };
    let (_, preprocessing) = trained.facts.parse_uniform()?;
    let is_local = matches!(preprocessing.contrast, Contrast::Local { .. });
    if integer.is_some() && is_local {
        eprintln!(
            "note: a device normalises local contrast in f32, and gives the model levels of the \
             normalised samples"
        );
    }
    let written = match integer {
        Some(activations) => {
            let samples = samples.as_ref().map_err(|error| {
                anyhow::anyhow!(
                    "activations {activations} need samples to find ranges from: {error:#}"
                )
            })?;
            with_integers(&trained, samples, arguments, activations)?
        }
        None => with_floats(&trained, weights)?,
    };
    write_atomic(&arguments.output, &written.bytes)?;

    let measured = match samples {
        Ok(samples) => Some(compare(&trained, &written.bytes, samples)?),
        Err(error) => {
            eprintln!("note: PSNR and sparsity are not measured: {error:#}");
            None
        }
    };
    let (run, file) = measured.unzip();
    let report = Report {
        output: arguments.output.clone(),
        weights: weights.to_string(),
        activations: integer.map_or("f32", sparsecode_formats::Activations::name),
        ranges: written.ranges,
        bytes: written.bytes.len(),
        step_size: written.step_size,
        tensors: written.matrices.iter().map(TensorCost::from).collect(),
        run,
        file,
        deterministic: None,
        is_local,
    };
    if arguments.json {
        return print_json(&report);
    }
    export_report::print(&report);
    Ok(())
}

/// A file for either arithmetic, and what is said about it.
struct File {
    bytes: Vec<u8>,
    step_size: f32,
    matrices: Vec<TensorReport>,
    ranges: Option<Ranges>,
}

fn with_floats(trained: &TrainedRun, weights: WeightType) -> anyhow::Result<File> {
    let written = trained.export(weights)?;
    Ok(File {
        bytes: written.bytes,
        step_size: written.step_size,
        matrices: written.matrices,
        ranges: None,
    })
}

fn with_integers(
    trained: &TrainedRun,
    samples: &Dataset,
    arguments: &Arguments,
    activations: sparsecode_formats::Activations,
) -> anyhow::Result<File> {
    let calibration = arguments
        .calibration
        .map_or_else(Calibration::default, Into::into);
    let (written, ranges) = trained.export_integer_as(
        samples,
        calibration,
        arguments.input_scale,
        arguments.weights.into(),
        activations,
    )?;
    let report = written.report;
    let found = export_report::ranges(calibration, &ranges, activations, &report);
    Ok(File {
        bytes: written.bytes,
        step_size: report.step_size,
        matrices: report.matrices,
        ranges: Some(found),
    })
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
    let set = Samples::new(validation)?;
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
