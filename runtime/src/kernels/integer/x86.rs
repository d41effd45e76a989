//! Integer kernels for x86-64: dense products with AVX-512 VNNI or AVX2, everything else with AVX2.
//!
//! Two 16-bit products an instruction and lane, as in the kernels of Cortex-M. Where a drive becomes a level, the levels above 0 are
//! gathered by a permutation instead of a branch each: which of them are active is what a processor cannot predict.

#![allow(unsafe_code)]

use core::arch::x86_64::*;

use sparsecode_formats::{Blocks, CODE_LIMIT, LANES, Packed, Rescale, Rescales};

use super::{Entry, GradientStep, High, Threshold, portable};
use crate::kernels::x86::{Avx2, Avx512Vnni, TO_FRONT, to_front};

/// Blocks of a matrix that are multiplied before their sums leave the registers: those of 1024 columns.
const SLAB: usize = 128;

/// The blocks of a slab whose eight inputs are not all 0.
struct Busy {
    // Room for eight more: they are written eight at a time.
    blocks: [u8; SLAB + 8],
    count: usize,
    /// All inputs lie within 0 … 255, as pixels do.
    bytes: bool,
}

impl Busy {
    /// `x` of at most [`SLAB`] eights.
    #[inline]
    #[target_feature(enable = "avx2,popcnt")]
    fn new(x: &[[i16; LANES]]) -> Self {
        let mut busy = Self {
            blocks: [0; SLAB + 8],
            count: 0,
            bytes: false,
        };
        let mut any = _mm_setzero_si128();
        let mut first = 0_u8;
        let (groups, rest) = x.as_chunks::<8>();
        for group in groups {
            let mut halves = 0_u32;
            for (pair, [even, odd]) in (0_u32..).zip(group.as_chunks::<2>().0) {
                let (even, odd) = (load_eight(even), load_eight(odd));
                any = _mm_or_si128(any, _mm_or_si128(even, odd));
                let zero = _mm256_cmpeq_epi64(_mm256_set_m128i(odd, even), _mm256_setzero_si256());
                let zero = _mm256_movemask_pd(_mm256_castsi256_pd(zero)).cast_unsigned();
                halves |= zero << (pair << 2);
            }
            // One bit of two: either half of an eight is not 0.
            let set = !(halves & halves >> 1) & 0x5555;
            let set = (set | set >> 1) & 0x3333;
            let set = (set | set >> 2) & 0x0f0f;
            let set = ((set | set >> 4) & 0xff) as usize;
            let numbers = TO_FRONT.get(set).unwrap_or(&[0; 8]);
            if let Some(places) = busy.blocks.get_mut(busy.count..)
                && let Some(places) = places.first_chunk_mut::<8>()
            {
                // No byte overflows: a slab has 128 blocks.
                let first = u64::from(first).wrapping_mul(0x0101_0101_0101_0101);
                *places = u64::from_le_bytes(*numbers)
                    .wrapping_add(first)
                    .to_le_bytes();
            }
            busy.count = busy.count.wrapping_add(set.count_ones() as usize);
            first = first.wrapping_add(8);
        }
        for (index, eight) in (first..).zip(rest) {
            let eight = load_eight(eight);
            any = _mm_or_si128(any, eight);
            if _mm_testz_si128(eight, eight) == 0
                && let Some(place) = busy.blocks.get_mut(busy.count)
            {
                *place = index;
                busy.count = busy.count.wrapping_add(1);
            }
        }
        busy.bytes = _mm_testz_si128(any, _mm_set1_epi16(!0xff)) != 0;
        busy
    }

