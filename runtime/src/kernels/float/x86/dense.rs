//! Products with dense vectors. Several rows at a time hide the latency of an addition.

#![allow(unsafe_code)]

use core::arch::asm;
use core::arch::x86_64::*;

use super::lanes::{Eight, LANES, Lanes, WIDE, below};
use crate::kernels::float::portable;
use crate::kernels::level::{Avx2, Avx512Vnni};

/// Weights whose dense products may have a kernel of their own.
pub(crate) trait DenseWeight: Eight {
    /// [`dot_rows_wide`], if it is there: returns how many rows are done.
    #[inline(always)]
    fn dot_rows_wide(
        _: &[Self],
        _: usize,
        _: &[f32],
        _: &mut impl FnMut(usize, &[f32; LANES]),
    ) -> usize {
        0
    }
}

impl DenseWeight for f32 {
    #[inline(always)]
    fn dot_rows_wide(
        weights: &[Self],
        columns: usize,
        x: &[f32],
        each: &mut impl FnMut(usize, &[f32; LANES]),
    ) -> usize {
        match Avx512Vnni::new() {
            // SAFETY: the token.
            Some(_) => unsafe { dot_rows_wide(weights, columns, x, each) },
            None => 0,
        }
    }
}

impl DenseWeight for i16 {}

impl DenseWeight for i8 {}

/// See [`portable::dot_rows`], for rows from number `index` on.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_rows_avx2<W: Eight>(
    mut index: usize,
    weights: &[W],
    columns: usize,
    x: &[f32],
    each: &mut impl FnMut(usize, &[f32]),
) {
    if columns == 0 {
        return;
    }
    let used = columns.min(x.len());
    let groups = weights.chunks_exact(columns.saturating_mul(LANES));
    let rest = groups.remainder();
    for rows in groups {
        // SAFETY: eight rows of `columns` weights, of which the first `used` meet as many elements
        // of `x`.
        let sums = unsafe { dot_eight(rows.as_ptr(), columns, x.as_ptr(), used) };
        each(index, &sums);
        index = index.wrapping_add(LANES);
    }
    for row in rest.chunks_exact(columns) {
        each(index, &[portable::dot(row, x)]);
        index = index.wrapping_add(1);
    }
}

/// Hides how rows lie to each other, so that each keeps its register: computed from one another in
/// a loop, they take ports from the additions.
#[inline(always)]
fn hide<T>(rows: &mut [*const T]) {
    for row in rows {
        // SAFETY: no instruction at all.
        unsafe {
            asm!(
                "/* {0} */",
                inout(reg) * row,
                options(pure, readonly, nostack, preserves_flags)
            )
        };
    }
}

/// The products of eight rows, in the order of [`portable::dot`].
///
/// Lane `i` holds the partial sum of elements `i − phase` modulo 8, so that the weights are read
/// from whole lines of the cache.
///
/// # Safety
///
/// The processor has AVX2. `rows`: eight rows of `columns` weights; `used`, not above `columns`,
/// elements in `x`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn dot_eight<W: Eight>(
    rows: *const W,
    columns: usize,
    x: *const f32,
    used: usize,
) -> [f32; LANES] {
    let mut sums = [_mm256_setzero_ps(); LANES];
    let phase = W::phase(rows, columns);
    // Both counted from `phase` elements before the row.
    let (mut at, end) = (0_usize, used.wrapping_add(phase));
    let x = x.wrapping_sub(phase);
    let mut rows: [*const W; LANES] = core::array::from_fn(|row| {
        rows.wrapping_add(row.wrapping_mul(columns))
            .wrapping_sub(phase)
    });
    hide(&mut rows);
    while at < end {
        let lanes = Lanes {
            from: phase.saturating_sub(at),
            to: end.wrapping_sub(at).min(LANES),
        };
        if lanes.from > 0 || lanes.to < LANES {
            // Filled up with zeros, whose products leave a sum as it is: none is ever -0.
            // SAFETY: elements from 0 to `used`.
            unsafe {
                let x = f32::load_some(x.wrapping_add(at), lanes);
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let weights = W::load_some(row.wrapping_add(at), lanes);
                    *sum = _mm256_add_ps(*sum, _mm256_mul_ps(weights, x));
                }
            }
            at = at.wrapping_add(LANES);
            continue;
        }
        while at.wrapping_add(LANES) <= end {
            // SAFETY: eight elements, and eight weights of each row, lie between 0 and `used`.
            unsafe {
                let x = _mm256_loadu_ps(x.add(at));
                for (sum, row) in sums.iter_mut().zip(rows) {
                    *sum = _mm256_add_ps(*sum, _mm256_mul_ps(W::load(row.add(at)), x));
                }
            }
            at = at.wrapping_add(LANES);
        }
    }
    if phase > 0 {
        // Only the lowest three bits count.
        let order = _mm256_add_epi32(
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
            _mm256_set1_epi32(phase as i32),
        );
        for sum in &mut sums {
            *sum = _mm256_permutevar8x32_ps(*sum, order);
        }
    }
    trees(sums)
}

