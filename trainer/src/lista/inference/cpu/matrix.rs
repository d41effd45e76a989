//! Tensors in main memory, as slices.

use std::ops::Deref;

use candle_core::{CpuStorage, Error, Result, Storage, Tensor};

/// The numbers of a contiguous f32 tensor in main memory, where they lie.
pub(super) struct HostMatrix<'a> {
    /// Candle's read guard, whose type it does not name.
    storage: Box<dyn Deref<Target = Storage> + Sync + 'a>,
    first: usize,
    count: usize,
}

impl<'a> HostMatrix<'a> {
    pub(super) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let range = layout.contiguous_offsets();
        match (&*storage, range) {
            (Storage::Cpu(CpuStorage::F32(_)), Some((first, end))) => Ok(Self {
                storage: Box::new(storage),
                first,
                count: end - first,
            }),
            (_, None) => Err(Error::Msg(
                "the processor's engine takes contiguous tensors: call contiguous()".into(),
            )),
            _ => Err(Error::Msg(format!(
                "the processor's engine takes f32 tensors in main memory, not {:?} on {:?}: PlainFista takes any",
                tensor.dtype(),
                tensor.device().location()
            ))),
        }
    }
}

impl Deref for HostMatrix<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &**self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.first..][..self.count],
            _ => &[],
        }
    }
}

/// A tensor of this shape, or an error that names it.
pub(super) fn matrix<'a>(
    tensor: &'a Tensor,
    rows: usize,
    columns: usize,
    name: &str,
) -> Result<HostMatrix<'a>> {
    if tensor.dims() != [rows, columns] {
        return Err(Error::Msg(format!(
            "{name}: shape {:?}, expected [{rows}, {columns}]",
            tensor.dims()
        )));
    }
    HostMatrix::of(tensor)
}
