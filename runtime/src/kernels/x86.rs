//! Float kernels for x86-64 with AVX2, and what the processor has.
//!
//! Every sum is added up in the order of [`portable`]: its eight partial sums are the lanes of a register, products and sums are rounded
//! one by one. Several rows at a time hide the latency of an addition.
//!
//! What is not written out here is the portable kernel, compiled for AVX2.

#![allow(unsafe_code)]

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::level::{BASELINE, level};
use super::portable::{self, Weight};

const AVX2: u8 = 2;
const AVX512_VNNI: u8 = 3;

/// Without `std` the processor is not asked: what the compiler was told it has, counts.
pub(super) fn detect() -> u8 {
    #[cfg(any(feature = "std", test))]
    macro_rules! has {
        ($($feature:tt),+) => { $(std::is_x86_feature_detected!($feature))&&+ };
    }
    #[cfg(not(any(feature = "std", test)))]
    macro_rules! has {
        ($($feature:tt),+) => { $(cfg!(target_feature = $feature))&&+ };
    }
    if !has!("avx2", "popcnt") {
        BASELINE
    } else if has!("avx512f", "avx512bw", "avx512vl", "avx512vnni") {
        AVX512_VNNI
    } else {
        AVX2
    }
}

/// The processor has AVX2 and POPCNT.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx2 {
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        (level() >= AVX2).then_some(Self(()))
    }
}

/// The processor has AVX-512 with F, BW, VL and VNNI, and what [`Avx2`] says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512Vnni(());

impl Avx512Vnni {
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        (level() >= AVX512_VNNI).then_some(Self(()))
    }
}

/// Lanes of a register, from one to before another.
#[derive(Clone, Copy)]
pub(crate) struct Lanes {
    from: usize,
    to: usize,
}

impl Lanes {
    /// -1 in these lanes, 0 in the others.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn mask(self) -> __m256i {
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let before = _mm256_cmpgt_epi32(_mm256_set1_epi32(self.from as i32), lane);
        let within = _mm256_cmpgt_epi32(_mm256_set1_epi32(self.to as i32), lane);
        _mm256_andnot_si256(before, within)
    }
}

/// Weights that can be read eight at a time.
pub(crate) trait Eight: Weight {
    /// Eight weights, without their scale.
    ///
    /// # Safety
    ///
    /// The processor has AVX2, and there are eight weights.
    unsafe fn load(weights: *const Self) -> __m256;

    /// The weights in some lanes of eight, and 0 in the others.
    ///
    /// # Safety
    ///
    /// The processor has AVX2, and the weights of these lanes are there.
    unsafe fn load_some(weights: *const Self, lanes: Lanes) -> __m256;

    /// Sixteen weights, of which those that the mask leaves out are 0 and not read, without their scale.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512, and the weights that the mask sets are there.
    #[cfg(feature = "std")]
    unsafe fn load_wide(weights: *const Self, mask: __mmask16) -> __m512;

    /// How many weights `rows` lies behind a boundary of 32 bytes, if that is worth knowing: every second load from two lines of the
    /// cache costs a third of the time of a product.
    fn phase(rows: *const Self, columns: usize) -> usize;

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

    /// [`add_code`], if it is there.
    #[inline(always)]
    fn add_code(_: &[Self], _: usize, _: (&[u16], &[f32]), _: &[f32], _: &mut [f32]) -> bool {
        false
    }
}

impl Eight for f32 {
    #[inline(always)]
    unsafe fn load(weights: *const Self) -> __m256 {
        // SAFETY: what is asked of the caller.
        unsafe { _mm256_loadu_ps(weights) }
    }

    #[inline(always)]
    unsafe fn load_some(weights: *const Self, lanes: Lanes) -> __m256 {
        // SAFETY: what is asked of the caller; the others are not read.
        unsafe { _mm256_maskload_ps(weights, lanes.mask()) }
    }