/// Adds 16 products each of two rows to their sums, eight after eight.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_wide(sum: __m512, even: __m512, odd: __m512) -> __m512 {
    let first = _mm512_shuffle_f32x4::<0b01_00_01_00>(even, odd);
    let second = _mm512_shuffle_f32x4::<0b11_10_11_10>(even, odd);
    _mm512_add_ps(_mm512_add_ps(sum, first), second)
}

/// Adds the products of up to 16 elements from `at` on with eight rows. Elements that the mask
/// leaves out count as 0, whose products leave a sum as it is: none is ever -0.
///
/// # Safety
///
/// The processor has AVX-512; the elements that the mask sets are there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn add_products(
    sums: &mut [__m512; LANES / 2],
    rows: [*const f32; LANES],
    x: *const f32,
    at: usize,
    mask: u32,
) {
    let mask = mask as __mmask16;
    // SAFETY: what is asked of the caller.
    let load = |from: *const f32| unsafe { _mm512_maskz_loadu_ps(mask, from.wrapping_add(at)) };
    let x = load(x);
    for (sum, &[even, odd]) in sums.iter_mut().zip(rows.as_chunks::<2>().0) {
        *sum = add_wide(
            *sum,
            _mm512_mul_ps(load(even), x),
            _mm512_mul_ps(load(odd), x),
        );
    }
}

/// Eight rows of `f32` at a time, as many as there are, from whole lines of the cache: 16 weights
/// at a time, whose products are added in two steps. Returns how many rows are done.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot_rows_wide(
    weights: &[f32],
    columns: usize,
    x: &[f32],
    each: &mut impl FnMut(usize, &[f32; LANES]),
) -> usize {
    if columns == 0 {
        return 0;
    }
    let used = columns.min(x.len());
    let phase = if columns.is_multiple_of(WIDE) {
        (weights.as_ptr().addr() >> const { size_of::<f32>().trailing_zeros() }) % WIDE
    } else {
        0
    };
    // Elements are counted from `phase` before the row. Those of the first register, and of the
    // last one.
    let end = used.wrapping_add(phase);
    let last = end & (WIDE - 1);
    let first = below(end.min(WIDE)) & !below(phase);
    let mut index = 0_usize;
    for rows in weights.chunks_exact(columns.saturating_mul(LANES)) {
        let x = x.as_ptr().wrapping_sub(phase);
        let mut rows: [*const f32; LANES] = core::array::from_fn(|row| {
            let row = rows.as_ptr().wrapping_add(row.wrapping_mul(columns));
            row.wrapping_sub(phase)
        });
        hide(&mut rows);
        // Two rows in each: an even one in the lower half.
        let mut sums = [_mm512_setzero_ps(); LANES / 2];
        // SAFETY: the mask sets elements from 0 to `used`.
        unsafe { add_products(&mut sums, rows, x, 0, first) };
        let mut at = WIDE;
        while at.wrapping_add(WIDE) <= end {
            // SAFETY: 16 elements, and 16 weights of each row, lie between 0 and `used`.
            unsafe { add_products(&mut sums, rows, x, at, below(WIDE)) };
            at = at.wrapping_add(WIDE);
        }
        if at < end {
            // SAFETY: as above.
            unsafe { add_products(&mut sums, rows, x, at, below(last)) };
        }
        each(index, &trees_wide(sums, phase));
        index = index.wrapping_add(LANES);
    }
    index
}

