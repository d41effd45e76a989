//! Units: from the numbers that a person's file stores to the raw units of a model, or why the file
//! does not fit.
//!
//! A model file states the range, the sample rate and the number type of the samples that it was
//! trained on ([`InputFacts`]). [`Known`] compares other samples with these facts, so that pixels
//! of 0 to 255 do not enter a model of 0 to 1 unnoticed.

use sparsecode_formats::{Contrast, InputFacts, NumberType, SpecError};

use crate::data::DataFacts;
use crate::deploy::HostModel;

/// From stored numbers to raw units: `raw = stored · scale + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// Raw units of a stored 1; not 0.
    pub scale: f32,
    /// The raw value of a stored 0.
    pub offset: f32,
}

impl Unit {
    /// Stored numbers are raw ones.
    pub const RAW: Self = Self {
        scale: 1.0,
        offset: 0.0,
    };

    /// The unit in which the ends of `stored` are those of `raw`; `stored` is not empty.
    ///
    /// ```
    /// use sparsecode_trainer::deploy::units::Unit;
    ///
    /// let unit = Unit::between([0.0, 255.0], [-1.0, 1.0]);
    /// let mut pixels = [0.0, 127.5, 255.0];
    /// unit.to_raw(&mut pixels);
    /// assert!((pixels[0] + 1.0).abs() < 1e-6 && (pixels[2] - 1.0).abs() < 1e-6);
    /// unit.to_stored(&mut pixels);
    /// assert!((pixels[1] - 127.5).abs() < 1e-3);
    /// ```
    pub fn between(stored: [f32; 2], raw: [f32; 2]) -> Self {
        let [stored_low, stored_high] = stored.map(f64::from);
        let [raw_low, raw_high] = raw.map(f64::from);
        let scale = (raw_high - raw_low) / (stored_high - stored_low);
        Self {
            scale: scale as f32,
            offset: (raw_low - stored_low * scale) as f32,
        }
    }

    /// Turns stored numbers into raw ones, in place. [`Unit::RAW`] changes no bit.
    pub fn to_raw(self, values: &mut [f32]) {
        if self != Self::RAW {
            values
                .iter_mut()
                .for_each(|x| *x = *x * self.scale + self.offset);
        }
    }

    /// Turns raw numbers into stored ones, in place. [`Unit::RAW`] changes no bit.
    pub fn to_stored(self, values: &mut [f32]) {
        if self != Self::RAW {
            values
                .iter_mut()
                .for_each(|x| *x = (*x - self.offset) / self.scale);
        }
    }
}

/// What kind of numbers a file holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stored {
    /// Pixels, read as fractions of full scale; `levels` of them are full scale (255, 65535).
    Picture {
        /// The largest level.
        levels: f32,
    },
    /// Sound of integers, read as −1 to 1; `levels` of them are 1 (32768 with 16 bits). Sound of
    /// floats has 1.
    Sound {
        /// The number type in the file.
        number_type: NumberType,
        /// Levels of 1.
        levels: f32,
    },
    /// Numbers of an array or a table, read as they are.
    Numbers {
        /// The number type in the file.
        number_type: NumberType,
    },
}

impl Stored {
    /// Sound of this number type.
    pub fn sound(number_type: NumberType) -> Self {
        let levels = match number_type {
            NumberType::U8 => 128.0,
            NumberType::I16 => 32768.0,
            NumberType::I24 => 8_388_608.0,
            NumberType::I32 => 2_147_483_648.0,
            _ => 1.0,
        };
        Self::Sound {
            number_type,
            levels,
        }
    }

    /// Levels of the file in a number as it is read.
    fn levels(self) -> f32 {
        match self {
            Self::Picture { levels } | Self::Sound { levels, .. } => levels,
            Self::Numbers { .. } => 1.0,
        }
    }
}

/// What a person says about the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Asked {
    /// Which numbers of the file are the ends of the model's range: 0 and full scale, or the
    /// smallest and largest raw value; of pictures levels, such as 0 and 255.
    pub range: Option<[f32; 2]>,
    /// Whether they are raw, or levels of the device's integers.
    pub unit: Option<InputUnit>,
}

