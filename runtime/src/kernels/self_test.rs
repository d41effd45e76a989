//! The integer kernels of a build beside the portable ones, on the processor itself.

use core::fmt;

use sparsecode_formats::{Blocks, LANES, Nibbles, Packed, Rescale, Rescales, WeightBlocks};

#[cfg(feature = "denoise")]
use super::integer::LearnedStep;
use super::integer::{self, Entry, High, Threshold, portable, saturate};

/// Largest matrix: odd and even numbers of blocks, and rests of rows and of columns.
const SIDE: usize = 40;
const PLACES: usize = SIDE * SIDE;

/// Whether a kernel's results are equal for one set of numbers.
type Check = fn(&mut Random) -> bool;

const KERNELS: &[(&str, Check)] = &[
    ("clamp", clamp),
    ("dot_rows", dense_product),
    ("dot_narrow_rows", narrow_dense_product),
    ("add_rows", sparse_product),
    ("add_narrow_rows", narrow_sparse_product),
    ("add_wide_rows", wide_product),
    ("rescale", rescaled_sums),
    ("add_weighted", weighted_values),
    ("copy", copies),
    ("clear", cleared),
    ("list_levels", levels),
    #[cfg(feature = "denoise")]
    ("learned_step", learned_step),
];

/// A kernel of this build that is not equal to its portable twin: see [`self_test`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct KernelMismatch {
    /// The kernel.
    pub kernel: &'static str,
    /// The round in which it was found, from 0.
    pub round: u32,
}

impl fmt::Display for KernelMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, round } = self;
        write!(
            f,
            "kernel {kernel} is not equal to the portable one in round {round}: the processor is not what the program was built for"
        )
    }
}

impl core::error::Error for KernelMismatch {}

/// Compares the kernels of integer models that this build has for the processor with the portable
/// ones, bit for bit, on made-up numbers of every size, in matrices of up to 40 × 40: for a
/// self-test at power-up, or for a new core. The same rounds take the same numbers.
///
/// Cost: about 60 000 instructions a round on a Cortex-M55; 9 KB of stack.
///
/// # Errors
///
/// The first kernel that differs.
///
/// ```
/// assert_eq!(sparsecode_runtime::self_test(20), Ok(()));
/// ```
pub fn self_test(rounds: u32) -> Result<(), KernelMismatch> {
    for round in 0..rounds {
        for (kernel, is_equal) in KERNELS {
            if !is_equal(&mut Random::new(round)) {
                return Err(KernelMismatch { kernel, round });
            }
        }
    }
    Ok(())
}

/// Marsaglia's xorshift, of 32 bits.
struct Random(u32);

impl Random {
    fn new(round: u32) -> Self {
        Self(round.wrapping_mul(0x9e37_79b9) | 1)
    }

    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() as usize).checked_rem(end).unwrap_or(0)
    }

    /// Large and small numbers, of either sign.
    fn number(&mut self) -> i32 {
        let shift = self.next() & 31;
        self.next().cast_signed() >> shift
    }

    fn level(&mut self) -> i16 {
        self.number() as i16
    }

    fn fill<T: Copy, const N: usize>(&mut self, empty: T, each: fn(&mut Self) -> T) -> [T; N] {
        let mut numbers = [empty; N];
        for number in &mut numbers {
            *number = each(self);
        }
        numbers
    }

    /// Some components of a code, whose rows are there.
    fn entries<T>(&mut self, rows: usize) -> ([Entry; SIDE], usize) {
        let mut list = [Entry::ZERO; SIDE];
        let mut active = 0_usize;
        let sparse = self.next() & 7;
        for index in 0..rows {
            let value = self.level();
            if self.next() & 7 >= sparse
                && let Some(entry) = list.get_mut(active)
            {
                *entry = Entry::new::<T>(index, value);
                active = active.wrapping_add(1);
            }
        }
        (list, active)
    }
}

/// The first numbers as a matrix.
fn matrix<'n, T: Packed>(random: &mut Random, numbers: &'n [T]) -> Option<(Blocks<'n, T>, usize)> {
    let rows = random.below(SIDE).wrapping_add(1);
    let cols = random.below(SIDE).wrapping_add(1);
    let count = cols
        .div_ceil(LANES)
        .wrapping_mul(rows)
        .wrapping_mul(T::PER_EIGHT);
    Some((Blocks::new(rows, cols, numbers.get(..count)?)?, cols))
}

