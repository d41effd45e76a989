//! Reading a model for integer arithmetic in place, without a floating-point operation.

mod denoiser;
mod variational;

use super::blocks::{Blocks, LANES, WeightBlocks};
use super::contrast::{IntegerContrast, Units};
use super::gram;
use super::limits::LEAST_STEP_SHIFT;
use super::lista::IntegerEncoder;
use super::rescale::{Rescale, Rescales};
use super::source::{
    Source, Store, blocks, bytes, contributions, multipliers, offsets, small, stored_shape, weights,
};
use super::spec::IntegerSpec;
use crate::checksum::crc32;
use crate::decimal::{integer, signed_integer};
use crate::error::ReadError;
use crate::header::{Header, INTEGER, INTEGER_KEYS, INTEGER_TENSORS};
use crate::spec::{CodeSign, ModelSpec, Variant, WeightType};
use crate::tensors::{Tensors, check_place, without_lowest};

#[cfg(feature = "denoise")]
use denoiser::read_gram;
pub use denoiser::{IntegerGram, IntegerStreamSpec};
pub use variational::IntegerVariational;
#[cfg(feature = "variational")]
pub use variational::{IntegerLayer, IntegerVariationalBody};

/// The linear decoder in integers: `v_k = (z_k · multiplier_k + 2^14) >> 15`, `r = rescale(Σ_k v_k
/// W_k) + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntegerDecoder<'a> {
    /// Wᵀ \[l, d\], an atom per row.
    pub dictionary: WeightBlocks<'a>,
    /// Scale of each atom beside the largest, which is at most 32767; with 8-bit codes 256 times as
    /// much.
    pub multiplier: &'a [i32],
    /// From sums to raw levels (standardised patches: to 1/4096 of a deviation); its shift is at
    /// least 33.
    pub output: Rescale,
    /// The normalisation's mean in raw levels.
    pub offset: i16,
}

/// FISTA in integers, for `Ĝ = ρ·WᵀW` and `ĉ = ρ·Wᵀy` with a step ρ that is folded in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntegerRefiner<'a> {
    /// `Ĝ` \[l, l\] with `gram_fraction` fractional bits; as written, it is symmetric and none of
    /// its eigenvalues exceeds 1.
    pub gram: Blocks<'a, i16>,
    /// Fractional bits of `gram`, not fewer than those of a point; 1 to 24.
    pub gram_fraction: u8,
    /// Fractional bits of a point: a point is a code with so many more bits, beside
    /// [`fine_bits`](crate::Activations::fine_bits); 1 to 13.
    pub point_fraction: u8,
    /// From sums of the dictionary and a sample's levels to `ĉ` in points.
    pub correlation: Rescales<'a>,
    /// What the normalisation's mean adds to `ĉ`; within ±2²⁹.
    pub bias: &'a [i32],
    /// λη in points, not negative.
    pub threshold: i32,
    /// Which signs the levels of codes have; non-negative with an encoder.
    pub codes: CodeSign,
}

/// Memory for the Gram matrix of a file that does not store it.
pub(crate) enum GramMemory<'a> {
    /// To build it in.
    Empty(&'a mut [i16]),
    /// With what was built from the same file before.
    #[cfg_attr(not(feature = "std"), allow(dead_code))]
    Built(&'a [i16]),
}

/// A model for integer arithmetic in a buffer: slices of it, and the integers of its metadata.
///
/// Version 2 of the format; see `docs/model-file.md`. Reading it, and running it, takes no
/// floating-point operation: a build for a core without a floating-point unit links none of its
/// emulation. [`spec`](Self::spec) has the metadata's real numbers for hosts.
#[derive(Clone, Copy, Debug)]
pub struct IntegerFile<'a> {
    /// Dimensions and levels.
    pub spec: IntegerSpec,
    /// The LISTA encoder; `None` in decoder-only models, in those that denoise and in variational
    /// ones.
    pub encoder: Option<IntegerEncoder<'a>>,
    /// The encoder of models that denoise.
    pub gram: Option<IntegerGram<'a>>,
    /// The encoder of variational models.
    pub variational: Option<IntegerVariational<'a>>,
    /// The decoder.
    pub decoder: IntegerDecoder<'a>,
    /// Refinement.
    pub refiner: IntegerRefiner<'a>,
    checksum: u32,
    bytes: &'a [u8],
    data: &'a [u8],
}

