//! Normalisation by a mean and a deviation of each place in a sample.

use serde::{Deserialize, Serialize};

use super::{Dataset, Restore};

/// A mean and a standard deviation for each place in a sample: `y[i] = (x[i] − mean[i]) /
/// deviation[i]`.
///
/// The mean and the deviation of [`Preprocessing`](super::Preprocessing) are the same for all
/// places; where samples have these statistics, those are 0 and 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PerPixel {
    /// Mean of each place, in raw units.
    pub mean: Vec<f32>,
    /// Population standard deviation of each place, in raw units; above 0.
    pub deviation: Vec<f32>,
}

impl PerPixel {
    /// The statistics of raw samples, row-major, in `f64`.
    ///
    /// # Errors
    ///
    /// The first place whose value never changes, or is not finite somewhere.
    pub(super) fn of(samples: &[f32], dim: usize) -> Result<Self, usize> {
        let count = (samples.len() / dim) as f64;
        let mut means = vec![0.0f64; dim];
        for sample in samples.chunks_exact(dim) {
            for (mean, &value) in means.iter_mut().zip(sample) {
                *mean += f64::from(value);
            }
        }
        means.iter_mut().for_each(|mean| *mean /= count);
        let mut squares = vec![0.0f64; dim];
        for sample in samples.chunks_exact(dim) {
            for ((square, mean), &value) in squares.iter_mut().zip(&means).zip(sample) {
                *square += (f64::from(value) - mean).powi(2);
            }
        }
        let deviation: Vec<f32> = squares
            .iter()
            .map(|square| (square / count).sqrt() as f32)
            .collect();
        match deviation.iter().position(|d| !(*d > 0.0 && d.is_finite())) {
            Some(place) => Err(place),
            None => Ok(Self {
                mean: means.iter().map(|&mean| mean as f32).collect(),
                deviation,
            }),
        }
    }

    /// Raw samples, normalised.
    pub(super) fn normalised(&self, mut samples: Vec<f32>) -> Dataset {
        let dim = self.mean.len();
        for sample in samples.chunks_exact_mut(dim) {
            let statistics = self.mean.iter().zip(&self.deviation);
            for (value, (mean, deviation)) in sample.iter_mut().zip(statistics) {
                *value = (*value - mean) / deviation;
            }
        }
        self.dataset(samples)
    }

    /// Samples that are normalised already.
    pub(super) fn dataset(&self, samples: Vec<f32>) -> Dataset {
        Dataset {
            samples,
            dim: self.mean.len(),
            restore: Restore::PerPosition {
                scale: self.deviation.clone(),
                offset: self.mean.clone(),
            },
            labels: None,
        }
    }

    /// The statistics that a data set was normalised by, if each place has its own.
    pub(super) fn used_by(dataset: &Dataset) -> Option<Self> {
        match &dataset.restore {
            Restore::PerPosition { scale, offset } => Some(Self {
                mean: offset.clone(),
                deviation: scale.clone(),
            }),
            Restore::Global { .. } | Restore::PerSample { .. } | Restore::PerPixel { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_own_mean_and_deviation() {
        let raw = vec![1.0, 10.0, 3.0, 10.5, 5.0, 11.0];
        let found = PerPixel::of(&raw, 2).unwrap();
        let deviation = (8.0f32 / 3.0).sqrt();
        assert_eq!(found.mean, [3.0, 10.5]);
        assert!((found.deviation[0] - deviation).abs() < 1e-6);
        assert!((found.deviation[1] - deviation / 4.0).abs() < 1e-6);
        let dataset = found.normalised(raw.clone());
        let top = 2.0 / deviation;
        for (value, expected) in dataset.samples.iter().zip([-top, -top, 0.0, 0.0, top, top]) {
            assert!((value - expected).abs() < 1e-6, "{:?}", dataset.samples);
        }
        let mut last = dataset.sample(2).to_vec();
        dataset.restore.restore(2, &mut last);
        assert!(
            (last[0] - 5.0).abs() < 1e-6 && (last[1] - 11.0).abs() < 1e-6,
            "{last:?}"
        );
        // An error in normalised units, in raw units.
        let error = dataset.restore.squared_error(1, [1.0, 4.0].into_iter());
        assert!(
            (error - f64::from(deviation).powi(2)).abs() < 1e-6,
            "{error}"
        );
        assert_eq!(PerPixel::used_by(&dataset), Some(found));
    }

    #[test]
    fn a_place_that_never_changes_is_named() {
        assert_eq!(PerPixel::of(&[1.0, 2.0, 2.0, 2.0], 2), Err(1));
        assert_eq!(PerPixel::of(&[1.0, f32::NAN, 2.0, 2.0], 2), Err(1));
    }
}
