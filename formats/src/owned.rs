//! A model in `f32`, as a writer takes it.

use std::borrow::ToOwned;
use std::string::String;
use std::vec::Vec;

use crate::encoders::{Encoder, Variational, VariationalBody};
use crate::error::ReadError;
use crate::input::InputFacts;
use crate::layer::Layer;
use crate::posterior::{Posterior, PosteriorBase, PosteriorThreshold};
use crate::preprocessing::Preprocessing;
use crate::quant::dequantize;
use crate::read::{Decoder, ModelFile};
use crate::spec::{CodeSign, InputShape, ModelSpec, Provenance, Variant};

/// Where a model comes from; see [`Provenance`] for what each field may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedProvenance {
    /// The training data, for people.
    pub data: String,
    /// The seed of the run's random numbers.
    pub seed: u64,
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// The commit of the program that trained it.
    pub commit: String,
    /// A hash of the resolved configuration.
    pub config_hash: String,
}

/// A [`ModelSpec`] before it is written: without the number type and the step size, which follow
/// from writing.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedSpec {
    /// How it was trained.
    pub variant: Variant,
    /// The shape of a sample; its size is d.
    pub input_shape: InputShape,
    /// l.
    pub code_dim: u16,
    /// m; 0 for a linear decoder.
    pub hidden_dim: u16,
    /// L; `None` exactly for [`Variant::Do`], [`Variant::Denoise`], and [`Variant::Variational`]
    /// with a dense encoder.
    pub lista_iterations: Option<u8>,
    /// Which signs the components of its codes have; signed for [`Variant::Variational`],
    /// non-negative with any other encoder.
    pub codes: CodeSign,
    /// λ of training.
    pub lambda: f32,
    /// What is done to raw samples.
    pub preprocessing: Preprocessing,
    /// The range of raw samples, for PSNR.
    pub peak: f32,
    /// What is known of the raw samples, for [`InputFacts::read`].
    pub input: InputFacts,
    /// Where it comes from.
    pub provenance: OwnedProvenance,
}

/// The encoder in the stored orientation; see [`Encoder`].
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedEncoder {
    /// U \[l, d\], as torch's `Linear` keeps it.
    pub input: Vec<f32>,
    /// b \[l\].
    pub bias: Vec<f32>,
    /// Sᵀ \[l, l\]: the transpose of torch's.
    pub recurrent: Vec<f32>,
}

impl OwnedEncoder {
    fn of(encoder: &Encoder<'_>) -> Self {
        Self {
            input: dequantize(&encoder.input),
            bias: encoder.bias.to_vec(),
            recurrent: dequantize(&encoder.recurrent),
        }
    }
}

/// The encoder of a model that denoises; see [`Gram`](crate::Gram).
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedGram {
    /// g \[T\].
    pub steps: Vec<f32>,
    /// θ \[T, l\], for noise of deviation 1.
    pub thresholds: Vec<f32>,
    /// γ \[l\].
    pub gain: Vec<f32>,
    /// The σ to take where nobody knows another, in preprocessed units.
    pub noise_level: f32,
    /// What each sample of a window, or each row and then each column of a patch, counts where
    /// windows overlap; see [`StreamSpec::weights`](crate::StreamSpec::weights).
    pub window_weights: Vec<f32>,
    /// Samples from one window to the next, or pixels from one patch to the next, both ways.
    pub hop: u16,
    /// The length of the means that are taken off before all else.
    pub drift: Option<u16>,
    /// Whether the noise of training was white.
    pub is_white: bool,
    /// c of the residual guard.
    pub guard: f32,
}

/// A dense layer; see [`Layer`](crate::Layer).
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedLayer {
    /// W \[outputs, inputs\], as torch's `Linear` keeps it.
    pub weights: Vec<f32>,
    /// b \[outputs\].
    pub bias: Vec<f32>,
}

impl OwnedLayer {
    fn of(layer: &Layer<'_>) -> Self {
        Self {
            weights: dequantize(&layer.weights),
            bias: layer.bias.to_vec(),
        }
    }
}

