//! stub
use serde::{Deserialize, Serialize};
pub use sparsecode_formats::{Contrast, InputShape, Preprocessing};
/// Samples ready for training: row-major f32, already preprocessed.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// `len() × dim` numbers, one sample after the other.
    pub samples: Vec<f32>,
    /// Numbers in a sample (`input_dim`); at least 1.
    pub dim: usize,
    /// How to get back to raw units.
    pub restore: Restore,
    /// The class of each sample, where the data has classes.
    pub labels: Option<Vec<u8>>,
}

impl Dataset {
    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.samples.len() / self.dim
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// One sample.
    ///
    /// # Panics
    /// If `index` is not below [`Dataset::len`].
    pub fn sample(&self, index: usize) -> &[f32] {
        &self.samples[index * self.dim..][..self.dim]
    }
}

/// How a preprocessed value, or an error in preprocessed units, becomes one in raw units: `raw = y · scale + offset`.
#[derive(Clone, Debug)]
pub enum Restore {
    /// The same for every value.
    Global {
        /// Raw units in one preprocessed unit.
        scale: f32,
        /// The raw value of a preprocessed 0.
        offset: f32,
    },
    /// One scale and offset a sample (windows normalised one by one).
    PerSample {
        /// Raw units in one preprocessed unit, per sample.
        scale: Vec<f32>,
        /// The raw value of a preprocessed 0, per sample.
        offset: Vec<f32>,
    },
    /// One scale and offset a value (local contrast normalisation); row-major like the samples.
    PerPixel {
        /// Numbers in a sample.
        dim: usize,
        /// Raw units in one preprocessed unit, per value.
        scale: Vec<f32>,
        /// The raw value of a preprocessed 0, per value.
        offset: Vec<f32>,
    },
}

impl Restore {
    /// Turns sample `index`, or anything in its preprocessed units, into raw units, in place. Values are not clamped.
    ///
    /// ```
    /// use sparsecode_trainer::data::Restore;
    ///
    /// let restore = Restore::Global { scale: 0.25, offset: 0.5 };
    /// let mut sample = [-2.0, 0.0, 2.0];
    /// restore.restore(0, &mut sample);
    /// assert_eq!(sample, [0.0, 0.5, 1.0]);
    /// ```
    ///
    /// # Panics
    /// If the data set has no sample `index`, or `sample` is longer than one.
    pub fn restore(&self, index: usize, sample: &mut [f32]) {
        match self {
            Self::Global { scale, offset } => {
                sample.iter_mut().for_each(|y| *y = *y * scale + offset);
            }
            Self::PerSample { scale, offset } => {
                let (scale, offset) = (scale[index], offset[index]);
                sample.iter_mut().for_each(|y| *y = *y * scale + offset);
            }
            Self::PerPixel { dim, scale, offset } => {
                let start = index * dim;
                let scale = &scale[start..start + dim][..sample.len()];
                let offset = &offset[start..start + dim][..sample.len()];
                for ((y, scale), offset) in sample.iter_mut().zip(scale).zip(offset) {
                    *y = *y * scale + offset;
                }
            }
        }
    }

    /// The mean over values of the squared error of sample `index` in raw units, of `difference` = preprocessed estimate −
    /// preprocessed sample. 0 for an empty difference. Offsets cancel in a difference, so only scales matter.
    ///
    /// # Panics
    /// If the data set has no sample `index`.
    pub fn squared_error(&self, index: usize, difference: impl Iterator<Item = f32>) -> f64 {
        let (mut sum, mut count) = (0.0f64, 0usize);
        let mut add = |value: f64| {
            sum += value * value;
            count += 1;
        };
        match self {
            Self::Global { scale, .. } => {
                difference.for_each(|y| add(f64::from(y) * f64::from(*scale)));
            }
            Self::PerSample { scale, .. } => {
                let scale = f64::from(scale[index]);
                difference.for_each(|y| add(f64::from(y) * scale));
            }
            Self::PerPixel { dim, scale, .. } => difference
                .zip(&scale[index * dim..][..*dim])
                .for_each(|(y, &scale)| add(f64::from(y) * f64::from(scale))),
        }
        sum / count.max(1) as f64
    }
}

/// Everything that training and evaluation need to know about the data.
#[derive(Clone, Debug)]
pub struct Splits {
    /// For gradient steps.
    pub train: Dataset,
    /// For choosing a model.
    pub validation: Dataset,
    /// For the figures that are reported.
    pub test: Dataset,
    /// The shape of one sample.
    pub shape: InputShape,
    /// How raw samples were preprocessed; goes into the model file.
    pub preprocessing: Preprocessing,
    /// The range of raw values that PSNR refers to: 1 for images, the test part's maximum − minimum otherwise.
    pub peak: f32,
    /// Samples per second of a signal, where known.
    pub sample_rate: Option<f32>,
    /// What the data is, in one line without quotes, backslashes and control characters.
    pub description: String,
}


#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Default)]
/// x
pub struct C {}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case")]
/// x
pub enum DataConfig { 
/// x
Mnist(C), 
/// x
Images(C), 
/// x
DeadLeaves(C), 
/// x
Vibration(C), 
/// x
Ecg(C) }
