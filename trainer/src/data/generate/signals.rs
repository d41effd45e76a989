//! Windows of a generated signal as a data set.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::error::DataError;
use super::super::signal::{checked_window, cut};
use super::super::{
    Contrast, InputFacts, Preprocessing, Splits, checked_made_counts, extent, globally_normalised,
    mean_and_deviation, part_generator, range,
};
use super::ecg::{self, ECG_RATE};
use super::vibration::{self, VIBRATION_RATE};
use crate::rng::Stream;

/// `source = "vibration"` and `source = "ecg"`: windows of a generated signal, normalised by the
/// mean and the standard deviation of the training part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GeneratedSignalConfig {
    /// Samples in a window: the input dimension.
    #[schemars(range(min = 1, max = u16::MAX))]
    pub window: usize,
    /// Samples from the start of one window to the start of the next.
    #[schemars(range(min = 1))]
    pub hop: usize,
    /// Training windows.
    #[schemars(range(min = 1, max = super::super::MAX_SAMPLES))]
    pub train: usize,
    /// Validation windows.
    #[schemars(range(min = 1, max = super::super::MAX_SAMPLES))]
    pub validation: usize,
    /// Test windows.
    #[schemars(range(min = 1, max = super::super::MAX_SAMPLES))]
    pub test: usize,
}

impl Default for GeneratedSignalConfig {
    fn default() -> Self {
        Self {
            window: 64,
            hop: 16,
            train: 20_000,
            validation: 2000,
            test: 2000,
        }
    }
}

/// The most samples of a generated signal: a length that is larger is a slip.
const MAX_SAMPLES: usize = 1 << 28;

impl GeneratedSignalConfig {
    pub(in super::super) fn load_vibration(&self, seed: u64) -> Result<Splits, DataError> {
        self.load(seed, "vibration", VIBRATION_RATE, |samples, stream| {
            vibration::generate(samples, &mut part_generator(seed, stream, 0))
        })
    }

    pub(in super::super) fn load_ecg(&self, seed: u64) -> Result<Splits, DataError> {
        self.load(seed, "ECG-like beats", ECG_RATE, |samples, stream| {
            ecg::generate(samples, &mut part_generator(seed, stream, 0))
        })
    }

    fn load(
        &self,
        seed: u64,
        name: &str,
        sample_rate: f32,
        signal: impl Fn(usize, Stream) -> Vec<f32>,
    ) -> Result<Splits, DataError> {
        let shape = checked_window(self.window, self.hop)?;
        checked_made_counts(self.train, self.validation, self.test)?;
        let part = |field: &'static str, count: usize, stream: Stream| {
            let samples = (count - 1)
                .checked_mul(self.hop)
                .and_then(|samples| samples.checked_add(self.window))
                .filter(|&samples| samples <= MAX_SAMPLES)
                .ok_or_else(|| {
                    DataError::config(
                        field,
                        format!("{count} windows every {} samples are too many", self.hop),
                        format!("stay within {MAX_SAMPLES} samples"),
                    )
                })?;
            Ok::<_, DataError>(signal(samples, stream))
        };
        let train = part("train", self.train, Stream::TrainData)?;
        let validation = part("validation", self.validation, Stream::ValidationData)?;
        let test = part("test", self.test, Stream::TestData)?;
        let constant = || {
            DataError::config(
                "window",
                "the generated signal is too short to vary",
                "ask for longer or more windows",
            )
        };
        let (mean, deviation) = mean_and_deviation(&train).ok_or_else(constant)?;
        let peak = range(&test);
        if peak <= 0.0 {
            return Err(constant());
        }
        let windows = |values: &[f32]| {
            let windows = cut(&[values], self.window, self.hop, usize::MAX);
            globally_normalised(windows, self.window, mean, deviation)
        };
        let description = format!(
            "generated {name}, seed {seed}, windows of {} every {}, {}/{}/{}",
            self.window, self.hop, self.train, self.validation, self.test
        );
        Ok(Splits {
            input: InputFacts {
                range: Some(extent(train.iter().copied())),
                sample_rate: Some(sample_rate),
                number_type: None,
            },
            train: windows(&train),
            validation: windows(&validation),
            test: windows(&test),
            shape,
            preprocessing: Preprocessing {
                mean,
                deviation,
                contrast: Contrast::None,
            },
            peak,
            read: description.clone(),
            description,
            notes: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_load_with_the_counts_asked_for() {
        let config = GeneratedSignalConfig {
            train: 300,
            validation: 20,
            test: 40,
            ..GeneratedSignalConfig::default()
        };
        for load in [
            GeneratedSignalConfig::load_vibration,
            GeneratedSignalConfig::load_ecg,
        ] {
            let splits = load(&config, 5).unwrap();
            assert_eq!(
                (
                    splits.train.len(),
                    splits.validation.len(),
                    splits.test.len()
                ),
                (300, 20, 40)
            );
            assert_eq!(splits.shape.to_string(), "64");
            // Windows overlap by window − hop.
            assert_eq!(splits.train.sample(7)[16..], splits.train.sample(8)[..48]);
            // Parts come from different streams, and another seed gives other data.
            assert_ne!(splits.train.sample(0), splits.test.sample(0));
            assert_ne!(splits.validation.sample(0), splits.test.sample(0));
            assert_ne!(
                splits.train.samples,
                load(&config, 6).unwrap().train.samples
            );
            assert_eq!(
                splits.train.samples,
                load(&config, 5).unwrap().train.samples
            );
            let (mean, deviation) = mean_and_deviation(&splits.train.samples).unwrap();
            assert!(mean.abs() < 0.05 && (deviation - 1.0).abs() < 0.05);
            let mut test = splits.test.samples.clone();
            splits.test.restore.restore(0, &mut test);
            assert!((range(&test) - splits.peak).abs() < 1e-4);
        }
        let too_many = GeneratedSignalConfig {
            train: usize::MAX,
            ..config.clone()
        };
        let error = too_many.load_ecg(1).unwrap_err().to_string();
        assert!(error.starts_with("data.train"), "{error}");
        let no_hop = GeneratedSignalConfig { hop: 0, ..config };
        let error = no_hop.load_vibration(1).unwrap_err().to_string();
        assert!(error.starts_with("data.hop"), "{error}");
    }
}
