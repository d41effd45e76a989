//! A frame in memory of any size.

use super::ring::{Axis, Cursor, copy, copy_line, overlapping, part, part_mut, reflect};
use super::sample::Sample;

/// What [`FrameStream`](super::FrameStream) and [`FrameView`](super::FrameView) do, in borrowed
/// memory.
#[derive(Debug)]
pub(super) struct Frame<'m, T: Sample> {
    /// Pixels in a line; not less than a patch's columns.
    pub(super) width: usize,
    /// Rows of patches.
    pub(super) down: Axis<'m, T>,
    /// Columns of patches.
    pub(super) across: Axis<'m, T>,
    /// The last lines, in a ring: as many as a patch has rows.
    pub(super) lines: &'m mut [T],
    /// `Σ w·ŷ` of the same lines.
    pub(super) sums: &'m mut [T::Sum],
    pub(super) cursor: &'m mut Cursor,
}

// Into the types with a fixed size, so that their sizes are constants here.
impl<T: Sample> Frame<'_, T> {
    /// Where the patches on the right border start.
    #[inline(always)]
    fn last(&self) -> usize {
        self.width.saturating_sub(self.across.side())
    }

    #[inline(always)]
    pub(super) fn push<P: AsMut<[T]> + ?Sized>(
        &mut self,
        line: &mut [T],
        patch: &mut P,
        denoise: impl FnMut(&mut P),
    ) -> bool {
        let next = self.cursor.next();
        let start = next.wrapping_mul(self.width);
        let Some(place) = part_mut(self.lines, start, self.width) else {
            return false;
        };
        copy(place, line);
        let full = self.cursor.is_full();
        if full {
            self.divide(next, self.cursor.divisor(&self.down, 0), line);
        }
        if let Some(sums) = part_mut(self.sums, start, self.width) {
            sums.fill(T::EMPTY);
        }
        if self.cursor.advance(&self.down) {
            self.add_patches(patch, denoise);
        }
        full
    }

    #[inline(always)]
    pub(super) fn finish<L: AsMut<[T]> + ?Sized, P: AsMut<[T]> + ?Sized>(
        &mut self,
        line: &mut L,
        patch: &mut P,
        denoise: impl FnMut(&mut P),
        mut output: impl FnMut(&mut L),
    ) {
        let rows = self.down.side();
        let held = self.cursor.held(rows);
        let Some(last) = held.checked_sub(1) else {
            return;
        };
        if !self.cursor.is_full() {
            for index in held..rows {
                copy_line(self.lines, self.width, reflect(index, last), index);
            }
            self.cursor.next = 0;
        }
        if self.cursor.since > 0 {
            self.add_patches(patch, denoise);
        }
        let mut place = self.cursor.next();
        for index in 0..held {
            let down = self.cursor.last_divisor(&self.down, index);
            self.divide(place, down, line.as_mut());
            output(line);
            place = place.wrapping_add(1);
            if place >= rows {
                place = 0;
            }
        }
        *self.cursor = Cursor::new();
    }

    /// Denoises the patches of the last lines and adds them to the sums.
    #[inline]
    fn add_patches<P: AsMut<[T]> + ?Sized>(
        &mut self,
        patch: &mut P,
        mut denoise: impl FnMut(&mut P),
    ) {
        let (last, columns) = (self.last(), self.across.side().max(1));
        let oldest = self.cursor.next().wrapping_mul(self.width);
        let mut left = 0_usize;
        loop {
            let mut start = oldest.wrapping_add(left);
            for row in patch.as_mut().chunks_exact_mut(columns) {
                copy(row, part(self.lines, start, columns).unwrap_or_default());
                start = self.below(start);
            }
            denoise(patch);
            let mut start = oldest.wrapping_add(left);
            let rows = patch.as_mut().chunks_exact(columns);
            for (row, down) in rows.zip(self.down.weights) {
                let sums = part_mut(self.sums, start, columns).unwrap_or_default();
                let sums = sums.iter_mut().zip(self.across.weights);
                for (value, (sum, across)) in row.iter().zip(sums) {
                    *sum = T::add(*sum, T::times(*down, *across), *value);
                }
                start = self.below(start);
            }
            if left >= last {
                break;
            }
            left = left.wrapping_add(self.across.hop).min(last);
        }
    }

    /// The pixel of the next line below pixel `place` of the ring.
    #[inline(always)]
    fn below(&self, place: usize) -> usize {
        let below = place.wrapping_add(self.width);
        below.checked_sub(self.lines.len()).unwrap_or(below)
    }

    /// Divides line `place` of the sums by their weights: the product of `down`, which is that of
    /// the line, and of the sum over the columns of patches that hold a pixel.
    #[inline(always)]
    fn divide(&self, place: usize, down: T::Sum, line: &mut [T]) {
        let (last, hop) = (self.last(), self.across.hop);
        // Patches that start every hop: those before `last`.
        let until = last.wrapping_add(hop).wrapping_sub(1);
        let regular = until.checked_div(hop).unwrap_or(0);
        let start = place.wrapping_mul(self.width);
        let sums = part(self.sums, start, self.width).unwrap_or_default();
        for (x, (pixel, sum)) in line.iter_mut().zip(sums).enumerate() {
            let before = x.checked_div(hop).unwrap_or(0).wrapping_add(1).min(regular);
            // From the last of them that starts at or before this pixel, to the left.
            let place = x.wrapping_sub(before.saturating_sub(1).wrapping_mul(hop));
            let mut across = overlapping(&self.across, place, before);
            if let Some(weight) = x.checked_sub(last).and_then(|x| self.across.weights.get(x)) {
                across = T::plus(across, *weight);
            }
            *pixel = T::divide(*sum, T::times(down, across));
        }
    }
}
