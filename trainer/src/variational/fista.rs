//! FISTA with signed codes on whole batches, the method that the variational ones are compared
//! with.

/// Codes that FISTA (Beck & Teboulle 2009) finds for a batch: `min ½‖x − A z‖² + τ‖z‖₁`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchFista {
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
            *next = row.iter().zip(&vector).map(|(a, b)| a * b).sum();
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
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    rows()
        .flat_map(|a| rows().map(move |b| product(a, b)))
        .collect()
}

impl BatchFista {
    /// The codes of a batch, `inputs × input_dim`, from `z = Aᵀ x` with steps of 1/‖A‖².
    ///
    /// Two batches of zeros one after the other end it, too.
    pub fn infer(&self, inputs: &[f64], atoms: &[f64], input_dim: usize) -> BatchCodes {
        let count = atoms.len() / input_dim.max(1);
        let step = 1.0 / lipschitz(atoms, input_dim);
        let gram = gram(atoms, input_dim);
        let correlations: Vec<f64> = inputs
            .chunks_exact(input_dim)
            .flat_map(|x| {
                let atoms = atoms.chunks_exact(input_dim);
                atoms.map(move |atom| atom.iter().zip(x).map(|(a, x)| a * x).sum())
            })
            .collect();
        let mut codes = correlations.clone();
        let mut point = codes.clone();
        let (mut momentum, mut iterations) = (1.0_f64, 0);
        let mut product = vec![0.0; count];
        while iterations < self.most {
            iterations += 1;
            let next_momentum = 0.5 * (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt());
            let carry = (momentum - 1.0) / next_momentum;
            momentum = next_momentum;
            let (mut moved, mut norm) = (0.0, 0.0);
            let rows = codes
                .chunks_exact_mut(count)
                .zip(point.chunks_exact_mut(count));
            for ((codes, point), drive) in rows.zip(correlations.chunks_exact(count)) {
                product.fill(0.0);
                for (value, row) in point.iter().zip(gram.chunks_exact(count)) {
                    if *value != 0.0 {
                        for (sum, g) in product.iter_mut().zip(row) {
                            *sum += value * g;
                        }
                    }
                }
                let units = codes.iter_mut().zip(point.iter_mut());
                for ((code, point), (drive, product)) in units.zip(drive.iter().zip(&product)) {
                    let target = *point + step * (drive - product);
                    let next = target.signum() * (target.abs() - step * self.sparsity).max(0.0);
                    let change = next - *code;
                    moved += change * change;
                    norm += *code * *code;
                    *point = next + carry * change;
                    *code = next;
                }
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
