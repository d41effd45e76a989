use candle_core::{Device, Error, Result, Tensor};

use crate::tensor::Named;
use crate::tensor::elementwise::{
    column_norms, column_sums, difference, rectified, scaled, unit_columns, where_positive,
};
use crate::tensor::matmul::product;

/// D: turns codes (`batch × code_dim`) into reconstructions (`batch × input_dim`).
#[derive(Clone, Debug)]
pub enum Decoder {
    /// `ŷ = W z`.
    Linear {
        /// W, `input_dim × code_dim`; its columns are the atoms.
        dictionary: Tensor,
    },
    /// `ŷ = W2 relu(W1 z + b1)`.
    OneHidden {
        /// W1, `hidden_dim × code_dim`.
        hidden: Tensor,
        /// b1, `hidden_dim`.
        hidden_bias: Tensor,
        /// W2, `input_dim × hidden_dim`.
        output: Tensor,
    },
}

/// A gradient for each parameter, and the error that they are of.
pub type DecoderGradients = (Vec<Named<Tensor>>, Tensor);

impl Decoder {
    /// Reconstructs a batch of codes.
    ///
    /// # Errors
    ///
    /// Fails if shapes, dtypes or devices disagree.
    pub fn forward(&self, codes: &Tensor) -> Result<Tensor> {
        match self {
            Self::Linear { dictionary } => product(codes, &dictionary.t()?),
            Self::OneHidden {
                hidden,
                hidden_bias,
                output,
            } => product(&hidden_units(hidden, hidden_bias, codes)?, &output.t()?),
        }
    }

    /// Gradients of the mean squared error of `forward(codes)` over all pixels of the batch, and
    /// that error.
    ///
    /// # Errors
    ///
    /// Fails if shapes, dtypes or devices disagree.
    pub fn gradients(&self, codes: &Tensor, targets: &Tensor) -> Result<DecoderGradients> {
        self.gradients_by(codes, targets, None)
    }

    /// The same, where a one-hidden decoder's W2ᵀ is at hand by rows.
    pub(crate) fn gradients_by(
        &self,
        codes: &Tensor,
        targets: &Tensor,
        output_t: Option<&Tensor>,
    ) -> Result<DecoderGradients> {
        let scale = 2.0 / targets.elem_count() as f64;
        match self {
            Self::Linear { .. } => {
                let error = difference(&self.forward(codes)?, targets)?;
                // The factor on the smaller operand.
                let dictionary = product(&error.t()?, &scaled(codes, scale)?)?;
                Ok((vec![("decoder.dictionary", dictionary)], error))
            }
            Self::OneHidden {
                hidden,
                hidden_bias,
                output,
            } => {
                let units = hidden_units(hidden, hidden_bias, codes)?;
                let estimate = match output_t {
                    Some(output_t) => product(&units, output_t)?,
                    None => product(&units, &output.t()?)?,
                };
                let error = difference(&estimate, targets)?;
                let scaled_error = scaled(&error, scale)?;
                let delta = where_positive(&product(&scaled_error, output)?, &units)?;
                let gradients = vec![
                    ("decoder.hidden", product(&delta.t()?, codes)?),
                    ("decoder.hidden_bias", column_sums(&delta)?.squeeze(0)?),
                    ("decoder.output", product(&scaled_error.t()?, &units)?),
                ];
                Ok((gradients, error))
            }
        }
    }

    /// Rescales every column of W (of W1 and of W2) to ℓ2 norm 1; b1 is left alone. A zero column
    /// stays zero.
    ///
    /// # Errors
    ///
    /// Fails if the device runs out of memory.
    pub fn normalize_columns(&mut self) -> Result<()> {
        let matrices: Vec<&mut Tensor> = match self {
            Self::Linear { dictionary } => vec![dictionary],
            Self::OneHidden { hidden, output, .. } => vec![hidden, output],
        };
        for matrix in matrices {
            *matrix = unit_columns(matrix)?;
        }
        Ok(())
    }

    /// Mean ℓ2 norm of the columns of W (of W2 for a one-hidden decoder): what grows when a model
    /// collapses.
    ///
    /// # Errors
    ///
    /// Fails if the device cannot be read.
    pub fn mean_column_norm(&self) -> Result<f64> {
        let matrix = match self {
            Self::Linear { dictionary } => dictionary,
            Self::OneHidden { output, .. } => output,
        };
        column_norms(matrix)?
            .mean_all()?
            .to_dtype(candle_core::DType::F64)?
            .to_scalar()
    }

    /// Checks that it makes `input_dim` numbers of `code_dim`.
    ///
    /// # Errors
    ///
    /// Names the parameter of another shape.
    pub(crate) fn check_shapes(&self, input_dim: usize, code_dim: usize) -> Result<()> {
        let m = self.hidden_dim();
        for (name, parameter) in self.parameters() {
            let expected = match name {
                "decoder.dictionary" => vec![input_dim, code_dim],
                "decoder.hidden" => vec![m, code_dim],
                "decoder.output" => vec![input_dim, m],
                _ => vec![m],
            };
            if parameter.dims() != expected {
                return Err(Error::Msg(format!(
                    "{name}: shape {:?}, expected {expected:?}",
                    parameter.dims()
                )));
            }
        }
        Ok(())
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        match self {
            Self::Linear { dictionary } => dictionary.device(),
            Self::OneHidden { output, .. } => output.device(),
        }
    }

    /// `hidden_dim`, 0 for a linear decoder.
    pub fn hidden_dim(&self) -> usize {
        match self {
            Self::Linear { .. } => 0,
            Self::OneHidden { hidden_bias, .. } => hidden_bias.elem_count(),
        }
    }

    /// The parameters by name.
    pub fn parameters(&self) -> Vec<Named<&Tensor>> {
        match self {
            Self::Linear { dictionary } => vec![("decoder.dictionary", dictionary)],
            Self::OneHidden {
                hidden,
                hidden_bias,
                output,
            } => vec![
                ("decoder.hidden", hidden),
                ("decoder.hidden_bias", hidden_bias),
                ("decoder.output", output),
            ],
        }
    }

    pub(super) fn parameters_mut(&mut self) -> Vec<Named<&mut Tensor>> {
        match self {
            Self::Linear { dictionary } => vec![("decoder.dictionary", dictionary)],
            Self::OneHidden {
                hidden,
                hidden_bias,
                output,
            } => vec![
                ("decoder.hidden", hidden),
                ("decoder.hidden_bias", hidden_bias),
                ("decoder.output", output),
            ],
        }
    }
}

/// `h = relu(W1 z + b1)`, `batch × hidden_dim`.
pub(crate) fn hidden_units(
    hidden: &Tensor,
    hidden_bias: &Tensor,
    codes: &Tensor,
) -> Result<Tensor> {
    rectified(&product(codes, &hidden.t()?)?, hidden_bias)
}
