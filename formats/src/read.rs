//! Reading a model file in place.

use core::fmt;

use bytemuck::AnyBitPattern;

use crate::align::MIN_ALIGNMENT;
use crate::checksum::crc32;
#[cfg(feature = "denoise")]
use crate::decimal::real;
use crate::error::{Dims, Name, ReadError, SpecError};
use crate::header::{FLOAT, Header, TensorInfo};
#[cfg(feature = "denoise")]
use crate::header::{FLOAT_KEYS, FLOAT_TENSORS};
use crate::input::InputFacts;
use crate::spec::{ModelSpec, WeightType};

/// The numbers of a matrix, row by row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weights<'a> {
    /// The weights themselves.
    F32(&'a [f32]),
    /// 16-bit levels; `weight = value · scale` of its channel.
    I16 {
        /// `rows · cols` levels of ±32767.
        values: &'a [i16],
        /// One scale per channel, above 0.
        scale: &'a [f32],
    },
    /// 8-bit levels; `weight = value · scale` of its channel.
    I8 {
        /// `rows · cols` levels of ±127.
        values: &'a [i8],
        /// One scale per channel, above 0.
        scale: &'a [f32],
    },
}

/// Which line of a stored matrix shares a scale: that of one output of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ScaleAxis {
    /// One scale per row: a row is an output (`encoder.input`).
    Row,
    /// One scale per column: a column is an output (every other matrix).
    Column,
}

/// A matrix in a model file, row-major, in the stored orientation.
///
/// In what [`ModelFile::read`] returns the lengths agree: `rows · cols` values, and `rows` or
/// `cols` scales after `scale_axis`. `scale_axis` says nothing for `f32` weights.
#[derive(Clone, Copy, PartialEq)]
pub struct MatrixRef<'a> {
    /// Rows of the stored matrix.
    pub rows: usize,
    /// Columns of the stored matrix, the length of a contiguous row.
    pub cols: usize,
    /// The numbers.
    pub weights: Weights<'a>,
    /// What a scale belongs to.
    pub scale_axis: ScaleAxis,
}

impl<'a> MatrixRef<'a> {
    /// A matrix of `f32` over a caller's numbers; `None` if there are not `rows · cols` of them.
    ///
    /// ```
    /// use sparsecode_formats::MatrixRef;
    ///
    /// let matrix = MatrixRef::from_f32(2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    /// assert_eq!(matrix.weight(1, 0), Some(4.0));
    /// assert!(MatrixRef::from_f32(2, 2, &[1.0]).is_none());
    /// ```
    #[must_use]
    pub fn from_f32(rows: usize, cols: usize, values: &'a [f32]) -> Option<Self> {
        (rows.checked_mul(cols)? == values.len()).then_some(Self {
            rows,
            cols,
            weights: Weights::F32(values),
            scale_axis: ScaleAxis::Column,
        })
    }

    /// The number type.
    #[must_use]
    pub const fn weight_type(&self) -> WeightType {
        match self.weights {
            Weights::F32(_) => WeightType::F32,
            Weights::I16 { .. } => WeightType::I16,
            Weights::I8 { .. } => WeightType::I8,
        }
    }

    /// The scales, one per channel; empty for `f32`.
    #[must_use]
    pub const fn scale(&self) -> &'a [f32] {
        match self.weights {
            Weights::F32(_) => &[],
            Weights::I16 { scale, .. } | Weights::I8 { scale, .. } => scale,
        }
    }

    /// One weight, scale applied (`level as f32 * scale`); `None` outside the matrix.
    #[must_use]
    pub fn weight(&self, row: usize, col: usize) -> Option<f32> {
        if row >= self.rows || col >= self.cols {
            return None;
        }
        let index = row.checked_mul(self.cols)?.checked_add(col)?;
        let channel = match self.scale_axis {
            ScaleAxis::Row => row,
            ScaleAxis::Column => col,
        };
        match self.weights {
            Weights::F32(values) => values.get(index).copied(),
            Weights::I16 { values, scale } => {
                Some(f32::from(*values.get(index)?) * scale.get(channel)?)
            }
            Weights::I8 { values, scale } => {
                Some(f32::from(*values.get(index)?) * scale.get(channel)?)
            }
        }
    }

    /// Bytes of flash: values and scales.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        match self.weights {
            Weights::F32(values) => size_of_val(values),
            Weights::I16 { values, scale } => size_of_val(values) + size_of_val(scale),
            Weights::I8 { values, scale } => size_of_val(values) + size_of_val(scale),
        }
    }
}

impl fmt::Debug for MatrixRef<'_> {
    // Without the numbers, of which there may be a million.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MatrixRef({}x{} {})",
            self.rows,
            self.cols,
            self.weight_type()
        )
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for MatrixRef<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(
            f,
            "{=usize}x{=usize} {=str}",
            self.rows,
            self.cols,
            self.weight_type().name()
        );
    }
}

