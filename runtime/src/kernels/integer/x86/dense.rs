//! Products with dense vectors, with AVX-512 VNNI or AVX2.

#![allow(unsafe_code)]

use core::arch::x86_64::*;

use sparsecode_formats::{Blocks, LANES};

use crate::kernels::compact::TO_FRONT;
use crate::kernels::integer::portable;
use crate::kernels::level::{Avx2, Avx512Vnni};

/// Blocks of a matrix that are multiplied before their sums leave the registers: those of 1024
/// columns.
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

/// See [`dot_rows`](crate::kernels::integer::dot_rows): adds to the sums. `false` if nothing was
/// done.
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

/// Blocks that stay in the nearest cache while patch after patch meets them, from the start of a
/// line on: numbers read across two lines take twice as long.
#[cfg(feature = "std")]
#[repr(align(64))]
struct Near([i8; NEAR]);

#[cfg(feature = "std")]
const NEAR: usize = 36 << 10;

/// See [`dot_rows_of_each`](crate::kernels::integer::dot_rows_of_each): adds to the sums. `false`
/// if nothing was done.
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

/// A pass over a slab for as many rows as there are registers for their sums, then for fewer, and
/// so on; returns the first row that none of these numbers fits.
macro_rules! passes {
    ($name:ident, $simd:ty, $group:ident, [$($accumulators:literal),+], $rows:literal) => {
        fn $name(self, _: $simd, busy: &Busy, sums: &mut [i32]) -> usize {
            let mut row = 0_usize;
            $(
                while let Some(group) = sums
                    .get_mut(row..self.rows)
                    .and_then(<[i32]>::first_chunk_mut::<{ $accumulators * $rows }>)
                {
                    // SAFETY: the token says that the processor has the instructions; each of the
                    // blocks holds the eights of `group.len()` rows from `row` on; `busy` numbers
                    // blocks, and eights of `x`.
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
/// The processor has the instructions. `blocks`: eights of `4·N` rows, `stride` numbers from block
/// to block. `busy`: numbers of blocks that are there, and of eights in `x`. `sums`: `4·N` numbers.
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
