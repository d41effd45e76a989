//! The networks: a LISTA encoder and a linear or one-hidden-layer decoder, with their gradients in closed form.
//!
//! Matrices have the orientation of the papers (`output × input`); [`crate::export`] brings them into the model file's.
//! Everything here works in the dtype and on the device of the parameters, so the same code is the f64 reference.

mod decoder;
mod encoder;
mod quantized;

pub(crate) use decoder::hidden_units;
pub use decoder::{Decoder, DecoderGradients};
pub use encoder::{Encoder, ListaTrace};
pub use quantized::QuantizeAware;

use candle_core::{DType, Device, Result, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::config::ModelConfig;
use crate::rng::{Stream, generator};

/// A parameter or a gradient with the name it has in checkpoints, logs and model files.
pub type Named<T> = (&'static str, T);

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
    /// Decoder columns are *not* normalised here: that belongs to the variant, see [`Decoder::normalize_columns`].
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
        let mut weight =
            |rows: usize, columns: usize| uniform(&mut rng, rows, columns, dtype, device);
        let (d, l, m) = (input_dim, config.code_dim, config.hidden_dim);
        let encoder = if has_encoder {
            Some(Encoder {
                input: weight(l, d)?,
                bias: Tensor::zeros(l, dtype, device)?,
                recurrent: weight(l, l)?,
                iterations: config.lista_iterations,
            })
        } else {
            None
        };
        let decoder = if m == 0 {
            Decoder::Linear {
                dictionary: weight(d, l)?,
            }
        } else {
            Decoder::OneHidden {
                hidden: weight(m, l)?,
                hidden_bias: Tensor::zeros(m, dtype, device)?,
                output: weight(d, m)?,
            }
        };
        Ok(Self { encoder, decoder })
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
