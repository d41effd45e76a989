//! The part of variational models.

use crate::decimal::real;
use crate::encoders::{Encoder, Variational, VariationalBody};
use crate::error::ReadError;
use crate::header::{FLOAT_KEYS, FLOAT_TENSORS, Header};
use crate::layer::Layer;
use crate::matrix::ScaleAxis;
use crate::posterior::{Posterior, PosteriorBase, PosteriorThreshold, THRESHOLD, ThresholdText};
use crate::preprocessing::Contrast;
use crate::spec::ModelSpec;
use crate::tensors::Tensors;
use crate::widths::EncoderWidths;

type Store<'h, 'a> = Tensors<'h, 'a, FLOAT_TENSORS, FLOAT_KEYS>;

/// Weights, scales and biases of the trunk's layers.
const TRUNK: [[&str; 3]; EncoderWidths::MOST] = [
    [
        "encoder.trunk.0",
        "encoder.trunk.0.scale",
        "encoder.trunk.0.bias",
    ],
    [
        "encoder.trunk.1",
        "encoder.trunk.1.scale",
        "encoder.trunk.1.bias",
    ],
    [
        "encoder.trunk.2",
        "encoder.trunk.2.scale",
        "encoder.trunk.2.bias",
    ],
    [
        "encoder.trunk.3",
        "encoder.trunk.3.scale",
        "encoder.trunk.3.bias",
    ],
];

const SHIFT: [&str; 3] = ["encoder.shift", "encoder.shift.scale", "encoder.shift.bias"];
const SCALE: [&str; 3] = ["encoder.scale", "encoder.scale.scale", "encoder.scale.bias"];
const SHAPE: [&str; 3] = ["encoder.shape", "encoder.shape.scale", "encoder.shape.bias"];
const RATE: [&str; 3] = ["encoder.rate", "encoder.rate.scale", "encoder.rate.bias"];

/// Reads the encoder; `lista` is U, b and S where the metadata states LISTA iterations.
#[inline(never)] // gives its stack back
pub(super) fn read<'a>(
    header: &Header<'a, FLOAT_TENSORS, FLOAT_KEYS>,
    tensors: &mut Store<'_, 'a>,
    spec: &ModelSpec<'a>,
    lista: Option<Encoder<'a>>,
) -> Result<Variational<'a>, ReadError> {
    let codes = spec.code_dim();
    let mut inputs = spec.input_dim();
    let body = match lista {
        Some(encoder) => {
            inputs = codes;
            VariationalBody::Lista {
                encoder,
                shrinkage: not_negative(tensors, "encoder.shrinkage", codes)?,
            }
        }
        None => {
            let mut trunk = [None; EncoderWidths::MOST];
            let widths = spec.encoder_widths.iter().flat_map(EncoderWidths::iter);
            for ((to, names), width) in trunk.iter_mut().zip(TRUNK).zip(widths) {
                *to = Some(layer(tensors, names, [width, inputs], spec)?);
                inputs = width;
            }
            let shift = layer(tensors, SHIFT, [codes, inputs], spec)?;
            VariationalBody::Dense { trunk, shift }
        }
    };
    let scale = match header.selects_by_scale()? {
        true => Some(layer(tensors, SCALE, [codes, inputs], spec)?),
        false => None,
    };
    let posterior = posterior(header, tensors, spec, scale, [codes, inputs])?;
    Ok(Variational {
        body,
        scale,
        thresholds: tensors.floats("code.thresholds", codes)?,
        gain: header.value("code_gain", "a finite number above 0", |text| {
            real(text).filter(|gain| *gain > 0.0)
        })?,
        input_mean: input_mean(tensors, spec)?,
        posterior,
    })
}

/// What samples are drawn from, where the metadata names a posterior; `selecting` is the scale head
/// if it was read already.
#[inline(never)] // gives its stack back
fn posterior<'a>(
    header: &Header<'a, FLOAT_TENSORS, FLOAT_KEYS>,
    tensors: &mut Store<'_, 'a>,
    spec: &ModelSpec<'a>,
    selecting: Option<Layer<'a>>,
    shape: [usize; 2],
) -> Result<Option<Posterior<'a>>, ReadError> {
    let base = match header.text("posterior") {
        Ok(text) => text.parse::<PosteriorBase>()?,
        Err(_) => return Ok(None),
    };
    let text = header.value(THRESHOLD.field, THRESHOLD.expected, |text| {
        ThresholdText::parse(text, base)
    })?;
    let scale = match selecting {
        Some(scale) => scale,
        None => layer(tensors, SCALE, shape, spec)?,
    };
    let threshold = match text {
        ThresholdText::None => PosteriorThreshold::None,
        ThresholdText::Fixed(level) => PosteriorThreshold::Fixed(level),
        ThresholdText::Learned => PosteriorThreshold::Learned {
            shape: layer(tensors, SHAPE, shape, spec)?,
            rate: layer(tensors, RATE, shape, spec)?,
        },
    };
    Ok(Some(Posterior {
        base,
        threshold,
        scale,
    }))
}

fn layer<'a>(
    tensors: &mut Store<'_, 'a>,
    [weights, scale, bias]: [&'static str; 3],
    [outputs, inputs]: [usize; 2],
    spec: &ModelSpec<'_>,
) -> Result<Layer<'a>, ReadError> {
    let (names, axis) = ([weights, scale], ScaleAxis::Row);
    Ok(Layer {
        weights: tensors.matrix(names, outputs, inputs, spec.weights, axis)?,
        bias: tensors.floats(bias, outputs)?,
    })
}

fn not_negative<'a>(
    tensors: &mut Store<'_, 'a>,
    tensor: &'static str,
    length: usize,
) -> Result<&'a [f32], ReadError> {
    let values = tensors.floats(tensor, length)?;
    match values.iter().position(|value| *value < 0.0) {
        None => Ok(values),
        Some(index) => Err(ReadError::Negative { tensor, index }),
    }
}

fn input_mean<'a>(
    tensors: &mut Store<'_, 'a>,
    spec: &ModelSpec<'_>,
) -> Result<Option<&'a [f32]>, ReadError> {
    let tensor = "input.mean";
    if !tensors.has(tensor) {
        return Ok(None);
    }
    let invalid = |key, expected| Err(ReadError::InvalidMetadata { key, expected });
    if spec.preprocessing.mean != 0.0 {
        return invalid("mean", "0 beside the tensor input.mean");
    }
    if spec.preprocessing.contrast != Contrast::None {
        return invalid("contrast", "none beside the tensor input.mean");
    }
    tensors.floats(tensor, spec.input_dim()).map(Some)
}
