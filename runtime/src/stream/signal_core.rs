//! A signal in memory of any size.

use super::ring::{Axis, Cursor, by_age, halves, halves_mut, reflect};
use super::sample::Sample;

/// What [`SignalStream`](super::SignalStream) and [`SignalView`](super::SignalView) do, in borrowed
/// memory. Samples, sums and the window that the calls are lent are as long as the axis' side.
#[derive(Debug)]
pub(super) struct Signal<'m, T: Sample> {
    pub(super) axis: Axis<'m, T>,
    /// The last samples, in a ring.
    pub(super) samples: &'m mut [T],
    /// `Σ w·ŷ` of the same samples.
    pub(super) sums: &'m mut [T::Sum],
    pub(super) cursor: &'m mut Cursor,
}

// Into the types with a fixed size, so that their sizes are constants here.
impl<T: Sample> Signal<'_, T> {
    #[inline(always)]
    pub(super) fn push<W: AsMut<[T]> + ?Sized>(
        &mut self,
        sample: T,
        window: &mut W,
        denoise: impl FnMut(&mut W),
    ) -> Option<T> {
        let clean = self.exchange(sample);
        if self.cursor.is_due() {
            self.add_window(window, denoise);
        }
        clean
    }

    /// Takes the next sample, and gives the clean one whose place it takes. Then a window may be
    /// [due](Cursor::is_due).
    #[inline(always)]
    pub(super) fn exchange(&mut self, sample: T) -> Option<T> {
        let next = self.cursor.next();
        let (place, sum) = (self.samples.get_mut(next)?, self.sums.get_mut(next)?);
        let full = self.cursor.is_full();
        let clean = full.then(|| T::divide(*sum, self.cursor.first_divisor(&self.axis)));
        // Before anything else is written, so that the cursor is read once.
        self.cursor.advance(&self.axis);
        *place = sample;
        *sum = T::EMPTY;
        clean
    }

    #[inline(always)]
    pub(super) fn push_block<'b, W: AsMut<[T]> + ?Sized>(
        &mut self,
        block: &'b mut [T],
        window: &mut W,
        mut denoise: impl FnMut(&mut W),
    ) -> &'b mut [T] {
        let mut written = 0_usize;
        for index in 0..block.len() {
            let Some(&sample) = block.get(index) else {
                break;
            };
            if let Some(clean) = self.push(sample, window, &mut denoise)
                && let Some(place) = block.get_mut(written)
            {
                *place = clean;
                written = written.wrapping_add(1);
            }
        }
        block.get_mut(..written).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn finish<'w, W: AsMut<[T]> + ?Sized>(
        &mut self,
        window: &'w mut W,
        denoise: impl FnMut(&mut W),
    ) -> &'w [T] {
        let side = self.axis.side();
        let held = self.cursor.held(side);
        let Some(last) = held.checked_sub(1) else {
            return &[];
        };
        if !self.cursor.is_full() {
            for index in held..side {
                let sample = self.samples.get(reflect(index, last)).copied();
                if let (Some(place), Some(sample)) = (self.samples.get_mut(index), sample) {
                    *place = sample;
                }
            }
            self.cursor.next = 0;
        }
        if self.cursor.since > 0 {
            self.add_window(window, denoise);
        }
        let window = window.as_mut();
        let sums = by_age(self.sums, self.cursor.next());
        for (index, (clean, sum)) in window.iter_mut().zip(sums).enumerate() {
            *clean = T::divide(*sum, self.cursor.last_divisor(&self.axis, index));
        }
        *self.cursor = Cursor::new();
        window.get(..held).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn add_window<W: AsMut<[T]> + ?Sized>(
        &mut self,
        window: &mut W,
        mut denoise: impl FnMut(&mut W),
    ) {
        // Behind the oldest element lie those up to the end of the ring; then it begins anew.
        let next = self.cursor.next();
        let (new, old) = self.samples.split_at_checked(next).unwrap_or_default();
        let (first, last) = halves_mut(window.as_mut(), old.len());
        T::copy(first, old);
        T::copy(last, new);
        denoise(window);
        let (new, old) = self.sums.split_at_mut_checked(next).unwrap_or_default();
        let (first, last) = halves(window.as_mut(), old.len());
        let (first_weights, last_weights) = halves(self.axis.weights, old.len());
        T::add_weighted(old, first_weights, first);
        T::add_weighted(new, last_weights, last);
    }
}
