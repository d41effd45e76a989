//! `evaluate --task denoise`: what a model file takes off noise that is added to recordings.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::common::{print_json, print_saturated, stem, usage};
use super::input::known;
use super::{evaluate_file, evaluate_pictures};
use crate::data::{Hints, Paths, Recording, without_drift};
use crate::denoising::{Noise, NoiseConfig, Part};
use crate::deploy::gain::{Clean, Gain, Settings, measure};
use crate::deploy::units::Fit;
use crate::deploy::{HostModel, read_model};
use crate::report::table::{Table, decibels};

/// Samples at either end that are not counted.
const ENDS: usize = 720;

/// What is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Task {
    /// What the output has of the input.
    Reconstruct,
    /// What the output has less of added noise.
    Denoise,
}

/// Flags of `evaluate --task denoise`.
#[derive(Args)]
pub(super) struct DenoisingFlags {
    /// Recordings or pictures of --data, where it is a folder, by their names [default: all]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAME",
        help_heading = "Denoising"
    )]
    recordings: Vec<String>,
    /// Signal-to-noise ratios of a signal's input, in dB [default: 0,5,10]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "DB",
        help_heading = "Denoising"
    )]
    snr: Vec<f64>,
    /// Deviations of the noise in pictures, of which 255 is white [default: 15,25,50]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "LEVELS",
        help_heading = "Denoising"
    )]
    sigmas: Vec<f64>,
    /// Measure the middle of each picture alone, so many pixels both ways
    #[arg(
        long,
        value_name = "PIXELS",
        value_parser = clap::value_parser!(u16).range(1..),
        help_heading = "Denoising"
    )]
    middle: Option<u16>,
    /// Write each picture beside its noisy and clean versions into this folder
    #[arg(long, value_name = "FOLDER", help_heading = "Denoising")]
    pictures: Option<PathBuf>,
    /// Add recorded noise, of which the last 40 % are taken, instead of white noise: files, or
    /// names in the folder of --data
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "FILE",
        help_heading = "Denoising"
    )]
    noise_recordings: Vec<PathBuf>,
    /// Annotated beats of each recording, whose detection is measured, too: arrays of sample
    /// indices, in the order of --recordings; the recording or the model has to know the rate
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "FILE",
        requires = "recordings",
        help_heading = "Denoising"
    )]
    beats: Vec<PathBuf>,
    /// Have the deviation of the noise estimated, as a device without other knowledge does it,
    /// instead of telling the model
    #[arg(long, help_heading = "Denoising")]
    estimate: bool,
    /// Seed of the noise that is added
    #[arg(long, default_value_t = 31, help_heading = "Denoising")]
    noise_seed: u64,
    /// How often noise is added to each recording of a signal; the figures are means [default: 1]
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=1024),
        help_heading = "Denoising"
    )]
    draws: Option<u32>,
}

impl DenoisingFlags {
    /// A flag that was given, and that means nothing without `--task denoise`.
    pub(super) fn given(&self) -> Option<&'static str> {
        [
            ("--recordings", !self.recordings.is_empty()),
            ("--noise-recordings", !self.noise_recordings.is_empty()),
            ("--beats", !self.beats.is_empty()),
            ("--estimate", self.estimate),
            ("--middle", self.middle.is_some()),
            ("--pictures", self.pictures.is_some()),
            ("--snr", !self.snr.is_empty()),
            ("--sigmas", !self.sigmas.is_empty()),
            ("--draws", self.draws.is_some()),
        ]
        .into_iter()
        .find_map(|(flag, is_given)| is_given.then_some(flag))
    }
}

/// Figures of one recording; null stands for their mean.
#[derive(Serialize)]
struct Row {
    recording: Option<String>,
    #[serde(flatten)]
    gain: Gain,
}

