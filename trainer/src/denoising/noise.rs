//! Noise to learn from.

use std::fmt;
use std::path::Path;

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use super::config::NoiseConfig;
use crate::data::{DataError, Hints, Recording};

/// How far gains of recordings are from 1, as a natural logarithm.
const GAINS: f64 = 0.7;

/// White noise, recorded noise, or both, of deviation 1 in the long run.
#[derive(Clone, Debug)]
pub struct Noise {
    recordings: Vec<Recorded>,
    /// The share of the power that is white.
    white: f64,
}

/// A recording of noise, of power 1 before its drift was removed.
#[derive(Clone, Debug)]
struct Recorded {
    values: Vec<f32>,
    /// Its power without the drift.
    power: f64,
}

impl Noise {
    /// White noise.
    pub fn white() -> Self {
        Self {
            recordings: Vec::new(),
            white: 1.0,
        }
    }

    /// The noise of a configuration; `drift` is removed from recordings.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be read, that is shorter than a stretch of `length` samples, or
    /// that is silent.
    pub fn of(
        config: &NoiseConfig,
        folder: Option<&Path>,
        drift: Option<usize>,
        length: usize,
        part: Part,
    ) -> Result<Self, DataError> {
        let Some(paths) = &config.recordings else {
            return Ok(Self::white());
        };
        let files = crate::data::recordings_in(paths, folder)?;
        let recordings = files
            .iter()
            .map(|path| Recorded::read(path, drift, length, part))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            recordings,
            white: config.white,
        })
    }

    /// Adds noise of deviation `sigma` to `samples` of any number: recordings as they are, all of
    /// the same power before their drift was removed, from random places, and from their beginning
    /// where they end.
    pub fn add_steadily(&self, rng: &mut impl Rng, sigma: f32, samples: &mut [f32]) {
        self.add_white(rng, sigma, samples);
        let mut sum = vec![0.0_f32; samples.len()];
        for recorded in &self.recordings {
            let place = rng.random_range(0..recorded.values.len());
            let values = recorded.values.iter().cycle().skip(place);
            sum.iter_mut()
                .zip(values)
                .for_each(|(x, value)| *x += value);
        }
        let power = sum.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / sum.len() as f64;
        if power > 0.0 {
            let gain = sigma * ((1.0 - self.white) / power).sqrt() as f32;
            samples
                .iter_mut()
                .zip(sum)
                .for_each(|(x, value)| *x += gain * value);
        }
    }

    fn add_white(&self, rng: &mut impl Rng, sigma: f32, samples: &mut [f32]) {
        if self.white > 0.0 {
            let gain = sigma * self.white.sqrt() as f32;
            for sample in samples {
                let draw: f32 = StandardNormal.sample(rng);
                *sample += gain * draw;
            }
        }
    }

    /// Adds noise of deviation `sigma` to `samples`, a stretch: recordings from random places, with
    /// random signs and gains.
    pub fn add(&self, rng: &mut impl Rng, sigma: f32, samples: &mut [f32]) {
        self.add_white(rng, sigma, samples);
        let draws: Vec<(usize, f64)> = self
            .recordings
            .iter()
            .map(|recorded| {
                let place = rng.random_range(0..=recorded.values.len() - samples.len());
                let sign = if rng.random::<bool>() { 1.0 } else { -1.0 };
                let gain = rng.random_range(-GAINS..=GAINS).exp();
                (place, sign * gain)
            })
            .collect();
        let all = self.recordings.iter().zip(&draws);
        let power: f64 = all.map(|(of, (_, gain))| of.power * gain * gain).sum();
        for (recorded, (place, own)) in self.recordings.iter().zip(draws) {
            let gain = sigma * ((1.0 - self.white) / power).sqrt() as f32 * own as f32;
            let values = &recorded.values[place..];
            for (sample, value) in samples.iter_mut().zip(values) {
                *sample += gain * value;
            }
        }
    }
}

/// Which part of a recording of noise is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first 60 %.
    Training,
    /// The others.
    Test,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Training => "first 60 %",
            Self::Test => "last 40 %",
        })
    }
}

impl Recorded {
    fn read(
        path: &Path,
        drift: Option<usize>,
        length: usize,
        part: Part,
    ) -> Result<Self, DataError> {
        let recording = Recording::read(path, &Hints::default())?;
        let channel = recording.choose(None)?;
        let mut values = recording.channels[channel].values.clone();
        let border = values.len() * 3 / 5;
        match part {
            Part::Training => values.truncate(border),
            Part::Test => drop(values.drain(..border)),
        }
        if values.len() < length {
            return Err(DataError::malformed(
                path,
                format!("its {part} are shorter than a stretch of {length}"),
                "give a longer recording, or a smaller data.window",
            ));
        }
        let silent =
            || DataError::malformed(path, "the recording of noise is constant", "leave it out");
        let (mean, deviation) = crate::data::mean_and_deviation(&values).ok_or_else(silent)?;
        for value in &mut values {
            *value = (*value - mean) / deviation;
        }
        if let Some(drift) = drift {
            values = crate::data::without_drift(&values, drift);
        }
        let squares: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
        let power = squares / values.len() as f64;
        match power > 0.0 {
            true => Ok(Self { values, power }),
            false => Err(silent()),
        }
    }
}
