use candle_core::{Result, Tensor};

use crate::tensor::Named;
use crate::tensor::elementwise::{column_sums, difference, rectified, scaled, sum, where_positive};
use crate::tensor::matmul::product;

/// A LISTA encoder (Gregor & LeCun 2010): `u = U y + b`, `z ← relu(u)`, then `iterations` times `z
/// ← relu(u + S z)`.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// U, `code_dim × input_dim`.
    pub input: Tensor,
    /// b, `code_dim`.
    pub bias: Tensor,
    /// S, `code_dim × code_dim`.
    pub recurrent: Tensor,
    /// L, the number of recurrent iterations.
    pub iterations: usize,
}

/// What the backward pass needs of a forward pass: the codes after each iteration, `batch ×
/// code_dim` each.
///
/// A code is positive exactly where its pre-activation is, so the codes also are the ReLU masks.
#[derive(Clone, Debug)]
pub struct ListaTrace {
    codes: Vec<Tensor>,
}

impl ListaTrace {
    /// The encoder's output, `batch × code_dim`.
    pub fn code(&self) -> &Tensor {
        &self.codes[self.codes.len() - 1]
    }
}

impl Encoder {
    /// The encoder that is ISTA itself, `iterations + 1` steps from 0 (Gregor & LeCun 2010): with
    /// the energy's `(1/d)‖y − W z‖² + λ‖z‖₁`, `U = (2η/d) Wᵀ`, `b = −ηλ` and `S = I − (2η/d) WᵀW`.
    ///
    /// `dictionary` is W, `input_dim × code_dim`; `step_size` is η.
    ///
    /// # Errors
    ///
    /// Fails if the device runs out of memory.
    pub fn unrolled(
        dictionary: &Tensor,
        lambda: f64,
        step_size: f64,
        iterations: usize,
    ) -> Result<Self> {
        let (input_dim, code_dim) = dictionary.dims2()?;
        let (dtype, device) = (dictionary.dtype(), dictionary.device());
        let scale = 2.0 * step_size / input_dim as f64;
        let transposed = dictionary.t()?.contiguous()?;
        let gram = scaled(&product(&transposed, dictionary)?, scale)?;
        Ok(Self {
            input: scaled(&transposed, scale)?,
            bias: Tensor::full((-step_size * lambda) as f32, code_dim, device)?.to_dtype(dtype)?,
            recurrent: difference(&Tensor::eye(code_dim, dtype, device)?, &gram)?,
            iterations,
        })
    }

    /// Encodes a batch of inputs (`batch × input_dim`); the result is `batch × code_dim`,
    /// non-negative.
    ///
    /// # Errors
    ///
    /// Fails if shapes, dtypes or devices disagree.
    pub fn forward(&self, inputs: &Tensor) -> Result<Tensor> {
        Ok(self.forward_traced(inputs)?.code().clone())
    }

    /// Encodes and keeps what [`Encoder::gradients`] needs.
    ///
    /// # Errors
    ///
    /// As [`Encoder::forward`].
    pub fn forward_traced(&self, inputs: &Tensor) -> Result<ListaTrace> {
        let product_u = product(inputs, &self.input.t()?)?;
        let drive = sum(&product_u, &self.bias)?;
        let mut codes = Vec::with_capacity(self.iterations + 1);
        codes.push(rectified(&product_u, &self.bias)?);
        for i in 0..self.iterations {
            codes.push(rectified(
                &product(&codes[i], &self.recurrent.t()?)?,
                &drive,
            )?);
        }
        Ok(ListaTrace { codes })
    }

    /// Gradients of a loss for `input`, `bias` and `recurrent`, given its gradient for the code
    /// (`batch × code_dim`).
    ///
    /// Going back through iteration i with δ = ∂/∂z_i masked by z_i > 0: S gains δᵀ z_{i−1}, the
    /// drive gains δ, and z_{i−1} receives δ S; the drive's sum then gives U and b.
    ///
    /// # Errors
    ///
    /// Fails if shapes, dtypes or devices disagree.
    pub fn gradients(
        &self,
        inputs: &Tensor,
        trace: &ListaTrace,
        code_gradient: &Tensor,
    ) -> Result<Vec<Named<Tensor>>> {
        let mut recurrent = self.recurrent.zeros_like()?;
        let mut delta = where_positive(code_gradient, trace.code())?;
        let mut drive = delta.clone();
        for previous in trace.codes[..self.iterations].iter().rev() {
            recurrent = sum(&recurrent, &product(&delta.t()?, previous)?)?;
            delta = where_positive(&product(&delta, &self.recurrent)?, previous)?;
            drive = sum(&drive, &delta)?;
        }
        Ok(vec![
            ("encoder.input", product(&drive.t()?, inputs)?),
            ("encoder.bias", column_sums(&drive)?.squeeze(0)?),
            ("encoder.recurrent", recurrent),
        ])
    }

    /// The parameters by name.
    pub fn parameters(&self) -> Vec<Named<&Tensor>> {
        vec![
            ("encoder.input", &self.input),
            ("encoder.bias", &self.bias),
            ("encoder.recurrent", &self.recurrent),
        ]
    }

    pub(super) fn parameters_mut(&mut self) -> Vec<Named<&mut Tensor>> {
        vec![
            ("encoder.input", &mut self.input),
            ("encoder.bias", &mut self.bias),
            ("encoder.recurrent", &mut self.recurrent),
        ]
    }
}