/// The LISTA encoder: `u = U y + b`, `z ← relu(u + S z)`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Encoder<'a> {
    /// `encoder.input`, U \[l, d\]: a row per code component, scales per row.
    pub input: MatrixRef<'a>,
    /// `encoder.bias`, b \[l\].
    pub bias: &'a [f32],
    /// `encoder.recurrent`, Sᵀ \[l, l\]: row k is column k of S, what an active component k adds to
    /// every component. Scales per column.
    pub recurrent: MatrixRef<'a>,
}

/// The encoder of a model that denoises: steps on the Gram matrix of its linear decoder. From z =
/// 0, `z ← relu(z + g_t (Wᵀy − WᵀW z − σ θ_t))` with σ the deviation of the noise; the decoder's
/// answer is `W (γ ∘ z)`.
#[cfg(feature = "denoise")]
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Gram<'a> {
    /// `encoder.steps`, g \[T\]: a step for each iteration.
    pub steps: &'a [f32],
    /// `encoder.thresholds`, θ \[T, l\], for noise of deviation 1; they may be negative.
    pub thresholds: &'a [f32],
    /// `decoder.gain`, γ \[l\]: what each component counts in the decoder's answer.
    pub gain: &'a [f32],
    /// `noise_level`: the σ to take where nobody knows another, in preprocessed units; finite and
    /// above 0.
    pub noise_level: f32,
    /// How windows follow one another, and what surrounds the network.
    pub stream: StreamSpec<'a>,
}

/// The encoder of models that denoise. Without the feature `denoise` there is none, and an option
/// of it takes no room.
#[cfg(not(feature = "denoise"))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gram<'a>(core::convert::Infallible, core::marker::PhantomData<&'a ()>);

/// How a model that denoises is used on a signal or a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StreamSpec<'a> {
    /// `window.weights`: what each sample of a window counts where windows overlap \[d\]; for
    /// patches, of which a pixel counts the product, its row \[h\] and then its column \[w\]. From
    /// 1e-6 to 1e6.
    pub weights: &'a [f32],
    /// `hop`: samples from one window to the next, or pixels from one patch to the next, both ways;
    /// 1 to d, or to the patch's shorter side.
    pub hop: u16,
    /// `drift`: the length of the means that are taken off a signal before all else; `None` if
    /// nothing is.
    pub drift: Option<u16>,
    /// `noise`: whether the noise of training was white, so that its deviation can be estimated
    /// from the signal.
    pub is_white: bool,
    /// `guard`, c: where the mean square of what is taken off is r, the share `max(0, 1 − c σ²/r)`
    /// of it is given back. Finite and not negative; 0 gives everything back.
    pub guard: f32,
}

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
    /// The LISTA encoder, except in decoder-only models and in those that denoise.
    pub encoder: Option<Encoder<'a>>,
    /// The encoder of models that denoise.
    pub gram: Option<Gram<'a>>,
    /// The decoder.
    pub decoder: Decoder<'a>,
    checksum: u32,
    bytes: &'a [u8],
    header_len: usize,
}

impl<'a> ModelFile<'a> {
    /// Reads a model in place. `bytes` is the whole file and nothing else, and starts on a boundary
    /// of [`MIN_ALIGNMENT`] bytes: see [`include_model!`](crate::include_model) and
    /// [`Aligned`](crate::Aligned).
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

/// 4-bit weights in a model for arithmetic in `f32`.
pub(crate) const NOT_FOR_FLOATS: SpecError = SpecError {
    field: "weights",
    expected: "f32, i16 or i8 (i4 is for arithmetic in integers)",
};

/// Whether `slot` can be read in place.
pub(crate) fn check_place(slot: &[u8]) -> Result<(), ReadError> {
    let address = slot.as_ptr().addr();
    if address.is_multiple_of(MIN_ALIGNMENT) {
        Ok(())
    } else {
        Err(ReadError::MisalignedBuffer {
            remainder: address % 8,
        })
    }
}

/// Hands out the tensors of a header, each checked.
pub(crate) struct Tensors<'h, 'a, const T: usize, const K: usize> {
    header: &'h Header<'a, T, K>,
    taken: [bool; T],
}

impl<'h, 'a, const T: usize, const K: usize> Tensors<'h, 'a, T, K> {
    /// Refuses tensors that the schema does not know.
    pub(crate) fn new(header: &'h Header<'a, T, K>) -> Result<Self, ReadError> {
        match header.unknown_tensor {
            Some(name) => Err(ReadError::UnknownTensor { name }),
            None => Ok(Self {
                header,
                taken: [false; T],
            }),
        }
    }

    /// A matrix and, unless it is `f32`, its scales.
    fn matrix(
        &mut self,
        [name, scale_name]: [&'static str; 2],
        rows: usize,
        cols: usize,
        weights: WeightType,
        scale_axis: ScaleAxis,
    ) -> Result<MatrixRef<'a>, ReadError> {
        let shape = Dims::Matrix(rows, cols);
        let channels = match scale_axis {
            ScaleAxis::Row => rows,
            ScaleAxis::Column => cols,
        };
        let weights = match weights {
            WeightType::F32 => Weights::F32(finite(name, self.take(name, "F32", shape)?)?),
            WeightType::I16 => Weights::I16 {
                values: without_lowest(name, self.take(name, "I16", shape)?, i16::MIN)?,
                scale: self.scales(scale_name, channels)?,
            },
            WeightType::I8 => Weights::I8 {
                values: without_lowest(name, self.take(name, "I8", shape)?, i8::MIN)?,
                scale: self.scales(scale_name, channels)?,
            },
            WeightType::I4 => return Err(NOT_FOR_FLOATS.into()),
        };
        Ok(MatrixRef {
            rows,
            cols,
            weights,
            scale_axis,
        })
    }

