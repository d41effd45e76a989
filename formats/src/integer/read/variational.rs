//! The part of variational models.

#[cfg(feature = "variational")]
use super::super::activations::Activations;
#[cfg(feature = "variational")]
use super::super::blocks::WeightBlocks;
#[cfg(feature = "variational")]
use super::super::contrast::IntegerContrast;
#[cfg(feature = "variational")]
use super::super::layers::{SCALE, SHIFT, TRUNK};
#[cfg(feature = "variational")]
use super::super::lista::IntegerEncoder;
#[cfg(feature = "variational")]
use super::super::rescale::Rescales;
#[cfg(feature = "variational")]
use super::super::source::{Source, Store, multipliers, offsets, small, weights};
#[cfg(feature = "variational")]
use super::super::spec::IntegerSpec;
#[cfg(feature = "variational")]
use crate::decimal::{integer, split_once};
#[cfg(feature = "variational")]
use crate::error::{Dims, ReadError};
#[cfg(feature = "variational")]
use crate::spec::{CodeSign, WeightType};
#[cfg(feature = "variational")]
use crate::widths::EncoderWidths;

/// A dense layer in integers: `x ↦ rescale(W x) + b`, in drives.
#[cfg(feature = "variational")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntegerLayer<'a> {
    /// W \[outputs, inputs\].
    pub weights: WeightBlocks<'a>,
    /// From sums to drives.
    pub rescale: Rescales<'a>,
    /// b \[outputs\]; within ±2²⁹.
    pub bias: &'a [i32],
}

/// What gives the shift of a variational model, in integers.
#[cfg(feature = "variational")]
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there is no allocator")]
pub enum IntegerVariationalBody<'a> {
    /// From levels `n` of a sample, `x = level(rescale(W_k x) + b_k)` for each layer of the trunk;
    /// then the shift is `rescale(W x) + b`, in drives.
    Dense {
        /// `encoder.trunk.0` … `encoder.trunk.3`: the first 1 to 4 are there.
        trunk: [Option<IntegerLayer<'a>>; EncoderWidths::MOST],
        /// `encoder.shift`: the head \[l, w\] on the w levels of the trunk.
        shift: IntegerLayer<'a>,
        /// Drives are levels with so many more bits; 0 to 8.
        drive_fraction: u8,
    },
    /// LISTA with signed shrinkage: the next level of a drive v is `sign(v)·level(|v| − θ)`. The
    /// shift is the last level.
    Lista {
        /// U, b, S and L.
        encoder: IntegerEncoder<'a>,
        /// `encoder.shrinkage`, θ \[l\] in drives; none is negative.
        shrinkage: &'a [i32],
    },
}

/// The encoder of a variational model in integers, with 16-bit activations. A level of the shift is
/// a level of the code, for the gain is in its unit: a selected component is the level of its
/// shift.
#[cfg(feature = "variational")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntegerVariational<'a> {
    /// What gives the shift.
    pub body: IntegerVariationalBody<'a>,
    /// `encoder.scale`: the head \[l, w\] whose output decides, on the levels of the trunk or, of a
    /// LISTA body, on the magnitudes of the shift's levels (w = l). `None`: the shift's magnitude
    /// decides.
    pub scale: Option<IntegerLayer<'a>>,
    /// `code.thresholds` \[l\]: a component is selected if what decides is above it. In the drives
    /// of the head that decides; in levels where the shift of a LISTA body does.
    pub thresholds: &'a [i32],
    /// `input.mean` \[d\]: what preprocessing takes off each raw level; between the smallest and
    /// the largest.
    pub input_mean: Option<&'a [i16]>,
}

/// The encoder of variational models. Without the feature `variational` there is none, and an
/// option of it takes no room.
#[cfg(not(feature = "variational"))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntegerVariational<'a>(core::convert::Infallible, core::marker::PhantomData<&'a ()>);

