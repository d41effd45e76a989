//! Generated data: samples that look like natural images, machine vibration or ECG, or that are
//! sparse combinations of known atoms, from nothing but a seed.
//!
//! Training, validation and test samples come from different random streams, so nothing is in two
//! splits.

mod dead_leaves;
mod dictionary;
mod ecg;
mod signals;
mod vibration;

pub use dead_leaves::{DeadLeavesConfig, dead_leaves_image};
pub use dictionary::DictionaryConfig;
pub use ecg::{ECG_RATE, ecg_signal};
pub use signals::GeneratedSignalConfig;
pub use vibration::{VIBRATION_RATE, vibration_signal};

/// The part of the test stream that demonstration pictures and signals come from: no data set gets
/// there.
const DEMONSTRATION: u32 = u32::MAX;
