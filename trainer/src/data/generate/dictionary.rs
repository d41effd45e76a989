//! Sparse combinations of the atoms of a random dictionary.

use rand::Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::atoms::TrueAtoms;
use super::super::error::DataError;
use super::super::{
    InputFacts, PerPixel, Preprocessing, Splits, checked_made_counts, checked_shape, extent,
    part_generator, range,
};
use crate::rng::Stream;

/// `source = "dictionary"`: samples `x = A z + noise · n`, each place of which is normalised by its
/// mean and deviation over the training samples.
///
/// The columns of A are random directions of norm 1. A component of z is active with probability
/// `activity`, and then Laplace(0, 1). n is normal. The seed decides all of it; training,
/// validation and test samples share A.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DictionaryConfig {
    /// Numbers in a sample: the input dimension.
    #[schemars(range(min = 1, max = u16::MAX))]
    pub input_dim: usize,
    /// Atoms of A.
    #[schemars(range(min = 1, max = u16::MAX))]
    pub atoms: usize,
    /// The probability that a component is active.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub activity: f64,
    /// Standard deviation of the noise, in the unit of an atom.
    #[schemars(range(min = 0))]
    pub noise: f64,
    /// Training samples.
    #[schemars(range(min = 1, max = super::super::MAX_SAMPLES))]
    pub train: usize,
    /// Validation samples.
    #[schemars(range(min = 1, max = super::super::MAX_SAMPLES))]
    pub validation: usize,
    /// Test samples.
    #[schemars(range(min = 1, max = super::super::MAX_SAMPLES))]
    pub test: usize,
}

impl Default for DictionaryConfig {
    fn default() -> Self {
        Self {
            input_dim: 64,
            atoms: 64,
            activity: 0.1,
            noise: 0.1,
            train: 8000,
            validation: 2000,
            test: 2000,
        }
    }
}

/// Samples that are drawn one after the other from one part of a stream.
const BATCH: usize = 250;
/// The part of the training stream that the atoms come from: no samples get there.
const ATOMS: u32 = u32::MAX - 1;

impl DictionaryConfig {
    pub(in super::super) fn load(&self, seed: u64) -> Result<Splits, DataError> {
        self.check()?;
        let shape = checked_shape(1, self.input_dim, "input_dim")?;
        let atoms = self.atoms(seed);
        let train = self.samples(&atoms, self.train, seed, Stream::TrainData);
        let validation = self.samples(&atoms, self.validation, seed, Stream::ValidationData);
        let test = self.samples(&atoms, self.test, seed, Stream::TestData);
        let statistics = self.statistics(&train)?;
        let description = format!(
            "generated from {} atoms of {}, seed {seed}, {}/{}/{}",
            self.atoms, self.input_dim, self.train, self.validation, self.test
        );
        Ok(Splits {
            input: InputFacts {
                range: Some(extent(train.iter().copied())),
                ..InputFacts::default()
            },
            peak: range(&test).max(f32::MIN_POSITIVE),
            train: statistics.normalised(train),
            validation: statistics.normalised(validation),
            test: statistics.normalised(test),
            shape,
            preprocessing: Preprocessing::IDENTITY,
            read: description.clone(),
            description,
            notes: Vec::new(),
        })
    }

    /// The atoms in the unit of the samples of the same seed.
    pub(in super::super) fn true_atoms(&self, seed: u64) -> Result<TrueAtoms, DataError> {
        self.check()?;
        checked_shape(1, self.input_dim, "input_dim")?;
        let atoms = self.atoms(seed);
        let train = self.samples(&atoms, self.train, seed, Stream::TrainData);
        let statistics = self.statistics(&train)?;
        Ok(TrueAtoms::normalised(atoms, &statistics.deviation))
    }