    #[inline(always)]
    fn blocks(&self) -> &[u8] {
        self.blocks.get(..self.count).unwrap_or(&[])
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_eight(eight: &[i16; LANES]) -> __m128i {
    // SAFETY: eight numbers of 16 bits.
    unsafe { _mm_loadu_si128(eight.as_ptr().cast()) }
}

/// See [`dot_rows`](super::dot_rows): adds to the sums. `false` if nothing was done.
pub(crate) fn dot_rows(matrix: &Blocks<'_, i8>, x: &[i16], sums: &mut [i32]) -> bool {
    let Some(simd) = Avx2::new() else {
        return false;
    };
    let rows = matrix.rows();
    let blocks = matrix
        .values()
        .chunks(rows.saturating_mul(SLAB * LANES).max(1));
    for (blocks, x) in blocks.zip(x.chunks(SLAB * LANES)) {
        dot_slab(simd, blocks, rows, x, sums);
    }
    true
}

/// Blocks that stay in the nearest cache while patch after patch meets them, from the start of a line on: numbers read across two lines
/// take twice as long.
#[cfg(feature = "std")]
#[repr(align(64))]
struct Near([i8; NEAR]);

#[cfg(feature = "std")]
const NEAR: usize = 36 << 10;

/// See [`dot_rows_of_each`](super::dot_rows_of_each): adds to the sums. `false` if nothing was done.
#[cfg(feature = "std")]
pub(crate) fn dot_rows_of_each(matrix: &Blocks<'_, i8>, patches: &[i16], sums: &mut [i32]) -> bool {
    let mut near = Near([0; NEAR]);
    let (rows, cols) = (matrix.rows().max(1), matrix.cols().max(1));
    let length = rows.wrapping_mul(LANES);
    let count = near.0.len().checked_div(length).unwrap_or(0).min(SLAB);
    let Some(simd) = Avx2::new().filter(|_| count > 0) else {
        return false;
    };
    let mut first = 0_usize;
    for blocks in matrix.values().chunks(count.wrapping_mul(length)) {
        for (near, weight) in near.0.iter_mut().zip(blocks) {
            *near = *weight;
        }
        let blocks = near.0.get(..blocks.len()).unwrap_or(&[]);
        let each = patches.chunks_exact(cols).zip(sums.chunks_exact_mut(rows));
        for (x, sums) in each {
            let x = x.get(first.wrapping_mul(LANES)..).unwrap_or(&[]);
            dot_slab(simd, blocks, rows, x, sums);
        }
        first = first.wrapping_add(count);
    }
    true
}

/// Adds the products with at most [`SLAB`] blocks of `rows` eights, which `x` may be longer than.
fn dot_slab(simd: Avx2, blocks: &[i8], rows: usize, x: &[i16], sums: &mut [i32]) {
    let length = rows.wrapping_mul(LANES);
    let count = blocks.len().checked_div(length).unwrap_or(0);
    let used = x.len().min(count.wrapping_mul(LANES));
    let (eights, rest) = x.get(..used).unwrap_or(&[]).as_chunks::<LANES>();
    let mut last = [0_i16; LANES];
    for (value, from) in last.iter_mut().zip(rest) {
        *value = *from;
    }
    let last = (!rest.is_empty()).then_some(&last);
    let mut values = blocks;
    for x in [eights].into_iter().chain(last.map(core::slice::from_ref)) {
        let Some((blocks, rest)) = values.split_at_checked(x.len().wrapping_mul(length)) else {
            break;
        };
        values = rest;
        let slab = Slab { blocks, rows, x };
        // SAFETY: the token.
        let busy = unsafe { Busy::new(x) };
        let done = match Avx512Vnni::new() {
            Some(simd) if busy.bytes => slab.dot_bytes_vnni(simd, &busy, sums),
            Some(simd) => slab.dot_vnni(simd, &busy, sums),
            None => slab.dot_avx2(simd, &busy, sums),
        };
        let sums = sums.get_mut(done..).unwrap_or_default();
        if !sums.is_empty() {
            for (block, x) in blocks.chunks_exact(length.max(1)).zip(x) {
                let rows = block.get(done.wrapping_mul(LANES)..).unwrap_or(&[]);
                portable::dot_block(rows, x, sums);
            }
        }
    }
}

/// Adjacent blocks of a matrix, each of `rows` eights, and an eight for each.
#[derive(Clone, Copy)]
struct Slab<'s> {
    blocks: &'s [i8],
    rows: usize,
    x: &'s [[i16; LANES]],
}

/// A pass over a slab for as many rows as there are registers for their sums, then for fewer, and so on; returns the first row that none of
/// these numbers fits.
macro_rules! passes {
    ($name:ident, $simd:ty, $group:ident, [$($accumulators:literal),+], $rows:literal) => {
        fn $name(self, _: $simd, busy: &Busy, sums: &mut [i32]) -> usize {
            let mut row = 0_usize;
            $(
                while let Some(group) = sums
                    .get_mut(row..self.rows)
                    .and_then(<[i32]>::first_chunk_mut::<{ $accumulators * $rows }>)
                {
                    // SAFETY: the token says that the processor has the instructions; each of the blocks holds the eights of
                    // `group.len()` rows from `row` on; `busy` numbers blocks, and eights of `x`.
                    unsafe {
                        $group::<$accumulators>(
                            self.blocks.as_ptr().add(row.wrapping_mul(LANES)),
                            self.rows.wrapping_mul(LANES),
                            busy.blocks(),
                            self.x.as_ptr(),
                            group.as_mut_ptr(),
                        );
                    }
                    row = row.wrapping_add(group.len());
                }
            )+
            row
        }
    };
}

impl Slab<'_> {
    passes!(
        dot_bytes_vnni,
        Avx512Vnni,
        dot_group_bytes_vnni,
        [16, 4, 2],
        8
    );
    passes!(dot_vnni, Avx512Vnni, dot_group_vnni, [16, 4], 4);
    passes!(dot_avx2, Avx2, dot_group_avx2, [8, 4], 2);
}

