//! Local contrast normalisation in memory of any size.

use super::ring::{copy, part, part_mut, reflect};

/// Where a ring of lines stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring {
    /// Where the next line goes.
    next: u16,
    /// Lines held.
    count: u16,
}

impl Ring {
    pub(super) const fn new() -> Self {
        Self { next: 0, count: 0 }
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count.into()
    }

    /// Whether a ring of `depth` lines can stand here.
    pub(super) fn belongs_to(&self, depth: usize) -> bool {
        usize::from(self.next) < depth && self.count() <= depth
    }
}

/// The last lines of a frame.
#[derive(Debug)]
pub(super) struct Lines<'m> {
    /// `depth` lines of `width` pixels.
    pub(super) lines: &'m mut [f32],
    pub(super) width: usize,
    pub(super) depth: usize,
    pub(super) ring: &'m mut Ring,
}

impl Lines<'_> {
    #[inline]
    pub(super) fn push(&mut self, line: &[f32]) {
        if let Some(place) = self.advance() {
            copy(place, line);
        }
    }

    /// The place of the next line, which is that of the oldest.
    #[inline]
    fn advance(&mut self) -> Option<&mut [f32]> {
        let place = usize::from(self.ring.next);
        let next = self.ring.next.wrapping_add(1);
        self.ring.next = if usize::from(next) < self.depth {
            next
        } else {
            0
        };
        if self.ring.count() < self.depth {
            self.ring.count = self.ring.count.wrapping_add(1);
        }
        part_mut(self.lines, place.wrapping_mul(self.width), self.width)
    }

    /// The line that `age` others have followed.
    #[inline]
    pub(super) fn aged(&self, age: usize) -> Option<&[f32]> {
        if age >= self.ring.count() {
            return None;
        }
        let next = usize::from(self.ring.next);
        let back = age.wrapping_add(1);
        let index = next
            .checked_sub(back)
            .unwrap_or(next.wrapping_add(self.depth).wrapping_sub(back));
        part(self.lines, index.wrapping_mul(self.width), self.width)
    }

    /// The Gaussian down the lines, each after `map`, about the line at the centre of the last
    /// `taps.len()` when these are taken to reach `beyond` lines past the last one.
    #[inline]
    fn blur(&self, taps: &[f32], beyond: usize, map: impl Fn(f32) -> f32, blurred: &mut [f32]) {
        blurred.fill(0.0);
        let last = self.ring.count().saturating_sub(1);
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

/// Where a stream of local contrast normalisation stands. Plain data of 8 bytes, all zeros at the
/// start; a cursor belongs to the memory that it was advanced with.
///
/// ```
/// use sparsecode_runtime::stream::ContrastCursor;
///
/// let mut cursor = ContrastCursor::new(); // in a static of your choice
/// assert_eq!(size_of_val(&cursor), 8);
/// ```
#[derive(Clone, Debug, Default)]
pub struct ContrastCursor {
    pub(super) samples: Ring,
    pub(super) centred: Ring,
}

impl ContrastCursor {
    /// A stream at its start, also for statics (a cursor lies in `.bss`).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            samples: Ring::new(),
            centred: Ring::new(),
        }
    }
}

/// What [`ContrastStream`](super::ContrastStream) and [`ContrastView`](super::ContrastView) do, in
/// borrowed memory.
#[derive(Debug)]
pub(super) struct ContrastLines<'m> {
    /// As many lines as there are taps.
    pub(super) samples: Lines<'m>,
    /// Samples less their local means; as many lines.
    pub(super) centred: Lines<'m>,
}

impl ContrastLines<'_> {
    pub(super) fn reset(&mut self) {
        *self.samples.ring = Ring::new();
        *self.centred.ring = Ring::new();
    }

    #[inline]
    pub(super) fn push(
        &mut self,
        (taps, floor): (&[f32], f32),
        line: &mut [f32],
        mean: &mut [f32],
        deviation: &mut [f32],
    ) -> bool {
        self.samples.push(line);
        self.step((taps, floor), 0, line, mean, deviation)
    }

    #[inline]
    pub(super) fn finish<L: AsMut<[f32]> + ?Sized>(
        &mut self,
        (taps, floor): (&[f32], f32),
        line: &mut L,
        mean: &mut L,
        deviation: &mut L,
        mut output: impl FnMut(&mut L, &mut L, &mut L),
    ) {
        if self.samples.ring.count() > 0 {
            for beyond in 1..=latency(taps) {
                let buffers = (line.as_mut(), mean.as_mut(), deviation.as_mut());
                if self.step((taps, floor), beyond, buffers.0, buffers.1, buffers.2) {
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
        (taps, floor): (&[f32], f32),
        beyond: usize,
        line: &mut [f32],
        mean: &mut [f32],
        deviation: &mut [f32],
    ) -> bool {
        let (half, latency) = (taps.len() >> 1, latency(taps));
        let reached = self.samples.ring.count().wrapping_add(beyond);
        // The line at the centre of the window, while there is one.
        if reached > half
            && let Some(age) = half.checked_sub(beyond)
        {
            self.samples.blur(taps, beyond, |v| v, mean);
            blur_line(mean, taps, deviation);
            if let (Some(samples), Some(centred)) = (self.samples.aged(age), self.centred.advance())
            {
                for (centred, (sample, mean)) in
                    centred.iter_mut().zip(samples.iter().zip(&*deviation))
                {
                    *centred = sample - mean;
                }
            }
        }
        if reached <= latency {
            return false;
        }
        // The same once more, for the squares of what is centred.
        let beyond_centred = beyond.saturating_sub(half);
        self.centred.blur(taps, beyond_centred, |v| v * v, mean);
        blur_line(mean, taps, deviation);
        let (Some(samples), Some(centred)) = (
            self.samples.aged(latency.wrapping_sub(beyond)),
            self.centred.aged(half.wrapping_sub(beyond_centred)),
        ) else {
            return false;
        };
        for ((value, mean), (deviation, (sample, centred))) in line
            .iter_mut()
            .zip(mean)
            .zip(deviation.iter_mut().zip(samples.iter().zip(centred)))
        {
            // `max` prefers the floor over NaN.
            *deviation = libm::sqrtf(*deviation).max(floor);
            *value = centred / *deviation;
            // Not kept in a third ring: the same but for rounding.
            *mean = sample - centred;
        }
        true
    }
}

/// Lines that go in before the first one comes out.
#[inline]
fn latency(taps: &[f32]) -> usize {
    (taps.len() >> 1).wrapping_mul(2)
}

/// The Gaussian along a line.
#[inline]
fn blur_line(line: &[f32], taps: &[f32], blurred: &mut [f32]) {
    let half = taps.len() >> 1;
    let last = line.len().saturating_sub(1);
    for (x, sum) in blurred.iter_mut().enumerate() {
        let inside = x
            .checked_sub(half)
            .and_then(|first| line.get(first..)?.get(..taps.len()));
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
