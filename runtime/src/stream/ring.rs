//! The ring that windows are added to, and where a stream of lines stands.

use super::sample::Sample;

/// Windows along one axis: where they start, and what their elements weigh.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis<'w, T: Sample> {
    /// One weight for each element of a window.
    pub(super) weights: &'w [T::Sum],
    /// Elements from the start of one window to the start of the next.
    pub(super) hop: usize,
    /// What the weights of all windows that hold an element come to, for the first elements of a
    /// window, where somebody keeps it.
    pub(super) totals: &'w [T::Sum],
    /// Regular windows that can hold one element.
    overlaps: usize,
}

impl<'w, T: Sample> Axis<'w, T> {
    /// Windows of as many elements as there are `weights`, one every `hop`.
    #[inline(always)]
    pub(super) fn new(weights: &'w [T::Sum], hop: usize) -> Self {
        let last = weights.len().wrapping_add(hop).wrapping_sub(1);
        Self {
            weights,
            hop,
            totals: &[],
            overlaps: last.checked_div(hop).unwrap_or(0),
        }
    }

    /// The same, with what the weights come to that meet in an element of the first hop.
    #[inline(always)]
    #[cfg(feature = "denoise")]
    pub(super) fn with_totals<'t>(&self, totals: &'t [T::Sum]) -> Axis<'t, T>
    where
        'w: 't,
    {
        Axis { totals, ..*self }
    }

    /// Elements of a window.
    #[inline(always)]
    pub(super) fn side(&self) -> usize {
        self.weights.len()
    }
}

/// Where a stream of windows stands: which places of its memory hold what.
///
/// Plain data of 6 bytes, all zeros at the start. [`SignalView`](super::SignalView) and
/// [`FrameView`](super::FrameView) borrow one, so that the whole state of a channel lies in memory
/// of the caller's choice. A cursor belongs to the memory that it was advanced with.
///
/// ```
/// use sparsecode_runtime::stream::Cursor;
///
/// let mut cursor = Cursor::new(); // in a static of your choice
/// assert_eq!(size_of_val(&cursor), 6);
/// ```
// Counts nothing that grows without end.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// Where the next element goes, which is where the oldest one lies.
    pub(super) next: u16,
    /// Elements since the last window, or since the start.
    pub(super) since: u16,
    /// Windows so far; not counted beyond those that can hold one element.
    windows: u16,
}

impl Cursor {
    /// A stream at its start, also for statics (a cursor lies in `.bss`).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            next: 0,
            since: 0,
            windows: 0,
        }
    }

    /// [`new`](Self::new) for windows of `LENGTH` elements. A hop of 0 does not compile:
    ///
    /// ```compile_fail,E0080
    /// let stream = sparsecode_runtime::stream::SignalStream::<f32, 8, 0>::new();
    /// ```
    pub(super) const fn of<const LENGTH: usize, const HOP: usize>() -> Self {
        const {
            assert!(
                LENGTH <= u16::MAX as usize,
                "windows have at most 65535 elements"
            );
            assert!(HOP > 0, "a hop of 0 never moves on");
            assert!(
                HOP <= LENGTH,
                "a hop larger than the window leaves elements out"
            );
        }
        Self::new()
    }

    /// Whether the cursor can have come about with windows along `axis`.
    pub(super) fn belongs_to<T: Sample>(&self, axis: &Axis<'_, T>) -> bool {
        let due = if self.is_full() {
            axis.hop
        } else {
            axis.side()
        };
        self.next() < axis.side()
            && usize::from(self.since) < due
            && usize::from(self.windows) <= axis.overlaps
    }

    #[inline(always)]
    pub(super) fn next(&self) -> usize {
        self.next.into()
    }

    /// Whether the next element takes the place of one that all its windows have been added to.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.windows > 0
    }

    /// Elements in a ring of `side`.
    #[inline(always)]
    pub(super) fn held(&self, side: usize) -> usize {
        if self.is_full() {
            side
        } else {
            self.since.into()
        }
    }

    /// Whether a window is due: the last step completed one.
    #[inline(always)]
    pub(super) fn is_due(&self) -> bool {
        self.since == 0
    }

    /// Moves on by one element. Whether a window is due.
    #[inline(always)]
    pub(super) fn advance<T: Sample>(&mut self, axis: &Axis<'_, T>) -> bool {
        let next = self.next().wrapping_add(1);
        self.next = if next < axis.side() { next as u16 } else { 0 };
        let due = if self.is_full() {
            axis.hop
        } else {
            axis.side()
        };
        let since = usize::from(self.since).wrapping_add(1);
        if since < due {
            self.since = since as u16;
            return false;
        }
        self.complete(axis.overlaps);
        true
    }

    /// A window is complete. Apart, because it is the exception.
    #[inline(never)]
    fn complete(&mut self, overlaps: usize) {
        self.since = 0;
        if usize::from(self.windows) < overlaps {
            self.windows = self.windows.wrapping_add(1);
        }
    }

    /// Elements that the window that is due does not share with the one before.
    #[inline(always)]
    #[cfg(feature = "denoise")]
    pub(super) fn fresh<T: Sample>(&self, axis: &Axis<'_, T>) -> usize {
        match self.windows {
            // Where a second one is not counted, windows share nothing.
            0 | 1 => axis.side(),
            _ => axis.hop,
        }
    }

    /// The sum of the weights of the regular windows that hold the `index`-th oldest element.
    #[inline(always)]
    pub(super) fn divisor<T: Sample>(&self, axis: &Axis<'_, T>, index: usize) -> T::Sum {
        let place = index.wrapping_add(self.since.into());
        overlapping(axis, place, self.windows.into())
    }

    /// The same for the oldest element.
    #[inline(always)]
    pub(super) fn first_divisor<T: Sample>(&self, axis: &Axis<'_, T>) -> T::Sum {
        match axis.totals.get(usize::from(self.since)) {
            Some(total) if usize::from(self.windows) >= axis.overlaps => *total,
            // Apart: a stream with totals does not come here after its first windows.
            _ => added_up_apart::<T>(
                axis.weights,
                axis.hop,
                self.since.into(),
                self.windows.into(),
            ),
        }
    }

    /// The same at the end, where another window is flush with it unless a regular one is.
    #[inline(always)]
    pub(super) fn last_divisor<T: Sample>(&self, axis: &Axis<'_, T>, index: usize) -> T::Sum {
        let regular = self.divisor(axis, index);
        match axis.weights.get(index) {
            Some(weight) if self.since > 0 => T::plus(regular, *weight),
            _ => regular,
        }
    }
}

