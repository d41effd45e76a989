//! Variational sparse coding with learned thresholds (Fallah & Rozell 2022): codes are drawn from
//! what an encoder says of an input, and noise below a threshold makes a unit exactly 0.
//!
//! | | |
//! |---|---|
//! | [`MlpEncoder`] | what an encoder says of an input: a head for each parameter of a posterior |
//! | [`Posterior`] | how codes are drawn, how far they are from their prior, and the straight-through gradients |
//! | [`Seeded`], [`Given`] | samples of codes, of random numbers from a seed or of given ones |
//! | [`Objective`] | which of several samples count, and the gradient for the heads |
//! | [`Dictionary`] | the linear generator and its step |
//! | [`ConvEncoder`], [`ConvGenerator`] | convolutional networks for pictures |
//! | [`Nesterov`], [`OneCycle`] | how the encoder learns |
//! | [`BatchFista`] | codes by FISTA, to compare with |
//! | [`metrics`] | what is said of codes |
//!
//! Networks are candle's, with its automatic differentiation. Posteriors are in closed form on the
//! host, in `f64`.

mod body;
mod config;
mod conv;
mod conv_learner;
mod deterministic;
mod encoder;
mod family;
mod fista;
mod gamma;
mod learner;
pub mod metrics;
mod objective;
mod posterior;
mod sampler;
mod settings;
mod sgd;
mod statistics;

pub use body::{Encoder, ListaEncoder};
pub use config::{
    EncoderKind, FirstStep, FistaConfig, ObjectiveConfig, PosteriorConfig, ScheduleConfig,
    Threshold, Variational, VariationalConfig, VariationalModel, VariationalOptimizer,
};
pub use conv::{
    BatchNorm, ConvAdam, ConvEncoder, ConvGenerator, ConvPlan, Convolution, Geometry, KERNEL, Pass,
    Step, restore, snapshot,
};
pub use conv_learner::ConvLearner;
pub use deterministic::{Answer, Calibrated, Rule, calibrate};
pub use encoder::{Encoded, Head, Layer, MlpEncoder};
pub use fista::{BatchCodes, BatchFista, fista_of_activity, lipschitz};
pub use gamma::{gamma_divergence, implicit_shape_gradient, trigamma};
pub use learner::VariationalLearner;
pub use objective::{Counted, Dictionary, Objective, Outcome, Select};
pub use posterior::{
    Base, Divergence, Draw, Estimator, GateOdds, Heads, Posterior, Relaxation, ShiftGradient,
    Sparsity, Unit, Warmth,
};
pub use sampler::{Given, Sampler, Seeded};
pub use sgd::{Nesterov, OneCycle};
pub use statistics::{CodeStatistics, GradientStatistics};
