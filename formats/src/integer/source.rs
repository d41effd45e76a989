//! Where a model is read from.

use crate::decimal::integer;
use crate::error::ReadError;
use crate::header::{Header, INTEGER_KEYS, INTEGER_TENSORS};
use crate::tensors::Tensors;

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
