//! Interruptions of runs.

use std::sync::atomic::{AtomicBool, Ordering};

use sparsecode_trainer::run::{EpochRecord, LogError, Observer};

/// Stops after so many batches.
pub(crate) struct StopAfter<'a> {
    pub(crate) left: usize,
    pub(crate) stop: &'a AtomicBool,
}

impl Observer for StopAfter<'_> {
    fn batch(&mut self, _: u32, _: usize, _: usize) {
        self.left -= 1;
        if self.left == 0 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn epoch(&mut self, _: &EpochRecord) -> Result<(), LogError> {
        Ok(())
    }
}
