//! Numbers that are no longer usable.

/// What is no longer a usable number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{tensor}: {what}; {remedy}")]
pub struct Divergence {
    /// The tensor.
    pub tensor: String,
    /// What is wrong with it.
    pub what: &'static str,
    /// What helps.
    pub remedy: &'static str,
}

impl Divergence {
    /// A divergence of `tensor`.
    pub fn new(tensor: impl Into<String>, what: &'static str, remedy: &'static str) -> Self {
        Self {
            tensor: tensor.into(),
            what,
            remedy,
        }
    }
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The numbers left the floats.
    #[error(transparent)]
    Diverged(#[from] Divergence),
    /// The device or a shape.
    #[error(transparent)]
    Device(#[from] candle_core::Error),
}
