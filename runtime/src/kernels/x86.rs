//! Float kernels for x86-64 with AVX2, and what the processor has.
//!
//! Every sum is added up in the order of [`portable`]: its eight partial sums are the lanes of a register, products and sums are rounded
//! one by one. Several rows at a time hide the latency of an addition.
//!
//! What is not written out here is the portable kernel, compiled for AVX2.

#![allow(unsafe_code)]

use core::arch::asm;
use core::arch::x86_64::*;

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

    /// How many weights `rows` lies behind a boundary of 32 bytes, if that is worth knowing: every second load from two lines of the
    /// cache costs a third of the time of a product.
    fn phase(rows: *const Self, columns: usize) -> usize;

    /// [`dot_eight_wide`], if it is there.
    ///
    /// # Safety
    ///
    /// As of [`dot_eight`].
    #[inline(always)]
    unsafe fn dot_eight_wide(
        _: *const Self,
        _: usize,
        _: *const f32,
        _: usize,
    ) -> Option<[f32; LANES]> {
        None
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

    #[inline(always)]
    fn phase(rows: *const Self, columns: usize) -> usize {
        if columns.is_multiple_of(LANES) {
            (rows.addr() >> const { size_of::<Self>().trailing_zeros() }) % LANES
        } else {
            0
        }
    }

    #[inline(always)]
    unsafe fn dot_eight_wide(
        rows: *const Self,
        columns: usize,
        x: *const f32,
        used: usize,
    ) -> Option<[f32; LANES]> {
        let _ = Avx512Vnni::new()?;
        // SAFETY: the token, and what is asked of the caller.
        Some(unsafe { dot_eight_wide(rows, columns, x, used) })
    }
}

/// Conversion takes longer than the loads.
macro_rules! converted {
    ($type:ty, |$weights:ident| $eight:expr) => {
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

            #[inline(always)]
            fn phase(_: *const Self, _: usize) -> usize {
                0
            }
        }
    };
}

converted!(i16, |weights| _mm256_cvtepi16_epi32(_mm_loadu_si128(
    weights.cast()
)));
converted!(i8, |weights| _mm256_cvtepi8_epi32(_mm_loadl_epi64(
    weights.cast()
)));

/// Partial sums of a row, and rows at a time.
const LANES: usize = 8;

