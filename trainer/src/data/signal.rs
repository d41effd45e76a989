//! Windows of recordings: one file split by time, or several split by file.

mod split;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::channel::Hints;
use super::dialect::Decimal;
use super::drift::without_drift;
use super::error::DataError;
use super::look::{Column, short};
use super::paths::{Paths, chosen_files, display_name};
use super::recording::{EXTENSIONS, Recording};
use super::{
    Contrast, Dataset, InputFacts, InputShape, NumberType, Preprocessing, Restore, Splits,
    checked_counts, checked_shape, extent, globally_normalised, mean_and_deviation, range,
};

/// The smallest divisor of [`Normalisation::Recording`], in deviations of the training part.
const SILENCE: f32 = 1e-3;

/// The smallest divisor of [`Normalisation::Window`], in standard deviations of the training part:
/// quieter windows than that are rest, and would only have their noise amplified.
const WINDOW_FLOOR: f32 = 0.05;

/// `source = "signal"`: windows of one recording or several.
///
/// One recording is split by time: 60 % training, 20 % validation, 20 % test. Several are split by
/// file: as `validation_files` and `test_files` say, or in the order of the seed, a fifth (at least
/// one) for validation, as many for test, the others for training. No window crosses a border. Mean
/// and standard deviation of the training part normalise all of it; `normalisation` says what is
/// done to each recording or window beside that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SignalConfig {
    /// A file (`.npy`, `.csv`, `.tsv`, `.wav`; a `.txt` as a table), a list of files, or a folder
    /// of them. Not set: what `--data` or `SPARSECODE_DATA` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Paths>,
    /// Samples in a window: the input dimension.
    #[schemars(range(min = 1, max = u16::MAX))]
    pub window: usize,
    /// Samples from the start of one window to the start of the next.
    #[schemars(range(min = 1))]
    pub hop: usize,
    /// What is done to each recording or window, beside the mean and deviation of the training part
    /// that normalise the whole signal.
    pub normalisation: Normalisation,
    /// Removes drift before all else: from each sample the mean of so many samples around it, taken
    /// twice, is subtracted; odd. 361 of an ECG with 360 samples per second passes what is above
    /// 0.58 Hz. Not set: nothing is removed.
    #[schemars(range(min = 3, max = 4095))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<usize>,
    /// The names of those recordings that choose the model. Not set: a fifth of them, in the order
    /// of the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_files: Option<Vec<String>>,
    /// The names of those recordings that the reported figures are of. Not set: a fifth of them, in
    /// the order of the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_files: Option<Vec<String>>,
    /// The column of a table by its name or position (from 0); the channel of a `.wav` or of an
    /// array N×channels by its position. The same in all files. Not set: the only one; a file with
    /// several is refused with the list of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<Column>,
    /// The decimal sign of tables. Not set: what the lines of a table show; a table that can be
    /// read in two ways is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimal: Option<Decimal>,
    /// Whether the first line of tables holds names. Not set: what the lines of a table show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// Samples per second. Not set: what a `.wav`, or a column of times in a table, says; unknown
    /// otherwise.
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<f32>,
    /// At most so many training windows, evenly spread. Not set: all.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<usize>,
    /// At most so many validation windows, evenly spread. Not set: all.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<usize>,
    /// At most so many test windows, evenly spread. Not set: all.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<usize>,
}

impl Default for SignalConfig {
    fn default() -> Self {
        Self {
            path: None,
            window: 64,
            hop: 16,
            normalisation: Normalisation::Global,
            drift: None,
            validation_files: None,
            test_files: None,
            column: None,
            decimal: None,
            header: None,
            sample_rate: None,
            train: None,
            validation: None,
            test: None,
        }
    }
}

/// What is done to each window after the global normalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// Nothing more. Best unless the signal drifts.
    #[default]
    Global,
    /// Each recording is normalised by its own mean and deviation: for recordings whose loudness
    /// differs, where noise is stated against the recording.
    Recording,
    /// The window's mean is subtracted: for signals that drift.
    WindowMean,
    /// The window's mean is subtracted, and the rest divided by the window's deviation (at least 5
    /// % of the training part's): for signals whose loudness means nothing.
    Window,
}

