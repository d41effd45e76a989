//! How strong white noise in a signal is.

use super::cosine::{BANDS, BLOCK};
use super::sample::Sample;

/// Blocks before the first estimate.
const FIRST: u16 = 32;
/// Blocks whose magnitudes count in full.
const UNBOUNDED: u16 = 4;
/// `1024·(1 + 2/√n)` for n = 16, 32 … 256: how far a band may lie above the quietest one. The mean
/// of a band scatters by about `1/(2√n)`.
const REACHES: [u16; 5] = [1536, 1386, 1280, 1205, 1152];

/// `1024/E` for n = 1, 2, 4, 8, 16, where E is what the mean of the quieter half of 16 bands comes
/// to beside the mean of all, for white noise and magnitudes that are means of n.
const FACTORS: [u16; 5] = [2334, 1704, 1425, 1275, 1187];

/// The deviation σ of white noise in a signal, in memory of fixed size.
///
/// A signal is strong in some bands or at some times; white noise is equally strong in all. The
/// modified discrete cosine transform with a sine window (Princen, Johnson & Bradley 1987) divides
/// blocks of 32 samples, one after the other, into 16 bands of equal width. Each band keeps a mean
/// of its magnitudes, `m ← m + (min(∣X∣, 3m) − m)/n`. The bound is Huber's (1964): beats and bursts
/// hardly count. It holds from the fifth block on. `n` is the largest power of two that exceeds
/// neither the number of blocks nor `MEMORY`. σ is the mean over the bands whose `m` is at most `1
/// + 2/√n` times the smallest one, `n` of half as many blocks, divided by 0.792: the `m` of white
/// noise with σ = 1. The smallest band alone would be too low by `0.9/√MEMORY`.
///
/// - **Before 1,024 samples**, those of blocks that count, there is no estimate by
///   [`sigma`](Self::sigma). [`rough_sigma`](Self::rough_sigma) has one from the first block on.
/// - **`MEMORY`** is a power of two from 16 to 256, in blocks. With 32, an estimate reaches a σ
///   that doubles after 60 blocks to 10 %, one that is ten times as large after 105, and one that
///   is half as large after 75; with 64 after twice as many. At 360 Hz a block takes 0.09 s. A
///   larger memory scatters less: 32 suits ECG, 256 vibration.
/// - **The signal** comes without drift, as [`DriftStream`](super::DriftStream) leaves it. A
///   constant counts in the lowest band alone.
/// - **The noise** is whatever fills the quietest bands all the time, the sensor's own noise
///   included. σ of noise that is not white is too low.
/// - **A block** of zeros alone does not count: a gap in the data leaves the estimate as it is. A
///   block with a NaN or an infinite sample does not count either.
///
/// Estimate over σ of the noise added, and root mean square error of a single estimate, on recorded
/// signals; `i16` and `f32` give the same. Their own noise is part of the estimate, which shows at
/// 30 dB.
///
/// | signal, samples before the estimate | 0 dB | 5 dB | 10 dB | 20 dB | 30 dB |
/// |---|---|---|---|---|---|
/// | ECG of four patients, 1,800 (5 s) | 0.98 ± 0.04 | 0.99 ± 0.04 | 1.01 ± 0.05 | 1.02 ± 0.06 | 1.13 ± 0.14 |
/// | bearing fault, 24,000 (2 s), `MEMORY` 256 | 1.02 ± 0.03 | 1.03 ± 0.04 | 1.03 ± 0.05 | 1.03 ± 0.05 | 1.29 ± 0.30 |
/// | healthy machine, the same | 1.00 ± 0.02 | 1.00 ± 0.01 | 1.01 ± 0.02 | 1.03 ± 0.05 | 1.01 ± 0.04 |
///
/// (`cargo test -p sparsecode-runtime --test streams recorded -- --nocapture`, means of 40 places.)
///
/// | | `f32` | `i16` |
/// |---|---|---|
/// | σ | in units of a sample | in 1/16 of a level, 1 to 65,535 |
/// | bytes of RAM | 200 | 136 |
/// | instructions a sample on a Cortex-M4F, by [`push`](Self::push) | 41 | 40 |
/// | the same by [`push_block`](Self::push_block) | 24 | 30 |
///
/// `i16` is computed in integers, within 0.4 % and 1/16 of a level of the definition.
///
/// ```
/// use sparsecode_runtime::stream::NoiseLevel;
///
/// let mut noise = NoiseLevel::<i16>::new();
/// let mut random = 1_u32;
/// for time in 0..1800 {
///     random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
///     // Uniform from −50 to 50: σ = 29.2. The signal is a triangle of 450 levels each way.
///     let signal: i16 = (time % 360 - 180_i16).abs() * 5 - 450;
///     noise.push(signal + ((random >> 16) % 101) as i16 - 50);
///     assert_eq!(noise.sigma().is_some(), time >= 1023);
/// }
/// let sigma = f32::from(noise.sigma().unwrap()) / 16.0;
/// assert!((sigma - 29.2).abs() < 2.9, "{sigma}");
/// ```
///
/// A memory that is no power of two does not compile:
///
/// ```compile_fail,E0080
/// let noise = sparsecode_runtime::stream::NoiseLevel::<f32, 100>::new();
/// ```
#[derive(Clone, Debug)]
pub struct NoiseLevel<T: Sample, const MEMORY: usize = 32> {
    /// Samples of the block that is not complete.
    block: [T; BLOCK],
    /// The mean magnitude of each band.
    means: [T::Level; BANDS],
    /// The estimate as of the last block; means nothing before there is one.
    sigma: T::Sigma,
    /// Samples in the block.
    filled: u16,
    /// Blocks so far; not counted beyond twice the memory.
    blocks: u16,
}

