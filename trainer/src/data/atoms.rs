//! The dictionary that a synthetic set was made with.

/// The atoms that samples of a synthetic set are combinations of, in the unit of the preprocessed
/// samples: what recovery is measured by.
#[derive(Clone, Debug, PartialEq)]
pub struct TrueAtoms {
    /// One atom after the other, each of `input_dim` numbers and of norm 1.
    pub atoms: Vec<f64>,
    /// Numbers in an atom; at least 1.
    pub input_dim: usize,
}

impl TrueAtoms {
    /// Atoms in raw units, one after the other, divided by the deviation of each place, then scaled
    /// to norm 1.
    pub(super) fn normalised(mut atoms: Vec<f64>, deviation: &[f32]) -> Self {
        let input_dim = deviation.len();
        for atom in atoms.chunks_exact_mut(input_dim) {
            for (value, &deviation) in atom.iter_mut().zip(deviation) {
                *value /= f64::from(deviation);
            }
            let norm = atom.iter().map(|x| x * x).sum::<f64>().sqrt();
            atom.iter_mut().for_each(|value| *value /= norm);
        }
        Self { atoms, input_dim }
    }

    /// How many atoms there are.
    pub fn count(&self) -> usize {
        self.atoms.len() / self.input_dim
    }
}
