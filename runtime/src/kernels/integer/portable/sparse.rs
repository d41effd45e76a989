//! Products with the entries of a sparse vector.

use sparsecode_formats::{LANES, Nibbles, Packed};

use crate::kernels::integer::entry::Entry;

/// `sums = Σ_k value_k · row_k` over entries for rows of 8-bit numbers.
#[inline]
pub(crate) fn add_rows(block: &[i8], entries: &[Entry], sums: &mut [i32; LANES]) {
    add(block, entries, Entry::index::<i8>, sums);
}

/// The same for rows of 4-bit numbers; the entries are still those for 8-bit ones.
#[inline]
pub(crate) fn add_narrow_rows(block: &[Nibbles], entries: &[Entry], sums: &mut [i32; LANES]) {
    add(block, entries, Entry::index::<i8>, sums);
}

/// `sums = Σ_k value_k · row_k` over entries for rows of 16-bit numbers.
#[inline]
pub(crate) fn add_wide_rows(block: &[i16], entries: &[Entry], sums: &mut [i32; LANES]) {
    add(block, entries, Entry::index::<i16>, sums);
}

/// `sums += value · row`.
#[inline]
pub(crate) fn add_row(row: &[i16; LANES], value: i16, sums: &mut [i32]) {
    for (sum, weight) in sums.iter_mut().zip(row) {
        *sum = sum.wrapping_add(i32::from(*weight).wrapping_mul(i32::from(value)));
    }
}

#[inline(always)]
fn add<T: Packed>(
    block: &[T],
    entries: &[Entry],
    index: impl Fn(Entry) -> usize,
    sums: &mut [i32; LANES],
) {
    let rows = T::eights(block);
    let mut totals = [0_i32; LANES];
    for entry in entries {
        if let Some(row) = rows.get(index(*entry)) {
            let value = i32::from(entry.value());
            for (total, weight) in totals.iter_mut().zip(T::levels(row)) {
                *total = total.wrapping_add(i32::from(weight).wrapping_mul(value));
            }
        }
    }
    *sums = totals;
}
