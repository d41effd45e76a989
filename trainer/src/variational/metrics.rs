//! What is said of a set of codes.

use std::collections::BTreeMap;

/// A matrix of rows that lie one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// All numbers.
    pub values: &'a [f64],
    /// Numbers of a row.
    pub width: usize,
}

impl<'a> Rows<'a> {
    fn iter(&self) -> std::slice::ChunksExact<'a, f64> {
        self.values.chunks_exact(self.width.max(1))
    }

    fn count(&self) -> usize {
        self.values.len() / self.width.max(1)
    }
}

/// Entropies of discretised codes, in bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Information {
    /// H(Z_d) of each component.
    pub entropies: Vec<f64>,
    /// H(Z_1, …, Z_D), as counted: at most the logarithm of the number of rows.
    pub joint: f64,
}

impl Information {
    /// `Σ H(Z_d) − H(Z)`. With more components than the rows can tell apart this is the sum of the
    /// entropies less a constant, and says how sparse codes are, not how they depend on each other.
    pub fn multi_information(&self) -> f64 {
        self.entropies.iter().sum::<f64>() - self.joint
    }
}

/// Plug-in entropies of codes in bins: `edges` equally spaced ones from −2 to 2, and one of its own
/// for 0.
pub fn information(codes: Rows<'_>, edges: usize) -> Information {
    let last = edges.saturating_sub(1).max(1) as f64;
    let mut all: Vec<f64> = (0..edges)
        .map(|i| -2.0 + 4.0 * i as f64 / last)
        .chain([-1e-50, 1e-50])
        .collect();
    all.sort_by(f64::total_cmp);
    let bin = |value: f64| all.partition_point(|edge| *edge <= value) as u16;
    let rows: Vec<Vec<u16>> = codes
        .iter()
        .map(|row| row.iter().map(|value| bin(*value)).collect())
        .collect();
    let entropy = |counts: BTreeMap<&[u16], usize>| {
        let total = rows.len() as f64;
        let share = |count: usize| count as f64 / total;
        counts
            .into_values()
            .map(|count| -share(count) * share(count).log2())
            .sum::<f64>()
    };
    let count = |of: &dyn Fn(&Vec<u16>) -> std::ops::Range<usize>| {
        let mut counts = BTreeMap::new();
        for row in &rows {
            *counts.entry(&row[of(row)]).or_insert(0) += 1;
        }
        counts
    };
    Information {
        entropies: (0..codes.width)
            .map(|unit| entropy(count(&|_| unit..unit + 1)))
            .collect(),
        joint: entropy(count(&|row| 0..row.len())),
    }
}

/// The share of the columns that are at most `limit` in magnitude in at least 95 % of the rows: of
/// divergences, posterior collapse; of codes, coefficient collapse. The release takes 0.01.
pub fn collapsed(values: Rows<'_>, limit: f64) -> f64 {
    let rows = values.count() as f64;
    let small = |unit: usize| {
        let small = values.iter().filter(|row| row[unit].abs() <= limit);
        small.count() as f64 >= 0.95 * rows
    };
    let count = (0..values.width).filter(|unit| small(*unit)).count();
    count as f64 / values.width.max(1) as f64
}

/// The share of the components whose support two sets of codes agree on.
pub fn support_accuracy(found: Rows<'_>, expected: Rows<'_>) -> f64 {
    let pairs = found.values.iter().zip(expected.values);
    let agree = pairs.filter(|(a, b)| (**a != 0.0) == (**b != 0.0)).count();
    agree as f64 / found.values.len().max(1) as f64
}

/// The mean Jaccard similarity of the supports of all pairs of rows: components that are active in
/// both, of those that are active in either. Pairs without an active component do not count;
/// without any that do it is 1.
pub fn support_similarity(codes: Rows<'_>) -> f64 {
    let (mut sum, mut pairs) = (0.0, 0_usize);
    for (index, a) in codes.iter().enumerate() {
        for b in codes.iter().skip(index + 1) {
            let (mut both, mut either) = (0_usize, 0_usize);
            for (a, b) in a.iter().zip(b) {
                both += usize::from(*a != 0.0 && *b != 0.0);
                either += usize::from(*a != 0.0 || *b != 0.0);
            }
            if either > 0 {
                sum += both as f64 / either as f64;
                pairs += 1;
            }
        }
    }
    if pairs == 0 { 1.0 } else { sum / pairs as f64 }
}

/// How much larger numbers are than they scatter from pass to pass, for each entry:
/// `|mean|/(deviation + 1e-9)`.
///
/// ```
/// use sparsecode_trainer::variational::metrics::SignalToNoise;
///
/// let mut gradients = SignalToNoise::default();
/// gradients.push([1.0, 0.0]);
/// gradients.push([3.0, 0.0]);
/// let ratios = gradients.ratios();
/// assert!((ratios[0] - 2.0).abs() < 1e-8);
/// assert_eq!(ratios[1], 0.0);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SignalToNoise {
    passes: usize,
    means: Vec<f64>,
    /// Sums of square differences from the mean (Welford 1962).
    scatters: Vec<f64>,
}

