//! From a run that denoises to the model file.

use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, CodeSign, Contrast, GramStorage, InputShape,
    IntegerWritten, OwnedDecoder, OwnedGram, OwnedModel, OwnedProvenance, OwnedSpec, Preprocessing,
    Variant, WeightType, Written, write_integer_with, write_with_report,
};
use sparsecode_runtime::CodeBuffer as _;

use super::calibrate::ranges_of;
use super::{Calibration, ExportError, HostModel, transposed, values};
use crate::data::{DataConfig, DataFacts, Dataset};
use crate::denoising::{DenoiseConfig, GramNetwork, Noise, Part, level};
use crate::rng::{Stream, generator};
use crate::run::{CheckpointError, RunFolder, Tensors, Weights, tensor, without_place};

/// Draws of the noise that ranges are found with; see [`Stream::Noise`].
const CALIBRATION: u16 = 4;

/// The range of codes beside the largest one of the calibration: another part of a recording has
/// stronger beats. Without this room a model of MIT-BIH record 208 lost 0.13 dB on its test part.
const HEADROOM: f32 = 1.5;

/// A finished or running run of the family that denoises, opened for use.
pub struct DenoiserRun {
    /// The resolved configuration.
    pub config: DenoiseConfig,
    /// The best network's parameters.
    pub tensors: Tensors,
    /// The data's facts.
    pub facts: DataFacts,
    /// The epoch that the network was kept after.
    pub epoch: u32,
    /// The commit of the program that trained it.
    pub commit: String,
}

impl DenoiserRun {
    /// Opens the best network of a run.
    ///
    /// # Errors
    ///
    /// Names the file and field that is missing or wrong, or the keys of `config.toml` that were
    /// edited after training.
    pub fn open(folder: &RunFolder) -> Result<Self, ExportError> {
        let config = DenoiseConfig::read(&folder.config())?;
        let weights = Weights::read(&folder.best())?;
        if let Some(differences) = weights.differences(&config)?
            && !differences.keys.is_empty()
        {
            return Err(ExportError::Edited {
                folder: folder.path().display().to_string(),
                differences,
            });
        }
        Ok(Self {
            config,
            tensors: weights.tensors().clone(),
            facts: weights.data().clone(),
            epoch: weights.epoch(),
            commit: weights.commit().to_owned(),
        })
    }

    /// Writes the model file's bytes; the same run gives the same bytes.
    ///
    /// # Errors
    ///
    /// [`ExportError::Write`] names the tensor or field that a model file cannot hold.
    pub fn export(&self, weights: WeightType) -> Result<Written, ExportError> {
        Ok(write_with_report(&self.owned()?, weights)?)
    }

    /// Writes the bytes of a model file for integer arithmetic, with activations of 16 bits whose
    /// ranges are found from `stretches` of the data with the noisiest noise that the run knows.
    ///
    /// # Errors
    ///
    /// [`ExportError::Write`] names the tensor or field that a model file cannot hold;
    /// [`ExportError::Samples`] stretches that no ranges can be found from.
    pub fn export_integer(
        &self,
        stretches: &Dataset,
        method: Calibration,
        input_scale: Option<f32>,
        weights: WeightType,
        storage: GramStorage,
    ) -> Result<(IntegerWritten, ActivationRanges), ExportError> {
        let model = self.owned()?;
        let noisy = self.noisy(stretches)?;
        let raw: Vec<f32> = noisy
            .iter()
            .flat_map(|(_, window)| window.clone())
            .collect();
        let activations = Activations::I16;
        let contrast = model.spec.preprocessing.contrast;
        let codes = || codes(&model, &noisy);
        let mut ranges = ranges_of(&raw, codes, contrast, method, input_scale, activations)?;
        ranges.code_max *= HEADROOM;
        let written = write_integer_with(&model, &ranges, weights, activations, storage)?;
        Ok((written, ranges))
    }

    /// Noisy windows in raw units, each with the deviation of its noise: the run's own, at its
    /// lowest level.
    fn noisy(&self, stretches: &Dataset) -> Result<Vec<(f32, Vec<f32>)>, ExportError> {
        let config = &self.config.family.noise;
        let sigma = level(config.lowest) as f32;
        let noise = Noise::of(config, None, self.drift(), stretches.dim, Part::Training)?;
        let mut rng = generator(
            self.config.seed,
            Stream::Noise {
                purpose: CALIBRATION,
            },
        );
        let mut windows = Vec::new();
        for (index, stretch) in stretches.samples.chunks_exact(stretches.dim).enumerate() {
            let mut stretch = stretch.to_vec();
            noise.add(&mut rng, sigma, &mut stretch);
            stretches.restore.restore(index, &mut stretch);
            let mut ends = [0.0, sigma];
            stretches.restore.restore(index, &mut ends);
            let own = ends[1] - ends[0];
            for window in self.windows(&stretch) {
                windows.push((own, window));
            }
        }
        Ok(windows)
    }

    /// The length of the means that are taken off the data.
    fn drift(&self) -> Option<usize> {
        match &self.config.data {
            DataConfig::Signal(signal) => signal.drift,
            _ => None,
        }
    }

