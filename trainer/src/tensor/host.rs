//! Tensors in main memory, and how many threads they are worth.

use candle_core::{CpuStorage, DType, Error, Layout, Result, Tensor};

/// Below this many numbers one thread does them alone: some ten microseconds.
pub(super) const PARALLEL_FROM: usize = 1 << 16;

/// Threads for a pass over `count` numbers.
pub(super) fn threads_for(count: usize) -> usize {
    match count {
        0..PARALLEL_FROM => 1,
        _ => rayon::current_num_threads(),
    }
}

/// Whether the fused form is there for this tensor.
pub(super) fn is_host(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// The numbers of a contiguous f32 tensor.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((first, end))) => Ok(&values[first..end]),
        _ => Err(Error::Msg(
            "a fused pass takes contiguous f32 tensors".into(),
        )),
    }
}

/// The same, to be written.
pub(super) fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((first, end))) => Ok(&mut values[first..end]),
        _ => Err(Error::Msg(
            "a fused pass takes contiguous f32 tensors".into(),
        )),
    }
}
