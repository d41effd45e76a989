//! A dictionary made elsewhere, from an array to a decoder.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use crate::data::DataError;
use crate::data::npy::read_npy_f32;
use crate::lista::model::{Autoencoder, Decoder};

/// Where an array has its atoms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atoms {
    /// A row is an atom, as in scikit-learn's `components_`.
    Rows,
    /// A column is an atom, as in the papers' W.
    Columns,
}

/// Why an array is no dictionary. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum DictionaryError {
    /// The file cannot be read as an array.
    #[error(transparent)]
    Array(#[from] DataError),
    /// An array that is no matrix, or has nothing in it.
    #[error("{}: shape {shape:?}, but a dictionary is a matrix with an atom in each row or column", .path.display())]
    NotAMatrix {
        /// The file.
        path: PathBuf,
        /// Its axes.
        shape: Vec<usize>,
    },
    /// The shape fits both ways, or nothing says how long an atom is.
    #[error(
        "{}: {rows} rows and {columns} columns: say which are the atoms, with --atoms rows (scikit-learn's components_) or --atoms columns",
        .path.display()
    )]
    WhichAreAtoms {
        /// The file.
        path: PathBuf,
        /// Its rows.
        rows: usize,
        /// Its columns.
        columns: usize,
    },
    /// Atoms of another length than samples.
    #[error("{}: atoms in {atoms} have {found} numbers, but a sample has {expected}", .path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// `rows` or `columns`.
        atoms: &'static str,
        /// Numbers of an atom.
        found: usize,
        /// Numbers of a sample.
        expected: usize,
    },
    /// Neither rows nor columns have the length of a sample.
    #[error("{}: {rows} rows and {columns} columns, but a sample has {expected} numbers", .path.display())]
    NoLength {
        /// The file.
        path: PathBuf,
        /// Its rows.
        rows: usize,
        /// Its columns.
        columns: usize,
        /// Numbers of a sample.
        expected: usize,
    },
    /// A value that is not finite in single precision.
    #[error("{}: atom {atom}, value {index}: not finite in single precision; repair the array", .path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// From 0.
        atom: usize,
        /// Place in the atom, from 0.
        index: usize,
    },
    /// Nothing but zeros.
    #[error("{}: all atoms are zero", .path.display())]
    AllZero {
        /// The file.
        path: PathBuf,
    },
    /// A tensor operation.
    #[error("device: {0}")]
    Device(#[from] candle_core::Error),
}

/// A dictionary as it was in its file: nothing is rescaled.
#[derive(Clone, Debug)]
pub struct Dictionary {
    /// W, `input_dim × code_dim`.
    pub atoms: Tensor,
    /// Atoms that are zero, from 0: their codes are always 0.
    pub zero_atoms: Vec<usize>,
}

impl Dictionary {
    /// Reads a matrix from a `.npy` file of any real number type. `atoms` says where its atoms are;
    /// without it `input_dim`, the numbers of a sample, decides if it fits one way only.
    ///
    /// # Errors
    ///
    /// [`DictionaryError`] says what is wrong with the array, or what must be said of it.
    pub fn read(
        path: &Path,
        atoms: Option<Atoms>,
        input_dim: Option<usize>,
    ) -> Result<Self, DictionaryError> {
        let (shape, values) = read_npy_f32(path)?;
        let path = || path.to_path_buf();
        let [rows, columns] = shape[..] else {
            let path = path();
            return Err(DictionaryError::NotAMatrix { path, shape });
        };
        if rows == 0 || columns == 0 {
            let path = path();
            return Err(DictionaryError::NotAMatrix { path, shape });
        }
        let atoms = match (atoms, input_dim) {
            (Some(atoms), _) => atoms,
            (None, Some(d)) if columns == d && rows != d => Atoms::Rows,
            (None, Some(d)) if rows == d && columns != d => Atoms::Columns,
            (None, Some(expected)) if rows != expected => {
                return Err(DictionaryError::NoLength {
                    path: path(),
                    rows,
                    columns,
                    expected,
                });
            }
            (None, _) => {
                return Err(DictionaryError::WhichAreAtoms {
                    path: path(),
                    rows,
                    columns,
                });
            }
        };
        let (length, count, name) = match atoms {
            Atoms::Rows => (columns, rows, "rows"),
            Atoms::Columns => (rows, columns, "columns"),
        };
        if let Some(expected) = input_dim
            && expected != length
        {
            return Err(DictionaryError::Length {
                path: path(),
                atoms: name,
                found: length,
                expected,
            });
        }
        let place = |place: usize| match atoms {
            Atoms::Rows => (place / columns, place % columns),
            Atoms::Columns => (place % columns, place / columns),
        };
        if let Some(bad) = values.iter().position(|value| !value.is_finite()) {
            let (atom, index) = place(bad);
            return Err(DictionaryError::NotFinite {
                path: path(),
                atom,
                index,
            });
        }
        let mut is_zero = vec![true; count];
        for (index, value) in values.iter().enumerate() {
            if *value != 0.0 {
                is_zero[place(index).0] = false;
            }
        }
        let zero_atoms: Vec<usize> = (0..count).filter(|&atom| is_zero[atom]).collect();
        if zero_atoms.len() == count {
            return Err(DictionaryError::AllZero { path: path() });
        }
        let matrix = Tensor::from_vec(values, (rows, columns), &Device::Cpu)?;
        let atoms = match atoms {
            Atoms::Rows => matrix.t()?.contiguous()?,
            Atoms::Columns => matrix,
        };
        Ok(Self { atoms, zero_atoms })
    }

    /// d and l.
    pub fn dims(&self) -> (usize, usize) {
        (self.atoms.dims()[0], self.atoms.dims()[1])
    }

    /// The model of variant DO that has these atoms.
    pub fn model(&self) -> Autoencoder {
        Autoencoder {
            encoder: None,
            decoder: Decoder::Linear {
                dictionary: self.atoms.clone(),
            },
        }
    }
}
