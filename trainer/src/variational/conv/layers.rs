//! Layers of convolutional networks.

use candle_core::{Device, Result, Tensor, Var, bail};
use rand::Rng;

use crate::run::{StateError, Tensors, tensor};
use crate::tensor::channels::{rectified, statistics, takes};
use crate::tensor::convolution::Convolve;

/// Side of every kernel.
pub const KERNEL: usize = 4;
/// Added to variances.
const EPSILON: f64 = 1e-5;
/// The share of a batch in the running statistics.
const MOMENTUM: f64 = 0.1;

/// What a pass through a network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Learning: statistics of the batch, which move the running ones, and a graph for automatic
    /// differentiation.
    Train,
    /// Looking ahead in training: statistics of the batch, which move nothing, and no graph.
    Look,
    /// Using the network: running statistics, and no graph.
    Evaluate,
}

impl Pass {
    /// A parameter as this pass takes it.
    pub(super) fn of(self, parameter: &Var) -> Tensor {
        match self {
            Self::Train => parameter.as_tensor().clone(),
            Self::Look | Self::Evaluate => parameter.as_detached_tensor(),
        }
    }
}

/// A variable of random numbers within ±`bound`.
pub(super) fn uniform(
    shape: &[usize],
    bound: f32,
    rng: &mut impl Rng,
    device: &Device,
) -> Result<Var> {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|_| rng.random_range(-bound..bound))
        .collect();
    Var::from_tensor(&Tensor::from_vec(values, shape, device)?)
}

/// Which channels a convolution joins, and how it moves over a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Channels of its input.
    pub inputs: usize,
    /// Channels of its output.
    pub outputs: usize,
    /// Pixels from one place of the kernel to the next.
    pub stride: usize,
    /// Pixels of 0 around the input; of a transposed convolution, those cut from its output.
    pub padding: usize,
    /// Whether the convolution is transposed, so that pictures grow.
    pub is_transposed: bool,
}

impl Geometry {
    /// Side of the output for an input of this side; `None` if the kernel does not fit.
    pub fn side(&self, side: usize) -> Option<usize> {
        let double = 2 * self.padding;
        let side = match self.is_transposed {
            true => (side.checked_sub(1)? * self.stride + KERNEL).checked_sub(double)?,
            false => (side + double)
                .checked_sub(KERNEL)?
                .checked_div(self.stride)?
                .checked_add(1)?,
        };
        (side > 0).then_some(side)
    }
}

/// A convolution of 4×4, transposed or not, with a bias a channel.
#[derive(Clone, Debug)]
pub struct Convolution {
    /// `outputs × inputs × 4 × 4`; transposed `inputs × outputs × 4 × 4`.
    pub weight: Var,
    /// A number for each output channel.
    pub bias: Var,
    /// How it moves.
    pub geometry: Geometry,
}

impl Convolution {
    /// Weights and biases uniform within ±1/√n, as PyTorch begins.
    ///
    /// n is 16 times the weight's second axis, which is the output's for a transposed convolution.
    ///
    /// # Errors
    ///
    /// If the device cannot hold them.
    pub fn init(geometry: Geometry, rng: &mut impl Rng, device: &Device) -> Result<Self> {
        let (first, second) = match geometry.is_transposed {
            true => (geometry.inputs, geometry.outputs),
            false => (geometry.outputs, geometry.inputs),
        };
        let bound = 1.0 / ((second * KERNEL * KERNEL) as f32).sqrt();
        Ok(Self {
            weight: uniform(&[first, second, KERNEL, KERNEL], bound, rng, device)?,
            bias: uniform(&[geometry.outputs], bound, rng, device)?,
            geometry,
        })
    }

    /// `batch × inputs × side × side` to `batch × outputs × side' × side'`.
    ///
    /// # Errors
    ///
    /// If shapes, dtypes or devices disagree.
    pub fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let Geometry {
            stride,
            padding,
            is_transposed,
            ..
        } = self.geometry;
        let convolve = Convolve {
            kernel: KERNEL,
            stride,
            padding,
            is_transposed,
        };
        convolve.forward(x, &pass.of(&self.weight), &pass.of(&self.bias))
    }

    pub(super) fn parameters(&self, name: &str) -> [(String, Var); 2] {
        [
            (format!("{name}.weight"), self.weight.clone()),
            (format!("{name}.bias"), self.bias.clone()),
        ]
    }
}

/// Batch normalisation of each channel over a batch and its pixels (Ioffe & Szegedy 2015): `y =
/// (x − mean) / √(variance + 1e-5) · weight + bias`.
///
/// Statistics are those of the batch, the variance without Bessel's correction, or running means of
/// them: each batch counts a tenth, its variance with the correction. A batch is all that one pass
/// is given: parts of a batch in several passes have statistics of their own.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// A factor for each channel.
    pub weight: Var,
    /// Added to each channel.
    pub bias: Var,
    /// Running mean of each channel.
    pub running_mean: Var,
    /// Running variance of each channel.
    pub running_variance: Var,
}

