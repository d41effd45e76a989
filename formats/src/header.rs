//! The safetensors header as it stands in the file: which tensors, where, and the metadata's text.

use crate::decimal::{integer, real};
use crate::error::{Dims, Name, ReadError};
use crate::format::{FORMAT_VERSION, INTEGER_FORMAT_VERSION, MAX_HEADER_LEN};
use crate::json::Scanner;
use crate::preprocessing::Preprocessing;
use crate::spec::{CodeSign, InputShape, ModelSpec, Provenance, Variant};
use crate::widths::EncoderWidths;

/// What a version of the format may hold: `T` tensors and `K` metadata keys.
pub(crate) struct Schema<const T: usize, const K: usize> {
    /// `version` in the metadata.
    pub(crate) version: u32,
    /// Every tensor; [`Header::tensors`] is in this order.
    pub(crate) tensors: [&'static str; T],
    /// Every metadata key that is looked at.
    pub(crate) keys: [&'static str; K],
}

/// What only models that denoise have: nothing without the feature, so that the tables of other
/// programs have no room for it.
const fn of_denoising(names: &'static [&'static str]) -> &'static [&'static str] {
    if cfg!(feature = "denoise") {
        names
    } else {
        &[]
    }
}

/// What only variational models have.
const fn of_variational(names: &'static [&'static str]) -> &'static [&'static str] {
    if cfg!(feature = "variational") {
        names
    } else {
        &[]
    }
}

/// What is expected of the metadata key `hop`.
#[cfg(feature = "denoise")]
pub(crate) const HOP: &str =
    "an integer of 1 to the length of a window, or to the shorter side of a patch";

/// What is expected of the metadata key `drift`.
#[cfg(feature = "denoise")]
pub(crate) const DRIFT: &str = "an odd integer of 3 to 4095, or none; none for patches";

/// What is expected of the metadata key `noise`.
#[cfg(feature = "denoise")]
const NOISE: &str = "white or recorded";