    fn check(&self) -> Result<(), DataError> {
        checked_made_counts(self.train, self.validation, self.test)?;
        if !(1..=usize::from(u16::MAX)).contains(&self.atoms) {
            return Err(DataError::config(
                "atoms",
                format!("a dictionary of {} atoms is not possible", self.atoms),
                format!("choose 1 to {}", u16::MAX),
            ));
        }
        if !(self.activity > 0.0 && self.activity <= 1.0) {
            return Err(DataError::config(
                "activity",
                format!("{} is no probability that something happens", self.activity),
                "choose a number above 0, at most 1",
            ));
        }
        if !(self.noise >= 0.0 && self.noise.is_finite()) {
            return Err(DataError::config(
                "noise",
                format!("{} is no deviation", self.noise),
                "choose 0 or more",
            ));
        }
        Ok(())
    }

    fn statistics(&self, train: &[f32]) -> Result<PerPixel, DataError> {
        PerPixel::of(train, self.input_dim).map_err(|place| {
            DataError::config(
                "train",
                format!("number {place} is the same in all training samples"),
                "ask for more samples, or a higher data.activity",
            )
        })
    }

    /// Random directions of norm 1, one after the other.
    fn atoms(&self, seed: u64) -> Vec<f64> {
        let mut rng = part_generator(seed, Stream::TrainData, ATOMS);
        let mut atoms = Vec::with_capacity(self.atoms * self.input_dim);
        for _ in 0..self.atoms {
            let atom: Vec<f64> = (0..self.input_dim)
                .map(|_| StandardNormal.sample(&mut rng))
                .collect();
            let norm = atom.iter().map(|x| x * x).sum::<f64>().sqrt();
            atoms.extend(atom.iter().map(|x| x / norm));
        }
        atoms
    }

    fn samples(&self, atoms: &[f64], count: usize, seed: u64, stream: Stream) -> Vec<f32> {
        let dim = self.input_dim;
        let mut samples = vec![0.0; count * dim];
        let batches = samples.par_chunks_mut(BATCH * dim).enumerate();
        batches.for_each(|(part, samples)| {
            let rng = &mut part_generator(seed, stream, part as u32);
            for sample in samples.chunks_exact_mut(dim) {
                let mut sum = vec![0.0; dim];
                for atom in atoms.chunks_exact(dim) {
                    if rng.random_bool(self.activity) {
                        let size: f64 = Exp1.sample(rng);
                        let code = if rng.random() { size } else { -size };
                        sum.iter_mut().zip(atom).for_each(|(x, a)| *x += code * a);
                    }
                }
                for (value, sum) in sample.iter_mut().zip(sum) {
                    let noise: f64 = StandardNormal.sample(rng);
                    *value = (sum + self.noise * noise) as f32;
                }
            }
        });
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> DictionaryConfig {
        DictionaryConfig {
            input_dim: 12,
            atoms: 20,
            train: 6000,
            validation: 500,
            test: 400,
            ..DictionaryConfig::default()
        }
    }

    #[test]
    fn samples_are_sparse_combinations_of_the_atoms() {
        let config = DictionaryConfig {
            activity: 0.05,
            noise: 0.0,
            ..small()
        };
        let splits = config.load(9).unwrap();
        let truth = config.true_atoms(9).unwrap();
        assert_eq!((truth.count(), truth.input_dim), (20, 12));
        assert_eq!(splits.train.len(), 6000);
        let cosine = |a: &[f64], b: &[f64]| {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).abs()
        };
        // With one active component in 20 a sample often is one atom, up to its mean.
        let offset = splits.train.restore.clone();
        let mut silent = vec![0.0; 12];
        let crate::data::Restore::PerPosition { scale, offset } = offset else {
            panic!("{offset:?}");
        };
        for ((value, mean), deviation) in silent.iter_mut().zip(&offset).zip(&scale) {
            *value = f64::from(-mean / deviation);
        }
        let (mut zeros, mut ones) = (0, [0; 20]);
        for index in 0..splits.train.len() {
            let sample = splits.train.sample(index).iter().zip(&silent);
            let sample: Vec<f64> = sample.map(|(y, s)| f64::from(*y) - s).collect();
            if sample.iter().all(|value| value.abs() < 1e-5) {
                zeros += 1;
                continue;
            }
            let atoms = truth.atoms.chunks_exact(12);
            let found = atoms
                .enumerate()
                .find(|(_, atom)| cosine(&sample, atom) > 0.999_999);
            if let Some((atom, _)) = found {
                ones[atom] += 1;
            }
        }
        // 0.95²⁰ = 0.358 of the samples have none, 20 · 0.05 · 0.95¹⁹ = 0.377 have one.
        assert!((zeros as f64 / 6000.0 - 0.358).abs() < 0.03, "{zeros}");
        let single: i32 = ones.iter().sum();
        assert!(
            (f64::from(single) / 6000.0 - 0.377).abs() < 0.03,
            "{ones:?}"
        );
        assert!(ones.iter().all(|&count| count > 60), "{ones:?}");
    }

