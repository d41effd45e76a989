//! Windows of a size that is known at run time only.

use core::fmt;

use super::ring::{Axis, Cursor};
use super::sample::Sample;
use crate::error::DimensionError;

/// Windows along a signal or along one axis of a frame: as many elements as there are weights, one
/// window every hop. The weights lie in memory of the caller's choice. One value serves any number
/// of channels.
///
/// Checked once, here; [`SignalView`](super::SignalView) and [`FrameView`](super::FrameView) take
/// the value as it is. Cost of the check: an addition a weight.
///
/// ```
/// use sparsecode_runtime::stream::{StreamError, Windows};
///
/// // 5 samples, a window every 2; the middle counts more.
/// let weights = [1.0_f32, 2.0, 3.0, 2.0, 1.0];
/// let windows = Windows::<f32>::new(&weights, 2)?;
/// assert_eq!((windows.side(), windows.hop()), (5, 2));
///
/// let refused = Windows::<f32>::new(&weights, 6);
/// assert_eq!(refused.unwrap_err(), StreamError::Hop { found: 6, side: 5 });
/// # Ok::<(), StreamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Windows<'w, T: Sample> {
    pub(super) axis: Axis<'w, T>,
    /// The largest sum of the integer weights that can meet in one element; 0 for `f32`.
    heaviest: u32,
}

impl<'w, T: Sample> Windows<'w, T> {
    /// Windows of `weights.len()` elements (1 to 65,535), one every `hop` elements (1 to
    /// `weights.len()`).
    ///
    /// Weights of `f32` lie between 1e-12 and 1e12, those of `i16` (which are `i32`) are 1 or more.
    /// Equal weights give the plain mean, as [`Uniform`](super::Uniform) does.
    ///
    /// # Errors
    ///
    /// [`StreamError::Side`], [`StreamError::Hop`] or [`StreamError::Weight`].
    pub fn new(weights: &'w [T::Sum], hop: usize) -> Result<Self, StreamError> {
        let side = weights.len();
        if side == 0 || side > usize::from(u16::MAX) {
            return Err(StreamError::Side { found: side });
        }
        if hop == 0 || hop > side {
            return Err(StreamError::Hop { found: hop, side });
        }
        let mut largest = 0_u32;
        for (index, weight) in weights.iter().enumerate() {
            let load = T::load(*weight).ok_or(StreamError::Weight { index })?;
            largest = largest.max(load);
        }
        let mut heaviest = 0_u32;
        for place in 0..hop {
            let (mut rest, mut sum) = (weights.get(place..).unwrap_or_default(), 0_u32);
            while let Some(weight) = rest.first() {
                sum = sum.saturating_add(T::load(*weight).unwrap_or(0));
                rest = rest.get(hop..).unwrap_or_default();
            }
            heaviest = heaviest.max(sum);
        }
        // The last window is flush with the end, whatever the hop.
        if hop > 1 {
            heaviest = heaviest.saturating_add(largest);
        }
        let axis = Axis::new(weights, hop);
        Ok(Self { axis, heaviest })
    }

    /// Elements of a window.
    #[must_use]
    pub fn side(&self) -> usize {
        self.axis.side()
    }

    /// Elements from the start of one window to the start of the next.
    #[must_use]
    pub fn hop(&self) -> usize {
        self.axis.hop
    }

    /// The axis, if sums of 32 bits hold the weights that meet in one element.
    pub(super) fn within(&self, limit: i32) -> Result<Axis<'w, T>, StreamError> {
        let limit = limit.unsigned_abs();
        if self.heaviest > limit {
            return Err(StreamError::Overflow {
                found: self.heaviest,
                limit,
            });
        }
        Ok(self.axis)
    }
}

/// Why a stream of run-time size cannot be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StreamError {
    /// Windows without elements, or of more than 65,535.
    Side {
        /// Elements of a window: the number of weights.
        found: usize,
    },
    /// A hop of 0, or one larger than the window.
    Hop {
        /// The hop.
        found: usize,
        /// Elements of a window.
        side: usize,
    },
    /// A weight out of range: below 1 for `i16`; not between 1e-12 and 1e12 for `f32`.
    Weight {
        /// Its index.
        index: usize,
    },
    /// Sums of 32 bits could overflow: too large weights meet in one element.
    Overflow {
        /// The largest sum of the weights that meet in one element.
        found: u32,
        /// The largest sum allowed: 65,535 for signals, 255 for each axis of a frame.
        limit: u32,
    },
    /// A frame that is narrower than a patch or, for local contrast, has no column.
    Width {
        /// Pixels in a line.
        found: usize,
        /// The least that is needed.
        least: usize,
    },
    /// A moving mean over an even number of samples, over none, or over more than 4,095.
    Mean {
        /// Samples of the mean: the length of the ring of samples.
        found: usize,
    },
    /// Memory of the wrong length, the state's or a call's. `field` names the argument.
    Memory(DimensionError),
    /// The cursor was advanced with a stream of another size.
    Cursor,
    /// The model was not trained to denoise signals, so that its file says nothing of windows.
    Denoiser,
}

impl StreamError {
    /// `memory` holds `lines` lines of `width` elements.
    pub(super) fn check<E>(
        field: &'static str,
        width: usize,
        lines: usize,
        memory: &[E],
    ) -> Result<(), Self> {
        // A product that does not fit is no length of a slice either.
        let expected = width.saturating_mul(lines);
        DimensionError::check(field, expected, memory.len()).map_err(Self::Memory)
    }

    /// `cursor` belongs to windows along `axis`.
    pub(super) fn check_cursor<T: Sample>(cursor: &Cursor, axis: &Axis<'_, T>) -> Result<(), Self> {
        if cursor.belongs_to(axis) {
            Ok(())
        } else {
            Err(Self::Cursor)
        }
    }
}

impl From<DimensionError> for StreamError {
    fn from(error: DimensionError) -> Self {
        Self::Memory(error)
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Side { found } => write!(
                f,
                "windows of {found} elements: a window has 1 to 65535, one for each weight"
            ),
            Self::Hop { found, side } => write!(
                f,
                "a hop of {found} for windows of {side} elements: the hop is 1 to {side}"
            ),
            Self::Weight { index } => write!(
                f,
                "weight {index} of a window is out of range: integer weights are 1 or more, f32 \
                 weights lie between 1e-12 and 1e12"
            ),
            Self::Overflow { found, limit } => write!(
                f,
                "weights that add up to {found} meet in one element, but sums of 32 bits take \
                 {limit}: choose smaller weights or a larger hop"
            ),
            Self::Width { found, least } => write!(
                f,
                "a frame is {found} pixels wide, but at least {least} are needed"
            ),
            Self::Mean { found } => write!(
                f,
                "a moving mean over {found} samples: the number is odd, 1 to 4095"
            ),
            Self::Memory(error) => error.fmt(f),
            Self::Cursor => f.write_str("the cursor belongs to a stream of another size"),
            Self::Denoiser => f.write_str(
                "the model was not trained to denoise signals: its file has no window weights; \
                 train one with `sparsecode train --task denoise`",
            ),
        }
    }
}

impl core::error::Error for StreamError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Memory(error) => Some(error),
            _ => None,
        }
    }
}
