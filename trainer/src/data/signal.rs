//! Windows of a 1-D signal from `.npy`, `.csv` or `.wav`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::npy::read_npy_f32;
use super::{
    Contrast, Dataset, InputShape, Preprocessing, Restore, Splits, checked_counts, checked_shape,
    chosen_file, display_name, globally_normalised, mean_and_deviation, range,
};

/// The smallest divisor of [`Normalisation::Window`], in standard deviations of the training part: quieter windows than that are
/// rest, and would only have their noise amplified.
const WINDOW_FLOOR: f32 = 0.05;

/// `source = "signal"`: windows of a 1-D signal.
///
/// The signal is split by time, 60 % training, 20 % validation, 20 % test, and no window crosses a border. Mean and standard
/// deviation of the training part normalise all of it; `normalisation` says what is done to each window after that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignalConfig {
    /// The file (`.npy`, `.csv`, `.wav`); by default what `--data` or `SPARSECODE_DATA` names, or the only one in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Samples in a window (`input_dim`); 64 by default.
    pub window: usize,
    /// Samples from one window's start to the next one's; 16 by default.
    pub hop: usize,
    /// What is done to each window.
    pub normalisation: Normalisation,
    /// The column of a `.csv`, or the channel of a `.wav` or of an array N×channels; the first by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<Column>,
    /// Samples per second, above 0. A `.wav` knows its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<f32>,
    /// At most so many training windows, evenly spread; all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<usize>,
    /// At most so many validation windows, evenly spread; all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<usize>,
    /// At most so many test windows, evenly spread; all by default.
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
            column: None,
            sample_rate: None,
            train: None,
            validation: None,
            test: None,
        }
    }
}

/// What is done to each window after the global normalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// Nothing: one mean and deviation for the whole signal. Best unless the signal drifts.
    #[default]
    Global,
    /// Subtract the window's mean: for signals that drift.
    WindowMean,
    /// Subtract the window's mean and divide by its standard deviation (5 % of the training part's at least): for signals whose
    /// loudness means nothing.
    Window,
}

impl Normalisation {
    /// The same in the model file's terms.
    pub fn contrast(self) -> Contrast {
        match self {
            Self::Global => Contrast::None,
            Self::WindowMean => Contrast::RemoveMean,
            Self::Window => Contrast::Standardize {
                floor: WINDOW_FLOOR,
            },
        }
    }
}

/// A column by its position, from 0, or by its name in the first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Column {
    /// Position, from 0.
    Index(usize),
    /// Name in the first line.
    Name(String),
}

/// A signal as its file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// The values, all finite, in the file's unit; a `.wav` of integers is scaled to ±1.
    pub values: Vec<f32>,
    /// Samples per second, where the file says.
    pub sample_rate: Option<f32>,
}

