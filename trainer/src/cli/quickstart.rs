use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use candle_core::Device;
use clap::{Args, ValueEnum};
use rand_distr::{Distribution, StandardNormal};
use serde::Serialize;
use sparsecode_formats::WeightType;
use sparsecode_runtime::{Refine, ram_bytes};

use super::print_json;
use super::train::Console;
use crate::config::Config;
use crate::data::{Dataset, Splits};
use crate::evaluate::deployed::measure;
use crate::evaluate::{features, psnr};
use crate::export::{HostModel, TrainedRun, read_model};
use crate::inference::PlainFista;
use crate::report::image::{GalleryOptions, gallery, strip};
use crate::report::progress::ProgressMode;
use crate::report::table::{Table, bytes, decibels, duration, percent};
use crate::rng::{Stream, generator};
use crate::storage::write_atomic;
use crate::train::{RunFolder, Trainer};

/// Patches shown in the strip.
const SHOWN: usize = 12;

/// Train a small model on built-in data, export it, and denoise held-out patches with the exported file
///
/// The whole path in about a minute, without any data: a VDL model (LISTA encoder, linear decoder), 8-bit weights, and the code that
/// runs on a microcontroller. Writes the run, the model file and two pictures.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  sparsecode quickstart\n  sparsecode quickstart --signal ecg --output ecg-demo"
)]
pub(super) struct Arguments {
    /// Learn a signal instead of images
    #[arg(long, value_enum)]
    signal: Option<Signal>,
    /// Folder for the run, the model file and the pictures
    #[arg(long, value_name = "DIR", default_value = "quickstart")]
    output: PathBuf,
    /// Passes over the training set
    #[arg(long)]
    epochs: Option<u32>,
    /// One value of the configuration: table.key=value; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seed of all random numbers
    #[arg(long, default_value_t = 31)]
    seed: u64,
    /// No progress
    #[arg(long)]
    quiet: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Signal {
    /// Bearing vibration with fault impulses
    Vibration,
    /// ECG-like beats
    Ecg,
}

#[derive(Serialize)]
struct Report {
    data: String,
    model: &'static str,
    noise_sigma: f32,
    patches: usize,
    psnr_noisy: f64,
    rows: Vec<Row>,
    model_bytes: usize,
    ram_bytes: usize,
    model_file: PathBuf,
    atoms: PathBuf,
    strip: PathBuf,
}

#[derive(Serialize)]
struct Row {
    method: String,
    psnr: f64,
    sparsity: f64,
    seconds_per_patch: f64,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = configuration(arguments)?;
    let folder = RunFolder::new(arguments.output.join("run"));
    let splits = config.data.load(None, config.seed)?;
    let test = splits.test.clone();
    let (shape, peak) = (splits.shape, f64::from(splits.peak));
    train(&config, splits, &folder, arguments.quiet)?;

    let trained = TrainedRun::open(&folder, &Device::Cpu)?;
    let model_file = arguments.output.join("model.safetensors");
    write_atomic(&model_file, &trained.export(WeightType::I8)?.bytes)?;

    // From here on nothing but the file: what follows is what a device does.
    let data = read_model(&model_file)?;
    let mut host = HostModel::new(&data, &model_file.display().to_string())?;
    let spec = *host.view().spec();
    let sigma = noise_sigma(arguments.signal);
    let noisy = add_noise(&test, sigma, config.seed);
    let refine = Refine {
        lambda: host.noise_lambda(sigma),
        ..host.refinement(50)
    };

    let count = test.len();
    let psnr_noisy = (0..count)
        .map(|i| {
            psnr(
                &noisy[i * test.dim..][..test.dim],
                test.sample(i),
                &test.restore,
                i,
                peak,
            )
        })
        .sum::<f64>()
        / count as f64;
    let mut rows = Vec::new();
    for (method, refine) in [("encoder", None), ("encoder + refinement", Some(&refine))] {
        let figures = measure(&mut host, &noisy, &test, peak, refine)?;
        rows.push(Row {
            method: method.to_owned(),
            psnr: figures.psnr,
            sparsity: figures.sparsity,
            seconds_per_patch: figures.seconds,
        });
    }

    let (height, width) = (usize::from(shape.height), usize::from(shape.width));
    let atoms = arguments.output.join("atoms.png");
    let dictionary = features::atoms(&trained.model, &[])?;
    gallery(
        &dictionary,
        spec.code_dim(),
        height,
        width,
        &GalleryOptions::default(),
    )?
    .save(&atoms)?;
    let picture = arguments.output.join("denoised.png");
    draw_strip(&mut host, &test, &noisy, peak, &refine, height, width)?.save(&picture)?;