fn clamp(random: &mut Random) -> bool {
    let count = random.below(SIDE);
    let (least, most) = (random.level().min(0), random.level().max(0));
    let mut expected: [i16; SIDE] = random.fill(0, Random::level);
    let mut found = expected;
    let cut = |levels: &mut [i16; SIDE], by: fn(&mut [i16], i16, i16)| {
        if let Some(levels) = levels.get_mut(..count) {
            by(levels, least, most);
        }
    };
    cut(&mut expected, portable::clamp);
    cut(&mut found, integer::clamp);
    found == expected
}

fn dense_product(random: &mut Random) -> bool {
    let weights: [i8; PLACES] = random.fill(0, |random| random.next() as i8);
    let Some((matrix, cols)) = matrix(random, &weights) else {
        return false;
    };
    dense_product_of(random, WeightBlocks::I8(matrix), &matrix, cols)
}

fn narrow_dense_product(random: &mut Random) -> bool {
    let weights: [Nibbles; PLACES / LANES] =
        random.fill([0; 4], |random| random.next().to_le_bytes());
    let Some((matrix, cols)) = matrix(random, &weights) else {
        return false;
    };
    dense_product_of(random, WeightBlocks::I4(matrix), &matrix, cols)
}

fn dense_product_of<T: Packed>(
    random: &mut Random,
    weights: WeightBlocks<'_>,
    matrix: &Blocks<'_, T>,
    cols: usize,
) -> bool {
    let mut x = [[0_i16; LANES]; SIDE / LANES];
    for eight in &mut x {
        if random.next() & 3 != 0 {
            *eight = random.fill(0, Random::level);
        }
    }
    // What is behind the last column is none of the product's.
    for level in x.as_flattened_mut().iter_mut().skip(cols) {
        *level = 0;
    }
    let mut expected = [0; SIDE];
    for (block, x) in matrix.blocks().zip(&x) {
        portable::dot_block(block, x, &mut expected);
    }
    let mut found: [i32; SIDE] = random.fill(0, Random::number);
    let x = x.as_flattened().get(..cols).unwrap_or_default();
    integer::dot_rows(&weights, x, &mut found);
    let rows = matrix.rows();
    found.get(..rows) == expected.get(..rows)
}

fn sparse_product(random: &mut Random) -> bool {
    let weights: [i8; PLACES] = random.fill(0, |random| random.next() as i8);
    let Some((matrix, cols)) = matrix(random, &weights) else {
        return false;
    };
    let (list, active) = random.entries::<i8>(matrix.rows());
    let list = list.get(..active).unwrap_or_default();
    match sparse_product_of(WeightBlocks::I8(matrix), &matrix, list, portable::add_rows) {
        Some(sums) => what_follows(random, &matrix, list, sums.as_flattened(), cols),
        None => false,
    }
}

fn narrow_sparse_product(random: &mut Random) -> bool {
    let weights: [Nibbles; PLACES / LANES] =
        random.fill([0; 4], |random| random.next().to_le_bytes());
    let Some((matrix, _)) = matrix(random, &weights) else {
        return false;
    };
    let (list, active) = random.entries::<i8>(matrix.rows());
    let list = list.get(..active).unwrap_or_default();
    sparse_product_of(
        WeightBlocks::I4(matrix),
        &matrix,
        list,
        portable::add_narrow_rows,
    )
    .is_some()
}

/// The sums, if they are those of the portable kernel.
fn sparse_product_of<T: Packed>(
    weights: WeightBlocks<'_>,
    matrix: &Blocks<'_, T>,
    list: &[Entry],
    kernel: fn(&[T], &[Entry], &mut [i32; LANES]),
) -> Option<[[i32; LANES]; SIDE / LANES]> {
    let mut sums = [[0; LANES]; SIDE / LANES];
    for (block, sums) in matrix.blocks().zip(&mut sums) {
        kernel(block, list, sums);
    }
    let mut found = [[0; LANES]; SIDE / LANES];
    integer::add_weight_rows(&weights, list, &mut |block, sums| {
        if let Some(found) = found.get_mut(block) {
            *found = *sums;
        }
    });
    (found == sums).then_some(sums)
}

