//! Settings and results of refinement in float arithmetic.

#![allow(unsafe_code, reason = "a deadline is a function of the program in C")]

use core::ffi::{c_int, c_void};

use super::status::{sparsecode_status as Status, sparsecode_stop};
use crate::float::refine::{Refine, Refinement, Start};
#[cfg(feature = "variational")]
use crate::float::sampling::{BestOf, Samples};

/// Where a refinement starts.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum sparsecode_start {
    /// At the code handed in, as the encoder left it.
    Code = 0,
    /// At zero.
    Zero = 1,
    /// With every component at `start_value`, which should be small and positive: for decoders with
    /// a hidden layer and no encoder.
    Constant = 2,
}

/// How a code is refined. `sparsecode_settings_for_model` and `sparsecode_settings_for_noise` fill
/// it in.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sparsecode_refine_settings {
    /// The weight of sparsity in the energy, finite, 0 or more. More makes the code sparser.
    pub lambda: f32,
    /// Step of the gradient, finite, above 0. Above the model's own the iteration may diverge.
    pub step_size: f32,
    /// Largest number of iterations.
    pub max_iterations: u32,
    /// Converged when the code changes by less, relative to itself; finite, 0 or more. 0 runs to
    /// the last iteration.
    pub tolerance: f32,
    /// A `sparsecode_start`.
    pub start: i32,
    /// The start's value, finite, 0 or more; for `SPARSECODE_START_CONSTANT`, else it may be
    /// anything.
    pub start_value: f32,
    /// Asked before each iteration; anything but 0 ends the refinement. May be null.
    pub deadline: Option<unsafe extern "C" fn(context: *mut c_void) -> c_int>,
    /// What `deadline` is called with.
    pub context: *mut c_void,
}

/// What a refinement did.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct sparsecode_refinement {
    /// Iterations made.
    pub iterations: u32,
    /// Why it ended.
    pub stopped: sparsecode_stop,
    /// Mean squared residual of the code, in the unit of the preprocessed patch.
    pub residual: f32,
    /// The residual and lambda times the sum of the code's magnitudes.
    pub energy: f32,
}

/// Which samples `sparsecode_encode_best_of` draws. The same numbers give the same samples on every
/// core, in C and in Rust.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sparsecode_samples {
    /// The key of all random numbers.
    pub seed: u64,
    /// The number of the input: of a window in a stream, of a patch in a picture. Inputs with the
    /// same number have the same noise.
    pub input: u64,
    /// The first sample's number; 0 usually.
    pub first: u32,
    /// How many samples are drawn: at least 1.
    pub count: u32,
}

/// The best of some samples.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct sparsecode_best {
    /// Its number.
    pub sample: u32,
    /// Its mean square error, in the unit of the preprocessed patch.
    pub error: f32,
}

#[cfg(feature = "variational")]
impl From<sparsecode_samples> for Samples {
    fn from(samples: sparsecode_samples) -> Self {
        let sparsecode_samples {
            seed,
            input,
            first,
            count,
        } = samples;
        Self {
            seed,
            input,
            first,
            count,
        }
    }
}

#[cfg(feature = "variational")]
impl From<BestOf> for sparsecode_best {
    fn from(best: BestOf) -> Self {
        let BestOf { sample, error } = best;
        Self { sample, error }
    }
}

impl From<Refine> for sparsecode_refine_settings {
    fn from(settings: Refine) -> Self {
        let (start, start_value) = match settings.start {
            Start::Code => (sparsecode_start::Code, 0.0),
            Start::Zero => (sparsecode_start::Zero, 0.0),
            Start::Constant(value) => (sparsecode_start::Constant, value),
        };
        Self {
            lambda: settings.lambda,
            step_size: settings.step_size,
            max_iterations: settings.max_iterations,
            tolerance: settings.tolerance,
            start: start as i32,
            start_value,
            deadline: None,
            context: core::ptr::null_mut(),
        }
    }
}

/// Finite, and 0 or more.
pub(super) fn is_amount(setting: f32) -> bool {
    setting.is_finite() && setting >= 0.0
}

impl TryFrom<&sparsecode_refine_settings> for Refine {
    type Error = Status;

    fn try_from(settings: &sparsecode_refine_settings) -> Result<Self, Status> {
        const CODE: i32 = sparsecode_start::Code as i32;
        const ZERO: i32 = sparsecode_start::Zero as i32;
        const CONSTANT: i32 = sparsecode_start::Constant as i32;
        if !(is_amount(settings.lambda)
            && is_amount(settings.step_size)
            && settings.step_size > 0.0
            && is_amount(settings.tolerance))
        {
            return Err(Status::InvalidSetting);
        }
        Ok(Self {
            lambda: settings.lambda,
            step_size: settings.step_size,
            max_iterations: settings.max_iterations,
            tolerance: settings.tolerance,
            start: match settings.start {
                CODE => Start::Code,
                ZERO => Start::Zero,
                CONSTANT if is_amount(settings.start_value) => {
                    Start::Constant(settings.start_value)
                }
                _ => return Err(Status::InvalidSetting),
            },
        })
    }
}

impl From<Refinement> for sparsecode_refinement {
    fn from(refinement: Refinement) -> Self {
        Self {
            iterations: refinement.iterations,
            stopped: refinement.stopped.into(),
            residual: refinement.residual,
            energy: refinement.energy,
        }
    }
}

/// Whether a deadline function says that it is time.
pub(super) fn is_late(
    deadline: Option<unsafe extern "C" fn(context: *mut c_void) -> c_int>,
    context: *mut c_void,
) -> bool {
    // SAFETY: the caller of the refinement promises that the function can be called with its
    // context.
    deadline.is_some_and(|deadline| unsafe { deadline(context) } != 0)
}