/// What numbers of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputUnit {
    /// Raw units, as those of the training data.
    Raw,
    /// Levels of a model in integers, as the device's converter gives them.
    Levels,
}

/// A unit, and a sentence about it if it is not the plain one.
pub type Chosen = (Unit, Option<String>);

/// Why no unit can be chosen: what would have to be said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unclear(pub String);

/// How samples compare with those of the training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Much the same.
    Fits,
    /// Louder or quieter than any in training; says how.
    Unusual(String),
    /// In another unit, by all appearance; says how.
    Mismatch(String),
}

/// What a model knows of its input.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    facts: InputFacts,
    /// The range of training, or about it where the file states none; `None` of weights that were
    /// imported without one, of whose data nothing is known.
    range: Option<[f32; 2]>,
    peak: f32,
    deviation: f32,
    /// Loudness means nothing to the model.
    standardised: bool,
    levels: Option<Levels>,
}

/// The levels of a model in integers.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Levels {
    /// Raw units of a level.
    scale: f32,
    range: [f32; 2],
}

impl Known {
    /// What a model file says.
    pub fn of(host: &HostModel<'_>, facts: InputFacts) -> Self {
        let spec = host.spec();
        let preprocessing = spec.preprocessing;
        let (mean, peak) = (preprocessing.mean, spec.peak);
        // Levels of a model with local contrast are not those of raw samples.
        let local = matches!(preprocessing.contrast, Contrast::Local { .. });
        let levels = host.integer().filter(|_| !local).and_then(|file| {
            Some(Levels {
                scale: file.scales().ok()?.0,
                range: [file.spec.input_min, file.spec.input_max].map(f32::from),
            })
        });
        let is_imported = spec.provenance.epoch == 0;
        let about = (!is_imported).then_some([mean - peak, mean + peak]);
        Self {
            range: facts.range.or(about),
            facts,
            peak,
            deviation: preprocessing.deviation,
            standardised: matches!(preprocessing.contrast, Contrast::Standardize { .. }),
            levels,
        }
    }

    /// What a run says of the data that it was trained on.
    ///
    /// # Errors
    ///
    /// If the run's facts cannot be parsed.
    pub fn of_run(run: &DataFacts) -> Result<Self, SpecError> {
        let (_, preprocessing) = run.parse()?;
        let facts = InputFacts {
            range: run.raw_range,
            sample_rate: run.sample_rate,
            number_type: None,
        };
        Ok(Self {
            range: run.raw_range,
            facts,
            peak: run.peak,
            deviation: run.deviation,
            standardised: matches!(preprocessing.contrast, Contrast::Standardize { .. }),
            levels: None,
        })
    }

    /// What the file states.
    pub fn facts(&self) -> &InputFacts {
        &self.facts
    }

    /// 0 and full scale, where raw values are fractions of it or levels of unsigned integers.
    fn full_scale(&self) -> Option<[f32; 2]> {
        let is_within = |full: f32| {
            let range = self.facts.range;
            range.is_none_or(|[low, high]| low >= 0.0 && high <= full)
        };
        // Sound of 8 bits has numbers up to 1.
        let is_levels = self.facts.range.is_some_and(|[_, high]| high > 1.0);
        let full = match self.facts.number_type {
            _ if self.peak == 1.0 && is_within(1.0) => 1.0,
            Some(NumberType::U8) if is_levels => 255.0,
            Some(NumberType::U16) if is_levels => 65535.0,
            _ => return None,
        };
        is_within(full).then_some([0.0, full])
    }

    /// The ends that a person means by "the model's range": [`full_scale`](Self::full_scale), else
    /// those of the training data.
    fn ends(&self) -> Option<[f32; 2]> {
        let own = || self.facts.range.filter(|[low, high]| low < high);
        self.full_scale().or_else(own)
    }

