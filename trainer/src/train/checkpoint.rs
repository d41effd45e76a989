//! Files of a run: the checkpoint to resume from, and the best weights.
//!
//! Both are safetensors with named tensors in the papers' orientation and one metadata entry, a JSON document.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, View};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sparsecode_formats::{Contrast, InputFacts, InputShape, NumberType, Preprocessing};

use super::identity::{Differences, differences, essence, identity, with_place, without_place};
use super::{Learner, Position};
use crate::config::Config;
use crate::data::Splits;
use crate::model::{Autoencoder, Decoder, Encoder};
use crate::storage::{StorageError, write_atomic};

const METADATA_KEY: &str = "sparsecode";
const VERSION: u32 = 1;

/// Why a file of a run cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It cannot be read.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    /// It is not such a file, or a field in it is wrong.
    #[error("{file}: {field}: {problem}")]
    Field {
        /// The file.
        file: String,
        /// The tensor or metadata field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It cannot be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The device.
    #[error("device: {0}")]
    Device(#[from] candle_core::Error),
}

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
    /// CRC-32 of the training and validation samples, so that a run is not continued on other data; empty where weights were
    /// imported.
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
        }
    }

    /// The facts of MNIST, which are published constants.
    pub fn mnist() -> Self {
        Self {
            input_shape: "28x28".to_owned(),
            mean: crate::data::mnist::MEAN,
            deviation: crate::data::mnist::DEVIATION,
            contrast: Contrast::None.to_string(),
            peak: 1.0,
            description: "MNIST".to_owned(),
            digest: String::new(),
            raw_range: Some([0.0, 1.0]),
            sample_rate: None,
            number_type: Some(NumberType::U8.to_string()),
        }
    }

    /// Whether these are facts of the same samples, preprocessed alike, wherever they lie and whatever their files are called.
    pub fn same_samples(&self, other: &Self) -> bool {
        let of = |facts: &Self| {
            let Self {
                input_shape,
                contrast,
                digest,
                ..
            } = facts.clone();
            (input_shape, contrast, digest)
        };
        of(self) == of(other) && (self.mean, self.deviation) == (other.mean, other.deviation)
    }

    /// Shape and preprocessing in the model file's types.
    ///
    /// # Errors
    ///
    /// Names the field whose text is not valid.
    pub fn parse(&self) -> Result<(InputShape, Preprocessing), sparsecode_formats::SpecError> {
        let contrast: Contrast = self.contrast.parse()?;
        let preprocessing = Preprocessing {
            mean: self.mean,
            deviation: self.deviation,
            contrast,
        };
        Ok((self.input_shape.parse()?, preprocessing))
    }

    /// What is known of the raw samples, in the model file's types.
    ///
    /// # Errors
    ///
    /// Names the field whose value a model file cannot hold.
    pub fn input(&self) -> Result<InputFacts, sparsecode_formats::SpecError> {
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

/// Parameters alone, with what is needed to use them: `best.safetensors`.
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
    state: WeightsState,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct WeightsState {
    version: u32,
    commit: String,
    /// Hash of the configuration without the place of its data.
    config_hash: String,
    /// The configuration without its length and the place of its data, as TOML; files of older versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    configuration: Option<String>,
    epoch: u32,
    data: DataFacts,
}

impl Weights {
    /// The parameters of `model` after `epoch` epochs.
    pub fn of(model: &Autoencoder, config: &Config, facts: &DataFacts, epoch: u32) -> Self {
        let state = WeightsState {
            version: VERSION,
            commit: crate::COMMIT.to_owned(),
            config_hash: without_place(config).hash(),
            configuration: Some(essence(config).to_string()),
            epoch,
            data: facts.clone(),
        };
        Self {
            tensors: named(model),
            state,
        }
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    ///
    /// Names the file and what the system says.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        write(path, &self.tensors, &self.state)
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// Names the file and the field at fault.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let (tensors, state) = read(path)?;
        Ok(Self { tensors, state })
    }

    /// The epoch (from 1) after which these parameters were kept; 0 for imported ones.
    pub fn epoch(&self) -> u32 {
        self.state.epoch
    }

    /// The commit of the program that trained (or imported) them.
    pub fn commit(&self) -> &str {
        &self.state.commit
    }

    /// What is known of the data that they were trained on.
    pub fn data(&self) -> &DataFacts {
        &self.state.data
    }

    /// How `config` differs from what these parameters were trained with, length and place of the data aside; `None` if it does not.
    ///
    /// A file of an older version knows a hash alone, in which length and place count: then the difference has no keys.
    ///
    /// # Errors
    ///
    /// Names the field if the file's configuration is no TOML.
    pub fn differences(&self, config: &Config) -> Result<Option<Differences>, CheckpointError> {
        let keys = match &self.state.configuration {
            Some(text) => differences(&essence(config), &stored(text, "weights")?),
            None => {
                let hashes = [config.hash(), without_place(config).hash()];
                if hashes.contains(&self.state.config_hash) {
                    return Ok(None);
                }
                return Ok(Some(Differences::new(Vec::new())));
            }
        };
        Ok((!keys.is_empty()).then(|| Differences::new(keys)))
    }

    /// The model of `config` with these parameters.
    ///
    /// # Errors
    ///
    /// Names a tensor that is missing or of another shape.
    pub fn model(&self, config: &Config) -> Result<Autoencoder, CheckpointError> {
        let (shape, _) = self
            .state
            .data
            .parse()
            .map_err(|e| field("weights", "data", &e.to_string()))?;
        let mut model = blank_model(config, shape.input_dim())?;
        set_parameters(&mut model, &self.tensors, "weights")?;
        Ok(model)
    }
}

/// Parameters, optimiser state and position: `checkpoint.safetensors`.
///
/// Random numbers need no state of their own: they are functions of the seed and the position (see [`crate::rng`]).
pub struct Checkpoint {
    tensors: BTreeMap<String, Tensor>,
    state: CheckpointState,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CheckpointState {
    version: u32,
    /// The identity of the configuration.
    config_hash: String,
    /// As [`WeightsState::configuration`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    configuration: Option<String>,
    seed: u64,
    data: DataFacts,
    decoder_steps: u64,
    encoder_steps: u64,
    position: Position,
}

impl Checkpoint {
    /// The state of a run.
    ///
    /// # Errors
    ///
    /// Fails if the device fails.
    pub fn of(
        learner: &Learner,
        config: &Config,
        facts: &DataFacts,
        position: &Position,
    ) -> candle_core::Result<Self> {
        let mut tensors = named(&learner.model);
        for (name, first, second) in learner.moments()? {
            tensors.insert(format!("adam.first.{name}"), first);
            tensors.insert(format!("adam.second.{name}"), second);
        }
        let state = CheckpointState {
            version: VERSION,
            config_hash: identity(config),
            configuration: Some(essence(config).to_string()),
            seed: config.seed,
            data: facts.clone(),
            decoder_steps: learner.decoder_adam.steps(),
            encoder_steps: learner.encoder_adam.steps(),
            position: position.clone(),
        };
        Ok(Self { tensors, state })
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    ///
    /// Names the file and what the system says.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        write(path, &self.tensors, &self.state)
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// Names the file and the field at fault.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let (tensors, state) = read(path)?;
        Ok(Self { tensors, state })
    }

    /// Where the run stood.
    pub fn position(&self) -> &Position {
        &self.state.position
    }

    /// What is known of the data that the run was begun on.
    pub fn data(&self) -> &DataFacts {
        &self.state.data
    }

    /// Whether the run that `config` describes, length and place of the data aside, stood here.
    pub fn is_of(&self, config: &Config) -> bool {
        self.state.config_hash == identity(config)
    }

    /// Takes a checkpoint of an older version, whose hash counts the place of the data, for one of today, if `config` is the run's own
    /// with that place.
    pub(crate) fn forget_place(&mut self, config: &Config) {
        if self.state.config_hash == with_place(config) {
            self.state.config_hash = identity(config);
        }
    }

    /// Puts parameters and optimiser state into `learner`, which `config` and data with these `facts` made.
    pub(super) fn apply(
        &self,
        config: &Config,
        facts: &DataFacts,
        learner: &mut Learner,
    ) -> Result<(), CheckpointError> {
        let file = "checkpoint";
        if !self.is_of(config) {
            let remedy = "resume with the run's own, or train into another folder";
            let what = match &self.state.configuration {
                Some(text) => {
                    let keys = differences(&essence(config), &stored(text, file)?);
                    let named = Differences {
                        found_in: "this command",
                        stored_in: "the run",
                        ..Differences::new(keys)
                    };
                    format!(": {named}")
                }
                None => String::new(),
            };
            let problem = format!("made by another configuration{what}; {remedy}");
            return Err(field(file, "config_hash", &problem));
        }
        if !self.state.data.same_samples(facts) {
            let problem = format!(
                "the run was begun on '{}' (samples {}), but these are '{}' (samples {}); name the run's own data with --data, or train into another folder",
                self.state.data.description,
                self.state.data.digest,
                facts.description,
                facts.digest
            );
            return Err(field(file, "data", &problem));
        }
        set_parameters(&mut learner.model, &self.tensors, file)?;
        let moments = |name: &'static str| -> Result<(Tensor, Tensor), CheckpointError> {
            let get = |kind: &str| {
                let name = format!("adam.{kind}.{name}");
                self.tensors
                    .get(&name)
                    .cloned()
                    .ok_or_else(|| field(file, &name, "missing"))
            };
            Ok((get("first")?, get("second")?))
        };
        learner
            .decoder_adam
            .restore(self.state.decoder_steps, moments)?;
        learner
            .encoder_adam
            .restore(self.state.encoder_steps, moments)?;
        Ok(())
    }
}

/// The configuration that a file of a run holds.
fn stored(text: &str, file: &str) -> Result<toml::Table, CheckpointError> {
    text.parse()
        .map_err(|e: toml::de::Error| field(file, "configuration", e.message()))
}

fn named(model: &Autoencoder) -> BTreeMap<String, Tensor> {
    model
        .parameters()
        .into_iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
        .collect()
}

fn blank_model(config: &Config, input_dim: usize) -> Result<Autoencoder, candle_core::Error> {
    let (d, l, m) = (input_dim, config.model.code_dim, config.model.hidden_dim);
    let zeros =
        |rows: usize, columns: usize| Tensor::zeros((rows, columns), DType::F32, &Device::Cpu);
    let bias = |length: usize| Tensor::zeros(length, DType::F32, &Device::Cpu);
    let encoder = if config.has_encoder() {
        let iterations = config.model.lista_iterations;
        Some(Encoder {
            input: zeros(l, d)?,
            bias: bias(l)?,
            recurrent: zeros(l, l)?,
            iterations,
        })
    } else {
        None
    };
    let decoder = if m == 0 {
        Decoder::Linear {
            dictionary: zeros(d, l)?,
        }
    } else {
        Decoder::OneHidden {
            hidden: zeros(m, l)?,
            hidden_bias: bias(m)?,
            output: zeros(d, m)?,
        }
    };
    Ok(Autoencoder { encoder, decoder })
}

/// Gives `to` the parameters of `from`, which must be of the same shapes.
pub(super) fn copy_parameters(
    to: &mut Autoencoder,
    from: &Autoencoder,
    name: &str,
) -> Result<(), CheckpointError> {
    set_parameters(to, &named(from), name)
}

fn set_parameters(
    model: &mut Autoencoder,
    tensors: &BTreeMap<String, Tensor>,
    file: &str,
) -> Result<(), CheckpointError> {
    for (name, parameter) in model.parameters_mut() {
        let tensor = tensors
            .get(name)
            .ok_or_else(|| field(file, name, "missing"))?;
        if tensor.shape() != parameter.shape() {
            let problem = format!(
                "shape {:?}, but the configuration makes it {:?}",
                tensor.dims(),
                parameter.dims()
            );
            return Err(field(file, name, &problem));
        }
        *parameter = tensor.clone();
    }
    Ok(())
}

fn field(file: &str, field: &str, problem: &str) -> CheckpointError {
    CheckpointError::Field {
        file: file.to_owned(),
        field: field.to_owned(),
        problem: problem.to_owned(),
    }
}

/// A tensor as the safetensors crate wants it.
struct Bytes {
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl View for Bytes {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }
    fn data_len(&self) -> usize {
        self.data.len()
    }
}

fn write<S: Serialize>(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    state: &S,
) -> Result<(), CheckpointError> {
    let mut views = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let values: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let data = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        views.push((
            name.as_str(),
            Bytes {
                shape: tensor.dims().to_vec(),
                data,
            },
        ));
    }
    let name = path.display().to_string();
    let json =
        serde_json::to_string(state).map_err(|e| field(&name, METADATA_KEY, &e.to_string()))?;
    // One metadata entry: several would be written in the random order of a hash map.
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), json)]);
    let bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|e| field(&name, "file", &e.to_string()))?;
    write_atomic(path, &bytes)?;
    Ok(())
}

