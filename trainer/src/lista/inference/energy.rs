use std::sync::OnceLock;

use candle_core::{DType, Result, Tensor};

use super::config::InferenceConfig;
use super::step::{StepRule, squared_norm_bound, squared_norm_bound_by};
use crate::lista::model::{Decoder, DecoderGradients, hidden_units};
use crate::tensor::elementwise::{column_sums, difference, scaled, sum_of_squares, where_positive};
use crate::tensor::matmul::{product, turned};

/// The energy f + g of one mini-batch, with what is constant during inference computed once.
pub struct Energy<'a> {
    decoder: &'a Decoder,
    inputs: &'a Tensor,
    encoder_codes: Option<&'a Tensor>,
    config: &'a InferenceConfig,
    /// Made when the first gradient is asked for: the value does not need it.
    quadratic: OnceLock<Quadratic>,
    /// W2ᵀ of a one-hidden decoder, likewise.
    output_t: OnceLock<Tensor>,
}

/// How the reconstruction's gradient is computed.
pub(super) enum Reconstruction<'a> {
    /// `z G − c` for a linear decoder: n·l² operations an iteration instead of 2·n·d·l.
    Quadratic(&'a Quadratic),
    /// Through both layers of a one-hidden decoder.
    OneHidden {
        hidden: &'a Tensor,
        hidden_bias: &'a Tensor,
        output: &'a Tensor,
        /// W2ᵀ by rows, in the order in which `h W2ᵀ` reads it.
        output_t: &'a Tensor,
    },
}

/// A linear decoder's reconstruction term: its gradient is `z G − c`.
pub(super) struct Quadratic {
    /// G = (2/d) WᵀW, `code_dim × code_dim`.
    pub(super) gram: Tensor,
    /// c = (2/d) Y W, `batch × code_dim`.
    pub(super) correlation: Tensor,
}

/// The value of the energy, term by term, summed over the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EnergyTerms {
    /// Σ (1/d)‖y − D(z)‖².
    pub reconstruction: f64,
    /// β Σ_j [(T − sd_j)_+]².
    pub variance: f64,
    /// (γ/l) Σ ‖z − E(y)‖².
    pub encoder: f64,
    /// λ Σ ‖z‖₁.
    pub l1: f64,
}

impl EnergyTerms {
    /// f + g.
    pub fn total(&self) -> f64 {
        self.reconstruction + self.variance + self.encoder + self.l1
    }
}

impl<'a> Energy<'a> {
    /// The energy of `inputs` (`batch × input_dim`) under `decoder`. `encoder_codes` (`batch ×
    /// code_dim`) are the E(y) of the γ term; without them the term is absent.
    ///
    /// Cost for a linear decoder: the products G and c, once, with the first gradient.
    pub fn new(
        decoder: &'a Decoder,
        inputs: &'a Tensor,
        encoder_codes: Option<&'a Tensor>,
        config: &'a InferenceConfig,
    ) -> Self {
        Self {
            decoder,
            inputs,
            encoder_codes,
            config,
            quadratic: OnceLock::new(),
            output_t: OnceLock::new(),
        }
    }

    /// The settings that this energy was made with.
    pub fn config(&self) -> &InferenceConfig {
        self.config
    }

    /// D.
    pub(crate) fn decoder(&self) -> &Decoder {
        self.decoder
    }

    /// Y, `batch × input_dim`.
    pub(crate) fn inputs(&self) -> &Tensor {
        self.inputs
    }

    /// E(Y), `batch × code_dim`, where the γ term is there.
    pub(crate) fn encoder_codes(&self) -> Option<&Tensor> {
        self.encoder_codes
            .filter(|_| self.config.encoder_weight != 0.0)
    }