    /// Chooses the unit of a file's numbers.
    ///
    /// # Errors
    ///
    /// If they could be meant in several ways, or what is asked for cannot be done.
    pub fn unit(&self, stored: Stored, values: &[f32], asked: &Asked) -> Result<Chosen, Unclear> {
        match (asked.range, asked.unit) {
            (Some(_), Some(_)) => Err(Unclear(
                "--input-range and --input-unit both say what the numbers are: give one of them"
                    .to_owned(),
            )),
            (Some([low, high]), None) => {
                let ends = self.ends().ok_or_else(|| {
                    Unclear(
                        "--input-range: the model file does not state its range; export the model again, or scale the input yourself"
                            .to_owned(),
                    )
                })?;
                let stored = [low, high].map(|x| x / stored.levels());
                let [raw_low, raw_high] = ends;
                Ok((
                    Unit::between(stored, ends),
                    Some(format!(
                        "{low} to {high} of the input are the model's {raw_low} to {raw_high}"
                    )),
                ))
            }
            (None, Some(InputUnit::Raw)) => Ok((Unit::RAW, None)),
            (None, Some(InputUnit::Levels)) => match self.levels {
                Some(levels) => Ok(levels.unit(stored)),
                None => Err(Unclear(
                    "--input-unit levels: only a model in integers has levels of raw samples (export --activations i16)"
                        .to_owned(),
                )),
            },
            (None, None) => match stored {
                Stored::Picture { levels } => self.picture(levels),
                Stored::Sound { .. } => Ok((Unit::RAW, None)),
                Stored::Numbers { number_type } => Ok(self.numbers(number_type, values)),
            },
        }
    }

    /// A picture's black and white are those of the pictures or patches that the model was trained
    /// on.
    fn picture(&self, levels: f32) -> Result<Chosen, Unclear> {
        if self.ends() == Some([0.0, 1.0]) {
            return Ok((Unit::RAW, None));
        }
        let [low, high] = self.facts.range.unwrap_or([0.0, self.peak]);
        let white = match self.facts.number_type {
            Some(NumberType::U8) => Some(255.0),
            Some(NumberType::U16) => Some(65535.0),
            // Other numbers, if they fill the range of a picture.
            _ => [1.0, 255.0, 65535.0]
                .into_iter()
                .find(|white| high <= *white && high > 0.5 * white),
        };
        match white.filter(|_| low >= 0.0) {
            Some(white) => Ok((
                Unit::between([0.0, 1.0], [0.0, white]),
                Some(format!(
                    "black to white of the picture (0 to {levels}) are 0 to {white} of the model, whose samples ranged from {low} to {high}"
                )),
            )),
            None => Err(Unclear(format!(
                "the picture's levels go from 0 to {levels}, the model's samples from {low} to {high}: say with --input-range LOW,HIGH which \
                 levels of the picture are the model's {low} and {high}"
            ))),
        }
    }

    /// Numbers of an array or a table: raw, or, where a model in integers is given integers, the
    /// device's levels.
    fn numbers(&self, number_type: NumberType, values: &[f32]) -> Chosen {
        let raw = (Unit::RAW, None);
        let Some(levels) = self.levels.filter(|_| number_type.is_integer()) else {
            return raw;
        };
        let stored = Stored::Numbers { number_type };
        let is_raw = |unit: Unit| {
            let mut values = values.to_vec();
            unit.to_raw(&mut values);
            matches!(self.fit(&values), Fit::Fits)
        };
        // What the training data were stored in is raw, if it can be.
        if self.facts.number_type == Some(number_type) && is_raw(Unit::RAW) {
            return raw;
        }
        let [low, high] = levels.range;
        let outside = values.iter().filter(|x| !(low..=high).contains(*x)).count();
        if 2 * outside > values.len() {
            return raw;
        }
        levels.unit(stored)
    }

