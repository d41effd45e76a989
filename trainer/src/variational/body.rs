//! Encoders of either kind behind one name.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor, Var};
use rand::Rng;

use super::encoder::{Encoded, Head, Layer, MlpEncoder};
use crate::tensor::dense::Dense;

/// What says of an input how its code is distributed.
#[derive(Clone, Debug)]
pub enum Encoder {
    /// The paper's: dense layers, and a head for each thing that a posterior wants to know.
    Mlp(MlpEncoder),
    /// One for microcontrollers, whose code is the shift.
    Lista(ListaEncoder),
}

impl Encoder {
    /// The parameters by name.
    pub fn parameters(&self) -> Vec<(String, Var)> {
        match self {
            Self::Mlp(encoder) => encoder.parameters(),
            Self::Lista(encoder) => encoder.parameters(),
        }
    }

    /// The parameters as they are now: a step changes them in place.
    pub fn snapshot(&self) -> BTreeMap<String, Tensor> {
        let parameters = self.parameters().into_iter();
        let copied = parameters.filter_map(|(name, parameter)| {
            let copy = parameter.as_tensor().copy().ok()?;
            Some((name, copy.detach()))
        });
        copied.collect()
    }

    /// What the encoder says of a batch, `batch × input_dim`.
    ///
    /// # Errors
    ///
    /// If shapes, dtypes or devices disagree.
    pub fn forward(&self, x: &Tensor) -> Result<Encoded> {
        match self {
            Self::Mlp(encoder) => encoder.forward(x),
            Self::Lista(encoder) => encoder.forward(x),
        }
    }
}

/// LISTA (Gregor & LeCun 2010) with signed codes: `u = U x + b`, `z = s(u)`, and then `z = s(u + S
/// z)` again and again, with `s(v) = sign(v) max(|v| − |θ|, 0)`. The code is the shift. The other
/// heads are affine in the magnitudes of the code, for how sure a code is does not depend on its
/// sign.
#[derive(Clone, Debug)]
pub struct ListaEncoder {
    /// U and b.
    pub input: Layer,
    /// S, `code_dim × code_dim`.
    pub recurrent: Var,
    /// θ, `code_dim`; its magnitude counts.
    pub shrinkage: Var,
    /// How often S is applied.
    pub iterations: usize,
    /// One layer each, but for the shift.
    pub heads: Vec<(Head, Layer)>,
}

/// What θ is at the beginning, beside codes of the order of 1.
const SHRINKAGE: f32 = 0.01;

impl ListaEncoder {
    /// An encoder at its first step: U as PyTorch's layers begin, S = 0.
    ///
    /// # Errors
    ///
    /// If the device cannot hold it.
    pub fn init(
        [input_dim, code_dim, iterations]: [usize; 3],
        heads: &[Head],
        rng: &mut impl Rng,
        device: &Device,
    ) -> Result<Self> {
        let input = Layer::init(input_dim, code_dim, rng, device)?;
        let recurrent = Tensor::zeros((code_dim, code_dim), candle_core::DType::F32, device)?;
        let shrinkage = Tensor::full(SHRINKAGE, code_dim, device)?;
        let others = heads.iter().filter(|head| **head != Head::Shift);
        let heads = others.map(|head| Ok((*head, Layer::init(code_dim, code_dim, rng, device)?)));
        Ok(Self {
            input,
            recurrent: Var::from_tensor(&recurrent)?,
            shrinkage: Var::from_tensor(&shrinkage)?,
            iterations,
            heads: heads.collect::<Result<_>>()?,
        })
    }

    /// The parameters by name: `encoder.input`, `encoder.bias`, `encoder.recurrent`,
    /// `encoder.shrinkage`, `encoder.scale.weight` and so on.
    pub fn parameters(&self) -> Vec<(String, Var)> {
        let own = [
            ("encoder.input", &self.input.weight),
            ("encoder.bias", &self.input.bias),
            ("encoder.recurrent", &self.recurrent),
            ("encoder.shrinkage", &self.shrinkage),
        ];
        let own = own.map(|(name, parameter)| (name.to_owned(), parameter.clone()));
        let heads = self.heads.iter().flat_map(|(head, layer)| {
            let name = head.name();
            [
                (format!("encoder.{name}.weight"), layer.weight.clone()),
                (format!("encoder.{name}.bias"), layer.bias.clone()),
            ]
        });
        own.into_iter().chain(heads).collect()
    }

    /// As [`Encoder::forward`].
    ///
    /// # Errors
    ///
    /// If shapes, dtypes or devices disagree.
    pub fn forward(&self, x: &Tensor) -> Result<Encoded> {
        let mut gradients = Vec::new();
        let first = Dense {
            is_rectified: false,
            is_first: true,
            gradients: self.input.gradients(&mut gradients),
        };
        let drive = self.input.forward(x, first)?;
        let limit = self.shrinkage.abs()?;
        // Where relu would make NaN 0, this keeps it.
        let positive = |v: Tensor| -> Result<Tensor> { (&v + v.abs()?)? * 0.5 };
        let shrink = |v: &Tensor| -> Result<Tensor> {
            let above = positive(v.broadcast_sub(&limit)?)?;
            above - positive(v.neg()?.broadcast_sub(&limit)?)?
        };
        let mut code = shrink(&drive)?;
        for _ in 0..self.iterations {
            code = shrink(&(&drive + code.matmul(&self.recurrent.t()?)?)?)?;
        }
        let size = code.abs()?;
        let mut outputs = vec![(Head::Shift, code.clone())];
        for (head, layer) in &self.heads {
            let affine = Dense {
                is_rectified: false,
                is_first: false,
                gradients: layer.gradients(&mut gradients),
            };
            outputs.push((*head, layer.forward(&size, affine)?));
        }
        Encoded::of(code, outputs, gradients)
    }
}
