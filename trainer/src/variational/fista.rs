//! FISTA on whole batches, the method that the variational ones are compared with.

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;
use sparsecode_formats::CodeSign;

use super::deterministic::Answer;
use super::objective::{Dictionary, dot};

/// Codes that FISTA (Beck & Teboulle 2009) finds for a batch: `min ½‖x − A z‖² + τ‖z‖₁`, over all
/// codes or over those without a negative component.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchFista {
    /// Which codes there are.
    pub sign: CodeSign,
    /// τ, what sparsity weighs.
    pub sparsity: f64,
    /// It ends when the codes of the whole batch change by no more, relative to themselves.
    pub tolerance: f64,
    /// At most so many iterations.
    pub most: usize,
}

/// What FISTA found.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchCodes {
    /// `inputs × code_dim`.
    pub codes: Vec<f64>,
    /// Iterations made.
    pub iterations: usize,
}

/// `‖A‖²`, the largest eigenvalue of the atoms' Gram matrix, by power iteration. The atoms lie one
/// after the other, `code_dim × input_dim`. Relative error at most 1e-12 unless two eigenvalues are
/// closer than that allows.
pub fn lipschitz(atoms: &[f64], input_dim: usize) -> f64 {
    let gram = gram(atoms, input_dim);
    let count = atoms.len() / input_dim.max(1);
    let mut vector: Vec<f64> = (0..count)
        .map(|i| 1.0 + (i as f64 * 0.618).fract())
        .collect();
    let (mut value, mut next) = (0.0, vec![0.0; count]);
    for _ in 0..100_000 {
        for (next, row) in next.iter_mut().zip(gram.chunks_exact(count)) {
            *next = dot(row, &vector);
        }
        let norm = next.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm == 0.0 {
            return 0.0;
        }
        next.iter_mut().for_each(|x| *x /= norm);
        std::mem::swap(&mut vector, &mut next);
        if (norm - value).abs() <= 1e-15 * norm {
            return norm;
        }
        value = norm;
    }
    value
}

/// AᵀA, `code_dim × code_dim`.
fn gram(atoms: &[f64], input_dim: usize) -> Vec<f64> {
    let rows = || atoms.chunks_exact(input_dim.max(1));
    rows()
        .flat_map(|a| rows().map(move |b| dot(a, b)))
        .collect()
}

/// Inputs that go through an iteration one after the other, so that what they need stays near.
const TOGETHER: usize = 8;

/// `products = points · gram`, row by row. Components that are 0 cost nothing; the others go four
/// at a time.
struct Multiply<'a> {
    products: &'a mut [f64],
    points: &'a [f64],
    gram: &'a [f64],
    count: usize,
    /// Components of a row that are not 0.
    active: &'a mut Vec<usize>,
}

impl NullaryFnOnce for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self {
            products,
            points,
            gram,
            count,
            active,
        } = self;
        let row = |unit: usize| &gram[unit * count..][..count];
        let rows = products.chunks_exact_mut(count);
        for (sums, point) in rows.zip(points.chunks_exact(count)) {
            active.clear();
            for (unit, value) in point.iter().enumerate() {
                if *value != 0.0 {
                    active.push(unit);
                }
            }
            sums.fill(0.0);
            let (fours, rest) = active.as_chunks::<4>();
            for four in fours {
                let [a, b, c, d] = four.map(row);
                let [p, q, r, s] = four.map(|unit| point[unit]);
                let rows = a.iter().zip(b).zip(c).zip(d);
                for (sum, (((a, b), c), d)) in sums.iter_mut().zip(rows) {
                    *sum = *sum + p * a + q * b + r * c + s * d;
                }
            }
            for unit in rest {
                let value = point[*unit];
                for (sum, g) in sums.iter_mut().zip(row(*unit)) {
                    *sum += value * g;
                }
            }
        }
    }
}

/// What happens to each component in an iteration.
#[derive(Clone, Copy)]
struct Shrinkage {
    step: f64,
    /// What the change of a code counts in the next point.
    carry: f64,
    /// What a component loses: itself between these two, and else the nearer one.
    upper: f64,
    lower: f64,
}

/// Codes and points of an iteration, with `drive = Aᵀ x` and `products = AᵀA · points`. Its output
/// are the square sums of changes and of the codes before.
struct Advance<'a> {
    codes: &'a mut [f64],
    points: &'a mut [f64],
    drive: &'a [f64],
    products: &'a [f64],
    shrinkage: Shrinkage,
}