    #[cfg(feature = "std")]
    #[inline(always)]
    unsafe fn load_wide(weights: *const Self, mask: __mmask16) -> __m512 {
        // SAFETY: what is asked of the caller.
        unsafe { _mm512_maskz_loadu_ps(mask, weights) }
    }

    #[inline(always)]
    fn phase(rows: *const Self, columns: usize) -> usize {
        if columns.is_multiple_of(LANES) {
            (rows.addr() >> const { size_of::<Self>().trailing_zeros() }) % LANES
        } else {
            0
        }
    }

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

    #[inline(always)]
    fn add_code(
        weights: &[Self],
        columns: usize,
        code: (&[u16], &[f32]),
        drive: &[f32],
        output: &mut [f32],
    ) -> bool {
        // SAFETY: the token.
        Avx512Vnni::new().is_some()
            && unsafe { add_code_wide(weights, columns, code, drive, output) }
    }
}

/// Conversion takes longer than the loads.
macro_rules! converted {
    ($type:ty, |$weights:ident| $eight:expr, |$wide:ident, $mask:ident| $sixteen:expr) => {
        impl Eight for $type {
            #[inline(always)]
            unsafe fn load($weights: *const Self) -> __m256 {
                // SAFETY: what is asked of the caller.
                unsafe { _mm256_cvtepi32_ps($eight) }
            }

            #[inline(always)]
            unsafe fn load_some(weights: *const Self, lanes: Lanes) -> __m256 {
                let mut eight = [0; LANES];
                for (lane, to) in eight.iter_mut().enumerate() {
                    if lanes.from <= lane && lane < lanes.to {
                        // SAFETY: what is asked of the caller.
                        *to = unsafe { weights.wrapping_add(lane).read() };
                    }
                }
                // SAFETY: eight weights.
                unsafe { Self::load(eight.as_ptr()) }
            }

            #[cfg(feature = "std")]
            #[inline(always)]
            unsafe fn load_wide($wide: *const Self, $mask: __mmask16) -> __m512 {
                // SAFETY: what is asked of the caller.
                unsafe { _mm512_cvtepi32_ps($sixteen) }
            }

            #[inline(always)]
            fn phase(_: *const Self, _: usize) -> usize {
                0
            }
        }
    };
}

converted!(
    i16,
    |weights| _mm256_cvtepi16_epi32(_mm_loadu_si128(weights.cast())),
    |weights, mask| _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(mask, weights))
);
converted!(
    i8,
    |weights| _mm256_cvtepi8_epi32(_mm_loadl_epi64(weights.cast())),
    |weights, mask| _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, weights))
);

/// Partial sums of a row, and rows at a time.
const LANES: usize = 8;

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
        // SAFETY: eight rows of `columns` weights, of which the first `used` meet as many elements of `x`.
        let sums = unsafe { dot_eight(rows.as_ptr(), columns, x.as_ptr(), used) };
        each(index, &sums);
        index = index.wrapping_add(LANES);
    }
    for row in rest.chunks_exact(columns) {
        each(index, &[portable::dot(row, x)]);
        index = index.wrapping_add(1);
    }
}

/// Hides how rows lie to each other, so that each keeps its register: computed from one another in a loop, they take ports from the
/// additions.
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
/// Lane `i` holds the partial sum of elements `i − phase` modulo 8, so that the weights are read from whole lines of the cache.
///
/// # Safety
///
/// The processor has AVX2. `rows`: eight rows of `columns` weights; `used`, not above `columns`, elements in `x`.
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

/// Adds the products of up to 16 elements from `at` on with eight rows. Elements that the mask leaves out count as 0, whose products leave
/// a sum as it is: none is ever -0.
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

