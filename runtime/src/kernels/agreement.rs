//! Every implementation that the processor can run gives the bits of the portable one.

use std::vec::Vec;

use proptest::prelude::*;
use sparsecode_formats::{
    Blocks, CodeSign, LANES, MatrixRef, Packed, Rescale, Rescales, ScaleAxis, WeightBlocks, Weights,
};

use super::float::{self, portable};
use super::integer::{self, Entry, GradientStep, High, Threshold, saturate};

/// What `run` gives with every implementation, the portable one first where there is a choice.
fn everywhere<T>(run: impl Fn() -> T) -> Vec<T> {
    #[cfg(sparsecode_host)]
    return super::level::at_every_level(run);
    #[cfg(not(sparsecode_host))]
    std::vec![run()]
}

/// Bits, so that signs of zeros count; any NaN is as good as another.
fn bits(values: &[f32]) -> Vec<u32> {
    let one = |x: &f32| if x.is_nan() { u32::MAX } else { x.to_bits() };
    values.iter().map(one).collect()
}

/// Numbers of every size, among them those whose sums and products round, overflow and underflow.
fn any_float() -> impl Strategy<Value = f32> + Clone {
    prop_oneof![
        8 => -2.0_f32..2.0,
        2 => Just(0.0),
        1 => Just(-0.0),
        1 => -1e-38_f32..1e-38,
        1 => -1e20_f32..1e20,
    ]
}

fn any_level() -> impl Strategy<Value = i16> + Clone {
    prop_oneof![
        4 => any::<i16>(),
        3 => Just(0),
        3 => 0..=255_i16,
        1 => Just(i16::MIN),
        1 => Just(i16::MAX),
    ]
}

/// A matrix of `rows × cols`, a vector as long as a row, and where in its buffer each begins.
fn dense<W: core::fmt::Debug>(
    weight: impl Strategy<Value = W> + Clone,
) -> impl Strategy<Value = (usize, usize, usize, Vec<W>, Vec<f32>)> {
    (0..40_usize, 1..70_usize, 0..16_usize).prop_flat_map(move |(rows, cols, offset)| {
        (
            Just(rows),
            Just(cols),
            Just(offset),
            prop::collection::vec(weight.clone(), rows * cols + offset),
            prop::collection::vec(any_float(), cols + offset),
        )
    })
}

/// Finite weights only: a file has no others.
fn check_float(
    rows: usize,
    cols: usize,
    x: &[f32],
    weights: Weights<'_>,
    row: impl Fn(usize) -> f32,
) -> Result<(), TestCaseError> {
    let matrix = MatrixRef {
        rows,
        cols,
        weights,
        scale_axis: ScaleAxis::Column,
    };
    let expected: Vec<f32> = (0..rows).map(row).collect();
    for found in everywhere(|| {
        let mut found = Vec::new();
        float::dot_scaled_rows(&matrix, x, &mut |index, sum| {
            assert_eq!(index, found.len());
            found.push(sum);
        });
        found
    }) {
        prop_assert_eq!(bits(&found), bits(&expected));
    }
    // The encoder's form, by rows that carry no scale.
    let matrix = MatrixRef {
        scale_axis: ScaleAxis::Row,
        ..matrix
    };
    for found in everywhere(|| {
        let mut found = std::vec![7.0; rows];
        float::multiply_dense(&matrix, x, &mut found);
        found
    }) {
        prop_assert_eq!(bits(&found), bits(&expected));
    }
    Ok(())
}

fn check_sparse(
    rows: usize,
    cols: usize,
    z: &[f32],
    weights: Weights<'_>,
) -> Result<(), TestCaseError> {
    let matrix = MatrixRef {
        rows,
        cols,
        weights,
        scale_axis: ScaleAxis::Column,
    };
    let results = everywhere(|| {
        let mut sum = std::vec![1.0; cols];
        let mut entries = (0..rows)
            .zip(z.iter().copied())
            .filter(|entry| entry.1 != 0.0);
        float::multiply_sparse(&matrix, &mut entries, &mut sum);
        bits(&sum)
    });
    for result in &results {
        prop_assert_eq!(result, &results[0]);
    }
    Ok(())
}

