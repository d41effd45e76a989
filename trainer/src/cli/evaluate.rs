use std::path::PathBuf;

use clap::Args;
use sparsecode_formats::is_run_weights;

use super::common::print_json;
use super::data_flags::DataFlags;
use super::device::DeviceChoice;
use super::family::FamilyName;
use super::{evaluate_denoising, evaluate_file, evaluate_l0, variational};
use crate::data::{Dataset, Samples, Splits};
use crate::lista::evaluate::{self, CodeSource, Evaluation};
use crate::report::table::{Table, decibels, percent};

/// Measure a run's best model, or a model file on a recording: sparsity, PSNR, energy, dead atoms,
/// denoising
///
/// A model file: the file is run as a device runs it, over all of --data: a recording, a picture,
/// an array, or a folder of them. PSNR compares the output, averaged where windows overlap, with
/// the input. The energy is that of a window.
///
/// A run: PSNR is the mean over samples, in the raw units of the data. Noise is added to
/// preprocessed samples; reconstructions of noisy samples are compared with the clean samples.
/// Models without an encoder (DO) find codes by FISTA. The energy is that of training, with the
/// variance hinge; FISTA here minimises the energy without the hinge.
#[derive(Args)]
#[command(after_help = "Examples:
  sparsecode evaluate runs/vdl --noise 1.0,1.5 --data DIR
  sparsecode evaluate runs/vdl --fista --json
  sparsecode evaluate runs/vdl --l0 13,26,51
  sparsecode evaluate denoiser.safetensors --task denoise --data ecg.npy --snr 0,5,10
  sparsecode evaluate model.safetensors --data bearing.csv --column accel --windows windows.csv")]
