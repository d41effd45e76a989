//! Data of one origin in the preprocessed units of another: what a trained model makes of a
//! recording that it has not seen.

use super::signal::window_normalised;
use super::{
    Contrast, Dataset, Normalisation, PerPixel, Preprocessing, Splits, globally_normalised,
};

impl Splits {
    /// The same raw samples, preprocessed as a model's were: with its mean and deviation, not with
    /// those of these samples.
    ///
    /// Splits come normalised by their own training part, which would hide that a recording is
    /// louder than the one that a model was trained on. Local contrast normalisation has no
    /// statistics of the data but its floor, and stays as it is. `per_pixel` are the model's
    /// statistics of each place, if it has them. `None` if the model normalises contrast in another
    /// way, or takes samples of another length.
    pub fn preprocessed_as(
        mut self,
        model: &Preprocessing,
        per_pixel: Option<&PerPixel>,
    ) -> Option<Self> {
        let normalisation = match (model.contrast, self.preprocessing.contrast) {
            (Contrast::Local { .. }, Contrast::Local { .. }) => return Some(self),
            (Contrast::None, Contrast::None) => Normalisation::Global,
            (Contrast::RemoveMean, Contrast::RemoveMean) => Normalisation::WindowMean,
            (Contrast::Standardize { .. }, Contrast::Standardize { .. }) => Normalisation::Window,
            _ => return None,
        };
        if per_pixel.is_some_and(|places| places.mean.len() != self.train.dim) {
            return None;
        }
        let own = (self.preprocessing.mean, self.preprocessing.deviation);
        let own_places = PerPixel::used_by(&self.train);
        // The same bits, which a way to raw units and back would not give.
        if own == (model.mean, model.deviation) && own_places.as_ref() == per_pixel {
            return Some(self);
        }
        for part in [&mut self.train, &mut self.validation, &mut self.test] {
            renormalise(part, normalisation, model, per_pixel);
        }
        self.preprocessing = *model;
        Some(self)
    }
}

fn renormalise(
    part: &mut Dataset,
    normalisation: Normalisation,
    model: &Preprocessing,
    per_pixel: Option<&PerPixel>,
) {
    let dim = part.dim;
    let mut raw = std::mem::take(&mut part.samples);
    for (index, sample) in raw.chunks_exact_mut(dim).enumerate() {
        part.restore.restore(index, sample);
    }
    let (mean, deviation) = (model.mean, model.deviation);
    let labels = part.labels.take();
    let normalised = match per_pixel {
        Some(places) => places.normalised(raw),
        None => {
            let global = globally_normalised(raw, dim, mean, deviation);
            window_normalised(global, normalisation, mean, deviation)
        }
    };
    *part = Dataset {
        labels,
        ..normalised
    };
}

#[cfg(test)]
mod tests {
    use super::super::{DataConfig, SignalConfig, npy::write_npy_f32};
    use super::*;

    /// A recording three times as loud, and with an offset, as the model of the quiet one takes it.
    #[test]
    fn a_louder_recording_stays_louder() {
        let folder = tempfile::tempdir().unwrap();
        let wave = |t: usize| (t as f32 * 0.37).sin() + 0.2 * (t as f32 * 1.9).sin();
        let load = |name: &str, normalisation, gain: f32, offset: f32| {
            let path = folder.path().join(name);
            let values: Vec<f32> = (0..4000).map(|t| gain * wave(t) + offset).collect();
            write_npy_f32(&path, &[values.len()], &values).unwrap();
            let config = SignalConfig {
                path: Some(path.into()),
                normalisation,
                ..SignalConfig::default()
            };
            DataConfig::Signal(config).load(None, 1).unwrap()
        };
        for (normalisation, gain, offset) in [
            (Normalisation::Global, 3.0, 5.0),
            (Normalisation::WindowMean, 3.0, 0.0),
            // A window's own deviation is divided out.
            (Normalisation::Window, 1.0, 0.0),
        ] {
            let quiet = load("quiet.npy", normalisation, 1.0, 0.0);
            let loud = load("loud.npy", normalisation, 3.0, 5.0);
            let model = quiet.preprocessing;
            let expected: Vec<f32> = match normalisation {
                Normalisation::Global => {
                    let of = |y: &f32| {
                        let raw = y * model.deviation + model.mean;
                        (gain * raw + offset - model.mean) / model.deviation
                    };
                    quiet.test.samples.iter().map(of).collect()
                }
                _ => quiet.test.samples.iter().map(|y| gain * y).collect(),
            };
            let raw = |splits: &Splits, index: usize| {
                let mut sample = splits.test.sample(index).to_vec();
                splits.test.restore.restore(index, &mut sample);
                sample
            };
            let before = raw(&loud, 7);
            let found = loud.preprocessed_as(&model, None).unwrap();
            let close = |a: &[f32], b: &[f32]| {
                let far = a.iter().zip(b).map(|(a, b)| (a - b).abs());
                far.fold(0.0, f32::max) < 2e-4
            };
            assert!(close(&found.test.samples, &expected), "{normalisation:?}");
            // Raw units are as they were.
            assert!(close(&raw(&found, 7), &before), "{normalisation:?}");
            assert_eq!(found.preprocessing, model);
            // The model's own data keep their bits.
            let again = quiet.clone().preprocessed_as(&model, None).unwrap();
            assert_eq!(again.test.samples, quiet.test.samples);
        }
    }

    #[test]
    fn each_place_may_have_the_statistics_of_the_model() {
        let splits = DataConfig::Ecg(Default::default()).load(None, 1).unwrap();
        let dim = splits.test.dim;
        let model = PerPixel {
            mean: (0..dim).map(|place| 0.01 * place as f32).collect(),
            deviation: (0..dim).map(|place| 1.0 + place as f32).collect(),
        };
        let mut raw = splits.test.sample(3).to_vec();
        splits.test.restore.restore(3, &mut raw);
        let found = splits
            .clone()
            .preprocessed_as(&Preprocessing::IDENTITY, Some(&model));
        let found = found.unwrap();
        for (place, (value, raw)) in found.test.sample(3).iter().zip(&raw).enumerate() {
            let expected = (raw - 0.01 * place as f32) / (1.0 + place as f32);
            assert!(
                (value - expected).abs() < 1e-6,
                "{place}: {value} {expected}"
            );
        }
        let again = found
            .clone()
            .preprocessed_as(&Preprocessing::IDENTITY, Some(&model));
        assert_eq!(again.unwrap().test.samples, found.test.samples);
        let back = found.preprocessed_as(&splits.preprocessing, None).unwrap();
        let far = back.test.samples.iter().zip(&splits.test.samples);
        assert!(far.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) < 1e-4);
        let short = PerPixel {
            mean: vec![0.0],
            deviation: vec![1.0],
        };
        assert!(
            splits
                .preprocessed_as(&Preprocessing::IDENTITY, Some(&short))
                .is_none()
        );
    }

    #[test]
    fn another_kind_of_contrast_is_not_made() {
        let splits = DataConfig::Ecg(Default::default()).load(None, 1).unwrap();
        let model = Preprocessing {
            contrast: Contrast::RemoveMean,
            ..splits.preprocessing
        };
        assert!(splits.preprocessed_as(&model, None).is_none());
    }
}