pub(super) fn run(
    file: &Path,
    data: Option<&Path>,
    file_flags: &evaluate_file::Flags,
    flags: &DenoisingFlags,
    json: bool,
) -> anyhow::Result<()> {
    let reading = file_flags.reading();
    let Some(data) = data else {
        return Err(usage(
            "--task denoise: name clean recordings or pictures with --data PATH",
        ));
    };
    if let Some(snr) = flags.snr.iter().find(|snr| !(-60.0..=100.0).contains(*snr)) {
        return Err(usage(format!("--snr {snr}: expected -60 to 100 (dB)")));
    }
    if !flags.beats.is_empty() && flags.beats.len() != flags.recordings.len() {
        return Err(usage(format!(
            "--beats: {} files for {} recordings; name one for each",
            flags.beats.len(),
            flags.recordings.len()
        )));
    }
    let bytes = read_model(file)?;
    let name = file.display().to_string();
    let mut host = HostModel::new(&bytes, &name)?;
    let Some(stream) = host.stream() else {
        return Err(usage(format!(
            "{name}: the model reconstructs; train one with --task denoise, or leave --task out"
        )));
    };
    if !host.spec().input_shape.is_window() {
        for (flag, is_given) in [
            ("--noise-recordings", !flags.noise_recordings.is_empty()),
            ("--beats", !flags.beats.is_empty()),
            ("--snr", !flags.snr.is_empty()),
            ("--draws", flags.draws.is_some()),
            ("--column", reading.hints().column.is_some()),
        ] {
            if is_given {
                return Err(usage(format!(
                    "{flag}: the model takes pictures; leave it out"
                )));
            }
        }
        let asked = evaluate_pictures::Asked {
            names: &flags.recordings,
            levels: match &*flags.sigmas {
                [] => &[15.0, 25.0, 50.0],
                levels => levels,
            },
            middle: flags.middle.map(usize::from),
            estimate: flags.estimate,
            seed: flags.noise_seed,
            shown: flags.pictures.as_deref(),
        };
        return evaluate_pictures::run(&mut host, &name, data, &asked, json);
    }
    for (flag, is_given) in [
        ("--middle", flags.middle.is_some()),
        ("--pictures", flags.pictures.is_some()),
        ("--sigmas", !flags.sigmas.is_empty()),
    ] {
        if is_given {
            return Err(usage(format!(
                "{flag}: the model takes signals; leave it out"
            )));
        }
    }
    if flags.estimate && !stream.is_white {
        return Err(usage(
            "--estimate: the model was trained for recorded noise, and what is estimated is white \
             noise; leave --estimate out",
        ));
    }
    let levels: &[f64] = match &*flags.snr {
        [] => &[0.0, 5.0, 10.0],
        levels => levels,
    };
    let known = known(&host, &bytes, file)?;
    let facts = *known.facts();
    let noise = noise(flags, data, stream.drift, host.spec().input_dim())?;
    let mut rows: Vec<Row> = Vec::new();
    for (index, path) in files(flags, data)?.iter().enumerate() {
        let recording = Recording::read(path, &reading.hints())?;
        let channel = recording.choose(reading.hints().column.as_ref())?;
        let values = match stream.drift {
            Some(length) => without_drift(&recording.channels[channel].values, length),
            None => recording.channels[channel].values.clone(),
        };
        if values.iter().all(|x| *x == values[0]) {
            return Err(usage(format!(
                "{}: the same number throughout: there is no signal to measure noise against",
                path.display()
            )));
        }
        if let Some(problem) = known.rate_mismatch(recording.sample_rate) {
            let remedy = "resample it, or give --allow-mismatch";
            file_flags.units().refuse(path, &problem, remedy)?;
        }
        match known.fit(&values) {
            Fit::Fits => {}
            Fit::Unusual(how) => eprintln!("warning: {}: {how}", path.display()),
            Fit::Mismatch(how) => {
                let remedy = "bring it to the units of the training data, or give --allow-mismatch";
                file_flags.units().refuse(path, &how, remedy)?;
            }
        }
        let least = 2 * ENDS + host.spec().input_dim();
        if values.len() < least {
            return Err(usage(format!(
                "{}: {} samples; {least} are needed, because {ENDS} at either end do not count",
                path.display(),
                values.len()
            )));
        }
        let beats = match flags.beats.get(index) {
            Some(path) => Some(indices(&beside(path, data))?),
            None => None,
        };
        let clean = Clean {
            values: &values,
            rate: recording.sample_rate.or(facts.sample_rate),
            beats: beats.as_deref(),
        };
        if clean.beats.is_some() && clean.rate.is_none() {
            return Err(usage(
                "--beats: neither the recording nor the model knows the sample rate; train with \
                 --set data.sample_rate=HZ",
            ));
        }
        for &snr in levels {
            let gains = (0..flags.draws.unwrap_or(1))
                .map(|draw| {
                    let settings = Settings {
                        snr,
                        estimate: flags.estimate,
                        skip: ENDS,
                        seed: flags.noise_seed,
                        draw: index as u32 * 1024 + draw,
                    };
                    measure(&mut host, &clean, &noise, &settings)
                })
                .collect::<Result<Vec<_>, _>>()
                .with_context(|| path.display().to_string())?;
            rows.push(Row {
                recording: Some(stem(path)),
                gain: mean(&gains),
            });
        }
    }
    for &snr in levels {
        let of_recordings = rows.iter().filter(|row| row.recording.is_some());
        let own = of_recordings.filter(|row| row.gain.input == snr);
        let gains: Vec<Gain> = own.map(|row| row.gain.clone()).collect();
        rows.push(Row {
            recording: None,
            gain: mean(&gains),
        });
    }
    if json {
        return print_json(&rows);
    }
    println!(
        "{name}: {} bytes, windows of {} every {}, {} atoms",
        bytes.len(),
        host.spec().input_dim(),
        stream.hop,
        host.spec().code_dim()
    );
    print!("{}", table(&rows));
    print_saturated(rows.iter().map(|row| row.gain.saturated));
    Ok(())
}

