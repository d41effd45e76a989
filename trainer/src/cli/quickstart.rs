mod denoiser;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rand_distr::{Distribution, StandardNormal};
use serde::Serialize;
use sparsecode_formats::WeightType;
use sparsecode_runtime::{CodeBuffer as _, Refine, ram_bytes};

use super::common::{INTERRUPTED, exit_with, print_json, usage};
use super::console::Console;
use super::train::session::{at_terminal, stop_flag};
use crate::data::npy::write_npy_f32;
use crate::data::{Dataset, Named, Splits, dead_leaves_image, ecg_signal, vibration_signal};
use crate::deploy::denoise::{Layout, denoise};
use crate::deploy::measure::{Deployed, measure, psnr_raw};
use crate::deploy::{Calibration, HostModel, HostRefine, TrainedRun, read_model};
use crate::lista::Config;
use crate::lista::evaluate::psnr;
use crate::lista::features;
use crate::lista::inference::CpuEngine;
use crate::report::image::{GalleryOptions, Picture, gallery, strip};
use crate::report::progress::ProgressMode;
use crate::report::table::{Table, bytes, decibels, duration, percent, thousands};
use crate::rng::{Stream, generator};
use crate::run::{Ending, RunFolder, Session};
use crate::storage::write_atomic;

/// Samples shown in the strip, and written for the firmware.
const SHOWN: usize = 12;
/// Images that are denoised whole, and their side in pixels.
const IMAGES: (u64, usize) = (3, 160);
/// Stretches of signal that are denoised whole, and their length in samples.
const STRETCHES: (u64, usize) = (2, 640);
/// Samples of the signal that is written for the firmware.
const SIGNAL: usize = 2000;
/// The most FISTA iterations of a refinement.
const REFINE: u32 = 50;

/// Train a small model on built-in data, export it, and denoise held-out patches with the exported
/// file
///
/// Shows the whole path in well under a minute, without any data of yours: a VDL model (LISTA
/// encoder, linear decoder), a model that is trained to denoise, 8-bit weights, and the code that
/// runs on a microcontroller. Writes both runs, the VDL model's file for f32 arithmetic and for
/// integers, the other model's for integers, pictures, and patches (and a signal) for the firmware
/// example.
#[derive(Args)]
#[command(after_help = "Examples:
  sparsecode quickstart
  sparsecode quickstart --signal ecg --output ecg-demo