    /// Whether the file has a tensor.
    pub(crate) fn has(&self, tensor: &'static str) -> bool {
        let names = &self.header.schema.tensors;
        let mut slots = names.iter().zip(&self.header.tensors);
        slots.any(|(known, info)| *known == tensor && info.is_some())
    }

    fn floats(&mut self, name: &'static str, length: usize) -> Result<&'a [f32], ReadError> {
        finite(name, self.take(name, "F32", Dims::Vector(length))?)
    }

    fn scales(&mut self, name: &'static str, length: usize) -> Result<&'a [f32], ReadError> {
        let scales = self.floats(name, length)?;
        match scales.iter().position(|&scale| scale <= 0.0) {
            None => Ok(scales),
            Some(index) => Err(ReadError::Scale {
                tensor: name,
                index,
            }),
        }
    }

    /// The data of one tensor, after its type, shape, place and alignment were checked.
    pub(crate) fn take<N: AnyBitPattern>(
        &mut self,
        tensor: &'static str,
        dtype: &'static str,
        shape: Dims,
    ) -> Result<&'a [N], ReadError> {
        let names = &self.header.schema.tensors;
        let mut slots = names.iter().zip(&self.header.tensors).zip(&mut self.taken);
        let info = match slots.find(|((known, _), _)| **known == tensor) {
            Some(((_, Some(info)), taken)) => {
                *taken = true;
                info
            }
            _ => return Err(ReadError::MissingTensor { tensor }),
        };
        if info.dtype != dtype {
            return Err(ReadError::Dtype {
                tensor,
                expected: dtype,
                found: Name::new(info.dtype),
            });
        }
        if info.shape != shape {
            return Err(ReadError::Shape {
                tensor,
                expected: shape,
                found: info.shape,
            });
        }
        let count = match shape {
            Dims::Vector(length) => Some(length),
            Dims::Matrix(rows, cols) => rows.checked_mul(cols),
            Dims::Rank(_) => None,
        };
        // A size beyond the address space fits no file: it fails the comparison below.
        let expected = count
            .and_then(|count| count.checked_mul(size_of::<N>()))
            .unwrap_or(usize::MAX);
        let data = self.header.data;
        let bytes = range(info)
            .and_then(|range| data.get(range))
            .filter(|bytes| bytes.len() == expected);
        let bytes = bytes.ok_or(ReadError::Offsets {
            tensor,
            begin: info.begin,
            end: info.end,
            expected,
            available: data.len(),
        })?;
        bytemuck::try_cast_slice(bytes).map_err(|_| ReadError::MisalignedTensor {
            tensor,
            alignment: align_of::<N>(),
        })
    }

    /// Demands that no tensor is left over and that the tensors fill the data without gap or
    /// overlap. Returns the length of the data.
    pub(crate) fn finish(&self) -> Result<usize, ReadError> {
        let names = &self.header.schema.tensors;
        let all = || names.iter().zip(&self.header.tensors).zip(&self.taken);
        if let Some(((tensor, _), _)) = all().find(|((_, info), taken)| info.is_some() && !**taken)
        {
            return Err(ReadError::UnexpectedTensor { tensor });
        }
        let placed = || all().filter_map(|((name, info), _)| Some((*name, range(info.as_ref()?)?)));
        for (index, (tensor, range)) in placed().enumerate() {
            let mut others = placed().take(index);
            if let Some((other, _)) =
                others.find(|(_, other)| range.start < other.end && other.start < range.end)
            {
                return Err(ReadError::Overlap { tensor, other });
            }
        }
        for (tensor, range) in placed() {
            let ends = placed().map(|(_, other)| other.end);
            let before = ends.filter(|&end| end <= range.start).max().unwrap_or(0);
            if before != range.start {
                return Err(ReadError::Gap {
                    tensor,
                    bytes: range.start - before,
                });
            }
        }
        Ok(placed().map(|(_, range)| range.end).max().unwrap_or(0))
    }
}

fn range(info: &TensorInfo<'_>) -> Option<core::ops::Range<usize>> {
    Some(usize::try_from(info.begin).ok()?..usize::try_from(info.end).ok()?)
}

fn finite<'a>(tensor: &'static str, values: &'a [f32]) -> Result<&'a [f32], ReadError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(index) => Err(ReadError::NonFinite { tensor, index }),
    }
}

pub(crate) fn without_lowest<'a, T: PartialEq>(
    tensor: &'static str,
    levels: &'a [T],
    lowest: T,
) -> Result<&'a [T], ReadError> {
    match levels.iter().position(|level| *level == lowest) {
        None => Ok(levels),
        Some(index) => Err(ReadError::Level { tensor, index }),
    }
}
