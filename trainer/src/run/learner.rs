//! What learns: the part of a run that a family of models brings.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use super::divergence::{Divergence, StepError};
use super::figures::{Figures, StepFigures};
use crate::data::Samples;

/// Tensors by name, as checkpoints and logs call them.
pub type Tensors = BTreeMap<String, Tensor>;

/// Everything that a learner is, by name: what a checkpoint holds.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Parameters, buffers and what optimisers keep, in f32.
    pub tensors: Tensors,
    /// Whole numbers, such as the steps that an optimiser has taken.
    pub counts: BTreeMap<String, u64>,
}

/// Why a learner cannot take a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct StateError {
    /// The tensor or count.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
}

impl From<candle_core::Error> for StateError {
    fn from(error: candle_core::Error) -> Self {
        Self {
            name: "device".to_owned(),
            problem: error.to_string(),
        }
    }
}

impl StateError {
    /// `name` is not there.
    pub fn missing(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            problem: "missing".to_owned(),
        }
    }
}

impl State {
    /// A tensor of this name and shape.
    ///
    /// # Errors
    ///
    /// Names the tensor that is missing or of another shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> std::result::Result<&Tensor, StateError> {
        tensor(&self.tensors, name, shape)
    }

    /// A count.
    ///
    /// # Errors
    ///
    /// Names the count that is missing.
    pub fn count(&self, name: &str) -> std::result::Result<u64, StateError> {
        let found = self.counts.get(name).copied();
        found.ok_or_else(|| StateError::missing(name))
    }
}

/// A tensor of this name and shape among others.
///
/// # Errors
///
/// Names the tensor that is missing or of another shape.
pub fn tensor<'a>(
    tensors: &'a Tensors,
    name: &str,
    shape: &[usize],
) -> std::result::Result<&'a Tensor, StateError> {
    let found = tensors.get(name).ok_or_else(|| StateError::missing(name))?;
    if found.dims() == shape {
        return Ok(found);
    }
    let problem = format!(
        "shape {:?}, but the configuration makes it {shape:?}",
        found.dims()
    );
    Err(StateError {
        name: name.to_owned(),
        problem,
    })
}

/// Samples of one step.
pub struct Batch<'a> {
    /// What the model is given, `batch × input_dim`.
    pub inputs: Tensor,
    /// What the model is to answer, `batch × input_dim`: the samples as they are. A learner that
    /// adds noise of its own to the inputs compares with them.
    pub targets: Tensor,
    /// The samples' places in the training set.
    pub places: &'a [u32],
}

/// Where a step stands in its run. Random draws of a step are functions of the seed and this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// From 0.
    pub epoch: u32,
    /// In the epoch, from 0.
    pub batch: usize,
    /// In the run, from 0.
    pub step: u64,
}

/// The training set, and how one epoch goes through it.
pub struct Epoch<'a> {
    /// The training set.
    pub set: &'a Samples,
    /// From 0.
    pub index: u32,
    /// The places of the samples in the order in which they are taken.
    pub order: &'a [u32],
    /// Samples in a batch; the last batch may have fewer.
    pub batch_size: usize,
    /// Batches.
    pub batches: usize,
}

impl<'a> Epoch<'a> {
    /// A batch by its place in the epoch, which is below [`Epoch::batches`].
    ///
    /// # Errors
    ///
    /// What the device says.
    pub fn batch(&self, place: usize) -> Result<Batch<'a>> {
        let first = place * self.batch_size;
        let end = (first + self.batch_size).min(self.order.len());
        let places = &self.order[first..end];
        let inputs = self.set.rows(places)?;
        Ok(Batch {
            targets: inputs.clone(),
            inputs,
            places,
        })
    }

    /// Where the step of a batch stands.
    pub fn at(&self, place: usize) -> At {
        At {
            epoch: self.index,
            batch: place,
            step: u64::from(self.index) * self.batches as u64 + place as u64,
        }
    }
}

impl Epoch<'_> {
    /// Has `learner` take the step of one batch: what [`Learner::advance`] does where steps are
    /// taken one by one.
    ///
    /// # Errors
    ///
    /// What the device says.
    pub fn step<L: Learner + ?Sized>(&self, learner: &mut L, place: usize) -> Result<Advance> {
        match learner.step(&self.batch(place)?, self.set, self.at(place)) {
            Ok(figures) => Ok(Advance {
                steps: vec![figures],
                divergence: None,
            }),
            Err(StepError::Diverged(divergence)) => Ok(Advance {
                steps: Vec::new(),
                divergence: Some(divergence),
            }),
            Err(StepError::Device(error)) => Err(error),
        }
    }
}

/// What became of one or several steps.
#[derive(Debug, Default)]
pub struct Advance {
    /// The figures of each step that was taken.
    pub steps: Vec<StepFigures>,
    /// Why the step after them could not be taken; no parameter has changed since the last of them.
    pub divergence: Option<Divergence>,
}