/// One list after the other.
#[allow(clippy::indexing_slicing, reason = "the compiler runs it")]
const fn joined<const A: usize, const C: usize>(
    first: [&'static str; A],
    second: &[&'static str],
    third: &[&'static str],
) -> [&'static str; C] {
    let mut all = [""; C];
    let mut index = 0;
    while index < C {
        all[index] = if index < A {
            first[index]
        } else if index < A + second.len() {
            second[index - A]
        } else {
            third[index - A - second.len()]
        };
        index += 1;
    }
    all
}

/// Tensors and keys of models for arithmetic in `f32`.
pub(crate) const FLOAT_TENSORS: usize =
    12 + FLOAT_DENOISE_TENSORS.len() + FLOAT_VARIATIONAL_TENSORS.len();
pub(crate) const FLOAT_KEYS: usize = 22 + FLOAT_DENOISE_KEYS.len() + FLOAT_VARIATIONAL_KEYS.len();
const FLOAT_DENOISE_TENSORS: &[&str] = of_denoising(&[
    "encoder.steps",
    "encoder.thresholds",
    "decoder.gain",
    "window.weights",
]);
const FLOAT_DENOISE_KEYS: &[&str] = of_denoising(&[
    "drift",
    "gram_iterations",
    "guard",
    "hop",
    "noise",
    "noise_level",
]);
const FLOAT_VARIATIONAL_TENSORS: &[&str] = of_variational(&[
    "encoder.trunk.0",
    "encoder.trunk.0.scale",
    "encoder.trunk.0.bias",
    "encoder.trunk.1",
    "encoder.trunk.1.scale",
    "encoder.trunk.1.bias",
    "encoder.trunk.2",
    "encoder.trunk.2.scale",
    "encoder.trunk.2.bias",
    "encoder.trunk.3",
    "encoder.trunk.3.scale",
    "encoder.trunk.3.bias",
    "encoder.shift",
    "encoder.shift.scale",
    "encoder.shift.bias",
    "encoder.scale",
    "encoder.scale.scale",
    "encoder.scale.bias",
    "encoder.shrinkage",
    "encoder.shape",
    "encoder.shape.scale",
    "encoder.shape.bias",
    "encoder.rate",
    "encoder.rate.scale",
    "encoder.rate.bias",
    "code.thresholds",
    "input.mean",
]);
const FLOAT_VARIATIONAL_KEYS: &[&str] = of_variational(&[
    "code_gain",
    "encoder_widths",
    "posterior",
    "posterior_threshold",
    "selection",
]);

/// Models for arithmetic in `f32`.
pub(crate) static FLOAT: Schema<FLOAT_TENSORS, FLOAT_KEYS> = Schema {
    version: FORMAT_VERSION,
    tensors: joined(
        [
            "encoder.input",
            "encoder.input.scale",
            "encoder.bias",
            "encoder.recurrent",
            "encoder.recurrent.scale",
            "decoder.dictionary",
            "decoder.dictionary.scale",
            "decoder.hidden",
            "decoder.hidden.scale",
            "decoder.hidden_bias",
            "decoder.output",
            "decoder.output.scale",
        ],
        FLOAT_DENOISE_TENSORS,
        FLOAT_VARIATIONAL_TENSORS,
    ),
    keys: joined(
        [
            "atom_norm",
            "checksum",
            "code_dim",
            "codes",
            "commit",
            "config_hash",
            "contrast",
            "data",
            "deviation",
            "epoch",
            "format",
            "hidden_dim",
            "input_shape",
            "lambda",
            "lista_iterations",
            "mean",
            "peak",
            "seed",
            "step_size",
            "variant",
            "version",
            "weights",
        ],
        FLOAT_DENOISE_KEYS,
        FLOAT_VARIATIONAL_KEYS,
    ),
};

/// Tensors and keys of models for arithmetic in integers.
pub(crate) const INTEGER_TENSORS: usize =
    10 + INTEGER_DENOISE_TENSORS.len() + INTEGER_VARIATIONAL_TENSORS.len();
pub(crate) const INTEGER_KEYS: usize =
    38 + INTEGER_DENOISE_KEYS.len() + INTEGER_VARIATIONAL_KEYS.len();
const INTEGER_DENOISE_TENSORS: &[&str] =
    of_denoising(&["encoder.steps", "encoder.thresholds", "window.weights"]);
const INTEGER_DENOISE_KEYS: &[&str] = of_denoising(&[
    "drift",
    "gram_iterations",
    "gram_multiplier",
    "gram_shift",
    "guard",
    "hop",
    "noise",
    "noise_level",
    "threshold_shift",
]);
const INTEGER_VARIATIONAL_TENSORS: &[&str] = of_variational(&[
    "encoder.trunk.0",
    "encoder.trunk.0.multiplier",
    "encoder.trunk.0.bias",
    "encoder.trunk.1",
    "encoder.trunk.1.multiplier",
    "encoder.trunk.1.bias",
    "encoder.trunk.2",
    "encoder.trunk.2.multiplier",
    "encoder.trunk.2.bias",
    "encoder.trunk.3",
    "encoder.trunk.3.multiplier",
    "encoder.trunk.3.bias",
    "encoder.shift",
    "encoder.shift.multiplier",
    "encoder.shift.bias",
    "encoder.scale",
    "encoder.scale.multiplier",
    "encoder.scale.bias",
    "encoder.shrinkage",
    "code.thresholds",
    "input.mean",
]);
const INTEGER_VARIATIONAL_KEYS: &[&str] =
    of_variational(&["code_gain", "encoder_widths", "layer_shifts", "selection"]);

/// Models for arithmetic in integers.
pub(crate) static INTEGER: Schema<INTEGER_TENSORS, INTEGER_KEYS> = Schema {
    version: INTEGER_FORMAT_VERSION,
    tensors: joined(
        [
            "encoder.input",
            "encoder.input.multiplier",
            "encoder.bias",
            "encoder.recurrent",
            "encoder.recurrent.multiplier",
            "decoder.dictionary",
            "decoder.dictionary.multiplier",
            "refiner.gram",
            "refiner.correlation.multiplier",
            "refiner.correlation.bias",
        ],
        INTEGER_DENOISE_TENSORS,
        INTEGER_VARIATIONAL_TENSORS,
    ),
    keys: joined(
        [
            "activations",
            "atom_norm",
            "checksum",
            "code_dim",
            "code_scale",
            "codes",
            "commit",
            "config_hash",
            "contrast",
            "contrast_floor",
            "correlation_shift",
            "data",
            "deviation",
            "drive_fraction",
            "epoch",
            "format",
            "gram_fraction",
            "hidden_dim",
            "input_max",
            "input_min",
            "input_scale",
            "input_shape",
            "input_shift",
            "lambda",
            "lista_iterations",
            "mean",
            "output_multiplier",
            "output_offset",
            "output_shift",
            "peak",
            "point_fraction",
            "recurrent_shift",
            "seed",
            "step_size",
            "threshold",
            "variant",
            "version",
            "weights",
        ],
        INTEGER_DENOISE_KEYS,
        INTEGER_VARIATIONAL_KEYS,
    ),
};

/// What is known of the raw samples, in files of either version. All keys may be missing. Host
/// programs alone read them: no table of theirs takes room in the other schemas, and so on a
/// device's stack.
pub(crate) static INPUT: Schema<0, 6> = Schema {
    version: 0,
    tensors: [],
    keys: [
        "format",
        "number_type",
        "raw_max",
        "raw_min",
        "sample_rate",
        "version",
    ],
};

/// A tensor as the header describes it, unchecked.
#[derive(Clone, Copy)]
pub(crate) struct TensorInfo<'a> {
    pub(crate) dtype: &'a str,
    pub(crate) shape: Dims,
    pub(crate) begin: u64,
    pub(crate) end: u64,
}

/// A header, and the bytes behind it.
pub(crate) struct Header<'a, const T: usize, const K: usize> {
    pub(crate) schema: &'static Schema<T, K>,
    pub(crate) tensors: [Option<TensorInfo<'a>>; T],
    pub(crate) unknown_tensor: Option<Name>,
    metadata: [Option<&'a str>; K],
    /// Bytes before `data`.
    pub(crate) len: usize,
    pub(crate) data: &'a [u8],
}

impl<'a, const T: usize, const K: usize> Header<'a, T, K> {
    /// A header with nothing in it, to [`read`](Self::read) into.
    #[inline(always)] // a call would build it twice on the stack
    pub(crate) const fn empty(schema: &'static Schema<T, K>) -> Self {
        Self {
            schema,
            tensors: [None; T],
            unknown_tensor: None,
            metadata: [None; K],
            len: 0,
            data: &[],
        }
    }

    /// Reads the length, checks the text, and fills the tables, which must be empty. Nothing is
    /// compared with the format's rules yet.
    // Into a place that is there, and in a frame of its own: the tables take most of the stack that
    // loading needs.
    #[inline(never)]
    pub(crate) fn read(&mut self, bytes: &'a [u8]) -> Result<(), ReadError> {
        let truncated = |needed| ReadError::Truncated {
            needed,
            found: bytes.len(),
        };
        let (length, rest) = bytes.split_first_chunk().ok_or(truncated(8))?;
        let stated = u64::from_le_bytes(*length);
        let length = usize::try_from(stated).unwrap_or(usize::MAX);
        if length > MAX_HEADER_LEN {
            return Err(ReadError::HeaderLength { length: stated });
        }
        let (text, data) = rest.split_at_checked(length).ok_or(truncated(8 + stated))?;
        let text = core::str::from_utf8(text).map_err(|error| ReadError::HeaderUtf8 {
            position: error.valid_up_to(),
        })?;

        self.len = 8 + length;
        self.data = data;
        let mut has_metadata = false;
        let mut scanner = Scanner::new(text);
        scanner.object(|scanner, key| {
            if key == "__metadata__" {
                if has_metadata {
                    return Err(ReadError::DuplicateField {
                        tensor: "header",
                        field: "__metadata__",
                    });
                }
                has_metadata = true;
                self.read_metadata(scanner)
            } else {
                self.read_tensor(scanner, key)
            }
        })?;
        scanner.end()?;
        if !has_metadata {
            return Err(ReadError::MissingField {
                tensor: "header",
                field: "__metadata__",
            });
        }
        Ok(())
    }

    fn read_metadata(&mut self, scanner: &mut Scanner<'a>) -> Result<(), ReadError> {
        scanner.object(|scanner, key| {
            let value = scanner.string()?;
            // Keys of other programs, and of later minor additions, are passed over.
            let known = self
                .schema
                .keys
                .iter()
                .zip(&mut self.metadata)
                .find(|(known, _)| **known == key);
            if let Some((key, slot)) = known
                && slot.replace(value).is_some()
            {
                return Err(ReadError::DuplicateMetadata { key });
            }
            Ok(())
        })
    }

    fn read_tensor(&mut self, scanner: &mut Scanner<'a>, name: &str) -> Result<(), ReadError> {
        let known = self
            .schema
            .tensors
            .iter()
            .zip(&mut self.tensors)
            .find(|(known, _)| **known == name);
        match known {
            Some((name, slot)) => {
                if slot.replace(read_tensor_info(scanner, name)?).is_some() {
                    return Err(ReadError::DuplicateTensor { tensor: name });
                }
            }
            None => {
                read_tensor_info(scanner, "an unknown tensor")?;
                self.unknown_tensor = self.unknown_tensor.or(Some(Name::new(name)));
            }
        }
        Ok(())
    }

    pub(crate) fn text(&self, key: &'static str) -> Result<&'a str, ReadError> {
        let found = self
            .schema
            .keys
            .iter()
            .zip(&self.metadata)
            .find(|(known, _)| **known == key);
        found
            .and_then(|(_, value)| *value)
            .ok_or(ReadError::MissingMetadata { key })
    }

    /// The value of `key` through `parse`, if the key is there.
    pub(crate) fn optional<V>(
        &self,
        key: &'static str,
        expected: &'static str,
        parse: impl Fn(&'a str) -> Option<V>,
    ) -> Result<Option<V>, ReadError> {
        match self.value(key, expected, parse) {
            Err(ReadError::MissingMetadata { .. }) => Ok(None),
            value => value.map(Some),
        }
    }

    /// The value of `key` through `parse`.
    pub(crate) fn value<V>(
        &self,
        key: &'static str,
        expected: &'static str,
        parse: impl Fn(&'a str) -> Option<V>,
    ) -> Result<V, ReadError> {
        parse(self.text(key)?).ok_or(ReadError::InvalidMetadata { key, expected })
    }

    /// Whether this is a model file of this version; to be asked before anything else.
    pub(crate) fn check_version(&self) -> Result<(), ReadError> {
        self.value("format", "sparsecode", |text| {
            (text == "sparsecode").then_some(())
        })?;
        let found = self.value("version", "an integer", integer)?;
        if found == self.schema.version {
            Ok(())
        } else {
            Err(ReadError::UnsupportedVersion { found })
        }
    }

    /// The metadata, every value in its range.
    #[inline(never)] // gives its stack back before the tensors are looked at
    pub(crate) fn spec(&self) -> Result<ModelSpec<'a>, ReadError> {
        let float = |key| self.value(key, "a finite decimal number", real);
        let dimension = |key| self.value(key, "an integer of 0 to 65535", integer::<u16>);
        let lista = |text: &str| {
            if text == "none" {
                Some(None)
            } else {
                integer(text).map(Some)
            }
        };
        let lista_iterations = self.value("lista_iterations", "none or 0 to 255", lista)?;
        let gram_iterations = self.gram_iterations()?;
        let variant = self.text("variant")?.parse::<Variant>()?;
        let spec = ModelSpec {
            variant,
            input_shape: self.text("input_shape")?.parse::<InputShape>()?,
            code_dim: dimension("code_dim")?,
            hidden_dim: dimension("hidden_dim")?,
            lista_iterations,
            gram_iterations,
            encoder_widths: self.encoder_widths()?,
            codes: self.codes(variant)?,
            lambda: float("lambda")?,
            step_size: float("step_size")?,
            atom_norm: float("atom_norm")?,
            weights: self.text("weights")?.parse()?,
            preprocessing: Preprocessing {
                mean: float("mean")?,
                deviation: float("deviation")?,
                contrast: self.text("contrast")?.parse()?,
            },
            peak: float("peak")?,
            provenance: Provenance {
                data: self.text("data")?,
                seed: self.value("seed", "an integer below 2^64", integer)?,
                epoch: self.value("epoch", "an integer below 2^32", integer)?,
                commit: self.text("commit")?,
                config_hash: self.text("config_hash")?,
            },
        };
        spec.check()?;
        Ok(spec)
    }

    /// T of an encoder on the Gram matrix, where the metadata states one.
    pub(crate) fn gram_iterations(&self) -> Result<Option<u8>, ReadError> {
        if !cfg!(feature = "denoise") {
            return Ok(None);
        }
        self.optional("gram_iterations", "1 to 255", |text| {
            integer::<u8>(text).filter(|count| *count > 0)
        })
    }

    /// Widths of a dense encoder, where the metadata states any.
    pub(crate) fn encoder_widths(&self) -> Result<Option<EncoderWidths>, ReadError> {
        if !cfg!(feature = "variational") {
            return Ok(None);
        }
        match self.text("encoder_widths") {
            Ok(text) => Ok(Some(text.parse()?)),
            Err(_) => Ok(None),
        }
    }

    /// Whether the metadata names the scale head, and not the shift, as what selects components.
    #[cfg(feature = "variational")]
    pub(crate) fn selects_by_scale(&self) -> Result<bool, ReadError> {
        self.value("selection", "shift or scale", |text| match text {
            "shift" => Some(false),
            "scale" => Some(true),
            _ => None,
        })
    }

    /// Samples from one window to the next, within a window of `window` samples.
    #[cfg(feature = "denoise")]
    pub(crate) fn hop(&self, shape: InputShape) -> Result<u16, ReadError> {
        self.value("hop", HOP, |text| {
            integer::<u16>(text).filter(|hop| (1..=shape.longest_hop()).contains(hop))
        })
    }

    /// The length of the means that are drift; `None` where the metadata states none.
    #[cfg(feature = "denoise")]
    pub(crate) fn drift(&self, shape: InputShape) -> Result<Option<u16>, ReadError> {
        self.optional("drift", DRIFT, |text| {
            let odd = |length: &u16| (3..=4095).contains(length) && length % 2 == 1;
            integer::<u16>(text).filter(|length| shape.is_window() && odd(length))
        })
    }

    /// Whether the noise that a model was trained for is white; the metadata states another kind.
    #[cfg(feature = "denoise")]
    pub(crate) fn is_white(&self) -> Result<bool, ReadError> {
        let stated = self.optional("noise", NOISE, |text| match text {
            "white" => Some(true),
            "recorded" => Some(false),
            _ => None,
        })?;
        Ok(stated.unwrap_or(true))
    }

    /// Which signs codes have; non-negative where the metadata does not say.
    pub(crate) fn codes(&self, variant: Variant) -> Result<CodeSign, ReadError> {
        match self.text("codes") {
            Ok("signed") if !variant.has_relu() => Ok(CodeSign::Signed),
            Ok("non-negative") | Err(_) => Ok(CodeSign::NonNegative),
            Ok(_) => Err(CodeSign::ERROR.into()),
        }
    }

    /// The CRC-32 that the metadata states.
    pub(crate) fn checksum(&self) -> Result<u32, ReadError> {
        let hexadecimal = |text: &str| {
            let digits = text.len() == 8
                && text
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if digits {
                u32::from_str_radix(text, 16).ok()
            } else {
                None
            }
        };
        self.value("checksum", "8 lower-case hexadecimal digits", hexadecimal)
    }
}

fn read_tensor_info<'a>(
    scanner: &mut Scanner<'a>,
    tensor: &'static str,
) -> Result<TensorInfo<'a>, ReadError> {
    let (mut dtype, mut shape, mut offsets) = (None, None, None);
    scanner.object(|scanner, key| {
        let (field, twice) = match key {
            "dtype" => ("dtype", dtype.replace(scanner.string()?).is_some()),
            "shape" => {
                let (dims, rank) = pair(scanner)?;
                let found = match (rank, dims.map(usize::try_from)) {
                    (1, [Ok(length), _]) => Dims::Vector(length),
                    (2, [Ok(rows), Ok(cols)]) => Dims::Matrix(rows, cols),
                    (1 | 2, _) => {
                        return Err(scanner.error("dimensions that fit the address space"));
                    }
                    _ => Dims::Rank(rank),
                };
                ("shape", shape.replace(found).is_some())
            }
            "data_offsets" => match pair(scanner)? {
                (found, 2) => ("data_offsets", offsets.replace(found).is_some()),
                _ => return Err(scanner.error("two data_offsets")),
            },
            _ => return Err(scanner.error("only dtype, shape and data_offsets")),
        };
        if twice {
            Err(ReadError::DuplicateField { tensor, field })
        } else {
            Ok(())
        }
    })?;
    let missing = |field| ReadError::MissingField { tensor, field };
    let [begin, end] = offsets.ok_or(missing("data_offsets"))?;
    Ok(TensorInfo {
        dtype: dtype.ok_or(missing("dtype"))?,
        shape: shape.ok_or(missing("shape"))?,
        begin,
        end,
    })
}

/// The first two numbers of an array, and how many there are.
fn pair(scanner: &mut Scanner<'_>) -> Result<([u64; 2], usize), ReadError> {
    let (mut first, mut second, mut count) = (0, 0, 0);
    scanner.integers(|value| {
        match count {
            0 => first = value,
            1 => second = value,
            _ => {}
        }
        count += 1;
    })?;
    Ok(([first, second], count))
}