/// The kernels that go on to codes and to levels.
fn what_follows(
    random: &mut Random,
    matrix: &Blocks<'_, i8>,
    list: &[Entry],
    sums: &[i32],
    cols: usize,
) -> bool {
    let multipliers: [i32; SIDE] = random.fill(0, |random| random.number() & i32::MAX);
    let drive: [i32; SIDE] = random.fill(0, Random::number);
    let shift = (random.below(30) as u8).wrapping_add(33);
    let threshold = Threshold::new(random.below(14) as u8);
    let (multipliers, drive) = (
        multipliers.get(..cols).unwrap_or_default(),
        drive.get(..cols).unwrap_or_default(),
    );
    let high = High::new(shift);
    let mut drives = [0; SIDE];
    for ((next, u), (sum, multiplier)) in drives
        .iter_mut()
        .zip(drive)
        .zip(sums.iter().zip(multipliers))
    {
        *next = u.wrapping_add(high.apply(*sum, *multiplier));
    }
    let mut next = [Entry::ZERO; SIDE];
    let room = next.get_mut(..cols).unwrap_or_default();
    let by = Rescales { multipliers, shift };
    let codes_agree = match integer::list_next_levels(matrix, list, &by, drive, threshold, room) {
        Some(active) => is_list(
            &next,
            active,
            drives.get(..cols).unwrap_or_default(),
            threshold,
        ),
        None => true,
    };

    let (offset, multiplier) = (random.level(), multipliers.first().copied().unwrap_or(0));
    let mut found = [0_i16; SIDE];
    let output = found.get_mut(..cols).unwrap_or_default();
    let by = Rescale { multiplier, shift };
    let levels_agree =
        !integer::add_rescaled_rows(&WeightBlocks::I8(*matrix), list, by, offset, output)
            || output.iter().zip(sums).all(|(level, sum)| {
                *level == saturate(high.apply(*sum, multiplier).wrapping_add(offset.into()))
            });
    codes_agree && levels_agree
}

/// Whether the first `active` entries are the levels of the drives that are not 0.
fn is_list(list: &[Entry], active: u16, drives: &[i32], threshold: Threshold) -> bool {
    let levels = drives.iter().enumerate();
    let expected =
        levels.filter_map(|(index, u)| Some(Entry::new::<i8>(index, threshold.level(*u)?)));
    let list = list.get(..usize::from(active)).unwrap_or_default();
    list.iter().copied().eq(expected)
}

fn wide_product(random: &mut Random) -> bool {
    let weights: [i16; PLACES] = random.fill(0, |random| random.next() as i16);
    let Some((matrix, cols)) = matrix(random, &weights) else {
        return false;
    };
    let (list, active) = random.entries::<i16>(matrix.rows());
    let list = list.get(..active).unwrap_or_default();
    let before: [i32; SIDE] = random.fill(0, Random::number);
    let (mut expected, mut together, mut one_by_one) = (before, before, before);
    for (block, sums) in matrix.blocks().zip(expected.chunks_mut(LANES)) {
        let mut more = [0; LANES];
        portable::add_wide_rows(block, list, &mut more);
        for (sum, more) in sums.iter_mut().zip(more) {
            *sum = sum.wrapping_add(more);
        }
    }
    let sums = together.get_mut(..cols).unwrap_or_default();
    integer::add_wide_rows(&matrix, list, sums);
    let sums = one_by_one.get_mut(..cols).unwrap_or_default();
    for entry in list {
        integer::add_wide_row(&matrix, entry.index::<i16>(), entry.value(), sums);
    }
    let expected = expected.get(..cols);
    together.get(..cols) == expected && one_by_one.get(..cols) == expected
}

fn rescaled_sums(random: &mut Random) -> bool {
    let count = random.below(SIDE);
    let multipliers: [i32; SIDE] = random.fill(0, |random| random.number() & i32::MAX);
    let bias: [i32; SIDE] = random.fill(0, |random| random.number() >> 3);
    let small = random.next() & 15;
    let mut sums: [i32; SIDE] = random.fill(0, Random::number);
    for sum in &mut sums {
        *sum >>= small;
    }
    let shift = (random.below(62) as u8).wrapping_add(1);
    let by = Rescales {
        multipliers: &multipliers,
        shift,
    };
    let (mut expected, mut found) = ([0; SIDE], [0; SIDE]);
    let sums = sums.get(..count).unwrap_or_default();
    portable::rescale(&by, &bias, sums, &mut expected);
    integer::rescale(&by, &bias, sums, found.get_mut(..count).unwrap_or_default());
    found == expected
}

