//! Units: from the numbers that a person's file stores to the raw units of a model, or why the file does not fit.
//!
//! A model file states the range, the sample rate and the number type of the samples that it was trained on ([`InputFacts`]). [`Known`]
//! compares other samples with these facts, so that pixels of 0 to 255 do not enter a model of 0 to 1 unnoticed.

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
    /// Sound of integers, read as −1 to 1; `levels` of them are 1 (32768 with 16 bits). Sound of floats has 1.
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
    /// Which numbers of the file are the ends of the model's range: 0 and full scale, or the smallest and largest raw value; of pictures levels, such as 0 and 255.
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

    /// The ends that a person means by "the model's range": [`full_scale`](Self::full_scale), else those of the training data.
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

    /// A picture's black and white are those of the pictures or patches that the model was trained on.
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

    /// Numbers of an array or a table: raw, or, where a model in integers is given integers, the device's levels.
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
    /// A mismatch is a factor of 20 or more: more than one sample in 1000 lies beyond 20 times the range of training, or half of the samples
    /// lie beyond 4 times this range, or all of them together take less than 1/200 of the range. A faulty machine's
    /// vibration, ten times a healthy one's, is unusual. A model that standardises each window takes any loudness.
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

    /// Compares the smallest and the largest of other raw samples with those of the training: as [`fit`](Self::fit) does with all samples. Data
    /// without a known range fit.
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

    /// Whether a recording's samples per second are the model's, within a thousandth: what else is wrong with them. A rate that one of the two
    /// does not know is no difference.
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
mod tests {
    use super::*;

    const NUMBERS: fn(NumberType) -> Stored = |number_type| Stored::Numbers { number_type };

    /// A model that was trained on numbers of `low` to `high`.
    fn known(low: f32, high: f32, number_type: NumberType) -> Known {
        let facts = InputFacts {
            range: Some([low, high]),
            sample_rate: Some(500.0),
            number_type: Some(number_type),
        };
        Known {
            facts,
            range: Some([low, high]),
            peak: high - low,
            deviation: 0.2 * (high - low),
            standardised: false,
            levels: None,
        }
    }

    fn integers(model: Known, scale: f32, most: f32) -> Known {
        let levels = Some(Levels {
            scale,
            range: [-most, most],
        });
        Known { levels, ..model }
    }

    fn raw(known: &Known, stored: Stored, values: &[f32], asked: &Asked) -> Vec<f32> {
        let (unit, _) = known.unit(stored, values, asked).unwrap();
        let mut raw = values.to_vec();
        unit.to_raw(&mut raw);
        raw
    }

    /// A wave of this amplitude.
    fn wave(amplitude: f32) -> Vec<f32> {
        (0..1000)
            .map(|i| amplitude * (0.1 * i as f32).sin())
            .collect()
    }

    #[test]
    fn a_wrong_unit_is_a_mismatch_and_a_loud_machine_is_not() {
        let pixels = known(0.0, 1.0, NumberType::U8);
        let digits: Vec<f32> = (0..784)
            .map(|i| if i % 5 == 0 { 200.0 } else { 0.0 })
            .collect();
        let scaled =
            |values: &[f32], by: f32| -> Vec<f32> { values.iter().map(|x| by * x).collect() };
        assert!(matches!(pixels.fit(&digits), Fit::Mismatch(_)));
        assert_eq!(pixels.fit(&scaled(&digits, 1.0 / 255.0)), Fit::Fits);
        // The other way round, and a flat dark or bright patch, which is nothing wrong.
        let levels = known(0.0, 255.0, NumberType::U8);
        assert!(matches!(
            levels.fit(&scaled(&digits, 1.0 / 255.0)),
            Fit::Mismatch(_)
        ));
        for flat in [0.0, 0.71] {
            assert_eq!(pixels.fit(&[flat; 64]), Fit::Fits);
        }
        let vibration = known(-0.3, 0.3, NumberType::F32);
        assert_eq!(vibration.fit(&wave(0.5)), Fit::Fits);
        assert!(matches!(vibration.fit(&wave(3.0)), Fit::Unusual(_)));
        assert!(matches!(vibration.fit(&wave(0.01)), Fit::Unusual(_)));
        // mV for V, levels of 16 bits for ±1, and the other way round.
        for factor in [1000.0, 32768.0, 0.001] {
            let Fit::Mismatch(how) = vibration.fit(&wave(0.3 * factor)) else {
                panic!("{factor}");
            };
            assert!(how.contains("-0.3 to 0.3"), "{how}");
        }
        // One glitch is no other unit, and kelvin are not degrees Celsius.
        let mut glitch = wave(0.3);
        glitch[7] = 1000.0;
        assert!(!matches!(vibration.fit(&glitch), Fit::Mismatch(_)));
        let celsius = known(20.0, 40.0, NumberType::F32);
        let kelvin: Vec<f32> = wave(5.0).iter().map(|x| x + 303.0).collect();
        assert!(matches!(celsius.fit(&kelvin), Fit::Mismatch(_)));
        let standardised = Known {
            standardised: true,
            ..vibration
        };
        assert!(matches!(standardised.fit(&wave(300.0)), Fit::Unusual(_)));
    }

