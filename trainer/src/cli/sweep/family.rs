//! Of which family the runs of a sweep are, and what they compute with.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;

use crate::cli::common::usage;
use crate::cli::device::DeviceChoice;
use crate::cli::family::FamilyName;
use crate::lista::{Backend, Lista};
use crate::run::Family;
use crate::sweep::Grid;
use crate::sweep::plan::family_named;

/// The family of a grid's presets.
pub(super) fn of_grid(grid: &Grid, file: &Path) -> anyhow::Result<FamilyName> {
    let presets = grid.presets();
    let first = presets.first().copied().unwrap_or_default();
    let family = FamilyName::of_preset(first);
    match presets.iter().find(|p| FamilyName::of_preset(p) != family) {
        None => Ok(family),
        Some(other) => Err(usage(format!(
            "{}: {first} and {other} are presets of two families, whose figures no table can show \
             side by side; write a grid for each family",
            file.display()
        ))),
    }
}

/// The family of a plan's runs.
pub(super) fn of_plan(plan: &Path) -> anyhow::Result<FamilyName> {
    Ok(FamilyName::of_name(family_named(plan)?.as_deref()))
}

/// The GPU that the runs of a sweep share.
pub(super) struct Gpu<B: ?Sized> {
    pub(super) backend: Arc<B>,
    /// Runs at a time unless a person says otherwise.
    pub(super) runs: usize,
}

/// What the runs of a family compute with.
pub(super) trait Computes: Family {
    /// What one run computes with.
    fn open(device: DeviceChoice) -> anyhow::Result<Arc<Self::Backend>>;

    /// The GPU, or `None` for the processor.
    fn gpu(device: DeviceChoice) -> anyhow::Result<Option<Gpu<Self::Backend>>>;

    /// The GPU for so many runs at a time.
    fn shared(gpu: Arc<Self::Backend>, _runs: usize) -> Arc<Self::Backend> {
        gpu
    }
}

impl Computes for Lista {
    fn open(device: DeviceChoice) -> anyhow::Result<Arc<dyn Backend>> {
        device.open()
    }

    fn gpu(device: DeviceChoice) -> anyhow::Result<Option<Gpu<dyn Backend>>> {
        let gpu = device.gpu()?;
        Ok(gpu.map(|backend| Gpu {
            runs: backend.concurrent_runs(),
            backend,
        }))
    }

    fn shared(gpu: Arc<dyn Backend>, runs: usize) -> Arc<dyn Backend> {
        gpu.shared_by(runs).unwrap_or(gpu)
    }
}

/// The families that compute with candle.
impl<F: Family<Backend = Device>> Computes for F {
    fn open(device: DeviceChoice) -> anyhow::Result<Arc<Device>> {
        Ok(Arc::new(device.candle()?))
    }

    fn gpu(device: DeviceChoice) -> anyhow::Result<Option<Gpu<Device>>> {
        let device = device.candle()?;
        Ok((!device.is_cpu()).then(|| Gpu {
            backend: Arc::new(device),
            runs: 1,
        }))
    }
}