impl<'a> IntegerFile<'a> {
    /// Reads a model in place. `bytes` is the whole file and nothing else, and starts on a boundary
    /// of [`MIN_ALIGNMENT`](crate::MIN_ALIGNMENT) bytes: see
    /// [`include_model!`](crate::include_model) and [`Aligned`](crate::Aligned).
    ///
    /// Nothing in `bytes` is trusted: every shape and range that the fields' documentation states
    /// holds for what is returned. That no sum overflows is proved when the file is written, and
    /// can be proved again with [`prove`](Self::prove); a file that lies about it gives wrong
    /// numbers, and nothing worse. Never panics, never allocates.
    ///
    /// Cost: one pass over the file, once.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, as a [`ReadError`] that names it;
    /// [`ReadError::GramMemory`] for a file that does not store its Gram matrix.
    pub fn read(bytes: &'a [u8]) -> Result<Self, ReadError> {
        Self::read_from(bytes, GramMemory::Empty(&mut []))
    }

    /// The same with memory for the Gram matrix of a file that does not store it: `l · 8 · ⌈l/8⌉`
    /// numbers, [`gram_levels`](Self::gram_levels). What is built there has the bits of what the
    /// writer would have stored. A file that stores its Gram matrix leaves the memory alone.
    ///
    /// Cost: one pass over the file, and `l² · d / 2` multiply-adds for the matrix.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); [`ReadError::GramMemory`] if there is too little memory.
    pub fn read_into(bytes: &'a [u8], memory: &'a mut [i16]) -> Result<Self, ReadError> {
        Self::read_from(bytes, GramMemory::Empty(memory))
    }

    pub(crate) fn read_from(bytes: &'a [u8], memory: GramMemory<'a>) -> Result<Self, ReadError> {
        let mut header = Header::empty(&INTEGER);
        header.read(bytes)?;
        check_place(bytes)?;
        header.check_version()?;
        let weights =
            header.value(
                "weights",
                "i8 or i4 (for arithmetic in integers)",
                |text| match text {
                    "i8" => Some(WeightType::I8),
                    "i4" => Some(WeightType::I4),
                    _ => None,
                },
            )?;
        header.value("hidden_dim", "0: integer models are linear", |text| {
            (text == "0").then_some(())
        })?;
        let spec = read_spec(&header)?;
        let checksum = header.checksum()?;
        let mut tensors = Tensors::new(&header)?;
        let encoder = read_encoder(&header, &mut tensors, &spec, weights)?;
        let decoder = read_decoder(&header, &mut tensors, &spec, weights)?;
        #[cfg(feature = "denoise")]
        let gram = read_gram(&header, &mut tensors, &spec)?;
        #[cfg(not(feature = "denoise"))]
        let gram = None;
        #[cfg(feature = "variational")]
        let (spec, encoder, variational) = match spec.variant {
            Variant::Variational => {
                let (spec, read) =
                    variational::read(&header, &mut tensors, spec, weights, encoder)?;
                (spec, None, Some(read))
            }
            _ => (spec, encoder, None),
        };
        #[cfg(not(feature = "variational"))]
        let variational = None;
        let refiner = read_refiner(&header, &mut tensors, &spec, &decoder.dictionary, memory)?;
        let data_len = tensors.finish()?;
        match header.data.len().saturating_sub(data_len) {
            0 => Ok(Self {
                spec,
                encoder,
                gram,
                variational,
                decoder,
                refiner,
                checksum,
                bytes,
                data: header.data,
            }),
            bytes => Err(ReadError::TrailingData { bytes }),
        }
    }