Exit status: 0 done, 1 failed, 2 used wrongly, 130 interrupted.")]
pub(super) struct Arguments {
    /// Learn a signal instead of images
    #[arg(long, value_enum)]
    signal: Option<Signal>,
    /// Folder for the run, the model file and the pictures
    #[arg(long, value_name = "DIR", default_value = "quickstart")]
    output: PathBuf,
    /// Replace what an earlier quickstart left in the folder
    #[arg(long)]
    overwrite: bool,
    /// Passes over the training set, of both models
    #[arg(long)]
    epochs: Option<u32>,
    /// One value of the VDL model's configuration: table.key=value; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seed of all random numbers
    #[arg(long, default_value_t = 31)]
    seed: u64,
    /// Show no progress
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

impl Signal {
    fn scene(self, length: usize, seed: u64) -> Vec<f32> {
        match self {
            Self::Vibration => vibration_signal(length, seed),
            Self::Ecg => ecg_signal(length, seed),
        }
    }
}

#[derive(Serialize)]
struct Report {
    data: String,
    model: &'static str,
    /// Standard deviation of the noise, in raw units.
    noise: f32,
    samples: usize,
    psnr_noisy: f64,
    rows: Vec<Row>,
    model_bytes: usize,
    ram_bytes: usize,
    model_file: PathBuf,
    /// The same model for arithmetic in integers.
    integer_file: PathBuf,
    /// The model that is trained to denoise, for arithmetic in integers.
    denoiser_file: PathBuf,
    denoiser_bytes: usize,
    pictures: Vec<PathBuf>,
    patches: PathBuf,
}

#[derive(Serialize)]
struct Row {
    method: String,
    psnr: f64,
    sparsity: f64,
    seconds_per_patch: f64,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut config = configuration(arguments)?;
    config.data = config.data.placed(&Named::default())?;
    let folder = RunFolder::new(arguments.output.join("run"));
    let model_file = arguments.output.join("model.safetensors");
    let integer_file = arguments.output.join("integer.safetensors");
    let denoiser_folder = RunFolder::new(arguments.output.join("denoiser"));
    let denoiser_file = arguments.output.join("denoiser.safetensors");
    if !arguments.overwrite {
        for file in [
            &folder.config(),
            &folder.checkpoint(),
            &folder.best(),
            &model_file,
            &integer_file,
            &denoiser_folder.config(),
            &denoiser_folder.checkpoint(),
            &denoiser_folder.best(),
            &denoiser_file,
        ] {
            if file.exists() {
                return Err(usage(format!(
                    "{} is there already: --overwrite replaces it, or choose another --output",
                    file.display()
                )));
            }
        }
    }
    // What an earlier one left is not continued.
    for file in [
        folder.checkpoint(),
        folder.best(),
        model_file.clone(),
        integer_file.clone(),
        denoiser_folder.checkpoint(),
        denoiser_folder.best(),
        denoiser_file.clone(),
    ] {
        if file.exists() {
            std::fs::remove_file(&file)
                .map_err(|e| anyhow::anyhow!("cannot remove {}: {e}", file.display()))?;
        }
    }
    let splits = config.data.load(None, config.seed)?;
    let shape = splits.shape;
    if !shape.is_window() && shape.height != shape.width {
        return Err(usage(format!(
            "patches of {shape}: the model that is trained to denoise takes square ones; set \
             data.height and data.width alike"
        )));
    }
    let (test, validation) = (splits.test.clone(), splits.validation.clone());
    let peak = f64::from(splits.peak);
    let stop = stop_flag(at_terminal())?;
    let go_on = || match stop.load(Ordering::Relaxed) {
        true => Err(exit_with(
            INTERRUPTED,
            "interrupted; the same command with --overwrite starts anew",
        )),
        false => Ok(()),
    };
    if train(&config, splits, &folder, arguments.quiet, &stop)? == Ending::Interrupted {
        return go_on();
    }

    let trained = TrainedRun::open(&folder)?;
    write_atomic(&model_file, &trained.export(WeightType::I8)?.bytes)?;
    let (integers, _) = trained.export_integer(&validation, Calibration::default(), None)?;
    write_atomic(&integer_file, &integers.bytes)?;
    go_on()?;
    let preset = match arguments.signal {
        None => "pictures/denoise",
        Some(Signal::Vibration) => "bearing/denoise",
        Some(Signal::Ecg) => "ecg/denoise",
    };
    let denoising = denoiser::configuration(preset, &config, shape, arguments.epochs)?;
    let quiet = arguments.quiet;
    denoiser::train(&denoising, &denoiser_folder, &denoiser_file, quiet, &stop)?;
    go_on()?;

    // From here on nothing but the file: what follows is what a device does.
    let data = read_model(&model_file)?;
    let mut host = HostModel::new(&data, &model_file.display().to_string())?;
    let sigma = noise_sigma(arguments.signal);
    let lambda = Refine::for_noise(host.spec(), sigma).lambda;
    let demo = Demo {
        test: &test,
        noisy: with_noise(&test.samples, sigma, config.seed, 0),
        lambda,
        peak,
    };
    let (mut rows, usage) = demo.measure(&mut host)?;
    go_on()?;
    let integer_data = read_model(&integer_file)?;
    let mut integer_host = HostModel::new(&integer_data, &integer_file.display().to_string())?;
    let (integer_rows, _) = demo.measure(&mut integer_host)?;
    go_on()?;
    rows.extend(integer_rows.into_iter().map(|row| Row {
        method: format!("{}, in integers", row.method),
        ..row
    }));

