//! What stays known of data when they are not at hand.

use serde::{Deserialize, Serialize};
use sparsecode_formats::{Contrast, InputFacts, InputShape, NumberType, Preprocessing, SpecError};

use super::{PerPixel, Splits};

/// What a run must know of its data to evaluate, export and resume without it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataFacts {
    /// Shape of a sample, as text.
    pub input_shape: String,
    /// Mean that is subtracted from raw samples.
    pub mean: f32,
    /// Deviation that raw samples are divided by.
    pub deviation: f32,
    /// Contrast normalisation, as in a model file's metadata.
    pub contrast: String,
    /// Range of raw samples, for PSNR.
    pub peak: f32,
    /// What the data are, in a line.
    pub description: String,
    /// CRC-32 of the training and validation samples, so that a run is not continued on other data;
    /// empty where weights were imported.
    pub digest: String,
    /// Smallest and largest raw value of the training part, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_range: Option<[f32; 2]>,
    /// Samples per second of a signal, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<f32>,
    /// The number type that the data were stored in, as in a model file's metadata, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_type: Option<String>,
    /// Mean and deviation of each place in a sample, where samples are normalised place by place;
    /// `mean` is 0 and `deviation` 1 then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_pixel: Option<PerPixel>,
}

impl DataFacts {
    /// The facts of loaded data.
    pub fn of(splits: &Splits) -> Self {
        Self {
            input_shape: splits.shape.to_string(),
            mean: splits.preprocessing.mean,
            deviation: splits.preprocessing.deviation,
            contrast: splits.preprocessing.contrast.to_string(),
            peak: splits.peak,
            description: splits.description.clone(),
            digest: digest([&splits.train.samples, &splits.validation.samples]),
            raw_range: splits.input.range,
            sample_rate: splits.input.sample_rate,
            number_type: splits.input.number_type.map(|number| number.to_string()),
            per_pixel: PerPixel::used_by(&splits.train),
        }
    }

    /// The facts of MNIST, which are published constants.
    pub fn mnist() -> Self {
        Self {
            input_shape: "28x28".to_owned(),
            mean: super::mnist::MEAN,
            deviation: super::mnist::DEVIATION,
            contrast: Contrast::None.to_string(),
            peak: 1.0,
            description: "MNIST".to_owned(),
            digest: String::new(),
            raw_range: Some([0.0, 1.0]),
            sample_rate: None,
            number_type: Some(NumberType::U8.to_string()),
            per_pixel: None,
        }
    }

    /// Whether these are facts of the same samples, preprocessed alike, wherever they lie and
    /// whatever their files are called.
    pub fn same_samples(&self, other: &Self) -> bool {
        let of = |facts: &Self| {
            let Self {
                input_shape,
                contrast,
                digest,
                per_pixel,
                ..
            } = facts.clone();
            (input_shape, contrast, digest, per_pixel)
        };
        of(self) == of(other) && (self.mean, self.deviation) == (other.mean, other.deviation)
    }

    /// Shape and preprocessing in the model file's types; without the statistics of each place,
    /// which are [`per_pixel`](Self::per_pixel).
    ///
    /// # Errors
    ///
    /// Names the field whose text is not valid.
    pub fn parse(&self) -> Result<(InputShape, Preprocessing), SpecError> {
        let contrast: Contrast = self.contrast.parse()?;
        let preprocessing = Preprocessing {
            mean: self.mean,
            deviation: self.deviation,
            contrast,
        };
        Ok((self.input_shape.parse()?, preprocessing))
    }

    /// As [`parse`](Self::parse), for what takes one mean and one deviation for all places.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse); names the preprocessing if each place has its own statistics.
    pub fn parse_uniform(&self) -> Result<(InputShape, Preprocessing), SpecError> {
        match self.per_pixel {
            Some(_) => Err(SpecError {
                field: "preprocessing",
                expected: "one mean and one deviation for all pixels, and the run's data have \
                           their own for each (data.contrast = \"whiten\", or a data.source of \
                           synthetic sets), which this kind of model cannot undo",
            }),
            None => self.parse(),
        }
    }

    /// What is known of the raw samples, in the model file's types.
    ///
    /// # Errors
    ///
    /// Names the field whose value a model file cannot hold.
    pub fn input(&self) -> Result<InputFacts, SpecError> {
        let number_type = self.number_type.as_deref().map(str::parse);
        let facts = InputFacts {
            range: self.raw_range,
            sample_rate: self.sample_rate,
            number_type: number_type.transpose()?,
        };
        facts.check().map(|()| facts)
    }
}

fn digest(sets: [&[f32]; 2]) -> String {
    let mut hasher = crc32fast::Hasher::new();
    for chunk in sets.into_iter().flat_map(|set| set.chunks(4096)) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|value| value.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
    format!("{:08x}", hasher.finalize())
}
