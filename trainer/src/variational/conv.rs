//! Convolutional encoders and generators for pictures of 28×28 in grey and 64×64 in colour.
//!
//! | | |
//! |---|---|
//! | [`ConvPlan`] | the layers of a network, and the pictures that it is for |
//! | [`ConvEncoder`] | what an encoder says of pictures |
//! | [`ConvGenerator`] | pictures from codes |
//! | [`BatchNorm`], [`Convolution`] | what they are made of |
//! | [`ConvAdam`] | how both learn |
//!
//! Networks and gradients are candle's, on any device. A picture is `channels · side · side`
//! numbers, channel after channel, row after row.

mod adam;
mod layers;

use candle_core::{Device, Result, Tensor, Var, bail};
use rand::Rng;
use sparsecode_formats::InputShape;

use super::encoder::{Encoded, Head, Layer};
use super::posterior::Heads;
pub use adam::ConvAdam;
pub use layers::{BatchNorm, Convolution, Geometry, KERNEL, Pass, restore, snapshot};

/// A convolution of a network: its output's channels, stride and padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Channels of the output.
    pub channels: usize,
    /// Pixels from one place of the kernel to the next.
    pub stride: usize,
    /// Pixels of 0 around the input; of a generator, those cut from the output.
    pub padding: usize,
}

const fn step(channels: usize, stride: usize, padding: usize) -> Step {
    Step {
        channels,
        stride,
        padding,
    }
}

/// The convolutions of an encoder and of a generator for pictures of one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvPlan {
    /// Channels and side of a picture.
    pub picture: [usize; 2],
    /// The encoder's convolutions; the last one leaves one pixel, whose channels are the feature.
    pub encoder: Vec<Step>,
    /// Channels and side of what the generator begins with.
    pub seed: [usize; 2],
    /// The generator's transposed convolutions; the last one gives the picture.
    pub generator: Vec<Step>,
}

impl ConvPlan {
    /// The second paper's networks: for 28×28 pixels in grey, and 64×64 in colour (three channels).
    ///
    /// # Errors
    ///
    /// If there are none for such pictures.
    pub fn of_paper(channels: usize, side: usize) -> Result<Self> {
        let (encoder, seed, generator) = match (channels, side) {
            (1, 28) => (
                vec![
                    step(64, 2, 1),
                    step(64, 2, 1),
                    step(128, 1, 0),
                    step(128, 2, 0),
                ],
                [128, 1],
                vec![
                    step(128, 2, 0),
                    step(64, 1, 0),
                    step(64, 2, 1),
                    step(1, 2, 1),
                ],
            ),
            (3, 64) => (
                vec![
                    step(64, 2, 1),
                    step(64, 2, 1),
                    step(128, 2, 1),
                    step(256, 2, 1),
                    step(256, 2, 0),
                ],
                [256, 2],
                vec![
                    step(128, 2, 1),
                    step(128, 2, 1),
                    step(64, 2, 1),
                    step(64, 2, 1),
                    step(3, 2, 1),
                ],
            ),
            _ => bail!(
                "there is no convolutional network for pictures of {channels}×{side}×{side}, only \
                 for 1×28×28 and 3×64×64"
            ),
        };
        Ok(Self {
            picture: [channels, side],
            encoder,
            seed,
            generator,
        })
    }

    /// The networks for samples of this shape: 28×28 in grey, or three channels of 64×64 below each
    /// other, 192×64.
    ///
    /// # Errors
    ///
    /// If there are none for such samples; says for which ones there are.
    pub fn of_shape(shape: InputShape) -> Result<Self> {
        let (height, width) = (usize::from(shape.height), usize::from(shape.width));
        match (height.is_multiple_of(width), height / width) {
            (true, channels) if Self::of_paper(channels, width).is_ok() => {
                Self::of_paper(channels, width)
            }
            _ => bail!(
                "model.encoder=conv takes pictures of 28×28 in grey or of 64×64 in three colours, \
                 and samples are {shape}: choose data.source=idx with files of 28×28, or \
                 data.source=pictures, or set model.encoder=mlp with model.widths"
            ),
        }
    }

    /// Numbers in a picture.
    pub fn input_dim(&self) -> usize {
        let [channels, side] = self.picture;
        channels * side * side
    }

    /// Numbers that the encoder's heads, and numbers that the generator's convolutions begin with.
    ///
    /// # Errors
    ///
    /// If the convolutions do not end with one pixel or with the picture, or a kernel does not fit.
    pub fn ends(&self) -> Result<[usize; 2]> {
        let [channels, side] = self.picture;
        let [feature, left] = end(&self.encoder, [channels, side], false)?;
        if left != 1 {
            bail!("the encoder's convolutions leave {left}×{left} pixels, not one")
        }
        let made = end(&self.generator, self.seed, true)?;
        if made != self.picture {
            let [made, width] = made;
            bail!(
                "the generator's convolutions give {made}×{width}×{width}, not \
                 {channels}×{side}×{side}"
            )
        }
        let [channels, side] = self.seed;
        Ok([feature, channels * side * side])
    }
}

