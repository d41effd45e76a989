//! Where a model is read from, and the tensors in it.

use super::activations::Activations;
use super::blocks::{Blocks, LANES, Nibbles, Packed, WeightBlocks};
use super::limits::DRIVE_LIMIT;
use crate::decimal::integer;
use crate::error::{Dims, ReadError};
use crate::header::{Header, INTEGER_KEYS, INTEGER_TENSORS};
use crate::spec::WeightType;
use crate::tensors::{Tensors, without_lowest};

pub(super) type Source<'a> = Header<'a, INTEGER_TENSORS, INTEGER_KEYS>;
pub(super) type Store<'h, 'a> = Tensors<'h, 'a, INTEGER_TENSORS, INTEGER_KEYS>;

/// A small integer of the metadata.
pub(super) fn small(
    header: &Source<'_>,
    key: &'static str,
    expected: &'static str,
    least: u8,
    most: u8,
) -> Result<u8, ReadError> {
    header.value(key, expected, |text| {
        integer::<u8>(text).filter(|value| (least..=most).contains(value))
    })
}

/// A size beyond the address space fits no file: `take` compares it with the file's.
pub(super) fn stored_shape<T: Packed>(rows: usize, cols: usize) -> Dims {
    let eights = Blocks::<T>::stored_rows(rows, cols).unwrap_or(usize::MAX);
    // Of nibbles, bytes are counted.
    Dims::Matrix(eights, LANES.min(size_of::<T::Eight>()))
}

pub(super) fn weights<'a>(
    tensors: &mut Store<'_, 'a>,
    name: &'static str,
    rows: usize,
    cols: usize,
    bits: WeightType,
) -> Result<WeightBlocks<'a>, ReadError> {
    Ok(match bits {
        WeightType::I4 => WeightBlocks::I4(nibbles(tensors, name, rows, cols)?),
        _ => WeightBlocks::I8(bytes(tensors, name, rows, cols)?),
    })
}

pub(super) fn bytes<'a>(
    tensors: &mut Store<'_, 'a>,
    name: &'static str,
    rows: usize,
    cols: usize,
) -> Result<Blocks<'a, i8>, ReadError> {
    let levels = tensors.take(name, "I8", stored_shape::<i8>(rows, cols))?;
    blocks(name, rows, cols, without_lowest(name, levels, i8::MIN)?)
}

fn nibbles<'a>(
    tensors: &mut Store<'_, 'a>,
    tensor: &'static str,
    rows: usize,
    cols: usize,
) -> Result<Blocks<'a, Nibbles>, ReadError> {
    let stored: &[u8] = tensors.take(tensor, "U8", stored_shape::<Nibbles>(rows, cols))?;
    // 0 would be -8.
    match stored
        .iter()
        .position(|byte| byte & 0xf == 0 || byte >> 4 == 0)
    {
        None => blocks(tensor, rows, cols, stored.as_chunks().0),
        Some(index) => Err(ReadError::Level { tensor, index }),
    }
}

/// Cannot fail after `take`.
pub(super) fn blocks<'a, T: Packed>(
    tensor: &'static str,
    rows: usize,
    cols: usize,
    values: &'a [T],
) -> Result<Blocks<'a, T>, ReadError> {
    Blocks::new(rows, cols, values).ok_or(ReadError::MissingTensor { tensor })
}

pub(super) fn multipliers<'a>(
    tensors: &mut Store<'_, 'a>,
    name: &'static str,
    length: usize,
) -> Result<&'a [i32], ReadError> {
    not_negative(name, tensors.take(name, "I32", Dims::Vector(length))?)
}

/// How much of a level each atom adds, in 1/2¹⁵.
pub(super) fn contributions<'a>(
    tensors: &mut Store<'_, 'a>,
    length: usize,
    activations: Activations,
) -> Result<&'a [i32], ReadError> {
    let tensor = "decoder.dictionary.multiplier";
    let values = multipliers(tensors, tensor, length)?;
    let most = activations.most_contribution();
    match values.iter().position(|value| *value > most) {
        None => Ok(values),
        Some(index) => Err(ReadError::Level { tensor, index }),
    }
}

fn not_negative<'a, T: PartialOrd + Default>(
    tensor: &'static str,
    values: &'a [T],
) -> Result<&'a [T], ReadError> {
    match values.iter().position(|value| *value < T::default()) {
        None => Ok(values),
        Some(index) => Err(ReadError::Multiplier { tensor, index }),
    }
}

/// Numbers within ±2²⁹.
pub(super) fn offsets<'a>(
    tensors: &mut Store<'_, 'a>,
    tensor: &'static str,
    length: usize,
) -> Result<&'a [i32], ReadError> {
    let values: &[i32] = tensors.take(tensor, "I32", Dims::Vector(length))?;
    let limit = DRIVE_LIMIT.unsigned_abs();
    match values.iter().position(|value| value.unsigned_abs() > limit) {
        None => Ok(values),
        Some(index) => Err(ReadError::Level { tensor, index }),
    }
}
