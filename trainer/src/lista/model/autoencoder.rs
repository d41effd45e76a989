//! The autoencoder as a whole.

use candle_core::{DType, Device, Result, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decoder::Decoder;
use super::encoder::Encoder;
use crate::rng::{Stream, generator};
use crate::run::{StateError, Tensors, tensor};
use crate::tensor::Named;

/// The networks' sizes. The input dimension is the data's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// l, components of a code: the atoms of a linear decoder.
    #[schemars(range(min = 1, max = u16::MAX))]
    pub code_dim: usize,
    /// m, hidden units of a one-hidden-layer decoder; 0 for a linear decoder.
    #[schemars(range(min = 0, max = u16::MAX))]
    pub hidden_dim: usize,
    /// L, iterations of the LISTA encoder.
    #[schemars(range(min = 0, max = 255))]
    pub lista_iterations: usize,
}

/// A sparse autoencoder: what is trained.
#[derive(Clone, Debug)]
pub struct Autoencoder {
    /// LISTA encoder; `None` for the DO variants, whose codes come from FISTA alone.
    pub encoder: Option<Encoder>,
    /// Linear or one-hidden-layer decoder.
    pub decoder: Decoder,
}

impl Autoencoder {
    /// Draws initial weights: uniform in ±1/√fan_in, biases 0.
    ///
    /// Decoder columns are *not* normalised here: that belongs to the variant, see
    /// [`Decoder::normalize_columns`].
    ///
    /// # Errors
    ///
    /// Fails if the device cannot hold the parameters.
    pub fn init(
        config: &ModelConfig,
        input_dim: usize,
        has_encoder: bool,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let mut rng = generator(seed, Stream::Weights);
        Self::with_matrices(
            config,
            input_dim,
            has_encoder,
            dtype,
            device,
            |rows, columns| uniform(&mut rng, rows, columns, dtype, device),
        )
    }

    /// The model whose matrices (encoder first, in the order of [`Autoencoder::parameters`]) are
    /// what `matrix` makes of rows and columns; biases are 0.
    fn with_matrices(
        config: &ModelConfig,
        input_dim: usize,
        has_encoder: bool,
        dtype: DType,
        device: &Device,
        mut matrix: impl FnMut(usize, usize) -> Result<Tensor>,
    ) -> Result<Self> {
        let (d, l, m) = (input_dim, config.code_dim, config.hidden_dim);
        let encoder = if has_encoder {
            Some(Encoder {
                input: matrix(l, d)?,
                bias: Tensor::zeros(l, dtype, device)?,
                recurrent: matrix(l, l)?,
                iterations: config.lista_iterations,
            })
        } else {
            None
        };
        let decoder = if m == 0 {
            Decoder::Linear {
                dictionary: matrix(d, l)?,
            }
        } else {
            Decoder::OneHidden {
                hidden: matrix(m, l)?,
                hidden_bias: Tensor::zeros(m, dtype, device)?,
                output: matrix(d, m)?,
            }
        };
        Ok(Self { encoder, decoder })
    }

    /// The model with these parameters, in f32 in main memory.
    ///
    /// # Errors
    ///
    /// Names a tensor that is missing or of another shape.
    pub fn of_tensors(
        config: &ModelConfig,
        input_dim: usize,
        has_encoder: bool,
        tensors: &Tensors,
    ) -> std::result::Result<Self, StateError> {
        let (dtype, device) = (DType::F32, Device::Cpu);
        let zeros = |rows: usize, columns: usize| Tensor::zeros((rows, columns), dtype, &device);
        let mut model = Self::with_matrices(config, input_dim, has_encoder, dtype, &device, zeros)
            .map_err(|error| StateError {
                name: "model".to_owned(),
                problem: error.to_string(),
            })?;
        model.set(tensors)?;
        Ok(model)
    }

    /// Takes the parameters of a model of the same shapes.
    ///
    /// # Errors
    ///
    /// Names a tensor that is missing or of another shape; those before it are taken.
    pub fn set(&mut self, tensors: &Tensors) -> std::result::Result<(), StateError> {
        for (name, parameter) in self.parameters_mut() {
            *parameter = tensor(tensors, name, parameter.dims())?.to_device(parameter.device())?;
        }
        Ok(())
    }

    /// The parameters by name.
    pub fn tensors(&self) -> Tensors {
        let named = |(name, tensor): Named<&Tensor>| (name.to_owned(), tensor.clone());
        self.parameters().into_iter().map(named).collect()
    }

    /// All parameters, encoder first, in a fixed order.
    pub fn parameters(&self) -> Vec<Named<&Tensor>> {
        let mut all = self
            .encoder
            .as_ref()
            .map_or_else(Vec::new, Encoder::parameters);
        all.extend(self.decoder.parameters());
        all
    }

    /// The same parameters for writing.
    pub fn parameters_mut(&mut self) -> Vec<Named<&mut Tensor>> {
        let mut all = self
            .encoder
            .as_mut()
            .map_or_else(Vec::new, Encoder::parameters_mut);
        all.extend(self.decoder.parameters_mut());
        all
    }
}

fn uniform(
    rng: &mut ChaCha8Rng,
    rows: usize,
    columns: usize,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let bound = 1.0 / (columns as f32).sqrt();
    let values: Vec<f32> = (0..rows * columns)
        .map(|_| rng.random_range(-bound..bound))
        .collect();
    Tensor::from_vec(values, (rows, columns), device)?.to_dtype(dtype)
}