impl Normalisation {
    /// The same in the model file's terms.
    pub fn contrast(self) -> Contrast {
        match self {
            Self::Global | Self::Recording => Contrast::None,
            Self::WindowMean => Contrast::RemoveMean,
            Self::Window => Contrast::Standardize {
                floor: WINDOW_FLOOR,
            },
        }
    }
}

/// One channel of a recording.
struct Signal {
    path: PathBuf,
    values: Vec<f32>,
    /// The channel's name.
    name: Option<String>,
    /// The channel, and those that it was chosen from, in words.
    channel: String,
    sample_rate: Option<f32>,
    number_type: NumberType,
}

impl SignalConfig {
    pub(super) fn load(&self, folder: Option<&Path>, seed: u64) -> Result<Splits, DataError> {
        let limits = [self.train, self.validation, self.test].map(|c| c.unwrap_or(usize::MAX));
        checked_counts(limits[0], limits[1], limits[2])?;
        let shape = checked_window(self.window, self.hop)?;
        if self
            .sample_rate
            .is_some_and(|rate| !(rate.is_finite() && rate > 0.0))
        {
            return Err(DataError::config(
                "sample_rate",
                "is not above 0",
                "give samples per second, or leave it out",
            ));
        }
        let (files, mut notes) = chosen_files(self.path.as_ref(), folder, &EXTENSIONS)?;
        let mut remarks = Vec::new();
        let signals = files
            .iter()
            .map(|path| self.read(path, &mut remarks))
            .collect::<Result<Vec<_>, _>>()?;
        notes.extend(gathered(remarks));
        check_alike(&signals)?;
        let signals = self.less_drift(signals)?;
        let sample_rate = self.rate(&signals[0], &mut notes);
        let parts = self.split(&signals, seed)?;
        let [train, validation, test] = &parts.signals;
        let place = match files.as_slice() {
            [one] => one.clone(),
            several => common_folder(several),
        };
        let train_values = train.concat();
        let (mean, deviation) = mean_and_deviation(&train_values).ok_or_else(|| {
            DataError::malformed(
                &place,
                match signals.len() {
                    1 => "the training part (the first 60 %) is constant",
                    _ => "the training recordings are constant",
                },
                "choose another file or data.column",
            )
        })?;
        let [low, high] = extent(train_values.iter().copied());
        let peak = range(&test.concat());
        if peak <= 0.0 {
            return Err(match signals.len() {
                1 => DataError::malformed(
                    &place,
                    "the test part (the last 20 %) is constant, so PSNR has no range",
                    "cut the end off, or choose another data.column",
                ),
                _ => DataError::malformed(
                    &place,
                    "the test recordings are constant, so PSNR has no range",
                    "take them out, or choose another data.column",
                ),
            });
        }
        let part = |signals: &[&[f32]], limit: usize| {
            if self.normalisation == Normalisation::Recording {
                return self.by_recording(signals, limit, deviation);
            }
            let windows = cut(signals, self.window, self.hop, limit);
            let global = globally_normalised(windows, self.window, mean, deviation);
            window_normalised(global, self.normalisation, mean, deviation)
        };
        let [train, validation, test] = [
            (train, limits[0]),
            (validation, limits[1]),
            (test, limits[2]),
        ]
        .map(|(signals, limit)| part(signals, limit));
        let number_type = Some(signals[0].number_type);
        let number_type =
            number_type.filter(|first| signals.iter().all(|s| s.number_type == *first));
        Ok(Splits {
            description: format!(
                "{}, windows of {} every {}, {}, {}/{}/{}",
                display_name(&place),
                self.window,
                self.hop,
                parts.split,
                train.len(),
                validation.len(),
                test.len()
            ),
            train,
            validation,
            test,
            shape,
            preprocessing: Preprocessing {
                mean,
                deviation,
                contrast: self.normalisation.contrast(),
            },
            peak,
            input: InputFacts {
                range: Some([low, high]),
                sample_rate,
                number_type,
            },
            read: told(&place, &signals, sample_rate),
            notes,
        })
    }