/// Adds the products of `8·N` rows with inputs of 8 bits to their sums; `N` is even.
///
/// # Safety
///
/// As of [`dot_group_vnni`], with `8·N` rows; the inputs lie within 0 … 255.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn dot_group_bytes_vnni<const N: usize>(
    blocks: *const i8,
    stride: usize,
    busy: &[u8],
    x: *const [i16; LANES],
    sums: *mut i32,
) {
    // Eight rows in each, two sums a row.
    let mut totals = [_mm512_setzero_si512(); N];
    for &block in busy {
        let block = usize::from(block);
        // SAFETY: an eight of `x`, and a block that is there.
        let (x, mut rows) = unsafe {
            (
                _mm_loadu_si128(x.add(block).cast()),
                blocks.add(block.wrapping_mul(stride)),
            )
        };
        let x = _mm512_broadcastq_epi64(_mm_packus_epi16(x, x));
        for total in &mut totals {
            // SAFETY: 64 numbers: eight of the rows.
            let weights = unsafe { _mm512_loadu_si512(rows.cast()) };
            *total = _mm512_dpbusd_epi32(*total, x, weights);
            rows = rows.wrapping_add(8 * LANES);
        }
    }
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
    let (twos, _) = totals.as_chunks::<2>();
    for (index, [a, b]) in twos.iter().enumerate() {
        let all = _mm512_add_epi32(
            _mm512_permutex2var_epi32(*a, even, *b),
            _mm512_permutex2var_epi32(*a, odd, *b),
        );
        // SAFETY: 16 of the sums.
        unsafe { add_to_sums(sums.add(index.wrapping_mul(16)), all) };
    }
}

/// # Safety
///
/// There are 16 sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn add_to_sums(sums: *mut i32, more: __m512i) {
    // SAFETY: what is asked of the caller.
    unsafe {
        let sum = _mm512_add_epi32(_mm512_loadu_si512(sums.cast()), more);
        _mm512_storeu_si512(sums.cast(), sum);
    }
}

/// Adds the products of `4·N` rows to their sums; `N` is a multiple of 4.
///
/// # Safety
///
/// The processor has the instructions. `blocks`: eights of `4·N` rows, `stride` numbers from block to block. `busy`: numbers of blocks
/// that are there, and of eights in `x`. `sums`: `4·N` numbers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn dot_group_vnni<const N: usize>(
    blocks: *const i8,
    stride: usize,
    busy: &[u8],
    x: *const [i16; LANES],
    sums: *mut i32,
) {
    // Four rows in each, four sums a row.
    let mut totals = [_mm512_setzero_si512(); N];
    for &block in busy {
        let block = usize::from(block);
        // SAFETY: an eight of `x`, wherever it lies.
        let x = unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(x.add(block).cast())) };
        // SAFETY: a block that is there.
        let mut rows = unsafe { blocks.add(block.wrapping_mul(stride)) };
        for total in &mut totals {
            // SAFETY: 32 numbers: four of the rows.
            let weights = unsafe { _mm256_loadu_si256(rows.cast()) };
            *total = _mm512_dpwssd_epi32(*total, _mm512_cvtepi8_epi16(weights), x);
            rows = rows.wrapping_add(4 * LANES);
        }
    }
    let transposed = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let (fours, _) = totals.as_chunks::<4>();
    for (index, [a, b, c, d]) in fours.iter().enumerate() {
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(*a, *b), _mm512_unpackhi_epi32(*a, *b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(*c, *d), _mm512_unpackhi_epi32(*c, *d));
        let all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        let all = _mm512_permutexvar_epi32(transposed, all);
        // SAFETY: 16 of the sums.
        unsafe { add_to_sums(sums.add(index.wrapping_mul(16)), all) };
    }
}

/// Adds the products of `2·N` rows to their sums; `N` is a multiple of 4.
///
/// # Safety
///
/// As of [`dot_group_vnni`], with `2·N` rows.
#[target_feature(enable = "avx2")]
unsafe fn dot_group_avx2<const N: usize>(
    blocks: *const i8,
    stride: usize,
    busy: &[u8],
    x: *const [i16; LANES],
    sums: *mut i32,
) {
    // Two rows in each, four sums a row.
    let mut totals = [_mm256_setzero_si256(); N];
    for &block in busy {
        let block = usize::from(block);
        // SAFETY: an eight of `x`, wherever it lies.
        let x = unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(x.add(block).cast())) };
        // SAFETY: a block that is there.
        let mut rows = unsafe { blocks.add(block.wrapping_mul(stride)) };
        for total in &mut totals {
            // SAFETY: 16 numbers: two of the rows.
            let weights = unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(rows.cast())) };
            *total = _mm256_add_epi32(*total, _mm256_madd_epi16(weights, x));
            rows = rows.wrapping_add(2 * LANES);
        }
    }
    let interleaved = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let (fours, _) = totals.as_chunks::<4>();
    for (index, [a, b, c, d]) in fours.iter().enumerate() {
        let all = _mm256_hadd_epi32(_mm256_hadd_epi32(*a, *b), _mm256_hadd_epi32(*c, *d));
        let all = _mm256_permutevar8x32_epi32(all, interleaved);
        // SAFETY: eight of the sums.
        unsafe {
            let sums = sums.add(index.wrapping_mul(8));
            let sum = _mm256_add_epi32(_mm256_loadu_si256(sums.cast()), all);
            _mm256_storeu_si256(sums.cast(), sum);
        }
    }
}

