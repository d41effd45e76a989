//! Steps on the Gram matrix, learned.

use candle_core::{Result, Tensor};

use crate::tensor::Named;
use crate::tensor::elementwise::{column_sums, difference, sum, where_positive};
use crate::tensor::matmul::product;

/// A sparse encoder whose steps, thresholds and dictionary are learned, with its decoder.
///
/// From z = 0 the code takes one step an iteration, `z ← relu(z + g_t (Wᵀy − G z − θ_t))` with
/// `G = WᵀW`; the output is `W (γ ∘ z)`. These are the iterations of ISTA (Daubechies et al. 2004)
/// with a step of their own and a threshold for each atom. Unlike LISTA they have no matrices
/// besides W.
///
/// Noise of deviation σ scales the thresholds: `σ · f(y/σ)` is the same network with `σ θ_t`.
#[derive(Clone, Debug)]
pub struct GramNetwork {
    /// W, `input_dim × code_dim`.
    pub dictionary: Tensor,
    /// g, a step for each iteration, `iterations`.
    pub steps: Tensor,
    /// θ, `iterations × code_dim`, for noise of deviation 1. Negative ones are allowed.
    pub thresholds: Tensor,
    /// γ, what each component counts in the output, `code_dim`.
    pub gain: Tensor,
}

/// What the backward pass needs of a forward pass.
#[derive(Clone, Debug)]
pub struct GramTrace {
    /// The codes after each iteration, `batch × code_dim` each.
    codes: Vec<Tensor>,
    /// G.
    gram: Tensor,
    /// `γ ∘ z` of the last code.
    weighted: Tensor,
    /// The network's output, `batch × input_dim`.
    pub output: Tensor,
}

impl GramTrace {
    /// The last code, `batch × code_dim`; not negative.
    ///
    /// # Panics
    ///
    /// Never: a network has an iteration.
    pub fn code(&self) -> &Tensor {
        &self.codes[self.codes.len() - 1]
    }
}

impl GramNetwork {
    /// The network that is ISTA itself: every step is `1/‖G‖` in the Frobenius norm, every
    /// threshold is `threshold`, every gain is 1. The step is safe, because this norm is at least
    /// `‖W‖²`.
    ///
    /// For atoms of norm 1 and noise of deviation 1, `threshold` is about `0.35 √(2 ln code_dim)`.
    ///
    /// # Errors
    ///
    /// Fails if the device does, or `iterations` is 0.
    pub fn unrolled(dictionary: &Tensor, threshold: f64, iterations: usize) -> Result<Self> {
        if iterations == 0 {
            candle_core::bail!("a network without iterations finds no code");
        }
        let code_dim = dictionary.dim(1)?;
        let (dtype, device) = (dictionary.dtype(), dictionary.device());
        let full = |value: f64, shape: &[usize]| {
            Tensor::full(value as f32, shape, device)?.to_dtype(dtype)
        };
        let gram = product(&dictionary.t()?, dictionary)?;
        let norm: f64 = gram
            .sqr()?
            .sum_all()?
            .to_dtype(candle_core::DType::F64)?
            .to_scalar()?;
        Ok(Self {
            dictionary: dictionary.clone(),
            steps: full(1.0 / norm.sqrt(), &[iterations])?,
            thresholds: full(threshold, &[iterations, code_dim])?,
            gain: full(1.0, &[code_dim])?,
        })
    }

    /// Iterations.
    ///
    /// # Errors
    ///
    /// Fails if `steps` has not one dimension.
    pub fn iterations(&self) -> Result<usize> {
        self.steps.dims1()
    }

    /// The parameters by name.
    pub fn parameters(&self) -> [Named<&Tensor>; 4] {
        [
            ("decoder.dictionary", &self.dictionary),
            ("encoder.steps", &self.steps),
            ("encoder.thresholds", &self.thresholds),
            ("decoder.gain", &self.gain),
        ]
    }

    /// The parameters by name, to be changed.
    pub fn parameters_mut(&mut self) -> [Named<&mut Tensor>; 4] {
        [
            ("decoder.dictionary", &mut self.dictionary),
            ("encoder.steps", &mut self.steps),
            ("encoder.thresholds", &mut self.thresholds),
            ("decoder.gain", &mut self.gain),
        ]
    }