/// The geometry of each convolution, from so many channels on.
fn geometries(steps: &[Step], channels: usize, is_transposed: bool) -> Vec<Geometry> {
    let before = std::iter::once(channels).chain(steps.iter().map(|step| step.channels));
    let geometry = |(step, inputs): (&Step, usize)| Geometry {
        inputs,
        outputs: step.channels,
        stride: step.stride,
        padding: step.padding,
        is_transposed,
    };
    steps.iter().zip(before).map(geometry).collect()
}

/// Channels and side behind convolutions.
fn end(steps: &[Step], [channels, side]: [usize; 2], is_transposed: bool) -> Result<[usize; 2]> {
    let mut end = [channels, side];
    for geometry in geometries(steps, channels, is_transposed) {
        let Some(side) = geometry.side(end[1]) else {
            bail!(
                "a kernel of {KERNEL}×{KERNEL} does not fit into {} pixels",
                end[1]
            )
        };
        end = [geometry.outputs, side];
    }
    Ok(end)
}

fn dense(x: &Tensor, layer: &Layer, pass: Pass) -> Result<Tensor> {
    let weight = pass.of(&layer.weight);
    x.matmul(&weight.t()?)?.broadcast_add(&pass.of(&layer.bias))
}

fn dense_parameters(name: &str, layer: &Layer) -> [(String, Var); 2] {
    [
        (format!("{name}.weight"), layer.weight.clone()),
        (format!("{name}.bias"), layer.bias.clone()),
    ]
}

/// Convolutions, each with batch normalisation and ReLU behind it, then a head for each parameter
/// of a posterior.
#[derive(Clone, Debug)]
pub struct ConvEncoder {
    picture: [usize; 2],
    /// Layer after layer.
    pub trunk: Vec<(Convolution, BatchNorm)>,
    /// One layer each, on the trunk's output.
    pub heads: Vec<(Head, Layer)>,
}

impl ConvEncoder {
    /// An encoder as PyTorch begins: uniform weights and biases, normalisation with factors of 1.
    ///
    /// # Errors
    ///
    /// If the plan's layers do not fit together, or the device cannot hold them.
    pub fn init(
        plan: &ConvPlan,
        code_dim: usize,
        heads: &[Head],
        rng: &mut impl Rng,
        device: &Device,
    ) -> Result<Self> {
        let [feature, _] = plan.ends()?;
        let mut trunk = Vec::new();
        for geometry in geometries(&plan.encoder, plan.picture[0], false) {
            let convolution = Convolution::init(geometry, rng, device)?;
            trunk.push((convolution, BatchNorm::init(geometry.outputs, device)?));
        }
        let heads = heads.iter().map(|head| {
            let layer = Layer::init(feature, code_dim, rng, device)?;
            Ok((*head, layer))
        });
        Ok(Self {
            picture: plan.picture,
            trunk,
            heads: heads.collect::<Result<_>>()?,
        })
    }

    /// What learns, by name: `encoder.conv.0.weight`, `encoder.norm.0.bias`, `encoder.shift.weight`
    /// and so on.
    pub fn parameters(&self) -> Vec<(String, Var)> {
        let trunk = self.trunk.iter().enumerate();
        let trunk = trunk.flat_map(|(index, (convolution, norm))| {
            let convolution = convolution.parameters(&format!("encoder.conv.{index}"));
            let norm = norm.parameters(&format!("encoder.norm.{index}"));
            convolution.into_iter().chain(norm)
        });
        let heads = self.heads.iter();
        let heads = heads
            .flat_map(|(head, layer)| dense_parameters(&format!("encoder.{}", head.name()), layer));
        trunk.chain(heads).collect()
    }

    /// [`parameters`](Self::parameters), and running statistics: `encoder.norm.0.running_mean` and
    /// so on. What a state must hold.
    pub fn variables(&self) -> Vec<(String, Var)> {
        let trunk = self.trunk.iter().enumerate();
        let statistics =
            trunk.flat_map(|(index, (_, norm))| norm.statistics(&format!("encoder.norm.{index}")));
        self.parameters().into_iter().chain(statistics).collect()
    }

    /// What it says of pictures, `batch × input_dim`.
    ///
    /// # Errors
    ///
    /// If shapes, dtypes or devices disagree; if a pass with statistics of the batch is given one
    /// picture, of which the last layer leaves one pixel.
    pub fn forward(&self, x: &Tensor, pass: Pass) -> Result<Encoded> {
        let [channels, side] = self.picture;
        let mut feature = x.reshape(((), channels, side, side))?;
        for (convolution, norm) in &self.trunk {
            let convolved = convolution.forward(&feature, pass)?;
            feature = norm.rectified(&convolved, pass)?;
        }
        let feature = feature.flatten_from(1)?;
        let mut outputs = Vec::with_capacity(self.heads.len());
        for (head, layer) in &self.heads {
            outputs.push((*head, dense(&feature, layer, pass)?));
        }
        Ok(Encoded {
            heads: heads_of(&outputs)?,
            feature,
            outputs,
            gradients: Vec::new(),
        })
    }
}