    /// The channel that is meant of one recording.
    fn read(&self, path: &Path, remarks: &mut Vec<Remark>) -> Result<Signal, DataError> {
        let recording = Recording::read(path, &self.hints())?;
        let channel = recording.choose(self.column.as_ref())?;
        let own = recording.notes.iter();
        remarks.extend(own.map(|note| (path.to_path_buf(), note.clone())));
        let look = recording.channels[channel].look;
        if !look.is_signal() {
            let remark = format!("{} {look}", recording.named_channel(channel));
            remarks.push((path.to_path_buf(), remark));
        }
        let (sample_rate, number_type) = (recording.sample_rate, recording.number_type);
        let words = recording.named_channel(channel);
        let mut channels = recording.channels;
        let chosen = channels.swap_remove(channel);
        Ok(Signal {
            path: path.to_path_buf(),
            values: chosen.values,
            name: chosen.name,
            channel: words,
            sample_rate,
            number_type,
        })
    }

    /// What the table says of the files.
    pub fn hints(&self) -> Hints {
        Hints {
            column: self.column.clone(),
            decimal: self.decimal,
            header: self.header,
        }
    }

    /// The rate of the table, or else of the file.
    fn rate(&self, signal: &Signal, notes: &mut Vec<String>) -> Option<f32> {
        if let (Some(told), Some(own)) = (self.sample_rate, signal.sample_rate)
            && (told - own).abs() > 1e-3 * own
        {
            notes.push(format!(
                "{}: data.sample_rate = {told} is used, though the file says {own} per second",
                signal.path.display()
            ));
        }
        self.sample_rate.or(signal.sample_rate)
    }

    /// The signals less their drift, if that is asked for.
    fn less_drift(&self, mut signals: Vec<Signal>) -> Result<Vec<Signal>, DataError> {
        let Some(length) = self.drift else {
            return Ok(signals);
        };
        if length < 3 || length.is_multiple_of(2) || length > 4095 {
            return Err(DataError::config(
                "drift",
                format!("a mean of {length} samples has no middle"),
                "give an odd number from 3 to 4095, or leave it out",
            ));
        }
        for signal in &mut signals {
            signal.values = without_drift(&signal.values, length);
        }
        Ok(signals)
    }

    /// Windows of recordings, each recording normalised by its own mean and deviation; one whose
    /// deviation is far below `deviation` counts as silent, and is normalised by a thousandth of
    /// it.
    fn by_recording(&self, signals: &[&[f32]], limit: usize, deviation: f32) -> Dataset {
        let facts: Vec<(f32, f32)> = signals
            .iter()
            .map(|signal| {
                let (mean, own) = mean_and_deviation(signal).unwrap_or((0.0, 0.0));
                (mean, own.max(deviation * SILENCE))
            })
            .collect();
        let places = places(signals, self.window, self.hop, limit);
        let mut samples = Vec::with_capacity(places.len() * self.window);
        for &(signal, start) in &places {
            let (mean, deviation) = facts[signal];
            let window = signals[signal][start..][..self.window].iter();
            samples.extend(window.map(|x| (x - mean) / deviation));
        }
        let (offset, scale) = places.iter().map(|&(signal, _)| facts[signal]).unzip();
        Dataset {
            samples,
            dim: self.window,
            restore: Restore::PerSample { scale, offset },
            labels: None,
        }
    }
}

/// A file, and what is to be said of it.
type Remark = (PathBuf, String);

/// One line for each thing that is said, whatever the number of files that it is said of.
fn gathered(remarks: Vec<Remark>) -> Vec<String> {
    let mut lines: Vec<(String, PathBuf, usize)> = Vec::new();
    for (path, remark) in remarks {
        match lines.iter_mut().find(|(said, ..)| *said == remark) {
            Some((.., more)) => *more += 1,
            None => lines.push((remark, path, 0)),
        }
    }
    let line = |(remark, path, more): (String, PathBuf, usize)| match more {
        0 => format!("{}: {remark}", path.display()),
        more => format!("{} and {more} more: {remark}", path.display()),
    };
    lines.into_iter().map(line).collect()
}

/// Refuses recordings that differ in rate or in the name of the channel.
fn check_alike(signals: &[Signal]) -> Result<(), DataError> {
    let first = &signals[0];
    for other in &signals[1..] {
        if other.sample_rate != first.sample_rate {
            let rate = |signal: &Signal| match signal.sample_rate {
                Some(rate) => format!("{rate} samples per second"),
                None => "no sample rate".to_string(),
            };
            return Err(DataError::malformed(
                &other.path,
                format!(
                    "says {}, but {} says {}",
                    rate(other),
                    first.path.display(),
                    rate(first)
                ),
                "train on recordings of one rate",
            ));
        }
        if let (Some(own), Some(expected)) = (&other.name, &first.name)
            && own != expected
        {
            return Err(DataError::malformed(
                &other.path,
                format!(
                    "its column is {own:?}, but that of {} is {expected:?}",
                    first.path.display()
                ),
                "name the column that all have: data.column = \"NAME\"",
            ));
        }
    }
    Ok(())
}

