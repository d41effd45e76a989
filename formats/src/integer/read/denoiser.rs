//! The part of models that denoise.

#[cfg(feature = "denoise")]
use super::super::activations::Activations;
#[cfg(feature = "denoise")]
use super::super::blocks::LANES;
#[cfg(feature = "denoise")]
use super::super::limits::{LEAST_STEP_SHIFT, most_weight};
#[cfg(feature = "denoise")]
use super::super::source::{Source, Store, small};
#[cfg(feature = "denoise")]
use super::super::spec::IntegerSpec;
#[cfg(feature = "denoise")]
use crate::decimal::integer;
#[cfg(feature = "denoise")]
use crate::error::{Dims, ReadError};
#[cfg(feature = "denoise")]
use crate::spec::{InputShape, Variant};

/// The encoder on the Gram matrix in integers. With `ĉ` and `Ĝ` of the
/// [`IntegerRefiner`](crate::IntegerRefiner) and noise of deviation σ, in sixteenths of a level,
/// each of T iterations takes from `z`, at first 0,
///
/// `a = ĉ − (Ĝz >> (gram_fraction − point_fraction)) − (θ_t σ >> threshold_shift)`, in points,
///
/// cuts `a >> (point_fraction − 1)` to ±2¹⁷, and makes `z` the level
/// `z + (a g_t + 2⁹ >> 10)`, cut to 0 … 32767. No `a` leaves 32 bits: `ĉ` is within ±2³⁰, and the
/// other two are shifted by 2 bits or more.
#[cfg(feature = "denoise")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntegerGram<'a> {
    /// g \[T\]: each iteration's step beside that of refinement, in 1/2⁹; 0 to 16383.
    pub steps: &'a [i32],
    /// θ \[T, 8 ⌈l/8⌉\]: rows are filled up with 0, so that what follows them in a file is aligned.
    pub thresholds: &'a [i16],
    /// 2 to 31.
    pub threshold_shift: u8,
    /// The σ to take where nobody knows another, in sixteenths of a level; above 0.
    pub noise_level: u16,
    /// How windows follow one another, and what surrounds the network.
    pub stream: IntegerStreamSpec<'a>,
}

/// The encoder of models that denoise. Without the feature `denoise` there is none, and an option
/// of it takes no room.
#[cfg(not(feature = "denoise"))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntegerGram<'a>(core::convert::Infallible, core::marker::PhantomData<&'a ()>);

/// How an integer model that denoises is used on a signal or a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntegerStreamSpec<'a> {
    /// What each sample of a window counts where windows overlap \[d\], from 1; as many as meet in
    /// a sample come to 65,535 at most. For patches, of which a pixel counts the product, each row
    /// \[h\] and then each column \[w\]; as many rows, or columns, as meet come to 255 at most.
    pub weights: &'a [i32],
    /// Samples from one window to the next, or pixels from one patch to the next, both ways.
    pub hop: u16,
    /// The length of the means that are taken off before all else; `None` if nothing is.
    pub drift: Option<u16>,
    /// `noise`: whether the noise of training was white, so that its deviation can be estimated
    /// from the signal.
    pub is_white: bool,
    /// c of the residual guard in 1/256; see [`StreamSpec::guard`](crate::StreamSpec::guard).
    pub guard: u16,
}

#[cfg(feature = "denoise")]
#[inline(never)] // gives its stack back
pub(super) fn read_gram<'a>(
    header: &Source<'a>,
    tensors: &mut Store<'_, 'a>,
    spec: &IntegerSpec,
) -> Result<Option<IntegerGram<'a>>, ReadError> {
    let iterations = header.gram_iterations()?;
    if iterations.is_some() != (spec.variant == Variant::Denoise) {
        return Err(ReadError::InvalidMetadata {
            key: "gram_iterations",
            expected: "1 to 255 for the variant denoise, none for every other",
        });
    }
    let Some(iterations) = iterations.map(usize::from) else {
        return Ok(None);
    };
    if spec.activations != Activations::I16 {
        return Err(ReadError::InvalidMetadata {
            key: "activations",
            expected: "i16 for the variant denoise",
        });
    }
    let (input_shape, codes) = (spec.input_shape, spec.code_dim());
    let count = |key, expected| {
        header.value(key, expected, |text| {
            integer::<u16>(text).filter(|&n| n > 0)
        })
    };
    let hop = header.hop(input_shape)?;
    let (steps, shape) = ("encoder.steps", Dims::Vector(iterations));
    let thresholds = Dims::Matrix(iterations, codes.next_multiple_of(LANES));
    Ok(Some(IntegerGram {
        steps: small_steps(steps, tensors.take(steps, "I32", shape)?)?,
        thresholds: tensors.take("encoder.thresholds", "I16", thresholds)?,
        threshold_shift: small(
            header,
            "threshold_shift",
            "an integer of 2 to 31",
            LEAST_STEP_SHIFT,
            31,
        )?,
        noise_level: count("noise_level", "an integer of 1 to 65535")?,
        stream: IntegerStreamSpec {
            weights: window_weights(tensors, input_shape, hop)?,
            hop,
            drift: header.drift(input_shape)?,
            is_white: header.is_white()?,
            guard: header.value("guard", "an integer of 0 to 65535", integer::<u16>)?,
        },
    }))
}

#[cfg(feature = "denoise")]
/// Steps of 0 to 16383.
fn small_steps<'a>(tensor: &'static str, steps: &'a [i32]) -> Result<&'a [i32], ReadError> {
    match steps.iter().position(|step| !(0..=16383).contains(step)) {
        None => Ok(steps),
        Some(index) => Err(ReadError::Level { tensor, index }),
    }
}

#[cfg(feature = "denoise")]
/// Weights from 1 of which no sum that meets in a sample is too large for the runtime's sums.
fn window_weights<'a>(
    tensors: &mut Store<'_, 'a>,
    shape: InputShape,
    hop: u16,
) -> Result<&'a [i32], ReadError> {
    let tensor = "window.weights";
    let weights: &[i32] = tensors.take(tensor, "I32", Dims::Vector(shape.overlap_weights()))?;
    let most = most_weight(shape, hop);
    match weights
        .iter()
        .position(|weight| !(1..=most).contains(weight))
    {
        None => Ok(weights),
        Some(index) => Err(ReadError::Level { tensor, index }),
    }
}
