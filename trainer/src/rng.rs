//! The one source of random numbers: ChaCha8 on the host, a named stream for each purpose.
//!
//! candle's CPU generator cannot be seeded, and a CPU and a GPU run of one seed must agree; so
//! every random number is drawn here and uploaded. Streams are independent, which makes the state
//! of a run its seed and its position: a checkpoint needs nothing else to continue.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What random numbers are drawn for. Draws for one purpose never move those for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Initial weights.
    Weights,
    /// The order of the training samples in an epoch.
    Shuffle {
        /// Epoch, from 0.
        epoch: u32,
    },
    /// Noise added to samples: unit draws, scaled by whatever deviation the noise has.
    Noise {
        /// What is made noisy: 0 for the samples of a data set, other numbers for what is shown
        /// beside them.
        purpose: u16,
    },
    /// Training samples that are generated or cropped.
    TrainData,
    /// Validation samples that are generated or cropped.
    ValidationData,
    /// Test samples that are generated or cropped.
    TestData,
}

impl Stream {
    fn id(self) -> u64 {
        match self {
            Self::Weights => 1,
            Self::Shuffle { epoch } => (2 << 32) | u64::from(epoch),
            Self::Noise { purpose } => (3 << 32) | u64::from(purpose),
            Self::TrainData => 4,
            Self::ValidationData => 5,
            Self::TestData => 6,
        }
    }
}

/// The generator of one purpose for a seed. The same pair gives the same numbers on every machine.
///
/// ```
/// use rand::Rng;
/// use sparsecode_trainer::rng::{Stream, generator};
///
/// let draw = || generator(31, Stream::Weights).random::<f32>();
/// assert_eq!(draw(), draw());
/// assert_ne!(draw(), generator(31, Stream::TrainData).random::<f32>());
/// ```
pub fn generator(seed: u64, stream: Stream) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream.id());
    rng
}