impl NullaryFnOnce for Advance<'_> {
    type Output = [f64; 2];

    #[inline(always)]
    fn call(self) -> [f64; 2] {
        let Shrinkage {
            step,
            carry,
            upper,
            lower,
        } = self.shrinkage;
        let one = |code: &mut f64, point: &mut f64, drive: f64, product: f64| {
            let target = *point + step * (drive - product);
            let next = target - target.max(lower).min(upper);
            let (change, before) = (next - *code, *code);
            *point = next + carry * change;
            *code = next;
            [change * change, before * before]
        };
        // In eight partial sums, which a processor adds at once.
        let mut sums = [[0.0; 8]; 2];
        let (codes, codes_left) = self.codes.as_chunks_mut::<8>();
        let (points, points_left) = self.points.as_chunks_mut::<8>();
        let (drive, drive_left) = self.drive.as_chunks::<8>();
        let (products, products_left) = self.products.as_chunks::<8>();
        let rows = codes.iter_mut().zip(points);
        for ((codes, points), (drive, products)) in rows.zip(drive.iter().zip(products)) {
            for i in 0..8 {
                let [moved, norm] = one(&mut codes[i], &mut points[i], drive[i], products[i]);
                sums[0][i] += moved;
                sums[1][i] += norm;
            }
        }
        let rows = codes_left.iter_mut().zip(points_left);
        for ((code, point), (drive, product)) in rows.zip(drive_left.iter().zip(products_left)) {
            let [moved, norm] = one(code, point, *drive, *product);
            sums[0][0] += moved;
            sums[1][0] += norm;
        }
        sums.map(|sums| sums.iter().sum())
    }
}

/// What FISTA knows of a dictionary.
struct Problem<'a> {
    atoms: &'a [f64],
    input_dim: usize,
    gram: Vec<f64>,
    step: f64,
}

impl<'a> Problem<'a> {
    fn new(atoms: &'a [f64], input_dim: usize) -> Self {
        Self {
            atoms,
            input_dim,
            gram: gram(atoms, input_dim),
            step: 1.0 / lipschitz(atoms, input_dim),
        }
    }
}

/// The answer of FISTA's codes that has the share `active` of components that are not 0, on the
/// atoms scaled to norm 1, with the τ that it takes. τ is found by bisection, to 0.5 % of the share
/// or as far as 40 halvings come. A share that no τ from 1e-5 of the largest correlation has gives
/// the answer of the smallest one.
///
/// ```
/// use sparsecode_formats::CodeSign;
/// use sparsecode_trainer::variational::{Dictionary, fista_of_activity};
///
/// // Two atoms that are orthonormal once they are scaled: half of the components are two of four.
/// let dictionary = Dictionary::new(vec![2.0, 0.0, 0.0, 0.5], 2);
/// let inputs = [3.0, 1.0, -1.0, -5.0];
/// let (sparsity, answer) = fista_of_activity(&dictionary, &inputs, CodeSign::Signed, 0.5);
/// assert_eq!(answer.active, 0.5);
/// assert!(sparsity > 1.0 && sparsity < 3.0);
/// // The two others are lost, and the two that are kept are smaller by τ.
/// let expected = (2.0 + 2.0 * sparsity * sparsity) / 4.0;
/// assert!((answer.error - expected).abs() < 1e-9);
/// ```
pub fn fista_of_activity(
    dictionary: &Dictionary,
    inputs: &[f32],
    sign: CodeSign,
    active: f64,
) -> (f64, Answer) {
    let pixels = dictionary.input_dim();
    let atoms = dictionary.atoms().chunks_exact(pixels);
    let atoms = atoms.flat_map(|atom| {
        let norm = atom.iter().map(|a| a * a).sum::<f64>().sqrt();
        let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
        atom.iter().map(move |a| scale * a)
    });
    let scaled = Dictionary::new(atoms.collect(), pixels);
    let problem = Problem::new(scaled.atoms(), pixels);
    let inputs: Vec<f64> = inputs.iter().map(|x| f64::from(*x)).collect();
    let at = |sparsity: f64| {
        let fista = BatchFista {
            sign,
            sparsity,
            tolerance: 1e-4,
            most: 1000,
        };
        fista.answer(&problem, &scaled, &inputs)
    };
    let largest = inputs.chunks_exact(pixels).flat_map(|x| {
        let atoms = scaled.atoms().chunks_exact(pixels);
        atoms.map(move |atom| dot(atom, x).abs())
    });
    let largest = largest.fold(0.0, f64::max);
    // Codes that are too dense cost most: downwards from those without a component.
    let (mut low, mut high) = (0.5 * largest, largest);
    let mut found = (low, at(low));
    while found.1.active < active {
        if low < 1e-5 * largest {
            return found;
        }
        (low, high) = (0.5 * low, low);
        found = (low, at(low));
    }
    for _ in 0..40 {
        if (found.1.active - active).abs() <= 0.005 * active {
            break;
        }
        let middle = (low * high).sqrt();
        found = (middle, at(middle));
        if found.1.active > active {
            low = middle;
        } else {
            high = middle;
        }
    }
    found
}

