//! Files of a run: the checkpoint to resume from, and the best weights.
//!
//! Both are safetensors with named tensors in the papers' orientation and one metadata entry, a
//! JSON document.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, View};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::config::Config;
use super::family::Family;
use super::identity::{Differences, differences, essence, identity, with_place, without_place};
use super::learner::{State, StateError, Tensors};
use super::position::Position;
use crate::data::DataFacts;
use crate::storage::{StorageError, write_atomic};

const METADATA_KEY: &str = "sparsecode";
/// Of `best.safetensors`.
const WEIGHTS_VERSION: u32 = 1;
/// Of `checkpoint.safetensors`. Version 1 knew the first family alone, which upgrades it.
const CHECKPOINT_VERSION: u32 = 2;

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

impl CheckpointError {
    /// A state that a learner cannot take, from `file`.
    pub(crate) fn of_state(file: &str, error: &StateError) -> Self {
        field(file, &error.name, &error.problem)
    }
}

/// Parameters alone, with what is needed to use them: `best.safetensors`.
pub struct Weights {
    tensors: Tensors,
    state: WeightsState,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct WeightsState {
    version: u32,
    commit: String,
    /// Hash of the configuration without the place of its data.
    config_hash: String,
    /// The configuration without its length and the place of its data, as TOML; files of older
    /// versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    configuration: Option<String>,
    epoch: u32,
    data: DataFacts,
}

impl Weights {
    /// The parameters of a model after `epoch` epochs.
    pub fn new<F: Family>(
        model: Tensors,
        config: &Config<F>,
        facts: &DataFacts,
        epoch: u32,
    ) -> Self {
        let state = WeightsState {
            version: WEIGHTS_VERSION,
            commit: crate::COMMIT.to_owned(),
            config_hash: without_place(config).hash(),
            configuration: Some(essence(config).to_string()),
            epoch,
            data: facts.clone(),
        };
        Self {
            tensors: model,
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
        let file = File::read(path)?;
        file.check_version(WEIGHTS_VERSION)?;
        let state = file.metadata()?;
        Ok(Self {
            tensors: file.tensors,
            state,
        })
    }

    /// The parameters.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
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

    /// How `config` differs from what these parameters were trained with, length and place of the
    /// data aside; `None` if it does not.
    ///
    /// A file of an older version knows a hash alone, in which length and place count: then the
    /// difference has no keys.
    ///
    /// # Errors
    ///
    /// Names the field if the file's configuration is no TOML.
    pub fn differences<F: Family>(
        &self,
        config: &Config<F>,
    ) -> Result<Option<Differences>, CheckpointError> {
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
}

/// All of a learner, and its position: `checkpoint.safetensors`.
///
/// Random numbers need no state of their own: they are functions of the seed and the position (see
/// [`crate::rng`]).
pub struct Checkpoint {
    tensors: Tensors,
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
    /// [`State::counts`].
    counts: BTreeMap<String, u64>,
    position: Position,
}

impl Checkpoint {
    /// The state of a run.
    pub fn new<F: Family>(
        state: State,
        config: &Config<F>,
        facts: &DataFacts,
        position: &Position,
    ) -> Self {
        Self {
            tensors: state.tensors,
            state: CheckpointState {
                version: CHECKPOINT_VERSION,
                config_hash: identity(config),
                configuration: Some(essence(config).to_string()),
                seed: config.seed,
                data: facts.clone(),
                counts: state.counts,
                position: position.clone(),
            },
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

    /// Reads the file of a run of family `F`, also one that an older version wrote.
    ///
    /// # Errors
    ///
    /// Names the file and the field at fault.
    pub fn read<F: Family>(path: &Path) -> Result<Self, CheckpointError> {
        let mut file = File::read(path)?;
        match file.version()? {
            1 => F::upgrade_checkpoint(&mut file.metadata, &file.tensors),
            _ => file.check_version(CHECKPOINT_VERSION)?,
        }
        let mut state: CheckpointState = file.metadata()?;
        state.version = CHECKPOINT_VERSION;
        Ok(Self {
            tensors: file.tensors,
            state,
        })
    }

    /// Where the run stood.
    pub fn position(&self) -> &Position {
        &self.state.position
    }

    /// What is known of the data that the run was begun on.
    pub fn data(&self) -> &DataFacts {
        &self.state.data
    }

    /// The learner's state.
    pub fn learner(&self) -> State {
        State {
            tensors: self.tensors.clone(),
            counts: self.state.counts.clone(),
        }
    }

    /// Whether the run that `config` describes, length and place of the data aside, stood here.
    pub fn is_of<F: Family>(&self, config: &Config<F>) -> bool {
        self.state.config_hash == identity(config)
    }

    /// Takes a checkpoint of an older version, whose hash counts the place of the data, for one of
    /// today, if `config` is the run's own with that place.
    pub(crate) fn forget_place<F: Family>(&mut self, config: &Config<F>) {
        if self.state.config_hash == with_place(config) {
            self.state.config_hash = identity(config);
        }
    }

    /// Checks that the run that `config` describes, on data with these `facts`, stood here.
    ///
    /// # Errors
    ///
    /// Names what differs, and the remedy.
    pub(super) fn check<F: Family>(
        &self,
        config: &Config<F>,
        facts: &DataFacts,
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
        Ok(())
    }
}

/// The configuration that a file of a run holds.
fn stored(text: &str, file: &str) -> Result<toml::Table, CheckpointError> {
    text.parse()
        .map_err(|e: toml::de::Error| field(file, "configuration", e.message()))
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

fn write<S: Serialize>(path: &Path, tensors: &Tensors, state: &S) -> Result<(), CheckpointError> {
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

/// A file of a run, read.
struct File {
    name: String,
    tensors: Tensors,
    metadata: Map<String, Value>,
}

impl File {
    fn read(path: &Path) -> Result<Self, CheckpointError> {
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
        let json =
            json.ok_or_else(|| field(&name, METADATA_KEY, "missing: not a file of a run"))?;
        let metadata =
            serde_json::from_str(json).map_err(|e| field(&name, METADATA_KEY, &e.to_string()))?;
        let file = SafeTensors::deserialize(&bytes).map_err(not_a_file)?;
        let mut tensors = Tensors::new();
        for (tensor_name, view) in file.tensors() {
            let tensor =
                tensor_of(&view).map_err(|problem| field(&name, &tensor_name, &problem))?;
            tensors.insert(tensor_name, tensor);
        }
        Ok(Self {
            name,
            tensors,
            metadata,
        })
    }

    fn version(&self) -> Result<u32, CheckpointError> {
        let version = self.metadata.get("version").and_then(Value::as_u64);
        let version = version.and_then(|version| u32::try_from(version).ok());
        version.ok_or_else(|| field(&self.name, "version", "not a whole number"))
    }

    fn check_version(&self, readable: u32) -> Result<(), CheckpointError> {
        match self.version()? {
            version if version == readable => Ok(()),
            version => {
                let problem = format!("{version}, but this program reads {readable}");
                Err(field(&self.name, "version", &problem))
            }
        }
    }

    fn metadata<S: DeserializeOwned>(&self) -> Result<S, CheckpointError> {
        serde_json::from_value(Value::Object(self.metadata.clone()))
            .map_err(|e| field(&self.name, METADATA_KEY, &e.to_string()))
    }
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
