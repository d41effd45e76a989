//! Clocks.

use std::time::Instant;

/// How much is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Enough to see that it runs.
    Quick,
    /// Enough to believe the figures.
    Full,
}

impl Effort {
    /// `full`, or next to nothing.
    pub(crate) fn of(self, full: usize) -> usize {
        match self {
            Self::Quick => full.min(2),
            Self::Full => full,
        }
    }
}

/// Seconds of the fastest of some runs.
pub(crate) fn fastest<E>(runs: usize, mut work: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut best = f64::INFINITY;
    for _ in 0..runs.max(1) {
        let started = Instant::now();
        work()?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Runs `work` with `threads` threads for everything that uses rayon.
pub(crate) fn with_threads<T: Send>(
    threads: usize,
    work: impl FnOnce() -> T + Send,
) -> anyhow::Result<T> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?;
    Ok(pool.install(work))
}

/// 1, 2, 4, … and the number of cores.
pub(crate) fn thread_counts() -> Vec<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut counts: Vec<usize> = (0..)
        .map(|power| 1 << power)
        .take_while(|&count| count < cores)
        .collect();
    counts.push(cores);
    counts
}
