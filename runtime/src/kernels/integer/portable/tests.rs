//! Products beside sums in `i64`.

use std::vec::Vec;

use proptest::prelude::*;
use sparsecode_formats::{Blocks, DRIVE_LIMIT, LANES, Rescales, WeightBlocks};

use crate::kernels::integer::{self, Entry, portable};

/// A row-major matrix in blocks.
fn arranged<T: Copy + Default>(rows: usize, cols: usize, values: &[T]) -> Vec<T> {
    (0..cols.div_ceil(LANES))
        .flat_map(|block| (0..rows).map(move |row| (block, row)))
        .flat_map(|(block, row)| (0..LANES).map(move |lane| (row, block * LANES + lane)))
        .map(|(row, col)| {
            if col < cols {
                values[row * cols + col]
            } else {
                T::default()
            }
        })
        .collect()
}

proptest! {
    #[test]
    fn dense_products_are_exact(
        rows in 1..20_usize,
        x in prop::collection::vec(prop_oneof![Just(0_i16), any::<i16>()], 1..40),
        seed in prop::collection::vec(any::<i8>(), 800),
    ) {
        let cols = x.len();
        let values = &seed[..rows * cols];
        let stored = arranged(rows, cols, values);
        let matrix = Blocks::new(rows, cols, &stored).unwrap();
        let mut sums = std::vec![7; rows];
        integer::dot_rows(&WeightBlocks::I8(matrix), &x, &mut sums);
        for (row, sum) in values.chunks(cols).zip(&sums) {
            let exact: i64 = row.iter().zip(&x).map(|(w, x)| i64::from(*w) * i64::from(*x)).sum();
            prop_assert_eq!(i64::from(*sum), exact);
        }
    }

    /// As those of 8-bit levels that are 16 times as large.
    #[test]
    fn four_bit_products_are_those_of_eight_bits(
        rows in 1..20_usize,
        x in prop::collection::vec(prop_oneof![Just(0_i16), any::<i16>()], 1..40),
        z in prop::collection::vec(any::<i16>(), 20),
        seed in prop::collection::vec(-7..=7_i8, 800),
    ) {
        let cols = x.len();
        let levels: Vec<i8> = seed[..rows * cols].iter().map(|q| 16 * q).collect();
        let bytes = arranged(rows, cols, &levels);
        let nibbles: Vec<[u8; 4]> = bytes.as_chunks::<LANES>().0.iter().map(|eight| {
            let stored = |lane: usize| (eight[lane] / 16 + 8) as u8;
            [0, 1, 2, 3].map(|byte| stored(byte) | stored(byte + 4) << 4)
        }).collect();
        let both = [
            WeightBlocks::I8(Blocks::new(rows, cols, &bytes).unwrap()),
            WeightBlocks::I4(Blocks::new(rows, cols, &nibbles).unwrap()),
        ];
        for (row, line) in levels.chunks(cols).enumerate() {
            for (col, level) in line.iter().enumerate() {
                prop_assert!(both.iter().all(|matrix| matrix.get(row, col) == Some((*level).into())));
            }
        }
        let entries: Vec<Entry> =
            (0..rows).step_by(2).map(|k| Entry::new::<i8>(k, z[k])).collect();
        let [eight, four] = both.map(|matrix| {
            let mut sums = std::vec![7; rows];
            integer::dot_rows(&matrix, &x, &mut sums);
            integer::add_weight_rows(&matrix, &entries, &mut |_, eight| sums.extend(*eight));
            sums
        });
        prop_assert_eq!(eight, four);
    }

    /// Without a cut as with one, and said where one may be needed.
    #[test]
    fn words_rescale_like_64_bits(
        sums in prop::collection::vec(prop_oneof![any::<i32>(), -70_000..70_000_i32], 1..20),
        multipliers in prop::collection::vec(0..=i32::MAX, 20),
        bias in prop::collection::vec(-DRIVE_LIMIT..=DRIVE_LIMIT, 20),
        shift in 1..=62_u8,
    ) {
        let by = Rescales { multipliers: &multipliers, shift };
        let (mut expected, mut found) = (std::vec![0; sums.len()], std::vec![0; sums.len()]);
        portable::rescale(&by, &bias, &sums, &mut expected);
        let is_whole = portable::rescale_in_words(&by, &bias, &sums, &mut found);
        if is_whole {
            prop_assert_eq!(found, expected);
        } else {
            let limit = 1_u64 << (shift.max(2) - 2);
            prop_assert!(shift <= 32);
            prop_assert!(sums.iter().any(|sum| u64::from(sum.unsigned_abs()) >= limit));
        }
    }

    #[test]
    fn sparse_products_are_exact(
        cols in 1..40_usize,
        z in prop::collection::vec(prop_oneof![Just(0_i16), -20_000..20_000_i16], 1..20),
        seed in prop::collection::vec(any::<i8>(), 800),
    ) {
        let rows = z.len();
        let values = &seed[..rows * cols];
        let exact = |col: usize, factor: i64| -> i64 {
            (0..rows).map(|k| factor * i64::from(values[k * cols + col]) * i64::from(z[k])).sum()
        };
        fn entries<T>(z: &[i16]) -> Vec<Entry> {
            let active = z.iter().enumerate().filter(|(_, value)| **value != 0);
            active.map(|(k, value)| Entry::new::<T>(k, *value)).collect()
        }

        let stored = arranged(rows, cols, values);
        let matrix = Blocks::new(rows, cols, &stored).unwrap();
        let mut found = Vec::new();
        integer::add_rows(&matrix, &entries::<i8>(&z), &mut |_, sums| found.extend(*sums));
        prop_assert_eq!(found.len(), cols.next_multiple_of(LANES));
        for (col, found) in found.into_iter().enumerate().take(cols) {
            prop_assert_eq!(i64::from(found), exact(col, 1));
        }

        let wide: Vec<i16> = values.iter().map(|w| i16::from(*w) * 30).collect();
        let stored = arranged(rows, cols, &wide);
        let matrix = Blocks::new(rows, cols, &stored).unwrap();
        let mut found = std::vec![-5; cols];
        integer::add_wide_rows(&matrix, &entries::<i16>(&z), &mut found);
        for (col, found) in found.into_iter().enumerate() {
            prop_assert_eq!(i64::from(found) + 5, exact(col, 30));
        }
        let mut one_by_one = std::vec![-5; cols];
        let mut together = one_by_one.clone();
        for (k, value) in z.iter().enumerate() {
            integer::add_wide_row(&matrix, k, *value, &mut one_by_one);
        }
        integer::add_wide_rows(&matrix, &entries::<i16>(&z), &mut together);
        prop_assert_eq!(one_by_one, together);
    }
}

#[test]
fn entries_hold_their_extremes() {
    for index in [0, 1, 4095] {
        for value in [i16::MIN, -1, 1, i16::MAX] {
            let (narrow, wide) = (
                Entry::new::<i8>(index, value),
                Entry::new::<i16>(index, value),
            );
            assert_eq!((narrow.index::<i8>(), narrow.value()), (index, value));
            assert_eq!((wide.index::<i16>(), wide.value()), (index, value));
        }
    }
}
