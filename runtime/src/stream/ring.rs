//! The ring that windows are added to.

use super::weighting::Sample;

/// Where a ring of `LENGTH` elements stands, and the windows of that length that have been added to
/// it.
///
/// Counts nothing that grows without end. A hop of 0 does not compile:
///
/// ```compile_fail,E0080
/// let stream = sparsecode_runtime::stream::SignalStream::<f32, 8, 0>::new();
/// ```
#[derive(Clone, Debug)]
pub(super) struct Cursor<const LENGTH: usize, const HOP: usize> {
    /// Where the next element goes, which is where the oldest one lies.
    pub(super) next: u16,
    /// Elements since the last window, or since the start.
    pub(super) since: u16,
    /// Windows so far; not counted beyond those that can hold one element.
    windows: u16,
}

impl<const LENGTH: usize, const HOP: usize> Cursor<LENGTH, HOP> {
    /// Regular windows that can hold one element.
    const OVERLAPS: usize = LENGTH.div_ceil(HOP);

    pub(super) const fn new() -> Self {
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
        Self {
            next: 0,
            since: 0,
            windows: 0,
        }
    }

    pub(super) fn next(&self) -> usize {
        self.next.into()
    }

    /// Whether the next element takes the place of one that all its windows have been added to.
    pub(super) fn is_full(&self) -> bool {
        self.windows > 0
    }

    /// Elements in the ring.
    pub(super) fn held(&self) -> usize {
        if self.is_full() {
            LENGTH
        } else {
            self.since.into()
        }
    }

    /// Moves on by one element. Whether a window is due.
    pub(super) fn advance(&mut self) -> bool {
        let next = self.next.wrapping_add(1);
        self.next = if usize::from(next) < LENGTH { next } else { 0 };
        self.since = self.since.wrapping_add(1);
        let due = if self.is_full() { HOP } else { LENGTH };
        if usize::from(self.since) < due {
            return false;
        }
        self.since = 0;
        if usize::from(self.windows) < Self::OVERLAPS {
            self.windows = self.windows.wrapping_add(1);
        }
        true
    }

    /// The sum of the weights of the regular windows that hold the `index`-th oldest element.
    pub(super) fn divisor<T: Sample>(&self, weights: &[T::Sum; LENGTH], index: usize) -> T::Sum {
        let place = index.wrapping_add(self.since.into());
        overlapping::<T>(weights, place, HOP, self.windows.into())
    }

    /// The same at the end, where another window is flush with it unless a regular one is.
    pub(super) fn last_divisor<T: Sample>(
        &self,
        weights: &[T::Sum; LENGTH],
        index: usize,
    ) -> T::Sum {
        let regular = self.divisor::<T>(weights, index);
        match weights.get(index) {
            Some(weight) if self.since > 0 => T::plus(regular, *weight),
            _ => regular,
        }
    }
}

/// The sum of at most `count` weights from `place` on, every `hop`.
pub(super) fn overlapping<T: Sample>(
    weights: &[T::Sum],
    place: usize,
    hop: usize,
    count: usize,
) -> T::Sum {
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
pub(super) fn by_age<E>(ring: &[E], next: usize) -> impl Iterator<Item = &E> {
    let (new, old) = ring.split_at_checked(next).unwrap_or((&[], ring));
    old.iter().chain(new)
}

/// [`by_age`], to be written.
pub(super) fn by_age_mut<E>(ring: &mut [E], next: usize) -> impl Iterator<Item = &mut E> {
    let (new, old) = ring.split_at_mut_checked(next).unwrap_or_default();
    old.iter_mut().chain(new)
}

/// The index that lies at distance `index` from the first of `0..=last` when these are reflected at
/// both ends, again and again (`c b | a b c | b a`): the same for `index` and `−index`.
pub(super) fn reflect(index: usize, last: usize) -> usize {
    let period = last.wrapping_mul(2);
    let place = index.checked_rem(period).unwrap_or(0);
    place.min(period.wrapping_sub(place))
}
