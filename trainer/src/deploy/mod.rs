//! From a run to the model file, from the papers' PyTorch weights or a dictionary to a run, and
//! running a model file on the host.

mod calibrate;
mod cleaner;
mod contrast;
pub mod denoise;
mod denoiser;
mod dictionary;
pub mod frame;
pub mod gain;
pub mod given;
mod host;
pub mod measure;
pub mod qrs;
mod release;
pub mod same_l0;
mod torch;
pub mod units;
mod variational;

pub use calibrate::{Calibration, calibrate};
pub use cleaner::{Counts, Noise};
pub use denoiser::DenoiserRun;
pub use dictionary::{Atoms, Dictionary, DictionaryError};
pub use host::{Cleaned, HostError, HostModel, HostRefine, HostStream, read_model};
pub use release::import_variational;
pub use torch::import_torch;
pub use variational::{Deterministic, VariationalRun};

use std::path::Path;

use candle_core::Tensor;
use sparsecode_formats::{
    ActivationRanges, Activations, CodeSign, IntegerWritten, OwnedDecoder, OwnedEncoder,
    OwnedModel, OwnedProvenance, OwnedSpec, SpecError, WeightType, WriteError, Written,
    write_integer_as, write_with_report,
};

use crate::data::{DataError, DataFacts, Dataset};
use crate::lista::model::{Autoencoder, Decoder};
use crate::lista::{Config, Lista, autoencoder_of};
use crate::run::ConfigError;
use crate::run::{
    Checkpoint, CheckpointError, Differences, Family, RunFolder, Tensors, Weights, without_place,
};