/// The sum of at most `count` weights from `place` on, every hop.
#[inline(always)]
pub(super) fn overlapping<T: Sample>(axis: &Axis<'_, T>, place: usize, count: usize) -> T::Sum {
    added_up::<T>(axis.weights, axis.hop, place, count)
}

#[inline(never)]
fn added_up_apart<T: Sample>(weights: &[T::Sum], hop: usize, place: usize, count: usize) -> T::Sum {
    added_up::<T>(weights, hop, place, count)
}

#[inline(always)]
fn added_up<T: Sample>(weights: &[T::Sum], hop: usize, place: usize, count: usize) -> T::Sum {
    let mut rest = weights.get(place..).unwrap_or_default();
    let mut sum = T::EMPTY;
    for _ in 0..count {
        let Some(weight) = rest.first() else { break };
        sum = T::plus(sum, *weight);
        rest = rest.get(hop..).unwrap_or_default();
    }
    sum
}

/// The elements of a ring from the oldest, which lies at `next`, to the newest.
#[inline(always)]
pub(super) fn by_age<E>(ring: &[E], next: usize) -> impl Iterator<Item = &E> {
    let (new, old) = ring.split_at_checked(next).unwrap_or((&[], ring));
    old.iter().chain(new)
}

/// The first `length` elements, and the rest.
#[inline(always)]
pub(super) fn halves<E>(elements: &[E], length: usize) -> (&[E], &[E]) {
    elements.split_at_checked(length).unwrap_or_default()
}

/// [`halves`], to be written.
#[inline(always)]
pub(super) fn halves_mut<E>(elements: &mut [E], length: usize) -> (&mut [E], &mut [E]) {
    elements.split_at_mut_checked(length).unwrap_or_default()
}

/// `length` elements from `start` on.
#[inline(always)]
pub(super) fn part<E>(ring: &[E], start: usize, length: usize) -> Option<&[E]> {
    ring.get(start..)?.get(..length)
}

/// [`part`], to be written.
#[inline(always)]
pub(super) fn part_mut<E>(ring: &mut [E], start: usize, length: usize) -> Option<&mut [E]> {
    ring.get_mut(start..)?.get_mut(..length)
}

/// Copies as many elements as both hold.
#[inline(always)]
pub(super) fn copy<E: Copy>(to: &mut [E], from: &[E]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Copies line `from` of a ring to line `to`.
pub(super) fn copy_line<E: Copy>(ring: &mut [E], width: usize, from: usize, to: usize) {
    let (from, to) = (from.wrapping_mul(width), to.wrapping_mul(width));
    for column in 0..width {
        let element = ring.get(from.wrapping_add(column)).copied();
        if let (Some(place), Some(element)) = (ring.get_mut(to.wrapping_add(column)), element) {
            *place = element;
        }
    }
}

/// The index that lies at distance `index` from the first of `0..=last` when these are reflected at
/// both ends, again and again (`c b | a b c | b a`): the same for `index` and `−index`.
pub(super) fn reflect(index: usize, last: usize) -> usize {
    let period = last.wrapping_mul(2);
    let place = index.checked_rem(period).unwrap_or(0);
    place.min(period.wrapping_sub(place))
}