/// Reads the encoder; `lista` is U, b and S where the metadata states LISTA iterations. The
/// contrast of the specification follows from which tensors there are.
#[cfg(feature = "variational")]
#[inline(never)] // gives its stack back
pub(super) fn read<'a>(
    header: &Source<'a>,
    tensors: &mut Store<'_, 'a>,
    spec: IntegerSpec,
    bits: WeightType,
    lista: Option<IntegerEncoder<'a>>,
) -> Result<(IntegerSpec, IntegerVariational<'a>), ReadError> {
    let invalid = |key, expected| Err(ReadError::InvalidMetadata { key, expected });
    if spec.activations != Activations::I16 {
        return invalid("activations", "i16 for the variant variational");
    }
    if header.codes(spec.variant)? != CodeSign::Signed {
        return invalid("codes", "signed for the variant variational");
    }
    if spec.encoder_widths.is_some() != lista.is_none() {
        return invalid(
            "encoder_widths",
            "1 to 4 widths without lista_iterations, none with them",
        );
    }
    let mut shifts = Shifts::of(header);
    let codes = spec.code_dim();
    let mut inputs = spec.input_dim();
    let body = match lista {
        Some(encoder) => {
            inputs = codes;
            let tensor = "encoder.shrinkage";
            let shrinkage: &[i32] = tensors.take(tensor, "I32", Dims::Vector(codes))?;
            if let Some(index) = shrinkage.iter().position(|threshold| *threshold < 0) {
                return Err(ReadError::Negative { tensor, index });
            }
            IntegerVariationalBody::Lista { encoder, shrinkage }
        }
        None => {
            let mut trunk = [None; EncoderWidths::MOST];
            let widths = spec.encoder_widths.iter().flat_map(EncoderWidths::iter);
            for ((to, names), width) in trunk.iter_mut().zip(TRUNK).zip(widths) {
                let shift = shifts.next()?;
                *to = Some(layer(tensors, names, [width, inputs], bits, shift)?);
                inputs = width;
            }
            IntegerVariationalBody::Dense {
                trunk,
                shift: layer(tensors, SHIFT, [codes, inputs], bits, shifts.next()?)?,
                drive_fraction: small(header, "drive_fraction", "an integer of 0 to 8", 0, 8)?,
            }
        }
    };
    let scale = match header.selects_by_scale()? {
        true => Some(layer(
            tensors,
            SCALE,
            [codes, inputs],
            bits,
            shifts.next()?,
        )?),
        false => None,
    };
    shifts.end()?;
    let input_mean = input_mean(tensors, &spec)?;
    let contrast = match input_mean {
        Some(_) => IntegerContrast::InputMean,
        None => spec.contrast,
    };
    let encoder = IntegerVariational {
        body,
        scale,
        thresholds: tensors.take("code.thresholds", "I32", Dims::Vector(codes))?,
        input_mean,
    };
    Ok((IntegerSpec { contrast, ..spec }, encoder))
}

/// The shifts of dense layers, from the first of the trunk to the heads.
#[cfg(feature = "variational")]
struct Shifts<'a>(Option<&'a str>);

#[cfg(feature = "variational")]
impl<'a> Shifts<'a> {
    const KEY: &'static str = "layer_shifts";

    fn of(header: &Source<'a>) -> Self {
        Self(header.text(Self::KEY).ok())
    }

    fn next(&mut self) -> Result<u8, ReadError> {
        let text = self.0.ok_or(Self::error())?;
        let first = match split_once(text, b',') {
            Some((first, rest)) => {
                self.0 = Some(rest);
                first
            }
            None => {
                self.0 = None;
                text
            }
        };
        let shift = integer::<u8>(first).filter(|shift| (1..=62).contains(shift));
        shift.ok_or(Self::error())
    }

    fn end(self) -> Result<(), ReadError> {
        match self.0 {
            None => Ok(()),
            Some(_) => Err(Self::error()),
        }
    }

    fn error() -> ReadError {
        ReadError::InvalidMetadata {
            key: Self::KEY,
            expected: "an integer of 1 to 62 for each dense layer, with commas between them",
        }
    }
}

#[cfg(feature = "variational")]
fn layer<'a>(
    tensors: &mut Store<'_, 'a>,
    [name, multiplier, bias]: [&'static str; 3],
    [outputs, inputs]: [usize; 2],
    bits: WeightType,
    shift: u8,
) -> Result<IntegerLayer<'a>, ReadError> {
    Ok(IntegerLayer {
        weights: weights(tensors, name, outputs, inputs, bits)?,
        rescale: Rescales {
            multipliers: multipliers(tensors, multiplier, outputs)?,
            shift,
        },
        bias: offsets(tensors, bias, outputs)?,
    })
}

#[cfg(feature = "variational")]
fn input_mean<'a>(
    tensors: &mut Store<'_, 'a>,
    spec: &IntegerSpec,
) -> Result<Option<&'a [i16]>, ReadError> {
    let tensor = "input.mean";
    if !tensors.has(tensor) {
        return Ok(None);
    }
    if spec.contrast != IntegerContrast::None {
        return Err(ReadError::InvalidMetadata {
            key: "contrast",
            expected: "none beside the tensor input.mean",
        });
    }
    let means: &[i16] = tensors.take(tensor, "I16", Dims::Vector(spec.input_dim()))?;
    let range = spec.input_min..=spec.input_max;
    match means.iter().position(|mean| !range.contains(mean)) {
        None => Ok(Some(means)),
        Some(index) => Err(ReadError::Level { tensor, index }),
    }
}
