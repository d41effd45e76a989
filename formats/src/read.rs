//! Reading a model file in place.

#[cfg(feature = "variational")]
mod variational;

use crate::checksum::crc32;
#[cfg(feature = "denoise")]
use crate::decimal::real;
#[cfg(feature = "denoise")]
use crate::encoders::StreamSpec;
use crate::encoders::{Encoder, Gram, Variational};
#[cfg(feature = "denoise")]
use crate::error::Dims;
use crate::error::ReadError;
use crate::header::{FLOAT, Header};
#[cfg(feature = "denoise")]
use crate::header::{FLOAT_KEYS, FLOAT_TENSORS};
use crate::input::InputFacts;
use crate::matrix::{MatrixRef, ScaleAxis};
use crate::spec::ModelSpec;
#[cfg(feature = "variational")]
use crate::spec::Variant;
#[cfg(feature = "denoise")]
use crate::tensors::finite;
use crate::tensors::{Tensors, check_place};

/// The decoder.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Decoder<'a> {
    /// `ŷ = W z`.
    Linear {
        /// `decoder.dictionary`, Wᵀ \[l, d\]: an atom per row, scales per column (pixel).
        dictionary: MatrixRef<'a>,
    },
    /// `ŷ = W2 relu(W1 z + b1)`.
    OneHidden {
        /// `decoder.hidden`, W1ᵀ \[l, m\]: a row per code component, scales per column.
        hidden: MatrixRef<'a>,
        /// `decoder.hidden_bias`, b1 \[m\].
        hidden_bias: &'a [f32],
        /// `decoder.output`, W2ᵀ \[m, d\]: a row per hidden unit, scales per column.
        output: MatrixRef<'a>,
    },
}

/// A model in a buffer: the checked metadata, and slices of the buffer. `Copy`; costs no memory but
/// itself.
#[derive(Clone, Copy, Debug)]
pub struct ModelFile<'a> {
    /// What the metadata says.
    pub spec: ModelSpec<'a>,
    /// The LISTA encoder; `None` in decoder-only models, in those that denoise and in variational
    /// ones.
    pub encoder: Option<Encoder<'a>>,
    /// The encoder of models that denoise.
    pub gram: Option<Gram<'a>>,
    /// The encoder of variational models.
    pub variational: Option<Variational<'a>>,
    /// The decoder.
    pub decoder: Decoder<'a>,
    checksum: u32,
    bytes: &'a [u8],
    header_len: usize,
}

impl<'a> ModelFile<'a> {
    /// Reads a model in place. `bytes` is the whole file and nothing else, and starts on a boundary
    /// of [`MIN_ALIGNMENT`](crate::MIN_ALIGNMENT) bytes: see
    /// [`include_model!`](crate::include_model) and [`Aligned`](crate::Aligned).
    ///
    /// Nothing in `bytes` is trusted. What is returned satisfies: every range that [`ModelSpec`]
    /// states, every shape that [`Encoder`] and [`Decoder`] state, finite numbers, scales above 0,
    /// levels of ±127 or ±32767. The checksum is left to [`ModelFile::verify_checksum`]. Never
    /// panics, never allocates.
    ///
    /// Cost: one pass over the file, once.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, as a [`ReadError`] that names it.
    pub fn read(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let model = Self::read_slot(bytes)?;
        match bytes.len().saturating_sub(model.file_len()) {
            0 => Ok(model),
            bytes => Err(ReadError::TrailingData { bytes }),
        }
    }