/// The folder that all files are in.
fn common_folder(files: &[PathBuf]) -> PathBuf {
    let mut common = files[0].parent().unwrap_or(Path::new("")).to_path_buf();
    while !files.iter().all(|file| file.starts_with(&common)) {
        if !common.pop() {
            break;
        }
    }
    match common.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => common,
    }
}

/// What was read, in one line.
fn told(place: &Path, signals: &[Signal], sample_rate: Option<f32>) -> String {
    let count: usize = signals.iter().map(|signal| signal.values.len()).sum();
    let samples = match signals {
        [_] => format!("{count} samples"),
        several => format!("{} recordings with {count} samples in all", several.len()),
    };
    let rate = sample_rate.map_or("sample rate not known".to_string(), |rate| {
        format!("{} per second", short(rate.into()))
    });
    let [low, high] = extent(signals.iter().flat_map(|s| s.values.iter().copied()));
    format!(
        "{}: {}, {samples}, {}, {rate}, {} to {}",
        place.display(),
        signals[0].channel,
        match signals[0].number_type {
            NumberType::Text => "decimal text".to_string(),
            number_type => number_type.to_string(),
        },
        short(low.into()),
        short(high.into())
    )
}

pub(super) fn checked_window(window: usize, hop: usize) -> Result<InputShape, DataError> {
    if hop == 0 {
        return Err(DataError::config(
            "hop",
            "windows would never advance",
            "give 1 or more; a quarter of data.window is usual",
        ));
    }
    checked_shape(1, window, "window")
}

/// Windows of signals, row after row; if there are more than `limit`, evenly spread ones.
///
/// # Panics
/// If a signal is shorter than a window.
pub(super) fn cut(signals: &[&[f32]], window: usize, hop: usize, limit: usize) -> Vec<f32> {
    let places = places(signals, window, hop, limit);
    let windows = places
        .iter()
        .flat_map(|&(signal, start)| &signals[signal][start..][..window]);
    windows.copied().collect()
}

/// Where the windows of [`cut`] lie: the signal and the sample that each begins with.
fn places(signals: &[&[f32]], window: usize, hop: usize, limit: usize) -> Vec<(usize, usize)> {
    let counts: Vec<usize> = signals
        .iter()
        .map(|signal| (signal.len() - window) / hop + 1)
        .collect();
    let count: usize = counts.iter().sum();
    let kept = count.min(limit);
    let (mut signal, mut before) = (0, 0);
    let mut places = Vec::with_capacity(kept);
    for index in 0..kept {
        // Through u128, which no product of two lengths overflows.
        let index = (index as u128 * count as u128 / kept as u128) as usize;
        while index - before >= counts[signal] {
            before += counts[signal];
            signal += 1;
        }
        places.push((signal, (index - before) * hop));
    }
    places
}

/// Applies the per-window part of a normalisation to a data set with a global one.
pub(super) fn window_normalised(
    mut data: Dataset,
    normalisation: Normalisation,
    mean: f32,
    deviation: f32,
) -> Dataset {
    if matches!(
        normalisation,
        Normalisation::Global | Normalisation::Recording
    ) {
        return data;
    }
    let (mut scales, mut offsets) = (Vec::new(), Vec::new());
    for window in data.samples.chunks_exact_mut(data.dim) {
        let count = window.len() as f32;
        let level = window.iter().sum::<f32>() / count;
        window.iter_mut().for_each(|y| *y -= level);
        let mut scale = 1.0;
        if normalisation == Normalisation::Window {
            let variance = window.iter().map(|y| y * y).sum::<f32>() / count;
            scale = variance.sqrt().max(WINDOW_FLOOR);
            window.iter_mut().for_each(|y| *y /= scale);
        }
        scales.push(scale * deviation);
        offsets.push(level * deviation + mean);
    }
    data.restore = Restore::PerSample {
        scale: scales,
        offset: offsets,
    };
    data
}
