//! What every run is, whatever it trains.
//!
//! A run is a [`Config`] in layers, a [`RunFolder`], a [`Position`], a [`Checkpoint`] and logs.
//! What learns in it is a [`Learner`] of a [`Family`] of models.

mod checkpoint;
mod config;
mod divergence;
mod family;
mod figures;
mod folder;
mod identity;
mod learner;
mod position;
pub mod reference;
mod session;
mod train;

pub(crate) use checkpoint::tensor_of;
pub use checkpoint::{Checkpoint, CheckpointError, Weights};
pub(crate) use config::merge;
pub use config::{Config, ConfigError, Settings, family_named, in_range};
pub use divergence::{Divergence, StepError};
pub use family::{Column, Family, Unit};
pub use figures::{EpochSums, Figures, Share, StepFigures};
pub use folder::RunFolder;
pub(crate) use identity::without_place;
pub use identity::{Difference, Differences};
pub use learner::{Advance, At, Batch, Epoch, Learner, State, StateError, Tensors, tensor};
pub use position::{Best, Ending, EpochRecord, LogError, Observer, Position, Silent};
pub use session::{Session, Trained};
pub use train::{TrainError, Trainer};