/// Why a run cannot be exported or weights cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The run's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Data that the configuration names.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The run's weights.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A `config.toml` that was edited after training: with it the weights would be another model.
    #[error(
        "{folder}: config.toml is not what the model was trained with: {differences}; put it back, or train with the new values into another folder"
    )]
    Edited {
        /// Folder of the run.
        folder: String,
        /// What differs.
        differences: Differences,
    },
    /// A fact about the data that a model file cannot hold.
    #[error("data facts of the run: {0}")]
    Facts(#[from] SpecError),
    /// The model file.
    #[error("model file: {0}")]
    Write(#[from] WriteError),
    /// Samples that no ranges can be found from.
    #[error("the samples {0}")]
    Samples(&'static str),
    /// Convolutional networks, which devices do not have.
    #[error(
        "{0}: a model file holds dense layers, and this run's encoder and generator are convolutions, so that neither they nor the encoder alone run on devices; `sparsecode evaluate` and `sparsecode features` use the run here; for a device train on the same data with --preset {dense}, which learns a dictionary, and export that run", dense = .0.replace("conv-", "")
    )]
    Convolutions(&'static str),
    /// A posterior whose samples no device draws.
    #[error("--posterior: the run {0}")]
    Posterior(&'static str),
    /// Running the model for its ranges.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A torch file that cannot be used.
    #[error("{file}: {problem}")]
    Torch {
        /// The file.
        file: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// A tensor operation.
    #[error("device: {0}")]
    Device(#[from] candle_core::Error),
}

/// A finished or running run, opened for use: its configuration and its best model.
pub struct TrainedRun {
    /// The resolved configuration.
    pub config: Config,
    /// The best model.
    pub model: Autoencoder,
    /// The data's facts.
    pub facts: DataFacts,
    /// The epoch that the model was kept after; 0 for imported weights.
    pub epoch: u32,
    /// The commit of the program that trained it.
    pub commit: String,
}

impl TrainedRun {
    /// Opens the best model of a run.
    ///
    /// # Errors
    ///
    /// Names the file and field that is missing or wrong, or the keys of `config.toml` that were
    /// edited after training (all but `epochs`, `patience` and the place of the data count).
    pub fn open(folder: &RunFolder) -> Result<Self, ExportError> {
        let config = Config::read(&folder.config())?;
        let weights = Weights::read(&folder.best())?;
        if let Some(differences) = weights.differences(&config)? {
            // An old file's hash counts length and place, too; the checkpoint of the same run tells
            // whether there is more to it.
            let harmless = differences.keys.is_empty()
                && Checkpoint::read::<Lista>(&folder.checkpoint()).is_ok_and(|mut checkpoint| {
                    checkpoint.forget_place(&config);
                    checkpoint.is_of(&config)
                });
            if !harmless {
                return Err(ExportError::Edited {
                    folder: folder.path().display().to_string(),
                    differences,
                });
            }
        }
        let model = autoencoder_of(&weights, &config)?;
        Ok(Self {
            config,
            model,
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

    /// [`export_integer_as`](Self::export_integer_as) with 8-bit weights and 16-bit activations.
    ///
    /// # Errors
    ///
    /// As [`export_integer_as`](Self::export_integer_as).
    pub fn export_integer(
        &self,
        samples: &Dataset,
        method: Calibration,
        input_scale: Option<f32>,
    ) -> Result<(IntegerWritten, ActivationRanges), ExportError> {
        let (weights, activations) = (WeightType::I8, Activations::I16);
        self.export_integer_as(samples, method, input_scale, weights, activations)
    }

    /// Writes the bytes of a model file for integer arithmetic: 8- or 4-bit weights, activations
    /// with ranges found from `samples`.
    ///
    /// If a sum could overflow, and the input's scale is not given, it is made coarser until none
    /// can.
    ///
    /// # Errors
    ///
    /// [`ExportError::Write`] names the tensor or field that a model file cannot hold.
    pub fn export_integer_as(
        &self,
        samples: &Dataset,
        method: Calibration,
        input_scale: Option<f32>,
        weights: WeightType,
        activations: Activations,
    ) -> Result<(IntegerWritten, ActivationRanges), ExportError> {
        let model = self.owned()?;
        let mut ranges = calibrate(&model, samples, method, input_scale, activations)?;
        loop {
            match write_integer_as(&model, &ranges, weights, activations) {
                Ok(written) => return Ok((written, ranges)),
                Err(WriteError::Overflow(overflow))
                    if overflow.by_input && input_scale.is_none() && ranges.input_max > 255 =>
                {
                    ranges.input_scale *= 2.0;
                    ranges.input_min /= 2;
                    ranges.input_max /= 2;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The model in the file's orientation.
    fn owned(&self) -> Result<OwnedModel, ExportError> {
        let (input_shape, preprocessing) = self.facts.parse_uniform()?;
        let model = &self.model;
        // The configuration has checked that dimensions fit.
        let narrow = |x: usize| u16::try_from(x).unwrap_or(u16::MAX);
        let spec = OwnedSpec {
            variant: self.config.family.variant,
            input_shape,
            code_dim: narrow(self.config.family.model.code_dim),
            hidden_dim: narrow(self.config.family.model.hidden_dim),
            lista_iterations: model
                .encoder
                .as_ref()
                .map(|e| u8::try_from(e.iterations).unwrap_or(u8::MAX)),
            codes: CodeSign::NonNegative,
            lambda: self.config.family.inference.lambda as f32,
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
        let encoder = match &model.encoder {
            Some(encoder) => Some(OwnedEncoder {
                input: values(&encoder.input)?,
                bias: values(&encoder.bias)?,
                recurrent: transposed(&encoder.recurrent)?,
            }),
            None => None,
        };
        let decoder = match &model.decoder {
            Decoder::Linear { dictionary } => OwnedDecoder::Linear {
                dictionary: transposed(dictionary)?,
            },
            Decoder::OneHidden {
                hidden,
                hidden_bias,
                output,
            } => OwnedDecoder::OneHidden {
                hidden: transposed(hidden)?,
                hidden_bias: values(hidden_bias)?,
                output: transposed(output)?,
            },
        };
        Ok(OwnedModel {
            spec,
            encoder,
            gram: None,
            variational: None,
            decoder,
        })
    }
}

fn values(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

fn transposed(matrix: &Tensor) -> candle_core::Result<Vec<f32>> {
    values(&matrix.t()?.contiguous()?)
}

/// Makes a run of a configuration and weights, as if it had been trained: `config.toml` and
/// `best.safetensors`.
///
/// # Errors
///
/// Names the file that cannot be written.
pub fn write_run<F: Family>(
    folder: &RunFolder,
    config: &crate::run::Config<F>,
    model: Tensors,
    facts: &DataFacts,
    epoch: u32,
) -> Result<(), CheckpointError> {
    Weights::new(model, config, facts, epoch).write(&folder.best())?;
    crate::storage::write_atomic(folder.config(), config.to_toml().as_bytes())?;
    Ok(())
}

fn io_problem(path: &Path, error: &std::io::Error) -> ExportError {
    ExportError::Torch {
        file: path.display().to_string(),
        problem: error.to_string(),
    }
}