/// Rows of eight numbers as the sparse products read them.
trait Row: Copy {
    /// Eight numbers of each of two rows, those of a column side by side in 16 bits.
    ///
    /// # Safety
    ///
    /// The processor has AVX2, and there are eight numbers in both rows.
    unsafe fn load_two(a: *const Self, b: *const Self) -> __m256i;
}

impl Row for i8 {
    #[inline(always)]
    unsafe fn load_two(a: *const Self, b: *const Self) -> __m256i {
        // SAFETY: what is asked of the caller.
        unsafe {
            let columns = _mm_unpacklo_epi8(_mm_loadl_epi64(a.cast()), _mm_loadl_epi64(b.cast()));
            _mm256_cvtepi8_epi16(columns)
        }
    }
}

impl Row for i16 {
    #[inline(always)]
    unsafe fn load_two(a: *const Self, b: *const Self) -> __m256i {
        // SAFETY: what is asked of the caller.
        unsafe {
            let a = _mm256_broadcastsi128_si256(_mm_loadu_si128(a.cast()));
            let b = _mm256_broadcastsi128_si256(_mm_loadu_si128(b.cast()));
            let (low, high) = (_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b));
            _mm256_blend_epi32::<0b1111_0000>(low, high)
        }
    }
}

/// Whether every entry's row lies within each block of a matrix.
#[target_feature(enable = "avx2")]
fn lie_within<T: Packed>(entries: &[Entry], matrix: &Blocks<'_, T>) -> bool {
    let row = const { LANES * size_of::<T>() };
    let length = matrix.rows().wrapping_mul(row);
    let most = entries.iter().map(|entry| entry.offset()).max();
    most.is_none_or(|most| most.wrapping_add(row) <= length)
}

/// Says that the processor has AVX2, and that every entry's row lies within each block of the matrix.
#[inline]
fn available<T: Packed>(entries: &[Entry], matrix: &Blocks<'_, T>) -> Option<Avx2> {
    // SAFETY: the token.
    Avx2::new().filter(|_| unsafe { lie_within(entries, matrix) })
}

/// `Σ_k value_k · row_k` of `N` adjacent blocks.
///
/// # Safety
///
/// The processor has AVX2. `block`: the first of `N` blocks, `stride` numbers from one to the next, that hold the rows of all entries.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_blocks<T: Row, const N: usize>(
    block: *const T,
    stride: usize,
    entries: &[Entry],
) -> [__m256i; N] {
    let mut sums = [_mm256_setzero_si256(); N];
    let mut add = |a: Entry, b: Entry, values: u32| {
        let values = _mm256_set1_epi32(values.cast_signed());
        // SAFETY: the rows of all entries lie within each of the blocks.
        unsafe {
            let mut rows = (block.byte_add(a.offset()), block.byte_add(b.offset()));
            for sum in &mut sums {
                let weights = T::load_two(rows.0, rows.1);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(weights, values));
                rows = (rows.0.wrapping_add(stride), rows.1.wrapping_add(stride));
            }
        }
    };
    let (twos, last) = entries.as_chunks::<2>();
    for &[a, b] in twos {
        add(a, b, a.0 & 0xffff | b.0 << 16);
    }
    for &entry in last {
        add(entry, entry, entry.0 & 0xffff);
    }
    sums
}

/// Calls `$each(b, sums)` for the blocks of `$matrix` from number `$first` on, eight at a time and then one by one.
macro_rules! for_blocks {
    ($first:expr, $matrix:expr, $entries:expr, |$index:ident, $sums:ident| $each:expr) => {{
        let matrix = $matrix;
        let stride = matrix.rows().wrapping_mul(LANES);
        let count = matrix.count();
        let mut first: usize = $first;
        let mut block = matrix.values().as_ptr().wrapping_add(first.wrapping_mul(stride));
        while first.wrapping_add(8) <= count {
            // SAFETY: AVX2 is there in a function that has it enabled; the caller held the entries to the matrix.
            let eight = unsafe { add_blocks::<_, 8>(block, stride, $entries) };
            for (lane, $sums) in eight.into_iter().enumerate() {
                let $index = first.wrapping_add(lane);
                $each;
            }
            block = block.wrapping_add(stride.wrapping_mul(8));
            first = first.wrapping_add(8);
        }
        while first < count {
            // SAFETY: as above.
            let [$sums] = unsafe { add_blocks::<_, 1>(block, stride, $entries) };
            let $index = first;
            $each;
            block = block.wrapping_add(stride);
            first = first.wrapping_add(1);
        }
    }};
}

#[inline]
#[target_feature(enable = "avx2")]
fn to_array(lanes: __m256i) -> [i32; LANES] {
    let mut array = [0; LANES];
    // SAFETY: eight numbers of 32 bits.
    unsafe { _mm256_storeu_si256(array.as_mut_ptr().cast(), lanes) };
    array
}