/// [`trees`] of two rows in each register, whose partial sums begin at lane `phase` modulo 8.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn trees_wide([ab, cd, ef, gh]: [__m512; LANES / 2], phase: usize) -> [f32; LANES] {
    // Where the partial sums 0 to 3 of two pairs of rows lie; 4 to 7 lie four lanes further.
    let lane = _mm512_setr_epi32(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
    let row = _mm512_setr_epi32(0, 0, 0, 0, 8, 8, 8, 8, 16, 16, 16, 16, 24, 24, 24, 24);
    let lower = _mm512_add_epi32(lane, _mm512_set1_epi32(phase as i32));
    let upper = _mm512_add_epi32(lower, _mm512_set1_epi32(4));
    let seven = _mm512_set1_epi32(7);
    let lower = _mm512_or_si512(_mm512_and_si512(lower, seven), row);
    let upper = _mm512_or_si512(_mm512_and_si512(upper, seven), row);
    // `s0+s4` to `s3+s7` of four rows.
    let halves = |low: __m512, high: __m512| {
        _mm512_add_ps(
            _mm512_permutex2var_ps(low, lower, high),
            _mm512_permutex2var_ps(low, upper, high),
        )
    };
    let (x, y) = (halves(ab, cd), halves(ef, gh));
    // `t0+t2`, then `t1+t3`, of two rows.
    let quarters = _mm512_add_ps(_mm512_unpacklo_ps(x, y), _mm512_unpackhi_ps(x, y));
    let sums = _mm512_add_ps(quarters, _mm512_permute_ps::<0b01_00_11_10>(quarters));
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
    let sums = _mm512_castps512_ps256(_mm512_permutexvar_ps(order, sums));
    let mut array = [0.0; LANES];
    // SAFETY: eight numbers.
    unsafe { _mm256_storeu_ps(array.as_mut_ptr(), sums) };
    array
}

/// `((s0+s4) + (s2+s6)) + ((s1+s5) + (s3+s7))` of eight rows.
#[inline]
#[target_feature(enable = "avx2")]
fn trees([a, b, c, d, e, f, g, h]: [__m256; LANES]) -> [f32; LANES] {
    // Rows 0 to 3 in the lower halves, 4 to 7 in the upper ones: `s0+s4` to `s3+s7` of a row.
    let halves = |low: __m256, high: __m256| {
        _mm256_add_ps(
            _mm256_permute2f128_ps::<0x20>(low, high),
            _mm256_permute2f128_ps::<0x31>(low, high),
        )
    };
    // `t0+t2` of two rows, then `t1+t3`.
    let quarters =
        |x: __m256, y: __m256| _mm256_add_ps(_mm256_unpacklo_ps(x, y), _mm256_unpackhi_ps(x, y));
    let first = quarters(halves(a, e), halves(b, f));
    let second = quarters(halves(c, g), halves(d, h));
    let sums = _mm256_add_ps(
        _mm256_shuffle_ps::<0b01_00_01_00>(first, second),
        _mm256_shuffle_ps::<0b11_10_11_10>(first, second),
    );
    let mut array = [0.0; LANES];
    // SAFETY: eight numbers.
    unsafe { _mm256_storeu_ps(array.as_mut_ptr(), sums) };
    array
}