/// What gives the shift of a variational model; see [`VariationalBody`].
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedVariationalBody {
    /// Dense layers, with `lista_iterations` `None`.
    Dense {
        /// 1 to 4 layers with a relu behind each. Each bias is as long as the layer is wide.
        trunk: Vec<OwnedLayer>,
        /// For integer models the largest output of each layer that levels represent, such as the
        /// largest on calibration data; finite and above 0. Larger outputs are cut to it. Files in
        /// `f32` have no such numbers, and take any, or none.
        trunk_max: Vec<f32>,
        /// The head \[l, w\].
        shift: OwnedLayer,
    },
    /// LISTA with signed shrinkage, with `lista_iterations` L.
    Lista {
        /// U, b and Sᵀ.
        encoder: OwnedEncoder,
        /// θ \[l\]; none is negative.
        shrinkage: Vec<f32>,
    },
}

/// The encoder of a variational model; see [`Variational`].
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedVariational {
    /// What gives the shift μ.
    pub body: OwnedVariationalBody,
    /// The head \[l, w\] that selects components (`selection` is then `scale`), on the trunk's w
    /// outputs, or, of a LISTA body, on `|μ|` (w = l). `None`: `|μ|` selects (`shift`).
    pub scale: Option<OwnedLayer>,
    /// What a component has to be above to be selected \[l\].
    pub thresholds: Vec<f32>,
    /// What the shift counts in the code; finite and above 0.
    pub gain: f32,
    /// What is taken off each number of a sample \[d\], in raw units. The preprocessing then has a
    /// mean of 0 and no contrast.
    pub input_mean: Option<Vec<f32>>,
    /// What samples of codes are drawn from, in `f32` alone; `None` leaves it out of the file.
    pub posterior: Option<OwnedPosterior>,
}

/// The threshold of a posterior's noise; see [`PosteriorThreshold`].
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedThreshold {
    /// There is none.
    None,
    /// λ, finite and above 0.
    Fixed(f32),
    /// The heads of its shape and rate, of Laplacian noise alone.
    Learned {
        /// ln α \[l, w\].
        shape: OwnedLayer,
        /// ln β \[l, w\].
        rate: OwnedLayer,
    },
}

/// What samples of codes are drawn from; see [`Posterior`].
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedPosterior {
    /// What the noise is made of.
    pub base: PosteriorBase,
    /// λ.
    pub threshold: OwnedThreshold,
    /// The scale head \[l, w\], exactly if [`OwnedVariational::scale`] is `None`: otherwise the
    /// file holds it already.
    pub scale: Option<OwnedLayer>,
}

impl OwnedPosterior {
    fn of(posterior: &Posterior<'_>, selects_by_scale: bool) -> Self {
        Self {
            base: posterior.base,
            threshold: match &posterior.threshold {
                PosteriorThreshold::None => OwnedThreshold::None,
                PosteriorThreshold::Fixed(level) => OwnedThreshold::Fixed(*level),
                PosteriorThreshold::Learned { shape, rate } => OwnedThreshold::Learned {
                    shape: OwnedLayer::of(shape),
                    rate: OwnedLayer::of(rate),
                },
            },
            scale: (!selects_by_scale).then(|| OwnedLayer::of(&posterior.scale)),
        }
    }
}

impl OwnedVariational {
    fn of(encoder: &Variational<'_>) -> Self {
        Self {
            body: match &encoder.body {
                VariationalBody::Dense { trunk, shift } => OwnedVariationalBody::Dense {
                    trunk: trunk.iter().flatten().map(OwnedLayer::of).collect(),
                    trunk_max: Vec::new(),
                    shift: OwnedLayer::of(shift),
                },
                VariationalBody::Lista { encoder, shrinkage } => OwnedVariationalBody::Lista {
                    encoder: OwnedEncoder::of(encoder),
                    shrinkage: shrinkage.to_vec(),
                },
            },
            scale: encoder.scale.as_ref().map(OwnedLayer::of),
            thresholds: encoder.thresholds.to_vec(),
            gain: encoder.gain,
            input_mean: encoder.input_mean.map(<[f32]>::to_vec),
            posterior: encoder
                .posterior
                .as_ref()
                .map(|posterior| OwnedPosterior::of(posterior, encoder.scale.is_some())),
        }
    }
}