/// The mean of figures at one level.
fn mean(gains: &[Gain]) -> Gain {
    let over =
        |of: &dyn Fn(&Gain) -> f64| gains.iter().map(of).sum::<f64>() / gains.len().max(1) as f64;
    let known = |of: fn(&Gain) -> Option<f64>| {
        let all: Option<Vec<f64>> = gains.iter().map(of).collect();
        all.filter(|all| !all.is_empty())
            .map(|all| all.iter().sum::<f64>() / all.len() as f64)
    };
    Gain {
        // Not a mean, which rounds.
        input: gains.first().map_or(0.0, |gain| gain.input),
        gain: over(&|gain| gain.gain),
        prd: over(&|gain| gain.prd),
        active: over(&|gain| gain.active),
        saturated: over(&|gain| gain.saturated),
        f1: known(|gain| gain.f1),
        f1_noisy: known(|gain| gain.f1_noisy),
    }
}

fn table(rows: &[Row]) -> Table {
    let has_beats = rows.iter().any(|row| row.gain.f1.is_some());
    let mut headings = vec!["recording", "input", "gain", "PRD", "atoms"];
    if has_beats {
        headings.extend(["QRS F1", "noisy F1"]);
    }
    let mut table = Table::new(headings);
    for row in rows {
        let gain = &row.gain;
        let mut cells = vec![
            row.recording.clone().unwrap_or_else(|| "mean".to_owned()),
            decibels(gain.input),
            decibels(gain.gain),
            format!("{:.1} %", gain.prd),
            format!("{:.1}", gain.active),
        ];
        if has_beats {
            let share = |f1: Option<f64>| f1.map_or_else(String::new, |f1| format!("{f1:.3}"));
            cells.extend([share(gain.f1), share(gain.f1_noisy)]);
        }
        table.push(cells);
    }
    table
}

fn noise(
    flags: &DenoisingFlags,
    data: &Path,
    drift: Option<usize>,
    window: usize,
) -> anyhow::Result<Noise> {
    if flags.noise_recordings.is_empty() {
        return Ok(Noise::white());
    }
    let mut config = NoiseConfig {
        lowest: 0.0,
        highest: 0.0,
        recordings: Some(Paths::Several(flags.noise_recordings.clone())),
        white: 0.0,
    };
    config.place(Some(data))?;
    Ok(Noise::of(&config, None, drift, window, Part::Test)?)
}

/// The recordings: all of a folder, those that are named in it, or the one file.
fn files(flags: &DenoisingFlags, data: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if flags.recordings.is_empty() {
        let all = Paths::One(data.to_path_buf());
        return Ok(crate::data::recordings_in(&all, None)?);
    }
    flags
        .recordings
        .iter()
        .map(|name| {
            let path = data.join(name);
            match path.is_file() {
                true => Ok(path),
                false => Err(usage(format!(
                    "--recordings {name}: {} holds no such file",
                    data.display()
                ))),
            }
        })
        .collect()
}

fn beside(path: &Path, data: &Path) -> PathBuf {
    match path.is_file() {
        true => path.to_path_buf(),
        false => data.join(path),
    }
}

/// Sample indices in an array.
fn indices(path: &Path) -> anyhow::Result<Vec<usize>> {
    let recording = Recording::read(path, &Hints::default())?;
    let values = &recording.channels[recording.choose(None)?].values;
    let ascending = values.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || values.iter().any(|x| *x < 0.0 || x.fract() != 0.0) {
        anyhow::bail!("{}: these are no ascending sample indices", path.display());
    }
    Ok(values.iter().map(|&x| x as usize).collect())
}