pub(super) struct Arguments {
    /// Folder of the run, or a model file
    run: PathBuf,
    /// Standard deviations of noise, in preprocessed units: 1 is the deviation of the training data
    #[arg(long, value_delimiter = ',', value_name = "SIGMA")]
    noise: Vec<f64>,
    /// Also measure FISTA's codes, which start from the encoder's code, with λ as trained
    #[arg(long)]
    fista: bool,
    /// Only errors of codes with so many active components, on average: the encoder's largest
    /// ones, and FISTA's. So models of all families compare; minutes for some hundred components
    #[arg(long, value_delimiter = ',', value_name = "COMPONENTS", conflicts_with_all = ["noise", "fista", "codes"])]
    l0: Vec<f64>,
    /// Of a variational run also what is said of its codes: l1, multi-information beside that of
    /// the prior, collapse, and how alike repeated inferences are
    #[arg(long)]
    codes: bool,
    /// With --codes: signal to noise of the gradients of 100 samples over so many passes
    #[arg(long, value_name = "N", requires = "codes", value_parser = clap::value_parser!(u32).range(2..))]
    gradient_passes: Option<u32>,
    /// Which samples of a run [default: test]
    #[arg(long, value_enum)]
    split: Option<Split>,
    #[command(flatten)]
    data: DataFlags,
    /// Where to compute with a run [default: cpu]
    #[arg(long, value_enum)]
    device: Option<DeviceChoice>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    /// What to measure of a model file [default: reconstruct]
    #[arg(long, value_enum)]
    task: Option<evaluate_denoising::Task>,
    #[command(flatten)]
    denoising: evaluate_denoising::DenoisingFlags,
    #[command(flatten)]
    file: evaluate_file::Flags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Split {
    Train,
    Validation,
    Test,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(sigma) = arguments
        .noise
        .iter()
        .find(|sigma| !(sigma.is_finite() && **sigma > 0.0))
    {
        return Err(super::common::usage(format!(
            "--noise {sigma}: a standard deviation is positive"
        )));
    }
    evaluate_l0::check(&arguments.l0)?;
    let denoises = arguments.task == Some(evaluate_denoising::Task::Denoise);
    match arguments.denoising.given() {
        Some(flag) if !denoises => {
            return Err(super::common::usage(format!(
                "{flag}: only for --task denoise; add --task denoise, or leave {flag} out"
            )));
        }
        _ if denoises && !arguments.noise.is_empty() => {
            return Err(super::common::usage(
                "--noise: --task denoise adds noise by --snr, in dB; leave --noise out",
            ));
        }
        _ => {}
    }
    let is_weights = std::fs::read(&arguments.run).is_ok_and(|bytes| is_run_weights(&bytes));
    if !is_weights && (arguments.run.is_file() || evaluate_file::is_model(&arguments.run)) {
        if arguments.fista {
            return Err(super::common::usage(
                "--fista: only for runs; give --refine ITERATIONS for a model file",
            ));
        }
        for (flag, is_given) in [
            ("--l0", !arguments.l0.is_empty()),
            ("--codes", arguments.codes),
            ("--split", arguments.split.is_some()),
            ("--device", arguments.device.is_some()),
        ] {
            if is_given {
                return Err(super::common::usage(format!(
                    "{flag}: only for runs; the processor runs a model file on all of --data; \
                     leave {flag} out"
                )));
            }
        }
        let (data, noise) = (arguments.data.data.as_deref(), &arguments.noise);
        if denoises {
            if let Some(flag) = arguments.file.given() {
                return Err(super::common::usage(format!(
                    "{flag}: means nothing with --task denoise; leave {flag} out"
                )));
            }
            let (file, flags) = (&arguments.file, &arguments.denoising);
            let json = arguments.json;
            return evaluate_denoising::run(&arguments.run, data, file, flags, json);
        }
        return evaluate_file::run(&arguments.run, data, noise, &arguments.file, arguments.json);
    }
    if denoises {
        return Err(super::common::usage(
            "--task denoise: only for model files, and this is a run; sparsecode export writes a \
             model file",
        ));
    }
    if let Some(flag) = arguments.file.given() {
        return Err(super::common::usage(format!(
            "{flag}: only for model files, and this is a run; sparsecode export writes a model file"
        )));
    }
    let folder = super::run::checked(&arguments.run)?;
    if FamilyName::of_run(&folder) == Some(FamilyName::Variational) {
        variational::refuse(&[
            ("--fista", arguments.fista),
            ("--device", arguments.device.is_some()),
        ])?;
        let (data, noise) = (&arguments.data, &arguments.noise);
        let of_split = |splits: &Splits| part(splits, arguments.split);
        if !arguments.l0.is_empty() {
            return variational::evaluate_l0(
                &folder,
                data,
                &arguments.l0,
                of_split,
                arguments.json,
            );
        }
        let passes = arguments.gradient_passes.unwrap_or(0);
        let passes = arguments.codes.then_some(passes as usize);
        return variational::evaluate(&folder, data, noise, passes, of_split, arguments.json);
    }
    if arguments.codes {
        return Err(super::common::usage(
            "--codes: only for variational runs; leave --codes out",
        ));
    }
    let engine = arguments.device.unwrap_or(DeviceChoice::Cpu).open()?;
    let trained = super::run::open(&arguments.run)?;
    let splits = arguments
        .data
        .load_for(&trained, &arguments.file.of_run())?;
    let samples = Samples::new(part(&splits, arguments.split))?;
    if !arguments.l0.is_empty() {
        if trained.config.family.model.hidden_dim > 0 {
            return Err(super::common::usage(
                "--l0: only for linear decoders, and this one has a hidden layer; leave --l0 out",
            ));
        }
        let train = Samples::new(splits.train)?;
        let codes = trained.codes(&train, &samples, engine.as_ref())?;
        let name = trained.config.model_name();
        let (data, wanted) = (&splits.description, &arguments.l0);
        return evaluate_l0::print(name, data, &codes, wanted, arguments.json);
    }
    let mut sources = vec![CodeSource::Encoder];
    if !trained.config.has_encoder() {
        sources = vec![CodeSource::Fista];
    } else if arguments.fista {
        sources.push(CodeSource::Fista);
    }
    let mut results = Vec::new();
    for &source in &sources {
        let levels = arguments.noise.iter().copied().map(Some);
        for noise in std::iter::once(None).chain(levels) {
            let peak = f64::from(trained.facts.peak);
            let (model, config) = (&trained.model, &trained.config);
            results.push(evaluate::evaluate(
                model,
                &samples,
                config,
                peak,
                engine.as_ref(),
                source,
                noise,
            )?);
        }
    }
    if arguments.json {
        return print_json(&results);
    }
    println!(
        "{} of epoch {} on {} samples of {}",
        trained.config.model_name(),
        trained.epoch,
        samples.len(),
        splits.description
    );
    print!("{}", table(&results));
    Ok(())
}

fn part(splits: &Splits, split: Option<Split>) -> Dataset {
    match split.unwrap_or(Split::Test) {
        Split::Train => splits.train.clone(),
        Split::Validation => splits.validation.clone(),
        Split::Test => splits.test.clone(),
    }
}

fn table(results: &[Evaluation]) -> Table {
    let mut table = Table::new([
        "codes",
        "noise",
        "PSNR input",
        "PSNR",
        "zeros",
        "l1",
        "energy",
        "dead atoms",
    ]);
    for result in results {
        table.push([
            match result.codes {
                CodeSource::Encoder => "encoder".to_owned(),
                CodeSource::Fista => "FISTA".to_owned(),
            },
            result
                .noise
                .map_or_else(|| "0".to_owned(), |sigma| format!("{sigma}")),
            result.psnr_input.map_or_else(String::new, decibels),
            decibels(result.psnr),
            percent(result.sparsity),
            format!("{:.3}", result.code_l1),
            format!("{:.3}", result.energy),
            result.dead_atoms.to_string(),
        ]);
    }
    table
}
