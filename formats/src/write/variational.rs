//! The part of variational models.

use super::Tensors;
use super::error::WriteError;
use crate::matrix::ScaleAxis;
use crate::owned::{
    OwnedLayer, OwnedPosterior, OwnedThreshold, OwnedVariational, OwnedVariationalBody,
};
use crate::widths::EncoderWidths;

/// Names of the trunk's matrices and biases.
const TRUNK: [[&str; 2]; EncoderWidths::MOST] = [
    ["encoder.trunk.0", "encoder.trunk.0.bias"],
    ["encoder.trunk.1", "encoder.trunk.1.bias"],
    ["encoder.trunk.2", "encoder.trunk.2.bias"],
    ["encoder.trunk.3", "encoder.trunk.3.bias"],
];

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
        let posterior = encoder.posterior.as_ref();
        let drawing = posterior.and_then(|posterior| posterior.scale.as_ref());
        if let Some(scale) = encoder.scale.as_ref().or(drawing) {
            let names = ["encoder.scale", "encoder.scale.bias"];
            self.layer(names, scale, [codes, width])?;
        }
        if let Some(OwnedPosterior {
            threshold: OwnedThreshold::Learned { shape, rate },
            ..
        }) = posterior
        {
            let names = ["encoder.shape", "encoder.shape.bias"];
            self.layer(names, shape, [codes, width])?;
            self.layer(["encoder.rate", "encoder.rate.bias"], rate, [codes, width])?;
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