#[inline]
#[target_feature(enable = "avx2")]
fn from_array(array: &[i32; LANES]) -> __m256i {
    // SAFETY: eight numbers of 32 bits.
    unsafe { _mm256_loadu_si256(array.as_ptr().cast()) }
}

/// See [`add_rows`](super::add_rows). `false` if nothing was done.
pub(crate) fn add_rows(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    each: &mut dyn FnMut(usize, &[i32; LANES]),
) -> bool {
    let Some(_) = available(entries, matrix) else {
        return false;
    };
    // SAFETY: the token, and the entries were held to the matrix.
    unsafe { add_rows_avx2(matrix, entries, each) };
    true
}

/// # Safety
///
/// The processor has AVX2; the rows of all entries lie within the matrix.
#[target_feature(enable = "avx2")]
unsafe fn add_rows_avx2(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    each: &mut dyn FnMut(usize, &[i32; LANES]),
) {
    for_blocks!(0, matrix, entries, |index, sums| each(
        index,
        &to_array(sums)
    ));
}

/// See [`add_wide_rows`](super::add_wide_rows). `false` if nothing was done.
pub(crate) fn add_wide_rows(matrix: &Blocks<'_, i16>, entries: &[Entry], sums: &mut [i32]) -> bool {
    let Some(_) = available(entries, matrix) else {
        return false;
    };
    // SAFETY: the token, and the entries were held to the matrix.
    unsafe { add_wide_rows_avx2(matrix, entries, sums) };
    true
}

/// # Safety
///
/// The processor has AVX2; the rows of all entries lie within the matrix.
#[target_feature(enable = "avx2")]
unsafe fn add_wide_rows_avx2(matrix: &Blocks<'_, i16>, entries: &[Entry], sums: &mut [i32]) {
    let (eights, rest) = sums.as_chunks_mut::<LANES>();
    for_blocks!(0, matrix, entries, |index, more| {
        if let Some(eight) = eights.get_mut(index) {
            *eight = to_array(_mm256_add_epi32(from_array(eight), more));
        } else {
            for (sum, more) in rest.iter_mut().zip(to_array(more)) {
                *sum = sum.wrapping_add(more);
            }
        }
    });
}

/// See [`rescale`](super::rescale). `false` if nothing was done.
pub(crate) fn rescale(by: &Rescales<'_>, bias: &[i32], sums: &[i32], output: &mut [i32]) -> bool {
    if Avx512Vnni::new().is_some() {
        // SAFETY: the token.
        unsafe { rescale_avx512(by, bias, sums, output) };
    } else if Avx2::new().is_some() {
        // SAFETY: the token.
        unsafe { rescale_avx2(by, bias, sums, output) };
    } else {
        return false;
    }
    true
}

/// The compiler vectorises the plain loop well, and with AVX-512 has a shift for it.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn rescale_avx512(by: &Rescales<'_>, bias: &[i32], sums: &[i32], output: &mut [i32]) {
    portable::rescale(by, bias, sums, output);
}

#[target_feature(enable = "avx2")]
fn rescale_avx2(by: &Rescales<'_>, bias: &[i32], sums: &[i32], output: &mut [i32]) {
    portable::rescale(by, bias, sums, output);
}

/// [`High`] for eight sums.
#[inline]
#[target_feature(enable = "avx2")]
fn rescale_eight(sums: __m256i, multipliers: __m256i, high: High) -> __m256i {
    let even = _mm256_mul_epi32(sums, multipliers);
    let odd = _mm256_mul_epi32(
        _mm256_srli_epi64::<32>(sums),
        _mm256_srli_epi64::<32>(multipliers),
    );
    // The upper halves of both.
    let upper = _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd);
    let half = _mm256_set1_epi32(high.half);
    shift_right(_mm256_add_epi32(upper, half), high.shift)
}

#[inline]
#[target_feature(enable = "avx2")]
fn shift_right(lanes: __m256i, by: u32) -> __m256i {
    _mm256_sra_epi32(lanes, _mm_cvtsi32_si128(by.cast_signed()))
}

/// The difference, cut to 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn saturating_sub(x: __m256i, y: __m256i) -> __m256i {
    let difference = _mm256_sub_epi32(x, y);
    // The sign is wrong if those of `x` and `y` differ, and it is not that of `x`.
    let overflow = _mm256_and_si256(_mm256_xor_si256(x, y), _mm256_xor_si256(x, difference));
    cut(difference, x, overflow)
}

/// The sum, cut to 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn saturating_add(x: __m256i, y: __m256i) -> __m256i {
    let sum = _mm256_add_epi32(x, y);
    let overflow = _mm256_andnot_si256(_mm256_xor_si256(x, y), _mm256_xor_si256(x, sum));
    cut(sum, x, overflow)
}

/// `value`, or, where the sign of `overflow` is set, the limit of the sign of `x`.
#[inline]
#[target_feature(enable = "avx2")]
fn cut(value: __m256i, x: __m256i, overflow: __m256i) -> __m256i {
    let limit = _mm256_xor_si256(_mm256_srai_epi32::<31>(x), _mm256_set1_epi32(i32::MAX));
    _mm256_castps_si256(_mm256_blendv_ps(
        _mm256_castsi256_ps(value),
        _mm256_castsi256_ps(limit),
        _mm256_castsi256_ps(overflow),
    ))
}