    /// Reads a model at the start of a larger buffer, such as a flash partition, and passes over
    /// what follows it.
    ///
    /// # Errors
    ///
    /// As [`ModelFile::read`], without [`ReadError::TrailingData`].
    pub fn read_slot(slot: &'a [u8]) -> Result<Self, ReadError> {
        // The header first: an empty buffer has no address worth reporting.
        let mut header = Header::empty(&FLOAT);
        header.read(slot)?;
        check_place(slot)?;
        header.check_version()?;
        let mut tensors = Tensors::new(&header)?;
        let spec = header.spec()?;
        let checksum = header.checksum()?;
        let (inputs, codes, hiddens) = (spec.input_dim(), spec.code_dim(), spec.hidden_dim());
        let matrix = |tensors: &mut Tensors<'_, 'a, _, _>, name, scale_name, rows, cols, axis| {
            tensors.matrix([name, scale_name], rows, cols, spec.weights, axis)
        };
        let encoder = if spec.lista_iterations.is_some() {
            use ScaleAxis::{Column, Row};
            Some(Encoder {
                input: matrix(
                    &mut tensors,
                    "encoder.input",
                    "encoder.input.scale",
                    codes,
                    inputs,
                    Row,
                )?,
                bias: tensors.floats("encoder.bias", codes)?,
                recurrent: matrix(
                    &mut tensors,
                    "encoder.recurrent",
                    "encoder.recurrent.scale",
                    codes,
                    codes,
                    Column,
                )?,
            })
        } else {
            None
        };
        #[cfg(feature = "denoise")]
        let gram = match spec.gram_iterations {
            Some(count) => Some(read_gram(&header, &mut tensors, &spec, count.into())?),
            None => None,
        };
        #[cfg(not(feature = "denoise"))]
        let gram = None;
        #[cfg(feature = "variational")]
        let (encoder, variational) = match spec.variant {
            Variant::Variational => {
                let read = variational::read(&header, &mut tensors, &spec, encoder)?;
                (None, Some(read))
            }
            _ => (encoder, None),
        };
        #[cfg(not(feature = "variational"))]
        let variational = None;
        let mut column = |name, scale_name, rows, cols| {
            matrix(
                &mut tensors,
                name,
                scale_name,
                rows,
                cols,
                ScaleAxis::Column,
            )
        };
        let decoder = if spec.is_linear() {
            Decoder::Linear {
                dictionary: column(
                    "decoder.dictionary",
                    "decoder.dictionary.scale",
                    codes,
                    inputs,
                )?,
            }
        } else {
            Decoder::OneHidden {
                hidden: column("decoder.hidden", "decoder.hidden.scale", codes, hiddens)?,
                output: column("decoder.output", "decoder.output.scale", hiddens, inputs)?,
                hidden_bias: tensors.floats("decoder.hidden_bias", hiddens)?,
            }
        };
        let data_len = tensors.finish()?;
        Ok(Self {
            spec,
            encoder,
            gram,
            variational,
            decoder,
            checksum,
            bytes: slot.get(..header.len + data_len).unwrap_or_default(),
            header_len: header.len,
        })
    }

    /// Compares the tensor data with the CRC-32 in the metadata.
    ///
    /// For files that travelled; [`ModelFile::read`] alone makes a file safe to use. Cost: one pass
    /// over the data, two table look-ups a byte, 64 bytes of table.
    ///
    /// # Errors
    ///
    /// [`ReadError::Checksum`].
    pub fn verify_checksum(&self) -> Result<(), ReadError> {
        let data = self.bytes.get(self.header_len..).unwrap_or_default();
        let (stored, computed) = (self.checksum, crc32(data));
        if stored == computed {
            Ok(())
        } else {
            Err(ReadError::Checksum { stored, computed })
        }
    }

    /// What the file says of its raw samples. For hosts: it reads the header again.
    ///
    /// # Errors
    ///
    /// As [`InputFacts::read`].
    #[inline(never)]
    pub fn input(&self) -> Result<InputFacts, ReadError> {
        InputFacts::read(self.bytes)
    }

    /// Bytes of the whole file, and so of flash.
    #[must_use]
    pub const fn file_len(&self) -> usize {
        self.bytes.len()
    }

    /// The CRC-32 of the tensor data that the metadata states: a short identity of the weights.
    #[must_use]
    pub const fn checksum(&self) -> u32 {
        self.checksum
    }
}

#[cfg(feature = "denoise")]
#[inline(never)] // gives its stack back
fn read_gram<'a>(
    header: &Header<'a, FLOAT_TENSORS, FLOAT_KEYS>,
    tensors: &mut Tensors<'_, 'a, FLOAT_TENSORS, FLOAT_KEYS>,
    spec: &ModelSpec<'a>,
    iterations: usize,
) -> Result<Gram<'a>, ReadError> {
    let codes = spec.code_dim();
    let float = |key, expected, good: fn(f32) -> bool| {
        header.value(key, expected, |text| {
            real(text).filter(|value| good(*value))
        })
    };
    let name = "encoder.thresholds";
    let thresholds = tensors.take(name, "F32", Dims::Matrix(iterations, codes))?;
    let shape = spec.input_shape;
    let weights = tensors.floats("window.weights", shape.overlap_weights())?;
    let usual = |weight: &f32| (1e-6..=1e6).contains(weight);
    if let Some(index) = weights.iter().position(|weight| !usual(weight)) {
        let tensor = "window.weights";
        return Err(ReadError::Level { tensor, index });
    }
    Ok(Gram {
        steps: tensors.floats("encoder.steps", iterations)?,
        thresholds: finite(name, thresholds)?,
        gain: tensors.floats("decoder.gain", codes)?,
        noise_level: float("noise_level", "a finite number above 0", |x| x > 0.0)?,
        stream: StreamSpec {
            weights,
            hop: header.hop(shape)?,
            drift: header.drift(shape)?,
            is_white: header.is_white()?,
            guard: float("guard", "a finite number, 0 or more", |x| x >= 0.0)?,
        },
    })
}
