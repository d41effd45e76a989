//! How strong white noise in a signal is.

use super::cosine::{BANDS, BLOCK};
use super::weighting::Sample;

/// Blocks before the first estimate.
const FIRST: u16 = 32;
/// Blocks whose magnitudes count in full.
const UNBOUNDED: u16 = 4;
/// `1024·(1 + 2/√n)` for n = 16, 32 … 256: how far a band may lie above the quietest one. The mean
/// of a band is off by about `1/(2√n)`.
const REACHES: [u16; 5] = [1536, 1386, 1280, 1205, 1152];

/// The deviation σ of white noise in a signal, in memory of fixed size.
///
/// A signal is strong in some bands or at some times, white noise is equally strong in all. Blocks
/// of 32 samples, one after the other, are divided into 16 bands of equal width by the modified
/// discrete cosine transform (Princen, Johnson & Bradley 1987) with a sine window. Each band keeps
/// a mean `m` of its magnitudes, `m ← m + (min(∣X∣, 3m) − m)/n`: the bound is Huber's (1964), so that
/// beats and bursts hardly count. `n` is 1 for the first block and doubles whenever as many blocks
/// have come, up to `MEMORY`. σ is the mean over the bands whose `m` is at most `1 + 2/√n` times the
/// smallest one, divided by 0.792, which `m` is for white noise of σ = 1.
///
/// The smallest band alone would be too low by about `0.9/√MEMORY`; the finest band of a wavelet
/// transform is 1.3 to 2.5 times too high where the signal reaches up to it.
///
/// - **Before 1,024 samples** there is no estimate.
/// - **`MEMORY`**: a power of two from 16 to 256, in blocks of 32 samples. A change of the noise is
///   followed within a few times as many: with 32, at 360 Hz, a doubled σ is reached to 10 % after
///   about 6 s. A larger `MEMORY` gives less scatter: choose 32 for ECG, 256 for vibration.
/// - **What the signal has to be**: without drift, as [`DriftStream`](super::DriftStream) leaves it.
///   A constant offset only counts in the lowest band.
/// - **What counts as noise**: whatever fills the quietest bands all the time, the sensor's own
///   noise included. Noise that is not white is underestimated.
///
/// | | `f32` | `i16` |
/// |---|---|---|
/// | σ | in units of a sample | in 1/16 of a level, at most 65,535 |
/// | bytes of RAM | 196 | 132 |
///
/// Cost of a sample: a move; of a block: about 110 multiplications and 250 additions and
/// comparisons. `i16` is computed in integers. A block with a NaN or an infinite sample does not
/// count. σ of `i16` is 0 for silence alone.
///
/// ```
/// use sparsecode_runtime::stream::NoiseLevel;
///
/// let mut noise = NoiseLevel::<i16>::new();
/// let mut random = 1_u32;
/// for time in 0..1800 {
///     random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
///     // Uniform over 101 levels: σ = 29.2. A slow signal lies in the lowest band.
///     let signal = if time % 360 < 180 { 500 } else { -500 };
///     noise.push(signal + (random >> 16) as i16 % 51);
///     assert_eq!(noise.sigma().is_some(), time >= 1023);
/// }
/// let sigma = noise.sigma().unwrap();
/// assert!(sigma > 0);
/// ```
#[derive(Clone, Debug)]
pub struct NoiseLevel<T: Sample, const MEMORY: usize = 32> {
    /// Samples of the block that is not complete.
    block: [T; BLOCK],
    /// The mean magnitude of each band.
    means: [T::Level; BANDS],
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

    /// Takes samples, any number at once.
    pub fn push_block(&mut self, samples: &[T]) {
        for sample in samples {
            self.push(*sample);
        }
    }

    /// σ of the noise; `None` before the first 1,024 samples.
    ///
    /// Cost: some hundred instructions, and no change of the state.
    #[must_use]
    pub fn sigma(&self) -> Option<T::Sigma> {
        if self.blocks < FIRST {
            return None;
        }
        // The means have had the shift of half as many blocks long enough.
        let shift = Self::shift(self.blocks >> 1);
        let reach = REACHES.get(shift.wrapping_sub(4) as usize)?;
        Some(T::sigma(&self.means, *reach))
    }

    fn add_block(&mut self) {
        let Some(magnitudes) = T::magnitudes(&self.block) else {
            return;
        };
        let bounded = self.blocks >= UNBOUNDED;
        let shift = Self::shift(self.blocks.wrapping_add(1));
        for (mean, magnitude) in self.means.iter_mut().zip(magnitudes) {
            T::follow(mean, magnitude, bounded, shift);
        }
        if usize::from(self.blocks) < MEMORY.wrapping_mul(2) {
            self.blocks = self.blocks.wrapping_add(1);
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