/// A list of levels that are not 0, and how long it is.
struct Levels<'l> {
    list: &'l mut [Entry],
    count: usize,
    threshold: Threshold,
}

impl Levels<'_> {
    /// Appends the levels of the eight drives from `first` on.
    #[inline]
    #[target_feature(enable = "avx2,popcnt")]
    fn push_eight(&mut self, first: usize, drive: __m256i) {
        let Threshold { half, fraction } = self.threshold;
        // Above 0.
        let below = _mm256_set1_epi32(self.threshold.least().wrapping_sub(1));
        let active = _mm256_cmpgt_epi32(drive, below);
        let most = _mm256_set1_epi32(i32::MAX.wrapping_sub(half));
        let rounded = _mm256_add_epi32(_mm256_min_epi32(drive, most), _mm256_set1_epi32(half));
        let level = _mm256_min_epi32(
            shift_right(rounded, fraction),
            _mm256_set1_epi32(CODE_LIMIT),
        );
        let index = _mm256_add_epi32(
            _mm256_set1_epi32(first as i32),
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
        );
        // As `Entry::new::<i8>` has it.
        let entries = _mm256_or_si256(_mm256_slli_epi32::<19>(index), level);
        let set = _mm256_movemask_ps(_mm256_castsi256_ps(active)) as usize & 0xff;
        let entries = _mm256_permutevar8x32_epi32(entries, to_front(set));
        let end = self.count.wrapping_add(set.count_ones() as usize);
        let free = self.list.get_mut(self.count..).unwrap_or_default();
        if let Some(eight) = free.first_chunk_mut::<LANES>() {
            // SAFETY: eight entries, which are numbers of 32 bits; those after the active ones are free.
            unsafe { _mm256_storeu_si256(eight.as_mut_ptr().cast(), entries) };
        } else {
            for (entry, new) in free.iter_mut().zip(to_array(entries)) {
                *entry = Entry(new.cast_unsigned());
            }
        }
        self.count = end.min(self.list.len());
    }

    /// The same for 16.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,popcnt")]
    fn push_sixteen(&mut self, first: usize, drive: __m512i) {
        let Threshold { half, fraction } = self.threshold;
        let active = _mm512_cmpge_epi32_mask(drive, _mm512_set1_epi32(self.threshold.least()));
        let most = _mm512_set1_epi32(i32::MAX.wrapping_sub(half));
        let rounded = _mm512_add_epi32(_mm512_min_epi32(drive, most), _mm512_set1_epi32(half));
        let level = _mm512_min_epi32(
            _mm512_sra_epi32(rounded, _mm_cvtsi32_si128(fraction.cast_signed())),
            _mm512_set1_epi32(CODE_LIMIT),
        );
        let index = _mm512_add_epi32(
            _mm512_set1_epi32(first as i32),
            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        );
        // As `Entry::new::<i8>` has it.
        let entries = _mm512_or_si512(_mm512_slli_epi32::<19>(index), level);
        let entries = _mm512_maskz_compress_epi32(active, entries);
        let count = active.count_ones() as usize;
        let free = self.list.get_mut(self.count..).unwrap_or_default();
        let count = count.min(free.len());
        let places = (1_u32 << free.len().min(16)).wrapping_sub(1) as __mmask16;
        // SAFETY: entries are numbers of 32 bits; those after the active ones are free, and what is not there is not written.
        unsafe { _mm512_mask_storeu_epi32(free.as_mut_ptr().cast(), places, entries) };
        self.count = self.count.wrapping_add(count);
    }

    /// The same for fewer than eight.
    fn push_rest(&mut self, first: usize, drives: impl Iterator<Item = i32>) {
        for (index, drive) in (first..).zip(drives) {
            if let Some(level) = self.threshold.level(drive)
                && let Some(entry) = self.list.get_mut(self.count)
            {
                *entry = Entry::new::<i8>(index, level);
                self.count = self.count.wrapping_add(1);
            }
        }
    }
}

