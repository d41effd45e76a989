//! Encoders: a trunk of dense layers, and a head for each thing that a posterior wants to know.

use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor, Var};
use rand::Rng;

use super::posterior::Heads;
use crate::tensor::dense::{Dense, LayerGradients};

/// What a head says of each unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Head {
    /// μ.
    Shift,
    /// The logarithm of the scale.
    Scale,
    /// Of a gate.
    Spike,
    /// The logarithm of a learned threshold's shape.
    Shape,
    /// The logarithm of its rate.
    Rate,
}

impl Head {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Shift,
        Self::Scale,
        Self::Spike,
        Self::Shape,
        Self::Rate,
    ];

    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shift => "shift",
            Self::Scale => "scale",
            Self::Spike => "spike",
            Self::Shape => "shape",
            Self::Rate => "rate",
        }
    }

    /// What it says of a unit.
    pub fn of(self, heads: &Heads<f64>) -> f64 {
        match self {
            Self::Shift => heads.shift,
            Self::Scale => heads.scale,
            Self::Spike => heads.spike,
            Self::Shape => heads.shape,
            Self::Rate => heads.rate,
        }
    }

    fn set(self, heads: &mut Heads<f64>, value: f64) {
        match self {
            Self::Shift => heads.shift = value,
            Self::Scale => heads.scale = value,
            Self::Spike => heads.spike = value,
            Self::Shape => heads.shape = value,
            Self::Rate => heads.rate = value,
        }
    }
}

/// A dense layer whose parameters learn: y = x Wᵀ + b.
#[derive(Clone, Debug)]
pub struct Layer {
    /// W, `outputs × inputs`.
    pub weight: Var,
    /// b, `outputs`.
    pub bias: Var,
}

impl Layer {
    /// Weights and biases uniform within ±1/√inputs, as PyTorch begins (He et al. 2015 with a =
    /// √5).
    ///
    /// # Errors
    ///
    /// If the device cannot hold them.
    pub fn init(
        inputs: usize,
        outputs: usize,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Result<Self> {
        let bound = 1.0 / (inputs as f32).sqrt();
        let mut uniform = |shape: &[usize]| {
            let count = shape.iter().product();
            let values: Vec<f32> = (0..count)
                .map(|_| rng.random_range(-bound..bound))
                .collect();
            Var::from_tensor(&Tensor::from_vec(values, shape, device)?)
        };
        Ok(Self {
            weight: uniform(&[outputs, inputs])?,
            bias: uniform(&[outputs])?,
        })
    }

    /// A new place for this layer's gradients, which joins those of other layers.
    pub(super) fn gradients(&self, all: &mut Vec<(Self, LayerGradients)>) -> LayerGradients {
        let gradients = LayerGradients::default();
        all.push((self.clone(), gradients.clone()));
        gradients
    }

    pub(super) fn forward(&self, x: &Tensor, kind: Dense) -> Result<Tensor> {
        kind.forward(x, self.weight.as_tensor(), self.bias.as_tensor())
    }
}

/// A multi-layer perceptron with ReLU behind every layer of its trunk, the last one included.
#[derive(Clone, Debug)]
pub struct MlpEncoder {
    /// Layer after layer.
    pub trunk: Vec<Layer>,
    /// One layer each, on the trunk's output.
    pub heads: Vec<(Head, Layer)>,
}

/// What an encoder says of a batch.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The trunk's output, `batch × width`.
    pub feature: Tensor,
    /// Each head's output, `batch × code_dim`, differentiable.
    pub outputs: Vec<(Head, Tensor)>,
    /// The same on the host, unit after unit.
    pub heads: Vec<Heads<f64>>,
    /// Layers whose gradients candle's store does not get.
    pub(super) gradients: Vec<(Layer, LayerGradients)>,
}

impl MlpEncoder {
    /// An encoder whose trunk has these widths, the input's first.
    ///
    /// # Errors
    ///
    /// If the device cannot hold it.
    pub fn init(
        widths: &[usize],
        code_dim: usize,
        heads: &[Head],
        rng: &mut impl Rng,
        device: &Device,
    ) -> Result<Self> {
        let mut trunk = Vec::new();
        for pair in widths.windows(2) {
            trunk.push(Layer::init(pair[0], pair[1], rng, device)?);
        }
        let feature = widths.last().copied().unwrap_or(0);
        let heads = heads.iter().map(|head| {
            let layer = Layer::init(feature, code_dim, rng, device)?;
            Ok((*head, layer))
        });
        Ok(Self {
            trunk,
            heads: heads.collect::<Result<_>>()?,
        })
    }

