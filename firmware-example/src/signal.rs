//! A signal, sample by sample: what a sample costs, and how far the clean one is from the truth.

use defmt::info;

use crate::board;
use crate::checksum::Checksum;
use crate::patches::{CLEAN, NOISY};

/// What came of a signal so far.
pub struct Tally {
    checksum: Checksum,
    /// Clean samples that came out.
    given: usize,
    /// Instructions of the pushes that gave a sample, and how many these are: the stream is full,
    /// and does for each sample what it does for ever.
    total: u64,
    steady: u64,
    longest: u64,
    /// Sums of squares in levels: the noise, and what is left of it.
    noise: u64,
    error: u64,
}

impl Tally {
    /// Sends the noisy signal through `push`, and counts.
    pub fn of(mut push: impl FnMut(i16) -> Option<i16>) -> Self {
        let mut tally = Self {
            checksum: Checksum::new(),
            given: 0,
            total: 0,
            steady: 0,
            longest: 0,
            noise: 0,
            error: 0,
        };
        // One signal; programs of patches, which come without this one, have several.
        for sample in NOISY.iter().take(1).flatten() {
            let (found, count) = board::measure(|| push(*sample));
            tally.longest = tally.longest.max(count);
            if let Some(found) = found {
                tally.total += count;
                tally.steady += 1;
                tally.take(found);
            }
        }
        tally
    }

    /// The next clean sample.
    pub fn take(&mut self, found: i16) {
        self.checksum.add_levels(&[found]);
        let noisy = NOISY.iter().flatten().nth(self.given);
        let clean = CLEAN.iter().flatten().nth(self.given);
        if let (Some(noisy), Some(clean)) = (noisy, clean) {
            self.noise += u64::from(noisy.abs_diff(*clean)).pow(2);
            self.error += u64::from(found.abs_diff(*clean)).pow(2);
        }
        self.given += 1;
    }

    /// Logs what was counted. `channel` and `scratch` are bytes of RAM, `stack` the deepest stack.
    pub fn log(&self, channel: usize, scratch: usize, stack: usize) {
        info!("core = {=str}", board::NAME);
        let (counted, executed) = board::check_counter();
        info!("counter counted = {=u64}", counted);
        info!("counter expected = {=u64}", executed);
        info!("samples = {=usize}", self.given);
        let sample = self.total.checked_div(self.steady).unwrap_or(0);
        info!("instructions per sample = {=u64}", sample);
        info!("longest = {=u64}", self.longest);
        info!("channel bytes = {=usize}", channel);
        info!("scratch bytes = {=usize}", scratch);
        info!("stack bytes = {=usize}", stack);
        info!("noise = {=u64}", self.noise);
        info!("error = {=u64}", self.error);
        info!("checksum = {=u32}", self.checksum.value());
    }
}