    let spec = *host.spec();
    let raw_sigma = sigma * spec.preprocessing.deviation;
    let denoiser_data = read_model(&denoiser_file)?;
    let mut denoiser = HostModel::new(&denoiser_data, &denoiser_file.display().to_string())?;
    rows.push(demo.measure_denoiser(&mut denoiser, raw_sigma)?);
    go_on()?;
    let (height, width) = (
        usize::from(spec.input_shape.height),
        usize::from(spec.input_shape.width),
    );
    let picture = |name: &str| arguments.output.join(name);
    let pictures = vec![
        picture("atoms.png"),
        picture("patches.png"),
        picture("scenes.png"),
    ];
    draw_atoms(&trained, &usage, height, width)?.save(&pictures[0])?;
    let figures = [demo.psnr_noisy(), rows[0].psnr, rows[1].psnr];
    demo.draw_patches(&mut host, height, width, figures)?
        .save(&pictures[1])?;
    let refine = demo.refine(&host);
    let hosts = [&mut host, &mut denoiser];
    draw_scenes(hosts, arguments, raw_sigma, &refine)?.save(&pictures[2])?;
    let patches = picture("patches.npy");
    demo.write_patches(&patches)?;
    if let Some(signal) = arguments.signal {
        let clean = signal.scene(SIGNAL, arguments.seed.wrapping_add(2000));
        let noisy = with_noise(&clean, raw_sigma, arguments.seed, 2);
        let samples = [noisy, clean].concat();
        write_npy_f32(&picture("signal.npy"), &[2, 1, SIGNAL], &samples)?;
    }

    let report = Report {
        data: trained.facts.description.clone(),
        model: config.model_name(),
        noise: raw_sigma,
        samples: test.len(),
        psnr_noisy: demo.psnr_noisy(),
        rows,
        model_bytes: data.len(),
        ram_bytes: ram_bytes(spec.input_dim(), spec.code_dim(), spec.hidden_dim()),
        model_file,
        integer_file,
        denoiser_file,
        denoiser_bytes: denoiser_data.len(),
        pictures,
        patches,
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

/// Noise in preprocessed units, in which the data's deviation is 1: strong enough to be seen.
fn noise_sigma(signal: Option<Signal>) -> f32 {
    match signal {
        None => 0.4,
        Some(_) => 0.5,
    }
}

fn train(
    config: &Config,
    splits: Splits,
    folder: &RunFolder,
    quiet: bool,
    stop: &AtomicBool,
) -> anyhow::Result<Ending> {
    let mut console = Console::new(config, ProgressMode::detect(quiet));
    let session = Session {
        folder,
        config,
        backend: &CpuEngine::default(),
        resume: false,
        start: None,
    };
    let trained = session.run(splits, &mut console, stop)?;
    console.finish();
    Ok(trained.ending)
}

fn with_noise(samples: &[f32], sigma: f32, seed: u64, purpose: u16) -> Vec<f32> {
    let mut rng = generator(seed, Stream::Noise { purpose });
    let mut noise = || -> f32 { StandardNormal.sample(&mut rng) };
    samples
        .iter()
        .map(|value| value + sigma * noise())
        .collect()
}

/// Held-out samples with noise, in preprocessed units.
struct Demo<'a> {
    test: &'a Dataset,
    noisy: Vec<f32>,
    /// For the noise.
    lambda: f32,
    peak: f64,
}

impl Demo<'_> {
    /// As a device refines.
    fn refine(&self, host: &HostModel<'_>) -> HostRefine {
        let mut refine = host.refinement(REFINE);
        refine.settings.lambda = self.lambda;
        refine
    }

    fn noisy(&self, index: usize) -> &[f32] {
        &self.noisy[index * self.test.dim..][..self.test.dim]
    }

    fn psnr(&self, estimate: &[f32], index: usize) -> f64 {
        psnr(
            estimate,
            self.test.sample(index),
            &self.test.restore,
            index,
            self.peak,
        )
    }

    fn psnr_noisy(&self) -> f64 {
        let count = self.test.len();
        (0..count)
            .map(|index| self.psnr(self.noisy(index), index))
            .sum::<f64>()
            / count as f64
    }

    /// The table's rows, and how often the encoder uses each atom.
    fn measure(&self, host: &mut HostModel<'_>) -> anyhow::Result<(Vec<Row>, Vec<u32>)> {
        let row = |method: &str, figures: &Deployed| Row {
            method: method.to_owned(),
            psnr: figures.psnr,
            sparsity: figures.sparsity,
            seconds_per_patch: figures.seconds,
        };
        let encoder = measure(host, &self.noisy, self.test, self.peak, None)?;
        let refine = self.refine(host);
        let refined = measure(host, &self.noisy, self.test, self.peak, Some(&refine))?;
        let rows = vec![
            row("encoder", &encoder),
            row("encoder + refinement", &refined),
        ];
        Ok((rows, encoder.usage))
    }

