//! The networks: a LISTA encoder and a linear or one-hidden-layer decoder, with their gradients in
//! closed form.
//!
//! Matrices have the orientation of the papers (`output × input`); [`crate::deploy`] brings them
//! into the model file's. Everything here works in the dtype and on the device of the parameters,
//! so the same code is the f64 reference.

mod autoencoder;
mod decoder;
mod encoder;
mod quantized;

pub use autoencoder::{Autoencoder, ModelConfig};
pub(crate) use decoder::hidden_units;
pub use decoder::{Decoder, DecoderGradients};
pub use encoder::{Encoder, ListaTrace};
pub use quantized::QuantizeAware;