fn read<S: DeserializeOwned>(
    path: &Path,
) -> Result<(BTreeMap<String, Tensor>, S), CheckpointError> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|e| CheckpointError::Io(name.clone(), e))?;
    let not_a_file = |e: safetensors::SafeTensorError| {
        field(&name, "file", &format!("not a safetensors file: {e}"))
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(not_a_file)?;
    let json = header
        .metadata()
        .as_ref()
        .and_then(|map| map.get(METADATA_KEY));
    let json = json.ok_or_else(|| field(&name, METADATA_KEY, "missing: not a file of a run"))?;
    let version: Version =
        serde_json::from_str(json).map_err(|e| field(&name, METADATA_KEY, &e.to_string()))?;
    if version.version != VERSION {
        return Err(field(
            &name,
            "version",
            &format!("{}, but this program reads {VERSION}", version.version),
        ));
    }
    let state =
        serde_json::from_str(json).map_err(|e| field(&name, METADATA_KEY, &e.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(not_a_file)?;
    let mut tensors = BTreeMap::new();
    for (tensor_name, view) in file.tensors() {
        let tensor = tensor_of(&view).map_err(|problem| field(&name, &tensor_name, &problem))?;
        tensors.insert(tensor_name, tensor);
    }
    Ok((tensors, state))
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// A finite f32 tensor from a safetensors view.
pub(crate) fn tensor_of(view: &safetensors::tensor::TensorView<'_>) -> Result<Tensor, String> {
    if view.dtype() != Dtype::F32 {
        return Err(format!("dtype {:?}, expected F32", view.dtype()));
    }
    let values: Vec<f32> = view
        .data()
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    if values.iter().any(|value| !value.is_finite()) {
        return Err("a value is not finite".to_owned());
    }
    Tensor::from_vec(values, view.shape(), &Device::Cpu).map_err(|e| e.to_string())
}