    #[test]
    fn the_range_of_the_input_is_the_models() {
        let asked = |low, high| Asked {
            range: Some([low, high]),
            unit: None,
        };
        let signal = known(-2.0, 2.0, NumberType::F32);
        let bytes = NUMBERS(NumberType::U8);
        let found = raw(&signal, bytes, &[0.0, 127.5, 255.0], &asked(0.0, 255.0));
        assert_eq!(found, [-2.0, 0.0, 2.0]);
        // Pictures of [0, 1] mean these ends, also if no pixel was quite white.
        let mut pixels = known(0.02, 0.97, NumberType::U8);
        pixels.peak = 1.0;
        assert_eq!(
            raw(&pixels, bytes, &[0.0, 255.0], &asked(0.0, 255.0)),
            [0.0, 1.0]
        );
        // Of a picture, levels count.
        let picture = Stored::Picture { levels: 65535.0 };
        let found = raw(&signal, picture, &[0.0, 1.0], &asked(0.0, 65535.0));
        assert_eq!(found, [-2.0, 2.0]);
        let old = Known {
            facts: InputFacts::default(),
            ..signal
        };
        let error = old.unit(bytes, &[0.0], &asked(0.0, 255.0)).unwrap_err();
        assert!(error.0.contains("export the model again"), "{error}");
    }

    #[test]
    fn weights_of_unknown_data_are_compared_with_nothing() {
        let known = known(-1.0, 1.0, NumberType::F32);
        assert!(matches!(known.fit(&[200.0; 9]), Fit::Mismatch(_)));
        let imported = Known {
            facts: InputFacts::default(),
            range: None,
            ..known
        };
        assert_eq!(imported.fit(&[200.0; 9]), Fit::Fits);
        assert_eq!(imported.fit_range([0.0, 200.0]), Fit::Fits);
    }

    #[test]
    fn the_advice_on_a_range_is_right_as_it_stands() {
        let bytes = NUMBERS(NumberType::U8);
        let pixels = Known {
            peak: 1.0,
            ..known(0.1, 0.9, NumberType::F32)
        };
        // (model, its ends, whether 0,255 is the advice for bytes)
        for (model, ends, is_full) in [
            (pixels, [0.0, 1.0], true),
            (known(3.0, 200.0, NumberType::U8), [0.0, 255.0], true),
            (known(7000.0, 9000.0, NumberType::U16), [0.0, 65535.0], true),
            (known(0.25, 0.75, NumberType::F32), [0.25, 0.75], false),
            (known(0.25, 0.75, NumberType::U8), [0.25, 0.75], false),
            (known(3.0, 200.0, NumberType::F32), [3.0, 200.0], false),
        ] {
            let asked = Asked {
                range: Some([0.0, 255.0]),
                unit: None,
            };
            let found = raw(&model, bytes, &[0.0, 255.0], &asked);
            assert!((found[0] - ends[0]).abs() + (found[1] - ends[1]).abs() < 1e-3);
            let advice = model.remedy(bytes);
            assert_eq!(advice.contains("--input-range 0,255"), is_full, "{advice}");
            let [low, high] = ends;
            assert!(advice.contains(&format!("{low} and {high}")), "{advice}");
        }
    }

