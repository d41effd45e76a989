//! The tensors of a file, each checked before it is handed out.

use bytemuck::AnyBitPattern;

use crate::align::MIN_ALIGNMENT;
use crate::error::{Dims, Name, ReadError, SpecError};
use crate::header::{Header, TensorInfo};
use crate::matrix::{MatrixRef, ScaleAxis, Weights};
use crate::spec::WeightType;

/// 4-bit weights in a model for arithmetic in `f32`.
pub(crate) const NOT_FOR_FLOATS: SpecError = SpecError {
    field: "weights",
    expected: "f32, i16 or i8 (i4 is for arithmetic in integers)",
};

/// Whether `slot` can be read in place.
pub(crate) fn check_place(slot: &[u8]) -> Result<(), ReadError> {
    let address = slot.as_ptr().addr();
    if address.is_multiple_of(MIN_ALIGNMENT) {
        Ok(())
    } else {
        Err(ReadError::MisalignedBuffer {
            remainder: address % 8,
        })
    }
}

/// Hands out the tensors of a header, each checked.
pub(crate) struct Tensors<'h, 'a, const T: usize, const K: usize> {
    header: &'h Header<'a, T, K>,
    taken: [bool; T],
}

impl<'h, 'a, const T: usize, const K: usize> Tensors<'h, 'a, T, K> {
    /// Refuses tensors that the schema does not know.
    pub(crate) fn new(header: &'h Header<'a, T, K>) -> Result<Self, ReadError> {
        match header.unknown_tensor {
            Some(name) => Err(ReadError::UnknownTensor { name }),
            None => Ok(Self {
                header,
                taken: [false; T],
            }),
        }
    }

    /// A matrix and, unless it is `f32`, its scales.
    pub(crate) fn matrix(
        &mut self,
        [name, scale_name]: [&'static str; 2],
        rows: usize,
        cols: usize,
        weights: WeightType,
        scale_axis: ScaleAxis,
    ) -> Result<MatrixRef<'a>, ReadError> {
        let shape = Dims::Matrix(rows, cols);
        let channels = match scale_axis {
            ScaleAxis::Row => rows,
            ScaleAxis::Column => cols,
        };
        let weights = match weights {
            WeightType::F32 => Weights::F32(finite(name, self.take(name, "F32", shape)?)?),
            WeightType::I16 => Weights::I16 {
                values: without_lowest(name, self.take(name, "I16", shape)?, i16::MIN)?,
                scale: self.scales(scale_name, channels)?,
            },
            WeightType::I8 => Weights::I8 {
                values: without_lowest(name, self.take(name, "I8", shape)?, i8::MIN)?,
                scale: self.scales(scale_name, channels)?,
            },
            WeightType::I4 => return Err(NOT_FOR_FLOATS.into()),
        };
        Ok(MatrixRef {
            rows,
            cols,
            weights,
            scale_axis,
        })
    }

    /// Whether the file has a tensor.
    pub(crate) fn has(&self, tensor: &'static str) -> bool {
        let names = &self.header.schema.tensors;
        let mut slots = names.iter().zip(&self.header.tensors);
        slots.any(|(known, info)| *known == tensor && info.is_some())
    }

    pub(crate) fn floats(
        &mut self,
        name: &'static str,
        length: usize,
    ) -> Result<&'a [f32], ReadError> {
        finite(name, self.take(name, "F32", Dims::Vector(length))?)
    }

    fn scales(&mut self, name: &'static str, length: usize) -> Result<&'a [f32], ReadError> {
        let scales = self.floats(name, length)?;
        match scales.iter().position(|&scale| scale <= 0.0) {
            None => Ok(scales),
            Some(index) => Err(ReadError::Scale {
                tensor: name,
                index,
            }),
        }
    }

    /// The data of one tensor, after its type, shape, place and alignment were checked.
    pub(crate) fn take<N: AnyBitPattern>(
        &mut self,
        tensor: &'static str,
        dtype: &'static str,
        shape: Dims,
    ) -> Result<&'a [N], ReadError> {
        let names = &self.header.schema.tensors;
        let mut slots = names.iter().zip(&self.header.tensors).zip(&mut self.taken);
        let info = match slots.find(|((known, _), _)| **known == tensor) {
            Some(((_, Some(info)), taken)) => {
                *taken = true;
                info
            }
            _ => return Err(ReadError::MissingTensor { tensor }),
        };
        if info.dtype != dtype {
            return Err(ReadError::Dtype {
                tensor,
                expected: dtype,
                found: Name::new(info.dtype),
            });
        }
        if info.shape != shape {
            return Err(ReadError::Shape {
                tensor,
                expected: shape,
                found: info.shape,
            });
        }
        let count = match shape {
            Dims::Vector(length) => Some(length),
            Dims::Matrix(rows, cols) => rows.checked_mul(cols),
            Dims::Rank(_) => None,
        };
        // A size beyond the address space fits no file: it fails the comparison below.
        let expected = count
            .and_then(|count| count.checked_mul(size_of::<N>()))
            .unwrap_or(usize::MAX);
        let data = self.header.data;
        let bytes = range(info)
            .and_then(|range| data.get(range))
            .filter(|bytes| bytes.len() == expected);
        let bytes = bytes.ok_or(ReadError::Offsets {
            tensor,
            begin: info.begin,
            end: info.end,
            expected,
            available: data.len(),
        })?;
        bytemuck::try_cast_slice(bytes).map_err(|_| ReadError::MisalignedTensor {
            tensor,
            alignment: align_of::<N>(),
        })
    }

    /// Demands that no tensor is left over and that the tensors fill the data without gap or
    /// overlap. Returns the length of the data.
    pub(crate) fn finish(&self) -> Result<usize, ReadError> {
        let names = &self.header.schema.tensors;
        let all = || names.iter().zip(&self.header.tensors).zip(&self.taken);
        if let Some(((tensor, _), _)) = all().find(|((_, info), taken)| info.is_some() && !**taken)
        {
            return Err(ReadError::UnexpectedTensor { tensor });
        }
        let placed = || all().filter_map(|((name, info), _)| Some((*name, range(info.as_ref()?)?)));
        for (index, (tensor, range)) in placed().enumerate() {
            let mut others = placed().take(index);
            if let Some((other, _)) =
                others.find(|(_, other)| range.start < other.end && other.start < range.end)
            {
                return Err(ReadError::Overlap { tensor, other });
            }
        }
        for (tensor, range) in placed() {
            let ends = placed().map(|(_, other)| other.end);
            let before = ends.filter(|&end| end <= range.start).max().unwrap_or(0);
            if before != range.start {
                return Err(ReadError::Gap {
                    tensor,
                    bytes: range.start - before,
                });
            }
        }
        Ok(placed().map(|(_, range)| range.end).max().unwrap_or(0))
    }
}

fn range(info: &TensorInfo<'_>) -> Option<core::ops::Range<usize>> {
    Some(usize::try_from(info.begin).ok()?..usize::try_from(info.end).ok()?)
}

pub(crate) fn finite<'a>(tensor: &'static str, values: &'a [f32]) -> Result<&'a [f32], ReadError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(index) => Err(ReadError::NonFinite { tensor, index }),
    }
}

pub(crate) fn without_lowest<'a, T: PartialEq>(
    tensor: &'static str,
    levels: &'a [T],
    lowest: T,
) -> Result<&'a [T], ReadError> {
    match levels.iter().position(|level| *level == lowest) {
        None => Ok(levels),
        Some(index) => Err(ReadError::Level { tensor, index }),
    }
}