/// See [`portable::dot_rows`].
#[inline]
#[target_feature(enable = "avx2")]
fn dot_rows_avx2<W: Eight>(
    weights: &[W],
    columns: usize,
    x: &[f32],
    each: &mut impl FnMut(usize, f32),
) {
    if columns == 0 {
        return;
    }
    let mut index = 0_usize;
    let used = columns.min(x.len());
    let groups = weights.chunks_exact(columns.saturating_mul(LANES));
    let rest = groups.remainder();
    for rows in groups {
        // SAFETY: eight rows of `columns` weights, of which the first `used` meet as many elements of `x`.
        let sums = unsafe {
            W::dot_eight_wide(rows.as_ptr(), columns, x.as_ptr(), used)
                .unwrap_or_else(|| dot_eight(rows.as_ptr(), columns, x.as_ptr(), used))
        };
        for sum in sums {
            each(index, sum);
            index = index.wrapping_add(1);
        }
    }
    for row in rest.chunks_exact(columns) {
        each(index, portable::dot(row, x));
        index = index.wrapping_add(1);
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
    for row in &mut rows {
        // SAFETY: no instruction at all. It hides how the rows lie to each other, so that each keeps its register: computed from one
        // another in the loop, they take ports from the additions.
        unsafe {
            asm!(
                "/* {0} */",
                inout(reg) * row,
                options(pure, readonly, nostack, preserves_flags)
            )
        };
    }
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

/// [`dot_eight`] for `f32`, whose time goes to the loads: from whole lines of the cache, 16 weights at a time, whose products are added
/// in two steps.
///
/// # Safety
///
/// The processor has AVX-512. `rows`: eight rows of `columns` weights; `used`, not above `columns`, elements in `x`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn dot_eight_wide(
    rows: *const f32,
    columns: usize,
    x: *const f32,
    used: usize,
) -> [f32; LANES] {
    const WIDE: usize = 2 * LANES;
    let phase = if columns.is_multiple_of(WIDE) {
        (rows.addr() >> const { size_of::<f32>().trailing_zeros() }) % WIDE
    } else {
        0
    };
    let below = |lane: usize| (1_u32 << lane).wrapping_sub(1);
    // Two rows in each: an even one in the lower half.
    let mut sums = [_mm512_setzero_ps(); LANES / 2];
    let (mut at, end) = (0_usize, used.wrapping_add(phase));
    let x = x.wrapping_sub(phase);
    let mut rows: [*const f32; LANES] = core::array::from_fn(|row| {
        rows.wrapping_add(row.wrapping_mul(columns))
            .wrapping_sub(phase)
    });
    for row in &mut rows {
        // SAFETY: as in `dot_eight`.
        unsafe {
            asm!(
                "/* {0} */",
                inout(reg) * row,
                options(pure, readonly, nostack, preserves_flags)
            )
        };
    }
    while at < end {
        let from = phase.saturating_sub(at);
        let to = end.wrapping_sub(at).min(WIDE);
        let mask = (below(to) & !below(from)) as __mmask16;
        if mask != __mmask16::MAX {
            // SAFETY: the mask sets elements from 0 to `used`; others are not read, and count as 0, whose products leave a sum as it is.
            unsafe {
                let x = _mm512_maskz_loadu_ps(mask, x.wrapping_add(at));
                for (sum, [even, odd]) in sums.iter_mut().zip(rows.as_chunks::<2>().0) {
                    let even = _mm512_maskz_loadu_ps(mask, even.wrapping_add(at));
                    let odd = _mm512_maskz_loadu_ps(mask, odd.wrapping_add(at));
                    *sum = add_wide(*sum, _mm512_mul_ps(even, x), _mm512_mul_ps(odd, x));
                }
            }
            at = at.wrapping_add(WIDE);
            continue;
        }
        // Apart, because a load with a mask takes a port from the additions.
        while at.wrapping_add(WIDE) <= end {
            // SAFETY: 16 elements, and 16 weights of each row, lie between 0 and `used`.
            unsafe {
                let x = _mm512_loadu_ps(x.add(at));
                for (sum, [even, odd]) in sums.iter_mut().zip(rows.as_chunks::<2>().0) {
                    let even = _mm512_mul_ps(_mm512_loadu_ps(even.add(at)), x);
                    let odd = _mm512_mul_ps(_mm512_loadu_ps(odd.add(at)), x);
                    *sum = add_wide(*sum, even, odd);
                }
            }
            at = at.wrapping_add(WIDE);
        }
    }
    // Only the lowest three bits count.
    let order = _mm256_add_epi32(
        _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
        _mm256_set1_epi32(phase as i32),
    );
    let mut eights = [_mm256_setzero_ps(); LANES];
    for ([even, odd], sum) in eights.as_chunks_mut::<2>().0.iter_mut().zip(sums) {
        *even = _mm256_permutevar8x32_ps(_mm512_castps512_ps256(sum), order);
        let upper = _mm512_castps512_ps256(_mm512_shuffle_f32x4::<0b11_10_11_10>(sum, sum));
        *odd = _mm256_permutevar8x32_ps(upper, order);
    }
    trees(eights)
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

/// See [`portable::dot_rows`]. `false` if nothing was done.
#[inline]
pub(crate) fn dot_rows<W: Eight>(
    weights: &[W],
    columns: usize,
    x: &[f32],
    each: &mut impl FnMut(usize, f32),
) -> bool {
    if Avx2::new().is_none() {
        return false;
    }
    // SAFETY: the token.
    unsafe { dot_rows_avx2(weights, columns, x, each) };
    true
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

/// Components that [`positive`] takes at a time.
pub(crate) const PART: usize = 64;

/// The components of a part that are greater than 0.
pub(crate) struct Positive {
    // Room for eight more: whole registers are stored.
    indices: [u16; PART + LANES],
    values: [f32; PART + LANES],
    count: usize,
}

impl Positive {
    pub(crate) const EMPTY: Self = Self {
        indices: [0; PART + LANES],
        values: [0.0; PART + LANES],
        count: 0,
    };

    pub(crate) fn indices(&self) -> &[u16] {
        self.indices.get(..self.count).unwrap_or(&[])
    }

    pub(crate) fn values(&self) -> &[f32] {
        self.values.get(..self.count).unwrap_or(&[])
    }
}

/// Finds the components of `dense`, at most [`PART`] of which the first is number `first`, that are greater than 0: without a branch for
/// each. `false` if nothing was done.
#[inline]
pub(crate) fn positive(dense: &[f32], first: u16, found: &mut Positive) -> bool {
    if Avx2::new().is_none() {
        return false;
    }
    // SAFETY: the token.
    unsafe { positive_avx2(dense, first, found) };
    true
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
                _mm256_storeu_ps(to_values.as_mut_ptr(), values);
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