    pub(super) fn reconstruction(&self) -> Result<Reconstruction<'_>> {
        match self.decoder {
            Decoder::Linear { dictionary } => {
                if let Some(quadratic) = self.quadratic.get() {
                    return Ok(Reconstruction::Quadratic(quadratic));
                }
                let scale = 2.0 / self.inputs.dim(1)? as f64;
                let quadratic = Quadratic {
                    gram: scaled(&product(&dictionary.t()?, dictionary)?, scale)?,
                    correlation: scaled(&product(self.inputs, dictionary)?, scale)?,
                };
                Ok(Reconstruction::Quadratic(
                    self.quadratic.get_or_init(|| quadratic),
                ))
            }
            Decoder::OneHidden {
                hidden,
                hidden_bias,
                output,
            } => Ok(Reconstruction::OneHidden {
                hidden,
                hidden_bias,
                output,
                output_t: self.output_t(output)?,
            }),
        }
    }

    /// The step that FISTA takes: η, or under [`StepRule::Bounded`] 1/L if that is smaller.
    ///
    /// L is a bound of f's curvature from above, `f(y) ≤ f(x) + ∇f(x)ᵀ(y − x) + L/2 ‖y − x‖²`,
    /// which is what FISTA needs. It is the sum of `(2/d)‖W‖²` (of a one-hidden decoder
    /// `(2/d)‖W1‖²‖W2‖²`, which holds as long as no hidden unit goes on or off), `2β/(n − 1)` of
    /// the hinge and `2γ/l` of the encoder's term. `docs/method.md` derives it.
    ///
    /// Cost under [`StepRule::Bounded`], besides G and c: where η is not safe by the Frobenius
    /// norms of W or G, up to five times s³ multiplications, with s the smaller of d and l, and d²l
    /// for another Gram matrix if that is d; the same for each layer of a one-hidden decoder.
    ///
    /// # Errors
    ///
    /// Fails if the device runs out of memory.
    pub fn step_size(&self) -> Result<f64> {
        let wanted = self.config.step_size;
        if self.config.step_rule == StepRule::Fixed {
            return Ok(wanted);
        }
        let (batch, input_dim) = self.inputs.dims2()?;
        let mut rest = 0.0;
        if self.config.variance_weight != 0.0 && batch > 1 {
            rest += 2.0 * self.config.variance_weight / (batch - 1) as f64;
        }
        if let Some(codes) = self.encoder_codes() {
            rest += 2.0 * self.config.encoder_weight / codes.dim(1)? as f64;
        }
        let scale = 2.0 / input_dim as f64;
        // The curvature of the reconstruction for which η is just right.
        let enough = 1.0 / wanted - rest;
        let curvature = match (self.decoder, self.reconstruction()?) {
            (Decoder::Linear { dictionary }, Reconstruction::Quadratic(quadratic))
                if dictionary.dim(1)? <= input_dim =>
            {
                squared_norm_bound_by(dictionary, scale, &quadratic.gram, enough)?
            }
            (Decoder::Linear { dictionary }, _) => {
                scale * squared_norm_bound(dictionary, enough / scale)?
            }
            (Decoder::OneHidden { hidden, output, .. }, _) => {
                let outer = scale * squared_norm_bound(output, 0.0)?;
                outer * squared_norm_bound(hidden, enough / outer)?
            }
        };
        // A decoder that holds NaN leaves η: the guards see what becomes of it.
        Ok(match curvature > enough {
            true => 1.0 / (curvature + rest),
            false => wanted,
        })
    }

    fn output_t(&self, output: &Tensor) -> Result<&Tensor> {
        if let Some(output_t) = self.output_t.get() {
            return Ok(output_t);
        }
        let output_t = turned(output)?;
        Ok(self.output_t.get_or_init(|| output_t))
    }

    /// [`Decoder::gradients`] at `codes`, with what inference has made of the weights.
    pub(crate) fn decoder_gradients(&self, codes: &Tensor) -> Result<DecoderGradients> {
        match self.decoder {
            Decoder::OneHidden { output, .. } => {
                let output_t = self.output_t(output)?;
                self.decoder
                    .gradients_by(codes, self.inputs, Some(output_t))
            }
            Decoder::Linear { .. } => self.decoder.gradients(codes, self.inputs),
        }
    }

    /// ∇f at `codes` (`batch × code_dim`), which may have negative components (FISTA's momentum
    /// point).
    ///
    /// # Errors
    ///
    /// Fails if shapes, dtypes or devices disagree.
    pub fn gradient(&self, codes: &Tensor) -> Result<Tensor> {
        let mut gradient = self.reconstruction_gradient(codes)?;
        if let Some(hinge) = self.hinge_gradient(codes)? {
            gradient = (gradient + hinge)?;
        }
        if let Some(encoder_codes) = self.encoder_codes() {
            let scale = 2.0 * self.config.encoder_weight / codes.dim(1)? as f64;
            gradient = (gradient + ((codes - encoder_codes)? * scale)?)?;
        }
        Ok(gradient)
    }

    fn reconstruction_gradient(&self, codes: &Tensor) -> Result<Tensor> {
        match self.reconstruction()? {
            Reconstruction::Quadratic(quadratic) => {
                product(codes, &quadratic.gram)? - &quadratic.correlation
            }
            Reconstruction::OneHidden {
                hidden,
                hidden_bias,
                output,
                output_t,
            } => {
                let units = hidden_units(hidden, hidden_bias, codes)?;
                let error = difference(&product(&units, output_t)?, self.inputs)?;
                let scale = 2.0 / self.inputs.dim(1)? as f64;
                product(&where_positive(&product(&error, output)?, &units)?, hidden)? * scale
            }
        }
    }

    /// `−(2β/(n−1)) (T − sd)_+/sd (z − μ)` by component; 0 where sd = 0, that is, no more than the
    /// rounding of μ makes of a constant (n ε |μ|).
    fn hinge_gradient(&self, codes: &Tensor) -> Result<Option<Tensor>> {
        let batch = codes.dim(0)?;
        if self.config.variance_weight == 0.0 || batch < 2 {
            return Ok(None);
        }
        let (mean, centred, deviation) = centred(codes)?;
        let zero = deviation.zeros_like()?;
        let factor = (deviation
            .affine(-1.0, self.config.variance_threshold)?
            .relu()?
            / &deviation)?;
        let epsilon = match codes.dtype() {
            DType::F64 => f64::EPSILON,
            _ => f64::from(f32::EPSILON),
        };
        let rounding = (mean.abs()? * (epsilon * batch as f64))?;
        let factor = deviation.gt(&rounding)?.where_cond(&factor, &zero)?;
        let scale = -2.0 * self.config.variance_weight / (batch - 1) as f64;
        Ok(Some(centred.broadcast_mul(&(factor * scale)?)?))
    }

    /// The energy at `codes`, summed over the batch.
    ///
    /// # Errors
    ///
    /// Fails if shapes, dtypes or devices disagree.
    pub fn value(&self, codes: &Tensor) -> Result<EnergyTerms> {
        let error = difference(&self.decoder.forward(codes)?, self.inputs)?;
        self.value_given_error(codes, &error)
    }

    /// The same, where the error `D(codes) − y` (`batch × input_dim`) is known.
    ///
    /// # Errors
    ///
    /// As [`Energy::value`].
    pub fn value_given_error(&self, codes: &Tensor, error: &Tensor) -> Result<EnergyTerms> {
        let reconstruction = sum_of_squares(error)? / self.inputs.dim(1)? as f64;
        let variance = if self.config.variance_weight == 0.0 || codes.dim(0)? < 2 {
            0.0
        } else {
            let (_, _, deviation) = centred(codes)?;
            let shortfall = deviation
                .affine(-1.0, self.config.variance_threshold)?
                .relu()?;
            self.config.variance_weight * sum_of_squares(&shortfall)?
        };
        let encoder = match self.encoder_codes {
            Some(encoder_codes) => {
                self.config.encoder_weight / codes.dim(1)? as f64
                    * sum_of_squares(&difference(codes, encoder_codes)?)?
            }
            None => 0.0,
        };
        let l1 = self.config.lambda * total(&codes.abs()?)?;
        Ok(EnergyTerms {
            reconstruction,
            variance,
            encoder,
            l1,
        })
    }
}

/// The mean of each component over the batch (`1 × code_dim`), the codes minus it, and the unbiased
/// standard deviation of each component (`1 × code_dim`).
fn centred(codes: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
    let batch = codes.dim(0)? as f64;
    let mean = (column_sums(codes)? / batch)?;
    let centred = codes.broadcast_sub(&mean)?;
    let deviation = (column_sums(&centred.sqr()?)? / (batch - 1.0))?.sqrt()?;
    Ok((mean, centred, deviation))
}

fn total(x: &Tensor) -> Result<f64> {
    x.sum_all()?.to_dtype(DType::F64)?.to_scalar()
}