impl<T: Sample, const MEMORY: usize> NoiseLevel<T, MEMORY> {
    /// Size in bytes.
    pub const BYTES: usize = size_of::<Self>();

    /// Samples before the first estimate.
    pub const FIRST: usize = BLOCK.wrapping_mul(FIRST as usize);

    /// An estimate at its start, also for statics (it lies in `.bss`).
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(
                MEMORY.is_power_of_two() && MEMORY >= 16 && MEMORY <= 256,
                "the memory is a power of two from 16 to 256"
            );
        }
        Self {
            block: [T::ZERO; BLOCK],
            means: [T::QUIET; BANDS],
            sigma: T::NO_NOISE,
            filled: 0,
            blocks: 0,
        }
    }

    /// Forgets all samples: the next one is the first.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Takes the next sample.
    pub fn push(&mut self, sample: T) {
        if let Some(place) = self.block.get_mut(usize::from(self.filled)) {
            *place = sample;
        }
        self.filled = self.filled.wrapping_add(1);
        if usize::from(self.filled) >= BLOCK {
            self.filled = 0;
            self.add_block();
        }
    }

    /// Takes samples as [`push`](Self::push) does, any number at once, for fewer instructions.
    pub fn push_block(&mut self, mut samples: &[T]) {
        while !samples.is_empty() {
            let filled = usize::from(self.filled);
            let room = BLOCK.saturating_sub(filled);
            let (first, rest) = samples.split_at_checked(room).unwrap_or((samples, &[]));
            T::copy(self.block.get_mut(filled..).unwrap_or_default(), first);
            self.filled = self.filled.wrapping_add(first.len() as u16);
            if usize::from(self.filled) >= BLOCK {
                self.filled = 0;
                self.add_block();
            }
            samples = rest;
        }
    }

    /// σ of the noise; `None` before 1,024 samples that count.
    ///
    /// Cost: none; it is made with every block.
    #[must_use]
    pub fn sigma(&self) -> Option<T::Sigma> {
        (self.blocks >= FIRST).then_some(self.sigma)
    }

    /// σ as far as it is known: [`sigma`](Self::sigma), or before there is one the mean of the
    /// quieter half of the bands, as far as it usually lies below that of all. `None` before 32
    /// samples that count.
    ///
    /// In white noise a single estimate scatters by 33 % after 32 samples, by 20 % after 64, by 13
    /// % after 128 and by 6 % after 512. A signal that fills more than half of the bands counts as
    /// noise. A stream of a model that denoises takes this.
    ///
    /// Cost: none; it is made with every block.
    #[must_use]
    pub fn rough_sigma(&self) -> Option<T::Sigma> {
        (self.blocks > 0).then_some(self.sigma)
    }

    fn add_block(&mut self) {
        let bounded = self.blocks >= UNBOUNDED;
        let shift = Self::shift(self.blocks.wrapping_add(1));
        if !T::follow(&self.block, &mut self.means, bounded, shift) {
            return;
        }
        if usize::from(self.blocks) < MEMORY.wrapping_mul(2) {
            self.blocks = self.blocks.wrapping_add(1);
        }
        if self.blocks < FIRST {
            let shift = Self::shift(self.blocks);
            if let Some(factor) = FACTORS.get(shift as usize) {
                self.sigma = T::rough_sigma(&self.means, *factor);
            }
            return;
        }
        // The means have had the shift of half as many blocks long enough.
        let shift = Self::shift(self.blocks >> 1);
        if let Some(reach) = REACHES.get(shift.wrapping_sub(4) as usize) {
            self.sigma = T::sigma(&self.means, *reach);
        }
    }

    /// The binary logarithm of `blocks` or of the memory, whichever is less, rounded down.
    fn shift(blocks: u16) -> u32 {
        let blocks = blocks.checked_ilog2().unwrap_or(0);
        blocks.min(MEMORY.trailing_zeros())
    }
}

impl<T: Sample, const MEMORY: usize> Default for NoiseLevel<T, MEMORY> {
    fn default() -> Self {
        Self::new()
    }
}
