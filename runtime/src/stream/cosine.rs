//! The modified discrete cosine transform of a block of samples.

/// Samples of a block.
pub(super) const BLOCK: usize = 32;
/// Bands, equally wide, from 0 to half the sampling rate.
pub(super) const BANDS: usize = 16;

/// `sin(π(n + ½)/32)` for n from 0 to 7, and from 8 to 15.
pub(super) const RISE: [f32; 8] = [
    0.04906767, 0.14673047, 0.24298018, 0.33688986, 0.42755508, 0.51410276, 0.5956993, 0.671559,
];
pub(super) const TOP: [f32; 8] = [
    0.7409511, 0.8032075, 0.8577286, 0.9039893, 0.94154406, 0.97003126, 0.9891765, 0.99879545,
];
/// `RISE` and `TOP` in units of 2⁻¹⁴.
pub(super) const RISE_Q14: [i32; 8] = [804, 2404, 3981, 5520, 7005, 8423, 9760, 11003];
pub(super) const TOP_Q14: [i32; 8] = [12140, 13160, 14053, 14811, 15426, 15893, 16207, 16364];
/// `cos` and `sin` of `π(8n + 1)/128`.
const TURNS: [(f32, f32); 8] = [
    (0.9996988, 0.02454123),
    (0.9757021, 0.21910124),
    (0.9142098, 0.4052413),
    (0.8175848, 0.57580817),
    (0.68954057, 0.7242471),
    (0.53499764, 0.8448536),
    (0.35989505, 0.9329928),
    (0.17096189, 0.98527765),
];
/// `TURNS` in units of 2⁻¹¹.
const TURNS_Q11: [(i32, i32); 8] = [
    (2047, 50),
    (1998, 449),
    (1872, 830),
    (1674, 1179),
    (1412, 1483),
    (1096, 1730),
    (737, 1911),
    (350, 2018),
];
/// `TURNS` in units of 2⁻⁹.
const TURNS_Q9: [(i32, i32); 8] = [
    (512, 13),
    (500, 112),
    (468, 207),
    (419, 295),
    (353, 371),
    (274, 433),
    (184, 478),
    (88, 504),
];

/// A number that is transformed.
pub(super) trait Number: Copy {
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    /// Times `√½`.
    fn half_root(self) -> Self;
    /// `(re + i·im)·(cos − i·sin)` before the sums, by the `index`-th angle.
    fn turn_in(re: Self, im: Self, index: usize) -> (Self, Self);
    /// The same after the sums.
    fn turn_out(value: (Self, Self), index: usize) -> (Self, Self);
}

impl Number for f32 {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self - other
    }

    #[inline(always)]
    fn half_root(self) -> Self {
        self * core::f32::consts::FRAC_1_SQRT_2
    }

    #[inline(always)]
    fn turn_in(re: Self, im: Self, index: usize) -> (Self, Self) {
        let (cos, sin) = TURNS.get(index).copied().unwrap_or_default();
        (re * cos + im * sin, im * cos - re * sin)
    }

    #[inline(always)]
    fn turn_out((re, im): (Self, Self), index: usize) -> (Self, Self) {
        Self::turn_in(re, im, index)
    }
}

// Nothing wraps. Samples are at most 2¹⁵. Folded: √2·2¹⁵ and 3 bits after the point. A pair of
// them, as a complex number, turned: 2¹⁶ and 2 bits. The sum of eight: 2¹⁹ and 2 bits, which 2⁻⁹
// make 2³⁰.
impl Number for i32 {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.wrapping_sub(other)
    }

    #[inline(always)]
    fn half_root(self) -> Self {
        self.wrapping_mul(724).wrapping_add(1 << 9) >> 10
    }

    #[inline(always)]
    fn turn_in(re: Self, im: Self, index: usize) -> (Self, Self) {
        let (re, im) = turned(re, im, TURNS_Q11.get(index).copied().unwrap_or_default());
        (
            re.wrapping_add(1 << 11) >> 12,
            im.wrapping_add(1 << 11) >> 12,
        )
    }

    #[inline(always)]
    fn turn_out((re, im): (Self, Self), index: usize) -> (Self, Self) {
        let (re, im) = turned(re, im, TURNS_Q9.get(index).copied().unwrap_or_default());
        (re >> 1, im >> 1)
    }
}

#[inline(always)]
fn turned(re: i32, im: i32, (cos, sin): (i32, i32)) -> (i32, i32) {
    (
        re.wrapping_mul(cos).wrapping_add(im.wrapping_mul(sin)),
        im.wrapping_mul(cos).wrapping_sub(re.wrapping_mul(sin)),
    )
}

pub(super) type Complex<N> = (N, N);

#[inline(always)]
fn sum<N: Number>(a: Complex<N>, b: Complex<N>) -> Complex<N> {
    (a.0.plus(b.0), a.1.plus(b.1))
}