    /// The row of a model that denoises: each sample on its own, the noise known.
    fn measure_denoiser(&self, host: &mut HostModel<'_>, raw_sigma: f32) -> anyhow::Result<Row> {
        host.set_noise_level(raw_sigma);
        let (mut psnr, mut active, mut seconds) = (0.0, 0, 0.0);
        let count = self.test.len();
        for index in 0..count {
            let restored = |sample: &[f32]| {
                let mut sample = sample.to_vec();
                self.test.restore.restore(index, &mut sample);
                sample
            };
            let mut sample = restored(self.noisy(index));
            let begun = Instant::now();
            host.denoise(&mut sample, None)?;
            seconds += begun.elapsed().as_secs_f64();
            active += host.code().active();
            let clean = restored(self.test.sample(index));
            psnr += psnr_raw(&sample, &clean, self.peak);
        }
        let atoms = f64::from(host.spec().code_dim) * count as f64;
        Ok(Row {
            method: "trained to denoise, in integers".to_owned(),
            psnr: psnr / count as f64,
            sparsity: 1.0 - active as f64 / atoms,
            seconds_per_patch: seconds / count as f64,
        })
    }

    /// Samples spread over the set.
    fn shown(&self) -> impl Iterator<Item = usize> {
        let count = self.test.len();
        (0..SHOWN.min(count)).map(move |i| i * count / SHOWN.min(count))
    }

    /// Clean, noisy, denoised by the encoder, denoised after refinement; a few samples, with the
    /// `figures` of all.
    fn draw_patches(
        &self,
        host: &mut HostModel<'_>,
        height: usize,
        width: usize,
        figures: [f64; 3],
    ) -> anyhow::Result<Picture> {
        let mut states = ["clean", "noisy", "encoder", "refined"].map(State::new);
        let refine = self.refine(host);
        for index in self.shown() {
            let mut reconstruct = |refine: Option<&HostRefine>| -> anyhow::Result<Vec<f32>> {
                let mut output = vec![0.0; self.test.dim];
                host.encode(self.noisy(index), refine)?;
                host.reconstruct(&mut output)?;
                Ok(output)
            };
            let samples = [
                self.test.sample(index).to_vec(),
                self.noisy(index).to_vec(),
                reconstruct(None)?,
                reconstruct(Some(&refine))?,
            ];
            for (state, mut sample) in states.iter_mut().zip(samples) {
                self.test.restore.restore(index, &mut sample);
                state.samples.push(sample);
            }
        }
        let [clean, denoised @ ..] = &mut states;
        let (shown, all) = (clean.samples.len(), self.test.len() as u64);
        clean.caption = format!("{shown} of {}", thousands(all));
        for (state, figure) in denoised.iter_mut().zip(figures) {
            state.caption = decibels(figure);
        }
        draw(&states, height, width)
    }