impl SignalConfig {
    pub(super) fn load(&self, folder: Option<&Path>) -> Result<Splits, DataError> {
        let path = chosen_file(self.path.as_deref(), folder, &["npy", "csv", "wav"])?;
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
        let signal = read_signal(&path, self.column.as_ref())?;
        let count = signal.values.len();
        let (train, rest) = signal.values.split_at(count * 3 / 5);
        let (validation, test) = rest.split_at(rest.len() / 2);
        if validation.len() < self.window {
            return Err(DataError::malformed(
                &path,
                format!(
                    "{count} samples are too few: the validation part (20 %) is shorter than a window of {}",
                    self.window
                ),
                "give a longer signal or a shorter data.window",
            ));
        }
        let (mean, deviation) = mean_and_deviation(train).ok_or_else(|| {
            DataError::malformed(
                &path,
                "the training part (the first 60 %) is constant",
                "choose another file or data.column",
            )
        })?;
        let peak = range(test);
        if peak <= 0.0 {
            return Err(DataError::malformed(
                &path,
                "the test part (the last 20 %) is constant, so PSNR has no range",
                "cut the end off, or choose another data.column",
            ));
        }
        let part = |values: &[f32], limit: usize| {
            let windows = cut(values, self.window, self.hop, limit);
            let global = globally_normalised(windows, self.window, mean, deviation);
            window_normalised(global, self.normalisation, mean, deviation)
        };
        let [train, validation, test] = [
            (train, limits[0]),
            (validation, limits[1]),
            (test, limits[2]),
        ]
        .map(|(values, limit)| part(values, limit));
        Ok(Splits {
            description: format!(
                "{}, windows of {} every {}, split by time, {}/{}/{}",
                display_name(&path),
                self.window,
                self.hop,
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
            sample_rate: self.sample_rate.or(signal.sample_rate),
        })
    }
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

/// Windows of a part, row after row; if there are more than `limit`, evenly spread ones.
pub(super) fn cut(values: &[f32], window: usize, hop: usize, limit: usize) -> Vec<f32> {
    let count = (values.len() - window) / hop + 1;
    let kept = count.min(limit);
    let mut windows = Vec::with_capacity(kept * window);
    for index in 0..kept {
        // Through u128, which no product of two lengths overflows.
        let index = (index as u128 * count as u128 / kept as u128) as usize;
        windows.extend_from_slice(&values[index * hop..][..window]);
    }
    windows
}

/// Applies the per-window part of a normalisation to a data set with a global one.
pub(super) fn window_normalised(
    mut data: Dataset,
    normalisation: Normalisation,
    mean: f32,
    deviation: f32,
) -> Dataset {
    if normalisation == Normalisation::Global {
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

/// Reads a signal from a `.npy` (one axis, or samples×channels), `.csv` (comma, semicolon or tab; a first line of names may be there; lines that
/// begin with `#` are passed over) or `.wav` (8 to 32-bit integers, scaled to ±1, or 32-bit floats).
///
/// # Errors
/// The file cannot be read or is malformed; it has no such column; a value is missing or not finite (the message says which sample).
pub fn read_signal(path: &Path, column: Option<&Column>) -> Result<Signal, DataError> {
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let signal = match extension.as_deref() {
        Some("npy") => read_array(path, column)?,
        Some("csv") => read_csv(path, column)?,
        Some("wav") => read_wav(path, column)?,
        _ => {
            return Err(DataError::malformed(
                path,
                "not known as a signal by its name",
                "give a .npy, .csv or .wav file",
            ));
        }
    };
    match signal.values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(DataError::malformed(
            path,
            format!("sample {index} is {}", signal.values[index]),
            "fill the gap or cut it out",
        )),
        None => Ok(signal),
    }
}

/// The position of a column in a file without names.
fn position(path: &Path, column: Option<&Column>, count: usize) -> Result<usize, DataError> {
    let refuse = |wanted: String| {
        Err(DataError::config(
            "column",
            format!("there is no column {wanted} in {}", path.display()),
            match count {
                0 => "it has no columns: give another file".to_string(),
                1 => "it has one column: leave data.column out".to_string(),
                count => format!("give a number from 0 to {}", count - 1),
            },
        ))
    };
    match column {
        None if count > 0 => Ok(0),
        None => refuse("0".to_string()),
        Some(Column::Index(index)) if *index < count => Ok(*index),
        Some(Column::Index(index)) => refuse(index.to_string()),
        Some(Column::Name(name)) => refuse(format!("{name:?}")),
    }
}

fn read_array(path: &Path, column: Option<&Column>) -> Result<Signal, DataError> {
    let (shape, values) = read_npy_f32(path)?;
    let values = match shape[..] {
        [_] => {
            position(path, column, 1)?;
            values
        }
        [_, channels] => {
            let channel = position(path, column, channels)?;
            values
                .into_iter()
                .skip(channel)
                .step_by(channels.max(1))
                .collect()
        }
        _ => {
            return Err(DataError::malformed(
                path,
                format!("shape {shape:?} is neither N nor N×channels"),
                "flatten it; for N windows or images use source = \"npy\"",
            ));
        }
    };
    Ok(Signal {
        values,
        sample_rate: None,
    })
}

fn read_csv(path: &Path, column: Option<&Column>) -> Result<Signal, DataError> {
    let text = std::fs::read(path).map_err(DataError::read(path))?;
    let remedy = "repair that line";
    let first_line = text
        .split(|&byte| byte == b'\n')
        .find(|line| !line.is_empty() && line[0] != b'#')
        .unwrap_or_default();
    let delimiter = [b',', b';', b'\t']
        .into_iter()
        .max_by_key(|&symbol| {
            let count = first_line.iter().filter(|&&byte| byte == symbol).count();
            // The comma wins a draw.
            (count, symbol == b',')
        })
        .unwrap_or(b',');
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .delimiter(delimiter)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(text.as_slice());
    let mut chosen = None;
    let mut values = Vec::new();
    for record in reader.byte_records() {
        let record =
            record.map_err(|error| DataError::malformed(path, error.to_string(), remedy))?;
        let line = record.position().map_or(0, csv::Position::line);
        let number = |index: usize| {
            let text = std::str::from_utf8(record.get(index)?).ok()?;
            text.parse::<f32>().ok()
        };
        let index = match chosen {
            Some(index) => index,
            None => {
                let index = match column {
                    Some(Column::Name(name)) => record
                        .iter()
                        .position(|field| field == name.as_bytes())
                        .ok_or_else(|| {
                            let names: Vec<_> =
                                record.iter().map(String::from_utf8_lossy).collect();
                            DataError::config(
                                "column",
                                format!("there is no column {name:?} in {}", path.display()),
                                format!("its first line has: {}", names.join(", ")),
                            )
                        })?,
                    other => position(path, other, record.len())?,
                };
                chosen = Some(index);
                // A first line without a number in this place holds names.
                if matches!(column, Some(Column::Name(_))) || number(index).is_none() {
                    continue;
                }
                index
            }
        };
        let value = number(index).ok_or_else(|| {
            let field = String::from_utf8_lossy(record.get(index).unwrap_or_default());
            DataError::malformed(
                path,
                format!(
                    "line {line}, sample {}: {field:?} is not a number",
                    values.len()
                ),
                remedy,
            )
        })?;
        values.push(value);
    }
    Ok(Signal {
        values,
        sample_rate: None,
    })
}

fn read_wav(path: &Path, column: Option<&Column>) -> Result<Signal, DataError> {
    let malformed = |error: hound::Error| match error {
        hound::Error::IoError(source) => DataError::read(path)(source),
        error => DataError::malformed(path, error.to_string(), "save it as a PCM or float .wav"),
    };
    let mut reader = hound::WavReader::open(path).map_err(malformed)?;
    let spec = reader.spec();
    let channels = usize::from(spec.channels);
    let channel = position(path, column, channels)?;
    // Every sample is looked at, also of the other channels, so that a file that breaks off there is noticed.
    let values = match spec.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().collect::<Result<Vec<_>, _>>(),
        hound::SampleFormat::Int => {
            let scale = 2f32.powi(1 - i32::from(spec.bits_per_sample));
            let samples = reader.samples::<i32>();
            samples
                .map(|sample| sample.map(|value| value as f32 * scale))
                .collect()
        }
    };
    let values = values.map_err(malformed)?;
    Ok(Signal {
        values: values.into_iter().skip(channel).step_by(channels).collect(),
        sample_rate: Some(spec.sample_rate as f32),
    })
}

#[cfg(test)]
mod tests {
    use super::super::npy::write_npy_f32;
    use super::super::tests::shared_data;
    use super::*;

    fn ramp(count: usize) -> Vec<f32> {
        (0..count).map(|v| v as f32).collect()
    }

    fn load(values: &[f32], config: &SignalConfig) -> Result<Splits, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signal.npy");
        write_npy_f32(&path, &[values.len()], values).unwrap();
        config.load(Some(&path))
    }

    fn small(normalisation: Normalisation) -> SignalConfig {
        SignalConfig {
            window: 10,
            hop: 5,
            normalisation,
            ..SignalConfig::default()
        }
    }

    #[test]
    fn windows_keep_to_their_part_and_restore_to_the_signal() {
        for normalisation in [
            Normalisation::Global,
            Normalisation::WindowMean,
            Normalisation::Window,
        ] {
            let splits = load(&ramp(500), &small(normalisation)).unwrap();
            assert_eq!(splits.preprocessing.contrast, normalisation.contrast());
            assert_eq!(splits.peak, 99.0);
            let parts = [
                (&splits.train, 0..300, 59),
                (&splits.validation, 300..400, 19),
                (&splits.test, 400..500, 19),
            ];
            for (part, extent, count) in parts {
                assert_eq!(part.len(), count);
                for index in 0..count {
                    let mut window = part.sample(index).to_vec();
                    part.restore.restore(index, &mut window);
                    for (offset, value) in window.iter().enumerate() {
                        let expected = extent.start + 5 * index + offset;
                        assert!(extent.contains(&expected));
                        assert!((value - expected as f32).abs() < 1e-2, "{value} {expected}");
                    }
                    let (window, count) = (part.sample(index), 10.0);
                    let mean = window.iter().sum::<f32>() / count;
                    let power = window.iter().map(|y| y * y).sum::<f32>() / count;
                    match normalisation {
                        Normalisation::Global => {}
                        Normalisation::WindowMean => assert!(mean.abs() < 1e-5 && power < 0.01),
                        // A ramp of ten samples has a deviation of 2.87, the training part 86.6: the floor acts.
                        Normalisation::Window => {
                            assert!(mean.abs() < 1e-5);
                            let expected = (2.8723 / (86.6 * WINDOW_FLOOR)).powi(2);
                            assert!((power - expected).abs() < 1e-2, "{power} {expected}");
                        }
                    }
                }
            }
        }
        let loud: Vec<f32> = (0..500).map(|t| (t * t % 17) as f32).collect();
        let splits = load(&loud, &small(Normalisation::Window)).unwrap();
        let power: f32 = splits.test.sample(3).iter().map(|y| y * y).sum();
        assert!((power - 10.0).abs() < 1e-4, "{power}");
    }

    #[test]
    fn the_training_part_alone_sets_the_normalisation() {
        let mut values = ramp(500);
        let expected = load(&values, &small(Normalisation::Global))
            .unwrap()
            .preprocessing;
        assert_eq!(expected.mean, 149.5);
        values[300..].iter_mut().for_each(|v| *v *= 100.0);
        let found = load(&values, &small(Normalisation::Global))
            .unwrap()
            .preprocessing;
        assert_eq!(found, expected);
    }

    #[test]
    fn a_limit_takes_windows_evenly() {
        let config = SignalConfig {
            train: Some(3),
            ..small(Normalisation::Global)
        };
        let splits = load(&ramp(500), &config).unwrap();
        let starts: Vec<f32> = (0..3)
            .map(|index| {
                let mut window = splits.train.sample(index).to_vec();
                splits.train.restore.restore(index, &mut window);
                window[0].round()
            })
            .collect();
        assert_eq!(starts, [0.0, 95.0, 195.0]);
    }

    #[test]
    fn unusable_signals_and_fields_are_named() {
        let mut gap = ramp(500);
        gap[123] = f32::NAN;
        let mut quiet = ramp(500);
        quiet[400..].fill(1.0);
        let global = small(Normalisation::Global);
        let no_hop = SignalConfig {
            hop: 0,
            ..global.clone()
        };
        let no_window = SignalConfig {
            window: 0,
            ..global.clone()
        };
        let no_rate = SignalConfig {
            sample_rate: Some(0.0),
            ..global.clone()
        };
        let no_column = SignalConfig {
            column: Some(Column::Index(1)),
            ..global.clone()
        };
        let cases: [(&[f32], &SignalConfig, &str); 8] = [
            (&gap, &global, "sample 123 is NaN"),
            (&ramp(40), &global, "too few"),
            (&[2.0; 500], &global, "is constant"),
            (&quiet, &global, "last 20 %"),
            (&gap, &no_hop, "data.hop"),
            (&gap, &no_window, "data.window"),
            (&gap, &no_rate, "data.sample_rate"),
            (&gap, &no_column, "data.column"),
        ];
        for (values, config, needle) in cases {
            let error = load(values, config).unwrap_err().to_string();
            assert!(error.contains(needle), "{error:?} lacks {needle:?}");
        }
    }

    fn csv(text: &str, column: Option<Column>) -> Result<Vec<f32>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signal.csv");
        std::fs::write(&path, text).unwrap();
        read_signal(&path, column.as_ref())
            .map(|signal| signal.values)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn csv_columns_by_name_and_position_with_and_without_names() {
        let name = |name: &str| Some(Column::Name(name.to_string()));
        let index = |index| Some(Column::Index(index));
        assert_eq!(csv("1\n2.5\n-3e2\n", None).unwrap(), [1.0, 2.5, -300.0]);
        assert_eq!(csv("x\n1\n2\n", None).unwrap(), [1.0, 2.0]);
        assert_eq!(
            csv("# made by\nt;x\n0; 5\n1; 6\n", index(1)).unwrap(),
            [5.0, 6.0]
        );
        assert_eq!(csv("0\t5\r\n1\t6\r\n", index(1)).unwrap(), [5.0, 6.0]);
        assert_eq!(csv("t,x\n0,5\n1,6\n", name("x")).unwrap(), [5.0, 6.0]);
        for (text, column, needle) in [
            ("t,x\n0,5\n", name("y"), "t, x"),
            ("t,x\n0,5\n", index(2), "0 to 1"),
            ("x\n1\noops\n", None, "line 3, sample 1: \"oops\""),
            ("x\n1\nNaN\n", None, "sample 1 is NaN"),
            ("a,b\n1,2\n3\n", None, "line: 3"),
            ("t,x\n0,\n", index(1), "line 2, sample 0"),
        ] {
            let error = csv(text, column).unwrap_err();
            assert!(error.contains(needle), "{error:?} lacks {needle:?}");
        }
    }

    #[test]
    fn wav_integers_and_floats_by_channel() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sound.WAV");
        for (bits, format) in [
            (8, hound::SampleFormat::Int),
            (16, hound::SampleFormat::Int),
            (24, hound::SampleFormat::Int),
            (32, hound::SampleFormat::Int),
            (32, hound::SampleFormat::Float),
        ] {
            let spec = hound::WavSpec {
                channels: 2,
                sample_rate: 12_000,
                bits_per_sample: bits,
                sample_format: format,
            };
            let mut writer = hound::WavWriter::create(&path, spec).unwrap();
            for value in [0.0f32, 0.5, 0.25, -0.5] {
                match format {
                    hound::SampleFormat::Float => writer.write_sample(value).unwrap(),
                    hound::SampleFormat::Int => {
                        let scale = (1i64 << (bits - 1)) as f32;
                        writer.write_sample((value * scale) as i32).unwrap();
                    }
                }
            }
            writer.finalize().unwrap();
            for (channel, expected) in [(0, [0.0, 0.25]), (1, [0.5, -0.5])] {
                let signal = read_signal(&path, Some(&Column::Index(channel))).unwrap();
                assert_eq!(signal.values, expected, "{bits} bits");
                assert_eq!(signal.sample_rate, Some(12_000.0));
            }
        }
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(read_signal(&path, None).is_err(), "{length} bytes");
        }
        let text = folder.path().join("signal.txt");
        std::fs::write(&text, "1\n").unwrap();
        assert!(
            read_signal(&text, None)
                .unwrap_err()
                .to_string()
                .contains(".npy")
        );
    }

    #[test]
    fn arrays_with_channels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signal.npy");
        write_npy_f32(&path, &[3, 2], &ramp(6)).unwrap();
        let read = |column| read_signal(&path, Some(&Column::Index(column)));
        assert_eq!(read(1).unwrap().values, [1.0, 3.0, 5.0]);
        assert!(read(2).unwrap_err().to_string().contains("data.column"));
        write_npy_f32(&path, &[3, 0], &[]).unwrap();
        assert!(read(0).unwrap_err().to_string().contains("data.column"));
    }

    #[test]
    fn the_real_recordings() {
        let Some(folder) = shared_data() else { return };
        let path = folder.join("sensor/ecg_mitbih208_360hz_mV.npy");
        let splits = SignalConfig::default().load(Some(&path)).unwrap();
        println!("{} peak {}", splits.description, splits.peak);
        // The unit that the recording's denoising figures are stated in: the deviation of its first 60 %.
        assert!((splits.preprocessing.deviation - 0.639).abs() < 5e-4);
        assert_eq!(splits.test.len(), (21_600 - 64) / 16 + 1);
    }
}