/// See [`portable::dot_rows`]: `each` gets adjacent products. `false` if nothing was done.
#[inline]
pub(crate) fn dot_rows<W: DenseWeight>(
    weights: &[W],
    columns: usize,
    x: &[f32],
    each: &mut impl FnMut(usize, &[f32]),
) -> bool {
    if Avx2::new().is_none() {
        return false;
    }
    let done = W::dot_rows_wide(weights, columns, x, &mut |index, sums| each(index, sums));
    let rest = weights.get(done.wrapping_mul(columns)..).unwrap_or(&[]);
    if !rest.is_empty() {
        // SAFETY: the token.
        unsafe { dot_rows_avx2(done, rest, columns, x, each) };
    }
    true
}

/// See [`multiply_dense_each`](crate::kernels::float::multiply_dense_each), without the scales.
/// `false` if nothing was done.
///
/// Groups of patches that stay in the nearest cache meet all weights, four rows at a time. They are
/// copied so that both are read from whole lines of the cache; which lane an element meets does not
/// depend on where the weights lie.
#[cfg(feature = "std")]
pub(crate) fn multiply_each<W: Eight>(
    weights: &[W],
    (rows, columns): (usize, usize),
    mut inputs: &[f32],
    mut outputs: &mut [f32],
) -> bool {
    const MOST: usize = 6;
    let sound = rows.checked_mul(columns) == Some(weights.len()) && !weights.is_empty();
    let Some(_) = Avx512Vnni::new().filter(|_| sound) else {
        return false;
    };
    let phase = if size_of::<W>() == size_of::<f32>() && columns.is_multiple_of(WIDE) {
        (weights.as_ptr().addr() >> const { size_of::<f32>().trailing_zeros() }) % WIDE
    } else {
        0
    };
    let stride = columns.wrapping_add(phase).next_multiple_of(WIDE);
    let mut near = std::vec![0.0_f32; stride.saturating_mul(MOST).saturating_add(WIDE)];
    let start = near
        .as_ptr()
        .align_offset(const { WIDE * size_of::<f32>() });
    let near = near.get_mut(start.min(WIDE)..).unwrap_or_default();
    macro_rules! groups {
        ($($patches:expr),+) => {$(
            while let Some((group, rest)) = inputs.split_at_checked(columns.wrapping_mul($patches))
                && let Some((products, free)) = core::mem::take(&mut outputs)
                    .split_at_mut_checked(rows.wrapping_mul($patches))
            {
                let copies = near.chunks_exact_mut(stride);
                for (near, patch) in copies.zip(group.chunks_exact(columns)) {
                    for (to, from) in near.iter_mut().skip(phase).zip(patch) {
                        *to = *from;
                    }
                }
                let shape = (columns, phase, stride);
                // SAFETY: the token; `rows` by `columns` weights, as many products for each patch,
                // and patches as they have to be.
                unsafe { multiply_group::<W, { $patches }>(weights, shape, near, products) };
                (inputs, outputs) = (rest, free);
            }
        )+};
    }
    groups!(MOST, 4, 1);
    true
}

/// Rows that a group of patches meets at a time.
#[cfg(feature = "std")]
const FOUR: usize = 4;