/// A row-major matrix in blocks, somewhere in a buffer.
fn arranged<T: Copy + Default>(rows: usize, cols: usize, offset: usize, values: &[T]) -> Vec<T> {
    let mut stored = std::vec![T::default(); offset];
    for first in (0..cols).step_by(LANES) {
        for row in 0..rows {
            stored.extend((first..first + LANES).map(|col| {
                let value = (col < cols).then(|| values[(row * cols + col) % values.len()]);
                value.unwrap_or_default()
            }));
        }
    }
    stored
}

fn entries<T>(z: &[i16]) -> Vec<Entry> {
    let active = z.iter().enumerate().filter(|(_, value)| **value != 0);
    active
        .map(|(k, value)| Entry::new::<T>(k, *value))
        .collect()
}

/// The portable kernel of a block, for all blocks.
fn sums_of<T: Packed>(
    matrix: &Blocks<'_, T>,
    kernel: impl Fn(&[T], &mut [i32; LANES]),
) -> Vec<i32> {
    let mut all = Vec::new();
    for block in matrix.blocks() {
        let mut sums = [0; LANES];
        kernel(block, &mut sums);
        all.extend(sums);
    }
    all
}

proptest! {
    #[test]
    fn dot_rows_f32((rows, cols, offset, weights, x) in dense(any_float())) {
        let (weights, x) = (&weights[offset..], &x[offset..]);
        check_float(rows, cols, x, Weights::F32(weights), |k| portable::dot(portable::row(weights, cols, k), x))?;
        check_sparse(rows, cols, x, Weights::F32(weights))?;
    }

    #[test]
    fn dot_rows_i16((rows, cols, offset, values, x) in dense(any::<i16>())) {
        let (values, x) = (&values[offset..], &x[offset..]);
        let weights = Weights::I16 { values, scale: &[] };
        check_float(rows, cols, x, weights, |k| portable::dot(portable::row(values, cols, k), x))?;
        check_sparse(rows, cols, x, weights)?;
    }

    #[test]
    fn dot_rows_i8((rows, cols, offset, values, x) in dense(any::<i8>())) {
        let (values, x) = (&values[offset..], &x[offset..]);
        let weights = Weights::I8 { values, scale: &[] };
        check_float(rows, cols, x, weights, |k| portable::dot(portable::row(values, cols, k), x))?;
        check_sparse(rows, cols, x, weights)?;
    }

    #[cfg(feature = "std")]
    #[test]
    fn dense_products_of_each(
        rows in 1..20_usize,
        cols in prop_oneof![1..70_usize, Just(784)],
        patches in 0..16_usize,
        offset in 0..16_usize,
        kind in 0..3,
        seed in prop::collection::vec((-2.0_f32..2.0, any::<i8>()), 997),
    ) {
        // Not the same numbers in each row and patch.
        let place = |i: usize| (i.wrapping_mul(31) ^ i >> 5) % seed.len();
        let floats: Vec<f32> = (0..rows * cols + offset).map(|i| seed[place(i)].0).collect();
        let narrow: Vec<i8> = (0..rows * cols + offset).map(|i| seed[place(i)].1).collect();
        let wide: Vec<i16> = narrow.iter().map(|w| i16::from(*w) * 250).collect();
        let scale: Vec<f32> = (0..rows).map(|k| (k + 1) as f32 * 0.01).collect();
        let weights = match kind {
            0 => Weights::F32(&floats[offset..]),
            1 => Weights::I16 { values: &wide[offset..], scale: &scale },
            _ => Weights::I8 { values: &narrow[offset..], scale: &scale },
        };
        let matrix = MatrixRef { rows, cols, weights, scale_axis: ScaleAxis::Row };
        let mut moved = std::vec![0.0; offset + 5];
        moved.extend(&floats[offset..]);
        let moved = match weights {
            Weights::F32(_) => MatrixRef { weights: Weights::F32(&moved[offset + 5..]), ..matrix },
            _ => matrix,
        };
        let x: Vec<f32> = (0..patches * cols).map(|i| seed[place(i * 3 + 7)].0).collect();
        for found in everywhere(|| {
            let mut all = std::vec![f32::NAN; rows * patches];
            float::multiply_dense_each(&matrix, &x, &mut all);
            let mut alone = all.clone();
            for (x, products) in x.chunks(cols).zip(alone.chunks_mut(rows)) {
                products.fill(f32::NAN);
                float::multiply_dense_each(&matrix, x, products);
            }
            assert_eq!(bits(&all), bits(&alone), "a product depends on the patches beside it");
            float::multiply_dense_each(&moved, &x, &mut alone);
            assert_eq!(bits(&all), bits(&alone), "a product depends on where the weights lie");
            all
        }) {
            for (x, products) in x.chunks(cols).zip(found.chunks(rows)) {
                for (k, product) in products.iter().enumerate() {
                    let terms = x.iter().enumerate().map(|(i, x)| f64::from(*x) * f64::from(matrix.weight(k, i).unwrap()));
                    let exact: f64 = terms.clone().sum();
                    let size: f64 = terms.map(f64::abs).sum();
                    // Fused or not; and the scale, whose product is rounded in the weight here as
                    // well.
                    let roundings = (cols as f64 / 16.0 + 5.0).max(cols as f64 / 8.0 + 4.0) + 2.0;
                    let bound = roundings / f64::from(1 << 24) * size * 1.001;
                    prop_assert!((f64::from(*product) - exact).abs() <= bound, "{product} is not within {bound:e} of {exact}");
                }
            }
        }
    }

    #[test]
    fn recurrences(
        cols in prop_oneof![1..150_usize, 250..260_usize],
        offset in 0..16_usize,
        seed in prop::collection::vec(any_float(), 997),
        set in prop::collection::vec(any::<bool>(), 260),
    ) {
        use crate::float::code::{CodeBuffer, SparseCode};
        let weights: Vec<f32> = (0..cols * cols + offset).map(|i| seed[(i.wrapping_mul(31) ^ i >> 5) % 997]).collect();
        let matrix = MatrixRef {
            rows: cols,
            cols,
            weights: Weights::F32(&weights[offset..]),
            scale_axis: ScaleAxis::Column,
        };
        let mut code = SparseCode::<260>::new();
        for k in 0..cols as u16 {
            let value = seed[usize::from(k)].abs();
            if set[usize::from(k)] && value > 0.0 {
                code.push(k, value).unwrap();
            }
        }
        let drive = &seed[500..500 + cols];
        let results = everywhere(|| {
            let mut output = std::vec![7.0; cols];
            float::add_code(&matrix, &code, drive, &mut output);
            bits(&output)
        });
        for result in &results {
            prop_assert_eq!(result, &results[0]);
        }
    }

    #[test]
    fn a_vector_of_another_length((rows, cols, offset, weights, x) in dense(any_float()), used in 0..90_usize) {
        let weights = &weights[offset..];
        // Longer than a row by up to `offset`, or shorter.
        let x = &x[..used.min(x.len())];
        check_float(rows, cols, x, Weights::F32(weights), |k| portable::dot(portable::row(weights, cols, k), x))?;
    }

    #[test]
    fn symmetric_products(
        width in 1..150_usize,
        seed in prop::collection::vec(any_float(), 150),
        set in prop::collection::vec(any::<bool>(), 150),
    ) {
        let matrix: Vec<f32> = (0..width * width).map(|i| seed[(i / width * (i % width)) % 150]).collect();
        let support: Vec<u16> = (0..width as u16).filter(|k| set[usize::from(*k)]).collect();
        let x = &seed[..width];
        let results = everywhere(|| {
            let mut product = std::vec![3.0; width];
            float::multiply_symmetric(&matrix, x, &support, &mut product);
            for &k in &support {
                float::add_row(&matrix, usize::from(k), x[usize::from(k)], &mut product);
            }
            bits(&product)
        });
        for result in &results {
            prop_assert_eq!(result, &results[0]);
        }
    }

    #[test]
    fn active_components(dense in prop::collection::vec(
        prop_oneof![any_float(), Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY)], 0..200,
    )) {
        use crate::float::code::{CodeBuffer, SparseCode, take_dense};
        for signed in [false, true] {
            let is_active = |x: f32| x > 0.0 || (signed && x < 0.0);
            let expected: Vec<(u16, u32)> = (0..150)
                .zip(&dense)
                .filter(|(_, x)| is_active(**x))
                .map(|(k, x)| (k, x.to_bits()))
                .collect();
            for found in everywhere(|| {
                let mut code = SparseCode::<150>::new();
                if signed {
                    code.from_dense(&dense);
                } else {
                    take_dense(&mut code, CodeSign::NonNegative, &dense);
                }
                code.iter().map(|(k, x)| (k, x.to_bits())).collect::<Vec<_>>()
            }) {
                prop_assert_eq!(&found, &expected);
            }
        }
    }

    #[test]
    fn integer_dense_products(
        rows in 0..150_usize,
        x in prop_oneof![
            prop::collection::vec(any_level(), 1..60),
            // What has a kernel of its own, and what just has not.
            prop::collection::vec(0..=255_i16, 1..60),
            prop::collection::vec(0..=256_i16, 1..60),
            prop::collection::vec(-1..=255_i16, 1..60),
            prop::collection::vec(-129..=127_i16, 1..60),
            prop::collection::vec(-128..=128_i16, 1..60),
            prop::collection::vec(32_639..=32_640_i16, 1..60),
            // More than the registers hold the sums of.
            prop::collection::vec(prop_oneof![9 => Just(0_i16), 1 => any_level()], 1000..1100),
        ],
        offset in 0..9_usize,
        seed in prop::collection::vec(any::<i8>(), 997),
    ) {
        let stored = arranged(rows, x.len(), offset, &seed);
        let matrix = Blocks::new(rows, x.len(), &stored[offset..]).unwrap();
        let mut expected = std::vec![0; rows];
        for (block, x) in matrix.blocks().zip(x.chunks(LANES)) {
            let mut eight = [0; LANES];
            eight[..x.len()].copy_from_slice(x);
            integer::portable::dot_block(block, &eight, &mut expected);
        }
        for sums in everywhere(|| {
            // Longer, or shorter, than the matrix has rows.
            [rows, rows + 3, rows.saturating_sub(3)].map(|length| {
                let mut sums = std::vec![-7; length];
                integer::dot_rows(&WeightBlocks::I8(matrix), &x, &mut sums);
                sums
            })
        }) {
            prop_assert_eq!(&sums[0], &expected);
            prop_assert_eq!(&sums[1][..rows], &expected[..]);
            prop_assert_eq!(&sums[2][..], &expected[..rows.saturating_sub(3)]);
        }
    }

    #[cfg(feature = "std")]
    #[test]
    fn integer_dense_products_of_each(
        rows in 1..150_usize,
        cols in prop_oneof![1..60_usize, 700..800_usize],
        patches in prop::collection::vec(
            (prop_oneof![Just(0_i16..=0), Just(0..=255), Just(i16::MIN..=i16::MAX)], any::<u64>()), 0..5,
        ),
        offset in 0..70_usize,
        seed in prop::collection::vec(any::<i8>(), 997),
    ) {
        let stored = arranged(rows, cols, offset, &seed);
        let matrix = WeightBlocks::I8(Blocks::new(rows, cols, &stored[offset..]).unwrap());
        let x: Vec<i16> = patches.iter().flat_map(|(range, mixed)| {
            let size = i64::from(*range.end()) - i64::from(*range.start()) + 1;
            let mixed = (0..cols as u64).map(move |i| (mixed ^ i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32);
            // Some eights are all 0.
            mixed.enumerate().map(move |(i, mixed)| {
                if i / LANES % 3 == 1 { 0 } else { (mixed as i64 % size + i64::from(*range.start())) as i16 }
            })
        }).collect();
        let mut expected = std::vec![-7; rows * patches.len()];
        for (x, sums) in x.chunks(cols).zip(expected.chunks_mut(rows)) {
            integer::dot_rows(&matrix, x, sums);
        }
        for sums in everywhere(|| {
            let mut sums = std::vec![-7; rows * patches.len()];
            integer::dot_rows_of_each(&matrix, &x, &mut sums);
            sums
        }) {
            prop_assert_eq!(&sums, &expected);
        }
    }

    #[test]
    fn integer_sparse_products(
        cols in 1..80_usize,
        z in prop::collection::vec(any_level(), 1..60),
        offset in 0..9_usize,
        seed in prop::collection::vec(any::<i16>(), 997),
    ) {
        let rows = z.len();
        let narrow: Vec<i8> = seed.iter().map(|w| *w as i8).collect();
        let narrow = arranged(rows, cols, offset, &narrow);
        let narrow = Blocks::new(rows, cols, &narrow[offset..]).unwrap();
        let list = entries::<i8>(&z);
        let expected = sums_of(&narrow, |block, sums| integer::portable::add_rows(block, &list, sums));
        for found in everywhere(|| {
            let mut found = Vec::new();
            integer::add_rows(&narrow, &list, &mut |index, sums| {
                assert_eq!(index * LANES, found.len());
                found.extend(*sums);
            });
            found
        }) {
            prop_assert_eq!(&found, &expected);
        }

        let wide = arranged(rows, cols, offset, &seed);
        let wide = Blocks::new(rows, cols, &wide[offset..]).unwrap();
        let list = entries::<i16>(&z);
        let expected = sums_of(&wide, |block, sums| integer::portable::add_wide_rows(block, &list, sums));
        for found in everywhere(|| {
            let mut found = std::vec![i32::MAX; cols];
            integer::add_wide_rows(&wide, &list, &mut found);
            found
        }) {
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert_eq!(*found, expected.wrapping_add(i32::MAX));
            }
        }
        // An entry whose row is not there is left out by the portable kernel; the others do not
        // touch it.
        let beyond = [Entry::new::<i16>(rows, 5)];
        for found in everywhere(|| {
            let mut found = std::vec![1; cols];
            integer::add_wide_rows(&wide, &beyond, &mut found);
            found
        }) {
            prop_assert!(found.iter().all(|sum| *sum == 1));
        }
    }

    #[test]
    fn levels(
        drive in prop::collection::vec(prop_oneof![any::<i32>(), -300..300_i32, Just(i32::MAX), Just(i32::MIN)], 0..200),
        fraction in 0..=13_u8,
        short in 0..4_usize,
    ) {
        let threshold = Threshold::new(fraction);
        let mut expected: Vec<Entry> = (0..).zip(&drive)
            .filter_map(|(k, u)| threshold.level(*u).map(|level| Entry::new::<i8>(k, level)))
            .collect();
        let room = drive.len().saturating_sub(short);
        expected.truncate(room);
        for found in everywhere(|| {
            let mut list = std::vec![Entry::ZERO; room];
            let count = integer::list_levels(&drive, threshold, &mut list)?;
            list.truncate(usize::from(count));
            Some(list)
        }).into_iter().flatten() {
            prop_assert_eq!(&found, &expected);
        }
    }

    #[test]
    fn next_levels_and_rescaled_rows(
        cols in 1..300_usize,
        z in prop::collection::vec(any_level(), 1..60),
        shift in 33..=62_u8,
        fraction in 0..=13_u8,
        offset: i16,
        seed in prop::collection::vec((any::<i8>(), 0..=i32::MAX, any::<i32>()), 997),
    ) {
        let weights: Vec<i8> = seed.iter().map(|one| one.0).collect();
        let stored = arranged(z.len(), cols, 0, &weights);
        let matrix = Blocks::new(z.len(), cols, &stored).unwrap();
        let multipliers: Vec<i32> = seed[..cols].iter().map(|one| one.1).collect();
        let drive: Vec<i32> = seed[..cols].iter().map(|one| one.2).collect();
        let list = entries::<i8>(&z);
        let sums = sums_of(&matrix, |block, sums| integer::portable::add_rows(block, &list, sums));
        let (high, threshold) = (High::new(shift), Threshold::new(fraction));

        let expected: Vec<Entry> = (0..cols).filter_map(|k| {
            let u = drive[k].wrapping_add(high.apply(sums[k], multipliers[k]));
            Some(Entry::new::<i8>(k, threshold.level(u)?))
        }).collect();
        let by = Rescales { multipliers: &multipliers, shift };
        for found in everywhere(|| {
            let mut next = std::vec![Entry::ZERO; cols];
            let count = integer::list_next_levels(&matrix, &list, &by, &drive, threshold, &mut next)?;
            next.truncate(usize::from(count));
            Some(next)
        }).into_iter().flatten() {
            prop_assert_eq!(&found, &expected);
        }

        let multiplier = multipliers[0];
        let level = |k: usize| saturate(high.apply(sums[k], multiplier).wrapping_add(offset.into()));
        let expected: Vec<i16> = (0..cols).map(level).collect();
        for found in everywhere(|| {
            let mut output = std::vec![0; cols];
            integer::add_rescaled_rows(&WeightBlocks::I8(matrix), &list, Rescale { multiplier, shift }, offset, &mut output).then_some(output)
        }).into_iter().flatten() {
            prop_assert_eq!(&found, &expected);
        }
    }

    #[test]
    fn rescaled_sums(
        terms in prop::collection::vec((any::<i32>(), 0..=i32::MAX, -(1 << 29)..1 << 29), 0..80),
        shift in 1..=62_u8,
    ) {
        let sums: Vec<i32> = terms.iter().map(|one| one.0).collect();
        let multipliers: Vec<i32> = terms.iter().map(|one| one.1).collect();
        let bias: Vec<i32> = terms.iter().map(|one| one.2).collect();
        let expected: Vec<i32> = terms.iter()
            .map(|&(sum, multiplier, bias)| Rescale { multiplier, shift }.apply(sum) + bias)
            .collect();
        let by = Rescales { multipliers: &multipliers, shift };
        for found in everywhere(|| {
            let mut output = std::vec![0; sums.len()];
            integer::rescale(&by, &bias, &sums, &mut output);
            output
        }) {
            prop_assert_eq!(&found, &expected);
        }
    }

    #[test]
    fn gradient_steps(
        terms in prop::collection::vec(
            (prop_oneof![Just(0), -i16::MAX..=i16::MAX], any::<i32>(), -(1 << 30)..1 << 30, any::<i32>()), 0..80,
        ),
        point in 1..=13_u32,
        finer in 0..=23_u32,
        momentum in 0..=i32::MAX,
        least in prop_oneof![1..=i32::MAX, 1..=1_i32 << 20, Just(i32::MIN)],
    ) {
        let step = GradientStep { point, finer, momentum };
        let mut before: Vec<i32> = terms.iter().map(|one| one.3).collect();
        let mut expected = Vec::new();
        for (k, (&(z, product, correlation, _), before)) in terms.iter().zip(&mut before).enumerate() {
            let next = step.apply(z.into(), product, correlation, before);
            if z != 0 || next >= least {
                expected.push((k, next, z));
            }
        }
        let product: Vec<i32> = terms.iter().map(|one| one.1).collect();
        let correlation: Vec<i32> = terms.iter().map(|one| one.2).collect();
        for (found, previous, code) in everywhere(|| {
            let mut code: Vec<i16> = terms.iter().map(|one| one.0).collect();
            let mut previous: Vec<i32> = terms.iter().map(|one| one.3).collect();
            let mut found = Vec::new();
            let done = integer::gradient_steps(
                step,
                least,
                &mut code,
                (&product, &correlation),
                &mut previous,
                &mut |k, next, z: &mut i16| {
                    found.push((k, next, *z));
                    *z = i16::MIN;
                },
            );
            done.then_some((found, previous, code))
        })
        .into_iter()
        .flatten()
        {
            prop_assert!(found.iter().all(|(k, ..)| code[*k] == i16::MIN));
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(&previous, &before);
        }
    }
}