/// The sum of the square errors of codes, `inputs × code_dim`, and how many of their components are
/// not 0.
pub(super) fn errors(dictionary: &Dictionary, inputs: &[f64], codes: &[f64]) -> (f64, usize) {
    let (mut square, mut active) = (0.0, 0);
    let rows = inputs.chunks_exact(dictionary.input_dim());
    for (x, code) in rows.zip(codes.chunks_exact(dictionary.code_dim())) {
        let components = code.iter().copied().enumerate();
        let code: Vec<(usize, f64)> = components.filter(|(_, z)| *z != 0.0).collect();
        active += code.len();
        let answer = dictionary.answer(&code);
        let squares = answer.iter().zip(x).map(|(a, x)| (x - a).powi(2));
        square += squares.sum::<f64>();
    }
    (square, active)
}

impl BatchFista {
    /// What the codes of inputs come to; 50 inputs end together.
    fn answer(&self, problem: &Problem<'_>, dictionary: &Dictionary, inputs: &[f64]) -> Answer {
        let (pixels, units) = (dictionary.input_dim(), dictionary.code_dim());
        let parts = inputs.par_chunks(50 * pixels).map(|inputs| {
            let found = self.infer_on(problem, inputs);
            errors(dictionary, inputs, &found.codes)
        });
        let parts: Vec<(f64, usize)> = parts.collect();
        let count = inputs.len().max(1) as f64;
        let active: usize = parts.iter().map(|(_, active)| active).sum();
        Answer {
            error: parts.iter().map(|(square, _)| square).sum::<f64>() / count,
            active: active as f64 / (count / pixels as f64 * units as f64),
        }
    }

    /// The codes of a batch, `inputs × input_dim`, from `z = Aᵀ x` with steps of 1/‖A‖².
    ///
    /// Two batches of zeros one after the other end it, too.
    pub fn infer(&self, inputs: &[f64], atoms: &[f64], input_dim: usize) -> BatchCodes {
        self.infer_on(&Problem::new(atoms, input_dim), inputs)
    }

    fn infer_on(&self, problem: &Problem<'_>, inputs: &[f64]) -> BatchCodes {
        let Problem {
            atoms,
            input_dim,
            ref gram,
            step,
        } = *problem;
        let count = atoms.len() / input_dim.max(1);
        let correlations: Vec<f64> = inputs
            .chunks_exact(input_dim)
            .flat_map(|x| {
                let atoms = atoms.chunks_exact(input_dim);
                atoms.map(move |atom| dot(atom, x))
            })
            .collect();
        let mut codes = correlations.clone();
        let mut point = codes.clone();
        let (mut momentum, mut iterations) = (1.0_f64, 0);
        let (mut products, mut active) = (vec![0.0; TOGETHER * count], Vec::new());
        let arch = Arch::new();
        while iterations < self.most {
            iterations += 1;
            let next_momentum = 0.5 * (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt());
            let carry = (momentum - 1.0) / next_momentum;
            momentum = next_momentum;
            let (mut moved, mut norm) = (0.0, 0.0);
            let shrinkage = Shrinkage {
                step,
                carry,
                upper: step * self.sparsity,
                lower: match self.sign {
                    CodeSign::Signed => -step * self.sparsity,
                    CodeSign::NonNegative => f64::NEG_INFINITY,
                },
            };
            let together = codes
                .chunks_mut(TOGETHER * count)
                .zip(point.chunks_mut(TOGETHER * count));
            for ((codes, point), drive) in together.zip(correlations.chunks(TOGETHER * count)) {
                let products = &mut products[..point.len()];
                arch.dispatch(Multiply {
                    products: &mut *products,
                    points: &*point,
                    gram,
                    count,
                    active: &mut active,
                });
                let change = arch.dispatch(Advance {
                    codes,
                    points: point,
                    drive,
                    products,
                    shrinkage,
                });
                moved += change[0];
                norm += change[1];
            }
            // Not a number after two batches of zeros, which is no reason to go on.
            let change = (moved / norm).sqrt();
            if change.is_nan() || change <= self.tolerance {
                break;
            }
        }
        BatchCodes { codes, iterations }
    }
}
