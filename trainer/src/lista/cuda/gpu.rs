//! What is asked of a GPU, and why it may refuse.

use super::layout::Facts;

/// Why a GPU did not do what it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// No driver, or no GPU.
    #[error("no NVIDIA GPU: {0}; check that nvidia-smi lists one, or use --device cpu")]
    Absent(String),
    /// A GPU for which there is no code.
    #[error(
        "{name}: compute capability {major}.{minor}, but this program has code for 8.0 and later; use --device cpu"
    )]
    TooOld {
        /// The GPU.
        name: String,
        /// Its compute capability.
        major: i32,
        /// Its compute capability.
        minor: i32,
    },
    /// A driver that does not know this program's code.
    #[error(
        "the driver refuses this program's kernels ({0}): they are of CUDA 13, which needs driver 580 or later; update it, or use --device cpu"
    )]
    OldDriver(String),
    /// Not enough memory on the device.
    #[error(
        "out of memory on the GPU: the run needs {wanted} MiB more, {free} MiB are free; fewer --jobs, a smaller batch_size, or other programs that use the GPU"
    )]
    OutOfMemory {
        /// MiB that were asked for.
        wanted: u64,
        /// MiB that were free.
        free: u64,
    },
    /// Something else that the driver says.
    #[error("{0}")]
    Driver(String),
}

impl From<GpuError> for candle_core::Error {
    fn from(error: GpuError) -> Self {
        Self::Msg(error.to_string())
    }
}

/// A GPU.
pub trait Gpu: Send + Sync {
    /// What it can hold and do.
    fn facts(&self) -> &Facts;

    /// Takes memory for a run, zeroed.
    ///
    /// # Errors
    ///
    /// [`GpuError::OutOfMemory`].
    fn allocate(&self, bytes: u64) -> Result<Box<dyn Memory>, GpuError>;
}

/// The memory of a run, and the queue in which its launches follow each other.
pub trait Memory: Send {
    /// Writes `bytes` at this place, in bytes from the start, after all that was launched.
    ///
    /// # Errors
    ///
    /// What the driver says.
    fn write(&mut self, place: u64, bytes: &[u8]) -> Result<(), GpuError>;

    /// Reads what is at this place when all launches are done.
    ///
    /// # Errors
    ///
    /// What the driver says, also of a launch before.
    fn read(&mut self, place: u64, bytes: &mut [u8]) -> Result<(), GpuError>;

    /// Has a team of blocks do some batches, after what was launched and written before.
    ///
    /// # Errors
    ///
    /// What the driver says.
    fn launch(&mut self, launch: &Launch<'_>) -> Result<(), GpuError>;
}

/// What a team is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch<'a> {
    /// Whether its blocks are one cluster.
    pub is_cluster: bool,
    /// Blocks, of 256 threads each.
    pub blocks: usize,
    /// Shared memory of each.
    pub shared_bytes: usize,
    /// `struct Run` of `trainer/kernels/run.h`.
    pub run: &'a [u8],
    /// The first batch.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// Where four bytes are to be 0 before it begins.
    pub barrier: u64,
}
