use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use sparsecode_runtime::stream::StreamError;

use super::common::{check_extension, print_json, usage};
use super::input::{FileFlags, UnitFlags, check_not, check_output, known, told};
use super::refine::RefineFlags;
use crate::deploy::denoise::{Layout, denoise};
use crate::deploy::given::Given;
use crate::deploy::measure::{psnr_raw, snr_raw};
use crate::deploy::units::Known;
use crate::deploy::{Cleaned, Counts, HostError, HostModel, HostRefine, Noise, read_model};
use crate::report::table::{Table, decibels};

/// Clean a recording (.csv, .wav, .npy), a picture (.png, .jpg, …) or an array of samples (.npy)
/// with a model file
///
/// Pictures and signals are cut into overlapping windows. Where windows overlap, the results are
/// averaged. An output of the same kind as the input keeps the input's number type, other columns
/// and sample rate. A model takes one channel: columns, stereo channels and colours are cleaned one
/// by one; opacity stays as it is.
#[derive(Args)]
#[command(after_help = "Examples:
  sparsecode denoise model.safetensors --input noisy.png --output clean.png --refine 50 --sigma 0.1
  sparsecode denoise denoiser.safetensors --input ecg.csv --output clean.csv
  sparsecode denoise model.safetensors --input ecg.csv --column II --output clean.csv
  sparsecode denoise model.safetensors --input noisy.wav --output clean.wav --column all --reference studio.wav")]
pub(super) struct Arguments {
    /// Model file
    file: PathBuf,
    /// File to clean
    #[arg(long)]
    input: PathBuf,
    /// File to write, of the same kind as the input; a recording may be any of .csv, .wav and .npy
    #[arg(long)]
    output: PathBuf,
    /// Allow the output to replace the input
    #[arg(long)]
    overwrite: bool,
    /// The input without noise: print PSNR and SNR before and after, and the gain
    #[arg(long, value_name = "CLEAN")]
    reference: Option<PathBuf>,
    /// Deviation of the noise in raw units (of pictures, 1 is white), for a model of train --task
    /// denoise [default: estimated; in a signal on the way, as on a device]
    #[arg(long, value_name = "SIGMA", value_parser = above_0, help_heading = "Models that denoise")]
    noise_level: Option<f32>,
    /// Do not run the drift filter that the model was trained with
    #[arg(long, help_heading = "Models that denoise")]
    keep_drift: bool,
    #[command(flatten)]
    refine: RefineFlags,
    #[command(flatten)]
    reading: FileFlags,
    #[command(flatten)]
    units: UnitFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn above_0(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "expected a number".to_owned())?;
    match value.is_finite() && value > 0.0 {
        true => Ok(value),
        false => Err("expected a number above 0".to_owned()),
    }
}

/// Errors of windows in the words of the flag that chooses them.
fn of_hop(error: HostError, hop: usize) -> anyhow::Error {
    match error {
        HostError::Stream(StreamError::Overflow { .. }) => usage(format!(
            "--hop {hop}: more windows would overlap than the file's sums hold; give a larger one, \
             or leave it out for the file's own"
        )),
        HostError::Stream(StreamError::Hop { side, .. }) => usage(format!(
            "--hop {hop}: beyond the model's windows of {side}; give 1 to {side}, or leave it out for \
             the file's own"
        )),
        error => error.into(),
    }
}

/// What came of it.
#[derive(Serialize)]
struct Report {
    output: PathBuf,
    input: String,
    /// Values in each part.
    values: usize,
    /// Values cut to the range of the output's number type.
    clipped: usize,
    /// Windows or patches of a model that denoises; null for others.
    windows: Option<usize>,
    /// Those in which integers saturated: a sample lay beyond the file's range, or a component
    /// reached the largest level of a code.
    saturated: Option<usize>,
    parts: Vec<PartReport>,
}

#[derive(Serialize)]
struct PartReport {
    /// Null where there is one part.
    name: Option<String>,
    /// Against the reference; null without one.
    gain: Option<Gain>,
}

/// In dB.
#[derive(Serialize)]
struct Gain {
    psnr_before: f64,
    psnr_after: f64,
    snr_before: f64,
    snr_after: f64,
    gain: f64,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments {
        file,
        input,
        output,
        ..
    } = arguments;
    check_not(output, "--output", "model", file)?;
    check_output(output, &[input], arguments.overwrite)?;
    if let Some(reference) = &arguments.reference {
        check_not(output, "--output", "reference", reference)?;
    }
    let bytes = read_model(file)?;
    let mut host = HostModel::new(&bytes, &file.display().to_string())?;
    let known = known(&host, &bytes, file)?;
    let refine = arguments.refine.settings(&host)?;
    let mut given = arguments.reading.read(input, &host)?;
    check_extension(output, given.endings())?;
    given.check(output).map_err(told)?;
    arguments.check(&host, given.layout, refine.is_some())?;
    let reference = arguments.reference(&host, &known, &given)?;
    let unit = arguments.units.to_raw(&known, &mut given)?;
    let mut cleaned = Vec::new();
    let mut parts = Vec::new();
    let mut counts: Option<[usize; 2]> = None;
    for (index, part) in given.parts.iter().enumerate() {
        let (clean, seen) = arguments
            .clean(&mut host, &part.values, given.layout, refine.as_ref())
            .with_context(|| input.display().to_string())?;
        if let Some(seen) = seen {
            let [windows, saturated] = counts.get_or_insert_default();
            *windows += seen.windows;
            *saturated += seen.cut + seen.full;
        }
        let gain = reference.as_ref().map(|reference| {
            let peak = f64::from(host.spec().peak);
            Gain::of(&part.values, &clean, &reference.parts[index].values, peak)
        });
        cleaned.push(clean);
        parts.push(PartReport {
            name: part.name.clone(),
            gain,
        });
    }
    cleaned.iter_mut().for_each(|clean| unit.to_stored(clean));
    let report = Report {
        output: output.clone(),
        input: given.summary.clone(),
        values: given.parts[0].values.len(),
        clipped: given.write(output, cleaned).map_err(told)?,
        windows: counts.map(|[windows, _]| windows),
        saturated: counts.map(|[_, saturated]| saturated),
        parts,
    };
    if arguments.json {
        return print_json(&report);
    }
    report.print();
    Ok(())
}

