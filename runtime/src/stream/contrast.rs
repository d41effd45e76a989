//! Local contrast normalisation, line by line.

use core::fmt;

use sparsecode_formats::{Contrast, Preprocessing};

use super::ring::reflect;

/// What local contrast normalisation needs of a model: immutable, one for all channels.
///
/// `WINDOW` is the side of the model's Gaussian window in pixels, odd. Memory: `4·WINDOW + 12`
/// bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalContrast<const WINDOW: usize> {
    /// The Gaussian in one direction; sums to 1.
    taps: [f32; WINDOW],
    floor: f32,
    mean: f32,
    deviation: f32,
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
        let Contrast::Local {
            window,
            sigma,
            floor,
        } = preprocessing.contrast
        else {
            return Err(ContrastError::NotLocal);
        };
        if usize::from(window) != WINDOW {
            return Err(ContrastError::Window {
                expected: WINDOW,
                found: window,
            });
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
        let weight = |tap: usize| {
            let ratio = tap.abs_diff(WINDOW >> 1) as f64 / f64::from(sigma);
            libm::exp(-0.5 * (ratio * ratio))
        };
        let sum: f64 = (0..WINDOW).map(weight).sum();
        Ok(Self {
            taps: core::array::from_fn(|tap| (weight(tap) / sum) as f32),
            floor,
            mean,
            deviation,
        })
    }

    /// Brings raw samples to the unit of the model's data, `(x − mean)/deviation`, before their
    /// contrast is normalised.
    ///
    /// Cost: a subtraction and a division an element.
    pub fn scale(&self, line: &mut [f32]) {
        for value in line {
            *value = (*value - self.mean) / self.deviation;
        }
    }

    /// Brings a line back to raw samples: undoes the contrast normalisation by the local `mean` and
    /// `deviation` of its pixels, then [`scale`](Self::scale). The shortest length counts.
    ///
    /// Cost: two multiply-adds an element.
    pub fn restore(&self, line: &mut [f32], mean: &[f32], deviation: &[f32]) {
        for (value, (mean, deviation)) in line.iter_mut().zip(mean.iter().zip(deviation)) {
            *value = (*value * deviation + mean) * self.deviation + self.mean;
        }
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
    /// The model's Gaussian window has another side than the type.
    Window {
        /// The side in the type.
        expected: usize,
        /// The model's.
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

/// Local contrast normalisation of frames `WIDTH` pixels wide and of any height: lines in,
/// normalised lines out, one for one, `WINDOW − 1` lines later, with the local means and deviations
/// that [`LocalContrast::restore`] needs.
///
/// The mean of each pixel's surroundings under the Gaussian window is subtracted; what is left is
/// divided by the root of the mean of its square under the same window, or by the floor if that is
/// larger. The frame is continued by reflection (`c b | a b c | b a`). That is the definition of
/// the trainer's `local_contrast`. Windows of up to 31 pixels give means and deviations to within
/// 5e-7 of the largest sample of a pixel's surroundings.
///
/// A NaN or infinite sample spoils normalised pixels and means less than `WINDOW/2` pixels away and
/// deviations less than `WINDOW` pixels away, and nothing else.
///
/// Memory: `8·WIDTH·WINDOW + 8` bytes. Cost of a pixel: `5·WINDOW` multiplications, `4·WINDOW`
/// additions, a division and a root.
///
/// ```
/// use sparsecode_runtime::formats::{Contrast, Preprocessing};
/// use sparsecode_runtime::stream::{ContrastStream, LocalContrast};
///
/// let contrast = Contrast::Local { window: 5, sigma: 2.0, floor: 0.1 };
/// let settings = LocalContrast::<5>::new(&Preprocessing { contrast, ..Preprocessing::IDENTITY })?;
/// let mut stream = ContrastStream::<16, 5>::new();
/// let (mut mean, mut deviation) = ([0.0; 16], [0.0; 16]);
///
/// let (mut line, mut lines) = ([0.0; 16], 0);
/// for _ in 0..9 {
///     line = core::array::from_fn(|x| x as f32); // from the sensor, after `settings.scale`
///     if stream.push(&settings, &mut line, &mut mean, &mut deviation) {
///         // `line` is now the normalised line of 4 lines before.
///         assert!((mean[8] - 8.0).abs() < 1e-5 && line[8].abs() < 1e-5);
///         lines += 1;
///     }
/// }
/// stream.finish(&settings, &mut line, &mut mean, &mut deviation, |_line, _mean, _deviation| lines += 1);
/// assert_eq!(lines, 9);
/// # Ok::<(), sparsecode_runtime::stream::ContrastError>(())
/// ```
///
/// A window without a centre does not compile:
///
/// ```compile_fail,E0080
/// let stream = sparsecode_runtime::stream::ContrastStream::<160, 12>::new();
/// ```
#[derive(Clone, Debug)]
pub struct ContrastStream<const WIDTH: usize, const WINDOW: usize> {
    samples: Lines<WIDTH, WINDOW>,
    /// Samples less their local means.
    centred: Lines<WIDTH, WINDOW>,
}

impl<const WIDTH: usize, const WINDOW: usize> ContrastStream<WIDTH, WINDOW> {
    /// Size in bytes.
    pub const BYTES: usize = size_of::<Self>();

    /// Lines that go in before the first one comes out: `WINDOW − 1`.
    pub const LATENCY: usize = Self::HALF.wrapping_mul(2);

    /// Pixels on each side of the window's centre.
    const HALF: usize = WINDOW >> 1;

    /// A stream at its start, also for statics (it lies in `.bss`).
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(WIDTH > 0, "a frame has at least one column");
            assert!(WINDOW % 2 == 1, "the window has no centre");
        }
        Self {
            samples: Lines::new(),
            centred: Lines::new(),
        }
    }

    /// Forgets all lines: the next one is the first of a frame.
    pub fn reset(&mut self) {
        self.samples.clear();
        self.centred.clear();
    }

    /// Takes the next line, after [`LocalContrast::scale`], and replaces it by the normalised one
    /// of `WINDOW − 1` lines before; `mean` and `deviation` receive that line's local means and
    /// deviations. `false` if there were not as many lines: `line` is then as before, and what is
    /// in the other two is unspecified.
    #[must_use = "the line is a normalised one only if this is true"]
    pub fn push(
        &mut self,
        contrast: &LocalContrast<WINDOW>,
        line: &mut [f32; WIDTH],
        mean: &mut [f32; WIDTH],
        deviation: &mut [f32; WIDTH],
    ) -> bool {
        self.samples.push(line);
        self.step(contrast, 0, line, mean, deviation)
    }

    /// Ends the frame: gives the lines that are still in the stream to `output`, with their local
    /// means and deviations, so that as many have come out as went in. They are written to the
    /// three buffers, one after another.
    ///
    /// The stream is then as new: another frame may follow, and finishing again gives nothing.
    pub fn finish(
        &mut self,
        contrast: &LocalContrast<WINDOW>,
        line: &mut [f32; WIDTH],
        mean: &mut [f32; WIDTH],
        deviation: &mut [f32; WIDTH],
        mut output: impl FnMut(&mut [f32; WIDTH], &mut [f32; WIDTH], &mut [f32; WIDTH]),
    ) {
        if self.samples.count > 0 {
            for beyond in 1..=Self::LATENCY {
                if self.step(contrast, beyond, line, mean, deviation) {
                    output(line, mean, deviation);
                }
            }
        }
        self.reset();
    }

    /// Does what can be done when the window reaches `beyond` lines past the last one: centres one
    /// line, normalises another. Whether there was one to normalise.
    fn step(
        &mut self,
        contrast: &LocalContrast<WINDOW>,
        beyond: usize,
        line: &mut [f32; WIDTH],
        mean: &mut [f32; WIDTH],
        deviation: &mut [f32; WIDTH],
    ) -> bool {
        let reached = self.samples.count().wrapping_add(beyond);
        // The line at the centre of the window, while there is one.
        if reached > Self::HALF
            && let Some(age) = Self::HALF.checked_sub(beyond)
        {
            self.samples.blur(&contrast.taps, beyond, |v| v, mean);
            blur_line(mean, &contrast.taps, deviation);
            if let (Some(samples), Some(centred)) = (self.samples.aged(age), self.centred.advance())
            {
                for (centred, (sample, mean)) in
                    centred.iter_mut().zip(samples.iter().zip(&*deviation))
                {
                    *centred = sample - mean;
                }
            }
        }
        if reached <= Self::LATENCY {
            return false;
        }
        // The same once more, for the squares of what is centred.
        let beyond_centred = beyond.saturating_sub(Self::HALF);
        self.centred
            .blur(&contrast.taps, beyond_centred, |v| v * v, mean);
        blur_line(mean, &contrast.taps, deviation);
        let (Some(samples), Some(centred)) = (
            self.samples.aged(Self::LATENCY.wrapping_sub(beyond)),
            self.centred.aged(Self::HALF.wrapping_sub(beyond_centred)),
        ) else {
            return false;
        };
        for ((value, mean), (deviation, (sample, centred))) in line
            .iter_mut()
            .zip(mean)
            .zip(deviation.iter_mut().zip(samples.iter().zip(centred)))
        {
            // `max` prefers the floor over NaN.
            *deviation = libm::sqrtf(*deviation).max(contrast.floor);
            *value = centred / *deviation;
            // Not kept in a third ring: the same but for rounding.
            *mean = sample - centred;
        }
        true
    }
}