    /// Raw noisy and clean samples, `2 × n × d`: what the firmware example takes.
    fn write_patches(&self, path: &Path) -> anyhow::Result<()> {
        let indices: Vec<usize> = self.shown().collect();
        let mut values = Vec::new();
        for set in [&self.noisy, &self.test.samples] {
            for &index in &indices {
                let mut sample = set[index * self.test.dim..][..self.test.dim].to_vec();
                self.test.restore.restore(index, &mut sample);
                values.extend(sample);
            }
        }
        Ok(write_npy_f32(
            path,
            &[2, indices.len(), self.test.dim],
            &values,
        )?)
    }
}

/// The atoms, the most used first.
fn draw_atoms(
    trained: &TrainedRun,
    usage: &[u32],
    height: usize,
    width: usize,
) -> anyhow::Result<Picture> {
    let atoms = features::atoms(&trained.model, &[])?;
    let mut order: Vec<usize> = (0..usage.len()).collect();
    order.sort_by_key(|&atom| std::cmp::Reverse(usage[atom]));
    let sorted: Vec<f32> = order
        .iter()
        .flat_map(|&atom| {
            atoms[atom * height * width..][..height * width]
                .iter()
                .copied()
        })
        .collect();
    Ok(gallery(
        &sorted,
        usage.len(),
        height,
        width,
        &GalleryOptions::default(),
    )?)
}

/// Whole pictures or stretches of signal from further seeds, denoised patch by overlapping patch,
/// by both models.
fn draw_scenes(
    [host, denoiser]: [&mut HostModel<'_>; 2],
    arguments: &Arguments,
    sigma: f32,
    refine: &HostRefine,
) -> anyhow::Result<Picture> {
    let mut states = ["clean", "noisy", "refined", "trained"].map(State::new);
    let mut sums = [0.0; 3];
    let peak = f64::from(host.spec().peak);
    let hop = usize::from(host.spec().input_shape.width).div_ceil(4);
    let (scenes, height, width) = match arguments.signal {
        None => (IMAGES.0, IMAGES.1, IMAGES.1),
        Some(_) => (STRETCHES.0, 1, STRETCHES.1),
    };
    for scene in 0..scenes {
        // Beyond the seeds of training, validation and test data.
        let seed = arguments.seed.wrapping_add(1000 + scene);
        let clean = match arguments.signal {
            None => dead_leaves_image(width, height, seed),
            Some(signal) => signal.scene(width, seed),
        };
        let noisy = with_noise(&clean, sigma, seed, 1);
        let layout = match arguments.signal {
            None => Layout::Image { width, hop },
            Some(_) => Layout::Signal { hop },
        };
        let refined = denoise(host, &noisy, layout, Some(refine), &mut |_, _| {})?;
        let trained = denoiser::clean(denoiser, &noisy, width, sigma)?;
        for (sum, estimate) in sums.iter_mut().zip([&noisy, &refined, &trained]) {
            *sum += psnr_raw(estimate, &clean, peak);
        }
        for (state, sample) in states.iter_mut().zip([clean, noisy, refined, trained]) {
            state.samples.push(sample);
        }
    }
    let [clean, others @ ..] = &mut states;
    clean.caption = match arguments.signal {
        None => format!("{scenes} pictures"),
        Some(_) => format!("{scenes} stretches"),
    };
    for (state, sum) in others.iter_mut().zip(sums) {
        state.caption = decibels(sum / scenes as f64);
    }
    draw(&states, height, width)
}

/// A row of a strip.
struct State {
    name: &'static str,
    samples: Vec<Vec<f32>>,
    /// Under the name.
    caption: String,
}

impl State {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            samples: Vec::new(),
            caption: String::new(),
        }
    }
}

fn draw(states: &[State], height: usize, width: usize) -> anyhow::Result<Picture> {
    let label = |state: &State| format!("{}\n{}", state.name, state.caption);
    let labels: Vec<String> = states.iter().map(label).collect();
    let rows: Vec<(&str, Vec<&[f32]>)> = labels
        .iter()
        .zip(states)
        .map(|(label, state)| {
            (
                label.as_str(),
                state.samples.iter().map(Vec::as_slice).collect(),
            )
        })
        .collect();
    Ok(strip(&rows, height, width)?)
}

fn print(report: &Report) {
    println!(
        "\n{} on {}\n{} held-out samples, noise of deviation {:.3}, all figures from the exported file:\n",
        report.model, report.data, report.samples, report.noise
    );
    let mut table = Table::new(["denoised by", "PSNR", "zeros", "time per patch, here"]);
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
    println!("{table}");
    let table = Table::new(["the device needs", "size"])
        .row([
            "flash for the model (i8)",
            &bytes(report.model_bytes as u64),
        ])
        .row([
            "RAM to encode, refine and decode",
            &bytes(report.ram_bytes as u64),
        ]);
    println!("{table}");
    println!("{}", report.model_file.display());
    println!("{}", report.integer_file.display());
    println!(
        "{}: the model that is trained to denoise, {}",
        report.denoiser_file.display(),
        bytes(report.denoiser_bytes as u64)
    );
    let captions = [
        "the atoms, the most used first".to_owned(),
        format!(
            "some of the {} held-out samples; the figures are those of all",
            thousands(report.samples as u64)
        ),
        "whole pictures or stretches of signal, overlapping patches averaged, refined and by the \
         model that is trained to denoise: figures of their own"
            .to_owned(),
    ];
    for (picture, caption) in report.pictures.iter().zip(captions) {
        println!("{}: {caption}", picture.display());
    }
}
