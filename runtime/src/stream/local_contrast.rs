//! What local contrast normalisation needs of a model.

use core::fmt;

use sparsecode_formats::{Contrast, Preprocessing};

/// What local contrast normalisation needs of a model: immutable, one for all channels.
///
/// `WINDOW` is the side of the model's Gaussian window in pixels, odd. Memory: `4·WINDOW + 12`
/// bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalContrast<const WINDOW: usize> {
    /// The Gaussian in one direction; sums to 1.
    taps: [f32; WINDOW],
    scales: Scales,
}

impl<const WINDOW: usize> LocalContrast<WINDOW> {
    /// Size in bytes.
    pub const BYTES: usize = size_of::<Self>();

    /// What `preprocessing` of a model's metadata says, with the taps of its Gaussian.
    ///
    /// Cost: `WINDOW` exponentials in `f64`, as on the host, whose taps are the same; once for a
    /// model.
    ///
    /// # Errors
    ///
    /// [`ContrastError`] if the model wants no local contrast normalisation or one with another
    /// window, or if one of the numbers is none to compute with (those of a loaded model are).
    pub fn new(preprocessing: &Preprocessing) -> Result<Self, ContrastError> {
        const {
            assert!(WINDOW % 2 == 1, "the window has no centre");
            assert!(
                WINDOW <= u16::MAX as usize,
                "model files count the window with 16 bits"
            );
        }
        let (scales, sigma) = Scales::new(preprocessing, WINDOW)?;
        let mut taps = [0.0; WINDOW];
        fill_gaussian(&mut taps, sigma);
        Ok(Self { taps, scales })
    }

    /// The same with a window of any size.
    #[must_use]
    pub fn view(&self) -> LocalContrastView<'_> {
        LocalContrastView {
            taps: &self.taps,
            scales: self.scales,
        }
    }

    /// Taps and floor.
    #[inline]
    pub(super) fn gaussian(&self) -> (&[f32], f32) {
        (&self.taps, self.scales.floor)
    }

    /// Brings raw samples to the unit of the model's data, `(x − mean)/deviation`, before their
    /// contrast is normalised.
    ///
    /// Cost: a subtraction and a division an element.
    pub fn scale(&self, line: &mut [f32]) {
        self.scales.scale(line);
    }

    /// Brings a line back to raw samples: undoes the contrast normalisation by the local `mean` and
    /// `deviation` of its pixels, then [`scale`](Self::scale). The shortest length counts.
    ///
    /// Cost: two multiply-adds an element.
    pub fn restore(&self, line: &mut [f32], mean: &[f32], deviation: &[f32]) {
        self.scales.restore(line, mean, deviation);
    }
}

/// [`LocalContrast`](super::LocalContrast) with a window of any size: immutable, one for all
/// channels, with its taps in memory of the caller's choice.
///
/// ```
/// use sparsecode_runtime::formats::{Contrast, Preprocessing};
/// use sparsecode_runtime::stream::{ContrastError, LocalContrastView};
///
/// let contrast = Contrast::Local { window: 5, sigma: 2.0, floor: 0.1 };
/// let preprocessing = Preprocessing { contrast, ..Preprocessing::IDENTITY };
/// let mut taps = [0.0; 5];
/// let settings = LocalContrastView::new(&preprocessing, &mut taps)?;
/// assert!((settings.taps().iter().sum::<f32>() - 1.0).abs() < 1e-6);
/// let mut longer = [0.0; 7];
/// let refused = LocalContrastView::new(&preprocessing, &mut longer);
/// assert_eq!(refused, Err(ContrastError::Window { expected: 7, found: 5 }));
/// # Ok::<(), sparsecode_runtime::stream::ContrastError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalContrastView<'a> {
    taps: &'a [f32],
    scales: Scales,
}

impl<'a> LocalContrastView<'a> {
    /// What `preprocessing` of a model's metadata says. `taps`, which is as long as the side of the
    /// model's Gaussian window, receives the Gaussian in one direction.
    ///
    /// Cost: an exponential in `f64` a tap; once for a model.
    ///
    /// # Errors
    ///
    /// [`ContrastError`] if the model wants no local contrast normalisation, if `taps` has another
    /// length than its window, if the window is even, or if one of the numbers is none to compute
    /// with (the last two are not so in a loaded model).
    pub fn new(preprocessing: &Preprocessing, taps: &'a mut [f32]) -> Result<Self, ContrastError> {
        let (scales, sigma) = Scales::new(preprocessing, taps.len())?;
        fill_gaussian(taps, sigma);
        Ok(Self { taps, scales })
    }

