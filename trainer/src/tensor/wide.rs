//! Loops for the widest vectors of the processor that runs them.

use pulp::{Arch, Simd, WithSimd};

/// Runs a closure that is compiled once for each width of vectors. Write `#[inline(always)]` before
/// the closure.
///
/// A closure that `pulp` took itself would go through `FnOnce::call_once`, a function of its own
/// that is compiled for every processor: its loops stay narrow wherever the compiler does not
/// inline it.
pub(crate) fn widest<R>(work: impl FnMut() -> R) -> R {
    Arch::new().dispatch(Work(work))
}

struct Work<F>(F);

impl<R, F: FnMut() -> R> WithSimd for Work<F> {
    type Output = R;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) -> R {
        (self.0)()
    }
}