/// The decoder in the stored orientation; see [`Decoder`].
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedDecoder {
    /// `ŷ = W z`.
    Linear {
        /// Wᵀ \[l, d\]: the transpose of torch's.
        dictionary: Vec<f32>,
    },
    /// `ŷ = W2 relu(W1 z + b1)`.
    OneHidden {
        /// W1ᵀ \[l, m\]: the transpose of torch's.
        hidden: Vec<f32>,
        /// b1 \[m\].
        hidden_bias: Vec<f32>,
        /// W2ᵀ \[m, d\]: the transpose of torch's.
        output: Vec<f32>,
    },
}

/// A model in `f32`, in the stored orientation: what [`write`](crate::write()) takes.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedModel {
    /// What the metadata will say.
    pub spec: OwnedSpec,
    /// The LISTA encoder; `None` exactly for [`Variant::Do`], [`Variant::Denoise`] and
    /// [`Variant::Variational`].
    pub encoder: Option<OwnedEncoder>,
    /// The encoder of [`Variant::Denoise`]; `None` for every other.
    pub gram: Option<OwnedGram>,
    /// The encoder of [`Variant::Variational`]; `None` for every other.
    pub variational: Option<OwnedVariational>,
    /// The decoder; linear exactly if `spec.hidden_dim` is 0.
    pub decoder: OwnedDecoder,
}

impl OwnedModel {
    /// U, b and S, wherever they are.
    pub(crate) fn lista(&self) -> Option<&OwnedEncoder> {
        match &self.variational {
            Some(OwnedVariational {
                body: OwnedVariationalBody::Lista { encoder, .. },
                ..
            }) => Some(encoder),
            _ => self.encoder.as_ref(),
        }
    }

    /// The model in a file, with scales applied: writing it again with the same number type gives
    /// the same weights, up to rounding.
    ///
    /// # Errors
    ///
    /// As [`ModelFile::input`].
    pub fn from_file(file: &ModelFile<'_>) -> Result<Self, ReadError> {
        let ModelSpec {
            variant,
            input_shape,
            code_dim,
            hidden_dim,
            lista_iterations,
            codes,
            lambda,
            ..
        } = file.spec;
        let Provenance {
            data,
            seed,
            epoch,
            commit,
            config_hash,
        } = file.spec.provenance;
        Ok(Self {
            spec: OwnedSpec {
                variant,
                input_shape,
                code_dim,
                hidden_dim,
                lista_iterations,
                codes,
                lambda,
                preprocessing: file.spec.preprocessing,
                peak: file.spec.peak,
                input: file.input()?,
                provenance: OwnedProvenance {
                    data: data.to_owned(),
                    seed,
                    epoch,
                    commit: commit.to_owned(),
                    config_hash: config_hash.to_owned(),
                },
            },
            encoder: file.encoder.as_ref().map(OwnedEncoder::of),
            variational: file.variational.as_ref().map(OwnedVariational::of),
            gram: file.gram.map(|gram| OwnedGram {
                steps: gram.steps.to_vec(),
                thresholds: gram.thresholds.to_vec(),
                gain: gram.gain.to_vec(),
                noise_level: gram.noise_level,
                window_weights: gram.stream.weights.to_vec(),
                hop: gram.stream.hop,
                drift: gram.stream.drift,
                is_white: gram.stream.is_white,
                guard: gram.stream.guard,
            }),
            decoder: match file.decoder {
                Decoder::Linear { dictionary } => OwnedDecoder::Linear {
                    dictionary: dequantize(&dictionary),
                },
                Decoder::OneHidden {
                    hidden,
                    hidden_bias,
                    output,
                } => OwnedDecoder::OneHidden {
                    hidden: dequantize(&hidden),
                    hidden_bias: hidden_bias.to_vec(),
                    output: dequantize(&output),
                },
            },
        })
    }
}