#[inline(always)]
fn difference<N: Number>(a: Complex<N>, b: Complex<N>) -> Complex<N> {
    (a.0.minus(b.0), a.1.minus(b.1))
}

/// `a − i·b`
#[inline(always)]
fn minus_i<N: Number>(a: Complex<N>, b: Complex<N>) -> Complex<N> {
    (a.0.plus(b.1), a.1.minus(b.0))
}

/// `a + i·b`
#[inline(always)]
fn plus_i<N: Number>(a: Complex<N>, b: Complex<N>) -> Complex<N> {
    (a.0.minus(b.1), a.1.plus(b.0))
}

/// The discrete Fourier transform of four numbers.
#[inline(always)]
fn fourier<N: Number>(z: [Complex<N>; 4]) -> [Complex<N>; 4] {
    let [z0, z1, z2, z3] = z;
    let (even, odd) = (sum(z0, z2), sum(z1, z3));
    let (even_less, odd_less) = (difference(z0, z2), difference(z1, z3));
    [
        sum(even, odd),
        minus_i(even_less, odd_less),
        difference(even, odd),
        plus_i(even_less, odd_less),
    ]
}

/// The discrete cosine transform of type IV, `Σ u[n]·cos(π(n + ½)(k + ½)/16)`: for k from 0 to 7
/// the elements 2k and (negative) 15 − 2k. Eight complex numbers, turned before and after their
/// Fourier transform (Duhamel, Mahieux & Petit 1991).
#[inline(always)]
pub(super) fn cosines<N: Number>(u: &[N; BANDS]) -> [Complex<N>; 8] {
    let [
        u0,
        u1,
        u2,
        u3,
        u4,
        u5,
        u6,
        u7,
        u8,
        u9,
        u10,
        u11,
        u12,
        u13,
        u14,
        u15,
    ] = *u;
    let (z0, z4) = (N::turn_in(u0, u15, 0), N::turn_in(u8, u7, 4));
    let (z1, z5) = (N::turn_in(u2, u13, 1), N::turn_in(u10, u5, 5));
    let (z2, z6) = (N::turn_in(u4, u11, 2), N::turn_in(u12, u3, 6));
    let (z3, z7) = (N::turn_in(u6, u9, 3), N::turn_in(u14, u1, 7));
    let [y0, y2, y4, y6] = fourier([sum(z0, z4), sum(z1, z5), sum(z2, z6), sum(z3, z7)]);
    // Times exp(−iπk/4).
    let (one, three) = (difference(z1, z5), difference(z3, z7));
    let one = (
        one.0.plus(one.1).half_root(),
        one.1.minus(one.0).half_root(),
    );
    let less_three = (
        three.0.minus(three.1).half_root(),
        three.0.plus(three.1).half_root(),
    );
    let (zero, two) = (difference(z0, z4), difference(z2, z6));
    // The elements 2 and 3 times i and −1: their sums and differences are exchanged for that.
    let (even, even_less) = (minus_i(zero, two), plus_i(zero, two));
    let (odd, odd_less) = (difference(one, less_three), sum(one, less_three));
    let [y1, y5] = [sum(even, odd), difference(even, odd)];
    let [y3, y7] = [minus_i(even_less, odd_less), plus_i(even_less, odd_less)];
    let turn = N::turn_out;
    [
        turn(y0, 0),
        turn(y1, 1),
        turn(y2, 2),
        turn(y3, 3),
        turn(y4, 4),
        turn(y5, 5),
        turn(y6, 6),
        turn(y7, 7),
    ]
}

/// Folds a windowed block of 32 to 16 numbers, whose cosine transform is the modified discrete
/// cosine transform of the block (Princen, Johnson & Bradley 1987).
#[inline(always)]
pub(super) fn fold<T: Copy, W: Copy, N: Copy + Default>(
    block: &[T; BLOCK],
    (rise, top): (&[W; 8], &[W; 8]),
    weigh: impl Fn((W, T), (W, T), bool) -> N,
) -> [N; BANDS] {
    let mut folded = [N::default(); BANDS];
    let ([a, b, c, d], []) = block.as_chunks::<8>() else {
        return folded;
    };
    let (first, second) = folded.split_at_mut(8);
    let late = top.iter().zip(c.iter().rev()).zip(rise.iter().rev().zip(d));
    for (place, ((w, x), (v, y))) in first.iter_mut().zip(late) {
        *place = weigh((*w, *x), (*v, *y), true);
    }
    let early = rise.iter().zip(a).zip(top.iter().rev().zip(b.iter().rev()));
    for (place, ((w, x), (v, y))) in second.iter_mut().zip(early) {
        *place = weigh((*w, *x), (*v, *y), false);
    }
    folded
}