    #[test]
    fn ranges_differ_by_a_factor_of_twenty() {
        let model = known(-0.3, 0.3, NumberType::F32);
        for (range, differs) in [
            ([-0.3, 0.3], false),
            ([-3.0, 3.0], false),
            ([-0.03, 0.03], false),
            ([-300.0, 300.0], true),
            ([-3e-4, 3e-4], true),
            ([0.1, 0.1], false),
            ([273.0, 274.0], true),
        ] {
            let fit = model.fit_range(range);
            assert_eq!(matches!(fit, Fit::Mismatch(_)), differs, "{range:?}");
        }
        let celsius = known(20.0, 40.0, NumberType::F32);
        assert!(matches!(
            celsius.fit_range([298.0, 308.0]),
            Fit::Mismatch(_)
        ));
    }

    #[test]
    fn black_and_white_are_those_of_the_training() {
        let levels = 255.0;
        let picture = Stored::Picture { levels };
        let white = |known: &Known| {
            let chosen = known.unit(picture, &[], &Asked::default());
            chosen.map(|(unit, note)| (unit.scale, note.is_some()))
        };
        let mut pixels = known(0.1, 0.13, NumberType::U16);
        pixels.peak = 1.0;
        assert_eq!(white(&pixels), Ok((1.0, false)));
        assert_eq!(
            white(&known(3.0, 250.0, NumberType::F32)),
            Ok((255.0, true))
        );
        assert_eq!(
            white(&known(7000.0, 9000.0, NumberType::U16)),
            Ok((65535.0, true))
        );
        assert_eq!(white(&known(0.0, 90.0, NumberType::U8)), Ok((255.0, true)));
        // Degrees, or numbers around 0, are no levels of a picture.
        for other in [
            known(20.0, 40.0, NumberType::F32),
            known(-1.0, 1.0, NumberType::F32),
        ] {
            let error = white(&other).unwrap_err();
            assert!(error.0.contains("--input-range"), "{error}");
        }
    }

    #[test]
    fn integers_for_a_model_in_integers_are_levels() {
        let model = |number_type| integers(known(-1.0, 1.0, number_type), 1e-4, 20_000.0);
        let values: Vec<f32> = (0..8).map(|i| 1600.0 * i as f32).collect();
        let asked = |unit| Asked { range: None, unit };
        let as_levels: Vec<f32> = values.iter().map(|x| x * 1e-4).collect();
        let sixteen = NUMBERS(NumberType::I16);
        for trained in [NumberType::F32, NumberType::Text, NumberType::I16] {
            assert_eq!(
                raw(&model(trained), sixteen, &values, &asked(None)),
                as_levels
            );
        }
        let force = |unit| {
            raw(
                &model(NumberType::F32),
                sixteen,
                &values,
                &asked(Some(unit)),
            )
        };
        assert_eq!(force(InputUnit::Raw), values);
        assert_eq!(force(InputUnit::Levels), as_levels);
        // Numbers as those of the training, in their own type, are raw; others are no levels.
        let own = [1.0, 0.0, -1.0, 1.0];
        assert_eq!(
            raw(&model(NumberType::I16), sixteen, &own, &asked(None)),
            own
        );
        let large = [30_000.0; 4];
        assert_eq!(
            raw(
                &model(NumberType::F32),
                NUMBERS(NumberType::U16),
                &large,
                &asked(None)
            ),
            large
        );
        let float = NUMBERS(NumberType::F32);
        assert_eq!(
            raw(&model(NumberType::F32), float, &values, &asked(None)),
            values
        );
        let plain = known(-1.0, 1.0, NumberType::F32);
        assert_eq!(raw(&plain, sixteen, &values, &asked(None)), values);
        let error = plain.unit(sixteen, &values, &asked(Some(InputUnit::Levels)));
        assert!(error.unwrap_err().0.contains("in integers"));
        // Sound counts in levels of its own.
        let sound = Stored::sound(NumberType::I16);
        let found = raw(
            &model(NumberType::F32),
            sound,
            &[0.5],
            &asked(Some(InputUnit::Levels)),
        );
        assert_eq!(found, [16384.0 * 1e-4]);
    }

    #[test]
    fn rates_differ_by_more_than_rounding() {
        let model = known(-1.0, 1.0, NumberType::F32);
        for (rate, differs) in [
            (Some(500.0), false),
            (Some(500.2), false),
            (None, false),
            (Some(501.0), true),
            (Some(250.0), true),
        ] {
            assert_eq!(model.rate_mismatch(rate).is_some(), differs, "{rate:?}");
        }
    }
}