/// What learns.
///
/// A run calls [`begin`](Learner::begin) once, then for every epoch [`advance`](Learner::advance)
/// until all batches are done, [`settle`](Learner::settle), [`validate`](Learner::validate), and
/// where it saves [`model`](Learner::model) and [`state`](Learner::state). What `state` gives,
/// `restore` takes: a run that was interrupted ends at the bits of one that was not.
pub trait Learner {
    /// What helps if the objective on the validation set is not finite.
    fn remedy(&self) -> &'static str {
        "check the validation data for NaN, or lower the learning rate"
    }

    /// Whether an epoch ends with a batch of the samples that are left over. Otherwise they are not
    /// used in that epoch.
    fn keeps_incomplete_batch(&self) -> bool {
        false
    }

    /// Gets ready for a run on these sets.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn begin(&mut self, _train: &Samples, _validation: &Samples) -> Result<()> {
        Ok(())
    }

    /// Gets a model that was set ready to be measured as at the end of a run on these samples.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn calibrate(&mut self, _train: &Samples) -> Result<()> {
        Ok(())
    }

    /// Takes one step.
    ///
    /// # Errors
    ///
    /// [`StepError::Diverged`] names what stopped being a usable number; the parameters are then as
    /// they were.
    fn step(
        &mut self,
        batch: &Batch<'_>,
        set: &Samples,
        at: At,
    ) -> std::result::Result<StepFigures, StepError>;

    /// Takes the steps of batch `first` and, if several are done in a moment, of batches that
    /// follow; at least one, unless it diverges.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn advance(&mut self, epoch: &Epoch<'_>, first: usize) -> Result<Advance> {
        epoch.step(self, first)
    }

    /// Called when the batches of an epoch are done, and when a run is stopped.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// Measures the model on a set. With `noise`, on the set with Gaussian noise of this deviation,
    /// in preprocessed units, added to every number; reconstructions are compared with the samples
    /// without noise.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn measure(&self, set: &Samples, noise: Option<f64>) -> Result<Figures>;

    /// Measures the model on the validation set as it is trained: with rounded weights, say.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn validate(&mut self, validation: &Samples) -> Result<Figures> {
        self.measure(validation, None)
    }

    /// Figures of the learner itself after `epoch` (from 0): norms, rates.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn figures(&self, _epoch: u32) -> Result<Figures> {
        Ok(Figures::new())
    }

    /// Parameters and buffers: all that is needed to use the model.
    fn model(&self) -> Tensors;

    /// Takes the parameters of a model like this one.
    ///
    /// # Errors
    ///
    /// Names the tensor that is missing or of another shape.
    fn set_model(&mut self, model: &Tensors) -> std::result::Result<(), StateError>;

    /// Takes the parameters of another run to start from.
    ///
    /// # Errors
    ///
    /// Names the tensor that is missing or of another shape.
    fn start_from(&mut self, model: &Tensors) -> std::result::Result<(), StateError> {
        self.set_model(model)
    }

    /// All that decides how learning goes on, the model included.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn state(&self) -> Result<State>;

    /// Takes a state that a learner like this one gave.
    ///
    /// # Errors
    ///
    /// Names what is missing or of another shape.
    fn restore(&mut self, state: &State) -> std::result::Result<(), StateError>;

    /// Whether writing files takes longer than an epoch, so that not every epoch is saved.
    fn is_faster_than_files(&self) -> bool {
        false
    }
}

/// A family may have learners of several kinds.
impl<L: Learner + ?Sized> Learner for Box<L> {
    fn remedy(&self) -> &'static str {
        (**self).remedy()
    }

    fn keeps_incomplete_batch(&self) -> bool {
        (**self).keeps_incomplete_batch()
    }

    fn begin(&mut self, train: &Samples, validation: &Samples) -> Result<()> {
        (**self).begin(train, validation)
    }

    fn calibrate(&mut self, train: &Samples) -> Result<()> {
        (**self).calibrate(train)
    }

    fn step(
        &mut self,
        batch: &Batch<'_>,
        set: &Samples,
        at: At,
    ) -> std::result::Result<StepFigures, StepError> {
        (**self).step(batch, set, at)
    }

    fn advance(&mut self, epoch: &Epoch<'_>, first: usize) -> Result<Advance> {
        (**self).advance(epoch, first)
    }

    fn settle(&mut self) -> Result<()> {
        (**self).settle()
    }

    fn measure(&self, set: &Samples, noise: Option<f64>) -> Result<Figures> {
        (**self).measure(set, noise)
    }

    fn validate(&mut self, validation: &Samples) -> Result<Figures> {
        (**self).validate(validation)
    }

    fn figures(&self, epoch: u32) -> Result<Figures> {
        (**self).figures(epoch)
    }

    fn model(&self) -> Tensors {
        (**self).model()
    }

    fn set_model(&mut self, model: &Tensors) -> std::result::Result<(), StateError> {
        (**self).set_model(model)
    }

    fn start_from(&mut self, model: &Tensors) -> std::result::Result<(), StateError> {
        (**self).start_from(model)
    }

    fn state(&self) -> Result<State> {
        (**self).state()
    }

    fn restore(&mut self, state: &State) -> std::result::Result<(), StateError> {
        (**self).restore(state)
    }

    fn is_faster_than_files(&self) -> bool {
        (**self).is_faster_than_files()
    }
}
