//! What elements of a stream are.

use super::bands::Banded;
use super::drift_core::Averaged;
use super::weighting::sealed::Arithmetic;

/// The number type of a stream: `f32` or `i16`. Cannot be implemented elsewhere.
pub trait Sample: Arithmetic + Averaged + Banded {}

impl Sample for f32 {}
impl Sample for i16 {}