/// See [`list_levels`](super::list_levels).
pub(crate) fn list_levels(drive: &[i32], threshold: Threshold, list: &mut [Entry]) -> Option<u16> {
    let _ = Avx2::new()?;
    let mut levels = Levels {
        list,
        count: 0,
        threshold,
    };
    let (sixteens, rest) = match Avx512Vnni::new() {
        Some(_) => drive.as_chunks(),
        None => (&[][..], drive),
    };
    // SAFETY: the tokens.
    unsafe {
        if !sixteens.is_empty() {
            list_levels_avx512(sixteens, &mut levels);
        }
        if !rest.is_empty() {
            list_levels_avx2(sixteens.len().wrapping_mul(16), rest, &mut levels);
        }
    }
    Some(levels.count as u16)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,popcnt")]
fn list_levels_avx512(drive: &[[i32; 16]], levels: &mut Levels<'_>) {
    let mut first = 0_usize;
    for sixteen in drive {
        // SAFETY: 16 numbers of 32 bits.
        let drive = unsafe { _mm512_loadu_si512(sixteen.as_ptr().cast()) };
        levels.push_sixteen(first, drive);
        first = first.wrapping_add(16);
    }
}

/// `drive` of the components from `first` on.
#[target_feature(enable = "avx2,popcnt")]
fn list_levels_avx2(mut first: usize, drive: &[i32], levels: &mut Levels<'_>) {
    let (eights, rest) = drive.as_chunks::<LANES>();
    for eight in eights {
        levels.push_eight(first, from_array(eight));
        first = first.wrapping_add(LANES);
    }
    levels.push_rest(first, rest.iter().copied());
}

/// See [`list_next_levels`](super::list_next_levels).
pub(crate) fn list_next_levels(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: &Rescales<'_>,
    drive: &[i32],
    threshold: Threshold,
    list: &mut [Entry],
) -> Option<u16> {
    let _ = available(entries, matrix)?;
    let mut levels = Levels {
        list,
        count: 0,
        threshold,
    };
    // SAFETY: the tokens, and the entries were held to the matrix.
    unsafe {
        let done = match Avx512Vnni::new() {
            Some(_) => list_next_levels_avx512(matrix, entries, by, drive, &mut levels),
            None => 0,
        };
        if done < matrix.count() {
            list_next_levels_avx2(done, matrix, entries, by, drive, &mut levels);
        }
    }
    Some(levels.count as u16)
}

/// Sixteen blocks at a time; returns the first that is not done.
///
/// # Safety
///
/// The processor has the instructions; the rows of all entries lie within the matrix.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,popcnt")]
unsafe fn list_next_levels_avx512(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: &Rescales<'_>,
    drive: &[i32],
    levels: &mut Levels<'_>,
) -> usize {
    const BLOCKS: usize = 16;
    let high = High::new(by.shift);
    let half = _mm512_set1_epi32(high.half);
    let shift = _mm_cvtsi32_si128(high.shift.cast_signed());
    let stride = matrix.rows().wrapping_mul(LANES);
    let groups = matrix
        .values()
        .chunks_exact(stride.wrapping_mul(BLOCKS).max(1));
    let drives = drive.as_chunks::<{ BLOCKS * LANES }>().0;
    let multipliers = by.multipliers.as_chunks::<{ BLOCKS * LANES }>().0;
    let mut first = 0_usize;
    for (blocks, (drive, by)) in groups.zip(drives.iter().zip(multipliers)) {
        // SAFETY: as many blocks, which the caller held the entries to.
        let sums = unsafe { add_blocks::<_, BLOCKS>(blocks.as_ptr(), stride, entries) };
        let terms = drive.as_chunks::<16>().0.iter().zip(by.as_chunks::<16>().0);
        for ([a, b], (drive, by)) in sums.as_chunks::<2>().0.iter().zip(terms) {
            let sums = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(*a), *b);
            // SAFETY: 16 numbers of 32 bits.
            let (drive, by) = unsafe {
                (
                    _mm512_loadu_si512(drive.as_ptr().cast()),
                    _mm512_loadu_si512(by.as_ptr().cast()),
                )
            };
            let even = _mm512_mul_epi32(sums, by);
            let odd = _mm512_mul_epi32(_mm512_srli_epi64::<32>(sums), _mm512_srli_epi64::<32>(by));
            // The upper halves of both.
            let upper = _mm512_mask_mov_epi32(_mm512_srli_epi64::<32>(even), 0xaaaa, odd);
            let rescaled = _mm512_sra_epi32(_mm512_add_epi32(upper, half), shift);
            levels.push_sixteen(first, _mm512_add_epi32(drive, rescaled));
            first = first.wrapping_add(16);
        }
    }
    first.checked_div(LANES).unwrap_or(0)
}

/// The blocks from `first` on.
///
/// # Safety
///
/// The processor has AVX2; the rows of all entries lie within the matrix.
#[target_feature(enable = "avx2,popcnt")]
unsafe fn list_next_levels_avx2(
    first: usize,
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: &Rescales<'_>,
    drive: &[i32],
    levels: &mut Levels<'_>,
) {
    let high = High::new(by.shift);
    let (eights, rest) = drive.as_chunks::<LANES>();
    let (multipliers, multipliers_rest) = by.multipliers.as_chunks::<LANES>();
    for_blocks!(first, matrix, entries, |index, sums| {
        let first = index.wrapping_mul(LANES);
        if let (Some(drive), Some(by)) = (eights.get(index), multipliers.get(index)) {
            let rescaled = rescale_eight(sums, from_array(by), high);
            levels.push_eight(first, _mm256_add_epi32(from_array(drive), rescaled));
        } else {
            let terms = to_array(sums).into_iter().zip(multipliers_rest).zip(rest);
            let drives = terms.map(|((sum, by), u)| u.wrapping_add(high.apply(sum, *by)));
            levels.push_rest(first, drives);
        }
    });
}

