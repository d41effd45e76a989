//! The linear decoder in integers.

use sparsecode_formats::{IntegerDecoder, LANES};

use crate::kernels::integer::{self as kernels, Entry, High, saturate};

/// Writes the reconstruction of a code, cut to `±limit`. `entries` is scratch memory as long as a
/// code.
#[inline(never)]
pub(crate) fn decode(
    decoder: &IntegerDecoder<'_>,
    limit: i16,
    code: &[Entry],
    entries: &mut [Entry],
    output: &mut [i16],
) {
    let mut count = 0_usize;
    for entry in code {
        let index = entry.index::<i8>();
        let multiplier = decoder.multiplier.get(index).copied().unwrap_or(0);
        // The product has 30 bits and a sign, the quotient 15 and a sign.
        let level = match entry.value() {
            level if limit == i16::MAX => level,
            level => level.min(limit).max(limit.wrapping_neg()),
        };
        let product = i32::from(level).wrapping_mul(multiplier);
        let contribution = (product.wrapping_add(1 << 14) >> 15) as i16;
        if contribution != 0
            && let Some(to) = entries.get_mut(count)
        {
            *to = Entry::new::<i8>(index, contribution);
            count = count.wrapping_add(1);
        }
    }
    let entries = entries.get(..count).unwrap_or(&[]);

    if kernels::add_rescaled_rows(
        &decoder.dictionary,
        entries,
        decoder.output,
        decoder.offset,
        output,
    ) {
        return;
    }
    let high = High::new(decoder.output.shift);
    let (multiplier, offset) = (decoder.output.multiplier, i32::from(decoder.offset));
    let (eights, rest) = output.as_chunks_mut::<LANES>();
    let mut eights = eights.iter_mut();
    // Moved, so that it is loaded once for eight.
    kernels::add_weight_rows(&decoder.dictionary, entries, &mut move |_, sums| {
        let level = |sum: i32| saturate(high.apply(sum, multiplier).wrapping_add(offset));
        if let Some(eight) = eights.next() {
            *eight = sums.map(level);
        } else {
            for (to, sum) in rest.iter_mut().zip(sums) {
                *to = level(*sum);
            }
        }
    });
}