/// What the heads say, on the host, unit after unit.
fn heads_of(outputs: &[(Head, Tensor)]) -> Result<Vec<Heads<f64>>> {
    let mut all = Vec::new();
    for (head, output) in outputs {
        let values: Vec<f64> = output
            .detach()
            .to_dtype(candle_core::DType::F64)?
            .flatten_all()?
            .to_vec1()?;
        all.resize(values.len(), Heads::default());
        for (heads, value) in all.iter_mut().zip(values) {
            match head {
                Head::Shift => heads.shift = value,
                Head::Scale => heads.scale = value,
                Head::Spike => heads.spike = value,
                Head::Shape => heads.shape = value,
                Head::Rate => heads.rate = value,
            }
        }
    }
    Ok(all)
}

/// A dense layer with ReLU, then transposed convolutions: each with batch normalisation and ReLU
/// behind it, but the last one, whose output goes through a sigmoid.
#[derive(Clone, Debug)]
pub struct ConvGenerator {
    seed: [usize; 2],
    /// From a code to what the convolutions begin with.
    pub input: Layer,
    /// Layer after layer, all but the last one.
    pub trunk: Vec<(Convolution, BatchNorm)>,
    /// The last layer.
    pub output: Convolution,
}

impl ConvGenerator {
    /// A generator as PyTorch begins.
    ///
    /// # Errors
    ///
    /// If the plan's layers do not fit together, or the device cannot hold them.
    pub fn init(
        plan: &ConvPlan,
        code_dim: usize,
        rng: &mut impl Rng,
        device: &Device,
    ) -> Result<Self> {
        let [_, begins] = plan.ends()?;
        let input = Layer::init(code_dim, begins, rng, device)?;
        let mut geometries = geometries(&plan.generator, plan.seed[0], true);
        let Some(last) = geometries.pop() else {
            bail!("a generator needs a convolution")
        };
        let mut trunk = Vec::new();
        for geometry in geometries {
            let convolution = Convolution::init(geometry, rng, device)?;
            trunk.push((convolution, BatchNorm::init(geometry.outputs, device)?));
        }
        Ok(Self {
            seed: plan.seed,
            input,
            trunk,
            output: Convolution::init(last, rng, device)?,
        })
    }

    /// What learns, by name: `decoder.input.weight`, `decoder.conv.0.weight`, `decoder.norm.0.bias`
    /// and so on.
    pub fn parameters(&self) -> Vec<(String, Var)> {
        let trunk = self.trunk.iter().enumerate();
        let trunk = trunk.flat_map(|(index, (convolution, norm))| {
            let convolution = convolution.parameters(&format!("decoder.conv.{index}"));
            let norm = norm.parameters(&format!("decoder.norm.{index}"));
            convolution.into_iter().chain(norm)
        });
        let last = format!("decoder.conv.{}", self.trunk.len());
        dense_parameters("decoder.input", &self.input)
            .into_iter()
            .chain(trunk)
            .chain(self.output.parameters(&last))
            .collect()
    }

    /// [`parameters`](Self::parameters), and running statistics: `decoder.norm.0.running_mean` and
    /// so on. What a state must hold.
    pub fn variables(&self) -> Vec<(String, Var)> {
        let trunk = self.trunk.iter().enumerate();
        let statistics =
            trunk.flat_map(|(index, (_, norm))| norm.statistics(&format!("decoder.norm.{index}")));
        self.parameters().into_iter().chain(statistics).collect()
    }

    /// The pictures of codes, `codes × code_dim` to `codes × input_dim`, each number from 0 to 1.
    ///
    /// In training `codes` are all samples of all inputs of a batch, B·J: statistics of the batch
    /// are theirs.
    ///
    /// # Errors
    ///
    /// If shapes, dtypes or devices disagree; if a pass with statistics of the batch is given one
    /// code, and a layer has one pixel.
    pub fn forward(&self, codes: &Tensor, pass: Pass) -> Result<Tensor> {
        let [channels, side] = self.seed;
        let begun = dense(codes, &self.input, pass)?.relu()?;
        let mut picture = begun.reshape(((), channels, side, side))?;
        for (convolution, norm) in &self.trunk {
            let convolved = convolution.forward(&picture, pass)?;
            picture = norm.rectified(&convolved, pass)?;
        }
        let last = self.output.forward(&picture, pass)?;
        candle_nn::ops::sigmoid(&last)?.flatten_from(1)
    }
}

#[cfg(test)]
mod tests;