    #[test]
    fn codes_and_noise_have_the_size_that_is_asked_for() {
        let config = small();
        let splits = config.load(3).unwrap();
        let total = |data: &crate::data::Dataset| {
            let mut sum = 0.0;
            for index in 0..data.len() {
                let mut raw = data.sample(index).to_vec();
                data.restore.restore(index, &mut raw);
                sum += raw.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            }
            sum / data.len() as f64
        };
        // E‖Az‖² = atoms · activity · 2, E‖0.1 n‖² = 0.01 · input_dim.
        let expected = 20.0 * 0.1 * 2.0 + 0.01 * 12.0;
        assert!(
            (total(&splits.train) / expected - 1.0).abs() < 0.06,
            "{}",
            total(&splits.train)
        );
        let found = PerPixel::of(&splits.train.samples, 12).unwrap();
        assert!(found.mean.iter().all(|mean| mean.abs() < 1e-5));
        assert!(found.deviation.iter().all(|d| (d - 1.0).abs() < 1e-5));
        assert_ne!(PerPixel::of(&splits.test.samples, 12), Ok(found));
    }

    #[test]
    fn the_seed_decides_on_any_number_of_threads() {
        let load = |threads: usize, seed: u64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().unwrap();
            pool.install(|| (small().load(seed), small().true_atoms(seed)))
        };
        let ((one, atoms), (three, again)) = (load(1, 4), load(3, 4));
        let (one, three) = (one.unwrap(), three.unwrap());
        assert_eq!(one.train.samples, three.train.samples);
        assert_eq!(atoms.unwrap(), again.unwrap());
        assert_ne!(one.train.samples, load(1, 5).0.unwrap().train.samples);
        assert_ne!(one.validation.samples[..12 * 400], one.test.samples[..]);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let wrong = [
            (
                "atoms",
                DictionaryConfig {
                    atoms: 0,
                    ..small()
                },
            ),
            (
                "activity",
                DictionaryConfig {
                    activity: 0.0,
                    ..small()
                },
            ),
            (
                "activity",
                DictionaryConfig {
                    activity: f64::NAN,
                    ..small()
                },
            ),
            (
                "noise",
                DictionaryConfig {
                    noise: -1.0,
                    ..small()
                },
            ),
            (
                "input_dim",
                DictionaryConfig {
                    input_dim: 0,
                    ..small()
                },
            ),
            (
                "train",
                DictionaryConfig {
                    train: 0,
                    ..small()
                },
            ),
            (
                "train",
                DictionaryConfig {
                    train: 1,
                    ..small()
                },
            ),
        ];
        for (field, config) in wrong {
            for error in [
                config.load(1).unwrap_err(),
                config.true_atoms(1).unwrap_err(),
            ] {
                let error = error.to_string();
                assert!(
                    error.starts_with(&format!("data.{field}")),
                    "{field}: {error}"
                );
            }
        }
    }
}