impl<const WIDTH: usize, const WINDOW: usize> Default for ContrastStream<WIDTH, WINDOW> {
    fn default() -> Self {
        Self::new()
    }
}

/// The last `DEPTH` lines.
#[derive(Clone, Debug)]
pub(super) struct Lines<const WIDTH: usize, const DEPTH: usize> {
    lines: [[f32; WIDTH]; DEPTH],
    /// Where the next line goes.
    next: u16,
    /// Lines held.
    count: u16,
}

impl<const WIDTH: usize, const DEPTH: usize> Lines<WIDTH, DEPTH> {
    pub(super) const fn new() -> Self {
        const {
            assert!(DEPTH > 0, "a ring holds at least one line");
            assert!(DEPTH <= u16::MAX as usize, "a ring has at most 65535 lines");
        }
        Self {
            lines: [[0.0; WIDTH]; DEPTH],
            next: 0,
            count: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        (self.next, self.count) = (0, 0);
    }

    pub(super) fn count(&self) -> usize {
        self.count.into()
    }

    pub(super) fn push(&mut self, line: &[f32; WIDTH]) {
        if let Some(place) = self.advance() {
            *place = *line;
        }
    }

    /// The place of the next line, which is that of the oldest.
    fn advance(&mut self) -> Option<&mut [f32; WIDTH]> {
        let place = usize::from(self.next);
        let next = self.next.wrapping_add(1);
        self.next = if usize::from(next) < DEPTH { next } else { 0 };
        if self.count() < DEPTH {
            self.count = self.count.wrapping_add(1);
        }
        self.lines.get_mut(place)
    }

    /// The line that `age` others have followed.
    pub(super) fn aged(&self, age: usize) -> Option<&[f32; WIDTH]> {
        if age >= self.count() {
            return None;
        }
        let next = usize::from(self.next);
        let back = age.wrapping_add(1);
        let index = next
            .checked_sub(back)
            .unwrap_or(next.wrapping_add(DEPTH).wrapping_sub(back));
        self.lines.get(index)
    }

    /// The Gaussian down the lines, each after `map`, about the line at the centre of the last
    /// `DEPTH` when these are taken to reach `beyond` lines past the last one.
    fn blur(
        &self,
        taps: &[f32; DEPTH],
        beyond: usize,
        map: impl Fn(f32) -> f32,
        blurred: &mut [f32; WIDTH],
    ) {
        blurred.fill(0.0);
        let last = self.count().saturating_sub(1);
        for (age, weight) in taps.iter().enumerate() {
            // Ages below `beyond` lie past the last line; taps are symmetric, so that the order
            // does not matter.
            let age = reflect(age.abs_diff(beyond), last);
            for (sum, value) in blurred.iter_mut().zip(self.aged(age).into_iter().flatten()) {
                *sum += weight * map(*value);
            }
        }
    }
}

/// The Gaussian along a line.
fn blur_line<const WIDTH: usize, const WINDOW: usize>(
    line: &[f32; WIDTH],
    taps: &[f32; WINDOW],
    blurred: &mut [f32; WIDTH],
) {
    let half = WINDOW >> 1;
    let last = WIDTH.saturating_sub(1);
    for (x, sum) in blurred.iter_mut().enumerate() {
        let inside = x
            .checked_sub(half)
            .and_then(|first| line.get(first..first.wrapping_add(WINDOW)));
        *sum = match inside {
            Some(values) => taps.iter().zip(values).map(|(w, v)| w * v).sum(),
            None => {
                let at = |tap: usize| {
                    let place = reflect(x.wrapping_add(tap).abs_diff(half), last);
                    line.get(place).copied().unwrap_or_default()
                };
                taps.iter().enumerate().map(|(tap, w)| w * at(tap)).sum()
            }
        };
    }
}