    /// The parameters by name: `encoder.trunk.0.weight`, `encoder.shift.bias` and so on.
    pub fn parameters(&self) -> Vec<(String, Var)> {
        let trunk = self.trunk.iter().enumerate();
        let trunk = trunk.map(|(index, layer)| (format!("trunk.{index}"), layer));
        let heads = self.heads.iter();
        let heads = heads.map(|(head, layer)| (head.name().to_owned(), layer));
        let layers = trunk.chain(heads);
        let both = layers.flat_map(|(name, layer)| {
            [
                (format!("encoder.{name}.weight"), layer.weight.clone()),
                (format!("encoder.{name}.bias"), layer.bias.clone()),
            ]
        });
        both.collect()
    }

    /// The largest output of each layer of the trunk on a batch.
    ///
    /// # Errors
    ///
    /// If shapes, dtypes or devices disagree.
    pub fn largest(&self, x: &Tensor) -> Result<Vec<f32>> {
        let mut feature = x.detach();
        let layers = self.trunk.iter().map(|layer| {
            let kind = Dense {
                is_rectified: true,
                is_first: true,
                gradients: LayerGradients::default(),
            };
            feature = layer.forward(&feature, kind)?.detach();
            feature.max_all()?.to_scalar()
        });
        layers.collect()
    }

    /// What it says of a batch, `batch × input_dim`.
    ///
    /// # Errors
    ///
    /// If shapes, dtypes or devices disagree.
    pub fn forward(&self, x: &Tensor) -> Result<Encoded> {
        let (mut feature, mut gradients) = (x.clone(), Vec::new());
        for (index, layer) in self.trunk.iter().enumerate() {
            let kind = Dense {
                is_rectified: true,
                is_first: index == 0,
                gradients: layer.gradients(&mut gradients),
            };
            feature = layer.forward(&feature, kind)?;
        }
        let mut outputs = Vec::with_capacity(self.heads.len());
        for (head, layer) in &self.heads {
            let kind = Dense {
                is_rectified: false,
                is_first: self.trunk.is_empty(),
                gradients: layer.gradients(&mut gradients),
            };
            outputs.push((*head, layer.forward(&feature, kind)?));
        }
        Encoded::of(feature, outputs, gradients)
    }
}

impl Encoded {
    /// Takes what the heads say to the host.
    pub(super) fn of(
        feature: Tensor,
        outputs: Vec<(Head, Tensor)>,
        gradients: Vec<(Layer, LayerGradients)>,
    ) -> Result<Self> {
        let mut heads = Vec::new();
        for (head, output) in &outputs {
            let values: Vec<f32> = output.flatten_all()?.to_vec1()?;
            heads.resize(values.len(), Heads::default());
            for (heads, value) in heads.iter_mut().zip(values) {
                head.set(heads, value.into());
            }
        }
        Ok(Self {
            feature,
            outputs,
            heads,
            gradients,
        })
    }

    /// The gradients for the encoder's parameters, by those for the heads' outputs.
    ///
    /// # Errors
    ///
    /// If there are not as many gradients as units, or no heads.
    pub fn backward(&self, gradients: &[Heads<f64>]) -> Result<GradStore> {
        // A scalar whose derivative for each head's output is the gradient given.
        let mut total: Option<Tensor> = None;
        for (head, output) in &self.outputs {
            let values: Vec<f32> = gradients.iter().map(|by| head.of(by) as f32).collect();
            let gradient = Tensor::from_vec(values, output.shape(), output.device())?;
            let product = (output * gradient)?.sum_all()?;
            total = Some(match total {
                Some(total) => (total + product)?,
                None => product,
            });
        }
        let Some(total) = total else {
            candle_core::bail!("an encoder without heads learns nothing")
        };
        let mut store = total.backward()?;
        for (layer, gradients) in &self.gradients {
            if let Some([weight, bias]) = gradients.take() {
                store.insert(&layer.weight, weight);
                store.insert(&layer.bias, bias);
            }
        }
        Ok(store)
    }
}