    /// The Gaussian in one direction; sums to 1.
    #[must_use]
    pub fn taps(&self) -> &'a [f32] {
        self.taps
    }

    /// Taps and floor.
    #[inline]
    pub(super) fn gaussian(&self) -> (&'a [f32], f32) {
        (self.taps, self.scales.floor)
    }

    /// See [`LocalContrast::scale`](super::LocalContrast::scale).
    pub fn scale(&self, line: &mut [f32]) {
        self.scales.scale(line);
    }

    /// See [`LocalContrast::restore`](super::LocalContrast::restore).
    pub fn restore(&self, line: &mut [f32], mean: &[f32], deviation: &[f32]) {
        self.scales.restore(line, mean, deviation);
    }
}

/// The numbers that are the same for all pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scales {
    floor: f32,
    mean: f32,
    deviation: f32,
}

impl Scales {
    /// With the deviation of the Gaussian, whose window has to be `side` pixels wide.
    fn new(preprocessing: &Preprocessing, side: usize) -> Result<(Self, f32), ContrastError> {
        let Contrast::Local {
            window,
            sigma,
            floor,
        } = preprocessing.contrast
        else {
            return Err(ContrastError::NotLocal);
        };
        if usize::from(window) != side {
            return Err(ContrastError::Window {
                expected: side,
                found: window,
            });
        }
        if window % 2 == 0 {
            return Err(ContrastError::Even { found: window });
        }
        let Preprocessing {
            mean, deviation, ..
        } = *preprocessing;
        if !mean.is_finite() {
            return Err(ContrastError::Value { field: "mean" });
        }
        for (field, value) in [("deviation", deviation), ("sigma", sigma), ("floor", floor)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(ContrastError::Value { field });
            }
        }
        let scales = Self {
            floor,
            mean,
            deviation,
        };
        Ok((scales, sigma))
    }

    #[inline]
    fn scale(&self, line: &mut [f32]) {
        for value in line {
            *value = (*value - self.mean) / self.deviation;
        }
    }

    #[inline]
    fn restore(&self, line: &mut [f32], mean: &[f32], deviation: &[f32]) {
        for (value, (mean, deviation)) in line.iter_mut().zip(mean.iter().zip(deviation)) {
            *value = (*value * deviation + mean) * self.deviation + self.mean;
        }
    }
}

/// A Gaussian as wide as `taps`, which sums to 1.
fn fill_gaussian(taps: &mut [f32], sigma: f32) {
    let (side, half) = (taps.len(), taps.len() >> 1);
    let weight = |tap: usize| {
        let ratio = tap.abs_diff(half) as f64 / f64::from(sigma);
        libm::exp(-0.5 * (ratio * ratio))
    };
    let sum: f64 = (0..side).map(weight).sum();
    for (index, tap) in taps.iter_mut().enumerate() {
        *tap = (weight(index) / sum) as f32;
    }
}

/// Why local contrast normalisation cannot be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ContrastError {
    /// The model wants another contrast normalisation, or none:
    /// [`Model::denoise`](crate::Model::denoise) does it patch by patch.
    NotLocal,
    /// The model's Gaussian window has another side than the type, or than there are taps.
    Window {
        /// The side in the type, or the number of taps.
        expected: usize,
        /// The model's.
        found: u16,
    },
    /// The window has no centre.
    Even {
        /// Its side.
        found: u16,
    },
    /// A number of the preprocessing is not finite, or not above 0 where it has to be.
    Value {
        /// `mean`, `deviation`, `sigma` or `floor`.
        field: &'static str,
    },
}

impl fmt::Display for ContrastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLocal => f.write_str(
                "the model wants no local contrast normalisation: use a stream without it",
            ),
            Self::Window { expected, found } => write!(
                f,
                "the model's contrast window is {found} pixels wide, but this program was built for {expected}"
            ),
            Self::Even { found } => write!(
                f,
                "a contrast window {found} pixels wide has no centre: its side is odd"
            ),
            Self::Value { field } => {
                write!(
                    f,
                    "{field} of the preprocessing is not finite or not above 0"
                )
            }
        }
    }
}

impl core::error::Error for ContrastError {}