    /// Numbers that the Gram matrix of a model with so many atoms takes.
    #[must_use]
    pub const fn gram_levels(code_dim: usize) -> usize {
        code_dim.saturating_mul(code_dim.next_multiple_of(LANES))
    }

    /// The metadata with its real numbers: λ, scales, provenance. For hosts: it reads the header
    /// again, in `f32`.
    ///
    /// # Errors
    ///
    /// The first value that is missing or out of range.
    #[inline(never)]
    pub fn spec(&self) -> Result<ModelSpec<'a>, ReadError> {
        self.header()?.spec()
    }

    /// What one level is in real units: of a raw sample (of a normalised one under
    /// [`External`](IntegerContrast::External)), and of a code component. For hosts.
    ///
    /// # Errors
    ///
    /// A value that is missing or not above 0.
    #[inline(never)]
    pub fn scales(&self) -> Result<(f32, f32), ReadError> {
        let header = self.header()?;
        let scale = |key| {
            header.value(key, "a finite decimal number above 0", |text| {
                crate::decimal::real(text).filter(|value| *value > 0.0)
            })
        };
        Ok((scale("input_scale")?, scale("code_scale")?))
    }

    /// What every kind of level is worth in the units of the model. For hosts.
    ///
    /// # Errors
    ///
    /// A value of the metadata that is missing or out of range.
    #[inline(never)]
    pub fn units(&self) -> Result<Units, ReadError> {
        let (input, code) = self.scales()?;
        Ok(Units::new(&self.spec()?.preprocessing, input, code))
    }

    /// The threshold of refinement for another λ than that of training: λη in points, rounded. For
    /// hosts.
    ///
    /// # Errors
    ///
    /// A value of the metadata that is missing or out of range.
    #[inline(never)]
    pub fn threshold(&self, lambda: f32) -> Result<i32, ReadError> {
        let (_, code_scale) = self.scales()?;
        let bits = u32::from(self.refiner.point_fraction) + self.spec.activations.fine_bits();
        let point = f64::from(code_scale) / f64::from(1_u32 << bits);
        let threshold = f64::from(lambda) * f64::from(self.spec()?.step_size) / point;
        // Rounds halves up; the conversion saturates, and NaN is 0.
        Ok(((threshold + 0.5) as i32).max(0))
    }

    fn header(&self) -> Result<Header<'a, INTEGER_TENSORS, INTEGER_KEYS>, ReadError> {
        let mut header = Header::empty(&INTEGER);
        header.read(self.bytes)?;
        Ok(header)
    }

    /// Compares the tensor data with the CRC-32 in the metadata; see
    /// [`ModelFile::verify_checksum`](crate::ModelFile::verify_checksum).
    ///
    /// # Errors
    ///
    /// [`ReadError::Checksum`].
    pub fn verify_checksum(&self) -> Result<(), ReadError> {
        let (stored, computed) = (self.checksum, crc32(self.data));
        if stored == computed {
            Ok(())
        } else {
            Err(ReadError::Checksum { stored, computed })
        }
    }

    /// Bytes of the whole file, and so of flash.
    #[must_use]
    pub const fn file_len(&self) -> usize {
        self.bytes.len()
    }

    /// The CRC-32 of the tensor data that the metadata states.
    #[must_use]
    pub const fn checksum(&self) -> u32 {
        self.checksum
    }
}

#[cfg(feature = "std")]
impl crate::align::AlignedBytes {
    /// The integer model in these bytes, with memory of theirs for a Gram matrix that the file
    /// does not store: [`IntegerFile::read_into`].
    ///
    /// # Errors
    ///
    /// As [`IntegerFile::read`].
    pub fn integer_file(&self) -> Result<IntegerFile<'_>, ReadError> {
        let needed = match IntegerFile::read(self) {
            Err(ReadError::GramMemory { needed, .. }) => needed,
            result => return result,
        };
        let gram = match self.gram.get() {
            Some(gram) => gram,
            None => {
                let mut gram = std::vec![0; needed];
                IntegerFile::read_into(self, &mut gram)?;
                self.gram.get_or_init(|| gram)
            }
        };
        IntegerFile::read_from(self, GramMemory::Built(gram))
    }
}