    /// Windows side by side in a stretch; of a tile, the patch at its beginning.
    fn windows(&self, stretch: &[f32]) -> Vec<Vec<f32>> {
        let (side, shape) = (self.config.family.model.window, self.input_shape());
        if shape.is_window() {
            return stretch.chunks_exact(side).map(<[f32]>::to_vec).collect();
        }
        let lines = stretch.chunks_exact(stretch.len().isqrt()).take(side);
        vec![lines.flat_map(|line| &line[..side]).copied().collect()]
    }

    /// The shape of a window: the data's are stretches of windows, or tiles of patches.
    fn input_shape(&self) -> InputShape {
        // The configuration has checked that sizes fit.
        let side = u16::try_from(self.config.family.model.window).unwrap_or(u16::MAX);
        let is_of_patches = |(shape, _): (InputShape, Preprocessing)| !shape.is_window();
        match self.facts.parse().is_ok_and(is_of_patches) {
            true => InputShape {
                height: side,
                width: side,
            },
            false => InputShape::window(side),
        }
    }

    /// The model in the file's orientation.
    fn owned(&self) -> Result<OwnedModel, ExportError> {
        let (_, mut preprocessing) = self.facts.parse_uniform()?;
        let model = &self.config.family.model;
        let shape = self.input_shape();
        if !shape.is_window() {
            preprocessing.contrast = Contrast::RemoveMean;
        }
        let find = |name: &str, shape: &[usize]| {
            let found = tensor(&self.tensors, name, shape);
            found.map_err(|error| CheckpointError::of_state("weights", &error))
        };
        let sizes = (shape.input_dim(), model.code_dim, model.iterations);
        let network = GramNetwork {
            dictionary: find("decoder.dictionary", &[sizes.0, sizes.1])?.clone(),
            steps: find("encoder.steps", &[sizes.2])?.clone(),
            thresholds: find("encoder.thresholds", &[sizes.2, sizes.1])?.clone(),
            gain: find("decoder.gain", &[sizes.1])?.clone(),
        };
        let log_weights = values(find("window.log_weights", &[shape.overlap_weights()])?)?;
        let thresholds = values(&network.thresholds)?;
        // The configuration has checked that sizes fit.
        let narrow = |x: usize| u16::try_from(x).unwrap_or(u16::MAX);
        let noise = &self.config.family.noise;
        let noise_level = level(0.5 * (noise.lowest + noise.highest)) as f32;
        let mean = thresholds.iter().sum::<f32>() / thresholds.len() as f32;
        let spec = OwnedSpec {
            variant: Variant::Denoise,
            input_shape: shape,
            code_dim: narrow(model.code_dim),
            hidden_dim: 0,
            lista_iterations: None,
            codes: CodeSign::NonNegative,
            lambda: 2.0 / shape.input_dim() as f32 * mean.max(0.0) * noise_level,
            preprocessing,
            peak: self.facts.peak,
            input: self.facts.input()?,
            provenance: OwnedProvenance {
                data: self.facts.description.clone(),
                seed: self.config.seed,
                epoch: self.epoch,
                commit: self.commit.clone(),
                config_hash: without_place(&self.config).hash(),
            },
        };
        // Gains below 0 are of atoms that nothing uses.
        let gain = values(&network.gain)?.into_iter().map(|gain| gain.max(0.0));
        Ok(OwnedModel {
            spec,
            encoder: None,
            gram: Some(OwnedGram {
                steps: values(&network.steps)?,
                thresholds,
                gain: gain.collect(),
                noise_level,
                window_weights: log_weights.into_iter().map(f32::exp).collect(),
                hop: narrow(model.hop),
                drift: self.drift().map(narrow),
                is_white: noise.recordings.is_none() || noise.white == 1.0,
                guard: model.guard as f32,
            }),
            variational: None,
            decoder: OwnedDecoder::Linear {
                dictionary: transposed(&network.dictionary)?,
            },
        })
    }
}

/// Every component that is not 0 of the codes of windows after each iteration.
fn codes(model: &OwnedModel, windows: &[(f32, Vec<f32>)]) -> Result<Vec<f32>, ExportError> {
    let mut values = Vec::new();
    let Some(gram) = &model.gram else {
        return Ok(values);
    };
    let preprocessing = model.spec.preprocessing;
    for iterations in 1..=gram.steps.len() {
        let mut part = model.clone();
        if let Some(gram) = &mut part.gram {
            gram.steps.truncate(iterations);
            gram.thresholds
                .truncate(iterations * usize::from(model.spec.code_dim));
        }
        let bytes = AlignedBytes::from_slice(&sparsecode_formats::write(&part, WeightType::F32)?);
        let mut host = HostModel::new(&bytes, "the model to calibrate")?;
        for (sigma, window) in windows {
            host.set_noise_level(*sigma);
            let mean = match preprocessing.contrast {
                Contrast::RemoveMean => window.iter().sum::<f32>() / window.len() as f32,
                _ => preprocessing.mean,
            };
            let input: Vec<f32> = window
                .iter()
                .map(|x| (x - mean) / preprocessing.deviation)
                .collect();
            values.extend(host.encode(&input, None)?.values());
        }
    }
    Ok(values)
}
