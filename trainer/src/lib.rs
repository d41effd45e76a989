//! x
pub mod rng;
