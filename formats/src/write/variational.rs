//! The part of variational models.

use std::borrow::ToOwned;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::{Tensors, WriteError};
use crate::error::SpecError;
use crate::matrix::ScaleAxis;
use crate::owned::{OwnedLayer, OwnedModel, OwnedVariational, OwnedVariationalBody};
use crate::preprocessing::Contrast;
use crate::spec::{ModelSpec, Variant};
use crate::widths::EncoderWidths;

/// Names of the trunk's matrices and biases.
const TRUNK: [[&str; 2]; EncoderWidths::MOST] = [
    ["encoder.trunk.0", "encoder.trunk.0.bias"],
    ["encoder.trunk.1", "encoder.trunk.1.bias"],
    ["encoder.trunk.2", "encoder.trunk.2.bias"],
    ["encoder.trunk.3", "encoder.trunk.3.bias"],
];

/// How wide the trunk's layers are; `None` without a trunk.
pub(super) fn widths(
    encoder: Option<&OwnedVariational>,
) -> Result<Option<EncoderWidths>, WriteError> {
    let Some(OwnedVariational {
        body: OwnedVariationalBody::Dense { trunk, .. },
        ..
    }) = encoder
    else {
        return Ok(None);
    };
    let widths: Option<Vec<u16>> = trunk
        .iter()
        .map(|layer| u16::try_from(layer.bias.len()).ok())
        .collect();
    let widths = widths.and_then(|widths| EncoderWidths::new(&widths));
    widths.map(Some).ok_or(WriteError::Layout {
        field: "encoder_widths",
        expected: "1 to 4 layers of 1 to 65535 outputs",
    })
}

/// Whether there is such an encoder exactly if the specification says so, and its numbers are in
/// their ranges.
pub(super) fn check_variational(
    model: &OwnedModel,
    spec: &ModelSpec<'_>,
) -> Result<(), WriteError> {
    let test = |good: bool, field, expected| match good {
        true => Ok(()),
        false => Err(WriteError::Spec(SpecError { field, expected })),
    };
    let is_variational = spec.variant == Variant::Variational;
    test(
        model.variational.is_some() == is_variational,
        "variant",
        "variational exactly if there is such an encoder",
    )?;
    let Some(encoder) = &model.variational else {
        return Ok(());
    };
    test(
        model.encoder.is_none(),
        "encoder.input",
        "no encoder beside that of a variational model",
    )?;
    test(
        encoder.gain.is_finite() && encoder.gain > 0.0,
        "code_gain",
        "a finite number above 0",
    )?;
    if let OwnedVariationalBody::Lista { shrinkage, .. } = &encoder.body {
        test(
            shrinkage.iter().all(|threshold| *threshold >= 0.0),
            "encoder.shrinkage",
            "numbers of 0 or more",
        )?;
    }
    if encoder.input_mean.is_some() {
        let preprocessing = &spec.preprocessing;
        test(
            preprocessing.mean == 0.0,
            "mean",
            "0 beside the tensor input.mean",
        )?;
        test(
            preprocessing.contrast == Contrast::None,
            "contrast",
            "none beside the tensor input.mean",
        )?;
    }
    Ok(())
}

/// What the metadata says of how components are selected.
pub(crate) fn selection(encoder: Option<&OwnedVariational>) -> Vec<(&'static str, String)> {
    let Some(encoder) = encoder else {
        return Vec::new();
    };
    let selection = match encoder.scale {
        Some(_) => "scale",
        None => "shift",
    };
    vec![
        ("code_gain", encoder.gain.to_string()),
        ("selection", selection.to_owned()),
    ]
}

impl<'m> Tensors<'m> {
    pub(super) fn variational(
        &mut self,
        encoder: &'m OwnedVariational,
        inputs: usize,
        codes: usize,
    ) -> Result<(), WriteError> {
        let width = match &encoder.body {
            OwnedVariationalBody::Dense { trunk, shift, .. } => {
                let mut from = inputs;
                for (layer, names) in trunk.iter().zip(TRUNK) {
                    self.layer(names, layer, [layer.bias.len(), from])?;
                    from = layer.bias.len();
                }
                let names = ["encoder.shift", "encoder.shift.bias"];
                self.layer(names, shift, [codes, from])?;
                from
            }
            OwnedVariationalBody::Lista { encoder, shrinkage } => {
                self.encoder(encoder, inputs, codes)?;
                self.vector("encoder.shrinkage", shrinkage, codes)?;
                codes
            }
        };
        if let Some(scale) = &encoder.scale {
            let names = ["encoder.scale", "encoder.scale.bias"];
            self.layer(names, scale, [codes, width])?;
        }
        self.vector("code.thresholds", &encoder.thresholds, codes)?;
        match &encoder.input_mean {
            Some(mean) => self.vector("input.mean", mean, inputs),
            None => Ok(()),
        }
    }

    fn layer(
        &mut self,
        [weights, bias]: [&'static str; 2],
        layer: &'m OwnedLayer,
        shape: [usize; 2],
    ) -> Result<(), WriteError> {
        self.matrix(weights, &layer.weights, shape, ScaleAxis::Row)?;
        self.vector(bias, &layer.bias, shape[0])
    }
}