impl BatchNorm {
    /// Factors and variances 1, the rest 0.
    ///
    /// # Errors
    ///
    /// If the device cannot hold them.
    pub fn init(channels: usize, device: &Device) -> Result<Self> {
        let filled = |value: f32| Var::from_tensor(&Tensor::full(value, channels, device)?);
        Ok(Self {
            weight: filled(1.0)?,
            bias: filled(0.0)?,
            running_mean: filled(0.0)?,
            running_variance: filled(1.0)?,
        })
    }

    /// Normalises `batch × channels × side × side`.
    ///
    /// # Errors
    ///
    /// If shapes, dtypes or devices disagree; if statistics of the batch are wanted, and it has one
    /// number a channel.
    pub fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let channels = self.weight.elem_count();
        let across = |values: &Tensor| values.reshape((1, channels, 1, 1));
        let (centred, variance) = match pass {
            Pass::Train | Pass::Look => {
                let mean = channel_means(x)?;
                let centred = x.broadcast_sub(&across(&mean)?)?;
                let variance = channel_means(&centred.sqr()?)?;
                let count = x.elem_count() / channels;
                if count < 2 {
                    bail!(
                        "batch normalisation: one number a channel has no deviation; take more \
                         inputs a batch"
                    )
                }
                if pass == Pass::Train {
                    let unbiased = count as f64 / (count - 1) as f64;
                    moved(&self.running_mean, &mean, 1.0)?;
                    moved(&self.running_variance, &variance, unbiased)?;
                }
                (centred, variance)
            }
            Pass::Evaluate => {
                let mean = pass.of(&self.running_mean);
                let centred = x.broadcast_sub(&across(&mean)?)?;
                (centred, pass.of(&self.running_variance))
            }
        };
        let scale = (pass.of(&self.weight) / (variance + EPSILON)?.sqrt()?)?;
        let bias = pass.of(&self.bias);
        centred
            .broadcast_mul(&across(&scale)?)?
            .broadcast_add(&across(&bias)?)
    }

    /// The same with a ReLU behind it. Where nothing learns, two passes over the numbers.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub fn rectified(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let channels = self.weight.elem_count();
        if pass == Pass::Train || !takes(x) || x.elem_count() / channels < 2 {
            return self.forward(x, pass)?.relu();
        }
        let (mean, variance) = match pass {
            Pass::Look => {
                let both = statistics(x)?;
                (both.get(0)?, both.get(1)?)
            }
            _ => (pass.of(&self.running_mean), pass.of(&self.running_variance)),
        };
        let scale = (pass.of(&self.weight) / (variance + EPSILON)?.sqrt()?)?;
        let shift = (pass.of(&self.bias) - (mean * &scale)?)?;
        rectified(x, &scale, &shift)
    }

    pub(super) fn parameters(&self, name: &str) -> [(String, Var); 2] {
        [
            (format!("{name}.weight"), self.weight.clone()),
            (format!("{name}.bias"), self.bias.clone()),
        ]
    }

    pub(super) fn statistics(&self, name: &str) -> [(String, Var); 2] {
        [
            (format!("{name}.running_mean"), self.running_mean.clone()),
            (
                format!("{name}.running_variance"),
                self.running_variance.clone(),
            ),
        ]
    }
}

/// The mean of each channel over a batch and its pixels.
fn channel_means(x: &Tensor) -> Result<Tensor> {
    // Pixels first: they lie side by side.
    x.flatten_from(2)?.mean(2)?.mean(0)
}

/// Moves a running statistic by a tenth towards a batch's, times a factor.
fn moved(running: &Var, batch: &Tensor, factor: f64) -> Result<()> {
    let kept = (running.as_detached_tensor() * (1.0 - MOMENTUM))?;
    running.set(&(kept + (batch.detach() * (MOMENTUM * factor))?)?)
}

/// The values of variables as they are now: a step changes them in place.
///
/// # Errors
///
/// What the device says.
pub fn snapshot(variables: &[(String, Var)]) -> Result<Tensors> {
    let copied = variables.iter().map(|(name, variable)| {
        let copy = variable.as_tensor().copy()?.detach();
        Ok((name.clone(), copy))
    });
    copied.collect()
}

/// Gives variables the values of a [`snapshot`]; other tensors in it do not matter. Nothing changes
/// if one is missing.
///
/// # Errors
///
/// Names the tensor that is missing or of another shape.
pub fn restore(
    variables: &[(String, Var)],
    tensors: &Tensors,
) -> std::result::Result<(), StateError> {
    let found = variables.iter().map(|(name, variable)| {
        let value = tensor(tensors, name, variable.dims())?;
        Ok((variable, value.to_device(variable.device())?))
    });
    let found: Vec<_> = found.collect::<std::result::Result<_, StateError>>()?;
    for (variable, value) in found {
        variable.set(&value.contiguous()?)?;
    }
    Ok(())
}