    /// Codes and outputs of windows whose noise has deviation 1, `batch × input_dim`.
    ///
    /// Cost a window: `2·input_dim·code_dim` multiply-adds, and `code_dim²` an iteration after the
    /// first.
    ///
    /// # Errors
    ///
    /// Fails if shapes, dtypes or devices disagree.
    pub fn forward(&self, windows: &Tensor) -> Result<GramTrace> {
        let gram = product(&self.dictionary.t()?.contiguous()?, &self.dictionary)?;
        let correlation = product(windows, &self.dictionary)?;
        let mut codes: Vec<Tensor> = Vec::with_capacity(self.iterations()?);
        for t in 0..self.iterations()? {
            let drive = correlation.broadcast_sub(&self.thresholds.get(t)?)?;
            let step = self.steps.get(t)?;
            let next = match codes.last() {
                None => drive.broadcast_mul(&step)?,
                Some(code) => {
                    let residual = difference(&drive, &product(code, &gram)?)?;
                    sum(code, &residual.broadcast_mul(&step)?)?
                }
            };
            codes.push(next.relu()?);
        }
        let weighted = codes[codes.len() - 1].broadcast_mul(&self.gain)?;
        let output = product(&weighted, &self.dictionary.t()?)?;
        Ok(GramTrace {
            codes,
            gram,
            weighted,
            output,
        })
    }

    /// Gradients of a loss for all parameters, given its gradients for the output (`batch ×
    /// input_dim`) and, besides what the output contributes, for the code (`batch × code_dim`).
    ///
    /// Going back through an iteration with δ = ∂/∂z_t masked by z_t > 0 and r = Wᵀy − G z − θ_t:
    /// g_t gains Σ δ∘r, θ_t gains −g_t Σ δ, Wᵀy gains g_t δ, G gains −g_t zᵀδ, and z receives
    /// δ − g_t G δ. Where δ is not 0, `g_t r` is how far the code moved.
    ///
    /// # Errors
    ///
    /// Fails if shapes, dtypes or devices disagree.
    pub fn gradients(
        &self,
        windows: &Tensor,
        trace: &GramTrace,
        output_gradient: &Tensor,
        code_gradient: &Tensor,
    ) -> Result<Vec<Named<Tensor>>> {
        let iterations = self.iterations()?;
        let through = product(output_gradient, &self.dictionary)?;
        let gain = column_sums(&(&through * trace.code())?)?.squeeze(0)?;
        let mut delta = (through.broadcast_mul(&self.gain)? + code_gradient)?;
        let mut dictionary = product(&output_gradient.t()?.contiguous()?, &trace.weighted)?;
        let mut correlation = trace.code().zeros_like()?;
        let mut gram = trace.gram.zeros_like()?;
        let (mut steps, mut thresholds) = (Vec::new(), Vec::new());
        for t in (0..iterations).rev() {
            delta = where_positive(&delta, &trace.codes[t])?;
            let step = self.steps.get(t)?;
            let moved = match t {
                0 => trace.codes[0].clone(),
                _ => difference(&trace.codes[t], &trace.codes[t - 1])?,
            };
            steps.push((&delta * moved)?.sum_all()?.broadcast_div(&step)?);
            let taken = delta.broadcast_mul(&step)?;
            thresholds.push(column_sums(&taken)?.neg()?.squeeze(0)?);
            correlation = sum(&correlation, &taken)?;
            if t > 0 {
                let code = trace.codes[t - 1].t()?.contiguous()?;
                gram = difference(&gram, &product(&code, &taken)?)?;
                delta = difference(&delta, &product(&taken, &trace.gram)?)?;
            }
        }
        steps.reverse();
        thresholds.reverse();
        let from_correlation = product(&windows.t()?.contiguous()?, &correlation)?;
        dictionary = sum(&dictionary, &from_correlation)?;
        let symmetric = sum(&gram, &gram.t()?.contiguous()?)?;
        dictionary = sum(&dictionary, &product(&self.dictionary, &symmetric)?)?;
        Ok(vec![
            ("decoder.dictionary", dictionary),
            ("encoder.steps", Tensor::stack(&steps, 0)?),
            ("encoder.thresholds", Tensor::stack(&thresholds, 0)?),
            ("decoder.gain", gain),
        ])
    }
}