#[inline(never)] // gives its stack back before the tensors are looked at
fn read_spec(header: &Source<'_>) -> Result<IntegerSpec, ReadError> {
    let code_dim = header.value("code_dim", "an integer of 1 to 4095", |text| {
        // Offsets of rows of 16-bit blocks have 16 bits in the lists that kernels walk.
        integer::<u16>(text).filter(|dim| (1..=4095).contains(dim))
    })?;
    let level = |key, expected, good: fn(i16) -> bool| {
        header.value(key, expected, |text| {
            let level = i16::try_from(signed_integer(text)?).ok()?;
            good(level).then_some(level)
        })
    };
    let floor = header.value("contrast_floor", "an integer of 16 or more", |text| {
        integer::<u32>(text).filter(|floor| (16..=1 << 20).contains(floor))
    })?;
    let contrast = header.value(
        "contrast",
        "none, remove-mean, standardize:FLOOR or local:WINDOW:SIGMA:FLOOR",
        |text| match text {
            "none" => Some(IntegerContrast::None),
            "remove-mean" => Some(IntegerContrast::RemoveMean),
            _ if text.starts_with("standardize:") => Some(IntegerContrast::Standardize { floor }),
            _ if text.starts_with("local:") => Some(IntegerContrast::External),
            _ => None,
        },
    )?;
    let spec = IntegerSpec {
        variant: header.text("variant")?.parse()?,
        input_shape: header.text("input_shape")?.parse()?,
        code_dim,
        encoder_widths: header.encoder_widths()?,
        input_min: level("input_min", "an integer of -32767 to 0", |level| {
            (-i16::MAX..=0).contains(&level)
        })?,
        input_max: level("input_max", "an integer of 1 to 32767", |level| level > 0)?,
        contrast,
        activations: header.text("activations")?.parse()?,
    };
    if spec.activations.hold(spec.level_range()) {
        Ok(spec)
    } else {
        Err(ReadError::InvalidMetadata {
            key: "input_max",
            expected: "levels after the contrast within ±127 or 0 to 255 (with activations i8)",
        })
    }
}

fn read_encoder<'a>(
    header: &Source<'a>,
    tensors: &mut Store<'_, 'a>,
    spec: &IntegerSpec,
    bits: WeightType,
) -> Result<Option<IntegerEncoder<'a>>, ReadError> {
    let lista = header.value("lista_iterations", "none or 0 to 255", |text| {
        if text == "none" {
            Some(None)
        } else {
            integer::<u8>(text).map(Some)
        }
    })?;
    if !spec.variant.admits_lista(lista.is_some()) {
        return Err(ReadError::InvalidMetadata {
            key: "lista_iterations",
            expected: Variant::LISTA,
        });
    }
    let Some(iterations) = lista else {
        return Ok(None);
    };
    let (inputs, codes) = (spec.input_dim(), spec.code_dim());
    Ok(Some(IntegerEncoder {
        iterations,
        input: weights(tensors, "encoder.input", codes, inputs, bits)?,
        input_rescale: Rescales {
            multipliers: multipliers(tensors, "encoder.input.multiplier", codes)?,
            shift: small(header, "input_shift", "an integer of 1 to 62", 1, 62)?,
        },
        bias: offsets(tensors, "encoder.bias", codes)?,
        recurrent: bytes(tensors, "encoder.recurrent", codes, codes)?,
        recurrent_rescale: Rescales {
            multipliers: multipliers(tensors, "encoder.recurrent.multiplier", codes)?,
            shift: small(header, "recurrent_shift", "an integer of 33 to 62", 33, 62)?,
        },
        drive_fraction: small(header, "drive_fraction", "an integer of 0 to 8", 0, 8)?,
    }))
}