    let report = Report {
        data: trained.facts.description.clone(),
        model: config.model_name(),
        noise_sigma: sigma,
        patches: count,
        psnr_noisy,
        rows,
        model_bytes: data.len(),
        ram_bytes: ram_bytes(spec.input_dim(), spec.code_dim(), spec.hidden_dim()),
        model_file,
        atoms,
        strip: picture,
    };
    if arguments.json {
        return print_json(&report);
    }
    print(&report);
    Ok(())
}

fn configuration(arguments: &Arguments) -> anyhow::Result<Config> {
    let preset = match arguments.signal {
        None => "dead-leaves/vdl",
        Some(Signal::Vibration) => "vibration/vdl",
        Some(Signal::Ecg) => "ecg/vdl",
    };
    let mut settings = vec![format!("seed={}", arguments.seed)];
    settings.extend(arguments.set.iter().cloned());
    settings.extend(arguments.epochs.map(|epochs| format!("epochs={epochs}")));
    Ok(Config::preset(preset)?.with_overrides(None, &settings)?)
}

/// Noise in preprocessed units (the data's deviation is 1): strong enough to be seen.
fn noise_sigma(signal: Option<Signal>) -> f32 {
    match signal {
        None => 0.4,
        Some(_) => 0.5,
    }
}

fn train(config: &Config, splits: Splits, folder: &RunFolder, quiet: bool) -> anyhow::Result<()> {
    // A quickstart starts anew: what an earlier one left is not continued.
    for file in [folder.checkpoint(), folder.best()] {
        if file.exists() {
            std::fs::remove_file(file)?;
        }
    }
    let engine = PlainFista;
    let mut trainer = Trainer::new(config.clone(), splits, &engine, &Device::Cpu)?;
    write_atomic(folder.config(), config.to_toml().as_bytes())?;
    let mut console = Console::new(folder, config, &trainer, false, ProgressMode::detect(quiet))?;
    trainer.run(folder, &mut console, &AtomicBool::new(false))?;
    console.finish();
    Ok(())
}

fn add_noise(samples: &Dataset, sigma: f32, seed: u64) -> Vec<f32> {
    let mut rng = generator(seed, Stream::Noise { level: 0 });
    let mut noise = || -> f32 { StandardNormal.sample(&mut rng) };
    samples
        .samples
        .iter()
        .map(|value| value + sigma * noise())
        .collect()
}

/// Some held-out patches: clean, noisy, denoised by the encoder, denoised after refinement.
fn draw_strip(
    host: &mut HostModel<'_>,
    test: &Dataset,
    noisy: &[f32],
    peak: f64,
    refine: &Refine,
    height: usize,
    width: usize,
) -> anyhow::Result<crate::report::image::Picture> {
    let dim = test.dim;
    let indices: Vec<usize> = (0..SHOWN.min(test.len()))
        .map(|i| i * test.len() / SHOWN)
        .collect();
    let mut states: [Vec<Vec<f32>>; 4] = Default::default();
    let mut sums = [0.0; 4];
    for &index in &indices {
        let clean = test.sample(index);
        let input = &noisy[index * dim..][..dim];
        let mut samples = [
            clean.to_vec(),
            input.to_vec(),
            vec![0.0; dim],
            vec![0.0; dim],
        ];
        host.encode(input, None)?;
        host.reconstruct(&mut samples[2])?;
        host.encode(input, Some(refine))?;
        host.reconstruct(&mut samples[3])?;
        for ((state, sum), mut sample) in states.iter_mut().zip(&mut sums).zip(samples) {
            *sum += psnr(&sample, clean, &test.restore, index, peak);
            test.restore.restore(index, &mut sample);
            state.push(sample);
        }
    }
    let label = |name: &str, state: usize| {
        if state == 0 {
            name.to_owned()
        } else {
            format!("{name}\n{}", decibels(sums[state] / indices.len() as f64))
        }
    };
    let labels = [
        label("clean", 0),
        label("noisy", 1),
        label("encoder", 2),
        label("refined", 3),
    ];
    let rows: Vec<(&str, Vec<&[f32]>)> = labels
        .iter()
        .zip(&states)
        .map(|(label, state)| (label.as_str(), state.iter().map(Vec::as_slice).collect()))
        .collect();
    Ok(strip(&rows, height, width)?)
}

fn print(report: &Report) {
    println!(
        "{} on {}: {} held-out patches, noise {}",
        report.model, report.data, report.patches, report.noise_sigma
    );
    let mut table = Table::new(["denoised by", "PSNR", "zeros", "time per patch here"]);
    table.push(["(noisy)", &decibels(report.psnr_noisy), "", ""]);
    for row in &report.rows {
        let time = duration(Duration::from_secs_f64(row.seconds_per_patch));
        table.push([
            row.method.clone(),
            decibels(row.psnr),
            percent(row.sparsity),
            time,
        ]);
    }
    print!("{table}");
    println!();
    let table = Table::new(["the device needs", "size"])
        .row([
            "flash for the model (i8)",
            &bytes(report.model_bytes as u64),
        ])
        .row([
            "RAM to encode, refine and decode",
            &bytes(report.ram_bytes as u64),
        ]);
    print!("{table}");
    println!(
        "\n{}\n{}\n{}",
        report.model_file.display(),
        report.atoms.display(),
        report.strip.display()
    );
}