/// The products of all rows with `N` patches, by fused multiply-adds: element `i` goes to partial
/// sum `i mod 16`.
///
/// # Safety
///
/// The processor has AVX-512. `weights`: rows of `columns`; `inputs`: patches of so many elements,
/// `stride`, a multiple of 16, from one to the next, each from `phase`, below 16, on, and 0 around
/// it; `outputs`: as many products for each patch as there are rows.
#[cfg(feature = "std")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn multiply_group<W: Eight, const N: usize>(
    weights: &[W],
    (columns, phase, stride): (usize, usize, usize),
    inputs: &[f32],
    outputs: &mut [f32],
) {
    let all = outputs.len().checked_div(N).unwrap_or(0);
    let end = columns.wrapping_add(phase);
    // Partial sums of two rows, turned by the phase: those of even quarters, then of odd ones, the
    // rows by turns.
    let lane = _mm512_setr_epi32(0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13);
    let row = _mm512_setr_epi32(0, 16, 0, 16, 0, 16, 0, 16, 0, 16, 0, 16, 0, 16, 0, 16);
    let lower = _mm512_add_epi32(lane, _mm512_set1_epi32(phase as i32));
    let upper = _mm512_add_epi32(lower, _mm512_set1_epi32(2));
    let fifteen = _mm512_set1_epi32(15);
    let lower = _mm512_or_si512(_mm512_and_si512(lower, fifteen), row);
    let upper = _mm512_or_si512(_mm512_and_si512(upper, fifteen), row);
    let mut first = 0_usize;
    while first < all {
        let used = all.wrapping_sub(first).min(FOUR);
        // A row that is not there is the last one once more.
        let mut rows: [*const W; FOUR] = core::array::from_fn(|row| {
            let row = first.wrapping_add(row.min(used.wrapping_sub(1)));
            let row = weights.as_ptr().wrapping_add(row.wrapping_mul(columns));
            row.wrapping_sub(phase)
        });
        let mut patches: [*const f32; N] =
            core::array::from_fn(|patch| inputs.as_ptr().wrapping_add(patch.wrapping_mul(stride)));
        hide(&mut rows);
        hide(&mut patches);
        let mut sums = [[_mm512_setzero_ps(); FOUR]; N];
        let mask = below(end.min(WIDE)) & !below(phase);
        // SAFETY: the mask sets elements of the rows.
        unsafe { multiply_add(&mut sums, rows, patches, 0, mask) };
        let mut at = WIDE;
        while at.wrapping_add(WIDE) <= end {
            // SAFETY: 16 elements of the rows.
            unsafe { multiply_add(&mut sums, rows, patches, at, below(WIDE)) };
            at = at.wrapping_add(WIDE);
        }
        if at < end {
            // SAFETY: as many elements of the rows as the mask sets.
            unsafe { multiply_add(&mut sums, rows, patches, at, below(end.wrapping_sub(at))) };
        }
        for (patch, [a, b, c, d]) in sums.into_iter().enumerate() {
            let pairs = |x, y| {
                _mm512_add_ps(
                    _mm512_permutex2var_ps(x, lower, y),
                    _mm512_permutex2var_ps(x, upper, y),
                )
            };
            let (ab, cd) = (pairs(a, b), pairs(c, d));
            // In each 128 bits one of each row.
            let four = _mm512_add_ps(
                _mm512_shuffle_ps::<0b01_00_01_00>(ab, cd),
                _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd),
            );
            let four = _mm256_add_ps(
                _mm512_castps512_ps256(four),
                _mm512_castps512_ps256(_mm512_shuffle_f32x4::<0b11_10_11_10>(four, four)),
            );
            let four = _mm_add_ps(
                _mm256_castps256_ps128(four),
                _mm256_extractf128_ps::<1>(four),
            );
            let place = patch.wrapping_mul(all).wrapping_add(first);
            // SAFETY: as many products as the mask sets.
            unsafe {
                let place = outputs.as_mut_ptr().add(place);
                _mm_mask_storeu_ps(place, below(used) as __mmask8, four);
            }
        }
        first = first.wrapping_add(FOUR);
    }
}

/// # Safety
///
/// The processor has AVX-512; the weights from `at` on that the mask sets are there, and 16
/// elements of each patch.
#[cfg(feature = "std")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn multiply_add<W: Eight, const N: usize>(
    sums: &mut [[__m512; FOUR]; N],
    rows: [*const W; FOUR],
    patches: [*const f32; N],
    at: usize,
    mask: u32,
) {
    // SAFETY: what is asked of the caller.
    unsafe {
        let weights = rows.map(|row| W::load_wide(row.wrapping_add(at), mask as __mmask16));
        for (sums, patch) in sums.iter_mut().zip(patches) {
            let x = _mm512_loadu_ps(patch.wrapping_add(at));
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm512_fmadd_ps(weights, x, *sum);
            }
        }
    }
}