fn weighted_values(random: &mut Random) -> bool {
    let (count, from) = (random.below(SIDE), random.below(3));
    let mut expected: [i32; SIDE] = random.fill(0, Random::number);
    let mut found = expected;
    let weights: [i32; SIDE] = random.fill(0, Random::number);
    let values: [i16; SIDE] = random.fill(0, Random::level);
    let weights = weights.get(..count).unwrap_or_default();
    let values = values.get(from..).unwrap_or_default();
    portable::add_weighted(&mut expected, weights, values);
    integer::add_weighted(&mut found, weights, values);
    found == expected
}

fn copies(random: &mut Random) -> bool {
    let (from, to, count) = (random.below(3), random.below(3), random.below(SIDE));
    let mut expected: [i16; SIDE] = random.fill(0, Random::level);
    let mut found = expected;
    let levels: [i16; SIDE] = random.fill(0, Random::level);
    let levels = levels.get(from..).unwrap_or_default();
    let levels = levels.get(..count).unwrap_or(levels);
    portable::copy(expected.get_mut(to..).unwrap_or_default(), levels);
    integer::copy(found.get_mut(to..).unwrap_or_default(), levels);
    found == expected
}

fn cleared(random: &mut Random) -> bool {
    let start = random.below(3);
    let end = start.wrapping_add(random.below(SIDE)).min(SIDE);
    let (mut sums, mut levels) = ([1_i32; SIDE], [1_i16; SIDE]);
    integer::clear(sums.get_mut(start..end).unwrap_or_default());
    integer::clear_levels(levels.get_mut(start..end).unwrap_or_default());
    let is_right = |index: usize, is_clear: bool| is_clear == (start..end).contains(&index);
    let mut both = sums.iter().zip(&levels).enumerate();
    both.all(|(index, (sum, level))| is_right(index, *sum == 0) && is_right(index, *level == 0))
}

#[cfg(feature = "denoise")]
fn learned_step(random: &mut Random) -> bool {
    // Half of the rounds have whole eights, which kernels take.
    let count = match random.next() & 1 {
        0 => random.below(SIDE) & !(LANES - 1),
        _ => random.below(SIDE),
    };
    let by = LearnedStep {
        finer: (random.below(22) as u8).wrapping_add(2),
        threshold_shift: (random.below(20) as u8).wrapping_add(2),
        noise_level: random.next() as u16,
        halves: random.below(13) as u8,
        step: random.number() & 0x3fff,
    };
    let products: [i32; SIDE] = random.fill(0, Random::number);
    let correlations: [i32; SIDE] = random.fill(0, |random| random.number() >> 1);
    let thresholds: [i16; SIDE] = random.fill(0, Random::level);
    let code: [i16; SIDE] = random.fill(0, |random| match random.next() & 1 {
        0 => 0,
        _ => random.level() & i16::MAX,
    });
    let correlations = correlations.get(..count).unwrap_or_default();
    let taken = |by_kernel: bool| {
        let (mut products, mut code) = (products, code);
        let mut entries = [Entry::ZERO; SIDE];
        let own = products.get_mut(..count).unwrap_or_default();
        let levels = code.get_mut(..count).unwrap_or_default();
        let active = match by_kernel {
            true => by.take(own, correlations, &thresholds, levels, &mut entries),
            false => by.take_portably(own, correlations, &thresholds, levels, &mut entries),
        };
        let rest = entries.get_mut(active..).unwrap_or_default();
        rest.fill(Entry::ZERO);
        (code, entries, active)
    };
    taken(true) == taken(false)
}

fn levels(random: &mut Random) -> bool {
    let count = random.below(SIDE);
    let drive: [i32; SIDE] = random.fill(0, Random::number);
    let drive = drive.get(..count).unwrap_or_default();
    let threshold = Threshold::new(random.below(14) as u8);
    let mut list = [Entry::ZERO; SIDE];
    match integer::list_levels(drive, threshold, &mut list) {
        Some(active) => is_list(&list, active, drive, threshold),
        None => true,
    }
}
