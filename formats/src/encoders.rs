//! The encoders of models for arithmetic in `f32`, over the bytes of a file.

use crate::layer::Layer;
use crate::matrix::MatrixRef;
#[cfg(feature = "variational")]
use crate::posterior::Posterior;
use crate::widths::EncoderWidths;

/// The LISTA encoder: `u = U y + b`, `z ← relu(u + S z)`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Encoder<'a> {
    /// `encoder.input`, U \[l, d\]: a row per code component, scales per row.
    pub input: MatrixRef<'a>,
    /// `encoder.bias`, b \[l\].
    pub bias: &'a [f32],
    /// `encoder.recurrent`, Sᵀ \[l, l\]: row k is column k of S, what an active component k adds to
    /// every component. Scales per column.
    pub recurrent: MatrixRef<'a>,
}

/// The encoder of a model that denoises: steps on the Gram matrix of its linear decoder. From z =
/// 0, `z ← relu(z + g_t (Wᵀy − WᵀW z − σ θ_t))` with σ the deviation of the noise; the decoder's
/// answer is `W (γ ∘ z)`.
#[cfg(feature = "denoise")]
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Gram<'a> {
    /// `encoder.steps`, g \[T\]: a step for each iteration.
    pub steps: &'a [f32],
    /// `encoder.thresholds`, θ \[T, l\], for noise of deviation 1; they may be negative.
    pub thresholds: &'a [f32],
    /// `decoder.gain`, γ \[l\]: what each component counts in the decoder's answer.
    pub gain: &'a [f32],
    /// `noise_level`: the σ to take where nobody knows another, in preprocessed units; finite and
    /// above 0.
    pub noise_level: f32,
    /// How windows follow one another, and what surrounds the network.
    pub stream: StreamSpec<'a>,
}

/// The encoder of models that denoise. Without the feature `denoise` there is none, and an option
/// of it takes no room.
#[cfg(not(feature = "denoise"))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gram<'a>(core::convert::Infallible, core::marker::PhantomData<&'a ()>);

/// How a model that denoises is used on a signal or a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StreamSpec<'a> {
    /// `window.weights`: what each sample of a window counts where windows overlap \[d\]; for
    /// patches, of which a pixel counts the product, its row \[h\] and then its column \[w\]. From
    /// 1e-6 to 1e6.
    pub weights: &'a [f32],
    /// `hop`: samples from one window to the next, or pixels from one patch to the next, both ways;
    /// 1 to d, or to the patch's shorter side.
    pub hop: u16,
    /// `drift`: the length of the means that are taken off a signal before all else; `None` if
    /// nothing is.
    pub drift: Option<u16>,
    /// `noise`: whether the noise of training was white, so that its deviation can be estimated
    /// from the signal.
    pub is_white: bool,
    /// `guard`, c: where the mean square of what is taken off is r, the share `max(0, 1 − c σ²/r)`
    /// of it is given back. Finite and not negative; 0 gives everything back.
    pub guard: f32,
}

/// What gives the shift μ of a variational model, one number for each code component.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[allow(clippy::large_enum_variant, reason = "there is no allocator")]
pub enum VariationalBody<'a> {
    /// `h = relu(W_k h + b_k)` for each layer of the trunk, from `h = y`; then `μ = W h + b`.
    Dense {
        /// `encoder.trunk.0` … `encoder.trunk.3`: the first 1 to 4 are there.
        trunk: [Option<Layer<'a>>; EncoderWidths::MOST],
        /// `encoder.shift`: the head \[l, w\] on the w outputs of the trunk.
        shift: Layer<'a>,
    },
    /// LISTA with signed shrinkage `s(v) = sign(v)·max(|v| − θ, 0)`: `u = U y + b`, `z = s(u)`,
    /// then L times `z = s(u + S z)`; μ is the last z.
    Lista {
        /// U, b and S.
        encoder: Encoder<'a>,
        /// `encoder.shrinkage`, θ \[l\]; none is negative.
        shrinkage: &'a [f32],
    },
}

/// The encoder of a variational model, and the rule that makes its shift μ a code: of the
/// components that are selected `z = gain·μ`, of the others 0.
#[cfg(feature = "variational")]
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Variational<'a> {
    /// What gives μ.
    pub body: VariationalBody<'a>,
    /// `encoder.scale`: the head \[l, w\] whose output decides which components are selected, those
    /// above their thresholds. It takes the trunk's outputs, or, of a LISTA body, the magnitudes
    /// `|μ|` (w = l). `None` where `|μ|` itself decides (`selection` is `shift`).
    pub scale: Option<Layer<'a>>,
    /// `code.thresholds` \[l\], of either sign.
    pub thresholds: &'a [f32],
    /// `code_gain`: what the shift counts in the code; finite and above 0.
    pub gain: f32,
    /// `input.mean` \[d\]: what preprocessing takes off each number of a sample, in raw units. The
    /// preprocessing then has a mean of 0 and no contrast.
    pub input_mean: Option<&'a [f32]>,
    /// What samples of codes are drawn from; `None` in files that hold the code above alone.
    pub posterior: Option<Posterior<'a>>,
}

/// The encoder of variational models. Without the feature `variational` there is none, and an
/// option of it takes no room.
#[cfg(not(feature = "variational"))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variational<'a>(core::convert::Infallible, core::marker::PhantomData<&'a ()>);