    /// Compares raw samples with those of the training.
    ///
    /// A mismatch is a factor of 20 or more: more than one sample in 1000 lies beyond 20 times the
    /// range of training, or half of the samples lie beyond 4 times this range, or all of them
    /// together take less than 1/200 of the range. A faulty machine's vibration, ten times a
    /// healthy one's, is unusual. A model that standardises each window takes any loudness.
    pub fn fit(&self, raw: &[f32]) -> Fit {
        let Some([low, high]) = self.range else {
            return Fit::Fits;
        };
        let span = (high - low).max(self.deviation);
        let beyond = |spans: f32| {
            let band = low - spans * span..=high + spans * span;
            let outside = raw.iter().filter(|x| !band.contains(*x)).count();
            outside as f64 / raw.len().max(1) as f64
        };
        let [least, most] = range_of(raw);
        let largest = least.abs().max(most.abs());
        let smaller_than = |part: f32| {
            most > least && most - least < part * span && largest < part * low.abs().max(high.abs())
        };
        let about = if self.facts.range.is_some() {
            ""
        } else {
            "about "
        };
        let said = || {
            format!(
                "the numbers range from {least} to {most}, those that the model was trained on from {about}{low} to {high}"
            )
        };
        let mismatch = beyond(20.0) > 0.001 || beyond(4.0) > 0.5 || smaller_than(0.005);
        if mismatch && !self.standardised {
            Fit::Mismatch(said())
        } else if mismatch || beyond(1.0) > 0.01 || smaller_than(0.05) {
            Fit::Unusual(said())
        } else {
            Fit::Fits
        }
    }

    /// Compares the smallest and the largest of other raw samples with those of the training: as
    /// [`fit`](Self::fit) does with all samples. Data without a known range fit.
    pub fn fit_range(&self, range: [f32; 2]) -> Fit {
        let (Some([low, high]), [least, most]) = (self.facts.range, range) else {
            return Fit::Fits;
        };
        let span = (high - low).max(self.deviation);
        let is_beyond = least < low - 20.0 * span
            || most > high + 20.0 * span
            || most < low - 4.0 * span
            || least > high + 4.0 * span;
        let is_small = most > least
            && most - least < 0.005 * span
            && least.abs().max(most.abs()) < 0.005 * low.abs().max(high.abs());
        if !is_beyond && !is_small {
            return Fit::Fits;
        }
        let how = format!(
            "the numbers range from {least} to {most}, those that the model was trained on from {low} to {high}"
        );
        match self.standardised {
            true => Fit::Unusual(how),
            false => Fit::Mismatch(how),
        }
    }

    /// The words that would do for numbers that do not fit.
    pub fn remedy(&self, stored: Stored) -> String {
        // Levels of a picture are those of full scale, which need not be the ends of the training.
        let example = match stored {
            _ if self.full_scale().is_none() => "LOW,HIGH",
            Stored::Numbers {
                number_type: NumberType::U8,
            }
            | Stored::Picture { levels: 255.0 } => "0,255",
            Stored::Numbers {
                number_type: NumberType::U16,
            }
            | Stored::Picture { .. } => "0,65535",
            _ => "LOW,HIGH",
        };
        let mut remedy = String::new();
        if let Some([low, high]) = self.ends() {
            remedy = match example {
                "LOW,HIGH" => format!(
                    "give --input-range LOW,HIGH with the numbers of the input that are the model's {low} and {high}"
                ),
                levels => format!(
                    "give --input-range {levels} if these numbers of the input are the model's {low} and {high}"
                ),
            };
        }
        if self.levels.is_some() {
            let comma = if remedy.is_empty() { "" } else { ", " };
            remedy = format!("{remedy}{comma}give --input-unit levels for levels of the device");
        }
        let comma = if remedy.is_empty() { "" } else { ", or " };
        format!("{remedy}{comma}give --allow-mismatch to take the numbers as they are")
    }

    /// Whether a recording's samples per second are the model's, within a thousandth: what else is
    /// wrong with them. A rate that one of the two does not know is no difference.
    pub fn rate_mismatch(&self, sample_rate: Option<f32>) -> Option<String> {
        let (own, found) = (self.facts.sample_rate?, sample_rate?);
        ((found / own - 1.0).abs() > 1e-3)
            .then(|| format!("{found} samples a second, but the model was trained at {own}"))
    }
}

impl Levels {
    fn unit(self, stored: Stored) -> Chosen {
        let unit = Unit {
            scale: self.scale * stored.levels(),
            offset: 0.0,
        };
        let said = format!(
            "integers are levels of the device, {} of the model's unit each (--input-unit raw for numbers in the model's unit)",
            self.scale
        );
        (unit, Some(said))
    }
}

/// Smallest and largest.
pub fn range_of(values: &[f32]) -> [f32; 2] {
    values
        .iter()
        .fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], x| {
            [low.min(*x), high.max(*x)]
        })
}

#[cfg(test)]
mod tests;