impl SignalToNoise {
    /// Takes the entries of a pass. All passes have equally many.
    pub fn push(&mut self, entries: impl IntoIterator<Item = f64>) {
        let is_first = self.passes == 0;
        self.passes += 1;
        let passes = self.passes as f64;
        for (place, entry) in entries.into_iter().enumerate() {
            if is_first {
                self.means.push(entry);
                self.scatters.push(0.0);
            } else if let Some(mean) = self.means.get_mut(place) {
                let before = entry - *mean;
                *mean += before / passes;
                self.scatters[place] += before * (entry - *mean);
            }
        }
    }

    /// The ratio of each entry.
    pub fn ratios(&self) -> Vec<f64> {
        let passes = self.passes.max(1) as f64;
        let both = self.means.iter().zip(&self.scatters);
        both.map(|(mean, scatter)| mean.abs() / ((scatter / passes).sqrt() + 1e-9))
            .collect()
    }
}

/// The dictionary that explains inputs best by their codes, `input_dim × code_dim`: `XᵀZ (ZᵀZ)⁺`,
/// with eigenvalues below 1e-15 of the largest taken as 0.
pub fn recovered_dictionary(inputs: Rows<'_>, codes: Rows<'_>) -> Vec<f64> {
    let (pixels, units) = (inputs.width, codes.width);
    let (mut cross, mut square) = (vec![0.0; pixels * units], vec![0.0; units * units]);
    for (x, z) in inputs.iter().zip(codes.iter()) {
        for (sums, value) in cross.chunks_exact_mut(units).zip(x) {
            sums.iter_mut()
                .zip(z)
                .for_each(|(sum, z)| *sum += value * z);
        }
        for (sums, value) in square.chunks_exact_mut(units).zip(z) {
            sums.iter_mut()
                .zip(z)
                .for_each(|(sum, z)| *sum += value * z);
        }
    }
    let vectors = diagonalise(&mut square, units);
    let largest = (0..units).fold(0.0, |most: f64, i| most.max(square[i * units + i].abs()));
    let mut recovered = vec![0.0; pixels * units];
    for unit in 0..units {
        let value = square[unit * units + unit];
        if value.abs() <= 1e-15 * largest {
            continue;
        }
        let vector = |row: usize| vectors[row * units + unit];
        for (to, from) in recovered
            .chunks_exact_mut(units)
            .zip(cross.chunks_exact(units))
        {
            let along = (0..units).map(|i| from[i] * vector(i)).sum::<f64>() / value;
            to.iter_mut()
                .enumerate()
                .for_each(|(i, to)| *to += along * vector(i));
        }
    }
    recovered
}

/// Brings a symmetric matrix to its diagonal by Jacobi's rotations; returns the eigenvectors, one a
/// column.
fn diagonalise(matrix: &mut [f64], side: usize) -> Vec<f64> {
    let mut vectors = vec![0.0; side * side];
    (0..side).for_each(|i| vectors[i * side + i] = 1.0);
    for _ in 0..60 {
        let off: f64 = (0..side * side)
            .filter(|place| place / side != place % side)
            .map(|place| matrix[place] * matrix[place])
            .sum();
        let on: f64 = (0..side).map(|i| matrix[i * side + i].powi(2)).sum();
        if off <= 1e-30 * on {
            break;
        }
        for p in 0..side {
            for q in p + 1..side {
                let element = matrix[p * side + q];
                if element == 0.0 {
                    continue;
                }
                let theta = (matrix[q * side + q] - matrix[p * side + p]) / (2.0 * element);
                let sign = if theta < 0.0 { -1.0 } else { 1.0 };
                let t = sign / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..side {
                    let (a, b) = (matrix[k * side + p], matrix[k * side + q]);
                    (matrix[k * side + p], matrix[k * side + q]) = (c * a - s * b, s * a + c * b);
                }
                for k in 0..side {
                    let (a, b) = (matrix[p * side + k], matrix[q * side + k]);
                    (matrix[p * side + k], matrix[q * side + k]) = (c * a - s * b, s * a + c * b);
                    let (a, b) = (vectors[k * side + p], vectors[k * side + q]);
                    (vectors[k * side + p], vectors[k * side + q]) = (c * a - s * b, s * a + c * b);
                }
            }
        }
    }
    vectors
}

/// The share of the true atoms with a learned one whose cosine exceeds 0.9 in magnitude. Atoms are
/// rows.
pub fn recovery(learned: Rows<'_>, truth: Rows<'_>) -> f64 {
    let norm = |atom: &[f64]| atom.iter().map(|x| x * x).sum::<f64>().sqrt();
    let cosine = |a: &[f64], b: &[f64]| {
        let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        (product / (norm(a) * norm(b)).max(f64::MIN_POSITIVE)).abs()
    };
    let found = truth
        .iter()
        .filter(|truth| learned.iter().any(|atom| cosine(atom, truth) > 0.9));
    found.count() as f64 / truth.count().max(1) as f64
}