impl Arguments {
    /// The flags of models that denoise are refused for others.
    fn check(&self, host: &HostModel<'_>, layout: Layout, refines: bool) -> anyhow::Result<()> {
        let denoises = host.stream().is_some() && layout != Layout::Samples && !refines;
        if self.noise_level.is_some() && !denoises {
            return Err(usage(
                "--noise-level: only for signals and pictures, for models of train --task denoise, \
                 and without --refine",
            ));
        }
        if let (Some(stream), Some((_, _, sigma))) = (host.stream(), host.gram_facts())
            && denoises
            && !stream.is_white
            && self.noise_level.is_none()
        {
            return Err(usage(format!(
                "--noise-level: the model was trained for recorded noise, whose deviation cannot be \
                 estimated from a signal; name it (the middle of the model's levels is {sigma:.4})"
            )));
        }
        let peak = host.spec().peak;
        if let Some(sigma) = self.noise_level.filter(|sigma| *sigma > peak) {
            return Err(usage(format!(
                "--noise-level {sigma}: more than the range of the data that the model was trained \
                 on, {peak}; it is in the same units (of pictures 1 is white: 15 of 255 are 0.059)"
            )));
        }
        if self.keep_drift && !(denoises && matches!(layout, Layout::Signal { .. })) {
            return Err(usage(
                "--keep-drift: only for signals, for models of train --task denoise, and without \
                 --refine",
            ));
        }
        Ok(())
    }

    /// The values without noise. A model of `train --task denoise` cleans a signal as a device
    /// does, and what became of its windows is counted.
    fn clean(
        &self,
        host: &mut HostModel<'_>,
        values: &[f32],
        layout: Layout,
        refine: Option<&HostRefine>,
    ) -> anyhow::Result<(Vec<f32>, Option<Counts>)> {
        if host.stream().is_some() && refine.is_none() {
            layout.check(host.spec())?;
            let noise = self.noise_level.map_or(Noise::Estimated, Noise::Known);
            let cleaned = match layout {
                Layout::Signal { hop } => {
                    let drift = !self.keep_drift;
                    let clean = host.clean_signal(values, Some(hop), noise, drift);
                    Some(clean.map_err(|error| of_hop(error, hop))?)
                }
                Layout::Image { width, hop } => {
                    let clean = host.clean_picture(values, width, Some(hop), noise);
                    Some(clean.map_err(|error| of_hop(error, hop))?)
                }
                Layout::Samples => None,
            };
            if let Some(Cleaned { values, counts }) = cleaned {
                return Ok((values, Some(counts)));
            }
        }
        let clean = denoise(host, values, layout, refine, &mut |_, _| {})?;
        Ok((clean, None))
    }

    /// The same recording without noise, in raw units.
    fn reference(
        &self,
        host: &HostModel<'_>,
        known: &Known,
        given: &Given,
    ) -> anyhow::Result<Option<Given>> {
        let Some(path) = &self.reference else {
            return Ok(None);
        };
        let mut reference = self.reading.read(path, host)?;
        let shape = |given: &Given| {
            let lengths: Vec<usize> = given.parts.iter().map(|part| part.values.len()).collect();
            (lengths, given.layout)
        };
        if shape(&reference) != shape(given) {
            return Err(usage(format!(
                "--reference {}: the size differs from the input's: {}; the input is {}",
                path.display(),
                reference.summary,
                given.summary
            )));
        }
        self.units.to_raw(known, &mut reference)?;
        Ok(Some(reference))
    }
}

impl Gain {
    fn of(noisy: &[f32], clean: &[f32], reference: &[f32], peak: f64) -> Self {
        let [psnr_before, psnr_after] =
            [noisy, clean].map(|values| psnr_raw(values, reference, peak));
        let [snr_before, snr_after] = [noisy, clean].map(|values| snr_raw(values, reference));
        Self {
            psnr_before,
            psnr_after,
            snr_before,
            snr_after,
            gain: snr_after - snr_before,
        }
    }
}

impl Report {
    fn print(&self) {
        let cut = match self.clipped {
            0 => String::new(),
            1 => ", 1 value cut to the range of its number type".to_owned(),
            count => format!(", {count} values cut to the range of their number type"),
        };
        println!("{}: {} values{cut}", self.output.display(), self.values);
        if let (Some(windows), Some(saturated @ 1..)) = (self.windows, self.saturated) {
            println!(
                "{saturated} of {windows} windows reached the end of the file's range: samples or \
                 components were cut; `sparsecode export` finds a wider one from --data that reach \
                 as far"
            );
        }
        if self.parts.iter().all(|part| part.gain.is_none()) {
            return;
        }
        let mut table = Table::new([
            "channel",
            "PSNR before",
            "PSNR after",
            "SNR before",
            "SNR after",
            "gain",
        ]);
        for part in &self.parts {
            let Some(gain) = &part.gain else { continue };
            table.push([
                part.name.clone().unwrap_or_default(),
                decibels(gain.psnr_before),
                decibels(gain.psnr_after),
                decibels(gain.snr_before),
                decibels(gain.snr_after),
                decibels(gain.gain),
            ]);
        }
        print!("{table}");
    }
}
