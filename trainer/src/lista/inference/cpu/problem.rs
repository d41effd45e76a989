//! What the threads of one inference share.

use std::sync::RwLock;

use super::hidden::OneHidden;
use crate::lista::inference::energy::Energy;
use crate::tensor::fista::Outcome;
use crate::tensor::team::UNIT;

/// Samples that are worked on together. Fixed, so that sums have the same order whatever the number
/// of threads.
pub(super) const TILE: usize = UNIT;

/// The decoder's part of the gradient.
pub(super) enum Gradient<'a> {
    /// G, rows padded.
    Linear { gram: Vec<f32> },
    /// Both layers.
    OneHidden(OneHidden<'a>),
}

/// What all threads read.
pub(super) struct Problem<'a> {
    pub(super) energy: &'a Energy<'a>,
    /// η, or what the energy allows.
    pub(super) step_size: f64,
    pub(super) gradient: Gradient<'a>,
    /// n.
    pub(super) batch: usize,
    /// Whether the variance hinge acts.
    pub(super) has_hinge: bool,
    /// `2γ/l`, 0 without the encoder's term.
    pub(super) pull: f32,
    /// What the threads tell each other: one report each, of this iteration and of the last one.
    pub(super) reports: [Vec<RwLock<Report>>; 2],
}

/// What the gradient's constant part `c + (2γ/l) E(y)` is made of, `batch × code_dim` each.
pub(super) struct Constants<'a> {
    pub(super) correlation: Option<&'a [f32]>,
    pub(super) encoder_codes: Option<&'a [f32]>,
    /// `2γ/l`.
    pub(super) pull: f32,
}

/// What a thread tells the others after an iteration.
#[derive(Default)]
pub(super) struct Report {
    pub(super) found: Outcome,
    /// For each of its tiles, by component: the mean and the squared deviations of x.
    pub(super) means: Vec<f32>,
    pub(super) squares: Vec<f32>,
}

impl Report {
    pub(super) fn new(tiles: usize, stride: usize) -> Self {
        Self {
            means: vec![0.0; tiles * stride],
            squares: vec![0.0; tiles * stride],
            ..Self::default()
        }
    }
}