/// See [`add_rescaled_rows`](super::add_rescaled_rows).
pub(crate) fn add_rescaled_rows(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: Rescale,
    offset: i16,
    output: &mut [i16],
) -> bool {
    let Some(_) = available(entries, matrix) else {
        return false;
    };
    // SAFETY: the token, and the entries were held to the matrix.
    unsafe { add_rescaled_rows_avx2(matrix, entries, by, offset, output) };
    true
}

/// # Safety
///
/// The processor has AVX2; the rows of all entries lie within the matrix.
#[target_feature(enable = "avx2")]
unsafe fn add_rescaled_rows_avx2(
    matrix: &Blocks<'_, i8>,
    entries: &[Entry],
    by: Rescale,
    offset: i16,
    output: &mut [i16],
) {
    let high = High::new(by.shift);
    let multiplier = _mm256_set1_epi32(by.multiplier);
    let offset = _mm256_set1_epi32(offset.into());
    let (eights, rest) = output.as_chunks_mut::<LANES>();
    for_blocks!(0, matrix, entries, |index, sums| {
        let levels = _mm256_add_epi32(rescale_eight(sums, multiplier, high), offset);
        let levels = _mm_packs_epi32(
            _mm256_castsi256_si128(levels),
            _mm256_extracti128_si256::<1>(levels),
        );
        let mut last = [0; LANES];
        let eight = eights.get_mut(index);
        let apart = eight.is_none();
        let to = eight.unwrap_or(&mut last);
        // SAFETY: eight numbers of 16 bits.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), levels) };
        if apart {
            for (to, level) in rest.iter_mut().zip(last) {
                *to = level;
            }
        }
    });
}

/// See [`gradient_steps`](super::gradient_steps).
#[inline(always)]
pub(crate) fn gradient_steps(
    step: GradientStep,
    least: i32,
    code: &mut [i16],
    terms: (&[i32], &[i32]),
    previous: &mut [i32],
    each: &mut impl FnMut(usize, i32, &mut i16),
) -> bool {
    if Avx2::new().is_none() {
        return false;
    }
    // SAFETY: the token.
    unsafe { gradient_steps_avx2(step, least, code, terms, previous, each) };
    true
}

#[target_feature(enable = "avx2,popcnt")]
fn gradient_steps_avx2(
    step: GradientStep,
    least: i32,
    code: &mut [i16],
    (product, correlation): (&[i32], &[i32]),
    previous: &mut [i32],
    each: &mut impl FnMut(usize, i32, &mut i16),
) {
    let (codes, code_rest) = code.as_chunks_mut::<LANES>();
    let (products, product_rest) = product.as_chunks::<LANES>();
    let (correlations, correlation_rest) = correlation.as_chunks::<LANES>();
    let (befores, before_rest) = previous.as_chunks_mut::<LANES>();
    let point = _mm_cvtsi32_si128(step.point.cast_signed());
    let momentum = _mm256_set1_epi32(step.momentum);
    let least_lanes = _mm256_set1_epi32(least);
    let mut first = 0_usize;
    let eights = codes
        .iter_mut()
        .zip(products)
        .zip(correlations)
        .zip(befores);
    for (((code, product), correlation), before) in eights {
        // SAFETY: eight numbers of 16 bits.
        let levels = unsafe { _mm256_cvtepi16_epi32(_mm_loadu_si128(code.as_ptr().cast())) };
        let gradient_step = saturating_sub(
            _mm256_add_epi32(_mm256_sll_epi32(levels, point), from_array(correlation)),
            shift_right(from_array(product), step.finer),
        );
        let change = saturating_sub(gradient_step, from_array(before));
        *before = to_array(gradient_step);
        let even = _mm256_mul_epi32(change, momentum);
        let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(change), momentum);
        let upper = _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd);
        let next = saturating_add(gradient_step, _mm256_slli_epi32::<1>(upper));
        // Neither 0 that stays 0.
        let idle = _mm256_and_si256(
            _mm256_cmpeq_epi32(levels, _mm256_setzero_si256()),
            _mm256_cmpgt_epi32(least_lanes, next),
        );
        let mut busy = !_mm256_movemask_ps(_mm256_castsi256_ps(idle)) & 0xff;
        if busy != 0 {
            let next = to_array(next);
            while busy != 0 {
                let lane = busy.trailing_zeros() as usize;
                busy &= busy.wrapping_sub(1);
                if let (Some(next), Some(z)) = (next.get(lane), code.get_mut(lane)) {
                    each(first.wrapping_add(lane), *next, z);
                }
            }
        }
        first = first.wrapping_add(LANES);
    }
    let terms = product_rest.iter().zip(correlation_rest);
    let state = code_rest.iter_mut().zip(before_rest);
    for (index, ((product, correlation), (z, before))) in (first..).zip(terms.zip(state)) {
        let code = i32::from(*z);
        let next = step.apply(code, *product, *correlation, before);
        if code != 0 || next >= least {
            each(index, next, z);
        }
    }
}
