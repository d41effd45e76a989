//! What elements of a stream are.

use super::drift_core::Averaged;
use super::guard::Guarded;
use super::weighting::sealed::Arithmetic;

/// The number type of a stream: `f32` or `i16`. Cannot be implemented elsewhere.
pub trait Sample: Arithmetic + Averaged + Guarded {}

impl Sample for f32 {}
impl Sample for i16 {}