fn read_decoder<'a>(
    header: &Source<'a>,
    tensors: &mut Store<'_, 'a>,
    spec: &IntegerSpec,
    bits: WeightType,
) -> Result<IntegerDecoder<'a>, ReadError> {
    let multiplier = header.value(
        "output_multiplier",
        "an integer of 0 to 2147483647",
        |text| integer::<u32>(text).and_then(|value| i32::try_from(value).ok()),
    )?;
    let offset = header.value("output_offset", "an integer of -32768 to 32767", |text| {
        i16::try_from(signed_integer(text)?).ok()
    })?;
    let (inputs, codes) = (spec.input_dim(), spec.code_dim());
    Ok(IntegerDecoder {
        dictionary: weights(tensors, "decoder.dictionary", codes, inputs, bits)?,
        multiplier: contributions(tensors, codes, spec.activations)?,
        output: Rescale {
            multiplier,
            shift: small(header, "output_shift", "an integer of 33 to 62", 33, 62)?,
        },
        offset,
    })
}

fn read_refiner<'a>(
    header: &Source<'a>,
    tensors: &mut Store<'_, 'a>,
    spec: &IntegerSpec,
    dictionary: &WeightBlocks<'_>,
    memory: GramMemory<'a>,
) -> Result<IntegerRefiner<'a>, ReadError> {
    let codes = spec.code_dim();
    let name = "refiner.gram";
    let point_fraction = small(header, "point_fraction", "an integer of 1 to 13", 1, 13)?;
    let (least, fractions) = if cfg!(feature = "denoise") && spec.variant == Variant::Denoise {
        let least = point_fraction.saturating_add(LEAST_STEP_SHIFT);
        (
            least,
            "an integer of point_fraction + 2 to 24 for the variant denoise",
        )
    } else {
        (point_fraction, "an integer of point_fraction to 24")
    };
    let correlation = Rescales {
        multipliers: multipliers(tensors, "refiner.correlation.multiplier", codes)?,
        shift: small(header, "correlation_shift", "an integer of 1 to 62", 1, 62)?,
    };
    let levels =
        if cfg!(feature = "denoise") && spec.variant == Variant::Denoise && !tensors.has(name) {
            let needed = IntegerFile::gram_levels(codes);
            let by = Rescale {
                multiplier: header.value(
                    "gram_multiplier",
                    "an integer of 0 to 2147483647",
                    |text| integer::<u32>(text).and_then(|value| i32::try_from(value).ok()),
                )?,
                shift: small(header, "gram_shift", "an integer of 1 to 62", 1, 62)?,
            };
            let short = |found| ReadError::GramMemory { needed, found };
            match memory {
                GramMemory::Built(gram) => gram.get(..needed).ok_or(short(gram.len()))?,
                GramMemory::Empty(memory) => {
                    let found = memory.len();
                    let memory = memory.get_mut(..needed).ok_or(short(found))?;
                    gram::build(dictionary, correlation.multipliers, by, memory);
                    memory
                }
            }
        } else {
            let shape = stored_shape::<i16>(codes, codes);
            without_lowest(name, tensors.take(name, "I16", shape)?, i16::MIN)?
        };
    Ok(IntegerRefiner {
        gram: blocks(name, codes, codes, levels)?,
        gram_fraction: small(header, "gram_fraction", fractions, least, 24)?,
        point_fraction,
        correlation,
        bias: offsets(tensors, "refiner.correlation.bias", codes)?,
        threshold: header.value("threshold", "an integer of 0 to 2147483647", |text| {
            integer::<u32>(text).and_then(|value| i32::try_from(value).ok())
        })?,
        codes: header.codes(spec.variant)?,
    })
}