/// Eight rows of `f32` at a time, as many as there are, from whole lines of the cache: 16 weights at a time, whose products are added in
/// two steps. Returns how many rows are done.
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
    // Elements are counted from `phase` before the row. Those of the first register, and of the last one.
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
pub(crate) fn dot_rows<W: Eight>(
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

/// See [`multiply_dense_each`](super::multiply_dense_each), without the scales. `false` if nothing was done.
///
/// Groups of patches that stay in the nearest cache meet all weights, four rows at a time. They are copied so that both are read from
/// whole lines of the cache; which lane an element meets does not depend on where the weights lie.
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
                // SAFETY: the token; `rows` by `columns` weights, as many products for each patch, and patches as they have to be.
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

/// The products of all rows with `N` patches, by fused multiply-adds: element `i` goes to partial sum `i mod 16`.
///
/// # Safety
///
/// The processor has AVX-512. `weights`: rows of `columns`; `inputs`: patches of so many elements, `stride`, a multiple of 16, from one
/// to the next, each from `phase`, below 16, on, and 0 around it; `outputs`: as many products for each patch as there are rows.
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
    // Partial sums of two rows, turned by the phase: those of even quarters, then of odd ones, the rows by turns.
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
/// The processor has AVX-512; the weights from `at` on that the mask sets are there, and 16 elements of each patch.
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

/// Compiles a portable kernel for AVX2 as well: one pass over independent sums, which the compiler vectorises in their order.
macro_rules! vectorised {
    ($(#[$documentation:meta])* $name:ident, $inner:ident, ($($argument:ident: $type:ty),*), $body:expr $(, $weight:ident)?) => {
        $(#[$documentation])*
        #[inline]
        pub(crate) fn $name$(<$weight: Weight>)?($($argument: $type),*) -> bool {
            #[target_feature(enable = "avx2")]
            fn $inner$(<$weight: Weight>)?($($argument: $type),*) {
                $body
            }
            if Avx2::new().is_none() {
                return false;
            }
            // SAFETY: the token.
            unsafe { $inner($($argument),*) };
            true
        }
    };
}

vectorised!(
    /// See [`portable::add_rows`]. `false` if nothing was done.
    add_rows, inner,
    (weights: &[W], columns: usize, entries: &mut dyn Iterator<Item = (usize, f32)>, sum: &mut [f32]),
    portable::add_rows(weights, columns, entries, sum),
    W
);
vectorised!(
    /// See [`portable::add_row`]. `false` if nothing was done.
    add_row, inner,
    (row: &[f32], value: f32, sum: &mut [f32]),
    portable::add_row(row, value, sum)
);
vectorised!(
    /// See [`portable::multiply_symmetric`]. `false` if nothing was done.
    multiply_symmetric, inner,
    (matrix: &[f32], x: &[f32], support: &[u16], product: &mut [f32]),
    portable::multiply_symmetric_tiled::<64>(matrix, x, support, product)
);

/// See [`add_code`](super::add_code). `false` if nothing was done.
pub(crate) fn add_code<W: Eight>(
    weights: &[W],
    columns: usize,
    code: (&[u16], &[f32]),
    drive: &[f32],
    output: &mut [f32],
) -> bool {
    W::add_code(weights, columns, code, drive, output)
}

/// Columns whose sums are kept in registers.
const TILE: usize = 128;

/// Lanes of a wide register.
const WIDE: usize = 2 * LANES;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_code_wide(
    weights: &[f32],
    columns: usize,
    code: (&[u16], &[f32]),
    drive: &[f32],
    output: &mut [f32],
) -> bool {
    let count = columns.min(drive.len()).min(output.len());
    let shape = (weights.len().checked_div(columns).unwrap_or(0), columns);
    let mut first = 0_usize;
    while first < count {
        let used = count.wrapping_sub(first).min(TILE);
        // SAFETY: as many columns of the rows, of the drive and of the output.
        unsafe {
            let weights = weights.as_ptr().wrapping_add(first);
            let (drive, output) = (drive.as_ptr().add(first), output.as_mut_ptr().add(first));
            if used == TILE {
                add_tile::<{ TILE / WIDE }>(weights, shape, code, drive, output, __mmask16::MAX);
            } else {
                for lane in (0..used).step_by(WIDE) {
                    let mask = below(used.wrapping_sub(lane).min(WIDE)) as __mmask16;
                    let (drive, output) = (drive.add(lane), output.add(lane));
                    add_tile::<1>(weights.wrapping_add(lane), shape, code, drive, output, mask);
                }
            }
        }
        first = first.wrapping_add(TILE);
    }
    true
}

/// The lowest lanes.
#[inline(always)]
fn below(lane: usize) -> u32 {
    (1_u32 << lane).wrapping_sub(1)
}

/// `output = drive + Σ value · row` for `N` registers of columns, of which the mask says what is there.
///
/// # Safety
///
/// The processor has AVX-512. `weights`: as many numbers in each of the rows, `columns` from one to the next; as many in `drive` and
/// `output`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn add_tile<const N: usize>(
    weights: *const f32,
    (rows, columns): (usize, usize),
    (indices, values): (&[u16], &[f32]),
    drive: *const f32,
    output: *mut f32,
    mask: __mmask16,
) {
    let mut sums = [_mm512_setzero_ps(); N];
    for (&k, &value) in indices.iter().zip(values) {
        let k = usize::from(k);
        if k >= rows {
            continue;
        }
        let value = _mm512_set1_ps(value);
        let row = weights.wrapping_add(k.wrapping_mul(columns));
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: what is asked of the caller.
            let row = unsafe { _mm512_maskz_loadu_ps(mask, row.add(i.wrapping_mul(WIDE))) };
            *sum = _mm512_add_ps(*sum, _mm512_mul_ps(value, row));
        }
    }
    for (i, sum) in sums.into_iter().enumerate() {
        // SAFETY: what is asked of the caller.
        unsafe {
            let drive = _mm512_maskz_loadu_ps(mask, drive.add(i.wrapping_mul(WIDE)));
            let sum = _mm512_add_ps(sum, drive);
            _mm512_mask_storeu_ps(output.add(i.wrapping_mul(WIDE)), mask, sum);
        }
    }
}

/// Components that [`positive`] takes at a time.
pub(crate) const PART: usize = 128;

/// The components of a part that are greater than 0.
pub(crate) struct Positive {
    // Room for more: whole registers are stored.
    indices: [MaybeUninit<u16>; PART + WIDE],
    values: [MaybeUninit<f32>; PART + WIDE],
    /// How many of both are there.
    count: usize,
}

impl Positive {
    pub(crate) const EMPTY: Self = Self {
        indices: [MaybeUninit::uninit(); PART + WIDE],
        values: [MaybeUninit::uninit(); PART + WIDE],
        count: 0,
    };

    pub(crate) fn indices(&self) -> &[u16] {
        let found = self.indices.get(..self.count).unwrap_or(&[]);
        // SAFETY: so many were written.
        unsafe { core::slice::from_raw_parts(found.as_ptr().cast(), found.len()) }
    }

    pub(crate) fn values(&self) -> &[f32] {
        let found = self.values.get(..self.count).unwrap_or(&[]);
        // SAFETY: so many were written.
        unsafe { core::slice::from_raw_parts(found.as_ptr().cast(), found.len()) }
    }
}

/// Finds the components of `dense`, at most [`PART`] of which the first is number `first`, that are greater than 0: without a branch for
/// each. `false` if nothing was done.
#[inline]
pub(crate) fn positive(dense: &[f32], first: u16, found: &mut Positive) -> bool {
    if Avx512Vnni::new().is_some() {
        // SAFETY: the token.
        unsafe { positive_avx512(dense, first, found) };
    } else if Avx2::new().is_some() {
        // SAFETY: the token.
        unsafe { positive_avx2(dense, first, found) };
    } else {
        return false;
    }
    true
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,popcnt")]
fn positive_avx512(dense: &[f32], first: u16, found: &mut Positive) {
    found.count = 0;
    let mut index = _mm512_add_epi32(
        _mm512_set1_epi32(first.into()),
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    );
    for some in dense.chunks(WIDE) {
        // SAFETY: as many numbers; others are 0.
        let values =
            unsafe { _mm512_maskz_loadu_ps(below(some.len()) as __mmask16, some.as_ptr()) };
        let active = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(values, _mm512_setzero_ps());
        let free = (
            found.indices.get_mut(found.count..),
            found.values.get_mut(found.count..),
        );
        if let (Some(to_indices), Some(to_values)) = free
            && let Some(to_indices) = to_indices.first_chunk_mut::<WIDE>()
            && let Some(to_values) = to_values.first_chunk_mut::<WIDE>()
        {
            let indices = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(active, index));
            // SAFETY: 16 numbers of 16 bits, and 16 of 32.
            unsafe {
                _mm256_storeu_si256(to_indices.as_mut_ptr().cast(), indices);
                _mm512_storeu_ps(
                    to_values.as_mut_ptr().cast(),
                    _mm512_maskz_compress_ps(active, values),
                );
            }
            found.count = found.count.wrapping_add(active.count_ones() as usize);
        }
        index = _mm512_add_epi32(index, _mm512_set1_epi32(16));
    }
}

#[target_feature(enable = "avx2,popcnt")]
fn positive_avx2(dense: &[f32], first: u16, found: &mut Positive) {
    found.count = 0;
    let (eights, rest) = dense.as_chunks::<LANES>();
    let mut index = _mm256_add_epi32(
        _mm256_set1_epi32(first.into()),
        _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
    );
    let mut last = [0.0; LANES];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    for eight in eights.iter().chain((!rest.is_empty()).then_some(&last)) {
        // SAFETY: eight numbers.
        let values = unsafe { _mm256_loadu_ps(eight.as_ptr()) };
        let active = _mm256_cmp_ps::<_CMP_GT_OQ>(values, _mm256_setzero_ps());
        let set = _mm256_movemask_ps(active) as usize & 0xff;
        let order = to_front(set);
        let values = _mm256_permutevar8x32_ps(values, order);
        let indices = _mm256_permutevar8x32_epi32(index, order);
        let indices = _mm_packus_epi32(
            _mm256_castsi256_si128(indices),
            _mm256_extracti128_si256::<1>(indices),
        );
        let free = (
            found.indices.get_mut(found.count..),
            found.values.get_mut(found.count..),
        );
        if let (Some(to_indices), Some(to_values)) = free
            && let Some(to_indices) = to_indices.first_chunk_mut::<LANES>()
            && let Some(to_values) = to_values.first_chunk_mut::<LANES>()
        {
            // SAFETY: eight numbers of 16 bits, and eight of 32.
            unsafe {
                _mm_storeu_si128(to_indices.as_mut_ptr().cast(), indices);
                _mm256_storeu_ps(to_values.as_mut_ptr().cast(), values);
            }
            found.count = found.count.wrapping_add(set.count_ones() as usize);
        }
        index = _mm256_add_epi32(index, _mm256_set1_epi32(8));
    }
}

/// For each set of lanes the order that brings them to the front.
#[allow(clippy::indexing_slicing, reason = "when this crate is compiled")]
pub(crate) static TO_FRONT: [[u8; LANES]; 256] = {
    let mut table = [[0; LANES]; 256];
    let mut set = 0;
    while set < 256 {
        let (mut lane, mut count) = (0, 0);
        while lane < LANES {
            if set >> lane & 1 == 1 {
                table[set][count] = lane as u8;
                count += 1;
            }
            lane += 1;
        }
        set += 1;
    }
    table
};

/// The order of lanes that brings those of `set`, below 256, to the front.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn to_front(set: usize) -> __m256i {
    let order = TO_FRONT.get(set).unwrap_or(&[0; LANES]);
    // SAFETY: eight bytes.
    _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(order.as_ptr().cast()) })
}
